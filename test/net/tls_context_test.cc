// What contexts are made of, and what is negotiated between a client and a server.
#include "source/net/tls_context.h"

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

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr Duration kHour = std::chrono::hours(1);

std::shared_ptr<const TlsServerContext> Server(const TlsServerSpec& spec) {
  auto context = TlsServerContext::Create(spec);
  if (!context.ok()) ADD_FAILURE() << MessageOf(context.status());
  CHECK(context.ok());
  return *std::move(context);
}
std::shared_ptr<const TlsClientContext> Client(const TlsClientSpec& spec) {
  auto context = TlsClientContext::Create(spec);
  if (!context.ok()) ADD_FAILURE() << MessageOf(context.status());
  CHECK(context.ok());
  return *std::move(context);
}
std::string ServerError(const TlsServerSpec& spec) {
  const auto context = TlsServerContext::Create(spec);
  return context.ok() ? "" : MessageOf(context.status());
}
class TlsContextTest : public ::testing::Test {
 protected:
  TlsServerSpec ServerSpec() {
    return {.name = "web", .certificates = {site_.Spec("site")}, .ticket_keys = keys_};
  }
  TlsServerSpec ServerWith(const std::vector<const TestCertificate*>& certificates) {
    TlsServerSpec spec = ServerSpec();
    spec.certificates.clear();
    for (const TestCertificate* one : certificates) spec.certificates.push_back(one->Spec("site"));
    return spec;
  }
  TlsClientSpec ClientSpec() { return {.server = {.ca = ca_.Text()}}; }

  // Both ends open, or what the client (or the server) has to say.
  std::string Try(const TlsServerSpec& server, const TlsClientSpec& client,
                  std::string_view host = "localhost") {
    pair_ = std::make_unique<TlsPair>(Server(server), Client(client));
    return Again(host);
  }
  std::string Again(std::string_view host = "localhost") {
    if (!pair_->Handshake(host)) {
      return pair_->client->failure().empty() ? pair_->server->failure() : pair_->client->failure();
    }
    // TLS 1.3: what the server thinks of the client's certificate comes behind the handshake.
    pair_->client->Send("ping");
    pair_->RunUntil([&] { return pair_->server->received == "ping" || pair_->client->failed; });
    pair_->server->Send("pong");
    pair_->RunUntil([&] { return pair_->client->received == "pong" || pair_->client->failed; });
    return pair_->client->failure();
  }
  // The common name of the certificate that a client gets.
  std::string Chosen(const TlsServerSpec& server, const char* name,
                     const RawTlsClient::SetUp& set_up = {}) {
    TlsPair pair(Server(server), Client(ClientSpec()));
    RawTlsClient raw(pair.listener.address, [&](SSL_CTX* context, SSL* ssl) {
      if (name != nullptr) SSL_set_tlsext_host_name(ssl, name);
      if (set_up) set_up(context, ssl);
    });
    pair.AcceptServer();
    pair.RunUntil([&] { return raw.Step(); });
    return raw.failed ? "failed" : raw.PeerName();
  }

  TestCa ca_{"Test CA"};
  TestCertificate site_ = ca_.Issue({});
  std::shared_ptr<TlsTicketKeys> keys_ = TlsTicketKeys::Random(kHour);
  std::unique_ptr<TlsPair> pair_;
};

// --- Versions and protocols ---

TEST_F(TlsContextTest, Versions) {
  TlsServerSpec modern = ServerSpec();
  modern.min_version = TlsVersion::kTls13;
  const auto version = [&](const TlsServerSpec& server, uint16_t most) {
    TlsPair pair(Server(server), Client(ClientSpec()));
    RawTlsClient raw(pair.listener.address, [&](SSL_CTX* context, SSL* /*ssl*/) {
      SSL_CTX_set_min_proto_version(context, TLS1_VERSION);
      SSL_CTX_set_max_proto_version(context, most);
    });
    pair.AcceptServer();
    pair.RunUntil([&] { return raw.Step(); });
    if (!raw.failed) return std::string(SSL_get_version(raw.ssl()));
    EXPECT_EQ(raw.alert, SSL_AD_PROTOCOL_VERSION);
    EXPECT_EQ(pair.server->failure(), "the client offers no TLS version that this listener allows");
    return std::string("none");
  };
  EXPECT_EQ(version(ServerSpec(), TLS1_3_VERSION), "TLSv1.3");
  EXPECT_EQ(version(ServerSpec(), TLS1_2_VERSION), "TLSv1.2");
  EXPECT_EQ(version(ServerSpec(), TLS1_1_VERSION), "none");
  EXPECT_EQ(version(modern, TLS1_3_VERSION), "TLSv1.3");
  EXPECT_EQ(version(modern, TLS1_2_VERSION), "none");
}

