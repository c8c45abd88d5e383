// What becomes of a client's connection behind a response: idle, drained, lingering, closed. And
// its one timer, which does something else in each state. See h1_server_connection.h.
#include <algorithm>

#include "source/http/h1_server_connection.h"

namespace gatehouse::http {
namespace {

// How long the rest of a request may take to come, and a client to see the end of a response.
constexpr Duration kDrainTime = std::chrono::seconds(5);
constexpr Duration kLingerTime = std::chrono::seconds(2);
constexpr Duration kPaceWindow = std::chrono::seconds(5);
constexpr int64_t kPaceSeconds = 5;

}  // namespace

void H1ServerConnection::AfterExchange() {
  sent_reported_ = false;
  if (response_counted_ && response_left_ != 0) {
    // Less came than was announced: only a broken connection tells the client.
    transport_->Abort();
    Close();
  } else if (tunnel_) {
    Close();
  } else if (close_after_ || NoMoreRequests()) {
    StartLinger();
  } else if (!request_ended_) {
    state_ = State::kDrain;
    drained_ = 0;
    loop_.Arm(timer_, kDrainTime);
    want_process_ = true;
    loop_.FlushLater(flushable_);
  } else {
    BecomeIdle();
  }
}

void H1ServerConnection::BecomeIdle() {
  state_ = State::kIdle;
  response_ended_ = false;
  out_.ShrinkToInline();
  reader_.Shrink();
  // Also when draining has begun since the response promised to keep the connection: the client may
  // have sent its next request already.
  loop_.Arm(timer_, std::min(options_.keep_alive_timeout, drain_grace_));
  if (!reader_.empty() || transport_->may_read()) {
    want_process_ = true;
    loop_.FlushLater(flushable_);
  }
}

void H1ServerConnection::StartLinger() {
  // Closing a socket with unread bytes resets it, and the reset may overtake the response.
  const bool clean = request_ended_ && !gave_up_ && reader_.empty() && !transport_->may_read();
  if (clean || eof_) {
    Close();
    return;
  }
  state_ = State::kLinger;
  response_ended_ = false;
  transport_->Shutdown();
  loop_.Arm(timer_, kLingerTime);
  want_process_ = true;
  loop_.FlushLater(flushable_);
}

void H1ServerConnection::Close() {
  if (state_ == State::kClosed) return;
  state_ = State::kClosed;
  timer_.Cancel();
  reader_.Clear();
  out_.Clear();
  callbacks_.closed(owner_);
}

void H1ServerConnection::Drain(Duration grace) {
  draining_ = true;
  drain_grace_ = grace;
  if (state_ == State::kIdle && timer_.deadline() > loop_.Now() + grace) {
    // Re-arming to an earlier time is the rare, slower case of the wheel.
    loop_.Arm(timer_, grace);
  }
}

void H1ServerConnection::Kill() {
  if (state_ == State::kClosed) return;
  FailRequest(Error::Downstream(Error::What::kClientAbort));
}

void H1ServerConnection::OnTimer() {
  switch (state_) {
    case State::kIdle:
      callbacks_.idle_closed(owner_);
      Close();
      break;
    case State::kHead:
      Refuse(Error::Downstream(Error::What::kRequestTimeout), H1Fault::kNone);
      break;
    case State::kExchange:
      CheckPace();
      break;
    case State::kDrain:
    case State::kLinger:
      Close();
      break;
    case State::kClosed:
      break;
  }
}

// A body or a response moves, but perhaps too slowly: looks again in a while.
void H1ServerConnection::WatchPace() {
  if (timer_.armed() || state_ != State::kExchange) return;
  paced_received_ = received_;
  paced_sent_ = sent_;
  paused_in_window_ = false;
  output_left_ = out_.empty();
  loop_.Arm(timer_, kPaceWindow);
}

void H1ServerConnection::CheckPace() {
  const bool body_wanted = !request_ended_ && !tunnel_;
  const bool late = body_wanted && options_.request_timeout != kNoTimeout &&
                    loop_.Now() - request_start_ >= options_.request_timeout;
  const bool slow_body =
      body_wanted && allowed_ > 0 && !paused_in_window_ &&
      received_ - paced_received_ < static_cast<uint64_t>(options_.min_body_rate) * kPaceSeconds;
  const bool slow_reader =
      !out_.empty() && !output_left_ &&
      sent_ - paced_sent_ < static_cast<uint64_t>(options_.min_response_rate) * kPaceSeconds;
  if (late || slow_body || slow_reader) {
    if (receiver_ != nullptr) {
      FailRequest(Error::Downstream(Error::What::kRequestTimeout));
    } else {
      transport_->Abort();
      Close();
    }
    return;
  }
  if (body_wanted || !out_.empty()) WatchPace();
}

}  // namespace gatehouse::http
