// Bytes both ways by credit, retries and deadlines. See exchange.h.
#include <algorithm>
#include <utility>

#include "source/proxy/exchange.h"

namespace gatehouse::proxy {

using filters::FilterRun;
using What = http::Error::What;

namespace {

// A grant is renewed when this much of it is used up, not at each piece.
bool WorthGranting(size_t granted, size_t credit) { return credit > 0 && granted <= credit / 2; }

}  // namespace

void Exchange::Body::Take(Chain& data, bool end, SlabPool& slabs) {
  bytes += data.bytes();
  granted -= std::min(granted, data.bytes());
  if (pending.empty()) {
    pending = std::move(data);
  } else {
    pending.Append(std::move(data), slabs);
  }
  ended |= end;
}

void Exchange::Body::MakeReady(SlabPool& slabs) {
  if (ready.empty()) {
    ready = std::move(pending);
  } else {
    ready.Append(std::move(pending), slabs);
  }
}

void Exchange::Body::Reset() {
  pending.Clear();
  ready.Clear();
  pending.ShrinkToInline();
  ready.ShrinkToInline();
  granted = 0;
  bytes = 0;
  ended = ready_ended = done = trailers = filtering = false;
}

void Exchange::GrantRequest(size_t credit) {
  if (downstream_ == nullptr || up_.ended) return;
  const size_t held = up_.pending.bytes() + up_.ready.bytes() + run_.waiting_request_bytes();
  credit = credit > held ? credit - held : 0;
  if (!WorthGranting(up_.granted, credit)) return;
  up_.granted = credit;
  downstream_->AllowBody(credit);
}

void Exchange::GrantResponse() {
  if (downstream_ == nullptr || down_.ended || !attempt_.open()) return;
  size_t credit = downstream_->Credit();
  const size_t held = down_.pending.bytes() + down_.ready.bytes() + run_.waiting_response_bytes();
  credit = credit > held ? credit - held : 0;
  if (!WorthGranting(down_.granted, credit)) return;
  down_.granted = credit;
  attempt_.sender().AllowBody(credit);
}

// Moves what came through the filters to `ready`. False: a filter has replied and the phase
// changed.
bool Exchange::FilterRequestBody() {
  if (route_ != nullptr && up_.bytes > route_->max_body_bytes && !tunnel_) {
    (void)Fail(http::Error::Downstream(What::kBodyTooLarge));
    again_ = true;
    return false;
  }
  if (tunnel_ || !run_.wants_request_body()) {
    up_.MakeReady(loop_.slabs());
    up_.ready_ended = up_.ended;
    return true;
  }
  if (up_.ready_ended || (up_.pending.empty() && !up_.ended && !up_.filtering)) return true;
  const FilterRun::Progress progress = run_.RequestBody(up_.pending, up_.ended);
  up_.MakeReady(loop_.slabs());
  up_.filtering = progress == FilterRun::Progress::kWait;
  if (progress == FilterRun::Progress::kReply) {
    (void)ReplyFromFilter();
    again_ = true;
    return false;
  }
  up_.ready_ended = up_.ended && progress == FilterRun::Progress::kDone;
  return true;
}

bool Exchange::FilterResponseBody() {
  if (tunnel_ || !run_.wants_response_body()) {
    down_.MakeReady(loop_.slabs());
    down_.ready_ended = down_.ended;
    return true;
  }
  if (down_.ready_ended || (down_.pending.empty() && !down_.ended && !down_.filtering)) return true;
  const FilterRun::Progress progress = run_.ResponseBody(down_.pending, down_.ended);
  down_.MakeReady(loop_.slabs());
  down_.filtering = progress == FilterRun::Progress::kWait;
  if (progress == FilterRun::Progress::kReply) {
    (void)ReplyFromFilter();
    again_ = true;
    return false;
  }
  down_.ready_ended = down_.ended && progress == FilterRun::Progress::kDone;
  return true;
}

void Exchange::PumpRequest() {
  if (!request_head_out_ || request_out_ || !attempt_.open()) return;
  if (!FilterRequestBody()) return;
  if (up_.ready_ended && up_.trailers && run_.wants_request_trailers()) {
    const FilterRun::Progress progress = run_.RequestTrailers();
    if (progress == FilterRun::Progress::kWait) return;
    if (progress == FilterRun::Progress::kReply) {
      (void)ReplyFromFilter();
      again_ = true;
      return;
    }
  }
  const bool ends = up_.ready_ended && !up_.trailers;
  if (!up_.ready.empty() || ends) {
    KeepForReplay();
    attempt_.sender().SendBody(up_.ready, ends);
  }
  if (up_.ready_ended) {
    if (up_.trailers) attempt_.sender().SendTrailers(request_trailers_);
    RequestIsOut();
    return;
  }
  GrantRequest(attempt_.sender().Credit());
}

void Exchange::PumpResponse() {
  if (!response_out_ || local_ || down_.done || downstream_ == nullptr) return;
  if (!FilterResponseBody()) return;
  // A filter has moved them into the body.
  if (down_.ready_ended && response_trailers_.empty()) down_.trailers = false;
  if (down_.ready_ended && down_.trailers && run_.wants_response_trailers()) {
    const FilterRun::Progress progress = run_.ResponseTrailers();
    if (progress == FilterRun::Progress::kWait) return;
    if (progress == FilterRun::Progress::kReply) {
      (void)ReplyFromFilter();
      again_ = true;
      return;
    }
  }
  const bool ends = down_.ready_ended && !down_.trailers;
  // Who has got the last byte may find that nothing of this request is left.
  if (down_.ready_ended) run_.ResponseEnd();
  if (!down_.ready.empty() || ends) downstream_->SendBody(down_.ready, ends);
  if (down_.ready_ended) {
    if (down_.trailers) downstream_->SendTrailers(response_trailers_);
    down_.done = true;
    return;
  }
  GrantResponse();
}

// The origin's stream died while its response was on the way.
bool Exchange::ResponseBroke() const {
  return attempt_.state() == Attempt::State::kFailed && !local_ &&
         (phase_ == Phase::kResponseFilters || phase_ == Phase::kSendResponse) && !down_.ended;
}

void Exchange::KeepForReplay() {
  if (!replay_ok_) return;
  if (replay_.bytes() + up_.ready.bytes() > route_->retry.max_body_bytes) {
    replay_ok_ = false;
    replay_.Clear();
    return;
  }
  for (size_t i = 0; i < up_.ready.slices(); ++i) {
    const Slice& slice = up_.ready[i];
    // A body may come in many reads of a few bytes each: do not keep all that they were read into.
    if (slice.size() <= Chain::kCopyBelow && !replay_.empty()) {
      replay_.AppendCopy(slice.view(), loop_.slabs());
    } else {
      replay_.Append(slice.Sub(0, slice.size()));
    }
  }
}

// Sends again what an earlier try had already sent of the body.
void Exchange::Replay() {
  if (replay_.empty()) return;
  Chain again;
  for (size_t i = 0; i < replay_.slices(); ++i) {
    again.Append(replay_[i].Sub(0, replay_[i].size()));
  }
  attempt_.sender().SendBody(again, false);
}

void Exchange::RequestIsOut() {
  request_out_ = true;
  attempt_.NoteRequestEnded();
  StartDeadline();
}

// From the end of the request on, be it with an origin already, waiting for a connection or in a
// filter.
void Exchange::StartDeadline() {
  if (tunnel_ || deadline_ != kNever || route_->timeout == kNoTimeout) return;
  deadline_ = loop_.Now() + route_->timeout;
  WatchDeadlines();
}

void Exchange::StartTunnel() {
  tunnel_ = true;
  // From here on the request is a stream of bytes of its own.
  head_only_request_ = false;
  request_out_ = false;
  up_.Reset();
  deadline_ = kNever;
  idle_timeout_ = route_->upgrade_idle_timeout;
  timer_.Cancel();
  WatchDeadlines();
}

bool Exchange::MayRetry(bool unprocessed) const {
  if (response_out_ || !replay_ok_ || tunnel_) return false;
  return unprocessed || http::IsIdempotent(request_.method) || route_->retry.non_idempotent;
}

bool Exchange::RetryOnStatus(uint16_t status) const {
  const config::RetryPolicy& policy = route_->retry;
  if (retries_left_ == 0 || status < 400 || !MayRetry(/*unprocessed=*/false)) return false;
  if (policy.on_5xx && status >= 500) return true;
  if (policy.on_gateway_error && status >= 502 && status <= 504) return true;
  if (policy.on_retriable_4xx && status == 409) return true;
  return std::find(policy.on_statuses.begin(), policy.on_statuses.end(), status) !=
         policy.on_statuses.end();
}

Exchange::Outcome Exchange::AttemptFailed() {
  const http::Error error = attempt_.error();
  const bool stale = attempt_.stale();
  CountAttempt();
  attempt_.Reset();
  // A pooled connection that the origin closed just then: nobody's fault, so not one of the tries.
  if (stale && !retry_fresh_ && error.what == What::kUpstreamReset && MayRetry(error.retryable)) {
    retry_fresh_ = true;
    --attempts_;
    ForgetAttempt();
    return Next(Phase::kConnect);
  }
  const config::RetryPolicy& policy = route_->retry;
  const bool no_connection = error.what == What::kConnectFailure ||
                             error.what == What::kConnectTimeout ||
                             error.what == What::kUpstreamRefusedStream;
  const bool reset = error.what == What::kUpstreamReset;
  const bool timeout = error.what == What::kUpstreamTimeout && loop_.Now() < deadline_;
  const bool wanted = (no_connection && (policy.on_connect_failure || policy.on_5xx)) ||
                      (reset && (policy.on_reset || policy.on_5xx)) ||
                      (timeout && (policy.on_5xx || policy.on_gateway_error));
  if (wanted && retries_left_ > 0 && MayRetry(error.retryable)) {
    return Retry(/*at_once=*/no_connection);
  }
  if (attempts_ > 1) context_.AddFlag(observe::LogFlag::kRetryLimit);
  return Fail(error);
}

void Exchange::ForgetAttempt() {
  attempt_.Reset();
  response_.Reset();
  response_trailers_.Reset();
  down_.Reset();
  request_head_out_ = request_out_ = false;
}

// Full jitter: retry n waits between 0 and backoff * 2^(n-1), at most max_backoff.
Exchange::Outcome Exchange::Retry(bool at_once) {
  ForgetAttempt();
  --retries_left_;
  shard_.counters().Add(target_->cluster->metrics().retries);
  if (at_once) return Next(Phase::kConnect);
  const config::RetryPolicy& policy = route_->retry;
  const uint32_t doublings = std::min(attempts_ > 0 ? attempts_ - 1 : 0, 20u);
  const int64_t most =
      std::min<int64_t>(policy.backoff.count() << doublings, policy.max_backoff.count());
  phase_ = Phase::kBackoff;
  loop_.Arm(retry_timer_,
            Duration(static_cast<int64_t>(shard_.random().Below(static_cast<uint64_t>(most) + 1))));
  return Outcome::kWait;
}

void Exchange::OnRetryTimer() {
  if (phase_ != Phase::kBackoff) return;
  phase_ = Phase::kConnect;
  Run();
}

void Exchange::WatchDeadlines() {
  TimePoint next = deadline_;
  if (idle_timeout_ != kNoTimeout) next = std::min(next, last_activity_ + idle_timeout_);
  if (next != kNever && (!timer_.armed() || next < timer_.deadline())) loop_.Arm(timer_, next);
}

// Who kept the other waiting: the client, which sends no more of its body or takes no more of the
// response, or the origin.
http::Error Exchange::IdleError() const {
  const bool asked_for_body = (phase_ == Phase::kGather || request_head_out_) && up_.granted > 0;
  const bool late_body = asked_for_body && !head_only_request_ && !up_.ended && !tunnel_;
  const bool late_reader =
      response_out_ && downstream_ != nullptr && (down_.done || downstream_->Credit() == 0);
  return late_body || late_reader ? http::Error::Downstream(What::kRequestTimeout)
                                  : http::Error::Upstream(What::kUpstreamIdleTimeout);
}

void Exchange::OnTimer() {
  if (phase_ == Phase::kIdle || phase_ == Phase::kDone) return;
  const TimePoint now = loop_.Now();
  // The origin has done its part; what the client takes is bounded by idleness.
  if (attempt_.state() == Attempt::State::kEnded || down_.done) deadline_ = kNever;
  if (now >= deadline_) {
    pending_error_ = http::Error::Upstream(What::kUpstreamTimeout);
  } else if (idle_timeout_ != kNoTimeout && now - last_activity_ >= idle_timeout_) {
    pending_error_ = IdleError();
  } else {
    WatchDeadlines();
    return;
  }
  // It is this try's, and counted as such.
  if (pending_error_.where == http::Error::Where::kUpstream && attempt_.under_way()) {
    attempt_.Fail(pending_error_);
  }
  Run();
}

}  // namespace gatehouse::proxy
