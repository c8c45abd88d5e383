// What is taken out of a message's fields before it goes on: see normalize.h.
#include <algorithm>

#include "source/http/list.h"
#include "source/http/normalize.h"

namespace gatehouse::http {
namespace {

// Fields that a Connection option may not name: those that frame, route or identify a request, and
// those that the gateway sets itself.
constexpr NameSet kNotByConnection({
    Name::kHost,
    Name::kContentLength,
    Name::kContentEncoding,
    Name::kContentType,
    Name::kExpect,
    Name::kAuthorization,
    Name::kCacheControl,
    Name::kCookie,
    Name::kDate,
    Name::kOrigin,
    Name::kSetCookie,
    Name::kEarlyData,
    Name::kForwarded,
    Name::kVia,
    Name::kXForwardedClientCert,
    Name::kXForwardedFor,
    Name::kXForwardedHost,
    Name::kXForwardedPort,
    Name::kXForwardedPrefix,
    Name::kXForwardedProto,
    Name::kXRealIp,
    Name::kB3,
    Name::kTraceparent,
    Name::kTracestate,
    Name::kXCorrelationId,
    Name::kXRequestId,
    Name::kXTraceId,
    Name::kXApiKey,
    Name::kXConsumerId,
    Name::kXRoles,
    Name::kXTenantId,
    Name::kXUserId,
    Name::kXOriginalUrl,
    Name::kXRewriteUrl,
});

constexpr NameSet kIdentity({
    Name::kXUserId,
    Name::kXRoles,
    Name::kXTenantId,
    Name::kXConsumerId,
    Name::kXForwardedClientCert,
    Name::kXOriginalUrl,
    Name::kXRewriteUrl,
    Name::kProxy,
});

constexpr NameSet kForwarding({
    Name::kEarlyData,
    Name::kForwarded,
    Name::kXForwardedFor,
    Name::kXForwardedHost,
    Name::kXForwardedPort,
    Name::kXForwardedPrefix,
    Name::kXForwardedProto,
    Name::kXRealIp,
});

constexpr std::string_view kOwnedPrefixes[] = {"x-consumer-", "x-gatehouse-", "x-original-"};
constexpr std::string_view kForwardedPrefix = "x-forwarded-";
// Other ways in which proxies and content delivery networks say who the client is.
constexpr std::string_view kForwardingUnknown[] = {
    "cf-connecting-ip", "true-client-ip", "x-client-ip", "x-cluster-client-ip", "x-forwarded"};

// Origins that put fields into environment variables take all of these for the same.
char Fold(char c) {
  if (c == '_' || c == '.') return '-';
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
}

// `pattern` is lower case; case, and '_' or '.' for '-', make no difference in the name.
bool StartsWithFolded(std::string_view name, std::string_view pattern) {
  return name.size() >= pattern.size() && std::equal(pattern.begin(), pattern.end(), name.begin(),
                                                     [](char p, char n) { return p == Fold(n); });
}

bool MatchesPattern(std::string_view name, std::string_view pattern) {
  if (!pattern.empty() && pattern.back() == '*') {
    return StartsWithFolded(name, pattern.substr(0, pattern.size() - 1));
  }
  return name.size() == pattern.size() && StartsWithFolded(name, pattern);
}

// The id of a name spelt with '_' or '.' for '-', such as X_User_Id.
Name FindFolded(std::string_view name) {
  char folded[64];
  if (name.size() > sizeof(folded) || name.find_first_of("_.") == std::string_view::npos) {
    return Name::kUnknown;
  }
  std::transform(name.begin(), name.end(), folded, Fold);
  return FindName({folded, name.size()});
}

bool OwnedUnknown(std::string_view name, const StripOptions& options) {
  const char first = static_cast<char>(name[0] | 0x20);
  if (first != 'x' && first != 't' && first != 'c' && first != 'e') return false;
  const Name id = FindFolded(name);
  if (id != Name::kUnknown) {
    return kIdentity.Has(id) || (!options.trust_forwarded && kForwarding.Has(id));
  }
  if (!options.trust_forwarded &&
      (StartsWithFolded(name, kForwardedPrefix) ||
       std::any_of(std::begin(kForwardingUnknown), std::end(kForwardingUnknown),
                   [name](std::string_view other) { return MatchesPattern(name, other); }))) {
    return true;
  }
  return std::any_of(std::begin(kOwnedPrefixes), std::end(kOwnedPrefixes),
                     [name](std::string_view prefix) { return StartsWithFolded(name, prefix); });
}

inline bool IsOwned(const HeaderEntry& entry, const StripOptions& options) {
  if (entry.id != Name::kUnknown) {
    if (kIdentity.Has(entry.id)) {
      return entry.id != Name::kXForwardedClientCert || !options.keep_client_cert;
    }
    if (!options.trust_forwarded && kForwarding.Has(entry.id)) return true;
  } else if (OwnedUnknown(entry.name_view(), options)) {
    return true;
  }
  if (__builtin_expect(options.owned.empty(), 1)) return false;
  return std::any_of(
      options.owned.begin(), options.owned.end(),
      [&entry](std::string_view pattern) { return MatchesPattern(entry.name_view(), pattern); });
}

constexpr StripOptions kUntrusted;

// False: it names a field that must stay.
bool MayBeNamed(std::string_view option) {
  const Name id = FindName(option);
  if (id != Name::kUnknown) return !kNotByConnection.Has(id);
  return !OwnedUnknown(option, kUntrusted);
}

// A real Connection names a handful. Each is looked for among all fields, so that thousands of
// them, which fit a head, would keep a worker busy for a tenth of a second per request.
constexpr int kMostOptions = 32;

bool HasHopByHop(const HeaderMap& headers) {
  return headers.Has(Name::kConnection) || headers.Has(Name::kTransferEncoding) ||
         headers.Has(Name::kUpgrade) || headers.Has(Name::kKeepAlive) ||
         headers.Has(Name::kProxyConnection) || headers.Has(Name::kTe) ||
         headers.Has(Name::kHttp2Settings) || headers.Has(Name::kProxyAuthenticate) ||
         headers.Has(Name::kProxyAuthorization);
}

}  // namespace

bool StripHopByHop(HeaderMap& headers) {
  if (!HasHopByHop(headers)) return true;
  bool allowed = true;
  bool names_others = false;
  int options = 0;
  headers.ForEach(Name::kConnection, [&](std::string_view value) {
    ForEachElement(value, [&](std::string_view option) {
      allowed = allowed && ++options <= kMostOptions && MayBeNamed(option);
      // The usual options name no field, or one that goes anyway.
      names_others = names_others ||
                     !(EqualsIgnoreCase(option, "keep-alive") ||
                       EqualsIgnoreCase(option, "close") || EqualsIgnoreCase(option, "upgrade"));
    });
  });
  if (!allowed) return false;
  bool trailers = false;
  headers.ForEach(Name::kTe, [&trailers](std::string_view value) {
    trailers = trailers || ListHas(value, "trailers");
  });
  if (names_others) {
    headers.RemoveIf([&headers](const HeaderEntry& entry) {
      if (kHopByHopNames.Has(entry.id)) return false;  // below; Connection is still being read
      bool named = false;
      headers.ForEach(Name::kConnection, [&named, &entry](std::string_view value) {
        named = named || ListHas(value, entry.name_view());
      });
      return named;
    });
  }
  headers.RemoveIf([](const HeaderEntry& entry) { return kHopByHopNames.Has(entry.id); });
  if (trailers) headers.AddLiteral(Name::kTe, "trailers");
  return true;
}

size_t StripUntrusted(HeaderMap& headers, const StripOptions& options) {
  return headers.RemoveIf([&options](const HeaderEntry& entry) { return IsOwned(entry, options); });
}

}  // namespace gatehouse::http