TEST_F(TlsContextTest, OnlyModernCiphers) {
  const auto with = [](const char* ciphers) {
    return [=](SSL_CTX* context, SSL* /*ssl*/) {
      SSL_CTX_set_max_proto_version(context, TLS1_2_VERSION);
      ASSERT_EQ(SSL_CTX_set_strict_cipher_list(context, ciphers), 1);
    };
  };
  EXPECT_EQ(Chosen(ServerSpec(), nullptr, with("ECDHE-ECDSA-AES128-GCM-SHA256")), "leaf");
  EXPECT_EQ(Chosen(ServerSpec(), nullptr, with("ECDHE-ECDSA-CHACHA20-POLY1305")), "leaf");
  EXPECT_EQ(Chosen(ServerSpec(), nullptr, with("ECDHE-ECDSA-AES128-SHA")), "failed");
  EXPECT_EQ(Chosen(ServerSpec(), nullptr, with("AES128-GCM-SHA256")), "failed");
}

TEST_F(TlsContextTest, Alpn) {
  struct Case {
    std::vector<std::string> server;
    std::vector<std::string> client;
    std::string agreed;  // "!": none, and that is fatal
  };
  const Case cases[] = {
      {{"h2", "http/1.1"}, {"http/1.1", "h2"}, "h2"},
      {{"http/1.1", "h2"}, {"h2", "http/1.1"}, "http/1.1"},
      {{"h2", "http/1.1"}, {"http/1.1"}, "http/1.1"},
      {{"h2", "http/1.1"}, {}, ""},
      {{}, {"h2"}, ""},
      {{"h2"}, {"http/1.1"}, "!"},
  };
  for (const Case& c : cases) {
    TlsServerSpec server = ServerSpec();
    server.alpn = c.server;
    TlsClientSpec client = ClientSpec();
    client.alpn = c.client;
    const std::string failure = Try(server, client);
    if (c.agreed == "!") {
      EXPECT_EQ(failure,
                "the server speaks none of the ALPN protocols offered (alert: no application "
                "protocol)");
      EXPECT_EQ(pair_->server->failure(), "client and listener have no ALPN protocol in common");
      EXPECT_EQ(pair_->client->connect_error, EPROTO);
      continue;
    }
    EXPECT_EQ(failure, "");
    EXPECT_EQ(pair_->client->facts().alpn, c.agreed);
    EXPECT_EQ(pair_->server->facts().alpn, c.agreed);
  }
  TlsServerSpec bad = ServerSpec();
  bad.alpn = {""};
  EXPECT_THAT(ServerError(bad), HasSubstr("no ALPN protocol"));
}

// --- Which certificate ---

TEST_F(TlsContextTest, ByName) {
  const TestCertificate first = ca_.Issue({.subject = "first", .names = "DNS:a.example"});
  const TestCertificate wild = ca_.Issue({.subject = "wild", .names = "DNS:*.b.example"});
  const TestCertificate exact = ca_.Issue({.subject = "exact", .names = "DNS:x.b.example"});
  const TlsServerSpec spec = ServerWith({&first, &wild, &exact});
  EXPECT_EQ(Chosen(spec, nullptr), "first");
  EXPECT_EQ(Chosen(spec, "a.example"), "first");
  EXPECT_EQ(Chosen(spec, "y.b.example"), "wild");
  EXPECT_EQ(Chosen(spec, "Y.B.Example"), "wild");
  EXPECT_EQ(Chosen(spec, "x.b.example"), "exact");
  EXPECT_EQ(Chosen(spec, "z.y.b.example"), "first");
  EXPECT_EQ(Chosen(spec, "b.example"), "first");
  EXPECT_EQ(Chosen(spec, "unknown"), "first");
}

