#include "source/config/resources.h"

#include <utility>

#include "api/gatehouse/v1/bootstrap.pb.h"
#include "fmt/format.h"

namespace gatehouse::config {
namespace {

template <typename List, typename Message>
void AddAll(const std::shared_ptr<const v1::Bootstrap>& owner, const List& list, const char* field,
            const SourceMap& source, std::vector<Resource<Message>>* out) {
  out->reserve(static_cast<size_t>(list.size()));
  for (int i = 0; i < list.size(); ++i) {
    out->push_back({std::shared_ptr<const Message>(owner, &list[i]),
                    source.Below(fmt::format("{}[{}]", field, i))});
  }
}

}  // namespace

Resources ResourcesOf(const std::shared_ptr<const v1::Bootstrap>& bootstrap,
                      const SourceMap& source) {
  Resources all;
  AddAll(bootstrap, bootstrap->listeners(), "listeners", source, &all.listeners);
  AddAll(bootstrap, bootstrap->route_tables(), "route_tables", source, &all.route_tables);
  AddAll(bootstrap, bootstrap->clusters(), "clusters", source, &all.clusters);
  AddAll(bootstrap, bootstrap->endpoints(), "endpoints", source, &all.endpoints);
  AddAll(bootstrap, bootstrap->rate_limits(), "rate_limits", source, &all.rate_limits);
  AddAll(bootstrap, bootstrap->secrets(), "secrets", source, &all.secrets);
  return all;
}

}  // namespace gatehouse::config
