#include "source/net/tls_peer.h"

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <memory>
#include <utility>

#include <fmt/format.h>

#include "openssl/err.h"
#include "openssl/mem.h"
#include "openssl/pem.h"
#include "openssl/ssl.h"
#include "openssl/x509.h"
#include "openssl/x509v3.h"
#include "source/net/tls_certificate.h"
#include "source/net/tls_failure.h"

namespace gatehouse::net {
namespace {

constexpr const char* kSystemBundle = "/etc/ssl/certs/ca-certificates.crt";
// More than these in a handshake message are no help to a client.
constexpr size_t kMaxCaNames = 256;

absl::StatusOr<TlsText> SystemBundle() {
  TlsText text{.name = fmt::format("the system's CA bundle ({})", kSystemBundle), .text = {}};
  std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(kSystemBundle, "re"), &std::fclose);
  if (file == nullptr) {
    return Unavailable(
        fmt::format("{} cannot be read: install the package ca-certificates, or "
                    "name a Secret with the CA that signs the server's certificate",
                    text.name));
  }
  char buffer[16384];
  for (size_t got; (got = std::fread(buffer, 1, sizeof(buffer), file.get())) > 0;) {
    text.text.append(buffer, got);
  }
  return text;
}

std::string SubjectDer(const X509* certificate) {
  uint8_t* data = nullptr;
  const int size = i2d_X509_NAME(X509_get_subject_name(certificate), &data);
  if (size <= 0) return {};
  bssl::UniquePtr<uint8_t> own(data);
  return std::string(reinterpret_cast<const char*>(data), static_cast<size_t>(size));
}

// Intermediate CAs often publish no CRL beside that of their root: what is known is applied, and
// for the leaf something must be known.
int OnVerify(int ok, X509_STORE_CTX* verification) {
  if (ok == 0 && X509_STORE_CTX_get_error(verification) == X509_V_ERR_UNABLE_TO_GET_CRL &&
      X509_STORE_CTX_get_error_depth(verification) > 0) {
    X509_STORE_CTX_set_error(verification, X509_V_OK);
    return 1;
  }
  return ok;
}

}  // namespace

absl::StatusOr<TlsPeerCheck> TlsPeerCheck::Create(const TlsPeerSpec& spec, Role role) {
  TlsPeerCheck check;
  check.role_ = role;
  check.store_.reset(X509_STORE_new());
  for (const SanMatcher& matcher : spec.names) {
    absl::StatusOr<SanCheck> name = SanCheck::Create(matcher);
    if (!name.ok()) return name.status();
    check.names_.push_back(*std::move(name));
  }
  // A client's CA is always named: the system's bundle would let anybody in.
  if (spec.ca.empty() && role == Role::kClient) {
    return InvalidArgument(
        "client certificates are asked for, but there is no CA to check them with; name one");
  }
  absl::StatusOr<TlsText> system = TlsText{};
  if (spec.ca.empty()) system = SystemBundle();
  if (!system.ok()) return system.status();
  absl::Status status = check.AddCas(spec.ca.empty() ? *system : spec.ca);
  if (status.ok() && !spec.crl.empty()) status = check.AddCrls(spec.crl);
  if (!status.ok()) return status;
  return check;
}

absl::Status TlsPeerCheck::AddCas(const TlsText& ca) {
  ca_name_ = ca.name;
  absl::StatusOr<std::vector<bssl::UniquePtr<X509>>> certificates = ReadCertificates(ca);
  if (!certificates.ok()) return certificates.status();
  for (const bssl::UniquePtr<X509>& certificate : *certificates) {
    if (X509_STORE_add_cert(store_.get(), certificate.get()) != 1) {
      return InvalidArgument(fmt::format("{}: {}", ca.name, TakeTlsError()));
    }
    if (role_ == Role::kClient) ca_subjects_.push_back(SubjectDer(certificate.get()));
  }
  // What is in the bundle is trusted, also if it is an intermediate CA or a leaf.
  X509_STORE_set_flags(store_.get(), X509_V_FLAG_PARTIAL_CHAIN | X509_V_FLAG_TRUSTED_FIRST);
  return absl::OkStatus();
}

