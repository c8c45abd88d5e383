// H2ServerConnection: HTTP/2 towards a client: a request is a stream, handed to a new exchange.
// Time limits, and the end of the connection by two GOAWAYs (RFC 9113, section 6.8).
//
// Owner: a Downstream. Thread: one loop.
//
//   Drain: GOAWAY(2^31-1), PING --answered, or a second later--> GOAWAY(last stream)
//          --its streams end--> write side shut --EOF, or two seconds--> closed
#pragma once

#include <cstdint>
#include <memory>

#include "source/http/h2_options.h"
#include "source/http/h2_session.h"

namespace gatehouse::http {

class H2ServerConnection {
 public:
  struct Callbacks {
    // A request begins (or is refused: then only OnError follows).
    NewStream (*open)(void* owner, Sender& sender);
    // The connection is over; the owner destroys it at the end of the turn. The last callback.
    void (*closed)(void* owner);
    void (*idle_closed)(void* owner);
    // A request was refused before it was an exchange: for the counters.
    void (*refused)(void* owner, Error error);
    void (*abuse)(void* owner, H2Abuse abuse);
    // A GOAWAY was sent.
    void (*goaway)(void* owner);
  };

  // `options` and `callbacks` outlive the connection. `first`: what was read already.
  H2ServerConnection(net::Loop& loop, std::unique_ptr<net::Transport> transport, Chain&& first,
                     const H2ServerOptions& options, const Callbacks& callbacks, void* owner);

  // No new streams soon; those that are there end first. Idle connections end within `grace`.
  void Drain(Duration grace);
  // Closes at once: exchanges get OnError(kClientAbort).
  void Kill() { session_.Close(); }

  [[nodiscard]] uint64_t received_bytes() const { return session_.received_bytes(); }
  [[nodiscard]] uint64_t sent_bytes() const { return session_.sent_bytes(); }

 private:
  static const H2Session::Side kSide;

  bool Begin(H2Stream& stream);
  void Head(H2Stream& stream, bool end);
  void Malformed(H2Stream& stream);
  void Gone();
  void Changed();
  void OnTimer();
  void CheckPace();
  [[nodiscard]] bool WindowHolds();
  void CheckStream(H2Stream& stream);
  void CheckPing();
  void FinalGoaway();
  void Watch();
  [[nodiscard]] TimePoint NextLook() const;
  [[nodiscard]] const H1ServerOptions& common() const { return options_.common; }

  net::Loop& loop_;
  const H2ServerOptions& options_;
  const Callbacks& callbacks_;
  void* owner_;
  Timer timer_;
  H2Session session_;
  TimePoint opened_;
  TimePoint idle_since_;
  TimePoint window_start_;  // of the pace
  TimePoint ping_sent_ = kNever;
  TimePoint final_goaway_ = kNever;
  uint64_t paced_written_ = 0;
  uint64_t paced_body_ = 0;
  uint32_t requests_ = 0;
  bool output_left_ = true;
  bool draining_ = false;
  bool last_goaway_sent_ = false;
};

}  // namespace gatehouse::http
