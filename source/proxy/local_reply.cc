#include "source/proxy/local_reply.h"

#include <algorithm>
#include <charconv>

#include "source/base/arena.h"
#include "source/base/utf8.h"
#include "source/http/names.h"

namespace gatehouse::proxy {

namespace {

using http::Error;
using http::GrpcStatus;
using http::Name;
using observe::LogFlag;
using observe::LogFlags;

constexpr size_t kNumberSize = 20;
constexpr std::string_view kRateLimited = "rate_limited";

constexpr LocalReply Make(uint16_t status, std::string_view code, std::string_view title,
                          GrpcStatus grpc, LogFlags flags = {}) {
  LocalReply reply;
  reply.status = status;
  reply.code = code;
  reply.title = title;
  reply.grpc_status = grpc;
  reply.flags = flags;
  return reply;
}

// What is left of the client's message cannot be told from a next request.
constexpr LocalReply Closing(LocalReply reply) {
  reply.close = true;
  return reply;
}

constexpr LocalReply Later(LocalReply reply) {
  reply.retry_after = 1;
  return reply;
}

// Text being written into the arena, of a size that is known before.
class Text {
 public:
  Text(Arena& arena, size_t bound) : begin_(arena.AllocateChars(bound)), end_(begin_) {}

  void Put(std::string_view text) { end_ = std::ranges::copy(text, end_).out; }
  void Put(char c) { *end_++ = c; }
  void PutNumber(uint64_t number) { end_ = std::to_chars(end_, end_ + kNumberSize, number).ptr; }
  void PutHex(unsigned char byte) {
    constexpr std::string_view kDigits = "0123456789ABCDEF";
    Put(kDigits[byte >> 4]);
    Put(kDigits[byte & 15]);
  }
  [[nodiscard]] std::string_view view() const {
    return {begin_, static_cast<size_t>(end_ - begin_)};
  }

