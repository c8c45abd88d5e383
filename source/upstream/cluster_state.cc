#include "source/upstream/cluster_state.h"

#include <cerrno>
#include <utility>

#include "source/base/check.h"
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
  for (auto* pools : {&pools_, &removed_}) {
    for (const std::unique_ptr<EndpointPool>& pool : *pools) {
      if (pool == nullptr) continue;
      while (LeaseWaiter* waiter = pool->waiters.PopFront()) waiter->cluster_ = nullptr;
    }
  }
}

// --- Acquire ---

AcquireResult ClusterState::Acquire(const PickHint& hint, LeaseWaiter& waiter) {
  DCHECK(!waiter.waiting());
  const uint32_t index = balancer_->Pick(hint);
  if (__builtin_expect(index == Balancer::kNone, 0)) {
    const Error error = Error::Gateway(Error::What::kNoHealthyUpstream);
    CountFailure(error);
    return {AcquireStatus::kFailed, Lease(), error};
  }
  EndpointPool& pool = PoolAt(index);
  // While the pool is in ready_, what is idle belongs to those in the queue.
  if (__builtin_expect(!hint.fresh && !pool.ready(), 1)) {
    if (PooledConnection* connection = FirstIdle(pool)) {
      return {AcquireStatus::kReady, Take(*connection), Error{}};
    }
  }
  return Wait(pool, hint, waiter);
}

EndpointPool& ClusterState::PoolAt(uint32_t index) {
  std::unique_ptr<EndpointPool>& pool = pools_[index];
  if (__builtin_expect(pool == nullptr, 0)) {
    pool = std::make_unique<EndpointPool>(*this, (*endpoints_)[index].endpoint);
  }
  return *pool;
}

PooledConnection* ClusterState::FirstIdle(EndpointPool& pool) {
  PooledConnection* first = pool.idle_list.Front();
  // One that the origin closed in this turn has not told its owner yet.
  while (first != nullptr && __builtin_expect(!first->http->idle(), 0)) {
    Close(*first);
    first = pool.idle_list.Front();
  }
  return first;
}

Lease ClusterState::Take(PooledConnection& connection) {
  LeaveIdle(connection);
  connection.state = PooledConnection::State::kBusy;
  connection.leased = true;
  connection.reused = connection.http->exchanges() > 0;
  ++leases_;
  ++connection.pool.leases;
  counters_.Gauge(metrics_.active, +1);
  if (connection.reused) counters_.Add(metrics_.pool_hits);
  return Lease(&connection);
}

