#include "source/observe/log_line.h"

#include <bit>
#include <charconv>
#include <cstring>

#include "source/base/utf8.h"
#include "source/observe/log_format.h"

namespace gatehouse::observe {
namespace {

constexpr char kHex[] = "0123456789abcdef";
constexpr uint64_t kOnes = 0x0101010101010101;
constexpr uint64_t kHighs = 0x8080808080808080;

// Whether a byte of `word` needs care: control, '"', '\\', DEL, or above 0x7f.
bool NeedsCare(uint64_t word) {
  const auto equal = [word](uint8_t c) {
    const uint64_t x = word ^ (kOnes * c);
    return (x - kOnes) & ~x;
  };
  const uint64_t control = (word - kOnes * 0x20) & ~word;
  return ((word | control | equal('"') | equal('\\') | equal(0x7f)) & kHighs) != 0;
}

bool NeedsCare(unsigned char c) { return c < 0x20 || c >= 0x7f || c == '"' || c == '\\'; }

// Copies eight bytes; false when one of them needs care.
bool CopyWord(char* to, const char* from) {
  uint64_t word;
  std::memcpy(&word, from, 8);
  std::memcpy(to, &word, 8);
  return !NeedsCare(word);
}

// Copies four to seven bytes as two overlapping halves; false when one of them needs care.
bool CopyHalves(char* to, const char* from, size_t size) {
  uint32_t front;
  uint32_t back;
  std::memcpy(&front, from, 4);
  std::memcpy(&back, from + size - 4, 4);
  std::memcpy(to, &front, 4);
  std::memcpy(to + size - 4, &back, 4);
  return !NeedsCare(uint64_t{front} << 32 | back);
}

// Days since 1970 to year, month, day (proleptic Gregorian; eras of 400 years from March 1st, 0).
struct Date {
  int64_t year;
  int month;
  int day;
};
Date DateOf(int64_t days) {
  days += 719468;
  const int64_t era = (days >= 0 ? days : days - 146096) / 146097;
  const int64_t day_of_era = days - era * 146097;
  const int64_t year_of_era =
      (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
  const int64_t day_of_year =
      day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const int64_t shifted = (5 * day_of_year + 2) / 153;
  const int month = static_cast<int>(shifted < 10 ? shifted + 3 : shifted - 9);
  return {year_of_era + era * 400 + (month <= 2 ? 1 : 0), month,
          static_cast<int>(day_of_year - (153 * shifted + 2) / 5 + 1)};
}

void TwoDigits(char* to, int64_t value) {
  to[0] = static_cast<char>('0' + value / 10 % 10);
  to[1] = static_cast<char>('0' + value % 10);
}

}  // namespace

std::string_view LogClock::Text(int64_t wall_us) {
  int64_t second = wall_us / 1'000'000;
  int64_t micros = wall_us % 1'000'000;
  if (micros < 0) {
    micros += 1'000'000;
    --second;
  }
  if (second != second_) {
    second_ = second;
    const int64_t days = (second >= 0 ? second : second - 86399) / 86400;
    const int64_t of_day = second - days * 86400;
    const Date date = DateOf(days);
    std::memcpy(text_.data(), "0000-00-00T00:00:00.000Z", text_.size());
    TwoDigits(&text_[0], date.year / 100);
    TwoDigits(&text_[2], date.year);
    TwoDigits(&text_[5], date.month);
    TwoDigits(&text_[8], date.day);
    TwoDigits(&text_[11], of_day / 3600);
    TwoDigits(&text_[14], of_day / 60 % 60);
    TwoDigits(&text_[17], of_day % 60);
  }
  const int64_t millis = micros / 1000;
  text_[20] = static_cast<char>('0' + millis / 100);
  TwoDigits(&text_[21], millis % 100);
  return {text_.data(), text_.size()};
}

void LogLine::Quoted(std::string_view value, bool json) {
  BeginText(json);
  Raw(value);
  EndText(json);
}

void LogLine::Number(int64_t value) {
  if (!Room(24)) return;
  at_ = std::to_chars(at_, end_, value).ptr;
}

void LogLine::Thousandths(int64_t value) {
  if (!Room(32)) return;
  if (value < 0) *at_++ = '-';
  const uint64_t size = value < 0 ? 0 - static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
  at_ = std::to_chars(at_, end_, size / 1000).ptr;
  const auto rest = static_cast<int64_t>(size % 1000);
  *at_++ = '.';
  *at_++ = static_cast<char>('0' + rest / 100);
  TwoDigits(at_, rest % 100);
  at_ += 2;
}

void LogLine::Flags(LogFlags flags, bool json) {
  if (flags.empty()) return Absent(json);
  BeginText(json);
  const char* comma = "";
  for (uint32_t bits = flags.bits(); bits != 0; bits &= bits - 1) {
    Raw(comma);
    Raw(LogFlagName(std::countr_zero(bits)));
    comma = ",";
  }
  EndText(json);
}

std::string_view LogLine::Limit(std::string_view value, bool& cut) {
  if (value.size() <= limit_) return value;
  cut = true;
  cut_ = true;
  size_t size = limit_;
  // Not in the middle of a character.
  const auto continues = [&] { return (static_cast<unsigned char>(value[size]) & 0xc0) == 0x80; };
  while (size > 0 && limit_ - size < 3 && continues()) --size;
  return value.substr(0, size);
}

size_t LogLine::CopySafe(std::string_view value) {
  const char* from = value.data();
  const size_t size = value.size();
  size_t i = 0;
  if (size >= 8) {
    // Eight bytes at a time, copied before they are looked at; the last eight may overlap.
    while (i + 8 <= size && CopyWord(at_ + i, from + i)) i += 8;
    if (i + 8 > size && (i == size || CopyWord(at_ + size - 8, from + size - 8))) i = size;
  } else if (size >= 4 && CopyHalves(at_, from, size)) {
    i = size;
  }
  while (i < size && !NeedsCare(static_cast<unsigned char>(from[i]))) {
    at_[i] = from[i];
    ++i;
  }
  at_ += i;
  return i;
}

void LogLine::JsonContent(std::string_view value) {
  bool cut = false;
  value = Limit(value, cut);
  if (!Room(value.size())) return;
  const size_t safe = CopySafe(value);
  if (safe < value.size()) EscapeJson(value.substr(safe));
  if (cut) Raw("...");
}

void LogLine::PlainContent(std::string_view value) {
  bool cut = false;
  value = Limit(value, cut);
  if (!Room(value.size())) return;
  const size_t safe = CopySafe(value);
  if (safe < value.size()) EscapePlain(value.substr(safe));
  if (cut) Raw("...");
}

void LogLine::EscapeJson(std::string_view value) {
  while (!value.empty() && Room(8)) {
    const auto c = static_cast<unsigned char>(value[0]);
    size_t size = 1;
    if (c >= 0x80) {
      size = Utf8SequenceLength(value);
      Raw(size == 0 ? std::string_view("\xef\xbf\xbd") : value.substr(0, size));
      if (size == 0) size = 1;
    } else if (c == '"' || c == '\\') {
      *at_++ = '\\';
      *at_++ = static_cast<char>(c);
    } else if (NeedsCare(c)) {
      const char escape[] = {'\\', 'u', '0', '0', kHex[c >> 4], kHex[c & 15]};
      Raw({escape, sizeof(escape)});
    } else {
      *at_++ = static_cast<char>(c);
    }
    value.remove_prefix(size);
  }
}

void LogLine::EscapePlain(std::string_view value) {
  while (!value.empty() && Room(8)) {
    const auto c = static_cast<unsigned char>(value[0]);
    const size_t size = NeedsCare(c) && c < 0x80 ? 0 : Utf8SequenceLength(value);
    // U+0080..U+009F are control characters too.
    const bool control = size == 2 && c == 0xc2 && static_cast<unsigned char>(value[1]) < 0xa0;
    if (size == 0 || control) {
      const char escape[] = {'\\', 'x', kHex[c >> 4], kHex[c & 15]};
      Raw({escape, sizeof(escape)});
      value.remove_prefix(1);
      continue;
    }
    Raw(value.substr(0, size));
    value.remove_prefix(size);
  }
}

}  // namespace gatehouse::observe
