// Lookup: one search through CompiledRoutes. Inside route/ only; others call RouteTable.
//
// Lives on the stack of Find(). The Observer is told of each candidate; with NoObserver all of that
// compiles to nothing. A search is depth first, the most specific way first, so the first candidate
// whose predicates hold is the answer; nothing is compared or sorted.
//
//   Match match;
//   NoObserver nobody;
//   Lookup<NoObserver>(routes, request, match, nobody).Run();
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "source/base/check.h"
#include "source/http/message.h"
#include "source/route/compiled.h"
#include "source/route/explain.h"
#include "source/route/match.h"

namespace gatehouse::route {

struct NoObserver {
  static constexpr bool kEveryCandidate = false;  // do without shortcuts, so that all are seen
  static constexpr bool kCollectMethods = false;  // do not stop: find Match::allowed_methods
  void OnDomain(const Domain&) {}
  void OnCandidate(uint32_t /*route*/, Explanation::Outcome, const Predicate*) {}
};

// The position of the next '/' at `from` or after, or the end.
inline size_t EndOfSegment(std::string_view path, size_t from) {
  constexpr uint64_t kOnes = 0x0101010101010101, kHighs = 0x8080808080808080;
  size_t at = from;
  for (; at + 8 <= path.size(); at += 8) {
    const uint64_t word = text_internal::Load8(path.data() + at) ^ (kOnes * '/');
    const uint64_t zeros = (word - kOnes) & ~word & kHighs;  // the lowest set one is right
    if (zeros != 0) return at + (static_cast<size_t>(__builtin_ctzll(zeros)) >> 3);
  }
  while (at < path.size() && path[at] != '/') ++at;
  return at;
}

template <typename Observer>
class Lookup {
 public:
  Lookup(const CompiledRoutes& routes, const RequestView& request, Match& match, Observer& observer)
      : routes_(routes),
        path_(request.path),
        request_(request),
        match_(match),
        observer_(observer),
        method_(MethodBit(routes, request)) {}

  void Run() {
    if (path_.empty() || path_.front() != '/') return;
    const uint32_t domain = routes_.hosts.Find(request_.host);
    if (domain == HostMap::kAbsent) return;
    observer_.OnDomain(routes_.domains[domain]);
    path_hash_ = HashText(path_);
    (void)SearchTable(routes_.domains[domain].table, ~uint32_t{0});
  }
  // Some candidate was passed over for its method alone or among other reasons.
  [[nodiscard]] bool saw_other_method() const { return saw_other_method_; }

 private:
  using Outcome = Explanation::Outcome;

  // The search of one level; recursion into mounted tables makes another.
  struct Walk {
    struct Span {
      uint32_t at;
      uint32_t size;
    };
    uint32_t methods;  // those for which a route counts when methods are collected
    uint32_t capture_count = 0;
    uint32_t regex_list_count = 0;
    std::array<Span, Match::kMaxCaptures> captures;
    std::array<uint32_t, kMaxSegments + 1> regex_lists;  // met on the literal way down

    explicit Walk(uint32_t counted) : methods(counted) {}
    void Capture(size_t begin, size_t end) {
      captures[capture_count++] = {static_cast<uint32_t>(begin),
                                   static_cast<uint32_t>(end - begin)};
    }
  };

  static uint32_t MethodBit(const CompiledRoutes& routes, const RequestView& request) {
    if (__builtin_expect(request.method != http::Method::kOther, 1)) {
      return 1u << static_cast<unsigned>(request.method);
    }
    for (size_t i = 0; i < routes.extension_methods.size(); ++i) {
      if (routes.extension_methods[i] == request.method_text) {
        return 1u << (CompiledRoutes::kFirstExtensionBit + i);
      }
    }
    return 0;
  }

  bool SearchTable(uint32_t table, uint32_t methods) {
    const CompiledTable& levels = routes_.tables[table];
    for (uint32_t i = 0; i < levels.level_count; ++i) {
      if (SearchLevel(levels.first_level + i, methods)) return true;
    }
    return false;
  }

  bool SearchLevel(uint32_t index, uint32_t methods) {
    const Level& level = routes_.levels[index];
    Walk walk(methods);
    if (level.has_exact) {
      const auto* exact = routes_.exact_paths.Find(index, path_, path_hash_);
      if (exact != nullptr && TryList(exact->payload, walk, path_.size())) return true;
    }
    if (level.root == kNone) return false;
    return Visit(routes_.nodes.At(level.root).payload, 0, true, walk) ||
           (walk.regex_list_count > 0 && SearchRegexes(walk));
  }

