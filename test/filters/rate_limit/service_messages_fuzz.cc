// Any bytes as a rate-limit service's answer: what we take, protobuf takes as well, and headers are
// such that can be written.

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "api/envoy/service/ratelimit/v3/rls.pb.h"
#include "source/base/arena.h"
#include "source/base/check.h"
#include "source/filters/rate_limit/service_messages.h"
#include "source/http/header_map.h"

using gatehouse::Arena;
using gatehouse::filters::DecodeServiceAnswer;
using gatehouse::filters::LimitTake;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using envoy::service::ratelimit::v3::RateLimitResponse;
  Arena arena;
  const auto ours = DecodeServiceAnswer({reinterpret_cast<const char*>(data), size}, arena);
  RateLimitResponse theirs;
  const bool parsed = theirs.ParseFromArray(data, static_cast<int>(size));
  if (!ours) return 0;
  CHECK(ours->takes.count >= 1);
  for (const LimitTake& take : ours->takes.all()) {
    CHECK(take.reset_after.count() >= 0 && take.retry_after.count() >= 0);
    CHECK(take.allowed || !ours->takes.allowed);
  }
  for (const auto& headers : {ours->request_headers, ours->response_headers}) {
    for (const auto& [name, value] : headers) {
      CHECK(gatehouse::http::IsToken(name) && gatehouse::http::IsFieldValue(value));
    }
  }
  // Protobuf checks more than we read: names in UTF-8, what is inside messages that we skip.
  if (!parsed) return 0;
  CHECK(ours->takes.allowed == (theirs.overall_code() == RateLimitResponse::OK));
  CHECK(ours->body == theirs.raw_body());
  return 0;
}
