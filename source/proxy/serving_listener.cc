#include "source/proxy/serving_listener.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "source/proxy/downstream.h"

namespace gatehouse::proxy {
namespace {

// For the rest of a handshake that has begun when a socket is to close: a round trip of most
// clients. An idle gateway ends that much later.
constexpr Duration kHandshakeGrace = std::chrono::milliseconds(100);

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
    : shard_(shard),
      name_(std::move(name)),
      counts_(std::move(counts)),
      closing_timer_(Timer::Calls<ServingListener, &ServingListener::CloseEmptied>(), this) {}

ServingListener::~ServingListener() {
  sockets_.clear();
  closing_.clear();
  while (Downstream* connection = connections_.PopFront()) delete connection;
}

void ServingListener::Listen(std::span<const int> fds, const net::SharedSockets& shared) {
  CloseSockets(shared);
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

// Closing a socket resets what waits in its queue and whose handshake is under way; clients may
// have sent a request already, of which they do not know then whether it was served
// (docs/decisions/0012). A handshake belongs to the worker's socket that answered it, whatever the
// others of the address do: nobody has to wait for them.
void ServingListener::CloseSockets(const net::SharedSockets& shared) {
  for (auto& socket : sockets_) {
    if (!shared.Contains(socket->fd()) && socket->StopHandshakes()) {
      closing_.push_back(std::move(socket));
    } else {
      socket->AcceptAll();
    }
  }
  sockets_.clear();
  if (closing()) shard_.loop().Arm(closing_timer_, kHandshakeGrace);
}

void ServingListener::CloseEmptied() {
  for (const auto& socket : closing_) socket->AcceptAll();
  closing_.clear();
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

void ServingListener::Drain(Duration grace, const net::SharedSockets& shared) {
  CloseSockets(shared);
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
  const config::ProxyProtocolPolicy& proxy = config_->proxy_protocol;
  using Mode = config::ProxyProtocolPolicy::Mode;
  const bool speaks_for_others =
      proxy.mode != Mode::kOff &&
      std::any_of(proxy.trusted.begin(), proxy.trusted.end(),
                  [&peer](const net::Cidr& cidr) { return cidr.Contains(peer.ip()); });
  if (proxy.mode == Mode::kRequired && !speaks_for_others) {
    shard_.counters().Add(config_->metrics->rejected_proxy);
    close(fd);
    return;
  }
  // Of a proxy's connection the client is counted, once it is known.
  if (!AdmitToProcess() || (!speaks_for_others && !AdmitClient(peer.ip()))) {
    close(fd);
    return;
  }
  Downstream& connection = Add(peer, /*ip_counted=*/!speaks_for_others);
  if (speaks_for_others) {
    connection.BeginWithProxyHeader(fd);
  } else {
    connection.Begin(fd);
  }
}

bool ServingListener::AdmitToProcess() {
  SharedCounts& shared = shard_.shared();
  const uint32_t before = shared.connections.fetch_add(1, std::memory_order_relaxed);
  if (shared.max_connections == 0 || before < shared.max_connections) return true;
  shared.connections.fetch_sub(1, std::memory_order_relaxed);
  shard_.counters().Add(config_->metrics->rejected_limit);
  return false;
}

bool ServingListener::CountClient(const net::IpAddress& ip) {
  if (counts_->Add(ip, config_->max_connections, config_->max_connections_per_ip)) return true;
  shard_.counters().Add(config_->metrics->rejected_limit);
  return false;
}

void ServingListener::Serve(std::unique_ptr<net::Transport> transport, const net::Address& peer) {
  if (!AdmitToProcess() || !AdmitClient(peer.ip())) return;
  Add(peer, /*ip_counted=*/true).Begin(std::move(transport));
}

// Gives the place in the process back when the client gets none.
bool ServingListener::AdmitClient(const net::IpAddress& ip) {
  if (CountClient(ip)) return true;
  shard_.shared().connections.fetch_sub(1, std::memory_order_relaxed);
  return false;
}

Downstream& ServingListener::Add(const net::Address& peer, bool ip_counted) {
  auto* connection = new Downstream(*this, peer, ip_counted);
  connections_.PushBack(*connection);
  ++connection_count_;
  shard_.counters().Add(config_->metrics->connections);
  shard_.counters().Gauge(config_->metrics->active_connections, +1);
  return *connection;
}

void ServingListener::Forget(Downstream& connection, const net::IpAddress& ip, bool ip_counted) {
  if (ip_counted) counts_->Remove(ip);
  shard_.shared().connections.fetch_sub(1, std::memory_order_relaxed);
  --connection_count_;
  connection.ListNode<Downstream>::Unlink();
}

}  // namespace gatehouse::proxy
