// AdsSotw: the state-of-the-world variant of xDS, as a state machine without I/O, for control
// planes that speak no other. All types are on one stream. Each request of a type says all of it:
// the names that are wanted, the version that was accepted last, and what the last response has
// come to.
//
//                     Begin()
//   (no stream) -----------------> first request of each type: names and the version that is held
//        ^                                   |  v Receive(): an update; the ones before are stale
//        | the stream ends                   |  v Answer(): ACK or NACK, of the latest response
//        +-----------------------------------+  v Want(): all names again, with the latest nonce
//
// Owner: AdsClient. Thread: main. Methods as those of AdsDelta.
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
#include "source/xds/ads_content.h"
#include "source/xds/ads_protocol.h"
#include "source/xds/update.h"

namespace gatehouse::xds {

class AdsSotw {
 public:
  static constexpr std::string_view kPath =
      "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";

  // What is held of a type, and the version of the message that was accepted last.
  struct Held {
    std::function<Versions(Type)> versions;
    std::function<std::string(Type)> version;
  };

  AdsSotw(AdsNode node, WantedTypes wanted, Held held)
      : node_(std::move(node)), wanted_(std::move(wanted)), held_(std::move(held)) {}

  void Begin();
  [[nodiscard]] Received Receive(std::string_view message);
  AdsAnswer Answer(uint64_t id, const std::vector<Refusal>& refusals);
  void Want(WantedTypes wanted);
  [[nodiscard]] std::optional<std::string> NextRequest();
  [[nodiscard]] std::optional<Type> TypeOf(uint64_t id) { return ledger_.TypeOf(id); }
  [[nodiscard]] size_t unsent() const { return strays_.size(); }
  // The first request of the type named a version.
  [[nodiscard]] bool told_of_held(Type type) const { return types_[IndexOf(type)].told_of_held; }

 private:
  using Request = envoy::service::discovery::v3::DiscoveryRequest;
  using ResponseMessage = envoy::service::discovery::v3::DiscoveryResponse;

  struct OfType {
    bool begun = false;
    bool named = false;  // a name was sent on this stream, "*" included
    bool due = false;    // there is something to send
    bool told_of_held = false;
    std::string accepted;  // version
    std::string nonce;     // of the latest response
    uint64_t latest = 0;   // its id; 0: it has none
    // What is wrong with the latest response. Stays until the next one: a request that only changes
    // the names must not look like an ACK.
    std::optional<google::rpc::Status> refused;
    // Of the updates that wait for an answer.
    std::map<uint64_t, std::set<std::string>> offered;
  };

  [[nodiscard]] Request RequestOf(Type type);
  [[nodiscard]] std::string Finished(Request request);
  void ReceiveResources(Type type, ResponseMessage& response, WireBudget& budget,
                        Received* received);
  [[nodiscard]] AdsAnswer AnswerHeartbeats(Type type, const std::string& version);
  [[nodiscard]] std::vector<std::string> MissingFrom(Type type, const AdsContent& content) const;
  void RefuseStray(const ResponseMessage& response, std::string why, Received* received);
  void RefuseAll(Type type, std::string why, Received* received);

  const AdsNode node_;
  WantedTypes wanted_;
  const Held held_;
  bool introduced_ = false;  // the node was sent
  std::array<OfType, kTypes> types_;
  ResponseLedger ledger_;
  std::deque<Request> strays_;  // answers to responses that nobody asked for
};

}  // namespace gatehouse::xds
