#include "source/filters/rate_limit/limit_cost.h"

#include <algorithm>
#include <charconv>

#include "api/gatehouse/v1/rate_limit.pb.h"
#include "fmt/format.h"
#include "source/filters/build_context.h"
#include "source/filters/rate_limit/limit_build.h"
#include "source/http/header_map.h"

namespace gatehouse::filters {

namespace {

constexpr uint64_t kDefaultMost = 1'000'000;

}  // namespace

absl::StatusOr<LimitCost> LimitCost::Build(const gatehouse::v1::RateLimitCost& config,
                                           std::string_view field, BuildContext& build) {
  LimitCost cost;
  if (config.fixed() != 0) cost.fixed_ = config.fixed();
  cost.most_ = config.max() != 0 ? config.max() : kDefaultMost;
  cost.header_ = config.header();
  cost.header_id_ = http::FindName(cost.header_);
  if (cost.header_.empty()) {
    if (config.max() == 0) return cost;
    return build.Error(FieldOf(field, "max"), "is for costs of a header: name it in header");
  }
  if (!http::IsToken(cost.header_)) {
    return build.Error(FieldOf(field, "header"),
                       fmt::format("\"{}\" is not a header name", cost.header_));
  }
  if (cost.fixed_ > cost.most_) {
    return build.Error(FieldOf(field, "max"), fmt::format("is less than fixed, {}", cost.fixed_));
  }
  return cost;
}

uint64_t LimitCost::OfHeader(FilterContext& context) const {
  const http::HeaderMap& headers = context.request();
  const auto text =
      header_id_ != http::Name::kUnknown ? headers.Get(header_id_) : headers.Get(header_);
  if (!text) return fixed_;
  uint64_t cost = 0;
  const char* const end = text->data() + text->size();
  const auto [at, error] = std::from_chars(text->data(), end, cost);
  if (at != end || error == std::errc::invalid_argument) return fixed_;
  if (error == std::errc::result_out_of_range) return most_;
  return cost == 0 ? fixed_ : std::min(cost, most_);
}

}  // namespace gatehouse::filters
