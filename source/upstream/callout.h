// Callout: a buffered side request to a cluster, for filters and for aggregation. The whole answer
// comes at once, or an error.
//
// Owner: whoever asked (it lives in that exchange's arena, ended by hand). Thread: one loop.
// `done` is called once, from the loop, never from Start(), and never after the Callout was
// destroyed: destroying it cancels. It may destroy the Callout. Views in the request must live
// until `done`; views in the result until the Callout is destroyed.
//
// One retry, for a pooled connection that turned out to be dead before a byte of the response came,
// if the method is idempotent (RFC 9110, section 9.2.2). Counts in the cluster's metrics like any
// attempt.
//
//   callout = new (arena.Allocate(sizeof(Callout))) Callout(upstreams, arena);
//   callout->Start({.cluster = authority, .path = "/check"}, this, &OnAnswer);
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>

#include "source/base/arena.h"
#include "source/base/chain.h"
#include "source/base/time.h"
#include "source/base/timer_wheel.h"
#include "source/http/message.h"
#include "source/http/stream.h"
#include "source/net/loop.h"
#include "source/observe/standard_metrics.h"
#include "source/upstream/cluster.h"
#include "source/upstream/lease.h"

namespace gatehouse::upstream {

class Upstreams;

struct CalloutRequest {
  const Cluster* cluster = nullptr;
  http::Method method = http::Method::kGet;
  std::string_view path = "/";
  std::string_view authority = {};  // empty: the cluster's name
  std::span<const std::pair<std::string_view, std::string_view>> headers = {};
  std::string_view body = {};
  Duration timeout = std::chrono::seconds(5);
  size_t max_response_bytes = size_t{1} << 20;
};

struct CalloutResult {
  http::Error error;  // none: there is a response
  uint16_t status = 0;
  const http::HeaderMap* headers = nullptr;
  std::string_view body = {};

  [[nodiscard]] bool ok() const { return !error; }
};

class Callout final : public http::Receiver {
 public:
  using Done = void (*)(void* owner, const CalloutResult& result);

  // `arena` takes the heads of request and response.
  Callout(Upstreams& upstreams, Arena& arena);
  ~Callout();
  Callout(const Callout&) = delete;
  Callout& operator=(const Callout&) = delete;

  // Once.
  void Start(const CalloutRequest& request, void* owner, Done done);

 private:
  void OnHead(bool end) override;
  void OnBody(Chain& data, bool end) override;
  void OnTrailers() override;
  void OnError(http::Error error) override;
  void OnCredit() override {}
  void OnSent() override {}

  void BuildHead();
  void Connect(const PickHint& hint);
  void Send(Lease lease);
  void OnLease(Lease lease, http::Error error);
  void OnTimeout();
  void AllowBody();
  void Succeed();
  // Ends the stream, if there is one, and tells. From the loop only.
  void Fail(http::Error error);
  void Tell(const CalloutResult& result);
  [[nodiscard]] const observe::ClusterMetrics& metrics() const {
    return request_.cluster->metrics();
  }

  Upstreams& upstreams_;
  CalloutRequest request_;
  Done done_ = nullptr;
  void* owner_ = nullptr;
  LeaseWaiter waiter_;
  Lease lease_;
  http::Sender* sender_ = nullptr;
  Timer deadline_;
  net::Flushable fail_later_;  // what Start() found is told from the loop
  http::RequestHead head_;
  http::ResponseHead response_;
  http::HeaderMap trailers_;
  Chain body_;
  TimePoint sent_at_;
  http::Error error_;
  bool retried_ = false;
};

}  // namespace gatehouse::upstream
