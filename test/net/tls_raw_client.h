// A client that is BoringSSL alone, for what TlsClientContext never does: early data, key updates,
// few algorithms; and a man in the middle who cuts and splits.
//
//   RawTlsClient client(address, [](SSL_CTX* context) { SSL_CTX_set1_sigalgs_list(context, ...);
//   }); RunUntil([&] { return client.Step(); });
#pragma once

#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include "openssl/err.h"
#include "openssl/ssl.h"
#include "openssl/x509.h"
#include "source/base/check.h"
#include "source/net/address.h"

namespace gatehouse::net {

inline int ConnectForTest(const Address& to) {
  const int fd = socket(to.family(), SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK(connect(fd, to.raw(), to.raw_size()) == 0);
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  CHECK(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
  return fd;
}

class RawTlsClient {
 public:
  using SetUp = std::function<void(SSL_CTX*, SSL*)>;
  // `resumed`: a session, or null.
  explicit RawTlsClient(const Address& to, const SetUp& set_up = {}, SSL_SESSION* resumed = nullptr)
      : context_(SSL_CTX_new(TLS_method())), fd_(ConnectForTest(to)) {
    SSL_CTX_set_session_cache_mode(context_.get(), SSL_SESS_CACHE_CLIENT);
    SSL_CTX_sess_set_new_cb(context_.get(), [](SSL* ssl, SSL_SESSION* made) {
      static_cast<RawTlsClient*>(SSL_get_app_data(ssl))->session.reset(made);
      return 1;
    });
    ssl_.reset(SSL_new(context_.get()));
    if (set_up) set_up(context_.get(), ssl_.get());
    // What was set of the context counts for connections that are made after it.
    ssl_.reset(SSL_new(context_.get()));
    if (set_up) set_up(context_.get(), ssl_.get());
    SSL_set_app_data(ssl_.get(), this);
    SSL_set_fd(ssl_.get(), fd_);
    SSL_set_connect_state(ssl_.get());
    if (resumed != nullptr) CHECK(SSL_set_session(ssl_.get(), resumed) == 1);
  }
  ~RawTlsClient() {
    ssl_.reset();
    close(fd_);
  }
  RawTlsClient(const RawTlsClient&) = delete;
  RawTlsClient& operator=(const RawTlsClient&) = delete;

  // True: the handshake is done or has failed.
  bool Step() {
    if (done || failed) return true;
    const int result = SSL_do_handshake(ssl_.get());
    if (result == 1) return done = true;
    const int error = SSL_get_error(ssl_.get(), result);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return false;
    NoteError();
    return true;
  }
  // Reads what there is.
  void Read() {
    char buffer[4096];
    int got;
    while ((got = SSL_read(ssl_.get(), buffer, sizeof(buffer))) > 0) {
      received.append(buffer, static_cast<size_t>(got));
    }
    const int error = SSL_get_error(ssl_.get(), got);
    if (error == SSL_ERROR_ZERO_RETURN) {
      closed = true;
    } else if (error != SSL_ERROR_WANT_READ) {
      NoteError();
    }
  }
  void Write(std::string_view text) {
    CHECK(SSL_write(ssl_.get(), text.data(), static_cast<int>(text.size())) ==
          static_cast<int>(text.size()));
  }
  [[nodiscard]] SSL* ssl() { return ssl_.get(); }
  [[nodiscard]] int fd() const { return fd_; }
  [[nodiscard]] std::string PeerName() const {
    bssl::UniquePtr<X509> leaf(SSL_get_peer_certificate(ssl_.get()));
    char name[256] = "";
    if (leaf != nullptr) {
      X509_NAME_get_text_by_NID(X509_get_subject_name(leaf.get()), NID_commonName, name,
                                sizeof(name));
    }
    return name;
  }

  bool done = false;
  bool failed = false;
  bool closed = false;
  int alert = 0;  // that the server has sent
  std::string received;
  bssl::UniquePtr<SSL_SESSION> session;  // the last that came

 private:
  void NoteError() {
    failed = true;
    const uint32_t error = ERR_peek_error();
    const int reason = ERR_GET_REASON(error);
    if (ERR_GET_LIB(error) == ERR_LIB_SSL && reason > SSL_AD_REASON_OFFSET) {
      alert = reason - SSL_AD_REASON_OFFSET;
    }
    ERR_clear_error();
  }

  bssl::UniquePtr<SSL_CTX> context_;
  int fd_;
  bssl::UniquePtr<SSL> ssl_;
};

// Between a client and a server: hands on a few bytes per Step().
class TlsSplitter {
 public:
  explicit TlsSplitter(const Address& to) : to_(to) {}
  ~TlsSplitter() { Cut(); }
  TlsSplitter(const TlsSplitter&) = delete;
  TlsSplitter& operator=(const TlsSplitter&) = delete;

  void Begin(int client_fd) {
    client_ = client_fd;
    server_ = ConnectForTest(to_);
  }
  void Step() {
    if (client_ < 0) return;
    up += Move(client_, server_, up_limit - std::min(up, up_limit), &up_ended_);
    down += Move(server_, client_, down_limit - std::min(down, down_limit), &down_ended_);
  }
  // FIN to both.
  void Cut() {
    if (client_ >= 0) close(client_);
    if (server_ >= 0) close(server_);
    client_ = server_ = -1;
  }

  size_t step = 1;
  size_t up = 0;  // bytes handed on so far
  size_t down = 0;
  size_t up_limit = SIZE_MAX;
  size_t down_limit = SIZE_MAX;

 private:
  size_t Move(int from, int to, size_t most, bool* ended) {
    char buffer[4096];
    const ssize_t got = recv(from, buffer, std::min({step, most, sizeof(buffer)}), MSG_DONTWAIT);
    if (got == 0 && most > 0 && !std::exchange(*ended, true)) shutdown(to, SHUT_WR);
    if (got <= 0) return 0;
    CHECK(send(to, buffer, static_cast<size_t>(got), MSG_NOSIGNAL) == got || step == 0);
    return static_cast<size_t>(got);
  }

  Address to_;
  int client_ = -1;
  int server_ = -1;
  bool up_ended_ = false;
  bool down_ended_ = false;
};

}  // namespace gatehouse::net
