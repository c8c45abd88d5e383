// The PROXY protocol, versions 1 and 2, as haproxy's proxy-protocol.txt describes it: what a proxy
// below HTTP says in front of a connection's first byte about the client that it speaks for.
//
// ParseProxyHeader() and WriteProxyHeader() are pure. A ProxyHeaderReader takes the header off a
// fresh connection and nothing behind it, so that TLS or HTTP finds its own first byte next in the
// socket. Whom to believe is the owner's decision, made before: who is not trusted gets no reader.
//
//   reader_ = std::make_unique<ProxyHeaderReader>(loop, fd, this, [](void* self) { ... });
//   // in the callback:
//   if (reader_->status() == ProxyHeaderStatus::kDone) Serve(reader_->ReleaseFd(),
//   reader_->claim());
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "source/net/address.h"
#include "source/net/loop.h"

namespace gatehouse::net {

// What the header says.
struct ProxyClaim {
  // False: the proxy speaks for itself (LOCAL: its health checks) or names no addresses of ours
  // (UNKNOWN, UNSPEC, UNIX, datagrams). The connection is then from its real peer.
  bool has_addresses = false;
  Address source;
  Address destination;
  // Of version 2; empty when not said.
  std::string authority;  // the host that the client named, by SNI for instance
  std::string unique_id;  // up to 128 bytes of any kind
  bool tls = false;       // the client's connection to the proxy was encrypted
  std::string client_cn;  // of a certificate that the proxy has verified
};

enum class ProxyHeaderStatus : uint8_t {
  kNeedMore,   // all bytes so far fit a header that is not complete
  kDone,       // `size` bytes were a header
  kAbsent,     // it does not begin as a header does: the first byte is the client's own
  kMalformed,  // it begins as one and is none; never to be served
  kClosed,     // of a reader: the peer left before there was a header
};

struct ProxyHeaderResult {
  ProxyHeaderStatus status = ProxyHeaderStatus::kNeedMore;
  size_t size = 0;
  std::string_view reason;  // of kMalformed, for logs; static text
};

// Of the header as a whole that is read: addresses and 4 KiB of what else is said.
inline constexpr size_t kMaxProxyHeaderRead = 16 + 4096;

// `bytes` are the first that came. `claim` is only written with kDone. It allocates only for the
// texts of a ProxyClaim.
[[nodiscard]] ProxyHeaderResult ParseProxyHeader(std::string_view bytes, ProxyClaim& claim);

// Takes the header off a connection. It owns the descriptor until ReleaseFd(). Owner: who would
// serve the connection, and whose timer bounds this. Thread: the loop's.
class ProxyHeaderReader {
 public:
  // Called once, from the loop, when status() is no longer kNeedMore. The owner may destroy the
  // reader in it.
  using Callback = void (*)(void* owner);

  // `fd` is a connected, non-blocking stream socket of which nothing was read.
  ProxyHeaderReader(Loop& loop, int fd, void* owner, Callback callback);
  // Closes the descriptor unless it was released.
  ~ProxyHeaderReader();
  ProxyHeaderReader(const ProxyHeaderReader&) = delete;
  ProxyHeaderReader& operator=(const ProxyHeaderReader&) = delete;

  // False when the kernel refuses to watch the descriptor: no callback will come.
  [[nodiscard]] bool registered() const { return events_.registered(); }
  [[nodiscard]] ProxyHeaderStatus status() const { return result_.status; }
  [[nodiscard]] std::string_view reason() const { return result_.reason; }
  [[nodiscard]] const ProxyClaim& claim() const { return claim_; }
  // The descriptor is the caller's from now on, and unwatched. What follows the header is unread in
  // it; who watches it anew is told so.
  [[nodiscard]] int ReleaseFd();

 private:
  void OnReady(Ready ready);
  [[nodiscard]] ProxyHeaderResult Look(bool hangup);
  [[nodiscard]] bool Consume(size_t size);

  FdEvents events_;
  void* owner_;
  Callback callback_;
  int fd_;
  bool hangup_ = false;  // no more bytes than those in the socket will come
  ProxyHeaderResult result_;
  ProxyClaim claim_;
};

enum class ProxyVersion : uint8_t { kV1, kV2 };

// No header that is written is longer.
inline constexpr size_t kMaxProxyHeader = 108;

// Writes the header for a connection on behalf of a client and returns its size; `out` has room for
// kMaxProxyHeader. A default Address as `source` means that there is no client (a health check, a
// side request): UNKNOWN in version 1, LOCAL in version 2. One as `destination` is written as the
// any-address. When one is IPv4 and the other IPv6, the former is written as ::ffff:a.b.c.d.
size_t WriteProxyHeader(ProxyVersion version, const Address& source, const Address& destination,
                        char* out);

}  // namespace gatehouse::net
