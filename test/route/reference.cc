#include "test/route/reference.h"

#include <algorithm>
#include <optional>
#include <set>
#include <tuple>

#include "fmt/format.h"
#include "fmt/ranges.h"
#include "re2/re2.h"

namespace gatehouse::route {
namespace {

using Strings = std::vector<std::string>;

Strings Split(const std::string& text, char separator) {
  Strings parts(1);
  for (char c : text) {
    if (c == separator) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

// "/a/b" -> a, b. "/" -> one empty segment.
Strings SegmentsOf(const std::string& path) {
  Strings parts = Split(path, '/');
  parts.erase(parts.begin());
  return parts;
}

std::string Lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

bool RegexMatches(const std::string& regex, const std::string& text) {
  return RE2::FullMatch(text, RE2(regex));
}

bool ValueMatches(const ValueMatch& match, const std::string& value) {
  switch (match.kind) {
    case ValueMatch::Kind::kPresent:
      return true;
    case ValueMatch::Kind::kExact:
      return value == match.text;
    case ValueMatch::Kind::kPrefix:
      return value.rfind(match.text, 0) == 0;
    case ValueMatch::Kind::kSuffix:
      return value.size() >= match.text.size() &&
             value.substr(value.size() - match.text.size()) == match.text;
    case ValueMatch::Kind::kContains:
      return value.find(match.text) != std::string::npos;
    case ValueMatch::Kind::kRegex:
      return RegexMatches(match.text, value);
    case ValueMatch::Kind::kRange:
      if (!RegexMatches("-?[0-9]{1,18}", value)) return false;
      return std::stoll(value) >= match.from && std::stoll(value) <= match.to;
  }
  return false;
}

bool AnyValue(const ValueMatch& match, const Strings& values) {
  const bool any = std::any_of(values.begin(), values.end(), [&](const std::string& value) {
    return ValueMatches(match, value);
  });
  return any != match.invert;
}

std::string Decode(const std::string& text) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() + 0 &&
        std::isxdigit(static_cast<unsigned char>(text[i + 1])) &&
        std::isxdigit(static_cast<unsigned char>(text[i + 2]))) {
      decoded += static_cast<char>(std::stoi(text.substr(i + 1, 2), nullptr, 16));
      i += 2;
    } else {
      decoded += text[i] == '+' ? ' ' : text[i];
    }
  }
  return decoded;
}

Strings HeaderValuesOf(const ReferenceRequest& request, const std::string& name) {
  Strings values;
  for (const auto& [field, value] : request.headers) {
    if (Lower(field) == Lower(name)) values.push_back(value);
  }
  return values;
}

Strings QueryValuesOf(const ReferenceRequest& request, const std::string& name) {
  Strings values;
  if (request.query.empty()) return values;
  for (const std::string& pair : Split(request.query, '&')) {
    const size_t equals = pair.find('=');
    if (pair.empty() || Decode(pair.substr(0, equals)) != name) continue;
    values.push_back(equals == std::string::npos ? "" : Decode(pair.substr(equals + 1)));
  }
  return values;
}

Strings CookieValuesOf(const ReferenceRequest& request, const std::string& name) {
  Strings values;
  for (const std::string& line : HeaderValuesOf(request, "cookie")) {
    for (std::string pair : Split(line, ';')) {
      pair.erase(0, pair.find_first_not_of(' '));
      if (pair.rfind(name + "=", 0) == 0) values.push_back(pair.substr(name.size() + 1));
    }
  }
  return values;
}

bool PredicatesHold(const RouteSpec& route, const ReferenceRequest& request) {
  for (const ValueMatch& match : route.headers) {
    if (!AnyValue(match, HeaderValuesOf(request, match.name))) return false;
  }
  for (const ValueMatch& match : route.query) {
    if (!AnyValue(match, QueryValuesOf(request, match.name))) return false;
  }
  for (const ValueMatch& match : route.cookies) {
    if (!AnyValue(match, CookieValuesOf(request, match.name))) return false;
  }
  return true;
}

// A path pattern that matched: how specific it is (the smaller vector is tried first).
struct PathFit {
  std::vector<int> rank;  // per segment 0 literal, 1 capture; then 0 end, 2 tail, 3 prefix
  size_t matched_size = 0;
  Strings captures;
};

std::optional<PathFit> FitRegex(const std::string& regex, const std::string& path) {
  RE2 re(regex);
  std::vector<re2::StringPiece> groups(static_cast<size_t>(re.NumberOfCapturingGroups()) + 1);
  if (!re.Match(path, 0, path.size(), RE2::ANCHOR_BOTH, groups.data(),
                static_cast<int>(groups.size()))) {
    return std::nullopt;
  }
  PathFit fit{{9}, path.size(), {}};
  for (const auto& [index, name] : re.CapturingGroupNames()) {
    fit.captures.emplace_back(groups[static_cast<size_t>(index)]);
  }
  return fit;
}

std::optional<PathFit> Fit(const PathMatch& match, const std::string& path,
                           const std::string& mount) {
  if (match.kind == PathMatch::Kind::kRegex) return FitRegex(match.text, path);
  std::string text = match.kind == PathMatch::Kind::kAny ? mount : match.text;
  const bool prefix = match.kind == PathMatch::Kind::kPrefix || match.kind == PathMatch::Kind::kAny;
  if (prefix && !text.empty() && text.back() == '/') text.pop_back();
  const Strings pattern = text.empty() ? Strings() : SegmentsOf(text);
  const Strings segments = SegmentsOf(path);
  PathFit fit;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const std::string& part = pattern[i];
    const bool capture =
        match.kind == PathMatch::Kind::kTemplate && part.find_first_of("{*") != std::string::npos;
    if (capture && (part == "**" || part.find("*}") != std::string::npos)) {
      std::string rest;
      for (size_t k = i; k < segments.size(); ++k) rest += (k > i ? "/" : "") + segments[k];
      fit.captures.push_back(rest);
      fit.rank.push_back(2);
      fit.matched_size = path.size();
      return fit;
    }
    if (i >= segments.size()) return std::nullopt;
    if (capture ? segments[i].empty() : segments[i] != part) return std::nullopt;
    if (capture) fit.captures.push_back(segments[i]);
    fit.rank.push_back(capture ? 1 : 0);
  }
  if (!prefix && segments.size() != pattern.size()) return std::nullopt;
  fit.rank.push_back(prefix ? 3 : 0);
  fit.matched_size = prefix ? text.size() : path.size();
  return fit;
}

