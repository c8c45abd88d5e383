// StripHopByHop() and StripUntrusted() of source/http/normalize.h.
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

#include "fmt/format.h"
#include "source/http/normalize.h"

namespace gatehouse::http {
namespace {

using Fields = std::vector<std::pair<std::string_view, std::string_view>>;

class StripTest : public testing::Test {
 protected:
  void Fill(const Fields& fields) {
    headers_.RemoveIf([](const HeaderEntry&) { return true; });
    for (const auto& [name, value] : fields) ASSERT_TRUE(headers_.Add(name, value));
  }
  [[nodiscard]] std::string Left() const {
    std::string text;
    for (const HeaderEntry& entry : headers_) {
      text += fmt::format("{}={};", entry.name_view(), entry.value_view());
    }
    return text;
  }

  Arena arena_;
  HeaderMap headers_{arena_};
};

TEST_F(StripTest, HopByHop) {
  Fill({{"Host", "a"},
        {"Connection", "keep-alive"},
        {"Keep-Alive", "timeout=5"},
        {"Proxy-Connection", "keep-alive"},
        {"Transfer-Encoding", "chunked"},
        {"Upgrade", "h2c"},
        {"HTTP2-Settings", "x"},
        {"Proxy-Authorization", "x"},
        {"Proxy-Authenticate", "x"},
        {"TE", "gzip"},
        {"Trailer", "A"},
        {"X", "y"}});
  EXPECT_TRUE(StripHopByHop(headers_));
  EXPECT_EQ(Left(), "Host=a;Trailer=A;X=y;");
}

TEST_F(StripTest, WithoutAnyNothingHappens) {
  Fill({{"Host", "a"}, {"X", "y"}});
  EXPECT_TRUE(StripHopByHop(headers_));
  EXPECT_EQ(Left(), "Host=a;X=y;");
}

TEST_F(StripTest, WhatConnectionNames) {
  Fill({{"Connection", "close, X-Hop ,,te"},
        {"x-hop", "1"},
        {"Connection", "Other"},
        {"OTHER", "2"},
        {"X-Hop", "3"},
        {"TE", "trailers;q=1, Trailers"},
        {"Kept", "4"}});
  EXPECT_TRUE(StripHopByHop(headers_));
  EXPECT_EQ(Left(), "Kept=4;te=trailers;");
  EXPECT_FALSE(headers_.Has("x-hop"));
}

TEST_F(StripTest, ConnectionMayNotNameWhatOthersRelyOn) {
  for (std::string_view name :
       {"Host", "content-length", "Authorization", "Cookie", "X-Forwarded-For", "x-forwarded-foo",
        "X_Forwarded_For", "Forwarded", "X-Real-IP", "X-Request-Id", "traceparent", "X-User-Id",
        "X_USER_ID", "X-Consumer-Name", "X-Gatehouse-Anything", "Via", "Content-Type"}) {
    Fill({{"Connection", "close"}, {"Connection", name}, {"X", "y"}});
    EXPECT_FALSE(StripHopByHop(headers_)) << name;
    EXPECT_EQ(headers_.size(), 3u);
  }
}

TEST_F(StripTest, ConnectionNamesAFewFieldsAtMost) {
  std::string options = "x-0";
  for (int i = 1; i < 32; ++i) options += fmt::format(",x-{}", i);
  Fill({{"Connection", options}, {"X-31", "y"}, {"Kept", "y"}});
  EXPECT_TRUE(StripHopByHop(headers_));
  EXPECT_EQ(Left(), "Kept=y;");

  Fill({{"Connection", options}, {"X-31", "y"}, {"Connection", "close"}});
  EXPECT_FALSE(StripHopByHop(headers_));
  EXPECT_EQ(headers_.size(), 3u);
}

TEST_F(StripTest, Untrusted) {
  const Fields fields = {{"Host", "a"},
                         {"X-User-ID", "1"},
                         {"x-roles", "admin"},
                         {"X-Tenant-Id", "1"},
                         {"X-Consumer-Id", "1"},
                         {"X-Consumer-Username", "1"},
                         {"x_consumer_username", "1"},
                         {"X_User_Id", "1"},
                         {"X-User_Id", "1"},
                         {"X-Gatehouse-Internal", "1"},
                         {"X-Forwarded-Client-Cert", "1"},
                         {"X-Original-URL", "/admin"},
                         {"X-Rewrite-URL", "/admin"},
                         {"X_Original_Url", "/admin"},
                         {"Proxy", "evil:80"},
                         {"Early-Data", "1"},
                         {"Early_Data", "1"},
                         {"X-Forwarded-For", "1.1.1.1"},
                         {"X-Forwarded-Proto", "https"},
                         {"X-Forwarded-Scheme", "https"},
                         {"X_Forwarded_For", "1.1.1.1"},
                         {"Forwarded", "for=1.1.1.1"},
                         {"X-Real-IP", "1.1.1.1"},
                         {"X-Original-Path", "/admin"},
                         {"X.User.Id", "1"},
                         {"True-Client-IP", "1.1.1.1"},
                         {"X.Client_IP", "1.1.1.1"},
                         {"CF-Connecting-IP", "1.1.1.1"},
                         {"X-Forwarded", "for=1.1.1.1"},
                         {"X-Kept", "1"},
                         {"User_Agent", "1"},
                         {"X-Request-Id", "1"}};
  Fill(fields);
  EXPECT_EQ(StripUntrusted(headers_, {}), 28u);
  EXPECT_EQ(Left(), "Host=a;X-Kept=1;User_Agent=1;X-Request-Id=1;");
  EXPECT_EQ(StripUntrusted(headers_, {}), 0u);

  Fill(fields);
  StripUntrusted(headers_, {.trust_forwarded = true});
  EXPECT_EQ(Left(),
            "Host=a;Early-Data=1;Early_Data=1;X-Forwarded-For=1.1.1.1;X-Forwarded-Proto=https;X-"
            "Forwarded-Scheme=https;"
            "X_Forwarded_For=1.1.1.1;Forwarded=for=1.1.1.1;X-Real-IP=1.1.1.1;"
            "True-Client-IP=1.1.1.1;X.Client_IP=1.1.1.1;CF-Connecting-IP=1.1.1.1;"
            "X-Forwarded=for=1.1.1.1;X-Kept=1;User_Agent=1;X-Request-Id=1;");
}

TEST_F(StripTest, AClientCertificateIsKeptInOneSpelling) {
  Fill({{"x-forwarded-client-cert", "1"},
        {"X_Forwarded_Client_Cert", "1"},
        {"X-Forwarded.Client-Cert", "1"},
        {"X-Forwarded-Client_Cert", "1"},
        {"X-Forwarded-Client-Certs", "1"},
        {"X-User-Id", "1"}});
  EXPECT_EQ(StripUntrusted(headers_, {.keep_client_cert = true}), 5u);
  EXPECT_EQ(Left(), "x-forwarded-client-cert=1;");
  EXPECT_EQ(StripUntrusted(headers_, {}), 1u);
}

TEST_F(StripTest, ConnectionCannotNameWhatSaysHowTheRequestCame) {
  for (const char* name : {"Early-Data", "early_data", "X-Forwarded-Client-Cert"}) {
    Fill({{"Connection", name}});
    EXPECT_FALSE(StripHopByHop(headers_)) << name;
  }
}

TEST_F(StripTest, MoreOwnedNames) {
  constexpr std::string_view kOwned[] = {"x-plan", "acme-*", "x-request-id"};
  Fill({{"X-Plan", "1"},
        {"x_plan", "1"},
        {"X-Planned", "1"},
        {"Acme-One", "1"},
        {"ACME_TWO", "1"},
        {"acme", "1"},
        {"X-Request-Id", "1"}});
  EXPECT_EQ(StripUntrusted(headers_, {.owned = kOwned}), 5u);
  EXPECT_EQ(Left(), "X-Planned=1;acme=1;");
}

}  // namespace
}  // namespace gatehouse::http
