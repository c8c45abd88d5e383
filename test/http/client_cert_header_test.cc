#include "source/http/client_cert_header.h"

#include <string>
#include <string_view>

#include "gtest/gtest.h"

namespace gatehouse::http {
namespace {

using Forward = ClientCertPolicy::Forward;
constexpr Name kField = Name::kXForwardedClientCert;
constexpr std::string_view kMine =
    R"(Hash=ab12;Subject="CN=client,O=Example";URI=spiffe://a/b;DNS=a.example;DNS=b.example)";

class ClientCertHeaderTest : public ::testing::Test {
 protected:
  ClientCertHeaderTest() {
    tls_.has_certificate = true;
    tls_.fingerprint = "ab12";
    tls_.subject = "CN=client,O=Example";
    tls_.uris = {"spiffe://a/b"};
    tls_.dns_names = {"a.example", "b.example"};
    tls_.pem = "-----BEGIN CERTIFICATE-----\nMI+/=\n-----END CERTIFICATE-----\n";
  }
  // What the field is after `came` under the policy; "-": it is not there.
  std::string Result(const net::TlsFacts* tls, std::string_view came = {}) {
    headers_.Remove(kField);
    if (!came.empty()) headers_.Add(kField, came);
    ForwardClientCert(policy_, tls, headers_);
    EXPECT_LE(headers_.Count(kField), 1u);
    return std::string(headers_.Get(kField).value_or("-"));
  }

  Arena arena_;
  HeaderMap headers_{arena_};
  ClientCertPolicy policy_;
  net::TlsFacts tls_;
};

TEST_F(ClientCertHeaderTest, Modes) {
  net::TlsFacts anonymous;
  struct Row {
    Forward forward;
    std::string_view with_certificate;  // a field came
    std::string_view without_field;     // none came
    std::string_view without_certificate;
  };
  const std::string appended = "Hash=cd," + std::string(kMine);
  for (const Row& row :
       {Row{Forward::kSanitize, "-", "-", "-"}, Row{Forward::kForwardOnly, "Hash=cd", "-", "-"},
        Row{Forward::kAppendForward, appended, kMine, "-"},
        Row{Forward::kSanitizeSet, kMine, kMine, "-"},
        Row{Forward::kAlwaysForwardOnly, "Hash=cd", "-", "Hash=cd"}}) {
    policy_.forward = row.forward;
    EXPECT_EQ(Result(&tls_, "Hash=cd"), row.with_certificate);
    EXPECT_EQ(Result(&tls_), row.without_field);
    EXPECT_EQ(Result(nullptr, "Hash=cd"), row.without_certificate);
    EXPECT_EQ(Result(&anonymous, "Hash=cd"), row.without_certificate);
    EXPECT_EQ(Result(nullptr), "-");
  }
}

TEST_F(ClientCertHeaderTest, Details) {
  policy_ = {Forward::kSanitizeSet, false, false, false, false};
  EXPECT_EQ(Result(&tls_), "Hash=ab12");
  policy_.dns = true;
  EXPECT_EQ(Result(&tls_), "Hash=ab12;DNS=a.example;DNS=b.example");
  policy_ = {Forward::kSanitizeSet, false, false, false, true};
  EXPECT_EQ(Result(&tls_),
            "Hash=ab12;Cert=\"-----BEGIN%20CERTIFICATE-----%0AMI%2B%2F%3D%0A"
            "-----END%20CERTIFICATE-----%0A\"");
  policy_ = {Forward::kSanitizeSet, true, true, true, true};
  net::TlsFacts bare;
  bare.has_certificate = true;
  bare.fingerprint = "ab12";
  EXPECT_EQ(Result(&bare), "Hash=ab12");
}

TEST_F(ClientCertHeaderTest, NamesCannotForgeFields) {
  policy_ = {Forward::kSanitizeSet, true, true, true, false};
  tls_.subject = R"(CN=x";URI=spiffe://admin,Hash=0\)";
  tls_.uris = {"spiffe://a,Hash=0", "a;DNS=admin", "a=b", R"(q"\)"};
  tls_.dns_names = {"a b", std::string("a\r\nX: y\0", 8), ""};
  EXPECT_EQ(Result(&tls_),
            R"(Hash=ab12;Subject="CN=x\";URI=spiffe://admin,Hash=0\\";URI="spiffe://a,Hash=0";)"
            R"(URI="a;DNS=admin";URI="a=b";URI="q\"\\";DNS="a b";DNS="a??X: y?";DNS=)");
  EXPECT_TRUE(IsFieldValue(*headers_.Get(kField)));
}

TEST_F(ClientCertHeaderTest, AnOpenQuoteCannotSwallowWhatIsAppended) {
  policy_.forward = Forward::kAppendForward;
  EXPECT_EQ(Result(&tls_, R"(Hash=cd;Subject="CN=x)"), kMine);
  EXPECT_EQ(Result(&tls_, R"(Hash=cd;Subject="CN=x\")"), kMine);
  EXPECT_EQ(Result(&tls_, R"(Hash=cd;Subject="CN=\"x\"")").substr(0, 27),
            R"(Hash=cd;Subject="CN=\"x\"",)");
}

TEST_F(ClientCertHeaderTest, SeveralFieldsAreReplacedTogether) {
  policy_.forward = Forward::kSanitizeSet;
  headers_.Add(kField, "Hash=1");
  headers_.Add("Host", "a");
  headers_.Add(kField, "Hash=2");
  ForwardClientCert(policy_, &tls_, headers_);
  EXPECT_EQ(headers_.Count(kField), 1u);
  EXPECT_EQ(headers_.Get(kField), kMine);
}

TEST_F(ClientCertHeaderTest, AllThatCameIsAppendedTo) {
  policy_.forward = Forward::kAppendForward;
  headers_.Add(kField, "Hash=1");
  headers_.Add(kField, "Hash=2");
  ForwardClientCert(policy_, &tls_, headers_);
  EXPECT_EQ(headers_.Count(kField), 1u);
  EXPECT_EQ(headers_.Get(kField), "Hash=1,Hash=2," + std::string(kMine));
}

}  // namespace
}  // namespace gatehouse::http
