#include "source/proxy/downstream.h"

#include <unistd.h>

#include <charconv>
#include <cstring>
#include <utility>

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

}  // namespace

size_t ListenerCounts::Hash::operator()(const net::IpAddress& ip) const {
  uint64_t high;
  uint64_t low;
  std::memcpy(&high, ip.bytes, 8);
  std::memcpy(&low, ip.bytes + 8, 8);
  uint64_t mixed = (high ^ (low << 1)) * 0x9e3779b97f4a7c15ULL;
  mixed ^= mixed >> 29;
  return static_cast<size_t>((mixed ^ low) * 0xbf58476d1ce4e5b9ULL >> 16);
}

bool ListenerCounts::Add(const net::IpAddress& client, uint32_t max_all, uint32_t max_per_ip) {
  if (all_.fetch_add(1, std::memory_order_relaxed) >= max_all && max_all != 0) {
    all_.fetch_sub(1, std::memory_order_relaxed);
    return false;
  }
  // Counted also while there is no limit: one may be set at any time.
  const net::IpAddress key = KeyOf(client);
  Part& part = PartOf(key);
  std::lock_guard lock(part.mutex);
  uint32_t& count = part.clients[key];
  if (max_per_ip != 0 && count >= max_per_ip) {
    all_.fetch_sub(1, std::memory_order_relaxed);
    return false;
  }
  ++count;
  return true;
}

void ListenerCounts::Remove(const net::IpAddress& client) {
  all_.fetch_sub(1, std::memory_order_relaxed);
  const net::IpAddress key = KeyOf(client);
  Part& part = PartOf(key);
  std::lock_guard lock(part.mutex);
  auto it = part.clients.find(key);
  if (it != part.clients.end() && --it->second == 0) part.clients.erase(it);
}

ServingListener::ServingListener(Shard& shard, std::string name,
                                 std::shared_ptr<ListenerCounts> counts)
    : shard_(shard), name_(std::move(name)), counts_(std::move(counts)) {}

ServingListener::~ServingListener() {
  sockets_.clear();
  while (Downstream* connection = connections_.PopFront()) delete connection;
}

void ServingListener::Listen(std::span<const int> fds) {
  CloseSockets();
  const net::ListenSocket::Callbacks callbacks = {
      this,
      [](void* self, int client, const net::Address& peer) {
        static_cast<ServingListener*>(self)->Accept(client, peer);
      },
      [](void* self) {
        auto* listener = static_cast<ServingListener*>(self);
        listener->shard_.counters().Add(listener->config_->metrics->accept_failures);
      }};
  for (int fd : fds) {
    sockets_.push_back(std::make_unique<net::ListenSocket>(shard_.loop(), fd, callbacks));
  }
}

// Closing a socket would reset what waits in its queue.
void ServingListener::CloseSockets() {
  for (const auto& socket : sockets_) socket->AcceptAll();
  sockets_.clear();
}

void ServingListener::Update(const config::Listener& config) {
  pin_ = shard_.Current();
  config_ = &config;
}

void ServingListener::CloseAfterResponses() {
  draining_ = true;
  grace_ = Duration::max() / 4;
  for (Downstream* connection = connections_.Front(); connection != nullptr;
       connection = connections_.Next(*connection)) {
    connection->Drain(grace_);
  }
}

void ServingListener::Drain(Duration grace) {
  CloseSockets();
  draining_ = true;
  grace_ = grace;
  for (Downstream* connection = connections_.Front(); connection != nullptr;
       connection = connections_.Next(*connection)) {
    connection->Drain(grace);
  }
}

void ServingListener::KillAll() {
  while (Downstream* connection = connections_.Front()) connection->Kill();
}

void ServingListener::Accept(int fd, const net::Address& peer) {
  if (!Admit(peer)) {
    close(fd);
    return;
  }
  Start(std::make_unique<net::PlainTransport>(shard_.loop(), fd), peer);
}

bool ServingListener::Admit(const net::Address& peer) {
  SharedCounts& shared = shard_.shared();
  const uint32_t before = shared.connections.fetch_add(1, std::memory_order_relaxed);
  const bool over = shared.max_connections != 0 && before >= shared.max_connections;
  if (!over && counts_->Add(peer.ip(), config_->max_connections, config_->max_connections_per_ip)) {
    return true;
  }
  shared.connections.fetch_sub(1, std::memory_order_relaxed);
  shard_.counters().Add(config_->metrics->rejected_limit);
  return false;
}

void ServingListener::Serve(std::unique_ptr<net::Transport> transport, const net::Address& peer) {
  if (Admit(peer)) Start(std::move(transport), peer);
}

void ServingListener::Start(std::unique_ptr<net::Transport> transport, const net::Address& peer) {
  auto* connection = new Downstream(*this, std::move(transport), peer);
  connections_.PushBack(*connection);
  ++connection_count_;
  shard_.counters().Add(config_->metrics->connections);
  shard_.counters().Gauge(config_->metrics->active_connections, +1);
  if (draining_) connection->Drain(grace_);
}

const http::H1ServerConnection::Callbacks Downstream::kCallbacks = {
    .open = [](void* self,
               http::Sender& sender) { return static_cast<Downstream*>(self)->Open(sender); },
    .closed = [](void* self) { static_cast<Downstream*>(self)->Closed(); },
    .idle_closed =
        [](void* self) {
          ServingListener& listener = static_cast<Downstream*>(self)->listener_;
          listener.shard().counters().Add(listener.config().metrics->idle_closes);
        },
    .refused =
        [](void* self, http::Error error) {
          auto* downstream = static_cast<Downstream*>(self);
          ServingListener& listener = downstream->listener_;
          const auto kind = KindOf(error, downstream->connection_.fault());
          listener.shard().counters().Add(listener.config().metrics->ErrorsOf(kind));
        },
};

Downstream::Downstream(ServingListener& listener, std::unique_ptr<net::Transport> transport,
                       const net::Address& peer)
    : net::Buried([](net::Buried* buried) { delete static_cast<Downstream*>(buried); }),
      listener_(listener),
      options_(listener.config().h1),
      connection_(listener.shard().loop(), std::move(transport), *options_,
                  listener.shard().scratch(), kCallbacks, this) {
  client_.peer = peer;
  client_.ip = peer.ip();
  client_.peer_text = WritePeer(peer, peer_text_, &client_.ip_text);
}

Downstream::~Downstream() = default;

http::NewStream Downstream::Open(http::Sender& sender) {
  return listener_.shard().TakeExchange().Begin(listener_, sender, client_,
                                                connection_.request_start());
}

void Downstream::Closed() {
  Shard& shard = listener_.shard();
  const observe::ListenerMetrics& metrics = *listener_.config().metrics;
  shard.counters().Gauge(metrics.active_connections, -1);
  shard.counters().Add(metrics.received_bytes, connection_.received_bytes());
  shard.counters().Add(metrics.sent_bytes, connection_.sent_bytes());
  listener_.counts_->Remove(client_.ip);
  shard.shared().connections.fetch_sub(1, std::memory_order_relaxed);
  --listener_.connection_count_;
  ListNode<Downstream>::Unlink();
  shard.loop().Bury(*this);
}

}  // namespace gatehouse::proxy
