// Verdict: what a filter's hook answers. Continue, wait (for what context.Await() began), or reply.
//
// There is no continueX() to forget or to call twice: a filter that waits is asked again only
// through the continuation that it gave to Await().
#pragma once

#include <cstdint>
#include <string_view>

namespace gatehouse::filters {

// An answer by the gateway instead of the origin's. The views must outlive the exchange: literals,
// the filter's own config, or the exchange's arena. The reply passes the response hooks of the
// filters that the request has passed, and of the one that replies.
struct Reply {
  uint16_t status = 500;
  // Stable word for clients, logs and metrics, such as rate_limited.
  std::string_view code = {};
  // One sentence for the client: no internals. Goes into a problem+json body.
  std::string_view detail = {};
  // A body of its own instead of problem+json; content_type then says what it is.
  std::string_view body = {};
  std::string_view content_type = {};
  // No body at all (a CORS preflight: 204).
  bool empty = false;
  // For the problem+json body: its `type` (a URI), and further members as JSON text without the
  // braces, such as "violated-policies":["burst"].
  std::string_view problem_type = {};
  std::string_view problem_members = {};
};

class [[nodiscard]] Verdict {
 public:
  enum class Kind : uint8_t { kContinue, kWait, kReply };

  Verdict(Reply reply) : kind_(Kind::kReply), reply_(reply) {}  // NOLINT: meant to convert
  [[nodiscard]] Kind kind() const { return kind_; }
  [[nodiscard]] const Reply& reply() const { return reply_; }

 private:
  friend Verdict Continue();
  friend class FilterContext;
  explicit Verdict(Kind kind) : kind_(kind) {}

  Kind kind_;
  Reply reply_;
};

inline Verdict Continue() { return Verdict(Verdict::Kind::kContinue); }

}  // namespace gatehouse::filters
