// X-Forwarded-Client-Cert: what an origin learns of the certificate that a client showed to the
// gateway, and what becomes of the field when it came with the request.
//
// Pure functions, request path; a ClientCertPolicy is made when the config is built. What is
// written lies in the map's arena. The value, as Envoy writes it, elements joined by ',':
//
//   Hash=<SHA-256 of the DER, hex>;Subject="CN=client,O=Example";URI=spiffe://a/b;DNS=a.example
//
//   StripUntrusted(headers, {.keep_client_cert = true});
//   ForwardClientCert(policy, tls, headers);
#pragma once

#include <cstdint>

#include "source/http/header_map.h"
#include "source/net/tls_spec.h"

namespace gatehouse::http {

// What becomes of X-Forwarded-Client-Cert.
struct ClientCertPolicy {
  enum class Forward : uint8_t {
    kSanitize,           // removed
    kForwardOnly,        // kept when the client has a certificate, else removed
    kAppendForward,      // the client's certificate is added, when it has one, else removed
    kSanitizeSet,        // only the client's certificate, when it has one
    kAlwaysForwardOnly,  // kept whatever the connection is
  };
  Forward forward = Forward::kSanitize;
  bool subject = true;  // which details are told besides the hash
  bool uri = true;
  bool dns = true;
  bool cert = false;
};

// Makes the request's field what the policy says. `tls` is null for a connection without TLS. A
// field that is kept but whose quotes are not in pairs is not appended to: it would swallow what is
// added; it goes.
void ForwardClientCert(const ClientCertPolicy& policy, const net::TlsFacts* tls,
                       HeaderMap& headers);

}  // namespace gatehouse::http
