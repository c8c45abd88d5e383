#include <filesystem>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "test/fakes/config_builder.h"

namespace gatehouse::config {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

net::IpAddress Ip(std::string_view text) {
  net::IpAddress address{};
  EXPECT_TRUE(net::IpAddress::Parse(text, &address)) << text;
  return address;
}

TEST(BuildListenersTest, DefaultsAreThoseOfTheProtos) {
  ConfigBuilder builder;
  const auto snapshot = builder.Build(R"(
listeners: [ { name: edge, address: "127.0.0.1:0", route_tables: [t] } ]
route_tables: [ { name: t, domains: ["*"], routes: [ { respond: {} } ] } ]
)");
  const Listener& listener = *snapshot->FindListener("edge");
  EXPECT_EQ(listener.address_text, "127.0.0.1:0");
  EXPECT_EQ(listener.backlog, 4096);
  EXPECT_EQ(listener.stream_idle, minutes(5));
  EXPECT_EQ(listener.max_connections, 0u);
  EXPECT_EQ(listener.max_connections_per_ip, 0u);
  EXPECT_TRUE(listener.trusted_proxies.networks.empty());
  EXPECT_TRUE(listener.path.merge_slashes);
  EXPECT_EQ(listener.path.encoded_slash, http::EncodedSlash::kReject);
  EXPECT_EQ(listener.server_header, "");
  EXPECT_EQ(listener.via, "");
  EXPECT_EQ(listener.access_log, nullptr);  // without a writer
  const http::H1ServerOptions& h1 = *listener.h1;
  EXPECT_TRUE(h1.allow_http10);
  EXPECT_EQ(h1.max_requests, 0u);
  EXPECT_EQ(h1.header_timeout, seconds(10));
  EXPECT_EQ(h1.keep_alive_timeout, seconds(60));
  EXPECT_EQ(h1.request_timeout, minutes(5));
  EXPECT_EQ(h1.max_age, hours(1));
  EXPECT_EQ(h1.min_body_rate, 100u);
  EXPECT_EQ(h1.min_response_rate, 100u);
  EXPECT_EQ(h1.limits.max_head_bytes, 60u * 1024);
  EXPECT_EQ(h1.limits.max_headers, 100);
  EXPECT_EQ(h1.limits.max_uri_bytes, 8u * 1024);
  EXPECT_EQ(h1.limits.underscores, http::UnderscorePolicy::kDrop);
  const Route& route = *listener.routes.at(0);
  EXPECT_EQ(route.max_body_bytes, uint64_t{1} << 30);
  EXPECT_EQ(route.idle_timeout, minutes(5));
}

TEST(BuildListenersTest, EveryFieldArrives) {
  ConfigBuilder builder;
  const auto snapshot = builder.Build(R"(
listeners:
- name: edge
  address: "[::1]:8080"
  backlog: 7
  http1: { allow_http10: false, max_requests_per_connection: 9 }
  limits: { max_header_bytes: 4KiB, max_headers: 5, max_uri_bytes: 1KiB, max_body_bytes: 2MiB,
            max_connections: 3, max_connections_per_ip: 2 }
  timeouts: { request_header: 1s, keep_alive: 2s, stream_idle: 0s, request: 0, min_body_rate: 0,
              min_response_rate: 50, max_connection_age: 0s }
  trusted_proxies: ["10.0.0.0/8", "::1"]
  path: { escaped_slashes: unescape_and_forward, keep_double_slashes: true }
  headers: { underscores: allow, server: edge/1, via: edge-1, remove_from_responses: [X-Powered-By] }
  access_log: { path: "off" }
  route_tables: [t]
route_tables: [ { name: t, domains: ["*"], routes: [ { respond: {} } ] } ]
)");
  const Listener& listener = *snapshot->FindListener("edge");
  EXPECT_EQ(listener.address.ToString(), "[::1]:8080");
  EXPECT_EQ(listener.backlog, 7);
  EXPECT_EQ(listener.stream_idle, kNoTimeout);
  EXPECT_EQ(listener.max_connections, 3u);
  EXPECT_EQ(listener.max_connections_per_ip, 2u);
  EXPECT_TRUE(listener.trusted_proxies.Trusts(Ip("10.2.3.4")));
  EXPECT_FALSE(listener.trusted_proxies.Trusts(Ip("11.2.3.4")));
  EXPECT_FALSE(listener.path.merge_slashes);
  EXPECT_EQ(listener.path.encoded_slash, http::EncodedSlash::kUnescapeAndForward);
  EXPECT_EQ(listener.server_header, "edge/1");
  EXPECT_EQ(listener.via, "1.1 edge-1");
  EXPECT_THAT(listener.remove_from_responses, ElementsAre("x-powered-by"));
  const http::H1ServerOptions& h1 = *listener.h1;
  EXPECT_FALSE(h1.allow_http10);
  EXPECT_EQ(h1.max_requests, 9u);
  EXPECT_EQ(h1.header_timeout, seconds(1));
  EXPECT_EQ(h1.keep_alive_timeout, seconds(2));
  EXPECT_EQ(h1.request_timeout, kNoTimeout);
  EXPECT_EQ(h1.max_age, kNoTimeout);
  EXPECT_EQ(h1.min_body_rate, 0u);
  EXPECT_EQ(h1.min_response_rate, 50u);
  EXPECT_EQ(h1.limits.max_head_bytes, 4096u);
  EXPECT_EQ(h1.limits.max_headers, 5);
  EXPECT_EQ(h1.limits.max_uri_bytes, 1024u);
  EXPECT_EQ(h1.limits.underscores, http::UnderscorePolicy::kAllow);
  EXPECT_EQ(listener.routes.at(0)->max_body_bytes, 2u << 20);
  EXPECT_EQ(listener.routes.at(0)->idle_timeout, kNoTimeout);
}

TEST(BuildListenersTest, ASmallHeadTakesTheUriDown) {
  ConfigBuilder builder;
  const auto snapshot = builder.Build(
      "listeners: [{name: a, address: '127.0.0.1:0', limits: {max_header_bytes: 4KiB}}]");
  EXPECT_EQ(snapshot->listeners.at(0)->h1->limits.max_uri_bytes, 4096u);
}

TEST(BuildListenersTest, AListenerWithoutTablesAnswersNothing) {
  ConfigBuilder builder;
  const auto snapshot = builder.Build("listeners: [{name: a, address: '127.0.0.1:0'}]");
  ASSERT_NE(snapshot->listeners.at(0)->route_table, nullptr);
  EXPECT_EQ(snapshot->listeners.at(0)->route_table->route_count(), 0u);
}

TEST(BuildListenersTest, ErrorsNameTheField) {
  ConfigBuilder builder;
  EXPECT_THAT(
      builder.Errors(R"yaml(
listeners:
- name: a
  address: "localhost:80"
- name: b
  address: "127.0.0.1:80"
  trusted_proxies: [nonsense, 10.1.2.3/8]
  limits: { max_uri_bytes: 128KiB }
- name: c
  address: "127.0.0.1:80"
  timeouts: { keep_alive: 0s, request_header: 10000h }
  headers: { via: "a b", remove_from_responses: [Content-Length, "a b"] }
  access_log: { path: stdot, pattern: "$(clent_ip)", fields: [time] }
- name: d
  address: "127.0.0.1:81"
  route_tables: [shp, shop, shop, delegate]
  access_log: { fields: [tim], request_headers: [Authorization], response_headers: ["a b"] }
route_tables: [ { name: shop, domains: ["*"] }, { name: delegate } ]
)yaml"),
      ElementsAre(
          StartsWith("4: listeners[0].address: \"localhost:80\" is not an IP address"),
          StartsWith("7: listeners[1].trusted_proxies[0]: \"nonsense\" is not a network"),
          "7: listeners[1].trusted_proxies[1]: \"10.1.2.3/8\" is an address inside a network, did "
          "you mean \"10.0.0.0/8\"?",
          "8: listeners[1].limits.max_uri_bytes: is more than max_header_bytes, of which it is a "
          "part",
          "10: listeners[2].address: 127.0.0.1:80 is the address of listener \"b\" already",
          "11: listeners[2].timeouts.request_header: is longer than 8760h",
          "11: listeners[2].timeouts.keep_alive: must be more than 0s",
          "12: listeners[2].headers.via: \"a b\" is not a name such as edge-1",
          "12: listeners[2].headers.remove_from_responses[0]: \"content-length\" is for the "
          "gateway to write",
          "12: listeners[2].headers.remove_from_responses[1]: \"a b\" is not a header name",
          "13: listeners[2].access_log.path: \"stdot\" is neither stdout, stderr, off nor the path "
          "of a file, did you mean \"stdout\"?",
          "13: listeners[2].access_log.fields: is for JSON, and there is a pattern",
          StartsWith("13: listeners[2].access_log.pattern: unknown variable 'clent_ip'"),
          "16: listeners[3].route_tables[0]: there is no route table \"shp\", did you mean "
          "\"shop\"?",
          "16: listeners[3].route_tables[2]: \"shop\" is there twice",
          "16: listeners[3].route_tables[3]: \"delegate\" has no domains: another table's route "
          "mounts it, not a listener",
          StartsWith("17: listeners[3].access_log.request_headers[0]: 'request.header.authoriz"),
          "17: listeners[3].access_log.response_headers[0]: \"a b\" is not a header name",
          StartsWith("17: listeners[3].access_log.fields[0]: unknown variable 'tim'")));
}

class AccessLogTest : public testing::Test {
 protected:
  AccessLogTest() {
    path_ = testing::TempDir() + "/build_listeners_test.log";
    std::filesystem::remove(path_);
    builder_.log_writer = *observe::LogWriter::Create({.workers = 2});
  }
  std::string Config(const std::string& log, const std::string& more = "") {
    return "listeners: [{name: a, address: '127.0.0.1:0', access_log: " + log + more + "}]";
  }

