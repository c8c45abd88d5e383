// Exchange: one request and its response, from the head of the one to the last byte of the other.
// exchange.cc tells the story from top to bottom.
//
// Owner: the Shard (a freelist); it buries itself at the end of Finish. Thread: the shard's loop.
// It is the Receiver of the client's stream and owns the Attempt at the origin. Callbacks only
// store what happened and call Run(); Run() is not nested.
//
//  OnHead
//    |
//  kAdmit -> kRoute -> kRequestFilters -> kGather -> kAct -> kConnect -> kSendRequest
//                           |                          |        ^            |
//                           | reply                    | reply  | retry      v
//                           v                          v        +---- kResponseHead
//                     (local reply) ----------------------> kResponseFilters -> kSendResponse ->
//                     kFinish
//
// Any error: Fail() -> a local reply, or an abort when the response has begun -> kFinish. There is
// no other way out.
#pragma once

#include <cstdint>
#include <string_view>

#include "source/base/arena.h"
#include "source/base/timer_wheel.h"
#include "source/filters/chain.h"
#include "source/filters/filter_context.h"
#include "source/http/message.h"
#include "source/http/stream.h"
#include "source/net/loop.h"
#include "source/proxy/attempt.h"
#include "source/proxy/local_reply.h"
#include "source/proxy/shard.h"

namespace gatehouse::proxy {

class ServingListener;

// Who is at the other end of a connection.
struct ClientOf {
  const net::TlsFacts* tls = nullptr;  // null: plain
  net::Address peer;
  net::IpAddress ip;
  std::string_view ip_text;
  std::string_view peer_text;  // with the port
  int fd = -1;                 // its socket; -1: none (the pipes of tests)
  net::Address destination;    // where a PROXY header says that it connected to
};

class Exchange final : public http::Receiver, public net::Buried {
 public:
  explicit Exchange(Shard& shard);
  ~Exchange();

  // A request begins on `downstream`. `client` lives as long as the connection.
  [[nodiscard]] http::NewStream Begin(ServingListener& listener, http::Sender& downstream,
                                      const ClientOf& client, TimePoint started);
  // As new, for the next request.
  void Recycle();

  // From the client's stream.
  void OnHead(bool end) override;
  void OnBody(Chain& data, bool end) override;
  void OnTrailers() override;
  void OnError(http::Error error) override;
  void OnCredit() override;
  void OnSent() override;

 private:
  enum class Phase : uint8_t {
    kIdle,
    kAdmit,
    kRoute,
    kRequestFilters,
    kGather,
    kAct,
    kConnect,
    kBackoff,
    kSendRequest,
    kResponseHead,
    kResponseFilters,
    kSendResponse,
    kFinish,
    kDone,
  };
  enum class Outcome : uint8_t { kNext, kWait };

  // Body bytes in one direction.
  struct Body {
    void Take(Chain& data, bool end, SlabPool& slabs);
    void MakeReady(SlabPool& slabs);
    void Reset();

    Chain pending;             // came, not yet seen by the filters
    Chain ready;               // may go on
    size_t granted = 0;        // what the source may still deliver
    uint64_t bytes = 0;        // that came
    bool ended = false;        // the last byte has come
    bool ready_ended = false;  // `ready` holds the last byte
    bool done = false;         // the end has been handed on
    bool trailers = false;     // trailers follow the last byte
    bool filtering = false;    // a filter waits with some of it
  };
  // What filters may gather of a request before the origin is asked for a connection.
  static constexpr size_t kGatherCredit = size_t{64} * 1024;

  // exchange.cc: the story.
  void Run();
  [[nodiscard]] Outcome Step();
  [[nodiscard]] Outcome Next(Phase phase) {
    phase_ = phase;
    return Outcome::kNext;
  }
  [[nodiscard]] Outcome RequestFilters();
  [[nodiscard]] Outcome Gather();
  [[nodiscard]] Outcome Connect();
  [[nodiscard]] Outcome SendRequest();
  [[nodiscard]] Outcome ResponseHead();
  [[nodiscard]] Outcome ResponseFilters();
  [[nodiscard]] Outcome SendResponse();
  [[nodiscard]] bool TakeResponseBody();

