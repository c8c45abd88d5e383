// Whom a server lets in, and whom a client believes.
#include "source/net/tls_peer.h"

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "test/net/tls_certificates.h"
#include "test/net/tls_pair.h"
#include "test/net/tls_raw_client.h"

namespace gatehouse::net {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using ClientCertificates = TlsServerSpec::ClientCertificates;
using Kind = SanMatcher::Kind;
using How = SanMatcher::How;

class TlsPeerTest : public ::testing::Test {
 protected:
  TlsServerSpec ServerSpec() {
    return {.name = "web", .certificates = {site_.Spec("site")}, .ticket_keys = keys_};
  }
  // Asks clients for a certificate.
  TlsServerSpec AskingSpec(ClientCertificates how = ClientCertificates::kRequired) {
    TlsServerSpec spec = ServerSpec();
    spec.client_certificates = how;
    spec.client.ca = clients_ca_.Text();
    return spec;
  }
  TlsClientSpec ClientSpec() { return {.server = {.ca = ca_.Text()}}; }
  TlsClientSpec ClientWith(const TestCertificate& certificate) {
    TlsClientSpec spec = ClientSpec();
    spec.certificate = certificate.Spec("client");
    return spec;
  }
  static std::shared_ptr<const TlsServerContext> Server(const TlsServerSpec& spec) {
    auto context = TlsServerContext::Create(spec);
    if (!context.ok()) ADD_FAILURE() << MessageOf(context.status());
    CHECK(context.ok());
    return *std::move(context);
  }
  static std::shared_ptr<const TlsClientContext> Client(const TlsClientSpec& spec) {
    auto context = TlsClientContext::Create(spec);
    if (!context.ok()) ADD_FAILURE() << MessageOf(context.status());
    CHECK(context.ok());
    return *std::move(context);
  }
  // What the client says: "" if bytes went both ways.
  std::string Try(const TlsServerSpec& server, const TlsClientSpec& client,
                  std::string_view host = "localhost") {
    pair_ = std::make_unique<TlsPair>(Server(server), Client(client));
    return Again(host);
  }
  std::string Again(std::string_view host = "localhost") {
    pair_->Handshake(host);
    if (pair_->client->established()) pair_->client->Send("ping");
    pair_->RunUntil([&] {
      return pair_->server->received == "ping" || pair_->client->failed || pair_->server->failed;
    });
    if (pair_->server->established()) pair_->server->Send("pong");
    pair_->RunUntil([&] { return pair_->client->received == "pong" || pair_->client->failed; });
    return pair_->client->failed ? "refused: " + pair_->client->failure() : "";
  }
  std::string ServerSays() { return pair_->server->failure(); }

