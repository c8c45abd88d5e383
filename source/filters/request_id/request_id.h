// request_id: who a request is. X-Request-ID, X-Trace-ID, traceparent and tracestate are right on
// every request to the origin and told to the client.
//
// Config puts it first into every chain that does not name it. The functions are for requests that
// never reach a chain (400, 404): the exchange calls them itself.
//
//   AssignIds(context, RequestIdPolicy{});
//   AddIdsToResponse(context);
#pragma once

#include "absl/status/statusor.h"

#include "source/filters/filter.h"
#include "source/filters/filter_context.h"

namespace gatehouse::filters::v1 {
class RequestId;
}

namespace gatehouse::filters {

class BuildContext;

struct RequestIdPolicy {
  // Keep a valid X-Request-ID of a client; one of a trusted proxy is always kept.
  bool accept_from_clients = false;
  // Keep a valid traceparent, tracestate and X-Trace-ID.
  bool continue_traces = true;
  // Tell the client X-Request-ID.
  bool echo = true;
};

// Decides on the ids, puts them into facts() and into the request's headers.
void AssignIds(FilterContext& context, const RequestIdPolicy& policy);
// X-Trace-ID always, X-Request-ID when it is echoed. After AssignIds().
void AddIdsToResponse(FilterContext& context);

class RequestId {
 public:
  static constexpr Hooks kHooks = Hooks::kRequestHeaders | Hooks::kResponseHeaders;
  [[nodiscard]] static absl::StatusOr<RequestId> Build(const filters::v1::RequestId& config,
                                                       BuildContext& context);

  struct Call {
    Verdict OnRequestHeaders(const RequestId& filter, FilterContext& context) {
      AssignIds(context, filter.policy_);
      return Continue();
    }
    Verdict OnResponseHeaders(const RequestId&, FilterContext& context) {
      AddIdsToResponse(context);
      return Continue();
    }
  };

 private:
  explicit RequestId(const RequestIdPolicy& policy) : policy_(policy) {}
  RequestIdPolicy policy_;
};

}  // namespace gatehouse::filters
