#include "source/upstream/grpc_call.h"

#include <chrono>
#include <iterator>
#include <limits>
#include <optional>

#include <fmt/format.h>

#include "source/base/check.h"
#include "source/upstream/upstreams.h"

namespace gatehouse::upstream {
namespace {

using http::Error;
using http::GrpcFrameDecoder;
using http::GrpcStatus;
using http::Name;

// Of a body that is taken at once: more than a frame, less than a window.
constexpr size_t kReadAhead = size_t{64} * 1024;
// Of messages that wait for a connection.
constexpr size_t kMaxQueued = size_t{64} * 1024;
// For what goes nowhere.
constexpr size_t kNoLimit = std::numeric_limits<size_t>::max() / 2;

// https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md: of answers that no gRPC
// server gave.
GrpcStatus StatusOfHttp(uint16_t status) {
  switch (status) {
    case 400:
      return GrpcStatus::kInternal;
    case 401:
      return GrpcStatus::kUnauthenticated;
    case 403:
      return GrpcStatus::kPermissionDenied;
    case 404:
      return GrpcStatus::kUnimplemented;
    case 429:
    case 502:
    case 503:
    case 504:
      return GrpcStatus::kUnavailable;
    default:
      return GrpcStatus::kUnknown;
  }
}

// RFC 9113, section 7, by number.
constexpr std::string_view kResetNames[] = {"NO_ERROR",
                                            "PROTOCOL_ERROR",
                                            "INTERNAL_ERROR",
                                            "FLOW_CONTROL_ERROR",
                                            "SETTINGS_TIMEOUT",
                                            "STREAM_CLOSED",
                                            "FRAME_SIZE_ERROR",
                                            "REFUSED_STREAM",
                                            "CANCEL",
                                            "COMPRESSION_ERROR",
                                            "CONNECT_ERROR",
                                            "ENHANCE_YOUR_CALM",
                                            "INADEQUATE_SECURITY",
                                            "HTTP_1_1_REQUIRED"};

std::string_view ResetName(uint32_t code) {
  return code < std::size(kResetNames) ? kResetNames[code] : "of an unknown number";
}

// PROTOCOL-HTTP2.md, "Errors".
GrpcStatus StatusOfReset(uint32_t code) {
  const std::string_view name = ResetName(code);
  if (name == "REFUSED_STREAM") return GrpcStatus::kUnavailable;
  if (name == "CANCEL") return GrpcStatus::kCancelled;
  if (name == "ENHANCE_YOUR_CALM") return GrpcStatus::kResourceExhausted;
  if (name == "INADEQUATE_SECURITY") return GrpcStatus::kPermissionDenied;
  return GrpcStatus::kInternal;
}

GrpcStatus StatusOf(Error error, std::optional<uint32_t> reset_code) {
  switch (error.what) {
    case Error::What::kUpstreamProtocolError:
      return GrpcStatus::kInternal;
    case Error::What::kResponseTooLarge:
      return GrpcStatus::kResourceExhausted;
    case Error::What::kUpstreamReset:
      if (reset_code && !error.retryable) return StatusOfReset(*reset_code);
      return GrpcStatus::kUnavailable;
    default:
      return GrpcStatus::kUnavailable;
  }
}

std::string WordsFor(Error error, std::optional<uint32_t> reset_code) {
  switch (error.what) {
    case Error::What::kNoHealthyUpstream:
      return "it has no endpoint that could be asked";
    case Error::What::kUpstreamOverflow:
      return "its limit of connections or of pending requests is reached";
    case Error::What::kConnectFailure:
      return "no connection could be made";
    case Error::What::kConnectTimeout:
      return "no connection was made in time";
    case Error::What::kUpstreamRefusedStream:
      return "the server refused the call before it looked at it";
    case Error::What::kUpstreamProtocolError:
      return "the answer breaks the rules of HTTP/2";
    case Error::What::kResponseTooLarge:
      return "the answer's headers are larger than the cluster's limit";
    default:
      break;
  }
  if (!reset_code) return "the connection broke";
  return fmt::format("the server reset the call with the HTTP/2 error {}", ResetName(*reset_code));
}

bool IsGrpcType(std::string_view type) {
  constexpr std::string_view kType = "application/grpc";
  if (!http::EqualsIgnoreCase(type.substr(0, kType.size()), kType)) return false;
  const std::string_view rest = type.substr(kType.size());
  return rest.empty() || rest[0] == '+' || rest[0] == ';' || rest[0] == ' ';
}

// Names that the protocol has for itself.
bool IsReserved(std::string_view name) {
  return http::EqualsIgnoreCase(name.substr(0, 5), "grpc-") ||
         http::EqualsIgnoreCase(name, "content-type") || http::EqualsIgnoreCase(name, "te") ||
         http::EqualsIgnoreCase(name, "user-agent");
}

int64_t Milliseconds(Duration time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time).count();
}

}  // namespace

