// H1ServerConnection: HTTP/1.0 and 1.1 towards a client. Reads requests one after the other, hands
// each to a new exchange, writes its response, keeps the connection alive or closes it properly.
//
// Owner: a Downstream. Thread: one loop. It is the Sender of the one exchange that is under way;
// the next pipelined request is parsed only when the response before it has left.
//
//      accept            head complete             OnSent, Detach
//   ---------> kIdle ---------------> kExchange ------------------> kIdle (keep-alive)
//                |  first bytes          | response out, request not read to its end
//                v                       v
//              kHead                   kDrain --> kIdle, or
//   an error reply or Connection: close: kLinger (write side shut, reading on for a while) -->
//   kClosed
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "source/http/h1_reader.h"
#include "source/http/stream.h"
#include "source/net/loop.h"
#include "source/net/transport.h"

namespace gatehouse::http {

struct H1ServerOptions {
  H1Limits limits;
  bool allow_http10 = true;
  uint32_t max_requests = 0;  // per connection; 0: no limit
  Duration header_timeout = std::chrono::seconds(10);
  Duration keep_alive_timeout = std::chrono::seconds(60);
  Duration request_timeout = std::chrono::minutes(5);  // zero: none
  Duration max_age = std::chrono::hours(1);            // zero: none
  uint32_t min_body_rate = 100;                        // bytes per second; 0: none
  uint32_t min_response_rate = 100;
};

class H1ServerConnection final : public Sender {
 public:
  struct Callbacks {
    // A request begins (or is refused: then only OnError follows). The stream lives until it calls
    // Detach() or Abort().
    NewStream (*open)(void* owner, Sender& sender);
    // The connection is over; the owner destroys it at the end of the turn. The last callback.
    void (*closed)(void* owner);
    // A kept-alive connection was closed for idleness.
    void (*idle_closed)(void* owner);
    // A request was refused before it was an exchange: for the counters.
    void (*refused)(void* owner, Error error);
    // The client speaks HTTP/2 by prior knowledge. True: the owner has called GiveUp() and goes on
    // with that; nothing else comes. False, or null: it is refused.
    bool (*preface)(void* owner) = nullptr;
  };

  // `options`, `scratch` and `callbacks` outlive the connection.
  H1ServerConnection(net::Loop& loop, std::unique_ptr<net::Transport> transport,
                     const H1ServerOptions& options, H1HeadScratch& scratch,
                     const Callbacks& callbacks, void* owner);
  ~H1ServerConnection();

  // There may be something to read already: a TLS transport tells of that only once.
  void Start();
  // In `preface` only: what it was made of, and what it has read.
  [[nodiscard]] std::pair<std::unique_ptr<net::Transport>, Chain> GiveUp();

  // From now on responses say Connection: close; an idle connection is closed `grace` from now
  // unless a request comes first.
  void Drain(Duration grace);
  // Closes at once, whatever is under way: the exchange gets OnError(kClientAbort).
  void Kill();

  [[nodiscard]] uint64_t received_bytes() const { return received_; }
  [[nodiscard]] uint64_t sent_bytes() const { return sent_; }
  // When the first byte of the current request was there.
  [[nodiscard]] TimePoint request_start() const { return request_start_; }
  // Why the last request was refused.
  [[nodiscard]] H1Fault fault() const { return fault_; }
  [[nodiscard]] bool exchange_active() const { return receiver_ != nullptr; }

  void SendHead(const RequestHead& head, bool end) override;
  void SendHead(const ResponseHead& head, bool end) override;
  void SendBody(Chain& data, bool end) override;
  void SendTrailers(const HeaderMap& trailers) override;
  [[nodiscard]] size_t Credit() const override;
  void AllowBody(size_t bytes) override;
  void Abort() override;
  void Detach() override;

 private:
  enum class State : uint8_t { kIdle, kHead, kExchange, kDrain, kLinger, kClosed };

  void OnReady(net::Ready ready);
  void OnTimer();
  void EndTurnWork();
  void Process();
  bool ProcessHead();
  bool ProcessBody();
  bool ProcessLeftover();
  void BeginExchange();
  void Refuse(Error error, H1Fault fault);
  void FailRequest(Error error);
  void OnEof();
  void Flush();
  void EndResponse();
  void AfterExchange();
  void BecomeIdle();
  void StartLinger();
  void Close();
  void CheckPace();
  void WatchPace();
  [[nodiscard]] bool KeepAliveAfter(bool length_known) const;
  // The client has sent its last byte, and it belongs to this request.
  [[nodiscard]] bool NoMoreRequests() const { return eof_ && reader_.empty(); }
  net::IoStatus Read(size_t limit, bool message_open);

  net::Loop& loop_;
  std::unique_ptr<net::Transport> transport_;
  const bool secure_;
  const H1ServerOptions& options_;
  H1HeadScratch& scratch_;
  const Callbacks& callbacks_;
  void* owner_;
  net::Flushable flushable_;
  Timer timer_;
  H1Reader reader_;
  Chain out_;
  Receiver* receiver_ = nullptr;
  HeaderMap* trailers_ = nullptr;
  TimePoint opened_;
  TimePoint request_start_;
  size_t allowed_ = 0;          // body bytes that the receiver still takes
  uint64_t response_left_ = 0;  // of a response with a length
  uint64_t received_ = 0;
  uint64_t sent_ = 0;
  uint64_t paced_received_ = 0;  // counts at the last look of CheckPace
  uint64_t paced_sent_ = 0;
  uint32_t requests_ = 0;
  uint32_t drained_ = 0;                    // bytes thrown away after the response
  size_t lingered_ = 0;                     // and in this turn of lingering
  Duration drain_grace_ = Duration::max();  // of an idle connection that drains
  State state_ = State::kIdle;
  Method method_ = Method::kGet;
  Version version_ = Version::kHttp11;
  H1Fault fault_ = H1Fault::kNone;
  bool request_ended_ = true;
  bool response_started_ = false;
  bool response_ended_ = false;
  bool response_chunked_ = false;
  bool response_counted_ = false;  // response_left_ is meaningful
  bool response_empty_ = false;    // HEAD, 204, 304: body bytes are dropped
  bool client_keep_alive_ = true;
  bool close_after_ = false;  // no further request on this connection
  bool gave_up_ = false;      // on the rest of a request, which may still come
  bool draining_ = false;
  bool eof_ = false;  // the client has sent its last byte
  bool expect_continue_ = false;
  bool tunnel_ = false;
  bool transport_shutdown_ = false;  // of a tunnel, once its bytes are out
  bool sent_reported_ = false;
  bool paused_in_window_ = false;  // the body was not read for a while: not the client's fault
  bool output_left_ = false;       // nothing waited to be sent at some time in this window
  bool in_process_ = false;
  bool want_process_ = false;
};

}  // namespace gatehouse::http
