#include "source/http/normalize.h"

#include <arpa/inet.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "source/http/chars.h"

namespace gatehouse::http {
namespace {

constexpr size_t kMaxHost = 255;  // RFC 1035, section 2.3.4

// What a scan of the path found. Everything up to `end` (the '?' or the end of the text) is looked
// at, so that a bad character is found wherever it is.
struct PathScan {
  size_t end;
  bool bad = false;   // a character that no path may hold
  bool work = false;  // '%', "//" or "/.": needs the slow way
};

#if defined(__SSE2__)
PathScan ScanPath(std::string_view text) {
  PathScan scan{.end = text.size()};
  const auto any = [](__m128i bytes, char c) { return _mm_cmpeq_epi8(bytes, _mm_set1_epi8(c)); };
  unsigned slash_before = 0;
  unsigned bad_bits = 0;
  unsigned work_bits = 0;
  for (size_t at = 0; at < text.size(); at += 16) {
    const size_t left = text.size() - at;
    const __m128i bytes = LoadPadded(text.data() + at, left);
    const __m128i slashes = any(bytes, '/');
    const __m128i bad =
        _mm_or_si128(_mm_or_si128(_mm_cmplt_epi8(bytes, _mm_set1_epi8(0x21)), any(bytes, 0x7f)),
                     _mm_or_si128(any(bytes, '#'), any(bytes, '\\')));
    const auto slash = static_cast<unsigned>(_mm_movemask_epi8(slashes));
    const auto dot_or_slash =
        static_cast<unsigned>(_mm_movemask_epi8(_mm_or_si128(slashes, any(bytes, '.'))));
    const unsigned percent = MaskOf(bytes, '%');
    const unsigned question = MaskOf(bytes, '?');
    // Bits in front of the first '?', and of the end of the text.
    unsigned here = left < 16 ? (1u << left) - 1 : 0xffff;
    if (question != 0) here &= (question & -question) - 1;
    const unsigned after_slash = slash << 1 | slash_before;
    bad_bits |= static_cast<unsigned>(_mm_movemask_epi8(bad)) & here;
    work_bits |= (percent | (after_slash & dot_or_slash)) & here;
    if (question != 0) {
      scan.end = at + static_cast<size_t>(__builtin_ctz(question));
      break;
    }
    slash_before = slash >> 15;
  }
  scan.bad = bad_bits != 0;
  scan.work = work_bits != 0;
  return scan;
}
#else
PathScan ScanPath(std::string_view text) {
  PathScan scan{.end = text.size()};
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '?') {
      scan.end = i;
      break;
    }
    scan.bad = scan.bad || !IsTargetChar(c) || c == '#' || c == '\\';
    const bool after_slash = i > 0 && text[i - 1] == '/';
    scan.work = scan.work || c == '%' || (after_slash && (c == '/' || c == '.'));
  }
  return scan;
}
#endif

bool IsQuery(std::string_view query) {
  const char* end = query.data() + query.size();
  return FindQueryEnd(query.data(), end, query.data()) == end;
}

// Decodes escapes into `out`, which has room for the path. False when the path is invalid.
bool DecodePath(std::string_view path, EncodedSlash policy, char*& out, bool& decoded_slash) {
  for (size_t i = 0; i < path.size(); ++i) {
    if (path[i] != '%') {
      *out++ = path[i];
      continue;
    }
    if (path.size() - i < 3) return false;
    const int high = HexValue(path[i + 1]);
    const int low = HexValue(path[i + 2]);
    if (high < 0 || low < 0) return false;
    const auto c = static_cast<char>(high << 4 | low);
    i += 2;
    if (c == '\0') return false;
    if (IsUnreserved(c)) {
      *out++ = c;
      continue;
    }
    if (c == '/' || c == '\\') {
      if (policy == EncodedSlash::kReject) return false;
      if (policy != EncodedSlash::kKeep) {
        // "%5C" means what "%2F" means to those origins that decode it, and '\' is never let in.
        decoded_slash = true;
        *out++ = '/';
        continue;
      }
    }
    constexpr char kHex[] = "0123456789ABCDEF";
    *out++ = '%';
    *out++ = kHex[high];
    *out++ = kHex[low];
  }
  return true;
}

