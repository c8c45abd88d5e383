// Fleet: what is known of each gateway: whether it is connected, what it runs, what it has refused.
//
// Owner: the control plane's main(). Any thread: its methods take a lock. The xDS server tells it;
// the REST API, the CLI behind it and the metrics ask it. With several control planes over one
// store, each publishes its own gateways there and reads those of the others (`Merge`).
//
//   fleet.Connected(id, {.node = "edge-1", .group = "edge", .address = "10.0.0.7:51234"});
//   fleet.Rejected(id, rejection);
//   std::vector<GatewayStatus> all = fleet.All();
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "source/control_plane/resource_set.h"

namespace gatehouse::control {

using WallTime = std::chrono::system_clock::time_point;

struct StatusError {
  std::string path;
  std::string message;
  std::string suggestion;
  std::string file;  // where the refused version was written; may be empty
  int line = 0;
};

struct ResourceRejection {
  ResourceType type = ResourceType::kSecret;
  std::string name;
  std::string version;  // that was refused; may be empty
  bool waiting = false;
  std::vector<StatusError> errors;
  WallTime at;
};

struct GatewayStatus {
  std::string node;  // Node.id, or its address when it has none
  std::string group;
  std::string address;   // ip:port of the gateway's end
  std::string instance;  // the control plane that it is connected to
  std::string gateway_version;
  std::string protocol;  // "delta" or "state-of-the-world"
  bool connected = false;
  WallTime connected_at;
  WallTime last_seen;  // of its last message
  // The revision that was sent last, and the last one of which it accepted everything.
  uint64_t sent_revision = 0;
  uint64_t accepted_revision = 0;
  struct OfType {
    uint64_t acks = 0;
    uint64_t nacks = 0;
    uint64_t resources = 0;  // that it has accepted
    std::string text;        // of the last NACK, if it came without details
  };
  std::array<OfType, kResourceTypes> types;
  // Refused, and not accepted since; by type and name.
  std::map<std::pair<ResourceType, std::string>, ResourceRejection> rejections;
  // What it runs in place of what it refused, by type and name; empty: nothing, or not known. All
  // else is as in `accepted_revision` or newer.
  std::map<std::pair<ResourceType, std::string>, std::string> versions;
  // For people, newest last: types that it asks for and that are not ours, and the like.
  std::vector<std::string> warnings;
  // Of how many live streams with this node's name this is the newest, see All().
  size_t connections = 0;
};

class Fleet {
 public:
  using WallClock = std::function<WallTime()>;
  explicit Fleet(std::string instance, WallClock now = &std::chrono::system_clock::now)
      : instance_(std::move(instance)), now_(std::move(now)) {}
  Fleet(const Fleet&) = delete;
  Fleet& operator=(const Fleet&) = delete;

  // Tells of one stream, by an id of its own. `change` is called under the lock and must be quick.
  void Connected(uint64_t stream, GatewayStatus status);
  void Change(uint64_t stream, const std::function<void(GatewayStatus&)>& change);
  // A gateway that is gone stays on the list for an hour (of 10 000, the last).
  void Disconnected(uint64_t stream);

  // What another control plane told the store about its gateways, in place of what it told before.
  void Merge(const std::string& instance, std::vector<GatewayStatus> gateways);
  void Forget(const std::string& instance);

  // Of this control plane alone, for the store; one entry for each node.
  [[nodiscard]] std::vector<GatewayStatus> Own() const;
  // A node that is known to several is shown as the one that saw it last says.
  [[nodiscard]] std::vector<GatewayStatus> All() const;
  // Counts changes of Own().
  [[nodiscard]] uint64_t changes() const;
  [[nodiscard]] size_t connected() const;
  // Of the live streams of this control plane, for metrics.
  struct Totals {
    size_t connected = 0;
    size_t rejecting = 0;          // gateways that have refused something
    size_t rejections = 0;         // resources, each counted for each gateway
    uint64_t oldest_accepted = 0;  // 0: nobody is connected, or somebody has accepted nothing yet
  };
  [[nodiscard]] Totals totals() const;
  [[nodiscard]] const std::string& instance() const { return instance_; }

 private:
  static constexpr std::chrono::hours kRemembered{1};
  static constexpr size_t kMaxGone = 10'000;

  static void Add(std::map<std::string_view, GatewayStatus>& by_node, const GatewayStatus& status,
                  size_t connections);
  [[nodiscard]] std::vector<GatewayStatus> OwnLocked() const;
  void MakeRoom();

  const std::string instance_;
  const WallClock now_;
  mutable std::mutex mutex_;
  uint64_t changes_ = 0;
  std::map<uint64_t, GatewayStatus> streams_;
  // By node.
  struct Gone {
    GatewayStatus status;
    WallTime at;
  };
  std::map<std::string, Gone, std::less<>> gone_;
  std::map<std::string, std::vector<GatewayStatus>> others_;
};

}  // namespace gatehouse::control
