#include "source/http/h2_client_connection.h"

#include <algorithm>
#include <utility>

#include "source/http/h2_heads.h"
#include "source/http/websocket.h"

namespace gatehouse::http {
namespace {

// 1xx responses to one request; an origin that sends more is broken.
constexpr uint8_t kMaxInterim = 16;

H2ClientConnection& Of(void* self) { return *static_cast<H2ClientConnection*>(self); }

H2Session::Settings SettingsOf(const H1Limits& limits, const H2ClientOptions& options) {
  return {.max_streams = options.max_streams,
          .stream_window = options.stream_window,
          .connection_window = options.connection_window,
          .max_header_bytes = limits.max_head_bytes,
          .max_headers = limits.max_headers,
          .underscores = limits.underscores,
          .extended_connect = false,
          .abuse = {}};
}

}  // namespace

const H2Session::Side H2ClientConnection::kSide = {
    // A server pushes nothing that it was told not to.
    .begin = [](void*, H2Stream&) { return false; },
    .head = [](void* self, H2Stream& stream, bool end) { Of(self).Head(stream, end); },
    .malformed =
        [](void* self, H2Stream& stream) {
          Of(self).session_.Fail(stream, Error::Upstream(Error::What::kUpstreamProtocolError));
        },
    .gone = [](void* self, H2Stream&) { Of(self).told_ = false; },
    .changed = [](void* self) { Of(self).Changed(); },
    .abuse = [](void*, H2Abuse) {},
    .closed =
        [](void* self) {
          Of(self).going_away_ = true;
          Of(self).timer_.Cancel();
          Of(self).callbacks_.closed(Of(self).owner_);
        },
};

H2ClientConnection::H2ClientConnection(net::Loop& loop, std::unique_ptr<net::Transport> transport,
                                       const H1Limits& limits, const H2ClientOptions& options,
                                       const Callbacks& callbacks, void* owner)
    : loop_(loop),
      options_(options),
      callbacks_(callbacks),
      owner_(owner),
      timer_(Timer::Calls<H2ClientConnection, &H2ClientConnection::OnTimer>(), this),
      session_(H2Session::Role::kClient, loop, std::move(transport), SettingsOf(limits, options),
               kSide, this) {
  session_.Start(Chain());
}

uint32_t H2ClientConnection::max_streams() const {
  const uint32_t allowed =
      nghttp2_session_get_remote_settings(session_.raw(), NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
  return std::min(allowed, options_.max_streams);
}

bool H2ClientConnection::available() const {
  // A GOAWAY counts at once: what it refuses is tried again before Changed() tells of it.
  return !going_away_ && !session_.peer_goes_away() && !session_.closed() &&
         !session_.terminated() && session_.stream_count() < max_streams();
}

Sender& H2ClientConnection::Begin(Method method, const ResponsePlace& place,
                                  H2StreamHandle& handle) {
  H2Stream& stream = session_.NewStream();
  stream.method = method;
  stream.receiver = place.receiver;
  stream.response = place.head;
  stream.trailers = place.trailers;
  handle.Attach(stream);
  ++exchanges_;
  return stream;
}

void H2ClientConnection::Head(H2Stream& stream, bool end) {
  ResponseHead& head = *stream.response;
  if (stream.block_error) {
    session_.Reset(stream, NGHTTP2_CANCEL);
    session_.Fail(stream, stream.block_error);
    return;
  }
  FinishResponse(stream, end);
  if (head.status < 200) {
    if (++stream.interim > kMaxInterim) {
      session_.Reset(stream, NGHTTP2_PROTOCOL_ERROR);
      session_.Fail(stream, Error::Upstream(Error::What::kUpstreamProtocolError));
      return;
    }
    stream.receiver->OnHead(false);
    if (stream.receiver != nullptr) head.Reset();
    return;
  }
  stream.head_done = true;
  if (stream.connect_accept && head.status < 300 && !end) {
    // What HTTP/1 calls it, whichever the client speaks.
    head.status = 101;
    head.upgrade = true;
    head.upgrade_protocol = "websocket";
    head.headers.SetMade(Name::kUpgrade, head.upgrade_protocol);
    if (!stream.websocket_key.empty()) {
      head.headers.Set("sec-websocket-accept",
                       WebSocketAccept(stream.websocket_key, head.headers.arena()));
    }
    head.body = BodyKind::kNone;
    session_.BecomeTunnel(stream);
  }
  stream.receiver->OnHead(end);
}

void H2ClientConnection::Changed() {
  if (!ready_ && session_.peer_settings_came()) {
    ready_ = true;
    Watch();
    callbacks_.ready(owner_);
    return;
  }
  // Or the numbers of its streams are used up.
  const bool over =
      session_.peer_goes_away() || !nghttp2_session_check_request_allowed(session_.raw());
  if (over && !std::exchange(going_away_, true)) told_ = false;
  if (std::exchange(told_max_, max_streams()) != max_streams()) told_ = false;
  if (ready_ && !std::exchange(told_, true)) callbacks_.changed(owner_);
}

void H2ClientConnection::Shutdown() {
  going_away_ = true;
  if (session_.stream_count() == 0) {
    session_.Terminate(NGHTTP2_NO_ERROR);
  } else {
    nghttp2_submit_goaway(session_.raw(), NGHTTP2_FLAG_NONE, 0, NGHTTP2_NO_ERROR, nullptr, 0);
    session_.Later();
  }
}

void H2ClientConnection::Watch() {
  if (options_.ping_interval == kNoTimeout) return;
  loop_.Arm(timer_, ping_sent_ == kNever ? session_.last_received() + options_.ping_interval
                                         : ping_sent_ + options_.ping_timeout);
}

void H2ClientConnection::OnTimer() {
  if (session_.closed()) return;
  const TimePoint now = loop_.Now();
  if (ping_sent_ == kNever) {
    if (now >= session_.last_received() + options_.ping_interval) {
      ping_sent_ = now;
      session_.SendPing();
    }
  } else if (session_.last_received() >= ping_sent_) {
    ping_sent_ = kNever;
  } else if (now >= ping_sent_ + options_.ping_timeout) {
    session_.Close();
    return;
  }
  Watch();
}

}  // namespace gatehouse::http
