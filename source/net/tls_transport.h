// TlsTransport: TLS over one TCP socket, connect and handshake included. Owns the descriptor.
//
// Owner and thread as for any Transport. BoringSSL never sees the socket: it reads from and writes
// to chains, so that a wake-up costs one recv() and one sendmsg() whatever the records are.
//
//   kConnecting --> kHandshake --> kOpen
//        |              |            |
//        +--------------+------------+--> kFailed    failure() says why
//
// What is ready is exact, as readiness is edge-triggered: plaintext that BoringSSL holds, or the
// end that it has seen, keeps may_read() true.
//
// An end of file without close_notify may be an attacker's. Where a server reads it is still kEof
// if no record is cut: requests frame themselves, and clients that half-close so are many. Where a
// client reads it is kError once data has come, as a response may end with the connection (RFC
// 9112, section 9.8).
//
// Contexts make them: TlsServerContext::Accept(), TlsClientContext::Connect().
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "openssl/base.h"
#include "source/base/chain.h"
#include "source/net/loop.h"
#include "source/net/tls_spec.h"
#include "source/net/transport.h"

namespace gatehouse::net {

class TlsSessions;

class TlsTransport final : public Transport {
 public:
  // `fd` is non-blocking. A client's may still be connecting.
  TlsTransport(Loop& loop, int fd, bssl::UniquePtr<SSL> ssl);
  ~TlsTransport() override;

  [[nodiscard]] IoStatus Read(Chain& into, size_t limit) override;
  // What has become ciphertext stays at the front of `from` until that has left: `from` is the same
  // chain each time and only grows, or is never written again.
  [[nodiscard]] IoStatus Write(Chain& from) override;
  void Shutdown() override;
  void Abort() override;
  [[nodiscard]] int ConnectError() override { return connect_error_; }

  [[nodiscard]] bool broken() const override;
  [[nodiscard]] bool registered() const override { return events_.registered(); }
  [[nodiscard]] bool established() const override { return established_; }
  [[nodiscard]] const TlsFacts* tls() const override { return established_ ? &facts_ : nullptr; }
  // Until the client's Finished has been read. What came before is safe as soon as that has: who
  // replays it cannot finish.
  [[nodiscard]] bool early_data() const override;
  [[nodiscard]] std::string_view failure() const override { return failure_; }

  // For the contexts, and the callbacks that BoringSSL calls during a handshake.
  [[nodiscard]] static TlsTransport& Of(const SSL* ssl);
  // Whom the server must be, and the sessions with it (which outlive this), of a client.
  void SetServer(std::string_view host, TlsSessions& sessions);
  [[nodiscard]] const std::string& host() const { return host_; }
  [[nodiscard]] TlsSessions* sessions() const { return sessions_; }
  [[nodiscard]] Loop& loop() const { return events_.loop(); }
  // Why the handshake is about to be refused, in words.
  void Explain(std::string why) { failure_ = std::move(why); }

 private:
  friend struct TlsBio;  // the chains, as BoringSSL sees them
  enum class State : uint8_t { kConnecting, kHandshake, kOpen, kFailed };

  void OnReady(Ready ready);
  void FinishConnect();
  void Handshake();
  void Establish();
  bool DescribePeer();
  void LookForData();
  bool FillOn(size_t limit);
  IoStatus ReadBeyondEnd();
  [[nodiscard]] bool MayHoldRecord() const;
  IoStatus Decrypt(Chain& into, size_t limit);
  int ReadRecord(Chain& into, size_t limit);
  IoStatus EndOfReading(int result);
  bool Encrypt(const Chain& from);
  void Release(Chain& from);
  // False: nothing can be written any more.
  bool Flush();
  void Fail(int result);
  void Break();
  void DiscardInput();
  void UpdateFlags();
  [[nodiscard]] bool is_server() const;
  [[nodiscard]] int fd() const { return events_.fd(); }
  [[nodiscard]] SlabPool& pool() const { return events_.loop().slabs(); }

  FdEvents events_;
  Chain in_;   // ciphertext from the socket
  Chain out_;  // and to it
  bssl::UniquePtr<SSL> ssl_;
  size_t encrypted_ = 0;  // bytes at the front of the owner's chain that are in out_, at most
  TlsSessions* sessions_ = nullptr;
  int connect_error_ = 0;
  int socket_error_ = 0;
  State state_ = State::kHandshake;
  bool established_ = false;
  bool socket_readable_ = false;
  bool socket_writable_ = false;
  bool socket_eof_ = false;
  bool record_cut_ = false;  // the end of file came inside a record
  bool got_data_ = false;
  bool ended_ = false;  // Read() has told the end
  bool tell_ = false;   // Read() has an end or an error to tell
  bool write_failed_ = false;
  bool aborted_ = false;
  bool shut_down_ = false;
  bool fin_sent_ = false;
  std::string host_;
  std::string failure_;
  TlsFacts facts_;
};

}  // namespace gatehouse::net
