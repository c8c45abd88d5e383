// Requests in, responses out. What comes between exchanges, the end of the connection and its
// timers are in h1_server_endings.cc.
#include "source/http/h1_server_connection.h"

#include <algorithm>
#include <utility>

#include "source/http/h1_writer.h"

namespace gatehouse::http {
namespace {

constexpr size_t kHighWater = size_t{256} * 1024;
constexpr size_t kHighWaterWhenTight = size_t{32} * 1024;
// What is read of a request after its response, to save the connection.
constexpr size_t kMaxDrain = size_t{256} * 1024;
constexpr size_t kMaxDrainKnown = size_t{64} * 1024;
constexpr size_t kMaxLingerPerTurn = size_t{64} * 1024;

}  // namespace

H1ServerConnection::H1ServerConnection(net::Loop& loop, std::unique_ptr<net::Transport> transport,
                                       const H1ServerOptions& options, H1HeadScratch& scratch,
                                       const Callbacks& callbacks, void* owner)
    : loop_(loop),
      transport_(std::move(transport)),
      secure_(transport_->tls() != nullptr),
      options_(options),
      scratch_(scratch),
      callbacks_(callbacks),
      owner_(owner),
      flushable_([](void* self) { static_cast<H1ServerConnection*>(self)->EndTurnWork(); }, this),
      timer_(Timer::Calls<H1ServerConnection, &H1ServerConnection::OnTimer>(), this),
      reader_(loop.slabs()),
      opened_(loop.Now()) {
  transport_->SetReady(this, [](void* self, net::Ready ready) {
    static_cast<H1ServerConnection*>(self)->OnReady(ready);
  });
  loop_.Arm(timer_, options_.header_timeout);
}

H1ServerConnection::~H1ServerConnection() = default;

void H1ServerConnection::Start() {
  want_process_ = true;
  loop_.FlushLater(flushable_);
}

std::pair<std::unique_ptr<net::Transport>, Chain> H1ServerConnection::GiveUp() {
  state_ = State::kClosed;
  timer_.Cancel();
  return {std::move(transport_), reader_.TakeAll()};
}

void H1ServerConnection::OnReady(net::Ready ready) {
  if (ready.write && !out_.empty()) loop_.FlushLater(flushable_);
  if (!ready.read && !ready.hangup) return;
  Process();
  const bool reads_no_more = state_ == State::kExchange && (request_ended_ || allowed_ == 0);
  if (reads_no_more && receiver_ != nullptr && transport_->broken()) {
    FailRequest(Error::Downstream(Error::What::kClientAbort));
  }
}

void H1ServerConnection::EndTurnWork() {
  if (!out_.empty() || response_ended_) Flush();
  if (want_process_) {
    want_process_ = false;
    Process();
  }
}

void H1ServerConnection::Process() {
  if (in_process_) return;
  in_process_ = true;
  bool more = true;
  while (more) {
    switch (state_) {
      case State::kIdle:
      case State::kHead:
        more = ProcessHead();
        break;
      case State::kExchange:
        more = ProcessBody();
        break;
      case State::kDrain:
      case State::kLinger:
        more = ProcessLeftover();
        break;
      case State::kClosed:
        more = false;
        break;
    }
  }
  in_process_ = false;
}

// `message_open`: the rest of a message is waited for.
net::IoStatus H1ServerConnection::Read(size_t limit, bool message_open) {
  const bool may_read = message_open ? transport_->may_read_on() : transport_->may_read();
  if (!may_read) return eof_ ? net::IoStatus::kEof : net::IoStatus::kWouldBlock;
  const size_t before = reader_.buffered();
  const net::IoStatus status = reader_.Fill(*transport_, limit);
  received_ += reader_.buffered() - before;
  return status;
}

// True: something happened, look again.
bool H1ServerConnection::ProcessHead() {
  if (!reader_.empty()) {
    if (state_ == State::kIdle) {
      state_ = State::kHead;
      request_start_ = loop_.Now();
    }
    switch (reader_.ParseRequest(options_.limits, scratch_)) {
      case H1ParseStatus::kDone:
        BeginExchange();
        return true;
      case H1ParseStatus::kError:
        if (scratch_.fault() == H1Fault::kHttp2Preface && requests_ == 0 &&
            callbacks_.preface != nullptr && callbacks_.preface(owner_)) {
          return false;
        }
        Refuse(scratch_.error(), scratch_.fault());
        return true;
      case H1ParseStatus::kNeedMore:
        break;
    }
  }
  switch (Read(H1Reader::kHeadRead, /*message_open=*/state_ == State::kHead)) {
    case net::IoStatus::kOk:
      return true;
    case net::IoStatus::kWouldBlock:
      if (state_ == State::kHead) loop_.Arm(timer_, request_start_ + options_.header_timeout);
      return false;
    case net::IoStatus::kEof:
    case net::IoStatus::kError:
      Close();
      return false;
  }
  return false;
}

void H1ServerConnection::BeginExchange() {
  timer_.Cancel();
  state_ = State::kExchange;
  ++requests_;
  response_started_ = response_ended_ = response_chunked_ = response_counted_ = false;
  response_empty_ = tunnel_ = false;
  allowed_ = 0;
  const NewStream stream = callbacks_.open(owner_, *this);
  receiver_ = stream.receiver;
  trailers_ = stream.trailers;
  RequestHead& head = *stream.head;
  scratch_.CopyTo(head.headers.arena(), head);
  reader_.TakeHead(scratch_);
  head.scheme = secure_ ? "https" : "http";
  head.early_data = secure_ && transport_->early_data();
  method_ = head.method;
  version_ = head.version;
  client_keep_alive_ = head.keep_alive;
  expect_continue_ = head.expect_continue && head.has_body();
  if (version_ == Version::kHttp10 && !options_.allow_http10) {
    const Error error = Error::Downstream(Error::What::kVersionNotSupported);
    fault_ = H1Fault::kUnsupportedVersion;
    request_ended_ = close_after_ = true;
    gave_up_ = head.has_body();
    callbacks_.refused(owner_, error);
    receiver_->OnError(error);
    return;
  }
  reader_.StartBody(head.body, head.content_length);
  request_ended_ = !head.has_body();
  receiver_->OnHead(request_ended_);
}

void H1ServerConnection::Refuse(Error error, H1Fault fault) {
  timer_.Cancel();
  fault_ = fault;
  state_ = State::kExchange;
  ++requests_;
  response_started_ = response_ended_ = response_chunked_ = response_counted_ = false;
  response_empty_ = tunnel_ = expect_continue_ = false;
  request_ended_ = true;
  close_after_ = gave_up_ = true;
  client_keep_alive_ = false;
  method_ = Method::kGet;
  version_ = Version::kHttp11;
  callbacks_.refused(owner_, error);
  receiver_ = callbacks_.open(owner_, *this).receiver;
  receiver_->OnError(error);
}

bool H1ServerConnection::ProcessBody() {
  if (receiver_ == nullptr) return false;
  if (request_ended_) return ProcessLeftover();
  if (allowed_ == 0) return false;
  if (!reader_.empty()) {
    Chain data;
    const H1BodyStatus status = reader_.Decode(allowed_, options_.limits, scratch_, data);
    if (status == H1BodyStatus::kError) {
      fault_ = reader_.decoder().fault();
      FailRequest(reader_.decoder().error());
      return false;
    }
    allowed_ -= std::min(allowed_, data.bytes());
    if (status == H1BodyStatus::kDone && !tunnel_) {
      request_ended_ = true;
      if (reader_.decoder().has_trailers()) {
        reader_.decoder().TakeTrailers(options_.limits, scratch_, *trailers_);
        if (!data.empty()) receiver_->OnBody(data, false);
        if (receiver_ != nullptr) receiver_->OnTrailers();
      } else {
        receiver_->OnBody(data, true);
      }
      return true;
    }
    if (!data.empty()) {
      receiver_->OnBody(data, false);
      return true;
    }
  }
  const size_t limit = reader_.BodyReadSize(allowed_);
  const size_t before = reader_.buffered();
  switch (Read(limit, /*message_open=*/true)) {
    case net::IoStatus::kOk:
      reader_.NoteBodyRead(reader_.buffered() - before);
      return true;
    case net::IoStatus::kWouldBlock:
      WatchPace();
      return false;
    case net::IoStatus::kEof:
      OnEof();
      return true;
    case net::IoStatus::kError:
      FailRequest(Error::Downstream(Error::What::kClientAbort));
      return false;
  }
  return false;
}

// Bytes that belong to no request yet (kExchange), or to nothing that matters (kDrain, kLinger).
bool H1ServerConnection::ProcessLeftover() {
  if (state_ == State::kDrain) {
    Chain data;
    const H1BodyStatus status = reader_.Decode(SIZE_MAX, options_.limits, scratch_, data);
    drained_ += static_cast<uint32_t>(std::min<size_t>(data.bytes(), kMaxDrain));
    if (status == H1BodyStatus::kDone) {
      request_ended_ = true;
      BecomeIdle();
      return false;  // BecomeIdle() has asked for the next look
    }
    if (status == H1BodyStatus::kError || drained_ >= kMaxDrain) {
      StartLinger();
      return false;
    }
  } else if (state_ == State::kLinger) {
    lingered_ += reader_.buffered();
    reader_.Clear();
    if (lingered_ >= kMaxLingerPerTurn) {
      // A client that sends as fast as we read must not keep the loop from its other work.
      lingered_ = 0;
      want_process_ = true;
      loop_.FlushLater(flushable_);
      return false;
    }
  } else if (reader_.buffered() >= H1Reader::kHeadRead) {
    return false;  // pipelined requests wait in the socket
  }
  switch (Read(H1Reader::kHeadRead, /*message_open=*/false)) {
    case net::IoStatus::kOk:
      return true;
    case net::IoStatus::kWouldBlock:
      return false;
    case net::IoStatus::kEof:
      OnEof();
      return false;
    case net::IoStatus::kError:
      if (receiver_ != nullptr) {
        FailRequest(Error::Downstream(Error::What::kClientAbort));
      } else {
        Close();
      }
      return false;
  }
  return false;
}

void H1ServerConnection::OnEof() {
  eof_ = true;
  if (state_ != State::kExchange) {
    Close();
    return;
  }
  // A client that has sent its requests and shut its side down still wants the answers.
  if (request_ended_ || receiver_ == nullptr) return;
  if (tunnel_) {
    request_ended_ = true;
    Chain none;
    receiver_->OnBody(none, true);
    return;
  }
  FailRequest(Error::Downstream(Error::What::kClientAbort));
}

void H1ServerConnection::FailRequest(Error error) {
  request_ended_ = true;
  close_after_ = gave_up_ = true;
  Receiver* receiver = receiver_;
  if (error.what != Error::What::kClientAbort) {
    if (receiver != nullptr) receiver->OnError(error);
    return;
  }
  receiver_ = nullptr;
  if (receiver != nullptr) receiver->OnError(error);
  Close();
}

bool H1ServerConnection::KeepAliveAfter(bool length_known) const {
  if (!client_keep_alive_ || draining_ || close_after_ || NoMoreRequests()) return false;
  if (options_.max_requests != 0 && requests_ >= options_.max_requests) return false;
  if (options_.max_age != kNoTimeout && loop_.Now() - opened_ >= options_.max_age) return false;
  if (request_ended_) return true;
  // The response may well end before the request does. A client that waits for 100 may then send
  // the body or not; a large rest is not worth reading.
  if (expect_continue_) return false;
  const uint64_t rest = reader_.decoder_remaining();
  return !length_known || (rest > 0 && rest <= kMaxDrainKnown);
}

void H1ServerConnection::SendHead(const RequestHead& /*head*/, bool /*end*/) { CHECK(false); }

void H1ServerConnection::SendHead(const ResponseHead& head, bool end) {
  if (state_ != State::kExchange) return;
  const bool interim = head.status < 200 && head.status != 101;
  if (interim && version_ == Version::kHttp10) return;
  if (head.status == 100) expect_continue_ = false;
  const bool keep_alive =
      interim || (!head.last && KeepAliveAfter(head.body != BodyKind::kChunked));
  H1ResponseFraming framing = FrameResponse(method_, version_, head, keep_alive);
  if (!interim) {
    framing.date = loop_.HttpDate();
    response_started_ = true;
    response_empty_ = ResponseHasNoBody(method_, head.status);
    response_chunked_ = framing.body == BodyKind::kChunked;
    response_counted_ = framing.body == BodyKind::kLength && !response_empty_;
    response_left_ = framing.content_length;
    close_after_ |= !framing.keep_alive || framing.body == BodyKind::kUntilClose;
  }
  if (head.status == 101) {
    framing.upgrade_protocol = head.headers.Get(Name::kUpgrade).value_or(std::string_view());
    tunnel_ = true;
    response_empty_ = response_counted_ = response_chunked_ = false;
    request_ended_ = false;
    close_after_ = true;
    reader_.StartBody(BodyKind::kUntilClose, 0);
  }
  char* out = out_.Reserve(ResponseHeadBound(head, framing), loop_.slabs());
  out_.Commit(static_cast<size_t>(WriteResponseHead(out, head, framing) - out));
  loop_.FlushLater(flushable_);
  if (end) EndResponse();
}

void H1ServerConnection::SendBody(Chain& data, bool end) {
  if (state_ != State::kExchange) {
    data.Clear();
    return;
  }
  if (response_empty_) {
    data.Clear();
  } else if (!data.empty()) {
    if (response_chunked_) {
      char* out = out_.Reserve(kMaxChunkHeader, loop_.slabs());
      out_.Commit(static_cast<size_t>(WriteChunkHeader(out, data.bytes()) - out));
      out_.Append(std::move(data), loop_.slabs());
      out_.AppendCopy(kChunkEnd, loop_.slabs());
    } else {
      if (response_counted_) {
        DCHECK(data.bytes() <= response_left_);
        response_left_ -= std::min<uint64_t>(response_left_, data.bytes());
      }
      out_.Append(std::move(data), loop_.slabs());
    }
    loop_.FlushLater(flushable_);
  }
  if (!end) return;
  if (response_chunked_ && !response_empty_) {
    char* out = out_.Reserve(LastChunkBound(nullptr), loop_.slabs());
    out_.Commit(static_cast<size_t>(WriteLastChunk(out, nullptr) - out));
  }
  EndResponse();
}

void H1ServerConnection::SendTrailers(const HeaderMap& trailers) {
  if (state_ != State::kExchange) return;
  if (response_chunked_ && !response_empty_) {
    char* out = out_.Reserve(LastChunkBound(&trailers), loop_.slabs());
    out_.Commit(static_cast<size_t>(WriteLastChunk(out, &trailers) - out));
  }
  EndResponse();
}

void H1ServerConnection::EndResponse() {
  response_ended_ = true;
  if (tunnel_) transport_shutdown_ = true;
  loop_.FlushLater(flushable_);
}

size_t H1ServerConnection::Credit() const {
  const size_t high = loop_.slabs().tight() ? kHighWaterWhenTight : kHighWater;
  return out_.bytes() >= high ? 0 : high - out_.bytes();
}

void H1ServerConnection::AllowBody(size_t bytes) {
  if (allowed_ == 0 || bytes == 0) paused_in_window_ = true;
  allowed_ = bytes;
  if (bytes == 0 || request_ended_ || state_ != State::kExchange) return;
  if (expect_continue_) {
    expect_continue_ = false;
    // A client that sends its body without waiting needs no 100 (RFC 9110, section 10.1.1).
    if (reader_.empty() && !response_started_) {
      out_.AppendCopy(ContinueHead(), loop_.slabs());
      loop_.FlushLater(flushable_);
    }
  }
  if (in_process_) return;
  want_process_ = true;
  loop_.FlushLater(flushable_);
}

void H1ServerConnection::Abort() {
  receiver_ = nullptr;
  if (state_ == State::kClosed) return;
  transport_->Abort();
  Close();
}

void H1ServerConnection::Detach() {
  receiver_ = nullptr;
  if (state_ != State::kExchange) return;
  if (!response_ended_) {
    Abort();
  } else if (out_.empty()) {
    AfterExchange();
  }
}

void H1ServerConnection::Flush() {
  if (state_ == State::kClosed) return;
  if (!out_.empty() && transport_->may_write()) {
    const size_t before = out_.bytes();
    const net::IoStatus status = transport_->Write(out_);
    sent_ += before - out_.bytes();
    output_left_ |= out_.empty();
    if (status == net::IoStatus::kError) {
      FailRequest(Error::Downstream(Error::What::kClientAbort));
      return;
    }
  }
  if (!out_.empty()) WatchPace();
  if (state_ != State::kExchange) return;
  if (!response_ended_) {
    if (response_started_ && receiver_ != nullptr) receiver_->OnCredit();
    return;
  }
  if (!out_.empty()) return;
  if (transport_shutdown_) {
    transport_shutdown_ = false;
    transport_->Shutdown();
  }
  if (receiver_ == nullptr) {
    AfterExchange();
  } else if (!sent_reported_) {
    sent_reported_ = true;
    receiver_->OnSent();
  }
}

}  // namespace gatehouse::http
