// SyncSimulation: many gateways that count one limit by their mirrors, and tell and ask one Redis,
// in virtual time. The gateways are the real RedisStore and MirrorTable, Redis is the rule itself,
// the network takes a random time, and each gateway's clock is wrong.
//
// The same seed gives the same run.
//
//   SyncResult result = SyncSimulation({.gateways = 50, .traffic = Traffic::kSteady}).Run();
//   EXPECT_LE(result.over, result.bound);
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <queue>
#include <string>
#include <utility>
#include <vector>

#include "source/base/random.h"
#include "source/filters/rate_limit/limit_debt.h"
#include "source/filters/rate_limit/redis_store.h"

namespace gatehouse::filters {

enum class Traffic {
  kAtOnce,  // each gateway gets a fifth of the limit in one moment, and again every two seconds
  kSteady,  // twice of what the limit lets through, over all gateways evenly
  kSkewed,  // the same, nine tenths of it at one gateway
  kMoving,  // the same, all of it at one gateway, and at the next one after a tenth of a second
};

struct SyncOptions {
  uint32_t gateways = 50;
  LimitSpec limit = {.kind = LimitKind::kTokenBucket,
                     .amount = 1000,
                     .per = std::chrono::seconds(1),
                     .capacity = 1000};
  Duration interval = std::chrono::milliseconds(200);
  uint64_t max_unsynced = 0;
  Traffic traffic = Traffic::kSteady;
  Duration duration = std::chrono::seconds(20);
  // One way: from this to ten times of it.
  Duration network = std::chrono::microseconds(100);
  // Redis does not answer from here to there.
  Duration away_from{};
  Duration away_to{};
  Duration clock_error = std::chrono::seconds(1);  // at most, ahead or behind
  uint64_t seed = 1;
};

struct SyncResult {
  uint64_t requests = 0;
  uint64_t admitted = 0;
  uint64_t asked = 0;  // requests that waited for Redis
  uint64_t pushes = 0;
  uint64_t over = 0;   // the most above what the limit lets through in any time
  uint64_t bound = 0;  // of that
  uint64_t ideal = 0;  // what one counter would have let through
};

class SyncSimulation {
 public:
  explicit SyncSimulation(const SyncOptions& options)
      : options_(options), random_(options.seed), meter_(*LimitRule::Make(options.limit)) {
    RedisLimitSpec spec;
    spec.policy = "p";
    spec.rules = *LimitRules::Make({&options.limit, 1});
    spec.max_keys = 8;
    spec.sync_interval = options.interval;
    spec.max_unsynced = options.max_unsynced;
    spec.on_failure = StoreFailure::kDeny;
    for (uint32_t i = 0; i < options.gateways; ++i) {
      Gateway& gateway = gateways_.emplace_back();
      gateway.store = std::make_unique<RedisStore>(spec, RedisLimitMetrics{});
      const int64_t wrong = options.clock_error.count();
      gateway.clock = static_cast<int64_t>(random_.Below(2 * static_cast<uint64_t>(wrong))) - wrong;
    }
    result_.bound = options.gateways * gateways_[0].store->terms().max_unsynced;
  }

  SyncResult Run() {
    PlanTraffic();
    while (!events_.empty() && events_.top().at < kStart + options_.duration.count()) {
      const Event event = events_.top();
      events_.pop();
      now_ = event.at;
      event.run();
    }
    return result_;
  }

 private:
  static constexpr int64_t kStart = 1'700'000'000'000'000;

  struct Gateway {
    std::unique_ptr<RedisStore> store;
    int64_t clock = 0;
    std::vector<MirrorTable::Place> dirty;
    bool armed = false;
  };
  struct Event {
    int64_t at;
    uint64_t number;
    std::function<void()> run;
    bool operator<(const Event& other) const {
      return at != other.at ? at > other.at : number > other.number;
    }
  };
  struct Answer {
    bool allowed = false;
    int64_t micros = 0;
    MirrorTable::States states{};
  };

  void At(int64_t at, std::function<void()> run) { events_.push({at, ++number_, std::move(run)}); }
  int64_t Network() {
    const auto least = static_cast<uint64_t>(options_.network.count());
    return static_cast<int64_t>(least + random_.Below(9 * least + 1));
  }
  [[nodiscard]] bool IsAway() const {
    const int64_t since = now_ - kStart;
    return since >= options_.away_from.count() && since < options_.away_to.count();
  }

