// GrpcCall: one gRPC call to a cluster, of any of the four kinds, over the cluster's own HTTP/2
// connections (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md). Messages are bytes:
// what is in them is the caller's business. GrpcUnary and GrpcStream (grpc_client.h) are made of
// it.
//
// Owner: whoever asked. Thread: one loop, a worker's or main's. Destroying it cancels the call (the
// server sees RST_STREAM with CANCEL), and no callback comes any more. Callbacks come from the
// loop, never from within a method; each of them may destroy the call. The cluster, the Upstreams
// and the arena outlive it; what the GrpcRequest refers to is copied by Start().
//
//   Start --> OnStarted --> OnMetadata? --> OnMessage... --> OnDone
//                 OnCredit at times in between; OnDone alone when it fails before
//
// Flow control: Send() takes a message while there is credit, else says no, and OnCredit() follows.
// A reader that allows no messages stops the server's window, so no more than that window, one
// message and 64 KiB are ever held.
//
//   GrpcCall call(upstreams, arena);
//   call.Start({.cluster = &cluster, .path = "/shop.Orders/Watch", .timeout = 5s}, reader);
//   if (!call.Send(request.SerializeAsString())) WaitForOnCredit();
//   call.WritesDone();
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "source/base/arena.h"
#include "source/base/chain.h"
#include "source/base/time.h"
#include "source/base/timer_wheel.h"
#include "source/http/grpc_frame.h"
#include "source/http/message.h"
#include "source/http/stream.h"
#include "source/net/loop.h"
#include "source/observe/standard_metrics.h"
#include "source/upstream/cluster.h"
#include "source/upstream/lease.h"

namespace gatehouse::upstream {

class Upstreams;

// How a call ended.
struct GrpcResult {
  http::GrpcStatus code = http::GrpcStatus::kOk;
  std::string_view message;  // the server's, or our own words for the operator
  // The server provably did not act on the call, so it may be made again whatever it does.
  bool unprocessed = false;

  [[nodiscard]] bool ok() const { return code == http::GrpcStatus::kOk; }
};

struct GrpcRequest {
  const Cluster* cluster = nullptr;  // speaks HTTP/2
  std::string_view path;             // "/package.Service/Method"
  std::string_view authority = {};   // empty: the cluster's name
  // Names that end in -bin have values in Base64, here and in what comes back.
  std::span<const std::pair<std::string_view, std::string_view>> metadata = {};
  // Of the whole call, waiting for a connection included. The server is told.
  Duration timeout = kNoTimeout;
  size_t max_message_bytes = size_t{4} << 20;  // of the server's messages
  uint32_t messages = UINT32_MAX;              // as by AllowMessages()
  // Not this endpoint, if there is another one (PickHint::avoid).
  const Endpoint* avoid = nullptr;
};

class GrpcReader {
 public:
  // The request has begun on a connection.
  virtual void OnStarted() {}
  // The server's metadata, which it may send as late as with its first message. At most once.
  virtual void OnMetadata(const http::HeaderMap& /*metadata*/) {}
  // May take what it likes of `message`; the rest is dropped.
  virtual void OnMessage(Chain& message) = 0;
  // Credit() may be larger now.
  virtual void OnCredit() {}
  // Once, the last. The texts and the trailers live as long as the call and its arena.
  virtual void OnDone(const GrpcResult& result, const http::HeaderMap& trailers) = 0;

 protected:
  ~GrpcReader() = default;
};

class GrpcCall final : public http::Receiver {
 public:
  static constexpr uint32_t kEveryMessage = UINT32_MAX;

  // `arena` takes the heads of request and response.
  GrpcCall(Upstreams& upstreams, Arena& arena);
  ~GrpcCall();
  GrpcCall(const GrpcCall&) = delete;
  GrpcCall& operator=(const GrpcCall&) = delete;

  // Once, and before everything else.
  void Start(const GrpcRequest& request, GrpcReader& reader);
  // False: there is no credit, and nothing was taken. Messages may be sent before OnStarted.
  [[nodiscard]] bool Send(std::string_view message);
  // Bytes that will be taken now; a message that is larger is taken too, if there are any.
  [[nodiscard]] size_t Credit() const;
  // Half close: no message follows.
  void WritesDone();
  // From now on so many more messages may come; replaces what was allowed before.
  void AllowMessages(uint32_t count);
  void Pause() { AllowMessages(0); }
  // The server, once it is connected to or could not be: host:port, in the arena, and its endpoint,
  // which may only be compared. Empty and null before.
  [[nodiscard]] std::string_view address() const { return address_; }
  [[nodiscard]] const Endpoint* endpoint() const { return endpoint_; }

 private:
  enum class State : uint8_t {
    kNew,
    kConnecting,
    kOpen,      // the stream runs
    kAnswered,  // the server has ended it; messages are left to be read
    kDone,
  };

  void OnHead(bool end) override;
  void OnBody(Chain& data, bool end) override;
  void OnTrailers() override;
  void OnError(http::Error error) override;
  void OnCredit() override;
  void OnSent() override {}

  void BuildHead(const GrpcRequest& request);
  void Work();
  void Connect();
  void OnLease(Lease lease, http::Error error);
  void Open(Lease lease);
  void NoteEndpoint(const Endpoint& endpoint);
  void OnTimeout();
  void Deliver();
  void CloseStream();
  [[nodiscard]] bool TellMessage(Chain& message);
  // Ends the call by what the server says of it.
  void EndAs(const http::HeaderMap& trailers);
  void EndBroken(http::GrpcFrameDecoder::Result result);
  // Ends the call and tells. From the loop only; the last thing that is done.
  void End(http::GrpcStatus code, std::string text, bool unprocessed = false,
           const http::HeaderMap* trailers = nullptr);
  [[nodiscard]] std::string Peer() const;
  [[nodiscard]] const observe::ClusterMetrics& metrics() const { return cluster_->metrics(); }

  Upstreams& upstreams_;
  const Cluster* cluster_ = nullptr;
  GrpcReader* reader_ = nullptr;
  LeaseWaiter waiter_;
  Lease lease_;
  http::Sender* sender_ = nullptr;  // while kOpen
  Timer deadline_;
  net::Flushable work_;  // what a method has asked for is done from the loop
  http::RequestHead head_;
  http::ResponseHead response_;
  http::HeaderMap trailers_;
  http::GrpcFrameDecoder decoder_;
  Chain in_;   // not decoded yet
  Chain out_;  // messages that wait for a connection
  TimePoint sent_at_;
  size_t max_message_bytes_ = 0;
  std::string text_;  // why it cannot be, or how it ended
  const Endpoint* avoid_ = nullptr;
  const Endpoint* endpoint_ = nullptr;
  std::string_view address_;
  uint32_t wanted_ = 0;
  State state_ = State::kNew;
  bool writes_done_ = false;
  bool* gone_ = nullptr;  // to be set by the destructor
};

}  // namespace gatehouse::upstream
