#include "source/config/text_scalars.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <iterator>
#include <limits>
#include <optional>

#include "fmt/format.h"

namespace gatehouse::config {
namespace {

__extension__ using Wide = unsigned __int128;

constexpr std::string_view kDurationForm = "expected a duration such as 2s, 150ms or 1m30s";
constexpr std::string_view kSizeForm = "expected a size such as 64KiB, 10MB or a number of bytes";
constexpr std::string_view kRatioForm = "expected a ratio from 0 to 1 such as 0.05, or 5%";
constexpr std::string_view kRateForm = "expected a rate such as 10/s, 600/m, 5000/h or 20/30s";

struct Unit {
  std::string_view name;
  uint64_t factor;
};
constexpr std::array<Unit, 7> kDurationUnits = {{{"d", 86'400'000'000'000},
                                                 {"h", 3'600'000'000'000},
                                                 {"m", 60'000'000'000},
                                                 {"s", 1'000'000'000},
                                                 {"ms", 1'000'000},
                                                 {"us", 1'000},
                                                 {"ns", 1}}};
constexpr std::array<Unit, 10> kSizeUnits = {{{"TiB", uint64_t{1} << 40},
                                              {"GiB", uint64_t{1} << 30},
                                              {"MiB", uint64_t{1} << 20},
                                              {"KiB", uint64_t{1} << 10},
                                              {"TB", 1'000'000'000'000},
                                              {"GB", 1'000'000'000},
                                              {"MB", 1'000'000},
                                              {"KB", 1'000},
                                              {"kB", 1'000},
                                              {"B", 1}}};

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// digits[.digits] in front of `text`, taken off it.
struct Decimal {
  std::string_view whole;
  std::string_view fraction;  // without trailing zeros
};
std::optional<Decimal> TakeDecimal(std::string_view* text) {
  const auto take_digits = [text] {
    size_t end = 0;
    while (end < text->size() && IsDigit((*text)[end])) ++end;
    const std::string_view digits = text->substr(0, end);
    text->remove_prefix(end);
    return digits;
  };
  Decimal decimal;
  decimal.whole = take_digits();
  if (decimal.whole.empty()) return std::nullopt;
  if (text->starts_with('.')) {
    text->remove_prefix(1);
    decimal.fraction = take_digits();
    if (decimal.fraction.empty()) return std::nullopt;
    while (decimal.fraction.ends_with('0')) decimal.fraction.remove_suffix(1);
  }
  return decimal;
}

// decimal * factor, if it is a whole number up to `max`.
std::optional<uint64_t> Multiply(const Decimal& decimal, uint64_t factor, uint64_t max) {
  Wide value = 0;
  for (const char c : decimal.whole) {
    value = value * 10 + static_cast<Wide>(c - '0');
    if (value > max) return std::nullopt;
  }
  value *= factor;
  if (decimal.fraction.size() > 15) return std::nullopt;
  Wide fraction = 0;
  Wide scale = 1;
  for (const char c : decimal.fraction) {
    fraction = fraction * 10 + static_cast<Wide>(c - '0');
    scale *= 10;
  }
  fraction *= factor;
  if (fraction % scale != 0) return std::nullopt;
  value += fraction / scale;
  if (value > max) return std::nullopt;
  return static_cast<uint64_t>(value);
}

std::string_view TakeLetters(std::string_view* text) {
  size_t end = 0;
  while (end < text->size() && !IsDigit((*text)[end]) && (*text)[end] != '.') ++end;
  const std::string_view letters = text->substr(0, end);
  text->remove_prefix(end);
  return letters;
}

// The digits and the power of ten of a decimal number: 1.5e3 is 15 and 2.
struct Scientific {
  bool negative = false;
  std::string digits;  // without leading and trailing zeros
  int64_t exponent = 0;
};
std::optional<Scientific> SplitNumber(std::string_view text) {
  Scientific number;
  if (text.starts_with('-') || text.starts_with('+')) {
    number.negative = text[0] == '-';
    text.remove_prefix(1);
  }
  bool in_fraction = false;
  size_t at = 0;
  for (; at < text.size() && (IsDigit(text[at]) || text[at] == '.'); ++at) {
    if (text[at] == '.') {
      if (in_fraction) return std::nullopt;
      in_fraction = true;
      continue;
    }
    number.digits.push_back(text[at]);
    if (in_fraction) --number.exponent;
  }
  if (number.digits.empty()) return std::nullopt;
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    ++at;
    if (at < text.size() && text[at] == '+') ++at;
    int exponent = 0;
    const auto [end, error] =
        std::from_chars(text.data() + at, text.data() + text.size(), exponent);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    number.exponent += exponent;
  } else if (at != text.size()) {
    return std::nullopt;
  }
  while (number.digits.ends_with('0')) {
    number.digits.pop_back();
    ++number.exponent;
  }
  number.digits.erase(0, std::min(number.digits.find_first_not_of('0'), number.digits.size()));
  return number;
}

struct Integer {
  bool negative = false;
  uint64_t magnitude = 0;
};

// Empty and *out, or what is wrong.
std::string ParseInteger(std::string_view text, Integer* out) {
  constexpr std::string_view kTooBig = "the number is out of range";
  if (text.starts_with("0x") || text.starts_with("0o")) {
    const int base = text[1] == 'x' ? 16 : 8;
    const char* end = text.data() + text.size();
    const auto [at, error] = std::from_chars(text.data() + 2, end, out->magnitude, base);
    if (error == std::errc::result_out_of_range) return std::string(kTooBig);
    if (error != std::errc() || at != end) return "expected a number";
    return {};
  }
  const std::optional<Scientific> number = SplitNumber(text);
  if (!number) return "expected a number";
  if (number->digits.empty()) return {};  // zero
  if (number->exponent < 0) return "expected a whole number";
  if (number->exponent > 19) return std::string(kTooBig);
  const Decimal decimal{number->digits, {}};
  uint64_t factor = 1;
  for (int64_t i = 0; i < number->exponent; ++i) factor *= 10;
  const std::optional<uint64_t> value =
      Multiply(decimal, factor, std::numeric_limits<uint64_t>::max());
  if (!value) return std::string(kTooBig);
  out->magnitude = *value;
  out->negative = number->negative;
  return {};
}

}  // namespace

std::string ParseDuration(std::string_view text, std::chrono::nanoseconds* out) {
  constexpr auto kMax = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  *out = {};
  if (text == "0") return {};
  if (text.starts_with('-')) return "a duration must not be negative";
  if (text.empty()) return std::string(kDurationForm);
  uint64_t total = 0;
  size_t next_unit = 0;  // 30s1m is not a duration
  while (!text.empty()) {
    const std::optional<Decimal> decimal = TakeDecimal(&text);
    if (!decimal) return std::string(kDurationForm);
    const std::string_view name = TakeLetters(&text);
    if (name.empty()) return fmt::format("{}: a unit is missing", kDurationForm);
    const auto unit = std::find_if(kDurationUnits.begin() + static_cast<ptrdiff_t>(next_unit),
                                   kDurationUnits.end(),
                                   [name](const Unit& known) { return known.name == name; });
    if (unit == kDurationUnits.end()) return std::string(kDurationForm);
    next_unit = static_cast<size_t>(unit - kDurationUnits.begin()) + 1;
    const std::optional<uint64_t> part = Multiply(*decimal, unit->factor, kMax - total);
    if (!part) return "the duration is too long, or finer than a nanosecond";
    total += *part;
  }
  *out = std::chrono::nanoseconds(static_cast<int64_t>(total));
  return {};
}

std::string FormatDuration(std::chrono::nanoseconds value) {
  if (value.count() == 0) return "0s";
  std::string out;
  auto rest = static_cast<uint64_t>(value.count());
  if (value.count() < 0) {
    out.push_back('-');
    rest = 0 - rest;
  }
  for (const Unit& unit : kDurationUnits) {
    if (unit.name == "d" || rest < unit.factor) continue;
    fmt::format_to(std::back_inserter(out), "{}{}", rest / unit.factor, unit.name);
    rest %= unit.factor;
  }
  return out;
}

std::string ParseSize(std::string_view text, uint64_t* out) {
  const std::optional<Decimal> decimal = TakeDecimal(&text);
  if (!decimal) return std::string(kSizeForm);
  if (text.starts_with(' ')) text.remove_prefix(1);
  if (text.empty()) text = "B";
  const auto unit = std::find_if(kSizeUnits.begin(), kSizeUnits.end(),
                                 [text](const Unit& known) { return known.name == text; });
  if (unit == kSizeUnits.end()) return std::string(kSizeForm);
  const std::optional<uint64_t> bytes =
      Multiply(*decimal, unit->factor, std::numeric_limits<uint64_t>::max());
  if (!bytes) return "the size is out of range, or not a whole number of bytes";
  *out = *bytes;
  return {};
}

std::string FormatSize(uint64_t bytes) {
  constexpr uint64_t kSmallestDecimal = 1'000'000;  // below it, KiB or plain bytes read better
  for (const bool binary : {true, false}) {
    for (const Unit& unit : kSizeUnits) {
      const bool matches = binary ? unit.name.size() == 3 : unit.factor >= kSmallestDecimal;
      if (matches && bytes >= unit.factor && bytes % unit.factor == 0) {
        return fmt::format("{}{}", bytes / unit.factor, unit.name);
      }
    }
  }
  return fmt::format("{}B", bytes);
}

std::string ParseRatio(std::string_view text, double* out) {
  const bool percent = text.ends_with('%');
  if (percent) text.remove_suffix(1);
  double value = 0;
  if (!ParseDouble(text, &value).empty()) return std::string(kRatioForm);
  if (percent) value /= 100;
  if (!(value >= 0 && value <= 1)) {
    return percent || value < 0 || value > 100
               ? std::string(kRatioForm)
               : fmt::format("{}; for {} percent write {}%", kRatioForm, value, value);
  }
  *out = value;
  return {};
}

std::string ParseRate(std::string_view text, RateValue* out) {
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos) return std::string(kRateForm);
  const std::string_view amount = text.substr(0, slash);
  std::string_view per = text.substr(slash + 1);
  if (amount.empty() || !std::all_of(amount.begin(), amount.end(), IsDigit)) {
    return std::string(kRateForm);
  }
  if (!ParseUnsigned(amount, std::numeric_limits<uint64_t>::max(), &out->amount).empty()) {
    return std::string(kRateForm);
  }
  if (per.empty()) return std::string(kRateForm);
  const std::string one_unit = IsDigit(per[0]) ? std::string(per) : fmt::format("1{}", per);
  if (!ParseDuration(one_unit, &out->per).empty()) return std::string(kRateForm);
  if (out->per.count() == 0) return "the time of a rate must not be 0";
  return {};
}

std::string FormatRate(const RateValue& rate) {
  for (const Unit& unit : kDurationUnits) {
    if (static_cast<uint64_t>(rate.per.count()) == unit.factor) {
      return fmt::format("{}/{}", rate.amount, unit.name);
    }
  }
  return fmt::format("{}/{}", rate.amount, FormatDuration(rate.per));
}

std::string ParseSigned(std::string_view text, int64_t min, int64_t max, int64_t* out) {
  Integer integer;
  if (std::string wrong = ParseInteger(text, &integer); !wrong.empty()) return wrong;
  // -2^63 has no positive counterpart.
  const uint64_t limit =
      integer.negative ? 0 - static_cast<uint64_t>(min) : static_cast<uint64_t>(max);
  if (integer.magnitude > limit) return fmt::format("must be from {} to {}", min, max);
  *out = static_cast<int64_t>(integer.negative ? 0 - integer.magnitude : integer.magnitude);
  return {};
}

std::string ParseUnsigned(std::string_view text, uint64_t max, uint64_t* out) {
  Integer integer;
  if (std::string wrong = ParseInteger(text, &integer); !wrong.empty()) return wrong;
  if ((integer.negative && integer.magnitude > 0) || integer.magnitude > max) {
    return fmt::format("must be from 0 to {}", max);
  }
  *out = integer.magnitude;
  return {};
}

std::string ParseDouble(std::string_view text, double* out) {
  if (text.starts_with("0x") || text.starts_with("0o")) {
    uint64_t whole = 0;
    std::string wrong = ParseUnsigned(text, std::numeric_limits<uint64_t>::max(), &whole);
    *out = static_cast<double>(whole);
    return wrong;
  }
  if (text.starts_with('+')) text.remove_prefix(1);
  const char* end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, *out);
  if (error == std::errc::result_out_of_range) return "the number is out of range";
  if (error != std::errc() || at != end || !std::isfinite(*out)) return "expected a number";
  return {};
}

}  // namespace gatehouse::config