  TestCa ca_{"Test CA"};
  TestCa clients_ca_{"Clients CA"};
  TestCertificate site_ = ca_.Issue({.names = "DNS:localhost,IP:127.0.0.1,DNS:*.b.example"});
  std::shared_ptr<TlsTicketKeys> keys_ = TlsTicketKeys::Random(std::chrono::hours(1));
  std::unique_ptr<TlsPair> pair_;
};

// --- Clients look at servers ---

TEST_F(TlsPeerTest, NamesOfServers) {
  const TlsServerSpec server = ServerSpec();
  const TlsClientSpec client = ClientSpec();
  EXPECT_EQ(Try(server, client, "localhost"), "");
  EXPECT_EQ(Try(server, client, "LocalHost."), "");
  EXPECT_EQ(Try(server, client, "127.0.0.1"), "");
  EXPECT_EQ(Try(server, client, "x.b.example"), "");
  EXPECT_EQ(Try(server, client, "users.internal"),
            "refused: the server's certificate is for localhost, *.b.example, 127.0.0.1, not for "
            "users.internal");
  EXPECT_EQ(pair_->client->connect_error, EPROTO);
  EXPECT_EQ(ServerSays(), "the client does not accept our certificate (alert: bad certificate)");
  for (const char* host : {"127.0.0.2", "::1", "b.example", "y.x.b.example", "leaf"}) {
    EXPECT_THAT(Try(server, client, host), HasSubstr("not for " + std::string(host)));
  }
  // A name that was configured is sent, and expected.
  TlsClientSpec named = client;
  named.server_name = "y.b.example";
  EXPECT_EQ(Try(server, named, "10.9.8.7"), "");
  EXPECT_EQ(pair_->server->facts().server_name, "y.b.example");
}

TEST_F(TlsPeerTest, SanMatchersReplaceTheName) {
  const TestCertificate site = ca_.Issue(
      {.names = "DNS:users.internal,URI:spiffe://prod/users,IP:10.1.2.3,email:Ops@Example.com"});
  TlsServerSpec server = ServerSpec();
  server.certificates = {site.Spec("site")};
  const auto matches = [&](Kind kind, How how, const std::string& value) {
    TlsClientSpec client = ClientSpec();
    client.server.names = {{.kind = kind, .how = how, .value = value}};
    return Try(server, client).empty();
  };
  EXPECT_TRUE(matches(Kind::kDns, How::kExact, "Users.Internal"));
  EXPECT_FALSE(matches(Kind::kDns, How::kExact, "localhost"));
  EXPECT_TRUE(matches(Kind::kDns, How::kPrefix, "users."));
  EXPECT_TRUE(matches(Kind::kDns, How::kSuffix, ".internal"));
  EXPECT_FALSE(matches(Kind::kDns, How::kSuffix, ".external"));
  EXPECT_TRUE(matches(Kind::kUri, How::kExact, "spiffe://prod/users"));
  EXPECT_FALSE(matches(Kind::kUri, How::kExact, "spiffe://prod/user"));
  EXPECT_TRUE(matches(Kind::kUri, How::kPrefix, "spiffe://prod/"));
  EXPECT_TRUE(matches(Kind::kUri, How::kSuffix, "/users"));
  EXPECT_TRUE(matches(Kind::kIp, How::kExact, "10.1.2.3"));
  EXPECT_FALSE(matches(Kind::kIp, How::kExact, "10.1.2.4"));
  EXPECT_TRUE(matches(Kind::kIp, How::kPrefix, "10.1."));
  EXPECT_TRUE(matches(Kind::kEmail, How::kExact, "Ops@example.COM"));
  EXPECT_FALSE(matches(Kind::kEmail, How::kExact, "ops@example.com"));
  EXPECT_TRUE(matches(Kind::kEmail, How::kSuffix, "@example.com"));

  TlsClientSpec client = ClientSpec();
  client.server.names = {{.value = "a.example"},
                         {.kind = Kind::kUri, .how = How::kPrefix, .value = "spiffe://dev/"}};
  EXPECT_EQ(Try(server, client),
            "refused: the server's certificate is for users.internal, 10.1.2.3, "
            "spiffe://prod/users, Ops@example.com, and this needs: DNS name a.example, or URI that "
            "begins with spiffe://dev/");
  client.server.names = {{.kind = Kind::kIp, .value = "10.1.2"}};
  EXPECT_THAT(MessageOf(TlsClientContext::Create(client).status()), HasSubstr("no IP address"));
  client.server.names = {{.value = ""}};
  EXPECT_THAT(MessageOf(TlsClientContext::Create(client).status()), HasSubstr("empty"));
}

TEST_F(TlsPeerTest, ServersThatAreNotBelieved) {
  const TestCa other("Other CA");
  TlsClientSpec client = ClientSpec();
  client.server.ca = other.Text();
  EXPECT_THAT(Try(ServerSpec(), client),
              HasSubstr("comes from CN=Test CA, which is not in secret Other CA; add that CA"));
  EXPECT_EQ(ServerSays(), "the client does not trust our certificate's CA (alert: unknown CA)");
  // Of the same name, but another key.
  const TestCa twin("Test CA");
  client.server.ca = twin.Text();
  EXPECT_THAT(Try(ServerSpec(), client), StartsWith("refused: "));
  client.verify = false;
  EXPECT_EQ(Try(ServerSpec(), client, "whoever"), "");
  const TestCertificate for_clients = ca_.Issue({.usage = "clientAuth"});
  TlsServerSpec server = ServerSpec();
  server.certificates = {for_clients.Spec("site")};
  EXPECT_EQ(Try(server, ClientSpec()),
            "refused: the server's certificate (CN=leaf) is not one for a server (extended key "
            "usage)");
  // The system's bundle, which does not know our CA.
  EXPECT_THAT(Try(ServerSpec(), TlsClientSpec{}), HasSubstr("the system's CA bundle"));
}

TEST_F(TlsPeerTest, ServersWhoseTimeIsOver) {
  const auto serve = [&](const TestCertificate& certificate) {
    // No context would load it: a server of another make.
    TlsPair pair(Server(ServerSpec()), Client(ClientSpec()));
    TlsTestListener listener;
    pair.StartClient(listener.address, "localhost");
    int fd = -1;
    EXPECT_TRUE(pair.RunUntil([&] { return (fd = listener.Accept()) >= 0; }));
    bssl::UniquePtr<SSL_CTX> context(SSL_CTX_new(TLS_method()));
    SSL_CTX_use_certificate(context.get(), certificate.x509.get());
    SSL_CTX_use_PrivateKey(context.get(), certificate.key.get());
    bssl::UniquePtr<SSL> ssl(SSL_new(context.get()));
    SSL_set_fd(ssl.get(), fd);
    SSL_set_accept_state(ssl.get());
    pair.RunUntil([&] {
      SSL_do_handshake(ssl.get());
      ERR_clear_error();
      return pair.client->connected;
    });
    close(fd);
    return pair.client->failure();
  };
  EXPECT_THAT(serve(ca_.Issue({.subject = "old", .ends = -3600})),
              StartsWith("the server's certificate (CN=old) has expired (20"));
  EXPECT_THAT(serve(ca_.Issue({.begins = 3600})),
              StartsWith("the server's certificate (CN=leaf) is not valid before 20"));
  EXPECT_EQ(serve(ca_.Issue({})), "");
}

TEST_F(TlsPeerTest, RevokedServers) {
  TlsClientSpec client = ClientSpec();
  client.server.crl = {"secret crl", ca_.Crl({})};
  EXPECT_EQ(Try(ServerSpec(), client), "");
  client.server.crl.text = ca_.Crl({site_.serial});
  EXPECT_EQ(Try(ServerSpec(), client),
            "refused: the server's certificate (CN=leaf) is revoked (secret crl)");
  EXPECT_EQ(ServerSays(),
            "the client says that our certificate is revoked (alert: certificate revoked)");
  client.server.crl.text = clients_ca_.Crl({});
  EXPECT_THAT(Try(ServerSpec(), client), HasSubstr("there is no CRL of its issuer CN=Test CA"));
  client.server.crl.text = ca_.Crl({}, -10);
  EXPECT_THAT(MessageOf(TlsClientContext::Create(client).status()),
              StartsWith("secret crl: CRL 1 in it is stale since "));
  client.server.crl.text = ca_.pem();
  EXPECT_EQ(MessageOf(TlsClientContext::Create(client).status()), "secret crl: has no CRL in it");
}

// A CRL of the root alone does for what an intermediate CA issues only if that has one, too.
TEST_F(TlsPeerTest, RevocationThroughAnIntermediate) {
  const TestCa middle("Intermediate CA", ca_);
  const TestCertificate leaf = middle.Issue({});
  TlsServerSpec server = ServerSpec();
  server.certificates = {leaf.Spec("site")};
  TlsClientSpec client = ClientSpec();
  client.server.crl = {"secret crl", middle.Crl({})};
  EXPECT_EQ(Try(server, client), "");
  client.server.crl.text = ca_.Crl({});
  EXPECT_THAT(Try(server, client), HasSubstr("there is no CRL of its issuer CN=Intermediate CA"));
}

// --- Servers look at clients ---

TEST_F(TlsPeerTest, ClientCertificates) {
  const TestCertificate client = clients_ca_.Issue(
      {.subject = "billing", .names = "URI:spiffe://prod/billing,DNS:billing.internal"});
  const TestCertificate stranger = ca_.Issue({.subject = "stranger"});
  for (const auto how : {ClientCertificates::kOptional, ClientCertificates::kRequired}) {
    EXPECT_EQ(Try(AskingSpec(how), ClientWith(client)), "") << ServerSays();
    const TlsFacts& facts = pair_->server->facts();
    EXPECT_TRUE(facts.has_certificate);
    EXPECT_EQ(facts.subject, "CN=billing");
    EXPECT_EQ(facts.issuer, "CN=Clients CA");
    EXPECT_THAT(facts.uris, ElementsAre("spiffe://prod/billing"));
    EXPECT_THAT(facts.dns_names, ElementsAre("billing.internal"));
    EXPECT_EQ(facts.fingerprint.size(), 64u);
    EXPECT_EQ(facts.pem, client.pem);
    EXPECT_FALSE(facts.serial.empty());
    EXPECT_EQ(Try(AskingSpec(how), ClientWith(stranger)),
              "refused: the server does not trust the CA of our certificate (alert: unknown CA)");
    EXPECT_EQ(ServerSays(),
              "the client's certificate (CN=stranger) comes from CN=Test CA, which is not in "
              "secret Clients CA; add that CA, or the client does not send its intermediate "
              "certificates");
  }
  EXPECT_EQ(Try(AskingSpec(ClientCertificates::kOptional), ClientSpec()), "");
  EXPECT_FALSE(pair_->server->facts().has_certificate);
  EXPECT_EQ(Try(AskingSpec(), ClientSpec()),
            "refused: the server requires a client certificate; name one in the cluster's tls "
            "(alert: certificate required)");
  EXPECT_EQ(ServerSays(), "the client has no certificate, and this listener requires one");
  // Not asked for, not sent.
  EXPECT_EQ(Try(ServerSpec(), ClientWith(client)), "");
  EXPECT_FALSE(pair_->server->facts().has_certificate);
}

TEST_F(TlsPeerTest, ClientsOfOneName) {
  const TestCertificate client = clients_ca_.Issue({.names = "URI:spiffe://prod/billing"});
  TlsServerSpec server = AskingSpec();
  server.client.names = {{.kind = Kind::kUri, .how = How::kPrefix, .value = "spiffe://prod/"}};
  EXPECT_EQ(Try(server, ClientWith(client)), "");
  server.client.names[0].value = "spiffe://dev/";
  EXPECT_EQ(Try(server, ClientWith(client)),
            "refused: the server does not let our certificate in (alert: access denied)");
  EXPECT_EQ(
      ServerSays(),
      "the client's certificate is for spiffe://prod/billing, and this needs: URI that begins "
      "with spiffe://dev/");
}

TEST_F(TlsPeerTest, RevokedClients) {
  const TestCertificate client = clients_ca_.Issue({.subject = "thief"});
  TlsServerSpec server = AskingSpec();
  server.client.crl = {"secret crl", clients_ca_.Crl({client.serial})};
  EXPECT_THAT(Try(server, ClientWith(client)), HasSubstr("certificate revoked"));
  EXPECT_EQ(ServerSays(), "the client's certificate (CN=thief) is revoked (secret crl)");
}

TEST_F(TlsPeerTest, ClientCertificatesNeedACa) {
  TlsServerSpec server = AskingSpec();
  server.client.ca = {};
  EXPECT_THAT(MessageOf(TlsServerContext::Create(server).status()), HasSubstr("no CA"));
}

TEST_F(TlsPeerTest, CasAreNamedToClients) {
  TlsPair pair(Server(AskingSpec()), Client(ClientSpec()));
  static std::vector<std::string> names;
  names.clear();
  RawTlsClient raw(pair.listener.address, [](SSL_CTX* /*context*/, SSL* ssl) {
    SSL_set_cert_cb(
        ssl,
        [](SSL* asking, void* /*arg*/) {
          const STACK_OF(X509_NAME)* list = SSL_get_client_CA_list(asking);
          for (size_t i = 0; i < sk_X509_NAME_num(list); ++i) {
            names.push_back(NameText(sk_X509_NAME_value(list, i)));
          }
          return 1;
        },
        nullptr);
  });
  pair.AcceptServer();
  ASSERT_TRUE(pair.RunUntil([&] { return raw.Step(); }));
  EXPECT_THAT(names, ElementsAre("CN=Clients CA"));
}

// --- Resumption does not go round any of this ---

TEST_F(TlsPeerTest, AResumedClientIsStillKnown) {
  const TestCertificate client = clients_ca_.Issue({.subject = "billing"});
  EXPECT_EQ(Try(AskingSpec(), ClientWith(client)), "");
  const std::string fingerprint = pair_->server->facts().fingerprint;
  EXPECT_EQ(Again(), "");
  EXPECT_TRUE(pair_->server->facts().resumed);
  EXPECT_EQ(pair_->server->facts().subject, "CN=billing");
  EXPECT_EQ(pair_->server->facts().fingerprint, fingerprint);
}

TEST_F(TlsPeerTest, AChangedPolicyIsAppliedToSessions) {
  const TestCertificate client = clients_ca_.Issue({.names = "URI:spiffe://prod/billing"});
  EXPECT_EQ(Try(AskingSpec(), ClientWith(client)), "");
  TlsServerSpec server = AskingSpec();
  server.client.crl = {"secret crl", clients_ca_.Crl({client.serial})};
  pair_->UseServer(Server(server));
  EXPECT_THAT(Again(), HasSubstr("revoked"));

  EXPECT_EQ(Try(AskingSpec(), ClientWith(client)), "");
  server = AskingSpec();
  server.client.names = {{.kind = Kind::kUri, .value = "spiffe://prod/other"}};
  pair_->UseServer(Server(server));
  EXPECT_THAT(Again(), HasSubstr("access denied"));

  // A session that was made without a certificate does not get in where one is required.
  EXPECT_EQ(Try(AskingSpec(ClientCertificates::kOptional), ClientSpec()), "");
  pair_->UseServer(Server(AskingSpec()));
  EXPECT_THAT(Again(), HasSubstr("certificate required"));
}

TEST_F(TlsPeerTest, AClientWhoseCertificateHasEndedIsNotResumed) {
  keys_ = *TlsTicketKeys::FromText({"secret tickets", std::string(40, 'k')});
  const TestCertificate client = clients_ca_.Issue({.subject = "brief"});
  EXPECT_EQ(Try(AskingSpec(), ClientWith(client)), "");
  pair_->clock.Advance(std::chrono::hours(24 * 365 * 30));
  pair_->loop.RunTurn(false);
  EXPECT_THAT(Again(), HasSubstr("expired"));
  EXPECT_THAT(ServerSays(), StartsWith("the client's certificate (CN=brief) has expired ("));
}

}  // namespace
}  // namespace gatehouse::net