GrpcCall::GrpcCall(Upstreams& upstreams, Arena& arena)
    : upstreams_(upstreams),
      waiter_([](void* self, Lease lease,
                 Error error) { static_cast<GrpcCall*>(self)->OnLease(std::move(lease), error); },
              this),
      deadline_(Timer::Calls<GrpcCall, &GrpcCall::OnTimeout>(), this),
      work_([](void* self) { static_cast<GrpcCall*>(self)->Work(); }, this),
      head_(arena),
      response_(arena),
      trailers_(arena),
      decoder_(0) {}

// The lease gives up the stream, if there is one.
GrpcCall::~GrpcCall() {
  if (gone_ != nullptr) *gone_ = true;
}

// --- What is asked ---

void GrpcCall::Start(const GrpcRequest& request, GrpcReader& reader) {
  CHECK(reader_ == nullptr && request.cluster != nullptr && request.path.starts_with('/'));
  cluster_ = request.cluster;
  reader_ = &reader;
  wanted_ = request.messages;
  avoid_ = request.avoid;
  max_message_bytes_ = request.max_message_bytes;
  decoder_ = GrpcFrameDecoder(max_message_bytes_);
  BuildHead(request);
  if (request.timeout != kNoTimeout) upstreams_.loop().Arm(deadline_, request.timeout);
  upstreams_.loop().FlushLater(work_);
}

void GrpcCall::BuildHead(const GrpcRequest& request) {
  Arena& arena = head_.headers.arena();
  head_.method = http::Method::kPost;
  head_.method_text = http::MethodText(head_.method);
  head_.scheme = "http";
  head_.authority = request.authority.empty() ? std::string_view(cluster_->name())
                                              : arena.Copy(request.authority);
  head_.target = head_.path = arena.Copy(request.path);
  head_.body = http::BodyKind::kChunked;
  http::HeaderMap& headers = head_.headers;
  headers.AddLiteral(Name::kTe, "trailers");
  headers.AddLiteral(Name::kContentType, "application/grpc");
  headers.AddLiteral(Name::kUserAgent, "gatehouse");
  headers.AddLiteral(Name::kGrpcAcceptEncoding, "identity");
  for (const auto& [name, value] : request.metadata) {
    if (IsReserved(name) || !headers.Add(name, value)) {
      text_ = fmt::format("metadata \"{}\" cannot be sent: {}", name,
                          IsReserved(name) ? "the name is gRPC's own"
                                           : "a byte of its name or value is not allowed there");
      return;
    }
  }
}

bool GrpcCall::Send(std::string_view message) {
  DCHECK(reader_ != nullptr && !writes_done_);
  if (Credit() == 0) return false;
  if (state_ > State::kOpen) return true;
  SlabPool& slabs = upstreams_.loop().slabs();
  if (sender_ == nullptr) {
    http::AppendGrpcMessage(message, out_, slabs);
    return true;
  }
  Chain body;
  http::AppendGrpcMessage(message, body, slabs);
  upstreams_.counters().Add(metrics().request_bytes, body.bytes());
  sender_->SendBody(body, /*end=*/false);
  return true;
}

size_t GrpcCall::Credit() const {
  if (sender_ != nullptr) return sender_->Credit();
  if (state_ > State::kOpen) return kNoLimit;
  return out_.bytes() < kMaxQueued ? kMaxQueued - out_.bytes() : 0;
}

void GrpcCall::WritesDone() {
  if (std::exchange(writes_done_, true) || sender_ == nullptr) return;
  Chain nothing;
  sender_->SendBody(nothing, /*end=*/true);
}

void GrpcCall::AllowMessages(uint32_t count) {
  wanted_ = count;
  if (state_ == State::kOpen || state_ == State::kAnswered) upstreams_.loop().FlushLater(work_);
}

// --- What is done from the loop ---

void GrpcCall::Work() {
  if (state_ != State::kNew) {
    Deliver();
  } else if (!text_.empty()) {
    End(GrpcStatus::kInternal, std::move(text_));
  } else {
    Connect();
  }
}

