#include "source/xds/ads_sotw.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "source/xds/ads_answer.h"

namespace gatehouse::xds {
namespace {

constexpr char kEverything[] = "*";

}  // namespace

void AdsSotw::Begin() {
  introduced_ = false;
  types_ = {};
  ledger_.Clear();
  strays_.clear();
  for (const Type type : kAllTypes) types_[IndexOf(type)].accepted = held_.version(type);
}

// --- What is asked ---

void AdsSotw::Want(WantedTypes wanted) {
  for (size_t i = 0; i < kTypes; ++i) {
    if (wanted[i] == wanted_[i]) continue;
    // While no name was ever sent, an empty list means everything: nothing at all cannot be asked
    // for, and what comes is dropped.
    if (types_[i].begun) types_[i].due = WantsSomething(wanted[i]) || types_[i].named;
  }
  wanted_ = std::move(wanted);
}

std::optional<std::string> AdsSotw::NextRequest() {
  for (const Type type : kAllTypes) {
    OfType& state = types_[IndexOf(type)];
    if (!state.begun && WantsSomething(wanted_[IndexOf(type)])) {
      state.begun = state.due = true;
      state.told_of_held = !state.accepted.empty();
    }
    if (state.due) return Finished(RequestOf(type));
  }
  while (!strays_.empty()) {
    Request answer = std::move(strays_.front());
    strays_.pop_front();
    // Of a type that was asked for meanwhile it would say that nothing is wanted any more.
    const auto type = TypeOfUrl(answer.type_url());
    if (!type || !types_[IndexOf(*type)].begun) return Finished(std::move(answer));
  }
  return std::nullopt;
}

AdsSotw::Request AdsSotw::RequestOf(Type type) {
  const Wanted& wanted = wanted_[IndexOf(type)];
  OfType& state = types_[IndexOf(type)];
  state.due = false;
  Request request;
  request.set_type_url(std::string(TypeUrl(type)));
  request.set_version_info(state.accepted);
  request.set_response_nonce(state.nonce);
  if (state.refused) *request.mutable_error_detail() = *state.refused;
  if (wanted) {
    for (const std::string& name : *wanted) request.add_resource_names(name);
  } else if (state.named) {
    request.add_resource_names(kEverything);
  }
  // Else everything, said by naming nothing. Unlike in delta that is the way to say it here:
  // servers that speak this variant alone are mostly older than "*". It holds until a name is sent.
  state.named |= request.resource_names_size() > 0;
  return request;
}

std::string AdsSotw::Finished(Request request) {
  if (!introduced_) {
    introduced_ = true;
    *request.mutable_node() = NodeOf(node_);
  }
  return request.SerializeAsString();
}

// --- What comes ---

Received AdsSotw::Receive(std::string_view message) {
  Received received;
  WireBudget budget(AdsContent::kMaxItems);
  ResponseMessage response;
  if (!budget.Take(*ResponseMessage::descriptor(), message)) {
    received.failure = "it sent a message of too many parts";
  } else if (!ParseQuietly(message, &response)) {
    received.failure = "it sent bytes that are no DiscoveryResponse";
  } else if (response.nonce().size() > kMaxNonce || response.version_info().size() > kMaxNonce) {
    received.failure =
        fmt::format("it sent a nonce or a version of {} bytes",
                    std::max(response.nonce().size(), response.version_info().size()));
  }
  if (!received.failure.empty()) return received;

  received.version = Shortened(response.version_info(), kMaxShown);
  received.identifier = Shortened(response.control_plane().identifier(), kMaxShown);
  received.type = TypeOfUrl(response.type_url());
  if (!received.type || !types_[IndexOf(*received.type)].begun) {
    RefuseStray(response,
                fmt::format("nothing of type_url \"{}\" was asked for",
                            Shortened(response.type_url(), kMaxShown)),
                &received);
  } else {
    ReceiveResources(*received.type, response, budget, &received);
  }
  received.cost = message.size() + budget.taken() * AdsContent::kItemCost;
  return received;
}

void AdsSotw::ReceiveResources(Type type, ResponseMessage& response, WireBudget& budget,
                               Received* received) {
  OfType& state = types_[IndexOf(type)];
  AdsContent content(type, wanted_[IndexOf(type)], budget);
  for (auto& any : *response.mutable_resources()) content.AddAny(std::move(any));
  // From here on, answers to older responses would be stale.
  state.nonce = response.nonce();
  received->heartbeats = std::move(content.heartbeats());
  if (!received->heartbeats.empty() && content.upserts().empty() && content.refused().empty() &&
      content.twice().empty()) {
    received->answer = AnswerHeartbeats(type, response.version_info());
    return;
  }
  state.latest = 0;
  state.refused.reset();
  if (!content.twice().empty()) {
    RefuseAll(type,
              fmt::format("{}: more than once in one response: \"{}\"", TypeName(type),
                          fmt::join(content.twice(), "\", \"")),
              received);
    received->heartbeats.clear();
    return;
  }
  Update update{.type = type, .version = response.version_info()};
  // A response to names that were asked for has what the server wants to send of them: what is
  // missing may come later. Only when everything was asked for is it everything there is.
  const bool all = !wanted_[IndexOf(type)];
  update.complete = all && content.refused().empty() && received->heartbeats.empty();
  // What came, but not as content, is there too.
  if (all && !update.complete && !content.nameless()) update.removed = MissingFrom(type, content);
  update.upserts = std::move(content.upserts());
  update.refused = content.refused();
  update.id = ledger_.Add({.type = type,
                           .nonce = state.nonce,
                           .version = response.version_info(),
                           .refused = std::move(content.refused()),
                           .more_refused = content.more_refused()});
  state.latest = update.id;
  std::set<std::string>& offered = state.offered[update.id];
  for (const Upsert& upsert : update.upserts) offered.insert(upsert.name);
  received->ttls = std::move(content.ttls());
  received->update = std::move(update);
}

// A response that speaks of lifetimes alone: what it does not name is not removed, and it says
// nothing of whether the content before it was accepted.
AdsAnswer AdsSotw::AnswerHeartbeats(Type type, const std::string& version) {
  OfType& state = types_[IndexOf(type)];
  Response* content = ledger_.Find(state.latest);
  if (content != nullptr && !content->answered) {
    content->version = version;  // its answer will be that of both
    return AdsAnswer::kNone;
  }
  state.due = true;
  if (state.refused) return AdsAnswer::kNack;
  state.accepted = version;
  return AdsAnswer::kAck;
}

// What is held, or about to be, and has not been sent again.
std::vector<std::string> AdsSotw::MissingFrom(Type type, const AdsContent& content) const {
  std::set<std::string> missing;
  for (const auto& [name, version] : held_.versions(type)) missing.insert(name);
  for (const auto& [id, names] : types_[IndexOf(type)].offered) {
    missing.insert(names.begin(), names.end());
  }
  for (const std::string& name : content.names()) missing.erase(name);
  return {missing.begin(), missing.end()};
}

void AdsSotw::RefuseStray(const ResponseMessage& response, std::string why, Received* received) {
  Request& answer = strays_.emplace_back();
  answer.set_type_url(Shortened(response.type_url(), kMaxNonce));
  answer.set_response_nonce(response.nonce());
  *answer.mutable_error_detail() = StatusOfMalformed(why);
  received->answer = AdsAnswer::kNack;
  received->malformed = std::move(why);
}

void AdsSotw::RefuseAll(Type type, std::string why, Received* received) {
  OfType& state = types_[IndexOf(type)];
  state.refused = StatusOfMalformed(why);
  state.due = true;
  received->answer = AdsAnswer::kNack;
  received->malformed = std::move(why);
}

AdsAnswer AdsSotw::Answer(uint64_t id, const std::vector<Refusal>& refusals) {
  Response* response = ledger_.Find(id);
  if (response == nullptr || (response->answered && !refusals.empty())) return AdsAnswer::kNone;
  OfType& state = types_[IndexOf(response->type)];
  const std::vector<Refusal> refused = response->AllRefused(refusals);
  const bool latest = state.latest == id;
  const AdsAnswer answer = refused.empty() ? AdsAnswer::kAck : AdsAnswer::kNack;
  state.offered.erase(id);
  if (refused.empty()) state.accepted = response->version;
  if (latest) {
    state.due = true;
    state.refused.reset();
    if (!refused.empty()) {
      state.refused = StatusOfRefusals(response->type, refused, response->more_refused);
    }
  }
  if (refused.empty()) {
    ledger_.Accepted(id);
  } else {
    ledger_.Refused(id);
  }
  // The server takes no notice of an answer to a response that was followed by another one.
  return latest ? answer : AdsAnswer::kNone;
}

}  // namespace gatehouse::xds
