#include "source/upstream/grpc_client.h"

#include <algorithm>
#include <utility>

#include "source/base/check.h"
#include "source/upstream/upstreams.h"

namespace gatehouse::upstream {

using http::GrpcStatus;

// --- GrpcUnary ---

void GrpcUnary::Start(const GrpcRequest& request, std::string_view message, void* owner,
                      Done done) {
  CHECK(done_ == nullptr);
  request_ = request;
  request_.messages = GrpcCall::kEveryMessage;
  message_ = message;
  owner_ = owner;
  done_ = done;
  if (request.timeout != kNoTimeout) deadline_ = upstreams_.loop().Now() + request.timeout;
  Try();
}

void GrpcUnary::Try() {
  call_.emplace(upstreams_, arena_);
  call_->Start(request_, *this);
  // A new call takes one message of any size.
  CHECK(call_->Send(message_));
  call_->WritesDone();
}

void GrpcUnary::OnMessage(Chain& message) {
  if (++answers_ == 1) {
    answer_ = std::move(message);
    return;
  }
  call_.reset();
  answer_.Clear();
  done_(owner_,
        {{GrpcStatus::kUnimplemented, "the server sent more than one message"}, nullptr, nullptr});
}

void GrpcUnary::OnDone(const GrpcResult& result, const http::HeaderMap& trailers) {
  if (result.unprocessed && result.code == GrpcStatus::kUnavailable && !retried_) {
    const Duration left = deadline_ - upstreams_.loop().Now();
    if (deadline_ == kNever || left > Duration::zero()) {
      retried_ = true;
      if (deadline_ != kNever) request_.timeout = left;
      upstreams_.counters().Add(request_.cluster->metrics().retries);
      Try();
      return;
    }
  }
  if (result.ok() && answers_ == 0) {
    done_(owner_, {{GrpcStatus::kUnimplemented, "the server sent no message"}, nullptr, &trailers});
    return;
  }
  done_(owner_, {result, result.ok() ? &answer_ : nullptr, &trailers});
}

// --- GrpcStream ---

GrpcStream::GrpcStream(Upstreams& upstreams, GrpcStreamOwner& owner, const GrpcBackoff& backoff,
                       Random& random)
    : upstreams_(upstreams),
      owner_(owner),
      backoff_(backoff),
      random_(random),
      retry_(Timer::Calls<GrpcStream, &GrpcStream::Connect>(), this) {}

void GrpcStream::Start(const GrpcRequest& request) {
  CHECK(!running_);
  running_ = true;
  failures_ = 0;
  request_ = request;
  Connect();
}

void GrpcStream::Stop() {
  running_ = connected_ = false;
  retry_.Cancel();
  call_.reset();
}

void GrpcStream::Connect() {
  call_.reset();
  arena_.Reset();
  answered_ = false;
  call_.emplace(upstreams_, arena_);
  call_cluster_ = request_.cluster;
  call_->Start(request_, *this);
}

void GrpcStream::AllowMessages(uint32_t count) {
  request_.messages = count;
  if (call_) call_->AllowMessages(count);
}

void GrpcStream::NoteServer() {
  address_ = call_->address();
  request_.avoid = call_->endpoint();
}

void GrpcStream::Drop() {
  if (!connected_) return;
  answered_ = false;
  const Duration delay = NextDelay();
  connected_ = false;
  call_.reset();
  upstreams_.loop().Arm(retry_, delay);
}

void GrpcStream::OnStarted() {
  connected_ = true;
  NoteServer();
  connected_at_ = upstreams_.loop().Now();
  owner_.OnConnected();
}

void GrpcStream::OnMessage(Chain& message) {
  answered_ = true;
  owner_.OnMessage(message);
}

// What is left of the call is freed by the next attempt: its words are told here.
void GrpcStream::OnDone(const GrpcResult& result, const http::HeaderMap& /*trailers*/) {
  const Duration delay = NextDelay();
  connected_ = false;
  NoteServer();
  upstreams_.loop().Arm(retry_, delay);
  owner_.OnDisconnected(result);
}

// "Full jitter": clients that lost the same server do not come back together.
Duration GrpcStream::NextDelay() {
  const bool lived = connected_ && upstreams_.loop().Now() - connected_at_ >= backoff_.lived;
  if (answered_ || lived) failures_ = 0;
  Duration most = std::min(backoff_.first, backoff_.max);
  for (uint32_t i = 0; i < failures_ && most < backoff_.max; ++i) {
    most = std::min(most * 2, backoff_.max);
  }
  ++failures_;
  return Duration(static_cast<int64_t>(random_.Below(static_cast<uint64_t>(most.count()) + 1)));
}

}  // namespace gatehouse::upstream
