// H1ClientConnection: HTTP/1.1 towards an origin, one exchange at a time over a connected
// transport.
//
// Owner: an upstream pool. Thread: one loop. Between Begin() and the end of the exchange it is the
// exchange's Sender. When an exchange has ended it tells its owner once, from the loop, whether the
// connection is clean: the response had framing and ended, the request was sent whole, no byte came
// behind the response, and neither side asked to close.
//
//   http::Sender& sender = connection.Begin(Method::kGet, {receiver, head, trailers});
//   sender.SendHead(request, true);
//   ... callbacks->idle(owner, connection) or callbacks->closed(owner, connection)
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "source/http/h1_reader.h"
#include "source/http/stream.h"
#include "source/net/loop.h"
#include "source/net/transport.h"

namespace gatehouse::http {

class H1ClientConnection final : public Sender {
 public:
  struct Callbacks {
    // The exchange has ended and the connection may carry another one. Called from the loop.
    void (*idle)(void* owner, H1ClientConnection& connection);
    // The connection is over (while idle or after its exchange ended); the owner destroys it at the
    // end of the turn. No callback comes after it.
    void (*closed)(void* owner, H1ClientConnection& connection);
  };

  // `transport` is connected. `limits`, `scratch` and `callbacks` outlive the connection.
  H1ClientConnection(net::Loop& loop, std::unique_ptr<net::Transport> transport,
                     const H1Limits& limits, H1HeadScratch& scratch, const Callbacks& callbacks,
                     void* owner);
  ~H1ClientConnection();

  // Starts an exchange; the connection is idle. What the request says is given to SendHead() next.
  // The target that goes out is RequestHead::path, the host RequestHead::authority.
  [[nodiscard]] Sender& Begin(Method method, const ResponsePlace& place);

  [[nodiscard]] bool idle() const { return state_ == State::kIdle; }
  // Begun and not given up: neither Detach() nor Abort() was called, nor has it failed.
  [[nodiscard]] bool in_exchange() const { return place_.receiver != nullptr; }
  // Exchanges that ended on it.
  [[nodiscard]] uint32_t exchanges() const { return exchanges_; }
  // Something of the current response has come: the origin has seen the request.
  [[nodiscard]] bool response_started() const { return response_bytes_ > 0; }

  void SendHead(const RequestHead& head, bool end) override;
  void SendHead(const ResponseHead& head, bool end) override;
  void SendBody(Chain& data, bool end) override;
  void SendTrailers(const HeaderMap& trailers) override;
  [[nodiscard]] size_t Credit() const override;
  void AllowBody(size_t bytes) override;
  void Abort() override;
  void Detach() override;

 private:
  enum class State : uint8_t { kIdle, kHead, kBody, kTunnel, kDone, kClosed };

  void OnReady(net::Ready ready);
  void Process();
  bool ProcessHead();
  bool TakeResponseHead();
  bool ProcessBody();
  bool ReadMore(size_t limit);
  void OnEof();
  void EndRequest();
  void EndResponse();
  void BecomeIdleIfDone();
  void Fail(Error error);
  void Close();
  void Flush();
  void EndTurnWork();

  net::Loop& loop_;
  std::unique_ptr<net::Transport> transport_;
  const H1Limits& limits_;
  H1HeadScratch& scratch_;
  const Callbacks& callbacks_;
  void* owner_;
  net::Flushable flushable_;
  H1Reader reader_;
  Chain out_;
  ResponsePlace place_;
  uint32_t exchanges_ = 0;
  uint64_t response_bytes_ = 0;
  uint64_t request_bytes_sent_ = 0;
  size_t allowed_ = 0;
  Error pending_;        // found in a call of the exchange, told from the loop
  uint8_t interim_ = 0;  // 1xx responses so far
  State state_ = State::kIdle;
  Method method_ = Method::kGet;
  bool request_chunked_ = false;
  bool request_ended_ = false;  // the whole request is in out_ or sent
  bool sent_reported_ = false;
  bool want_close_ = false;  // one side said Connection: close, or the framing is unclean
  bool upgrade_asked_ = false;
  bool write_failed_ = false;
  bool shutdown_after_flush_ = false;
  bool closed_told_ = false;
  bool want_process_ = false;
  bool in_process_ = false;
};

}  // namespace gatehouse::http
