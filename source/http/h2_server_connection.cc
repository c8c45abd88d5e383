#include "source/http/h2_server_connection.h"

#include <algorithm>
#include <utility>

#include "source/http/h2_heads.h"

namespace gatehouse::http {
namespace {

constexpr Duration kPaceWindow = std::chrono::seconds(5);
constexpr uint64_t kPaceSeconds = 5;
// From the first GOAWAY to the last when the client does not answer the PING.
constexpr Duration kGoawayGrace = std::chrono::seconds(1);

H2ServerConnection& Of(void* self) { return *static_cast<H2ServerConnection*>(self); }

H2Session::Settings SettingsOf(const H2ServerOptions& options) {
  return {.max_streams = options.max_streams,
          .stream_window = options.stream_window,
          .connection_window = options.connection_window,
          .max_header_bytes = options.common.limits.max_head_bytes,
          .max_headers = options.common.limits.max_headers,
          .underscores = options.common.limits.underscores,
          .extended_connect = options.extended_connect,
          .abuse = options.abuse};
}

}  // namespace

const H2Session::Side H2ServerConnection::kSide = {
    .begin = [](void* self, H2Stream& stream) { return Of(self).Begin(stream); },
    .head = [](void* self, H2Stream& stream, bool end) { Of(self).Head(stream, end); },
    .malformed = [](void* self, H2Stream& stream) { Of(self).Malformed(stream); },
    .gone = [](void* self, H2Stream&) { Of(self).Gone(); },
    .changed = [](void* self) { Of(self).Changed(); },
    .abuse = [](void* self, H2Abuse abuse) { Of(self).callbacks_.abuse(Of(self).owner_, abuse); },
    .closed =
        [](void* self) {
          Of(self).timer_.Cancel();
          Of(self).callbacks_.closed(Of(self).owner_);
        },
};

H2ServerConnection::H2ServerConnection(net::Loop& loop, std::unique_ptr<net::Transport> transport,
                                       Chain&& first, const H2ServerOptions& options,
                                       const Callbacks& callbacks, void* owner)
    : loop_(loop),
      options_(options),
      callbacks_(callbacks),
      owner_(owner),
      timer_(Timer::Calls<H2ServerConnection, &H2ServerConnection::OnTimer>(), this),
      session_(H2Session::Role::kServer, loop, std::move(transport), SettingsOf(options), kSide,
               this),
      opened_(loop.Now()),
      idle_since_(loop.Now()),
      window_start_(loop.Now()) {
  session_.Start(std::move(first));
}

bool H2ServerConnection::Begin(H2Stream& stream) {
  if (session_.stream_count() == 1) window_start_ = std::max(window_start_, loop_.Now());
  const NewStream opened = callbacks_.open(owner_, stream);
  stream.receiver = opened.receiver;
  stream.request = opened.head;
  stream.trailers = opened.trailers;
  stream.output_left = true;
  ++requests_;
  if (common().max_requests != 0 && requests_ >= common().max_requests) Drain(kGoawayGrace);
  return true;
}

void H2ServerConnection::Head(H2Stream& stream, bool end) {
  stream.head_done = true;
  const Error error = FinishRequest(stream, end, common().limits, session_.secure());
  if (error) {
    callbacks_.refused(owner_, error);
    session_.Fail(stream, error);
    return;
  }
  stream.request->early_data = session_.transport().early_data();
  // The head of an extended CONNECT is all of the request; what follows is the tunnel's.
  stream.receiver->OnHead(end || stream.wants_tunnel);
}

void H2ServerConnection::Malformed(H2Stream& stream) {
  const Error error = Error::Downstream(Error::What::kBadRequest);
  callbacks_.refused(owner_, error);
  // The answer goes nowhere, as the stream is being reset; the log tells of it.
  session_.Fail(stream, error);
}

void H2ServerConnection::Gone() {
  if (session_.stream_count() == 0) idle_since_ = loop_.Now();
}

void H2ServerConnection::Changed() {
  if (draining_ && !last_goaway_sent_ && session_.ping_answered()) FinalGoaway();
  output_left_ |= !session_.output_waits();
  Watch();
}

void H2ServerConnection::Drain(Duration grace) {
  if (std::exchange(draining_, true) || session_.closed()) return;
  final_goaway_ = loop_.Now() + std::min(grace, kGoawayGrace);
  nghttp2_submit_shutdown_notice(session_.raw());
  session_.SendPing();
  callbacks_.goaway(owner_);
  Watch();
}

// Streams that the client opened meanwhile are served; later ones it opens elsewhere.
void H2ServerConnection::FinalGoaway() {
  last_goaway_sent_ = true;
  final_goaway_ = kNever;
  nghttp2_submit_goaway(session_.raw(), NGHTTP2_FLAG_NONE,
                        nghttp2_session_get_last_proc_stream_id(session_.raw()), NGHTTP2_NO_ERROR,
                        nullptr, 0);
  session_.Later();
}

// --- Time ---

TimePoint H2ServerConnection::NextLook() const {
  if (session_.terminated()) {
    return session_.output_waits() ? window_start_ + kPaceWindow : kNever;
  }
  TimePoint next = final_goaway_;
  if (!session_.peer_settings_came()) next = std::min(next, opened_ + common().header_timeout);
  const TimePoint block = session_.block_opened();
  if (block != kNever) next = std::min(next, block + common().header_timeout);
  if (session_.stream_count() > 0 || session_.output_waits()) {
    next = std::min(next, window_start_ + kPaceWindow);
  } else {
    next = std::min(next, idle_since_ + common().keep_alive_timeout);
  }
  if (options_.ping_interval != kNoTimeout) {
    next = std::min(next, ping_sent_ == kNever ? session_.last_received() + options_.ping_interval
                                               : ping_sent_ + options_.ping_timeout);
  }
  if (common().max_age != kNoTimeout && !draining_)
    next = std::min(next, opened_ + common().max_age);
  return next;
}

// The timer may be early; OnTimer() looks what is due.
void H2ServerConnection::Watch() {
  const TimePoint next = NextLook();
  if (next != kNever && (!timer_.armed() || next < timer_.deadline())) loop_.Arm(timer_, next);
}

void H2ServerConnection::OnTimer() {
  if (session_.closed()) return;
  const TimePoint now = loop_.Now();
  if (session_.terminated()) {
    if (session_.output_waits() && now >= window_start_ + kPaceWindow) CheckPace();
    if (!session_.closed()) Watch();
    return;
  }
  const TimePoint block = session_.block_opened();
  const bool late_head =
      (!session_.peer_settings_came() && now >= opened_ + common().header_timeout) ||
      (block != kNever && now >= block + common().header_timeout);
  if (late_head) {
    callbacks_.refused(owner_, Error::Downstream(Error::What::kRequestTimeout));
    session_.Terminate(NGHTTP2_ENHANCE_YOUR_CALM);
    session_.TerminateStreams();
    return;
  }
  if (now >= final_goaway_) FinalGoaway();
  if (session_.stream_count() == 0 && !session_.output_waits()) {
    window_start_ = now;
    if (now >= idle_since_ + common().keep_alive_timeout) {
      callbacks_.idle_closed(owner_);
      session_.Terminate(NGHTTP2_NO_ERROR);
      return;
    }
  } else if (now >= window_start_ + kPaceWindow) {
    CheckPace();
    if (session_.closed()) return;
  }
  if (common().max_age != kNoTimeout && now >= opened_ + common().max_age) Drain(kGoawayGrace);
  CheckPing();
  if (!session_.closed()) Watch();
}

void H2ServerConnection::CheckPing() {
  if (options_.ping_interval == kNoTimeout) return;
  const TimePoint now = loop_.Now();
  if (ping_sent_ == kNever) {
    if (now < session_.last_received() + options_.ping_interval) return;
    ping_sent_ = now;
    session_.SendPing();
  } else if (session_.last_received() >= ping_sent_) {
    ping_sent_ = kNever;
  } else if (now >= ping_sent_ + options_.ping_timeout) {
    session_.Close();
  }
}

// As H1ServerConnection::CheckPace(), for each stream and for the connection.
void H2ServerConnection::CheckPace() {
  window_start_ = loop_.Now();
  const uint64_t least = uint64_t{common().min_response_rate} * kPaceSeconds;
  // The client takes nothing from the socket, or gives the connection no window.
  const bool stuck = (session_.output_waits() && !output_left_ &&
                      session_.sent_bytes() - paced_written_ < least) ||
                     (WindowHolds() && session_.body_sent() - paced_body_ < least);
  paced_written_ = session_.sent_bytes();
  paced_body_ = session_.body_sent();
  output_left_ = !session_.output_waits();
  if (stuck) {
    callbacks_.abuse(owner_, H2Abuse::kStalled);
    session_.Close();
    return;
  }
  IntrusiveList<H2Stream, H2AllTag>& streams = session_.streams();
  for (H2Stream* next = streams.Front(); next != nullptr;) {
    H2Stream& stream = *next;
    next = streams.Next(stream);
    CheckStream(stream);
  }
}

// The connection's window is used up, and a stream has something to send that may not wait.
bool H2ServerConnection::WindowHolds() {
  if (nghttp2_session_get_remote_window_size(session_.raw()) > 0) return false;
  IntrusiveList<H2Stream, H2AllTag>& streams = session_.streams();
  for (H2Stream* next = streams.Front(); next != nullptr; next = streams.Next(*next)) {
    if (!next->out.empty() && !next->output_left && !next->unpaced) return true;
  }
  return false;
}

void H2ServerConnection::CheckStream(H2Stream& stream) {
  const TimePoint now = loop_.Now();
  const bool whole_window = now - stream.opened >= kPaceWindow;
  const bool body_wanted =
      !stream.in_ended && !stream.unpaced && stream.head_done && !stream.failed;
  const bool late = body_wanted && common().request_timeout != kNoTimeout &&
                    now - stream.opened >= common().request_timeout;
  const bool slow_body =
      body_wanted && whole_window && stream.allowed > 0 && !stream.paused &&
      stream.received - stream.paced_received < uint64_t{common().min_body_rate} * kPaceSeconds;
  // One that only waits for its turn has a window.
  const bool slow_reader =
      !stream.out.empty() && !stream.output_left && !stream.unpaced && !stream.closed &&
      nghttp2_session_get_stream_remote_window_size(session_.raw(), stream.id) == 0 &&
      stream.sent - stream.paced_sent < uint64_t{common().min_response_rate} * kPaceSeconds;
  stream.paced_received = stream.received;
  stream.paced_sent = stream.sent;
  stream.paused = false;
  stream.output_left = stream.out.empty();
  if (slow_reader) {
    callbacks_.abuse(owner_, H2Abuse::kStalled);
    session_.FailLater(stream, Error::Downstream(Error::What::kClientAbort));
  } else if (late || slow_body) {
    stream.failure = Error::Downstream(Error::What::kRequestTimeout);
    session_.Ready(stream);
  }
}

}  // namespace gatehouse::http
