#include "source/xds/ads_client.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <variant>

#include <fmt/format.h>

#include "source/base/check.h"
#include "source/base/timer_wheel.h"
#include "source/net/loop.h"
#include "source/upstream/grpc_client.h"
#include "source/xds/ads_answer.h"
#include "source/xds/ads_delta.h"
#include "source/xds/ads_lifetimes.h"
#include "source/xds/ads_protocol.h"
#include "source/xds/ads_sotw.h"
#include "source/xds/fetch_watch.h"

namespace gatehouse::xds {
namespace {

// What may be unanswered, or have its answer unsent, before the control plane has to wait. They
// count over streams: one that comes back again and again is not served better. Some servers send
// each resource in a message of its own, so that it is the bytes that bound a large push.
constexpr size_t kMaxMessages = 64;
constexpr size_t kMaxCost = size_t{64} << 20;
constexpr uint32_t kUnset = UINT32_MAX;
constexpr size_t kMaxFailureText = 1024;

std::string TextOf(const Chain& chain) {
  std::string text;
  text.reserve(chain.bytes());
  for (size_t i = 0; i < chain.slices(); ++i) text += chain[i].view();
  return text;
}

std::variant<AdsDelta, AdsSotw> MakeProtocol(const AdsOptions& options, AdsOwner& owner) {
  const AdsNode node{options.node_id, options.node_group, options.gateway_version};
  const auto versions = [&owner](Type type) { return owner.HeldVersions(type); };
  if (options.protocol == AdsProtocol::kDelta) {
    return AdsDelta(node, WantedOf(options.only), versions);
  }
  return AdsSotw(
      node, WantedOf(options.only),
      {.versions = versions, .version = [&owner](Type type) { return owner.HeldVersion(type); }});
}

}  // namespace

class AdsClient::Session final : private upstream::GrpcStreamOwner {
 public:
  Session(upstream::Upstreams& upstreams, AdsOwner& owner, AdsOptions options, Random& random);

  void Start();
  void Answer(uint64_t id, const std::vector<Refusal>& refusals);
  void Want(const std::map<Type, std::set<std::string>>& only);
  void UseCluster(const upstream::Cluster& cluster) { stream_.UseCluster(cluster); }
  [[nodiscard]] const upstream::Cluster* cluster() const { return stream_.cluster(); }
  [[nodiscard]] const AdsState& state() const { return state_; }

 private:
  void OnConnected() override;
  void OnMessage(Chain& message) override;
  void OnCredit() override { Pump(); }
  void OnDisconnected(const upstream::GrpcResult& result) override;

  void Note(const Received& received);
  void NoteWhatWasTold(const Received& received);
  void RenewAll(Type type, const std::vector<Heartbeat>& heartbeats);
  void Deliver(Received received);
  void Disconnected(std::string_view why);
  void Pump();
  void NoteWhatIsHeld();
  void UpdateWindow();
  void ArmTimer();
  void OnTimer();
  [[nodiscard]] AdsState::OfType& StateOf(Type type) { return state_.types[IndexOf(type)]; }
  [[nodiscard]] TimePoint Now() { return loop_.Now(); }
  template <typename Use>
  auto WithProtocol(Use use) {
    return std::visit(use, protocol_);
  }

