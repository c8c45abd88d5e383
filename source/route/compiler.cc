#include "source/route/compiler.h"

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <set>
#include <unordered_map>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"

#include "fmt/format.h"
#include "source/base/check.h"
#include "source/http/message.h"
#include "source/http/names.h"
#include "source/route/path_trie.h"

namespace gatehouse::route {
namespace {

// A list shorter than this is walked; a longer one whose routes differ by a header gets an index.
constexpr size_t kIndexFrom = 8;

bool IsUnconditional(const RouteSpec& route) {
  return route.delegates.empty() && route.headers.empty() && route.query.empty() &&
         route.cookies.empty();
}

// Routes with the same path, in the order of the first one.
struct PathGroup {
  std::string_view text;
  std::vector<uint32_t> routes;
};

class PathGroups {
 public:
  void Add(std::string_view text, uint32_t route) {
    auto [place, fresh] = places_.try_emplace(text, groups_.size());
    if (fresh) groups_.push_back({text, {}});
    groups_[place->second].routes.push_back(route);
  }
  [[nodiscard]] const std::vector<PathGroup>& groups() const { return groups_; }

 private:
  std::vector<PathGroup> groups_;
  absl::flat_hash_map<std::string_view, size_t, TextHash> places_;
};

class Compiler {
 public:
  Compiler(const CheckedTables& checked, std::vector<std::string>& warnings)
      : checked_(checked), warnings_(warnings), out_(std::make_unique<CompiledRoutes>()) {}

  std::unique_ptr<const CompiledRoutes> Run() && {
    for (std::string_view method : checked_.extension_methods) {
      out_->extension_methods.push_back(Keep(method));
    }
    for (const CheckedTable& table : checked_.tables) {
      out_->table_names.push_back(Keep(table.spec->name));
    }
    for (uint32_t i = 0; i < checked_.tables.size(); ++i) {
      if (!checked_.tables[i].domains.empty()) AddDomains(i);
    }
    while (!pending_.empty()) {
      const Pending next = pending_.front();
      pending_.pop_front();
      CompileTable(next);
    }
    Finish();
    return std::move(out_);
  }

 private:
  struct Pending {
    uint32_t source;          // in checked_
    uint32_t table;           // in out_->tables
    uint32_t mount = kNone;   // route
    std::string_view prefix;  // of the mount
  };

  std::string_view Keep(std::string_view text) {
    const auto found = kept_.find(text);
    if (found != kept_.end()) return *found;
    return *kept_.insert(out_->text.Copy(text)).first;
  }

  void AddDomains(uint32_t source) {
    const uint32_t table = Enqueue(source, kNone, {});
    for (const std::string& domain : checked_.tables[source].domains) {
      hosts_.Add(domain, static_cast<uint32_t>(out_->domains.size()));
      out_->domains.push_back({Keep(domain), table, out_->table_names[source]});
    }
  }

  uint32_t Enqueue(uint32_t source, uint32_t mount, std::string_view prefix) {
    const uint32_t table = static_cast<uint32_t>(out_->tables.size());
    out_->tables.emplace_back();
    pending_.push_back({source, table, mount, prefix});
    return table;
  }

  void CompileTable(const Pending& pending) {
    current_ = &checked_.tables[pending.source];
    pending_table_ = pending;
    std::map<int32_t, std::vector<uint32_t>, std::greater<>> by_priority;
    for (uint32_t i = 0; i < current_->patterns.size(); ++i) {
      by_priority[current_->spec->routes[i].priority].push_back(i);
    }
    CompiledTable& table = out_->tables[pending.table];
    table.first_level = static_cast<uint32_t>(out_->levels.size());
    table.level_count = static_cast<uint32_t>(by_priority.size());
    for (const auto& [priority, routes] : by_priority) CompileLevel(routes);
  }

