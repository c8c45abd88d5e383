// TlsTransport over real sockets of the loopback, both ends ours.
#include "source/net/tls_transport.h"

#include <malloc.h>

#include <cerrno>
#include <cstdio>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

#include "test/net/tls_certificates.h"
#include "test/net/tls_pair.h"
#include "test/net/tls_raw_client.h"

namespace gatehouse::net {
namespace {

std::shared_ptr<const TlsServerContext> Server(const TlsServerSpec& spec) {
  auto context = TlsServerContext::Create(spec);
  EXPECT_TRUE(context.ok()) << MessageOf(context.status());
  return *std::move(context);
}

std::shared_ptr<const TlsClientContext> Client(const TlsClientSpec& spec) {
  auto context = TlsClientContext::Create(spec);
  EXPECT_TRUE(context.ok()) << MessageOf(context.status());
  return *std::move(context);
}

std::string Noise(size_t size) {
  std::mt19937 random(7);
  std::string noise(size, '\0');
  for (char& c : noise) c = static_cast<char>(random());
  return noise;
}

class TlsTransportTest : public ::testing::Test {
 protected:
  TestCa ca_{"Test CA"};
  TestCertificate site_ = ca_.Issue({});
  TlsServerSpec ServerSpec() {
    return {.name = "web",
            .certificates = {site_.Spec("site")},
            .ticket_keys = TlsTicketKeys::Random(std::chrono::hours(1))};
  }
  TlsClientSpec ClientSpec() { return {.server = {.ca = ca_.Text()}, .alpn = {"h2", "http/1.1"}}; }
};

TEST_F(TlsTransportTest, HandshakeAndBytesBothWays) {
  TlsPair pair(Server(ServerSpec()), Client(ClientSpec()));
  ASSERT_TRUE(pair.Handshake("localhost")) << pair.client->failure() << pair.server->failure();
  EXPECT_EQ(pair.client->connect_error, 0);
  EXPECT_FALSE(pair.client->may_read_when_connected);
  EXPECT_EQ(pair.client->facts().alpn, "h2");
  EXPECT_EQ(pair.server->facts().alpn, "h2");
  EXPECT_EQ(pair.server->facts().server_name, "localhost");
  EXPECT_EQ(pair.server->facts().version, "TLSv1.3");
  EXPECT_EQ(pair.server->facts().cipher, "TLS_AES_128_GCM_SHA256");
  EXPECT_FALSE(pair.server->facts().resumed);
  EXPECT_FALSE(pair.server->facts().has_certificate);
  pair.client->Send("hello");
  ASSERT_TRUE(pair.RunUntil([&] { return pair.server->received == "hello"; }));
  pair.server->Send("hi there");
  ASSERT_TRUE(pair.RunUntil([&] { return pair.client->received == "hi there"; }));
}

TEST_F(TlsTransportTest, MuchBothWaysAtOnce) {
  TlsPair pair(Server(ServerSpec()), Client(ClientSpec()));
  ASSERT_TRUE(pair.Handshake("localhost"));
  const std::string up = Noise(6 << 20);
  const std::string down = Noise(5 << 20);
  pair.client->read_limit = 256 << 10;
  pair.client->Send(up);
  pair.server->Send(down);
  ASSERT_TRUE(pair.RunUntil([&] {
    return pair.server->received.size() >= up.size() && pair.client->received.size() >= down.size();
  }));
  EXPECT_TRUE(pair.server->received == up);
  EXPECT_TRUE(pair.client->received == down);
  EXPECT_EQ(pair.client->unsent(), 0u);
}

TEST_F(TlsTransportTest, SmallSocketBuffers) {
  TlsPair pair(Server(ServerSpec()), Client(ClientSpec()));
  pair.listener.ShrinkReceiveBuffer(4096);
  pair.server_send_buffer = 4096;
  ASSERT_TRUE(pair.Handshake("localhost"));
  const std::string up = Noise(1 << 20);
  const std::string down = Noise(1 << 20);
  pair.client->Send(up);
  pair.server->Send(down);
  ASSERT_TRUE(pair.RunUntil([&] {
    return pair.server->received.size() >= up.size() && pair.client->received.size() >= down.size();
  }));
  EXPECT_TRUE(pair.server->received == up);
  EXPECT_TRUE(pair.client->received == down);
}

// Credit is given back as bytes leave, not as they are encrypted.
TEST_F(TlsTransportTest, WhatHasNotLeftStaysInTheChain) {
  TlsPair pair(Server(ServerSpec()), Client(ClientSpec()));
  pair.server_send_buffer = 16 << 10;
  ASSERT_TRUE(pair.Handshake("localhost"));
  pair.client->paused = true;
  const std::string down = Noise(1 << 20);
  pair.server->Send(down);
  pair.Settle();
  const size_t unsent = pair.server->unsent();
  EXPECT_GT(unsent, 0u);
  EXPECT_FALSE(pair.server->transport().may_write());
  pair.client->paused = false;
  pair.client->Read();
  // What the client has now and what the chain still holds is all, but for what is in the sockets.
  size_t last = unsent;
  int steps = 0;
  ASSERT_TRUE(pair.RunUntil([&] {
    // Each record's overhead is 22 bytes: nothing that the client has is still in the chain.
    EXPECT_GE(down.size() - pair.server->unsent() + 64 * 22, pair.client->received.size());
    EXPECT_LE(pair.server->unsent(), last);
    if (pair.server->unsent() < last) ++steps;
    last = pair.server->unsent();
    return pair.client->received.size() >= down.size();
  }));
  EXPECT_GT(steps, 3);
  EXPECT_TRUE(pair.client->received == down);
}

TEST_F(TlsTransportTest, SmallPiecesShareARecord) {
  TlsPair pair(Server(ServerSpec()), Client(ClientSpec()));
  ASSERT_TRUE(pair.Handshake("localhost"));
  Chain chain;
  for (int i = 0; i < 20; ++i) chain.Append(Slice::Unowned("piece "));
  const int events = pair.client->events;
  EXPECT_EQ(pair.server->transport().Write(chain), IoStatus::kOk);
  EXPECT_TRUE(chain.empty());
  ASSERT_TRUE(pair.RunUntil([&] { return pair.client->received.size() == 120; }));
  EXPECT_EQ(pair.client->events, events + 1);
}

// --- Every split of the stream ---

class TlsSplitTest : public TlsTransportTest {
 protected:
  void Run(TlsVersion version, size_t step) {
    TlsServerSpec server_spec = ServerSpec();
    TlsClientSpec client_spec = ClientSpec();
    client_spec.min_version = version;
    TlsPair pair(Server(server_spec), Client(client_spec));
    TlsTestListener middle;
    TlsSplitter splitter(pair.listener.address);
    splitter.step = step;
    pair.StartClient(middle.address, "localhost");
    int fd = -1;
    ASSERT_TRUE(pair.RunUntil([&] { return (fd = middle.Accept()) >= 0; }));
    splitter.Begin(fd);
    pair.AcceptServer();
    const std::string up = Noise(3000);
    const std::string down = Noise(20000);
    pair.client->Send(up);
    bool sent = false;
    ASSERT_TRUE(pair.RunUntil([&] {
      splitter.Step();
      if (pair.client->established() && pair.server->established() && !std::exchange(sent, true)) {
        pair.server->Send(down);
      }
      return pair.server->received.size() == up.size() &&
             pair.client->received.size() == down.size();
    })) << pair.client->failure()
        << pair.server->failure() << pair.server->received.size();
    EXPECT_TRUE(pair.server->received == up);
    EXPECT_TRUE(pair.client->received == down);
    pair.client->Close();
    ASSERT_TRUE(pair.RunUntil([&] {
      splitter.Step();
      return pair.server->ended;
    }));
    EXPECT_FALSE(pair.server->failed);
  }
};

TEST_F(TlsSplitTest, OneByteAtATime) {
  Run(TlsVersion::kTls13, 1);
  Run(TlsVersion::kTls12, 1);
}
TEST_F(TlsSplitTest, FewBytesAtATime) {
  for (const size_t step : {2u, 3u, 5u, 7u, 100u, 1000u}) Run(TlsVersion::kTls13, step);
}

// --- The end ---

TEST_F(TlsTransportTest, AClosedConnectionEndsClean) {
  TlsPair pair(Server(ServerSpec()), Client(ClientSpec()));
  ASSERT_TRUE(pair.Handshake("localhost"));
  pair.server->Send("bye");
  pair.server->Close();
  ASSERT_TRUE(pair.RunUntil([&] { return pair.client->ended || pair.client->failed; }));
  EXPECT_TRUE(pair.client->ended);
  EXPECT_EQ(pair.client->received, "bye");
  EXPECT_EQ(pair.client->failure(), "");
}

TEST_F(TlsTransportTest, AfterShutdownReadingGoesOn) {
  TlsPair pair(Server(ServerSpec()), Client(ClientSpec()));
  ASSERT_TRUE(pair.Handshake("localhost"));
  pair.client->Send("that is all");
  pair.client->transport().Shutdown();
  ASSERT_TRUE(pair.RunUntil([&] { return pair.server->ended; }));
  EXPECT_EQ(pair.server->received, "that is all");
  const std::string answer = Noise(1 << 20);
  pair.server->Send(answer);
  ASSERT_TRUE(pair.RunUntil([&] { return pair.client->received.size() == answer.size(); }));
  EXPECT_FALSE(pair.client->failed);
}

TEST_F(TlsTransportTest, ShutdownWaitsForWhatIsStillToBeSent) {
  TlsPair pair(Server(ServerSpec()), Client(ClientSpec()));
  pair.server_send_buffer = 4096;
  ASSERT_TRUE(pair.Handshake("localhost"));
  const std::string down = Noise(1 << 20);
  pair.server->shutdown_when_sent = true;
  pair.server->Send(down);
  ASSERT_TRUE(pair.RunUntil([&] { return pair.client->ended || pair.client->failed; }));
  EXPECT_TRUE(pair.client->received == down);
  EXPECT_FALSE(pair.client->failed);
}

TEST_F(TlsTransportTest, AnAbortIsAReset) {
  TlsPair pair(Server(ServerSpec()), Client(ClientSpec()));
  ASSERT_TRUE(pair.Handshake("localhost"));
  pair.server->transport().Abort();
  pair.server->Close();
  ASSERT_TRUE(pair.RunUntil([&] { return pair.client->ended || pair.client->failed; }));
  EXPECT_TRUE(pair.client->failed);
  EXPECT_EQ(pair.client->failure(), "the server has reset the connection");
}

class TlsCutTest : public TlsTransportTest {
 protected:
  // The client sends, the server answers, and the connection is cut: FIN, no close_notify.
  void Open() {
    pair_ = std::make_unique<TlsPair>(Server(ServerSpec()), Client(ClientSpec()));
    splitter_ = std::make_unique<TlsSplitter>(pair_->listener.address);
    splitter_->step = 4096;
    pair_->StartClient(middle_.address, "localhost");
    int fd = -1;
    ASSERT_TRUE(pair_->RunUntil([&] { return (fd = middle_.Accept()) >= 0; }));
    splitter_->Begin(fd);
    pair_->AcceptServer();
    ASSERT_TRUE(
        RunUntil([&] { return pair_->client->established() && pair_->server->established(); }));
    for (int i = 0; i < 20; ++i) RunUntil([] { return true; });
  }
  bool RunUntil(const std::function<bool()>& done) {
    return pair_->RunUntil([&] {
      splitter_->Step();
      return done();
    });
  }
  void Cut() {
    splitter_->Cut();
    ASSERT_TRUE(pair_->RunUntil([&] {
      return (pair_->client->ended || pair_->client->failed) &&
             (pair_->server->ended || pair_->server->failed);
    }));
  }
  TlsTestListener middle_;
  std::unique_ptr<TlsPair> pair_;
  std::unique_ptr<TlsSplitter> splitter_;
};

TEST_F(TlsCutTest, AResponseThatEndsWithoutCloseNotifyIsAnError) {
  Open();
  pair_->client->Send("request");
  pair_->server->Send("response");
  ASSERT_TRUE(RunUntil([&] {
    return pair_->client->received == "response" && pair_->server->received == "request";
  }));
  Cut();
  EXPECT_TRUE(pair_->client->failed);
  EXPECT_EQ(pair_->client->failure(),
            "the server has closed without close_notify; what it sent may be cut short");
  // Requests frame themselves.
  EXPECT_TRUE(pair_->server->ended);
  EXPECT_FALSE(pair_->server->failed);
}

TEST_F(TlsCutTest, AnUnusedConnectionJustEnds) {
  Open();
  Cut();
  EXPECT_TRUE(pair_->client->ended);
  EXPECT_TRUE(pair_->server->ended);
}

TEST_F(TlsCutTest, ACutRecordIsAnErrorForBoth) {
  Open();
  splitter_->up_limit = splitter_->up + 100;
  splitter_->down_limit = splitter_->down + 100;
  pair_->client->Send(Noise(1000));
  pair_->server->Send(Noise(1000));
  ASSERT_TRUE(RunUntil([&] {
    return splitter_->up == splitter_->up_limit && splitter_->down == splitter_->down_limit;
  }));
  for (int i = 0; i < 20; ++i) RunUntil([] { return true; });
  EXPECT_EQ(pair_->server->received, "");
  Cut();
  EXPECT_TRUE(pair_->client->failed);
  EXPECT_TRUE(pair_->server->failed);
}

// --- Handshakes that fail ---

class TlsBadClientTest : public TlsTransportTest {
 protected:
  void Open() {
    pair_ = std::make_unique<TlsPair>(Server(ServerSpec()), Client(ClientSpec()));
    fd_ = ConnectForTest(pair_->listener.address);
    pair_->AcceptServer();
    pair_->Settle();
    EXPECT_FALSE(pair_->server->transport().may_read());
    EXPECT_FALSE(pair_->server->transport().may_write());
  }
  ~TlsBadClientTest() override {
    if (fd_ >= 0) close(fd_);
  }
  std::string Failure() {
    EXPECT_TRUE(pair_->RunUntil([&] { return pair_->server->failed; }));
    EXPECT_FALSE(pair_->server->established());
    EXPECT_EQ(pair_->server->transport().tls(), nullptr);
    return pair_->server->failure();
  }
  void Send(std::string_view text) {
    ASSERT_EQ(send(fd_, text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
  }
  std::unique_ptr<TlsPair> pair_;
  int fd_ = -1;
};

TEST_F(TlsBadClientTest, PlainHttp) {
  Open();
  Send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
  EXPECT_EQ(Failure(), "the client speaks plain HTTP to a TLS port");
  // It is told, and what it sent does not turn the end into a reset.
  pair_->server->Close();
  char alert[64];
  const ssize_t got = recv(fd_, alert, sizeof(alert), 0);
  EXPECT_GE(got, 0);
}

TEST_F(TlsBadClientTest, NotTls) {
  Open();
  Send("\x01\x02\x03\x04\x05\x06\x07\x08");
  EXPECT_EQ(Failure(), "what the client sends is not TLS");
}

TEST_F(TlsBadClientTest, GoneInTheMiddle) {
  Open();
  Send(std::string_view("\x16\x03\x01\x02\x00\x01", 6));
  close(std::exchange(fd_, -1));
  EXPECT_EQ(Failure(), "the client has closed during the handshake");
}

TEST_F(TlsTransportTest, AServerThatIsNotThere) {
  TlsPair pair(Server(ServerSpec()), Client(ClientSpec()));
  Address nobody;
  {
    TlsTestListener closed;
    nobody = closed.address;
  }
  pair.StartClient(nobody, "localhost");
  ASSERT_TRUE(pair.RunUntil([&] { return pair.client->connected; }));
  EXPECT_EQ(pair.client->connect_error, ECONNREFUSED);
  EXPECT_TRUE(pair.client->failed);
}

TEST_F(TlsTransportTest, AServerThatSpeaksNoTls) {
  TlsPair pair(Server(ServerSpec()), Client(ClientSpec()));
  TlsTestListener plain;
  pair.StartClient(plain.address, "localhost");
  int fd = -1;
  ASSERT_TRUE(pair.RunUntil([&] { return (fd = plain.Accept()) >= 0; }));
  const std::string_view text = "HTTP/1.1 400 Bad Request\r\n\r\n";
  ASSERT_EQ(send(fd, text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
  ASSERT_TRUE(pair.RunUntil([&] { return pair.client->connected; }));
  EXPECT_EQ(pair.client->connect_error, EPROTO);
  EXPECT_EQ(pair.client->failure(), "what the server answers is not TLS; is this its TLS port?");
  close(fd);
}

// --- TLS 1.3 behind the handshake ---

TEST_F(TlsTransportTest, KeyUpdatesAreAnswered) {
  TlsPair pair(Server(ServerSpec()), Client(ClientSpec()));
  RawTlsClient raw(pair.listener.address);
  pair.AcceptServer();
  ASSERT_TRUE(pair.RunUntil([&] { return raw.Step() && pair.server->established(); }));
  for (int i = 0; i < 5; ++i) {
    ASSERT_EQ(SSL_key_update(raw.ssl(), SSL_KEY_UPDATE_REQUESTED), 1);
    raw.Write("a");
    ASSERT_TRUE(pair.RunUntil([&] { return pair.server->received.size() == size_t(i) + 1; }));
    pair.server->Send("b");
    ASSERT_TRUE(pair.RunUntil([&] {
      raw.Read();
      return raw.received.size() == size_t(i) + 1;
    }));
  }
  EXPECT_FALSE(raw.failed);
}

TEST_F(TlsTransportTest, EarlyData) {
  for (const bool enabled : {true, false}) {
    TlsServerSpec spec = ServerSpec();
    spec.early_data = enabled;
    TlsPair pair(Server(spec), Client(ClientSpec()));
    const auto set_up = [](SSL_CTX* context, SSL* /*ssl*/) {
      SSL_CTX_set_early_data_enabled(context, 1);
    };
    RawTlsClient first(pair.listener.address, set_up);
    pair.AcceptServer();
    ASSERT_TRUE(pair.RunUntil([&] { return first.Step() && pair.server->established(); }));
    EXPECT_FALSE(pair.server->transport().early_data());
    pair.server->Send("tickets go with the first bytes");
    ASSERT_TRUE(pair.RunUntil([&] {
      first.Read();
      return first.session != nullptr;
    }));

    RawTlsClient second(pair.listener.address, set_up, first.session.get());
    pair.AcceptServer();
    ASSERT_TRUE(pair.RunUntil([&] { return second.Step(); }));
    if (!enabled) {
      EXPECT_EQ(SSL_in_early_data(second.ssl()), 0);
      ASSERT_TRUE(pair.RunUntil([&] { return pair.server->established(); }));
      EXPECT_FALSE(pair.server->transport().early_data());
      EXPECT_TRUE(pair.server->facts().resumed);
      continue;
    }
    ASSERT_NE(SSL_in_early_data(second.ssl()), 0);
    second.Write("GET /early");
    ASSERT_TRUE(pair.RunUntil([&] { return pair.server->received == "GET /early"; }));
    EXPECT_EQ(pair.server->early_received, "GET /early");
    EXPECT_TRUE(pair.server->transport().early_data());
    EXPECT_TRUE(pair.server->facts().resumed);
    pair.server->Send("half");  // before the client's Finished
    ASSERT_TRUE(pair.RunUntil([&] {
      second.Read();
      return second.received == "half";
    }));
    second.Write("late");
    ASSERT_TRUE(pair.RunUntil([&] { return pair.server->received == "GET /earlylate"; }));
    EXPECT_EQ(pair.server->early_received, "GET /early");
    EXPECT_FALSE(pair.server->transport().early_data());
  }
}

// --- Memory ---

TEST_F(TlsTransportTest, AnIdleConnectionIsSmall) {
  TlsPair pair(Server(ServerSpec()), Client(ClientSpec()));
  constexpr size_t kConnections = 200;
  std::vector<std::unique_ptr<TlsEnd>> clients;
  std::vector<std::unique_ptr<TlsEnd>> servers;
  const auto open = [&](size_t count) {
    for (size_t i = 0; i < count; ++i) {
      ASSERT_TRUE(pair.Handshake("localhost"));
      pair.client->Send("GET / HTTP/1.1\r\n\r\n");
      ASSERT_TRUE(pair.RunUntil([&] { return pair.server->received.size() == 18; }));
      pair.server->Send("HTTP/1.1 200 OK\r\n\r\n");
      ASSERT_TRUE(pair.RunUntil([&] { return pair.client->received.size() == 19; }));
      clients.push_back(std::move(pair.client));
      servers.push_back(std::move(pair.server));
    }
  };
  open(20);  // warm
  EXPECT_EQ(pair.loop.slabs().in_use_bytes(), 0u);
  malloc_trim(0);
  const size_t before = mallinfo2().uordblks;
  open(kConnections);
  EXPECT_EQ(pair.loop.slabs().in_use_bytes(), 0u);
  const size_t both = mallinfo2().uordblks;
  for (size_t i = 0; i < kConnections; ++i) clients.pop_back();
  pair.Settle();
  const size_t only_servers = mallinfo2().uordblks;
  const size_t accepted = (only_servers - before) / kConnections;
  const size_t opened = (both - only_servers) / kConnections;
  std::printf("idle: %zu bytes per accepted connection, %zu per opened one\n", accepted, opened);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_LT(accepted, 8192u);
  EXPECT_LT(opened, 8192u);
#endif
}

}  // namespace
}  // namespace gatehouse::net
