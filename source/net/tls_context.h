// TlsServerContext and TlsClientContext: what is needed to accept, or open, TLS connections.
// TlsTicketKeys: what session tickets are encrypted with.
//
// Contexts are built on the control path, then const and shared by all workers; a connection keeps
// what it began with, new ones use the newest context. Errors name the secret and the reason, and
// what to do.
//
//   absl::StatusOr<std::shared_ptr<const TlsServerContext>> context =
//       TlsServerContext::Create(spec);
//   std::unique_ptr<Transport> transport = (*context)->Accept(loop, fd);
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "source/base/status.h"
#include "source/net/address.h"
#include "source/net/loop.h"
#include "source/net/tls_spec.h"
#include "source/net/transport.h"

namespace gatehouse::net {

// Keys of session tickets (RFC 5077, section 4). Shared by all workers and all listeners of the
// process. Thread-safe; asked once per handshake.
class TlsTicketKeys {
 public:
  // Random keys that are replaced every `rotate_after`; the ones before go on decrypting for as
  // long again.
  [[nodiscard]] static std::shared_ptr<TlsTicketKeys> Random(Duration rotate_after);
  // Keys that a fleet shares: a line each, at least 32 characters (say 48 random bytes in base64).
  // The first encrypts, all decrypt: rotate by putting a new line in front.
  [[nodiscard]] static absl::StatusOr<std::shared_ptr<TlsTicketKeys>> FromText(const TlsText& text);
  ~TlsTicketKeys();
  TlsTicketKeys(const TlsTicketKeys&) = delete;
  TlsTicketKeys& operator=(const TlsTicketKeys&) = delete;
  struct Keys;  // tls_tickets.h
  [[nodiscard]] Keys& keys() { return *keys_; }

 private:
  TlsTicketKeys();
  std::unique_ptr<Keys> keys_;
};

class TlsServerContext {
 public:
  [[nodiscard]] static absl::StatusOr<std::shared_ptr<const TlsServerContext>> Create(
      const TlsServerSpec& spec);
  ~TlsServerContext();
  TlsServerContext(const TlsServerContext&) = delete;
  TlsServerContext& operator=(const TlsServerContext&) = delete;

  // Any thread. `fd` is a non-blocking connected socket, which the transport owns. The handshake
  // runs inside the transport; its owner's timer bounds it. The context may go before the
  // transport.
  [[nodiscard]] std::unique_ptr<Transport> Accept(Loop& loop, int fd) const;

  // When the first of the certificates ends, in seconds since 1970.
  [[nodiscard]] int64_t not_after() const;

 private:
  struct Inside;
  explicit TlsServerContext(std::unique_ptr<Inside> inside);
  std::unique_ptr<Inside> inside_;
};

// Sessions with one endpoint, to be resumed. Owner: a worker's pool of that endpoint. Bounded.
// Those that another context or another host brought are forgotten.
class TlsSessions {
 public:
  TlsSessions();
  ~TlsSessions();
  TlsSessions(const TlsSessions&) = delete;
  TlsSessions& operator=(const TlsSessions&) = delete;

 private:
  friend class TlsClientContext;
  struct Store;
  std::unique_ptr<Store> store_;  // made with the first session
};

class TlsClientContext {
 public:
  [[nodiscard]] static absl::StatusOr<std::shared_ptr<const TlsClientContext>> Create(
      const TlsClientSpec& spec);
  ~TlsClientContext();
  TlsClientContext(const TlsClientContext&) = delete;
  TlsClientContext& operator=(const TlsClientContext&) = delete;

  // Any thread. As PlainTransport::Connect(); the handshake follows by itself. The transport is
  // write-ready when it is established or has failed, which ConnectError() tells (errno, or EPROTO
  // for TLS) and failure() explains. `host` is the endpoint's name (or address), `sessions` those
  // with it; they outlive the transport.
  [[nodiscard]] std::unique_ptr<Transport> Connect(Loop& loop, const Address& to,
                                                   std::string_view host, TlsSessions& sessions,
                                                   int* error) const;
  // The same over a socket that is connected, or about to be, which the transport then owns.
  [[nodiscard]] std::unique_ptr<Transport> Adopt(Loop& loop, int fd, std::string_view host,
                                                 TlsSessions& sessions) const;

 private:
  struct Inside;
  explicit TlsClientContext(std::unique_ptr<Inside> inside);
  std::unique_ptr<Inside> inside_;
};

}  // namespace gatehouse::net