TEST_F(TlsContextTest, RsaAndEcdsaSideBySide) {
  const TestCertificate rsa =
      ca_.Issue({.subject = "rsa", .names = "DNS:a.example", .key = TestKey::kRsa});
  const TestCertificate ecdsa = ca_.Issue({.subject = "ecdsa", .names = "DNS:a.example"});
  const auto signatures = [](const char* list, uint16_t most) {
    return [=](SSL_CTX* context, SSL* /*ssl*/) {
      SSL_CTX_set_max_proto_version(context, most);
      ASSERT_EQ(SSL_CTX_set1_sigalgs_list(context, list), 1);
      // BoringSSL keeps what it verifies apart from what it signs.
      std::vector<uint16_t> prefs;
      const std::string text = list;
      if (text.find("ECDSA") != std::string::npos) prefs.push_back(SSL_SIGN_ECDSA_SECP256R1_SHA256);
      if (text.find("RSA-PSS") != std::string::npos) prefs.push_back(SSL_SIGN_RSA_PSS_RSAE_SHA256);
      ASSERT_EQ(SSL_CTX_set_verify_algorithm_prefs(context, prefs.data(), prefs.size()), 1);
    };
  };
  for (const TlsServerSpec& spec : {ServerWith({&rsa, &ecdsa}), ServerWith({&ecdsa, &rsa})}) {
    for (const char* name : {static_cast<const char*>(nullptr), "a.example"}) {
      EXPECT_EQ(Chosen(spec, name), "ecdsa");
      for (const uint16_t version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
        EXPECT_EQ(Chosen(spec, name, signatures("RSA-PSS+SHA256", version)), "rsa");
        EXPECT_EQ(Chosen(spec, name, signatures("ECDSA+SHA256:RSA-PSS+SHA256", version)), "ecdsa");
      }
      // Takes the signature, but has no cipher with it.
      EXPECT_EQ(Chosen(spec, name,
                       [](SSL_CTX* context, SSL* /*ssl*/) {
                         SSL_CTX_set_max_proto_version(context, TLS1_2_VERSION);
                         SSL_CTX_set_strict_cipher_list(context, "ECDHE-RSA-AES128-GCM-SHA256");
                       }),
                "rsa");
    }
  }
  // What cannot be had is not feigned.
  EXPECT_EQ(Chosen(ServerWith({&ecdsa}), nullptr, signatures("RSA-PSS+SHA256", TLS1_3_VERSION)),
            "failed");
  const TestCertificate ecdsa384 =
      ca_.Issue({.subject = "p384", .names = "DNS:a.example", .key = TestKey::kEcdsa384});
  EXPECT_EQ(Chosen(ServerWith({&ecdsa384}), nullptr), "p384");
}

TEST_F(TlsContextTest, ChainsAreSent) {
  const TestCa middle("Intermediate CA", ca_);
  const TestCertificate leaf = middle.Issue({});
  EXPECT_EQ(Try(ServerWith({&leaf}), ClientSpec()), "");
  TlsServerSpec without = ServerWith({&leaf});
  without.certificates[0].chain.text = middle.IssueRaw({}).pem;
  const TestCertificate raw = middle.IssueRaw({});
  EXPECT_EQ(Try(ServerWith({&raw}), ClientSpec()),
            "the server's certificate (CN=leaf) comes from CN=Intermediate CA, which is not in "
            "secret Test CA; add that CA, or the server does not send its intermediate "
            "certificates");
  // An intermediate CA may be what is trusted.
  TlsClientSpec client = ClientSpec();
  client.server.ca = middle.Text();
  EXPECT_EQ(Try(ServerWith({&raw}), client), "");
}

TEST_F(TlsContextTest, ThousandsOfCertificates) {
  TlsServerSpec spec = ServerSpec();
  std::vector<TestCertificate> all;
  for (int i = 0; i < 300; ++i) {
    all.push_back(ca_.Issue(
        {.subject = std::to_string(i), .names = "DNS:host" + std::to_string(i) + ".example"}));
    spec.certificates.push_back(all.back().Spec("many"));
  }
  EXPECT_EQ(Chosen(spec, "host217.example"), "217");
}

TEST_F(TlsContextTest, WhenTheFirstEnds) {
  const TestCertificate early = ca_.Issue({.ends = 5 * kTestDay});
  const int64_t ends = Server(ServerWith({&site_, &early}))->not_after();
  EXPECT_NEAR(static_cast<double>(ends - time(nullptr)), 5.0 * kTestDay, 100);
}

// --- Material that is refused ---

