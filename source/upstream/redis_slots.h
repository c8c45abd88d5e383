// Which part of a Redis Cluster a key belongs to, and what its servers say of each other.
//
// Plain functions, any thread. What they find refers to the reply.
//
//   uint16_t slot = RedisSlotOf("gatehouse:{user1}:tokens");
//   std::optional<RedisMoved> moved = ParseRedisMoved("MOVED 3999 127.0.0.1:6381");
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "source/upstream/redis_reply.h"

namespace gatehouse::upstream {

inline constexpr uint16_t kRedisSlots = 16384;

// CRC16 (XMODEM) of the key, or of what stands between its first '{' and the next '}' if that is
// not empty (https://redis.io/docs/reference/cluster-spec/, "Hash tags").
[[nodiscard]] uint16_t RedisSlotOf(std::string_view key);

// MOVED and ASK. `host` is empty when it is that of the server that says so.
struct RedisMoved {
  bool ask = false;
  uint16_t slot = 0;
  std::string_view host;
  uint16_t port = 0;
};
[[nodiscard]] std::optional<RedisMoved> ParseRedisMoved(std::string_view error);

// Slots of one master. `host` is empty when it is that of the server that says so; `name` is the
// node's host name, empty if it has none.
struct RedisSlotRange {
  uint16_t first = 0;
  uint16_t last = 0;
  std::string_view host;
  std::string_view name;
  uint16_t port = 0;
};
// The answer to CLUSTER SLOTS. Empty: it makes no sense, or the cluster has no slots.
[[nodiscard]] std::vector<RedisSlotRange> ParseRedisSlots(const RedisReply& reply);

}  // namespace gatehouse::upstream
