// Well-known header names as small numbers: found once while parsing, compared as integers after.
//
// Constant data, any thread. FindName() is one perfect-hash probe and one exact, case-insensitive
// comparison, so a wrong answer is impossible whatever bytes are passed in. NameText() views static
// storage and is lower case, as HTTP/2 wants it.
//
//   Name id = FindName("Content-Type");        // Name::kContentType
//   std::string_view text = NameText(id);      // "content-type"
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace gatehouse::http {

// The first few decide the framing and the fate of a message: the parser keeps an eye on them, so
// they stay in front (kLastFramingName).
enum class Name : uint8_t {
  kUnknown = 0,
  kHost,
  kConnection,
  kContentLength,
  kTransferEncoding,
  kExpect,
  kUpgrade,
  // Hop-by-hop (RFC 9110, section 7.6.1, and the older list of RFC 2616, section 13.5.1).
  kKeepAlive,
  kProxyConnection,
  kTe,
  kTrailer,
  kHttp2Settings,
  kProxyAuthenticate,
  kProxyAuthorization,
  // Content and negotiation.
  kAccept,
  kAcceptCharset,
  kAcceptEncoding,
  kAcceptLanguage,
  kAcceptRanges,
  kContentDisposition,
  kContentEncoding,
  kContentLanguage,
  kContentLocation,
  kContentRange,
  kContentSecurityPolicy,
  kContentType,
  kRange,
  // Conditionals and caches.
  kAge,
  kCacheControl,
  kCacheStatus,
  kCdnCacheControl,
  kDate,
  kEtag,
  kExpires,
  kIfMatch,
  kIfModifiedSince,
  kIfNoneMatch,
  kIfRange,
  kIfUnmodifiedSince,
  kLastModified,
  kPragma,
  kVary,
  kWarning,
  // Who asks, who answers.
  kAllow,
  kAltSvc,
  kAuthorization,
  kCookie,
  kDnt,
  kFrom,
  kIdempotencyKey,
  kLink,
  kLocation,
  kMaxForwards,
  kOrigin,
  kPriority,
  kReferer,
  kReferrerPolicy,
  kRetryAfter,
  kServer,
  kServerTiming,
  kSetCookie,
  kStrictTransportSecurity,
  kUpgradeInsecureRequests,
  kUserAgent,
  kWwwAuthenticate,
  kXContentTypeOptions,
  kXFrameOptions,
  kXPoweredBy,
  kXRequestedWith,
  kXXssProtection,
  // CORS and fetch metadata.
  kAccessControlAllowCredentials,
  kAccessControlAllowHeaders,
  kAccessControlAllowMethods,
  kAccessControlAllowOrigin,
  kAccessControlAllowPrivateNetwork,
  kAccessControlExposeHeaders,
  kAccessControlMaxAge,
  kAccessControlRequestHeaders,
  kAccessControlRequestMethod,
  kAccessControlRequestPrivateNetwork,
  kSecChUa,
  kSecChUaMobile,
  kSecChUaPlatform,
  kSecFetchDest,
  kSecFetchMode,
  kSecFetchSite,
  kSecFetchUser,
  // Forwarding: what proxies in front of us say.
  kEarlyData,
  kForwarded,
  kVia,
  kXForwardedClientCert,
  kXForwardedFor,
  kXForwardedHost,
  kXForwardedPort,
  kXForwardedPrefix,
  kXForwardedProto,
  kXRealIp,
  // Tracing.
  kB3,
  kBaggage,
  kTraceparent,
  kTracestate,
  kXB3Sampled,
  kXB3Spanid,
  kXB3Traceid,
  kXCorrelationId,
  kXRequestId,
  kXTraceId,
  // Identity and limits.
  kRatelimit,
  kRatelimitPolicy,
  kXApiKey,
  kXConsumerId,
  kXRatelimitLimit,
  kXRatelimitRemaining,
  kXRatelimitReset,
  kXRoles,
  kXTenantId,
  kXUserId,
  // Names that tell an application another story than the request line does.
  kProxy,
  kXHttpMethodOverride,
  kXOriginalUrl,
  kXRewriteUrl,
  // WebSocket (RFC 6455).
  kSecWebsocketAccept,
  kSecWebsocketExtensions,
  kSecWebsocketKey,
  kSecWebsocketProtocol,
  kSecWebsocketVersion,
  // gRPC.
  kGrpcAcceptEncoding,
  kGrpcEncoding,
  kGrpcMessage,
  kGrpcStatus,
  kGrpcTimeout,
};

inline constexpr size_t kNameCount = static_cast<size_t>(Name::kGrpcTimeout) + 1;
inline constexpr Name kLastFramingName = Name::kUpgrade;

// kUnknown when the name is not in the table. Any bytes may be passed.
[[nodiscard]] Name FindName(std::string_view name);
// Lower case; empty for kUnknown.
[[nodiscard]] std::string_view NameText(Name name);

// A set of names tested with one shift, built at compile time.
//
//   constexpr NameSet kOurs({Name::kVia, Name::kServer});
//   if (kOurs.Has(entry.id)) ...
class NameSet {
 public:
  template <size_t N>
  constexpr explicit NameSet(const Name (&names)[N]) {
    for (Name name : names) {
      words_[static_cast<size_t>(name) / 64] |= uint64_t{1} << (static_cast<size_t>(name) % 64);
    }
  }
  [[nodiscard]] constexpr bool Has(Name name) const {
    return (words_[static_cast<size_t>(name) / 64] >> (static_cast<size_t>(name) % 64)) & 1;
  }

 private:
  uint64_t words_[(kNameCount + 63) / 64] = {};
};

// Fields that belong to one connection. Proxies never pass them on (RFC 9110, section 7.6.1).
// Content-Length is not in it, yet our writers never take it from the map either.
inline constexpr NameSet kHopByHopNames({
    Name::kConnection,
    Name::kTransferEncoding,
    Name::kUpgrade,
    Name::kKeepAlive,
    Name::kProxyConnection,
    Name::kTe,
    Name::kHttp2Settings,
    Name::kProxyAuthenticate,
    Name::kProxyAuthorization,
});

// Case-insensitive comparison for ASCII, as header names, schemes and list tokens need it.
[[nodiscard]] inline bool EqualsIgnoreCase(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    const auto x = static_cast<unsigned char>(a[i]);
    const auto y = static_cast<unsigned char>(b[i]);
    if (x == y) continue;
    const unsigned char lower = x | 0x20;
    if (lower != (y | 0x20) || lower < 'a' || lower > 'z') return false;
  }
  return true;
}

}  // namespace gatehouse::http
