#include "source/upstream/cluster_state.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "source/base/check.h"
#include "source/net/proxy_protocol.h"
#include "source/upstream/upstreams.h"

namespace gatehouse::upstream {
namespace {

using http::Error;

// Out of descriptors, ports or memory: nothing is wrong with the endpoint.
bool IsShortage(int error) {
  return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM ||
         error == EADDRNOTAVAIL || error == EAGAIN;
}

}  // namespace

ClusterState::ClusterState(Upstreams& upstreams, const Cluster& cluster,
                           std::shared_ptr<const EndpointSet> endpoints)
    : net::Buried([](net::Buried* buried) { delete static_cast<ClusterState*>(buried); }),
      upstreams_(upstreams),
      loop_(upstreams.loop()),
      counters_(upstreams.counters()),
      key_(cluster.key()),
      options_(cluster.options()),
      metrics_(cluster.metrics()),
      balancer_(MakeBalancer(options_.load_balancing)),
      endpoints_(std::move(endpoints)),
      pools_(endpoints_->size()),
      serve_later_([](void* self) { static_cast<ClusterState*>(self)->Serve(); }, this),
      idle_timer_(Timer::Calls<ClusterState, &ClusterState::OnIdleTimeout>(), this),
      connect_timer_(Timer::Calls<ClusterState, &ClusterState::OnConnectTimeout>(), this) {
  balancer_->SetEndpoints(*endpoints_);
}

ClusterState::~ClusterState() {
  DCHECK(leases_ == 0);
  while (PooledConnection* connection = all_.PopFront()) {
    CountOut(*connection);
    delete connection;
  }
  counters_.Gauge(metrics_.pending, -static_cast<int64_t>(waiting_));
  for (IntrusiveList<LeaseWaiter>* list : {&homeless_, &failed_}) {
    while (LeaseWaiter* waiter = list->PopFront()) waiter->cluster_ = nullptr;
  }
  for (auto* pools : {&pools_, &removed_, &proxied_}) {
    for (const std::unique_ptr<EndpointPool>& pool : *pools) {
      if (pool == nullptr) continue;
      while (LeaseWaiter* waiter = pool->waiters.PopFront()) waiter->cluster_ = nullptr;
    }
  }
}

// --- Acquire ---

AcquireResult ClusterState::Acquire(const PickHint& hint, LeaseWaiter& waiter) {
  DCHECK(!waiter.waiting());
  if (__builtin_expect(waiter.failed_ != nullptr, 0)) {
    waiter.failure_.clear();
    waiter.failed_ = nullptr;
  }
  const uint32_t index = balancer_->Pick(hint);
  if (__builtin_expect(index == Balancer::kNone, 0)) {
    const Error error = Error::Gateway(Error::What::kNoHealthyUpstream);
    CountFailure(error);
    return {AcquireStatus::kFailed, Lease(), error};
  }
  EndpointPool& pool = PoolFor(index, hint);
  // While the pool is in ready_, what is available belongs to those in the queue. Of HTTP/2, a
  // connection that broke is not in the pool any more.
  const bool any = !hint.fresh || pool.streams_per_connection > 1;
  if (__builtin_expect(any && !pool.ready(), 1)) {
    if (PooledConnection* connection = FirstAvailable(pool)) {
      return {AcquireStatus::kReady, Take(*connection), Error{}};
    }
  }
  return Wait(pool, hint, waiter);
}

EndpointPool& ClusterState::PoolFor(uint32_t index, const PickHint& hint) {
  if (__builtin_expect(options_.proxy_header == ProxyHeader::kNone, 1)) return PoolAt(index);
  EndpointPool& pool = ProxiedPool(index, hint.client != nullptr ? *hint.client : net::Address());
  if (hint.destination != nullptr) pool.destination = *hint.destination;
  return pool;
}

// A connection speaks for one client, whom its PROXY header names.
EndpointPool& ClusterState::ProxiedPool(uint32_t index, const net::Address& client) {
  const std::shared_ptr<const Endpoint>& endpoint = (*endpoints_)[index].endpoint;
  for (const std::unique_ptr<EndpointPool>& pool : proxied_) {
    if (pool->endpoint == endpoint && pool->client == client) return *pool;
  }
  proxied_.push_back(std::make_unique<EndpointPool>(*this, endpoint));
  EndpointPool& pool = *proxied_.back();
  pool.client = client;
  if (options_.protocol != Protocol::kHttp1) pool.streams_per_connection = options_.h2.max_streams;
  return pool;
}

EndpointPool& ClusterState::PoolAt(uint32_t index) {
  std::unique_ptr<EndpointPool>& pool = pools_[index];
  if (__builtin_expect(pool == nullptr, 0)) {
    pool = std::make_unique<EndpointPool>(*this, (*endpoints_)[index].endpoint);
    if (options_.protocol != Protocol::kHttp1) {
      pool->streams_per_connection = options_.h2.max_streams;
    }
  }
  return *pool;
}

bool ClusterState::Takes(const PooledConnection& connection) const {
  const uint32_t most = options_.max_requests_per_connection;
  return connection.takes_stream() && (most == 0 || connection.exchanges() < most);
}

PooledConnection* ClusterState::FirstAvailable(EndpointPool& pool) {
  PooledConnection* first = pool.available.Front();
  while (first != nullptr && __builtin_expect(!Takes(*first), 0)) {
    if (first->h2 == nullptr) {
      // One that the origin closed in this turn has not told its owner yet.
      Close(*first);
    } else {
      first->ListNode<PooledConnection>::Unlink();
    }
    first = pool.available.Front();
  }
  return first;
}

Lease ClusterState::Take(PooledConnection& connection) {
  if (connection.state == PooledConnection::State::kIdle) LeaveIdle(connection);
  connection.state = PooledConnection::State::kBusy;
  ++connection.leases;
  if (connection.h2 == nullptr || !Takes(connection)) {
    connection.ListNode<PooledConnection>::Unlink();
  }
  connection.reused = connection.exchanges() > 0;
  ++leases_;
  ++connection.pool.leases;
  counters_.Gauge(metrics_.active, +1);
  if (connection.reused) counters_.Add(metrics_.pool_hits);
  return Lease(&connection);
}

uint64_t ClusterState::Coming(EndpointPool& pool, bool fresh) {
  const uint64_t coming = uint64_t{pool.connecting} * pool.streams_per_connection;
  if (pool.streams_per_connection == 1) return coming + (fresh ? 0 : pool.idle);
  uint64_t open = 0;
  for (PooledConnection* connection = pool.available.Front(); connection != nullptr;
       connection = pool.available.Next(*connection)) {
    if (connection->h2 != nullptr && Takes(*connection)) {
      open += connection->h2->max_streams() - connection->leases;
    }
  }
  return coming + open;
}

AcquireResult ClusterState::Wait(EndpointPool& pool, const PickHint& hint, LeaseWaiter& waiter) {
  Error error;
  if (pool.waiting >= Coming(pool, hint.fresh)) {
    if (HasRoom()) {
      error = Connect(pool);
    } else if (waiting_ + 1 > connecting_count_ + options_.max_pending) {
      error = Error::Gateway(Error::What::kUpstreamOverflow);
    }
  }
  if (error) {
    CountFailure(error);
    waiter.failure_ = std::exchange(pool.failure, {});
    waiter.failed_ = pool.endpoint.get();
    return {AcquireStatus::kFailed, Lease(), error};
  }
  waiter.hint_ = hint;
  waiter.since_ = loop_.Now();
  waiter.cluster_ = this;
  ++waiting_;
  counters_.Gauge(metrics_.pending, +1);
  Enqueue(pool, waiter);
  return {AcquireStatus::kWaiting, Lease(), Error{}};
}

// Room for one more connection; an idle one of whatever endpoint gives way.
bool ClusterState::HasRoom() {
  if (connections_ < options_.max_connections) return true;
  PooledConnection* oldest = idle_by_age_.Front();
  if (oldest == nullptr || oldest->pool.ready()) return false;
  Close(*oldest);
  return true;
}

Error ClusterState::Connect(EndpointPool& pool) {
  int code = 0;
  counters_.Add(metrics_.connects);
  const net::Address& address = pool.endpoint->address();
  std::unique_ptr<net::Transport> transport;
  if (options_.tls != nullptr && options_.proxy_header == ProxyHeader::kNone) {
    transport = options_.tls->Connect(loop_, address, pool.endpoint->host(), *pool.sessions, &code);
  } else {
    transport = net::PlainTransport::Connect(loop_, address, &code);
  }
  if (transport == nullptr || !transport->registered()) {
    counters_.Add(metrics_.connect_failures);
    pool.failure = FailureText(
        pool, transport != nullptr ? "the system cannot watch the socket" : std::strerror(code));
    if (transport != nullptr || IsShortage(code)) {
      return Error::Gateway(Error::What::kUpstreamOverflow);
    }
    return Error::Upstream(Error::What::kConnectFailure, /*retryable=*/true);
  }
  auto* connection = new PooledConnection(pool, std::move(transport), loop_.Now());
  all_.PushBack(*connection);
  connecting_.PushBack(*connection);
  ++connections_;
  ++connecting_count_;
  ++pool.connections;
  ++pool.connecting;
  if (!connect_timer_.armed()) loop_.Arm(connect_timer_, options_.connect_timeout);
  return {};
}

// The first bytes of the connection, in the clear also before TLS. A fresh socket takes them whole.
// False: there is more to wait for, or (without a transport) it failed.
bool ClusterState::SayProxyHeader(PooledConnection& connection) {
  if (connection.proxy_header_said) return true;
  connection.proxy_header_said = true;
  auto& plain = static_cast<net::PlainTransport&>(*connection.connecting);
  char header[net::kMaxProxyHeader];
  const auto version =
      options_.proxy_header == ProxyHeader::kV1 ? net::ProxyVersion::kV1 : net::ProxyVersion::kV2;
  EndpointPool& pool = connection.pool;
  Chain bytes;
  bytes.AppendCopy({header, net::WriteProxyHeader(version, pool.client, pool.destination, header)},
                   loop_.slabs());
  if (plain.Write(bytes) != net::IoStatus::kOk || !bytes.empty()) {
    connection.connecting.reset();
    return false;
  }
  if (options_.tls == nullptr) return true;
  connection.Secure(
      options_.tls->Adopt(loop_, plain.ReleaseFd(), pool.endpoint->host(), *pool.sessions));
  return false;
}

void ClusterState::CountFailure(Error error) {
  if (error.what == Error::What::kUpstreamOverflow) counters_.Add(metrics_.overflows);
  if (error.what == Error::What::kNoHealthyUpstream) counters_.Add(metrics_.no_endpoint);
}

// --- Connections ---

void ClusterState::OnTransportReady(PooledConnection& connection) {
  const Error failed = Error::Upstream(Error::What::kConnectFailure, /*retryable=*/true);
  net::Transport& transport = *connection.connecting;
  if (const int code = transport.ConnectError(); code != 0) {
    const std::string why(transport.failure());
    OnConnectFailed(connection, failed, why.empty() ? std::strerror(code) : why);
    return;
  }
  if (options_.proxy_header != ProxyHeader::kNone && !SayProxyHeader(connection)) {
    if (connection.connecting == nullptr) {
      OnConnectFailed(connection, failed, "it does not take a PROXY header");
    }
    return;
  }
  const bool tls = connection.connecting->tls() != nullptr;
  const bool agreed = tls && connection.connecting->tls()->alpn == "h2";
  if (options_.protocol == Protocol::kHttp2 && tls && !agreed) {
    OnConnectFailed(connection, failed,
                    "it does not agree on HTTP/2 by ALPN; set the cluster's protocol to auto");
    return;
  }
  if (agreed || options_.protocol == Protocol::kHttp2) {
    connection.StartHttp2(loop_, options_);  // OnConnected() follows
    return;
  }
  // An origin that speaks or leaves before it was asked is none that could be used.
  if (!tls && connection.connecting->may_read()) {
    OnConnectFailed(connection, failed, "it speaks, or leaves, before it was asked");
    return;
  }
  connection.StartHttp1(loop_, options_, upstreams_.scratch());
  OnConnected(connection);
}

void ClusterState::OnConnected(PooledConnection& connection) {
  if (connection.h2 != nullptr && connection.h2->max_streams() == 0) {
    // It would be opened anew at once, again and again.
    OnConnectFailed(connection, Error::Upstream(Error::What::kConnectFailure, /*retryable=*/true),
                    "it takes no HTTP/2 streams (SETTINGS_MAX_CONCURRENT_STREAMS is 0)");
    return;
  }
  counters_.Record(metrics_.connect_latency,
                   static_cast<uint64_t>((loop_.Now() - connection.since).count()));
  counters_.Gauge(metrics_.connections, +1);
  connection.ListNode<PooledConnection, AgeTag>::Unlink();
  --connecting_count_;
  EndpointPool& pool = connection.pool;
  --pool.connecting;
  pool.streams_per_connection =
      connection.h2 == nullptr ? 1 : std::max(1u, connection.h2->max_streams());
  connection.state = PooledConnection::State::kBusy;
  // It may be less than was hoped for.
  NoteNeed(pool);
  if (pool.starved()) loop_.FlushLater(serve_later_);
  MakeIdle(connection);
}

void ClusterState::OnStreamsChanged(PooledConnection& connection) {
  if (connection.state == PooledConnection::State::kConnecting) return;
  if (connection.h2->going_away() && connection.leases == 0) {
    Close(connection);
  } else if (Takes(connection)) {
    if (!connection.listed()) List(connection);
  } else {
    connection.ListNode<PooledConnection>::Unlink();
    NoteNeed(connection.pool);
    if (!starved_.empty()) loop_.FlushLater(serve_later_);
  }
}

void ClusterState::OnLost(PooledConnection& connection) {
  if (connection.state == PooledConnection::State::kConnecting) {
    OnConnectFailed(connection, Error::Upstream(Error::What::kConnectFailure, /*retryable=*/true),
                    "it has closed the connection instead of sending its HTTP/2 settings; does it "
                    "speak HTTP/2?");
  } else {
    Close(connection);
  }
}

std::string ClusterState::FailureText(const EndpointPool& pool, std::string_view why) {
  return std::string(pool.endpoint->text()).append(": ").append(why);
}

void ClusterState::OnConnectFailed(PooledConnection& connection, Error error,
                                   std::string_view why) {
  EndpointPool& pool = connection.pool;
  pool.failure = FailureText(pool, why);
  counters_.Add(error.what == Error::What::kConnectTimeout ? metrics_.connect_timeouts
                                                           : metrics_.connect_failures);
  Close(connection);
  // One failure for one waiter, unless another connection is coming for each.
  if (pool.connecting == 0 && pool.streams_per_connection > 1) {
    // All of them waited for this one.
    while (pool.waiting > 0 && pool.waiting > Coming(pool, /*fresh=*/false)) FailFirst(pool, error);
  } else if (pool.waiting > Coming(pool, /*fresh=*/!pool.ready())) {
    FailFirst(pool, error);
  }
}

void ClusterState::OnConnectTimeout() {
  const TimePoint started_before = loop_.Now() - options_.connect_timeout;
  while (PooledConnection* oldest = connecting_.Front()) {
    if (oldest->since > started_before) {
      loop_.Arm(connect_timer_, oldest->since + options_.connect_timeout);
      return;
    }
    OnConnectFailed(*oldest, Error::Upstream(Error::What::kConnectTimeout, /*retryable=*/true),
                    "no connection was made in time");
  }
}

void ClusterState::OnIdleTimeout() {
  const TimePoint idle_before = loop_.Now() - options_.idle_timeout;
  while (PooledConnection* oldest = idle_by_age_.Front()) {
    if (oldest->since > idle_before) {
      loop_.Arm(idle_timer_, oldest->since + options_.idle_timeout);
      return;
    }
    Close(*oldest);
  }
}

// The exchange has ended, and cleanly.
void ClusterState::OnEnded(PooledConnection& connection) {
  if (connection.state == PooledConnection::State::kBusy && connection.leases == 0) {
    MakeIdle(connection);
  }
}

void ClusterState::GiveBack(PooledConnection& connection) {
  --connection.leases;
  --leases_;
  --connection.pool.leases;
  counters_.Gauge(metrics_.active, -1);
  if (connection.state == PooledConnection::State::kClosed) {
    if (connection.leases == 0) loop_.Bury(connection);
  } else if (connection.h2 != nullptr) {
    if (connection.leases == 0) {
      MakeIdle(connection);
    } else if (!connection.listed() && Takes(connection)) {
      List(connection);
    }
  } else if (connection.h1->idle()) {
    MakeIdle(connection);
  } else if (connection.h1->in_exchange()) {
    connection.h1->Abort();
  }
  // Otherwise it has ended a moment ago, and OnEnded or OnClosed is about to come.
  if (retired_ || connection.pool.removed) loop_.FlushLater(serve_later_);
}

void ClusterState::MakeIdle(PooledConnection& connection) {
  EndpointPool& pool = connection.pool;
  const uint32_t most = options_.max_requests_per_connection;
  const bool used_up = (most != 0 && connection.exchanges() >= most) ||
                       (connection.h2 != nullptr && connection.h2->going_away());
  if (__builtin_expect(used_up || (pool.waiting == 0 && !KeepsIdle(pool)), 0)) {
    Close(connection);
    return;
  }
  connection.state = PooledConnection::State::kIdle;
  connection.since = loop_.Now();
  idle_by_age_.PushBack(connection);
  ++pool.idle;
  ++idle_;
  counters_.Gauge(metrics_.idle_connections, +1);
  if (!idle_timer_.armed()) loop_.Arm(idle_timer_, options_.idle_timeout);
  if (!connection.listed()) List(connection);
  if (__builtin_expect(pool.waiting == 0, 1)) TrimIdle(pool);
}

// It takes a stream, or another one.
void ClusterState::List(PooledConnection& connection) {
  EndpointPool& pool = connection.pool;
  pool.available.PushFront(connection);
  if (__builtin_expect(pool.waiting > 0, 0)) {
    if (!pool.ready()) ready_.PushBack(pool);
    loop_.FlushLater(serve_later_);
  } else if (__builtin_expect(!starved_.empty(), 0)) {
    loop_.FlushLater(serve_later_);
  }
}

void ClusterState::LeaveIdle(PooledConnection& connection) {
  connection.ListNode<PooledConnection, AgeTag>::Unlink();
  --connection.pool.idle;
  --idle_;
  counters_.Gauge(metrics_.idle_connections, -1);
}

void ClusterState::TrimIdle(EndpointPool& pool) {
  const uint32_t keep = KeepsIdle(pool) ? options_.max_idle : 0;
  while (pool.idle > keep) {
    // The one that was used longest ago.
    PooledConnection* last = pool.available.Back();
    if (last == nullptr || last->state != PooledConnection::State::kIdle) {
      last = nullptr;
      for (PooledConnection* next = idle_by_age_.Front(); next != nullptr && last == nullptr;
           next = idle_by_age_.Next(*next)) {
        if (&next->pool == &pool) last = next;
      }
    }
    if (last == nullptr) return;
    Close(*last);
  }
}

void ClusterState::CountOut(PooledConnection& connection) {
  using State = PooledConnection::State;
  EndpointPool& pool = connection.pool;
  if (connection.state == State::kClosed) return;
  connection.ListNode<PooledConnection>::Unlink();
  if (connection.state == State::kIdle) LeaveIdle(connection);
  if (connection.state == State::kConnecting) {
    connection.ListNode<PooledConnection, AgeTag>::Unlink();
    --connecting_count_;
    --pool.connecting;
  } else {
    counters_.Gauge(metrics_.connections, -1);
  }
  connection.state = State::kClosed;
  --connections_;
  --pool.connections;
}

void ClusterState::Close(PooledConnection& connection) {
  CountOut(connection);
  NoteNeed(connection.pool);
  if (!starved_.empty() || retired_ || connection.pool.removed) loop_.FlushLater(serve_later_);
  connection.ListNode<PooledConnection, AllTag>::Unlink();
  // A lease still asks how far the response came.
  if (connection.leases == 0) loop_.Bury(connection);
}

}  // namespace gatehouse::upstream
