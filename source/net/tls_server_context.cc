#include <algorithm>
#include <cstring>
#include <ctime>
#include <optional>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

#include "openssl/bytestring.h"
#include "openssl/cipher.h"
#include "openssl/err.h"
#include "openssl/evp.h"
#include "openssl/hmac.h"
#include "openssl/rand.h"
#include "openssl/ssl.h"
#include "source/base/check.h"
#include "source/base/crypto.h"
#include "source/net/tls_certificate.h"
#include "source/net/tls_context.h"
#include "source/net/tls_failure.h"
#include "source/net/tls_peer.h"
#include "source/net/tls_setup.h"
#include "source/net/tls_tickets.h"
#include "source/net/tls_transport.h"

namespace gatehouse::net {
namespace {

struct TextHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
};

// The certificates for one name.
struct Choice {
  const TlsCertificate* rsa = nullptr;
  const TlsCertificate* ecdsa = nullptr;

  void Add(const TlsCertificate& certificate) {
    const TlsCertificate*& place = certificate.is_ecdsa() ? ecdsa : rsa;
    if (place == nullptr) place = &certificate;  // the first that is listed wins
  }
};
using Index = std::unordered_map<std::string, Choice, TextHash, std::equal_to<>>;

// What handshakes need. Belongs to the SSL_CTX, and so lives as long as the last connection.
struct ServerState {
  std::vector<TlsCertificate> certificates;
  Index exact;      // "a.example"
  Index wildcards;  // ".example" of "*.example"
  Choice fallback;
  std::string alpn;  // in wire format
  std::shared_ptr<TlsTicketKeys> ticket_keys;
  std::optional<TlsPeerCheck> client;
};

void FreeState(void* /*parent*/, void* state, CRYPTO_EX_DATA* /*data*/, int /*index*/,
               long /*number*/, void* /*pointer*/) {
  delete static_cast<ServerState*>(state);
}

int StateIndex() {
  static const int index = SSL_CTX_get_ex_new_index(0, nullptr, nullptr, nullptr, &FreeState);
  return index;
}

const ServerState& StateOf(const SSL* ssl) {
  return *static_cast<const ServerState*>(SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), StateIndex()));
}

// --- Which certificate ---

const Choice& Find(const ServerState& state, std::string_view name) {
  const std::string lower = LowerCase(name);
  if (const auto found = state.exact.find(lower); found != state.exact.end()) return found->second;
  const size_t dot = lower.find('.');
  if (dot == std::string::npos || dot == 0) return state.fallback;
  const auto found = state.wildcards.find(std::string_view(lower).substr(dot));
  return found == state.wildcards.end() ? state.fallback : found->second;
}

bool HasU16(CBS list, uint16_t wanted) {
  uint16_t value;
  while (CBS_get_u16(&list, &value)) {
    if (value == wanted) return true;
  }
  return false;
}

bool OffersTls13(const SSL_CLIENT_HELLO* hello) {
  const uint8_t* data;
  size_t size;
  if (!SSL_early_callback_ctx_extension_get(hello, TLSEXT_TYPE_supported_versions, &data, &size)) {
    return false;
  }
  CBS extension;
  CBS_init(&extension, data, size);
  CBS versions;
  return CBS_get_u8_length_prefixed(&extension, &versions) && HasU16(versions, TLS1_3_VERSION);
}

// RFC 8446, section 4.2.3, and for TLS 1.2 a cipher that is signed by ECDSA.
bool TakesEcdsa(const SSL_CLIENT_HELLO* hello, uint16_t signature) {
  const uint8_t* data;
  size_t size;
  if (!SSL_early_callback_ctx_extension_get(hello, TLSEXT_TYPE_signature_algorithms, &data,
                                            &size)) {
    return false;
  }
  CBS extension;
  CBS_init(&extension, data, size);
  CBS signatures;
  if (!CBS_get_u16_length_prefixed(&extension, &signatures) || !HasU16(signatures, signature)) {
    return false;
  }
  if (OffersTls13(hello)) return true;
  constexpr uint16_t kEcdsaCiphers[] = {0xc02b, 0xc02c, 0xcca9};
  CBS ciphers;
  CBS_init(&ciphers, hello->cipher_suites, hello->cipher_suites_len);
  return std::any_of(std::begin(kEcdsaCiphers), std::end(kEcdsaCiphers),
                     [&](uint16_t cipher) { return HasU16(ciphers, cipher); });
}

