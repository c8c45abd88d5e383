#include "source/config/build_listeners.h"

#include <algorithm>
#include <array>
#include <utility>

#include "fmt/format.h"
#include "source/base/status.h"
#include "source/config/build_access_log.h"
#include "source/config/build_http2.h"
#include "source/http/header_map.h"

namespace gatehouse::config {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr uint64_t kMinHead = 256;
constexpr uint64_t kMaxHead = uint64_t{1} << 20;
constexpr uint64_t kMinUri = 64;
constexpr uint64_t kMaxHeaders = 10'000;
constexpr uint64_t kMaxBacklog = 1'000'000;
constexpr uint64_t kMaxFrameBudget = 1'000'000;
constexpr uint64_t kMaxContinuations = 10'000;

using Texts = google::protobuf::RepeatedPtrField<std::string>;

// CIDR ranges; "10.0.0.1/8" is taken for a mistake.
void ReadNetworks(const Texts& texts, const Field& field, std::vector<net::Cidr>* networks) {
  for (int i = 0; i < texts.size(); ++i) {
    const std::string& text = texts[i];
    const Field item = field.Item(static_cast<size_t>(i));
    const absl::StatusOr<net::Cidr> network = net::Cidr::Parse(text);
    if (!network.ok()) {
      item.Error(network.status());
      continue;
    }
    const size_t slash = text.find('/');
    net::IpAddress written;
    if (slash != std::string::npos && net::IpAddress::Parse(text.substr(0, slash), &written) &&
        written != network->network) {
      // Bits are set behind its prefix.
      item.Error(fmt::format("\"{}\" is an address inside a network", text),
                 fmt::format("{}{}", network->network.ToString(), text.substr(slash)));
      continue;
    }
    networks->push_back(*network);
  }
}

class ListenerReader {
 public:
  ListenerReader(const v1::Listener& message, const Field& field)
      : message_(message), field_(field), listener_(std::make_shared<Listener>()) {}

  PlannedListener Read() && {
    listener_->name = message_.name();
    ReadAddress();
    ReadLimits(field_.Below("limits"));
    ReadTimeouts(field_.Below("timeouts"));
    ReadHttp1();
    ReadHttp2(field_.Below("http2"));
    ReadProxyProtocol(field_.Below("proxy_protocol"));
    ReadPath(field_.Below("path"));
    ReadHeaders(field_.Below("headers"));
    ReadNetworks(message_.trusted_proxies(), field_.Below("trusted_proxies"),
                 &listener_->trusted_proxies.networks);
    PlannedListener planned;
    planned.log = ReadAccessLog(message_.access_log(), field_.Below("access_log"), listener_.get());
    planned.defaults = {max_body_bytes_, listener_->stream_idle};
    listener_->h1 = std::make_shared<const http::H1ServerOptions>(h1_);
    if (!message_.http2().disabled()) {
      h2_.common = h1_;
      listener_->h2 = std::make_shared<const http::H2ServerOptions>(h2_);
    }
    planned.listener = std::move(listener_);
    return planned;
  }

 private:
  void ReadAddress();
  void ReadLimits(const Field& field);
  void ReadTimeouts(const Field& field);
  void ReadHttp1();
  void ReadPath(const Field& field);
  void ReadHeaders(const Field& field);
  void ReadClientCert(const Field& field);
  void ReadHttp2(const Field& field);
  void ReadAbuseLimits(const Field& field);
  void ReadProxyProtocol(const Field& field);

