#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "fmt/format.h"
#include "source/config/build.h"
#include "source/config/build_record.h"
#include "source/config/dump.h"
#include "test/fakes/config_builder.h"
#include "test/fakes/test_certificates.h"

namespace gatehouse::config {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::SizeIs;
using testing::StartsWith;

constexpr std::string_view kSite = R"(
listeners:
- name: edge
  address: "127.0.0.1:0"
  tls: { certificates: [ { chain: site, key: site-key } ] }
- { name: plain, address: "127.0.0.1:0" }
secrets:
- { name: site, file: site.pem }
- { name: site-key, file: /keys/site.key }
)";

class BuildTlsTest : public testing::Test {
 protected:
  BuildTlsTest() { Put(ca_.Issue({.names = "DNS:site.example"})); }
  void Put(const net::TestCertificate& site) {
    builder_.files["/config/site.pem"] = site.pem;
    builder_.files["/keys/site.key"] = site.key_pem;
  }
  // A secret with this text.
  std::string Secret(const std::string& name, const std::string& text) {
    builder_.files["/s/" + name] = text;
    return fmt::format("- {{ name: {0}, file: /s/{0} }}\n", name);
  }
  // Errors of a listener with this in `tls`.
  std::vector<std::string> ListenerErrors(const std::string& tls) {
    const net::TestCertificate pair = ca_.Issue({});
    return builder_.Errors("listeners: [ { name: e, address: \"127.0.0.1:0\", tls: { " + tls +
                           " } } ]\nsecrets:\n" + Secret("pair", pair.pem + pair.key_pem) +
                           Secret("ca", ca_.pem()) + Secret("short", "too-short"));
  }
  std::vector<std::string> ClusterErrors(const std::string& cluster) {
    const net::TestCertificate pair = ca_.Issue({});
    return builder_.Errors("clusters: [ { name: c, " + cluster + " } ]\nsecrets:\n" +
                           Secret("pair", pair.pem + pair.key_pem) + Secret("ca", ca_.pem()) +
                           Secret("junk", "junk") + Secret("key", pair.key_pem));
  }

  net::TestCa ca_{"Test CA"};
  ConfigBuilder builder_;
};

TEST_F(BuildTlsTest, AListenerHasAContext) {
  const auto snapshot = builder_.Build(kSite);
  const Listener& edge = *snapshot->FindListener("edge");
  ASSERT_NE(edge.tls, nullptr);
  EXPECT_NEAR(static_cast<double>(edge.tls->not_after()),
              static_cast<double>(time(nullptr) + 90 * net::kTestDay), 60.0);
  EXPECT_NE(edge.h2, nullptr);
  EXPECT_EQ(snapshot->FindListener("plain")->tls, nullptr);
}

TEST_F(BuildTlsTest, EveryField) {
  const net::TestCertificate rsa = ca_.Issue({.key = net::TestKey::kRsa});
  const net::TestCertificate ecdsa = ca_.Issue({});
  const std::string secrets =
      Secret("both", rsa.pem + rsa.key_pem) + Secret("chain", ecdsa.pem) +
      Secret("key", ecdsa.key_pem) + Secret("ocsp", ca_.OcspFor(ecdsa, {})) +
      Secret("ca", ca_.pem()) + Secret("crl", ca_.Crl({1})) +
      Secret("tickets", std::string(48, 'a') + "\n" + std::string(48, 'b') + "\n");
  const auto snapshot = builder_.Build(R"(
listeners:
- name: edge
  address: "127.0.0.1:0"
  tls:
    certificates: [ both, { chain: chain, key: key, ocsp: ocsp } ]
    min_version: tls_1_3
    client_certificates:
      mode: optional
      ca: ca
      crl: crl
      subject_alt_names:
      - dns: Client.Example
      - uri: { prefix: "spiffe://example/" }
      - email: { suffix: "@example.com" }
      - dns: { suffix: .example }
      - ip: 10.0.0.1
    session_tickets: { keys: tickets }
    early_data: true
- name: paced
  address: "127.0.0.1:0"
  http2: { disabled: true }
  tls: { certificates: [both], session_tickets: { rotate_after: 1h } }
- name: without-tickets
  address: "127.0.0.1:0"
  tls: { certificates: [both], session_tickets: { disabled: true }, min_version: TLS_1_2 }
clusters:
- name: strict
  endpoints: ["origin.example:443"]
  protocol: http2
  tls:
    sni: Origin.Example
    ca: ca
    crl: crl
    subject_alt_names: [ { uri: "spiffe://example/origin" } ]
    client_certificate: { chain: chain, key: key }
    min_version: tls_1_3
- { name: trusting, endpoints: ["10.0.0.1:443"], tls: { insecure_skip_verify: true } }
secrets:
)" + secrets);
  ASSERT_NE(snapshot, nullptr);
  for (const auto& listener : snapshot->listeners) EXPECT_NE(listener->tls, nullptr);
  for (const auto& cluster : snapshot->clusters) EXPECT_NE(cluster->options().tls, nullptr);
  EXPECT_EQ(snapshot->clusters[0]->options().protocol, upstream::Protocol::kHttp2);
  EXPECT_EQ(snapshot->clusters[1]->options().protocol, upstream::Protocol::kAuto);
}

