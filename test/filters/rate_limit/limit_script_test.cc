#include "source/filters/rate_limit/limit_script.h"

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "source/base/check.h"
#include "source/base/random.h"
#include "source/filters/rate_limit/limit_debt.h"
#include "source/filters/rate_limit/limit_log.h"
#include "test/fakes/redis_process.h"
#include "test/filters/rate_limit/redis_session.h"

namespace gatehouse::filters {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr int64_t kStart = 1'700'000'000'000'000;
constexpr int64_t kLatest = 3'999'000'000'000'000;
constexpr int64_t kLease = 60'000'000;

void Replace(std::string& text, std::string_view what, std::string_view by) {
  const size_t at = text.find(what);
  CHECK(at != std::string::npos);
  text.replace(at, what.size(), by);
}

// The script with the time as its last argument; what it writes outlives the test.
std::string WithTime(std::string_view script) {
  std::string text(script);
  Replace(text, "local time = redis.call('TIME')\n", "");
  Replace(text, "time[1] * 1000000 + time[2]", "tonumber(ARGV[#ARGV])");
  Replace(text, "return ceil((till - now) / 1000) + 1", "return 3600000");
  if (text.find("'PX', ceil((till") == std::string::npos) return text;
  Replace(text, "'PX', ceil((till - now) / 1000) + 1)", "'PX', 3600000)");
  return text;
}

// The same limits, counted here.
class Model {
 public:
  explicit Model(LimitRules rules) : rules_(std::move(rules)) {}

  LimitTakes Take(uint64_t cost, int64_t now) {
    LimitTakes takes;
    takes.allowed = true;
    takes.count = static_cast<uint32_t>(rules_.rules().size());
    auto states = states_;
    for (size_t i = 0; i < takes.count; ++i) {
      const LimitRule& rule = rules_.rules()[i];
      takes.takes[i] =
          IsLog(rule) ? logs_[i].Take(rule, cost, now) : rule.Take(states[i], cost, now);
      takes.allowed &= takes.takes[i].allowed;
    }
    if (takes.allowed) {
      states_ = states;
      return takes;
    }
    for (size_t i = 0; i < takes.count; ++i) {
      if (!takes.takes[i].allowed) continue;
      const LimitRule& rule = rules_.rules()[i];
      if (IsLog(rule)) {
        if (cost > 0) logs_[i].Undo(cost);
        takes.takes[i] = logs_[i].Take(rule, 0, now);
      } else {
        LimitState state = states_[i];
        takes.takes[i] = rule.Take(state, 0, now);
      }
    }
    return takes;
  }
  void GiveBack(uint64_t cost, int64_t taken, int64_t now) {
    for (size_t i = 0; i < rules_.rules().size(); ++i) {
      const LimitRule& rule = rules_.rules()[i];
      if (IsLog(rule)) {
        logs_[i].GiveBack(rule, cost, taken, now);
      } else if (rule.kind() != LimitKind::kConcurrency) {
        rule.GiveBack(states_[i], cost, taken, now);
      }
    }
  }
  void Change(LimitRules rules, int64_t now) {
    for (size_t i = 0; i < rules.rules().size(); ++i) {
      const LimitRule& rule = rules.rules()[i];
      if (i >= rules_.rules().size()) {
        states_[i] = {};
        logs_[i].Clear();
        continue;
      }
      const LimitRule& old = rules_.rules()[i];
      const bool places =
          rule.kind() == LimitKind::kConcurrency || old.kind() == LimitKind::kConcurrency;
      if (IsLog(rule) && IsLog(old) && rule.spec().per == old.spec().per) {
        logs_[i].Keep(rule);
      } else if (IsLog(rule)) {
        const uint64_t used = IsLog(old) ? logs_[i].Used(old, now) : old.Used(states_[i], now);
        logs_[i].SetUsed(rule, places ? 0 : used, now);
      } else if (IsLog(old)) {
        states_[i] = places ? LimitState{} : rule.WithUsed(logs_[i].Used(old, now), now);
        logs_[i].Clear();
      } else {
        states_[i] = rule.Convert(old, states_[i], now);
      }
    }
    rules_ = std::move(rules);
  }
  void AddDebts(uint64_t units, int64_t at) {
    for (size_t i = 0; i < rules_.rules().size(); ++i) {
      AddDebt(rules_.rules()[i], states_[i], units, at);
    }
  }
  [[nodiscard]] const LimitRules& rules() const { return rules_; }
  [[nodiscard]] const LimitState& state(size_t index) const { return states_[index]; }

