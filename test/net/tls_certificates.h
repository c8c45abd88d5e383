// Certificates for tests, made in the process: a CA that issues what is asked for, good or bad.
//
//   TestCa ca("Test CA");
//   const TestCertificate site = ca.Issue({.names = "DNS:a.example,DNS:*.b.example"});
//   spec.certificates = {site.Spec("site")};
#pragma once

#include <cstdint>
#include <ctime>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "openssl/asn1.h"
#include "openssl/bio.h"
#include "openssl/bn.h"
#include "openssl/bytestring.h"
#include "openssl/digest.h"
#include "openssl/ec_key.h"
#include "openssl/evp.h"
#include "openssl/mem.h"
#include "openssl/nid.h"
#include "openssl/obj.h"
#include "openssl/pem.h"
#include "openssl/rsa.h"
#include "openssl/x509.h"
#include "openssl/x509v3.h"
#include "source/base/check.h"
#include "source/net/tls_spec.h"

namespace gatehouse::net {

inline constexpr int64_t kTestDay = 24 * 60 * 60;

enum class TestKey : uint8_t { kEcdsa, kEcdsa384, kRsa, kWeakRsa };

struct TestCertificateOptions {
  std::string subject = "leaf";                      // common name
  std::string names = "DNS:localhost,IP:127.0.0.1";  // "DNS:a.example,URI:spiffe://x/y"; "": none
  TestKey key = TestKey::kEcdsa;
  int64_t begins = -kTestDay;  // seconds from now
  int64_t ends = 90 * kTestDay;
  bool is_ca = false;
  std::string usage;  // extended key usage: "serverAuth"
};

struct TestCertificate {
  bssl::UniquePtr<X509> x509;
  bssl::UniquePtr<EVP_PKEY> key;
  std::string pem;  // with its intermediates
  std::string key_pem;
  uint64_t serial = 0;

  [[nodiscard]] TlsCertificateSpec Spec(const std::string& name) const {
    return {.chain = {"secret " + name, pem}, .key = {"secret " + name + "-key", key_pem}};
  }
};

inline std::string TestText(BIO* bio) {
  const uint8_t* data = nullptr;
  size_t size = 0;
  CHECK(BIO_mem_contents(bio, &data, &size) == 1);
  return std::string(reinterpret_cast<const char*>(data), size);
}

inline bssl::UniquePtr<EVP_PKEY> MakeTestKey(TestKey kind) {
  bssl::UniquePtr<EVP_PKEY> key(EVP_PKEY_new());
  if (kind == TestKey::kEcdsa || kind == TestKey::kEcdsa384) {
    bssl::UniquePtr<EC_KEY> ec(
        EC_KEY_new_by_curve_name(kind == TestKey::kEcdsa ? NID_X9_62_prime256v1 : NID_secp384r1));
    CHECK(EC_KEY_generate_key(ec.get()) == 1);
    CHECK(EVP_PKEY_set1_EC_KEY(key.get(), ec.get()) == 1);
    return key;
  }
  // Slow to make, and one is as good as another.
  const auto make = [](int bits) {
    RSA* rsa = RSA_new();
    bssl::UniquePtr<BIGNUM> e(BN_new());
    CHECK(BN_set_word(e.get(), RSA_F4) == 1);
    CHECK(RSA_generate_key_ex(rsa, bits, e.get(), nullptr) == 1);
    return rsa;
  };
  static RSA* const good = make(2048);
  static RSA* const weak = make(1024);
  CHECK(EVP_PKEY_set1_RSA(key.get(), kind == TestKey::kRsa ? good : weak) == 1);
  return key;
}

class TestCa {
 public:
  // A root. `key`: of another kind than ECDSA.
  explicit TestCa(const std::string& name) : name_(name) {
    own_ = Make({.subject = name, .names = "", .is_ca = true}, nullptr);
  }
  // An intermediate CA; what it issues carries its certificate along.
  TestCa(const std::string& name, const TestCa& parent) : name_(name), intermediate_(true) {
    own_ = parent.Make({.subject = name, .names = "", .is_ca = true}, &parent.own_);
  }

  [[nodiscard]] const std::string& pem() const { return own_.pem; }
  [[nodiscard]] TlsText Text() const { return {"secret " + name_, own_.pem}; }

  [[nodiscard]] TestCertificate Issue(const TestCertificateOptions& options) const {
    TestCertificate made = Make(options, &own_);
    if (intermediate_) made.pem += own_.pem;
    return made;
  }
  [[nodiscard]] TestCertificate IssueRaw(const TestCertificateOptions& options) const {
    return Make(options, &own_);
  }

