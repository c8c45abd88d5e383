#include "source/upstream/callout.h"

#include <utility>

#include "source/base/check.h"
#include "source/upstream/upstreams.h"

namespace gatehouse::upstream {

using http::Error;

Callout::Callout(Upstreams& upstreams, Arena& arena)
    : upstreams_(upstreams),
      waiter_([](void* self, Lease lease,
                 Error error) { static_cast<Callout*>(self)->OnLease(std::move(lease), error); },
              this),
      deadline_(Timer::Calls<Callout, &Callout::OnTimeout>(), this),
      fail_later_(
          [](void* self) {
            auto* callout = static_cast<Callout*>(self);
            callout->Fail(callout->error_);
          },
          this),
      head_(arena),
      response_(arena),
      trailers_(arena) {}

// The lease gives up the stream, if there is one.
Callout::~Callout() = default;

void Callout::Start(const CalloutRequest& request, void* owner, Done done) {
  CHECK(done_ == nullptr && request.cluster != nullptr);
  request_ = request;
  owner_ = owner;
  done_ = done;
  BuildHead();
  upstreams_.loop().Arm(deadline_, request.timeout);
  Connect({});
}

void Callout::BuildHead() {
  head_.method = request_.method;
  head_.method_text = http::MethodText(request_.method);
  head_.scheme = "http";
  head_.authority =
      request_.authority.empty() ? std::string_view(request_.cluster->name()) : request_.authority;
  head_.target = head_.path = request_.path;
  for (const auto& [name, value] : request_.headers) head_.headers.Add(name, value);
  if (!request_.body.empty() || !http::IsSafe(request_.method)) {
    head_.body = http::BodyKind::kLength;
    head_.content_length = request_.body.size();
  }
}

void Callout::Connect(const PickHint& hint) {
  AcquireResult result = upstreams_.StateOf(*request_.cluster).Acquire(hint, waiter_);
  switch (result.status) {
    case AcquireStatus::kReady:
      Send(std::move(result.lease));
      break;
    case AcquireStatus::kWaiting:
      break;
    case AcquireStatus::kFailed:
      error_ = result.error;
      upstreams_.loop().FlushLater(fail_later_);
      break;
  }
}

void Callout::OnLease(Lease lease, Error error) {
  if (error) {
    Fail(error);
  } else {
    Send(std::move(lease));
  }
}

void Callout::Send(Lease lease) {
  lease_ = std::move(lease);
  sent_at_ = upstreams_.loop().Now();
  sender_ = &lease_.Begin(request_.method, {this, &response_, &trailers_});
  sender_->SendHead(head_, request_.body.empty());
  if (!request_.body.empty()) {
    // The body lies in the caller's memory, so nothing is gained by handing it over in pieces.
    Chain body;
    body.Append(Slice::Unowned(request_.body));
    sender_->SendBody(body, /*end=*/true);
    upstreams_.counters().Add(metrics().request_bytes, request_.body.size());
  }
  AllowBody();
}

// One byte more than may come, so that too much is seen.
void Callout::AllowBody() { sender_->AllowBody(request_.max_response_bytes - body_.bytes() + 1); }

void Callout::OnHead(bool end) {
  if (response_.status < 200) return;
  observe::CounterBlock& counters = upstreams_.counters();
  counters.Add(metrics().RequestsFor(response_.status));
  counters.Record(metrics().first_byte,
                  static_cast<uint64_t>((upstreams_.loop().Now() - sent_at_).count()));
  if (response_.body == http::BodyKind::kLength &&
      response_.content_length > request_.max_response_bytes) {
    Fail(Error::Upstream(Error::What::kResponseTooLarge));
    return;
  }
  if (end) Succeed();
}

void Callout::OnBody(Chain& data, bool end) {
  upstreams_.counters().Add(metrics().response_bytes, data.bytes());
  body_.Append(std::move(data), upstreams_.loop().slabs());
  if (body_.bytes() > request_.max_response_bytes) {
    Fail(Error::Upstream(Error::What::kResponseTooLarge));
  } else if (end) {
    Succeed();
  } else {
    AllowBody();
  }
}

void Callout::OnTrailers() { Succeed(); }

void Callout::OnError(Error error) {
  sender_ = nullptr;
  observe::CounterBlock& counters = upstreams_.counters();
  const bool reset = error.what == Error::What::kUpstreamReset;
  if (reset) counters.Add(metrics().resets);
  if (error.what == Error::What::kUpstreamProtocolError) counters.Add(metrics().protocol_errors);
  const bool stale = reset && lease_.reused() && !lease_.response_started();
  if (!stale || retried_ || !http::IsIdempotent(request_.method)) {
    Fail(error);
    return;
  }
  retried_ = true;
  counters.Add(metrics().retries);
  lease_.Release();
  response_.Reset();
  Connect({.fresh = true});
}

void Callout::OnTimeout() {
  upstreams_.counters().Add(metrics().timeouts);
  Fail(Error::Upstream(Error::What::kUpstreamTimeout));
}

void Callout::Succeed() {
  upstreams_.counters().Record(metrics().latency,
                               static_cast<uint64_t>((upstreams_.loop().Now() - sent_at_).count()));
  std::exchange(sender_, nullptr)->Detach();
  lease_.Release();
  if (!body_.empty()) body_.PullUp(body_.bytes(), 0, upstreams_.loop().slabs());
  Tell({Error{}, response_.status, &response_.headers, body_.front()});
}

void Callout::Fail(Error error) {
  sender_ = nullptr;
  lease_.Release();
  body_.Clear();
  CalloutResult result;
  result.error = error;
  Tell(result);
}

void Callout::Tell(const CalloutResult& result) {
  deadline_.Cancel();
  waiter_.Cancel();
  fail_later_.Unlink();
  done_(owner_, result);
}

}  // namespace gatehouse::upstream