  void PlanTraffic() {
    const uint64_t count = std::max<uint64_t>(meter_.limit() / 5, 2);
    const auto end = options_.duration.count();
    if (options_.traffic == Traffic::kAtOnce) {
      for (int64_t at = 0; at < end; at += 2'000'000) {
        for (size_t g = 0; g < gateways_.size(); ++g) {
          At(kStart + at, [this, g, count] {
            for (uint64_t i = 0; i < count; ++i) Request(g);
          });
        }
      }
      return;
    }
    At(kStart, [this] { NextRequest(); });
  }
  void NextRequest() {
    Request(Pick());
    const double per_second = 2.0 * static_cast<double>(options_.limit.amount) * 1e6 /
                              static_cast<double>(options_.limit.per.count());
    const auto pause = static_cast<int64_t>(2e6 / per_second * random_.Unit());
    At(now_ + std::max<int64_t>(pause, 1), [this] { NextRequest(); });
  }
  size_t Pick() {
    if (options_.traffic == Traffic::kMoving) {
      return static_cast<size_t>((now_ - kStart) / 100'000) % gateways_.size();
    }
    if (options_.traffic == Traffic::kSkewed && !random_.Chance(0.1)) return 0;
    return random_.Below(gateways_.size());
  }

  [[nodiscard]] static LimitRequest MakeRequest(const Gateway& gateway, int64_t now) {
    return {.key = "key", .hash = 42, .cost = 1, .micros = now + gateway.clock};
  }

  void Request(size_t index) {
    Gateway& gateway = gateways_[index];
    ++result_.requests;
    // What one counter would do.
    result_.ideal += meter_.Take(ideal_, 1, now_).allowed ? 1 : 0;
    LimitTakes takes;
    const LimitRequest request = MakeRequest(gateway, now_);
    const RedisTerms& terms = gateway.store->terms();
    const auto taken = gateway.store->mirror()->Take(
        request, terms, gateway.store->RedisMicros(request.micros), takes);
    if (taken.urgent) {
      Push(index, taken.place);
    } else if (taken.dirty) {
      gateway.dirty.push_back(taken.place);
      Arm(index);
    }
    if (taken.outcome == LimitOutcome::kAsk) return Ask(index);
    if (takes.allowed) Admit();
  }

  void Ask(size_t index) {
    ++result_.asked;
    ToRedis(index, [this, index] {
      if (IsAway()) return;
      const Answer answer = TakeInRedis(1, 0, 0);
      if (answer.allowed) Admit();
      At(now_ + Network(), [this, index, answer] {
        Gateway& gateway = gateways_[index];
        MirrorTable::States states = answer.states;
        if (answer.allowed) (void)meter_.Take(states[0], 1, answer.micros);
        gateway.store->NoteClock(answer.micros, now_ + gateway.clock);
        gateway.store->mirror()->Adopt(42, gateway.store->terms(), states, answer.micros);
      });
    });
  }

  void Arm(size_t index) {
    Gateway& gateway = gateways_[index];
    if (gateway.armed || gateway.dirty.empty()) return;
    gateway.armed = true;
    const auto tenth = static_cast<uint64_t>(options_.interval.count() / 10);
    At(now_ + options_.interval.count() - static_cast<int64_t>(random_.Below(tenth + 1)),
       [this, index] {
         Gateway& its = gateways_[index];
         its.armed = false;
         std::vector<MirrorTable::Place> dirty;
         dirty.swap(its.dirty);
         for (const MirrorTable::Place place : dirty) Push(index, place);
         Arm(index);
       });
  }

  void Push(size_t index, MirrorTable::Place place) {
    const auto push =
        gateways_[index].store->mirror()->BeginPush(place, gateways_[index].store->terms());
    if (!push) return;
    ++result_.pushes;
    ToRedis(index, [this, index, place, push] {
      if (IsAway()) {
        At(now_ + 50'000, [this, index, place] {
          Done(index, place, gateways_[index].store->mirror()->FailPush(place));
        });
        return;
      }
      const Answer answer = TakeInRedis(0, push->units, push->micros);
      At(now_ + Network(), [this, index, place, units = push->units, answer] {
        Gateway& gateway = gateways_[index];
        gateway.store->NoteClock(answer.micros, now_ + gateway.clock);
        Done(index, place,
             gateway.store->mirror()->FinishPush(place, gateway.store->terms(), units,
                                                 answer.states, answer.micros));
      });
    });
  }
  void Done(size_t index, MirrorTable::Place place, bool dirty) {
    if (dirty) gateways_[index].dirty.push_back(place);
    Arm(index);
  }

  // There is one connection to each gateway, on which nothing overtakes; and Redis does one thing
  // at a time, each in a microsecond of its own.
  void ToRedis(size_t index, std::function<void()> run) {
    int64_t& last = last_arrival_[index];
    last = std::max(last, now_ + Network());
    At(last, [this, run = std::move(run)] {
      redis_free_ = std::max(redis_free_ + 1, now_);
      At(redis_free_, run);
    });
  }

  // What TakeScript() does.
  Answer TakeInRedis(uint64_t cost, uint64_t debt, int64_t at) {
    AddDebt(meter_, redis_, debt, std::min(at, now_));
    Answer answer = {.micros = now_};
    answer.states[0] = redis_;
    answer.allowed = meter_.Take(redis_, cost, now_).allowed;
    return answer;
  }

  // How much has passed in any time above what the limit lets through in it: a bucket that is
  // drained at the limit's rate and never refuses.
  void Admit() {
    ++result_.admitted;
    AddDebt(meter_, passed_, 1, now_);
    const uint64_t used = meter_.Used(passed_, now_);
    if (used > meter_.limit()) result_.over = std::max(result_.over, used - meter_.limit());
  }

  const SyncOptions options_;
  Random random_;
  LimitRule meter_;
  std::vector<Gateway> gateways_;
  std::map<size_t, int64_t> last_arrival_;
  std::priority_queue<Event> events_;
  uint64_t number_ = 0;
  int64_t now_ = kStart;
  int64_t redis_free_ = 0;
  LimitState redis_;
  LimitState passed_;
  LimitState ideal_;
  SyncResult result_;
};

}  // namespace gatehouse::filters
