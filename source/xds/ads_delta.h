// AdsDelta: the incremental variant of xDS, as a state machine without I/O: what to send, and what
// the control plane's messages mean. All types are on one stream.
//
//                     Begin()
//   (no stream) -----------------> first request of each type: "*" or names, and what is held
//        ^                                   |  v Receive(): an update for the owner
//        | the stream ends                   |  v Answer(): ACK or NACK, by nonce
//        +-----------------------------------+  v Want(): subscribe, unsubscribe, without a nonce
//
// Owner: AdsClient. Thread: main.
//
//   AdsDelta delta(node, wanted, held_versions);
//   delta.Begin();
//   while (auto request = delta.NextRequest()) Send(*request);
//   Received received = delta.Receive(bytes);
//   delta.Answer(received.update->id, refusals);
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/envoy/service/discovery/v3/discovery.pb.h"
#include "source/xds/ads_protocol.h"
#include "source/xds/update.h"
#include "source/xds/wire_budget.h"

namespace gatehouse::xds {

class AdsDelta {
 public:
  static constexpr std::string_view kPath =
      "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

  AdsDelta(AdsNode node, WantedTypes wanted, std::function<Versions(Type)> held)
      : node_(std::move(node)), wanted_(std::move(wanted)), held_(std::move(held)) {}

  // A stream has begun: the server knows nothing, and what was received before is not answered.
  void Begin();
  [[nodiscard]] Received Receive(std::string_view message);
  // What will be sent. Of an id that is not known, or has its answer already: kNone.
  AdsAnswer Answer(uint64_t id, const std::vector<Refusal>& refusals);
  void Want(WantedTypes wanted);
  // A heartbeat is of a version that is not held. Once for each such version the server is asked to
  // send the resource: a gateway that slept past a TTL would else never have it again, since the
  // server thinks that it does. (If it was refused, that costs one more refusal.) Subscribing again
  // is what makes a server resend. The name stays subscribed beside "*" until the stream ends.
  void AskAgain(Type type, const Heartbeat& heartbeat);
  // To be called again and again, until it gives nothing.
  [[nodiscard]] std::optional<std::string> NextRequest();
  // Of a response that may be answered.
  [[nodiscard]] std::optional<Type> TypeOf(uint64_t id) { return ledger_.TypeOf(id); }
  // Answers that NextRequest() has not given yet.
  [[nodiscard]] size_t unsent() const { return answers_.size(); }
  // Once the first request of the type is made: it told the server of resources that are held.
  [[nodiscard]] bool told_of_held(Type type) const { return types_[IndexOf(type)].told_of_held; }

 private:
  using Request = envoy::service::discovery::v3::DeltaDiscoveryRequest;
  using ResponseMessage = envoy::service::discovery::v3::DeltaDiscoveryResponse;

  // What the server was told on this stream.
  struct OfType {
    bool begun = false;
    bool changed = false;  // what is wanted
    bool told_of_held = false;
    Wanted subscribed;
    std::set<std::string> again;                     // to be asked for once more
    std::map<std::string, std::string> asked_again;  // that were, and for which version
  };

  [[nodiscard]] Request FirstRequest(Type type);
  [[nodiscard]] Request Change(Type type);
  [[nodiscard]] std::string Finished(Request request);
  void ReceiveResources(Type type, ResponseMessage& response, WireBudget& budget,
                        Received* received);
  void Refuse(const ResponseMessage& response, std::string why, Received* received);
  void AddAnswer(const std::string& type_url, const std::string& nonce,
                 std::optional<google::rpc::Status> refused);

  const AdsNode node_;
  WantedTypes wanted_;
  const std::function<Versions(Type)> held_;
  bool introduced_ = false;  // the node was sent
  std::array<OfType, kTypes> types_;
  ResponseLedger ledger_;
  std::deque<Request> answers_;
};

}  // namespace gatehouse::xds
