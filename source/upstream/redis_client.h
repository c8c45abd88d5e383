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
// reply's views live until `done` returns. A worker that ends takes calls that run along without a
// `done`.
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
#include <vector>

#include "source/base/intrusive_list.h"
#include "source/base/time.h"
#include "source/base/timer_wheel.h"
#include "source/net/address.h"
#include "source/net/loop.h"
#include "source/observe/counters.h"
#include "source/upstream/redis_circuit.h"
#include "source/upstream/redis_reply.h"

namespace gatehouse::upstream {

class Cluster;
struct ClusterKey;
class EndpointSet;
class RedisClient;
class RedisConnection;
class RedisLookup;
struct RedisMetrics;
class RedisServer;

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
  // Servers, seeds or sentinels, and TLS; of the same config. The endpoints of kSingle are
  // different ways to one server, or a server and those that stand in for it: one of them is used,
  // for as long as DNS names it.
  const Cluster* cluster = nullptr;
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

// Texts: kRedisResultNames.
enum class RedisFailure : uint8_t {
  kNone,
  kTimeout,      // no answer in time; it may have been done
  kUnreachable,  // no connection in time, or none at all: nothing was sent
  kBroken,       // the connection ended, or what came was no RESP; it may have been done
  kRefused,      // the circuit is open, or too many calls are under way: nothing was sent
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
  // KEYS[1] of the script, or the command's first argument, unless it is empty. Says which server
  // of a Redis Cluster: all that a call touches is in the slot of this key.
  std::string_view key = {};
  std::span<const std::string_view> args = {};
  Duration timeout = std::chrono::milliseconds(50);
};

// What is sent of a call besides a script's name; the client's.
struct RedisPayload {
  RedisPayload* next;
  uint32_t room;
  uint32_t size;
  uint32_t strings;  // of the whole command
  [[nodiscard]] char* data() { return reinterpret_cast<char*>(this + 1); }
  [[nodiscard]] std::string_view view() { return {data(), size}; }
};

// Follows MOVED and ASK, loads scripts that a server does not know, and asks the sentinels again
// after a failover, all within the call's timeout. A call is sent a second time only if the first
// one provably did nothing.
class RedisCall : private ListNode<RedisCall> {
 public:
  using Done = void (*)(void* owner, const RedisResult& result);

  RedisCall();
  ~RedisCall();
  RedisCall(const RedisCall&) = delete;
  RedisCall& operator=(const RedisCall&) = delete;

  // Once, until `done`; then it may be started again.
  void Start(RedisClient& client, const RedisRequest& request, void* owner, Done done);
  [[nodiscard]] bool running() const { return client_ != nullptr; }

 private:
  friend class RedisClient;
  friend class RedisConnection;
  friend class RedisServer;
  friend class IntrusiveList<RedisCall>;

  void OnDeadline();

  RedisClient* client_ = nullptr;
  RedisServer* server_ = nullptr;          // where it waits, or was sent to
  RedisConnection* connection_ = nullptr;  // where it was sent
  uint64_t sequence_ = 0;                  // there
  void* owner_ = nullptr;
  Done done_ = nullptr;
  const RedisScript* script_ = nullptr;
  RedisPayload* payload_ = nullptr;
  TimePoint started_;
  Timer deadline_;
  uint16_t slot_ = 0;
  uint8_t turns_ = 0;     // times that it was sent, or looked for a server, once more
  bool asking_ = false;   // the server does not own the slot yet
  bool by_text_ = false;  // EVAL
  RedisFailure failure_ = RedisFailure::kNone;  // to be told at the end of the turn
};

class RedisClient {
 public:
  static constexpr Duration kIdle = std::chrono::seconds(60);
  // Of one connection, and of the calls that wait for one.
  static constexpr uint32_t kMaxInFlight = 10'000;
  // Times that a call goes out again: redirections, a script that is unknown, another master.
  static constexpr uint8_t kMaxTurns = 5;

  struct Environment {
    net::Loop& loop;
    observe::CounterBlock& counters;
    void* owner;
    // Null: nothing newer is known than what the target has.
    std::shared_ptr<const EndpointSet> (*endpoints)(void* owner, const ClusterKey& key);
    // Idle; it may be destroyed at once. From the loop.
    void (*idle)(void* owner, RedisClient& client);
  };