  void CompileLevel(const std::vector<uint32_t>& routes) {
    const uint32_t level = static_cast<uint32_t>(out_->levels.size());
    out_->levels.emplace_back();
    PathGroups exact, regexes;
    PathTrie trie;
    const PathPattern mounted = MountedPrefix();
    for (uint32_t i : routes) {
      const PathPattern& pattern = PatternOf(i, mounted);
      switch (pattern.kind) {
        case PathPattern::Kind::kExact:
          exact.Add(pattern.text, i);
          break;
        case PathPattern::Kind::kPrefix:
          trie.At(trie.Insert(pattern.segments)).tail.push_back(i);
          break;
        case PathPattern::Kind::kTemplate: {
          PathTrie::Node& node = trie.At(trie.Insert(pattern.segments));
          (pattern.tail ? node.tail : node.end).push_back(i);
          break;
        }
        case PathPattern::Kind::kRegex:
          regexes.Add(pattern.text, i);
          break;
      }
    }
    for (const PathGroup& group : exact.groups()) {
      exact_paths_.Add(level, group.text, EmitList(group.routes, 0));
    }
    out_->levels[level].has_exact = !exact.groups().empty();
    for (const PathGroup& group : regexes.groups()) HangRegex(group, trie);
    if (!trie.empty()) out_->levels[level].root = EmitNode(trie, PathTrie::kRoot, kNone, false);
  }

  // A route of a delegate without a path takes all that its mount takes.
  PathPattern MountedPrefix() const {
    std::vector<std::string> errors;
    const PathMatch match = pending_table_.prefix.empty()
                                ? PathMatch{}
                                : PathMatch::Prefix(std::string(pending_table_.prefix));
    PathPattern pattern = ParsePathPattern(match, errors);
    CHECK(errors.empty());
    // Its views are into `match`; the prefix itself lives longer.
    size_t at = 0;
    for (PathPattern::Segment& segment : pattern.segments) {
      segment.text = pending_table_.prefix.substr(at + 1, segment.text.size());
      at += 1 + segment.text.size();
    }
    pattern.text = pending_table_.prefix;
    return pattern;
  }
  const PathPattern& PatternOf(uint32_t route, const PathPattern& mounted) const {
    return current_->patterns[route].any ? mounted : current_->patterns[route];
  }

  // Puts a regex at the trie node of the whole segments of its literal part.
  void HangRegex(const PathGroup& group, PathTrie& trie) {
    const PathPattern& pattern = current_->patterns[group.routes[0]];
    std::vector<PathPattern::Segment> segments;
    for (std::string_view rest = pattern.literal; !rest.empty();) {
      const size_t end = rest.find('/', 1);
      if (end == std::string_view::npos || segments.size() == kMaxSegments) break;
      segments.push_back({rest.substr(1, end - 1), false});
      rest.remove_prefix(end);
    }
    WarnOfHiddenRegex(group, segments, trie);
    RegexPath path;
    path.regex = Intern(group.text);
    if (!pattern.capture_names.empty()) {
      // Ordered by group, as the names are.
      for (const auto& [index, name] : path.regex->CapturingGroupNames()) {
        path.captures.push_back(index);
        path.group_count = index + 1;
      }
    }
    const uint32_t id = static_cast<uint32_t>(out_->regex_paths.size());
    path.routes = EmitList(group.routes, id);
    out_->regex_paths.push_back(std::move(path));
    regex_literals_.push_back(Keep(pattern.literal));
    trie.At(trie.Insert(segments)).regex.push_back(id);
  }

  void WarnOfHiddenRegex(const PathGroup& group, const std::vector<PathPattern::Segment>& segments,
                         const PathTrie& trie) {
    uint32_t node = 0;
    for (size_t i = 0; node != PathTrie::kNoNode; ++i) {
      for (uint32_t other : trie.At(node).tail) {
        const RouteSpec& spec = current_->spec->routes[other];
        if (!IsUnconditional(spec) || !spec.methods.empty()) continue;
        for (uint32_t route : group.routes) {
          Warn(route, other, "a prefix comes before every regex: give the regex a priority");
        }
        return;
      }
      if (i == segments.size()) return;
      node = trie.Find(node, segments[i].text);
    }
  }

