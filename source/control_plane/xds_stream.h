// XdsStream: the server's side of one aggregated discovery stream, without the network: requests
// in, responses out. Delta and state of the world.
//
//   SetTarget(newest) ----> plan: upserts of Secret, RateLimit, Cluster, Endpoints, RouteTable,
//                           Listener; then removals, the other way round  (make before break)
//   OnRequest() ----------> ACK / NACK, subscriptions; answers to these come before the plan
//   Next() <--------------- one response at a time, when the one before is written
//
// A type of which kMaxUnanswered responses wait for an answer is not sent again: the plan stops
// there, and starts over with the newest revision when that has changed. So nothing queues up, and
// a gateway that is slow skips revisions. Otherwise the plan does not wait for answers.
//
// Owner: the server, one for each gateway, under the lock of that gateway's stream. The cache must
// outlive it. Deterministic: times are given.
//
//   XdsStream stream(Protocol::kDelta, cache);
//   stream.SetTarget(set->OfGroup("edge"));
//   stream.OnRequest(request, now, wall_now);
//   while (auto response = stream.Next(now)) Write(*response);
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"

#include "api/envoy/service/discovery/v3/discovery.pb.h"
#include "source/control_plane/fleet.h"
#include "source/control_plane/resource_set.h"
#include "source/control_plane/response_body.h"
#include "source/control_plane/response_cache.h"
#include "source/control_plane/subscription.h"

namespace gatehouse::control {

using SteadyTime = std::chrono::steady_clock::time_point;

struct XdsResponse {
  Body body;
  std::string tail;  // behind body->bytes
};

// What a request was, for metrics.
struct RequestOutcome {
  enum class Kind : uint8_t {
    kSubscription,  // answers nothing
    kAck,
    kNack,
    kStale,        // answers what is not waiting for an answer
    kUnknownType,  // ignored
  };
  absl::Status status;  // not OK: the stream is to be ended with it
  Kind kind = Kind::kSubscription;
  std::optional<ResourceType> type;
  SteadyTime sent;              // kAck, kNack: what it answers
  size_t rejected = 0;          // kNack: resources
  uint64_t newly_accepted = 0;  // a revision, or 0
};

class XdsStream {
 public:
  static constexpr size_t kMaxUnanswered = 2;   // of a type
  static constexpr size_t kMaxNames = 100'000;  // subscribed one by one, of a type

  XdsStream(Protocol protocol, ResponseCache& cache);
  XdsStream(const XdsStream&) = delete;
  XdsStream& operator=(const XdsStream&) = delete;

  // What the gateway is to have. Nothing is answered before the first.
  void SetTarget(std::shared_ptr<const GroupSet> newest) { newest_ = std::move(newest); }

  using DeltaRequest = envoy::service::discovery::v3::DeltaDiscoveryRequest;
  using WorldRequest = envoy::service::discovery::v3::DiscoveryRequest;
  // The one of the stream's protocol.
  [[nodiscard]] RequestOutcome OnRequest(const DeltaRequest& request, SteadyTime now,
                                         WallTime wall);
  [[nodiscard]] RequestOutcome OnRequest(const WorldRequest& request, SteadyTime now,
                                         WallTime wall);

  // Nothing: until the next SetTarget() or OnRequest().
  [[nodiscard]] std::optional<XdsResponse> Next(SteadyTime now);

  // The owner fills in who the gateway is.
  [[nodiscard]] GatewayStatus& status() { return status_; }
  [[nodiscard]] Protocol protocol() const { return protocol_; }

 private:
  struct Sent {
    uint64_t number = 0;
    std::string nonce;
    Body body;
    TypeSet previous;
    std::shared_ptr<const Versions> versions;
    SteadyTime at;
  };
  struct OfType {
    Subscription subscription;
    std::deque<Sent> unanswered;
    std::deque<Sent> refused;  // may be accepted yet: the same nonce again, without an error
    uint64_t last_number = 0;
  };
  using Key = std::pair<ResourceType, std::string>;

  [[nodiscard]] OfType& of(ResourceType type) { return types_[static_cast<size_t>(type)]; }
  // Of either protocol.
  struct Answered {
    std::string_view type_url;
    std::string_view nonce;
    const google::rpc::Status* error;  // null: an ACK
  };
  [[nodiscard]] RequestOutcome OnAnswer(const Answered& answer, WallTime wall);
  void WarnOfType(std::string_view type_url);
  void Accept(const Sent& sent, const std::set<Key>& refused = {});
  size_t Refuse(const Sent& sent, const google::rpc::Status& error, WallTime wall);
  void AddRejection(const Sent& sent, ResourceRejection rejection);
  void Clear(const Key& key);
  // What the gateway had before `sent`; empty: nothing, or not known.
  [[nodiscard]] static std::string VersionBefore(const Sent& sent, const std::string& name);
  [[nodiscard]] uint64_t UpdateAccepted();
  [[nodiscard]] absl::Status CheckNames(ResourceType type);

  void Enqueue(ResourceType type, Step step);
  void AnswerDue();
  void Plan();
  [[nodiscard]] bool Blocked(ResourceType type) {
    return of(type).unanswered.size() >= kMaxUnanswered;
  }
  // No type behind `type` in the plan has upserts or removals before those of `type`.
  [[nodiscard]] bool LastOfPlan(ResourceType type);
  void Restart();
  [[nodiscard]] XdsResponse Pop(SteadyTime now);

  const Protocol protocol_;
  std::array<OfType, kResourceTypes> types_;
  std::shared_ptr<const GroupSet> newest_;
  std::shared_ptr<const GroupSet> target_;  // of the plan
  // Of the plan: types forward, then backward; kSteps: done.
  static constexpr size_t kSteps = 2 * kResourceTypes;
  size_t step_ = 0;
  struct Queued {
    ResourceType type;
    Body body;
    TypeSet previous;
    std::shared_ptr<const Versions> versions;
  };
  std::deque<Queued> queue_;  // one step of the plan at most
  uint64_t last_number_ = 0;
  // Revisions that were sent in full, with the last response by then.
  std::deque<std::pair<uint64_t, uint64_t>> sent_revisions_;
  std::map<Key, uint64_t> refused_by_;  // rejections: the number of the response
  size_t rejection_bytes_ = 0;          // of their texts
  GatewayStatus status_;
};

}  // namespace gatehouse::control
