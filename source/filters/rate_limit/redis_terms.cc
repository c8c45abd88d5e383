#include "source/filters/rate_limit/redis_terms.h"

#include <algorithm>
#include <cstring>

#include "source/base/crypto.h"
#include "source/filters/rate_limit/limit_script.h"

namespace gatehouse::filters {

namespace {

constexpr uint64_t kDefaultPart = 20;
constexpr uint64_t kMostUnsynced = 1 << 30;  // the mirror counts to four times of it
constexpr Duration kRefresh = std::chrono::seconds(1);

}  // namespace

RedisTerms::RedisTerms(const RedisLimitSpec& spec, uint32_t edition)
    : rules(spec.rules),
      rules_text(RulesText(spec.rules)),
      version(edition),
      timeout(spec.timeout),
      sync_interval(spec.sync_interval),
      max_unsynced(spec.max_unsynced),
      refresh(std::max(kRefresh, 10 * spec.sync_interval)),
      lease(spec.lease),
      on_failure(spec.on_failure),
      gateways(spec.gateways) {
  uint64_t smallest = UINT64_MAX;
  for (const LimitRule& rule : rules.rules()) {
    smallest = std::min(smallest, rule.limit());
    (rule.kind() == LimitKind::kConcurrency ? holds_places : counts_units) = true;
  }
  if (max_unsynced == 0) max_unsynced = smallest / kDefaultPart;
  max_unsynced =
      std::clamp<uint64_t>(max_unsynced, 1, std::clamp(smallest / 2, uint64_t{1}, kMostUnsynced));
}

KeyDigest DigestOf(std::string_view key) {
  const Sha256Digest whole = Sha256(key);
  KeyDigest digest;
  std::memcpy(digest.data(), whole.data(), digest.size());
  return digest;
}

}  // namespace gatehouse::filters
