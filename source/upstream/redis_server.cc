#include "source/upstream/redis_server.h"

#include <algorithm>
#include <utility>

#include "fmt/format.h"
#include "source/base/check.h"
#include "source/base/random.h"
#include "source/upstream/redis_metrics.h"
#include "source/upstream/redis_target.h"

namespace gatehouse::upstream {
namespace {

constexpr Duration kProbeTimeout = std::chrono::seconds(1);
// A connection that is lost is made again within this.
constexpr Duration kReconnectWithin = std::chrono::milliseconds(20);
constexpr size_t kMaxWords = 200;

RedisServer& Of(void* owner) { return *static_cast<RedisServer*>(owner); }

template <size_t N>
bool IsAnyOf(const RedisReply& reply, const std::string_view (&codes)[N]) {
  return std::any_of(codes, codes + N, [&](std::string_view code) { return reply.IsError(code); });
}

// Answers of a server that can do nothing for anybody now.
bool IsUseless(const RedisReply& reply) {
  static constexpr std::string_view kCodes[] = {"LOADING", "MASTERDOWN", "NOAUTH", "BUSY"};
  return IsAnyOf(reply, kCodes);
}

// Answers that the next call would get as well, as they are about the server or the user.
bool RefusesWork(const RedisReply& reply) {
  static constexpr std::string_view kCodes[] = {"CLUSTERDOWN", "NOPERM", "MISCONF", "OOM",
                                                "NOREPLICAS"};
  return IsUseless(reply) || IsAnyOf(reply, kCodes);
}

// Redis 6 tells of an error inside of a script in its own words.
bool IsReadOnly(const RedisReply& reply) {
  return reply.IsError("READONLY") ||
         (reply.is_error() && reply.text.find("-READONLY ") != std::string_view::npos);
}

}  // namespace

const RedisConnection::Callbacks RedisServer::kCallbacks{
    .ready = [](void* owner, RedisConnection& connection) { Of(owner).OnReady(connection); },
    .closed = [](void* owner, RedisConnection& connection,
                 std::string_view why) { Of(owner).OnClosed(connection, why); },
    .replied = [](void* owner, RedisConnection& connection, RedisCall& call,
                  const RedisReply& reply) { Of(owner).OnReplied(connection, call, reply); },
    .answered = [](void* owner, RedisConnection& /*connection*/,
                   const RedisReply& reply) { Of(owner).OnAnswered(reply); },
};

RedisServer::RedisServer(RedisClient& client, const net::Address& address, std::string_view host)
    : client_(client),
      address_(address),
      text_(address.ToString()),
      host_(host.empty() ? address.ip().ToString() : std::string(host)),
      timer_(Timer::Calls<RedisServer, &RedisServer::OnTimer>(), this) {}

RedisServer::~RedisServer() {
  RedisClient::Orphan(waiting_);
  const RedisMetrics& metrics = client_.metrics_;
  client_.counters_.Gauge(metrics.connections,
                          -static_cast<int64_t>(ready_.size() + retiring_.size()));
  for (const auto* list : {&ready_, &retiring_}) {
    for (RedisConnection* connection : *list) delete connection;
  }
  delete connecting_;
  if (lost_) {
    client_.counters_.Gauge(metrics.open_circuits, -1);
    client_.target_->news().Forget(text_);
  }
}

bool RedisServer::busy() const {
  return waiting_count_ > 0 || !retiring_.empty() ||
         std::any_of(ready_.begin(), ready_.end(),
                     [](const RedisConnection* one) { return one->in_flight() > 0; });
}

// --- Calls ---

void RedisServer::Take(RedisCall& call) {
  if (__builtin_expect(!circuit_.closed(), 0)) {
    client_.FailLater(call, RedisFailure::kRefused);
    return;
  }
  RedisConnection* best = Best();
  const uint64_t queue = best != nullptr ? best->in_flight() : waiting_count_;
  if (__builtin_expect(queue >= RedisClient::kMaxInFlight, 0)) {
    client_.FailLater(call, RedisFailure::kRefused);
    return;
  }
  call.server_ = this;
  if (__builtin_expect(best != nullptr, 1)) {
    best->Send(call);
    return;
  }
  waiting_.PushBack(call);
  ++waiting_count_;
  if (connecting_ == nullptr && !timer_.armed()) Connect();
}

RedisConnection* RedisServer::Best() {
  RedisConnection* best = nullptr;
  for (RedisConnection* connection : ready_) {
    if (best == nullptr || connection->in_flight() < best->in_flight()) best = connection;
  }
  return best;
}

void RedisServer::Forget(RedisCall& call) {
  if (call.connection_ != nullptr) {
    call.connection_->Forget(call);
  } else {
    call.ListNode<RedisCall>::Unlink();
    --waiting_count_;
  }
  call.server_ = nullptr;
}

void RedisServer::OnTimeout() {
  if (circuit_.Fail(client_.loop_.turn())) Open("it does not answer in time");
}

void RedisServer::SendWaiting() {
  while (!waiting_.empty()) {
    RedisConnection* best = Best();
    if (best == nullptr) return;
    RedisCall* call = waiting_.PopFront();
    --waiting_count_;
    best->Send(*call);
  }
}

void RedisServer::FailWaiting(RedisFailure failure) {
  waiting_count_ = 0;
  while (RedisCall* call = waiting_.PopFront()) client_.FailLater(*call, failure);
}

// --- Connections ---

void RedisServer::Connect() {
  DCHECK(connecting_ == nullptr);
  const RedisSpec& spec = client_.target_->spec();
  client_.counters_.Add(client_.metrics_.connects);
  const RedisLogin login{.address = address_,
                         .host = host_,
                         .username = spec.username,
                         .password = spec.password,
                         .database = spec.database,
                         .master = spec.topology != RedisTopology::kCluster};
  auto connection = std::make_unique<RedisConnection>(client_.loop_, client_.target_, login,
                                                      sessions_, kCallbacks, this);
  const std::string why = connection->Connect(client_.target_->connect_timeout());
  if (!why.empty()) {
    OnConnectFailed(why);
    return;
  }
  connecting_ = connection.release();
}

void RedisServer::OnConnectFailed(std::string_view why) {
  client_.counters_.Add(client_.metrics_.connect_failures);
  if (ready_.empty()) {
    Open(why);
  } else if (circuit_.closed()) {
    // The others do meanwhile.
    client_.loop_.Arm(timer_, RedisCircuit::kMaxDelay);
  }
}

void RedisServer::OnReady(RedisConnection& connection) {
  DCHECK(connecting_ == &connection);
  connecting_ = nullptr;
  ready_.push_back(&connection);
  client_.counters_.Gauge(client_.metrics_.connections, +1);
  // It counts as a success only while nothing better is known: it may log in and do nothing else.
  if (!circuit_.closed()) Close();
  SendWaiting();
  if (ready_.size() < client_.target_->spec().connections && !left_ && connecting_ == nullptr) {
    Connect();
  }
}

void RedisServer::OnClosed(RedisConnection& connection, std::string_view why) {
  if (connecting_ == &connection) {
    connecting_ = nullptr;
    OnConnectFailed(why);
  } else {
    OnLost(connection, why);
  }
}

void RedisServer::OnLost(RedisConnection& connection, std::string_view why) {
  const bool retired = std::erase(retiring_, &connection) > 0;
  std::erase(ready_, &connection);
  client_.counters_.Gauge(client_.metrics_.connections, -1);
  client_.counters_.Add(client_.metrics_.lost);
  if (!retired && (circuit_.Fail(client_.loop_.turn()) || circuit_.probing())) {
    Open(why);
  } else if (circuit_.closed() && !left_ && connecting_ == nullptr &&
             (ready_.empty() || !timer_.armed())) {
    const auto within = static_cast<uint64_t>(kReconnectWithin.count());
    client_.loop_.Arm(timer_, Duration(ThreadRandom().Below(within)));
  }
  client_.OnServerLost(*this);
  bool sent = false;
  while (RedisCall* call = connection.TakeCall(&sent)) {
    call->server_ = nullptr;
    // What never left is as good as new.
    if (!sent && client_.RouteAgain(*call)) continue;
    client_.Finish(*call, {sent ? RedisFailure::kBroken : RedisFailure::kUnreachable, {}});
  }
}

void RedisServer::RetireConnections(std::string_view why) {
  while (!ready_.empty()) {
    RedisConnection* connection = ready_.back();
    ready_.pop_back();
    retiring_.push_back(connection);
    if (connection->in_flight() == 0) connection->Close(why);
  }
}

// --- Replies ---

void RedisServer::OnReplied(RedisConnection& connection, RedisCall& call, const RedisReply& reply) {
  if (__builtin_expect(!retiring_.empty(), 0) && connection.in_flight() == 0 &&
      std::find(retiring_.begin(), retiring_.end(), &connection) != retiring_.end()) {
    // It is buried: what the reply refers to lives on for this turn.
    connection.Close("it was not used any more");
  }
  if (__builtin_expect(reply.is_error(), 0)) {
    if (reply.IsError("NOSCRIPT") && call.script_ != nullptr && LoadScript(connection, call)) {
      return;
    }
    if (reply.IsError("MOVED") || reply.IsError("ASK")) {
      call.server_ = nullptr;
      if (client_.target_->spec().topology != RedisTopology::kCluster) {
        Condemn("it is part of a Redis Cluster, and is not configured as one");
      } else if (client_.Redirect(*this, call, reply)) {
        return;
      }
    } else if (IsReadOnly(reply)) {
      Condemn("it takes no writes: it is a replica now");
      client_.OnReadOnly(*this);
      call.server_ = nullptr;
      if (client_.RouteAgain(call)) return;
    } else if (RefusesWork(reply)) {
      Condemn(reply.text.substr(0, kMaxWords));
    } else {
      client_.target_->news().Wrong(text_, reply.text.substr(0, kMaxWords), client_.loop_.Now());
    }
    call.server_ = nullptr;
    client_.Finish(call, {RedisFailure::kError, reply});
    return;
  }
  circuit_.Succeed();
  // One that is open is closed by its probe alone.
  if (__builtin_expect(!proven_, 0) && circuit_.closed()) {
    proven_ = true;
    SayBack();
  }
  call.server_ = nullptr;
  client_.Finish(call, {RedisFailure::kNone, reply});
}

bool RedisServer::LoadScript(RedisConnection& connection, RedisCall& call) {
  if (call.by_text_ || !connection.ready() || ++call.turns_ > RedisClient::kMaxTurns) return false;
  // Of many calls that find the script unknown the first one takes its text along.
  if (!connection.IsLoading(call)) {
    client_.counters_.Add(client_.metrics_.scripts_loaded);
    call.by_text_ = true;
    connection.NoteLoading(*call.script_);
  }
  connection.Send(call);
  return true;
}

void RedisServer::OnAnswered(const RedisReply& reply) {
  if (circuit_.closed()) return;
  if (IsUseless(reply)) {
    Open(reply.text.substr(0, kMaxWords));
  } else {
    Close();
    SendWaiting();
  }
}

// --- The circuit ---

void RedisServer::OnTimer() {
  if (left_) return;
  if (circuit_.closed()) {
    if (connecting_ == nullptr && ready_.size() < client_.target_->spec().connections) Connect();
    return;
  }
  circuit_.Probe();
  if (RedisConnection* best = Best()) {
    const std::string_view ping[] = {"PING"};
    best->Ask(ping, kProbeTimeout);
  } else if (connecting_ == nullptr) {
    Connect();
  }
}

void RedisServer::Open(std::string_view why) {
  circuit_.Open();
  doubted_ |= !proven_;
  if (!lost_) {
    lost_ = true;
    client_.counters_.Gauge(client_.metrics_.open_circuits, +1);
    client_.target_->news().Lost(text_, why, client_.loop_.Now());
  } else {
    client_.target_->news().StillLost(text_, why, client_.loop_.Now());
  }
  if (!left_) client_.loop_.Arm(timer_, circuit_.NextDelay(ThreadRandom()));
  FailWaiting(RedisFailure::kUnreachable);
  client_.OnServerLost(*this);
}

void RedisServer::Close() {
  timer_.Cancel();
  circuit_.Close();
  proven_ = false;
  if (!doubted_) SayBack();
}

void RedisServer::SayBack() {
  doubted_ = false;
  if (!lost_) return;
  lost_ = false;
  client_.counters_.Gauge(client_.metrics_.open_circuits, -1);
  client_.target_->news().Back(text_, client_.loop_.Now());
}

void RedisServer::Condemn(std::string_view why) {
  if (circuit_.closed()) Open(why);
  // Its next connection shows, by how it logs in, whether it is better.
  RetireConnections(why);
}

void RedisServer::Return() {
  if (!left_) return;
  left_ = false;
  if (!circuit_.closed()) client_.loop_.Arm(timer_, circuit_.NextDelay(ThreadRandom()));
}

void RedisServer::Leave() {
  if (left_) return;
  left_ = true;
  timer_.Cancel();
  IntrusiveList<RedisCall> homeless;
  homeless.TakeAll(waiting_);
  waiting_count_ = 0;
  while (RedisCall* call = homeless.PopFront()) {
    call->server_ = nullptr;
    if (!client_.RouteAgain(*call)) client_.FailLater(*call, RedisFailure::kUnreachable);
  }
}

}  // namespace gatehouse::upstream