// Removes "." and ".." and, if wanted, empty segments, in place. RFC 3986, section 5.2.4, but that
// climbing above the root is false here. `path` begins with '/'. Returns the new size in `size`.
bool RemoveDots(char* path, size_t& size, bool merge_slashes) {
  size_t out = 0;  // path[0, out) is done; it is empty or a list of "/segment"
  size_t at = 0;
  while (at < size) {
    // path[at] is '/': the segment behind it.
    const size_t begin = at + 1;
    size_t end = begin;
    while (end < size && path[end] != '/') ++end;
    const std::string_view segment(path + begin, end - begin);
    const bool last = end == size;
    at = end;
    if (segment == "." || segment == "..") {
      if (segment == "..") {
        if (out == 0) return false;
        while (path[--out] != '/') {
        }
      }
      if (last) path[out++] = '/';  // "/a/." is "/a/"
      continue;
    }
    if (segment.empty() && merge_slashes && !last) continue;
    path[out++] = '/';
    std::memmove(path + out, path + begin, segment.size());
    out += segment.size();
  }
  size = out;
  return true;
}

// The leading run of host characters and dots.
struct HostRun {
  size_t size = 0;
  bool empty_label = false;  // a dot in front, or two together
  bool upper = false;        // an upper-case letter
};

#if defined(__SSE2__)
HostRun ScanHost(std::string_view text) {
  HostRun run{.empty_label = !text.empty() && text[0] == '.'};
  const auto between = [](__m128i bytes, char low, char high) {
    return _mm_and_si128(_mm_cmpgt_epi8(bytes, _mm_set1_epi8(static_cast<char>(low - 1))),
                         _mm_cmplt_epi8(bytes, _mm_set1_epi8(static_cast<char>(high + 1))));
  };
  // Words overlap by a byte, so that every pair is seen together; the last one ends with the text.
  for (size_t at = 0;; at += 15) {
    if (text.size() > 16) at = std::min(at, text.size() - 16);
    const __m128i bytes = LoadPadded(text.data() + at, text.size() - at);
    const __m128i letters = between(_mm_or_si128(bytes, _mm_set1_epi8(0x20)), 'a', 'z');
    const __m128i digits = between(bytes, '0', '9');
    const __m128i marks = _mm_or_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('-')),
                                       _mm_cmpeq_epi8(bytes, _mm_set1_epi8('_')));
    const __m128i dots = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('.'));
    const auto host = static_cast<unsigned>(
        _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(letters, digits), _mm_or_si128(marks, dots))));
    const auto dot = static_cast<unsigned>(_mm_movemask_epi8(dots));
    const auto inside = static_cast<unsigned>(__builtin_ctz(~host));
    const unsigned run_bits = (1u << inside) - 1;
    // Bit 5 moved to where the mask is taken from.
    const auto lower = static_cast<unsigned>(_mm_movemask_epi8(_mm_slli_epi16(bytes, 2)));
    const auto letter = static_cast<unsigned>(_mm_movemask_epi8(letters));
    run.upper |= (letter & ~lower & run_bits) != 0;
    run.empty_label |= (dot & dot << 1 & run_bits) != 0;
    run.size = at + inside;
    if (inside < 16 || run.size == text.size()) return run;
  }
}
#else
HostRun ScanHost(std::string_view text) {
  HostRun run;
  char before = '.';
  for (; run.size < text.size(); ++run.size) {
    const char c = text[run.size];
    if (!IsHostChar(c) && c != '.') break;
    run.empty_label = run.empty_label || (c == '.' && before == '.');
    run.upper = run.upper || (c >= 'A' && c <= 'Z');
    before = c;
  }
  return run;
}
#endif

