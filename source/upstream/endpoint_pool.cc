#include "source/upstream/endpoint_pool.h"

#include "source/upstream/cluster_state.h"

namespace gatehouse::upstream {
namespace {

PooledConnection& Of(void* self) { return *static_cast<PooledConnection*>(self); }

// Closed by us: the pool may be gone already.
bool IsOver(void* self) { return Of(self).state == PooledConnection::State::kClosed; }

}  // namespace

const http::H1ClientConnection::Callbacks PooledConnection::kH1Callbacks{
    .idle =
        [](void* self, http::H1ClientConnection&) {
          if (!IsOver(self)) Of(self).pool.cluster.OnEnded(Of(self));
        },
    .closed =
        [](void* self, http::H1ClientConnection&) {
          if (!IsOver(self)) Of(self).pool.cluster.Close(Of(self));
        },
};

const http::H2ClientConnection::Callbacks PooledConnection::kH2Callbacks{
    .ready =
        [](void* self) {
          if (!IsOver(self)) Of(self).pool.cluster.OnConnected(Of(self));
        },
    .changed =
        [](void* self) {
          if (!IsOver(self)) Of(self).pool.cluster.OnStreamsChanged(Of(self));
        },
    .closed =
        [](void* self) {
          if (!IsOver(self)) Of(self).pool.cluster.OnLost(Of(self));
        },
};

PooledConnection::PooledConnection(EndpointPool& owner, std::unique_ptr<net::Transport> transport,
                                   TimePoint now)
    : net::Buried([](net::Buried* buried) { delete static_cast<PooledConnection*>(buried); }),
      pool(owner),
      sessions(owner.sessions),
      connecting(std::move(transport)),
      since(now) {
  WatchConnect();
}

void PooledConnection::WatchConnect() {
  connecting->SetReady(this, [](void* self, net::Ready /*ready*/) { Of(self).OnConnectReady(); });
}

void PooledConnection::Secure(std::unique_ptr<net::Transport> transport) {
  connecting = std::move(transport);
  WatchConnect();
}

void PooledConnection::OnConnectReady() {
  if (state != State::kConnecting || connecting == nullptr || !connecting->may_write()) return;
  pool.cluster.OnTransportReady(*this);
}

void PooledConnection::StartHttp1(net::Loop& loop, const ClusterOptions& options,
                                  http::H1HeadScratch& scratch) {
  h1.emplace(loop, std::move(connecting), options.response_limits, scratch, kH1Callbacks, this);
}

void PooledConnection::StartHttp2(net::Loop& loop, const ClusterOptions& options) {
  h2 = std::make_unique<http::H2ClientConnection>(
      loop, std::move(connecting), options.response_limits, options.h2, kH2Callbacks, this);
}

}  // namespace gatehouse::upstream
