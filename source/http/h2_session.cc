// Bytes in and out, flow control, the life of streams. What nghttp2 reports is in h2_callbacks.cc.
#include "source/http/h2_session.h"

#include <algorithm>
#include <string>
#include <utility>

#include "source/base/check.h"
#include "source/http/h2_callbacks.h"
#include "source/http/h2_heads.h"
#include "source/http/h2_memory.h"

namespace gatehouse::http {
namespace {

constexpr size_t kSmallRead = SlabPool::kDataBytes;
constexpr size_t kMaxRead = size_t{256} * 1024;
// What a connection may read in one turn while others wait.
constexpr size_t kMaxReadPerTurn = size_t{512} * 1024;
// Serialized and not yet taken by the socket.
constexpr size_t kOutTarget = size_t{128} * 1024;
constexpr size_t kOutTargetWhenTight = size_t{32} * 1024;
// Of one stream's message, not yet serialized.
constexpr size_t kStreamHighWater = size_t{128} * 1024;
constexpr size_t kStreamHighWaterWhenTight = size_t{16} * 1024;
// Where the end of a header block is not known yet.
constexpr uint64_t kMarkLater = UINT64_MAX;
// Streams over the limit that are refused one by one; then the connection ends.
constexpr uint32_t kStreamsOver = 1000;
constexpr Duration kLingerTime = std::chrono::seconds(2);

struct OptionDeleter {
  void operator()(nghttp2_option* option) const { nghttp2_option_del(option); }
};

}  // namespace

bool TokenBucket::Take(TimePoint now) {
  if (tokens_ < burst_ && now > filled_) {
    const auto elapsed = std::min<int64_t>((now - filled_).count(), int64_t{3600} * 1'000'000);
    const int64_t more = elapsed * per_second_ / 1'000'000;
    if (more > 0) {
      tokens_ = static_cast<uint32_t>(std::min<int64_t>(burst_, tokens_ + more));
      filled_ = now;
    }
  } else if (tokens_ == burst_) {
    filled_ = now;
  }
  if (tokens_ == 0) return false;
  --tokens_;
  return true;
}

H2Session::H2Session(Role role, net::Loop& loop, std::unique_ptr<net::Transport> transport,
                     const Settings& settings, const Side& side, void* self)
    : role_(role),
      secure_(transport->tls() != nullptr),
      loop_(loop),
      transport_(std::move(transport)),
      settings_(settings),
      side_(side),
      self_(self),
      flushable_([](void* session) { static_cast<H2Session*>(session)->EndTurnWork(); }, this),
      linger_(Timer::Calls<H2Session, &H2Session::OnLingered>(), this),
      last_received_(loop.Now()),
      next_read_(kSmallRead),
      resets_(settings.abuse.resets_burst, settings.abuse.resets_per_second),
      control_(settings.abuse.control_burst, settings.abuse.control_per_second),
      empty_(settings.abuse.empty_burst, settings.abuse.empty_per_second),
      errors_(settings.abuse.errors_burst, settings.abuse.errors_per_second) {
  nghttp2_option* made = nullptr;
  CHECK(nghttp2_option_new(&made) == 0);
  const std::unique_ptr<nghttp2_option, OptionDeleter> option(made);
  nghttp2_option_set_no_auto_window_update(option.get(), 1);
  nghttp2_option_set_no_closed_streams(option.get(), 1);
  nghttp2_option_set_max_outbound_ack(option.get(), std::max(1000u, settings_.abuse.control_burst));
  nghttp2_option_set_max_continuations(option.get(), settings_.abuse.max_continuations);
  nghttp2_option_set_max_send_header_block_length(option.get(), size_t{512} * 1024);
  // Ours is the one that can be configured.
  nghttp2_option_set_stream_reset_rate_limit(option.get(), UINT32_MAX, UINT32_MAX);
  const auto make = server() ? &nghttp2_session_server_new3 : &nghttp2_session_client_new3;
  CHECK(make(&session_, H2Callbacks::Table(), this, option.get(), H2Memory::OfThisThread()) == 0);
  SubmitSettings();
}

H2Session::~H2Session() {
  FreeDone();
  while (H2Stream* stream = streams_.PopFront()) H2Memory::Delete(stream);
  nghttp2_session_del(session_);
}

void H2Session::SubmitSettings() {
  nghttp2_settings_entry entries[6];
  size_t count = 0;
  const auto add = [&](int32_t id, uint32_t value) { entries[count++] = {id, value}; };
  add(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, settings_.stream_window);
  add(NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, settings_.max_header_bytes);
  // RFC 9218, section 2.1: the priorities of RFC 7540 are ignored, and may be.
  add(NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1);
  if (server()) {
    add(NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, settings_.max_streams + kStreamsOver);
    if (settings_.extended_connect) add(NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1);
  } else {
    add(NGHTTP2_SETTINGS_ENABLE_PUSH, 0);
  }
  CHECK(nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, entries, count) == 0);
  CHECK(nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0,
                                              static_cast<int32_t>(settings_.connection_window)) ==
        0);
}

