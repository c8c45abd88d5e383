#include "source/net/transport.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "source/net/socket_io.h"

namespace gatehouse::net {

PlainTransport::PlainTransport(Loop& loop, int fd)
    : events_(loop, fd, this,
              [](void* self, Ready ready) { static_cast<PlainTransport*>(self)->Notify(ready); }) {}

PlainTransport::~PlainTransport() {
  if (released_) return;
  const int own = fd();
  events_.Unregister();
  close(own);
}

int PlainTransport::ReleaseFd() {
  events_.Unregister();
  released_ = true;
  return fd();
}

std::unique_ptr<PlainTransport> PlainTransport::Connect(Loop& loop, const Address& to, int* error) {
  const int fd = StartConnect(to, error);
  if (fd < 0) return nullptr;
  auto transport = std::make_unique<PlainTransport>(loop, fd);
  transport->may_write_ = false;
  return transport;
}

int PlainTransport::ConnectError() { return TakeSocketError(fd()); }

bool PlainTransport::broken() const { return TakeSocketError(fd()) != 0; }

IoStatus PlainTransport::Read(Chain& into, size_t limit) {
  const SocketIo got = ReceiveInto(fd(), into, limit, pool());
  if (got.bytes > 0) {
    // A short read says that nothing more is there, unless the end of file is, or an error:
    // libevent tells of EPOLLERR as of any socket that is ready for both.
    short_read_ = !got.full();
    if (short_read_ && !hangup_) may_read_ = false;
    return IoStatus::kOk;
  }
  may_read_ = short_read_ = false;
  if (got.bytes == 0) return IoStatus::kEof;
  return got.would_block() ? IoStatus::kWouldBlock : IoStatus::kError;
}

IoStatus PlainTransport::Write(Chain& from) {
  bool wrote = false;
  while (!from.empty()) {
    const SocketIo sent = SendFrom(fd(), from);
    if (!sent.full()) may_write_ = false;
    if (sent.would_block()) return wrote ? IoStatus::kOk : IoStatus::kWouldBlock;
    if (sent.bytes < 0) return IoStatus::kError;
    if (!sent.full()) break;
    wrote = true;
  }
  return IoStatus::kOk;
}

void PlainTransport::Shutdown() { shutdown(fd(), SHUT_WR); }

void PlainTransport::Abort() {
  const linger now{1, 0};
  setsockopt(fd(), SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

}  // namespace gatehouse::net