TEST_F(TlsContextTest, BadMaterialIsNamed) {
  const TlsCertificateSpec good = site_.Spec("site");
  const auto error = [&](const TlsCertificateSpec& certificate) {
    TlsServerSpec spec = ServerSpec();
    spec.certificates = {certificate};
    return ServerError(spec);
  };
  EXPECT_EQ(error(good), "");
  EXPECT_EQ(error({.chain = {"secret a", ""}, .key = good.key}), "secret a: is empty");
  EXPECT_EQ(error({.chain = {"secret a", "hello"}, .key = good.key}),
            "secret a: is not PEM: there is no line \"-----BEGIN ...-----\" in it");
  EXPECT_THAT(error({.chain = {"secret a", "\x30\x82"}, .key = good.key}), HasSubstr("like DER"));
  EXPECT_THAT(error({.chain = {"secret a", good.chain.text.substr(0, 200)}, .key = good.key}),
              StartsWith("secret a: has a damaged PEM block"));
  EXPECT_EQ(error({.chain = {"secret a", good.key.text}, .key = good.key}),
            "secret a: has no certificate in it (only PRIVATE KEY)");
  EXPECT_EQ(error({.chain = good.chain, .key = {"secret b", good.chain.text}}),
            "secret b: has no private key in it (only CERTIFICATE)");
  EXPECT_EQ(error({.chain = good.chain, .key = {"secret b", ""}}), "secret b: is empty");
  const TestCertificate other = ca_.Issue({});
  EXPECT_EQ(error({.chain = good.chain, .key = {"secret b", other.key_pem}}),
            "secret site: the key in secret b does not belong to this certificate (CN=leaf); was "
            "only one of them renewed?");
  // One file with both is fine.
  const TlsText both{"secret both", good.key.text + good.chain.text};
  EXPECT_EQ(error({.chain = both, .key = both}), "");
  std::string damaged = good.chain.text;
  damaged[200] = damaged[200] == 'A' ? 'B' : 'A';
  damaged[400] = damaged[400] == 'A' ? 'B' : 'A';
  EXPECT_NE(error({.chain = {"secret a", damaged}, .key = good.key}), "");
  EXPECT_THAT(ServerError({.name = "web"}), HasSubstr("needs a certificate"));
}

TEST_F(TlsContextTest, EncryptedKeysAreRefused) {
  bssl::UniquePtr<BIO> bio(BIO_new(BIO_s_mem()));
  char password[] = "secret";
  CHECK(PEM_write_bio_PKCS8PrivateKey(bio.get(), site_.key.get(), EVP_aes_128_cbc(), password, 6,
                                      nullptr, nullptr) == 1);
  TlsServerSpec spec = ServerSpec();
  spec.certificates[0].key.text = TestText(bio.get());
  EXPECT_EQ(ServerError(spec),
            "secret site-key: is encrypted; decrypt it: openssl pkey -in key.pem -out plain.pem");
}

TEST_F(TlsContextTest, BadCertificatesAreRefused) {
  const TestCertificate expired = ca_.Issue({.subject = "old", .begins = -20, .ends = -10});
  EXPECT_THAT(ServerError(ServerWith({&expired})),
              StartsWith("secret site: the certificate CN=old has expired ("));
  const TestCertificate future = ca_.Issue({.subject = "new", .begins = 3600});
  EXPECT_THAT(ServerError(ServerWith({&future})),
              StartsWith("secret site: the certificate CN=new is not valid before "));
  const TestCertificate weak = ca_.Issue({.key = TestKey::kWeakRsa});
  EXPECT_EQ(
      ServerError(ServerWith({&weak})),
      "secret site-key: its RSA key has 1024 bits, and less than 2048 is not safe; make a new "
      "one");
  TlsServerSpec spec = ServerSpec();
  const TestCa middle("Intermediate CA", ca_);
  spec.certificates[0].chain.text += middle.pem();
  EXPECT_EQ(ServerError(spec),
            "secret site: certificate 1 in it (CN=leaf) was not issued by the next one "
            "(CN=Intermediate CA); put the leaf first and behind each certificate its issuer");
  const TestCertificate leaf = middle.IssueRaw({});
  spec.certificates = {leaf.Spec("site")};
  spec.certificates[0].chain.text = middle.pem() + leaf.pem;
  EXPECT_EQ(ServerError(spec),
            "secret site: the key belongs to certificate 2 in it; put that one first");
}

// --- OCSP ---

