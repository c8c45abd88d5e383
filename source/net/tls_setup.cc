#include "source/net/tls_setup.h"

#include <cstdint>

#include <fmt/format.h>

#include "openssl/ssl.h"
#include "source/base/check.h"
#include "source/net/tls_certificate.h"

namespace gatehouse::net {
namespace {

// Of TLS 1.2: forward secrecy and authenticated encryption only. All are good, so the client
// chooses among those in brackets: one without AES in hardware prefers ChaCha.
constexpr const char* kTls12Ciphers =
    "[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-ECDSA-AES256-GCM-SHA384|ECDHE-ECDSA-CHACHA20-POLY1305|"
    "ECDHE-RSA-AES128-GCM-SHA256|ECDHE-RSA-AES256-GCM-SHA384|ECDHE-RSA-CHACHA20-POLY1305]";
constexpr const char* kGroups = "X25519:P-256:P-384";
// No SHA-1 (RFC 9155).
constexpr uint16_t kSignatures[] = {
    SSL_SIGN_ECDSA_SECP256R1_SHA256, SSL_SIGN_RSA_PSS_RSAE_SHA256, SSL_SIGN_RSA_PKCS1_SHA256,
    SSL_SIGN_ECDSA_SECP384R1_SHA384, SSL_SIGN_RSA_PSS_RSAE_SHA384, SSL_SIGN_RSA_PKCS1_SHA384,
    SSL_SIGN_ECDSA_SECP521R1_SHA512, SSL_SIGN_RSA_PSS_RSAE_SHA512, SSL_SIGN_RSA_PKCS1_SHA512,
};
// What a session that is resumed was checked with is at most this old.
constexpr uint32_t kSessionSeconds = 12 * 60 * 60;

}  // namespace

bssl::UniquePtr<SSL_CTX> NewTlsContext(TlsVersion min_version) {
  bssl::UniquePtr<SSL_CTX> made(SSL_CTX_new(TLS_with_buffers_method()));
  SSL_CTX* context = made.get();
  CHECK(context != nullptr);
  const uint16_t version = min_version == TlsVersion::kTls13 ? TLS1_3_VERSION : TLS1_2_VERSION;
  CHECK(SSL_CTX_set_min_proto_version(context, version) == 1);
  CHECK(SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) == 1);
  CHECK(SSL_CTX_set_strict_cipher_list(context, kTls12Ciphers) == 1);
  CHECK(SSL_CTX_set1_curves_list(context, kGroups) == 1);
  CHECK(SSL_CTX_set_signing_algorithm_prefs(context, kSignatures, std::size(kSignatures)) == 1);
  CHECK(SSL_CTX_set_verify_algorithm_prefs(context, kSignatures, std::size(kSignatures)) == 1);
  SSL_CTX_set_options(context, SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_mode(context, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set0_buffer_pool(context, SharedCertificates());
  SSL_CTX_set_timeout(context, kSessionSeconds);
  SSL_CTX_set_session_psk_dhe_timeout(context, kSessionSeconds);
  return made;
}

absl::StatusOr<std::string> AlpnToWire(const std::vector<std::string>& alpn) {
  std::string wire;
  for (const std::string& name : alpn) {
    if (name.empty() || name.size() > 255) {
      return InvalidArgument(
          fmt::format("\"{}\" is no ALPN protocol: it needs 1 to 255 bytes", name));
    }
    wire += static_cast<char>(name.size());
    wire += name;
  }
  return wire;
}

}  // namespace gatehouse::net