  // PEM, of these serial numbers.
  [[nodiscard]] std::string Crl(const std::vector<uint64_t>& serials,
                                int64_t next = 7 * kTestDay) const {
    bssl::UniquePtr<X509_CRL> crl(X509_CRL_new());
    CHECK(X509_CRL_set_version(crl.get(), X509_CRL_VERSION_2) == 1);
    X509_CRL_set_issuer_name(crl.get(), X509_get_subject_name(own_.x509.get()));
    bssl::UniquePtr<ASN1_TIME> time(ASN1_TIME_set(nullptr, ::time(nullptr) - 2 * kTestDay));
    X509_CRL_set1_lastUpdate(crl.get(), time.get());
    time.reset(ASN1_TIME_set(nullptr, ::time(nullptr) + next));
    X509_CRL_set1_nextUpdate(crl.get(), time.get());
    for (const uint64_t serial : serials) {
      bssl::UniquePtr<X509_REVOKED> revoked(X509_REVOKED_new());
      bssl::UniquePtr<ASN1_INTEGER> number(ASN1_INTEGER_new());
      CHECK(ASN1_INTEGER_set_uint64(number.get(), serial) == 1);
      X509_REVOKED_set_serialNumber(revoked.get(), number.get());
      bssl::UniquePtr<ASN1_TIME> when(ASN1_TIME_set(nullptr, ::time(nullptr) - kTestDay));
      X509_REVOKED_set_revocationDate(revoked.get(), when.get());
      CHECK(X509_CRL_add0_revoked(crl.get(), revoked.release()) == 1);
    }
    CHECK(X509_CRL_sign(crl.get(), own_.key.get(), EVP_sha256()) > 0);
    bssl::UniquePtr<BIO> bio(BIO_new(BIO_s_mem()));
    CHECK(PEM_write_bio_X509_CRL(bio.get(), crl.get()) == 1);
    return TestText(bio.get());
  }

  struct Ocsp {
    unsigned status = CBS_ASN1_CONTEXT_SPECIFIC | 0;  // good
    int64_t this_update = -60;
    int64_t next_update = kTestDay;
    uint8_t response_status = 0;
  };
  // DER. Its signature is none: who staples does not check it.
  [[nodiscard]] std::string OcspFor(const TestCertificate& leaf, const Ocsp& ocsp) const;

 private:
  [[nodiscard]] TestCertificate Make(const TestCertificateOptions& options,
                                     const TestCertificate* issuer) const {
    static uint64_t last_serial = 0x1000;
    TestCertificate made;
    made.key = MakeTestKey(options.key);
    made.x509.reset(X509_new());
    made.serial = ++last_serial;
    X509* x509 = made.x509.get();
    CHECK(X509_set_version(x509, X509_VERSION_3) == 1);
    CHECK(ASN1_INTEGER_set_uint64(X509_get_serialNumber(x509), made.serial) == 1);
    ASN1_TIME_adj(X509_getm_notBefore(x509), time(nullptr), 0, static_cast<long>(options.begins));
    ASN1_TIME_adj(X509_getm_notAfter(x509), time(nullptr), 0, static_cast<long>(options.ends));
    X509_NAME* name = X509_get_subject_name(x509);
    const auto* text = reinterpret_cast<const uint8_t*>(options.subject.data());
    CHECK(X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8, text,
                                     static_cast<int>(options.subject.size()), -1, 0) == 1);
    X509_set_issuer_name(x509,
                         issuer == nullptr ? name : X509_get_subject_name(issuer->x509.get()));
    CHECK(X509_set_pubkey(x509, made.key.get()) == 1);
    if (!options.names.empty()) AddExtension(x509, NID_subject_alt_name, options.names);
    AddExtension(x509, NID_basic_constraints,
                 options.is_ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
    AddExtension(x509, NID_key_usage,
                 options.is_ca ? "critical,keyCertSign,cRLSign" : "critical,digitalSignature");
    if (!options.usage.empty()) AddExtension(x509, NID_ext_key_usage, options.usage);
    EVP_PKEY* signer = issuer == nullptr ? made.key.get() : issuer->key.get();
    CHECK(X509_sign(x509, signer, EVP_sha256()) > 0);
    bssl::UniquePtr<BIO> bio(BIO_new(BIO_s_mem()));
    CHECK(PEM_write_bio_X509(bio.get(), x509) == 1);
    made.pem = TestText(bio.get());
    bio.reset(BIO_new(BIO_s_mem()));
    CHECK(PEM_write_bio_PKCS8PrivateKey(bio.get(), made.key.get(), nullptr, nullptr, 0, nullptr,
                                        nullptr) == 1);
    made.key_pem = TestText(bio.get());
    return made;
  }
  static void AddExtension(X509* x509, int nid, const std::string& value) {
    bssl::UniquePtr<X509_EXTENSION> extension(
        X509V3_EXT_nconf_nid(nullptr, nullptr, nid, value.c_str()));
    CHECK(extension != nullptr);
    CHECK(X509_add_ext(x509, extension.get(), -1) == 1);
  }

