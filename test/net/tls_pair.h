// A TLS client and a TLS server over the loopback, in one loop; and the owner that each of them
// has.
//
//   TlsPair pair(server_context, client_context);
//   pair.Connect("localhost");
//   ASSERT_TRUE(pair.RunUntil([&] { return pair.server->established(); }));
//   pair.client->Send("GET ...");
#pragma once

#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "source/base/chain.h"
#include "source/base/check.h"
#include "source/net/tls_context.h"
#include "source/net/transport.h"
#include "test/fakes/manual_clock.h"

namespace gatehouse::net {

// Owns a transport as a connection does: reads what there is when told, writes what is left when it
// may. It never looks again by itself, so that a forgotten readiness shows as a test that hangs.
class TlsEnd {
 public:
  TlsEnd(Loop& loop, std::unique_ptr<Transport> transport)
      : transport_(std::move(transport)), loop_(loop) {
    transport_->SetReady(
        this, [](void* self, Ready /*ready*/) { static_cast<TlsEnd*>(self)->OnReady(); });
  }

  void Send(std::string_view text) {
    out_.AppendCopy(text, loop_.slabs());
    Write();
  }
  void Write() {
    while (!out_.empty() && transport_->may_write()) {
      write_status = transport_->Write(out_);
      if (write_status == IoStatus::kError) break;
    }
  }
  void Read() {
    while (!paused && transport_->may_read()) {
      const bool early = transport_->early_data();
      Chain chain;
      read_status = transport_->Read(chain, read_limit);
      const bool still_early = transport_->early_data();
      while (chain.slices() > 0) {
        const Slice slice = chain.TakeFront();
        received += slice.view();
        if (early && still_early) early_received += slice.view();
      }
      if (read_status == IoStatus::kEof) ended = true;
      if (read_status == IoStatus::kError) failed = true;
    }
  }
  void OnReady() {
    ++events;
    if (!connected && transport_->may_write()) {
      connected = true;
      connect_error = transport_->ConnectError();
      may_read_when_connected = transport_->may_read();
    }
    Read();
    Write();
    if (out_.empty() && shutdown_when_sent) transport_->Shutdown();
  }

  [[nodiscard]] Transport& transport() { return *transport_; }
  [[nodiscard]] bool established() const { return transport_->established(); }
  [[nodiscard]] std::string failure() const { return std::string(transport_->failure()); }
  [[nodiscard]] const TlsFacts& facts() const {
    CHECK(transport_->tls() != nullptr);
    return *transport_->tls();
  }
  [[nodiscard]] size_t unsent() const { return out_.bytes(); }
  void Close() { transport_.reset(); }

  std::string received;
  std::string early_received;
  IoStatus read_status = IoStatus::kWouldBlock;
  IoStatus write_status = IoStatus::kOk;
  bool ended = false;
  bool failed = false;
  bool connected = false;
  bool may_read_when_connected = false;
  bool paused = false;
  bool shutdown_when_sent = false;
  int connect_error = -1;
  int events = 0;
  size_t read_limit = 16384;

 private:
  std::unique_ptr<Transport> transport_;
  Loop& loop_;
  Chain out_;
};

// A listening socket on a free port.
class TlsTestListener {
 public:
  TlsTestListener() : fd_(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
    const Address any = *Address::Parse("127.0.0.1:0");
    CHECK(bind(fd_, any.raw(), any.raw_size()) == 0);
    CHECK(listen(fd_, 128) == 0);
    sockaddr_in bound{};
    socklen_t size = sizeof(bound);
    CHECK(getsockname(fd_, reinterpret_cast<sockaddr*>(&bound), &size) == 0);
    address = Address(reinterpret_cast<const sockaddr*>(&bound));
  }
  ~TlsTestListener() { close(fd_); }
  TlsTestListener(const TlsTestListener&) = delete;
  TlsTestListener& operator=(const TlsTestListener&) = delete;
  // For those that are accepted from now on.
  void ShrinkReceiveBuffer(int bytes) const {
    setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
  }
  // -1: nobody is there.
  [[nodiscard]] int Accept() const { return accept4(fd_, nullptr, nullptr, SOCK_NONBLOCK); }

  Address address;

 private:
  int fd_;
};

class TlsPair {
 public:
  explicit TlsPair(std::shared_ptr<const TlsServerContext> server_context,
                   std::shared_ptr<const TlsClientContext> client_context)
      : server_context_(std::move(server_context)), client_context_(std::move(client_context)) {}
  ~TlsPair() { Close(); }

  // A new connection, in place of the last one.
  void Connect(std::string_view host) {
    Close();
    StartClient(listener.address, host);
    AcceptServer();
  }
  void StartClient(const Address& to, std::string_view host) {
    int error = 0;
    std::unique_ptr<Transport> transport =
        client_context_->Connect(loop, to, host, sessions, &error);
    CHECK(transport != nullptr);
    client = std::make_unique<TlsEnd>(loop, std::move(transport));
  }
  void AcceptServer() {
    int fd = -1;
    CHECK(RunUntil([&] { return (fd = listener.Accept()) >= 0; }));
    if (server_send_buffer > 0) {
      setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &server_send_buffer, sizeof(server_send_buffer));
    }
    server = std::make_unique<TlsEnd>(loop, server_context_->Accept(loop, fd));
  }
  // Until both ends are there, or one has failed and the other knows.
  bool Handshake(std::string_view host) {
    Connect(host);
    RunUntil([&] {
      return (server->established() || server->failed) && client->connected &&
             (client->connect_error != 0 || !server->failed || client->failed);
    });
    return server->established() && client->established();
  }
  bool RunUntil(const std::function<bool()>& done) {
    for (int i = 0; i < 20'000'000; ++i) {
      if (done()) return true;
      loop.RunTurn(false);
    }
    return false;
  }
  void Settle() {
    for (int i = 0; i < 20; ++i) loop.RunTurn(false);
  }
  void Close() {
    client.reset();
    server.reset();
  }
  void UseServer(std::shared_ptr<const TlsServerContext> context) {
    server_context_ = std::move(context);
  }
  void UseClient(std::shared_ptr<const TlsClientContext> context) {
    client_context_ = std::move(context);
  }

  ManualClock clock;
  Loop loop{clock};
  TlsTestListener listener;
  TlsSessions sessions;
  std::unique_ptr<TlsEnd> client;
  std::unique_ptr<TlsEnd> server;
  int server_send_buffer = 0;  // 0: the system's

 private:
  std::shared_ptr<const TlsServerContext> server_context_;
  std::shared_ptr<const TlsClientContext> client_context_;
};

}  // namespace gatehouse::net
