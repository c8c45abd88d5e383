// RedisServer: one Redis server as one worker sees it: its connections, the calls that wait for
// one, and its circuit. The inside of RedisClient, which decides what goes to which server.
//
// Owner: the RedisClient; freed only from its housekeeping, so that nothing up the stack uses it.
// Thread: one loop. Connections are made when a call first needs one, one after the other; one that
// is lost is made again after a random moment. While the circuit is open calls are refused, and a
// timer tries by itself, whether there are calls or not.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "source/base/intrusive_list.h"
#include "source/base/timer_wheel.h"
#include "source/net/address.h"
#include "source/net/tls_context.h"
#include "source/upstream/redis_circuit.h"
#include "source/upstream/redis_client.h"
#include "source/upstream/redis_connection.h"

namespace gatehouse::upstream {

class RedisServer {
 public:
  // `host`: what TLS expects in the certificate.
  RedisServer(RedisClient& client, const net::Address& address, std::string_view host);
  ~RedisServer();
  RedisServer(const RedisServer&) = delete;
  RedisServer& operator=(const RedisServer&) = delete;

  [[nodiscard]] const net::Address& address() const { return address_; }
  [[nodiscard]] const std::string& text() const { return text_; }
  [[nodiscard]] const std::string& host() const { return host_; }
  [[nodiscard]] bool usable() const { return circuit_.closed(); }
  [[nodiscard]] bool left() const { return left_; }
  [[nodiscard]] bool busy() const;

  // Sends the call, or keeps it until it can, or refuses it.
  void Take(RedisCall& call);
  // A call that waits here, or was sent, is not wanted any more.
  void Forget(RedisCall& call);
  // A call had no answer in time.
  void OnTimeout();
  // It is good for nothing, whatever it may answer: calls go elsewhere.
  void Condemn(std::string_view why);
  // Nothing is sent here any more; calls that wait are routed anew. Until Return().
  void Leave();
  void Return();

 private:
  static const RedisConnection::Callbacks kCallbacks;

  void Connect();
  void OnConnectFailed(std::string_view why);
  void OnReady(RedisConnection& connection);
  void OnClosed(RedisConnection& connection, std::string_view why);
  void OnLost(RedisConnection& connection, std::string_view why);
  void OnReplied(RedisConnection& connection, RedisCall& call, const RedisReply& reply);
  // The call goes out once more; false: that was too often.
  [[nodiscard]] bool LoadScript(RedisConnection& connection, RedisCall& call);
  void OnAnswered(const RedisReply& reply);
  void OnTimer();
  void Open(std::string_view why);
  void Close();
  void SayBack();
  void SendWaiting();
  void FailWaiting(RedisFailure failure);
  [[nodiscard]] RedisConnection* Best();
  // Closes those that nothing is owed on; the others when they have answered.
  void RetireConnections(std::string_view why);

  RedisClient& client_;
  const net::Address address_;
  const std::string text_;
  const std::string host_;
  const std::shared_ptr<net::TlsSessions> sessions_ = std::make_shared<net::TlsSessions>();
  std::vector<RedisConnection*> ready_;
  std::vector<RedisConnection*> retiring_;  // take no more calls
  RedisConnection* connecting_ = nullptr;
  IntrusiveList<RedisCall> waiting_;
  uint32_t waiting_count_ = 0;
  RedisCircuit circuit_;
  Timer timer_;           // closed: to connect again; open: to try
  bool lost_ = false;     // as the operator was told
  bool proven_ = true;    // a call succeeded since the circuit was closed
  bool doubted_ = false;  // it was opened again before that: back is who has served a call
  bool left_ = false;
};

}  // namespace gatehouse::upstream
