// Brings what a client wrote into the one form that is matched, authorised, logged and forwarded,
// and takes out of a request what a client has no right to say.
//
// Pure functions, request path. Results view their input when it was clean already, else a copy in
// the arena. All are idempotent: their own output is clean (fuzzed).
//
//   NormalizedPath path = NormalizePath(head.path, options, arena);
//   if (path.result == PathResult::kInvalid) return Fail(Error::What::kBadRequest);
//   std::optional<HostPort> host = NormalizeHost(head.authority, arena);
//   if (!StripHopByHop(head.headers)) return Fail(Error::What::kBadRequest);
//   StripUntrusted(head.headers, {.trust_forwarded = peer_is_a_proxy});
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "source/base/arena.h"
#include "source/http/header_map.h"

namespace gatehouse::http {

// What to do with "%2F" and "%5C" in a path: origins differ on whether they separate segments.
enum class EncodedSlash : uint8_t {
  kReject,               // 400
  kKeep,                 // pass them on, encoded
  kUnescapeAndRedirect,  // 307 to the path with them decoded
  kUnescapeAndForward,   // decode, then treat as if it had come so
};

struct PathOptions {
  EncodedSlash encoded_slash = EncodedSlash::kReject;
  bool merge_slashes = true;
};

enum class PathResult : uint8_t {
  kClean,     // the input is the result
  kChanged,   // the result is a copy
  kRedirect,  // send 307 with the result (kUnescapeAndRedirect only)
  kInvalid,   // 400
};

struct NormalizedPath {
  PathResult result;
  std::string_view path;  // path[?query]; empty when invalid
};

// The path: decodes escaped unreserved characters, writes the other escapes in upper case, removes
// "." and ".." segments (climbing above the root is invalid), merges slashes. Invalid: control and
// 8-bit characters, space, '#', '\', %00, a '%' without two hex digits. The query is checked for
// the characters (its escapes are the application's affair) and kept as it is. "*" is clean.
[[nodiscard]] NormalizedPath NormalizePath(std::string_view path_and_query,
                                           const PathOptions& options, Arena& arena);

struct HostPort {
  std::string_view host;  // lower case, no trailing dot; IPv6 with its brackets
  uint16_t port = 0;      // 0: none was given
};

// True for host[:port] with a host of letters, digits, '-', '.', '_' and without empty labels, or a
// bracketed IPv6 address, and a port of 1 to 65535. Nothing else is let in.
[[nodiscard]] bool IsAuthority(std::string_view authority);
// nullopt when IsAuthority() is false.
[[nodiscard]] std::optional<HostPort> NormalizeHost(std::string_view authority, Arena& arena);

// Removes the hop-by-hop fields and everything that Connection names; TE shrinks to "trailers" if
// the client takes trailers. False, and nothing is removed, when Connection names a field that the
// gateway or the origin relies on (Host, Authorization, X-Forwarded-For, ...): a client could else
// make the gateway remove its own header (field smuggling by Connection). False also when it names
// more than 32 options.
[[nodiscard]] bool StripHopByHop(HeaderMap& headers);

struct StripOptions {
  // The peer is a proxy of ours: its X-Forwarded-*, Forwarded, X-Real-IP and Early-Data stand.
  bool trust_forwarded = false;
  // X-Forwarded-Client-Cert stays, in this one spelling: ForwardClientCert() decides about it.
  bool keep_client_cert = false;
  // More names that only the gateway may set, lower case; one that ends in '*' is a prefix.
  std::span<const std::string_view> owned = {};
};
// Removes the fields that only the gateway or its trusted peers may set: identities (X-User-Id,
// X-Roles, X-Tenant-Id, X-Consumer-*), X-Gatehouse-*, client certificates (XFCC), other stories
// about the target (X-Original-URL, X-Rewrite-URL), Proxy (httpoxy), and, unless trusted, the
// forwarding fields and Early-Data. Spellings with '_' for '-' are the same names. Returns how many
// it removed.
size_t StripUntrusted(HeaderMap& headers, const StripOptions& options);

}  // namespace gatehouse::http
