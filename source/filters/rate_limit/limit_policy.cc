#include "source/filters/rate_limit/limit_policy.h"

#include <set>
#include <utility>

#include "api/gatehouse/v1/rate_limit.pb.h"
#include "fmt/format.h"
#include "source/filters/build_context.h"
#include "source/filters/rate_limit/limit_build.h"

namespace gatehouse::filters {

namespace {

using Config = gatehouse::v1::RateLimit;

constexpr uint32_t kDefaultMaxKeys = 100'000;
constexpr uint32_t kMostKeys = 20'000'000;

// The text as a string of RFC 8941, section 3.3.3, or of JSON: the same for what is let through.
std::string Quote(std::string_view text) {
  std::string quoted = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c >= 0x20 && c < 0x7f ? c : '_';
  }
  return quoted += '"';
}

// When something comes back bit by bit: how long until one more is there.
uint64_t NextSeconds(const LimitSpec& spec) {
  if (spec.kind != LimitKind::kTokenBucket && spec.kind != LimitKind::kLeakyQueue) return 0;
  const auto per = static_cast<uint64_t>(spec.per.count());
  const uint64_t micros = per / spec.amount + (per % spec.amount != 0);
  return (micros + 999'999) / 1'000'000;
}

LimitItem ItemOf(const LimitRule& rule, const std::string& name) {
  LimitItem item;
  item.quoted = Quote(name);
  item.policy_item = fmt::format("{};q={}", item.quoted, rule.limit());
  if (rule.spec().kind == LimitKind::kConcurrency) {
    item.policy_item += ";qu=\"concurrent-requests\"";
  } else if (rule.window_seconds() > 0) {
    item.policy_item += fmt::format(";w={}", rule.window_seconds());
  }
  item.next_seconds = NextSeconds(rule.spec());
  return item;
}

// What follows from the rules alone.
void Describe(const std::string& policy, const LimitRules& rules, LimitTerms* terms) {
  size_t number = 0;
  for (const LimitRule& rule : rules.rules()) {
    ++number;
    const bool only = rules.rules().size() == 1;
    terms->items.push_back(ItemOf(rule, only ? policy : fmt::format("{}.{}", policy, number)));
    if (!terms->text.empty()) terms->text += " and ";
    terms->text += rule.Text();
    if (only) {
      terms->problem_members =
          fmt::format("\"violated-policies\":[{}]", terms->items.back().quoted);
    }
  }
}

// Reads a resource from top to bottom, notes all that is wrong, and returns the first of it.
class PolicyReader {
 public:
  PolicyReader(const Config& config, std::string_view field, BuildContext& build)
      : config_(config), field_(field), build_(build) {}

  // All but the budgets and the metrics.
  absl::StatusOr<LimitPolicy> Run() {
    policy_.name = config_.name();
    policy_.quoted_name = Quote(config_.name());
    policy_.dry_run = config_.dry_run();
    if (config_.max_keys() > kMostKeys) {
      Error("max_keys", fmt::format("is at most {}", kMostKeys));
    }
    Take(LimitKey::Build(config_.key(), FieldOf(field_, "key"), build_), &policy_.key);
    Take(LimitCost::Build(config_.cost(), FieldOf(field_, "cost"), build_), &policy_.cost);
    Take(LimitStore::Build(config_, field_, build_), &policy_.store);
    MissingKey();
    Answer();
    Terms();
    Plans();
    if (!wrong_.ok()) return wrong_;
    return std::move(policy_);
  }

 private:
  void Error(std::string_view inner, std::string_view message) {
    wrong_.Update(build_.Error(FieldOf(field_, inner), message));
  }
  template <typename T>
  bool Take(absl::StatusOr<T> read, T* to) {
    wrong_.Update(read.status());
    if (read.ok()) *to = *std::move(read);
    return read.ok();
  }

  void MissingKey() {
    if (config_.on_missing_key() == Config::MISSING_KEY_SKIP) {
      policy_.on_missing_key = LimitPolicy::MissingKey::kSkip;
    } else if (config_.on_missing_key() == Config::MISSING_KEY_REJECT) {
      policy_.on_missing_key = LimitPolicy::MissingKey::kReject;
    }
  }
  void Answer();
  void Terms();
  void Plans();
  template <typename From>
  void ReadTerms(const From& config, const std::string& field, LimitTerms* terms);
  void CheckCounting(LimitTerms& terms, Duration lease, const std::string& field);

  const Config& config_;
  std::string field_;
  BuildContext& build_;
  LimitPolicy policy_;
  absl::Status wrong_;
};

void PolicyReader::Answer() {
  using Answer = gatehouse::v1::RateLimitAnswer;
  const Answer& answer = config_.answer();
  if (answer.status() != 0) {
    if (answer.status() < 400 || answer.status() > 599) {
      Error("answer.status", "must be an error, 400 to 599");
    }
    policy_.status = static_cast<uint16_t>(answer.status());
  }
  policy_.reset_is_delta = answer.reset() == Answer::RESET_FORMAT_DELTA;
  policy_.legacy_headers =
      answer.headers() == Answer::HEADERS_ALL || answer.headers() == Answer::HEADERS_LEGACY;
  policy_.draft_headers =
      answer.headers() == Answer::HEADERS_ALL || answer.headers() == Answer::HEADERS_DRAFT;
  Duration jitter{};
  if (!Take(ReadDuration(answer.retry_jitter(), FieldOf(field_, "answer.retry_jitter"), build_),
            &jitter)) {
    return;
  }
  if (jitter > std::chrono::hours(1)) Error("answer.retry_jitter", "is at most 1h");
  policy_.retry_jitter =
      static_cast<uint64_t>(std::chrono::ceil<std::chrono::seconds>(jitter).count());
}

template <typename From>
void PolicyReader::ReadTerms(const From& config, const std::string& field, LimitTerms* terms) {
  LimitRules& rules = terms->setting.rules;
  if (!Take(LimitRulesOf(config, field, build_), &rules)) return;
  for (const LimitRule& rule : rules.rules()) {
    terms->most = std::min(terms->most, rule.limit());
    const uint64_t cost = policy_.cost.fixed();
    if (cost <= rule.limit()) continue;
    const std::string what = terms->plan.empty() ? "" : fmt::format(" of plan \"{}\"", terms->plan);
    Error("cost.fixed", fmt::format("{} is more than the limit{} holds, {}: nothing would pass",
                                    cost, what, rule.limit()));
  }
  terms->setting.max_keys = config_.max_keys() == 0 ? kDefaultMaxKeys : config_.max_keys();
  // One budget for all needs no room for more.
  if (config_.key().empty()) terms->setting.max_keys = 1;
  CheckCounting(*terms, LimitLeaseOf(config), field);
  Describe(policy_.name, rules, terms);
}

// Whether the store can count by these rules.
void PolicyReader::CheckCounting(LimitTerms& terms, Duration lease, const std::string& field) {
  LimitSetting& setting = terms.setting;
  const LimitStore& store = policy_.store;
  if (store.kind == LimitStore::Kind::kRedis) {
    setting.redis = store.redis;
    setting.redis->policy =
        terms.plan.empty() ? policy_.name : fmt::format("{}|{}", policy_.name, terms.plan);
    setting.redis->rules = setting.rules;
    setting.redis->max_keys = setting.max_keys;
    if (lease > Duration::zero()) setting.redis->lease = lease;
    const absl::Status status = RedisLimit::Check(*setting.redis);
    if (!status.ok()) wrong_.Update(ErrorBelow(status, FieldOf(field_, "store.redis"), build_));
    return;
  }
  // What counts while a service does not answer.
  if (store.kind == LimitStore::Kind::kService) {
    setting.rules = setting.rules.ShareOf(store.gateways);
  }
  const absl::Status status = LimitTable::Check(setting.rules, setting.max_keys);
  if (!status.ok()) wrong_.Update(ErrorBelow(status, field, build_));
}

void PolicyReader::Terms() {
  const bool has_algorithm = config_.algorithm_case() != Config::ALGORITHM_NOT_SET;
  if (has_algorithm || !config_.store().has_service()) ReadTerms(config_, field_, &policy_.own);
}

void PolicyReader::Plans() {
  if (config_.has_plan()) {
    Take(LimitPlanName::Build(config_.plan(), FieldOf(field_, "plan"), build_), &policy_.plan_name);
    if (config_.plans().empty()) Error("plan", "names no plan: list them in plans");
  }
  std::set<std::string_view> names;
  for (int i = 0; i < config_.plans_size(); ++i) {
    const gatehouse::v1::RateLimitPlan& config = config_.plans(i);
    const std::string inner = fmt::format("plans[{}]", i);
    LimitTerms terms;
    terms.plan = config.name();
    if (config.name().empty()) Error(inner + ".name", "must not be empty");
    if (!names.insert(config.name()).second) {
      Error(inner + ".name", fmt::format("\"{}\" is there twice", config.name()));
    }
    if (config.has_unlimited()) {
      terms.text = "unlimited";
      terms.unlimited = true;
    } else {
      ReadTerms(config, FieldOf(field_, inner), &terms);
    }
    policy_.plans.push_back(std::move(terms));
  }
  std::ranges::sort(policy_.plans, {}, &LimitTerms::plan);
}

// What makes a budget another one. All else may change.
std::string IdentityOf(const Config& config, const LimitStore& store, const LimitTerms& terms) {
  Config identity;
  *identity.mutable_key() = config.key();
  identity.set_max_keys(static_cast<uint32_t>(terms.setting.max_keys));
  return fmt::format("{}\n{}\n{}", store.identity, terms.plan, identity.SerializeAsString());
}

std::string SpecText(const LimitSpec& spec) {
  return fmt::format("{} {} {} {} {} {} {}\n", static_cast<int>(spec.kind), spec.amount,
                     spec.per.count(), spec.capacity, spec.max_delay.count(),
                     static_cast<int>(spec.period), spec.utc_offset.count());
}

std::string FingerprintOf(const LimitSetting& setting) {
  std::string text;
  for (const LimitRule& rule : setting.rules.rules()) text += SpecText(rule.spec());
  if (!setting.redis) return text;
  const RedisLimitSpec& redis = *setting.redis;
  return text + fmt::format("{} {} {} {} {} {}", redis.timeout.count(), redis.sync_interval.count(),
                            redis.max_unsynced, redis.lease.count(),
                            static_cast<int>(redis.on_failure), redis.gateways);
}

void FindBudget(const Config& config, const LimitStore& store, BuildContext& build,
                LimitTerms* terms) {
  const bool for_failures = store.kind == LimitStore::Kind::kService;
  if (terms->items.empty() || (for_failures && store.on_failure != StoreFailure::kLocal)) return;
  LimitSetting& setting = terms->setting;
  setting.fingerprint = FingerprintOf(setting);
  terms->budget =
      build.states().Get<LimitBudget>(config.name(), IdentityOf(config, store, *terms), [&] {
        return std::make_shared<LimitBudget>(setting, build.states().served(), build.metrics());
      });
  setting.edition = terms->budget->NextEdition();
}

}  // namespace

absl::StatusOr<LimitPolicy> LimitPolicy::Build(const Config& config, std::string_view field,
                                               BuildContext& build) {
  absl::StatusOr<LimitPolicy> policy = PolicyReader(config, field, build).Run();
  if (!policy.ok()) return policy;
  FindBudget(config, policy->store, build, &policy->own);
  for (LimitTerms& terms : policy->plans) FindBudget(config, policy->store, build, &terms);
  policy->metrics = build.metrics().Acquire<RateLimitMetrics>({config.name()});
  return policy;
}

uint64_t LimitPolicy::most() const {
  uint64_t most = own.most;
  for (const LimitTerms& terms : plans) most = std::max(most, terms.most);
  return most;
}

absl::Status CheckRateLimit(const Config& config, BuildContext& build) {
  return PolicyReader(config, "", build).Run().status();
}

}  // namespace gatehouse::filters
