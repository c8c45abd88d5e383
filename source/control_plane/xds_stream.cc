#include "source/control_plane/xds_stream.h"

#include <algorithm>
#include <utility>

#include "fmt/format.h"
#include "source/base/status.h"

namespace gatehouse::control {

namespace {

constexpr size_t kMaxRefused = 16;        // responses of a type that may be accepted yet
constexpr size_t kMaxSentRevisions = 64;  // that wait for answers
constexpr size_t kMaxWarnings = 8;

ResourceType TypeAt(size_t step) {
  return static_cast<ResourceType>(step < kResourceTypes ? step : 2 * kResourceTypes - 1 - step);
}

std::vector<std::string> ListOf(const google::protobuf::RepeatedPtrField<std::string>& names) {
  return {names.begin(), names.end()};
}

}  // namespace

XdsStream::XdsStream(Protocol protocol, ResponseCache& cache)
    : protocol_(protocol),
      types_{{
          {.subscription = Subscription(protocol, ResourceType::kSecret, cache)},
          {.subscription = Subscription(protocol, ResourceType::kRateLimit, cache)},
          {.subscription = Subscription(protocol, ResourceType::kCluster, cache)},
          {.subscription = Subscription(protocol, ResourceType::kEndpoints, cache)},
          {.subscription = Subscription(protocol, ResourceType::kRouteTable, cache)},
          {.subscription = Subscription(protocol, ResourceType::kListener, cache)},
      }} {
  status_.protocol = protocol == Protocol::kDelta ? "delta" : "state-of-the-world";
}

RequestOutcome XdsStream::OnRequest(const DeltaRequest& request, SteadyTime /*now*/,
                                    WallTime wall) {
  RequestOutcome outcome =
      OnAnswer({.type_url = request.type_url(),
                .nonce = request.response_nonce(),
                .error = request.has_error_detail() ? &request.error_detail() : nullptr},
               wall);
  if (!outcome.type.has_value()) return outcome;
  // Whether or not the nonce is stale.
  Subscription& subscription = of(*outcome.type).subscription;
  Versions held;
  if (!subscription.known()) {
    for (const auto& [name, version] : request.initial_resource_versions()) held[name] = version;
  }
  subscription.ApplyDelta(ListOf(request.resource_names_subscribe()),
                          ListOf(request.resource_names_unsubscribe()), std::move(held));
  outcome.status = CheckNames(*outcome.type);
  return outcome;
}

RequestOutcome XdsStream::OnRequest(const WorldRequest& request, SteadyTime /*now*/,
                                    WallTime wall) {
  RequestOutcome outcome =
      OnAnswer({.type_url = request.type_url(),
                .nonce = request.response_nonce(),
                .error = request.has_error_detail() ? &request.error_detail() : nullptr},
               wall);
  if (!outcome.type.has_value()) return outcome;
  // What a request with a stale nonce wants, the next one says, too: it has not seen the newest
  // response yet, which it will answer. No nonce: there was no response yet, or it does not answer.
  OfType& of_type = of(*outcome.type);
  const bool stale = !request.response_nonce().empty() && of_type.last_number != 0 &&
                     !request.response_nonce().ends_with(fmt::format(".{}", of_type.last_number));
  if (!stale) of_type.subscription.ApplyWorld(ListOf(request.resource_names()));
  outcome.status = CheckNames(*outcome.type);
  return outcome;
}

absl::Status XdsStream::CheckNames(ResourceType type) {
  if (of(type).subscription.names() <= kMaxNames) return absl::OkStatus();
  return MakeStatus(absl::StatusCode::kResourceExhausted,
                    fmt::format("more than {} names of {} are subscribed one by one; subscribe to "
                                "\"*\"",
                                kMaxNames, TypeName(type)));
}

RequestOutcome XdsStream::OnAnswer(const Answered& answer, WallTime wall) {
  RequestOutcome outcome;
  status_.last_seen = wall;
  const std::optional<ResourceType> type = TypeOf(answer.type_url);
  if (!type.has_value() || TypeUrl(*type) != answer.type_url) {
    WarnOfType(answer.type_url);
    outcome.kind = RequestOutcome::Kind::kUnknownType;
    return outcome;
  }
  outcome.type = type;
  if (answer.nonce.empty()) return outcome;

  OfType& of_type = of(*type);
  const auto has_nonce = [&](const Sent& sent) { return sent.nonce == answer.nonce; };
  std::deque<Sent>* waiting = &of_type.unanswered;
  auto found = std::find_if(waiting->begin(), waiting->end(), has_nonce);
  if (found == waiting->end()) {
    waiting = &of_type.refused;
    found = std::find_if(waiting->begin(), waiting->end(), has_nonce);
    if (found == waiting->end()) {
      outcome.kind = RequestOutcome::Kind::kStale;
      return outcome;
    }
  }
  Sent sent = std::move(*found);
  if (protocol_ == Protocol::kStateOfTheWorld && waiting == &of_type.unanswered) {
    waiting->erase(waiting->begin(), found + 1);  // one answer is enough for all before
  } else {
    waiting->erase(found);
  }
  outcome.sent = sent.at;
  auto& counts = status_.types[static_cast<size_t>(*type)];
  if (answer.error == nullptr) {
    outcome.kind = RequestOutcome::Kind::kAck;
    ++counts.acks;
    Accept(sent);
  } else {
    outcome.kind = RequestOutcome::Kind::kNack;
    ++counts.nacks;
    outcome.rejected = Refuse(sent, *answer.error, wall);
    of_type.refused.push_back(std::move(sent));
    if (of_type.refused.size() > kMaxRefused) of_type.refused.pop_front();
  }
  const auto rejections =
      std::count_if(status_.rejections.begin(), status_.rejections.end(),
                    [&](const auto& entry) { return entry.first.first == *type; });
  const size_t resources = of_type.subscription.resources();
  counts.resources = resources - std::min(resources, static_cast<size_t>(rejections));
  outcome.newly_accepted = UpdateAccepted();
  return outcome;
}

void XdsStream::WarnOfType(std::string_view type_url) {
  std::string warning =
      fmt::format("asks for type {:?}, which is not one of ours; such requests are ignored",
                  std::string(type_url.substr(0, 200)));
  auto& warnings = status_.warnings;
  if (std::find(warnings.begin(), warnings.end(), warning) != warnings.end()) return;
  if (warnings.size() < kMaxWarnings) warnings.push_back(std::move(warning));
}

std::optional<XdsResponse> XdsStream::Next(SteadyTime now) {
  if (!queue_.empty()) return Pop(now);
  if (newest_ == nullptr) return std::nullopt;
  if (target_ == nullptr || (step_ == kSteps && target_ != newest_)) Restart();
  AnswerDue();
  if (queue_.empty()) Plan();
  if (queue_.empty()) return std::nullopt;
  return Pop(now);
}

void XdsStream::Restart() {
  target_ = newest_;
  step_ = 0;
}

// The first type that a request waits for.
void XdsStream::AnswerDue() {
  for (size_t i = 0; i < kResourceTypes; ++i) {
    const auto type = static_cast<ResourceType>(i);
    Subscription& subscription = of(type).subscription;
    if (!subscription.due() || Blocked(type)) continue;
    Enqueue(type, subscription.Answer(target_->shared(type)));
    // What it holds from another stream may have to be removed; a plan that is done has to be
    // finished again, so that its revision counts as sent.
    step_ = std::min(step_, kResourceTypes);
    return;
  }
}

void XdsStream::Plan() {
  while (queue_.empty() && step_ < kSteps) {
    const ResourceType type = TypeAt(step_);
    Subscription& subscription = of(type).subscription;
    const TypeSet& target = target_->shared(type);
    const bool upserts = step_ < kResourceTypes;
    const bool needed =
        upserts ? subscription.NeedsUpserts(target) : subscription.NeedsRemovals(target);
    if (needed && Blocked(type)) {
      if (target_ == newest_) return;
      Restart();
      continue;
    }
    ++step_;
    Enqueue(type, upserts ? subscription.Upserts(target, needed && LastOfPlan(type))
                          : subscription.Removals(target));
    if (step_ < kSteps) continue;
    status_.sent_revision = target_->revision();
    sent_revisions_.emplace_back(target_->revision(), last_number_ + queue_.size());
    if (sent_revisions_.size() > kMaxSentRevisions) sent_revisions_.pop_front();
    static_cast<void>(UpdateAccepted());
    if (queue_.empty() && target_ != newest_) Restart();
  }
}

bool XdsStream::LastOfPlan(ResourceType type) {
  for (size_t i = static_cast<size_t>(type) + 1; i < kResourceTypes; ++i) {
    const auto later = static_cast<ResourceType>(i);
    const Subscription& subscription = of(later).subscription;
    const TypeSet& target = target_->shared(later);
    if (subscription.NeedsUpserts(target) || subscription.NeedsRemovals(target)) return false;
  }
  return true;
}

void XdsStream::Enqueue(ResourceType type, Step step) {
  for (Body& body : step.bodies) {
    queue_.push_back({.type = type,
                      .body = std::move(body),
                      .previous = step.previous,
                      .versions = step.versions});
  }
}

XdsResponse XdsStream::Pop(SteadyTime now) {
  Queued queued = std::move(queue_.front());
  queue_.pop_front();
  OfType& of_type = of(queued.type);
  of_type.last_number = ++last_number_;
  std::string nonce = fmt::format("{}.{}", target_->revision(), last_number_);
  XdsResponse response{.body = queued.body,
                       .tail = protocol_ == Protocol::kDelta ? DeltaTail(target_->revision(), nonce)
                                                             : WorldTail(nonce)};
  of_type.unanswered.push_back({.number = last_number_,
                                .nonce = std::move(nonce),
                                .body = std::move(queued.body),
                                .previous = std::move(queued.previous),
                                .versions = std::move(queued.versions),
                                .at = now});
  return response;
}

}  // namespace gatehouse::control
