#include "source/filters/rate_limit/limit_policy.h"

#include <algorithm>
#include <utility>

#include "api/gatehouse/v1/rate_limit.pb.h"
#include "fmt/format.h"
#include "source/base/random.h"
#include "source/filters/build_context.h"

namespace gatehouse::filters {

namespace {

__extension__ using Wide = unsigned __int128;

using Config = gatehouse::v1::RateLimit;

constexpr uint32_t kDefaultMaxKeys = 100'000;
constexpr uint32_t kMostKeys = 20'000'000;
constexpr uint64_t kMicrosPerSecond = 1'000'000;

std::string FieldOf(std::string_view outer, std::string_view inner) {
  return outer.empty() ? std::string(inner) : fmt::format("{}.{}", outer, inner);
}

absl::StatusOr<BucketSpec> SpecOf(const Config& config, std::string_view field,
                                  BuildContext& build) {
  if (!config.has_token_bucket()) {
    return build.Error(field, "needs an algorithm, such as token_bucket");
  }
  const gatehouse::v1::TokenBucket& bucket = config.token_bucket();
  const auto& per = bucket.rate().per();
  BucketSpec spec;
  spec.amount = bucket.rate().amount();
  if (per.seconds() < 0 || per.seconds() > int64_t{10} * 366 * 86400) {
    return build.Error(FieldOf(field, "token_bucket.rate"), "the time must be up to ten years");
  }
  spec.per = std::chrono::seconds(per.seconds()) + Duration(per.nanos() / 1000);
  if (spec.amount == 0 || spec.per <= Duration::zero()) {
    return build.Error(
        FieldOf(field, "token_bucket.rate"),
        "must be more than 0, such as 10/s; to let nothing pass, use a respond route");
  }
  spec.burst = bucket.burst();
  if (spec.burst == 0) {
    const auto per_second =
        static_cast<Wide>(spec.amount) * kMicrosPerSecond / static_cast<uint64_t>(spec.per.count());
    spec.burst = static_cast<uint64_t>(std::clamp<Wide>(per_second, 1, 1u << 30));
  }
  if (!spec.Valid()) {
    return build.Error(FieldOf(field, "token_bucket"),
                       "at most 1000000000/s, and a bucket that fills up within ten years");
  }
  return spec;
}

// The text as a string of RFC 8941, section 3.3.3, or of JSON: the same for what is let through.
std::string Quote(std::string_view text) {
  std::string quoted = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c >= 0x20 && c < 0x7f ? c : '_';
  }
  return quoted += '"';
}

// Everything that the counting depends on.
std::string Fingerprint(const Config& config) {
  Config counted;
  *counted.mutable_token_bucket() = config.token_bucket();
  *counted.mutable_key() = config.key();
  counted.set_max_keys(config.max_keys());
  return counted.SerializeAsString();
}

absl::Status ReadAnswer(const Config& config, std::string_view field, LimitPolicy& policy,
                        BuildContext& build) {
  const gatehouse::v1::RateLimitAnswer& answer = config.answer();
  if (answer.status() != 0) {
    if (answer.status() < 400 || answer.status() > 599) {
      return build.Error(FieldOf(field, "answer.status"), "must be an error, 400 to 599");
    }
    policy.status = static_cast<uint16_t>(answer.status());
  }
  using Answer = gatehouse::v1::RateLimitAnswer;
  policy.reset_is_delta = answer.reset() == Answer::RESET_FORMAT_DELTA;
  policy.legacy_headers =
      answer.headers() == Answer::HEADERS_ALL || answer.headers() == Answer::HEADERS_LEGACY;
  policy.draft_headers =
      answer.headers() == Answer::HEADERS_ALL || answer.headers() == Answer::HEADERS_DRAFT;
  return absl::OkStatus();
}

LimitPolicy::MissingKey MissingKeyOf(const Config& config) {
  switch (config.on_missing_key()) {
    case Config::MISSING_KEY_SKIP:
      return LimitPolicy::MissingKey::kSkip;
    case Config::MISSING_KEY_REJECT:
      return LimitPolicy::MissingKey::kReject;
    default:
      return LimitPolicy::MissingKey::kSharedBudget;
  }
}

// Seconds that an empty bucket needs to fill up.
uint64_t WindowSeconds(const BucketSpec& spec) {
  const auto second = static_cast<Wide>(spec.amount) * kMicrosPerSecond;
  const auto window = static_cast<Wide>(spec.burst) * static_cast<uint64_t>(spec.per.count());
  return std::max<uint64_t>(static_cast<uint64_t>((window + second - 1) / second), 1);
}

// All but the buckets and the metrics.
absl::StatusOr<LimitPolicy> Read(const Config& config, std::string_view field, BucketSpec& spec,
                                 BuildContext& build) {
  // All that is wrong is noted; the first of it is returned.
  absl::StatusOr<BucketSpec> read = SpecOf(config, field, build);
  absl::Status wrong = read.status();
  if (config.max_keys() > kMostKeys) {
    wrong.Update(build.Error(FieldOf(field, "max_keys"), fmt::format("is at most {}", kMostKeys)));
  }
  absl::StatusOr<LimitKey> key = LimitKey::Build(config.key(), FieldOf(field, "key"), build);
  wrong.Update(key.status());
  LimitPolicy policy;
  wrong.Update(ReadAnswer(config, field, policy, build));
  if (!wrong.ok()) return wrong;
  spec = *read;
  policy.key = *std::move(key);
  policy.name = config.name();
  policy.dry_run = config.dry_run();
  policy.on_missing_key = MissingKeyOf(config);
  policy.limit = spec.burst;
  policy.quoted_name = Quote(config.name());
  policy.policy_item =
      fmt::format("{};q={};w={}", policy.quoted_name, spec.burst, WindowSeconds(spec));
  policy.rate_text = fmt::format("{} per {:g}s, {} at once", spec.amount,
                                 std::chrono::duration<double>(spec.per).count(), spec.burst);
  policy.problem_members = fmt::format("\"violated-policies\":[{}]", policy.quoted_name);
  return policy;
}

}  // namespace

absl::StatusOr<LimitPolicy> LimitPolicy::Build(const Config& config, std::string_view field,
                                               BuildContext& build) {
  BucketSpec spec;
  absl::StatusOr<LimitPolicy> policy = Read(config, field, spec, build);
  if (!policy.ok()) return policy;
  const uint32_t max_keys = config.max_keys() == 0 ? kDefaultMaxKeys : config.max_keys();
  policy->state = build.states().Get<LimitState>(config.name(), Fingerprint(config), [&] {
    Random random = Random::FromKernel();
    const uint64_t seed = random.Next();
    // One budget for all needs no room for more.
    return std::make_shared<LimitState>(spec, config.key().empty() ? 1 : max_keys, seed,
                                        random.Next());
  });
  policy->metrics = build.metrics().Acquire<RateLimitMetrics>({config.name()});
  return policy;
}

absl::Status CheckRateLimit(const Config& config, BuildContext& build) {
  BucketSpec spec;
  return Read(config, "", spec, build).status();
}

}  // namespace gatehouse::filters
