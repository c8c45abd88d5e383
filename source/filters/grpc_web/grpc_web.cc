#include "source/filters/grpc_web/grpc_web.h"

#include <optional>

#include "api/gatehouse/filters/v1/grpc_web.pb.h"
#include "source/base/crypto.h"
#include "source/http/list.h"
#include "source/http/names.h"

namespace gatehouse::filters {

namespace {

using http::HeaderMap;
using http::Name;

constexpr std::string_view kGrpc = "application/grpc";
constexpr std::string_view kWeb = "application/grpc-web";
constexpr std::string_view kWebText = "application/grpc-web-text";

// What follows `type` in a content type: "+proto", ";charset=utf-8", nothing. nullopt: it is
// another type.
std::optional<std::string_view> After(std::string_view value, std::string_view type) {
  if (!http::EqualsIgnoreCase(value.substr(0, type.size()), type)) return std::nullopt;
  const std::string_view rest = value.substr(type.size());
  if (!rest.empty() && rest[0] != '+' && rest[0] != ';' && rest[0] != ' ') return std::nullopt;
  return rest;
}

// The form that the client wants: that of the request unless Accept names one.
bool WantsText(const HeaderMap& request, bool text_request) {
  bool text = false;
  bool binary = false;
  request.ForEach(Name::kAccept, [&text, &binary](std::string_view value) {
    http::ForEachElement(value, [&text, &binary](std::string_view element) {
      text = text || After(element, kWebText).has_value();
      binary = binary || After(element, kWeb).has_value();
    });
  });
  return text || (text_request && !binary);
}

// Text of the gateway's own, which passes no body hooks.
bool OwnBody(FilterContext& context) {
  return context.facts().local_reply && context.response_head().has_body();
}

}  // namespace

absl::StatusOr<GrpcWeb> GrpcWeb::Build(const v1::GrpcWeb& /*config*/, BuildContext& /*build*/) {
  return GrpcWeb();
}

Verdict GrpcWeb::Call::OnRequestHeaders(const GrpcWeb& /*filter*/, FilterContext& context) {
  HeaderMap& request = context.request();
  const std::string_view type = request.Get(Name::kContentType).value_or(std::string_view());
  std::optional<std::string_view> format = After(type, kWebText);
  text_request_ = format.has_value();
  if (!text_request_) format = After(type, kWeb);
  if (!format.has_value()) {
    context.Leave();
    return Continue();
  }
  format_ = *format;
  text_response_ = WantsText(request, text_request_);
  request.Set(Name::kContentType, context.arena().Concat(kGrpc, format_));
  // gRPC ends with trailers: whoever takes its responses must be able to take those.
  request.SetLiteral(Name::kTe, "trailers");
  request.Remove(Name::kContentLength);
  request.Remove("x-grpc-web");
  return Continue();
}

Verdict GrpcWeb::Call::OnRequestBody(const GrpcWeb& /*filter*/, FilterContext& context, Chain& data,
                                     bool end) {
  if (!text_request_) return Continue();
  if (!decoder_.Decode(data, context.loop().slabs()) || (end && !decoder_.complete())) {
    return Reply{400, "bad_grpc_web_text", "The body is not Base64."};
  }
  return Continue();
}

Verdict GrpcWeb::Call::OnResponseHeaders(const GrpcWeb& /*filter*/, FilterContext& context) {
  HeaderMap& response = context.response();
  const std::string_view type = response.Get(Name::kContentType).value_or(std::string_view());
  const std::optional<std::string_view> format = After(type, kGrpc);
  // Something on the way that does not speak gRPC. Clients understand its status as it is.
  grpc_response_ = format.has_value() && !OwnBody(context);
  if (!grpc_response_) return Continue();
  response.Set(Name::kContentType, context.arena().Concat(text_response_ ? kWebText : kWeb,
                                                          format->empty() ? format_ : *format));
  response.Remove(Name::kContentLength);
  response.Remove(Name::kTrailer);
  head_status_ = TrailerFrame(response, FrameOf::kStatus, context.arena());
  response.RemoveIf([](const http::HeaderEntry& entry) { return IsStatusField(entry); });
  if (!context.response_head().has_body()) EndWithoutBody(context);
  return Continue();
}

// The status was in the head, and nothing follows it.
void GrpcWeb::Call::EndWithoutBody(FilterContext& context) {
  std::string_view body = head_status_;
  if (text_response_) {
    char* text = context.arena().AllocateChars(Base64Size(body.size()));
    body = {text, Base64Encode(body, Base64::kStandard, text)};
  }
  context.SetResponseBody(body);
}

Verdict GrpcWeb::Call::OnResponseBody(const GrpcWeb& /*filter*/, FilterContext& context,
                                      Chain& data, bool end) {
  if (!grpc_response_) return Continue();
  SlabPool& slabs = context.loop().slabs();
  if (end) {
    HeaderMap& trailers = context.response_trailers();
    const std::string_view frame = TrailerFrame(trailers, FrameOf::kAll, context.arena());
    data.AppendCopy(frame.empty() ? head_status_ : frame, slabs);
    trailers.RemoveIf([](const http::HeaderEntry&) { return true; });
  }
  if (text_response_) EncodeText(data, slabs);
  return Continue();
}

}  // namespace gatehouse::filters
