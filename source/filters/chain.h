// FilterChain: the filters of one route, packed when the config is built. FilterRun: one exchange's
// way through them.
//
// A FilterChain is const, in the snapshot, shared by all workers. A FilterRun is a member of the
// Exchange and used again for the next one; thread: its loop. Requests go through the filters in
// order, responses in reverse, and both may be under way at the same time.
//
// Every hook method returns
//   kDone   all filters have seen it: go on;
//   kWait   a filter waits: `wake` is called, from the loop, when it is time to call the same
//   method
//           again, which goes on behind that filter (a call in between changes nothing);
//   kReply  a filter answers: reply() says what. Call BeginReply(), put the reply into the response
//           head, call ResponseHeaders(). If the response's head has already gone out, abort the
//           exchange instead. There is nothing else to do on a kReply.
//
//   run.Start(chain, context, this, [](void* self) { static_cast<Exchange*>(self)->Run(); });
//   switch (run.RequestHeaders()) { ... }
//   if (run.wants_request_body() && run.RequestBody(data, end) != Progress::kDone) ...
//   run.Finish();
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "source/base/chain.h"
#include "source/filters/filter.h"
#include "source/filters/filter_context.h"
#include "source/filters/verdict.h"

namespace gatehouse::filters {

// One filter of a list, under the name by which lists refer to it.
struct NamedFilter {
  std::string name;
  AnyFilter filter;
};

class FilterChain {
 public:
  static constexpr size_t kMaxFilters = 64;

  FilterChain() = default;  // no filters
  [[nodiscard]] static const std::shared_ptr<const FilterChain>& None();
  // More than kMaxFilters are refused.
  [[nodiscard]] static absl::StatusOr<FilterChain> Build(std::vector<NamedFilter> filters);

  [[nodiscard]] bool empty() const { return filters_.empty(); }
  [[nodiscard]] size_t size() const { return filters_.size(); }
  [[nodiscard]] std::string_view NameOf(size_t index) const { return filters_[index].name; }
  // What the filter says of a request; empty: nothing.
  [[nodiscard]] std::string ExplainAt(size_t index, FilterContext& context) const {
    const AnyFilter& any = filters_[index].filter;
    return any.explain == nullptr ? std::string() : any.explain(any.filter.get(), context);
  }
  // Bytes of call state that a request takes from its arena.
  [[nodiscard]] size_t call_bytes() const { return call_bytes_; }

 private:
  friend class FilterRun;

  // What is common to all hooks: which filter, and where its call is.
  struct Place {
    const void* filter;
    uint32_t offset;  // of the call in the packed state
    uint32_t index;   // in the list
  };
  struct HeadersHook : Place {
    AnyFilter::HeadersHook run;
  };
  struct BodyHook : Place {
    AnyFilter::BodyHook run;
    size_t whole_limit;  // 0: streams
  };
  struct FinishHook : Place {
    AnyFilter::FinishHook run;
  };
  struct CallState {
    void (*run)(void* call);
    uint32_t offset;
  };

  void Pack(const AnyFilter& any, uint32_t index);

  std::vector<NamedFilter> filters_;
  // Requests in order, responses in reverse.
  std::vector<HeadersHook> request_headers_;
  std::vector<BodyHook> request_body_;
  std::vector<HeadersHook> request_trailers_;
  std::vector<HeadersHook> response_headers_;
  std::vector<BodyHook> response_body_;
  std::vector<HeadersHook> response_trailers_;
  std::vector<FinishHook> response_end_;
  std::vector<FinishHook> finish_;
  std::vector<CallState> construct_;
  std::vector<CallState> destroy_;
  size_t call_bytes_ = 0;
  size_t call_align_ = 1;
};

class FilterRun {
 public:
  using Wake = void (*)(void* owner);
  enum class Progress : uint8_t { kDone, kWait, kReply };

  FilterRun() = default;
  ~FilterRun() { Finish(); }
  FilterRun(const FilterRun&) = delete;
  FilterRun& operator=(const FilterRun&) = delete;