class Search {
 public:
  Search(const std::vector<TableSpec>& tables, const ReferenceRequest& request)
      : tables_(tables), request_(request) {}

  ReferenceMatch Run() {
    ReferenceMatch match;
    const TableSpec* table = TableForHost();
    if (table == nullptr || request_.path.empty() || request_.path[0] != '/') return match;
    if (SearchTable(*table, "", std::nullopt, match)) return match;
    collecting_ = true;
    (void)SearchTable(*table, "", std::nullopt, match);
    match.allowed.assign(allowed_.begin(), allowed_.end());
    return match;
  }

 private:
  struct Candidate {
    std::tuple<int64_t, std::vector<int>, size_t, bool, size_t, size_t, size_t, size_t> order;
    size_t route;
    PathFit fit;
  };

  const TableSpec* TableForHost() const {
    const TableSpec* best = nullptr;
    std::pair<int, size_t> best_rank{-1, 0};
    for (const TableSpec& table : tables_) {
      for (std::string domain : table.domains) {
        domain = Lower(domain);
        const std::string& host = request_.host;
        std::pair<int, size_t> rank{-1, domain.size()};
        if (domain == "*") {
          rank.first = 0;
        } else if (domain.rfind("*.", 0) == 0) {
          const std::string tail = domain.substr(1);
          if (host.size() > tail.size() && host.substr(host.size() - tail.size()) == tail) {
            rank.first = 2;
          }
        } else if (domain.size() > 2 && domain.substr(domain.size() - 2) == ".*") {
          const std::string head = domain.substr(0, domain.size() - 1);
          if (host.size() > head.size() && host.rfind(head, 0) == 0) rank.first = 1;
        } else if (domain == host) {
          rank.first = 3;
        }
        if (rank.first >= 0 && rank > best_rank) {
          best_rank = rank;
          best = &table;
        }
      }
    }
    return best;
  }

  bool SearchTable(const TableSpec& table, const std::string& mount,
                   const std::optional<Strings>& reach, ReferenceMatch& match) {
    std::vector<Candidate> candidates;
    for (size_t i = 0; i < table.routes.size(); ++i) {
      const RouteSpec& route = table.routes[i];
      std::optional<PathFit> fit = Fit(route.path, request_.path, mount);
      if (!fit) continue;
      size_t same_regex = 0;
      if (route.path.kind == PathMatch::Kind::kRegex) {
        for (same_regex = 0; !SameRegex(table.routes[same_regex], route); ++same_regex) {
        }
      }
      candidates.push_back({{-int64_t{route.priority}, fit->rank, same_regex, route.methods.empty(),
                             ~route.headers.size(), ~route.query.size(), ~route.cookies.size(), i},
                            i,
                            *fit});
    }
    std::sort(candidates.begin(), candidates.end(),
              [](const Candidate& a, const Candidate& b) { return a.order < b.order; });
    for (const Candidate& candidate : candidates) {
      if (Try(table, table.routes[candidate.route], candidate, mount, reach, match)) return true;
    }
    return false;
  }

