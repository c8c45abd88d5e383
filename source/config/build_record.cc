#include "source/config/build_record.h"

#include <algorithm>

namespace gatehouse::config {

void References::Add(const References& other) {
  clusters.insert(clusters.end(), other.clusters.begin(), other.clusters.end());
  rate_limits.insert(rate_limits.end(), other.rate_limits.begin(), other.rate_limits.end());
  secrets.insert(secrets.end(), other.secrets.begin(), other.secrets.end());
}

void References::Unite() {
  for (std::vector<std::string>* names : {&clusters, &rate_limits, &secrets}) {
    std::sort(names->begin(), names->end());
    names->erase(std::unique(names->begin(), names->end()), names->end());
  }
}

bool RouteSet::IsFor(const RouteDefaults& other_defaults,
                     const std::vector<filters::NamedFilter>& other_inherited) const {
  return defaults == other_defaults &&
         std::equal(inherited.begin(), inherited.end(), other_inherited.begin(),
                    other_inherited.end(), [](const auto& a, const auto& b) {
                      return a.name == b.name && a.filter.filter == b.filter.filter;
                    });
}

}  // namespace gatehouse::config
