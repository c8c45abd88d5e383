// Admin: the operator's HTTP side of a gateway, on main's loop: /ready /live /metrics /config
// /clusters and POST /drain. Loopback by default; it has no authentication.
//
// Owner: the Server. Thread: main. Answers are made whole, then written as the client takes them.
// A browser on the same machine must not be led here by a web page: requests with an Origin or a
// Host that is a name other than localhost are refused.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "source/base/intrusive_list.h"
#include "source/base/status.h"
#include "source/http/h1_server_connection.h"
#include "source/net/listener.h"
#include "source/net/loop.h"

namespace gatehouse::server {

// A listening socket for an admin address of a config: host:port (numbers) or unix:/path.
[[nodiscard]] absl::StatusOr<int> OpenAdminSocket(const std::string& address);
// Whether a listening socket is there already: one that a process before this one has opened.
[[nodiscard]] bool IsAdminSocket(int fd, const std::string& address);

struct AdminReply {
  uint16_t status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body = {};
  std::string allow = {};  // for 405
};

class AdminConnection;

class Admin {
 public:
  // Answers `method path?query`.
  using Handler =
      std::function<AdminReply(http::Method method, std::string_view path, std::string_view query)>;

  // Owns `fd`, a listening socket.
  Admin(net::Loop& loop, int fd, Handler handler);
  ~Admin();
  Admin(const Admin&) = delete;
  Admin& operator=(const Admin&) = delete;

  [[nodiscard]] int fd() const { return socket_->fd(); }
  // No new connections; what is under way ends.
  void StopAccepting();

 private:
  friend class AdminConnection;
  static constexpr size_t kMaxConnections = 64;

  void Accept(int fd);
  [[nodiscard]] AdminReply Answer(const http::RequestHead& request);

  net::Loop& loop_;
  Handler handler_;
  http::H1ServerOptions options_;
  http::H1HeadScratch scratch_;
  std::unique_ptr<net::ListenSocket> socket_;
  IntrusiveList<AdminConnection> connections_;
  size_t count_ = 0;
};

}  // namespace gatehouse::server