 private:
  static bool IsLog(const LimitRule& rule) { return rule.kind() == LimitKind::kSlidingLog; }

  LimitRules rules_;
  std::array<LimitState, LimitRules::kMax> states_{};
  std::array<LimitLog, LimitRules::kMax> logs_;
};

LimitRules Rules(std::vector<LimitSpec> specs) { return *LimitRules::Make(specs); }

class LimitScriptTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { redis_ = new RedisProcess; }
  static void TearDownTestSuite() {
    delete redis_;
    redis_ = nullptr;
  }

  LimitScriptTest() : session_(redis_->port()) {
    session_.Call({"FLUSHALL"});
    take_ = Load(WithTime(TakeScript().text()));
    give_back_ = Load(WithTime(GiveBackScript().text()));
  }

  std::string Load(std::string_view text) {
    const RedisValue sha = session_.Call({"SCRIPT", "LOAD", std::string(text)});
    EXPECT_EQ(sha.type, '$') << sha.text;
    return sha.text;
  }

  static std::optional<ScriptReply> Read(const RedisValue& value, const LimitRules& rules) {
    std::vector<upstream::RedisReply> elements;
    for (const RedisValue& element : value.elements) {
      upstream::RedisReply& reply = elements.emplace_back();
      reply.type = element.type == ':' ? upstream::RedisReply::Type::kInteger
                                       : upstream::RedisReply::Type::kString;
      reply.integer = element.integer;
    }
    upstream::RedisReply reply;
    reply.type = upstream::RedisReply::Type::kArray;
    reply.elements = elements;
    return ReadReply(reply, rules);
  }

  LimitTakes Take(const LimitRules& rules, uint64_t cost, int64_t now, std::string key = "k") {
    const RedisValue value = session_.Call(
        {"EVALSHA", take_, "1", key, RulesText(rules), std::to_string(cost), "0", "0",
         std::to_string(kLease), "place" + std::to_string(++places_), std::to_string(now)});
    const std::optional<ScriptReply> reply = Read(value, rules);
    LimitTakes takes;
    EXPECT_TRUE(reply.has_value()) << value.type << value.text;
    if (reply) Describe(rules, *reply, cost, takes);
    return takes;
  }
  void GiveBack(const LimitRules& rules, uint64_t cost, int64_t taken, int64_t now) {
    const RedisValue value = session_.Call({"EVALSHA", give_back_, "1", "k", RulesText(rules),
                                            std::to_string(cost), "0", std::to_string(now - taken),
                                            std::to_string(kLease), "0", std::to_string(now)});
    EXPECT_EQ(value.type, ':') << value.text;
  }

  // Units that have passed already.
  std::array<LimitState, LimitRules::kMax> Push(const LimitRules& rules, uint64_t debt, int64_t at,
                                                int64_t now) {
    const RedisValue value =
        session_.Call({"EVALSHA", take_, "1", "k", RulesText(rules), "0", std::to_string(debt),
                       std::to_string(at), std::to_string(kLease), std::to_string(now)});
    const std::optional<ScriptReply> reply = Read(value, rules);
    EXPECT_TRUE(reply && reply->allowed) << value.type << value.text;
    return reply ? reply->states : std::array<LimitState, LimitRules::kMax>{};
  }

