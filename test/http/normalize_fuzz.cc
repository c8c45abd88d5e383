// Normalisation: the result is a fixed point, and holds none of what it exists to remove. The first
// byte of an input chooses the options.
#include <cstdint>
#include <optional>
#include <string_view>

#include "source/base/check.h"
#include "source/http/chars.h"
#include "source/http/forwarded.h"
#include "source/http/normalize.h"

namespace gatehouse::http {
namespace {

// No "." or ".." segment, no backslash, no fragment, only visible ASCII; no "//" if merged.
void CheckClean(std::string_view path_and_query, const PathOptions& options) {
  const std::string_view path = path_and_query.substr(0, path_and_query.find('?'));
  CHECK(path_and_query == "*" || path_and_query[0] == '/');
  for (char c : path_and_query) CHECK(IsTargetChar(c) && c != '#');
  CHECK(path.find('\\') == std::string_view::npos);
  for (size_t at = 0; at < path.size();) {
    const size_t slash = path.find('/', at + 1);
    const size_t end = slash == std::string_view::npos ? path.size() : slash;
    const std::string_view segment = path.substr(at + 1, end - at - 1);
    CHECK(segment != "." && segment != "..");
    CHECK(!options.merge_slashes || !segment.empty() || end == path.size());
    at = end;
  }
}

void FuzzPath(uint8_t choice, std::string_view bytes) {
  Arena arena;
  const PathOptions options{.encoded_slash = static_cast<EncodedSlash>(choice & 3),
                            .merge_slashes = (choice & 4) == 0};
  const NormalizedPath first = NormalizePath(bytes, options, arena);
  if (first.result == PathResult::kInvalid) return;
  CHECK(first.path.size() <= bytes.size());
  CHECK((first.result == PathResult::kClean) == (first.path == bytes));
  CheckClean(first.path, options);
  const NormalizedPath second = NormalizePath(first.path, options, arena);
  CHECK(second.result == PathResult::kClean);
  CHECK(second.path == first.path);
}

void FuzzHost(std::string_view bytes) {
  Arena arena;
  const std::optional<HostPort> first = NormalizeHost(bytes, arena);
  CHECK(first.has_value() == IsAuthority(bytes));
  if (!first) return;
  CHECK(!first->host.empty());
  const std::optional<HostPort> second = NormalizeHost(first->host, arena);
  CHECK(second.has_value());
  CHECK(second->host == first->host && second->port == 0);
}

void FuzzAddress(std::string_view bytes) {
  Arena arena;
  HeaderMap headers(arena);
  if (!headers.Add(Name::kXForwardedFor, bytes)) return;
  TrustedProxies trusted;
  trusted.networks = {*net::Cidr::Parse("10.0.0.0/8")};
  net::IpAddress peer;
  CHECK(net::IpAddress::Parse("10.0.0.1", &peer));
  const ClientAddressResult result = ClientAddress(peer, headers, trusted);
  net::IpAddress again;
  CHECK(net::IpAddress::Parse(result.address.ToString(), &again));
  CHECK(again == result.address);
}

}  // namespace
}  // namespace gatehouse::http

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0 || size > 4096) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data + 1), size - 1);
  gatehouse::http::FuzzPath(data[0], bytes);
  gatehouse::http::FuzzHost(bytes);
  gatehouse::http::FuzzAddress(bytes);
  return 0;
}
