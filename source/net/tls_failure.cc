#include "source/net/tls_failure.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fmt/format.h>

#include "openssl/err.h"
#include "openssl/ssl.h"

namespace gatehouse::net {
namespace {

struct Words {
  int reason;
  const char* at_server;
  const char* at_client;
};

// What was found wrong here.
constexpr Words kFound[] = {
    {SSL_R_HTTP_REQUEST, "the client speaks plain HTTP to a TLS port", nullptr},
    {SSL_R_HTTPS_PROXY_REQUEST, "the client speaks plain HTTP (CONNECT) to a TLS port", nullptr},
    {SSL_R_WRONG_VERSION_NUMBER, "what the client sends is not TLS",
     "what the server answers is not TLS; is this its TLS port?"},
    {SSL_R_UNSUPPORTED_PROTOCOL, "the client offers no TLS version that this listener allows",
     "the server chose a TLS version that is not allowed; see min_version"},
    {SSL_R_NO_SHARED_CIPHER, "client and listener have no cipher in common", nullptr},
    {SSL_R_NO_SHARED_GROUP, "client and listener have no key exchange group in common", nullptr},
    {SSL_R_NO_COMMON_SIGNATURE_ALGORITHMS,
     "the client takes no signature that a key of this listener can make; add a certificate with "
     "a key of another kind (RSA, ECDSA)",
     "the server takes no signature that our key can make"},
    {SSL_R_NO_APPLICATION_PROTOCOL, "client and listener have no ALPN protocol in common", nullptr},
    {SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE,
     "the client has no certificate, and this listener requires one", nullptr},
    {SSL_R_CERTIFICATE_VERIFY_FAILED, "the client's certificate was not accepted",
     "the server's certificate was not accepted"},
    {SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC, "a record was damaged on its way",
     "a record was damaged on its way"},
    {SSL_R_NO_RENEGOTIATION, "the client wants to renegotiate, which is not supported",
     "the server wants to renegotiate, which is not supported"},
};

// What the peer says is wrong.
constexpr Words kToldBy[] = {
    {SSL_AD_UNKNOWN_CA, "the client does not trust our certificate's CA",
     "the server does not trust the CA of our certificate"},
    {SSL_AD_BAD_CERTIFICATE, "the client does not accept our certificate",
     "the server does not accept our certificate"},
    {SSL_AD_CERTIFICATE_UNKNOWN, "the client does not accept our certificate",
     "the server does not accept our certificate"},
    {SSL_AD_CERTIFICATE_EXPIRED, "the client says that our certificate has expired",
     "the server says that our certificate has expired"},
    {SSL_AD_CERTIFICATE_REVOKED, "the client says that our certificate is revoked",
     "the server says that our certificate is revoked"},
    {SSL_AD_CERTIFICATE_REQUIRED, nullptr,
     "the server requires a client certificate; name one in the cluster's tls"},
    {SSL_AD_ACCESS_DENIED, nullptr, "the server does not let our certificate in"},
    {SSL_AD_HANDSHAKE_FAILURE, "the client found nothing in common",
     "the server found nothing in common: ciphers, or it requires a client certificate"},
    {SSL_AD_PROTOCOL_VERSION, "the client allows none of our TLS versions",
     "the server allows none of our TLS versions"},
    {SSL_AD_UNRECOGNIZED_NAME, nullptr,
     "the server does not know the name that it was asked for; see server_name"},
    {SSL_AD_NO_APPLICATION_PROTOCOL, nullptr,
     "the server speaks none of the ALPN protocols offered"},
};

const char* Find(const Words* begin, const Words* end, int reason, bool is_server) {
  const Words* found = std::find_if(begin, end, [&](const Words& w) { return w.reason == reason; });
  if (found == end) return nullptr;
  return is_server ? found->at_server : found->at_client;
}

std::string_view Peer(const TlsFailure& failure) { return failure.is_server ? "client" : "server"; }

std::string ExplainSocket(const TlsFailure& failure) {
  const std::string_view when = failure.in_handshake ? " during the handshake" : "";
  if (failure.socket_error == ECONNRESET || failure.socket_error == EPIPE) {
    return fmt::format("the {} has reset the connection{}", Peer(failure), when);
  }
  if (failure.socket_error != 0) {
    return fmt::format("the connection broke{}: {}", when, std::strerror(failure.socket_error));
  }
  if (failure.in_handshake) return fmt::format("the {} has closed{}", Peer(failure), when);
  return fmt::format("the {} has closed without close_notify; what it sent may be cut short",
                     Peer(failure));
}

}  // namespace

std::string TakeTlsError() {
  const uint32_t error = ERR_peek_error();
  const char* reason = error == 0 ? nullptr : ERR_reason_error_string(error);
  std::string words = reason == nullptr ? "it cannot be read" : reason;
  ERR_clear_error();
  std::replace(words.begin(), words.end(), '_', ' ');
  std::transform(words.begin(), words.end(), words.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; });
  return words;
}

std::string ExplainTlsFailure(const TlsFailure& failure) {
  const uint32_t error = ERR_peek_error();
  if (error == 0) return ExplainSocket(failure);
  const int reason = ERR_GET_REASON(error);
  if (ERR_GET_LIB(error) == ERR_LIB_SSL && reason >= SSL_AD_REASON_OFFSET) {
    const int alert = reason - SSL_AD_REASON_OFFSET;
    ERR_clear_error();
    const char* words = Find(std::begin(kToldBy), std::end(kToldBy), alert, failure.is_server);
    const char* name = SSL_alert_desc_string_long(alert);
    if (words != nullptr) return fmt::format("{} (alert: {})", words, name);
    return fmt::format("the {} gave up (alert: {})", Peer(failure), name);
  }
  const char* words = nullptr;
  if (ERR_GET_LIB(error) == ERR_LIB_SSL) {
    words = Find(std::begin(kFound), std::end(kFound), reason, failure.is_server);
  }
  if (words == nullptr) return fmt::format("the {} broke TLS: {}", Peer(failure), TakeTlsError());
  ERR_clear_error();
  return words;
}

}  // namespace gatehouse::net