ssl_select_cert_result_t SelectCertificate(const SSL_CLIENT_HELLO* hello) {
  const ServerState& state = StateOf(hello->ssl);
  const char* name = SSL_get_servername(hello->ssl, TLSEXT_NAMETYPE_host_name);
  const Choice& choice = name == nullptr ? state.fallback : Find(state, name);
  const bool ecdsa = choice.ecdsa != nullptr &&
                     (choice.rsa == nullptr || TakesEcdsa(hello, choice.ecdsa->signature));
  const TlsCertificate& certificate = ecdsa ? *choice.ecdsa : *choice.rsa;
  return certificate.Use(hello->ssl) ? ssl_select_cert_success : ssl_select_cert_error;
}

// --- What else is negotiated ---

int SelectAlpn(SSL* ssl, const uint8_t** out, uint8_t* out_size, const uint8_t* in,
               unsigned in_size, void* /*arg*/) {
  const std::string& ours = StateOf(ssl).alpn;
  if (ours.empty()) return SSL_TLSEXT_ERR_NOACK;
  uint8_t* chosen = nullptr;
  // RFC 7301, section 3.2: nothing in common is fatal.
  if (SSL_select_next_proto(&chosen, out_size, reinterpret_cast<const uint8_t*>(ours.data()),
                            static_cast<unsigned>(ours.size()), in,
                            in_size) != OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  }
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

int CryptTicket(SSL* ssl, uint8_t* name, uint8_t* iv, EVP_CIPHER_CTX* cipher, HMAC_CTX* hmac,
                int encrypt) {
  TlsTicketKeys::Keys& keys = StateOf(ssl).ticket_keys->keys();
  const TimePoint now = TlsTransport::Of(ssl).loop().Now();
  TlsTicketKey key;
  bool newest = true;
  if (encrypt != 0) {
    key = keys.ForNew(now);
    std::memcpy(name, key.name.data(), key.name.size());
    RAND_bytes(iv, EVP_CIPHER_iv_length(EVP_aes_256_cbc()));
  } else if (!keys.Find(name, now, &key, &newest)) {
    return 0;
  }
  const bool ok =
      EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), nullptr, key.aes.data(), iv, encrypt) == 1 &&
      HMAC_Init_ex(hmac, key.hmac.data(), key.hmac.size(), EVP_sha256(), nullptr) == 1;
  OPENSSL_cleanse(&key, sizeof(key));
  if (!ok) return -1;
  return newest ? 1 : 2;  // 2: the client gets a new one
}

ssl_verify_result_t VerifyClient(SSL* ssl, uint8_t* alert) {
  TlsPeerCheck::Refusal refusal;
  if (StateOf(ssl).client->Accepts(SSL_get0_peer_certificates(ssl), {}, &refusal)) {
    return ssl_verify_ok;
  }
  *alert = refusal.alert;
  TlsTransport::Of(ssl).Explain(std::move(refusal.why));
  return ssl_verify_invalid;
}

// --- Building ---

void AddToIndex(const TlsCertificate& certificate, ServerState* state) {
  for (const std::string& name : certificate.names.dns) {
    if (name.starts_with("*.")) {
      state->wildcards[name.substr(1)].Add(certificate);
    } else {
      state->exact[name].Add(certificate);
    }
  }
}

// The first one, and its like of the other kind.
Choice FallbackOf(const ServerState& state) {
  const TlsCertificate& first = state.certificates.front();
  Choice choice;
  choice.Add(first);
  for (const TlsCertificate& other : state.certificates) {
    if (!first.names.dns.empty() && other.names.dns == first.names.dns) choice.Add(other);
  }
  return choice;
}

// What is in a ticket was found good under one policy, and is worth nothing under another.
Sha256Digest PolicyDigest(const TlsServerSpec& spec) {
  std::string text;
  const auto add = [&](std::string_view part) {
    text += fmt::format("{}:", part.size());
    text += part;
  };
  add(spec.name);
  add(std::to_string(static_cast<int>(spec.client_certificates)));
  if (spec.client_certificates != TlsServerSpec::ClientCertificates::kNone) {
    add(spec.client.ca.text);
    add(spec.client.crl.text);
    for (const SanMatcher& name : spec.client.names) {
      add(fmt::format("{} {}", static_cast<int>(name.kind), static_cast<int>(name.how)));
      add(name.value);
    }
  }
  return Sha256(text);
}

