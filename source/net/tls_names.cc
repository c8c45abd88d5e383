#include "source/net/tls_names.h"

#include <algorithm>
#include <cstring>
#include <ctime>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include "openssl/asn1.h"
#include "openssl/bio.h"
#include "openssl/bn.h"
#include "openssl/bytestring.h"
#include "openssl/err.h"
#include "openssl/mem.h"
#include "openssl/nid.h"
#include "openssl/pem.h"
#include "openssl/pool.h"
#include "openssl/x509.h"
#include "openssl/x509v3.h"
#include "source/base/crypto.h"

namespace gatehouse::net {
namespace {

std::string_view TextOf(const ASN1_STRING* text) {
  return {reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
          static_cast<size_t>(ASN1_STRING_length(text))};
}

// Names are IA5; a NUL inside one has fooled many a comparison.
bool IsPrintable(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < '\x7f'; });
}

std::string LowerDomain(std::string_view email) {
  const size_t at = email.rfind('@');
  if (at == std::string_view::npos) return std::string(email);
  return std::string(email.substr(0, at)) + LowerCase(email.substr(at));
}

void AddIp(std::string_view bytes, std::vector<IpAddress>* ips) {
  IpAddress ip{};
  if (bytes.size() == 16) {
    std::memcpy(ip.bytes, bytes.data(), 16);
  } else if (bytes.size() == 4) {
    ip.bytes[10] = ip.bytes[11] = 0xff;
    std::memcpy(ip.bytes + 12, bytes.data(), 4);
  } else {
    return;
  }
  ips->push_back(ip);
}

void AddName(const GENERAL_NAME* name, CertificateNames* names) {
  if (name->type == GEN_IPADD) return AddIp(TextOf(name->d.iPAddress), &names->ips);
  if (name->type != GEN_DNS && name->type != GEN_URI && name->type != GEN_EMAIL) return;
  const std::string_view text = TextOf(name->d.ia5);
  if (text.empty() || !IsPrintable(text)) return;
  if (name->type == GEN_DNS) {
    names->dns.push_back(LowerCase(text));
  } else if (name->type == GEN_URI) {
    names->uris.emplace_back(text);
  } else {
    names->emails.push_back(LowerDomain(text));
  }
}

bool DnsMatches(std::string_view pattern, std::string_view host) {
  if (!pattern.starts_with("*.")) return pattern == host;
  const size_t dot = host.find('.');
  return dot != std::string_view::npos && dot > 0 && host.substr(dot) == pattern.substr(1);
}

std::string TakeText(BIO* bio) {
  const uint8_t* data = nullptr;
  size_t size = 0;
  if (BIO_mem_contents(bio, &data, &size) != 1) return {};
  return std::string(reinterpret_cast<const char*>(data), size);
}

std::string SerialText(const X509* certificate) {
  const ASN1_INTEGER* serial = X509_get0_serialNumber(certificate);
  return HexEncode(TextOf(serial));
}

}  // namespace

std::string LowerCase(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c | 0x20);
  }
  return lower;
}

