// How single values are written in text: durations, sizes, rates, ratios, numbers. Both directions.
//
// Pure functions. A parser returns an empty string and sets its result, or returns what is wrong in
// words for the author: what was expected, with an example.
//
//   std::chrono::nanoseconds value;
//   if (std::string wrong = ParseDuration("1m30s", &value); !wrong.empty()) Complain(wrong);
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace gatehouse::config {

// 2s, 150ms, 1m30s, 1.5h, 500us, 0. Not negative; up to 292 years. Units d h m s ms us ns.
[[nodiscard]] std::string ParseDuration(std::string_view text, std::chrono::nanoseconds* out);
[[nodiscard]] std::string FormatDuration(std::chrono::nanoseconds value);

// 64KiB, 1.5MiB, 10MB, 512B, 4096. Units B, kB/KB MB GB TB (1000), KiB MiB GiB TiB (1024).
[[nodiscard]] std::string ParseSize(std::string_view text, uint64_t* out);
[[nodiscard]] std::string FormatSize(uint64_t bytes);

// 0.05 or 5%, from 0 to 1.
[[nodiscard]] std::string ParseRatio(std::string_view text, double* out);

struct RateValue {
  uint64_t amount = 0;
  std::chrono::nanoseconds per{};
};
// 10/s, 600/m, 5000/h, 1/d, 20/30s, 5/100ms.
[[nodiscard]] std::string ParseRate(std::string_view text, RateValue* out);
[[nodiscard]] std::string FormatRate(const RateValue& rate);

// A number of the YAML core schema (a JSON number is one), such as 12, -3, 0x1F, 1e3, 2.0. Whole
// numbers only.
[[nodiscard]] std::string ParseSigned(std::string_view text, int64_t min, int64_t max,
                                      int64_t* out);
[[nodiscard]] std::string ParseUnsigned(std::string_view text, uint64_t max, uint64_t* out);
[[nodiscard]] std::string ParseDouble(std::string_view text, double* out);

}  // namespace gatehouse::config
