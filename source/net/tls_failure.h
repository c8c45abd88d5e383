// Why a TLS connection failed, in words and with what to do about it where that helps.
//
// Pure functions over BoringSSL's error queue of this thread.
#pragma once

#include <string>
#include <string_view>

namespace gatehouse::net {

struct TlsFailure {
  bool is_server;     // this end
  bool in_handshake;  // or later
  bool eof;           // the socket ended
  int socket_error;   // errno, 0: none
};

// Looks at the first error in the queue, and clears it.
[[nodiscard]] std::string ExplainTlsFailure(const TlsFailure& failure);

// BoringSSL's own words for the first error in the queue, which is cleared: "bad base64 decode".
[[nodiscard]] std::string TakeTlsError();

}  // namespace gatehouse::net