  // `chain` is pinned by the exchange; `context` and `owner` live until Finish().
  void Start(const FilterChain& chain, FilterContext& context, void* owner, Wake wake);
  [[nodiscard]] bool started() const { return chain_ != nullptr; }

  // Once, before all others (and again after a kWait).
  [[nodiscard]] Progress RequestHeaders();
  // Takes `data` and gives back in it what may go on now, which can be less (a filter keeps it) or
  // other bytes; also with kWait there may be some. `end` stays true once it was. When kDone comes
  // back after `end`, all is out. After a kWait, call again with an empty chain or with more.
  // Not for messages without a body. When trailers follow, the body ends first: with `end`.
  [[nodiscard]] Progress RequestBody(Chain& data, bool end);
  [[nodiscard]] Progress RequestTrailers();

  // For the origin's response, and for every local reply. Only filters that the request has passed
  // see a response, and the one that replied to it.
  [[nodiscard]] Progress ResponseHeaders();
  [[nodiscard]] Progress ResponseBody(Chain& data, bool end);
  [[nodiscard]] Progress ResponseTrailers();

  // False: that method need not be called at all: no filter has the hook, or those that have it
  // left before the body began. Bodies that have hooks may change their length, so they are sent in
  // chunks.
  [[nodiscard]] bool wants_request_body() const {
    return chain_ != nullptr && Wants(directions_[kRequest], chain_->request_body_);
  }
  [[nodiscard]] bool wants_request_trailers() const {
    return chain_ != nullptr && !chain_->request_trailers_.empty();
  }
  [[nodiscard]] bool wants_response_body() const {
    return chain_ != nullptr && Wants(directions_[kResponse], chain_->response_body_);
  }
  [[nodiscard]] bool wants_response_trailers() const {
    return chain_ != nullptr && !chain_->response_trailers_.empty();
  }
  // A filter wants all of the response's body before it decides: keep the head back until
  // ResponseBody() has given out data or is done with the end, so that it can still reply.
  [[nodiscard]] bool holds_response_head() const;

  // Body bytes that are kept while a filter waits: they count against the sink's credit. (What is
  // gathered for a filter that wants the whole body does not: that has its own limit.)
  [[nodiscard]] size_t waiting_request_bytes() const { return WaitingBytes(directions_[kRequest]); }
  [[nodiscard]] size_t waiting_response_bytes() const {
    return WaitingBytes(directions_[kResponse]);
  }

  // After kReply and until BeginReply(); what its views refer to lives as long as the exchange.
  [[nodiscard]] const Reply& reply() const { return replier_->reply; }
  // The exchange will make a response itself: a filter's reply, or an error's (a deadline, a
  // reset). Ends all waiting; body bytes that filters kept are dropped. A response that had begun
  // is replaced, so a filter may see OnResponseHeaders a second time. A filter that replied in a
  // response hook, and those nearer to the origin, do not see its own reply.
  void BeginReply();

  // Before the last of the response, the origin's or another one, is written to the client:
  // OnResponseEnd of each filter that the request reached. Once at most; not when it breaks off.
  void ResponseEnd();

  // Once the exchange is over, however it ended: OnFinish of each filter that the request reached,
  // then the calls are destroyed, and with them what they wait for. May be called again, and
  // without Start().
  void Finish();

 private:
  friend class FilterContext;

  enum class Waiting : uint8_t { kNo, kYes, kContinue, kReply };
  enum Side : uint8_t { kRequest = 0, kResponse = 1 };

