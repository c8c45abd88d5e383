// Whatever a peer sends: what is accepted obeys the rules, and what is written is accepted.
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "source/base/check.h"
#include "source/base/random.h"
#include "source/observe/trace_context.h"

namespace gatehouse::observe {
namespace {

void Try(std::string_view text) {
  const auto parsed = ParseTraceparent(text);
  if (parsed.has_value()) {
    CHECK(parsed->trace_id.size() == kTraceIdSize && parsed->parent_id.size() == kSpanIdSize);
    CHECK(parsed->trace_id.find_first_not_of("0123456789abcdef") == std::string_view::npos);
    CHECK(parsed->parent_id.find_first_not_of('0') != std::string_view::npos);
  }
  // Split at each byte: as a traceparent and an X-Trace-ID, and as two lines of tracestate.
  for (size_t at = 0; at <= text.size(); at += 1 + at / 16) {
    Random random(at);
    const std::string_view front = text.substr(0, at);
    const std::string_view back = text.substr(at);
    const TraceIds ids = TraceIds::Join(front, back, random);
    std::array<char, kTraceparentSize> buffer;
    const auto again = ParseTraceparent(ids.WriteTraceparent(buffer));
    CHECK(again.has_value() && again->trace_id == ids.trace_id());
    CHECK(ids.has_parent() == ParseTraceparent(front).has_value());
    CHECK(ValidExternalId(ids.trace_id()));
    const std::array<std::string_view, 2> lines = {front, back};
    if (ValidTracestate(lines)) CHECK(text.size() <= kMaxTracestateSize);
  }
  if (ValidTracestate(text)) {
    CHECK(text.find('=') != std::string_view::npos);
    for (const char c : text) CHECK((c >= 0x20 && c <= 0x7e) || c == '\t');
  }
}

}  // namespace
}  // namespace gatehouse::observe

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  gatehouse::observe::Try({reinterpret_cast<const char*>(data), size});
  return 0;
}
