#include "source/upstream/lease.h"

#include "source/upstream/cluster_state.h"

namespace gatehouse::upstream {

http::Sender& Lease::Begin(http::Method method, const http::ResponsePlace& place) {
  return connection_->http->Begin(method, place);
}

const Endpoint& Lease::endpoint() const { return *connection_->pool.endpoint; }

bool Lease::reused() const { return connection_->reused; }

bool Lease::response_started() const { return connection_->http->response_started(); }

void Lease::GiveBack() {
  PooledConnection* connection = std::exchange(connection_, nullptr);
  connection->pool.cluster.GiveBack(*connection);
}

void LeaseWaiter::Cancel() {
  if (cluster_ != nullptr) cluster_->Forget(*this);
}

}  // namespace gatehouse::upstream