  // `at` is where the '/' of the next segment is, or the end. `literal`: no capture on the way.
  bool Visit(const Node& node, size_t at, bool literal, Walk& walk) {
    if (literal && node.regex != kNone) walk.regex_lists[walk.regex_list_count++] = node.regex;
    if (at == path_.size()) {
      if (node.end != kNone && TryList(node.end, walk, at)) return true;
    } else if (node.has_children || node.capture_child != kNone) {
      const size_t begin = at + 1;
      const size_t end = EndOfSegment(path_, begin);
      const uint32_t captures = walk.capture_count;
      if (node.has_children) {
        const auto* child = routes_.nodes.Find(node.id, path_.substr(begin, end - begin));
        if (child != nullptr && Enter(*child, end, literal, walk)) return true;
        walk.capture_count = captures;
      }
      if (node.capture_child != kNone && end > begin) {
        walk.Capture(begin, end);
        if (Enter(routes_.nodes.At(node.capture_child), end, false, walk)) return true;
        walk.capture_count = captures;
      }
    }
    return node.tail != kNone && TryList(node.tail, walk, at);
  }

  // Follows the node's label from the end of its first segment on.
  bool Enter(const TextTable<Node>::Record& record, size_t at, bool literal, Walk& walk) {
    const Node& node = record.payload;
    const std::string_view label = record.rest();
    if (label.empty()) return Visit(node, at, literal, walk);
    if (node.label_captures) {
      return FollowLabel(label, at, walk) && Visit(node, at, false, walk);
    }
    return FollowText(label, at) && Visit(node, at, literal, walk);
  }
  // Whole segments, each with its '/' in front.
  bool FollowText(std::string_view text, size_t& at) const {
    const size_t stop = at + text.size();
    if (stop > path_.size() || (stop < path_.size() && path_[stop] != '/') ||
        !SameText(path_.data() + at, text.data(), text.size())) {
      return false;
    }
    at = stop;
    return true;
  }
  bool FollowLabel(std::string_view label, size_t& at, Walk& walk) const {
    for (;;) {
      const size_t capture = label.find(kLabelCapture);
      if (capture == std::string_view::npos) return label.empty() || FollowText(label, at);
      // The text before a capture ends in its '/', and a capture is not empty.
      const size_t begin = at + capture;
      if (begin >= path_.size() || path_[begin] == '/' ||
          !SameText(path_.data() + at, label.data(), capture)) {
        return false;
      }
      at = EndOfSegment(path_, begin);
      walk.Capture(begin, at);
      label.remove_prefix(capture + 1);
    }
  }

  // `rest`: where what a tail captures starts, with its '/'.
  bool TryList(uint32_t route, Walk& walk, size_t rest) {
    if (!Observer::kEveryCandidate && routes_.routes[route].Has(RouteEntry::kIndexed) &&
        request_.headers != nullptr) {
      HeaderValues values;
      const HeaderIndex& index = routes_.header_indexes[routes_.header_index_of.at(route)];
      CollectHeader(*request_.headers, index.id, index.name, values);
      if (!values.overflow) return TryIndexed(index, values, walk, rest);
    }
    for (;; ++route) {
      if (Try(route, walk, rest)) return true;
      if (routes_.routes[route].Has(RouteEntry::kLast)) return false;
    }
  }

  // Merges the few ascending runs that can match at all.
  bool TryIndexed(const HeaderIndex& index, const HeaderValues& values, Walk& walk, size_t rest) {
    std::array<const uint32_t*, HeaderValues::kMax + 1> runs;
    size_t count = 0;
    runs[count++] = routes_.indexed_routes.data() + index.others;
    const uint32_t scope = static_cast<uint32_t>(&index - routes_.header_indexes.data());
    for (size_t i = 0; i < values.count; ++i) {
      const auto* run = routes_.header_values.Find(scope, values.values[i]);
      if (run != nullptr) runs[count++] = routes_.indexed_routes.data() + run->payload;
    }
    for (;;) {
      uint32_t first = kNone;
      for (size_t i = 0; i < count; ++i) first = *runs[i] < first ? *runs[i] : first;
      if (first == kNone) return false;
      if (Try(first, walk, rest)) return true;
      for (size_t i = 0; i < count; ++i) runs[i] += *runs[i] == first ? 1 : 0;
    }
  }

  bool Try(uint32_t index, Walk& walk, size_t rest) {
    const RouteEntry& route = routes_.routes[index];
    const bool other_method = route.methods != 0 && (route.methods & method_) == 0;
    if (other_method && !Observer::kCollectMethods) {
      saw_other_method_ = true;
      observer_.OnCandidate(index, Outcome::kMethod, nullptr);
      return false;
    }
    for (uint32_t i = 0; i < route.predicate_count; ++i) {
      const Predicate& predicate = routes_.predicates[route.predicates + i];
      if (__builtin_expect(!Holds(predicate, request_), 0)) {
        observer_.OnCandidate(index, OutcomeOf(predicate), &predicate);
        return false;
      }
    }
    if (Observer::kCollectMethods) {
      const uint32_t methods = walk.methods & (route.methods != 0 ? route.methods : ~uint32_t{0});
      if (methods == 0) return false;
      if (!route.Has(RouteEntry::kMount)) match_.allowed_methods |= methods;
      return route.Has(RouteEntry::kMount) && EnterMount(index, methods);
    }
    if (__builtin_expect(route.Has(RouteEntry::kMount), 0)) return EnterMount(index, walk.methods);
    observer_.OnCandidate(index, Outcome::kMatched, nullptr);
    Take(index, walk, rest);
    return true;
  }

