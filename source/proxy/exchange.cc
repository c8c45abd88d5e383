// The story of a request. Each phase does its part and names the next one; see exchange.h for the
// picture. What belongs to a phase but would drown the story is in exchange_admit.cc (what the
// request says and where it goes), exchange_body.cc (bytes, retries, deadlines) and
// exchange_finish.cc (our own replies, and the end).
#include "source/proxy/exchange.h"

#include <utility>

#include "source/http/grpc_frame.h"
#include "source/proxy/downstream.h"

namespace gatehouse::proxy {

using filters::FilterRun;

Exchange::Exchange(Shard& shard)
    : net::Buried(&Exchange::Free),
      shard_(shard),
      loop_(shard.loop()),
      request_(arena_),
      response_(arena_),
      request_trailers_(arena_),
      response_trailers_(arena_),
      context_(loop_, arena_, request_, response_),
      attempt_(loop_, {this, [](void* self) { static_cast<Exchange*>(self)->Run(); },
                       [](void* self, Chain& data, bool end) {
                         static_cast<Exchange*>(self)->OnResponseBody(data, end);
                       },
                       [](void* self) { static_cast<Exchange*>(self)->OnInterim(); }}),
      timer_(Timer::Calls<Exchange, &Exchange::OnTimer>(), this),
      retry_timer_(Timer::Calls<Exchange, &Exchange::OnRetryTimer>(), this) {
  context_.Bind(shard.counters(), shard.upstreams(), request_trailers_, response_trailers_);
}

Exchange::~Exchange() = default;

http::NewStream Exchange::Begin(ServingListener& listener, http::Sender& downstream,
                                const ClientOf& client, TimePoint started) {
  listener_ = &listener;
  pin_ = listener.pin();
  config_ = &listener.config();
  downstream_ = &downstream;
  client_ = &client;
  started_ = last_activity_ = started;
  idle_timeout_ = listener.config().stream_idle;
  filters::ExchangeFacts& facts = context_.facts();
  facts.listener = config_->name;
  facts.tls = client.tls;
  facts.peer = client.peer;
  facts.client_ip = client.ip;
  phase_ = Phase::kAdmit;
  return {this, &request_, &request_trailers_};
}

void Exchange::Run() {
  if (running_) {
    again_ = true;
    return;
  }
  running_ = true;
  last_activity_ = loop_.Now();
  do {
    again_ = false;
    if (pending_error_ && phase_ < Phase::kFinish) {
      (void)Fail(std::exchange(pending_error_, http::Error{}));
    } else if (ResponseBroke()) {
      (void)Fail(attempt_.error());
    }
    while (Step() == Outcome::kNext) {
    }
    if (phase_ < Phase::kFinish) {
      PumpRequest();
      PumpResponse();
    }
  } while (again_);
  running_ = false;
}

Exchange::Outcome Exchange::Step() {
  switch (phase_) {
    case Phase::kAdmit:
      return Admit();
    case Phase::kRoute:
      return Route();
    case Phase::kRequestFilters:
      return RequestFilters();
    case Phase::kGather:
      return Gather();
    case Phase::kAct:
      return Act();
    case Phase::kConnect:
      return Connect();
    case Phase::kSendRequest:
      return SendRequest();
    case Phase::kResponseHead:
      return ResponseHead();
    case Phase::kResponseFilters:
      return ResponseFilters();
    case Phase::kSendResponse:
      return SendResponse();
    case Phase::kFinish:
      return Finish();
    case Phase::kBackoff:  // OnRetryTimer goes on
    case Phase::kIdle:
    case Phase::kDone:
      return Outcome::kWait;
  }
  return Outcome::kWait;
}

// What a filter waits for, such as a turn, takes of the time that the request has.
Exchange::Outcome Exchange::RequestFilters() {
  switch (run_.RequestHeaders()) {
    case FilterRun::Progress::kDone:
      return Next(Phase::kGather);
    case FilterRun::Progress::kWait:
      if (head_only_request_ || up_.ended) StartDeadline();
      WatchDeadlines();
      return Outcome::kWait;
    case FilterRun::Progress::kReply:
      return ReplyFromFilter();
  }
  return Outcome::kWait;
}

// Filters that look at bodies see the first of it before the origin hears anything, so that one
// that refuses the body can do so without a broken request at the origin.
Exchange::Outcome Exchange::Gather() {
  if (head_only_request_ || !run_.wants_request_body()) return Next(Phase::kAct);
  if (!FilterRequestBody()) return Outcome::kNext;
  if (!up_.ready.empty() || up_.ready_ended) return Next(Phase::kAct);
  GrantRequest(kGatherCredit);
  WatchDeadlines();
  return Outcome::kWait;
}

Exchange::Outcome Exchange::Connect() {
  if (attempt_.state() == Attempt::State::kNone) {
    ++attempts_;
    if (head_only_request_ || up_.ended) StartDeadline();
    attempt_.set_timeouts(route_->retry.per_try_timeout,
                          target_->cluster->options().response_header_timeout);
    attempt_.Connect(shard_.upstreams(), *target_->cluster, HintForPick());
    WatchDeadlines();
  }
  switch (attempt_.state()) {
    case Attempt::State::kLeased:
      return Next(Phase::kSendRequest);
    case Attempt::State::kFailed:
      return AttemptFailed();
    default:
      return Outcome::kWait;
  }
}

Exchange::Outcome Exchange::SendRequest() {
  const upstream::Endpoint& endpoint = *attempt_.endpoint();
  last_endpoint_ = &endpoint;
  context_.facts().upstream_address = arena_.Copy(endpoint.text());
  // A client of HTTP/1.0 may name no host; many origins refuse an empty one.
  const bool no_host = host_.empty() && !route_->host_rewrite.has_value();
  if (route_->host_from_endpoint || no_host) {
    request_.authority = context_.facts().upstream_address;
    request_.headers.Set(http::Name::kHost, request_.authority);
  }
  if (grpc_deadline_) {
    char left[http::kMaxGrpcTimeout];
    request_.headers.Set(http::Name::kGrpcTimeout,
                         {left, http::FormatGrpcTimeout(deadline_ - loop_.Now(), left)});
  }
  attempt_.Begin(request_.method, response_, response_trailers_);
  request_head_out_ = true;
  attempt_.sender().SendHead(request_, head_only_request_);
  if (head_only_request_) {
    RequestIsOut();
  } else {
    Replay();
  }
  return Next(Phase::kResponseHead);
}

Exchange::Outcome Exchange::ResponseHead() {
  if (attempt_.state() == Attempt::State::kFailed) return AttemptFailed();
  if (!attempt_.head_arrived()) return Outcome::kWait;
  upstream_status_ = response_.status;
  if (RetryOnStatus(response_.status)) {
    CountAttempt();
    return Retry(/*at_once=*/false);
  }
  if (!PrepareResponse()) {
    return Fail(http::Error::Upstream(http::Error::What::kUpstreamProtocolError));
  }
  return Next(Phase::kResponseFilters);
}

Exchange::Outcome Exchange::ResponseFilters() {
  switch (run_.ResponseHeaders()) {
    case FilterRun::Progress::kDone:
      return Next(Phase::kSendResponse);
    case FilterRun::Progress::kWait:
      return Outcome::kWait;
    case FilterRun::Progress::kReply:
      return ReplyFromFilter();
  }
  return Outcome::kWait;
}

Exchange::Outcome Exchange::SendResponse() {
  if (!response_out_) {
    const bool wants_body = request_.method != http::Method::kHead;
    const bool own_body = TakeResponseBody() || local_;
    const bool has_body = own_body ? wants_body && !local_body_.empty() : !attempt_.head_ends();
    if (!own_body && has_body && run_.wants_response_body() && response_.status != 101) {
      // Its length is not what the origin said any more.
      response_.body = http::BodyKind::kChunked;
      if (run_.holds_response_head()) {
        if (!FilterResponseBody()) return Outcome::kNext;
        if (down_.ready.empty() && !down_.ready_ended) {
          GrantResponse();
          return Outcome::kWait;
        }
      }
    }
    response_out_ = true;
    // There is no retry any more.
    replay_ok_ = false;
    replay_.Clear();
    if (!has_body || own_body) run_.ResponseEnd();
    downstream_->SendHead(response_, !has_body);
    if (response_.status == 101 && !local_) StartTunnel();
    if (!has_body) {
      down_.done = true;
    } else if (own_body) {
      Chain body;
      body.Append(Slice::Unowned(local_body_));
      down_.bytes = local_body_.size();
      down_.done = true;
      downstream_->SendBody(body, true);
    }
  }
  if (down_.done && sent_) return Next(Phase::kFinish);
  return Outcome::kWait;
}

// A filter may give a body to a response that has none. True: it is in `local_body_`.
bool Exchange::TakeResponseBody() {
  const std::string_view body = context_.response_body();
  if (body.empty() || (local_ ? !local_body_.empty() : !attempt_.head_ends())) return false;
  local_body_ = body;
  response_.body = http::BodyKind::kLength;
  response_.content_length = body.size();
  response_.has_content_length = true;
  return true;
}

// The client's side. Each callback notes what happened and runs the story on.

void Exchange::OnHead(bool end) {
  head_only_request_ = end;
  Run();
}

void Exchange::OnBody(Chain& data, bool end) {
  up_.Take(data, end, loop_.slabs());
  Run();
}

void Exchange::OnTrailers() {
  Chain none;
  up_.trailers = true;
  up_.Take(none, true, loop_.slabs());
  Run();
}

void Exchange::OnError(http::Error error) {
  if (error.what == http::Error::What::kClientAbort) downstream_ = nullptr;
  pending_error_ = error;
  up_.ended = true;
  Run();
}

void Exchange::OnCredit() { Run(); }

void Exchange::OnSent() {
  sent_ = true;
  Run();
}

// The origin's side.

void Exchange::OnResponseBody(Chain& data, bool end) {
  if (end && attempt_.has_trailers()) down_.trailers = true;
  down_.Take(data, end, loop_.slabs());
  Run();
}

void Exchange::OnInterim() {
  last_activity_ = loop_.Now();
  // 100 is ours to give: the client's Expect did not go to the origin.
  if (downstream_ == nullptr || response_out_ || response_.status == 100) return;
  (void)http::StripHopByHop(response_.headers);
  downstream_->SendHead(response_, false);
}

}  // namespace gatehouse::proxy
