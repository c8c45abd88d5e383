// What one config says of a RedisLimit (RedisLimitSpec), and the same as requests use it
// (RedisTerms). KeyDigest: what Redis is told of a key instead of its bytes.
//
// Plain values. RedisTerms are const and live as long as the RedisStore that has them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "source/base/time.h"
#include "source/filters/rate_limit/limit_table.h"

namespace gatehouse::upstream {
class RedisTarget;
}

namespace gatehouse::filters {

enum class StoreFailure : uint8_t { kLocal, kAllow, kDeny };

struct RedisLimitSpec {
  std::string policy;  // its name, and the plan's: part of the keys
  LimitRules rules;
  size_t max_keys = 0;  // of the mirror and of the fallback
  std::shared_ptr<const upstream::RedisTarget> target;
  std::string key_prefix = "gatehouse:limit:";
  Duration timeout = std::chrono::milliseconds(50);
  Duration sync_interval{};                  // zero: exact
  uint64_t max_unsynced = 0;                 // 0: a twentieth of the smallest limit, at least 1
  Duration lease = std::chrono::minutes(1);  // of kConcurrency
  StoreFailure on_failure = StoreFailure::kLocal;
  uint32_t gateways = 1;
};

struct RedisTerms {
  RedisTerms(const RedisLimitSpec& spec, uint32_t edition);

  LimitRules rules;
  std::string rules_text;  // for the scripts
  uint32_t version;        // among those of a store
  Duration timeout;
  Duration sync_interval;
  uint64_t max_unsynced;  // at most half of the smallest limit, so that Mirror may forget keys
  Duration refresh;       // how old the view of a key that is over its limit may get
  Duration lease;
  StoreFailure on_failure;
  uint32_t gateways;
  bool holds_places = false;  // there is a kConcurrency
  bool counts_units = false;  // there is another kind

  [[nodiscard]] bool synced() const { return sync_interval > Duration::zero(); }
};

// The first half of the SHA-256 of the key's bytes.
using KeyDigest = std::array<uint8_t, 16>;
[[nodiscard]] KeyDigest DigestOf(std::string_view key);

}  // namespace gatehouse::filters
