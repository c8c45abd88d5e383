#include "source/net/tls_ocsp.h"

#include <limits>
#include <utility>

#include <fmt/format.h>

#include "openssl/asn1.h"
#include "openssl/bytestring.h"
#include "openssl/digest.h"
#include "openssl/err.h"
#include "openssl/mem.h"
#include "openssl/nid.h"
#include "openssl/obj.h"
#include "openssl/x509.h"
#include "source/net/tls_certificate.h"
#include "source/net/tls_names.h"

namespace gatehouse::net {
namespace {

constexpr unsigned kExplicit0 = CBS_ASN1_CONTEXT_SPECIFIC | CBS_ASN1_CONSTRUCTED | 0;
constexpr unsigned kGood = CBS_ASN1_CONTEXT_SPECIFIC | 0;
constexpr unsigned kRevoked = CBS_ASN1_CONTEXT_SPECIFIC | CBS_ASN1_CONSTRUCTED | 1;

struct SingleResponse {
  CBS hash;  // OID
  CBS name_hash;
  CBS key_hash;
  CBS serial;
  unsigned status = 0;  // the tag
  int64_t this_update = 0;
  int64_t next_update = std::numeric_limits<int64_t>::max();
};

bool ReadTime(CBS* from, int64_t* out) {
  CBS time;
  if (!CBS_get_asn1(from, &time, CBS_ASN1_GENERALIZEDTIME)) return false;
  bssl::UniquePtr<ASN1_TIME> parsed(ASN1_STRING_type_new(V_ASN1_GENERALIZEDTIME));
  if (!ASN1_STRING_set(parsed.get(), CBS_data(&time), static_cast<int>(CBS_len(&time)))) {
    return false;
  }
  *out = UnixTime(parsed.get());
  return *out != std::numeric_limits<int64_t>::max();
}

// RFC 6960, section 4.2.1.
bool ReadSingle(CBS* from, SingleResponse* out) {
  CBS single;
  CBS id;
  CBS algorithm;
  CBS status;
  if (!CBS_get_asn1(from, &single, CBS_ASN1_SEQUENCE) ||
      !CBS_get_asn1(&single, &id, CBS_ASN1_SEQUENCE) ||
      !CBS_get_asn1(&id, &algorithm, CBS_ASN1_SEQUENCE) ||
      !CBS_get_asn1(&algorithm, &out->hash, CBS_ASN1_OBJECT) ||
      !CBS_get_asn1(&id, &out->name_hash, CBS_ASN1_OCTETSTRING) ||
      !CBS_get_asn1(&id, &out->key_hash, CBS_ASN1_OCTETSTRING) ||
      !CBS_get_asn1(&id, &out->serial, CBS_ASN1_INTEGER) ||
      !CBS_get_any_asn1(&single, &status, &out->status) || !ReadTime(&single, &out->this_update)) {
    return false;
  }
  CBS next;
  int has_next = 0;
  if (!CBS_get_optional_asn1(&single, &next, &has_next, kExplicit0)) return false;
  return !has_next || ReadTime(&next, &out->next_update);
}

// To the list of single responses; `status` is the response's own.
bool OpenResponses(std::string_view der, uint8_t* status, CBS* responses) {
  CBS all;
  CBS_init(&all, reinterpret_cast<const uint8_t*>(der.data()), der.size());
  CBS response;
  CBS number;
  if (!CBS_get_asn1(&all, &response, CBS_ASN1_SEQUENCE) || CBS_len(&all) != 0 ||
      !CBS_get_asn1(&response, &number, CBS_ASN1_ENUMERATED) || !CBS_get_u8(&number, status)) {
    return false;
  }
  if (*status != 0) return true;
  CBS wrapped;
  CBS bytes;
  CBS octets;
  CBS basic;
  CBS data;
  CBS responder;
  unsigned tag = 0;
  int unused = 0;
  return CBS_get_asn1(&response, &wrapped, kExplicit0) &&
         CBS_get_asn1(&wrapped, &bytes, CBS_ASN1_SEQUENCE) &&
         CBS_get_asn1(&bytes, nullptr, CBS_ASN1_OBJECT) &&
         CBS_get_asn1(&bytes, &octets, CBS_ASN1_OCTETSTRING) &&
         CBS_get_asn1(&octets, &basic, CBS_ASN1_SEQUENCE) &&
         CBS_get_asn1(&basic, &data, CBS_ASN1_SEQUENCE) &&
         CBS_get_optional_asn1(&data, nullptr, &unused, kExplicit0) &&  // version
         CBS_get_any_asn1(&data, &responder, &tag) &&                   // responder
         CBS_get_asn1(&data, nullptr, CBS_ASN1_GENERALIZEDTIME) &&
         CBS_get_asn1(&data, responses, CBS_ASN1_SEQUENCE);
}

bool HashIs(const CBS& expected, const EVP_MD* digest, const uint8_t* data, size_t size) {
  uint8_t hash[EVP_MAX_MD_SIZE];
  unsigned hash_size = 0;
  return EVP_Digest(data, size, hash, &hash_size, digest, nullptr) == 1 &&
         CBS_mem_equal(&expected, hash, hash_size) == 1;
}

bool IsFor(const SingleResponse& single, const X509* leaf, const X509* issuer) {
  const ASN1_INTEGER* serial = X509_get0_serialNumber(leaf);
  CBS bytes = single.serial;
  // DER puts a zero in front of what would look negative.
  if (CBS_len(&bytes) > 1 && CBS_data(&bytes)[0] == 0) CBS_skip(&bytes, 1);
  if (CBS_mem_equal(&bytes, ASN1_STRING_get0_data(serial),
                    static_cast<size_t>(ASN1_STRING_length(serial))) != 1) {
    return false;
  }
  const EVP_MD* digest = EVP_get_digestbynid(OBJ_cbs2nid(&single.hash));
  if (digest == nullptr) return false;
  uint8_t* name = nullptr;
  const int size = i2d_X509_NAME(X509_get_issuer_name(leaf), &name);
  if (size <= 0) return false;
  bssl::UniquePtr<uint8_t> own(name);
  if (!HashIs(single.name_hash, digest, name, static_cast<size_t>(size))) return false;
  if (issuer == nullptr) return true;
  const ASN1_BIT_STRING* key = X509_get0_pubkey_bitstr(issuer);
  return HashIs(single.key_hash, digest, ASN1_STRING_get0_data(key),
                static_cast<size_t>(ASN1_STRING_length(key)));
}

absl::StatusOr<std::string> DerOf(const TlsText& text) {
  if (text.text[0] == '\x30') return text.text;
  absl::StatusOr<std::vector<PemBlock>> blocks = ReadPem(text);
  if (!blocks.ok()) {
    return InvalidArgument(fmt::format("{}: is no OCSP response, neither DER nor PEM", text.name));
  }
  return std::move((*blocks)[0].der);
}

}  // namespace

absl::StatusOr<OcspResponse> ReadOcspResponse(const TlsText& text, const X509* leaf,
                                              const X509* issuer, int64_t now) {
  const auto wrong = [&](std::string_view what) {
    return InvalidArgument(fmt::format("{}: {}", text.name, what));
  };
  absl::StatusOr<std::string> der = DerOf(text);
  if (!der.ok()) return der.status();
  uint8_t status = 0;
  CBS responses;
  if (!OpenResponses(*der, &status, &responses)) return wrong("is no OCSP response");
  if (status != 0) {
    return wrong(
        fmt::format("the OCSP responder answered with an error ({}), not a status; fetch "
                    "the response again",
                    status));
  }
  while (CBS_len(&responses) > 0) {
    SingleResponse single;
    if (!ReadSingle(&responses, &single)) return wrong("is no OCSP response");
    if (!IsFor(single, leaf, issuer)) continue;
    if (single.status == kRevoked) return wrong("says that the certificate is revoked; replace it");
    if (single.status != kGood) return wrong("says that the certificate is unknown to its CA");
    if (single.this_update > now) {
      return wrong(fmt::format("the OCSP response is not valid before {}; is the clock right?",
                               TimeText(single.this_update)));
    }
    if (single.next_update <= now) {
      return wrong(fmt::format("the OCSP response is stale since {}; fetch a new one",
                               TimeText(single.next_update)));
    }
    return OcspResponse{.der = *std::move(der), .until = single.next_update};
  }
  ERR_clear_error();
  return wrong(fmt::format("the OCSP response is for another certificate than {}", Describe(leaf)));
}

}  // namespace gatehouse::net
