#include "source/route/route_table.h"

#include <cstring>
#include <utility>

#include "fmt/format.h"
#include "source/route/compiled.h"
#include "source/route/explain.h"
#include "source/route/lookup.h"

namespace gatehouse::route {
namespace {

struct MethodCollector : NoObserver {
  static constexpr bool kCollectMethods = true;
};

std::string_view MethodName(const CompiledRoutes& routes, unsigned bit) {
  if (bit < static_cast<unsigned>(http::Method::kOther)) {
    return http::MethodText(static_cast<http::Method>(bit));
  }
  const unsigned extension = bit - CompiledRoutes::kFirstExtensionBit;
  return bit < CompiledRoutes::kFirstExtensionBit || extension >= routes.extension_methods.size()
             ? std::string_view()
             : routes.extension_methods[extension];
}

// Calls visit(name) for each method of the set.
template <typename Visit>
void ForEachMethod(const CompiledRoutes& routes, uint32_t methods, Visit&& visit) {
  for (unsigned bit = 0; bit < 32; ++bit) {
    if ((methods >> bit & 1) == 0) continue;
    const std::string_view name = MethodName(routes, bit);
    if (!name.empty()) visit(name);
  }
}

class ExplainObserver {
 public:
  static constexpr bool kEveryCandidate = true;
  static constexpr bool kCollectMethods = false;

  ExplainObserver(const CompiledRoutes& routes, const RequestView& request, Explanation& out)
      : routes_(routes), request_(request), out_(out) {}

  void OnDomain(const Domain& domain) {
    out_.domain = domain.text;
    out_.table_name = domain.table_name;
  }
  void OnCandidate(uint32_t route, Explanation::Outcome outcome, const Predicate* predicate) {
    const RouteLabel& label = routes_.route_labels[route];
    out_.steps.push_back({route, std::string(label.name),
                          std::string(routes_.table_names[label.table]), outcome,
                          Detail(routes_.routes[route], outcome, predicate)});
  }

 private:
  std::string Detail(const RouteEntry& route, Explanation::Outcome outcome,
                     const Predicate* predicate) const {
    if (predicate != nullptr) return Describe(*predicate);
    if (outcome == Explanation::Outcome::kRegex) {
      return fmt::format("path regex '{}'", routes_.regex_paths[route.detail].regex->pattern());
    }
    if (outcome != Explanation::Outcome::kMethod) return {};
    std::string methods;
    ForEachMethod(routes_, route.methods, [&](std::string_view name) {
      methods += methods.empty() ? "" : ", ";
      methods += name;
    });
    return fmt::format("method {} is not one of {}", request_.method_text, methods);
  }

  const CompiledRoutes& routes_;
  const RequestView& request_;
  Explanation& out_;
};

// A second search, only for requests that are to be answered 405.
[[gnu::noinline]] void CollectMethods(const CompiledRoutes& routes, const RequestView& request,
                                      Match& match) {
  MethodCollector collector;
  Lookup<MethodCollector>(routes, request, match, collector).Run();
}

}  // namespace

size_t CompiledRoutes::MemoryBytes() const {
  const auto of = [](const auto& vector) { return vector.capacity() * sizeof(vector[0]); };
  size_t bytes = sizeof(*this) + hosts.MemoryBytes() + exact_paths.MemoryBytes() +
                 nodes.MemoryBytes() + header_values.MemoryBytes() + text.overflow_bytes();
  bytes += of(domains) + of(tables) + of(levels) + of(routes) + of(route_labels);
  bytes += of(predicates) + of(mounts) + of(capture_names) + of(table_names);
  bytes += of(regex_lists) + of(regex_paths) + of(header_indexes) + of(indexed_routes);
  for (const auto& mount : mounts) bytes += of(mount);
  for (const RegexList& list : regex_lists) bytes += of(list.entries());
  for (const RegexPath& path : regex_paths) bytes += of(path.captures);
  return bytes + header_index_of.capacity() * (2 * sizeof(uint32_t) + 1);
}

RouteTable::RouteTable(std::unique_ptr<const CompiledRoutes> routes) : routes_(std::move(routes)) {}
RouteTable::~RouteTable() = default;

Match RouteTable::Find(const RequestView& request) const {
  Match match;
  NoObserver nobody;
  Lookup<NoObserver> lookup(*routes_, request, match, nobody);
  lookup.Run();
  if (__builtin_expect(!match && lookup.saw_other_method(), 0)) {
    CollectMethods(*routes_, request, match);
  }
  return match;
}

Match RouteTable::Explain(const RequestView& request, Explanation& explanation) const {
  Match match;
  ExplainObserver observer(*routes_, request, explanation);
  Lookup<ExplainObserver> lookup(*routes_, request, match, observer);
  lookup.Run();
  if (!match && lookup.saw_other_method()) CollectMethods(*routes_, request, match);
  return match;
}

std::string_view RouteTable::Allow(uint32_t allowed_methods, Arena& arena) const {
  size_t size = 0;
  ForEachMethod(*routes_, allowed_methods, [&](std::string_view name) { size += name.size() + 2; });
  if (size == 0) return {};
  char* const begin = arena.AllocateChars(size);
  char* at = begin;
  ForEachMethod(*routes_, allowed_methods, [&](std::string_view name) {
    std::memcpy(at, name.data(), name.size());
    std::memcpy(at + name.size(), ", ", 2);
    at += name.size() + 2;
  });
  return {begin, size - 2};
}

std::optional<std::string_view> RouteTable::Capture(const Match& match,
                                                    std::string_view name) const {
  for (size_t i = 0; i < match.capture_count; ++i) {
    if (CaptureName(match.route, i) == name) return match.captures[i];
  }
  return std::nullopt;
}

size_t RouteTable::route_count() const { return routes_->routes.size(); }
std::string_view RouteTable::RouteName(uint32_t route) const {
  return routes_->route_labels[route].name;
}
std::string_view RouteTable::TableName(uint32_t route) const {
  return routes_->table_names[routes_->route_labels[route].table];
}
uint32_t RouteTable::RouteIndex(uint32_t route) const { return routes_->route_labels[route].index; }
uint32_t RouteTable::Action(uint32_t route) const { return routes_->routes[route].action; }
uint32_t RouteTable::MountOf(uint32_t route) const { return routes_->route_labels[route].mount; }
size_t RouteTable::CaptureCount(uint32_t route) const {
  return routes_->routes[route].capture_count;
}
std::string_view RouteTable::CaptureName(uint32_t route, size_t index) const {
  return routes_->capture_names[routes_->route_labels[route].capture_names + index];
}
size_t RouteTable::MemoryBytes() const { return routes_->MemoryBytes(); }

}  // namespace gatehouse::route
