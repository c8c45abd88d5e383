// TcpOrigin: an HTTP/1.1 origin on a free port of 127.0.0.1, in the test's own thread. It does
// something only in Step(), which never blocks, and unless told otherwise answers every request
// with 200 and the body "ok".
//
// Owner: the test. Thread: the one that calls Step().
//
//   TcpOrigin origin;
//   origin.set_auto_answer(false);
//   while (origin.requests() == 0) { loop.RunTurn(false); origin.Step(); }
//   origin.connection(0).Send("HTTP/1.1 204 No Content\r\n\r\n");
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "source/net/address.h"

namespace gatehouse {

class TcpOrigin {
 public:
  class Connection {
   public:
    explicit Connection(int fd) : fd_(fd) {}
    ~Connection();
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;

    // All that the peer has sent.
    [[nodiscard]] const std::string& received() const { return received_; }
    [[nodiscard]] size_t requests() const { return requests_; }
    // The peer has closed.
    [[nodiscard]] bool ended() const { return ended_; }
    // Sends what the peer takes; the rest goes with the next Step().
    void Send(std::string_view bytes);
    // Closes: with FIN, or with RST.
    void Close();
    void Reset();

   private:
    friend class TcpOrigin;
    void Write();
    void Read();
    // Counts the requests that are complete by now; returns how many are new.
    size_t CountRequests();

    int fd_;
    std::string received_;
    std::string unsent_;
    size_t parsed_ = 0;
    size_t requests_ = 0;
    bool ended_ = false;
  };

  static constexpr std::string_view kOk = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

  explicit TcpOrigin(int backlog = 1024);
  ~TcpOrigin();
  TcpOrigin(const TcpOrigin&) = delete;
  TcpOrigin& operator=(const TcpOrigin&) = delete;

  void Step();
  void set_auto_answer(bool on) { auto_answer_ = on; }
  void set_accepting(bool on) { accepting_ = on; }
  // No more connections: they are refused.
  void StopListening();

  [[nodiscard]] const net::Address& address() const { return address_; }
  [[nodiscard]] uint16_t port() const { return address_.port(); }
  [[nodiscard]] size_t connections() const { return connections_.size(); }
  [[nodiscard]] Connection& connection(size_t index) { return *connections_[index]; }
  // Over all connections.
  [[nodiscard]] size_t requests() const;

 private:
  int fd_;
  net::Address address_;
  bool auto_answer_ = true;
  bool accepting_ = true;
  std::vector<std::unique_ptr<Connection>> connections_;
};

}  // namespace gatehouse
