// GrpcUnary and GrpcStream: the two ways in which the gateway itself uses gRPC services, made of
// GrpcCall.
//
// GrpcUnary: one message there, one back. GrpcStream: a bidirectional stream that is there whenever
// it can be: it begins again by itself, after a while.
//
// Owner: whoever asked. Thread: one loop, a worker's or main's. Destroying them cancels; no
// callback comes any more. Callbacks come from the loop, never from within a method, and may
// destroy the object. What a GrpcRequest refers to must live as long as it may be used: until
// `done`, or until Stop().
//
//   GrpcUnary check(upstreams, arena);
//   check.Start({.cluster = &cluster, .path = kCheckPath, .timeout = 1s}, request, this, &OnCheck);
//
//   GrpcStream stream(upstreams, *this);
//   stream.Start({.cluster = &cluster, .path = kStreamPath});
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "source/base/arena.h"
#include "source/base/chain.h"
#include "source/base/random.h"
#include "source/base/time.h"
#include "source/base/timer_wheel.h"
#include "source/upstream/grpc_call.h"

namespace gatehouse::upstream {

struct GrpcAnswer {
  GrpcResult result;
  // When it is ok. May be taken.
  Chain* message = nullptr;
  const http::HeaderMap* trailers = nullptr;
};

// Makes the call a second time when the server provably did not act on the first one (it refused
// the stream, went away before it, or could not be reached). That counts as a retry.
class GrpcUnary final : private GrpcReader {
 public:
  using Done = void (*)(void* owner, const GrpcAnswer& answer);

  GrpcUnary(Upstreams& upstreams, Arena& arena) : upstreams_(upstreams), arena_(arena) {}
  GrpcUnary(const GrpcUnary&) = delete;
  GrpcUnary& operator=(const GrpcUnary&) = delete;

  // Once. `done` is called once, with texts and message that live until the GrpcUnary is destroyed.
  void Start(const GrpcRequest& request, std::string_view message, void* owner, Done done);

 private:
  void OnMessage(Chain& message) override;
  void OnDone(const GrpcResult& result, const http::HeaderMap& trailers) override;
  void Try();

  Upstreams& upstreams_;
  Arena& arena_;
  GrpcRequest request_;
  std::string_view message_;
  void* owner_ = nullptr;
  Done done_ = nullptr;
  std::optional<GrpcCall> call_;
  TimePoint deadline_ = kNever;
  Chain answer_;
  uint32_t answers_ = 0;
  bool retried_ = false;
};

// How long until a stream begins again: a random time up to `first`, up to twice that after another
// failure in a row, and so on up to `max`.
struct GrpcBackoff {
  Duration first = std::chrono::milliseconds(500);
  Duration max = std::chrono::seconds(30);
  // A stream that ends without a message of the server's counts as a failure unless it lived so
  // long.
  Duration lived = std::chrono::seconds(30);
};

class GrpcStreamOwner {
 public:
  // A stream has begun: the server knows nothing of what was said before.
  virtual void OnConnected() = 0;
  // May take what it likes of `message`; the rest is dropped.
  virtual void OnMessage(Chain& message) = 0;
  // Credit() may be larger now.
  virtual void OnCredit() {}
  // The stream has ended, even if well, or none could be made (then there was no OnConnected). The
  // next one follows unless Stop() is called.
  virtual void OnDisconnected(const GrpcResult& result) = 0;

 protected:
  ~GrpcStreamOwner() = default;
};

// Each attempt goes to another endpoint than the one before, if the cluster has one: whatever it
// was that ended the stream, another server may do better.
// A dead server is noticed by the cluster's HTTP/2 PINGs (H2ClientOptions::ping_interval).
class GrpcStream final : private GrpcReader {
 public:
  GrpcStream(Upstreams& upstreams, GrpcStreamOwner& owner, const GrpcBackoff& backoff = {},
             Random& random = ThreadRandom());
  GrpcStream(const GrpcStream&) = delete;
  GrpcStream& operator=(const GrpcStream&) = delete;

  // The first attempt comes at once. Not while it runs. `timeout` is that of each stream.
  void Start(const GrpcRequest& request);
  // Ends the stream, and no callback comes any more. Start() may follow.
  void Stop();
  // Ends the stream that runs, as a failure however much it said: it said what makes no sense. The
  // next one follows, and there is no OnDisconnected.
  void Drop();
  // From the next attempt on, after a config change. The old one has to live as long as it is
  // cluster().
  void UseCluster(const Cluster& cluster) { request_.cluster = &cluster; }
  // Of the attempt or stream that runs, or ended last. Null before Start().
  [[nodiscard]] const Cluster* cluster() const { return call_cluster_; }

  [[nodiscard]] bool running() const { return running_; }
  [[nodiscard]] bool connected() const { return connected_; }
  // When the next attempt begins; kNever unless it waits for that.
  [[nodiscard]] TimePoint next_attempt() const { return retry_.deadline(); }
  // host:port of the server of this stream, or of the attempt or stream that ended last; empty when
  // there was none to ask. Until the next attempt ends.
  [[nodiscard]] const std::string& address() const { return address_; }

  // As those of GrpcCall. False also while it is not connected.
  [[nodiscard]] bool Send(std::string_view message) { return connected_ && call_->Send(message); }
  [[nodiscard]] size_t Credit() const { return connected_ ? call_->Credit() : 0; }
  // Holds for this stream and the following ones.
  void AllowMessages(uint32_t count);
  void Pause() { AllowMessages(0); }

 private:
  void OnStarted() override;
  void OnMessage(Chain& message) override;
  void OnCredit() override { owner_.OnCredit(); }
  void OnDone(const GrpcResult& result, const http::HeaderMap& trailers) override;
  void Connect();
  void NoteServer();
  [[nodiscard]] Duration NextDelay();

  Upstreams& upstreams_;
  GrpcStreamOwner& owner_;
  const GrpcBackoff backoff_;
  Random& random_;
  Arena arena_;  // of one stream at a time
  GrpcRequest request_;
  std::optional<GrpcCall> call_;
  const Cluster* call_cluster_ = nullptr;
  std::string address_;
  Timer retry_;
  TimePoint connected_at_;
  uint32_t failures_ = 0;  // in a row
  bool running_ = false;
  bool connected_ = false;
  bool answered_ = false;
};

}  // namespace gatehouse::upstream