  static void ExpectSame(const LimitTakes& script, const LimitTakes& model,
                         const std::string& where) {
    ASSERT_EQ(script.count, model.count) << where;
    EXPECT_EQ(script.allowed, model.allowed) << where;
    for (size_t i = 0; i < model.count; ++i) {
      const LimitTake& ours = script.takes[i];
      const LimitTake& theirs = model.takes[i];
      EXPECT_EQ(ours.allowed, theirs.allowed) << where << " limit " << i;
      EXPECT_EQ(ours.remaining, theirs.remaining) << where << " limit " << i;
      EXPECT_EQ(ours.retry_after.count(), theirs.retry_after.count()) << where << " limit " << i;
      EXPECT_EQ(ours.reset_after.count(), theirs.reset_after.count()) << where << " limit " << i;
      EXPECT_EQ(ours.delay.count(), theirs.delay.count()) << where << " limit " << i;
    }
  }

  // Any schedule: the script and the rules say the same. `settings` are changed to at random.
  void Replay(const std::vector<LimitRules>& settings, int steps, uint64_t seed, uint64_t most_cost,
              bool give_back = true) {
    Random random(seed);
    session_.Call({"FLUSHALL"});
    Model model(settings[0]);
    int64_t now = kStart + static_cast<int64_t>(random.Below(1'000'000'000));
    int64_t longest = 1000;
    bool logs = false;
    for (const LimitRule& rule : settings[0].rules()) {
      logs |= rule.kind() == LimitKind::kSlidingLog;
      longest = std::max(longest, static_cast<int64_t>(rule.window_seconds()) * 1'000'000);
    }
    std::vector<std::pair<int64_t, uint64_t>> taken;
    int allowed = 0;
    for (int i = 0; i < steps; ++i) {
      const uint64_t pace = random.Below(20);
      if (pace < 10) now += static_cast<int64_t>(random.Below(1000));
      if (pace >= 10 && pace < 18) now += static_cast<int64_t>(random.Below(longest / 50 + 1));
      if (pace == 18) now += static_cast<int64_t>(random.Below(longest * 2));
      // The script forgets what is gone at once, also if the time goes back after that.
      if (pace == 19 && settings.size() == 1 && !logs)
        now -= static_cast<int64_t>(random.Below(2000));
      now = std::min(now, kLatest);
      if (settings.size() > 1 && random.Below(15) == 0) {
        // The model changes when the next request comes, as the script does.
        model.Change(settings[random.Below(settings.size())], now);
      }
      const uint64_t cost = random.Below(10) == 0 ? 0 : 1 + random.Below(most_cost);
      const LimitTakes expected = model.Take(cost, now);
      const LimitTakes got = Take(model.rules(), cost, now);
      const std::string where = "seed " + std::to_string(seed) + " step " + std::to_string(i) +
                                " cost " + std::to_string(cost) + " " +
                                model.rules().rules()[0].Text();
      ExpectSame(got, expected, where);
      if (testing::Test::HasFailure()) return;
      if (expected.allowed && cost > 0) {
        ++allowed;
        taken.emplace_back(now, cost);
      }
      if (give_back && !taken.empty() && random.Below(8) == 0) {
        const auto [when, units] = taken[random.Below(taken.size())];
        const int64_t since = std::max(now, when);
        model.GiveBack(units, when, since);
        GiveBack(model.rules(), units, when, since);
      }
    }
    EXPECT_GT(allowed, 0);
  }

  static inline RedisProcess* redis_ = nullptr;
  RedisSession session_;
  std::string take_;
  std::string give_back_;
  uint64_t places_ = 0;
};

std::vector<LimitSpec> EveryKind() {
  using K = LimitKind;
  return {
      {.kind = K::kTokenBucket, .amount = 10, .per = seconds(1), .capacity = 100},
      {.kind = K::kTokenBucket, .amount = 7, .per = seconds(3), .capacity = 5},
      {.kind = K::kTokenBucket, .amount = 1000000, .per = seconds(1), .capacity = 50},
      {.kind = K::kTokenBucket, .amount = 3, .per = hours(24 * 7), .capacity = 1000},
      {.kind = K::kLeakyQueue,
       .amount = 10,
       .per = seconds(1),
       .capacity = 20,
       .max_delay = milliseconds(700)},
      {.kind = K::kLeakyQueue,
       .amount = 30,
       .per = hours(1),
       .capacity = 40,
       .max_delay = minutes(50)},
      {.kind = K::kFixedWindow, .amount = 20, .per = seconds(10)},
      {.kind = K::kFixedWindow, .amount = 3, .per = milliseconds(7)},
      {.kind = K::kSlidingWindow, .amount = 20, .per = seconds(10)},
      {.kind = K::kSlidingWindow, .amount = 33, .per = hours(1)},
      {.kind = K::kSlidingLog, .amount = 20, .per = seconds(10)},
      {.kind = K::kSlidingLog, .amount = 5, .per = seconds(1)},
      {.kind = K::kCalendar, .amount = 50, .period = CalendarPeriod::kDay},
      {.kind = K::kCalendar, .amount = 50, .period = CalendarPeriod::kWeek, .utc_offset = hours(2)},
      {.kind = K::kCalendar,
       .amount = 50,
       .period = CalendarPeriod::kMonth,
       .utc_offset = -hours(8)},
      {.kind = K::kCalendar, .amount = 50, .period = CalendarPeriod::kYear},
  };
}

TEST_F(LimitScriptTest, CountsEveryKindAsTheRuleDoes) {
  uint64_t seed = 1;
  for (const LimitSpec& spec : EveryKind()) {
    for (int round = 0; round < 3; ++round) {
      Replay({Rules({spec})}, 600, seed++, round == 0 ? 1 : 4);
      if (HasFailure()) return;
    }
  }
}

TEST_F(LimitScriptTest, TakesFromAllLimitsOrFromNone) {
  using K = LimitKind;
  const LimitSpec bucket = {
      .kind = K::kTokenBucket, .amount = 10, .per = seconds(1), .capacity = 10};
  const LimitSpec window = {.kind = K::kFixedWindow, .amount = 30, .per = seconds(10)};
  const LimitSpec log = {.kind = K::kSlidingLog, .amount = 40, .per = seconds(15)};
  const LimitSpec sliding = {.kind = K::kSlidingWindow, .amount = 50, .per = seconds(20)};
  for (uint64_t seed = 100; seed < 106; ++seed) {
    Replay({Rules({bucket, window})}, 500, seed, 3);
    Replay({Rules({log, bucket})}, 500, seed, 3);
    Replay({Rules({bucket, window, log, sliding})}, 500, seed, 3);
    if (HasFailure()) return;
  }
}

// As the table here: after a failover Redis's clock may be another one.
TEST_F(LimitScriptTest, AClockThatWasSetBackHoldsNobodyBack) {
  constexpr int64_t kDay = 86'400'000'000;
  for (const LimitSpec& spec : EveryKind()) {
    if (spec.kind == LimitKind::kConcurrency) continue;
    for (const bool alone : {true, false}) {
      session_.Call({"FLUSHALL"});
      const LimitRules rules = alone ? Rules({spec}) : Rules({spec, EveryKind().front()});
      const auto use_up = [&](int64_t now) {
        int taken = 0;
        while (taken < 100'000 && Take(rules, 1, now).allowed) ++taken;
        return taken;
      };
      const int whole = use_up(kStart + 400 * kDay);
      EXPECT_GT(whole, 0);
      EXPECT_EQ(use_up(kStart), whole) << spec.amount << " " << rules.rules()[0].Text();
    }
  }
}

TEST_F(LimitScriptTest, CountsDaysAndMonthsOverManyYears) {
  Random random(9);
  for (const CalendarPeriod period : {CalendarPeriod::kDay, CalendarPeriod::kWeek,
                                      CalendarPeriod::kMonth, CalendarPeriod::kYear}) {
    for (const Duration offset : {Duration(), Duration(hours(14)), Duration(-hours(12))}) {
      const LimitRules rules = Rules(
          {{.kind = LimitKind::kCalendar, .amount = 5, .period = period, .utc_offset = offset}});
      for (int i = 0; i < 200; ++i) {
        const auto now = static_cast<int64_t>(random.Below(3'900'000'000'000'000));
        Model model(rules);
        ExpectSame(Take(rules, 1, now, "k" + std::to_string(++places_)), model.Take(1, now),
                   std::to_string(now));
        if (HasFailure()) return;
      }
    }
  }
}

TEST_F(LimitScriptTest, KeepsWhatWasCountedWhenLimitsChange) {
  const std::vector<LimitSpec> kinds = EveryKind();
  Random random(5);
  for (uint64_t seed = 200; seed < 260; ++seed) {
    std::vector<LimitRules> settings;
    for (int i = 0; i < 3; ++i) settings.push_back(Rules({kinds[random.Below(kinds.size())]}));
    Replay(settings, 300, seed, 3, false);
    if (HasFailure()) return;
  }
}

TEST_F(LimitScriptTest, ChangesNumbersOfOneKind) {
  std::vector<std::vector<LimitSpec>> families;
  using K = LimitKind;
  families.push_back(
      {{.kind = K::kTokenBucket, .amount = 10, .per = seconds(1), .capacity = 100},
       {.kind = K::kTokenBucket, .amount = 999983, .per = hours(24 * 365), .capacity = 70},
       {.kind = K::kLeakyQueue,
        .amount = 7,
        .per = seconds(3),
        .capacity = 30,
        .max_delay = seconds(5)}});
  families.push_back({{.kind = K::kSlidingWindow, .amount = 20, .per = seconds(10)},
                      {.kind = K::kSlidingWindow, .amount = 5, .per = seconds(10)},
                      {.kind = K::kSlidingWindow, .amount = 60, .per = seconds(30)}});
  families.push_back({{.kind = K::kSlidingLog, .amount = 20, .per = seconds(10)},
                      {.kind = K::kSlidingLog, .amount = 5, .per = seconds(10)},
                      {.kind = K::kSlidingLog, .amount = 60, .per = seconds(30)}});
  uint64_t seed = 300;
  for (const auto& family : families) {
    for (int round = 0; round < 8; ++round) {
      std::vector<LimitRules> settings;
      for (const LimitSpec& spec : family) settings.push_back(Rules({spec}));
      Replay(settings, 400, seed++, 3, false);
      if (HasFailure()) return;
    }
  }
}

TEST_F(LimitScriptTest, CountsDebtsAsTheMirrorDoes) {
  std::vector<std::vector<LimitSpec>> policies;
  for (const LimitSpec& spec : EveryKind()) {
    if (spec.kind != LimitKind::kSlidingLog) policies.push_back({spec});
  }
  policies.push_back({EveryKind()[0], EveryKind()[6]});
  policies.push_back({EveryKind()[0], EveryKind()[8], EveryKind()[12]});
  uint64_t seed = 400;
  for (const auto& specs : policies) {
    const LimitRules rules = Rules(specs);
    Random random(seed++);
    session_.Call({"FLUSHALL"});
    Model model(rules);
    int64_t now = kStart;
    const auto window = static_cast<uint64_t>(rules.rules()[0].window_seconds()) * 1'000'000;
    for (int i = 0; i < 300; ++i) {
      now += static_cast<int64_t>(random.Below(std::min<uint64_t>(window, 1'000'000'000'000) / 4));
      now = std::min(now, kLatest);
      const std::string where = rules.rules()[0].Text() + " step " + std::to_string(i);
      if (random.Below(2) == 0) {
        const uint64_t debt = 1 + random.Below(rules.rules()[0].limit() * 2);
        const int64_t at = now - static_cast<int64_t>(random.Below(window / 3 + 1));
        const auto states = Push(rules, debt, at, now);
        model.AddDebts(debt, at);
        for (size_t j = 0; j < specs.size(); ++j) {
          LimitState ours = states[j];
          LimitState theirs = model.state(j);
          const LimitTake script = rules.rules()[j].Take(ours, 0, now);
          const LimitTake mirror = rules.rules()[j].Take(theirs, 0, now);
          EXPECT_EQ(script.remaining, mirror.remaining) << where;
          EXPECT_EQ(script.reset_after.count(), mirror.reset_after.count()) << where;
        }
      }
      const uint64_t cost = random.Below(4);
      ExpectSame(Take(rules, cost, now), model.Take(cost, now), where);
      if (HasFailure()) return;
    }
  }
}

}  // namespace
}  // namespace gatehouse::filters