void GrpcCall::Connect() {
  state_ = State::kConnecting;
  const ClusterOptions& options = cluster_->options();
  if (options.protocol == Protocol::kHttp1 ||
      (options.protocol == Protocol::kAuto && options.tls == nullptr)) {
    End(GrpcStatus::kUnavailable,
        fmt::format("{}: the cluster speaks HTTP/1.1; set protocol: http2", Peer()));
    return;
  }
  AcquireResult result = upstreams_.StateOf(*cluster_).Acquire({.avoid = avoid_}, waiter_);
  if (result.status != AcquireStatus::kWaiting) OnLease(std::move(result.lease), result.error);
}

void GrpcCall::OnLease(Lease lease, Error error) {
  if (error) {
    if (waiter_.failed_endpoint() != nullptr) NoteEndpoint(*waiter_.failed_endpoint());
    End(StatusOf(error, std::nullopt),
        fmt::format("{}: {}", Peer(),
                    waiter_.failure().empty() ? WordsFor(error, std::nullopt) : waiter_.failure()),
        /*unprocessed=*/true);
  } else if (!lease.http2()) {
    lease_ = std::move(lease);
    NoteEndpoint(lease_.endpoint());
    End(GrpcStatus::kUnavailable,
        fmt::format("{}: the cluster speaks HTTP/1.1; set protocol: http2", Peer()));
  } else {
    Open(std::move(lease));
  }
}

void GrpcCall::Open(Lease lease) {
  state_ = State::kOpen;
  lease_ = std::move(lease);
  NoteEndpoint(lease_.endpoint());
  sent_at_ = upstreams_.loop().Now();
  if (deadline_.armed()) {
    char text[http::kMaxGrpcTimeout];
    const size_t size = http::FormatGrpcTimeout(deadline_.deadline() - sent_at_, text);
    head_.headers.Set(Name::kGrpcTimeout, {text, size});
  }
  sender_ = &lease_.Begin(head_.method, {this, &response_, &trailers_});
  const bool end = writes_done_ && out_.empty();
  sender_->SendHead(head_, end);
  if (!out_.empty()) {
    upstreams_.counters().Add(metrics().request_bytes, out_.bytes());
    sender_->SendBody(out_, writes_done_);
  }
  sender_->AllowBody(wanted_ > 0 ? kReadAhead : 0);
  reader_->OnStarted();
}

void GrpcCall::NoteEndpoint(const Endpoint& endpoint) {
  endpoint_ = &endpoint;
  address_ = head_.headers.arena().Copy(endpoint.text());
}

void GrpcCall::OnCredit() {
  if (!writes_done_) reader_->OnCredit();
}

void GrpcCall::OnHead(bool end) {
  if (response_.status < 200) return;
  observe::CounterBlock& counters = upstreams_.counters();
  counters.Add(metrics().RequestsFor(response_.status));
  counters.Record(metrics().first_byte,
                  static_cast<uint64_t>((upstreams_.loop().Now() - sent_at_).count()));
  const http::HeaderMap& headers = response_.headers;
  // Trailers-only: the head is the trailers. Without a gRPC status the HTTP one counts.
  if (end && headers.Has(Name::kGrpcStatus)) {
    CloseStream();
    EndAs(headers);
    return;
  }
  if (response_.status != 200) {
    End(StatusOfHttp(response_.status),
        fmt::format("{} answered with HTTP status {} and without a gRPC status", Peer(),
                    response_.status));
    return;
  }
  const std::string_view type = headers.Get(Name::kContentType).value_or("");
  if (!IsGrpcType(type)) {
    End(GrpcStatus::kUnknown,
        fmt::format("{} answered with content-type \"{}\", which is not gRPC", Peer(), type));
    return;
  }
  if (end) {
    CloseStream();
    EndAs(headers);
  } else {
    reader_->OnMetadata(headers);
  }
}

void GrpcCall::OnBody(Chain& data, bool end) {
  upstreams_.counters().Add(metrics().response_bytes, data.bytes());
  in_.Append(std::move(data), upstreams_.loop().slabs());
  if (end) CloseStream();
  Deliver();
}

void GrpcCall::OnTrailers() {
  CloseStream();
  Deliver();
}

// The server has said all. What we would still say is of no interest.
void GrpcCall::CloseStream() {
  upstreams_.counters().Record(metrics().latency,
                               static_cast<uint64_t>((upstreams_.loop().Now() - sent_at_).count()));
  state_ = State::kAnswered;
  std::exchange(sender_, nullptr)->Detach();
}

