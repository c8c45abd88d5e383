// Random tables and requests out of a byte string, small alphabets so that they often meet, and the
// comparison of both matchers. Shared by the test (bytes from a seed) and the fuzzer.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "source/route/route_spec.h"
#include "test/route/reference.h"

namespace gatehouse::route {

// Yields zeros when the bytes have run out.
class Choices {
 public:
  explicit Choices(std::span<const uint8_t> bytes) : bytes_(bytes) {}

  // 0 .. bound - 1
  uint32_t Below(uint32_t bound) {
    uint32_t value = Byte();
    if (bound > 256) value = value << 8 | Byte();
    return value % bound;
  }
  bool OneIn(uint32_t n) { return Below(n) == n - 1; }
  std::string_view Of(std::span<const std::string_view> options) {
    return options[Below(static_cast<uint32_t>(options.size()))];
  }

 private:
  uint8_t Byte() { return at_ < bytes_.size() ? bytes_[at_++] : 0; }
  std::span<const uint8_t> bytes_;
  size_t at_ = 0;
};

[[nodiscard]] std::vector<TableSpec> RandomTables(Choices& choices);
[[nodiscard]] ReferenceRequest RandomRequest(Choices& choices);

// Builds the tables, looks some requests up in both matchers (and through Explain); "" or what
// differs, printed. Tables that the builder refuses are fine.
[[nodiscard]] std::string CompareMatchers(std::span<const uint8_t> bytes, size_t* built = nullptr);

}  // namespace gatehouse::route
