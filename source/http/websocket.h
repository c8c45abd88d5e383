// The handshake of WebSockets (RFC 6455), where HTTP/2's extended CONNECT (RFC 8441) meets HTTP/1's
// Upgrade: the former has no key.
#pragma once

#include <string_view>

#include "source/base/arena.h"

namespace gatehouse::http {

// A fresh Sec-WebSocket-Key, in the arena.
[[nodiscard]] std::string_view NewWebSocketKey(Arena& arena);
// The Sec-WebSocket-Accept that belongs to it (section 4.2.2), in the arena.
[[nodiscard]] std::string_view WebSocketAccept(std::string_view key, Arena& arena);

}  // namespace gatehouse::http