  void Warn(uint32_t route, uint32_t other, std::string_view why) {
    std::string text = fmt::format(
        "{}.routes[{}] ('{}'): no request can reach it behind routes[{}] "
        "('{}'): {}",
        current_->where, route, RouteNameOf(*current_->spec, route), other,
        RouteNameOf(*current_->spec, other), why);
    if (warned_.insert(text).second) warnings_.push_back(std::move(text));
  }

  // Children first: a node's record says where its capture child is. `listed`: found by its parent
  // and segment, not by its number.
  uint32_t EmitNode(const PathTrie& trie, uint32_t index, uint32_t parent, bool listed) {
    const std::string_view segment = trie.At(index).segment;
    Node node;
    std::string label;
    while (index != PathTrie::kRoot && trie.At(index).IsLink() && label.size() < kMaxPathSize) {
      const PathTrie::Node& link = trie.At(index);
      if (link.capture_child != PathTrie::kNoNode) {
        index = link.capture_child;
        label.append({'/', kLabelCapture});
        node.label_captures = true;
      } else {
        index = link.children[0];
        label.append("/").append(trie.At(index).segment);
      }
    }
    const PathTrie::Node& from = trie.At(index);
    node.id = next_node_++;
    if (!from.end.empty()) node.end = EmitList(from.end, 0);
    if (!from.tail.empty()) node.tail = EmitList(from.tail, 0);
    if (!from.regex.empty()) node.regex = EmitRegexList(from.regex);
    node.has_children = !from.children.empty();
    for (uint32_t child : from.children) (void)EmitNode(trie, child, node.id, true);
    if (from.capture_child != PathTrie::kNoNode) {
      node.capture_child = EmitNode(trie, from.capture_child, node.id, false);
    }
    return listed ? nodes_.Add(parent, segment, node, label)
                  : nodes_.AddUnlisted(parent, segment, node, label);
  }

  uint32_t EmitRegexList(const std::vector<uint32_t>& ids) {
    std::vector<RegexList::Entry> entries;
    for (uint32_t id : ids) {
      entries.push_back({regex_literals_[id], out_->regex_paths[id].regex, id});
    }
    out_->regex_lists.push_back(RegexList::Build(std::move(entries)));
    return static_cast<uint32_t>(out_->regex_lists.size() - 1);
  }

  // Routes with the same path, in the order of docs/routing.md. Returns the first.
  uint32_t EmitList(const std::vector<uint32_t>& unsorted, uint32_t regex_id) {
    if (unsorted.size() == 1) {
      const uint32_t only = static_cast<uint32_t>(out_->routes.size());
      EmitRoute(unsorted.front(), regex_id);
      out_->routes.back().flags |= RouteEntry::kLast;
      return only;
    }
    std::vector<uint32_t> routes = unsorted;
    const auto rank = [this](uint32_t i) {
      const RouteSpec& spec = current_->spec->routes[i];
      return std::make_tuple(current_->patterns[i].kind != PathPattern::Kind::kTemplate,
                             spec.methods.empty(), ~spec.headers.size(), ~spec.query.size(),
                             ~spec.cookies.size(), i);
    };
    std::sort(routes.begin(), routes.end(),
              [&](uint32_t a, uint32_t b) { return rank(a) < rank(b); });
    WarnOfHidden(routes);
    const uint32_t first = static_cast<uint32_t>(out_->routes.size());
    for (uint32_t route : routes) EmitRoute(route, regex_id);
    out_->routes.back().flags |= RouteEntry::kLast;
    if (routes.size() >= kIndexFrom) IndexByHeader(first, routes);
    return first;
  }

  // Names what stands behind a route that takes everything; later ones are not looked at again.
  void WarnOfHidden(const std::vector<uint32_t>& routes) {
    uint32_t covered = 0;
    std::map<uint32_t, uint32_t> first_with;  // methods -> route, of those without matchers
    for (uint32_t route : routes) {
      const RouteSpec& spec = current_->spec->routes[route];
      const uint32_t methods = spec.methods.empty() ? ~uint32_t{0} : MethodBits(spec);
      for (const auto& [bits, other] : first_with) {
        if ((methods & ~bits) != 0) continue;
        Warn(route, other, "it has the same path and takes all that this one does");
        break;
      }
      if (!IsUnconditional(spec) || (methods & ~covered) == 0) continue;
      covered |= methods;
      first_with.try_emplace(methods, route);
    }
  }

