#include "source/http/h1_client_connection.h"

#include <algorithm>
#include <utility>

#include "source/http/h1_writer.h"

namespace gatehouse::http {
namespace {

constexpr size_t kHighWater = size_t{256} * 1024;
constexpr size_t kHighWaterWhenTight = size_t{32} * 1024;
// 1xx responses to one request; an origin that sends more is broken.
constexpr uint8_t kMaxInterim = 16;

}  // namespace

H1ClientConnection::H1ClientConnection(net::Loop& loop, std::unique_ptr<net::Transport> transport,
                                       const H1Limits& limits, H1HeadScratch& scratch,
                                       const Callbacks& callbacks, void* owner)
    : loop_(loop),
      transport_(std::move(transport)),
      limits_(limits),
      scratch_(scratch),
      callbacks_(callbacks),
      owner_(owner),
      flushable_([](void* self) { static_cast<H1ClientConnection*>(self)->EndTurnWork(); }, this),
      reader_(loop.slabs()) {
  transport_->SetReady(this, [](void* self, net::Ready ready) {
    static_cast<H1ClientConnection*>(self)->OnReady(ready);
  });
}

H1ClientConnection::~H1ClientConnection() = default;

void H1ClientConnection::OnReady(net::Ready ready) {
  if (ready.write && !out_.empty()) loop_.FlushLater(flushable_);
  if (ready.read || ready.hangup) Process();
}

Sender& H1ClientConnection::Begin(Method method, const ResponsePlace& place) {
  DCHECK(state_ == State::kIdle);
  state_ = State::kHead;
  method_ = method;
  place_ = place;
  response_bytes_ = request_bytes_sent_ = 0;
  allowed_ = 0;
  interim_ = 0;
  request_chunked_ = request_ended_ = sent_reported_ = upgrade_asked_ = false;
  return *this;
}

void H1ClientConnection::SendHead(const ResponseHead& /*head*/, bool /*end*/) { CHECK(false); }

void H1ClientConnection::SendHead(const RequestHead& head, bool end) {
  if (state_ != State::kHead) return;
  H1RequestFraming framing = H1RequestFraming::Of(head);
  framing.target = head.path;
  framing.host = head.authority;
  framing.keep_alive = true;
  framing.expect_continue = false;
  upgrade_asked_ = !framing.upgrade_protocol.empty();
  request_chunked_ = framing.body == BodyKind::kChunked;
  char* out = out_.Reserve(RequestHeadBound(head, framing), loop_.slabs());
  char* end_of_head = WriteRequestHead(out, head, framing);
  if (end_of_head == out) pending_ = Error::Gateway(Error::What::kInternal);
  out_.Commit(static_cast<size_t>(end_of_head - out));
  if (end) EndRequest();
  loop_.FlushLater(flushable_);
}

void H1ClientConnection::EndRequest() {
  request_ended_ = true;
  loop_.FlushLater(flushable_);
}

void H1ClientConnection::SendBody(Chain& data, bool end) {
  if (state_ == State::kIdle || state_ == State::kClosed || write_failed_) {
    data.Clear();
    if (end) request_ended_ = true;
    return;
  }
  if (!data.empty()) {
    if (request_chunked_) {
      char* out = out_.Reserve(kMaxChunkHeader, loop_.slabs());
      out_.Commit(static_cast<size_t>(WriteChunkHeader(out, data.bytes()) - out));
      out_.Append(std::move(data), loop_.slabs());
      out_.AppendCopy(kChunkEnd, loop_.slabs());
    } else {
      out_.Append(std::move(data), loop_.slabs());
    }
    loop_.FlushLater(flushable_);
  }
  if (!end) return;
  if (request_chunked_) {
    char* out = out_.Reserve(LastChunkBound(nullptr), loop_.slabs());
    out_.Commit(static_cast<size_t>(WriteLastChunk(out, nullptr) - out));
  }
  if (state_ == State::kTunnel) shutdown_after_flush_ = true;
  EndRequest();
}

void H1ClientConnection::SendTrailers(const HeaderMap& trailers) {
  if (state_ == State::kIdle || state_ == State::kClosed) return;
  if (request_chunked_) {
    char* out = out_.Reserve(LastChunkBound(&trailers), loop_.slabs());
    out_.Commit(static_cast<size_t>(WriteLastChunk(out, &trailers) - out));
  }
  EndRequest();
}

size_t H1ClientConnection::Credit() const {
  const size_t high = loop_.slabs().tight() ? kHighWaterWhenTight : kHighWater;
  return out_.bytes() >= high ? 0 : high - out_.bytes();
}

void H1ClientConnection::AllowBody(size_t bytes) {
  allowed_ = bytes;
  if (bytes == 0 || in_process_ || (state_ != State::kBody && state_ != State::kTunnel)) return;
  want_process_ = true;
  loop_.FlushLater(flushable_);
}

void H1ClientConnection::Abort() {
  // After Detach() there is nothing to abort.
  const bool detached = place_.receiver == nullptr;
  place_.receiver = nullptr;
  if (state_ == State::kClosed || state_ == State::kIdle) return;
  if (detached && state_ == State::kDone) return;
  transport_->Abort();
  Close();
}

void H1ClientConnection::Detach() {
  place_.receiver = nullptr;
  if (state_ == State::kClosed) return;
  if (state_ != State::kDone || !request_ended_ || want_close_ || !out_.empty()) {
    Close();
    return;
  }
  if (!in_process_) loop_.FlushLater(flushable_);
}

void H1ClientConnection::EndTurnWork() {
  if (state_ == State::kClosed) {
    if (!closed_told_) {
      closed_told_ = true;
      callbacks_.closed(owner_, *this);
    }
    return;
  }
  if (pending_) {
    Fail(std::exchange(pending_, Error{}));
    return;
  }
  Flush();
  if (want_process_) {
    want_process_ = false;
    Process();
  } else {
    BecomeIdleIfDone();
  }
}

void H1ClientConnection::Flush() {
  if (state_ == State::kClosed || write_failed_) return;
  if (!out_.empty() && transport_->may_write()) {
    const size_t before = out_.bytes();
    const net::IoStatus status = transport_->Write(out_);
    request_bytes_sent_ += before - out_.bytes();
    if (status == net::IoStatus::kError) {
      // The origin may have answered before it closed (413, say): what it said is read first.
      write_failed_ = want_close_ = true;
      out_.Clear();
      want_process_ = true;
      return;
    }
  }
  Receiver* receiver = place_.receiver;
  if (!out_.empty() || receiver == nullptr) return;
  if (shutdown_after_flush_) {
    shutdown_after_flush_ = false;
    transport_->Shutdown();
  }
  if (!request_ended_) {
    receiver->OnCredit();
  } else if (!sent_reported_) {
    sent_reported_ = true;
    receiver->OnSent();
  }
}

void H1ClientConnection::Process() {
  if (in_process_) return;
  in_process_ = true;
  bool more = true;
  while (more) {
    switch (state_) {
      case State::kHead:
        more = ProcessHead();
        break;
      case State::kBody:
      case State::kTunnel:
        more = ProcessBody();
        break;
      case State::kIdle:
        // An idle origin connection has nothing to say but goodbye.
        if (transport_->may_read()) {
          const net::IoStatus status = reader_.Fill(*transport_, 1);
          if (status != net::IoStatus::kWouldBlock) Close();
        }
        more = false;
        break;
      case State::kDone:
      case State::kClosed:
        more = false;
        break;
    }
  }
  in_process_ = false;
  BecomeIdleIfDone();
}

// After the exchange gave the stream up in a clean state.
void H1ClientConnection::BecomeIdleIfDone() {
  if (state_ != State::kDone || place_.receiver != nullptr) return;
  if (!reader_.empty() || want_close_) {
    Close();
    return;
  }
  ++exchanges_;
  state_ = State::kIdle;
  out_.ShrinkToInline();
  reader_.Shrink();
  if (transport_->may_read()) {
    Process();
    if (state_ != State::kIdle) return;
  }
  callbacks_.idle(owner_, *this);
}

bool H1ClientConnection::ProcessHead() {
  if (!reader_.empty()) {
    switch (reader_.ParseResponse(method_, limits_, scratch_)) {
      case H1ParseStatus::kDone:
        return TakeResponseHead();
      case H1ParseStatus::kError:
        Fail(scratch_.error());
        return false;
      case H1ParseStatus::kNeedMore:
        break;
    }
  }
  return ReadMore(H1Reader::kHeadRead);
}

bool H1ClientConnection::TakeResponseHead() {
  ResponseHead& head = *place_.head;
  scratch_.CopyTo(head.headers.arena(), head);
  reader_.TakeHead(scratch_);
  const bool interim = head.status < 200 && head.status != 101;
  if ((interim && ++interim_ > kMaxInterim) || (head.status == 101 && !upgrade_asked_)) {
    Fail(Error::Upstream(Error::What::kUpstreamProtocolError));
    return false;
  }
  if (interim) {
    place_.receiver->OnHead(false);
    if (state_ == State::kHead && place_.receiver != nullptr) head.Reset();
    return true;
  }
  if (head.status == 101) {
    state_ = State::kTunnel;
    want_close_ = true;
    request_ended_ = request_chunked_ = false;
    reader_.StartBody(BodyKind::kUntilClose, 0);
    place_.receiver->OnHead(false);
    return true;
  }
  want_close_ |= !head.keep_alive || head.body == BodyKind::kUntilClose;
  reader_.StartBody(head.body, head.content_length);
  const bool ends = !head.has_body();
  if (ends) {
    EndResponse();
  } else {
    state_ = State::kBody;
  }
  place_.receiver->OnHead(ends);
  return true;
}

void H1ClientConnection::EndResponse() {
  state_ = State::kDone;
  // What is still to be sent of the request would be taken for the next one.
  if (!request_ended_ || !out_.empty()) want_close_ = true;
}

bool H1ClientConnection::ProcessBody() {
  if (place_.receiver == nullptr || allowed_ == 0) return false;
  if (!reader_.empty()) {
    Chain data;
    const H1BodyStatus status = reader_.Decode(allowed_, limits_, scratch_, data);
    allowed_ -= std::min(allowed_, data.bytes());
    if (status == H1BodyStatus::kError) {
      Fail(Error::Upstream(Error::What::kUpstreamProtocolError));
      return false;
    }
    if (status == H1BodyStatus::kDone) {
      EndResponse();
      if (reader_.decoder().has_trailers()) {
        reader_.decoder().TakeTrailers(limits_, scratch_, *place_.trailers);
        if (!data.empty()) place_.receiver->OnBody(data, false);
        if (place_.receiver != nullptr) place_.receiver->OnTrailers();
      } else {
        place_.receiver->OnBody(data, true);
      }
      return false;
    }
    if (!data.empty()) {
      place_.receiver->OnBody(data, false);
      return true;
    }
  }
  return ReadMore(reader_.BodyReadSize(allowed_));
}

bool H1ClientConnection::ReadMore(size_t limit) {
  if (!transport_->may_read_on()) return false;
  const size_t before = reader_.buffered();
  switch (reader_.Fill(*transport_, limit)) {
    case net::IoStatus::kOk: {
      if (request_bytes_sent_ == 0) {
        // It came before the request went out, so it answers nothing that was asked here: what an
        // origin said into an idle connection must not become the next client's response.
        Fail(Error::Upstream(Error::What::kUpstreamReset, /*retryable=*/true));
        return false;
      }
      const size_t got = reader_.buffered() - before;
      response_bytes_ += got;
      if (state_ != State::kHead) reader_.NoteBodyRead(got);
      return true;
    }
    case net::IoStatus::kWouldBlock:
      return false;
    case net::IoStatus::kEof:
      OnEof();
      return false;
    case net::IoStatus::kError:
      Fail(Error::Upstream(Error::What::kUpstreamReset, request_bytes_sent_ == 0));
      return false;
  }
  return false;
}

void H1ClientConnection::OnEof() {
  want_close_ = true;
  if ((state_ == State::kBody || state_ == State::kTunnel) && reader_.decoder().FinishAtEof()) {
    EndResponse();
    Chain none;
    place_.receiver->OnBody(none, true);
    return;
  }
  Fail(Error::Upstream(Error::What::kUpstreamReset, request_bytes_sent_ == 0));
}

void H1ClientConnection::Fail(Error error) {
  Receiver* receiver = std::exchange(place_.receiver, nullptr);
  Close();
  if (receiver != nullptr) receiver->OnError(error);
}

void H1ClientConnection::Close() {
  if (state_ == State::kClosed) return;
  state_ = State::kClosed;
  reader_.Clear();
  out_.Clear();
  loop_.FlushLater(flushable_);  // tells the owner from the loop
}

}  // namespace gatehouse::http
