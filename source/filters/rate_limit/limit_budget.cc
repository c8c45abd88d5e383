#include "source/filters/rate_limit/limit_budget.h"

#include "source/base/random.h"

namespace gatehouse::filters {

namespace {

KeyHash SecretHash() {
  Random random = Random::FromKernel();
  const uint64_t first = random.Next();
  return {first, random.Next()};
}

}  // namespace

LimitBudget::LimitBudget(const LimitSetting& setting, bool served,
                         observe::MetricRegistry& registry)
    : hash_(SecretHash()), served_(served), fingerprint_(setting.fingerprint) {
  if (setting.redis) {
    redis_ = std::make_unique<RedisLimit>(*setting.redis, registry);
  } else {
    table_ = std::make_unique<LimitTable>(setting.rules, setting.max_keys);
  }
}

void LimitBudget::Change(const LimitSetting& setting, int64_t micros) {
  const std::lock_guard lock(changing_);
  if (setting.edition <= edition_.load(std::memory_order_relaxed)) return;
  if (setting.fingerprint != fingerprint_) {
    if (redis_ != nullptr) {
      redis_->Change(*setting.redis, micros);
    } else {
      table_->Change(setting.rules, micros);
    }
    fingerprint_ = setting.fingerprint;
  }
  edition_.store(setting.edition, std::memory_order_release);
}

}  // namespace gatehouse::filters