TEST_F(BuildTlsTest, ContextsAreSharedWhileTheirSecretsStay) {
  const auto first = builder_.Build(kSite);
  // Nothing at all.
  EXPECT_EQ(builder_.Build(kSite), first);
  // Something else.
  std::string text(kSite);
  text.replace(text.find("name: edge"), 10, "name: edge\n  backlog: 7");
  const auto second = builder_.Build(text);
  EXPECT_NE(second->FindListener("edge"), first->FindListener("edge"));
  EXPECT_EQ(second->FindListener("edge")->tls, first->FindListener("edge")->tls);
  EXPECT_EQ(second->FindListener("plain"), first->FindListener("plain"));
  // What it is made of.
  text.replace(text.find("site-key } ]"), 12, "site-key } ], min_version: tls_1_3");
  const auto third = builder_.Build(text);
  EXPECT_NE(third->FindListener("edge")->tls, second->FindListener("edge")->tls);
}

TEST_F(BuildTlsTest, AChainThatIsRenewedBeforeItsKeyIsRefused) {
  const auto first = builder_.Build(kSite);
  const net::TestCertificate renewed = ca_.Issue({.names = "DNS:site.example", .ends = 999});
  builder_.files["/config/site.pem"] = renewed.pem;
  EXPECT_THAT(builder_.Errors(kSite),
              ElementsAre(AllOf(StartsWith("5: listeners[0].tls.certificates[0]: secret \"site\" "
                                           "(site.pem): the key in secret \"site-key\" "
                                           "(/keys/site.key) does not belong"))));
  EXPECT_EQ(builder_.current, first);
  builder_.files["/keys/site.key"] = renewed.key_pem;
  const auto second = builder_.Build(kSite);
  EXPECT_NE(second->FindListener("edge")->tls, first->FindListener("edge")->tls);
  EXPECT_EQ(second->FindListener("plain"), first->FindListener("plain"));
}

TEST_F(BuildTlsTest, AHundredRotations) {
  auto last = builder_.Build(kSite);
  for (int i = 0; i < 100; ++i) {
    Put(ca_.Issue({.names = "DNS:site.example"}));
    const auto next = builder_.Build(kSite);
    ASSERT_NE(next, nullptr);
    ASSERT_NE(next->FindListener("edge")->tls, last->FindListener("edge")->tls);
    ASSERT_EQ(next->version, last->version + 1);
    last = next;
  }
}

TEST_F(BuildTlsTest, AllErrorsOfAllCertificates) {
  const net::TestCertificate a = ca_.Issue({});
  const net::TestCertificate b = ca_.Issue({});
  EXPECT_THAT(
      builder_.Errors(R"(
listeners:
- name: edge
  address: "127.0.0.1:0"
  tls:
    certificates:
    - { chain: a, key: b-key }
    - { chain: b, key: b-key }
    - junk
    - unknwon
    - broken
    client_certificates: { ca: junk }
secrets:
- { name: broken, file: /nowhere }
)" + Secret("a", a.pem) +
                      Secret("b", b.pem) + Secret("b-key", b.key_pem) + Secret("junk", "junk") +
                      Secret("unknown", "x")),
      ElementsAre(HasSubstr("10: listeners[0].tls.certificates[3].chain: there is no secret "
                            "\"unknwon\", did you mean \"unknown\"?"),
                  HasSubstr("14: secrets[0].file: cannot be read")));
  EXPECT_THAT(
      builder_.Errors(R"(
listeners:
- name: edge
  address: "127.0.0.1:0"
  tls:
    certificates:
    - { chain: a, key: b-key }
    - { chain: b, key: b-key }
    - junk
    client_certificates:
      ca: junk
secrets:
)" + Secret("a", a.pem) +
                      Secret("b", b.pem) + Secret("b-key", b.key_pem) + Secret("junk", "junk")),
      ElementsAre(HasSubstr("7: listeners[0].tls.certificates[0]: secret \"a\" (/s/a): the key"),
                  HasSubstr("9: listeners[0].tls.certificates[2]: secret \"junk\" (/s/junk): "),
                  HasSubstr("11: listeners[0].tls.client_certificates.ca: secret \"junk\" ")));
}

