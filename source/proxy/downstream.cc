#include "source/proxy/downstream.h"

#include <charconv>
#include <utility>

#include "source/net/tls_context.h"

namespace gatehouse::proxy {
namespace {

observe::ProtocolErrorKind KindOf(http::Error error, http::H1Fault fault) {
  using What = http::Error::What;
  using http::H1Fault;
  switch (error.what) {
    case What::kUriTooLong:
      return observe::ProtocolErrorKind::kUriTooLong;
    case What::kHeadersTooLarge:
      return observe::ProtocolErrorKind::kHeaderTooLarge;
    case What::kBodyTooLarge:
      return observe::ProtocolErrorKind::kBodyTooLarge;
    case What::kRequestTimeout:
      return observe::ProtocolErrorKind::kTimeout;
    case What::kExpectationFailed:
    case What::kNotImplemented:
    case What::kVersionNotSupported:
      return observe::ProtocolErrorKind::kUnsupported;
    default:
      break;
  }
  switch (fault) {
    case H1Fault::kLengthAndTransferEncoding:
    case H1Fault::kTransferEncodingInHttp10:
    case H1Fault::kBadTransferEncoding:
    case H1Fault::kBadContentLength:
    case H1Fault::kSeveralContentLengths:
      return observe::ProtocolErrorKind::kFraming;
    default:
      return observe::ProtocolErrorKind::kMalformed;
  }
}

observe::H2AbuseKind KindOf(http::H2Abuse abuse) {
  using http::H2Abuse;
  using observe::H2AbuseKind;
  switch (abuse) {
    case H2Abuse::kResets:
      return H2AbuseKind::kResets;
    case H2Abuse::kControl:
      return H2AbuseKind::kControl;
    case H2Abuse::kEmpty:
      return H2AbuseKind::kEmpty;
    case H2Abuse::kErrors:
      return H2AbuseKind::kErrors;
    case H2Abuse::kContinuations:
      return H2AbuseKind::kContinuations;
    case H2Abuse::kHeaderList:
      return H2AbuseKind::kHeaderList;
    case H2Abuse::kStalled:
      break;
  }
  return H2AbuseKind::kStalled;
}

// "192.0.2.1:80" or "[2001:db8::1]:80"; `ip_text` is the part without brackets and port.
std::string_view WritePeer(const net::Address& peer, char* text, std::string_view* ip_text) {
  char* at = text;
  const bool bracketed = !peer.ip().is_v4();
  if (bracketed) *at++ = '[';
  *ip_text = {at, peer.ip().Format(at)};
  at += ip_text->size();
  if (bracketed) *at++ = ']';
  *at++ = ':';
  at = std::to_chars(at, at + 6, peer.port()).ptr;
  return {text, static_cast<size_t>(at - text)};
}

Downstream& Of(void* self) { return *static_cast<Downstream*>(self); }

}  // namespace

const http::H1ServerConnection::Callbacks Downstream::kH1Callbacks = {
    .open =
        [](void* self, http::Sender& sender) {
          return Of(self).Open(sender, Of(self).h1_->request_start());
        },
    .closed = [](void* self) { Of(self).Closed(); },
    .idle_closed = [](void* self) { Of(self).counters().Add(Of(self).metrics().idle_closes); },
    .refused = [](void* self,
                  http::Error error) { Of(self).Refused(error, Of(self).h1_->fault()); },
    .preface = [](void* self) { return Of(self).OnPreface(); },
};

const http::H2ServerConnection::Callbacks Downstream::kH2Callbacks = {
    .open =
        [](void* self, http::Sender& sender) {
          return Of(self).Open(sender, Of(self).listener_.shard().loop().Now());
        },
    .closed = [](void* self) { Of(self).Closed(); },
    .idle_closed = [](void* self) { Of(self).counters().Add(Of(self).metrics().idle_closes); },
    .refused = [](void* self, http::Error error) { Of(self).Refused(error, http::H1Fault::kNone); },
    .abuse =
        [](void* self, http::H2Abuse abuse) {
          Of(self).counters().Add(Of(self).metrics().AbuseOf(KindOf(abuse)));
        },
    .goaway = [](void* self) { Of(self).counters().Add(Of(self).metrics().http2_goaways); },
};

Downstream::Downstream(ServingListener& listener, const net::Address& peer, bool ip_counted)
    : net::Buried([](net::Buried* buried) { delete static_cast<Downstream*>(buried); }),
      listener_(listener),
      options_(listener.config().h1),
      h2_options_(listener.config().h2),
      ip_counted_(ip_counted) {
  SetClient(peer);
}

Downstream::~Downstream() = default;

void Downstream::SetClient(const net::Address& address) {
  client_.peer = address;
  client_.ip = address.ip();
  client_.peer_text = WritePeer(address, peer_text_, &client_.ip_text);
}

const observe::ListenerMetrics& Downstream::metrics() const { return *listener_.config().metrics; }
observe::CounterBlock& Downstream::counters() const { return listener_.shard().counters(); }

// --- Before HTTP ---

void Downstream::StartOpening() {
  if (opening_ != nullptr) return;
  opening_ =
      std::make_unique<Opening>(Timer::Calls<Downstream, &Downstream::OnOpeningTimeout>(), this);
  listener_.shard().loop().Arm(opening_->timer, listener_.config().handshake_timeout);
}

void Downstream::BeginWithProxyHeader(int fd) {
  StartOpening();
  opening_->proxy = std::make_unique<net::ProxyHeaderReader>(
      listener_.shard().loop(), fd, this,
      [](void* self) { static_cast<Downstream*>(self)->OnProxyHeader(); });
  if (!opening_->proxy->registered()) Closed();
}

void Downstream::OnProxyHeader() {
  using net::ProxyHeaderStatus;
  net::ProxyHeaderReader& reader = *opening_->proxy;
  const bool absent_is_fine =
      listener_.config().proxy_protocol.mode == config::ProxyProtocolPolicy::Mode::kOptional;
  if (reader.status() == ProxyHeaderStatus::kDone) {
    if (reader.claim().has_addresses) {
      SetClient(reader.claim().source);
      client_.destination = reader.claim().destination;
    }
  } else if (reader.status() != ProxyHeaderStatus::kAbsent || !absent_is_fine) {
    if (reader.status() != ProxyHeaderStatus::kClosed) counters().Add(metrics().rejected_proxy);
    Closed();
    return;
  }
  if (!listener_.CountClient(client_.ip)) {
    Closed();
    return;
  }
  ip_counted_ = true;
  Begin(reader.ReleaseFd());
}

void Downstream::Begin(int fd) {
  client_.fd = fd;
  net::Loop& loop = listener_.shard().loop();
  const net::TlsServerContext* tls = listener_.config().tls.get();
  if (tls == nullptr) {
    Begin(std::make_unique<net::PlainTransport>(loop, fd));
    return;
  }
  StartOpening();
  opening_->transport = tls->Accept(loop, fd);
  opening_->transport->SetReady(
      this, [](void* self, net::Ready) { static_cast<Downstream*>(self)->OnHandshake(); });
}

void Downstream::OnHandshake() {
  net::Transport& transport = *opening_->transport;
  if (!transport.established()) {
    // It tells of its failure by becoming readable.
    if (!transport.may_read()) return;
    counters().Add(metrics().tls_failures);
    Closed();
    return;
  }
  client_.tls = transport.tls();
  counters().Add(metrics().tls_handshakes);
  if (client_.tls->resumed) counters().Add(metrics().tls_resumed);
  Begin(std::move(opening_->transport));
}

void Downstream::OnOpeningTimeout() {
  if (opening_ == nullptr) return;
  if (opening_->proxy != nullptr && opening_->transport == nullptr) {
    counters().Add(metrics().rejected_proxy);
  } else {
    counters().Add(metrics().tls_timeouts);
  }
  Closed();
}

// --- HTTP ---

void Downstream::Begin(std::unique_ptr<net::Transport> transport) {
  opening_.reset();
  net::Loop& loop = listener_.shard().loop();
  const bool secure = transport->tls() != nullptr;
  if (secure && h2_options_ != nullptr && transport->tls()->alpn == "h2") {
    StartH2(std::move(transport), Chain());
  } else {
    h1_.emplace(loop, std::move(transport), *options_, listener_.shard().scratch(), kH1Callbacks,
                this);
    if (secure) h1_->Start();
  }
  if (listener_.draining()) Drain(listener_.grace());
}

void Downstream::StartH2(std::unique_ptr<net::Transport> transport, Chain&& first) {
  counters().Add(metrics().http2_connections);
  h2_ = std::make_unique<http::H2ServerConnection>(listener_.shard().loop(), std::move(transport),
                                                   std::move(first), *h2_options_, kH2Callbacks,
                                                   this);
}

// RFC 9113, section 3.3: a client that knows. Over TLS it would have said so by ALPN. The HTTP/1
// connection stays as an empty shell, since it is what calls.
bool Downstream::OnPreface() {
  if (h2_options_ == nullptr || client_.tls != nullptr) return false;
  auto [transport, first] = h1_->GiveUp();
  StartH2(std::move(transport), std::move(first));
  if (listener_.draining()) Drain(listener_.grace());
  return true;
}

http::NewStream Downstream::Open(http::Sender& sender, TimePoint started) {
  return listener_.shard().TakeExchange().Begin(listener_, sender, client_, started);
}

void Downstream::Refused(http::Error error, http::H1Fault fault) {
  counters().Add(metrics().ErrorsOf(KindOf(error, fault)));
}

void Downstream::Drain(Duration grace) {
  if (h2_ != nullptr) {
    h2_->Drain(grace);
  } else if (h1_.has_value()) {
    h1_->Drain(grace);
  }
}

void Downstream::Kill() {
  if (h2_ != nullptr) {
    h2_->Kill();
  } else if (h1_.has_value()) {
    h1_->Kill();
  } else {
    Closed();
  }
}

void Downstream::Closed() {
  if (opening_ != nullptr) opening_->timer.Cancel();
  Shard& shard = listener_.shard();
  shard.counters().Gauge(metrics().active_connections, -1);
  if (h2_ != nullptr) {
    shard.counters().Add(metrics().received_bytes, h2_->received_bytes());
    shard.counters().Add(metrics().sent_bytes, h2_->sent_bytes());
  } else if (h1_.has_value()) {
    shard.counters().Add(metrics().received_bytes, h1_->received_bytes());
    shard.counters().Add(metrics().sent_bytes, h1_->sent_bytes());
  }
  listener_.Forget(*this, client_.ip, ip_counted_);
  shard.loop().Bury(*this);
}

}  // namespace gatehouse::proxy