  uint32_t MethodBits(const RouteSpec& spec) const {
    uint32_t bits = 0;
    for (const std::string& text : spec.methods) {
      const http::Method method = http::FindMethod(text);
      if (method != http::Method::kOther) {
        bits |= 1u << static_cast<unsigned>(method);
        continue;
      }
      const auto& known = checked_.extension_methods;
      const auto at = std::find(known.begin(), known.end(), text) - known.begin();
      bits |= 1u << (CompiledRoutes::kFirstExtensionBit + static_cast<unsigned>(at));
    }
    return bits;
  }

  void EmitRoute(uint32_t index, uint32_t regex_id) {
    const RouteSpec& spec = current_->spec->routes[index];
    const PathPattern& pattern = current_->patterns[index];
    const uint32_t route = static_cast<uint32_t>(out_->routes.size());
    RouteEntry entry;
    entry.methods = MethodBits(spec);
    entry.action = spec.action;
    entry.capture_count = static_cast<uint8_t>(pattern.capture_names.size());
    if (pattern.tail) entry.flags |= RouteEntry::kTail;
    if (pattern.kind == PathPattern::Kind::kPrefix) {
      entry.matched_size =
          static_cast<uint32_t>(pattern.any ? pending_table_.prefix.size() : pattern.text.size());
    }
    if (pattern.kind == PathPattern::Kind::kRegex) {
      entry.flags |= RouteEntry::kRegex;
      entry.detail = regex_id;
    }
    entry.predicates = static_cast<uint32_t>(out_->predicates.size());
    for (const ValueMatch& match : spec.headers) EmitPredicate(match, Predicate::Source::kHeader);
    for (const ValueMatch& match : spec.query) EmitPredicate(match, Predicate::Source::kQuery);
    for (const ValueMatch& match : spec.cookies) EmitPredicate(match, Predicate::Source::kCookie);
    entry.predicate_count = static_cast<uint16_t>(out_->predicates.size() - entry.predicates);
    if (!current_->delegates[index].empty()) {
      entry.flags |= RouteEntry::kMount;
      entry.detail = static_cast<uint32_t>(out_->mounts.size());
      const std::string_view prefix = pattern.any ? pending_table_.prefix : pattern.text;
      std::vector<uint32_t> tables;
      for (uint32_t source : current_->delegates[index]) {
        tables.push_back(Enqueue(source, route, prefix));
      }
      out_->mounts.push_back(std::move(tables));
    }
    out_->routes.push_back(entry);
    out_->route_labels.push_back({Keep(RouteNameOf(*current_->spec, index)), pending_table_.source,
                                  index, pending_table_.mount,
                                  static_cast<uint32_t>(out_->capture_names.size())});
    for (const std::string& name : pattern.capture_names) out_->capture_names.push_back(Keep(name));
  }

  void EmitPredicate(const ValueMatch& match, Predicate::Source source) {
    Predicate predicate{.source = source, .kind = match.kind, .invert = match.invert};
    std::string name = match.name;
    if (source == Predicate::Source::kHeader) {
      for (char& c : name) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
      predicate.header_id = http::FindName(name);
    }
    predicate.name = Keep(name);
    predicate.text = Keep(match.text);
    predicate.from = match.from;
    predicate.to = match.to;
    if (match.kind == ValueMatch::Kind::kRegex) predicate.regex = Intern(match.text);
    out_->predicates.push_back(predicate);
  }

  const re2::RE2* Intern(std::string_view text) {
    auto [place, fresh] = regex_of_.try_emplace(text, nullptr);
    if (fresh) {
      out_->regexes.push_back(CompileRegex(text).value());
      place->second = out_->regexes.back().get();
    }
    return place->second;
  }

