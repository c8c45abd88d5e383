#include "source/server/admin.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "source/http/normalize.h"
#include "source/net/transport.h"

namespace gatehouse::server {

using http::Name;

// One client. It is its own one exchange at a time.
class AdminConnection final : public ListNode<AdminConnection>,
                              public net::Buried,
                              public http::Receiver {
 public:
  AdminConnection(Admin& admin, int fd)
      : net::Buried([](net::Buried* self) { delete static_cast<AdminConnection*>(self); }),
        admin_(admin),
        request_(arena_),
        response_(arena_),
        trailers_(arena_),
        connection_(admin.loop_, std::make_unique<net::PlainTransport>(admin.loop_, fd),
                    admin.options_, admin.scratch_, kCallbacks, this) {}

  void Kill() { connection_.Kill(); }

  void OnHead(bool /*end*/) override { Reply(admin_.Answer(request_)); }
  void OnBody(Chain& data, bool /*end*/) override { data.Clear(); }
  void OnTrailers() override {}
  void OnCredit() override {}
  void OnSent() override { sender_->Detach(); }
  void OnError(http::Error error) override {
    if (error.what == http::Error::What::kClientAbort) return;
    Reply({.status = 400, .body = "The request is not valid HTTP/1.1.\n"});
  }

 private:
  static const http::H1ServerConnection::Callbacks kCallbacks;

  http::NewStream Open(http::Sender& sender) {
    arena_.Reset();
    request_.Reset();
    response_.Reset();
    trailers_.Reset();
    replied_ = false;
    sender_ = &sender;
    return {this, &request_, &trailers_};
  }
  void Reply(AdminReply reply) {
    if (std::exchange(replied_, true)) {
      sender_->Abort();
      return;
    }
    body_ = std::move(reply.body);
    response_.status = reply.status;
    response_.headers.Set(Name::kContentType, reply.content_type);
    response_.headers.SetLiteral(Name::kCacheControl, "no-store");
    response_.headers.SetLiteral(Name::kXContentTypeOptions, "nosniff");
    if (!reply.allow.empty()) response_.headers.Set(Name::kAllow, reply.allow);
    response_.body = http::BodyKind::kLength;
    response_.content_length = body_.size();
    response_.has_content_length = true;
    sender_->SendHead(response_, body_.empty());
    if (body_.empty()) return;
    Chain body;
    // Slices hold 32-bit sizes; pieces keep well below.
    constexpr size_t kPiece = size_t{1} << 30;
    for (size_t at = 0; at < body_.size(); at += kPiece) {
      body.Append(Slice::Unowned(std::string_view(body_).substr(at, kPiece)));
    }
    sender_->SendBody(body, true);
  }
  void Closed() {
    --admin_.count_;
    ListNode<AdminConnection>::Unlink();
    admin_.loop_.Bury(*this);
  }

  Admin& admin_;
  Arena arena_;
  http::RequestHead request_;
  http::ResponseHead response_;
  http::HeaderMap trailers_;
  http::Sender* sender_ = nullptr;
  std::string body_;
  bool replied_ = false;
  http::H1ServerConnection connection_;
};

const http::H1ServerConnection::Callbacks AdminConnection::kCallbacks = {
    .open = [](void* self,
               http::Sender& sender) { return static_cast<AdminConnection*>(self)->Open(sender); },
    .closed = [](void* self) { static_cast<AdminConnection*>(self)->Closed(); },
    .idle_closed = [](void*) {},
    .refused = [](void*, http::Error) {},
};

namespace {

http::H1ServerOptions AdminOptions() {
  http::H1ServerOptions options;
  options.limits.max_head_bytes = 16 * 1024;
  return options;
}

constexpr std::string_view kUnixPrefix = "unix:";
constexpr int kBacklog = 64;

// Takes the place of the socket that a process which is gone has left, and of nothing else. Null,
// or why the path cannot be listened at.
const char* MakeRoom(const sockaddr_un& address) {
  struct stat there{};
  if (lstat(address.sun_path, &there) != 0) return nullptr;
  if (!S_ISSOCK(there.st_mode)) return "something else than a socket is there";
  const int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const bool alive = probe >= 0 && (connect(probe, reinterpret_cast<const sockaddr*>(&address),
                                            sizeof(address)) == 0 ||
                                    errno == EAGAIN);
  if (probe >= 0) close(probe);
  if (alive) return "another process listens there";
  unlink(address.sun_path);
  return nullptr;
}

absl::StatusOr<int> OpenUnixSocket(std::string_view path) {
  sockaddr_un address{};
  if (path.size() >= sizeof(address.sun_path)) {
    return InvalidArgument(
        fmt::format("admin.address: \"{}\" is too long for a unix socket", path));
  }
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  const auto failed = [path](const char* why) {
    return Unavailable(fmt::format("admin: cannot listen on {}: {}", path, why));
  };
  if (const char* why = MakeRoom(address)) return failed(why);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return failed(std::strerror(errno));
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 ||
      listen(fd, kBacklog) != 0) {
    const int error = errno;
    close(fd);
    return failed(std::strerror(error));
  }
  return fd;
}

// "localhost", an address, or no Host at all.
bool IsLocalName(std::string_view authority, Arena& arena) {
  if (authority.empty()) return true;
  const std::optional<http::HostPort> host = http::NormalizeHost(authority, arena);
  if (!host.has_value()) return false;
  if (host->host == "localhost" || host->host.front() == '[') return true;
  net::IpAddress ip;
  return net::IpAddress::Parse(host->host, &ip);
}

}  // namespace

