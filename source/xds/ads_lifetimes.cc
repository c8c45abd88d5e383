#include "source/xds/ads_lifetimes.h"

#include <string_view>

namespace gatehouse::xds {

void Lifetimes::Offer(const Update& update, const std::vector<Duration>& ttls, TimePoint now) {
  Open open{.type = update.type, .resources = {}};
  for (size_t i = 0; i < update.upserts.size(); ++i) {
    const Upsert& upsert = update.upserts[i];
    const bool ends = i < ttls.size() && ttls[i] != kNoTimeout;
    // What has no end now and had none before is of no interest, which is nearly everything.
    if (!ends && !ends_.contains({update.type, upsert.name}) &&
        !held_.contains({update.type, upsert.name})) {
      continue;
    }
    open.resources[upsert.name] = {upsert.version, ends ? now + ttls[i] : kNever};
  }
  for (const std::string& name : update.removed) {
    if (!ends_.contains({update.type, name}) && !held_.contains({update.type, name})) continue;
    open.resources[name] = {.removed = true};
  }
  if (update.complete) {
    // What it does not have is removed.
    std::set<std::string_view> there;
    for (const Upsert& upsert : update.upserts) there.insert(upsert.name);
    for (auto end = ends_.lower_bound({update.type, ""});
         end != ends_.end() && end->first.first == update.type; ++end) {
      const std::string& name = end->first.second;
      if (!there.contains(name)) open.resources[name] = {.removed = true};
    }
  }
  if (open.resources.empty()) return;
  for (const auto& [name, offered] : open.resources) Hold({update.type, name});
  open_.emplace(update.id, std::move(open));
}

void Lifetimes::Settle(uint64_t id, const std::vector<Refusal>& refusals) {
  const auto found = open_.find(id);
  if (found == open_.end()) return;
  const Open open = std::move(found->second);
  open_.erase(found);
  std::set<std::string_view> refused;
  for (const Refusal& refusal : refusals) {
    if (!refusal.waiting) refused.insert(refusal.name);
  }
  for (const auto& [name, offered] : open.resources) {
    const Key key{open.type, name};
    if (!refused.contains(name)) SetEnd(key, offered.removed ? kNever : offered.end);
    Release(key);
  }
}

bool Lifetimes::Renew(Type type, const Heartbeat& heartbeat, const Versions& held, TimePoint now) {
  // The newest first.
  for (auto open = open_.rbegin(); open != open_.rend(); ++open) {
    if (open->second.type != type) continue;
    const auto offered = open->second.resources.find(heartbeat.name);
    if (offered == open->second.resources.end()) continue;
    if (offered->second.removed || offered->second.version != heartbeat.version) break;
    offered->second.end = now + heartbeat.ttl;
    return true;
  }
  const auto version = held.find(heartbeat.name);
  if (version == held.end() || version->second != heartbeat.version) return false;
  SetEnd({type, heartbeat.name}, now + heartbeat.ttl);
  return true;
}

std::vector<Update> Lifetimes::Expire(TimePoint now) {
  std::map<Type, Update> updates;
  while (!order_.empty() && order_.begin()->first <= now) {
    const Key key = order_.begin()->second;
    Update& update = updates[key.first];
    update.type = key.first;
    update.removed.push_back(key.second);
    SetEnd(key, kNever);
  }
  std::vector<Update> result;
  for (auto& [type, update] : updates) result.push_back(std::move(update));
  return result;
}

// kNever: it has no end.
void Lifetimes::SetEnd(const Key& key, TimePoint end) {
  const auto before = ends_.find(key);
  if (before != ends_.end()) {
    order_.erase({before->second, key});
    ends_.erase(before);
  }
  if (end == kNever) return;
  ends_[key] = end;
  if (!held_.contains(key)) order_.insert({end, key});
}

void Lifetimes::Hold(const Key& key) {
  if (++held_[key] > 1) return;
  const auto end = ends_.find(key);
  if (end != ends_.end()) order_.erase({end->second, key});
}

void Lifetimes::Release(const Key& key) {
  const auto held = held_.find(key);
  if (--held->second > 0) return;
  held_.erase(held);
  const auto end = ends_.find(key);
  if (end != ends_.end()) order_.insert({end->second, key});
}

}  // namespace gatehouse::xds
