// H2ClientConnection: HTTP/2 towards an origin: as many exchanges at once as both sides allow.
//
// Owner: an upstream pool. Thread: one loop. It may be used once `ready` was called: when the
// origin's settings are known.
//
//   http::Sender& sender = connection.Begin(Method::kGet, {receiver, head, trailers}, handle);
//   sender.SendHead(request, true);
#pragma once

#include <cstdint>
#include <memory>

#include "source/http/h2_options.h"
#include "source/http/h2_session.h"

namespace gatehouse::http {

class H2ClientConnection {
 public:
  struct Callbacks {
    // The origin's settings have come. Once.
    void (*ready)(void* owner);
    // How many streams it takes has changed; perhaps none any more.
    void (*changed)(void* owner);
    // The connection is over; the owner destroys it at the end of the turn. The last callback.
    void (*closed)(void* owner);
  };

  // `transport` is connected (and its TLS established). `callbacks` outlive the connection.
  H2ClientConnection(net::Loop& loop, std::unique_ptr<net::Transport> transport,
                     const H1Limits& limits, const H2ClientOptions& options,
                     const Callbacks& callbacks, void* owner);

  // Starts an exchange; available() said yes.
  [[nodiscard]] Sender& Begin(Method method, const ResponsePlace& place, H2StreamHandle& handle);
  // One more stream may be begun.
  [[nodiscard]] bool available() const;
  // How many streams it takes at once.
  [[nodiscard]] uint32_t max_streams() const;
  // The connection broke.
  [[nodiscard]] bool lost() const { return session_.closed(); }
  [[nodiscard]] bool ready() const { return ready_; }
  [[nodiscard]] uint32_t streams() const { return session_.stream_count(); }
  // It takes no streams any more, though some may still run.
  [[nodiscard]] bool going_away() const { return going_away_; }
  // Exchanges that began on it.
  [[nodiscard]] uint32_t exchanges() const { return exchanges_; }
  // Ends it: at once what is idle, else with the last of its streams.
  void Shutdown();

 private:
  static const H2Session::Side kSide;

  void Head(H2Stream& stream, bool end);
  void Changed();
  void OnTimer();
  void Watch();

  net::Loop& loop_;
  const H2ClientOptions options_;
  const Callbacks& callbacks_;
  void* owner_;
  Timer timer_;
  H2Session session_;
  TimePoint ping_sent_ = kNever;
  uint32_t exchanges_ = 0;
  uint32_t told_max_ = 0;  // streams
  bool ready_ = false;
  bool going_away_ = false;
  bool told_ = false;  // of a change in this turn
};

}  // namespace gatehouse::http