TEST_F(BuildTlsTest, WhatAListenerMayNotSay) {
  const auto error = [&](const std::string& tls) {
    const auto errors = ListenerErrors(tls);
    return errors.size() == 1 ? errors[0] : fmt::format("{} errors", errors.size());
  };
  EXPECT_THAT(error("certificates: []"), HasSubstr("certificates"));
  EXPECT_THAT(error("certificates: [pair], client_certificates: { mode: required }"),
              HasSubstr("client_certificates"));
  EXPECT_THAT(error("certificates: [pair], client_certificates: { ca: pair, crl: ca }"),
              HasSubstr("1: listeners[0].tls.client_certificates.crl: secret \"ca\" (/s/ca): "));
  EXPECT_THAT(error("certificates: [pair], min_version: tls_1_1"), HasSubstr("tls_1_2, tls_1_3"));
  EXPECT_THAT(error("certificates: [pair], session_tickets: { keys: short }"),
              HasSubstr("tls.session_tickets.keys: secret \"short\" (/s/short): line 1"));
  EXPECT_THAT(error("certificates: [pair], session_tickets: { rotate_after: 1s }"),
              HasSubstr("tls.session_tickets.rotate_after: must be at least 1m"));
  EXPECT_THAT(error("certificates: [pair], session_tickets: { rotate_after: 30d }"),
              HasSubstr("tls.session_tickets.rotate_after: is longer than"));
  EXPECT_THAT(error("certificates: [pair], session_tickets: { disabled: true, rotate_after: 1h }"),
              HasSubstr("rotate_after: has no effect when tickets are disabled"));
  EXPECT_THAT(error("certificates: [pair], session_tickets: { disabled: true }, early_data: true"),
              HasSubstr("tls.early_data: needs session tickets"));
}

TEST_F(BuildTlsTest, NamesThatTakeInMoreThanTheySeemTo) {
  const auto error = [&](const std::string& name) {
    const auto errors = ListenerErrors(
        "certificates: [pair], client_certificates: { ca: ca, subject_alt_names: [ " + name +
        " ] }");
    return errors.size() == 1 ? errors[0] : fmt::format("{} errors", errors.size());
  };
  EXPECT_EQ(error("{ dns: a.example }, { uri: 'urn:x' }, { uri: { prefix: 'urn:' } }"), "0 errors");
  EXPECT_THAT(error("{ dns: { suffix: example.com } }"),
              HasSubstr("subject_alt_names[0]: must begin with a dot: \"example.com\" is also the "
                        "end of \"notexample.com\""));
  EXPECT_THAT(error("{ dns: '*.example' }"), HasSubstr("has no wildcards"));
  EXPECT_THAT(error("{ uri: { prefix: 'spiffe://example' } }"), HasSubstr("must go on to the"));
  EXPECT_THAT(error("{ email: { suffix: example.com } }"), HasSubstr("must hold the \"@\""));
  EXPECT_THAT(error("{ ip: 10.0.0.256 }"), HasSubstr("ip: \"10.0.0.256\" is not an address"));
  EXPECT_THAT(error("{ dns: '' }"), HasSubstr("must not be empty"));
}

TEST_F(BuildTlsTest, WhatAClusterMayNotSay) {
  const auto error = [&](const std::string& cluster) {
    const auto errors = ClusterErrors(cluster);
    return errors.size() == 1 ? errors[0] : fmt::format("{} errors", errors.size());
  };
  EXPECT_EQ(error("tls: {}"), "0 errors");
  EXPECT_THAT(error("protocol: auto"), HasSubstr("1: clusters[0].protocol: auto needs tls"));
  EXPECT_EQ(error("protocol: http2, http2: { ping_interval: 1s }"), "0 errors");
  EXPECT_THAT(error("http2: { ping_interval: 1s }"), HasSubstr("http2: has no effect"));
  EXPECT_THAT(error("tls: { sni: 10.0.0.1 }"), HasSubstr("subject_alt_names: [ { ip: \"10.0.0.1"));
  EXPECT_THAT(error("tls: { sni: 'a b' }"), HasSubstr("tls.sni: \"a b\" is not a host name"));
  EXPECT_THAT(error("tls: { ca: junk }"),
              HasSubstr("tls.ca: secret \"junk\" (/s/junk): is not PEM"));
  EXPECT_THAT(error("tls: { ca: none }"), HasSubstr("tls.ca: there is no secret \"none\""));
  EXPECT_THAT(error("tls: { crl: ca }"), HasSubstr("tls.crl: secret \"ca\""));
  EXPECT_THAT(
      error("tls: { client_certificate: { chain: ca, key: key } }"),
      HasSubstr("tls.client_certificate: secret \"ca\" (/s/ca): the key in secret \"key\""));
  EXPECT_THAT(error("tls: { client_certificate: { chain: pair, ocsp: ca } }"),
              HasSubstr("tls.client_certificate.ocsp: is for servers"));
  EXPECT_THAT(error("tls: { insecure_skip_verify: true, ca: ca }"),
              HasSubstr("tls.ca: has no effect with insecure_skip_verify"));
}

