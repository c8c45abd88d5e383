// Downstream: one connection from a client: what comes before HTTP (a PROXY header, the TLS
// handshake), then the codec that the client speaks.
//
// Owner: itself, until its connection is over; then it is buried. Thread: the shard's loop.
//
//   accept --> PROXY header? --> TLS handshake? --ALPN--> h2_ or h1_
//                                                plain: h1_ --HTTP/2 preface--> h2_
#pragma once

#include <memory>
#include <optional>

#include "source/base/intrusive_list.h"
#include "source/base/timer_wheel.h"
#include "source/http/h1_server_connection.h"
#include "source/http/h2_server_connection.h"
#include "source/net/proxy_protocol.h"
#include "source/proxy/exchange.h"
#include "source/proxy/serving_listener.h"

namespace gatehouse::proxy {

class Downstream final : public ListNode<Downstream>, public net::Buried {
 public:
  // `ip_counted`: the listener has counted this address.
  Downstream(ServingListener& listener, const net::Address& peer, bool ip_counted);
  ~Downstream();

  // One of these, once. The first two own the descriptor.
  void BeginWithProxyHeader(int fd);
  void Begin(int fd);
  void Begin(std::unique_ptr<net::Transport> transport);

  void Drain(Duration grace);
  void Kill();

 private:
  // Before HTTP.
  struct Opening {
    Opening(Timer::Fire fire, void* owner) : timer(fire, owner) {}
    std::unique_ptr<net::ProxyHeaderReader> proxy;
    std::unique_ptr<net::Transport> transport;
    Timer timer;
  };

  void StartOpening();
  void OnProxyHeader();
  void StartTls(int fd);
  void OnHandshake();
  void OnOpeningTimeout();
  void Choose(std::unique_ptr<net::Transport> transport);
  void StartH2(std::unique_ptr<net::Transport> transport, Chain&& first);
  [[nodiscard]] bool OnPreface();
  http::NewStream Open(http::Sender& sender, TimePoint started);
  void Refused(http::Error error, http::H1Fault fault);
  void SetClient(const net::Address& address);
  void Closed();
  [[nodiscard]] const observe::ListenerMetrics& metrics() const;
  [[nodiscard]] observe::CounterBlock& counters() const;

  static const http::H1ServerConnection::Callbacks kH1Callbacks;
  static const http::H2ServerConnection::Callbacks kH2Callbacks;

  ServingListener& listener_;
  // What the connection was accepted under.
  std::shared_ptr<const http::H1ServerOptions> options_;
  std::shared_ptr<const http::H2ServerOptions> h2_options_;
  ClientOf client_;
  char peer_text_[56];
  bool ip_counted_;
  std::unique_ptr<Opening> opening_;
  std::optional<http::H1ServerConnection> h1_;
  std::unique_ptr<http::H2ServerConnection> h2_;
};

}  // namespace gatehouse::proxy
