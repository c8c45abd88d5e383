// AdsContent: the resources of one response, as they are read: what can be used, and what of the
// others is wrong. One bad resource is refused by its name and the others go on.
//
// Owner: AdsDelta or AdsSotw, for one message. Thread: main.
//
//   AdsContent content(type, wanted);
//   for (Resource& resource : *response.mutable_resources()) content.AddNamed(std::move(resource));
//   if (!content.twice().empty()) Refuse(...); else Use(content.upserts());
#pragma once

#include <cstddef>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "google/protobuf/any.pb.h"
#include "google/protobuf/duration.pb.h"
#include "google/protobuf/message.h"
#include "google/protobuf/stubs/logging.h"

#include "api/envoy/service/discovery/v3/discovery.pb.h"
#include "source/xds/ads_protocol.h"
#include "source/xds/update.h"
#include "source/xds/wire_budget.h"

namespace gatehouse::xds {

class AdsContent {
 public:
  using Resource = envoy::service::discovery::v3::Resource;

  static constexpr size_t kMaxName = 1024;
  static constexpr size_t kMaxVersion = 1024;
  static constexpr size_t kMaxKept = 1000;  // of what is refused
  // Of one message and all that is in it; so that it does not take much more than 500 MiB even if
  // it was made to. A configuration of 100 000 routes has about two million.
  static constexpr size_t kMaxItems = 4'000'000;
  static constexpr size_t kItemCost = 100;  // bytes of an item in memory, about

  // `budget` is what is left of the message's items.
  AdsContent(Type type, const Wanted& wanted, WireBudget& budget)
      : type_(type), wanted_(wanted), budget_(budget) {}

  // Delta: a resource that comes with its name.
  void AddNamed(Resource resource);
  // State of the world: wrapped in a Resource, or the message itself.
  void AddAny(google::protobuf::Any any);
  void AddRemoved(std::string name);

  // Names that came more than once, a few of them.
  [[nodiscard]] const std::vector<std::string>& twice() const { return twice_; }
  // Of everything that came, what was refused included.
  [[nodiscard]] const std::set<std::string>& names() const { return names_; }
  // Something came whose name cannot be read, so that nobody knows what is missing.
  [[nodiscard]] bool nameless() const { return nameless_; }

  [[nodiscard]] std::vector<Upsert>& upserts() { return upserts_; }
  [[nodiscard]] std::vector<Duration>& ttls() { return ttls_; }  // of the upserts
  [[nodiscard]] std::vector<std::string>& removed() { return removed_; }
  [[nodiscard]] std::vector<Heartbeat>& heartbeats() { return heartbeats_; }
  [[nodiscard]] std::vector<Refusal>& refused() { return refused_; }
  [[nodiscard]] size_t more_refused() const { return more_refused_; }

 private:
  void Add(Resource& resource);
  void AddHeartbeat(Resource& resource);
  // The name that the message has.
  [[nodiscard]] static std::string NameIn(const google::protobuf::Message& message);
  void NoteName(const std::string& name);
  void Refuse(const Resource& resource, std::string path, std::string message);

  const Type type_;
  const Wanted& wanted_;
  WireBudget& budget_;
  size_t index_ = 0;  // of the resource in hand
  std::vector<Upsert> upserts_;
  std::vector<Duration> ttls_;
  std::vector<std::string> removed_;
  std::vector<Heartbeat> heartbeats_;
  std::vector<Refusal> refused_;
  size_t more_refused_ = 0;
  std::set<std::string> names_;
  std::vector<std::string> twice_;
  bool nameless_ = false;
};

// A TTL as it was sent. kNoTimeout: it makes no sense.
[[nodiscard]] Duration TtlOf(const google::protobuf::Duration& ttl);

// Protobuf's own complaints about a peer's bytes would fill our log.
template <typename Message>
[[nodiscard]] bool ParseQuietly(std::string_view bytes, Message* message) {
  google::protobuf::LogSilencer quiet;
  return message->ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
}

}  // namespace gatehouse::xds