TEST_F(TlsContextTest, OcspIsStapled) {
  TlsServerSpec spec = ServerSpec();
  spec.certificates[0].chain.text += ca_.pem();
  spec.certificates[0].ocsp = {"secret staple", ca_.OcspFor(site_, {})};
  TlsPair pair(Server(spec), Client(ClientSpec()));
  RawTlsClient raw(pair.listener.address,
                   [](SSL_CTX* context, SSL* /*ssl*/) { SSL_CTX_enable_ocsp_stapling(context); });
  pair.AcceptServer();
  ASSERT_TRUE(pair.RunUntil([&] { return raw.Step(); }));
  const uint8_t* data = nullptr;
  size_t size = 0;
  SSL_get0_ocsp_response(raw.ssl(), &data, &size);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(data), size), spec.certificates[0].ocsp.text);
}

TEST_F(TlsContextTest, OcspThatIsOfNoUseIsRefused) {
  const auto error = [&](const std::string& text) {
    TlsServerSpec spec = ServerSpec();
    spec.certificates[0].chain.text += ca_.pem();
    spec.certificates[0].ocsp = {"secret staple", text};
    return ServerError(spec);
  };
  EXPECT_EQ(error(ca_.OcspFor(site_, {})), "");
  bssl::UniquePtr<BIO> bio(BIO_new(BIO_s_mem()));
  const std::string der = ca_.OcspFor(site_, {});
  PEM_write_bio(bio.get(), "OCSP RESPONSE", "", reinterpret_cast<const uint8_t*>(der.data()),
                static_cast<long>(der.size()));
  EXPECT_EQ(error(TestText(bio.get())), "");
  EXPECT_EQ(error("hello"), "secret staple: is no OCSP response, neither DER nor PEM");
  for (size_t i = 1; i < der.size(); ++i) {
    EXPECT_NE(error(der.substr(0, i)), "") << i;
  }
  EXPECT_THAT(error(ca_.OcspFor(site_, {.next_update = -10})),
              StartsWith("secret staple: the OCSP response is stale since "));
  EXPECT_THAT(error(ca_.OcspFor(site_, {.this_update = 1000})), HasSubstr("is not valid before"));
  EXPECT_THAT(error(ca_.OcspFor(site_, {.response_status = 3})), HasSubstr("an error (3)"));
  EXPECT_THAT(
      error(ca_.OcspFor(site_, {.status = CBS_ASN1_CONTEXT_SPECIFIC | CBS_ASN1_CONSTRUCTED | 1})),
      HasSubstr("is revoked"));
  EXPECT_THAT(error(ca_.OcspFor(site_, {.status = CBS_ASN1_CONTEXT_SPECIFIC | 2})),
              HasSubstr("unknown to its CA"));
  EXPECT_EQ(error(ca_.OcspFor(ca_.Issue({}), {})),
            "secret staple: the OCSP response is for another certificate than CN=leaf");
  const TestCa other("Test CA");
  EXPECT_THAT(error(other.OcspFor(site_, {})), HasSubstr("another certificate"));
}

// --- Resumption ---

TEST_F(TlsContextTest, SessionsAreResumed) {
  const TlsServerSpec server = ServerSpec();
  EXPECT_EQ(Try(server, ClientSpec()), "");
  EXPECT_FALSE(pair_->client->facts().resumed);
  for (int i = 0; i < 6; ++i) {
    EXPECT_EQ(Again(), "");
    EXPECT_TRUE(pair_->client->facts().resumed);
    EXPECT_TRUE(pair_->server->facts().resumed);
  }
  // Another context with the same keys, as after a reload.
  pair_->UseServer(Server(server));
  EXPECT_EQ(Again(), "");
  EXPECT_TRUE(pair_->client->facts().resumed);
  // Another host is another server.
  EXPECT_EQ(Again("127.0.0.1"), "");
  EXPECT_FALSE(pair_->client->facts().resumed);
  EXPECT_EQ(Again("127.0.0.1"), "");
  EXPECT_TRUE(pair_->client->facts().resumed);
  EXPECT_EQ(pair_->server->facts().server_name, "");
  // Another client context checks for itself.
  pair_->UseClient(Client(ClientSpec()));
  EXPECT_EQ(Again("127.0.0.1"), "");
  EXPECT_FALSE(pair_->client->facts().resumed);
}

