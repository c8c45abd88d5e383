// LimitKey: which requests share a budget. Compiled from RateLimit.key.
//
// Built on main, const, shared. Request path: no allocation but in the exchange's arena.
//
//   LimitKey::Bytes bytes(context.arena());
//   if (key.Write(context, bytes)) hash = key_hash(bytes.view());     // false: no part is present
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include <google/protobuf/repeated_field.h>

#include "source/base/arena.h"
#include "source/filters/filter_context.h"
#include "source/http/names.h"

namespace gatehouse::v1 {
class RateLimitKey;
}

namespace gatehouse::filters {

class BuildContext;

class LimitKey {
 public:
  using Config = google::protobuf::RepeatedPtrField<gatehouse::v1::RateLimitKey>;
  // A part and its value, such as {"client_ip", "10.0.0.1"}.
  using Entry = std::pair<std::string_view, std::string_view>;
  class Bytes;

  // One key for all requests.
  LimitKey() = default;
  // `field`: where `config` is, for errors, which are noted in `build`.
  [[nodiscard]] static absl::StatusOr<LimitKey> Build(const Config& config, std::string_view field,
                                                      BuildContext& build);

  // The bytes of the first part that the request has: what each piece is, and its value, each with
  // its length in front, so that no two keys read the same. Equal on every gateway. A config
  // without parts is one key for all requests, which has no bytes. False: no part is present.
  [[nodiscard]] bool Write(FilterContext& context, Bytes& bytes) const;
  // The key of requests that have none of the parts: no other key begins like it.
  static constexpr std::string_view kMissing = "-";

  // The same for a service, in the arena. Empty: no part is present, or the config has none.
  [[nodiscard]] std::span<const Entry> Entries(FilterContext& context) const;
  // The same for people: "header x-user=alice". nullopt: no part is present.
  [[nodiscard]] std::optional<std::string> Describe(FilterContext& context) const;
  [[nodiscard]] bool empty() const { return parts_.empty(); }

 private:
  friend class LimitPlanName;

  enum class Kind : uint8_t {
    kClientIp = 'i',
    kHeader = 'h',
    kQuery = 'q',
    kCookie = 'k',
    kClaim = 't',
    kConsumer = 'c',
    kPlan = 'p',
    kRoute = 'r',
    kMethod = 'm',
    kLiteral = 'l',
    kAll = 'a',
  };
  struct Part {
    Kind kind = Kind::kAll;
    uint8_t v4_prefix = 32;
    uint8_t v6_prefix = 64;
    http::Name header_id = http::Name::kUnknown;
    std::string name;   // of the header, cookie, ...; the literal's text
    std::string bytes;  // kind and name, as they stand in front of the value
    std::vector<Part> all;
  };

  [[nodiscard]] static absl::StatusOr<Part> BuildPart(const gatehouse::v1::RateLimitKey& config,
                                                      const std::string& field, int depth,
                                                      BuildContext& build);
  [[nodiscard]] static absl::StatusOr<Part> BuildAll(const gatehouse::v1::RateLimitKey& config,
                                                     const std::string& field, int depth,
                                                     BuildContext& build);
  // Of all kinds but kAll and kClientIp. Empty: not present.
  [[nodiscard]] static std::string_view ValueOf(const Part& part, FilterContext& context);
  [[nodiscard]] static std::string_view LabelOf(const Part& part);
  [[nodiscard]] static std::string AddressOf(const Part& part, FilterContext& context);
  [[nodiscard]] static bool WritePart(const Part& part, FilterContext& context, Bytes& bytes);
  [[nodiscard]] static bool AppendText(const Part& part, FilterContext& context, std::string* text);
  [[nodiscard]] static bool AppendEntries(const Part& part, FilterContext& context,
                                          std::span<Entry> entries, size_t* count);
  [[nodiscard]] static size_t Leaves(const Part& part);

  std::vector<Part> parts_;
};

// On the stack while a key is written; only long ones need the arena.
class LimitKey::Bytes {
 public:
  explicit Bytes(Arena& arena) : arena_(arena) {}
  Bytes(const Bytes&) = delete;
  Bytes& operator=(const Bytes&) = delete;

  // As it is: it has its own length in it.
  void Put(std::string_view bytes) {
    Reserve(bytes.size());
    std::memcpy(at_ + size_, bytes.data(), bytes.size());
    size_ += bytes.size();
  }
  // The length, in one byte if it is short, little-endian otherwise, then the value.
  void PutValue(std::string_view value) {
    Reserve(value.size() + 5);
    if (value.size() < 0xff) {
      at_[size_++] = static_cast<char>(value.size());
    } else {
      at_[size_++] = static_cast<char>(0xff);
      for (int i = 0; i < 4; ++i) at_[size_++] = static_cast<char>(value.size() >> (8 * i));
    }
    std::memcpy(at_ + size_, value.data(), value.size());
    size_ += value.size();
  }
  void Clear() { size_ = 0; }
  [[nodiscard]] std::string_view view() const { return {at_, size_}; }

 private:
  static constexpr size_t kStackBytes = 200;

  void Reserve(size_t more) {
    if (__builtin_expect(size_ + more > capacity_, 0)) Grow(more);
  }
  void Grow(size_t more);

  Arena& arena_;
  char stack_[kStackBytes];
  char* at_ = stack_;
  size_t capacity_ = kStackBytes;
  size_t size_ = 0;
};

// What names the plan of a request: one part of a key.
class LimitPlanName {
 public:
  // The consumer's plan.
  LimitPlanName() { part_.kind = LimitKey::Kind::kPlan; }
  [[nodiscard]] static absl::StatusOr<LimitPlanName> Build(
      const gatehouse::v1::RateLimitKey& config, std::string_view field, BuildContext& build);

  // Empty: none.
  [[nodiscard]] std::string_view Of(FilterContext& context) const {
    return LimitKey::ValueOf(part_, context);
  }

 private:
  LimitKey::Part part_;
};

}  // namespace gatehouse::filters
