#include "source/filters/rate_limit/redis_store.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "source/base/crypto.h"
#include "source/upstream/redis_target.h"

namespace gatehouse::filters {

namespace {

constexpr int64_t kAwayMicros = 200'000;
// A clock that differs by more was set.
constexpr int64_t kClockStep = 1'000'000;

// Braces mark what Redis Cluster hashes.
std::string WithoutBraces(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '{') {
      escaped += "%7B";
    } else if (c == '}') {
      escaped += "%7D";
    } else if (c == '%') {
      escaped += "%25";
    } else {
      escaped += c;
    }
  }
  return escaped;
}

}  // namespace

RedisStore::RedisStore(const RedisLimitSpec& spec, const RedisLimitMetrics& metrics)
    : name_start_(NameStart(spec)),
      target_(spec.target),
      max_keys_(spec.max_keys),
      metrics_(metrics),
      fallback_(spec.rules.ShareOf(spec.gateways), spec.max_keys) {
  Change(spec, 0);
}

std::string RedisStore::NameStart(const RedisLimitSpec& spec) {
  return spec.key_prefix + "{" + WithoutBraces(spec.policy) + ":";
}

void RedisStore::Change(const RedisLimitSpec& spec, int64_t micros) {
  const std::lock_guard lock(changing_);
  if (!all_terms_.empty()) fallback_.Change(spec.rules.ShareOf(spec.gateways), micros);
  const auto version = static_cast<uint32_t>(all_terms_.size() + 1);
  all_terms_.push_back(std::make_unique<const RedisTerms>(spec, version));
  const RedisTerms& terms = *all_terms_.back();
  if (terms.synced() && its_mirror_ == nullptr) {
    its_mirror_ = std::make_unique<MirrorTable>(max_keys_);
    mirror_.store(its_mirror_.get(), std::memory_order_release);
  }
  terms_.store(&terms, std::memory_order_release);
}

std::string_view RedisStore::Name(const KeyDigest& digest, NameBuffer& buffer) const {
  char* at = std::copy(name_start_.begin(), name_start_.end(), buffer.data());
  at += Base64Encode(View(digest), Base64::kUrl, at);
  *at++ = '}';
  return {buffer.data(), static_cast<size_t>(at - buffer.data())};
}

LimitOutcome RedisStore::DecideAlone(const RedisTerms& terms, const LimitRequest& request,
                                     LimitTakes& takes, observe::CounterBlock& counters) {
  const RedisLimitMetrics* const ids = metrics();
  if (terms.on_failure != StoreFailure::kLocal) {
    if (ids != nullptr) counters.Add(ids->unavailable);
    return LimitOutcome::kUnavailable;
  }
  const bool allowed = fallback_.Take(request.hash, request.cost, request.micros, takes);
  takes.alone = true;
  if (ids != nullptr) counters.Add(allowed ? ids->fallback_allowed : ids->fallback_rejected);
  return LimitOutcome::kDecided;
}

// An answer was late by the time that it took, so the least difference is the nearest to the truth;
// clocks drift, so it does not stay the least for ever.
void RedisStore::NoteClock(int64_t redis, int64_t local) {
  const int64_t offset = redis - local;
  const int64_t known = clock_offset_.load(std::memory_order_relaxed);
  const int64_t more = offset - known;
  if (!clock_known_.load(std::memory_order_relaxed) || more < 0 || more > kClockStep) {
    clock_offset_.store(offset, std::memory_order_relaxed);
    clock_known_.store(true, std::memory_order_relaxed);
  } else if (more >= 64) {
    clock_offset_.store(known + more / 64, std::memory_order_relaxed);
  }
}

void RedisStore::NoteResult(upstream::RedisFailure failure, int64_t local) {
  using upstream::RedisFailure;
  if (failure == RedisFailure::kUnreachable || failure == RedisFailure::kRefused) {
    away_until_.store(local + kAwayMicros, std::memory_order_relaxed);
  } else if (failure == RedisFailure::kNone && away_until_.load(std::memory_order_relaxed) != 0) {
    away_until_.store(0, std::memory_order_relaxed);
  }
}

void RedisStore::NoteWrong(TimePoint now) const {
  target_->news().Wrong("", "something else than the state of a limit", now);
}

}  // namespace gatehouse::filters
