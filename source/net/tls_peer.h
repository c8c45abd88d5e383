// TlsPeerCheck: whether a peer's certificate is one that this end believes: its chain up to a CA,
// revocation, its names.
//
// Built on the control path, then const and used by all workers, once per handshake.
//
//   absl::StatusOr<TlsPeerCheck> check = TlsPeerCheck::Create(spec, TlsPeerCheck::Role::kServer);
//   TlsPeerCheck::Refusal refusal;
//   if (!check->Accepts(chain, host, &refusal)) SendAlert(refusal.alert);
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "openssl/base.h"
#include "openssl/pool.h"
#include "openssl/x509.h"
#include "source/base/status.h"
#include "source/net/tls_names.h"
#include "source/net/tls_spec.h"

namespace gatehouse::net {

class TlsPeerCheck {
 public:
  // Of the peer.
  enum class Role : uint8_t { kServer, kClient };
  struct Refusal {
    uint8_t alert = 0;  // RFC 8446, section 6.2
    std::string why;
  };

  [[nodiscard]] static absl::StatusOr<TlsPeerCheck> Create(const TlsPeerSpec& spec, Role role);

  // `chain` as the peer sent it. `host` is whom a server is to be, unless the spec has names.
  [[nodiscard]] bool Accepts(const STACK_OF(CRYPTO_BUFFER) * chain, std::string_view host,
                             Refusal* refusal) const;
  // Subjects of the CAs, as a server tells them to clients.
  [[nodiscard]] bssl::UniquePtr<STACK_OF(CRYPTO_BUFFER)> CaNames() const;

 private:
  TlsPeerCheck() = default;
  absl::Status AddCas(const TlsText& ca);
  absl::Status AddCrls(const TlsText& crl);
  [[nodiscard]] bool VerifyChain(X509* leaf, STACK_OF(X509) * others, Refusal* refusal) const;
  [[nodiscard]] bool CheckNames(const X509* leaf, std::string_view host, Refusal* refusal) const;
  [[nodiscard]] std::string Why(const X509* leaf, X509_STORE_CTX* verification) const;
  [[nodiscard]] std::string_view Peer() const {
    return role_ == Role::kServer ? "server" : "client";
  }

  Role role_ = Role::kServer;
  std::string ca_name_;  // for messages
  std::string crl_name_;
  bssl::UniquePtr<X509_STORE> store_;
  std::vector<std::string> ca_subjects_;  // DER
  std::vector<SanCheck> names_;
};

}  // namespace gatehouse::net