void H2Session::Start(Chain&& first) {
  transport_->SetReady(
      this, [](void* self, net::Ready ready) { static_cast<H2Session*>(self)->OnReady(ready); });
  received_ += first.bytes();
  in_ = std::move(first);
  want_process_ = true;
  Later();
}

void H2Session::OnReady(net::Ready ready) {
  if (ready.write) Later();
  if (ready.read || ready.hangup) Process();
}

void H2Session::EndTurnWork() {
  if (closed_) {
    DeliverReady();
    FreeDone();
    return;
  }
  DeliverReady();
  Flush();
  if (!closed_ && std::exchange(want_process_, false)) Process();
  FreeDone();
  if (!closed_) side_.changed(self_);
}

// --- In ---

void H2Session::Process() {
  if (in_process_ || closed_) return;
  in_process_ = true;
  size_t budget = kMaxReadPerTurn;
  net::IoStatus status = net::IoStatus::kOk;
  if (!in_.empty()) (void)Feed();
  while (!closed_ && transport_->may_read()) {
    if (budget == 0) {
      want_process_ = true;
      break;
    }
    const size_t before = in_.bytes();
    status = transport_->Read(in_, next_read_);
    if (status != net::IoStatus::kOk) break;
    const size_t got = in_.bytes() - before;
    received_ += got;
    last_received_ = loop_.Now();
    budget -= std::min(budget, got);
    // More at once while reads come back full, for a body; one slab is enough for heads.
    next_read_ = got >= next_read_ ? std::min(next_read_ * 2, kMaxRead) : kSmallRead;
    if (!Feed()) break;
  }
  in_process_ = false;
  if (closed_) return;
  if (status == net::IoStatus::kEof || status == net::IoStatus::kError) {
    Close();
    return;
  }
  DeliverReady();
  Later();
}

// False: nothing more is wanted.
bool H2Session::Feed() {
  while (!in_.empty()) {
    if (broken_ || shut_down_) {
      in_.Clear();
      break;
    }
    feeding_ = &in_[0];
    const ssize_t taken = nghttp2_session_mem_recv(
        session_, reinterpret_cast<const uint8_t*>(feeding_->data()), feeding_->size());
    feeding_ = nullptr;
    if (taken < 0) {
      OnFatal(static_cast<int>(taken));
      return false;
    }
    in_.RemovePrefix(static_cast<size_t>(taken));
  }
  if (terminated_) FailAll();
  return true;
}

// The session cannot go on; nghttp2 says nothing of it to the peer.
void H2Session::OnFatal(int error) {
  broken_ = true;
  in_.Clear();
  uint32_t code = NGHTTP2_PROTOCOL_ERROR;
  if (error == NGHTTP2_ERR_FLOODED || error == NGHTTP2_ERR_TOO_MANY_CONTINUATIONS) {
    code = NGHTTP2_ENHANCE_YOUR_CALM;
    side_.abuse(self_, error == NGHTTP2_ERR_FLOODED ? H2Abuse::kControl : H2Abuse::kContinuations);
  }
  terminated_ = true;
  // RFC 9113, section 6.8.
  const auto last = static_cast<uint32_t>(nghttp2_session_get_last_proc_stream_id(session_));
  char frame[17] = {0, 0, 8, NGHTTP2_GOAWAY};
  for (int i = 0; i < 4; ++i) {
    frame[9 + i] = static_cast<char>(last >> (24 - 8 * i));
    frame[13 + i] = static_cast<char>(code >> (24 - 8 * i));
  }
  out_.AppendCopy({frame, sizeof(frame)}, loop_.slabs());
  FailAll();
  Later();
}