void GrpcCall::Deliver() {
  while (wanted_ > 0) {
    Chain message;
    const GrpcFrameDecoder::Result result = decoder_.Next(in_, message);
    if (result == GrpcFrameDecoder::Result::kNeedMore) break;
    if (result != GrpcFrameDecoder::Result::kMessage) {
      EndBroken(result);
      return;
    }
    if (!TellMessage(message)) return;
  }
  if (state_ == State::kOpen) {
    sender_->AllowBody(wanted_ > 0 ? kReadAhead : 0);
  } else if (wanted_ > 0 || (in_.empty() && decoder_.at_boundary())) {
    EndAs(trailers_);
  }
}

// False: there is no call any more.
bool GrpcCall::TellMessage(Chain& message) {
  if (wanted_ != kEveryMessage) --wanted_;
  bool gone = false;
  gone_ = &gone;
  reader_->OnMessage(message);
  if (gone) return false;
  gone_ = nullptr;
  return true;
}

void GrpcCall::OnError(Error error) {
  sender_ = nullptr;
  observe::CounterBlock& counters = upstreams_.counters();
  if (error.what == Error::What::kUpstreamReset) counters.Add(metrics().resets);
  if (error.what == Error::What::kUpstreamProtocolError) counters.Add(metrics().protocol_errors);
  const std::optional<uint32_t> code = lease_.reset_code();
  End(StatusOf(error, code), fmt::format("{}: {}", Peer(), WordsFor(error, code)), error.retryable);
}

void GrpcCall::OnTimeout() {
  upstreams_.counters().Add(metrics().timeouts);
  if (state_ == State::kOpen || state_ == State::kAnswered) {
    End(GrpcStatus::kDeadlineExceeded,
        fmt::format("{} did not end the call in time; it was sent {} ms before the deadline",
                    Peer(), Milliseconds(upstreams_.loop().Now() - sent_at_)));
  } else {
    End(GrpcStatus::kDeadlineExceeded,
        fmt::format("{}: no connection before the call's deadline", Peer()), /*unprocessed=*/true);
  }
}

// --- The end ---

void GrpcCall::EndAs(const http::HeaderMap& trailers) {
  const auto text = trailers.Get(Name::kGrpcStatus);
  if (!text) {
    End(GrpcStatus::kUnknown, fmt::format("{} ended the call without a grpc-status", Peer()), false,
        &trailers);
    return;
  }
  const std::optional<GrpcStatus> code = http::ParseGrpcStatus(*text);
  if (!code) {
    End(GrpcStatus::kUnknown,
        fmt::format("{} ended the call with a grpc-status that is no number", Peer()), false,
        &trailers);
    return;
  }
  if (*code == GrpcStatus::kOk && !decoder_.at_boundary()) {
    End(GrpcStatus::kInternal, fmt::format("{} ended the call within a message", Peer()), false,
        &trailers);
    return;
  }
  const std::string_view message = trailers.Get(Name::kGrpcMessage).value_or("");
  End(*code, std::string(http::DecodeGrpcMessage(message, head_.headers.arena())), false,
      &trailers);
}

void GrpcCall::EndBroken(GrpcFrameDecoder::Result result) {
  switch (result) {
    case GrpcFrameDecoder::Result::kTooLarge:
      End(GrpcStatus::kResourceExhausted,
          fmt::format("{} sent a message of more than {} bytes", Peer(), max_message_bytes_));
      return;
    case GrpcFrameDecoder::Result::kCompressed:
      End(GrpcStatus::kInternal,
          fmt::format("{} sent a compressed message, which it was not offered to", Peer()));
      return;
    default:
      End(GrpcStatus::kInternal, fmt::format("{} sent bytes that are no gRPC message", Peer()));
      return;
  }
}

void GrpcCall::End(GrpcStatus code, std::string text, bool unprocessed,
                   const http::HeaderMap* trailers) {
  state_ = State::kDone;
  sender_ = nullptr;
  lease_.Release();
  deadline_.Cancel();
  waiter_.Cancel();
  work_.Unlink();
  in_.Clear();
  out_.Clear();
  text_ = std::move(text);
  if (trailers == nullptr) trailers_.Reset();  // some may have come
  reader_->OnDone({code, text_, unprocessed}, trailers != nullptr ? *trailers : trailers_);
}

// Whom the words are about.
std::string GrpcCall::Peer() const {
  if (!lease_) return fmt::format("cluster {}", cluster_->name());
  return fmt::format("cluster {}, {}", cluster_->name(), lease_.endpoint().text());
}

}  // namespace gatehouse::upstream
