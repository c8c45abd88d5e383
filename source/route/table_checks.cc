#include "source/route/table_checks.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "fmt/format.h"
#include "source/base/nearest.h"
#include "source/base/status.h"
#include "source/http/header_map.h"
#include "source/http/message.h"
#include "source/route/host_map.h"
#include "source/route/predicate.h"
#include "source/route/text_table.h"

namespace gatehouse::route {
namespace {

std::string_view PathField(PathMatch::Kind kind) {
  switch (kind) {
    case PathMatch::Kind::kAny:
      return "match";
    case PathMatch::Kind::kExact:
      return "match.path";
    case PathMatch::Kind::kPrefix:
      return "match.path_prefix";
    case PathMatch::Kind::kTemplate:
      return "match.path_template";
    case PathMatch::Kind::kRegex:
      return "match.path_regex";
  }
  return {};
}

class Checker {
 public:
  Checker(const std::vector<const TableSpec*>& specs, std::vector<absl::Status>& errors)
      : errors_(errors) {
    for (const TableSpec* spec : specs) {
      CheckedTable table;
      table.spec = spec;
      table.where = spec->where.empty() ? fmt::format("route_tables({})", spec->name) : spec->where;
      checked_.tables.push_back(std::move(table));
    }
  }

  CheckedTables Run() && {
    CheckNames();
    for (uint32_t i = 0; i < checked_.tables.size(); ++i) {
      CheckDomains(i);
      CheckRoutes(i);
    }
    if (CheckCycles()) {
      for (uint32_t i = 0; i < checked_.tables.size(); ++i) {
        if (!checked_.tables[i].domains.empty()) CheckMounts(i, "", 0);
      }
      CheckCount();
    }
    return std::move(checked_);
  }

 private:
  // A route, as errors call it; put into words when there is one.
  struct RoutePlace {
    const CheckedTable& table;
    size_t index;

    [[nodiscard]] std::string Text() const {
      return fmt::format("{}.routes[{}]", table.where, index);
    }
  };

  void Error(std::string_view where, std::string_view field, std::string_view what) {
    errors_.push_back(InvalidArgument(fmt::format("{}.{}: {}", where, field, what)));
  }
  void Error(const RoutePlace& where, std::string_view field, std::string_view what) {
    Error(where.Text(), field, what);
  }

  void CheckNames() {
    for (uint32_t i = 0; i < checked_.tables.size(); ++i) {
      const CheckedTable& table = checked_.tables[i];
      auto [first, fresh] = by_name_.try_emplace(table.spec->name, i);
      if (!fresh) {
        Error(table.where, "name",
              fmt::format("'{}' is already the name of {}", table.spec->name,
                          checked_.tables[first->second].where));
      }
    }
  }

  void CheckDomains(uint32_t index) {
    CheckedTable& table = checked_.tables[index];
    for (size_t i = 0; i < table.spec->domains.size(); ++i) {
      const std::string field = fmt::format("domains[{}]", i);
      std::string wrong;
      table.domains.push_back(NormalizeDomain(table.spec->domains[i], wrong));
      if (!wrong.empty()) {
        Error(table.where, field, wrong);
        continue;
      }
      auto [first, fresh] = by_domain_.try_emplace(table.domains.back(), index);
      if (fresh) continue;
      const CheckedTable& other = checked_.tables[first->second];
      Error(table.where, field,
            first->second == index
                ? fmt::format("'{}' is there twice", table.domains.back())
                : fmt::format("'{}' is a domain of both '{}' ({}) and '{}' ({}) on this listener",
                              table.domains.back(), other.spec->name, other.where, table.spec->name,
                              table.where));
    }
  }

  void CheckRoutes(uint32_t index) {
    CheckedTable& table = checked_.tables[index];
    table.patterns.reserve(table.spec->routes.size());
    table.delegates.reserve(table.spec->routes.size());
    std::set<int32_t> priorities;
    for (size_t i = 0; i < table.spec->routes.size(); ++i) {
      const RouteSpec& route = table.spec->routes[i];
      const RoutePlace where{table, i};
      std::vector<std::string> wrong;
      table.patterns.push_back(ParsePathPattern(route.path, wrong));
      for (const std::string& what : wrong) Error(where, PathField(route.path.kind), what);
      CheckMethods(route, where);
      CheckMatchers(route.headers, Predicate::Source::kHeader, where, "headers");
      CheckMatchers(route.query, Predicate::Source::kQuery, where, "query");
      CheckMatchers(route.cookies, Predicate::Source::kCookie, where, "cookies");
      CheckDelegates(table, route, where);
      if (route.headers.size() + route.query.size() + route.cookies.size() > 0xffff) {
        Error(where, "match", "has more than 65535 matchers");
      }
      priorities.insert(route.priority);
    }
    if (priorities.size() > kMaxPriorities) {
      Error(table.where, "routes",
            fmt::format("have {} different priorities; each costs every request a look-up, so "
                        "there may be {}",
                        priorities.size(), kMaxPriorities));
    }
  }

