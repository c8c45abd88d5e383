#include "source/xds/ads_protocol.h"

namespace gatehouse::xds {

envoy::config::core::v3::Node NodeOf(const AdsNode& node) {
  envoy::config::core::v3::Node message;
  message.set_id(node.id);
  message.set_cluster(node.group);
  message.set_user_agent_name("gatehouse");
  message.set_user_agent_version(node.version);
  return message;
}

WantedTypes WantedOf(const std::map<Type, std::set<std::string>>& only) {
  WantedTypes wanted;
  for (const auto& [type, names] : only) wanted[IndexOf(type)].emplace(names.begin(), names.end());
  return wanted;
}

std::vector<Refusal> Response::AllRefused(const std::vector<Refusal>& refusals) const {
  std::vector<Refusal> all = refused;
  all.insert(all.end(), refusals.begin(), refusals.end());
  return all;
}

void ResponseLedger::Refused(uint64_t id) {
  Response& response = responses_.at(id);
  if (response.answered) return;
  response.answered = true;
  refused_.push_back(id);
  if (refused_.size() <= kMaxRefused) return;
  responses_.erase(refused_.front());
  refused_.pop_front();
}

}  // namespace gatehouse::xds