  // exchange_admit.cc: from the head to a route and its action.
  [[nodiscard]] Outcome Admit();
  [[nodiscard]] Outcome Route();
  [[nodiscard]] route::Match FindRoute() const;
  [[nodiscard]] Outcome Act();
  void AddForwardingHeaders();
  // Of a message that was received in that version (RFC 9110, section 7.6.3).
  [[nodiscard]] const std::string& ViaFor(http::Version version) const {
    return version == http::Version::kHttp2 ? config_->via_http2 : config_->via;
  }
  [[nodiscard]] bool TakeClientAddress();
  void TakeScheme();
  [[nodiscard]] bool TakeMaxForwards();
  [[nodiscard]] Outcome ChooseTarget();
  [[nodiscard]] Outcome RespondLocally();
  [[nodiscard]] Outcome RedirectClient();
  [[nodiscard]] bool RewriteRequest();
  [[nodiscard]] bool StickyHash(uint64_t* hash);
  [[nodiscard]] upstream::PickHint HintForPick();
  [[nodiscard]] bool AllowUpgrade();
  void TakeGrpcTimeout();
  [[nodiscard]] route::RewriteInput RewriteOf() const;

  // exchange_body.cc: bytes both ways, retries and deadlines.
  void PumpRequest();
  void PumpResponse();
  [[nodiscard]] bool FilterRequestBody();
  [[nodiscard]] bool FilterResponseBody();
  void GrantRequest(size_t credit);
  void GrantResponse();
  [[nodiscard]] bool ResponseBroke() const;
  void OnResponseBody(Chain& data, bool end);
  void KeepForReplay();
  void Replay();
  void StartTunnel();
  void ForgetAttempt();
  [[nodiscard]] bool MayRetry(bool unprocessed) const;
  [[nodiscard]] bool RetryOnStatus(uint16_t status) const;
  [[nodiscard]] Outcome Retry(bool at_once);
  [[nodiscard]] Outcome AttemptFailed();
  void RequestIsOut();
  void StartDeadline();
  void WatchDeadlines();
  [[nodiscard]] http::Error IdleError() const;
  void OnTimer();
  void OnRetryTimer();

  // exchange_finish.cc: replies of our own, and the end.
  [[nodiscard]] Outcome Fail(http::Error error);
  [[nodiscard]] Outcome ReplyFromFilter();
  [[nodiscard]] Outcome StartReply(const LocalReply& reply, std::string_view allow = {});
  [[nodiscard]] Outcome RespondEmpty();
  [[nodiscard]] Outcome SendOwn(bool framed = false);
  void EndAttempt();
  [[nodiscard]] int Status() const;
  [[nodiscard]] bool PrepareResponse();
  [[nodiscard]] Outcome Finish();
  void Count();
  void WriteLog();
  void CountAttempt();
  void OnInterim();
  static void Free(net::Buried* buried);
  static std::string_view LogHeader(const void* self, bool response, std::string_view name);

  Shard& shard_;
  net::Loop& loop_;
  Arena arena_;
  http::RequestHead request_;
  http::ResponseHead response_;
  http::HeaderMap request_trailers_;
  http::HeaderMap response_trailers_;
  filters::FilterContext context_;
  filters::FilterRun run_;
  Attempt attempt_;
  Timer timer_;
  Timer retry_timer_;

  ServingListener* listener_ = nullptr;
  SnapshotPin pin_;
  const config::Listener* config_ = nullptr;
  const config::Route* route_ = nullptr;
  const config::Target* target_ = nullptr;
  route::Match match_;
  http::Sender* downstream_ = nullptr;  // null once it is gone
  const ClientOf* client_ = nullptr;
  Body up_;                // request body, towards the origin
  Body down_;              // response body, towards the client
  Chain replay_;           // of the request body, for a retry
  std::string_view host_;  // normalised, no port
  std::string_view path_;  // normalised, no query
  std::string_view query_;
  std::string_view local_body_;
  std::string_view code_;
  std::string_view sticky_cookie_;  // to be set on the response
  TimePoint started_;
  TimePoint last_activity_;
  TimePoint deadline_ = kNever;
  Duration idle_timeout_{};
  Duration upstream_time_{};
  http::Error pending_error_;
  uint16_t port_ = 0;
  uint32_t attempts_ = 0;
  uint32_t retries_left_ = 0;
  uint16_t upstream_status_ = 0;
  const upstream::Endpoint* last_endpoint_ = nullptr;  // compared, never followed
  Phase phase_ = Phase::kIdle;
  bool head_only_request_ = false;  // no body follows the request's head
  bool request_out_ = false;        // the whole request has been handed to the origin
  bool request_head_out_ = false;
  bool replay_ok_ = true;
  bool retry_fresh_ = false;  // the next try takes a new connection
  bool local_ = false;        // the response is ours
  bool replying_ = false;
  bool response_out_ = false;  // its head has been handed to the client's connection
  bool sent_ = false;          // all of the response has left
  bool client_left_ = false;   // before it had a whole response
  bool tunnel_ = false;
  bool grpc_deadline_ = false;  // deadline_ is the client's
  bool running_ = false;
  bool again_ = false;
  bool stream_counted_ = false;
};

}  // namespace gatehouse::proxy
