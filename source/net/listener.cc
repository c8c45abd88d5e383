#include "source/net/listener.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>

#include <fmt/format.h>

namespace gatehouse::net {
namespace {

std::string_view Hint(int error) {
  switch (error) {
    case EADDRINUSE:
      return "another process listens there; stop it or choose another port";
    case EACCES:
      return "ports below 1024 need root or CAP_NET_BIND_SERVICE";
    case EADDRNOTAVAIL:
      return "this machine has no such address; 0.0.0.0 is every one";
    case EMFILE:
    case ENFILE:
      return "raise the limit of open files (ulimit -n)";
    default:
      return "see the system's error above";
  }
}

// Zero, which no socket has: not to be told.
uint64_t InodeOf(int fd) {
  struct stat there{};
  return fstat(fd, &there) == 0 ? there.st_ino : 0;
}

}  // namespace

SharedSockets SharedSockets::All() {
  SharedSockets all;
  all.all_ = true;
  return all;
}

void SharedSockets::Add(int fd) { inodes_.insert(InodeOf(fd)); }

bool SharedSockets::Contains(int fd) const { return all_ || inodes_.contains(InodeOf(fd)); }

absl::StatusOr<int> OpenListenSocket(const Address& address, int backlog, bool reuse_port) {
  const auto failed = [&](const char* call, int error) {
    return Unavailable(fmt::format("cannot listen on {}: {}: {} ({})", address.ToString(), call,
                                   std::strerror(error), Hint(error)));
  };
  const int fd = socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
  if (fd < 0) return failed("socket", errno);
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (reuse_port) setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
  // Accepted sockets inherit it, which saves a system call for each.
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  if (bind(fd, address.raw(), address.raw_size()) != 0) {
    const int error = errno;
    close(fd);
    return failed("bind", error);
  }
  if (listen(fd, backlog) != 0) {
    const int error = errno;
    close(fd);
    return failed("listen", error);
  }
  return fd;
}

Address LocalAddress(int fd) {
  sockaddr_storage storage{};
  socklen_t size = sizeof(storage);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &size) != 0) return Address();
  return Address(reinterpret_cast<const sockaddr*>(&storage));
}

ListenSocket::ListenSocket(Loop& loop, int fd, Callbacks callbacks)
    : loop_(loop),
      fd_(fd),
      spare_fd_(open("/dev/null", O_RDONLY | O_CLOEXEC)),
      callbacks_(callbacks),
      events_(
          loop, fd, this, [](void* self, Ready) { static_cast<ListenSocket*>(self)->Accept(); },
          FdEvents::Trigger::kLevelRead) {}

ListenSocket::~ListenSocket() {
  events_.Unregister();
  close(fd_);
  if (spare_fd_ >= 0) close(spare_fd_);
}

// Bound to an interface that there is not, the socket is found by no SYN, while a handshake that
// has begun keeps the interface of its own SYN (docs/decisions/0012). Needs no privilege since
// Linux 5.7. In a group (SO_REUSEPORT) a SYN may still be sent here as long as another socket is
// not bound; it is dropped then, since no route leads back.
bool ListenSocket::StopHandshakes() {
  constexpr int kNoInterface = INT_MAX;
  return setsockopt(fd_, SOL_SOCKET, SO_BINDTOIFINDEX, &kNoInterface, sizeof(kNoInterface)) == 0;
}

void ListenSocket::AcceptAll() {
  while (Accept()) {
  }
}

// False: nothing more waits.
bool ListenSocket::Accept() {
  for (int i = 0; i < kBatch; ++i) {
    sockaddr_storage peer;
    socklen_t size = sizeof(peer);
    const int fd =
        accept4(fd_, reinterpret_cast<sockaddr*>(&peer), &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      callbacks_.accepted(callbacks_.owner, fd, Address(reinterpret_cast<const sockaddr*>(&peer)));
      continue;
    }
    if (errno == ECONNABORTED || errno == EINTR || errno == EPROTO) continue;
    if ((errno == EMFILE || errno == ENFILE) && Shed()) continue;
    return false;
  }
  return true;
}

bool ListenSocket::Shed() {
  if (spare_fd_ < 0) {
    spare_fd_ = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return false;
  }
  close(spare_fd_);
  const int fd = accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
  if (fd >= 0) {
    close(fd);
    callbacks_.shed(callbacks_.owner);
  }
  spare_fd_ = open("/dev/null", O_RDONLY | O_CLOEXEC);
  return fd >= 0;
}

}  // namespace gatehouse::net