  net::Loop& loop_;
  AdsOwner& owner_;
  const AdsOptions options_;
  std::variant<AdsDelta, AdsSotw> protocol_;
  Lifetimes lifetimes_;
  FetchWatch watch_;
  upstream::GrpcStream stream_;
  AdsState state_;
  std::array<bool, kTypes> held_noted_{};  // on this stream
  std::map<uint64_t, size_t> unanswered_;  // updates and their cost
  size_t cost_ = 0;                        // of all of them
  uint32_t window_ = 0;                    // messages that the stream was allowed
  Timer timer_{Timer::Calls<Session, &Session::OnTimer>(), this};
};

AdsClient::Session::Session(upstream::Upstreams& upstreams, AdsOwner& owner, AdsOptions options,
                            Random& random)
    : loop_(upstreams.loop()),
      owner_(owner),
      options_(std::move(options)),
      protocol_(MakeProtocol(options_, owner)),
      watch_(options_.fetch_timeout, WantedOf(options_.only)),
      stream_(upstreams, *this, {.max = options_.max_backoff}, random) {
  state_.since = loop_.Now();
}

// --- The stream ---

void AdsClient::Session::Start() {
  CHECK(options_.cluster != nullptr);
  window_ = kMaxMessages;
  const std::string_view path = WithProtocol([](auto& protocol) { return protocol.kPath; });
  stream_.Start({.cluster = options_.cluster,
                 .path = path,
                 .max_message_bytes = options_.max_message_bytes,
                 .messages = window_});
}

void AdsClient::Session::OnConnected() {
  ++state_.connects;
  state_.connected = true;
  state_.since = Now();
  state_.address = stream_.address();
  state_.identifier.clear();
  state_.failure.clear();
  state_.next_attempt = kNever;
  for (AdsState::OfType& type : state_.types) type.answered = false;
  held_noted_ = {};
  WithProtocol([](auto& protocol) { protocol.Begin(); });
  watch_.Connected(Now());
  Pump();
  ArmTimer();
  owner_.OnState();
}

void AdsClient::Session::OnDisconnected(const upstream::GrpcResult& result) {
  ++(state_.connected ? state_.disconnects : state_.connect_failures);
  if (!result.message.empty()) {
    Disconnected(result.message);
  } else if (result.ok()) {
    Disconnected("the control plane ended the stream");
  } else {
    Disconnected(fmt::format("the control plane ended the stream with the gRPC status {}",
                             static_cast<int>(result.code)));
  }
}

void AdsClient::Session::Disconnected(std::string_view why) {
  if (std::exchange(state_.connected, false)) state_.since = Now();
  if (!stream_.address().empty()) state_.address = stream_.address();
  state_.failure = Shortened(why, kMaxFailureText);
  state_.next_attempt = stream_.next_attempt();
  WithProtocol([](auto& protocol) { protocol.Begin(); });  // nothing of it is answered any more
  window_ = kUnset;  // the next stream begins with what it is told here, not with what was left
  UpdateWindow();
  owner_.OnState();
}

void AdsClient::Session::Pump() {
  while (stream_.connected() && stream_.Credit() > 0) {
    const std::optional<std::string> request =
        WithProtocol([](auto& protocol) { return protocol.NextRequest(); });
    if (!request) break;
    CHECK(stream_.Send(*request));
    NoteWhatIsHeld();
  }
  UpdateWindow();
}

// Of what is held and has not changed since a server says nothing, so it need not be waited for.
void AdsClient::Session::NoteWhatIsHeld() {
  for (const Type type : kAllTypes) {
    bool& noted = held_noted_[IndexOf(type)];
    if (noted || !WithProtocol([&](auto& protocol) { return protocol.told_of_held(type); })) {
      continue;
    }
    noted = true;
    watch_.Told(type);
    for (const auto& [name, version] : owner_.HeldVersions(type)) watch_.ToldOf(type, name);
  }
}

// A control plane that pushes faster than the owner decides, or than it reads our answers, waits.
void AdsClient::Session::UpdateWindow() {
  const size_t unsent = WithProtocol([](auto& protocol) { return protocol.unsent(); });
  const size_t waiting = unanswered_.size() + unsent;
  const bool room = waiting < kMaxMessages && cost_ < kMaxCost;
  const auto window = static_cast<uint32_t>(room ? kMaxMessages - waiting : 0);
  if (window == window_) return;
  window_ = window;
  stream_.AllowMessages(window);
}

// --- What comes ---

void AdsClient::Session::OnMessage(Chain& message) {
  --window_;
  state_.last_message = Now();
  const std::string bytes = TextOf(message);
  message.Clear();
  Received received = WithProtocol([&](auto& protocol) { return protocol.Receive(bytes); });
  if (!received.failure.empty()) {
    ++state_.disconnects;
    stream_.Drop();
    Disconnected(fmt::format("{}: {}", stream_.address(), received.failure));
    return;
  }
  Note(received);
  NoteWhatWasTold(received);
  if (received.type) RenewAll(*received.type, received.heartbeats);
  Deliver(std::move(received));
}

void AdsClient::Session::Note(const Received& received) {
  if (!received.identifier.empty() && state_.identifier != received.identifier) {
    state_.identifier = received.identifier;
    owner_.OnState();
  }
  if (!received.type) return;
  AdsState::OfType& type = StateOf(*received.type);
  type.version = received.version;
  type.answered = true;
  if (received.update) ++type.updates;
  if (!received.malformed.empty()) ++type.malformed;
  if (received.answer == AdsAnswer::kAck) ++type.acks;
  if (received.answer == AdsAnswer::kNack) ++type.nacks;
}

void AdsClient::Session::NoteWhatWasTold(const Received& received) {
  if (!received.type || !received.malformed.empty()) return;
  const Type type = *received.type;
  watch_.Told(type);
  for (const Heartbeat& heartbeat : received.heartbeats) watch_.ToldOf(type, heartbeat.name);
  if (!received.update) return;
  for (const Upsert& upsert : received.update->upserts) watch_.ToldOf(type, upsert.name);
  for (const std::string& name : received.update->removed) watch_.ToldOf(type, name);
  for (const Refusal& refusal : received.update->refused) watch_.ToldOf(type, refusal.name);
}

void AdsClient::Session::RenewAll(Type type, const std::vector<Heartbeat>& heartbeats) {
  if (heartbeats.empty()) return;
  const Versions held = owner_.HeldVersions(type);
  for (const Heartbeat& heartbeat : heartbeats) {
    if (lifetimes_.Renew(type, heartbeat, held, Now())) continue;
    // State of the world has no way to ask for one resource alone: there it comes back when the
    // server next has something new of the type.
    if (auto* delta = std::get_if<AdsDelta>(&protocol_)) delta->AskAgain(type, heartbeat);
  }
}

void AdsClient::Session::Deliver(Received received) {
  if (received.update) {
    lifetimes_.Offer(*received.update, received.ttls, Now());
    unanswered_.emplace(received.update->id, received.cost);
    cost_ += received.cost;
  }
  Pump();
  ArmTimer();
  if (received.update) owner_.OnUpdate(std::move(*received.update));
}

// --- What is said ---

void AdsClient::Session::Answer(uint64_t id, const std::vector<Refusal>& refusals) {
  const auto found = unanswered_.find(id);
  if (found != unanswered_.end()) {
    cost_ -= found->second;
    unanswered_.erase(found);
    lifetimes_.Settle(id, refusals);
    ArmTimer();
  }
  const auto type = WithProtocol([&](auto& protocol) { return protocol.TypeOf(id); });
  const AdsAnswer answer =
      WithProtocol([&](auto& protocol) { return protocol.Answer(id, refusals); });
  if (answer == AdsAnswer::kAck) ++StateOf(*type).acks;
  if (answer == AdsAnswer::kNack) ++StateOf(*type).nacks;
  Pump();
}

void AdsClient::Session::Want(const std::map<Type, std::set<std::string>>& only) {
  const WantedTypes wanted = WantedOf(only);
  WithProtocol([&](auto& protocol) { protocol.Want(wanted); });
  watch_.Want(wanted);
  if (state_.connected) watch_.Connected(Now());
  Pump();
  ArmTimer();
}

// --- Time ---

void AdsClient::Session::ArmTimer() {
  const TimePoint next = std::min(lifetimes_.next(), watch_.next());
  if (next == kNever) {
    timer_.Cancel();
  } else {
    loop_.Arm(timer_, next);
  }
}

void AdsClient::Session::OnTimer() {
  std::vector<Update> expired = lifetimes_.Expire(Now());
  const auto absent = watch_.GiveUp(Now());
  ArmTimer();
  for (Update& update : expired) owner_.OnUpdate(std::move(update));
  for (const auto& [type, names] : absent) owner_.OnAbsent(type, names);
}

// --- AdsClient ---

AdsClient::AdsClient(upstream::Upstreams& upstreams, AdsOwner& owner, AdsOptions options,
                     Random& random)
    : session_(std::make_unique<Session>(upstreams, owner, std::move(options), random)) {}

AdsClient::~AdsClient() = default;

void AdsClient::Start() { session_->Start(); }
void AdsClient::Answer(uint64_t id, const std::vector<Refusal>& refusals) {
  session_->Answer(id, refusals);
}
void AdsClient::Want(std::map<Type, std::set<std::string>> only) { session_->Want(only); }
void AdsClient::UseCluster(const upstream::Cluster& cluster) { session_->UseCluster(cluster); }
const upstream::Cluster* AdsClient::cluster() const { return session_->cluster(); }
const AdsState& AdsClient::state() const { return session_->state(); }

}  // namespace gatehouse::xds