  const v1::Listener& message_;
  const Field& field_;
  std::shared_ptr<Listener> listener_;
  http::H1ServerOptions h1_;
  http::H2ServerOptions h2_;
  uint64_t max_body_bytes_ = uint64_t{1} << 30;
};

void ListenerReader::ReadAddress() {
  listener_->address_text = message_.address();
  absl::StatusOr<net::Address> address = net::Address::Parse(message_.address());
  if (address.ok()) {
    listener_->address = *address;
  } else {
    field_.Below("address").Error(address.status());
  }
  listener_->backlog = static_cast<int>(ReadNumber(
      message_.backlog(), {.fallback = 4096, .max = kMaxBacklog}, field_.Below("backlog")));
}

void ListenerReader::ReadLimits(const Field& field) {
  const v1::ListenerLimits& limits = message_.limits();
  http::H1Limits& head = h1_.limits;
  head.max_head_bytes = static_cast<uint32_t>(ReadSize(
      limits.max_header_bytes(), {.fallback = uint64_t{60} << 10, .min = kMinHead, .max = kMaxHead},
      field.Below("max_header_bytes")));
  head.max_headers = static_cast<uint16_t>(ReadNumber(
      limits.max_headers(), {.fallback = 100, .max = kMaxHeaders}, field.Below("max_headers")));
  // A small head takes the request target's default down with it.
  head.max_uri_bytes = static_cast<uint32_t>(
      ReadSize(limits.max_uri_bytes(),
               {.fallback = std::min<uint64_t>(uint64_t{8} << 10, head.max_head_bytes),
                .min = kMinUri,
                .max = kMaxHead},
               field.Below("max_uri_bytes")));
  if (head.max_uri_bytes > head.max_head_bytes) {
    field.Below("max_uri_bytes").Error("is more than max_header_bytes, of which it is a part");
  }
  max_body_bytes_ =
      ReadSize(limits.max_body_bytes(), {.fallback = uint64_t{1} << 30, .min = 1, .max = INT64_MAX},
               field.Below("max_body_bytes"));
  listener_->max_connections = limits.max_connections();
  listener_->max_connections_per_ip = limits.max_connections_per_ip();
}

void ListenerReader::ReadTimeouts(const Field& field) {
  const v1::ListenerTimeouts& timeouts = message_.timeouts();
  h1_.header_timeout = ReadDuration(timeouts.has_request_header(), timeouts.request_header(),
                                    {.fallback = seconds(10)}, field.Below("request_header"));
  h1_.keep_alive_timeout = ReadDuration(timeouts.has_keep_alive(), timeouts.keep_alive(),
                                        {.fallback = seconds(60)}, field.Below("keep_alive"));
  listener_->stream_idle =
      ReadDuration(timeouts.has_stream_idle(), timeouts.stream_idle(),
                   {.fallback = minutes(5), .zero_is_none = true}, field.Below("stream_idle"));
  h1_.request_timeout =
      ReadDuration(timeouts.has_request(), timeouts.request(),
                   {.fallback = minutes(5), .zero_is_none = true}, field.Below("request"));
  h1_.max_age =
      ReadDuration(timeouts.has_max_connection_age(), timeouts.max_connection_age(),
                   {.fallback = hours(1), .zero_is_none = true}, field.Below("max_connection_age"));
  listener_->handshake_timeout = ReadDuration(timeouts.has_handshake(), timeouts.handshake(),
                                              {.fallback = seconds(10)}, field.Below("handshake"));
  const NumberRule rate = {.fallback = 100, .min = 0};
  h1_.min_body_rate = static_cast<uint32_t>(ReadOptional(
      timeouts.has_min_body_rate(), timeouts.min_body_rate(), rate, field.Below("min_body_rate")));
  h1_.min_response_rate = static_cast<uint32_t>(ReadOptional(timeouts.has_min_response_rate(),
                                                             timeouts.min_response_rate(), rate,
                                                             field.Below("min_response_rate")));
}

void ListenerReader::ReadHttp1() {
  const v1::Http1Options& http1 = message_.http1();
  h1_.allow_http10 = !http1.has_allow_http10() || http1.allow_http10();
  h1_.max_requests = http1.max_requests_per_connection();
}

void ListenerReader::ReadHttp2(const Field& field) {
  const v1::Http2Options& http2 = message_.http2();
  h2_.max_streams = static_cast<uint32_t>(ReadNumber(
      http2.max_concurrent_streams(), {.fallback = h2_.max_streams, .max = kMaxH2Streams},
      field.Below("max_concurrent_streams")));
  ReadHttp2Windows(http2, &h2_.stream_window, &h2_.connection_window, field);
  ReadHttp2Pings(http2, &h2_.ping_interval, &h2_.ping_timeout, field);
  h2_.extended_connect = !http2.has_extended_connect() || http2.extended_connect();
  ReadAbuseLimits(field.Below("abuse"));
}

void ListenerReader::ReadAbuseLimits(const Field& field) {
  const v1::Http2AbuseLimits& message = message_.http2().abuse();
  http::H2AbuseLimits& limits = h2_.abuse;
  const auto read = [&](const v1::FrameBudget& budget, std::string_view name, uint32_t* burst,
                        uint32_t* per_second) {
    const Field below = field.Below(name);
    *burst = static_cast<uint32_t>(ReadNumber(
        budget.burst(), {.fallback = *burst, .max = kMaxFrameBudget}, below.Below("burst")));
    *per_second = static_cast<uint32_t>(
        ReadNumber(budget.per_second(), {.fallback = *per_second, .max = kMaxFrameBudget},
                   below.Below("per_second")));
  };
  read(message.resets(), "resets", &limits.resets_burst, &limits.resets_per_second);
  read(message.control_frames(), "control_frames", &limits.control_burst,
       &limits.control_per_second);
  read(message.empty_frames(), "empty_frames", &limits.empty_burst, &limits.empty_per_second);
  read(message.errors(), "errors", &limits.errors_burst, &limits.errors_per_second);
  limits.max_continuations = static_cast<uint32_t>(ReadNumber(
      message.max_continuations(), {.fallback = limits.max_continuations, .max = kMaxContinuations},
      field.Below("max_continuations")));
}

void ListenerReader::ReadProxyProtocol(const Field& field) {
  if (!message_.has_proxy_protocol()) return;
  const v1::ProxyProtocol& message = message_.proxy_protocol();
  ProxyProtocolPolicy& policy = listener_->proxy_protocol;
  switch (message.mode()) {
    case v1::ProxyProtocol::MODE_REQUIRED:
      policy.mode = ProxyProtocolPolicy::Mode::kRequired;
      break;
    case v1::ProxyProtocol::MODE_OPTIONAL:
      policy.mode = ProxyProtocolPolicy::Mode::kOptional;
      break;
    default:
      field.Below("mode").Error("is not a choice that this version knows");
  }
  const Field trusted = field.Below("trusted");
  if (message.trusted().empty()) {
    trusted.Error(
        "must name the networks of the proxies that may send the header, such as [\"10.0.0.0/8\"]; "
        "[\"0.0.0.0/0\", \"::/0\"] lets every client say who it is");
  }
  ReadNetworks(message.trusted(), trusted, &policy.trusted);
}

void ListenerReader::ReadPath(const Field& field) {
  const v1::PathOptions& path = message_.path();
  listener_->path.merge_slashes = !path.keep_double_slashes();
  switch (path.escaped_slashes()) {
    case v1::PathOptions::ESCAPED_SLASHES_REJECT:
      listener_->path.encoded_slash = http::EncodedSlash::kReject;
      return;
    case v1::PathOptions::ESCAPED_SLASHES_KEEP:
      listener_->path.encoded_slash = http::EncodedSlash::kKeep;
      return;
    case v1::PathOptions::ESCAPED_SLASHES_UNESCAPE_AND_REDIRECT:
      listener_->path.encoded_slash = http::EncodedSlash::kUnescapeAndRedirect;
      return;
    case v1::PathOptions::ESCAPED_SLASHES_UNESCAPE_AND_FORWARD:
      listener_->path.encoded_slash = http::EncodedSlash::kUnescapeAndForward;
      return;
    default:
      field.Below("escaped_slashes").Error("is not a choice that this version knows");
  }
}

void ListenerReader::ReadHeaders(const Field& field) {
  const v1::HeaderOptions& headers = message_.headers();
  switch (headers.underscores()) {
    case v1::HeaderOptions::UNDERSCORES_DROP:
      h1_.limits.underscores = http::UnderscorePolicy::kDrop;
      break;
    case v1::HeaderOptions::UNDERSCORES_REJECT:
      h1_.limits.underscores = http::UnderscorePolicy::kReject;
      break;
    case v1::HeaderOptions::UNDERSCORES_ALLOW:
      h1_.limits.underscores = http::UnderscorePolicy::kAllow;
      break;
    default:
      field.Below("underscores").Error("is not a choice that this version knows");
  }
  listener_->server_header = headers.server();
  if (!http::IsFieldValue(headers.server())) {
    field.Below("server").Error("holds a control character, which no header may");
  }
  if (!headers.via().empty()) {
    // RFC 9110, section 7.6.3: a host, with or without port, or a pseudonym.
    const size_t colon = std::min(headers.via().find(':'), headers.via().size());
    if (!http::IsToken(std::string_view(headers.via()).substr(0, colon)) ||
        headers.via().find_first_not_of("0123456789", colon + 1) != std::string::npos) {
      field.Below("via").Error(fmt::format("\"{}\" is not a name such as edge-1", headers.via()));
    }
    listener_->via = fmt::format("1.1 {}", headers.via());
    listener_->via_http2 = fmt::format("2 {}", headers.via());
  }
  const Field remove = field.Below("remove_from_responses");
  for (int i = 0; i < headers.remove_from_responses_size(); ++i) {
    const Field item = remove.Item(static_cast<size_t>(i));
    std::string name = ReadHeaderName(headers.remove_from_responses(i), item);
    if (IsFramingHeader(name)) {
      item.Error(fmt::format("\"{}\" is for the gateway to write", name));
    } else if (!name.empty()) {
      listener_->remove_from_responses.push_back(std::move(name));
    }
  }
  ReadClientCert(field.Below("forwarded_client_cert"));
}

void ListenerReader::ReadClientCert(const Field& field) {
  using Forward = ClientCertPolicy::Forward;
  using Message = v1::ForwardedClientCert;
  const Message& message = message_.headers().forwarded_client_cert();
  ClientCertPolicy& policy = listener_->client_cert;
  switch (message.mode()) {
    case Message::MODE_SANITIZE:
      policy.forward = Forward::kSanitize;
      break;
    case Message::MODE_FORWARD_ONLY:
      policy.forward = Forward::kForwardOnly;
      break;
    case Message::MODE_APPEND_FORWARD:
      policy.forward = Forward::kAppendForward;
      break;
    case Message::MODE_SANITIZE_SET:
      policy.forward = Forward::kSanitizeSet;
      break;
    case Message::MODE_ALWAYS_FORWARD_ONLY:
      policy.forward = Forward::kAlwaysForwardOnly;
      break;
    default:
      field.Below("mode").Error("is not a choice that this version knows");
  }
  if (message.details().empty()) return;
  const auto told = [&](Message::Detail detail) {
    return std::ranges::find(message.details(), detail) != message.details().end();
  };
  policy.subject = told(Message::DETAIL_SUBJECT);
  policy.uri = told(Message::DETAIL_URI);
  policy.dns = told(Message::DETAIL_DNS);
  policy.cert = told(Message::DETAIL_CERT);
}

}  // namespace

PlannedListener ReadListener(const v1::Listener& message, const Field& field) {
  return ListenerReader(message, field).Read();
}

}  // namespace gatehouse::config