absl::Status SetUpClients(const TlsServerSpec& spec, ServerState* state, SSL_CTX* context) {
  using ClientCertificates = TlsServerSpec::ClientCertificates;
  const Sha256Digest policy = PolicyDigest(spec);
  CHECK(SSL_CTX_set_session_id_context(context, policy.data(), policy.size()) == 1);
  if (spec.client_certificates == ClientCertificates::kNone) return absl::OkStatus();
  absl::StatusOr<TlsPeerCheck> check =
      TlsPeerCheck::Create(spec.client, TlsPeerCheck::Role::kClient);
  if (!check.ok()) return check.status();
  state->client = *std::move(check);
  SSL_CTX_set0_client_CAs(context, state->client->CaNames().release());
  const bool required = spec.client_certificates == ClientCertificates::kRequired;
  SSL_CTX_set_custom_verify(
      context, SSL_VERIFY_PEER | (required ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0), &VerifyClient);
  return absl::OkStatus();
}

void SetUpTickets(const TlsServerSpec& spec, ServerState* state, SSL_CTX* context) {
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  if (spec.ticket_keys == nullptr) {
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
    return;
  }
  state->ticket_keys = spec.ticket_keys;
  SSL_CTX_set_tlsext_ticket_key_cb(context, &CryptTicket);
  SSL_CTX_set_early_data_enabled(context, spec.early_data ? 1 : 0);
}

}  // namespace

struct TlsServerContext::Inside {
  bssl::UniquePtr<SSL_CTX> context;
  int64_t not_after = 0;
};

TlsServerContext::TlsServerContext(std::unique_ptr<Inside> inside) : inside_(std::move(inside)) {}
TlsServerContext::~TlsServerContext() = default;

absl::StatusOr<std::shared_ptr<const TlsServerContext>> TlsServerContext::Create(
    const TlsServerSpec& spec) {
  if (spec.certificates.empty()) {
    return InvalidArgument("TLS needs a certificate; name at least one");
  }
  auto state = std::make_unique<ServerState>();
  auto inside = std::make_unique<Inside>();
  inside->not_after = INT64_MAX;
  for (const TlsCertificateSpec& one : spec.certificates) {
    absl::StatusOr<TlsCertificate> certificate = TlsCertificate::Load(one);
    if (!certificate.ok()) return certificate.status();
    inside->not_after = std::min(inside->not_after, certificate->not_after);
    state->certificates.push_back(*std::move(certificate));
  }
  for (const TlsCertificate& certificate : state->certificates) {
    AddToIndex(certificate, state.get());
  }
  state->fallback = FallbackOf(*state);
  absl::StatusOr<std::string> alpn = AlpnToWire(spec.alpn);
  if (!alpn.ok()) return alpn.status();
  state->alpn = *std::move(alpn);

  inside->context = NewTlsContext(spec.min_version);
  SSL_CTX* context = inside->context.get();
  const absl::Status status = SetUpClients(spec, state.get(), context);
  if (!status.ok()) return status;
  SetUpTickets(spec, state.get(), context);
  SSL_CTX_set_select_certificate_cb(context, &SelectCertificate);
  SSL_CTX_set_alpn_select_cb(context, &SelectAlpn, nullptr);
  CHECK(SSL_CTX_set_ex_data(context, StateIndex(), state.release()) == 1);
  return std::shared_ptr<const TlsServerContext>(new TlsServerContext(std::move(inside)));
}

std::unique_ptr<Transport> TlsServerContext::Accept(Loop& loop, int fd) const {
  bssl::UniquePtr<SSL> ssl(SSL_new(inside_->context.get()));
  CHECK(ssl != nullptr);
  SSL_set_accept_state(ssl.get());
  return std::make_unique<TlsTransport>(loop, fd, std::move(ssl));
}

int64_t TlsServerContext::not_after() const { return inside_->not_after; }

}  // namespace gatehouse::net
