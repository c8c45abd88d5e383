// What a filter is, in one header. A filter is a class that is built once per place in the config
// and const from then on, shared by all workers, with a nested `Call`: the state of one request.
//
//   class ApiKey {
//    public:
//     static constexpr Hooks kHooks = Hooks::kRequestHeaders;      // checked against Call's
//     static absl::StatusOr<ApiKey> Build(const v1::ApiKey& config, BuildContext& build);
//     struct Call {
//       Verdict OnRequestHeaders(const ApiKey& filter, FilterContext& context) {
//         auto key = context.request().Get(http::Name::kXApiKey);
//         if (!key) return Reply{401, "missing_key", "An API key is needed."};
//         return Continue();
//       }
//     };
//   };
//
// Call is made in the request's arena before its first hook and destroyed when the exchange ends.
// Its hooks, all optional, named in kHooks, run on the exchange's loop:
//   Verdict OnRequestHeaders(const F&, FilterContext&)
//   Verdict OnRequestBody(const F&, FilterContext&, Chain& data, bool end)    // may change data
//   Verdict OnRequestTrailers(const F&, FilterContext&)
//   Verdict OnResponseHeaders(const F&, FilterContext&)                       // reverse order
//   Verdict OnResponseBody(const F&, FilterContext&, Chain& data, bool end)
//   Verdict OnResponseTrailers(const F&, FilterContext&)
//   void OnFinish(const F&, FilterContext&)                    // once, whatever happened
// A filter sees a response only if the request passed it (or it replied itself), so what it added
// on the way in it can finish on the way out; the heads of local replies pass OnResponseHeaders
// too.
// When trailers follow a body, they are there with its `end`: a filter may move them into it, and
// empty them. A response without a body gets one by FilterContext::SetResponseBody().
//
// `std::string Explain(FilterContext&) const`, optional, is what `gatehouse explain` shows of the
// filter for a request: one line, such as its limits and the keys that this request has. It runs on
// main, changes nothing, and sees the head as it is before any filter.
//
// A body hook declares what it wants: `static constexpr BodyMode kRequestBody = BodyMode::kStream`
// (each piece as it comes) or kWhole (once, with all of it; more than `size_t WholeBodyLimit()` of
// the filter is answered with 413, or 502 for a response).
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "source/base/arena.h"
#include "source/base/chain.h"
#include "source/filters/filter_context.h"
#include "source/filters/verdict.h"

namespace gatehouse::filters {

enum class Hooks : uint8_t {
  kNone = 0,
  kRequestHeaders = 1,
  kRequestBody = 2,
  kRequestTrailers = 4,
  kResponseHeaders = 8,
  kResponseBody = 16,
  kResponseTrailers = 32,
  kFinish = 64,
  kResponseEnd = 128,
};
constexpr Hooks operator|(Hooks a, Hooks b) {
  return static_cast<Hooks>(static_cast<uint8_t>(a) | static_cast<uint8_t>(b));
}
constexpr bool Has(Hooks set, Hooks hook) {
  return (static_cast<uint8_t>(set) & static_cast<uint8_t>(hook)) != 0;
}

enum class BodyMode : uint8_t { kStream, kWhole };

// A built filter with its type taken off: what chains are packed from. Copyable; the filter lives
// as long as any copy.
struct AnyFilter {
  using HeadersHook = Verdict (*)(void* call, const void* filter, FilterContext& context);
  using BodyHook = Verdict (*)(void* call, const void* filter, FilterContext& context, Chain& data,
                               bool end);
  using FinishHook = void (*)(void* call, const void* filter, FilterContext& context);

