// RedisConnection: one connection to one Redis server: TLS, login, and calls in a pipeline.
//
// Owner: a RedisServer or a RedisLookup, told by callbacks. Thread: one loop. It buries itself when
// it is over: after `closed`, the last callback, its owner forgets it. Replies come in the order of
// what was sent. A server that owes an answer for longer than kOverdue beyond its deadline is taken
// for dead.
//
//   connecting --> login --> ready --> closed
//        +-----------+--------------------^     `closed` says why
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "source/base/chain.h"
#include "source/base/time.h"
#include "source/base/timer_wheel.h"
#include "source/net/address.h"
#include "source/net/loop.h"
#include "source/net/tls_context.h"
#include "source/net/transport.h"
#include "source/upstream/redis_codec.h"

namespace gatehouse::upstream {

class RedisCall;
class RedisScript;
class RedisTarget;

// Where to, and what is said before it is ready. What it refers to outlives the connection's use.
struct RedisLogin {
  net::Address address;
  std::string_view host;  // of the certificate
  std::string_view username;
  std::string_view password;
  uint32_t database = 0;
  bool master = false;  // a replica is no use
};

class RedisConnection final : public net::Buried {
 public:
  static constexpr Duration kOverdue = std::chrono::seconds(1);

  struct Callbacks {
    void (*ready)(void* owner, RedisConnection& connection);
    void (*closed)(void* owner, RedisConnection& connection, std::string_view why);
    void (*replied)(void* owner, RedisConnection& connection, RedisCall& call,
                    const RedisReply& reply);
    void (*answered)(void* owner, RedisConnection& connection, const RedisReply& reply);
  };

  // `target` and `sessions` live on while the connection does.
  RedisConnection(net::Loop& loop, std::shared_ptr<const RedisTarget> target,
                  const RedisLogin& login, std::shared_ptr<net::TlsSessions> sessions,
                  const Callbacks& callbacks, void* owner);
  ~RedisConnection();
  RedisConnection(const RedisConnection&) = delete;
  RedisConnection& operator=(const RedisConnection&) = delete;

  // Begins. Empty, or why not; then it is good for nothing.
  [[nodiscard]] std::string Connect(Duration timeout);
  // When ready: a call, or a command of the owner's, which is `answered`.
  void Send(RedisCall& call);
  void Ask(std::span<const std::string_view> command, Duration timeout);
  // The call's answer is not wanted any more.
  void Forget(RedisCall& call);
  // The owner has seen enough; `closed` follows at once.
  void Close(std::string_view why) { Fail(why); }

  // After `closed`: the calls that were under way, one by one; null: none is left. `sent`: the
  // server may have seen some of it.
  [[nodiscard]] RedisCall* TakeCall(bool* sent);

  [[nodiscard]] bool ready() const { return state_ == State::kReady; }
  [[nodiscard]] uint64_t in_flight() const { return next_ - first_; }
  // A script that is known from now on, and whether it has been sent since the call was.
  void NoteLoading(const RedisScript& script);
  [[nodiscard]] bool IsLoading(const RedisCall& call) const;

 private:
  enum class State : uint8_t { kConnecting, kLogin, kReady, kClosed };
  enum class Kind : uint8_t { kCall, kIgnored, kAuth, kSelect, kPing, kRole, kAsked };

  // What an answer is owed for.
  struct Slot {
    RedisCall* call = nullptr;  // null: cancelled, or none
    TimePoint due;
    uint64_t begin = 0;  // where it begins in all that is written
    Kind kind = Kind::kIgnored;
  };

  void OnReady();
  void OnConnected();
  void LogIn();
  void ReadAll();
  void OnEnd(std::string_view how);
  // False: it is over.
  [[nodiscard]] bool ParseAll();
  [[nodiscard]] RedisScanner::Status ScanMore();
  void OnReply(const RedisReply& reply);
  void OnLoginReply(Kind kind, const RedisReply& reply);
  void Flush();
  void OnTimer();
  void Fail(std::string_view why);

  void Push(Kind kind, RedisCall* call, TimePoint due);
  [[nodiscard]] Slot& At(uint64_t sequence) { return slots_[sequence & (slots_.size() - 1)]; }
  void Append(std::string_view text);
  void Say(Kind kind, std::span<const std::string_view> command, TimePoint due);
  void Say(Kind kind, std::initializer_list<std::string_view> command, TimePoint due) {
    Say(kind, std::span(command.begin(), command.size()), due);
  }

  net::Loop& loop_;
  const std::shared_ptr<const RedisTarget> target_;
  const RedisLogin login_;
  const std::shared_ptr<net::TlsSessions> sessions_;  // outlives the transport
  const Callbacks& callbacks_;
  void* owner_;
  std::unique_ptr<net::Transport> transport_;
  State state_ = State::kConnecting;
  Timer timer_;  // of the login, then of the oldest answer
  net::Flushable flush_;
  Chain in_;
  Chain out_;
  uint64_t written_ = 0;   // bytes that have left
  uint64_t appended_ = 0;  // and those that are to
  RedisScanner scanner_;
  RedisReplyReader reader_;
  std::vector<Slot> slots_;  // a ring; a power of two
  uint64_t first_ = 0;       // the oldest answer that is owed
  uint64_t next_ = 0;
  std::vector<std::pair<const RedisScript*, uint64_t>> loading_;  // and what was sent with it
};

}  // namespace gatehouse::upstream