  RedisClient(std::shared_ptr<const RedisTarget> target, const Environment& environment);
  ~RedisClient();
  RedisClient(const RedisClient&) = delete;
  RedisClient& operator=(const RedisClient&) = delete;

  [[nodiscard]] const RedisTarget& target() const { return *target_; }
  [[nodiscard]] uint32_t running() const { return running_; }

 private:
  friend class RedisCall;
  friend class RedisConnection;
  friend class RedisLookup;
  friend class RedisServer;

  // redis_client.cc: calls.
  void Start(RedisCall& call, const RedisRequest& request);
  [[nodiscard]] RedisPayload* Encode(const RedisRequest& request);
  void Release(RedisPayload* payload);
  void Cancel(RedisCall& call);
  // Takes it from wherever it waits, or was sent to.
  void Unlist(RedisCall& call);
  void End(RedisCall& call);
  void OnDeadline(RedisCall& call);
  // Now: from the loop only.
  void Finish(RedisCall& call, const RedisResult& result);
  void FailLater(RedisCall& call, RedisFailure failure);
  void TellFailed();
  void OnHousekeeping();
  // The client goes: the call is over without a word.
  static void Orphan(RedisCall& call);
  static void Orphan(IntrusiveList<RedisCall>& calls);

  // redis_routing.cc: which server a call goes to.
  void Route(RedisCall& call);
  // Once more, unless that was too often.
  [[nodiscard]] bool RouteAgain(RedisCall& call);
  // False: the answer is the call's result.
  [[nodiscard]] bool Redirect(RedisServer& from, RedisCall& call, const RedisReply& reply);
  void WaitForServer(RedisCall& call);
  [[nodiscard]] RedisServer* ServerOf(uint16_t slot) const;
  [[nodiscard]] RedisServer& ServerAt(const net::Address& address, std::string_view host);
  // Which address an announced one means.
  [[nodiscard]] bool Resolve(std::string_view host, uint16_t port, net::Address* out);
  void OnServerLost(RedisServer& server);
  void OnReadOnly(const RedisServer& server);
  void ChooseEndpoint();
  [[nodiscard]] const EndpointSet& Endpoints();
  void LookUp();
  void OnLookUpTimer();
  // What was found out, from whom and by which name; false and `why`: that was no answer.
  bool OnFound(const RedisReply& reply, const net::Address& from, std::string_view host,
               std::string* why);
  bool OnMasterFound(const RedisReply& reply, std::string* why);
  bool OnSlotsFound(const RedisReply& reply, const net::Address& from, std::string_view from_host,
                    std::string* why);
  void OnNothingFound(std::string_view why);
  void OnTable();
  void UseMaster(RedisServer* server);
  void OnLookUpSlow();
  void NoteLookUpLost(std::string_view why);
  void NoteLookUpBack();
  void NoteLookUpGone();
  [[nodiscard]] uint16_t IndexOf(RedisServer& server);

  const std::shared_ptr<const RedisTarget> target_;
  const Environment environment_;
  net::Loop& loop_;
  observe::CounterBlock& counters_;
  const RedisMetrics& metrics_;
  std::shared_ptr<const EndpointSet> endpoints_;
  std::vector<std::unique_ptr<RedisServer>> servers_;
  RedisServer* master_ = nullptr;      // but of a Redis Cluster
  std::vector<RedisServer*> masters_;  // of a Redis Cluster; null: left
  std::vector<uint16_t> slots_;        // of a Redis Cluster: index in masters_, or kNoMaster
  std::unique_ptr<RedisLookup> lookup_;
  RedisCircuit lookup_circuit_;
  std::string lookup_name_;  // of what the operator was told that is lost; empty: nothing
  Timer lookup_timer_;
  TimePoint looked_up_;                // when the last lookup began
  IntrusiveList<RedisCall> homeless_;  // they wait for a lookup
  uint32_t homeless_count_ = 0;
  IntrusiveList<RedisCall> failed_;
  net::Flushable tell_failed_;
  Timer housekeeping_;
  TimePoint used_;
  uint32_t running_ = 0;
  RedisPayload* spare_ = nullptr;
  uint32_t spares_ = 0;
};

}  // namespace gatehouse::upstream
