#include "source/control_plane/diff.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include <fmt/format.h>

#include "source/control_plane/resource_file.h"

namespace gatehouse::control {
namespace {

constexpr int kContext = 3;
// With more differences than this a line-by-line account helps nobody.
constexpr int kMaxDifferences = 2000;

using Lines = std::vector<std::string_view>;

Lines Split(std::string_view text) {
  Lines lines;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    lines.push_back(text.substr(0, end));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return lines;
}

// ' ' both, '-' the first, '+' the second.
struct Step {
  char kind;
  std::string_view line;
};

void AddAll(const Lines& lines, int from, int to, char kind, std::vector<Step>* steps) {
  for (int i = from; i < to; ++i) steps->push_back({kind, lines[static_cast<size_t>(i)]});
}

// Myers, "An O(ND) Difference Algorithm and Its Variations": for each number of differences, how
// far each diagonal gets; then the way back.
class Shortest {
 public:
  Shortest(const Lines& a, const Lines& b)
      : a_(a), b_(b), n_(static_cast<int>(a.size())), m_(static_cast<int>(b.size())) {}

  std::vector<Step> Steps() {
    int differences = 0;
    while (differences <= kMaxDifferences && !Reaches(differences)) ++differences;
    std::vector<Step> steps;
    if (differences > kMaxDifferences) {
      AddAll(a_, 0, n_, '-', &steps);
      AddAll(b_, 0, m_, '+', &steps);
      return steps;
    }
    WayBack(differences, &steps);
    std::reverse(steps.begin(), steps.end());
    return steps;
  }

 private:
  // The x on diagonal k after d differences; rounds_[d] has those from -d to d.
  [[nodiscard]] int At(int d, int k) const {
    if (d < 0 || k < -d || k > d) return -1;
    return rounds_[static_cast<size_t>(d)][static_cast<size_t>(k + d)];
  }
  // True: the way to x on diagonal k takes a line of b (down), not one of a (right).
  [[nodiscard]] bool Down(int d, int k) const {
    return k == -d || (k != d && At(d - 1, k - 1) < At(d - 1, k + 1));
  }
  bool Reaches(int d) {
    rounds_.emplace_back(static_cast<size_t>(2 * d + 1), -1);
    for (int k = -d; k <= d; k += 2) {
      int x = 0;
      if (d > 0) x = Down(d, k) ? At(d - 1, k + 1) : At(d - 1, k - 1) + 1;
      while (x < n_ && x - k < m_ && x - k >= 0 &&
             a_[static_cast<size_t>(x)] == b_[static_cast<size_t>(x - k)]) {
        ++x;
      }
      rounds_.back()[static_cast<size_t>(k + d)] = x;
      if (x >= n_ && x - k >= m_) return true;
    }
    return false;
  }
  void WayBack(int d, std::vector<Step>* steps) const {
    int x = n_;
    int y = m_;
    for (; d > 0; --d) {
      const int k = x - y;
      const bool down = Down(d, k);
      const int before_k = down ? k + 1 : k - 1;
      const int before_x = At(d - 1, before_k);
      const int before_y = before_x - before_k;
      const int start_x = down ? before_x : before_x + 1;
      for (; x > start_x; --x, --y) steps->push_back({' ', a_[static_cast<size_t>(x - 1)]});
      if (down) {
        steps->push_back({'+', b_[static_cast<size_t>(before_y)]});
      } else {
        steps->push_back({'-', a_[static_cast<size_t>(before_x)]});
      }
      x = before_x;
      y = before_y;
    }
    for (; x > 0; --x) steps->push_back({' ', a_[static_cast<size_t>(x - 1)]});
  }

  const Lines& a_;
  const Lines& b_;
  const int n_;
  const int m_;
  std::vector<std::vector<int>> rounds_;
};

void AppendHunk(const std::vector<Step>& steps, size_t from, size_t to, int a, int b,
                std::string* out) {
  int of_a = 0;
  int of_b = 0;
  for (size_t i = from; i < to; ++i) {
    if (steps[i].kind != '+') ++of_a;
    if (steps[i].kind != '-') ++of_b;
  }
  out->append(fmt::format("@@ -{},{} +{},{} @@\n", of_a == 0 ? a - 1 : a, of_a,
                          of_b == 0 ? b - 1 : b, of_b));
  for (size_t i = from; i < to; ++i) {
    out->append(fmt::format("{}{}\n", steps[i].kind, steps[i].line));
  }
}

std::string Heading(const Resource& resource) {
  return fmt::format("{} {}{}", TypeName(resource.type), resource.name,
                     resource.group.empty() ? "" : fmt::format(" (group {})", resource.group));
}

}  // namespace

std::string UnifiedDiff(std::string_view before, std::string_view after) {
  const Lines a = Split(before);
  const Lines b = Split(after);
  const std::vector<Step> steps = Shortest(a, b).Steps();
  std::string out;
  int line_a = 1;
  int line_b = 1;
  size_t at = 0;
  while (at < steps.size()) {
    size_t change = at;
    while (change < steps.size() && steps[change].kind == ' ') ++change;
    if (change == steps.size()) break;
    const size_t from = change - std::min<size_t>(change - at, kContext);
    line_a += static_cast<int>(from - at);
    line_b += static_cast<int>(from - at);
    // On to where nothing changes for twice the context.
    size_t last = change;
    for (size_t i = change; i < steps.size() && i <= last + 1 + size_t{2} * kContext; ++i) {
      if (steps[i].kind != ' ') last = i;
    }
    const size_t to = std::min(steps.size(), last + 1 + kContext);
    AppendHunk(steps, from, to, line_a, line_b, &out);
    for (size_t i = from; i < to; ++i) {
      if (steps[i].kind != '+') ++line_a;
      if (steps[i].kind != '-') ++line_b;
    }
    at = to;
  }
  return out;
}

std::vector<ResourceChange> Changes(const ResourceSet& before, const ResourceSet& after) {
  std::vector<ResourceChange> changes;
  auto old = before.all().begin();
  const auto end = before.all().end();
  for (const auto& [key, resource] : after.all()) {
    for (; old != end && old->first < key; ++old) changes.push_back({old->second, nullptr});
    if (old != end && old->first == key) {
      if (old->second != resource && old->second->message != resource->message) {
        changes.push_back({old->second, resource});
      }
      ++old;
    } else {
      changes.push_back({nullptr, resource});
    }
  }
  for (; old != end; ++old) changes.push_back({old->second, nullptr});
  return changes;
}

std::string ToText(const std::vector<ResourceChange>& changes) {
  std::string out;
  for (const ResourceChange& change : changes) {
    const std::string heading = Heading(change.any());
    const std::string before = change.before == nullptr ? "" : ToYaml(*change.before);
    const std::string after = change.after == nullptr ? "" : ToYaml(*change.after);
    out.append(fmt::format("--- {}\n+++ {}\n", change.before == nullptr ? "nothing" : heading,
                           change.after == nullptr ? "nothing" : heading));
    out.append(UnifiedDiff(before, after));
    if (change.before != nullptr && change.after != nullptr &&
        SecretsDigest(*change.before) != SecretsDigest(*change.after)) {
      out.append("# A secret value has changed; it is not shown.\n");
    }
  }
  return out;
}

}  // namespace gatehouse::control
