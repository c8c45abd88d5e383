// HTTP/2, the PROXY protocol and what becomes of X-Forwarded-Client-Cert.
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "test/fakes/config_builder.h"

namespace gatehouse::config {
namespace {

using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;

TEST(BuildHttp2Test, ListenersSpeakItByDefault) {
  ConfigBuilder builder;
  const auto snapshot = builder.Build(R"(
listeners:
- { name: edge, address: "127.0.0.1:0", limits: { max_headers: 7 } }
- { name: old, address: "127.0.0.1:0", http2: { disabled: true } }
)");
  const Listener& edge = *snapshot->FindListener("edge");
  ASSERT_NE(edge.h2, nullptr);
  const http::H2ServerOptions& h2 = *edge.h2;
  EXPECT_EQ(h2.common.limits.max_headers, 7);
  EXPECT_EQ(h2.max_streams, 100u);
  EXPECT_EQ(h2.stream_window, 64u * 1024);
  EXPECT_EQ(h2.connection_window, 1024u * 1024);
  EXPECT_EQ(h2.ping_interval, kNoTimeout);
  EXPECT_EQ(h2.ping_timeout, seconds(20));
  EXPECT_TRUE(h2.extended_connect);
  EXPECT_EQ(h2.abuse.resets_burst, 200u);
  EXPECT_EQ(h2.abuse.max_continuations, 8u);
  EXPECT_EQ(edge.handshake_timeout, seconds(10));
  EXPECT_EQ(edge.proxy_protocol.mode, ProxyProtocolPolicy::Mode::kOff);
  EXPECT_EQ(edge.client_cert.forward, ClientCertPolicy::Forward::kSanitize);
  EXPECT_TRUE(edge.client_cert.subject && edge.client_cert.uri && edge.client_cert.dns);
  EXPECT_FALSE(edge.client_cert.cert);
  EXPECT_EQ(snapshot->FindListener("old")->h2, nullptr);
}

TEST(BuildHttp2Test, EveryFieldOfAListenerArrives) {
  ConfigBuilder builder;
  const auto snapshot = builder.Build(R"(
listeners:
- name: edge
  address: "127.0.0.1:0"
  timeouts: { handshake: 3s, request_header: 4s }
  http2:
    max_concurrent_streams: 10
    initial_stream_window: 16KiB
    initial_connection_window: 128KiB
    ping_interval: 30s
    ping_timeout: 5s
    extended_connect: false
    abuse:
      resets: { burst: 1, per_second: 2 }
      control_frames: { burst: 3, per_second: 4 }
      empty_frames: { burst: 5 }
      errors: { per_second: 8 }
      max_continuations: 9
  proxy_protocol: { mode: optional, trusted: ["10.0.0.0/8", "::1"] }
  headers: { forwarded_client_cert: { mode: sanitize_set, details: [cert, uri] } }
- name: strict
  address: "127.0.0.1:0"
  proxy_protocol: { trusted: ["127.0.0.1"] }
)");
  const Listener& edge = *snapshot->FindListener("edge");
  const http::H2ServerOptions& h2 = *edge.h2;
  EXPECT_EQ(h2.common.header_timeout, seconds(4));
  EXPECT_EQ(h2.max_streams, 10u);
  EXPECT_EQ(h2.stream_window, 16u * 1024);
  EXPECT_EQ(h2.connection_window, 128u * 1024);
  EXPECT_EQ(h2.ping_interval, seconds(30));
  EXPECT_EQ(h2.ping_timeout, seconds(5));
  EXPECT_FALSE(h2.extended_connect);
  EXPECT_EQ(h2.abuse.resets_burst, 1u);
  EXPECT_EQ(h2.abuse.resets_per_second, 2u);
  EXPECT_EQ(h2.abuse.control_burst, 3u);
  EXPECT_EQ(h2.abuse.control_per_second, 4u);
  EXPECT_EQ(h2.abuse.empty_burst, 5u);
  EXPECT_EQ(h2.abuse.empty_per_second, 20u);
  EXPECT_EQ(h2.abuse.errors_burst, 100u);
  EXPECT_EQ(h2.abuse.errors_per_second, 8u);
  EXPECT_EQ(h2.abuse.max_continuations, 9u);
  EXPECT_EQ(edge.handshake_timeout, seconds(3));
  EXPECT_EQ(edge.proxy_protocol.mode, ProxyProtocolPolicy::Mode::kOptional);
  EXPECT_EQ(edge.proxy_protocol.trusted.size(), 2u);
  EXPECT_EQ(edge.client_cert.forward, ClientCertPolicy::Forward::kSanitizeSet);
  EXPECT_TRUE(edge.client_cert.uri && edge.client_cert.cert);
  EXPECT_FALSE(edge.client_cert.subject || edge.client_cert.dns);
  EXPECT_EQ(snapshot->FindListener("strict")->proxy_protocol.mode,
            ProxyProtocolPolicy::Mode::kRequired);
}

TEST(BuildHttp2Test, EveryFieldOfAClusterArrives) {
  ConfigBuilder builder;
  const auto snapshot = builder.Build(R"(
clusters:
- name: a
  protocol: http2
  http2: { max_concurrent_streams: 5, initial_stream_window: 1MiB, initial_connection_window: 2MiB,
           ping_interval: 10s, ping_timeout: 1s }
  proxy_protocol: v2
- { name: b, proxy_protocol: v1, protocol: http1 }
- { name: c }
)");
  const upstream::ClusterOptions& a = snapshot->clusters.at(0)->options();
  EXPECT_EQ(a.protocol, upstream::Protocol::kHttp2);
  EXPECT_EQ(a.h2.max_streams, 5u);
  EXPECT_EQ(a.h2.stream_window, 1u << 20);
  EXPECT_EQ(a.h2.connection_window, 2u << 20);
  EXPECT_EQ(a.h2.ping_interval, seconds(10));
  EXPECT_EQ(a.h2.ping_timeout, seconds(1));
  EXPECT_EQ(a.proxy_header, upstream::ProxyHeader::kV2);
  EXPECT_EQ(snapshot->clusters.at(1)->options().proxy_header, upstream::ProxyHeader::kV1);
  const upstream::ClusterOptions& c = snapshot->clusters.at(2)->options();
  EXPECT_EQ(c.protocol, upstream::Protocol::kHttp1);
  EXPECT_EQ(c.proxy_header, upstream::ProxyHeader::kNone);
  EXPECT_EQ(c.tls, nullptr);
  EXPECT_EQ(c.h2.stream_window, 256u * 1024);
  EXPECT_EQ(c.h2.connection_window, 16u << 20);
}

TEST(BuildHttp2Test, ErrorsNameTheField) {
  ConfigBuilder builder;
  EXPECT_THAT(
      builder.Errors(R"(
listeners:
- name: a
  address: "127.0.0.1:0"
  timeouts: { handshake: 0s }
  http2:
    max_concurrent_streams: 1000000
    initial_stream_window: 4GiB
    initial_connection_window: 1KiB
    ping_timeout: 0s
    abuse: { resets: { burst: 10000000 } }
  proxy_protocol: { trusted: ["10.0.0.1/8", "x"] }
clusters:
- name: c
  protocol: http2
  http2: { initial_stream_window: 1 }
)"),
      ElementsAre(
          "5: listeners[0].timeouts.handshake: must be more than 0s",
          "7: listeners[0].http2.max_concurrent_streams: 1000000 is not in the range of 1 "
          "to 100000",
          HasSubstr("8: listeners[0].http2.initial_stream_window: 4GiB is not in the range"),
          HasSubstr("9: listeners[0].http2.initial_connection_window: 1KiB is not in the "
                    "range of 64KiB to"),
          "10: listeners[0].http2.ping_timeout: must be more than 0s",
          HasSubstr("11: listeners[0].http2.abuse.resets.burst: 10000000 is not in"),
          HasSubstr("12: listeners[0].proxy_protocol.trusted[0]: \"10.0.0.1/8\" is an "
                    "address inside a network, did you mean \"10.0.0.0/8\"?"),
          HasSubstr("12: listeners[0].proxy_protocol.trusted[1]: "),
          HasSubstr("16: clusters[0].http2.initial_stream_window: 1B is not in")));
}

TEST(BuildHttp2Test, WhoMaySendTheProxyHeaderIsSaid) {
  ConfigBuilder builder;
  const auto errors = builder.Errors(
      "listeners: [ { name: a, address: '127.0.0.1:0', proxy_protocol: { mode: required } } ]");
  EXPECT_THAT(errors, ElementsAre(HasSubstr("listeners[0].proxy_protocol")));
}

}  // namespace
}  // namespace gatehouse::config