absl::Status TlsPeerCheck::AddCrls(const TlsText& crl) {
  crl_name_ = crl.name;
  absl::StatusOr<std::vector<PemBlock>> blocks = ReadPem(crl);
  if (!blocks.ok()) return blocks.status();
  size_t count = 0;
  for (const PemBlock& block : *blocks) {
    if (block.kind != PEM_STRING_X509_CRL) continue;
    const auto* data = reinterpret_cast<const uint8_t*>(block.der.data());
    bssl::UniquePtr<X509_CRL> list(
        d2i_X509_CRL(nullptr, &data, static_cast<long>(block.der.size())));
    ++count;
    if (list == nullptr || X509_STORE_add_crl(store_.get(), list.get()) != 1) {
      return InvalidArgument(
          fmt::format("{}: CRL {} in it cannot be read: {}", crl.name, count, TakeTlsError()));
    }
    const ASN1_TIME* next = X509_CRL_get0_nextUpdate(list.get());
    if (next != nullptr && UnixTime(next) <= time(nullptr)) {
      return InvalidArgument(fmt::format("{}: CRL {} in it is stale since {}; fetch a new one",
                                         crl.name, count, TimeText(UnixTime(next))));
    }
  }
  if (count == 0) return InvalidArgument(fmt::format("{}: has no CRL in it", crl.name));
  X509_STORE_set_flags(store_.get(), X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
  return absl::OkStatus();
}

bool TlsPeerCheck::Accepts(const STACK_OF(CRYPTO_BUFFER) * chain, std::string_view host,
                           Refusal* refusal) const {
  bssl::UniquePtr<STACK_OF(X509)> others(sk_X509_new_null());
  bssl::UniquePtr<X509> leaf;
  for (size_t i = 0; i < sk_CRYPTO_BUFFER_num(chain); ++i) {
    bssl::UniquePtr<X509> certificate = ParseCertificate(sk_CRYPTO_BUFFER_value(chain, i));
    if (certificate == nullptr) {
      ERR_clear_error();
      *refusal = {SSL_AD_BAD_CERTIFICATE,
                  fmt::format("the {}'s certificate cannot be read", Peer())};
      return false;
    }
    if (i == 0) {
      leaf = std::move(certificate);
    } else {
      bssl::PushToStack(others.get(), std::move(certificate));
    }
  }
  const bool accepted = leaf != nullptr && VerifyChain(leaf.get(), others.get(), refusal) &&
                        CheckNames(leaf.get(), host, refusal);
  ERR_clear_error();
  return accepted;
}

bool TlsPeerCheck::VerifyChain(X509* leaf, STACK_OF(X509) * others, Refusal* refusal) const {
  bssl::UniquePtr<X509_STORE_CTX> verification(X509_STORE_CTX_new());
  if (X509_STORE_CTX_init(verification.get(), store_.get(), leaf, others) != 1 ||
      X509_STORE_CTX_set_default(verification.get(),
                                 role_ == Role::kServer ? "ssl_server" : "ssl_client") != 1) {
    *refusal = {SSL_AD_INTERNAL_ERROR, TakeTlsError()};
    return false;
  }
  X509_STORE_CTX_set_verify_cb(verification.get(), &OnVerify);
  if (X509_verify_cert(verification.get()) == 1) return true;
  const int error = X509_STORE_CTX_get_error(verification.get());
  refusal->alert = static_cast<uint8_t>(SSL_alert_from_verify_result(error));
  refusal->why = Why(leaf, verification.get());
  return false;
}

std::string TlsPeerCheck::Why(const X509* leaf, X509_STORE_CTX* verification) const {
  const int error = X509_STORE_CTX_get_error(verification);
  const X509* at = X509_STORE_CTX_get_current_cert(verification);
  const bool is_leaf = X509_STORE_CTX_get_error_depth(verification) == 0 || at == nullptr;
  const std::string what =
      is_leaf ? fmt::format("the {}'s certificate ({})", Peer(), Describe(leaf))
              : fmt::format("{}, which signs the {}'s certificate,", Describe(at), Peer());
  if (at == nullptr) at = leaf;
  switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return fmt::format("{} has expired ({}); it has to be renewed", what,
                         TimeText(UnixTime(X509_get0_notAfter(at))));
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return fmt::format("{} is not valid before {}; are both clocks right?", what,
                         TimeText(UnixTime(X509_get0_notBefore(at))));
    case X509_V_ERR_CERT_REVOKED:
      return fmt::format("{} is revoked ({})", what, crl_name_);
    case X509_V_ERR_UNABLE_TO_GET_CRL:
      return fmt::format("{} may be revoked: there is no CRL of its issuer {} in {}", what,
                         NameText(X509_get_issuer_name(at)), crl_name_);
    case X509_V_ERR_CRL_HAS_EXPIRED:
      return fmt::format("{} may be revoked: the CRL of its issuer in {} is stale; fetch a new one",
                         what, crl_name_);
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
      return fmt::format(
          "{} comes from {}, which is not in {}; add that CA, or the {} does not "
          "send its intermediate certificates",
          what, NameText(X509_get_issuer_name(at)), ca_name_, Peer());
    case X509_V_ERR_INVALID_PURPOSE:
      return fmt::format("{} is not one for a {} (extended key usage)", what, Peer());
    default:
      return fmt::format("{} was not accepted: {}", what, X509_verify_cert_error_string(error));
  }
}

bool TlsPeerCheck::CheckNames(const X509* leaf, std::string_view host, Refusal* refusal) const {
  if (names_.empty() && role_ == Role::kClient) return true;
  const CertificateNames names = NamesOf(leaf);
  if (names_.empty()) {
    if (IsForHost(names, host)) return true;
    *refusal = {
        SSL_AD_BAD_CERTIFICATE,
        fmt::format("the server's certificate is for {}, not for {}", ListNames(names), host)};
    return false;
  }
  std::string wanted;
  for (const SanCheck& check : names_) {
    if (check.Matches(names)) return true;
    wanted += (wanted.empty() ? "" : ", or ") + check.ToString();
  }
  // RFC 8446, section 6.2: a valid certificate, but access control decides against it.
  *refusal = {
      static_cast<uint8_t>(role_ == Role::kClient ? SSL_AD_ACCESS_DENIED : SSL_AD_BAD_CERTIFICATE),
      fmt::format("the {}'s certificate is for {}, and this needs: {}", Peer(), ListNames(names),
                  wanted)};
  return false;
}

bssl::UniquePtr<STACK_OF(CRYPTO_BUFFER)> TlsPeerCheck::CaNames() const {
  bssl::UniquePtr<STACK_OF(CRYPTO_BUFFER)> names(sk_CRYPTO_BUFFER_new_null());
  for (size_t i = 0; i < std::min(ca_subjects_.size(), kMaxCaNames); ++i) {
    const std::string& der = ca_subjects_[i];
    bssl::PushToStack(names.get(), bssl::UniquePtr<CRYPTO_BUFFER>(CRYPTO_BUFFER_new(
                                       reinterpret_cast<const uint8_t*>(der.data()), der.size(),
                                       SharedCertificates())));
  }
  return names;
}

}  // namespace gatehouse::net
