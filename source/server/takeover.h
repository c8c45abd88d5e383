// Takeover: how a new process gets the listening sockets of the one that it replaces, so that no
// connection is refused: the sockets, and the connections that wait in them, are never closed.
//
// The old process offers its sockets at a unix socket. The new one asks for them, starts to serve
// on them, says so, and the old one drains and ends. If the new one fails before that, the old one
// goes on as if nothing had happened. Both talk only to a process of the same user, or root.
//
//   StatusOr<std::unique_ptr<Takeover>> old = Takeover::Ask(path);   // null: nobody there
//   ... old->sockets ... serve ...
//   old->TellReady();
//   TakeoverOffer offer(loop, path, ...);                           // for the next one
#pragma once

#include <sys/stat.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "source/base/status.h"
#include "source/net/loop.h"

namespace gatehouse::server {

// Listening sockets by the address text of their listener.
using SocketSet = std::map<std::string, std::vector<int>>;

class Takeover {
 public:
  // Null when no process offers its sockets there.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Takeover>> Ask(const std::string& path);
  // Closes the sockets that were not taken.
  ~Takeover();
  Takeover(const Takeover&) = delete;
  Takeover& operator=(const Takeover&) = delete;

  // Takes them out: the caller owns them.
  [[nodiscard]] std::vector<int> Take(const std::string& address);
  // The new process serves: the old one may drain.
  void TellReady();

 private:
  explicit Takeover(int fd) : fd_(fd) {}
  [[nodiscard]] absl::Status Receive();

  int fd_;
  SocketSet sockets_;
};

class TakeoverOffer {
 public:
  struct Callbacks {
    // The sockets to hand out; they stay the caller's.
    std::function<SocketSet()> sockets;
    // The new process serves: time to drain.
    std::function<void()> replaced;
  };

  [[nodiscard]] static absl::StatusOr<std::unique_ptr<TakeoverOffer>> Open(net::Loop& loop,
                                                                           const std::string& path,
                                                                           Callbacks callbacks);
  ~TakeoverOffer();
  TakeoverOffer(const TakeoverOffer&) = delete;
  TakeoverOffer& operator=(const TakeoverOffer&) = delete;

  // No more: the sockets are about to close, and their numbers to become others'. Who asks from now
  // on finds nobody. Also from a callback, and again.
  void Withdraw();
  // A new process has asked, may have sockets already, and has not yet said what becomes of it.
  [[nodiscard]] bool has_peer() const { return peer_ >= 0; }

 private:
  TakeoverOffer(net::Loop& loop, std::string path, int fd, Callbacks callbacks);
  void OnConnection();
  void Watch(net::FdEvents::Trigger trigger);
  void SendMore();
  void OnAnswer();
  void DropPeer();
  void KeepSpare();

  net::Loop& loop_;
  std::string path_;
  struct stat own_{};  // the socket at `path_`, until a new process puts its own there
  int fd_;
  Callbacks callbacks_;
  std::unique_ptr<net::FdEvents> events_;
  int peer_ = -1;
  int spare_fd_ = -1;  // given up for a peer when there is no other descriptor
  // Where to go on with the list for the peer.
  std::string next_address_;
  size_t next_socket_ = 0;
  bool replaced_ = false;  // the path is the new process's, which may be about to take it
  std::unique_ptr<net::FdEvents> peer_events_;
};

}  // namespace gatehouse::server