void H2Session::DeliverReady() {
  while (H2Stream* stream = ready_.PopFront()) Deliver(*stream);
}

void H2Session::Ready(H2Stream& stream) {
  if (stream.ListNode<H2Stream, H2ReadyTag>::linked()) return;
  ready_.PushBack(stream);
  Later();
}

void H2Session::Deliver(H2Stream& stream) {
  if (stream.receiver == nullptr) {
    DropInput(stream);
    return;
  }
  if (const Error failure = std::exchange(stream.failure, Error{})) {
    Fail(stream, failure);
    FreeIfDone(stream);
    return;
  }
  if (stream.failed) {
    DropInput(stream);
    return;
  }
  // What follows an extended CONNECT is not of interest before it was answered.
  if (!stream.head_done || stream.wants_tunnel || stream.in_told) return;
  const size_t count = std::min(stream.allowed, stream.in.bytes());
  const bool last = count == stream.in.bytes() && stream.in_ended;
  if (count == 0 && !last) return;
  Chain data;
  if (count > 0) {
    stream.allowed -= count;
    if (count == stream.in.bytes()) {
      data = std::move(stream.in);
    } else {
      stream.in.MoveTo(count, data);
    }
    Consume(stream, count);
  }
  stream.in_told = last;
  if (last && stream.has_trailers) {
    if (!data.empty()) stream.receiver->OnBody(data, false);
    if (stream.receiver != nullptr) stream.receiver->OnTrailers();
  } else {
    stream.receiver->OnBody(data, last);
  }
}

// Opens the peer's windows again for what has gone on.
void H2Session::Consume(H2Stream& stream, size_t bytes) {
  if (bytes == 0 || broken_ || closed_) return;
  if (!server()) {
    // The connection's window was given back when the bytes came: OnData().
    if (!stream.closed) nghttp2_session_consume_stream(session_, stream.id, bytes);
  } else if (stream.closed) {
    nghttp2_session_consume_connection(session_, bytes);
  } else {
    nghttp2_session_consume(session_, stream.id, bytes);
  }
  Later();
}

void H2Session::DropInput(H2Stream& stream) {
  Consume(stream, stream.in.bytes());
  stream.in.Clear();
}

// --- Out ---

size_t H2Session::OutTarget() const {
  return loop_.slabs().tight() ? kOutTargetWhenTight : kOutTarget;
}

size_t H2Session::CreditOf(const H2Stream& stream) const {
  if (stream.swallow || stream.closed) return SIZE_MAX / 2;
  const size_t high = loop_.slabs().tight() ? kStreamHighWaterWhenTight : kStreamHighWater;
  return stream.out.bytes() >= high ? 0 : high - stream.out.bytes();
}

void H2Session::Flush() {
  if (closed_) return;
  for (;;) {
    Pull();
    if (out_.empty() || !transport_->may_write()) break;
    const size_t before = out_.bytes();
    const net::IoStatus status = transport_->Write(out_);
    written_ += before - out_.bytes();
    if (status == net::IoStatus::kError) {
      Close();
      return;
    }
    if (!out_.empty()) break;
  }
  if (out_.empty()) out_.ShrinkToInline();
  TellSent();
  TellCredit();
  if (!closed_ && out_.empty() && NothingLeft()) CloseGracefully();
}

bool H2Session::NothingLeft() const {
  if (shut_down_) return false;
  if (broken_) return true;
  return nghttp2_session_want_read(session_) == 0 && nghttp2_session_want_write(session_) == 0;
}

// Serializes frames as far as there is room for them.
void H2Session::Pull() {
  while (!broken_ && out_.bytes() < OutTarget()) {
    const uint8_t* data = nullptr;
    const ssize_t size = nghttp2_session_mem_send(session_, &data);
    if (size < 0) {
      OnFatal(static_cast<int>(size));
      return;
    }
    if (size == 0) return;
    const std::string_view frame(reinterpret_cast<const char*>(data), static_cast<size_t>(size));
    if (__builtin_expect(!limit_told_ && server(), 0)) {
      TellStreamLimit(frame);
    } else {
      out_.AppendCopy(frame, loop_.slabs());
    }
    serialized_ += static_cast<uint64_t>(size);
    PlaceMarks();
  }
}

