// Explanation: the candidates that RouteTable::Explain looked at, nearest first, and what became of
// each. For `gatehouse explain` and tests; owner: the caller; any thread.
//
//   route::Explanation why;
//   route::Match match = table.Explain(request, why);
//   for (const auto& step : why.steps) print(step.route_name, step.detail);
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace gatehouse::route {

struct Explanation {
  enum class Outcome {
    kMatched,
    kMounted,   // its delegates are looked at next
    kReturned,  // they had no match
    kMethod,
    kHeader,
    kQuery,
    kCookie,
    kRegex,  // the path has its literal prefix, but does not match
  };
  struct Step {
    uint32_t route;
    std::string route_name;
    std::string table_name;
    Outcome outcome;
    std::string detail;  // "method POST is not one of GET, PUT", "header x-plan: exact 'gold'"
  };
  std::string domain;      // the domain that chose the table; empty: none did
  std::string table_name;  // of that domain
  std::vector<Step> steps;
};

[[nodiscard]] std::string_view OutcomeName(Explanation::Outcome outcome);

}  // namespace gatehouse::route
