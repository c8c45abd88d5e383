#include "source/filters/rate_limit/limit_build.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "api/gatehouse/v1/rate_limit.pb.h"
#include "fmt/format.h"
#include "source/base/status.h"
#include "source/filters/build_context.h"

namespace gatehouse::filters {

namespace {

__extension__ using Wide = unsigned __int128;

constexpr uint64_t kMicrosPerSecond = 1'000'000;
// What LimitSpec can hold; what can be counted with is the rule's to say.
constexpr int64_t kMostSeconds = std::numeric_limits<int64_t>::max() / 2'000'000;

constexpr std::string_view kAlgorithms =
    "token_bucket, fixed_window, sliding_window, sliding_log, leaky_bucket, concurrency, quota, "
    "or limits for several";

absl::Status ReadRate(const gatehouse::v1::Rate& rate, const std::string& field,
                      BuildContext& build, LimitSpec* spec) {
  const auto& per = rate.per();
  if (per.seconds() > kMostSeconds) return build.Error(field, "the time is too long");
  spec->amount = rate.amount();
  // A negative one may be too long, too.
  if (per.seconds() >= 0) {
    spec->per = std::chrono::seconds(per.seconds()) + Duration(per.nanos() / 1000);
  }
  if (spec->amount > 0 && spec->per > Duration::zero()) return absl::OkStatus();
  return build.Error(field,
                     "must be more than 0, such as 10/s; to let nothing pass, use a respond route");
}

// What the rate gives in one second, at least 1.
uint64_t PerSecond(const LimitSpec& spec) {
  const auto per_second =
      static_cast<Wide>(spec.amount) * kMicrosPerSecond / static_cast<uint64_t>(spec.per.count());
  return static_cast<uint64_t>(std::clamp<Wide>(per_second, 1, uint64_t{1} << 30));
}

// "+02:00": microseconds east of Greenwich.
std::optional<Duration> ParseOffset(std::string_view text) {
  const auto digit = [&](size_t at) { return text[at] >= '0' && text[at] <= '9'; };
  if (text.size() != 6 || (text[0] != '+' && text[0] != '-') || text[3] != ':') return std::nullopt;
  if (!digit(1) || !digit(2) || !digit(4) || !digit(5)) return std::nullopt;
  const int hours = (text[1] - '0') * 10 + text[2] - '0';
  const int minutes = (text[4] - '0') * 10 + text[5] - '0';
  if (hours > 14 || minutes > 59) return std::nullopt;
  const Duration offset = std::chrono::hours(hours) + std::chrono::minutes(minutes);
  return text[0] == '-' ? -offset : offset;
}

absl::Status ReadBucket(const gatehouse::v1::TokenBucket& config, const std::string& field,
                        BuildContext& build, LimitSpec* spec) {
  spec->kind = LimitKind::kTokenBucket;
  absl::Status status = ReadRate(config.rate(), field + ".rate", build, spec);
  if (!status.ok()) return status;
  spec->capacity = config.burst() != 0 ? config.burst() : PerSecond(*spec);
  return status;
}

absl::Status ReadLeaky(const gatehouse::v1::LeakyBucket& config, const std::string& field,
                       BuildContext& build, LimitSpec* spec) {
  absl::Status status = ReadRate(config.rate(), field + ".rate", build, spec);
  if (!status.ok()) return status;
  spec->capacity = config.capacity() != 0 ? config.capacity() : PerSecond(*spec);
  const absl::StatusOr<Duration> delay =
      ReadDuration(config.max_delay(), field + ".max_delay", build);
  if (!delay.ok()) return delay.status();
  spec->max_delay = *delay;
  // As a meter it is a token bucket seen from the other side.
  spec->kind =
      spec->max_delay > Duration::zero() ? LimitKind::kLeakyQueue : LimitKind::kTokenBucket;
  return status;
}

absl::Status ReadQuota(const gatehouse::v1::Quota& config, const std::string& field,
                       BuildContext& build, LimitSpec* spec) {
  using gatehouse::v1::Quota;
  spec->kind = LimitKind::kCalendar;
  spec->amount = config.limit();
  absl::Status wrong;
  if (spec->amount == 0) wrong = build.Error(field + ".limit", "must be more than 0");
  switch (config.per()) {
    case Quota::PERIOD_DAY:
      spec->period = CalendarPeriod::kDay;
      break;
    case Quota::PERIOD_WEEK:
      spec->period = CalendarPeriod::kWeek;
      break;
    case Quota::PERIOD_MONTH:
      spec->period = CalendarPeriod::kMonth;
      break;
    case Quota::PERIOD_YEAR:
      spec->period = CalendarPeriod::kYear;
      break;
    default:
      wrong.Update(build.Error(field + ".per", "must be day, week, month or year"));
  }
  if (config.utc_offset().empty()) return wrong;
  const std::optional<Duration> offset = ParseOffset(config.utc_offset());
  if (!offset) {
    wrong.Update(build.Error(field + ".utc_offset",
                             "must be written like \"+02:00\" or \"-05:30\", up to 14 hours"));
  }
  spec->utc_offset = offset.value_or(Duration::zero());
  return wrong;
}

absl::Status ReadConcurrency(const gatehouse::v1::Concurrency& config, const std::string& field,
                             BuildContext& build, LimitSpec* spec) {
  spec->kind = LimitKind::kConcurrency;
  spec->amount = config.limit();
  if (spec->amount == 0) return build.Error(field + ".limit", "must be more than 0");
  return ReadDuration(config.lease(), field + ".lease", build).status();
}

// `config` is a Limit, or a message with the same algorithms among others.
template <typename Config>
absl::StatusOr<LimitRule> RuleOf(const Config& config, std::string_view outer,
                                 BuildContext& build) {
  LimitSpec spec;
  std::string field;
  absl::Status status;
  const auto window = [&](const auto& limit, const char* name, LimitKind kind) {
    field = FieldOf(outer, name);
    spec.kind = kind;
    status = ReadRate(limit.limit(), field + ".limit", build, &spec);
  };
  if (config.has_token_bucket()) {
    field = FieldOf(outer, "token_bucket");
    status = ReadBucket(config.token_bucket(), field, build, &spec);
  } else if (config.has_leaky_bucket()) {
    field = FieldOf(outer, "leaky_bucket");
    status = ReadLeaky(config.leaky_bucket(), field, build, &spec);
  } else if (config.has_fixed_window()) {
    window(config.fixed_window(), "fixed_window", LimitKind::kFixedWindow);
  } else if (config.has_sliding_window()) {
    window(config.sliding_window(), "sliding_window", LimitKind::kSlidingWindow);
  } else if (config.has_sliding_log()) {
    window(config.sliding_log(), "sliding_log", LimitKind::kSlidingLog);
  } else if (config.has_concurrency()) {
    field = FieldOf(outer, "concurrency");
    status = ReadConcurrency(config.concurrency(), field, build, &spec);
  } else if (config.has_quota()) {
    field = FieldOf(outer, "quota");
    status = ReadQuota(config.quota(), field, build, &spec);
  } else {
    return build.Error(outer, fmt::format("needs an algorithm: {}", kAlgorithms));
  }
  if (!status.ok()) return status;
  absl::StatusOr<LimitRule> rule = LimitRule::Make(spec);
  if (!rule.ok()) return build.Error(field, MessageOf(rule.status()));
  return rule;
}

template <typename Config>
absl::StatusOr<LimitRules> RulesOf(const Config& config, std::string_view field,
                                   BuildContext& build) {
  std::vector<LimitSpec> specs;
  absl::Status wrong;
  if (!config.has_limits()) {
    const absl::StatusOr<LimitRule> rule = RuleOf(config, field, build);
    if (!rule.ok()) return rule.status();
    specs.push_back(rule->spec());
  }
  const std::string list = FieldOf(field, "limits.limits");
  const int count = config.has_limits() ? config.limits().limits_size() : 0;
  if (config.has_limits() && (count == 0 || count > static_cast<int>(LimitRules::kMax))) {
    return build.Error(list, fmt::format("takes 1 to {} limits", LimitRules::kMax));
  }
  for (int i = 0; i < count; ++i) {
    const absl::StatusOr<LimitRule> rule =
        RuleOf(config.limits().limits(i), fmt::format("{}[{}]", list, i), build);
    if (rule.ok()) specs.push_back(rule->spec());
    wrong.Update(rule.status());
  }
  if (!wrong.ok()) return wrong;
  if (std::ranges::count(specs, LimitKind::kConcurrency, &LimitSpec::kind) > 1) {
    return build.Error(list, "one concurrency limit is enough: the lower one decides");
  }
  absl::StatusOr<LimitRules> rules = LimitRules::Make(specs);
  if (!rules.ok()) return build.Error(field, MessageOf(rules.status()));
  return rules;
}

template <typename Config>
Duration LeaseOf(const Config& config) {
  const auto lease = [](const gatehouse::v1::Concurrency& concurrency) {
    return Duration(std::chrono::seconds(concurrency.lease().seconds())) +
           Duration(concurrency.lease().nanos() / 1000);
  };
  if (config.has_concurrency()) return lease(config.concurrency());
  if (!config.has_limits()) return {};
  for (const gatehouse::v1::Limit& limit : config.limits().limits()) {
    if (limit.has_concurrency()) return lease(limit.concurrency());
  }
  return {};
}

}  // namespace

absl::StatusOr<LimitRules> LimitRulesOf(const gatehouse::v1::RateLimit& config,
                                        std::string_view field, BuildContext& build) {
  return RulesOf(config, field, build);
}

absl::StatusOr<LimitRules> LimitRulesOf(const gatehouse::v1::RateLimitPlan& config,
                                        std::string_view field, BuildContext& build) {
  return RulesOf(config, field, build);
}

Duration LimitLeaseOf(const gatehouse::v1::RateLimit& config) { return LeaseOf(config); }
Duration LimitLeaseOf(const gatehouse::v1::RateLimitPlan& config) { return LeaseOf(config); }

std::string FieldOf(std::string_view outer, std::string_view inner) {
  if (outer.empty() || inner.empty()) return std::string(outer.empty() ? inner : outer);
  return fmt::format("{}.{}", outer, inner);
}

absl::StatusOr<Duration> ReadDuration(const google::protobuf::Duration& duration,
                                      std::string_view field, BuildContext& build) {
  constexpr int64_t kYear = int64_t{366} * 86400;
  if (duration.seconds() < 0 || duration.nanos() < 0 || duration.nanos() > 999'999'999 ||
      duration.seconds() > kYear) {
    return build.Error(field, "must be a time of up to a year");
  }
  return std::chrono::seconds(duration.seconds()) + Duration(duration.nanos() / 1000);
}

}  // namespace gatehouse::filters
