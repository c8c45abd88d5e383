// Lease and LeaseWaiter: how an attempt gets a connection to an endpoint, and gives it back.
//
// A Lease is one stream slot. Owner: an attempt or callout. Thread: one loop. Its destructor (or
// Release()) gives it back: a connection whose exchange has ended cleanly is pooled again, one
// whose exchange still runs is aborted. So end the lease as soon as the stream has ended (after
// Detach(), or OnError()), not only when the client has got everything. The Sender from Begin()
// must not be used after the lease.
//
// A LeaseWaiter waits for one. It lives in whoever asks, is linked into the pool while it waits,
// and cancels when it is destroyed. `done` is called once per kWaiting, from the loop, never
// inline, with either a lease or an error; it may destroy the waiter.
//
// The lease counts ClusterMetrics active, pool_hits and all of connections and pending. What
// becomes of the exchange (requests, resets, timeouts, retries, bytes, latencies) its owner counts.
//
//   AcquireResult result = upstreams.StateOf(cluster).Acquire({}, waiter_);
//   switch (result.status) {
//     case AcquireStatus::kReady: return Use(std::move(result.lease));
//     case AcquireStatus::kWaiting: return;                 // waiter_'s done comes
//     case AcquireStatus::kFailed: return Fail(result.error);
//   }
//   http::Sender& sender = lease_.Begin(head.method, {this, &response, &trailers});
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "source/base/intrusive_list.h"
#include "source/base/time.h"
#include "source/http/error.h"
#include "source/http/h2_stream.h"
#include "source/http/stream.h"
#include "source/upstream/balancer.h"
#include "source/upstream/endpoint.h"

namespace gatehouse::upstream {

class ClusterState;
class EndpointPool;
class PooledConnection;

class Lease {
 public:
  Lease() = default;
  Lease(Lease&& other) noexcept
      : connection_(std::exchange(other.connection_, nullptr)), stream_(std::move(other.stream_)) {}
  Lease& operator=(Lease&& other) noexcept {
    if (this != &other) {
      Release();
      connection_ = std::exchange(other.connection_, nullptr);
      stream_ = std::move(other.stream_);
    }
    return *this;
  }
  ~Lease() { Release(); }

  [[nodiscard]] explicit operator bool() const { return connection_ != nullptr; }
  // Gives the slot back now. Nothing else but assignment may follow.
  void Release() {
    if (connection_ != nullptr) GiveBack();
  }

  // Starts the exchange. Once.
  [[nodiscard]] http::Sender& Begin(http::Method method, const http::ResponsePlace& place);
  // Valid while the lease is held; copy its text if you need it longer.
  [[nodiscard]] const Endpoint& endpoint() const;
  // The connection had carried an exchange before: that it breaks before response_started() may
  // only mean that the origin closed it meanwhile. Try again with PickHint::fresh. (Of HTTP/2: the
  // connection broke, not just the stream.)
  [[nodiscard]] bool reused() const;
  // A byte of the response has come.
  [[nodiscard]] bool response_started() const;
  [[nodiscard]] bool http2() const;
  // The HTTP/2 error code with which the stream was closed. In OnError(): none when it was the
  // connection that broke.
  [[nodiscard]] std::optional<uint32_t> reset_code() const;

 private:
  friend class ClusterState;
  explicit Lease(PooledConnection* connection) : connection_(connection) {}
  void GiveBack();

  PooledConnection* connection_ = nullptr;
  http::H2StreamHandle stream_;  // HTTP/2
};

class LeaseWaiter : public ListNode<LeaseWaiter> {
 public:
  using Done = void (*)(void* owner, Lease lease, http::Error error);

  LeaseWaiter(Done done, void* owner) : done_(done), owner_(owner) {}
  ~LeaseWaiter() { Cancel(); }

  // `done` is not called any more.
  void Cancel();
  [[nodiscard]] bool waiting() const { return cluster_ != nullptr; }
  // Why no connection could be made, in words, after an error of that kind: the endpoint and the
  // reason. Empty otherwise. Until the next Acquire().
  [[nodiscard]] const std::string& failure() const { return failure_; }
  // To which endpoint, when there was one. Valid in `done` and right after Acquire(); later it may
  // only be compared.
  [[nodiscard]] const Endpoint* failed_endpoint() const { return failed_; }
  void ForgetFailure() { failure_.clear(); }

 private:
  friend class ClusterState;

  Done done_;
  void* owner_;
  ClusterState* cluster_ = nullptr;  // while it waits
  EndpointPool* pool_ = nullptr;     // while it is in that queue
  PickHint hint_;
  TimePoint since_;
  http::Error error_;  // that is about to be told
  std::string failure_;
  const Endpoint* failed_ = nullptr;
};

enum class AcquireStatus : uint8_t { kReady, kWaiting, kFailed };

struct [[nodiscard]] AcquireResult {
  AcquireStatus status;
  Lease lease;        // kReady
  http::Error error;  // kFailed
};

}  // namespace gatehouse::upstream
