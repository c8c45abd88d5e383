// H2Origin: an HTTP/2 origin on a free port of 127.0.0.1, in the test's own loop: the gateway's own
// server side, whose requests the test answers as it likes, well or badly.
//
// Owner: the test; the loop outlives it. Thread: the loop's.
//
//   H2Origin origin(loop);
//   while (origin.requests() == 0) loop.RunTurn(false);
//   origin.request(0).Head(200, {{"content-type", "application/grpc"}});
//   origin.request(0).Body(bytes);
//   origin.request(0).Trailers({{"grpc-status", "0"}});
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "source/base/arena.h"
#include "source/http/h2_server_connection.h"
#include "source/net/listener.h"
#include "source/net/loop.h"
#include "source/net/tls_context.h"

namespace gatehouse {

class H2Origin {
 public:
  using Fields = std::vector<std::pair<std::string, std::string>>;

  class Request final : public http::Receiver {
   public:
    explicit Request(http::Sender& sender) : sender_(&sender), head_(arena_), trailers_(arena_) {}

    [[nodiscard]] const http::RequestHead& head() const { return head_; }
    [[nodiscard]] std::string Field(std::string_view name) const {
      return std::string(head_.headers.Get(name).value_or("(none)"));
    }
    [[nodiscard]] const std::string& body() const { return body_; }
    [[nodiscard]] bool headed() const { return headed_; }
    // The client has said all.
    [[nodiscard]] bool ended() const { return ended_; }
    // The client gave up, or the stream was reset.
    [[nodiscard]] bool broken() const { return broken_; }
    [[nodiscard]] bool over() const { return sender_ == nullptr; }

    void Allow(size_t bytes) { sender_->AllowBody(bytes); }
    void Head(uint16_t status, const Fields& fields, bool end = false);
    void Body(std::string_view bytes, bool end = false);
    void Trailers(const Fields& fields);
    void Reset(uint32_t code);
    // GOAWAY on its connection, for streams after `last_id`.
    void GoAway(int32_t last_id);
    [[nodiscard]] size_t Credit() const { return sender_->Credit(); }
    // Bytes of the answer that have left for the network.
    [[nodiscard]] uint64_t sent() const { return Stream().sent; }

   private:
    void OnHead(bool end) override;
    void OnBody(Chain& data, bool end) override;
    void OnTrailers() override { ended_ = true; }
    void OnError(http::Error error) override;
    void OnCredit() override {}
    void OnSent() override;

    friend class H2Origin;
    [[nodiscard]] http::H2Stream& Stream() const { return *static_cast<http::H2Stream*>(sender_); }

    Arena arena_;
    http::Sender* sender_;
    http::RequestHead head_;
    http::HeaderMap trailers_;
    std::optional<http::ResponseHead> answer_;
    std::optional<http::HeaderMap> end_;
    std::string body_;
    bool headed_ = false;
    bool ended_ = false;
    bool broken_ = false;
  };

  // With a context, over TLS.
  explicit H2Origin(net::Loop& loop, std::shared_ptr<const net::TlsServerContext> tls = nullptr);
  ~H2Origin();
  H2Origin(const H2Origin&) = delete;
  H2Origin& operator=(const H2Origin&) = delete;

  [[nodiscard]] uint16_t port() const { return port_; }
  [[nodiscard]] size_t connections() const { return connections_.size(); }
  [[nodiscard]] size_t requests() const { return requests_.size(); }
  [[nodiscard]] Request& request(size_t index) { return *requests_[index]; }
  // Of requests that begin from now on: no body is taken before Allow().
  void set_allow(size_t bytes) { allow_ = bytes; }
  // Closes all connections at once.
  void Kill();
  // No more connections: they are refused.
  void StopListening() { listener_.reset(); }

 private:
  struct Connection;

  void Accept(int fd);

  net::Loop& loop_;
  std::shared_ptr<const net::TlsServerContext> tls_;
  uint16_t port_ = 0;
  size_t allow_ = SIZE_MAX / 2;
  http::H2ServerOptions options_;
  std::vector<std::unique_ptr<Connection>> connections_;
  std::vector<std::unique_ptr<Request>> requests_;
  std::optional<net::ListenSocket> listener_;
};

}  // namespace gatehouse
