// SHA-256 and comparing secrets: the control plane's one door to OpenSSL's functions.
//
// Plain functions; any thread.
//
//   resource.version = VersionOf(resource.message);
#pragma once

#include <string>
#include <string_view>

namespace gatehouse::control {

// 32 bytes.
[[nodiscard]] std::string Sha256(std::string_view data);
[[nodiscard]] std::string Hex(std::string_view bytes);
// The first 16 hex digits of SHA-256.
[[nodiscard]] std::string VersionOf(std::string_view message);
// Takes the same time wherever the two differ.
[[nodiscard]] bool SameSecret(std::string_view a, std::string_view b);
// `bytes` random bytes, in hex.
[[nodiscard]] std::string RandomHex(size_t bytes);

}  // namespace gatehouse::control