AcquireResult ClusterState::Wait(EndpointPool& pool, const PickHint& hint, LeaseWaiter& waiter) {
  const uint32_t coming = pool.connecting + (hint.fresh ? 0 : pool.idle);
  Error error;
  if (pool.waiting >= coming) {
    if (HasRoom()) {
      error = Connect(pool);
    } else if (waiting_ + 1 > connecting_count_ + options_.max_pending) {
      error = Error::Gateway(Error::What::kUpstreamOverflow);
    }
  }
  if (error) {
    CountFailure(error);
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
  std::unique_ptr<net::PlainTransport> transport =
      net::PlainTransport::Connect(loop_, pool.endpoint->address(), &code);
  if (transport == nullptr || !transport->registered()) {
    counters_.Add(metrics_.connect_failures);
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

void ClusterState::CountFailure(Error error) {
  if (error.what == Error::What::kUpstreamOverflow) counters_.Add(metrics_.overflows);
  if (error.what == Error::What::kNoHealthyUpstream) counters_.Add(metrics_.no_endpoint);
}

// --- Connections ---

void ClusterState::OnConnected(PooledConnection& connection) {
  counters_.Record(metrics_.connect_latency,
                   static_cast<uint64_t>((loop_.Now() - connection.since).count()));
  counters_.Gauge(metrics_.connections, +1);
  connection.ListNode<PooledConnection, AgeTag>::Unlink();
  --connecting_count_;
  --connection.pool.connecting;
  connection.StartHttp(loop_, options_.response_limits, upstreams_.scratch());
  connection.state = PooledConnection::State::kBusy;
  MakeIdle(connection);
}

void ClusterState::OnConnectFailed(PooledConnection& connection, Error error) {
  EndpointPool& pool = connection.pool;
  counters_.Add(error.what == Error::What::kConnectTimeout ? metrics_.connect_timeouts
                                                           : metrics_.connect_failures);
  Close(connection);
  // One failure for one waiter, unless another connection is coming for each.
  if (pool.waiting > pool.connecting + (pool.ready() ? pool.idle : 0)) FailFirst(pool, error);
}

void ClusterState::OnConnectTimeout() {
  const TimePoint started_before = loop_.Now() - options_.connect_timeout;
  while (PooledConnection* oldest = connecting_.Front()) {
    if (oldest->since > started_before) {
      loop_.Arm(connect_timer_, oldest->since + options_.connect_timeout);
      return;
    }
    OnConnectFailed(*oldest, Error::Upstream(Error::What::kConnectTimeout, /*retryable=*/true));
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
  if (connection.state == PooledConnection::State::kBusy && !connection.leased) {
    MakeIdle(connection);
  }
}

void ClusterState::GiveBack(PooledConnection& connection) {
  connection.leased = false;
  --leases_;
  --connection.pool.leases;
  counters_.Gauge(metrics_.active, -1);
  if (connection.state == PooledConnection::State::kClosed) {
    loop_.Bury(connection);
  } else if (connection.http->idle()) {
    MakeIdle(connection);
  } else if (connection.http->in_exchange()) {
    connection.http->Abort();
  }
  // Otherwise it has ended a moment ago, and OnEnded or OnClosed is about to come.
  if (retired_ || connection.pool.removed) loop_.FlushLater(serve_later_);
}

void ClusterState::MakeIdle(PooledConnection& connection) {
  EndpointPool& pool = connection.pool;
  const bool used_up = options_.max_requests_per_connection != 0 &&
                       connection.http->exchanges() >= options_.max_requests_per_connection;
  if (__builtin_expect(used_up || (pool.waiting == 0 && !KeepsIdle(pool)), 0)) {
    Close(connection);
    return;
  }
  connection.state = PooledConnection::State::kIdle;
  connection.since = loop_.Now();
  pool.idle_list.PushFront(connection);
  idle_by_age_.PushBack(connection);
  ++pool.idle;
  ++idle_;
  counters_.Gauge(metrics_.idle_connections, +1);
  if (__builtin_expect(pool.waiting > 0, 0)) {
    if (!pool.ready()) ready_.PushBack(pool);
    loop_.FlushLater(serve_later_);
    return;
  }
  if (__builtin_expect(!starved_.empty(), 0)) loop_.FlushLater(serve_later_);
  if (!idle_timer_.armed()) loop_.Arm(idle_timer_, options_.idle_timeout);
  TrimIdle(pool);
}

void ClusterState::LeaveIdle(PooledConnection& connection) {
  connection.ListNode<PooledConnection>::Unlink();
  connection.ListNode<PooledConnection, AgeTag>::Unlink();
  --connection.pool.idle;
  --idle_;
  counters_.Gauge(metrics_.idle_connections, -1);
}

void ClusterState::TrimIdle(EndpointPool& pool) {
  const uint32_t keep = KeepsIdle(pool) ? options_.max_idle : 0;
  while (pool.idle > keep) Close(*pool.idle_list.Back());
}

void ClusterState::CountOut(PooledConnection& connection) {
  using State = PooledConnection::State;
  EndpointPool& pool = connection.pool;
  if (connection.state == State::kClosed) return;
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
  if (!connection.leased) loop_.Bury(connection);
}

}  // namespace gatehouse::upstream
