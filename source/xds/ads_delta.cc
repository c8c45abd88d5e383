#include "source/xds/ads_delta.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "source/xds/ads_answer.h"
#include "source/xds/ads_content.h"

namespace gatehouse::xds {
namespace {

// Everything of a type. The legacy way to say so, a first request that names nothing, would not do:
// whether it still means everything depends on what was named before on the stream, servers differ
// in that, and names that come and go at runtime (Want) would turn it into "nothing" unseen.
constexpr char kEverything[] = "*";

constexpr size_t kMaxAskedAgain = 1000;

}  // namespace

void AdsDelta::Begin() {
  introduced_ = false;
  types_ = {};
  ledger_.Clear();
  answers_.clear();
}

// --- What is asked ---

void AdsDelta::Want(WantedTypes wanted) {
  for (size_t i = 0; i < kTypes; ++i) types_[i].changed |= wanted[i] != wanted_[i];
  wanted_ = std::move(wanted);
}

void AdsDelta::AskAgain(Type type, const Heartbeat& heartbeat) {
  OfType& state = types_[IndexOf(type)];
  if (!IsWanted(wanted_[IndexOf(type)], heartbeat.name)) return;
  const auto found = state.asked_again.find(heartbeat.name);
  if (found != state.asked_again.end() ? found->second == heartbeat.version
                                       : state.asked_again.size() == kMaxAskedAgain) {
    return;
  }
  state.asked_again[heartbeat.name] = heartbeat.version;
  state.again.insert(heartbeat.name);
}

std::optional<std::string> AdsDelta::NextRequest() {
  for (const Type type : kAllTypes) {
    OfType& state = types_[IndexOf(type)];
    if (!state.begun) {
      // A first request that names nothing would be taken for "*", so there is none.
      if (WantsSomething(wanted_[IndexOf(type)])) return Finished(FirstRequest(type));
    } else if (state.changed || !state.again.empty()) {
      Request request = Change(type);
      if (request.resource_names_subscribe_size() + request.resource_names_unsubscribe_size() > 0) {
        return Finished(std::move(request));
      }
    }
  }
  if (answers_.empty()) return std::nullopt;
  Request answer = std::move(answers_.front());
  answers_.pop_front();
  return Finished(std::move(answer));
}

AdsDelta::Request AdsDelta::FirstRequest(Type type) {
  const Wanted& wanted = wanted_[IndexOf(type)];
  OfType& state = types_[IndexOf(type)];
  state.begun = true;
  state.changed = false;
  state.subscribed = wanted;
  Request request;
  request.set_type_url(std::string(TypeUrl(type)));
  if (!wanted) request.add_resource_names_subscribe(kEverything);
  if (wanted) {
    for (const std::string& name : *wanted) request.add_resource_names_subscribe(name);
  }
  // All of them, however many: a server says that something is gone to those only who have it.
  for (auto& [name, version] : held_(type)) {
    if (IsWanted(wanted, name)) (*request.mutable_initial_resource_versions())[name] = version;
  }
  state.told_of_held = request.initial_resource_versions_size() > 0;
  return request;
}

AdsDelta::Request AdsDelta::Change(Type type) {
  const Wanted& wanted = wanted_[IndexOf(type)];
  OfType& state = types_[IndexOf(type)];
  Request request;
  request.set_type_url(std::string(TypeUrl(type)));
  if (!wanted && state.subscribed) request.add_resource_names_subscribe(kEverything);
  if (wanted && !state.subscribed) request.add_resource_names_unsubscribe(kEverything);
  if (wanted) {
    for (const std::string& name : *wanted) {
      const bool known = state.subscribed && state.subscribed->contains(name);
      if (!known || state.again.contains(name)) request.add_resource_names_subscribe(name);
    }
  } else {
    for (const std::string& name : state.again) request.add_resource_names_subscribe(name);
  }
  if (state.subscribed) {
    for (const std::string& name : *state.subscribed) {
      if (!wanted || !wanted->contains(name)) request.add_resource_names_unsubscribe(name);
    }
  }
  state.changed = false;
  state.again.clear();
  state.subscribed = wanted;
  return request;
}

std::string AdsDelta::Finished(Request request) {
  if (!introduced_) {
    introduced_ = true;
    *request.mutable_node() = NodeOf(node_);
  }
  return request.SerializeAsString();
}

// --- What comes ---

Received AdsDelta::Receive(std::string_view message) {
  Received received;
  WireBudget budget(AdsContent::kMaxItems);
  ResponseMessage response;
  if (!budget.Take(*ResponseMessage::descriptor(), message)) {
    received.failure = "it sent a message of too many parts";
  } else if (!ParseQuietly(message, &response)) {
    received.failure = "it sent bytes that are no DeltaDiscoveryResponse";
  } else if (response.nonce().size() > kMaxNonce) {
    received.failure = fmt::format("it sent a nonce of {} bytes", response.nonce().size());
  }
  if (!received.failure.empty()) return received;

  received.version = Shortened(response.system_version_info(), kMaxShown);
  received.identifier = Shortened(response.control_plane().identifier(), kMaxShown);
  received.type = TypeOfUrl(response.type_url());
  if (!received.type || !types_[IndexOf(*received.type)].begun) {
    Refuse(response,
           fmt::format("nothing of type_url \"{}\" was asked for",
                       Shortened(response.type_url(), kMaxShown)),
           &received);
  } else {
    ReceiveResources(*received.type, response, budget, &received);
  }
  received.cost = message.size() + budget.taken() * AdsContent::kItemCost;
  return received;
}

void AdsDelta::ReceiveResources(Type type, ResponseMessage& response, WireBudget& budget,
                                Received* received) {
  AdsContent content(type, wanted_[IndexOf(type)], budget);
  for (auto& resource : *response.mutable_resources()) content.AddNamed(std::move(resource));
  for (auto& name : *response.mutable_removed_resources()) content.AddRemoved(std::move(name));
  if (!content.twice().empty()) {
    Refuse(response,
           fmt::format("{}: more than once in one response: \"{}\"", TypeName(type),
                       fmt::join(content.twice(), "\", \"")),
           received);
    return;
  }
  received->heartbeats = std::move(content.heartbeats());
  const bool nothing_else =
      content.upserts().empty() && content.removed().empty() && content.refused().empty();
  if (!received->heartbeats.empty() && nothing_else) {
    AddAnswer(response.type_url(), response.nonce(), std::nullopt);
    received->answer = AdsAnswer::kAck;
    return;
  }
  received->ttls = std::move(content.ttls());
  received->update = Update{.type = type,
                            .upserts = std::move(content.upserts()),
                            .removed = std::move(content.removed()),
                            .refused = content.refused(),
                            .version = received->version};
  received->update->id = ledger_.Add({.type = type,
                                      .nonce = response.nonce(),
                                      .refused = std::move(content.refused()),
                                      .more_refused = content.more_refused()});
}

void AdsDelta::Refuse(const ResponseMessage& response, std::string why, Received* received) {
  AddAnswer(Shortened(response.type_url(), kMaxNonce), response.nonce(), StatusOfMalformed(why));
  received->answer = AdsAnswer::kNack;
  received->malformed = std::move(why);
}

AdsAnswer AdsDelta::Answer(uint64_t id, const std::vector<Refusal>& refusals) {
  Response* response = ledger_.Find(id);
  if (response == nullptr || (response->answered && !refusals.empty())) return AdsAnswer::kNone;
  const std::vector<Refusal> refused = response->AllRefused(refusals);
  const std::string type_url(TypeUrl(response->type));
  // However old it is: a server may wait for the answer to each response.
  if (refused.empty()) {
    AddAnswer(type_url, response->nonce, std::nullopt);
    ledger_.Accepted(id);
    return AdsAnswer::kAck;
  }
  AddAnswer(type_url, response->nonce,
            StatusOfRefusals(response->type, refused, response->more_refused));
  ledger_.Refused(id);
  return AdsAnswer::kNack;
}

void AdsDelta::AddAnswer(const std::string& type_url, const std::string& nonce,
                         std::optional<google::rpc::Status> refused) {
  Request& answer = answers_.emplace_back();
  answer.set_type_url(type_url);
  answer.set_response_nonce(nonce);
  if (refused) *answer.mutable_error_detail() = std::move(*refused);
}

}  // namespace gatehouse::xds