  bool EnterMount(uint32_t index, uint32_t methods) {
    observer_.OnCandidate(index, Outcome::kMounted, nullptr);
    for (uint32_t table : routes_.mounts[routes_.routes[index].detail]) {
      if (SearchTable(table, methods)) return true;
    }
    observer_.OnCandidate(index, Outcome::kReturned, nullptr);
    return false;
  }

  bool SearchRegexes(Walk& walk) {
    std::array<size_t, kMaxSegments + 1> next;
    if (Observer::kEveryCandidate) return SearchEveryRegex(walk);
    for (uint32_t i = 0; i < walk.regex_list_count; ++i) {
      next[i] = routes_.regex_lists[walk.regex_lists[i]].Next(path_, 0);
    }
    for (;;) {
      uint32_t first = kNone, list = 0;
      for (uint32_t i = 0; i < walk.regex_list_count; ++i) {
        if (next[i] == RegexList::kEnd) continue;
        const uint32_t id = routes_.regex_lists[walk.regex_lists[i]].entries()[next[i]].id;
        if (id < first) first = id, list = i;
      }
      if (first == kNone) return false;
      if (TryList(routes_.regex_paths[first].routes, walk, path_.size())) return true;
      next[list] = routes_.regex_lists[walk.regex_lists[list]].Next(path_, next[list] + 1);
    }
  }

  // The same for observers, who want to hear of those that did not match.
  bool SearchEveryRegex(Walk& walk) {
    std::vector<const RegexList::Entry*> entries;
    for (uint32_t i = 0; i < walk.regex_list_count; ++i) {
      for (const RegexList::Entry& entry : routes_.regex_lists[walk.regex_lists[i]].entries()) {
        if (path_.starts_with(entry.literal)) entries.push_back(&entry);
      }
    }
    std::sort(entries.begin(), entries.end(),
              [](const auto* a, const auto* b) { return a->id < b->id; });
    for (const RegexList::Entry* entry : entries) {
      const uint32_t first = routes_.regex_paths[entry->id].routes;
      if (FullMatch(*entry->regex, path_)) {
        if (TryList(first, walk, path_.size())) return true;
        continue;
      }
      for (uint32_t route = first;; ++route) {
        observer_.OnCandidate(route, Outcome::kRegex, nullptr);
        if (routes_.routes[route].Has(RouteEntry::kLast)) break;
      }
    }
    return false;
  }

  void Take(uint32_t index, const Walk& walk, size_t rest) {
    const RouteEntry& route = routes_.routes[index];
    match_.route = index;
    match_.action = route.action;
    match_.matched_size =
        route.matched_size == kNone ? static_cast<uint32_t>(path_.size()) : route.matched_size;
    match_.capture_count = route.capture_count;
    if (route.capture_count == 0) return;
    if (route.Has(RouteEntry::kRegex)) return TakeGroups(routes_.regex_paths[route.detail]);
    const uint32_t tail = route.Has(RouteEntry::kTail) ? 1 : 0;
    DCHECK(walk.capture_count + tail == route.capture_count);
    for (uint32_t i = 0; i < walk.capture_count; ++i) {
      match_.captures[i] = path_.substr(walk.captures[i].at, walk.captures[i].size);
    }
    if (tail != 0) {
      match_.captures[walk.capture_count] = path_.substr(rest < path_.size() ? rest + 1 : rest);
    }
  }

  void TakeGroups(const RegexPath& regex) {
    std::array<re2::StringPiece, kMaxRegexGroups + 1> groups;
    (void)regex.regex->Match({path_.data(), path_.size()}, 0, path_.size(), re2::RE2::ANCHOR_BOTH,
                             groups.data(), regex.group_count);
    for (size_t i = 0; i < regex.captures.size(); ++i) {
      const re2::StringPiece& group = groups[static_cast<size_t>(regex.captures[i])];
      match_.captures[i] = {group.data(), group.size()};
    }
  }

  static Outcome OutcomeOf(const Predicate& predicate) {
    switch (predicate.source) {
      case Predicate::Source::kHeader:
        return Outcome::kHeader;
      case Predicate::Source::kQuery:
        return Outcome::kQuery;
      case Predicate::Source::kCookie:
        break;
    }
    return Outcome::kCookie;
  }

  const CompiledRoutes& routes_;
  const std::string_view path_;
  const RequestView& request_;
  Match& match_;
  Observer& observer_;
  const uint32_t method_;
  uint64_t path_hash_ = 0;
  bool saw_other_method_ = false;
};

}  // namespace gatehouse::route
