#include "source/filters/rate_limit/redis_limit.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include <fmt/format.h>

#include "source/base/status.h"
#include "source/filters/rate_limit/limit_script.h"
#include "source/filters/rate_limit/redis_errands.h"
#include "source/upstream/redis_target.h"
#include "source/upstream/upstreams.h"

namespace gatehouse::filters {

namespace {

constexpr Duration kLeastInterval = std::chrono::milliseconds(10);
constexpr Duration kLeastLease = std::chrono::seconds(1);

std::string Milliseconds(Duration time) {
  return fmt::format("{:g}ms", static_cast<double>(time.count()) / 1000);
}

absl::Status CheckSynced(const RedisLimitSpec& spec) {
  if (spec.sync_interval < kLeastInterval) {
    return InvalidArgument("sync_interval: is at least 10ms; without it each request asks Redis");
  }
  for (const LimitRule& rule : spec.rules.rules()) {
    switch (rule.kind()) {
      case LimitKind::kConcurrency:
        return InvalidArgument(
            "sync_interval: requests under way cannot be counted now and then; leave it out");
      case LimitKind::kSlidingLog:
        return InvalidArgument(
            "sync_interval: a sliding log is exact or nothing; leave it out, or use a sliding "
            "window");
      case LimitKind::kLeakyQueue:
        return InvalidArgument(
            "sync_interval: gateways cannot take turns without asking; leave it out, or max_delay");
      default:
        break;
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status RedisLimit::Check(const RedisLimitSpec& spec) {
  if (RedisStore::NameStart(spec).size() > RedisStore::kMostNameBytes) {
    return InvalidArgument(fmt::format("key_prefix: with the policy's name it is longer than {}",
                                       RedisStore::kMostNameBytes));
  }
  if (spec.key_prefix.find_first_of("{}") != std::string::npos) {
    return InvalidArgument("key_prefix: braces say which part of a key Redis Cluster hashes");
  }
  if (spec.timeout <= Duration::zero()) return InvalidArgument("timeout: must be more than 0");
  if (spec.lease < kLeastLease) return InvalidArgument("lease: is at least 1s");
  if (spec.gateways == 0) return InvalidArgument("gateways: must be more than 0");
  if (spec.sync_interval != Duration::zero()) return CheckSynced(spec);
  if (spec.max_unsynced != 0) return InvalidArgument("max_unsynced: only with sync_interval");
  return absl::OkStatus();
}

RedisLimit::RedisLimit(RedisLimitSpec spec, observe::MetricRegistry& registry)
    : metrics_(registry.Acquire<RedisLimitMetrics>({spec.policy})),
      store_(std::make_shared<RedisStore>(spec, *metrics_)) {}

RedisLimit::~RedisLimit() { store_->Retire(); }

LimitOutcome RedisLimit::Take(upstream::Upstreams& upstreams, const LimitRequest& request,
                              LimitTakes& takes) {
  const RedisTerms& terms = store_->terms();
  if (!terms.synced()) return LimitOutcome::kAsk;
  const MirrorTable::Taken taken =
      store_->mirror()->Take(request, terms, store_->RedisMicros(request.micros), takes);
  if (!taken.placed()) {
    if (const RedisLimitMetrics* const ids = store_->metrics()) {
      upstreams.counters().Add(ids->crowded_out);
    }
  } else if (taken.dirty || taken.urgent) {
    RedisErrands& errands = RedisErrands::Of(upstreams, store_);
    errands.Note(taken);
    // What passed is told first.
    if (taken.outcome == LimitOutcome::kAsk) errands.PushNow();
  }
  if (taken.outcome == LimitOutcome::kAsk && store_->IsAway(request.micros)) {
    return DecideAlone(store_, terms, upstreams, request, takes);
  }
  return taken.outcome;
}

// What passes is told to Redis when it is back, if it is told at all.
LimitOutcome RedisLimit::DecideAlone(const std::shared_ptr<RedisStore>& store,
                                     const RedisTerms& terms, upstream::Upstreams& upstreams,
                                     const LimitRequest& request, LimitTakes& takes) {
  const LimitOutcome outcome = store->DecideAlone(terms, request, takes, upstreams.counters());
  if (!terms.synced() || outcome != LimitOutcome::kDecided || !takes.allowed) return outcome;
  const auto counted = store->mirror()->Count(request, terms, store->RedisMicros(request.micros));
  if (!counted) {
    if (const RedisLimitMetrics* const ids = store->metrics()) {
      upstreams.counters().Add(ids->units_given_up, request.cost);
    }
  } else if (counted->dirty) {
    RedisErrands::Of(upstreams, store).Note(*counted);
  }
  return outcome;
}

void RedisLimit::GiveBack(upstream::Upstreams& upstreams, const LimitRequest& request,
                          const LimitTakes& takes) {
  const RedisTerms& terms = store_->terms();
  const int64_t now = upstreams.loop().WallMicros();
  const int64_t since = std::max<int64_t>(now - request.micros, 0);
  if (request.cost == 0) return;
  // Places and units were counted together, whatever the terms are by now.
  if (!RedisErrands::Of(upstreams, store_).Release(request.hash, request.cost)) {
    if (takes.alone) {
      store_->fallback().GiveBack(request.hash, request.cost, request.micros, now);
    } else {
      store_->fallback().Release(request.hash, request.cost, now);
    }
  }
  if (!terms.counts_units) return;
  if (terms.synced()) {
    const int64_t taken = store_->RedisMicros(request.micros);
    if (store_->mirror()->GiveBack(request.hash, terms, request.cost, taken,
                                   store_->RedisMicros(now))) {
      return;
    }
  }
  if (takes.alone) return;  // Redis may know nothing of it
  RedisErrands::Of(upstreams, store_).GiveBack(DigestOf(request.key), request.cost, since);
}

void RedisLimit::Release(upstream::Upstreams& upstreams, const LimitRequest& request) {
  if (request.cost == 0) return;
  if (RedisErrands::Of(upstreams, store_).Release(request.hash, request.cost)) return;
  // Counted while Redis was away, whatever the policy says of that by now.
  store_->fallback().Release(request.hash, request.cost, upstreams.loop().WallMicros());
}

std::optional<LimitTakes> RedisLimit::Peek(const LimitRequest& request) const {
  const RedisTerms& terms = store_->terms();
  if (!terms.synced()) return store_->fallback().Peek(request.hash, request.micros);
  return store_->mirror()->Peek(request.hash, terms, store_->RedisMicros(request.micros));
}

std::string RedisLimit::Text() const {
  const RedisTerms& terms = store_->terms();
  const std::string& name = store_->target().name();
  if (!terms.synced()) return fmt::format("redis \"{}\", exact", name);
  return fmt::format("redis \"{}\", synced every {}, at most {} unsynced", name,
                     Milliseconds(terms.sync_interval), terms.max_unsynced);
}

void RedisLimit::Change(RedisLimitSpec spec, int64_t micros) { store_->Change(spec, micros); }

RedisCheck::RedisCheck(RedisLimit& limit, upstream::Upstreams& upstreams,
                       const LimitRequest& request)
    : store_(*limit.store_),
      shared_(limit.store_),
      upstreams_(upstreams),
      request_(request),
      terms_(limit.store_->terms()) {}

// What was asked for may be had, and nobody would give it back.
RedisCheck::~RedisCheck() {
  if (place_ == 0) return;
  RedisErrands::Of(upstreams_, shared_).Release(DigestOf(request_.key), place_, request_.cost);
}

void RedisCheck::Start(Waker waker) {
  waker_ = waker;
  std::array<char, 24> cost;
  std::array<char, 24> lease;
  RedisErrands::PlaceName name;
  const auto text = [](std::array<char, 24>& buffer, auto number) {
    char* const end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), number).ptr;
    return std::string_view(buffer.data(), static_cast<size_t>(end - buffer.data()));
  };
  std::array<std::string_view, 6> args = {terms_.rules_text, text(cost, request_.cost), "0", "0"};
  size_t count = 2;
  if (terms_.holds_places) {
    RedisErrands& errands = RedisErrands::Of(upstreams_, shared_);
    const uint64_t place = errands.NextPlace();
    if (request_.cost > 0) place_ = place;
    args[4] = text(lease, terms_.lease.count());
    args[5] = errands.NameOf(place, name);
    count = 6;
  }
  RedisStore::NameBuffer buffer;
  call_.Start(upstreams_.Redis(store_.target()),
              {.script = &TakeScript(),
               .key = store_.Name(DigestOf(request_.key), buffer),
               .args = {args.data(), count},
               .timeout = terms_.timeout},
              this, [](void* self, const upstream::RedisResult& result) {
                auto& check = *static_cast<RedisCheck*>(self);
                check.OnReply(result);
                const Waker wake = check.waker_;
                wake();
              });
}

void RedisCheck::OnReply(const upstream::RedisResult& result) {
  using upstream::RedisFailure;
  const int64_t now = upstreams_.loop().WallMicros();
  store_.NoteResult(result.failure, now);
  if (const RedisLimitMetrics* const ids = store_.metrics()) {
    upstreams_.counters().Add(ids->checks[static_cast<size_t>(result.failure)]);
  }
  const auto reply = result.ok() ? ReadReply(result.reply, terms_.rules) : std::nullopt;
  if (!reply) {
    if (result.ok()) store_.NoteWrong(upstreams_.loop().Now());
    // It may have been done, if it was sent.
    if (result.failure == RedisFailure::kUnreachable || result.failure == RedisFailure::kRefused) {
      place_ = 0;
    }
    outcome_ = RedisLimit::DecideAlone(shared_, terms_, upstreams_, request_, takes_);
    return;
  }
  outcome_ = LimitOutcome::kDecided;
  Describe(terms_.rules, *reply, request_.cost, takes_);
  if (place_ != 0 && reply->allowed) {
    RedisErrands::Of(upstreams_, shared_)
        .Hold(request_.hash, DigestOf(request_.key), place_, request_.cost);
    takes_.holds = true;
  }
  place_ = 0;
  if (!terms_.synced()) return;
  store_.NoteClock(reply->micros, now);
  MirrorTable::States states = reply->states;
  if (reply->allowed) {
    for (size_t i = 0; i < terms_.rules.rules().size(); ++i) {
      (void)terms_.rules.rules()[i].Take(states[i], request_.cost, reply->micros);
    }
  }
  store_.mirror()->Adopt(request_.hash, terms_, states, reply->micros);
}

}  // namespace gatehouse::filters
