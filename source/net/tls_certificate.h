// TlsCertificate: a chain, its key and a response to staple, read from text and found good. And PEM
// as the parts of a bundle.
//
// Control path. Certificates are shared by all contexts that have the same ones in memory.
//
//   absl::StatusOr<TlsCertificate> certificate = TlsCertificate::Load(spec);
//   // "secret site-key (/etc/site.key): is encrypted; decrypt it: openssl pkey -in ..."
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "openssl/base.h"
#include "source/base/status.h"
#include "source/net/tls_names.h"
#include "source/net/tls_spec.h"

namespace gatehouse::net {

struct PemBlock {
  std::string kind;  // "CERTIFICATE"
  bool encrypted = false;
  std::string der;
};

// All blocks of `text`, which has at least one. Errors name the text.
[[nodiscard]] absl::StatusOr<std::vector<PemBlock>> ReadPem(const TlsText& text);
// The certificates among them: at least one.
[[nodiscard]] absl::StatusOr<std::vector<bssl::UniquePtr<X509>>> ReadCertificates(
    const TlsText& text);
// One copy of equal certificates in the process. Never freed.
[[nodiscard]] CRYPTO_BUFFER_POOL* SharedCertificates();

struct TlsCertificate {
  std::vector<bssl::UniquePtr<CRYPTO_BUFFER>> chain;
  bssl::UniquePtr<EVP_PKEY> key;
  std::string ocsp;        // DER; empty: none
  int64_t ocsp_until = 0;  // when it is stale, in seconds since 1970
  CertificateNames names;  // of the leaf
  int64_t not_after = 0;   // the earliest of the chain
  uint16_t signature = 0;  // the TLS 1.3 signature scheme of an ECDSA key; 0: RSA

  // Refuses what no client could accept: another key, an expired certificate, a chain in disorder.
  [[nodiscard]] static absl::StatusOr<TlsCertificate> Load(const TlsCertificateSpec& spec);
  [[nodiscard]] bool is_ecdsa() const { return signature != 0; }
  // For the handshakes of `context`, or of `ssl`.
  [[nodiscard]] bool Use(SSL_CTX* context) const;
  [[nodiscard]] bool Use(SSL* ssl) const;
};

}  // namespace gatehouse::net
