// H2Session: an HTTP/2 connection, whichever side (RFC 9113): frames and HPACK by nghttp2, streams,
// flow control by credit, limits on abuse. H2ServerConnection and H2ClientConnection say what
// streams begin and when the connection ends.
//
// Owner: one of those two. Thread: one loop.
//
//   socket --Read--> in_ --nghttp2--> heads: at once   --> Receiver
//                                     bodies: stream.in --as allowed--> Receiver, window opened
//                                     again
//   Sender --> stream.out --nghttp2, as the windows allow--> out_ --one Write a turn--> socket
//
// Nothing is copied but heads and small pieces. A stream's input is bounded by the window that we
// gave, its output by Credit().
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>

#include <nghttp2/nghttp2.h>

#include "source/http/h2_options.h"
#include "source/http/h2_stream.h"
#include "source/net/loop.h"
#include "source/net/transport.h"

namespace gatehouse::http {

// What a peer did too much of.
enum class H2Abuse : uint8_t {
  kResets,
  kControl,
  kEmpty,
  kErrors,
  kContinuations,
  kHeaderList,
  kStalled,
};

// So many at once, and so many per second.
class TokenBucket {
 public:
  TokenBucket(uint32_t burst, uint32_t per_second)
      : tokens_(burst), burst_(burst), per_second_(per_second) {}
  // False: there is none left.
  [[nodiscard]] bool Take(TimePoint now);

 private:
  uint32_t tokens_;
  uint32_t burst_;
  uint32_t per_second_;
  TimePoint filled_{};
};

// Stream ids that a client passed over, which it may not use any more (RFC 9113, section 5.1.1).
// Clients do not do that, so a few of the last are enough to tell one that does.
class H2SkippedIds {
 public:
  void Note(int32_t before, int32_t now);
  [[nodiscard]] bool Has(int32_t id) const;

 private:
  struct Range {
    int32_t first = 0;
    int32_t last = -1;
  };
  std::array<Range, 4> ranges_;
  uint32_t next_ = 0;
};

class H2Session {
 public:
  enum class Role : uint8_t { kServer, kClient };

  // The side that owns the session.
  struct Side {
    // Server: a request begins; fills in receiver, request, trailers. False: refuse the stream.
    bool (*begin)(void* self, H2Stream& stream);
    // A header block has ended well: hands the head to the receiver. `end`: END_STREAM.
    void (*head)(void* self, H2Stream& stream, bool end);
    // nghttp2 found the peer's message malformed and resets the stream.
    void (*malformed)(void* self, H2Stream& stream);
    // The stream is gone.
    void (*gone)(void* self, H2Stream& stream);
    // Something else came, or the turn ends: limits, GOAWAY, settings.
    void (*changed)(void* self);
    void (*abuse)(void* self, H2Abuse abuse);
    // The connection is over. Once, the last.
    void (*closed)(void* self);
  };

  struct Settings {
    uint32_t max_streams;
    uint32_t stream_window;
    uint32_t connection_window;
    uint32_t max_header_bytes;
    uint16_t max_headers;
    UnderscorePolicy underscores;
    bool extended_connect;
    H2AbuseLimits abuse;
  };

  H2Session(Role role, net::Loop& loop, std::unique_ptr<net::Transport> transport,
            const Settings& settings, const Side& side, void* self);
  ~H2Session();
  H2Session(const H2Session&) = delete;
  H2Session& operator=(const H2Session&) = delete;

  // Feeds bytes that were read already, then what the transport has.
  void Start(Chain&& first);
  // Does at the end of the turn what there is to do.
  void Later() { loop_.FlushLater(flushable_); }
  // GOAWAY, then no more; what is under way ends with an error. `code`: an HTTP/2 error code.
  void Terminate(uint32_t code);
  // What is under way ends with an error, once Terminate() was called.
  void TerminateStreams() { FailAll(); }
  // Ends the connection now; each stream gets an error.
  void Close();
  // When nothing is left to be said or heard: shuts down and closes.
  void CloseGracefully();

  [[nodiscard]] H2Stream& NewStream();
  void Submit(H2Stream& stream, const nghttp2_nv* fields, size_t count, bool end);
  void SubmitInterim(H2Stream& stream, const nghttp2_nv* fields, size_t count);
  void Reset(H2Stream& stream, uint32_t code);
  void SendBody(H2Stream& stream, Chain& data, bool end);
  void SendTrailers(H2Stream& stream, const HeaderMap& trailers);
  void AllowBody(H2Stream& stream, size_t bytes);
  void Abort(H2Stream& stream);
  void Detach(H2Stream& stream);
  [[nodiscard]] size_t CreditOf(const H2Stream& stream) const;
  // From here on the stream carries bytes of another protocol.
  void BecomeTunnel(H2Stream& stream);
  // Tells the receiver of `error`.
  void Fail(H2Stream& stream, Error error);
  // Resets the stream; its receiver hears of it from the loop.
  void FailLater(H2Stream& stream, Error error);
  // Something of `stream` may be delivered.
  void Ready(H2Stream& stream);

