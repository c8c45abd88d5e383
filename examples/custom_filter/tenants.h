// tenants: a filter from outside the tree. Requests without a known tenant are answered with 403;
// the others go on with an X-Plan header that only the gateway can have written.
//
//   filters:
//   - name: tenants
//     extension:
//       "@type": type.googleapis.com/acme.gateway.v1.Tenants
//       header: X-Tenant
//       tenants: [ { name: blue, plan: gold } ]
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"

#include "source/filters/build_context.h"
#include "source/filters/filter.h"

namespace acme::gateway::v1 {
class Tenants;
}

namespace acme {

namespace filters = gatehouse::filters;

class Tenants {
 public:
  static constexpr filters::Hooks kHooks = filters::Hooks::kRequestHeaders;

  [[nodiscard]] static absl::StatusOr<Tenants> Build(const gateway::v1::Tenants& config,
                                                     filters::BuildContext& context);

  struct Call {
    filters::Verdict OnRequestHeaders(const Tenants& filter, filters::FilterContext& context);
  };

 private:
  // Lets a string_view be looked up without a copy of it.
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  using Plans = absl::flat_hash_map<std::string, std::string, Hash, std::equal_to<>>;

  Tenants(std::string header, Plans plans) : header_(std::move(header)), plans_(std::move(plans)) {}

  std::string header_;
  Plans plans_;  // by tenant
};

}  // namespace acme