  // The exact value that a route wants of a header, or null.
  const Predicate* ExactValue(uint32_t route, std::string_view header) const {
    const RouteEntry& entry = out_->routes[route];
    for (uint32_t i = 0; i < entry.predicate_count; ++i) {
      const Predicate& predicate = out_->predicates[entry.predicates + i];
      if (predicate.source == Predicate::Source::kHeader && !predicate.invert &&
          predicate.kind == ValueMatch::Kind::kExact && predicate.name == header &&
          predicate.text.size() <= TextTable<uint32_t>::kMaxTextSize) {
        return &predicate;
      }
    }
    return nullptr;
  }

  // By the header for which most of the list's routes want an exact value.
  void IndexByHeader(uint32_t first, const std::vector<uint32_t>& routes) {
    const uint32_t end = first + static_cast<uint32_t>(routes.size());
    std::map<std::string_view, size_t> wanted;
    for (uint32_t i : routes) {
      std::set<std::string> names;
      for (const ValueMatch& match : current_->spec->routes[i].headers) {
        if (match.kind == ValueMatch::Kind::kExact && !match.invert) names.insert(match.name);
      }
      for (std::string name : names) {
        for (char& c : name) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
        ++wanted[Keep(name)];
      }
    }
    const auto most =
        std::max_element(wanted.begin(), wanted.end(),
                         [](const auto& a, const auto& b) { return a.second < b.second; });
    if (most == wanted.end() || most->second < kIndexFrom) return;
    const std::string_view header = most->first;
    const uint32_t scope = static_cast<uint32_t>(out_->header_indexes.size());
    std::vector<uint32_t> others;
    std::map<std::string_view, std::vector<uint32_t>> by_value;
    for (uint32_t route = first; route < end; ++route) {
      const Predicate* exact = ExactValue(route, header);
      (exact == nullptr ? others : by_value[exact->text]).push_back(route);
    }
    out_->header_indexes.push_back({http::FindName(header), header, EmitRun(others)});
    for (const auto& [value, run] : by_value) {
      header_values_.Add(scope, value, EmitRun(run));
    }
    out_->header_index_of.emplace(first, scope);
    out_->routes[first].flags |= RouteEntry::kIndexed;
  }

  uint32_t EmitRun(const std::vector<uint32_t>& routes) {
    const uint32_t at = static_cast<uint32_t>(out_->indexed_routes.size());
    out_->indexed_routes.insert(out_->indexed_routes.end(), routes.begin(), routes.end());
    out_->indexed_routes.push_back(kNone);
    return at;
  }

  void Finish() {
    out_->hosts = std::move(hosts_).Build();
    out_->exact_paths = std::move(exact_paths_).Build();
    out_->nodes = std::move(nodes_).Build();
    out_->header_values = std::move(header_values_).Build();
    out_->routes.shrink_to_fit();
    out_->route_labels.shrink_to_fit();
    out_->predicates.shrink_to_fit();
    out_->capture_names.shrink_to_fit();
    out_->indexed_routes.shrink_to_fit();
  }

  const CheckedTables& checked_;
  std::vector<std::string>& warnings_;
  std::unique_ptr<CompiledRoutes> out_;
  const CheckedTable* current_ = nullptr;
  Pending pending_table_{};
  std::deque<Pending> pending_;

  HostMap::Builder hosts_;
  TextTable<uint32_t>::Builder exact_paths_;
  TextTable<Node>::Builder nodes_;
  TextTable<uint32_t>::Builder header_values_;
  uint32_t next_node_ = 0;
  std::unordered_map<std::string_view, const re2::RE2*, TextHash> regex_of_;
  std::vector<std::string_view> regex_literals_;  // of each regex_path
  absl::flat_hash_set<std::string_view, TextHash> kept_;
  std::set<std::string> warned_;
};

}  // namespace

std::unique_ptr<const CompiledRoutes> CompileRoutes(const CheckedTables& checked,
                                                    std::vector<std::string>& warnings) {
  return Compiler(checked, warnings).Run();
}

}  // namespace gatehouse::route