CertificateNames NamesOf(const X509* certificate) {
  CertificateNames names;
  bssl::UniquePtr<GENERAL_NAMES> alternatives(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  ERR_clear_error();
  if (alternatives == nullptr) return names;
  for (size_t i = 0; i < sk_GENERAL_NAME_num(alternatives.get()); ++i) {
    AddName(sk_GENERAL_NAME_value(alternatives.get(), i), &names);
  }
  return names;
}

std::string ListNames(const CertificateNames& names) {
  constexpr size_t kMost = 8;
  std::vector<std::string> all = names.dns;
  for (const IpAddress& ip : names.ips) all.push_back(ip.ToString());
  all.insert(all.end(), names.uris.begin(), names.uris.end());
  all.insert(all.end(), names.emails.begin(), names.emails.end());
  if (all.empty()) return "nothing at all (it has no subject alternative names)";
  std::string list;
  for (size_t i = 0; i < std::min(all.size(), kMost); ++i) {
    list += (i > 0 ? ", " : "") + all[i];
  }
  if (all.size() > kMost) list += fmt::format(" and {} more", all.size() - kMost);
  return list;
}

bool IsForHost(const CertificateNames& names, std::string_view host) {
  IpAddress ip;
  if (IpAddress::Parse(host, &ip)) {
    return std::find(names.ips.begin(), names.ips.end(), ip) != names.ips.end();
  }
  std::string lower = LowerCase(host);
  if (lower.ends_with('.')) lower.pop_back();
  return std::any_of(names.dns.begin(), names.dns.end(),
                     [&](const std::string& name) { return DnsMatches(name, lower); });
}

// --- SanCheck ---

absl::StatusOr<SanCheck> SanCheck::Create(const SanMatcher& matcher) {
  if (matcher.value.empty()) {
    return InvalidArgument("a name that a certificate must have is empty; it would match anything");
  }
  SanCheck check(matcher);
  std::string& value = check.matcher_.value;
  switch (matcher.kind) {
    case SanMatcher::Kind::kDns:
      value = LowerCase(value);
      break;
    case SanMatcher::Kind::kEmail:
      value = LowerDomain(value);
      break;
    case SanMatcher::Kind::kIp:
      if (matcher.how == SanMatcher::How::kExact && !IpAddress::Parse(value, &check.ip_)) {
        return InvalidArgument(
            fmt::format("\"{}\" is no IP address, such as 10.1.2.3 or 2001:db8::1", value));
      }
      break;
    case SanMatcher::Kind::kUri:
      break;
  }
  return check;
}

bool SanCheck::MatchesText(std::string_view name) const {
  switch (matcher_.how) {
    case SanMatcher::How::kExact:
      return matcher_.kind == SanMatcher::Kind::kDns ? DnsMatches(name, matcher_.value)
                                                     : name == matcher_.value;
    case SanMatcher::How::kPrefix:
      return name.starts_with(matcher_.value);
    case SanMatcher::How::kSuffix:
      return name.ends_with(matcher_.value);
  }
  return false;
}

bool SanCheck::Matches(const CertificateNames& names) const {
  const auto any = [this](const std::vector<std::string>& list) {
    return std::any_of(list.begin(), list.end(),
                       [this](const std::string& name) { return MatchesText(name); });
  };
  switch (matcher_.kind) {
    case SanMatcher::Kind::kDns:
      return any(names.dns);
    case SanMatcher::Kind::kUri:
      return any(names.uris);
    case SanMatcher::Kind::kEmail:
      return any(names.emails);
    case SanMatcher::Kind::kIp:
      return std::any_of(names.ips.begin(), names.ips.end(), [this](const IpAddress& ip) {
        return matcher_.how == SanMatcher::How::kExact ? ip == ip_ : MatchesText(ip.ToString());
      });
  }
  return false;
}

std::string SanCheck::ToString() const {
  static constexpr const char* kKinds[] = {"DNS name", "URI", "IP address", "e-mail address"};
  static constexpr const char* kHows[] = {"", " that begins with", " that ends with"};
  return fmt::format("{}{} {}", kKinds[static_cast<int>(matcher_.kind)],
                     kHows[static_cast<int>(matcher_.how)], matcher_.value);
}

// --- Certificates ---

std::string NameText(const X509_NAME* name) {
  bssl::UniquePtr<BIO> bio(BIO_new(BIO_s_mem()));
  // UTF-8 as it is rather than as escapes.
  X509_NAME_print_ex(bio.get(), name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB);
  return TakeText(bio.get());
}

std::string Describe(const X509* certificate) {
  std::string subject = NameText(X509_get_subject_name(certificate));
  if (!subject.empty()) return subject;
  const CertificateNames names = NamesOf(certificate);
  return names.dns.empty() ? "serial " + SerialText(certificate) : names.dns[0];
}

int64_t UnixTime(const ASN1_TIME* time) {
  int days = 0;
  int seconds = 0;
  bssl::UniquePtr<ASN1_TIME> epoch(ASN1_TIME_set(nullptr, 0));
  if (time == nullptr || ASN1_TIME_diff(&days, &seconds, epoch.get(), time) != 1) {
    ERR_clear_error();
    return std::numeric_limits<int64_t>::max();
  }
  return int64_t{days} * 86400 + seconds;
}

std::string TimeText(int64_t unix_seconds) {
  const time_t time = static_cast<time_t>(unix_seconds);
  tm utc{};
  gmtime_r(&time, &utc);
  return fmt::format("{:04}-{:02}-{:02} {:02}:{:02}:{:02} UTC", utc.tm_year + 1900, utc.tm_mon + 1,
                     utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec);
}

bssl::UniquePtr<X509> ParseCertificate(const CRYPTO_BUFFER* buffer) {
  const uint8_t* data = CRYPTO_BUFFER_data(buffer);
  const uint8_t* const end = data + CRYPTO_BUFFER_len(buffer);
  bssl::UniquePtr<X509> parsed(
      d2i_X509(nullptr, &data, static_cast<long>(CRYPTO_BUFFER_len(buffer))));
  if (parsed != nullptr && data != end) parsed.reset();
  return parsed;
}

int64_t DescribeCertificate(const CRYPTO_BUFFER* leaf, TlsFacts* facts) {
  bssl::UniquePtr<X509> parsed = ParseCertificate(leaf);
  ERR_clear_error();
  if (parsed == nullptr) return 0;
  facts->subject = NameText(X509_get_subject_name(parsed.get()));
  facts->issuer = NameText(X509_get_issuer_name(parsed.get()));
  facts->serial = SerialText(parsed.get());
  const std::string_view der(reinterpret_cast<const char*>(CRYPTO_BUFFER_data(leaf)),
                             CRYPTO_BUFFER_len(leaf));
  facts->fingerprint = HexEncode(View(Sha256(der)));
  CertificateNames names = NamesOf(parsed.get());
  facts->uris = std::move(names.uris);
  facts->dns_names = std::move(names.dns);
  bssl::UniquePtr<BIO> bio(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509(bio.get(), parsed.get());
  facts->pem = TakeText(bio.get());
  return UnixTime(X509_get0_notAfter(parsed.get()));
}

}  // namespace gatehouse::net