TEST_F(BuildTlsTest, ARotatedSecretIsANewGenerationOfItsCluster) {
  const std::string text =
      "clusters:\n"
      "- { name: a, endpoints: ['127.0.0.1:1'], tls: { ca: ca } }\n"
      "- { name: b, endpoints: ['127.0.0.1:1'], tls: {} }\n"
      "secrets:\n" +
      Secret("ca", ca_.pem());
  const auto first = builder_.Build(text);
  std::string other = text;
  other.replace(other.find(":1'"), 3, ":2'");
  const auto second = builder_.Build(other);
  EXPECT_EQ(second->clusters[0]->key(), first->clusters[0]->key());
  EXPECT_EQ(second->clusters[0]->options().tls, first->clusters[0]->options().tls);
  const net::TestCa renewed("Another CA");
  Secret("ca", renewed.pem());
  const auto third = builder_.Build(other);
  EXPECT_NE(third->clusters[0]->key(), second->clusters[0]->key());
  EXPECT_NE(third->clusters[0]->options().tls, second->clusters[0]->options().tls);
  EXPECT_EQ(third->clusters[1], second->clusters[1]);
}

TEST_F(BuildTlsTest, FilesThatWereReadAreTold) {
  const auto paths = [](const BuildResult& result) {
    std::vector<std::string> told;
    for (const FileRead& file : result.files) {
      told.push_back(fmt::format("{} {}", file.purpose, file.path));
    }
    return told;
  };
  const BuildResult first = builder_.Try(kSite);
  EXPECT_THAT(paths(first), ElementsAre("the secret's file /config/site.pem",
                                        "the secret's file /keys/site.key"));
  EXPECT_EQ(first.files[0].content, ContentHash(builder_.files["/config/site.pem"]));
  // Also when they are what is wrong.
  builder_.files.erase("/keys/site.key");
  const BuildResult second = builder_.Try(kSite);
  EXPECT_EQ(second.snapshot, nullptr);
  ASSERT_THAT(second.files, SizeIs(2));
  EXPECT_EQ(second.files[1].content, 0u);
}

TEST_F(BuildTlsTest, NoKeyIsKeptOrShown) {
  const net::TestCertificate pair = ca_.Issue({});
  builder_.variables["PAIR"] = pair.pem + pair.key_pem;
  const auto snapshot = builder_.Build(R"(
listeners: [ { name: e, address: "127.0.0.1:0", tls: { certificates: [pair, inline] } } ]
secrets: [ { name: pair, environment: PAIR }, { name: inline, inline: "${PAIR}" } ]
)");
  ASSERT_NE(snapshot, nullptr);
  const std::string key = pair.key_pem.substr(40, 40);
  EXPECT_THAT(DumpYaml(*snapshot, {}), AllOf(Not(HasSubstr(key)), HasSubstr("certificates")));
  EXPECT_THAT(DumpJson(*snapshot, {}), AllOf(Not(HasSubstr(key)), HasSubstr("[redacted]")));
  EXPECT_THAT(snapshot->record->secret_digests, SizeIs(2));
}

TEST_F(BuildTlsTest, NothingOfAKeyIsInAnError) {
  const net::TestCertificate pair = ca_.Issue({});
  std::string key = pair.key_pem;
  key.erase(key.size() / 2, 8);
  const auto errors = builder_.Errors(
      "listeners: [ { name: e, address: \"127.0.0.1:0\", tls: { certificates: [ { chain: c, key: k "
      "} ] } } ]\nsecrets:\n" +
      Secret("c", pair.pem) + Secret("k", key));
  ASSERT_THAT(errors, SizeIs(1));
  EXPECT_THAT(errors[0], HasSubstr("secret \"k\" (/s/k): "));
  EXPECT_THAT(errors[0], Not(HasSubstr(key.substr(40, 16))));
}

}  // namespace
}  // namespace gatehouse::config
