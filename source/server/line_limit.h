// LineLimit: so many lines in so long a time, for what others can cause to be said without end.
//
// A plain value. Any one thread.
//
//   LineLimit limit(100, std::chrono::minutes(1));
//   if (const auto left_out = limit.Take(loop.Now())) Say(line);  // and *left_out were not said
#pragma once

#include <cstdint>
#include <optional>
#include <utility>

#include "source/base/time.h"

namespace gatehouse::server {

class LineLimit {
 public:
  LineLimit(uint32_t lines, Duration interval) : lines_(lines), interval_(interval) {}

  // For one line. None: it is one too many. Else how many those were since the last one that was
  // not.
  [[nodiscard]] std::optional<uint64_t> Take(TimePoint now) {
    if (said_ == 0 || now - begin_ >= interval_) {
      begin_ = now;
      said_ = 0;
    }
    if (said_ == lines_) {
      ++left_out_;
      return std::nullopt;
    }
    ++said_;
    return std::exchange(left_out_, 0);
  }

 private:
  uint32_t lines_;
  Duration interval_;
  TimePoint begin_;
  uint32_t said_ = 0;  // since `begin_`
  uint64_t left_out_ = 0;
};

}  // namespace gatehouse::server
