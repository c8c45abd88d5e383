#include "source/http/h2_heads.h"

#include <array>
#include <charconv>
#include <cstring>

#include "source/base/check.h"
#include "source/http/chars.h"
#include "source/http/codec_names.h"
#include "source/http/name_lookup.h"
#include "source/http/normalize.h"
#include "source/http/trailers.h"
#include "source/http/websocket.h"

namespace gatehouse::http {
namespace {

constexpr size_t kSpareFields = 8;

// Of these hardly a value comes twice. In the HPACK table they would only take the places of fields
// that do; but for those of a connection's first head, which bring their names there.
constexpr NameSet kNotForTheTable({
    Name::kXRequestId,
    Name::kXCorrelationId,
    Name::kXTraceId,
    Name::kTraceparent,
    Name::kB3,
    Name::kXB3Traceid,
    Name::kXB3Spanid,
    Name::kIdempotencyKey,
    Name::kServerTiming,
});

constexpr std::array<char, 3000> MakeStatusTexts() {
  std::array<char, 3000> texts{};
  for (size_t i = 0; i < 1000; ++i) {
    texts[3 * i] = static_cast<char>('0' + i / 100);
    texts[3 * i + 1] = static_cast<char>('0' + i / 10 % 10);
    texts[3 * i + 2] = static_cast<char>('0' + i % 10);
  }
  return texts;
}
constexpr std::array<char, 3000> kStatusTexts = MakeStatusTexts();

nghttp2_nv Field(std::string_view name, std::string_view value, uint8_t flags = 0) {
  // nghttp2 does not write there; its C has no other type.
  return {reinterpret_cast<uint8_t*>(const_cast<char*>(name.data())),
          reinterpret_cast<uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(),
          flags};
}

// A field of static name.
nghttp2_nv Named(std::string_view name, std::string_view value) {
  return Field(name, value, NGHTTP2_NV_FLAG_NO_COPY_NAME);
}

nghttp2_nv FieldOf(const HeaderEntry& entry, bool first_head) {
  // A peer that says "never indexed" says it to all who pass the field on (RFC 7541,
  // section 6.2.3).
  uint8_t flags = entry.flags & NGHTTP2_NV_FLAG_NO_INDEX;
  if (!first_head && kNotForTheTable.Has(entry.id)) flags = NGHTTP2_NV_FLAG_NO_INDEX;
  // Known names are lower case and static; nghttp2 makes the others lower case in its copy.
  if (entry.id == Name::kUnknown) return Field(entry.name_view(), entry.value_view(), flags);
  flags |= NGHTTP2_NV_FLAG_NO_COPY_NAME;
  return Field(NameText(entry.id), entry.value_view(), flags);
}

std::string_view NumberText(uint64_t number, Arena& arena) {
  char* text = arena.AllocateChars(20);
  const char* end = std::to_chars(text, text + 20, number).ptr;
  return {text, static_cast<size_t>(end - text)};
}

// Copies a field that nghttp2 has checked.
void AddField(HeaderMap& headers, Name id, std::string_view name, std::string_view value,
              uint8_t flags) {
  Arena& arena = headers.arena();
  const bool known = id != Name::kUnknown;
  const std::string_view name_text = known ? NameText(id) : arena.Copy(name);
  const std::string_view value_text = arena.Copy(value);
  headers.Adopt({name_text.data(), value_text.data(), static_cast<uint32_t>(value_text.size()),
                 static_cast<uint16_t>(name_text.size()), id, flags});
}

// nghttp2 lets no sign, space or overflow through.
uint64_t ParseLength(std::string_view text) {
  uint64_t length = 0;
  std::from_chars(text.data(), text.data() + text.size(), length);
  return length;
}

void AddPseudoField(H2Stream& stream, std::string_view name, std::string_view value) {
  RequestHead& head = *stream.request;
  const std::string_view copy = head.headers.arena().Copy(value);
  if (name == ":method") {
    head.method_text = copy;
    head.method = FindMethod(copy);
  } else if (name == ":path") {
    head.path = copy;
  } else if (name == ":authority") {
    head.authority = copy;
  } else if (name == ":protocol") {
    stream.protocol = copy;
  }
}

// RFC 9113, section 8.2.3: crumbs become one field where HTTP/1 or an application may see them.
void JoinCookies(HeaderMap& headers) {
  size_t size = 0;
  headers.ForEach(Name::kCookie, [&](std::string_view value) { size += value.size() + 2; });
  char* text = headers.arena().AllocateChars(size);
  char* at = text;
  headers.ForEach(Name::kCookie, [&](std::string_view value) {
    if (at != text) {
      *at++ = ';';
      *at++ = ' ';
    }
    std::memcpy(at, value.data(), value.size());
    at += value.size();
  });
  headers.SetMade(Name::kCookie, {text, static_cast<size_t>(at - text)});
}

bool IsTarget(std::string_view path) {
  const char* end = path.data() + path.size();
  return !path.empty() && FindQueryEnd(path.data(), end, path.data()) == end;
}

// RFC 8441, section 4: what HTTP/1 calls an upgrade. The origin may speak HTTP/1, where the
// handshake has a key.
void TakeExtendedConnect(H2Stream& stream) {
  RequestHead& head = *stream.request;
  Arena& arena = head.headers.arena();
  head.method = Method::kGet;
  head.method_text = "GET";
  head.upgrade = head.extended_connect = true;
  head.upgrade_protocol = stream.protocol;
  stream.wants_tunnel = stream.unpaced = true;
  stream.websocket_key = NewWebSocketKey(arena);
  head.headers.Set("sec-websocket-key", stream.websocket_key);
}

Error CheckTarget(H2Stream& stream, const H1Limits& limits) {
  RequestHead& head = *stream.request;
  const Error bad = Error::Downstream(Error::What::kBadRequest);
  if (head.authority.empty()) {
    head.authority = stream.host;
  } else if (!stream.host.empty() && !EqualsIgnoreCase(stream.host, head.authority)) {
    return bad;  // two stories about where it is to go
  }
  if (!IsAuthority(head.authority)) return bad;
  if (head.method == Method::kConnect) {
    head.target_form = TargetForm::kAuthority;
    head.path = head.target = head.authority;
    return {};
  }
  if (head.path.size() > limits.max_uri_bytes) {
    return Error::Downstream(Error::What::kUriTooLong);
  }
  if (!IsTarget(head.path)) return bad;
  if (head.path == "*") {
    head.target_form = TargetForm::kAsterisk;
    if (head.method != Method::kOptions) return bad;
  } else if (head.path[0] != '/') {
    return bad;
  }
  head.target = head.path;
  return {};
}

}  // namespace

bool IsGrpc(const HeaderMap& headers) {
  const auto type = headers.Get(Name::kContentType);
  return type.has_value() && type->starts_with("application/grpc");
}

void AddRequestField(H2Stream& stream, std::string_view name, std::string_view value, uint8_t flags,
                     UnderscorePolicy underscores) {
  if (name[0] == ':') {
    AddPseudoField(stream, name, value);
    return;
  }
  RequestHead& head = *stream.request;
  const Name id = FindName(name);
  switch (id) {
    case Name::kUnknown:
      if (underscores != UnderscorePolicy::kAllow && name.find('_') != std::string_view::npos) {
        if (underscores == UnderscorePolicy::kReject) {
          stream.block_error = Error::Downstream(Error::What::kBadRequest);
        }
        return;
      }
      break;
    case Name::kHost:
      stream.host = head.headers.arena().Copy(value);
      return;
    case Name::kContentLength:
      head.body = BodyKind::kLength;
      head.content_length = ParseLength(value);
      break;
    case Name::kCookie:
      ++stream.cookies;
      break;
    case Name::kExpect:
      if (!EqualsIgnoreCase(value, "100-continue")) {
        stream.block_error = Error::Downstream(Error::What::kExpectationFailed);
      }
      stream.expect_continue = true;
      break;
    default:
      break;
  }
  if (head.headers.empty()) head.headers.Reserve(HeaderMap::kInitialCapacity);
  AddField(head.headers, id, name, value, flags);
}

Error FinishRequest(H2Stream& stream, bool end, const H1Limits& limits, bool secure) {
  RequestHead& head = *stream.request;
  head.version = Version::kHttp2;
  head.scheme = secure ? "https" : "http";
  if (!stream.protocol.empty()) TakeExtendedConnect(stream);
  stream.method = head.method;
  if (stream.block_error) return stream.block_error;
  if (Error error = CheckTarget(stream, limits)) return error;
  head.headers.SetMade(Name::kHost, head.authority);
  if (stream.cookies > 1) JoinCookies(head.headers);
  if (stream.wants_tunnel) {
    // What follows is the tunnel's. An origin that reads it as a body would take the next request
    // on its connection for one.
    if (head.content_length > 0) return Error::Downstream(Error::What::kBadRequest);
    head.body = BodyKind::kNone;
    head.headers.Remove(Name::kContentLength);
    stream.expect_continue = false;
  } else if (end) {
    head.body = head.body == BodyKind::kLength ? BodyKind::kLength : BodyKind::kNone;
    stream.expect_continue = false;
  } else if (head.body != BodyKind::kLength) {
    head.body = BodyKind::kChunked;
  }
  head.expect_continue = stream.expect_continue;
  stream.unpaced = stream.unpaced || IsGrpc(head.headers);
  return {};
}

void AddResponseField(H2Stream& stream, std::string_view name, std::string_view value,
                      uint8_t flags) {
  ResponseHead& head = *stream.response;
  if (name[0] == ':') {
    // Three digits, as nghttp2 has seen to.
    head.status = static_cast<uint16_t>(ParseLength(value));
    return;
  }
  const Name id = FindName(name);
  if (id == Name::kContentLength) {
    head.has_content_length = true;
    head.content_length = ParseLength(value);
  }
  AddField(head.headers, id, name, value, flags);
}

void FinishResponse(H2Stream& stream, bool end) {
  ResponseHead& head = *stream.response;
  head.version = Version::kHttp2;
  head.keep_alive = true;
  if (end || ResponseHasNoBody(stream.method, head.status)) {
    head.body = BodyKind::kNone;
  } else {
    head.body = head.has_content_length ? BodyKind::kLength : BodyKind::kChunked;
  }
}

void AddTrailerField(HeaderMap& trailers, std::string_view name, std::string_view value,
                     uint8_t flags) {
  if (name[0] == ':') return;
  AddField(trailers, FindName(name), name, value, flags);
}

nghttp2_nv StatusField(uint16_t status) {
  DCHECK(status < 1000);
  return Field(":status", {kStatusTexts.data() + size_t{3} * status, 3},
               NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE);
}

H2Fields ResponseFields(const ResponseHead& head, bool has_length, uint64_t length,
                        std::string_view date, bool first_head) {
  Arena& arena = head.headers.arena();
  H2Fields out{arena.NewArray<nghttp2_nv>(head.headers.size() + kSpareFields), 0};
  out.fields[out.count++] = StatusField(head.status);
  for (const HeaderEntry& entry : head.headers) {
    if (kNotFromResponse.Has(entry.id)) continue;
    if (head.status == 101 && EqualsIgnoreCase(entry.name_view(), "sec-websocket-accept")) continue;
    out.fields[out.count++] = FieldOf(entry, first_head);
  }
  if (has_length) {
    out.fields[out.count++] = Named(NameText(Name::kContentLength), NumberText(length, arena));
  }
  if (!date.empty() && !head.headers.Has(Name::kDate)) {
    out.fields[out.count++] = Named(NameText(Name::kDate), date);
  }
  return out;
}

H2Fields RequestFields(const RequestHead& head, std::string_view scheme, bool first_head) {
  Arena& arena = head.headers.arena();
  H2Fields out{arena.NewArray<nghttp2_nv>(head.headers.size() + kSpareFields), 0};
  const auto add = [&out](const nghttp2_nv& field) { out.fields[out.count++] = field; };
  add(Named(":method", head.upgrade ? std::string_view("CONNECT") : head.method_text));
  if (head.upgrade) add(Named(":protocol", head.upgrade_protocol));
  add(Named(":scheme", scheme));
  add(Named(":authority", head.authority));
  add(Named(":path", head.path));
  for (const HeaderEntry& entry : head.headers) {
    if (kNotFromRequest.Has(entry.id)) {
      // Nothing but "trailers" is left of it (RFC 9113, section 8.2.2).
      if (entry.id == Name::kTe) add(Named(NameText(Name::kTe), "trailers"));
      continue;
    }
    if (head.upgrade && EqualsIgnoreCase(entry.name_view(), "sec-websocket-key")) continue;
    add(FieldOf(entry, first_head));
  }
  if (head.body == BodyKind::kLength) {
    add(Named(NameText(Name::kContentLength), NumberText(head.content_length, arena)));
  }
  return out;
}

H2Fields TrailerFields(const HeaderMap& trailers) {
  H2Fields out{trailers.arena().NewArray<nghttp2_nv>(trailers.size() + 1), 0};
  for (const HeaderEntry& entry : trailers) {
    if (!kNotFromRequest.Has(entry.id)) {
      out.fields[out.count++] = FieldOf(entry, /*first_head=*/false);
    }
  }
  return out;
}

}  // namespace gatehouse::http