  [[nodiscard]] nghttp2_session* raw() const { return session_; }
  [[nodiscard]] net::Loop& loop() const { return loop_; }
  [[nodiscard]] net::Transport& transport() { return *transport_; }
  [[nodiscard]] bool server() const { return role_ == Role::kServer; }
  [[nodiscard]] bool closed() const { return closed_; }
  [[nodiscard]] bool terminated() const { return terminated_; }
  [[nodiscard]] bool secure() const { return secure_; }
  [[nodiscard]] const Settings& settings() const { return settings_; }
  [[nodiscard]] uint64_t received_bytes() const { return received_; }
  [[nodiscard]] uint64_t sent_bytes() const { return written_; }
  // Of that, bodies; as serialized.
  [[nodiscard]] uint64_t body_sent() const { return body_sent_; }
  [[nodiscard]] uint32_t stream_count() const { return stream_count_; }
  [[nodiscard]] IntrusiveList<H2Stream, H2AllTag>& streams() { return streams_; }
  [[nodiscard]] bool output_waits() const { return !out_.empty(); }
  // When a header block began that has not ended; kNever when there is none.
  [[nodiscard]] TimePoint block_opened() const { return block_open_ ? block_opened_ : kNever; }
  // None has been sent yet; HPACK's table is empty.
  [[nodiscard]] bool first_head() const { return !head_submitted_; }
  [[nodiscard]] bool peer_settings_came() const { return settings_came_; }
  [[nodiscard]] bool peer_goes_away() const { return peer_goes_away_; }
  // Extended CONNECT (RFC 8441).
  [[nodiscard]] bool peer_takes_connect() const;
  [[nodiscard]] bool ping_answered() const { return ping_answered_; }
  void SendPing();
  void Abused(H2Abuse abuse);
  [[nodiscard]] TimePoint last_received() const { return last_received_; }

 private:
  friend struct H2Callbacks;

  void SubmitSettings();
  void TellStreamLimit(std::string_view settings_frame);
  void OnReady(net::Ready ready);
  void EndTurnWork();
  void Process();
  bool Feed();
  void DeliverReady();
  void Deliver(H2Stream& stream);
  void Consume(H2Stream& stream, size_t bytes);
  void Flush();
  void Pull();
  void TellCredit();
  void PlaceMarks();
  [[nodiscard]] bool IsWhole(const H2Stream& stream) const;
  void TellSent();
  void Resume(H2Stream& stream);
  void SwallowedEnd(H2Stream& stream);
  void MarkEnd(H2Stream& stream);
  void NoteHeadSent(H2Stream& stream, bool end);
  void FreeIfDone(H2Stream& stream);
  void FreeDone();
  void DropInput(H2Stream& stream);
  void OnFatal(int error);
  void FailAll();
  void OnLingered();
  [[nodiscard]] bool NothingLeft() const;
  [[nodiscard]] Error LostError(const H2Stream& stream) const;
  [[nodiscard]] size_t OutTarget() const;

  // h2_callbacks.cc: what nghttp2 says.
  int OnBeginFrame(const nghttp2_frame_hd& header);
  int OnBeginHeaders(const nghttp2_frame& frame);
  int OnHeader(std::string_view name, std::string_view value, uint8_t flags);
  void OnInvalidHeader(const nghttp2_frame& frame);
  void Malformed(H2Stream& stream);
  int OnFrame(const nghttp2_frame& frame);
  void OnHeadersFrame(const nghttp2_frame& frame);
  int OnData(int32_t id, const uint8_t* data, size_t size);
  int OnStreamClose(int32_t id, uint32_t code);
  int OnInvalidFrame(const nghttp2_frame& frame, int error);
  void OnFrameSent(const nghttp2_frame& frame);
  void OnFrameNotSent(const nghttp2_frame& frame);
  ssize_t ReadData(H2Stream& stream, size_t limit, uint32_t* flags);
  int SendData(const uint8_t* header, size_t size, H2Stream& stream);
  [[nodiscard]] H2Stream* Find(int32_t id);
  void CountFrame(const nghttp2_frame_hd& header);
  void CountData(const nghttp2_frame& frame);
  void AllowControls(uint32_t count);
  [[nodiscard]] uint32_t CheckFrame(const nghttp2_frame_hd& header);
  void NoteLargestWindow();
  void OnSettings(const nghttp2_settings& settings);

  const Role role_;
  const bool secure_;
  net::Loop& loop_;
  std::unique_ptr<net::Transport> transport_;
  const Settings settings_;
  const Side& side_;
  void* self_;
  net::Flushable flushable_;
  Timer linger_;
  nghttp2_session* session_ = nullptr;
  Chain in_;
  Chain out_;
  const Slice* feeding_ = nullptr;  // what nghttp2 parses now
  IntrusiveList<H2Stream, H2AllTag> streams_;
  IntrusiveList<H2Stream, H2ReadyTag> ready_;
  IntrusiveList<H2Stream, H2CreditTag> credited_;
  IntrusiveList<H2Stream, H2SentTag> sent_;  // by sent_mark
  IntrusiveList<H2Stream, H2AllTag> done_;   // to be freed at the end of the turn
  uint64_t received_ = 0;
  uint64_t serialized_ = 0;  // bytes that went to out_
  uint64_t written_ = 0;     // and of these to the transport
  uint64_t body_sent_ = 0;
  TimePoint last_received_;
  TimePoint block_opened_;
  size_t next_read_;
  uint32_t stream_count_ = 0;
  int32_t last_id_ = 0;
  int32_t largest_window_ = 0;  // of the streams, before the SETTINGS that are being received
  int64_t peer_window_ = 65535;
  uint32_t allowed_controls_ = 0;  // before control_ is asked
  H2SkippedIds skipped_;
  TokenBucket resets_;
  TokenBucket control_;
  TokenBucket empty_;
  TokenBucket errors_;
  H2Stream* block_ = nullptr;     // whose header block is being received
  H2Stream* head_out_ = nullptr;  // whose header block is being sent
  bool in_process_ = false;
  bool want_process_ = false;
  bool block_open_ = false;
  bool head_submitted_ = false;
  bool settings_came_ = false;
  bool peer_goes_away_ = false;
  bool ping_answered_ = false;
  bool terminated_ = false;
  bool limit_told_ = false;
  bool broken_ = false;     // nghttp2 must not be asked any more
  bool shut_down_ = false;  // our side; reading on for a while
  bool closed_ = false;
};

}  // namespace gatehouse::http
