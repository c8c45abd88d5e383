// TlsTransport over real sockets of the loopback, both ends ours.
#include "source/net/tls_transport.h"

#include <memory>
#include <random>
#include <string>
#include <utility>

#include "gtest/gtest.h"

#include "test/net/tls_certificates.h"
#include "test/net/tls_pair.h"

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

class TlsTransportTest : public ::testing::TestWithParam<TlsVersion> {
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

}  // namespace
}  // namespace gatehouse::net
