// The names in a certificate, and whether they are the ones that were asked for (RFC 9525). What a
// connection knows of its peer's certificate.
//
// Pure functions, any thread. X509 objects are the caller's.
//
//   const CertificateNames names = NamesOf(leaf);
//   if (!IsForHost(names, "users.internal")) Refuse(Join(names));
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "openssl/base.h"
#include "source/base/status.h"
#include "source/net/address.h"
#include "source/net/tls_spec.h"

namespace gatehouse::net {

// Subject alternative names. Those that no honest CA issues (with NUL or controls in them) are left
// out.
struct CertificateNames {
  std::vector<std::string> dns;  // lower case
  std::vector<std::string> uris;
  std::vector<std::string> emails;  // the part behind @ in lower case
  std::vector<IpAddress> ips;
};

[[nodiscard]] std::string LowerCase(std::string_view text);
[[nodiscard]] CertificateNames NamesOf(const X509* certificate);
// "a.example, b.example, 10.0.0.1"; "nothing at all".
[[nodiscard]] std::string ListNames(const CertificateNames& names);
// `host` is a name in any case, or an IP address. RFC 9525, section 6.3: a wildcard is the whole
// first label and stands for one. The subject's common name does not count.
[[nodiscard]] bool IsForHost(const CertificateNames& names, std::string_view host);

// A SanMatcher made ready.
class SanCheck {
 public:
  [[nodiscard]] static absl::StatusOr<SanCheck> Create(const SanMatcher& matcher);
  [[nodiscard]] bool Matches(const CertificateNames& names) const;
  // "DNS name api.example", "URI that begins with spiffe://prod/".
  [[nodiscard]] std::string ToString() const;

 private:
  explicit SanCheck(const SanMatcher& matcher) : matcher_(matcher) {}
  [[nodiscard]] bool MatchesText(std::string_view name) const;

  SanMatcher matcher_;
  IpAddress ip_{};
};

// RFC 4514: "CN=client,O=Example".
[[nodiscard]] std::string NameText(const X509_NAME* name);
// "CN=client (serial 0a1b)" for messages; the subject, or the first name if it has none.
[[nodiscard]] std::string Describe(const X509* certificate);
// Seconds since 1970; INT64_MAX for a time that cannot be read.
[[nodiscard]] int64_t UnixTime(const ASN1_TIME* time);
// "2026-01-31 23:59:59 UTC".
[[nodiscard]] std::string TimeText(int64_t unix_seconds);

// Fills the certificate's part of `facts`; returns when the certificate ends, as UnixTime() does.
int64_t DescribeCertificate(const CRYPTO_BUFFER* leaf, TlsFacts* facts);
// What X509_parse_from_buffer() does, without a reference to the buffer.
[[nodiscard]] bssl::UniquePtr<X509> ParseCertificate(const CRYPTO_BUFFER* buffer);

}  // namespace gatehouse::net
