#include "source/net/tls_certificate.h"

#include <algorithm>
#include <ctime>
#include <utility>

#include <fmt/format.h>

#include "openssl/bio.h"
#include "openssl/bytestring.h"
#include "openssl/ec_key.h"
#include "openssl/err.h"
#include "openssl/evp.h"
#include "openssl/mem.h"
#include "openssl/nid.h"
#include "openssl/pem.h"
#include "openssl/pool.h"
#include "openssl/rsa.h"
#include "openssl/ssl.h"
#include "openssl/x509.h"
#include "openssl/x509v3.h"
#include "source/net/tls_failure.h"
#include "source/net/tls_ocsp.h"

namespace gatehouse::net {
namespace {

constexpr unsigned kMinRsaBits = 2048;

template <typename... Args>
absl::Status Wrong(const TlsText& text, fmt::format_string<Args...> format, Args&&... args) {
  return InvalidArgument(
      fmt::format("{}: {}", text.name, fmt::format(format, std::forward<Args>(args)...)));
}

absl::Status WhyNoBlock(const TlsText& text) {
  const uint32_t error = ERR_peek_last_error();
  if (ERR_GET_LIB(error) != ERR_LIB_PEM || ERR_GET_REASON(error) != PEM_R_NO_START_LINE) {
    return Wrong(text, "has a damaged PEM block ({}); is it cut short?", TakeTlsError());
  }
  ERR_clear_error();
  if (text.text.find_first_not_of(" \t\r\n") == std::string::npos) return Wrong(text, "is empty");
  if (text.text[0] == '\x30') {
    return Wrong(text,
                 "is not PEM but looks like DER; convert it: openssl x509 -inform der, or "
                 "openssl pkey -inform der");
  }
  return Wrong(text, "is not PEM: there is no line \"-----BEGIN ...-----\" in it");
}

std::string Kinds(const std::vector<PemBlock>& blocks) {
  std::string kinds;
  for (const PemBlock& block : blocks) kinds += (kinds.empty() ? "" : ", ") + block.kind;
  return kinds;
}

bool IsKeyKind(std::string_view kind) { return kind.ends_with("PRIVATE KEY"); }

absl::StatusOr<bssl::UniquePtr<EVP_PKEY>> ReadKey(const TlsText& text) {
  absl::StatusOr<std::vector<PemBlock>> blocks = ReadPem(text);
  if (!blocks.ok()) return blocks.status();
  const auto block = std::find_if(blocks->begin(), blocks->end(),
                                  [](const PemBlock& b) { return IsKeyKind(b.kind); });
  if (block == blocks->end()) {
    return Wrong(text, "has no private key in it (only {})", Kinds(*blocks));
  }
  if (block->encrypted || block->kind == PEM_STRING_PKCS8) {
    return Wrong(text, "is encrypted; decrypt it: openssl pkey -in key.pem -out plain.pem");
  }
  CBS der;
  CBS_init(&der, reinterpret_cast<const uint8_t*>(block->der.data()), block->der.size());
  const auto* data = reinterpret_cast<const uint8_t*>(block->der.data());
  bssl::UniquePtr<EVP_PKEY> key(
      block->kind == PEM_STRING_PKCS8INF
          ? EVP_parse_private_key(&der)
          : d2i_AutoPrivateKey(nullptr, &data, static_cast<long>(block->der.size())));
  if (key == nullptr) return Wrong(text, "its {} cannot be read: {}", block->kind, TakeTlsError());
  return key;
}

// 0 for RSA.
absl::StatusOr<uint16_t> SignatureOf(const TlsText& text, const EVP_PKEY* key) {
  const int kind = EVP_PKEY_id(key);
  if (kind == EVP_PKEY_RSA) {
    const unsigned bits = static_cast<unsigned>(EVP_PKEY_bits(key));
    if (bits >= kMinRsaBits) return uint16_t{0};
    return Wrong(text, "its RSA key has {} bits, and less than {} is not safe; make a new one",
                 bits, kMinRsaBits);
  }
  if (kind == EVP_PKEY_EC) {
    switch (EC_GROUP_get_curve_name(EC_KEY_get0_group(EVP_PKEY_get0_EC_KEY(key)))) {
      case NID_X9_62_prime256v1:
        return uint16_t{SSL_SIGN_ECDSA_SECP256R1_SHA256};
      case NID_secp384r1:
        return uint16_t{SSL_SIGN_ECDSA_SECP384R1_SHA384};
      case NID_secp521r1:
        return uint16_t{SSL_SIGN_ECDSA_SECP521R1_SHA512};
      default:
        break;
    }
  }
  return Wrong(text,
               "its key is of a kind that is not supported; use ECDSA with P-256 or P-384, or "
               "RSA");
}

absl::Status CheckTimes(const TlsText& text, const X509* certificate) {
  const int64_t now = time(nullptr);
  const int64_t begin = UnixTime(X509_get0_notBefore(certificate));
  const int64_t end = UnixTime(X509_get0_notAfter(certificate));
  if (end <= now) {
    return Wrong(text, "the certificate {} has expired ({}); renew it", Describe(certificate),
                 TimeText(end));
  }
  if (begin <= now) return absl::OkStatus();
  return Wrong(text, "the certificate {} is not valid before {}; is the clock right?",
               Describe(certificate), TimeText(begin));
}

absl::Status CheckOrder(const TlsText& text, const std::vector<bssl::UniquePtr<X509>>& chain) {
  for (size_t i = 0; i + 1 < chain.size(); ++i) {
    const bool issued = X509_check_issued(chain[i + 1].get(), chain[i].get()) == X509_V_OK;
    bssl::UniquePtr<EVP_PKEY> key(X509_get_pubkey(chain[i + 1].get()));
    const bool signed_by = issued && key != nullptr && X509_verify(chain[i].get(), key.get()) == 1;
    ERR_clear_error();
    if (signed_by) continue;
    return Wrong(text,
                 "certificate {} in it ({}) was not issued by the next one ({}); put the leaf "
                 "first and behind each certificate its issuer",
                 i + 1, Describe(chain[i].get()), Describe(chain[i + 1].get()));
  }
  return absl::OkStatus();
}

absl::Status CheckPair(const TlsCertificateSpec& spec,
                       const std::vector<bssl::UniquePtr<X509>>& chain, const EVP_PKEY* key) {
  for (size_t i = 0; i < chain.size(); ++i) {
    bssl::UniquePtr<EVP_PKEY> own(X509_get_pubkey(chain[i].get()));
    if (own == nullptr || EVP_PKEY_cmp(own.get(), key) != 1) continue;
    if (i == 0) return absl::OkStatus();
    ERR_clear_error();
    return Wrong(spec.chain, "the key belongs to certificate {} in it; put that one first", i + 1);
  }
  ERR_clear_error();
  return InvalidArgument(fmt::format(
      "{}: the key in {} does not belong to this certificate ({}); was only one of them renewed?",
      spec.chain.name, spec.key.name, Describe(chain[0].get())));
}

std::string DerOf(X509* certificate) {
  uint8_t* data = nullptr;
  const int size = i2d_X509(certificate, &data);
  if (size <= 0) return {};
  std::string der(reinterpret_cast<const char*>(data), static_cast<size_t>(size));
  OPENSSL_free(data);
  return der;
}

}  // namespace

CRYPTO_BUFFER_POOL* SharedCertificates() {
  static CRYPTO_BUFFER_POOL* const pool = CRYPTO_BUFFER_POOL_new();
  return pool;
}

absl::StatusOr<std::vector<PemBlock>> ReadPem(const TlsText& text) {
  std::vector<PemBlock> blocks;
  bssl::UniquePtr<BIO> bio(BIO_new_mem_buf(text.text.data(), static_cast<int>(text.text.size())));
  for (;;) {
    char* kind = nullptr;
    char* header = nullptr;
    uint8_t* data = nullptr;
    long size = 0;
    if (PEM_read_bio(bio.get(), &kind, &header, &data, &size) != 1) break;
    bssl::UniquePtr<char> own_kind(kind);
    bssl::UniquePtr<char> own_header(header);
    bssl::UniquePtr<uint8_t> own_data(data);
    blocks.push_back({.kind = kind,
                      .encrypted = std::string_view(header).find("ENCRYPTED") != std::string::npos,
                      .der = {reinterpret_cast<const char*>(data), static_cast<size_t>(size)}});
  }
  const uint32_t error = ERR_peek_last_error();
  const bool at_end =
      ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
  if (blocks.empty() || !at_end) return WhyNoBlock(text);
  ERR_clear_error();
  return blocks;
}

absl::StatusOr<std::vector<bssl::UniquePtr<X509>>> ReadCertificates(const TlsText& text) {
  absl::StatusOr<std::vector<PemBlock>> blocks = ReadPem(text);
  if (!blocks.ok()) return blocks.status();
  std::vector<bssl::UniquePtr<X509>> certificates;
  for (const PemBlock& block : *blocks) {
    if (block.kind != PEM_STRING_X509 && block.kind != PEM_STRING_X509_OLD) continue;
    const auto* data = reinterpret_cast<const uint8_t*>(block.der.data());
    const uint8_t* const end = data + block.der.size();
    bssl::UniquePtr<X509> parsed(d2i_X509(nullptr, &data, static_cast<long>(block.der.size())));
    if (parsed == nullptr || data != end) {
      return Wrong(text, "certificate {} in it cannot be read: {}", certificates.size() + 1,
                   TakeTlsError());
    }
    certificates.push_back(std::move(parsed));
  }
  if (!certificates.empty()) return certificates;
  return Wrong(text, "has no certificate in it (only {})", Kinds(*blocks));
}

absl::StatusOr<TlsCertificate> TlsCertificate::Load(const TlsCertificateSpec& spec) {
  absl::StatusOr<std::vector<bssl::UniquePtr<X509>>> parsed = ReadCertificates(spec.chain);
  if (!parsed.ok()) return parsed.status();
  absl::StatusOr<bssl::UniquePtr<EVP_PKEY>> key = ReadKey(spec.key);
  if (!key.ok()) return key.status();
  absl::StatusOr<uint16_t> signature = SignatureOf(spec.key, key->get());
  if (!signature.ok()) return signature.status();
  absl::Status status = CheckPair(spec, *parsed, key->get());
  if (status.ok()) status = CheckOrder(spec.chain, *parsed);
  TlsCertificate loaded;
  loaded.not_after = INT64_MAX;
  for (const bssl::UniquePtr<X509>& certificate : *parsed) {
    if (status.ok()) status = CheckTimes(spec.chain, certificate.get());
    loaded.not_after = std::min(loaded.not_after, UnixTime(X509_get0_notAfter(certificate.get())));
    const std::string der = DerOf(certificate.get());
    loaded.chain.emplace_back(CRYPTO_BUFFER_new(reinterpret_cast<const uint8_t*>(der.data()),
                                                der.size(), SharedCertificates()));
  }
  if (!status.ok()) return status;
  if (!spec.ocsp.empty()) {
    const X509* issuer = parsed->size() > 1 ? (*parsed)[1].get() : nullptr;
    absl::StatusOr<OcspResponse> response =
        ReadOcspResponse(spec.ocsp, (*parsed)[0].get(), issuer, time(nullptr));
    if (!response.ok()) return response.status();
    loaded.ocsp = std::move(response->der);
    loaded.ocsp_until = response->until;
  }
  loaded.key = *std::move(key);
  loaded.signature = *signature;
  loaded.names = NamesOf((*parsed)[0].get());
  return loaded;
}

bool TlsCertificate::Use(SSL_CTX* context) const {
  std::vector<CRYPTO_BUFFER*> buffers;
  for (const auto& buffer : chain) buffers.push_back(buffer.get());
  return SSL_CTX_set_chain_and_key(context, buffers.data(), buffers.size(), key.get(), nullptr) ==
         1;
}

bool TlsCertificate::Use(SSL* ssl) const {
  constexpr size_t kMost = 16;  // longer chains are none that a client would follow
  CRYPTO_BUFFER* buffers[kMost];
  size_t count = 0;
  for (; count < std::min(chain.size(), kMost); ++count) buffers[count] = chain[count].get();
  if (SSL_set_chain_and_key(ssl, buffers, count, key.get(), nullptr) != 1) return false;
  if (ocsp.empty() || time(nullptr) >= ocsp_until) return true;
  return SSL_set_ocsp_response(ssl, reinterpret_cast<const uint8_t*>(ocsp.data()), ocsp.size()) ==
         1;
}

}  // namespace gatehouse::net