bool IsIpv6Literal(std::string_view text) {
  constexpr size_t kMost = 45;  // ffff:...:255.255.255.255
  if (text.size() < 4 || text.size() > kMost + 2) return false;
  char inside[kMost + 1] = {};
  std::memcpy(inside, text.data() + 1, text.size() - 2);
  if (std::strlen(inside) != text.size() - 2) return false;
  in6_addr address;
  return inet_pton(AF_INET6, inside, &address) == 1;
}

// 0 when it is no port.
uint16_t ParsePort(std::string_view text) {
  if (text.empty() || text.size() > 5) return 0;
  uint32_t port = 0;
  for (char c : text) {
    if (!IsDigit(c)) return 0;
    port = port * 10 + static_cast<uint32_t>(c - '0');
  }
  return port <= 65535 ? static_cast<uint16_t>(port) : 0;
}

// False when it is none. `upper` tells whether the host may hold upper-case letters.
bool SplitAuthority(std::string_view authority, HostPort& result, bool& upper) {
  size_t host_size = 0;
  upper = true;
  const bool literal = !authority.empty() && authority[0] == '[';
  if (literal) {
    host_size = authority.find(']') + 1;  // npos + 1 is 0
    if (host_size == 0 || !IsIpv6Literal(authority.substr(0, host_size))) return false;
  } else {
    const HostRun run = ScanHost(authority);
    if (run.size == 0 || run.size > kMaxHost || run.empty_label) return false;
    host_size = run.size;
    upper = run.upper;
  }
  result.host = authority.substr(0, host_size);
  if (host_size < authority.size()) {
    if (authority[host_size] != ':') return false;
    result.port = ParsePort(authority.substr(host_size + 1));
    if (result.port == 0) return false;
  }
  if (!literal && result.host.back() == '.') result.host.remove_suffix(1);
  return true;
}

}  // namespace

NormalizedPath NormalizePath(std::string_view path_and_query, const PathOptions& options,
                             Arena& arena) {
  constexpr NormalizedPath kBad = {PathResult::kInvalid, {}};
  if (path_and_query.empty()) return kBad;
  if (path_and_query[0] != '/') {
    return path_and_query == "*" ? NormalizedPath{PathResult::kClean, path_and_query} : kBad;
  }
  const PathScan scan = ScanPath(path_and_query);
  if (scan.bad) return kBad;
  const std::string_view query = path_and_query.substr(scan.end);
  if (!query.empty() && !IsQuery(query)) return kBad;
  if (__builtin_expect(!scan.work, 1)) return {PathResult::kClean, path_and_query};

  char* copy = arena.AllocateChars(path_and_query.size());
  char* out = copy;
  bool decoded_slash = false;
  if (!DecodePath(path_and_query.substr(0, scan.end), options.encoded_slash, out, decoded_slash)) {
    return kBad;
  }
  size_t size = static_cast<size_t>(out - copy);
  // A redirect to "//host" would lead away from here.
  const bool redirect =
      decoded_slash && options.encoded_slash == EncodedSlash::kUnescapeAndRedirect;
  if (!RemoveDots(copy, size, options.merge_slashes || redirect)) return kBad;
  if (!query.empty()) std::memcpy(copy + size, query.data(), query.size());
  const std::string_view result(copy, size + query.size());
  if (redirect) return {PathResult::kRedirect, result};
  if (result == path_and_query) return {PathResult::kClean, path_and_query};
  return {PathResult::kChanged, result};
}

bool IsAuthority(std::string_view authority) {
  HostPort ignored;
  bool upper = false;
  return SplitAuthority(authority, ignored, upper);
}

std::optional<HostPort> NormalizeHost(std::string_view authority, Arena& arena) {
  HostPort result;
  bool upper = false;
  if (!SplitAuthority(authority, result, upper)) return std::nullopt;
  if (upper) {
    char* lower = arena.AllocateChars(result.host.size());
    std::transform(result.host.begin(), result.host.end(), lower,
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; });
    result.host = {lower, result.host.size()};
  }
  return result;
}

}  // namespace gatehouse::http
