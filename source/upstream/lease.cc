#include "source/upstream/lease.h"

#include "source/upstream/cluster_state.h"

namespace gatehouse::upstream {

http::Sender& Lease::Begin(http::Method method, const http::ResponsePlace& place) {
  if (connection_->h2 != nullptr) return connection_->h2->Begin(method, place, stream_);
  return connection_->h1->Begin(method, place);
}

const Endpoint& Lease::endpoint() const { return *connection_->pool.endpoint; }

bool Lease::reused() const {
  return connection_->reused && (connection_->h2 == nullptr || connection_->h2->lost());
}

bool Lease::response_started() const {
  if (connection_->h2 == nullptr) return connection_->h1->response_started();
  const http::H2Stream* stream = stream_.get();
  return stream == nullptr || stream->head_done || stream->block_fields > 0;
}

bool Lease::http2() const { return connection_->h2 != nullptr; }

std::optional<uint32_t> Lease::reset_code() const {
  const http::H2Stream* stream = stream_.get();
  return stream != nullptr ? stream->reset_code : std::nullopt;
}

void Lease::GiveBack() {
  PooledConnection* connection = std::exchange(connection_, nullptr);
  if (http::H2Stream* stream = stream_.get()) {
    stream_.Clear();
    if (stream->receiver != nullptr) stream->Abort();
  }
  connection->pool.cluster.GiveBack(*connection);
}

void LeaseWaiter::Cancel() {
  if (cluster_ != nullptr) cluster_->Forget(*this);
}

}  // namespace gatehouse::upstream
