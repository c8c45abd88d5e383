#include "source/filters/chain.h"

#include <algorithm>
#include <new>
#include <utility>

#include "fmt/format.h"
#include "source/base/check.h"
#include "source/base/status.h"

namespace gatehouse::filters {

absl::StatusOr<FilterChain> FilterChain::Build(std::vector<NamedFilter> filters) {
  if (filters.size() > kMaxFilters) {
    return InvalidArgument(
        fmt::format("{} filters, at most {} are possible", filters.size(), kMaxFilters));
  }
  FilterChain chain;
  chain.filters_ = std::move(filters);
  for (size_t i = 0; i < chain.filters_.size(); ++i) {
    chain.Pack(chain.filters_[i].filter, static_cast<uint32_t>(i));
  }
  std::ranges::reverse(chain.response_headers_);
  std::ranges::reverse(chain.response_body_);
  std::ranges::reverse(chain.response_trailers_);
  std::ranges::reverse(chain.response_end_);
  std::ranges::reverse(chain.finish_);
  std::ranges::reverse(chain.destroy_);
  return chain;
}

const std::shared_ptr<const FilterChain>& FilterChain::None() {
  static const std::shared_ptr<const FilterChain>& none =
      *new std::shared_ptr<const FilterChain>(std::make_shared<const FilterChain>());
  return none;
}

void FilterChain::Pack(const AnyFilter& any, uint32_t index) {
  const size_t offset = (call_bytes_ + any.call_align - 1) / any.call_align * any.call_align;
  const Place place = {any.filter.get(), static_cast<uint32_t>(offset), index};
  call_bytes_ = offset + any.call_size;
  call_align_ = std::max<size_t>(call_align_, any.call_align);
  if (any.construct != nullptr) construct_.push_back({any.construct, place.offset});
  if (any.destroy != nullptr) destroy_.push_back({any.destroy, place.offset});
  if (any.request_headers != nullptr) request_headers_.push_back({place, any.request_headers});
  if (any.request_body != nullptr) {
    request_body_.push_back({place, any.request_body, any.request_whole_limit});
  }
  if (any.request_trailers != nullptr) request_trailers_.push_back({place, any.request_trailers});
  if (any.response_headers != nullptr) response_headers_.push_back({place, any.response_headers});
  if (any.response_body != nullptr) {
    response_body_.push_back({place, any.response_body, any.response_whole_limit});
  }
  if (any.response_trailers != nullptr) {
    response_trailers_.push_back({place, any.response_trailers});
  }
  if (any.response_end != nullptr) response_end_.push_back({place, any.response_end});
  if (any.finish != nullptr) finish_.push_back({place, any.finish});
}

void FilterRun::Start(const FilterChain& chain, FilterContext& context, void* owner, Wake wake) {
  DCHECK(chain_ == nullptr);
  if (chain.empty()) return;
  chain_ = &chain;
  context_ = &context;
  owner_ = owner;
  wake_ = wake;
  left_ = 0;
  reached_ = passed_ = response_bound_ = 0;
  response_begun_ = request_over_ = false;
  replier_ = current_ = nullptr;
  for (Direction& direction : directions_) {
    direction = Direction();
    direction.run = this;
  }
  directions_[kResponse].side = kResponse;
  context.run_ = this;
  state_ = &no_state_;
  if (chain.call_bytes_ == 0) return;
  state_ = static_cast<char*>(context.arena().Allocate(chain.call_bytes_, chain.call_align_));
  for (const FilterChain::CallState& call : chain.construct_) call.run(state_ + call.offset);
}

void FilterRun::ResponseEnd() {
  if (chain_ == nullptr) return;
  for (const FilterChain::FinishHook& hook : chain_->response_end_) {
    if (hook.index < reached_) hook.run(CallOf(hook), hook.filter, *context_);
  }
}

void FilterRun::Finish() {
  if (chain_ == nullptr) return;
  for (Direction& direction : directions_) EndOperation(direction);
  for (const FilterChain::FinishHook& hook : chain_->finish_) {
    if (hook.index < reached_) hook.run(CallOf(hook), hook.filter, *context_);
  }
  for (const FilterChain::CallState& call : chain_->destroy_) call.run(state_ + call.offset);
  for (Direction& direction : directions_) {
    if (direction.body != nullptr) direction.body->~BodyState();
    direction.body = nullptr;
  }
  context_->run_ = nullptr;
  context_->leave_ = false;
  chain_ = nullptr;
}

// --- Verdicts ---

FilterRun::Entry FilterRun::Enter(Direction& direction) {
  switch (std::exchange(direction.waiting, Waiting::kNo)) {
    case Waiting::kNo:
      return Entry::kFresh;
    case Waiting::kContinue:
      return Entry::kResumed;
    case Waiting::kReply:
      return Entry::kReplies;
    case Waiting::kYes:
      direction.waiting = Waiting::kYes;
      return Entry::kWaits;
  }
  return Entry::kFresh;
}

Verdict::Kind FilterRun::Call(Direction& direction, const FilterChain::HeadersHook& hook) {
  direction.index = hook.index;
  current_ = &direction;
  return Keep(direction, hook.run(CallOf(hook), hook.filter, *context_));
}

Verdict::Kind FilterRun::Call(Direction& direction, const FilterChain::BodyHook& hook) {
  direction.index = hook.index;
  current_ = &direction;
  BodyState& body = *direction.body;
  return Keep(direction,
              hook.run(CallOf(hook), hook.filter, *context_, body.piece, body.piece_end));
}

// After a hook or continuation of `direction.index`.
Verdict::Kind FilterRun::Keep(Direction& direction, const Verdict& verdict) {
  current_ = nullptr;
  if (context_->leave_) {
    context_->leave_ = false;
    left_ |= uint64_t{1} << direction.index;
  }
  if (verdict.kind() == Verdict::Kind::kWait) {
    DCHECK(direction.operation != nullptr);
    direction.waiting = Waiting::kYes;
    return Verdict::Kind::kWait;
  }
  EndOperation(direction);  // a wait that was begun and then not returned
  if (verdict.kind() == Verdict::Kind::kReply) direction.reply = verdict.reply();
  return verdict.kind();
}

FilterRun::Progress FilterRun::Stop(Direction& direction, Verdict::Kind kind) {
  if (kind == Verdict::Kind::kWait) return Progress::kWait;
  replier_ = &direction;
  return Progress::kReply;
}

void FilterRun::BeginReply() {
  if (chain_ == nullptr) return;
  for (Direction& direction : directions_) {
    EndOperation(direction);
    direction.waiting = Waiting::kNo;
    if (direction.body != nullptr) *direction.body = BodyState();
  }
  if (replier_ == &directions_[kRequest]) passed_ = std::max(passed_, replier_->index + 1);
  response_bound_ = replier_ == &directions_[kResponse] ? replier_->index : passed_;
  response_begun_ = true;
  request_over_ = true;
  replier_ = nullptr;
  context_->facts().local_reply = true;
  context_->response_body_ = {};
  directions_[kResponse].headers_done = false;
  directions_[kResponse].next = 0;
}

// --- Heads and trailers ---

FilterRun::Progress FilterRun::Heads(Direction& direction,
                                     const std::vector<FilterChain::HeadersHook>& hooks) {
  switch (Enter(direction)) {
    case Entry::kWaits:
      return Progress::kWait;
    case Entry::kReplies:
      return Stop(direction, Verdict::Kind::kReply);
    case Entry::kResumed:
      ++direction.next;
      break;
    case Entry::kFresh:
      break;
  }
  for (; direction.next < hooks.size(); ++direction.next) {
    const FilterChain::HeadersHook& hook = hooks[direction.next];
    if (Skips(direction, hook.index)) continue;
    if (direction.side == kRequest && !direction.headers_done) {
      passed_ = hook.index;
      reached_ = hook.index + 1;
    }
    const Verdict::Kind kind = Call(direction, hook);
    if (kind != Verdict::Kind::kContinue) return Stop(direction, kind);
  }
  return Progress::kDone;
}

FilterRun::Progress FilterRun::RequestHeaders() {
  if (chain_ == nullptr) return Progress::kDone;
  Direction& direction = directions_[kRequest];
  if (direction.headers_done || request_over_) return Progress::kDone;
  const Progress progress = Heads(direction, chain_->request_headers_);
  if (progress == Progress::kDone) {
    direction.headers_done = true;
    direction.next = 0;
    passed_ = reached_ = static_cast<uint32_t>(chain_->size());
  }
  return progress;
}

FilterRun::Progress FilterRun::ResponseHeaders() {
  if (chain_ == nullptr) return Progress::kDone;
  Direction& direction = directions_[kResponse];
  if (direction.headers_done) return Progress::kDone;
  if (!response_begun_) {
    response_begun_ = true;
    response_bound_ = passed_;
  }
  const Progress progress = Heads(direction, chain_->response_headers_);
  if (progress == Progress::kDone) {
    direction.headers_done = true;
    direction.next = 0;
  }
  return progress;
}

FilterRun::Progress FilterRun::RequestTrailers() {
  if (!wants_request_trailers() || request_over_) return Progress::kDone;
  return Heads(directions_[kRequest], chain_->request_trailers_);
}

FilterRun::Progress FilterRun::ResponseTrailers() {
  if (!wants_response_trailers()) return Progress::kDone;
  return Heads(directions_[kResponse], chain_->response_trailers_);
}

// --- Bodies ---

FilterRun::Progress FilterRun::RequestBody(Chain& data, bool end) {
  if (!wants_request_body()) return Progress::kDone;
  if (request_over_) {
    data.Clear();  // nobody is there to take it
    return Progress::kDone;
  }
  return Body(directions_[kRequest], chain_->request_body_, data, end);
}

FilterRun::Progress FilterRun::ResponseBody(Chain& data, bool end) {
  if (!wants_response_body()) return Progress::kDone;
  return Body(directions_[kResponse], chain_->response_body_, data, end);
}

bool FilterRun::holds_response_head() const {
  if (!wants_response_body()) return false;
  return std::ranges::any_of(chain_->response_body_, [this](const FilterChain::BodyHook& hook) {
    return hook.whole_limit > 0 && !Skips(directions_[kResponse], hook.index);
  });
}

FilterRun::Progress FilterRun::Body(Direction& direction,
                                    const std::vector<FilterChain::BodyHook>& hooks, Chain& data,
                                    bool end) {
  if (direction.body == nullptr) {
    direction.body =
        new (context_->arena().Allocate(sizeof(BodyState), alignof(BodyState))) BodyState();
  }
  BodyState& body = *direction.body;
  body.end |= end;
  switch (Enter(direction)) {
    case Entry::kWaits:
      body.backlog.Append(std::move(data), context_->loop().slabs());
      return Progress::kWait;
    case Entry::kReplies:
      data.Clear();
      return Stop(direction, Verdict::Kind::kReply);
    case Entry::kResumed:
      ++body.next;
      break;
    case Entry::kFresh:
      break;
  }
  Chain out;
  Progress progress = Progress::kDone;
  while (progress == Progress::kDone && (body.in_piece || NextPiece(body, data))) {
    progress = BodyPiece(direction, hooks, out);
  }
  if (progress == Progress::kWait) {
    body.backlog.Append(std::move(data), context_->loop().slabs());
  }
  data = std::move(out);
  return progress;
}

// Takes what has come; false when there is nothing to show to the filters.
bool FilterRun::NextPiece(BodyState& body, Chain& data) const {
  if (body.backlog.empty()) {
    body.piece = std::move(data);
  } else {
    body.piece = std::move(body.backlog);
    body.piece.Append(std::move(data), context_->loop().slabs());
  }
  const bool ends = body.end && !body.end_taken;
  if (body.piece.empty() && !ends) return false;
  body.end_taken |= ends;
  body.piece_end = ends;
  body.in_piece = true;
  body.next = 0;
  return true;
}

// Leads the piece past the hooks from body.next on, and what comes out to `out`.
FilterRun::Progress FilterRun::BodyPiece(Direction& direction,
                                         const std::vector<FilterChain::BodyHook>& hooks,
                                         Chain& out) {
  BodyState& body = *direction.body;
  SlabPool& slabs = context_->loop().slabs();
  for (; body.next < hooks.size(); ++body.next) {
    const FilterChain::BodyHook& hook = hooks[body.next];
    if (body.whole_at == body.next && !body.whole.empty()) {
      body.whole.Append(std::move(body.piece), slabs);
      body.piece = std::move(body.whole);
    }
    if (Skips(direction, hook.index)) continue;
    if (hook.whole_limit > 0) {
      if (body.piece.bytes() > hook.whole_limit) return TooLarge(direction, hook.index);
      if (!body.piece_end) {
        body.whole_at = body.next;
        body.whole = std::move(body.piece);
        break;
      }
    }
    if (body.piece.empty() && !body.piece_end) break;  // a filter has kept it
    const Verdict::Kind kind = Call(direction, hook);
    if (kind != Verdict::Kind::kContinue) return Stop(direction, kind);
  }
  body.in_piece = false;
  out.Append(std::move(body.piece), slabs);
  return Progress::kDone;
}

FilterRun::Progress FilterRun::TooLarge(Direction& direction, uint32_t index) {
  direction.index = index;
  if (direction.side == kRequest) {
    direction.reply = Reply{413, "body_too_large", "The request's body is too large."};
  } else {
    direction.reply = Reply{502, "response_too_large", "The origin's response is too large."};
  }
  return Stop(direction, Verdict::Kind::kReply);
}

// --- Waiting ---

Waker FilterRun::BeginWait(void* operation, FilterContext::EndOperation end, void* continuation,
                           FilterContext::Resume resume) {
  CHECK(current_ != nullptr);  // only hooks but OnFinish, and continuations, can wait
  Direction& direction = *current_;
  EndOperation(direction);
  direction.operation = operation;
  direction.end_operation = end;
  direction.continuation = continuation;
  direction.resume = resume;
  return {&direction, &FilterRun::OnOperation};
}

void FilterRun::OnOperation(void* self) {
  Direction& direction = *static_cast<Direction*>(self);
  FilterRun& run = *direction.run;
  // What it found lives as long as the operation; the continuation may begin another one.
  void* const operation = std::exchange(direction.operation, nullptr);
  const FilterContext::EndOperation end = direction.end_operation;
  run.current_ = &direction;
  const Verdict::Kind kind =
      run.Keep(direction, direction.resume(direction.continuation, operation));
  end(operation);
  if (kind == Verdict::Kind::kWait) return;
  direction.waiting = kind == Verdict::Kind::kReply ? Waiting::kReply : Waiting::kContinue;
  run.wake_(run.owner_);
}

void FilterRun::EndOperation(Direction& direction) {
  if (direction.operation == nullptr) return;
  direction.end_operation(std::exchange(direction.operation, nullptr));
}

}  // namespace gatehouse::filters
