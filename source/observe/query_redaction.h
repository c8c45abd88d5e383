// QueryRedaction: what may be logged of a query string, so that credentials stay out of logs.
//
// Owner: a LogFormat; immutable, any thread, no allocation. Pieces point into the query.
//
//   QueryRedaction redaction(QueryLog::kRedacted, {"ticket"});
//   redaction.ForEachPiece("a=1&token=x", [](std::string_view piece) { ... });  // a=1& token= ***
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace gatehouse::observe {

// What is logged of a query string.
enum class QueryLog : uint8_t {
  kRedacted,  // values of parameters that look like credentials become ***
  kNames,     // every value becomes ***
  kNone,      // nothing
  kFull,      // as it came
};

class QueryRedaction {
 public:
  static constexpr std::string_view kMask = "***";

  // `secrets` are further parameter names whose values kRedacted hides; case does not matter.
  QueryRedaction(QueryLog mode, const std::vector<std::string>& secrets);

  [[nodiscard]] QueryLog mode() const { return mode_; }

  // Calls `append` with each piece of what may be logged, in order.
  template <typename Append>
  void ForEachPiece(std::string_view query, Append append) const {
    if (mode_ == QueryLog::kNone) return;
    if (mode_ == QueryLog::kFull) return append(query);
    size_t begin = 0;  // of what is not appended yet
    size_t name = 0;
    size_t value = 0;  // behind the '='; 0: none yet
    for (size_t at = 0; at <= query.size(); ++at) {
      const char c = at < query.size() ? query[at] : '&';
      if (c == '=' && value == 0) value = at + 1;
      if (c != '&' && c != ';') continue;
      if (value != 0 && value < at && Hides(query.substr(name, value - 1 - name))) {
        append(query.substr(begin, value - begin));
        append(kMask);
        begin = at;
      }
      name = at + 1;
      value = 0;
    }
    append(query.substr(begin));
  }

  // Whether the parameter's value is hidden. The name may be percent-encoded.
  [[nodiscard]] bool Hides(std::string_view parameter) const;

 private:
  QueryLog mode_;
  std::vector<std::string> secrets_;  // normalised
};

}  // namespace gatehouse::observe