  std::string name_;
  bool intermediate_ = false;
  TestCertificate own_;
};

inline std::string TestCa::OcspFor(const TestCertificate& leaf, const Ocsp& ocsp) const {
  uint8_t name_hash[EVP_MAX_MD_SIZE];
  unsigned name_size = 0;
  uint8_t* name = nullptr;
  const int size = i2d_X509_NAME(X509_get_issuer_name(leaf.x509.get()), &name);
  CHECK(size > 0);
  bssl::UniquePtr<uint8_t> own_name(name);
  EVP_Digest(name, static_cast<size_t>(size), name_hash, &name_size, EVP_sha1(), nullptr);
  uint8_t key_hash[EVP_MAX_MD_SIZE];
  unsigned key_size = 0;
  const ASN1_BIT_STRING* key = X509_get0_pubkey_bitstr(own_.x509.get());
  EVP_Digest(ASN1_STRING_get0_data(key), static_cast<size_t>(ASN1_STRING_length(key)), key_hash,
             &key_size, EVP_sha1(), nullptr);
  const auto add_time = [](CBB* to, int64_t from_now) {
    bssl::UniquePtr<ASN1_GENERALIZEDTIME> time(
        ASN1_GENERALIZEDTIME_set(nullptr, ::time(nullptr) + from_now));
    CBB text;
    CHECK(CBB_add_asn1(to, &text, CBS_ASN1_GENERALIZEDTIME) == 1);
    CHECK(CBB_add_bytes(&text, ASN1_STRING_get0_data(time.get()),
                        static_cast<size_t>(ASN1_STRING_length(time.get()))) == 1);
    CHECK(CBB_flush(to) == 1);
  };
  bssl::ScopedCBB cbb;
  CBB response, status, wrapped, bytes, octets, basic, data, responder, list, single, id, hash,
      next, part;
  CHECK(CBB_init(cbb.get(), 512) == 1);
  CHECK(CBB_add_asn1(cbb.get(), &response, CBS_ASN1_SEQUENCE) == 1);
  CHECK(CBB_add_asn1(&response, &status, CBS_ASN1_ENUMERATED) == 1);
  CHECK(CBB_add_u8(&status, ocsp.response_status) == 1);
  if (ocsp.response_status == 0) {
    constexpr unsigned kTag0 = CBS_ASN1_CONTEXT_SPECIFIC | CBS_ASN1_CONSTRUCTED;
    CHECK(CBB_add_asn1(&response, &wrapped, kTag0) == 1);
    CHECK(CBB_add_asn1(&wrapped, &bytes, CBS_ASN1_SEQUENCE) == 1);
    CHECK(CBB_add_asn1(&bytes, &part, CBS_ASN1_OBJECT) == 1);
    CHECK(CBB_add_asn1_oid_from_text(&part, "1.3.6.1.5.5.7.48.1.1", 20) == 1);
    CHECK(CBB_add_asn1(&bytes, &octets, CBS_ASN1_OCTETSTRING) == 1);
    CHECK(CBB_add_asn1(&octets, &basic, CBS_ASN1_SEQUENCE) == 1);
    CHECK(CBB_add_asn1(&basic, &data, CBS_ASN1_SEQUENCE) == 1);
    CHECK(CBB_add_asn1(&data, &responder, kTag0 | 2) == 1);
    CHECK(CBB_add_asn1(&responder, &part, CBS_ASN1_OCTETSTRING) == 1);
    CHECK(CBB_add_bytes(&part, key_hash, key_size) == 1);
    add_time(&data, ocsp.this_update);
    CHECK(CBB_add_asn1(&data, &list, CBS_ASN1_SEQUENCE) == 1);
    CHECK(CBB_add_asn1(&list, &single, CBS_ASN1_SEQUENCE) == 1);
    CHECK(CBB_add_asn1(&single, &id, CBS_ASN1_SEQUENCE) == 1);
    CHECK(CBB_add_asn1(&id, &hash, CBS_ASN1_SEQUENCE) == 1);
    CHECK(CBB_add_asn1(&hash, &part, CBS_ASN1_OBJECT) == 1);
    CHECK(CBB_add_asn1_oid_from_text(&part, "1.3.14.3.2.26", 13) == 1);
    CHECK(CBB_add_asn1_octet_string(&id, name_hash, name_size) == 1);
    CHECK(CBB_add_asn1_octet_string(&id, key_hash, key_size) == 1);
    CHECK(CBB_add_asn1_uint64(&id, leaf.serial) == 1);
    CHECK(CBB_add_asn1(&single, &part, ocsp.status) == 1);
    add_time(&single, ocsp.this_update);
    CHECK(CBB_add_asn1(&single, &next, kTag0) == 1);
    add_time(&next, ocsp.next_update);
  }
  uint8_t* out = nullptr;
  size_t out_size = 0;
  CHECK(CBB_finish(cbb.get(), &out, &out_size) == 1);
  bssl::UniquePtr<uint8_t> own_out(out);
  return std::string(reinterpret_cast<const char*>(out), out_size);
}

}  // namespace gatehouse::net