  std::string path_;
  ConfigBuilder builder_;
};

TEST_F(AccessLogTest, IsSharedWhileItsConfigIsEqual) {
  const auto first = builder_.Build(Config("{path: " + path_ + "}"));
  ASSERT_NE(first->listeners.at(0)->access_log, nullptr);
  EXPECT_EQ(first->listeners[0]->access_log->output().path(), path_);
  const auto second = builder_.Build(Config("{path: " + path_ + "}", ", backlog: 5"));
  EXPECT_NE(second->listeners[0], first->listeners[0]);
  EXPECT_EQ(second->listeners[0]->access_log, first->listeners[0]->access_log);
  const auto third = builder_.Build(Config("{path: " + path_ + ", fields: [time, status]}"));
  EXPECT_NE(third->listeners[0]->access_log, first->listeners[0]->access_log);
  const auto off = builder_.Build(Config("{path: 'off'}"));
  EXPECT_EQ(off->listeners[0]->access_log, nullptr);
}

TEST_F(AccessLogTest, IsNotOpenedByABuildThatFails) {
  EXPECT_FALSE(builder_.Try(Config("{path: " + path_ + "}", ", route_tables: [x]")).errors.ok());
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(AccessLogTest, ThatCannotBeOpenedIsAnError) {
  EXPECT_THAT(builder_.Errors(Config("{path: /nowhere/at/all.log}")),
              ElementsAre(HasSubstr("1: listeners[0].access_log.path: cannot open access log")));
}

}  // namespace
}  // namespace gatehouse::config