  // The methods in both; none given stands for all.
  static std::optional<Strings> Both(const std::optional<Strings>& reach, const Strings& methods) {
    if (methods.empty()) return reach;
    if (!reach) return methods;
    Strings both;
    for (const std::string& method : methods) {
      if (std::find(reach->begin(), reach->end(), method) != reach->end()) both.push_back(method);
    }
    return both;
  }

  static bool SameRegex(const RouteSpec& a, const RouteSpec& b) {
    return a.path.kind == PathMatch::Kind::kRegex && a.path.text == b.path.text &&
           a.priority == b.priority;
  }

  bool Try(const TableSpec& table, const RouteSpec& route, const Candidate& candidate,
           const std::string& mount, const std::optional<Strings>& reach, ReferenceMatch& match) {
    if (!PredicatesHold(route, request_)) return false;
    const std::optional<Strings> methods = Both(reach, route.methods);
    if (collecting_) {
      if (route.delegates.empty()) allowed_.insert(methods->begin(), methods->end());
      if (route.delegates.empty() || (methods && methods->empty())) return false;
    } else if (!route.methods.empty() && std::find(route.methods.begin(), route.methods.end(),
                                                   request_.method) == route.methods.end()) {
      return false;
    }
    if (route.delegates.empty()) {
      match.found = true;
      match.name =
          route.name.empty() ? fmt::format("{}[{}]", table.name, candidate.route) : route.name;
      match.action = route.action;
      match.matched_size = static_cast<uint32_t>(candidate.fit.matched_size);
      match.captures = candidate.fit.captures;
      return true;
    }
    std::string prefix = route.path.kind == PathMatch::Kind::kAny ? mount : route.path.text;
    if (!prefix.empty() && prefix.back() == '/') prefix.pop_back();
    for (const std::string& name : route.delegates) {
      for (const TableSpec& other : tables_) {
        if (other.name == name && SearchTable(other, prefix, methods, match)) return true;
      }
    }
    return false;
  }

  const std::vector<TableSpec>& tables_;
  const ReferenceRequest& request_;
  bool collecting_ = false;  // what methods there would be, after nothing was found
  std::set<std::string> allowed_;
};

std::string PrintMatches(const std::vector<ValueMatch>& matches) {
  std::string text;
  for (const ValueMatch& match : matches) {
    text += fmt::format(" {}{}:{}'{}'[{},{}]", match.invert ? "!" : "", match.name,
                        static_cast<int>(match.kind), match.text, match.from, match.to);
  }
  return text;
}

}  // namespace

ReferenceMatch ReferenceFind(const std::vector<TableSpec>& tables,
                             const ReferenceRequest& request) {
  return Search(tables, request).Run();
}

std::string Print(const std::vector<TableSpec>& tables) {
  std::string text;
  for (const TableSpec& table : tables) {
    text += fmt::format("table {} domains [{}]\n", table.name, fmt::join(table.domains, ", "));
    for (size_t i = 0; i < table.routes.size(); ++i) {
      const RouteSpec& route = table.routes[i];
      text += fmt::format(
          "  [{}] kind {} '{}' methods [{}] headers{} query{} cookies{} priority {} delegates "
          "[{}]\n",
          i, static_cast<int>(route.path.kind), route.path.text, fmt::join(route.methods, " "),
          PrintMatches(route.headers), PrintMatches(route.query), PrintMatches(route.cookies),
          route.priority, fmt::join(route.delegates, " "));
    }
  }
  return text;
}

std::string Print(const ReferenceRequest& request) {
  std::string text = fmt::format("{} host '{}' path '{}' query '{}'", request.method, request.host,
                                 request.path, request.query);
  for (const auto& [name, value] : request.headers) text += fmt::format(" {}: '{}'", name, value);
  return text;
}

std::string Print(const ReferenceMatch& match) {
  return fmt::format("found {} name '{}' action {} matched {} captures [{}] allowed [{}]",
                     match.found, match.name, match.action, match.matched_size,
                     fmt::join(match.captures, "|"), fmt::join(match.allowed, " "));
}

}  // namespace gatehouse::route
