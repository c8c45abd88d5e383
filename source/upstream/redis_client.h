// RedisClient: one worker's connections to a Redis server, a Redis Cluster or what its sentinels
// say is the master. RedisCall: one command, or one run of a script.
//
// Owner: the worker's Upstreams, which makes a client when a RedisTarget is first used and frees it
// when it has been idle for a while, so nothing has to be told of a config change. Thread: its
// loop. Calls of all requests share few connections: they are pipelined, in one write per turn.
//
// A RedisCall's `done` is called once, from the loop, never from Start(), and never after the call
// was destroyed: destroying it cancels (what was sent may still be done by the server). It may
// destroy the call. What the call refers to (key, arguments) must live until Start() returns; the
// reply's views live until `done` returns.
//
//   RedisCall call;
//   call.Start(upstreams.Redis(target), {.script = &kTake, .key = key, .args = args,
//              .timeout = 50ms}, this, &OnReply);
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

#include "source/base/time.h"

namespace gatehouse::observe {
class MetricRegistry;
}

namespace gatehouse::upstream {

class Cluster;
class RedisClient;

// A value of RESP2. Arrays have their elements behind them.
struct RedisReply {
  enum class Type : uint8_t { kNull, kInteger, kString, kStatus, kError, kArray };

  Type type = Type::kNull;
  int64_t integer = 0;
  std::string_view text;                 // kString, kStatus, kError
  std::span<const RedisReply> elements;  // kArray
};

// A Lua script, known to servers by its SHA-1. Const, static.
class RedisScript {
 public:
  explicit RedisScript(std::string_view text);
  [[nodiscard]] std::string_view text() const { return text_; }
  [[nodiscard]] std::string_view sha1() const { return sha1_; }  // 40 hex digits

 private:
  std::string_view text_;
  std::string sha1_;
};

enum class RedisTopology : uint8_t { kSingle, kCluster, kSentinel };

struct RedisSpec {
  const Cluster* cluster = nullptr;  // servers, seeds or sentinels, and TLS; of the same config
  RedisTopology topology = RedisTopology::kSingle;
  std::string sentinel_master;
  std::string username;
  std::string password;
  std::string sentinel_password;
  uint32_t database = 0;
  uint32_t connections = 1;  // to each server
};

// Which servers, and how to log in. Const; made on main, part of the config. Policies that say the
// same share one target (StateStore), and so each worker's connections.
class RedisTarget;  // redis_target.h: Make(spec, registry); name() of its cluster, id()

enum class RedisFailure : uint8_t {
  kNone,
  kTimeout,      // no answer in time; it may have been done
  kUnreachable,  // no connection
  kBroken,       // the connection ended, or what came was no RESP; it may have been done
  kRefused,      // the circuit is open: nothing was sent
  kError,        // an answer, but an error: reply.text
};

struct RedisResult {
  RedisFailure failure = RedisFailure::kNone;
  RedisReply reply;

  [[nodiscard]] bool ok() const { return failure == RedisFailure::kNone; }
};

struct RedisRequest {
  // Either a script or a command's name.
  const RedisScript* script = nullptr;
  std::string_view command = {};
  // Says which server of a Redis Cluster: all that a call touches is in the slot of this key.
  std::string_view key = {};
  std::span<const std::string_view> args = {};
  Duration timeout = std::chrono::milliseconds(50);
};

// Follows MOVED and ASK, loads scripts that a server does not know, and asks the sentinels again
// after a failover, all within the call's timeout. A call is sent a second time only if the first
// one provably did nothing.
class RedisCall {
 public:
  using Done = void (*)(void* owner, const RedisResult& result);

  RedisCall() = default;
  ~RedisCall();
  RedisCall(const RedisCall&) = delete;
  RedisCall& operator=(const RedisCall&) = delete;

  // Once, until `done`; then it may be started again.
  void Start(RedisClient& client, const RedisRequest& request, void* owner, Done done);
  [[nodiscard]] bool running() const;

 private:
  friend class RedisClient;
};

}  // namespace gatehouse::upstream
