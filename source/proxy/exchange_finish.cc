// Replies of our own, and the end of every exchange: counted, logged, given back. See exchange.h.
#include <algorithm>
#include <charconv>
#include <utility>

#include "source/filters/request_id/request_id.h"
#include "source/filters/request_values.h"
#include "source/http/normalize.h"
#include "source/http/websocket.h"
#include "source/net/tls_spec.h"
#include "source/proxy/downstream.h"
#include "source/proxy/exchange.h"

namespace gatehouse::proxy {

using http::Name;
using observe::LogFlag;
using What = http::Error::What;

namespace {

std::string_view ProtocolText(http::Version version) {
  switch (version) {
    case http::Version::kHttp10:
      return "HTTP/1.0";
    case http::Version::kHttp11:
      break;
    case http::Version::kHttp2:
      return "HTTP/2";
  }
  return "HTTP/1.1";
}

}  // namespace

Exchange::Outcome Exchange::Fail(http::Error error) {
  const LocalReply reply = ReplyForError(error);
  if (error.what == What::kClientAbort) {
    downstream_ = nullptr;
    context_.AddFlags(reply.flags);
    code_ = reply.code;
    client_left_ = true;
    return Next(Phase::kFinish);
  }
  return StartReply(reply);
}

Exchange::Outcome Exchange::ReplyFromFilter() { return StartReply(ReplyForFilter(run_.reply())); }

// Ends whatever is under way and answers the client, or breaks the connection when an answer has
// begun already.
Exchange::Outcome Exchange::StartReply(const LocalReply& reply, std::string_view allow) {
  context_.AddFlags(reply.flags);
  if (code_.empty()) code_ = reply.code;
  EndAttempt();
  if (downstream_ == nullptr) return Next(Phase::kFinish);
  if (response_out_ && !down_.done && !tunnel_ && request_.version == http::Version::kHttp2 &&
      IsGrpcRequest(request_)) {
    // A status for the call, where a reset would tell the client nothing.
    response_trailers_.Reset();
    WriteGrpcStatus(reply, response_trailers_);
    down_.done = true;
    deadline_ = kNever;
    run_.ResponseEnd();
    downstream_->SendTrailers(response_trailers_);
    return Next(Phase::kSendResponse);
  }
  if (response_out_ || replying_) {
    downstream_->Abort();
    downstream_ = nullptr;
    return Next(Phase::kFinish);
  }
  replying_ = true;
  const bool had_ids = !context_.facts().trace_id.empty();
  if (!had_ids) filters::AssignIds(context_, filters::RequestIdPolicy{});
  local_body_ = WriteLocalReply(
      reply, {.head = &request_, .trace_id = context_.facts().trace_id, .allow = allow}, response_);
  if (!run_.started()) filters::AddIdsToResponse(context_);
  return SendOwn(/*framed=*/true);
}

Exchange::Outcome Exchange::RespondEmpty() {
  local_body_ = {};
  return SendOwn();
}

// `response_` and `local_body_` are the answer.
Exchange::Outcome Exchange::SendOwn(bool framed) {
  if (!framed) {
    response_.body = http::BodyKind::kLength;
    response_.content_length = local_body_.size();
    response_.has_content_length = true;
  }
  if (route_ != nullptr) shard_.counters().Add(route_->metrics->local_replies);
  local_ = true;
  deadline_ = kNever;
  WatchDeadlines();
  if (!config_->server_header.empty()) {
    response_.headers.Set(Name::kServer, config_->server_header);
  }
  if (!run_.started()) {
    if (context_.facts().trace_id.empty()) {
      filters::AssignIds(context_, filters::RequestIdPolicy{});
      filters::AddIdsToResponse(context_);
    }
    return Next(Phase::kSendResponse);
  }
  run_.BeginReply();
  return Next(Phase::kResponseFilters);
}

// The origin's head, made fit for the client. False: it is not fit.
bool Exchange::PrepareResponse() {
  http::HeaderMap& headers = response_.headers;
  if (response_.status == 101) {
    // Only to what was asked for: the client speaks no other protocol (RFC 9110, section 7.8).
    const std::string_view protocol = headers.Get(Name::kUpgrade).value_or(std::string_view());
    if (!http::EqualsIgnoreCase(protocol, request_.upgrade_protocol)) return false;
    // The client cannot check what it never sees.
    if (request_.extended_connect &&
        headers.Get("sec-websocket-accept") !=
            http::WebSocketAccept(request_.headers.Get("sec-websocket-key").value_or(""), arena_)) {
      return false;
    }
  } else if (request_.extended_connect && response_.status < 300) {
    return false;  // a success would say that the tunnel is there
  } else if (!http::StripHopByHop(headers)) {
    return false;
  }
  for (const std::string& name : config_->remove_from_responses) headers.Remove(name);
  if (!config_->server_header.empty()) headers.Set(Name::kServer, config_->server_header);
  if (!config_->via.empty()) headers.Append(Name::kVia, ViaFor(response_.version));
  if (!sticky_cookie_.empty()) {
    const config::StickyPolicy& sticky = route_->sticky;
    const auto seconds =
        std::chrono::duration_cast<std::chrono::seconds>(sticky.cookie_ttl).count();
    char age[24];
    const char* end = std::to_chars(age, age + sizeof(age), seconds).ptr;
    std::string_view value = arena_.Concat(sticky.name, "=");
    value = arena_.Concat(value, sticky_cookie_);
    value = arena_.Concat(value, "; Path=/; HttpOnly; SameSite=Lax; Max-Age=");
    value = arena_.Concat(value, {age, static_cast<size_t>(end - age)});
    if (request_.scheme == "https") value = arena_.Concat(value, "; Secure");
    headers.Add(Name::kSetCookie, value);
  }
  return true;
}

// The try is over, whichever way: its connection goes back.
void Exchange::EndAttempt() {
  if (attempt_.state() == Attempt::State::kNone) return;
  CountAttempt();
  attempt_.Reset();
  retry_timer_.Cancel();
}

void Exchange::CountAttempt() {
  if (target_ == nullptr || attempt_.state() == Attempt::State::kNone) return;
  const observe::ClusterMetrics& metrics = target_->cluster->metrics();
  observe::CounterBlock& counters = shard_.counters();
  const TimePoint ended =
      attempt_.state() == Attempt::State::kEnded ? attempt_.ended_at() : loop_.Now();
  const auto took = static_cast<uint64_t>((ended - attempt_.started()).count());
  upstream_time_ += Duration(static_cast<int64_t>(took));
  if (attempt_.head_arrived()) {
    counters.Add(metrics.RequestsFor(upstream_status_));
    counters.Record(metrics.latency, took);
    counters.Record(metrics.first_byte,
                    static_cast<uint64_t>((attempt_.head_at() - attempt_.started()).count()));
  }
  switch (attempt_.error().what) {
    case What::kUpstreamReset:
      counters.Add(metrics.resets);
      break;
    case What::kUpstreamTimeout:
    case What::kUpstreamIdleTimeout:
      counters.Add(metrics.timeouts);
      break;
    case What::kUpstreamProtocolError:
    case What::kResponseTooLarge:
      counters.Add(metrics.protocol_errors);
      break;
    default:
      break;
  }
}

Exchange::Outcome Exchange::Finish() {
  phase_ = Phase::kDone;
  timer_.Cancel();
  retry_timer_.Cancel();
  EndAttempt();
  if (local_) upstream_status_ = attempts_ > 0 ? upstream_status_ : 0;
  Count();
  if (config_->access_log != nullptr) WriteLog();
  run_.Finish();
  if (downstream_ != nullptr) std::exchange(downstream_, nullptr)->Detach();
  loop_.Bury(*this);
  return Outcome::kWait;
}

void Exchange::Count() {
  if (route_ == nullptr) return;
  observe::CounterBlock& counters = shard_.counters();
  const observe::RouteMetrics& metrics = *route_->metrics;
  if (stream_counted_) counters.Gauge(metrics.active, -1);
  const auto total = static_cast<uint64_t>((loop_.Now() - started_).count());
  counters.Add(metrics.RequestsFor(Status()));
  counters.Record(metrics.latency, total);
  const auto upstream = static_cast<uint64_t>(upstream_time_.count());
  counters.Record(metrics.gateway_latency, total > upstream ? total - upstream : 0);
  if (up_.bytes > 0) counters.Add(metrics.request_bytes, up_.bytes);
  if (down_.bytes > 0) counters.Add(metrics.response_bytes, down_.bytes);
  if (target_ != nullptr) {
    if (up_.bytes > 0) counters.Add(target_->cluster->metrics().request_bytes, up_.bytes);
    if (down_.bytes > 0 && !local_) {
      counters.Add(target_->cluster->metrics().response_bytes, down_.bytes);
    }
  }
  if (client_left_) counters.Add(metrics.client_aborts);
  if (response_.status == 504 && local_) counters.Add(metrics.timeouts);
  if (context_.flags().Has(LogFlag::kRateLimited)) {
    counters.Add(metrics.rate_limited);
  }
  if (local_ && (response_.status == 401 || response_.status == 403)) counters.Add(metrics.denied);
}

// What the client got; 499 when it left before there was a response.
int Exchange::Status() const { return response_out_ ? response_.status : 499; }

std::string_view Exchange::LogHeader(const void* self, bool response, std::string_view name) {
  const auto* exchange = static_cast<const Exchange*>(self);
  const http::HeaderMap& headers =
      response ? exchange->response_.headers : exchange->request_.headers;
  return headers.Get(name).value_or(std::string_view());
}

void Exchange::WriteLog() {
  const filters::ExchangeFacts& facts = context_.facts();
  observe::LogRecord record;
  const int64_t total = (loop_.Now() - started_).count();
  record.wall_us = loop_.WallMicros() - total;
  record.method = request_.method_text;
  record.scheme = request_.scheme;
  record.host = host_;
  record.path = filters::PathOnly(facts.original_path);
  record.query = filters::QueryOnly(facts.original_path);
  record.protocol = ProtocolText(request_.version);
  record.status = Status();
  record.flags = context_.flags();
  record.code = code_;
  record.listener = facts.listener;
  record.table = facts.table;
  record.route = facts.route;
  record.cluster = facts.cluster;
  record.upstream_address = facts.upstream_address;
  record.upstream_status = upstream_status_;
  record.upstream_failure = attempt_.failure();
  record.attempts = attempts_;
  record.request_bytes = static_cast<int64_t>(up_.bytes);
  record.response_bytes = static_cast<int64_t>(down_.bytes);
  record.duration_us = total;
  if (attempts_ > 0) {
    record.upstream_us = upstream_time_.count();
    record.gateway_us = std::max<int64_t>(total - upstream_time_.count(), 0);
  } else {
    record.gateway_us = total;
  }
  char ip[48];
  record.client_ip =
      facts.peer_trusted ? std::string_view(ip, facts.client_ip.Format(ip)) : client_->ip_text;
  record.peer_address = client_->peer_text;
  if (facts.tls != nullptr) {
    record.tls_version = facts.tls->version;
    record.tls_cipher = facts.tls->cipher;
    record.tls_server_name = facts.tls->server_name;
    record.tls_client_subject = facts.tls->subject;
    record.tls_client_fingerprint = facts.tls->fingerprint;
  }
  record.consumer = context_.GetNote("consumer");
  record.trace_id = facts.trace_id;
  if (facts.traceparent.size() >= 52) record.span_id = facts.traceparent.substr(36, 16);
  record.request_id = facts.request_id;
  record.user_agent = request_.headers.Get(Name::kUserAgent).value_or(std::string_view());
  record.referer = request_.headers.Get(Name::kReferer).value_or(std::string_view());
  record.header = &Exchange::LogHeader;
  record.header_context = this;
  config_->access_log->Write(shard_.index(), record);
}

void Exchange::Free(net::Buried* buried) {
  auto* exchange = static_cast<Exchange*>(buried);
  exchange->shard_.GiveBack(*exchange);
}

void Exchange::Recycle() {
  attempt_.Reset();
  attempt_.ForgetFailure();
  run_.Finish();
  up_.Reset();
  down_.Reset();
  replay_.Clear();
  replay_.ShrinkToInline();
  context_.Reset();
  arena_.Reset();
  request_.Reset();
  response_.Reset();
  request_trailers_.Reset();
  response_trailers_.Reset();
  pin_.Release();
  listener_ = nullptr;
  config_ = nullptr;
  route_ = nullptr;
  target_ = nullptr;
  client_ = nullptr;
  match_ = route::Match{};
  downstream_ = nullptr;
  last_endpoint_ = nullptr;
  host_ = path_ = query_ = local_body_ = code_ = sticky_cookie_ = {};
  port_ = 0;
  deadline_ = kNever;
  upstream_time_ = {};
  pending_error_ = {};
  attempts_ = retries_left_ = 0;
  upstream_status_ = 0;
  phase_ = Phase::kIdle;
  head_only_request_ = request_out_ = request_head_out_ = retry_fresh_ = false;
  replay_ok_ = true;
  grpc_deadline_ = false;
  local_ = replying_ = response_out_ = sent_ = client_left_ = tunnel_ = again_ = false;
  stream_counted_ = false;
}

}  // namespace gatehouse::proxy
