// Attempt: one try of an exchange at an origin: the lease of a connection, the stream on it and the
// timers of the try. A retry resets it and starts again.
//
// Owner: the Exchange, as a member. Thread: its loop. It stores what happens and wakes the
// exchange; it decides nothing.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "source/base/timer_wheel.h"
#include "source/http/stream.h"
#include "source/net/loop.h"
#include "source/upstream/lease.h"
#include "source/upstream/upstreams.h"

namespace gatehouse::proxy {

class Attempt final : public http::Receiver {
 public:
  struct Owner {
    void* self;
    // Something changed: look.
    void (*wake)(void* self);
    // Response body; `end`: it is the last. Takes all of `data`.
    void (*body)(void* self, Chain& data, bool end);
    // The origin sent a 1xx head (never 101).
    void (*interim)(void* self);
  };
  enum class State : uint8_t {
    kNone,        // no lease
    kConnecting,  // waits for one
    kLeased,      // has one; Begin() may be called
    kOpen,        // the stream runs
    kEnded,       // the response has ended; the lease is back
    kFailed,      // see error()
  };

  Attempt(net::Loop& loop, Owner owner);
  ~Attempt() { Reset(); }

  // Asks for a connection. `hint` as for ClusterState::Acquire.
  void Connect(upstream::Upstreams& upstreams, const upstream::Cluster& cluster,
               const upstream::PickHint& hint);
  // Starts the stream; kLeased. The head of the response goes to `response`.
  void Begin(http::Method method, http::ResponseHead& response, http::HeaderMap& trailers);
  // Gives the lease back: pooled when the exchange ended cleanly, else aborted.
  void Reset();
  // Fails this try from outside (a deadline).
  void Fail(http::Error error);

  [[nodiscard]] State state() const { return state_; }
  [[nodiscard]] http::Error error() const { return error_; }
  // Valid in kOpen.
  [[nodiscard]] http::Sender& sender() { return *sender_; }
  [[nodiscard]] bool open() const { return state_ == State::kOpen; }
  // Begun, and neither ended nor failed.
  [[nodiscard]] bool under_way() const {
    return state_ == State::kConnecting || state_ == State::kLeased || state_ == State::kOpen;
  }
  [[nodiscard]] bool head_arrived() const { return head_arrived_; }
  // The response has no body (with head_arrived()).
  [[nodiscard]] bool head_ends() const { return head_ends_; }
  [[nodiscard]] bool has_trailers() const { return has_trailers_; }
  // The failed connection had been used before and nothing of a response had come.
  [[nodiscard]] bool stale() const { return stale_; }
  // Why the last Connect() got no connection, in words; else empty.
  [[nodiscard]] const std::string& failure() const { return waiter_.failure(); }
  void ForgetFailure() { waiter_.ForgetFailure(); }
  [[nodiscard]] const upstream::Endpoint* endpoint() const { return endpoint_; }
  [[nodiscard]] TimePoint started() const { return started_; }
  [[nodiscard]] TimePoint head_at() const { return head_at_; }
  [[nodiscard]] TimePoint ended_at() const { return ended_at_; }

  // The request has been sent whole (SendHead/SendBody/SendTrailers with end).
  void NoteRequestEnded();

  // Limits of this try; zero is none. Armed by Connect().
  void set_timeouts(Duration per_try, Duration response_header) {
    per_try_timeout_ = per_try;
    header_timeout_ = response_header;
  }

  void OnHead(bool end) override;
  void OnBody(Chain& data, bool end) override;
  void OnTrailers() override;
  void OnError(http::Error error) override;
  void OnCredit() override;
  void OnSent() override;

 private:
  void OnLease(upstream::Lease lease, http::Error error);
  void OnTimer();
  void EndIfDone();

  net::Loop& loop_;
  Owner owner_;
  upstream::LeaseWaiter waiter_;
  Timer timer_;
  upstream::Lease lease_;
  http::Sender* sender_ = nullptr;
  const upstream::Endpoint* endpoint_ = nullptr;
  http::ResponseHead* response_ = nullptr;
  Duration per_try_timeout_ = kNoTimeout;
  Duration header_timeout_ = kNoTimeout;
  TimePoint started_;
  TimePoint head_at_;
  TimePoint ended_at_;
  http::Error error_;
  State state_ = State::kNone;
  bool head_arrived_ = false;
  bool head_ends_ = false;
  bool response_ended_ = false;
  bool has_trailers_ = false;
  bool stale_ = false;
};

}  // namespace gatehouse::proxy
