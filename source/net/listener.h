// ListenSocket: one worker's own SO_REUSEPORT socket of one listener address.
//
// Owner: the worker's listener, on its loop. Accepts in batches. Out of file descriptors it sheds:
// a spare descriptor is given up to accept and close, so that clients see a closed connection at
// once and the loop does not spin.
#pragma once

#include <cstdint>
#include <set>

#include "source/base/status.h"
#include "source/base/timer_wheel.h"
#include "source/net/address.h"
#include "source/net/loop.h"

namespace gatehouse::net {

// Opens a listening socket (non-blocking, TCP_NODELAY for what it accepts). `reuse_port`: several
// sockets share the address.
[[nodiscard]] absl::StatusOr<int> OpenListenSocket(const Address& address, int backlog,
                                                   bool reuse_port = true);
// The address that a listening socket has: tells the port when 0 was asked for.
[[nodiscard]] Address LocalAddress(int fd);

// Sockets that somebody else serves on as well, by another descriptor: what they do may not change
// when one of the two goes.
class SharedSockets {
 public:
  [[nodiscard]] static SharedSockets All();
  void Add(int fd);
  // Whatever descriptor of the socket it is.
  [[nodiscard]] bool Contains(int fd) const;

 private:
  bool all_ = false;
  std::set<uint64_t> inodes_;
};

class ListenSocket {
 public:
  struct Callbacks {
    void* owner;
    // A new connection: non-blocking descriptor, which the callee owns from here.
    void (*accepted)(void* owner, int fd, const Address& peer);
    // A connection was closed at once since no descriptor was left for it.
    void (*shed)(void* owner);
  };

  // Owns `fd`.
  ListenSocket(Loop& loop, int fd, Callbacks callbacks);
  ~ListenSocket();
  ListenSocket(const ListenSocket&) = delete;
  ListenSocket& operator=(const ListenSocket&) = delete;

  [[nodiscard]] int fd() const { return fd_; }
  // Lets handshakes under way end and begins no other: who comes is refused. That is for good, and
  // for all descriptors of the socket. False: the system cannot, and nothing has changed.
  [[nodiscard]] bool StopHandshakes();
  // Accepts all that waits: before the socket is closed for good.
  void AcceptAll();

 private:
  bool Accept();
  bool Shed();

  static constexpr int kBatch = 64;

  Loop& loop_;
  int fd_;
  int spare_fd_;
  Callbacks callbacks_;
  FdEvents events_;
};

}  // namespace gatehouse::net
