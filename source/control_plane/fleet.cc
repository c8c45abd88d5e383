#include "source/control_plane/fleet.h"

#include <algorithm>
#include <utility>

namespace gatehouse::control {

namespace {

// What is shown of a node that several tell of.
bool Newer(const GatewayStatus& one, const GatewayStatus& other) {
  if (one.last_seen != other.last_seen) return one.last_seen > other.last_seen;
  return one.connected && !other.connected;
}

}  // namespace

void Fleet::Connected(uint64_t stream, GatewayStatus status) {
  const std::lock_guard<std::mutex> lock(mutex_);
  status.instance = instance_;
  status.connected = true;
  gone_.erase(status.node);
  streams_[stream] = std::move(status);
  ++changes_;
}

void Fleet::Change(uint64_t stream, const std::function<void(GatewayStatus&)>& change) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = streams_.find(stream);
  if (found == streams_.end()) return;
  change(found->second);
  ++changes_;
}

void Fleet::Disconnected(uint64_t stream) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = streams_.find(stream);
  if (found == streams_.end()) return;
  GatewayStatus status = std::move(found->second);
  streams_.erase(found);
  status.connected = false;
  MakeRoom();
  std::string node = status.node;
  gone_.insert_or_assign(std::move(node), Gone{std::move(status), now_()});
  ++changes_;
}

void Fleet::MakeRoom() {
  if (gone_.size() < kMaxGone) return;
  const WallTime oldest = now_() - kRemembered;
  std::erase_if(gone_, [&](const auto& entry) { return entry.second.at < oldest; });
  if (gone_.size() < kMaxGone) return;
  const auto first = std::min_element(gone_.begin(), gone_.end(), [](const auto& a, const auto& b) {
    return a.second.at < b.second.at;
  });
  gone_.erase(first);
}

void Fleet::Merge(const std::string& instance, std::vector<GatewayStatus> gateways) {
  if (instance == instance_) return;
  for (GatewayStatus& status : gateways) status.instance = instance;
  const std::lock_guard<std::mutex> lock(mutex_);
  others_[instance] = std::move(gateways);
}

void Fleet::Forget(const std::string& instance) {
  const std::lock_guard<std::mutex> lock(mutex_);
  others_.erase(instance);
}

std::vector<GatewayStatus> Fleet::Own() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return OwnLocked();
}

std::vector<GatewayStatus> Fleet::OwnLocked() const {
  std::map<std::string_view, GatewayStatus> by_node;
  for (const auto& [id, status] : streams_) Add(by_node, status, 1);
  const WallTime oldest = now_() - kRemembered;
  for (const auto& [node, gone] : gone_) {
    if (gone.at >= oldest && !by_node.contains(node)) Add(by_node, gone.status, 0);
  }
  std::vector<GatewayStatus> own;
  own.reserve(by_node.size());
  for (auto& [node, status] : by_node) own.push_back(std::move(status));
  return own;
}

void Fleet::Add(std::map<std::string_view, GatewayStatus>& by_node, const GatewayStatus& status,
                size_t connections) {
  const auto [entry, added] = by_node.try_emplace(status.node, status);
  if (added) {
    entry->second.connections = connections;
    return;
  }
  connections += entry->second.connections;
  if (Newer(status, entry->second)) entry->second = status;
  entry->second.connections = connections;
}

std::vector<GatewayStatus> Fleet::All() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const std::vector<GatewayStatus> own = OwnLocked();
  std::map<std::string_view, GatewayStatus> by_node;
  for (const GatewayStatus& status : own) Add(by_node, status, status.connections);
  for (const auto& [instance, gateways] : others_) {
    for (const GatewayStatus& status : gateways) Add(by_node, status, status.connections);
  }
  std::vector<GatewayStatus> all;
  all.reserve(by_node.size());
  for (auto& [node, status] : by_node) all.push_back(std::move(status));
  return all;
}

uint64_t Fleet::changes() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return changes_;
}

size_t Fleet::connected() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return streams_.size();
}

Fleet::Totals Fleet::totals() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  Totals totals;
  for (const auto& [id, status] : streams_) {
    ++totals.connected;
    totals.rejections += status.rejections.size();
    if (!status.rejections.empty()) ++totals.rejecting;
    if (totals.connected == 1 || status.accepted_revision < totals.oldest_accepted) {
      totals.oldest_accepted = status.accepted_revision;
    }
  }
  return totals;
}

}  // namespace gatehouse::control
