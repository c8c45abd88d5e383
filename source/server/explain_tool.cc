#include "source/server/explain_tool.h"

#include <netdb.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string_view>

#include <fmt/format.h>

#include "source/base/status.h"
#include "source/config/build.h"
#include "source/config/load.h"
#include "source/net/address.h"
#include "source/server/explain_page.h"
#include "source/server/server.h"

namespace gatehouse::server {
namespace {

constexpr std::string_view kUnixPrefix = "unix:";
constexpr size_t kMaxReply = size_t{64} << 20;
constexpr timeval kPatience = {.tv_sec = 10, .tv_usec = 0};

int Fail(int code, std::string_view message) {
  fmt::print(stderr, "gatehouse explain: {}\n", message);
  return code;
}

void Print(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stdout); }

class Socket {
 public:
  explicit Socket(int fd) : fd_(fd) {
    if (fd_ < 0) return;
    // Who listens and never answers.
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &kPatience, sizeof(kPatience));
    setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &kPatience, sizeof(kPatience));
  }
  ~Socket() {
    if (fd_ >= 0) close(fd_);
  }
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  [[nodiscard]] int fd() const { return fd_; }

 private:
  int fd_;
};

absl::Status CannotReach(std::string_view address, int error) {
  return Unavailable(fmt::format(
      "no gateway answers at {}: {}", address,
      error == EAGAIN || error == EINPROGRESS ? "it took too long" : std::strerror(error)));
}

absl::StatusOr<Socket> ConnectUnix(const std::string& address) {
  const std::string path = address.substr(kUnixPrefix.size());
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(to.sun_path)) {
    return InvalidArgument(fmt::format("\"{}\" is no address", address));
  }
  std::memcpy(to.sun_path, path.data(), path.size());
  Socket socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (socket.fd() < 0 ||
      connect(socket.fd(), reinterpret_cast<const sockaddr*>(&to), sizeof(to)) != 0) {
    return CannotReach(address, errno);
  }
  return socket;
}

absl::StatusOr<Socket> ConnectTcp(const std::string& address) {
  const absl::StatusOr<net::HostPort> host = net::ParseHostPort(address, /*zero_port_ok=*/false);
  if (!host.ok()) return host.status();
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int failed =
      getaddrinfo(host->host.c_str(), std::to_string(host->port).c_str(), &hints, &found);
  if (failed != 0) {
    return Unavailable(fmt::format("no gateway answers at {}: {}", address, gai_strerror(failed)));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> all(found, freeaddrinfo);
  int error = ENOENT;
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    Socket socket(::socket(one->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (socket.fd() >= 0 && connect(socket.fd(), one->ai_addr, one->ai_addrlen) == 0) {
      return socket;
    }
    error = errno;
  }
  return CannotReach(address, error);
}

struct Reply {
  int status = 0;
  std::string body;
};

// One request over a connection of its own.
absl::StatusOr<Reply> Get(const std::string& address, const std::string& target) {
  absl::StatusOr<Socket> socket =
      address.starts_with(kUnixPrefix) ? ConnectUnix(address) : ConnectTcp(address);
  if (!socket.ok()) return socket.status();
  const std::string request =
      fmt::format("GET {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", target);
  std::string_view rest = request;
  while (!rest.empty()) {
    const ssize_t put = send(socket->fd(), rest.data(), rest.size(), MSG_NOSIGNAL);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return CannotReach(address, errno);
    rest.remove_prefix(static_cast<size_t>(put));
  }
  std::string bytes;
  char chunk[16 * 1024];
  while (bytes.size() < kMaxReply) {
    const ssize_t got = recv(socket->fd(), chunk, sizeof(chunk), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return CannotReach(address, errno);
    if (got == 0) break;
    bytes.append(chunk, static_cast<size_t>(got));
  }
  Reply reply;
  const size_t head = bytes.find("\r\n\r\n");
  constexpr std::string_view kVersion = "HTTP/1.1 ";
  const char* digits = bytes.data() + kVersion.size();
  if (head == std::string::npos || !bytes.starts_with(kVersion) ||
      std::from_chars(digits, bytes.data() + head, reply.status).ec != std::errc()) {
    return Unavailable(fmt::format("what answers at {} is no gateway", address));
  }
  reply.body = bytes.substr(head + 4);
  return reply;
}

}  // namespace

absl::Status ReadExplainWords(const std::vector<std::string>& words, bool has_file,
                              std::string* path, ExplainRequest* request) {
  std::vector<std::string> plain;
  for (size_t i = 0; i < words.size(); ++i) {
    if (words[i] != "-H" && words[i] != "--header") {
      plain.push_back(words[i]);
    } else if (++i < words.size()) {
      request->headers.push_back(words[i]);
    } else {
      return InvalidArgument("-H needs a header, 'name: value'");
    }
  }
  if (plain.size() != (has_file ? 3 : 2)) {
    return InvalidArgument(
        fmt::format("expected {}METHOD URL, found {} words; see gatehouse "
                    "explain --help",
                    has_file ? "FILE -- " : "", plain.size()));
  }
  if (has_file) *path = plain.front();
  request->method = plain[plain.size() - 2];
  request->url = plain.back();
  return absl::OkStatus();
}

int ExplainFile(const std::string& path, const filters::Registry& filters,
                const ExplainRequest& request, bool json) {
  config::LoadedBootstrap loaded = config::LoadBootstrap(path);
  // Destroyed in the reverse order, after all that was built with them.
  observe::MetricRegistry metrics;
  upstream::ClusterSlots cluster_slots;
  filters::StateStore states(/*served=*/false);
  config::BuildResult built;
  if (loaded.bootstrap != nullptr) {
    built = config::Build(
        loaded.resources,
        {.filters = filters, .metrics = metrics, .cluster_slots = cluster_slots, .states = states},
        nullptr);
    config::AddNewErrors(built.errors, &loaded.errors);
  }
  if (!loaded.errors.ok()) {
    std::fputs(loaded.errors.ToString().c_str(), stderr);
    return kExitBadInput;
  }
  const SystemClock clock;
  net::Loop loop(clock);
  const absl::StatusOr<Explained> explained =
      Explain(request, {.snapshot = *built.snapshot, .loop = loop});
  if (absl::IsNotFound(explained.status())) {
    return Fail(kExitBadInput, fmt::format("{}: {}; if it is pushed, ask the gateway: --admin",
                                           path, MessageOf(explained.status())));
  }
  if (!explained.ok()) return Fail(kExitUsage, MessageOf(explained.status()));
  Print(json ? ToJson(*explained) : ToText(*explained));
  return kExitOk;
}

int ExplainRunning(const std::string& address, const ExplainRequest& request, bool json) {
  const absl::StatusOr<Reply> reply = Get(address, "/explain?" + ExplainQuery(request, json));
  if (absl::IsInvalidArgument(reply.status())) {
    return Fail(kExitUsage, MessageOf(reply.status()));
  }
  if (!reply.ok()) return Fail(kExitEnvironment, MessageOf(reply.status()));
  if (reply->status == 200) {
    Print(reply->body);
    return kExitOk;
  }
  std::string_view why = reply->body;
  while (why.ends_with('\n')) why.remove_suffix(1);
  if (reply->status == 400) return Fail(kExitUsage, why);
  return Fail(kExitEnvironment, fmt::format("{} answers {}: {}", address, reply->status, why));
}

}  // namespace gatehouse::server
