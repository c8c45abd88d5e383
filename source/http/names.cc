#include "source/http/names.h"

#include <array>
#include <bit>
#include <cstring>

#include "source/http/name_lookup.h"

namespace gatehouse::http {
namespace {

using names_internal::kMaxNameSize;
using names_internal::kNameFactor;
using names_internal::kNameSlots;
using names_internal::LoadWord;
using names_internal::NameEntry;
using names_internal::NameKey;
using names_internal::NameSlot;

struct Pair {
  Name name;
  std::string_view text;
};

constexpr Pair kPairs[] = {
    {Name::kHost, "host"},
    {Name::kConnection, "connection"},
    {Name::kContentLength, "content-length"},
    {Name::kTransferEncoding, "transfer-encoding"},
    {Name::kExpect, "expect"},
    {Name::kUpgrade, "upgrade"},
    {Name::kKeepAlive, "keep-alive"},
    {Name::kProxyConnection, "proxy-connection"},
    {Name::kTe, "te"},
    {Name::kTrailer, "trailer"},
    {Name::kHttp2Settings, "http2-settings"},
    {Name::kProxyAuthenticate, "proxy-authenticate"},
    {Name::kProxyAuthorization, "proxy-authorization"},
    {Name::kAccept, "accept"},
    {Name::kAcceptCharset, "accept-charset"},
    {Name::kAcceptEncoding, "accept-encoding"},
    {Name::kAcceptLanguage, "accept-language"},
    {Name::kAcceptRanges, "accept-ranges"},
    {Name::kContentDisposition, "content-disposition"},
    {Name::kContentEncoding, "content-encoding"},
    {Name::kContentLanguage, "content-language"},
    {Name::kContentLocation, "content-location"},
    {Name::kContentRange, "content-range"},
    {Name::kContentSecurityPolicy, "content-security-policy"},
    {Name::kContentType, "content-type"},
    {Name::kRange, "range"},
    {Name::kAge, "age"},
    {Name::kCacheControl, "cache-control"},
    {Name::kCacheStatus, "cache-status"},
    {Name::kCdnCacheControl, "cdn-cache-control"},
    {Name::kDate, "date"},
    {Name::kEtag, "etag"},
    {Name::kExpires, "expires"},
    {Name::kIfMatch, "if-match"},
    {Name::kIfModifiedSince, "if-modified-since"},
    {Name::kIfNoneMatch, "if-none-match"},
    {Name::kIfRange, "if-range"},
    {Name::kIfUnmodifiedSince, "if-unmodified-since"},
    {Name::kLastModified, "last-modified"},
    {Name::kPragma, "pragma"},
    {Name::kVary, "vary"},
    {Name::kWarning, "warning"},
    {Name::kAllow, "allow"},
    {Name::kAltSvc, "alt-svc"},
    {Name::kAuthorization, "authorization"},
    {Name::kCookie, "cookie"},
    {Name::kDnt, "dnt"},
    {Name::kFrom, "from"},
    {Name::kIdempotencyKey, "idempotency-key"},
    {Name::kLink, "link"},
    {Name::kLocation, "location"},
    {Name::kMaxForwards, "max-forwards"},
    {Name::kOrigin, "origin"},
    {Name::kPriority, "priority"},
    {Name::kReferer, "referer"},
    {Name::kReferrerPolicy, "referrer-policy"},
    {Name::kRetryAfter, "retry-after"},
    {Name::kServer, "server"},
    {Name::kServerTiming, "server-timing"},
    {Name::kSetCookie, "set-cookie"},
    {Name::kStrictTransportSecurity, "strict-transport-security"},
    {Name::kUpgradeInsecureRequests, "upgrade-insecure-requests"},
    {Name::kUserAgent, "user-agent"},
    {Name::kWwwAuthenticate, "www-authenticate"},
    {Name::kXContentTypeOptions, "x-content-type-options"},
    {Name::kXFrameOptions, "x-frame-options"},
    {Name::kXPoweredBy, "x-powered-by"},
    {Name::kXRequestedWith, "x-requested-with"},
    {Name::kXXssProtection, "x-xss-protection"},
    {Name::kAccessControlAllowCredentials, "access-control-allow-credentials"},
    {Name::kAccessControlAllowHeaders, "access-control-allow-headers"},
    {Name::kAccessControlAllowMethods, "access-control-allow-methods"},
    {Name::kAccessControlAllowOrigin, "access-control-allow-origin"},
    {Name::kAccessControlAllowPrivateNetwork, "access-control-allow-private-network"},
    {Name::kAccessControlExposeHeaders, "access-control-expose-headers"},
    {Name::kAccessControlMaxAge, "access-control-max-age"},
    {Name::kAccessControlRequestHeaders, "access-control-request-headers"},
    {Name::kAccessControlRequestMethod, "access-control-request-method"},
    {Name::kAccessControlRequestPrivateNetwork, "access-control-request-private-network"},
    {Name::kSecChUa, "sec-ch-ua"},
    {Name::kSecChUaMobile, "sec-ch-ua-mobile"},
    {Name::kSecChUaPlatform, "sec-ch-ua-platform"},
    {Name::kSecFetchDest, "sec-fetch-dest"},
    {Name::kSecFetchMode, "sec-fetch-mode"},
    {Name::kSecFetchSite, "sec-fetch-site"},
    {Name::kSecFetchUser, "sec-fetch-user"},
    {Name::kEarlyData, "early-data"},
    {Name::kForwarded, "forwarded"},
    {Name::kVia, "via"},
    {Name::kXForwardedClientCert, "x-forwarded-client-cert"},
    {Name::kXForwardedFor, "x-forwarded-for"},
    {Name::kXForwardedHost, "x-forwarded-host"},
    {Name::kXForwardedPort, "x-forwarded-port"},
    {Name::kXForwardedPrefix, "x-forwarded-prefix"},
    {Name::kXForwardedProto, "x-forwarded-proto"},
    {Name::kXRealIp, "x-real-ip"},
    {Name::kB3, "b3"},
    {Name::kBaggage, "baggage"},
    {Name::kTraceparent, "traceparent"},
    {Name::kTracestate, "tracestate"},
    {Name::kXB3Sampled, "x-b3-sampled"},
    {Name::kXB3Spanid, "x-b3-spanid"},
    {Name::kXB3Traceid, "x-b3-traceid"},
    {Name::kXCorrelationId, "x-correlation-id"},
    {Name::kXRequestId, "x-request-id"},
    {Name::kXTraceId, "x-trace-id"},
    {Name::kRatelimit, "ratelimit"},
    {Name::kRatelimitPolicy, "ratelimit-policy"},
    {Name::kXApiKey, "x-api-key"},
    {Name::kXConsumerId, "x-consumer-id"},
    {Name::kXRatelimitLimit, "x-ratelimit-limit"},
    {Name::kXRatelimitRemaining, "x-ratelimit-remaining"},
    {Name::kXRatelimitReset, "x-ratelimit-reset"},
    {Name::kXRoles, "x-roles"},
    {Name::kXTenantId, "x-tenant-id"},
    {Name::kXUserId, "x-user-id"},
    {Name::kProxy, "proxy"},
    {Name::kXHttpMethodOverride, "x-http-method-override"},
    {Name::kXOriginalUrl, "x-original-url"},
    {Name::kXRewriteUrl, "x-rewrite-url"},
    {Name::kSecWebsocketAccept, "sec-websocket-accept"},
    {Name::kSecWebsocketExtensions, "sec-websocket-extensions"},
    {Name::kSecWebsocketKey, "sec-websocket-key"},
    {Name::kSecWebsocketProtocol, "sec-websocket-protocol"},
    {Name::kSecWebsocketVersion, "sec-websocket-version"},
    {Name::kGrpcAcceptEncoding, "grpc-accept-encoding"},
    {Name::kGrpcEncoding, "grpc-encoding"},
    {Name::kGrpcMessage, "grpc-message"},
    {Name::kGrpcStatus, "grpc-status"},
    {Name::kGrpcTimeout, "grpc-timeout"},
};
static_assert(std::size(kPairs) == kNameCount - 1, "every name needs its text");

constexpr std::array<NameEntry, kNameCount> MakeTexts() {
  std::array<NameEntry, kNameCount> texts = {};
  for (const Pair& pair : kPairs) {
    NameEntry& entry = texts[static_cast<size_t>(pair.name)];
    if (entry.size != 0 || pair.text.size() > sizeof(entry.text)) throw "doubled or too long";
    for (size_t i = 0; i < pair.text.size(); ++i) {
      const char c = pair.text[i];
      const bool usual = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
      if (!usual) throw "names are lower-case letters, digits and '-'";
      entry.text[i] = c;
    }
    entry.size = static_cast<uint32_t>(pair.text.size());
  }
  return texts;
}
constexpr std::array<NameEntry, kNameCount> kTexts = MakeTexts();

constexpr uint64_t LoadText(const char* from, size_t size) {
  uint64_t word = 0;
  for (size_t i = 0; i < size; ++i) {
    word |= uint64_t{static_cast<unsigned char>(from[i])} << (8 * i);
  }
  return word;
}
static_assert(std::endian::native == std::endian::little);

constexpr uint64_t KeyOf(const NameEntry& entry) {
  const size_t size = entry.size;
  if (size < 8) return NameKey(LoadText(entry.text, size), LoadText(entry.text, size), size);
  return NameKey(LoadText(entry.text, 8), LoadText(entry.text + size - 8, 8), size);
}

// Tries odd factors until no two names share a slot: a perfect hash, found by the compiler. The
// known one comes first, since some compilers have little patience.
constexpr uint64_t FindFactor() {
  std::array<uint64_t, kNameCount> keys = {};
  for (size_t i = 1; i < kNameCount; ++i) keys[i] = KeyOf(kTexts[i]);
  std::array<uint16_t, kNameSlots> taken_by = {};
  uint64_t factor = kNameFactor;
  for (uint16_t attempt = 1; attempt < 10000; ++attempt) {
    size_t i = 1;
    for (; i < kNameCount; ++i) {
      uint16_t& taken = taken_by[NameSlot(keys[i], factor)];
      if (taken == attempt) break;
      taken = attempt;
    }
    if (i == kNameCount) return factor;
    factor = (factor * 0xd1342543de82ef95 + 0x2545f4914f6cdd1d) | 1;
  }
  return 0;
}
constexpr uint64_t kFactor = FindFactor();
static_assert(kFactor != 0, "no perfect hash found: raise kNameSlotBits");
static_assert(kFactor == kNameFactor, "names were added: kNameFactor is now the left one");

constexpr std::array<uint8_t, kNameSlots> MakeSlots() {
  std::array<uint8_t, kNameSlots> slots = {};
  for (size_t i = 1; i < kNameCount; ++i) {
    slots[NameSlot(KeyOf(kTexts[i]), kFactor)] = static_cast<uint8_t>(i);
  }
  return slots;
}

// 0 when they are equal but for the case of letters. The text is lower case, so its letters are
// the bytes with bit 6 set; only those may differ in bit 5.
inline uint64_t Difference(uint64_t given, uint64_t text) {
  return (given ^ text) & ~((text & 0x4040404040404040) >> 1);
}

}  // namespace

namespace names_internal {

constinit const std::array<NameEntry, kNameCount> kNameEntries = kTexts;
constinit const std::array<uint8_t, kNameSlots> kNameSlotTable = MakeSlots();

}  // namespace names_internal

Name FindName(std::string_view name) {
  const size_t size = name.size();
  if (size < 2 || size > kMaxNameSize) return Name::kUnknown;
  // With zeros behind it, as the table has it.
  char given[kMaxNameSize] = {};
  std::memcpy(given, name.data(), size);
  const Name found = names_internal::FindFolded(given, size);
  // FindFolded took bit 5 of every byte for a matter of case; it is one for letters only.
  const NameEntry& entry = names_internal::kNameEntries[static_cast<size_t>(found)];
  uint64_t difference = 0;
  for (size_t at = 0; at < size; at += 8) {
    difference |= Difference(LoadWord(given + at), LoadWord(entry.text + at));
  }
  return difference == 0 ? found : Name::kUnknown;
}

std::string_view NameText(Name name) {
  const NameEntry& entry = names_internal::kNameEntries[static_cast<size_t>(name)];
  return {entry.text, entry.size};
}

}  // namespace gatehouse::http