  void CheckMethods(const RouteSpec& route, const RoutePlace& where) {
    for (size_t i = 0; i < route.methods.size(); ++i) {
      const std::string& method = route.methods[i];
      const auto field = [i] { return fmt::format("match.methods[{}]", i); };
      if (!http::IsToken(method)) {
        Error(where, field(), fmt::format("'{}' is not a method", method));
        continue;
      }
      if (http::FindMethod(method) != http::Method::kOther) continue;
      std::string upper = method;
      for (char& c : upper) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
      if (http::FindMethod(upper) != http::Method::kOther) {
        Error(where, field(),
              fmt::format("methods are case-sensitive: write {} for '{}'", upper, method));
        continue;
      }
      auto& known = checked_.extension_methods;
      if (std::find(known.begin(), known.end(), method) != known.end()) continue;
      known.push_back(method);
      if (known.size() == kMaxExtensionMethods + 1) {
        Error(where, field(),
              fmt::format("'{}' is one more than the {} extension methods that a listener may use",
                          method, kMaxExtensionMethods));
      }
    }
  }

  void CheckMatchers(const std::vector<ValueMatch>& matchers, Predicate::Source source,
                     const RoutePlace& where, std::string_view list) {
    for (size_t i = 0; i < matchers.size(); ++i) {
      std::vector<std::string> wrong;
      CheckValueMatch(matchers[i], source, wrong);
      // The messages start with the field's own ".name: ".
      for (const std::string& what : wrong) {
        errors_.push_back(
            InvalidArgument(fmt::format("{}.match.{}[{}]{}", where.Text(), list, i, what)));
      }
    }
  }

  void CheckDelegates(CheckedTable& table, const RouteSpec& route, const RoutePlace& where) {
    std::vector<uint32_t>& delegates = table.delegates.emplace_back();
    for (size_t i = 0; i < route.delegates.size(); ++i) {
      const std::string& name = route.delegates[i];
      const std::string field = fmt::format("delegate.route_tables[{}]", i);
      const auto found = by_name_.find(name);
      if (found == by_name_.end()) {
        std::vector<std::string_view> names;
        for (const CheckedTable& other : checked_.tables) names.push_back(other.spec->name);
        const std::string_view meant = Nearest(name, names);
        Error(where, field,
              fmt::format("there is no route table '{}'{}", name,
                          meant.empty() ? "" : fmt::format("; did you mean '{}'?", meant)));
      } else if (!checked_.tables[found->second].spec->domains.empty()) {
        Error(where, field,
              fmt::format("'{}' has domains, so it cannot be mounted: a delegate has none", name));
      } else if (std::find(delegates.begin(), delegates.end(), found->second) != delegates.end()) {
        Error(where, field, fmt::format("'{}' is there twice", name));
      } else {
        delegates.push_back(found->second);
      }
    }
    if (!route.delegates.empty() && route.path.kind != PathMatch::Kind::kAny &&
        route.path.kind != PathMatch::Kind::kPrefix) {
      Error(where, PathField(route.path.kind), "a route that delegates matches a path_prefix");
    }
  }

  // A depth-first walk with the way there; false if there is a cycle.
  bool CheckCycles() {
    std::vector<uint8_t> done(checked_.tables.size(), 0);
    std::vector<uint32_t> way;
    bool fine = true;
    for (uint32_t i = 0; i < checked_.tables.size(); ++i) fine &= WalkDelegates(i, done, way);
    return fine;
  }

