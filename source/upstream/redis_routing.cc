// RedisClient's other half: which server a call goes to, and how that is found out.
#include <algorithm>
#include <utility>

#include "fmt/format.h"
#include "source/base/check.h"
#include "source/base/random.h"
#include "source/upstream/endpoint.h"
#include "source/upstream/redis_client.h"
#include "source/upstream/redis_lookup.h"
#include "source/upstream/redis_metrics.h"
#include "source/upstream/redis_server.h"
#include "source/upstream/redis_slots.h"
#include "source/upstream/redis_target.h"

namespace gatehouse::upstream {
namespace {

constexpr uint16_t kNoMaster = UINT16_MAX;
// MOVED may name new ones; no cluster is that large.
constexpr size_t kMaxServers = 1024;
// Between lookups while calls can go on meanwhile, and while they cannot.
constexpr Duration kLookUpEvery = std::chrono::milliseconds(500);
constexpr Duration kLookUpEveryWhenLost = std::chrono::milliseconds(50);
constexpr size_t kMaxWords = 200;

// Of an announced host: its name, or nothing if it is an address.
std::string_view NameOf(std::string_view host) {
  net::IpAddress ip;
  return net::IpAddress::Parse(host, &ip) ? std::string_view() : host;
}

}  // namespace

void RedisClient::Route(RedisCall& call) {
  RedisServer* server = ServerOf(call.slot_);
  if (__builtin_expect(server != nullptr, 1)) {
    server->Take(call);
    return;
  }
  if (target_->spec().topology == RedisTopology::kSingle) {
    ChooseEndpoint();
    if (master_ == nullptr) {
      NoteLookUpLost("no address of it is known");
      FailLater(call, RedisFailure::kUnreachable);
    } else {
      NoteLookUpBack();
      master_->Take(call);
    }
    return;
  }
  WaitForServer(call);
}

void RedisClient::WaitForServer(RedisCall& call) {
  if (!lookup_circuit_.closed() || homeless_count_ >= kMaxInFlight) {
    FailLater(call, RedisFailure::kRefused);
    return;
  }
  homeless_.PushBack(call);
  ++homeless_count_;
  LookUp();
}

bool RedisClient::RouteAgain(RedisCall& call) {
  if (++call.turns_ > kMaxTurns) return false;
  call.asking_ = call.by_text_ = false;
  Route(call);
  return true;
}

RedisServer* RedisClient::ServerOf(uint16_t slot) const {
  if (target_->spec().topology != RedisTopology::kCluster) return master_;
  if (slots_.empty()) return nullptr;
  const uint16_t index = slots_[slot];
  return index == kNoMaster ? nullptr : masters_[index];
}

RedisServer& RedisClient::ServerAt(const net::Address& address, std::string_view host) {
  for (const std::unique_ptr<RedisServer>& server : servers_) {
    if (server->address() != address) continue;
    server->Return();
    return *server;
  }
  servers_.push_back(std::make_unique<RedisServer>(*this, address, host));
  return *servers_.back();
}

const EndpointSet& RedisClient::Endpoints() {
  if (environment_.endpoints != nullptr) {
    auto newest = environment_.endpoints(environment_.owner, target_->key());
    if (newest != nullptr) endpoints_ = std::move(newest);
  }
  if (endpoints_ == nullptr) endpoints_ = target_->endpoints();
  return *endpoints_;
}

// --- One server ---

// The one that is used, if it may stay; or the first whose circuit is closed; or the first.
void RedisClient::ChooseEndpoint() {
  const EndpointSet& set = Endpoints();
  RedisServer* chosen = nullptr;
  RedisServer* first = nullptr;
  std::vector<RedisServer*> listed;
  for (const EndpointSet::Entry& entry : set) {
    RedisServer& server = ServerAt(entry.endpoint->address(), entry.endpoint->host());
    listed.push_back(&server);
    if (first == nullptr) first = &server;
    if (server.usable() && (chosen == nullptr || &server == master_)) chosen = &server;
  }
  master_ = chosen != nullptr ? chosen : first;
  for (size_t i = 0; i < servers_.size(); ++i) {
    RedisServer* server = servers_[i].get();
    if (std::find(listed.begin(), listed.end(), server) == listed.end()) server->Leave();
  }
}

void RedisClient::OnServerLost(RedisServer& server) {
  if (server.left()) return;
  if (target_->spec().topology == RedisTopology::kSingle) {
    ChooseEndpoint();
  } else {
    LookUp();
  }
}

// Another one is, or will be, the master: calls wait for the sentinels' word.
void RedisClient::OnReadOnly(const RedisServer& server) {
  const bool sentinel = target_->spec().topology == RedisTopology::kSentinel;
  if (sentinel && master_ == &server) UseMaster(nullptr);
}

void RedisClient::UseMaster(RedisServer* server) {
  if (master_ == server) return;
  RedisServer* old = std::exchange(master_, server);
  if (old != nullptr) old->Leave();
}

// --- MOVED and ASK ---

bool RedisClient::Resolve(std::string_view host, uint16_t port, net::Address* out) {
  net::IpAddress ip;
  if (net::IpAddress::Parse(host, &ip)) {
    *out = net::Address(ip, port);
    return true;
  }
  // A name is as good as an address if the cluster's endpoints have it too.
  for (const EndpointSet::Entry& entry : Endpoints()) {
    if (entry.endpoint->host() != host) continue;
    *out = entry.endpoint->address();
    out->set_port(port);
    return true;
  }
  return false;
}

bool RedisClient::Redirect(RedisServer& from, RedisCall& call, const RedisReply& reply) {
  const std::optional<RedisMoved> moved = ParseRedisMoved(reply.text);
  if (!moved.has_value() || target_->spec().topology != RedisTopology::kCluster) return false;
  counters_.Add(moved->ask ? metrics_.asked : metrics_.moved);
  net::Address to = from.address();
  to.set_port(moved->port);
  if (!moved->host.empty() && !Resolve(moved->host, moved->port, &to)) return false;
  if (++call.turns_ > kMaxTurns || servers_.size() >= kMaxServers) return false;
  // Who names no host has, on another port, the certificate that he has here.
  RedisServer& server = ServerAt(to, moved->host.empty() ? from.host() : NameOf(moved->host));
  if (!moved->ask) {
    if (!slots_.empty()) slots_[moved->slot] = IndexOf(server);
    LookUp();
  }
  call.asking_ = moved->ask;
  call.by_text_ = false;
  server.Take(call);
  return true;
}

uint16_t RedisClient::IndexOf(RedisServer& server) {
  const auto known = std::find(masters_.begin(), masters_.end(), &server);
  if (known != masters_.end()) return static_cast<uint16_t>(known - masters_.begin());
  masters_.push_back(&server);
  return static_cast<uint16_t>(masters_.size() - 1);
}

// --- Lookups ---

void RedisClient::LookUp() {
  if (lookup_->running() || !lookup_circuit_.closed()) return;
  const bool lost = homeless_count_ > 0;
  const TimePoint next = looked_up_ + (lost ? kLookUpEveryWhenLost : kLookUpEvery);
  if (looked_up_ == TimePoint() || next <= loop_.Now()) {
    OnLookUpTimer();
  } else if (lookup_timer_.deadline() > next + kLookUpEveryWhenLost) {
    const auto jitter = static_cast<uint64_t>(kLookUpEveryWhenLost.count());
    loop_.Arm(lookup_timer_, next + Duration(ThreadRandom().Below(jitter)));
  }
}

void RedisClient::OnLookUpTimer() {
  if (lookup_->running()) return;
  looked_up_ = loop_.Now();
  if (!lookup_circuit_.closed()) lookup_circuit_.Probe();
  std::vector<RedisLookup::Candidate> candidates;
  for (const EndpointSet::Entry& entry : Endpoints()) {
    candidates.push_back({entry.endpoint->address(), std::string(entry.endpoint->host())});
  }
  const RedisSpec& spec = target_->spec();
  if (spec.topology == RedisTopology::kSentinel) {
    lookup_->Start(std::move(candidates),
                   {"SENTINEL", "get-master-addr-by-name", spec.sentinel_master});
    return;
  }
  for (const std::unique_ptr<RedisServer>& server : servers_) {
    if (!server->left() && server->usable())
      candidates.push_back({server->address(), server->host()});
  }
  lookup_->Start(std::move(candidates), {"CLUSTER", "SLOTS"});
}

bool RedisClient::OnFound(const RedisReply& reply, const net::Address& from, std::string_view host,
                          std::string* why) {
  if (reply.is_error()) {
    *why = std::string(reply.text.substr(0, kMaxWords));
    return false;
  }
  if (target_->spec().topology == RedisTopology::kSentinel) return OnMasterFound(reply, why);
  return OnSlotsFound(reply, from, host, why);
}

bool RedisClient::OnMasterFound(const RedisReply& reply, std::string* why) {
  const std::string& name = target_->spec().sentinel_master;
  if (reply.type != RedisReply::Type::kArray || reply.elements.size() < 2) {
    *why = fmt::format("it knows no master '{}'", name);
    return false;
  }
  const std::string_view host = reply.elements[0].text;
  uint32_t port = 0;
  for (const char c : reply.elements[1].text) {
    if (c < '0' || c > '9' || port > UINT16_MAX) port = UINT16_MAX + 1;
    port = port * 10 + static_cast<uint32_t>(c - '0');
  }
  net::Address address;
  if (port == 0 || port > UINT16_MAX || !Resolve(host, static_cast<uint16_t>(port), &address)) {
    *why = fmt::format(
        "it names '{}' as the master, which is no address (sentinel "
        "announce-hostnames has to be off)",
        host.substr(0, kMaxWords));
    return false;
  }
  UseMaster(&ServerAt(address, NameOf(host)));
  target_->news().Master(master_->text());
  OnTable();
  return true;
}

bool RedisClient::OnSlotsFound(const RedisReply& reply, const net::Address& from,
                               std::string_view from_host, std::string* why) {
  const std::vector<RedisSlotRange> ranges = ParseRedisSlots(reply);
  if (ranges.empty()) {
    *why = "it knows of no slots: the cluster is not set up";
    return false;
  }
  std::vector<RedisServer*> masters;
  masters.swap(masters_);
  slots_.assign(kRedisSlots, kNoMaster);
  for (const RedisSlotRange& range : ranges) {
    net::Address address = from;
    address.set_port(range.port);
    const bool named = range.host.empty() && !range.name.empty();
    const std::string_view host = named ? range.name : range.host;
    if (!host.empty() && !Resolve(host, range.port, &address)) continue;
    if (servers_.size() >= kMaxServers) break;
    const uint16_t index = IndexOf(ServerAt(address, host.empty() ? from_host : range.name));
    std::fill(slots_.begin() + range.first, slots_.begin() + range.last + 1, index);
  }
  if (masters_.empty()) {
    slots_.clear();
    *why = "it names its servers by names that are not addresses";
    return false;
  }
  for (size_t i = 0; i < servers_.size(); ++i) {
    RedisServer* server = servers_[i].get();
    if (std::find(masters_.begin(), masters_.end(), server) == masters_.end()) server->Leave();
  }
  OnTable();
  return true;
}

void RedisClient::OnTable() {
  lookup_circuit_.Close();
  lookup_circuit_.Succeed();
  lookup_timer_.Cancel();
  NoteLookUpBack();
  IntrusiveList<RedisCall> homeless;
  homeless.TakeAll(homeless_);
  homeless_count_ = 0;
  while (RedisCall* call = homeless.PopFront()) {
    RedisServer* server = ServerOf(call->slot_);
    if (server != nullptr) {
      server->Take(*call);
    } else {
      // A slot that no master has.
      FailLater(*call, RedisFailure::kUnreachable);
    }
  }
}

void RedisClient::OnNothingFound(std::string_view why) {
  const bool table = master_ != nullptr || !slots_.empty();
  // With one all is as before; who finds it wrong asks again.
  if (!table || !lookup_circuit_.closed()) {
    lookup_circuit_.Open();
    loop_.Arm(lookup_timer_, lookup_circuit_.NextDelay(ThreadRandom()));
    NoteLookUpLost(why);
  }
  homeless_count_ = 0;
  while (RedisCall* call = homeless_.PopFront()) FailLater(*call, RedisFailure::kUnreachable);
}

// A call waited for a lookup in vain.
void RedisClient::OnLookUpSlow() {
  if (!lookup_circuit_.Fail(loop_.turn())) return;
  loop_.Arm(lookup_timer_, lookup_circuit_.NextDelay(ThreadRandom()));
  NoteLookUpLost("nobody answers in time who has to be asked for it");
}

void RedisClient::NoteLookUpLost(std::string_view why) {
  if (!lookup_name_.empty()) {
    target_->news().StillLost(lookup_name_, why, loop_.Now());
    return;
  }
  switch (target_->spec().topology) {
    case RedisTopology::kSingle:
      lookup_name_ = "the server";
      break;
    case RedisTopology::kCluster:
      lookup_name_ = "the Redis Cluster";
      break;
    case RedisTopology::kSentinel:
      lookup_name_ = fmt::format("master '{}'", target_->spec().sentinel_master);
      break;
  }
  counters_.Gauge(metrics_.open_circuits, +1);
  target_->news().Lost(lookup_name_, why, loop_.Now());
}

void RedisClient::NoteLookUpBack() {
  if (lookup_name_.empty()) return;
  target_->news().Back(lookup_name_, loop_.Now());
  counters_.Gauge(metrics_.open_circuits, -1);
  lookup_name_.clear();
}

void RedisClient::NoteLookUpGone() {
  if (lookup_name_.empty()) return;
  target_->news().Forget(lookup_name_);
  counters_.Gauge(metrics_.open_circuits, -1);
  lookup_name_.clear();
}

}  // namespace gatehouse::upstream
