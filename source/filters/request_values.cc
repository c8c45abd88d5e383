#include "source/filters/request_values.h"

#include <algorithm>
#include <chrono>

#include "source/http/chars.h"

namespace gatehouse::filters {

namespace {

bool IsEscape(std::string_view text, size_t at) {
  return at + 2 < text.size() && http::HexValue(text[at + 1]) >= 0 &&
         http::HexValue(text[at + 2]) >= 0;
}

std::string_view DecodeFormText(std::string_view text, Arena& arena) {
  if (text.find_first_of("%+") == std::string_view::npos) return text;
  char* const begin = arena.AllocateChars(text.size());
  char* out = begin;
  for (size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '%' && IsEscape(text, at)) {
      *out++ = static_cast<char>(http::HexValue(text[at + 1]) * 16 + http::HexValue(text[at + 2]));
      at += 2;
    } else {
      *out++ = text[at] == '+' ? ' ' : text[at];
    }
  }
  return {begin, static_cast<size_t>(out - begin)};
}

// Whether `text` decodes to `name`, without memory.
bool DecodesTo(std::string_view text, std::string_view name) {
  size_t matched = 0;
  for (size_t at = 0; at < text.size(); ++at, ++matched) {
    if (matched == name.size()) return false;
    char c = text[at] == '+' ? ' ' : text[at];
    if (c == '%' && IsEscape(text, at)) {
      c = static_cast<char>(http::HexValue(text[at + 1]) * 16 + http::HexValue(text[at + 2]));
      at += 2;
    }
    if (c != name[matched]) return false;
  }
  return matched == name.size();
}

// Digits of `value`, `width` of them.
void PutNumber(char* to, unsigned value, int width) {
  for (int i = width - 1; i >= 0; --i, value /= 10) to[i] = static_cast<char>('0' + value % 10);
}

}  // namespace

std::string_view PathOnly(std::string_view path_and_query) {
  return path_and_query.substr(0, path_and_query.find('?'));
}

std::string_view QueryOnly(std::string_view path_and_query) {
  const size_t mark = path_and_query.find('?');
  return mark == std::string_view::npos ? std::string_view() : path_and_query.substr(mark + 1);
}

std::optional<std::string_view> QueryValue(std::string_view path_and_query, std::string_view name,
                                           Arena& arena) {
  std::string_view query = QueryOnly(path_and_query);
  while (!query.empty()) {
    const size_t amp = query.find('&');
    const std::string_view pair = query.substr(0, amp);
    const size_t equals = pair.find('=');
    if (!pair.empty() && DecodesTo(pair.substr(0, equals), name)) {
      if (equals == std::string_view::npos) return std::string_view();
      return DecodeFormText(pair.substr(equals + 1), arena);
    }
    if (amp == std::string_view::npos) break;
    query.remove_prefix(amp + 1);
  }
  return std::nullopt;
}

std::optional<std::string_view> CookieValue(const http::HeaderMap& headers, std::string_view name) {
  std::optional<std::string_view> found;
  headers.ForEach(http::Name::kCookie, [&found, name](std::string_view line) {
    while (!found && !line.empty()) {
      const size_t semicolon = line.find(';');
      const std::string_view pair = http::TrimSpace(line.substr(0, semicolon));
      const size_t equals = pair.find('=');
      if (equals != std::string_view::npos && http::TrimSpace(pair.substr(0, equals)) == name) {
        found = http::TrimSpace(pair.substr(equals + 1));
      }
      if (semicolon == std::string_view::npos) break;
      line.remove_prefix(semicolon + 1);
    }
  });
  return found;
}

std::string_view HostOnly(std::string_view authority) {
  const size_t bracket = authority.rfind(']');
  const size_t colon = authority.find(':', bracket == std::string_view::npos ? 0 : bracket);
  return authority.substr(0, colon);
}

void WriteTimestamp(int64_t wall_micros, char (&to)[kTimestampSize]) {
  using std::chrono::days;
  const std::chrono::sys_time<std::chrono::microseconds> time{
      std::chrono::microseconds(wall_micros)};
  const auto day = std::chrono::floor<days>(time);
  const std::chrono::year_month_day date{day};
  const auto seconds =
      static_cast<unsigned>(std::chrono::floor<std::chrono::seconds>(time - day).count());
  std::copy_n("0000-00-00T00:00:00Z", kTimestampSize, to);
  PutNumber(to, static_cast<unsigned>(static_cast<int>(date.year())), 4);
  PutNumber(to + 5, static_cast<unsigned>(date.month()), 2);
  PutNumber(to + 8, static_cast<unsigned>(date.day()), 2);
  PutNumber(to + 11, seconds / 3600, 2);
  PutNumber(to + 14, seconds / 60 % 60, 2);
  PutNumber(to + 17, seconds % 60, 2);
}

}  // namespace gatehouse::filters
