#include "source/server/takeover.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <fmt/format.h>

namespace gatehouse::server {
namespace {

// One message per listener: its address text, with its sockets attached. An empty one ends the
// list.
constexpr size_t kMaxSockets = 128;
constexpr size_t kMaxText = 512;
constexpr int kPatienceMs = 10'000;

bool FillAddress(const std::string& path, sockaddr_un* address) {
  if (path.size() >= sizeof(address->sun_path)) return false;
  *address = {};
  address->sun_family = AF_UNIX;
  std::memcpy(address->sun_path, path.data(), path.size());
  return true;
}

absl::Status TooLong(const std::string& path) {
  return InvalidArgument(fmt::format(
      "upgrade_socket: the path \"{}\" is too long for a unix socket (107 bytes)", path));
}

// The process behind a unix socket is of the same user, or root.
bool IsTrusted(int fd) {
  ucred who{};
  socklen_t size = sizeof(who);
  return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0 &&
         (who.uid == geteuid() || who.uid == 0);
}

enum class Sent : uint8_t { kYes, kLater, kNever };

Sent SendSockets(int fd, const std::string& text, const std::vector<int>& sockets) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxSockets)] = {};
  char empty = '\n';
  iovec piece{text.empty() ? &empty : const_cast<char*>(text.data()),
              text.empty() ? 1 : text.size()};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  if (!sockets.empty()) {
    const size_t bytes = sizeof(int) * std::min(sockets.size(), kMaxSockets);
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(bytes);
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(bytes);
    std::memcpy(CMSG_DATA(header), sockets.data(), bytes);
  }
  if (sendmsg(fd, &message, MSG_NOSIGNAL) > 0) return Sent::kYes;
  return errno == EAGAIN || errno == EINTR ? Sent::kLater : Sent::kNever;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Takeover>> Takeover::Ask(const std::string& path) {
  sockaddr_un address;
  if (!FillAddress(path, &address)) return TooLong(path);
  // Packets: one message is one read, with its descriptors.
  const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (fd < 0) return Unavailable(fmt::format("socket: {}", std::strerror(errno)));
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    const int error = errno;
    close(fd);
    if (error == ENOENT || error == ECONNREFUSED) return nullptr;
    return Unavailable(
        fmt::format("cannot reach the running gateway at {}: {}", path, std::strerror(error)));
  }
  std::unique_ptr<Takeover> takeover(new Takeover(fd));
  // Who owned the listening sockets could take connections out of them.
  if (!IsTrusted(fd)) {
    return Unavailable(fmt::format("upgrade_socket: another user listens at {}", path));
  }
  absl::Status received = takeover->Receive();
  if (!received.ok()) return received;
  return takeover;
}

absl::Status Takeover::Receive() {
  while (true) {
    pollfd waiting{fd_, POLLIN, 0};
    if (poll(&waiting, 1, kPatienceMs) <= 0) {
      return Unavailable(
          "the running gateway does not hand over its sockets; is it of another version?");
    }
    char text[kMaxText];
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxSockets)];
    iovec piece{text, sizeof(text)};
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    const ssize_t got = recvmsg(fd_, &message, MSG_CMSG_CLOEXEC);
    if (got <= 0) return Unavailable("the running gateway went away before it handed over");
    std::vector<int> sockets;
    for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
         header = CMSG_NXTHDR(&message, header)) {
      if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
      const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      sockets.resize(count);
      std::memcpy(sockets.data(), CMSG_DATA(header), count * sizeof(int));
    }
    const std::string address(text, static_cast<size_t>(got));
    if (address == "\n") return absl::OkStatus();
    std::vector<int>& known = sockets_[address];
    known.insert(known.end(), sockets.begin(), sockets.end());
  }
}

Takeover::~Takeover() {
  for (auto& [unused, sockets] : sockets_) {
    for (int socket : sockets) close(socket);
  }
  close(fd_);
}

std::vector<int> Takeover::Take(const std::string& address) {
  auto it = sockets_.find(address);
  if (it == sockets_.end()) return {};
  return std::exchange(it->second, {});
}

void Takeover::TellReady() {
  [[maybe_unused]] const ssize_t sent = send(fd_, "ready", 5, MSG_NOSIGNAL);
}