  // Bodies on their way. In the arena, made when the first byte comes.
  struct BodyState {
    Chain backlog;  // came while a filter waited
    Chain piece;    // at the hook `next`
    Chain whole;    // gathered for the hook `whole_at`
    uint32_t next = 0;
    uint32_t whole_at = 0;
    bool in_piece = false;
    bool piece_end = false;
    bool end = false;        // the message's end has come
    bool end_taken = false;  // with the piece, or one before
  };
  // One direction's position.
  struct Direction {
    FilterRun* run = nullptr;
    Side side = kRequest;
    Waiting waiting = Waiting::kNo;
    bool headers_done = false;
    uint32_t next = 0;   // hook of the headers, then of the trailers
    uint32_t index = 0;  // the filter called last
    BodyState* body = nullptr;
    Reply reply;
    // What the waiting filter waits for.
    void* operation = nullptr;  // in the arena
    FilterContext::EndOperation end_operation = nullptr;
    void* continuation = nullptr;
    FilterContext::Resume resume = nullptr;
  };
  // What a call of a hook method finds.
  enum class Entry : uint8_t { kFresh, kResumed, kWaits, kReplies };

  [[nodiscard]] void* CallOf(const FilterChain::Place& place) { return state_ + place.offset; }
  [[nodiscard]] bool HasLeft(uint32_t index) const { return ((left_ >> index) & 1) != 0; }
  [[nodiscard]] bool Skips(const Direction& direction, uint32_t index) const {
    return HasLeft(index) || (direction.side == kResponse && index >= response_bound_);
  }
  // Once a body is under way, it passes this run to its end.
  [[nodiscard]] bool Wants(const Direction& direction,
                           const std::vector<FilterChain::BodyHook>& hooks) const {
    if (direction.body != nullptr || left_ == 0) return !hooks.empty();
    for (const FilterChain::BodyHook& hook : hooks) {
      if (!HasLeft(hook.index)) return true;
    }
    return false;
  }
  [[nodiscard]] static size_t WaitingBytes(const Direction& direction) {
    const BodyState* body = direction.body;
    return body == nullptr ? 0 : body->piece.bytes() + body->backlog.bytes();
  }
  [[nodiscard]] Entry Enter(Direction& direction);
  // Calls the hook; a verdict other than kContinue ends the walk.
  [[nodiscard]] Verdict::Kind Call(Direction& direction, const FilterChain::HeadersHook& hook);
  [[nodiscard]] Verdict::Kind Call(Direction& direction, const FilterChain::BodyHook& hook);
  [[nodiscard]] Verdict::Kind Keep(Direction& direction, const Verdict& verdict);
  [[nodiscard]] Progress Stop(Direction& direction, Verdict::Kind kind);
  [[nodiscard]] Progress Heads(Direction& direction,
                               const std::vector<FilterChain::HeadersHook>& hooks);
  [[nodiscard]] Progress Body(Direction& direction, const std::vector<FilterChain::BodyHook>& hooks,
                              Chain& data, bool end);
  [[nodiscard]] bool NextPiece(BodyState& body, Chain& data) const;
  [[nodiscard]] Progress BodyPiece(Direction& direction,
                                   const std::vector<FilterChain::BodyHook>& hooks, Chain& out);
  [[nodiscard]] Progress TooLarge(Direction& direction, uint32_t index);

  // From FilterContext::AwaitOperation().
  [[nodiscard]] Waker BeginWait(void* operation, FilterContext::EndOperation end,
                                void* continuation, FilterContext::Resume resume);
  static void OnOperation(void* direction);
  static void EndOperation(Direction& direction);

  const FilterChain* chain_ = nullptr;
  FilterContext* context_ = nullptr;
  void* owner_ = nullptr;
  Wake wake_ = nullptr;
  char* state_ = nullptr;
  uint64_t left_ = 0;            // one bit per filter
  uint32_t reached_ = 0;         // filters before this know of the request
  uint32_t passed_ = 0;          // filters before this let its head pass, or replied
  uint32_t response_bound_ = 0;  // filters before this see the response
  bool response_begun_ = false;
  bool request_over_ = false;     // a reply has begun
  Direction* replier_ = nullptr;  // since kReply, until BeginReply()
  Direction directions_[2];
  Direction* current_ = nullptr;  // whose hook is on the stack
  char no_state_ = 0;
};

}  // namespace gatehouse::filters
