#include "source/proxy/attempt.h"

#include <algorithm>
#include <utility>

namespace gatehouse::proxy {

Attempt::Attempt(net::Loop& loop, Owner owner)
    : loop_(loop),
      owner_(owner),
      waiter_(
          [](void* self, upstream::Lease lease, http::Error error) {
            static_cast<Attempt*>(self)->OnLease(std::move(lease), error);
          },
          this),
      timer_(Timer::Calls<Attempt, &Attempt::OnTimer>(), this) {}

void Attempt::Connect(upstream::Upstreams& upstreams, const upstream::Cluster& cluster,
                      const upstream::PickHint& hint) {
  Reset();
  started_ = loop_.Now();
  state_ = State::kConnecting;
  if (per_try_timeout_ != kNoTimeout) loop_.Arm(timer_, per_try_timeout_);
  upstream::AcquireResult result = upstreams.StateOf(cluster).Acquire(hint, waiter_);
  switch (result.status) {
    case upstream::AcquireStatus::kReady:
      state_ = State::kLeased;
      lease_ = std::move(result.lease);
      endpoint_ = &lease_.endpoint();
      break;
    case upstream::AcquireStatus::kWaiting:
      break;
    case upstream::AcquireStatus::kFailed:
      state_ = State::kFailed;
      error_ = result.error;
      break;
  }
}

void Attempt::OnLease(upstream::Lease lease, http::Error error) {
  if (lease) {
    state_ = State::kLeased;
    lease_ = std::move(lease);
    endpoint_ = &lease_.endpoint();
  } else {
    state_ = State::kFailed;
    error_ = error;
  }
  owner_.wake(owner_.self);
}

void Attempt::Begin(http::Method method, http::ResponseHead& response, http::HeaderMap& trailers) {
  DCHECK(state_ == State::kLeased);
  state_ = State::kOpen;
  response_ = &response;
  sender_ = &lease_.Begin(method, {this, &response, &trailers});
}

void Attempt::NoteRequestEnded() {
  if (header_timeout_ != kNoTimeout && state_ == State::kOpen && !head_arrived_) {
    const TimePoint deadline = loop_.Now() + header_timeout_;
    loop_.Arm(timer_, timer_.armed() ? std::min(deadline, timer_.deadline()) : deadline);
  }
  EndIfDone();
}

void Attempt::Reset() {
  waiter_.Cancel();
  timer_.Cancel();
  lease_.Release();
  sender_ = nullptr;
  state_ = State::kNone;
  error_ = {};
  head_arrived_ = head_ends_ = response_ended_ = has_trailers_ = stale_ = false;
}

void Attempt::Fail(http::Error error) {
  waiter_.Cancel();
  timer_.Cancel();
  lease_.Release();
  sender_ = nullptr;
  state_ = State::kFailed;
  error_ = error;
}

void Attempt::OnTimer() {
  Fail(http::Error::Upstream(http::Error::What::kUpstreamTimeout));
  owner_.wake(owner_.self);
}

void Attempt::EndIfDone() {
  if (!response_ended_ || state_ != State::kOpen) return;
  // A response that ends before the request does ends the exchange with this origin; the connection
  // knows that it cannot be used again.
  ended_at_ = loop_.Now();
  timer_.Cancel();
  state_ = State::kEnded;
  sender_->Detach();
  sender_ = nullptr;
  lease_.Release();
}

void Attempt::OnHead(bool end) {
  if (response_->status < 200 && response_->status != 101) {
    owner_.interim(owner_.self);
    return;
  }
  head_arrived_ = true;
  head_ends_ = end;
  head_at_ = loop_.Now();
  // The time for a head is over. That of the try goes on, but not for what is no response any more.
  timer_.Cancel();
  if (per_try_timeout_ != kNoTimeout && response_->status != 101) {
    loop_.Arm(timer_, started_ + per_try_timeout_);
  }
  if (end) {
    response_ended_ = true;
    EndIfDone();
  }
  owner_.wake(owner_.self);
}

void Attempt::OnBody(Chain& data, bool end) {
  if (end) {
    response_ended_ = true;
    EndIfDone();
  }
  owner_.body(owner_.self, data, end);
}

void Attempt::OnTrailers() {
  has_trailers_ = true;
  response_ended_ = true;
  EndIfDone();
  Chain none;
  owner_.body(owner_.self, none, true);
}

void Attempt::OnError(http::Error error) {
  stale_ = lease_ && lease_.reused() && !lease_.response_started();
  Fail(error);
  owner_.wake(owner_.self);
}

void Attempt::OnCredit() { owner_.wake(owner_.self); }
void Attempt::OnSent() {}

}  // namespace gatehouse::proxy
