// Transport: the byte stream of one connection (plain TCP here; TLS and the pipes of tests are
// others). Virtual, called once per readiness event, never per byte.
//
// Owner: a downstream or upstream connection, on one loop. Readiness is edge-triggered: the
// callback of SetReady() tells of a change, may_read() and may_write() tell the state. The callback
// is the last thing that a transport does in an event: the owner may destroy it (at the end of the
// turn, by Loop::Bury).
//
//   size_t got = 0;
//   switch (transport.Read(chain, 16384)) { case IoStatus::kOk: ... }
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "source/base/chain.h"
#include "source/net/address.h"
#include "source/net/loop.h"

namespace gatehouse::net {

struct TlsFacts;

enum class IoStatus : uint8_t {
  kOk,          // some bytes moved
  kWouldBlock,  // none now; the callback comes when there may be
  kEof,         // Read: the peer has sent its last byte
  kError,       // the connection is dead
};

class Transport {
 public:
  using ReadyCallback = FdEvents::Callback;

  virtual ~Transport() = default;
  Transport() = default;
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;

  // One read of up to about `limit` bytes, appended to `into`.
  [[nodiscard]] virtual IoStatus Read(Chain& into, size_t limit) = 0;
  // Writes from the front of `from` until it is empty or the peer takes no more; what was taken is
  // removed. kOk also when some is left.
  [[nodiscard]] virtual IoStatus Write(Chain& from) = 0;
  // No more will be written; reading goes on.
  virtual void Shutdown() = 0;
  // Closing will tell the peer that something went wrong (RST), and drop what was not sent.
  virtual void Abort() = 0;
  // Zero once a connect succeeded, else errno. Asked when write-ready for the first time.
  [[nodiscard]] virtual int ConnectError() = 0;

  // The peer has reset the connection. Asked when an event comes while nothing is to be read: a
  // reset behind bytes that are left unread gives no other sign.
  [[nodiscard]] virtual bool broken() const { return false; }

  // False when the kernel refuses to watch the socket: nothing will ever be told.
  [[nodiscard]] virtual bool registered() const { return true; }

  // TLS: there is nothing to read or write before the handshake is done. One that fails becomes
  // readable, and Read() tells of the error.
  [[nodiscard]] virtual bool established() const { return true; }
  // Of an established TLS connection; null for others.
  [[nodiscard]] virtual const TlsFacts* tls() const { return nullptr; }
  // What is read now came before the handshake was complete and may be a replay (RFC 8446, section
  // 8; RFC 8470).
  [[nodiscard]] virtual bool early_data() const { return false; }
  // Why the connection could not be made or broke, in words; empty when that is all that is known.
  [[nodiscard]] virtual std::string_view failure() const { return {}; }

  void SetReady(void* owner, ReadyCallback callback) {
    owner_ = owner;
    callback_ = callback;
  }
  [[nodiscard]] bool may_read() const { return may_read_; }
  // For who waits for the rest of a message: also when there seems to be nothing. A reset that
  // comes together with bytes gives no sign of its own, and no other event follows.
  [[nodiscard]] bool may_read_on() const { return may_read_ || short_read_; }
  [[nodiscard]] bool may_write() const { return may_write_; }

 protected:
  void Notify(Ready ready) {
    may_read_ |= ready.read || ready.hangup;
    may_write_ |= ready.write;
    hangup_ |= ready.hangup;
    if (callback_ != nullptr) callback_(owner_, ready);
  }

  bool may_read_ = false;
  bool may_write_ = true;
  bool hangup_ = false;      // end of file is near: a short read is not the last one
  bool short_read_ = false;  // the last read gave less than was asked for

 private:
  void* owner_ = nullptr;
  ReadyCallback callback_ = nullptr;
};

// A TCP socket. Owns the descriptor.
class PlainTransport final : public Transport {
 public:
  // `fd` is non-blocking.
  PlainTransport(Loop& loop, int fd);
  // Starts to connect. On failure `error` is errno and the result null; otherwise ConnectError()
  // tells how it went when the transport becomes write-ready.
  [[nodiscard]] static std::unique_ptr<PlainTransport> Connect(Loop& loop, const Address& to,
                                                               int* error);
  ~PlainTransport() override;

  [[nodiscard]] IoStatus Read(Chain& into, size_t limit) override;
  [[nodiscard]] IoStatus Write(Chain& from) override;
  void Shutdown() override;
  void Abort() override;
  [[nodiscard]] int ConnectError() override;
  [[nodiscard]] int fd() const { return events_.fd(); }
  // The descriptor is the caller's; the transport is good for nothing any more.
  [[nodiscard]] int ReleaseFd();
  [[nodiscard]] bool broken() const override;
  [[nodiscard]] bool registered() const override { return events_.registered(); }

 private:
  [[nodiscard]] SlabPool& pool() const { return events_.loop().slabs(); }

  FdEvents events_;
  bool released_ = false;
};

}  // namespace gatehouse::net
