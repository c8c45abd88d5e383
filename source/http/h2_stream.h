// H2Stream: one stream of an HTTP/2 connection, either side: the Sender of an exchange (server) or
// of an attempt (client), and what is on its way in both directions.
//
// Owner: its H2Session. Thread: one loop. It lives until nghttp2 has closed it and its Receiver has
// detached, aborted or been told of an error. Who wants to know longer than that holds an
// H2StreamHandle, which both ends clear.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "source/base/chain.h"
#include "source/base/intrusive_list.h"
#include "source/base/time.h"
#include "source/http/stream.h"

namespace gatehouse::http {

class H2Session;
class H2Stream;

// Refers to a stream as long as there is one. Owner: a lease. Movable.
class H2StreamHandle {
 public:
  H2StreamHandle() = default;
  H2StreamHandle(H2StreamHandle&& other) noexcept { MoveFrom(other); }
  H2StreamHandle& operator=(H2StreamHandle&& other) noexcept {
    if (this != &other) {
      Clear();
      MoveFrom(other);
    }
    return *this;
  }
  ~H2StreamHandle() { Clear(); }

  // One handle per stream.
  void Attach(H2Stream& stream);
  void Clear();
  [[nodiscard]] H2Stream* get() const { return stream_; }

 private:
  void MoveFrom(H2StreamHandle& other);

  H2Stream* stream_ = nullptr;
};

struct H2AllTag;
struct H2ReadyTag;
struct H2CreditTag;
struct H2SentTag;

class H2Stream final : public Sender,
                       public ListNode<H2Stream, H2AllTag>,
                       public ListNode<H2Stream, H2ReadyTag>,
                       public ListNode<H2Stream, H2CreditTag>,
                       public ListNode<H2Stream, H2SentTag> {
 public:
  explicit H2Stream(H2Session& owner) : session(owner) {}
  ~H2Stream() {
    if (handle != nullptr) handle->Clear();
  }

  void SendHead(const RequestHead& head, bool end) override;
  void SendHead(const ResponseHead& head, bool end) override;
  void SendBody(Chain& data, bool end) override;
  void SendTrailers(const HeaderMap& trailers) override;
  [[nodiscard]] size_t Credit() const override;
  void AllowBody(size_t bytes) override;
  void Abort() override;
  void Detach() override;

  // The inside, for H2Session and its two sides.
  H2Session& session;
  int32_t id = -1;  // -1: the request has not been submitted
  Receiver* receiver = nullptr;
  RequestHead* request = nullptr;    // server
  ResponseHead* response = nullptr;  // client
  HeaderMap* trailers = nullptr;     // that come
  const HeaderMap* trailers_out = nullptr;
  H2StreamHandle* handle = nullptr;

  Chain in;   // came, and the receiver has not allowed it yet
  Chain out;  // to be sent, as far as the peer's windows allow
  size_t allowed = 0;
  uint64_t received = 0;  // body bytes
  uint64_t sent = 0;
  uint64_t response_left = 0;  // of a response with a length
  uint64_t sent_mark = 0;      // where its end is among the bytes of the connection
  uint64_t head_mark = 0;      // where its head ends
  uint64_t paced_received = 0;
  uint64_t paced_sent = 0;
  TimePoint opened{};

  // The header block that is being received.
  uint32_t block_bytes = 0;
  uint16_t block_fields = 0;
  uint16_t cookies = 0;
  Error block_error;
  std::optional<uint32_t> reset_code;  // by which nghttp2 closed it before its message had ended
  Error failure;                       // found in a call of the receiver's, told from the loop
  std::string_view host;               // of a request: its Host field
  std::string_view protocol;           // of an extended CONNECT
  std::string_view websocket_key;

  uint8_t interim = 0;  // 1xx responses so far
  Method method = Method::kGet;
  bool in_trailers = false;      // the block is a trailer section
  bool head_done = false;        // the (final) head has been handed over
  bool in_ended = false;         // END_STREAM has come
  bool in_told = false;          // and the receiver knows
  bool has_trailers = false;     // they came
  bool head_sent = false;        // our (final) head was submitted
  bool out_ended = false;        // all of the message is in `out`
  bool deferred = false;         // nghttp2 waits for nghttp2_session_resume_data()
  bool end_sent = false;         // END_STREAM is on its way
  bool end_told = false;         // OnSent() was called
  bool closed = false;           // by nghttp2
  bool done = false;             // about to be freed
  bool malformed = false;        // the peer broke a rule on it
  bool failed = false;           // server: the receiver was told of an error, and may still answer
  bool swallow = false;          // the stream was reset; what is sent goes nowhere
  bool reset_after_end = false;  // the rest of the request is of no interest
  bool counted = false;          // response_left is meaningful
  bool empty = false;            // a response without a body: HEAD, 204, 304
  bool tunnel = false;           // bytes of another protocol both ways
  bool wants_tunnel = false;     // an extended CONNECT, not answered yet
  bool expect_continue = false;
  bool unpaced = false;         // may be slow: gRPC, tunnels
  bool paused = false;          // in this pace window the receiver allowed nothing
  bool output_left = false;     // in this pace window all had been sent at some time
  bool connect_accept = false;  // client: an upgrade asked for by extended CONNECT
};

inline void H2StreamHandle::Attach(H2Stream& stream) {
  Clear();
  stream_ = &stream;
  stream.handle = this;
}
inline void H2StreamHandle::Clear() {
  if (stream_ != nullptr) stream_->handle = nullptr;
  stream_ = nullptr;
}
inline void H2StreamHandle::MoveFrom(H2StreamHandle& other) {
  stream_ = other.stream_;
  other.stream_ = nullptr;
  if (stream_ != nullptr) stream_->handle = this;
}

}  // namespace gatehouse::http
