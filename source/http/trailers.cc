#include "source/http/trailers.h"

#include "source/http/names.h"

namespace gatehouse::http {
namespace {

constexpr NameSet kForbiddenTrailers({
    Name::kHost,
    Name::kConnection,
    Name::kContentLength,
    Name::kTransferEncoding,
    Name::kExpect,
    Name::kUpgrade,
    Name::kKeepAlive,
    Name::kProxyConnection,
    Name::kTe,
    Name::kTrailer,
    Name::kHttp2Settings,
    Name::kProxyAuthenticate,
    Name::kProxyAuthorization,
    Name::kAge,
    Name::kAuthorization,
    Name::kCacheControl,
    Name::kContentEncoding,
    Name::kContentRange,
    Name::kContentType,
    Name::kCookie,
    Name::kDate,
    Name::kEarlyData,
    Name::kExpires,
    Name::kForwarded,
    Name::kIfMatch,
    Name::kIfModifiedSince,
    Name::kIfNoneMatch,
    Name::kIfRange,
    Name::kIfUnmodifiedSince,
    Name::kLocation,
    Name::kMaxForwards,
    Name::kPragma,
    Name::kProxy,
    Name::kRange,
    Name::kRetryAfter,
    Name::kSetCookie,
    Name::kVary,
    Name::kVia,
    Name::kWwwAuthenticate,
    Name::kXApiKey,
    Name::kXConsumerId,
    Name::kXForwardedClientCert,
    Name::kXForwardedFor,
    Name::kXForwardedHost,
    Name::kXForwardedPort,
    Name::kXForwardedPrefix,
    Name::kXForwardedProto,
    Name::kXHttpMethodOverride,
    Name::kXOriginalUrl,
    Name::kXRealIp,
    Name::kXRequestId,
    Name::kXRewriteUrl,
    Name::kXRoles,
    Name::kXTenantId,
    Name::kXUserId,
});

}  // namespace

void DropForbiddenTrailers(HeaderMap& trailers) {
  trailers.RemoveIf([](const HeaderEntry& entry) { return kForbiddenTrailers.Has(entry.id); });
}

}  // namespace gatehouse::http
