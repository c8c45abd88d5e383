// RedisLookup: asks one server after the other until one of them answers: sentinels for the master,
// or a Redis Cluster for who has which slots. Its connections are for the question alone.
//
// Owner: the RedisClient. Thread: its loop. One lookup at a time; the client hears of its end by
// OnFound() or OnNothingFound(), perhaps from within Start().
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "source/net/address.h"
#include "source/net/tls_context.h"
#include "source/upstream/redis_connection.h"

namespace gatehouse::upstream {

class RedisClient;

class RedisLookup {
 public:
  static constexpr Duration kTimeout = std::chrono::seconds(1);  // for each of them

  struct Candidate {
    net::Address address;
    std::string host;
  };

  explicit RedisLookup(RedisClient& client) : client_(client) {}
  ~RedisLookup();
  RedisLookup(const RedisLookup&) = delete;
  RedisLookup& operator=(const RedisLookup&) = delete;

  [[nodiscard]] bool running() const { return running_; }
  // Begins with the one that answered last, if it is among them.
  void Start(std::vector<Candidate> candidates, std::vector<std::string> question);

 private:
  static const RedisConnection::Callbacks kCallbacks;

  void TryNext();
  void OnReady(RedisConnection& connection);
  void OnClosed(std::string_view why);
  void OnAnswered(RedisConnection& connection, const RedisReply& reply);

  RedisClient& client_;
  std::vector<Candidate> candidates_;
  std::vector<std::string> question_;
  size_t next_ = 0;
  net::Address last_good_;
  const std::shared_ptr<net::TlsSessions> sessions_ = std::make_shared<net::TlsSessions>();
  RedisConnection* connection_ = nullptr;
  std::string why_;  // of the last that failed
  bool running_ = false;
};

}  // namespace gatehouse::upstream
