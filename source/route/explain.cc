#include "source/route/explain.h"

namespace gatehouse::route {

std::string_view OutcomeName(Explanation::Outcome outcome) {
  switch (outcome) {
    case Explanation::Outcome::kMatched:
      return "matched";
    case Explanation::Outcome::kMounted:
      return "mounted";
    case Explanation::Outcome::kReturned:
      return "returned";
    case Explanation::Outcome::kMethod:
      return "method";
    case Explanation::Outcome::kHeader:
      return "header";
    case Explanation::Outcome::kQuery:
      return "query";
    case Explanation::Outcome::kCookie:
      return "cookie";
    case Explanation::Outcome::kRegex:
      return "regex";
  }
  return {};
}

}  // namespace gatehouse::route