 private:
  char* begin_;
  char* end_;
};

// JSON's \u00XX is the longest that one byte becomes.
constexpr size_t kMaxJsonByte = 6;

void PutJsonString(Text& out, std::string_view text) {
  out.Put('"');
  while (!text.empty()) {
    const size_t length = Utf8SequenceLength(text);
    const auto byte = static_cast<unsigned char>(text.front());
    if (length == 0) {
      out.Put("\\uFFFD");
      text.remove_prefix(1);
      continue;
    }
    if (byte == '"' || byte == '\\') {
      out.Put('\\');
      out.Put(text.front());
    } else if (byte < 0x20) {
      out.Put("\\u00");
      out.PutHex(byte);
    } else {
      out.Put(text.substr(0, length));
    }
    text.remove_prefix(length);
  }
  out.Put('"');
}

// RFC 9457.
std::string_view ProblemBody(const LocalReply& reply, std::string_view trace_id, Arena& arena) {
  const std::string_view type = reply.type.empty() ? "about:blank" : reply.type;
  const size_t bound = 160 + reply.members.size() +
                       kMaxJsonByte * (type.size() + reply.title.size() + reply.code.size() +
                                       reply.detail.size() + trace_id.size());
  Text out(arena, bound);
  out.Put(R"({"type":)");
  PutJsonString(out, type);
  out.Put(R"(,"title":)");
  PutJsonString(out, reply.title);
  out.Put(R"(,"status":)");
  out.PutNumber(reply.status);
  out.Put(R"(,"code":)");
  PutJsonString(out, reply.code);
  if (!reply.detail.empty()) {
    out.Put(R"(,"detail":)");
    PutJsonString(out, reply.detail);
  }
  if (!trace_id.empty()) {
    out.Put(R"(,"trace_id":)");
    PutJsonString(out, trace_id);
  }
  if (!reply.members.empty()) {
    out.Put(',');
    out.Put(reply.members);
  }
  out.Put("}\n");
  return out.view();
}

// Trailers-only: the status is in the head, and nothing follows.
void WriteGrpcReply(const LocalReply& reply, http::ResponseHead& response) {
  http::HeaderMap& headers = response.headers;
  response.status = 200;
  response.body = http::BodyKind::kNone;
  headers.SetLiteral(Name::kContentType, "application/grpc");
  WriteGrpcStatus(reply, headers);
}

}  // namespace

void WriteGrpcStatus(const LocalReply& reply, http::HeaderMap& headers) {
  headers.SetNumber(Name::kGrpcStatus, static_cast<uint64_t>(reply.grpc_status));
  headers.Set(
      Name::kGrpcMessage,
      http::EncodeGrpcMessage(reply.detail.empty() ? reply.title : reply.detail, headers.arena()));
}

// The one table. Close: see Closing(); Retry-After: see Later().
LocalReply ReplyForError(Error error) {
  using What = Error::What;
  using enum GrpcStatus;
  switch (error.what) {
    case What::kBadRequest:
      return Closing(Make(400, "bad_request", "The request is malformed", kInvalidArgument,
                          LogFlag::kDownstreamProtocolError));
    case What::kUriTooLong:
      return Closing(Make(414, "uri_too_long", "The URI is too long", kInvalidArgument,
                          LogFlag::kDownstreamProtocolError));
    case What::kHeadersTooLarge:
      return Closing(Make(431, "headers_too_large", "The header fields are too large",
                          kResourceExhausted, LogFlag::kInvalidHeaders));
    case What::kBodyTooLarge:
      return Closing(Make(413, "body_too_large", "The body is too large", kResourceExhausted));
    case What::kNotImplemented:
      return Closing(Make(501, "not_implemented", "The method or coding is not supported",
                          kUnimplemented, LogFlag::kDownstreamProtocolError));
    case What::kVersionNotSupported:
      return Closing(Make(505, "version_not_supported", "The HTTP version is not supported",
                          kUnimplemented, LogFlag::kDownstreamProtocolError));
    case What::kExpectationFailed:
      return Closing(Make(417, "expectation_failed", "The expectation cannot be met",
                          kInvalidArgument, LogFlag::kDownstreamProtocolError));
    case What::kMisdirectedRequest:
      return Make(421, "misdirected_request", "The host is not served on this connection",
                  kUnavailable, LogFlag::kNoRoute);
    case What::kTooEarly:
      return Make(425, "too_early", "The request came too early to be safe", kUnavailable);
    case What::kUpgradeRequired:
      return Make(426, "upgrade_required", "Another protocol is needed", kUnimplemented);
    case What::kRequestTimeout:
      return Closing(Make(408, "request_timeout", "The request took too long to arrive",
                          kDeadlineExceeded, LogFlag::kDownstreamTimeout));
    case What::kClientAbort:
      return Closing(Make(499, "client_abort", "The client went away", kCancelled,
                          LogFlag::kDownstreamClosed));
    case What::kNoRoute:
      return Make(404, "no_route", "Nothing is here", kUnimplemented, LogFlag::kNoRoute);
    case What::kMethodNotAllowed:
      return Make(405, "method_not_allowed", "The method is not allowed here", kUnimplemented,
                  LogFlag::kNoRoute);
    case What::kClusterNotFound:
      return Make(503, "cluster_not_found", "The service is not available", kUnavailable,
                  LogFlag::kNoHealthyUpstream);
    case What::kNoHealthyUpstream:
      return Make(503, "no_healthy_upstream", "The service is not available", kUnavailable,
                  LogFlag::kNoHealthyUpstream);
    case What::kUpstreamOverflow:
      return Later(Make(503, "upstream_overflow", "The service is busy", kUnavailable,
                        LogFlag::kUpstreamOverflow));
    case What::kOverload:
      return Later(Make(503, "overload", "The gateway is busy", kUnavailable, LogFlag::kOverload));
    case What::kShuttingDown:
      return Closing(Later(Make(503, "shutting_down", "The gateway is going away", kUnavailable,
                                LogFlag::kDraining)));
    case What::kFilterFailed:
      return Make(500, "filter_failed", "The request could not be checked", kInternal);
    case What::kConnectFailure:
      return Make(503, "connect_failure", "The service could not be reached", kUnavailable,
                  LogFlag::kUpstreamConnectFailure);
    case What::kConnectTimeout:
      return Make(504, "connect_timeout", "The service could not be reached in time", kUnavailable,
                  LogFlag::kUpstreamConnectFailure);
    case What::kUpstreamReset:
      return Make(502, "upstream_reset", "The service broke off", kUnavailable,
                  LogFlag::kUpstreamReset);
    case What::kUpstreamRefusedStream:
      return Make(503, "upstream_refused", "The service refused the request", kUnavailable,
                  LogFlag::kUpstreamReset);
    case What::kUpstreamProtocolError:
      return Make(502, "upstream_protocol_error", "The service sent an invalid response", kInternal,
                  LogFlag::kUpstreamProtocolError);
    case What::kResponseTooLarge:
      return Make(502, "response_too_large", "The service's response is too large",
                  kResourceExhausted, LogFlag::kUpstreamProtocolError);
    case What::kUpstreamTimeout:
      return Make(504, "upstream_timeout", "The service did not answer in time", kDeadlineExceeded,
                  LogFlag::kUpstreamTimeout);
    case What::kUpstreamIdleTimeout: {
      LocalReply reply = Make(504, "upstream_idle_timeout", "The service stopped answering",
                              kDeadlineExceeded, LogFlag::kUpstreamTimeout);
      reply.flags.Add(LogFlag::kStreamIdle);
      return reply;
    }
    case What::kNone:
    case What::kInternal:
      break;
  }
  return Make(500, "internal", "The gateway failed", kInternal);
}

LocalReply ReplyForFilter(const filters::Reply& from) {
  LocalReply reply;
  reply.status = from.status;
  reply.code = from.code;
  if (reply.code.empty()) reply.code = from.status < 500 ? "refused" : "filter_failed";
  reply.title = http::ReasonPhrase(from.status);
  if (reply.title.empty()) reply.title = "Refused";
  reply.grpc_status = GrpcStatusFor(from.status);
  if (from.status == 401 || from.status == 403) reply.flags = LogFlag::kUnauthorized;
  if (from.status == 429) reply.flags = LogFlag::kRateLimited;
  // Whatever status a limit answers with.
  if (from.code == kRateLimited) reply.grpc_status = GrpcStatus::kResourceExhausted;
  reply.detail = from.detail;
  reply.type = from.problem_type;
  reply.members = from.problem_members;
  reply.body = from.body;
  reply.content_type = from.content_type;
  reply.empty = from.empty || (from.status < 400 && from.body.empty());
  return reply;
}

// As gRPC clients map the HTTP statuses of proxies themselves, but for 429, which has a code that
// says so, and 413, which gRPC servers answer so.
GrpcStatus GrpcStatusFor(uint16_t http_status) {
  using enum GrpcStatus;
  switch (http_status) {
    case 400:
      return kInternal;
    case 401:
      return kUnauthenticated;
    case 403:
      return kPermissionDenied;
    case 404:
      return kUnimplemented;
    case 413:
    case 429:
      return kResourceExhausted;
    case 502:
    case 503:
    case 504:
      return kUnavailable;
    default:
      return kUnknown;
  }
}

bool IsGrpcRequest(const http::RequestHead& request) {
  constexpr std::string_view kType = "application/grpc";
  const auto type = request.headers.Get(Name::kContentType);
  if (!type || !http::EqualsIgnoreCase(type->substr(0, kType.size()), kType)) return false;
  if (type->size() == kType.size()) return true;
  const char next = (*type)[kType.size()];  // '-' is grpc-web
  return next == '+' || next == ';' || next == ' ';
}

std::string_view WriteLocalReply(const LocalReply& reply, const LocalReplyRequest& request,
                                 http::ResponseHead& response) {
  response.Reset();
  response.status = reply.status;
  response.last = reply.close;
  http::HeaderMap& headers = response.headers;
  if (reply.retry_after > 0) headers.SetNumber(Name::kRetryAfter, reply.retry_after);
  if (!request.allow.empty()) headers.Set(Name::kAllow, request.allow);
  if (reply.status >= 400) headers.SetLiteral(Name::kCacheControl, "no-store");
  if (request.head != nullptr && reply.status >= 400 && IsGrpcRequest(*request.head)) {
    WriteGrpcReply(reply, response);
    return {};
  }
  std::string_view body;
  if (!reply.empty) {
    if (reply.body.empty()) {
      headers.SetLiteral(Name::kContentType, "application/problem+json");
      body = ProblemBody(reply, request.trace_id, headers.arena());
    } else {
      headers.Set(Name::kContentType,
                  reply.content_type.empty() ? "text/plain; charset=utf-8" : reply.content_type);
      body = reply.body;
    }
  }
  // What GET would have got is announced to HEAD, too.
  const bool bodyless_status = reply.status < 200 || reply.status == 204 || reply.status == 304;
  const http::Method method = request.head == nullptr ? http::Method::kGet : request.head->method;
  if (bodyless_status || method == http::Method::kHead) {
    response.body = http::BodyKind::kNone;
    response.has_content_length = !bodyless_status;
    response.content_length = bodyless_status ? 0 : body.size();
    return {};
  }
  response.body = http::BodyKind::kLength;
  response.has_content_length = true;
  response.content_length = body.size();
  return body;
}

}  // namespace gatehouse::proxy