absl::StatusOr<std::unique_ptr<TakeoverOffer>> TakeoverOffer::Open(net::Loop& loop,
                                                                   const std::string& path,
                                                                   Callbacks callbacks) {
  // Bound beside its place and renamed into it: there is always somebody at `path`.
  const std::string beside = fmt::format("{}.{}", path, getpid());
  sockaddr_un address;
  if (!FillAddress(beside, &address)) return TooLong(beside);
  const auto failed = [&](const char* call) {
    return Unavailable(fmt::format("upgrade_socket: {} {}: {}", call, path, std::strerror(errno)));
  };
  const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return failed("socket for");
  unlink(beside.c_str());
  const mode_t before = umask(0077);
  const int bound = bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address));
  umask(before);
  if (bound != 0 || listen(fd, 4) != 0 || rename(beside.c_str(), path.c_str()) != 0) {
    absl::Status status = failed("cannot listen at");
    close(fd);
    unlink(beside.c_str());
    return status;
  }
  return std::unique_ptr<TakeoverOffer>(new TakeoverOffer(loop, path, fd, std::move(callbacks)));
}

TakeoverOffer::TakeoverOffer(net::Loop& loop, std::string path, int fd, Callbacks callbacks)
    : loop_(loop), path_(std::move(path)), fd_(fd), callbacks_(std::move(callbacks)) {
  // When this fails, nothing is like it: the path stays.
  if (stat(path_.c_str(), &own_) != 0) own_ = {};
  KeepSpare();
  events_ = std::make_unique<net::FdEvents>(
      loop_, fd_, this,
      [](void* self, net::Ready) { static_cast<TakeoverOffer*>(self)->OnConnection(); },
      net::FdEvents::Trigger::kLevelRead);
}

TakeoverOffer::~TakeoverOffer() {
  Withdraw();
  if (spare_fd_ >= 0) close(spare_fd_);
}

void TakeoverOffer::Withdraw() {
  DropPeer();
  events_.reset();
  if (fd_ < 0) return;
  // While the socket is open, no other file can have its number.
  struct stat there{};
  if (!replaced_ && stat(path_.c_str(), &there) == 0 && there.st_dev == own_.st_dev &&
      there.st_ino == own_.st_ino) {
    unlink(path_.c_str());
  }
  close(std::exchange(fd_, -1));
}

void TakeoverOffer::OnConnection() {
  int peer = accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (peer < 0 && (errno == EMFILE || errno == ENFILE) && spare_fd_ >= 0) {
    // An upgrade may be what is to help.
    close(std::exchange(spare_fd_, -1));
    peer = accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  }
  if (peer < 0) return KeepSpare();
  if (!IsTrusted(peer) || peer_ >= 0) {
    close(peer);
    return KeepSpare();
  }
  peer_ = peer;
  next_address_.clear();
  next_socket_ = 0;
  Watch(net::FdEvents::Trigger::kLevelBoth);
  SendMore();
}

void TakeoverOffer::Watch(net::FdEvents::Trigger trigger) {
  peer_events_.reset();
  peer_events_ = std::make_unique<net::FdEvents>(
      loop_, peer_, this,
      [](void* self, net::Ready ready) {
        auto* offer = static_cast<TakeoverOffer*>(self);
        // Anything to read before the list has ended is the new process giving up.
        if (ready.read) {
          offer->OnAnswer();
        } else {
          offer->SendMore();
        }
      },
      trigger);
}

// All listeners are more than a socket holds at once. The sockets are asked for again each time: a
// config may have closed some of them in between.
void TakeoverOffer::SendMore() {
  const SocketSet all = callbacks_.sockets();
  for (auto it = all.lower_bound(next_address_); it != all.end(); ++it) {
    const std::vector<int>& sockets = it->second;
    if (it->first != next_address_) next_socket_ = 0;
    next_address_ = it->first;
    while (next_socket_ < sockets.size()) {
      const size_t end = std::min(next_socket_ + kMaxSockets, sockets.size());
      const std::vector<int> part(sockets.begin() + static_cast<ptrdiff_t>(next_socket_),
                                  sockets.begin() + static_cast<ptrdiff_t>(end));
      const Sent sent = SendSockets(peer_, it->first, part);
      if (sent == Sent::kLater) return;
      if (sent == Sent::kNever) return DropPeer();
      next_socket_ = end;
    }
  }
  const Sent sent = SendSockets(peer_, "", {});
  if (sent == Sent::kNever) return DropPeer();
  if (sent == Sent::kYes) Watch(net::FdEvents::Trigger::kLevelRead);
}

void TakeoverOffer::OnAnswer() {
  char answer[16];
  const ssize_t got = recv(peer_, answer, sizeof(answer), 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  const bool ready = got == 5 && std::memcmp(answer, "ready", 5) == 0;
  DropPeer();
  if (!ready) return;  // the new process gave up: nothing has changed
  replaced_ = true;
  Withdraw();
  callbacks_.replaced();
}

void TakeoverOffer::DropPeer() {
  peer_events_.reset();
  if (peer_ >= 0) close(peer_);
  peer_ = -1;
  KeepSpare();
}

void TakeoverOffer::KeepSpare() {
  if (spare_fd_ < 0) spare_fd_ = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

}  // namespace gatehouse::server
