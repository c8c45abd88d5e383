#include "source/http/websocket.h"

#include <array>

#include "source/base/crypto.h"

namespace gatehouse::http {
namespace {

constexpr std::string_view kGuid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

}  // namespace

std::string_view NewWebSocketKey(Arena& arena) {
  std::array<uint8_t, 16> nonce;
  RandomBytes(nonce.data(), nonce.size());
  char* key = arena.AllocateChars(Base64Size(nonce.size()));
  return {key, Base64Encode(View(nonce), Base64::kStandard, key)};
}

std::string_view WebSocketAccept(std::string_view key, Arena& arena) {
  const Sha1Digest digest = Sha1(arena.Concat(key, kGuid));
  char* text = arena.AllocateChars(Base64Size(digest.size()));
  return {text, Base64Encode(View(digest), Base64::kStandard, text)};
}

}  // namespace gatehouse::http
