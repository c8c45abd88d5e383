// LimitKey: which requests share a budget. Compiled from RateLimit.key.
//
// Built on main, const, shared. Request path: no allocation but in the exchange's arena.
//
//   std::optional<uint64_t> key = limit_key.Hash(context, hash);     // nullopt: no part is present
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include <google/protobuf/repeated_field.h>

#include "source/filters/filter_context.h"
#include "source/filters/rate_limit/key_hash.h"
#include "source/http/names.h"

namespace gatehouse::v1 {
class RateLimitKey;
}

namespace gatehouse::filters {

class BuildContext;

class LimitKey {
 public:
  using Config = google::protobuf::RepeatedPtrField<gatehouse::v1::RateLimitKey>;

  // `field`: where `config` is, for errors, which are noted in `build`.
  [[nodiscard]] static absl::StatusOr<LimitKey> Build(const Config& config, std::string_view field,
                                                      BuildContext& build);

  // Of the first part that the request has. A config without parts is one key for all requests.
  [[nodiscard]] std::optional<uint64_t> Hash(FilterContext& context, const KeyHash& hash) const;
  // The same for people: "header x-user=alice". nullopt: no part is present.
  [[nodiscard]] std::optional<std::string> Describe(FilterContext& context) const;
  // The key of requests that have none of the parts.
  [[nodiscard]] static uint64_t MissingHash(const KeyHash& hash) { return hash("missing"); }

 private:
  struct Part {
    enum class Kind : uint8_t { kClientIp, kHeader, kAll };
    Kind kind = Kind::kAll;
    uint32_t v4_prefix = 32;
    uint32_t v6_prefix = 64;
    http::Name header_id = http::Name::kUnknown;
    std::string header;
    std::vector<Part> all;
  };
  class Writer;

  [[nodiscard]] static absl::StatusOr<Part> BuildPart(const gatehouse::v1::RateLimitKey& config,
                                                      const std::string& field, int depth,
                                                      BuildContext& build);
  [[nodiscard]] static bool Append(const Part& part, FilterContext& context, std::string* text);
  [[nodiscard]] static bool Write(const Part& part, FilterContext& context, Writer& writer);

  std::vector<Part> parts_;
};

}  // namespace gatehouse::filters
