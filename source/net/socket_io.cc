#include "source/net/socket_io.h"

#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

namespace gatehouse::net {
namespace {

constexpr size_t kMaxReadSlabs = 17;
constexpr size_t kMaxWritePieces = 64;
// Below this, the room behind the last slice is not worth a read of its own.
constexpr size_t kMinTailRoom = 2048;

}  // namespace

SocketIo ReceiveInto(int fd, Chain& into, size_t limit, SlabPool& pool) {
  iovec pieces[kMaxReadSlabs];
  Slab* slabs[kMaxReadSlabs];
  size_t piece_count = 0;
  size_t slab_count = 0;
  size_t asked = 0;
  const size_t tail = into.TailRoom();
  if (tail >= std::min(limit, kMinTailRoom)) {
    pieces[piece_count++] = {into.Reserve(tail, pool), tail};
    asked += tail;
  }
  while (asked < limit && piece_count < kMaxReadSlabs) {
    Slab* slab = pool.Get();
    slabs[slab_count++] = slab;
    pieces[piece_count++] = {slab->data(), slab->size};
    asked += slab->size;
  }
  const bool has_tail = piece_count > slab_count;
  ssize_t got;
  do {
    got = piece_count == 1 ? recv(fd, pieces[0].iov_base, pieces[0].iov_len, 0)
                           : readv(fd, pieces, static_cast<int>(piece_count));
  } while (got < 0 && errno == EINTR);
  const int error = errno;

  size_t left = got > 0 ? static_cast<size_t>(got) : 0;
  if (has_tail && left > 0) {
    const size_t taken = std::min(left, pieces[0].iov_len);
    into.Commit(taken);
    left -= taken;
  }
  for (size_t i = 0; i < slab_count; ++i) {
    if (left == 0) {
      pool.Put(slabs[i]);
      continue;
    }
    const size_t taken = std::min<size_t>(left, slabs[i]->size);
    Slice slice(slabs[i], slabs[i]->data(), 0);
    slice.Extend(taken);
    into.Append(std::move(slice));
    left -= taken;
  }
  return {got, asked, error};
}

SocketIo SendFrom(int fd, Chain& from) {
  iovec pieces[kMaxWritePieces];
  const size_t count = from.Gather(pieces, kMaxWritePieces);
  size_t asked = 0;
  for (size_t i = 0; i < count; ++i) asked += pieces[i].iov_len;
  ssize_t sent;
  do {
    if (count == 1) {
      sent = send(fd, pieces[0].iov_base, pieces[0].iov_len, MSG_NOSIGNAL);
    } else {
      msghdr message{};
      message.msg_iov = pieces;
      message.msg_iovlen = count;
      sent = sendmsg(fd, &message, MSG_NOSIGNAL);
    }
  } while (sent < 0 && errno == EINTR);
  const int error = errno;
  if (sent > 0) from.RemovePrefix(static_cast<size_t>(sent));
  return {sent, asked, error};
}

int StartConnect(const Address& to, int* error) {
  const int fd = socket(to.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
  if (fd < 0) {
    *error = errno;
    return -1;
  }
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  if (connect(fd, to.raw(), to.raw_size()) == 0 || errno == EINPROGRESS) return fd;
  *error = errno;
  close(fd);
  return -1;
}

int TakeSocketError(int fd) {
  int error = 0;
  socklen_t size = sizeof(error);
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) return errno;
  return error;
}

}  // namespace gatehouse::net
