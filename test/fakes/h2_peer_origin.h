// H2PeerOrigin: an HTTP/2 origin on a free port of 127.0.0.1, in the test's own thread: TcpOrigin's
// sockets, a session of nghttp2 on each. Unless told otherwise it answers every request that has
// ended with 200 and the body "ok".
//
// Owner: the test. Thread: the one that calls Step().
//
//   H2PeerOrigin origin;
//   while (origin.requests() == 0) { loop.RunTurn(false); origin.Step(); }
//   origin.peer(0).Respond(1, {{":status", "204"}});
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "test/fakes/h2_peer.h"
#include "test/fakes/tcp_origin.h"

namespace gatehouse {

class H2PeerOrigin {
 public:
  explicit H2PeerOrigin(http::H2Peer::Options options = {}) : options_(std::move(options)) {
    options_.server = true;
    tcp_.set_auto_answer(false);
  }

  void Step() {
    tcp_.Step();
    sessions_.resize(tcp_.connections());
    for (size_t i = 0; i < sessions_.size(); ++i) StepOne(sessions_[i], tcp_.connection(i));
  }
  void set_auto_answer(bool on) { auto_answer_ = on; }
  // A PROXY header of version 1 comes first.
  void set_proxy_header(bool on) { proxy_header_ = on; }
  void set_body(std::string body) { body_ = std::move(body); }

  [[nodiscard]] TcpOrigin& tcp() { return tcp_; }
  [[nodiscard]] size_t connections() const { return tcp_.connections(); }
  [[nodiscard]] http::H2Peer& peer(size_t index) { return *sessions_.at(index).peer; }
  [[nodiscard]] const std::string& proxy_header(size_t index) {
    return sessions_.at(index).proxy_header;
  }
  // That have ended, of one connection and of all.
  [[nodiscard]] size_t requests(size_t index) { return Ended(sessions_.at(index)); }
  [[nodiscard]] size_t requests() {
    size_t count = 0;
    for (Session& session : sessions_) count += Ended(session);
    return count;
  }

 private:
  struct Session {
    std::unique_ptr<http::H2Peer> peer;
    size_t fed = 0;
    size_t looked_at = 0;
    std::string proxy_header;
  };

  static size_t Ended(Session& session) {
    size_t count = 0;
    if (session.peer == nullptr) return 0;
    for (int32_t id : session.peer->heard()) count += session.peer->stream(id).ended ? 1 : 0;
    return count;
  }
  void StepOne(Session& session, TcpOrigin::Connection& connection) {
    if (session.peer == nullptr) session.peer = std::make_unique<http::H2Peer>(options_);
    std::string_view bytes = std::string_view(connection.received()).substr(session.fed);
    if (proxy_header_ && session.proxy_header.empty()) {
      const size_t end = bytes.find("\r\n");
      if (end == std::string_view::npos) return;
      session.proxy_header = bytes.substr(0, end);
      session.fed += end + 2;
      bytes.remove_prefix(end + 2);
    }
    session.fed += bytes.size();
    session.peer->Feed(bytes);
    if (auto_answer_) Answer(session);
    connection.Send(session.peer->Take());
  }
  void Answer(Session& session) {
    const std::vector<int32_t>& heard = session.peer->heard();
    while (session.looked_at < heard.size() &&
           session.peer->stream(heard[session.looked_at]).ended) {
      session.peer->Respond(heard[session.looked_at++],
                            {{":status", "200"}, {"content-length", std::to_string(body_.size())}},
                            body_);
    }
  }

  http::H2Peer::Options options_;
  TcpOrigin tcp_;
  std::vector<Session> sessions_;
  bool auto_answer_ = true;
  bool proxy_header_ = false;
  std::string body_ = "ok";
};

}  // namespace gatehouse