// nghttp2 tells of a frame before it hands its bytes over.
void H2Session::PlaceMarks() {
  H2Stream* stream = std::exchange(head_out_, nullptr);
  if (stream == nullptr) return;
  if (stream->head_mark == kMarkLater) stream->head_mark = serialized_;
  if (stream->sent_mark == kMarkLater) stream->sent_mark = serialized_;
}

void H2Session::NoteHeadSent(H2Stream& stream, bool end) {
  head_out_ = &stream;
  if (stream.head_mark == 0) stream.head_mark = kMarkLater;
  if (!end) return;
  MarkEnd(stream);
  stream.sent_mark = kMarkLater;
}

// nghttp2 ends the connection of a client that goes over the limit, with all that is under way. So
// it knows a higher one, and the first frame, our SETTINGS, tells the client of the true one; what
// is between the two is refused by OnBeginHeaders().
void H2Session::TellStreamLimit(std::string_view settings_frame) {
  limit_told_ = true;
  constexpr size_t kFrameHeader = 9;
  constexpr size_t kEntry = 6;
  std::string frame(settings_frame);
  for (size_t at = kFrameHeader; at + kEntry <= frame.size(); at += kEntry) {
    if (frame[at] != 0 || frame[at + 1] != NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS) continue;
    for (size_t i = 0; i < 4; ++i) {
      frame[at + 2 + i] = static_cast<char>(settings_.max_streams >> (24 - 8 * i));
    }
  }
  out_.AppendCopy(frame, loop_.slabs());
}

void H2Session::TellSent() {
  while (H2Stream* stream = sent_.Front()) {
    if (stream->sent_mark > written_) return;
    stream->ListNode<H2Stream, H2SentTag>::Unlink();
    stream->end_told = true;
    if (stream->receiver != nullptr) {
      stream->receiver->OnSent();
    } else {
      FreeIfDone(*stream);
    }
  }
}

void H2Session::TellCredit() {
  while (H2Stream* stream = credited_.PopFront()) {
    if (stream->receiver != nullptr && !stream->out_ended && CreditOf(*stream) > 0) {
      stream->receiver->OnCredit();
    }
  }
}

// --- Streams ---

H2Stream& H2Session::NewStream() {
  auto* stream = H2Memory::New<H2Stream>(*this);
  stream->opened = loop_.Now();
  streams_.PushBack(*stream);
  ++stream_count_;
  return *stream;
}

// nghttp2 and the exchange are both through with it. It is freed at the end of the turn, since one
// of its methods may be running.
void H2Session::FreeIfDone(H2Stream& stream) {
  if (!stream.closed || stream.receiver != nullptr || stream.done) return;
  if (stream.ListNode<H2Stream, H2SentTag>::linked()) return;
  stream.done = true;
  if (block_ == &stream) block_ = nullptr;
  stream.ListNode<H2Stream, H2CreditTag>::Unlink();
  stream.ListNode<H2Stream, H2ReadyTag>::Unlink();
  DropInput(stream);
  stream.out.Clear();
  --stream_count_;
  stream.ListNode<H2Stream, H2AllTag>::Unlink();
  done_.PushBack(stream);
  side_.gone(self_, stream);
  Later();
}

void H2Session::FreeDone() {
  while (H2Stream* stream = done_.PopFront()) H2Memory::Delete(stream);
}

void H2Session::Submit(H2Stream& stream, const nghttp2_nv* fields, size_t count, bool end) {
  stream.head_sent = true;
  if (stream.swallow || stream.closed || broken_) {
    if (end) SwallowedEnd(stream);
    return;
  }
  if (end) stream.out_ended = true;
  head_submitted_ = true;
  nghttp2_data_provider body{};
  body.source.ptr = &stream;
  body.read_callback = &H2Callbacks::ReadData;
  int result;
  if (server()) {
    result = nghttp2_submit_response(session_, stream.id, fields, count, end ? nullptr : &body);
  } else {
    result =
        nghttp2_submit_request(session_, nullptr, fields, count, end ? nullptr : &body, &stream);
    stream.id = result;
  }
  if (result < 0) FailLater(stream, Error::Upstream(Error::What::kUpstreamReset, true));
  Later();
}