TEST_F(TlsContextTest, SessionsOfTls12AreResumed) {
  TlsPair pair(Server(ServerSpec()), Client(ClientSpec()));
  bssl::UniquePtr<SSL_SESSION> session;
  for (const bool resumed : {false, true, true}) {
    RawTlsClient raw(
        pair.listener.address,
        [](SSL_CTX* context, SSL* /*ssl*/) {
          SSL_CTX_set_max_proto_version(context, TLS1_2_VERSION);
        },
        session.get());
    pair.AcceptServer();
    ASSERT_TRUE(pair.RunUntil([&] { return raw.Step() && pair.server->established(); }));
    EXPECT_EQ(SSL_session_reused(raw.ssl()), resumed ? 1 : 0);
    EXPECT_EQ(pair.server->facts().resumed, resumed);
    EXPECT_EQ(pair.server->facts().version, "TLSv1.2");
    if (raw.session != nullptr) session = std::move(raw.session);
  }
}

TEST_F(TlsContextTest, NoTicketsWithoutKeys) {
  TlsServerSpec server = ServerSpec();
  server.ticket_keys = nullptr;
  EXPECT_EQ(Try(server, ClientSpec()), "");
  EXPECT_EQ(Again(), "");
  EXPECT_FALSE(pair_->client->facts().resumed);
}

TEST_F(TlsContextTest, TicketsOfOneListenerAreNoneOfAnother) {
  EXPECT_EQ(Try(ServerSpec(), ClientSpec()), "");
  TlsServerSpec other = ServerSpec();
  other.name = "admin";
  pair_->UseServer(Server(other));
  EXPECT_EQ(Again(), "");
  EXPECT_FALSE(pair_->client->facts().resumed);
  EXPECT_EQ(Again(), "");
  EXPECT_TRUE(pair_->client->facts().resumed);
}

TEST_F(TlsContextTest, RandomKeysRotate) {
  const auto resumed_after = [&](Duration wait) {
    keys_ = TlsTicketKeys::Random(kHour);
    EXPECT_EQ(Try(ServerSpec(), ClientSpec()), "");
    pair_->clock.Advance(wait);
    pair_->loop.RunTurn(false);
    EXPECT_EQ(Again(), "");
    return pair_->client->facts().resumed;
  };
  EXPECT_TRUE(resumed_after(kHour / 2));
  EXPECT_TRUE(resumed_after(kHour + kHour / 2));
  EXPECT_FALSE(resumed_after(kHour * 2));
  EXPECT_FALSE(resumed_after(kHour * 20));
}

TEST_F(TlsContextTest, KeysFromText) {
  const std::string one(48, 'a');
  const std::string two(48, 'b');
  const auto keys = [](const std::string& text) {
    auto made = TlsTicketKeys::FromText({"secret tickets", text});
    EXPECT_TRUE(made.ok()) << MessageOf(made.status());
    return *std::move(made);
  };
  TlsServerSpec server = ServerSpec();
  server.ticket_keys = keys(one);
  EXPECT_EQ(Try(server, ClientSpec()), "");
  // Another gateway of the fleet.
  server.ticket_keys = keys("\n  " + one + "\r\n");
  pair_->UseServer(Server(server));
  EXPECT_EQ(Again(), "");
  EXPECT_TRUE(pair_->client->facts().resumed);
  server.ticket_keys = keys(two + "\n" + one);
  pair_->UseServer(Server(server));
  EXPECT_EQ(Again(), "");
  EXPECT_TRUE(pair_->client->facts().resumed);
  server.ticket_keys = keys(two);
  pair_->UseServer(Server(server));
  EXPECT_EQ(Again(), "");
  EXPECT_TRUE(pair_->client->facts().resumed);
  server.ticket_keys = keys(one);
  pair_->UseServer(Server(server));
  EXPECT_EQ(Again(), "");
  EXPECT_FALSE(pair_->client->facts().resumed);

  const auto error = [](const std::string& text) {
    const auto made = TlsTicketKeys::FromText({"secret tickets", text});
    return made.ok() ? "" : MessageOf(made.status());
  };
  EXPECT_THAT(error(one + "\nshort"),
              StartsWith("secret tickets: line 2 has 5 characters, and a ticket key needs 32"));
  EXPECT_THAT(error("\n \n"), StartsWith("secret tickets: has no ticket key in it"));
}

}  // namespace
}  // namespace gatehouse::net
