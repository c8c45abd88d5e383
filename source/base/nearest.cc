#include "source/base/nearest.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <vector>

namespace gatehouse {
namespace {

constexpr size_t kMaxWord = 64;

// Without what spellings differ in: case and separators.
std::string Normalize(std::string_view word) {
  std::string out;
  for (const char c : word) {
    if (c == '_' || c == '-' || c == ' ' || c == '.') continue;
    out.push_back(c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c);
  }
  return out;
}

// Letters added, dropped, replaced, or two neighbours swapped.
size_t Distance(std::string_view a, std::string_view b) {
  std::array<std::array<size_t, kMaxWord + 1>, 3> rows;
  for (size_t j = 0; j <= b.size(); ++j) rows[0][j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    auto& row = rows[i % 3];
    const auto& above = rows[(i + 2) % 3];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replace = above[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, replace});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], rows[(i + 1) % 3][j - 2] + 1);
      }
    }
  }
  return rows[a.size() % 3][b.size()];
}

// `part` is whole words of `name`: prefix, path_prefix.
bool IsPartOf(std::string_view part, std::string_view name) {
  for (size_t at = name.find(part); at != std::string_view::npos; at = name.find(part, at + 1)) {
    const size_t end = at + part.size();
    const bool begins = at == 0 || name[at - 1] == '_' || name[at - 1] == '-';
    const bool ends = end == name.size() || name[end] == '_' || name[end] == '-';
    if (begins && ends) return true;
  }
  return false;
}

}  // namespace

std::string_view Nearest(std::string_view word, std::span<const std::string_view> known) {
  const std::string wanted = Normalize(word);
  if (wanted.empty() || wanted.size() > kMaxWord) return {};
  std::string_view best;
  size_t best_distance = std::max<size_t>(1, wanted.size() / 3) + 1;
  for (const std::string_view name : known) {
    const std::string candidate = Normalize(name);
    if (candidate.empty() || candidate.size() > kMaxWord) continue;
    const size_t distance = Distance(wanted, candidate);
    // One letter against another is no resemblance.
    if (distance >= std::max(wanted.size(), candidate.size())) continue;
    if (distance < best_distance) {
      best = name;
      best_distance = distance;
    }
  }
  if (!best.empty() || wanted.size() < 3) return best;
  std::string_view longer;
  for (const std::string_view name : known) {
    if (!IsPartOf(word, name) && !IsPartOf(name, word)) continue;
    if (!longer.empty()) return {};  // several: none is the one that was meant
    longer = name;
  }
  return longer;
}

}  // namespace gatehouse