void H2Session::FailLater(H2Stream& stream, Error error) {
  Reset(stream, NGHTTP2_INTERNAL_ERROR);
  stream.failure = server() ? Error::Downstream(Error::What::kClientAbort) : error;
  Ready(stream);
}

void H2Session::SubmitInterim(H2Stream& stream, const nghttp2_nv* fields, size_t count) {
  if (stream.swallow || stream.closed || broken_) return;
  nghttp2_submit_headers(session_, NGHTTP2_FLAG_NONE, stream.id, nullptr, fields, count, nullptr);
  Later();
}

void H2Session::Reset(H2Stream& stream, uint32_t code) {
  stream.swallow = true;
  stream.out.Clear();
  if (!stream.closed && !broken_ && stream.id > 0) {
    nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, stream.id, code);
  } else if (stream.id <= 0) {
    stream.closed = true;  // nghttp2 never heard of it
  }
  Later();
}

void H2Session::SendBody(H2Stream& stream, Chain& data, bool end) {
  if (stream.swallow || stream.closed || broken_) {
    data.Clear();
    if (end) SwallowedEnd(stream);
    return;
  }
  if (stream.out_ended) {
    data.Clear();
    return;
  }
  if (stream.counted)
    stream.response_left -= std::min<uint64_t>(stream.response_left, data.bytes());
  stream.out.Append(std::move(data), loop_.slabs());
  if (end) {
    if (stream.counted && stream.response_left != 0) {
      // Less came than was announced: only a broken stream tells the peer.
      Reset(stream, NGHTTP2_INTERNAL_ERROR);
      SwallowedEnd(stream);
      return;
    }
    stream.out_ended = true;
  }
  Resume(stream);
}

void H2Session::SendTrailers(H2Stream& stream, const HeaderMap& trailers) {
  if (stream.swallow || stream.closed || broken_) {
    SwallowedEnd(stream);
    return;
  }
  if (stream.out_ended) return;
  stream.trailers_out = &trailers;
  stream.out_ended = true;
  Resume(stream);
}

void H2Session::Resume(H2Stream& stream) {
  if (std::exchange(stream.deferred, false)) nghttp2_session_resume_data(session_, stream.id);
  Later();
}

// The whole of a message that goes nowhere has been handed over.
void H2Session::SwallowedEnd(H2Stream& stream) {
  stream.out_ended = true;
  MarkEnd(stream);
  Later();
}

void H2Session::MarkEnd(H2Stream& stream) {
  stream.end_sent = true;
  if (stream.end_told || closed_ || stream.ListNode<H2Stream, H2SentTag>::linked()) return;
  stream.sent_mark = serialized_;
  sent_.PushBack(stream);
}

void H2Session::AllowBody(H2Stream& stream, size_t bytes) {
  if (stream.allowed == 0 || bytes == 0) stream.paused = true;
  stream.allowed = bytes;
  if (bytes == 0) return;
  if (std::exchange(stream.expect_continue, false) && stream.received == 0 && !stream.head_sent) {
    const nghttp2_nv status = StatusField(100);
    SubmitInterim(stream, &status, 1);
  }
  if (!stream.in.empty() || (stream.in_ended && !stream.in_told)) Ready(stream);
}

void H2Session::Abort(H2Stream& stream) {
  stream.receiver = nullptr;
  stream.trailers_out = nullptr;
  if (!stream.closed && !stream.end_sent) {
    Reset(stream, server() ? NGHTTP2_INTERNAL_ERROR : NGHTTP2_CANCEL);
  } else if (!stream.closed) {
    Reset(stream, server() ? NGHTTP2_NO_ERROR : NGHTTP2_CANCEL);
  }
  DropInput(stream);
  FreeIfDone(stream);
}

void H2Session::Detach(H2Stream& stream) {
  if (!stream.out_ended || (stream.trailers_out != nullptr && !stream.end_sent)) {
    Abort(stream);
    return;
  }
  stream.receiver = nullptr;
  DropInput(stream);
  if (!stream.closed && !stream.in_ended) {
    // RFC 9113, section 8.1: a whole response may be followed by a reset without an error.
    if (stream.end_sent) {
      Reset(stream, server() ? NGHTTP2_NO_ERROR : NGHTTP2_CANCEL);
    } else {
      stream.reset_after_end = true;
    }
  } else if (!server() && !stream.closed && !stream.end_sent) {
    Reset(stream, NGHTTP2_CANCEL);  // the rest of a request that was answered
  }
  FreeIfDone(stream);
}

