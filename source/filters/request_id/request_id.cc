#include "source/filters/request_id/request_id.h"

#include <array>
#include <span>

#include "api/gatehouse/filters/v1/request_id.pb.h"
#include "source/base/random.h"
#include "source/observe/trace_context.h"

namespace gatehouse::filters {

namespace {

using http::HeaderMap;
using http::Name;

// The field's value when it came exactly once: of two, nobody knows which one is meant.
std::string_view Single(const HeaderMap& headers, Name name) {
  return headers.Count(name) == 1 ? *headers.Get(name) : std::string_view();
}

bool HasValidTracestate(const HeaderMap& headers) {
  std::array<std::string_view, observe::kMaxTracestateMembers> lines;
  size_t count = 0;
  headers.ForEach(Name::kTracestate, [&](std::string_view line) {
    if (count < lines.size()) lines[count] = line;
    ++count;
  });
  return count > 0 && count <= lines.size() &&
         observe::ValidTracestate(std::span<const std::string_view>(lines.data(), count));
}

// Room in the exchange's arena for a text that is written once and then shown in several places.
template <size_t kSize>
std::span<char, kSize> Room(FilterContext& context) {
  return std::span<char, kSize>(context.arena().AllocateChars(kSize), kSize);
}

void AssignRequestId(FilterContext& context, const RequestIdPolicy& policy) {
  HeaderMap& headers = context.request();
  const std::string_view came = Single(headers, Name::kXRequestId);
  if ((policy.accept_from_clients || context.facts().peer_trusted) &&
      observe::ValidExternalId(came)) {
    context.facts().request_id = came;
    return;
  }
  context.facts().request_id =
      observe::WriteRequestId(ThreadRandom(), Room<observe::kRequestIdSize>(context));
  headers.SetMade(Name::kXRequestId, context.facts().request_id);
}

void AssignTrace(FilterContext& context, const RequestIdPolicy& policy) {
  HeaderMap& headers = context.request();
  std::string_view traceparent;
  std::string_view x_trace_id;
  if (policy.continue_traces) {
    traceparent = Single(headers, Name::kTraceparent);
    x_trace_id = Single(headers, Name::kXTraceId);
  }
  const observe::TraceIds ids = observe::TraceIds::Join(traceparent, x_trace_id, ThreadRandom());
  if (headers.Has(Name::kTracestate) && (!ids.has_parent() || !HasValidTracestate(headers))) {
    headers.Remove(Name::kTracestate);
  }
  ExchangeFacts& facts = context.facts();
  facts.traceparent = ids.WriteTraceparent(Room<observe::kTraceparentSize>(context));
  // The trace-id stands in traceparent: "00-<trace-id>-...".
  facts.trace_id = facts.traceparent.substr(3, observe::kTraceIdSize);
  headers.SetMade(Name::kTraceparent, facts.traceparent);
  headers.SetMade(Name::kXTraceId, facts.trace_id);
}

}  // namespace

void AssignIds(FilterContext& context, const RequestIdPolicy& policy) {
  AssignRequestId(context, policy);
  AssignTrace(context, policy);
  context.facts().echo_request_id = policy.echo;
}

void AddIdsToResponse(FilterContext& context) {
  const ExchangeFacts& facts = context.facts();
  if (facts.trace_id.empty()) return;
  context.response().SetMade(Name::kXTraceId, facts.trace_id);
  if (facts.echo_request_id) {
    context.response().SetMade(Name::kXRequestId, facts.request_id);
  } else {
    context.response().Remove(Name::kXRequestId);
  }
}

absl::StatusOr<RequestId> RequestId::Build(const v1::RequestId& config, BuildContext&) {
  RequestIdPolicy policy;
  policy.accept_from_clients = config.accept_from_clients();
  if (config.has_continue_traces()) policy.continue_traces = config.continue_traces();
  if (config.has_echo()) policy.echo = config.echo();
  return RequestId(policy);
}

}  // namespace gatehouse::filters
