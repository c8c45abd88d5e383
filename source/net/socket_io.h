// What the transports do with sockets: connect, and one system call between a socket and a chain.
//
// Thread: the loop's that owns the chain. Nothing is kept.
//
//   const SocketIo got = ReceiveInto(fd, chain, 16384, loop.slabs());
//   if (got.bytes > 0 && !got.full()) ...   // nothing more is there for now
#pragma once

#include <cerrno>
#include <cstddef>

#include "source/base/chain.h"
#include "source/net/address.h"

namespace gatehouse::net {

struct SocketIo {
  ptrdiff_t bytes;  // as recv() or send() returned it
  size_t asked;
  int error;  // errno, if bytes < 0

  [[nodiscard]] bool full() const { return bytes > 0 && static_cast<size_t>(bytes) == asked; }
  [[nodiscard]] bool would_block() const {
    return bytes < 0 && (error == EAGAIN || error == EWOULDBLOCK);
  }
};

// Appends up to about `limit` bytes: to the room behind the last slice, if that is worth a read,
// and to as many slabs as it takes.
[[nodiscard]] SocketIo ReceiveInto(int fd, Chain& into, size_t limit, SlabPool& pool);
// Sends from the front of `from`, which is not empty, and removes what was taken.
[[nodiscard]] SocketIo SendFrom(int fd, Chain& from);

// A socket that begins to connect, or -1 and errno in `error`.
[[nodiscard]] int StartConnect(const Address& to, int* error);

// Takes the error that the socket has: errno, or 0.
[[nodiscard]] int TakeSocketError(int fd);

}  // namespace gatehouse::net