  std::shared_ptr<const void> filter;
  uint32_t call_size = 0;
  uint32_t call_align = 1;
  void (*construct)(void* call) = nullptr;
  void (*destroy)(void* call) = nullptr;  // null: trivial
  HeadersHook request_headers = nullptr;
  BodyHook request_body = nullptr;
  HeadersHook request_trailers = nullptr;
  HeadersHook response_headers = nullptr;
  BodyHook response_body = nullptr;
  HeadersHook response_trailers = nullptr;
  FinishHook response_end = nullptr;
  FinishHook finish = nullptr;
  std::string (*explain)(const void* filter, FilterContext& context) = nullptr;
  // Body hooks: 0 streams, more is the limit of a whole body.
  size_t request_whole_limit = 0;
  size_t response_whole_limit = 0;
};

namespace internal {

// A hook that Call defines but kHooks does not name would never run, and one that kHooks names but
// Call misspells would be an open door: both are compile errors.
#define GATEHOUSE_DEFINES_HOOK(trait, method) \
  template <typename Call>                    \
  concept trait = requires { &Call::method; };
GATEHOUSE_DEFINES_HOOK(DefinesRequestHeaders, OnRequestHeaders)
GATEHOUSE_DEFINES_HOOK(DefinesRequestBody, OnRequestBody)
GATEHOUSE_DEFINES_HOOK(DefinesRequestTrailers, OnRequestTrailers)
GATEHOUSE_DEFINES_HOOK(DefinesResponseHeaders, OnResponseHeaders)
GATEHOUSE_DEFINES_HOOK(DefinesResponseBody, OnResponseBody)
GATEHOUSE_DEFINES_HOOK(DefinesResponseTrailers, OnResponseTrailers)
GATEHOUSE_DEFINES_HOOK(DefinesResponseEnd, OnResponseEnd)
GATEHOUSE_DEFINES_HOOK(DefinesFinish, OnFinish)
#undef GATEHOUSE_DEFINES_HOOK

template <typename F>
constexpr void CheckHooks() {
  using Call = typename F::Call;
  constexpr Hooks kHooks = F::kHooks;
  static_assert(Has(kHooks, Hooks::kRequestHeaders) == DefinesRequestHeaders<Call>,
                "kHooks and Call disagree about OnRequestHeaders");
  static_assert(Has(kHooks, Hooks::kRequestBody) == DefinesRequestBody<Call>,
                "kHooks and Call disagree about OnRequestBody");
  static_assert(Has(kHooks, Hooks::kRequestTrailers) == DefinesRequestTrailers<Call>,
                "kHooks and Call disagree about OnRequestTrailers");
  static_assert(Has(kHooks, Hooks::kResponseHeaders) == DefinesResponseHeaders<Call>,
                "kHooks and Call disagree about OnResponseHeaders");
  static_assert(Has(kHooks, Hooks::kResponseBody) == DefinesResponseBody<Call>,
                "kHooks and Call disagree about OnResponseBody");
  static_assert(Has(kHooks, Hooks::kResponseTrailers) == DefinesResponseTrailers<Call>,
                "kHooks and Call disagree about OnResponseTrailers");
  static_assert(Has(kHooks, Hooks::kResponseEnd) == DefinesResponseEnd<Call>,
                "kHooks and Call disagree about OnResponseEnd");
  static_assert(Has(kHooks, Hooks::kFinish) == DefinesFinish<Call>,
                "kHooks and Call disagree about OnFinish");
}

template <typename F, auto kMethod>
Verdict CallHeaders(void* call, const void* filter, FilterContext& context) {
  return (static_cast<typename F::Call*>(call)->*kMethod)(*static_cast<const F*>(filter), context);
}
template <typename F, auto kMethod>
Verdict CallBody(void* call, const void* filter, FilterContext& context, Chain& data, bool end) {
  return (static_cast<typename F::Call*>(call)->*kMethod)(*static_cast<const F*>(filter), context,
                                                          data, end);
}
template <typename F, auto kMethod>
void CallFinish(void* call, const void* filter, FilterContext& context) {
  (static_cast<typename F::Call*>(call)->*kMethod)(*static_cast<const F*>(filter), context);
}

template <typename F>
concept Explains = requires(const F& filter, FilterContext& context) {
  { filter.Explain(context) } -> std::same_as<std::string>;
};

}  // namespace internal

// Takes the type off a built filter.
template <typename F>
[[nodiscard]] AnyFilter MakeAnyFilter(F built) {
  using Call = typename F::Call;
  internal::CheckHooks<F>();
  AnyFilter any;
  auto filter = std::make_shared<const F>(std::move(built));
  // A call without state needs no memory and no constructor.
  if constexpr (!std::is_empty_v<Call> || !std::is_trivially_default_constructible_v<Call> ||
                !std::is_trivially_destructible_v<Call>) {
    any.call_size = sizeof(Call);
    any.call_align = alignof(Call);
    any.construct = [](void* call) { new (call) Call(); };
  }
  if constexpr (!std::is_trivially_destructible_v<Call>) {
    any.destroy = [](void* call) { static_cast<Call*>(call)->~Call(); };
  }
  if constexpr (Has(F::kHooks, Hooks::kRequestHeaders)) {
    any.request_headers = &internal::CallHeaders<F, &Call::OnRequestHeaders>;
  }
  if constexpr (Has(F::kHooks, Hooks::kRequestBody)) {
    any.request_body = &internal::CallBody<F, &Call::OnRequestBody>;
    if constexpr (F::kRequestBody == BodyMode::kWhole) {
      any.request_whole_limit = std::max<size_t>(filter->WholeBodyLimit(), 1);
    }
  }
  if constexpr (Has(F::kHooks, Hooks::kRequestTrailers)) {
    any.request_trailers = &internal::CallHeaders<F, &Call::OnRequestTrailers>;
  }
  if constexpr (Has(F::kHooks, Hooks::kResponseHeaders)) {
    any.response_headers = &internal::CallHeaders<F, &Call::OnResponseHeaders>;
  }
  if constexpr (Has(F::kHooks, Hooks::kResponseBody)) {
    any.response_body = &internal::CallBody<F, &Call::OnResponseBody>;
    if constexpr (F::kResponseBody == BodyMode::kWhole) {
      any.response_whole_limit = std::max<size_t>(filter->WholeBodyLimit(), 1);
    }
  }
  if constexpr (Has(F::kHooks, Hooks::kResponseTrailers)) {
    any.response_trailers = &internal::CallHeaders<F, &Call::OnResponseTrailers>;
  }
  if constexpr (Has(F::kHooks, Hooks::kResponseEnd)) {
    any.response_end = &internal::CallFinish<F, &Call::OnResponseEnd>;
  }
  if constexpr (Has(F::kHooks, Hooks::kFinish)) {
    any.finish = &internal::CallFinish<F, &Call::OnFinish>;
  }
  if constexpr (internal::Explains<F>) {
    any.explain = [](const void* self, FilterContext& context) {
      return static_cast<const F*>(self)->Explain(context);
    };
  }
  any.filter = std::move(filter);
  return any;
}

}  // namespace gatehouse::filters
