#include "source/net/listener.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <iterator>

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

bool ListenSocket::StopHandshakes() {
  // A TCP socket's filter sees the segment from its header on, over IPv4 and IPv6 alike (socket(7),
  // SO_ATTACH_FILTER). What is accepted from now on inherits the filter, which takes
  // nothing from a connection: in one, no SYN comes without ACK.
  constexpr uint32_t kFlagsAt = 13;
  constexpr uint32_t kSyn = 0x02;
  constexpr uint32_t kAck = 0x10;
  sock_filter code[] = {
      {BPF_LD | BPF_B | BPF_ABS, 0, 0, kFlagsAt}, {BPF_ALU | BPF_AND | BPF_K, 0, 0, kSyn | kAck},
      {BPF_JMP | BPF_JEQ | BPF_K, 0, 1, kSyn},    {BPF_RET | BPF_K, 0, 0, 0},
      {BPF_RET | BPF_K, 0, 0, UINT32_MAX},
  };
  const sock_fprog program{static_cast<uint16_t>(std::size(code)), code};
  return setsockopt(fd_, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) == 0;
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
