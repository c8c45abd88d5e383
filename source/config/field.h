// Field: one place in a resource while it is read, and how its value is checked.
//
// Lives on the stack: a child points to its parent, which therefore has to have a name (a chain of
// temporaries does not compile). It costs nothing until there is an error: only then is the path
// written out and its line looked up. Main thread, while a config is built.
//
//   const Field retry = route.Below("retry");
//   const Field statuses = retry.Below("on");
//   statuses.Item(2).Error("'504x' is not a status");
//   policy.backoff = ReadDuration(given, message.backoff(), {.fallback = 25ms},
//   retry.Below("backoff"));
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "google/protobuf/duration.pb.h"

#include "source/base/time.h"
#include "source/config/config_error.h"
#include "source/config/source_map.h"

namespace gatehouse::config {

class Field {
 public:
  // A resource as a whole. Both outlive this.
  Field(const SourceMap& source, ErrorList& errors) : source_(&source), errors_(&errors) {}

  // `name` may be several steps: "filters[2].cors". It outlives the child.
  [[nodiscard]] Field Below(std::string_view name) const& { return Field(*this, name, kNoIndex); }
  [[nodiscard]] Field Item(size_t index) const& { return Field(*this, {}, index); }
  Field Below(std::string_view name) const&& = delete;
  Field Item(size_t index) const&& = delete;

  void Error(std::string message, std::string_view suggestion = {}) const;
  // The message of a status; nothing if it is OK.
  void Error(const absl::Status& status) const;
  // The same where the message may begin with a part of this: "pattern: lacks its )".
  void ErrorBelow(const absl::Status& status) const;
  // "there is no cluster "x"", with the nearest of the known names.
  void Unknown(std::string_view what, std::string_view name,
               std::span<const std::string_view> known) const;

  // From the resource on.
  [[nodiscard]] std::string Path() const;

 private:
  static constexpr size_t kNoIndex = SIZE_MAX;

  Field(const Field& parent, std::string_view name, size_t index)
      : source_(parent.source_),
        errors_(parent.errors_),
        parent_(&parent),
        name_(name),
        index_(index) {}
  void AppendPath(std::string* path) const;

  const SourceMap* source_;
  ErrorList* errors_;
  const Field* parent_ = nullptr;
  std::string_view name_;
  size_t index_ = kNoIndex;
};

inline constexpr Duration kLongestTimeout = std::chrono::hours(24 * 365);
// As of RFC 6265bis, browsers cut cookies off at 400 days.
inline constexpr Duration kLongestCookie = std::chrono::hours(24 * 400);

struct DurationRule {
  Duration fallback;
  bool zero_is_none = false;  // else 0 is an error
  Duration longest = kLongestTimeout;
};
// `given` tells whether the field is there; if not, or if it is wrong, the fallback.
[[nodiscard]] Duration ReadDuration(bool given, const google::protobuf::Duration& value,
                                    const DurationRule& rule, const Field& field);

struct NumberRule {
  uint64_t fallback;
  uint64_t min = 1;
  uint64_t max = UINT32_MAX;
};
// Fields in which 0 means "the default".
[[nodiscard]] uint64_t ReadNumber(uint64_t value, const NumberRule& rule, const Field& field);
// The same for a number of bytes, whose bounds the error writes as sizes.
[[nodiscard]] uint64_t ReadSize(uint64_t value, const NumberRule& rule, const Field& field);
// An optional field, in which 0 is a value like others.
[[nodiscard]] uint64_t ReadOptional(bool given, uint64_t value, const NumberRule& rule,
                                    const Field& field);

// A header's name in lower case; "" when it is none.
[[nodiscard]] std::string ReadHeaderName(std::string_view name, const Field& field);
// A header that the gateway may be told to write: not one of those that frame a message.
bool CheckSettableHeader(std::string_view name, std::string_view value, const Field& field);
// One that frames a message or belongs to one connection. `name` in lower case.
[[nodiscard]] bool IsFramingHeader(std::string_view name);
[[nodiscard]] std::string LowerCase(std::string_view text);

// The name of a resource or route, as it will stand in logs and metrics.
bool CheckName(std::string_view name, const Field& field);

}  // namespace gatehouse::config
