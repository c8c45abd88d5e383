// What a listener's or a cluster's TLS is made of, as plain values: certificates, whom to believe,
// which versions. And what is known of a connection once its handshake is done.
//
// Values; built on the control path. A TlsServerSpec becomes a TlsServerContext, a TlsClientSpec a
// TlsClientContext (tls_context.h).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace gatehouse::net {

class TlsTicketKeys;

enum class TlsVersion : uint8_t { kTls12, kTls13 };

// The content of a secret. `name` says in errors which ("secret site-key (/etc/site.key)").
struct TlsText {
  std::string name;
  std::string text;

  [[nodiscard]] bool empty() const { return text.empty(); }
  friend bool operator==(const TlsText&, const TlsText&) = default;
};

struct TlsCertificateSpec {
  TlsText chain;  // PEM, the leaf first
  TlsText key;    // PEM, not encrypted; may be the same text as `chain`
  TlsText ocsp;   // DER or PEM of a response to staple; empty: none

  friend bool operator==(const TlsCertificateSpec&, const TlsCertificateSpec&) = default;
};

// One subject alternative name that a peer's certificate must have.
struct SanMatcher {
  enum class Kind : uint8_t { kDns, kUri, kIp, kEmail };
  enum class How : uint8_t { kExact, kPrefix, kSuffix };
  Kind kind = Kind::kDns;
  How how = How::kExact;  // of kDns, exact also matches a wildcard of the certificate
  std::string value;

  friend bool operator==(const SanMatcher&, const SanMatcher&) = default;
};

// How a peer's certificate is checked.
struct TlsPeerSpec {
  TlsText ca;                     // PEM bundle; empty: the system's
  TlsText crl;                    // PEM; empty: none
  std::vector<SanMatcher> names;  // any one of them; empty: whatever name

  friend bool operator==(const TlsPeerSpec&, const TlsPeerSpec&) = default;
};

struct TlsServerSpec {
  enum class ClientCertificates : uint8_t { kNone, kOptional, kRequired };

  std::string name;  // of the listener: tickets of one are none of another
  // The first is for clients that name no host, or one that no certificate is for.
  std::vector<TlsCertificateSpec> certificates;
  TlsVersion min_version = TlsVersion::kTls12;
  std::vector<std::string> alpn = {"h2", "http/1.1"};  // the preferred one first
  ClientCertificates client_certificates = ClientCertificates::kNone;
  TlsPeerSpec client;
  bool early_data = false;
  // Null: no session tickets.
  std::shared_ptr<TlsTicketKeys> ticket_keys;
};

struct TlsClientSpec {
  TlsPeerSpec server;
  bool verify = true;
  // Sent as SNI, and expected in the certificate unless `server.names` says otherwise. Empty: the
  // name that Connect() is given.
  std::string server_name;
  std::vector<std::string> alpn;   // empty: none is offered
  TlsCertificateSpec certificate;  // empty: the client has none
  TlsVersion min_version = TlsVersion::kTls12;
};

// What is known of a connection after its handshake. Lives as long as the transport.
struct TlsFacts {
  std::string_view version;  // "TLSv1.3"
  std::string_view cipher;   // "TLS_AES_128_GCM_SHA256"
  std::string_view alpn;     // empty: none was agreed on
  std::string server_name;   // SNI, lower case; empty: the client named none
  bool resumed = false;
  // The peer has a certificate, which was checked. What is in it is kept of clients alone.
  bool has_certificate = false;
  std::string subject;            // RFC 4514: "CN=client,O=Example"
  std::string issuer;             //
  std::string serial;             // hex
  std::string fingerprint;        // SHA-256 of the DER, hex
  std::vector<std::string> uris;  // subject alternative names
  std::vector<std::string> dns_names;
  std::string pem;  // the leaf, for X-Forwarded-Client-Cert
};

}  // namespace gatehouse::net