void H2Session::BecomeTunnel(H2Stream& stream) {
  stream.tunnel = stream.unpaced = true;
  stream.wants_tunnel = false;
  stream.counted = stream.empty = false;
  stream.in_told = false;
  Ready(stream);
}

void H2Session::Fail(H2Stream& stream, Error error) {
  Receiver* receiver = stream.receiver;
  if (receiver == nullptr) return;
  if (!server() || error.what == Error::What::kClientAbort) {
    stream.receiver = nullptr;
    stream.trailers_out = nullptr;  // the receiver's
  } else if (std::exchange(stream.failed, true)) {
    return;
  }
  receiver->OnError(error);
}

// What the end of the connection means to a stream.
Error H2Session::LostError(const H2Stream& stream) const {
  if (server()) return Error::Downstream(Error::What::kClientAbort);
  const bool unsent = stream.head_mark == 0 || stream.head_mark > written_;
  return Error::Upstream(Error::What::kUpstreamReset, /*retryable=*/unsent);
}

// --- The end ---

// A response that came to its end; its receiver takes it as it can, whatever becomes of the
// connection.
bool H2Session::IsWhole(const H2Stream& stream) const {
  return !server() && stream.receiver != nullptr && stream.in_ended && !stream.in_told &&
         !stream.malformed;
}

// One receiver's end may be the end of others, so the list is looked at from the start each time.
void H2Session::FailAll() {
  H2Stream* stream = streams_.Front();
  while (stream != nullptr) {
    if (stream->receiver == nullptr || IsWhole(*stream)) {
      stream = streams_.Next(*stream);
      continue;
    }
    stream->swallow = true;
    stream->out.Clear();
    Fail(*stream, LostError(*stream));
    stream = streams_.Front();
  }
}

void H2Session::Terminate(uint32_t code) {
  if (std::exchange(terminated_, true) || broken_) return;
  nghttp2_session_terminate_session(session_, code);
  Later();
}

void H2Session::Abused(H2Abuse abuse) {
  if (terminated_) return;
  side_.abuse(self_, abuse);
  Terminate(NGHTTP2_ENHANCE_YOUR_CALM);
}

bool H2Session::peer_takes_connect() const {
  return nghttp2_session_get_remote_settings(session_, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) ==
         1;
}

void H2Session::SendPing() {
  ping_answered_ = false;
  nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, nullptr);
  Later();
}

void H2Session::CloseGracefully() {
  if (closed_) return;
  if (!server() || !transport_->established()) {
    Close();
    return;
  }
  // Closing a socket with unread bytes resets it, and the reset may overtake what was said last.
  if (std::exchange(shut_down_, true)) return;
  FailAll();
  transport_->Shutdown();
  loop_.Arm(linger_, kLingerTime);
  want_process_ = true;
  Later();
}

void H2Session::OnLingered() { Close(); }

void H2Session::Close() {
  if (std::exchange(closed_, true)) return;
  linger_.Cancel();
  in_.Clear();
  out_.Clear();
  IntrusiveList<H2Stream, H2AllTag> whole;
  while (H2Stream* stream = streams_.PopFront()) {
    stream->ListNode<H2Stream, H2CreditTag>::Unlink();
    stream->ListNode<H2Stream, H2SentTag>::Unlink();
    stream->out.Clear();
    stream->closed = stream->swallow = true;
    if (IsWhole(*stream)) {
      whole.PushBack(*stream);
      continue;
    }
    stream->ListNode<H2Stream, H2ReadyTag>::Unlink();
    stream->in.Clear();
    stream->done = true;
    --stream_count_;
    done_.PushBack(*stream);
    if (Receiver* receiver = std::exchange(stream->receiver, nullptr)) {
      receiver->OnError(LostError(*stream));
    }
    side_.gone(self_, *stream);
  }
  streams_.TakeAll(whole);
  side_.closed(self_);
}

}  // namespace gatehouse::http
