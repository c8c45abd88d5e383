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

// Sets the field and returns its text in the arena.
std::string_view SetAndView(HeaderMap& headers, Name name, std::string_view value) {
  headers.Set(name, value);
  return headers.Get(name).value_or(std::string_view());
}

void AssignRequestId(FilterContext& context, const RequestIdPolicy& policy) {
  HeaderMap& headers = context.request();
  const std::string_view came = Single(headers, Name::kXRequestId);
  if ((policy.accept_from_clients || context.facts().peer_trusted) &&
      observe::ValidExternalId(came)) {
    context.facts().request_id = came;
    return;
  }
  std::array<char, observe::kRequestIdSize> text;
  context.facts().request_id =
      SetAndView(headers, Name::kXRequestId, observe::WriteRequestId(ThreadRandom(), text));
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
  if (!ids.has_parent() || !HasValidTracestate(headers)) headers.Remove(Name::kTracestate);
  std::array<char, observe::kTraceparentSize> text;
  ExchangeFacts& facts = context.facts();
  facts.traceparent = SetAndView(headers, Name::kTraceparent, ids.WriteTraceparent(text));
  facts.trace_id = SetAndView(headers, Name::kXTraceId, ids.trace_id());
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
  context.response().Set(Name::kXTraceId, facts.trace_id);
  if (facts.echo_request_id) {
    context.response().Set(Name::kXRequestId, facts.request_id);
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
