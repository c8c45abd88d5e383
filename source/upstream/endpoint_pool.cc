#include "source/upstream/endpoint_pool.h"

#include "source/upstream/cluster_state.h"

namespace gatehouse::upstream {

const http::H1ClientConnection::Callbacks PooledConnection::kCallbacks{&PooledConnection::OnIdle,
                                                                       &PooledConnection::OnClosed};

PooledConnection::PooledConnection(EndpointPool& owner,
                                   std::unique_ptr<net::PlainTransport> transport, TimePoint now)
    : net::Buried([](net::Buried* buried) { delete static_cast<PooledConnection*>(buried); }),
      pool(owner),
      connecting(std::move(transport)),
      since(now) {
  connecting->SetReady(this, [](void* self, net::Ready /*ready*/) {
    static_cast<PooledConnection*>(self)->OnConnectReady();
  });
}

void PooledConnection::OnConnectReady() {
  if (state != State::kConnecting || !connecting->may_write()) return;
  // An origin that speaks or leaves before it was asked is none that could be used.
  if (connecting->ConnectError() != 0 || connecting->may_read()) {
    pool.cluster.OnConnectFailed(
        *this, http::Error::Upstream(http::Error::What::kConnectFailure, /*retryable=*/true));
    return;
  }
  pool.cluster.OnConnected(*this);
}

void PooledConnection::StartHttp(net::Loop& loop, const http::H1Limits& limits,
                                 http::H1HeadScratch& scratch) {
  http.emplace(loop, std::move(connecting), limits, scratch, kCallbacks, this);
}

void PooledConnection::OnIdle(void* self, http::H1ClientConnection& /*connection*/) {
  auto* pooled = static_cast<PooledConnection*>(self);
  if (pooled->state == State::kClosed) return;  // by us; the pool may be gone already
  pooled->pool.cluster.OnEnded(*pooled);
}

void PooledConnection::OnClosed(void* self, http::H1ClientConnection& /*connection*/) {
  auto* pooled = static_cast<PooledConnection*>(self);
  if (pooled->state == State::kClosed) return;
  pooled->pool.cluster.Close(*pooled);
}

}  // namespace gatehouse::upstream
