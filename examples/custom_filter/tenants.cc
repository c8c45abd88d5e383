#include "examples/custom_filter/tenants.h"

#include "examples/custom_filter/tenants.pb.h"
#include "fmt/format.h"
#include "source/http/header_map.h"

namespace acme {

absl::StatusOr<Tenants> Tenants::Build(const gateway::v1::Tenants& config,
                                       filters::BuildContext& context) {
  absl::Status status;
  if (!gatehouse::http::IsToken(config.header())) {
    status = context.Error("header", fmt::format("\"{}\" is not a header's name", config.header()));
  }
  Plans plans;
  for (int i = 0; i < config.tenants_size(); ++i) {
    const gateway::v1::Tenant& tenant = config.tenants(i);
    const std::string plan = tenant.plan().empty() ? "free" : tenant.plan();
    if (!gatehouse::http::IsToken(plan)) {
      status = context.Error(fmt::format("tenants[{}].plan", i), "must be one word");
    }
    if (!plans.try_emplace(tenant.name(), plan).second) {
      status = context.Error(fmt::format("tenants[{}].name", i),
                             fmt::format("\"{}\" is there twice", tenant.name()));
    }
  }
  // Every mistake has been noted; the last one is the status.
  if (!status.ok()) return status;
  return Tenants(config.header(), std::move(plans));
}

filters::Verdict Tenants::Call::OnRequestHeaders(const Tenants& filter,
                                                 filters::FilterContext& context) {
  const auto name = context.request().Get(filter.header_);
  const auto plan = name.has_value() ? filter.plans_.find(*name) : filter.plans_.end();
  if (plan == filter.plans_.end()) {
    return filters::Reply{
        .status = 403, .code = "unknown_tenant", .detail = "This tenant is not known here."};
  }
  // Set() replaces what a client may have sent.
  context.request().Set("X-Plan", plan->second);
  return filters::Continue();
}

}  // namespace acme
