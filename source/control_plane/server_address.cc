#include "source/control_plane/server_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <charconv>

#include <fmt/format.h>

#include "source/base/status.h"

namespace gatehouse::control {
namespace {

constexpr std::string_view kUnix = "unix:";
constexpr int kMaxPort = 65535;

}  // namespace

bool IsNumeric(const std::string& host) {
  in6_addr any{};
  return inet_pton(AF_INET, host.c_str(), &any) == 1 ||
         inet_pton(AF_INET6, host.c_str(), &any) == 1;
}

bool ServerAddress::is_loopback() const {
  if (is_unix() || host == "localhost" || host == "::1") return true;
  in_addr v4{};
  constexpr int kNetworkBits = 24;
  constexpr uint32_t kLoopback = 127;
  return inet_pton(AF_INET, host.c_str(), &v4) == 1 &&
         ntohl(v4.s_addr) >> kNetworkBits == kLoopback;
}

std::string ServerAddress::ToString() const {
  if (is_unix()) return fmt::format("{}{}", kUnix, path);
  return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port)
                                             : fmt::format("[{}]:{}", host, port);
}

absl::StatusOr<ServerAddress> ParseServerAddress(std::string_view text) {
  ServerAddress address;
  if (text.starts_with(kUnix)) {
    address.path = text.substr(kUnix.size());
    if (address.path.starts_with('/')) return address;
    return InvalidArgument(fmt::format("\"{}\": write unix:/path", text));
  }
  const size_t colon = text.rfind(':');
  std::string_view host = text.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  bool good = colon != std::string_view::npos && !host.empty();
  if (good) {
    const std::string_view port = text.substr(colon + 1);
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), address.port);
    good = error == std::errc() && end == port.data() + port.size() && address.port >= 0 &&
           address.port <= kMaxPort;
  }
  if (!good) return InvalidArgument(fmt::format("\"{}\" is no address; write host:port", text));
  address.host = host;
  return address;
}

}  // namespace gatehouse::control