absl::StatusOr<int> OpenAdminSocket(const std::string& address) {
  if (address.starts_with(kUnixPrefix)) {
    return OpenUnixSocket(std::string_view(address).substr(kUnixPrefix.size()));
  }
  const absl::StatusOr<net::Address> where = net::Address::Parse(address);
  if (!where.ok()) return where.status();
  // Without SO_REUSEPORT: a second gateway on the same config is an error, not a surprise.
  absl::StatusOr<int> fd = net::OpenListenSocket(*where, kBacklog, /*reuse_port=*/false);
  if (!fd.ok()) return Unavailable(fmt::format("admin: {}", MessageOf(fd.status())));
  return fd;
}

bool IsAdminSocket(int fd, const std::string& address) {
  sockaddr_storage storage{};
  socklen_t size = sizeof(storage);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &size) != 0) return false;
  if (address.starts_with(kUnixPrefix)) {
    sockaddr_un there{};  // ends in zeros, which the kernel may leave out
    if (storage.ss_family != AF_UNIX) return false;
    std::memcpy(&there, &storage, std::min<size_t>(size, sizeof(there)));
    return address.substr(kUnixPrefix.size()) == there.sun_path;
  }
  const absl::StatusOr<net::Address> asked = net::Address::Parse(address);
  if (!asked.ok() || asked->family() != storage.ss_family) return false;
  const net::Address there(reinterpret_cast<const sockaddr*>(&storage));
  // Any port will do where any was asked for.
  return there.ip() == asked->ip() && (asked->port() == 0 || asked->port() == there.port());
}

Admin::Admin(net::Loop& loop, int fd, Handler handler)
    : loop_(loop), handler_(std::move(handler)), options_(AdminOptions()) {
  socket_ = std::make_unique<net::ListenSocket>(
      loop_, fd,
      net::ListenSocket::Callbacks{this,
                                   [](void* self, int client, const net::Address&) {
                                     static_cast<Admin*>(self)->Accept(client);
                                   },
                                   [](void*) {}});
}

Admin::~Admin() {
  socket_.reset();
  while (AdminConnection* connection = connections_.PopFront()) delete connection;
}

void Admin::StopAccepting() { socket_.reset(); }

void Admin::Accept(int fd) {
  if (count_ >= kMaxConnections) {
    close(fd);
    return;
  }
  ++count_;
  connections_.PushBack(*new AdminConnection(*this, fd));
}

AdminReply Admin::Answer(const http::RequestHead& request) {
  Arena arena;
  if (request.headers.Has(Name::kOrigin) || !IsLocalName(request.authority, arena)) {
    return {.status = 403,
            .body = "The admin address is not for web pages; ask it by IP address or localhost.\n"};
  }
  const size_t query = request.path.find('?');
  return handler_(
      request.method, request.path.substr(0, query),
      query == std::string_view::npos ? std::string_view() : request.path.substr(query + 1));
}

}  // namespace gatehouse::server