  bool WalkDelegates(uint32_t index, std::vector<uint8_t>& done, std::vector<uint32_t>& way) {
    if (done[index] != 0) return true;
    way.push_back(index);
    bool fine = true;
    const CheckedTable& table = checked_.tables[index];
    for (size_t i = 0; i < table.delegates.size(); ++i) {
      for (uint32_t next : table.delegates[i]) {
        const auto start = std::find(way.begin(), way.end(), next);
        if (start == way.end()) {
          fine &= WalkDelegates(next, done, way);
          continue;
        }
        std::string cycle;
        for (auto at = start; at != way.end(); ++at) cycle += NameOf(*at) + " -> ";
        Error(fmt::format("{}.routes[{}]", table.where, i), "delegate.route_tables",
              fmt::format("tables delegate in a circle: {}{}", cycle, NameOf(next)));
        fine = false;
      }
    }
    way.pop_back();
    done[index] = 1;
    return fine;
  }

  // Each mount makes a copy of the routes that it leads to.
  void CheckCount() {
    std::vector<uint64_t> copies(checked_.tables.size(), 0);  // 0: not counted yet
    uint64_t all = 0;
    for (uint32_t i = 0; i < checked_.tables.size(); ++i) {
      if (!checked_.tables[i].domains.empty()) all += CountCopies(i, copies);
    }
    if (all > kMaxRoutes) {
      errors_.push_back(InvalidArgument(fmt::format(
          "route_tables: more than {} routes, with every mounted copy counted", kMaxRoutes)));
    }
  }
  uint64_t CountCopies(uint32_t index, std::vector<uint64_t>& copies) {
    if (copies[index] != 0) return copies[index];
    uint64_t count = checked_.tables[index].spec->routes.size();
    for (const std::vector<uint32_t>& delegates : checked_.tables[index].delegates) {
      for (uint32_t delegate : delegates) {
        count = std::min<uint64_t>(count + CountCopies(delegate, copies), kMaxRoutes + 1);
      }
    }
    return copies[index] = count;
  }

  // What is mounted lies under its mount, and not too deep.
  void CheckMounts(uint32_t index, std::string_view prefix, size_t depth) {
    const CheckedTable& table = checked_.tables[index];
    for (size_t i = 0; i < table.delegates.size(); ++i) {
      const std::string_view mounted = table.patterns[i].any ? prefix : table.patterns[i].text;
      for (uint32_t delegate : table.delegates[i]) {
        if (depth == kMaxDelegateDepth) {
          Error(fmt::format("{}.routes[{}]", table.where, i), "delegate.route_tables",
                fmt::format("'{}' is more than {} tables deep", NameOf(delegate), depth));
          continue;
        }
        if (!seen_mounts_.emplace(delegate, mounted, depth).second) continue;
        CheckUnder(checked_.tables[delegate], mounted, table, i);
        CheckMounts(delegate, mounted, depth + 1);
      }
    }
  }

  void CheckUnder(const CheckedTable& delegate, std::string_view prefix, const CheckedTable& parent,
                  size_t route) {
    for (size_t i = 0; i < delegate.patterns.size(); ++i) {
      if (LiesUnder(delegate.patterns[i], prefix)) continue;
      const PathMatch& path = delegate.spec->routes[i].path;
      Error(fmt::format("{}.routes[{}]", delegate.where, i), PathField(path.kind),
            fmt::format("'{}' does not lie under '{}', where route '{}' of table '{}' mounts this "
                        "table{}",
                        path.text, prefix, RouteNameOf(*parent.spec, route), parent.spec->name,
                        path.kind == PathMatch::Kind::kRegex
                            ? ": the regex must begin with that text and a '/'"
                            : ""));
    }
  }

  const std::string& NameOf(uint32_t table) const { return checked_.tables[table].spec->name; }

  std::vector<absl::Status>& errors_;
  CheckedTables checked_;
  std::unordered_map<std::string_view, uint32_t, TextHash> by_name_;
  std::unordered_map<std::string, uint32_t, TextHash> by_domain_;
  std::set<std::tuple<uint32_t, std::string_view, size_t>> seen_mounts_;
};

}  // namespace

std::string RouteNameOf(const TableSpec& table, size_t index) {
  const std::string& name = table.routes[index].name;
  return name.empty() ? fmt::format("{}[{}]", table.name, index) : name;
}

CheckedTables CheckTables(const std::vector<const TableSpec*>& specs,
                          std::vector<absl::Status>& errors) {
  return Checker(specs, errors).Run();
}

}  // namespace gatehouse::route
