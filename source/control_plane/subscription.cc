#include "source/control_plane/subscription.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace gatehouse::control {

namespace {

constexpr std::string_view kWildcard = "*";

Resources ListOf(const ResourcesByName& resources) {
  Resources list;
  list.reserve(resources.size());
  for (const auto& [name, resource] : resources) {
    if (resource != nullptr) list.push_back(resource);
  }
  return list;
}

std::vector<std::string> NamesOf(const ResourcesByName& resources) {
  std::vector<std::string> names;
  names.reserve(resources.size());
  for (const auto& [name, resource] : resources) names.push_back(name);
  return names;
}

}  // namespace

void Subscription::ApplyDelta(const std::vector<std::string>& subscribe,
                              const std::vector<std::string>& unsubscribe, Versions held) {
  const bool first = !known_;
  if (first) {
    known_ = true;
    answer_due_ = true;
    // Legacy: who names nothing at first wants everything.
    wildcard_ = subscribe.empty();
    if (!held.empty()) initial_ = std::make_shared<const Versions>(std::move(held));
  }
  for (const std::string& name : subscribe) {
    if (name != kWildcard) {
      Held held_now;
      if (first && initial_ != nullptr) {
        const auto version = initial_->find(name);
        if (version != initial_->end()) held_now.version = version->second;
      }
      names_[name] = std::move(held_now);
      due_.insert(name);
      continue;
    }
    // Again: all is sent again, and what it holds is not forgotten.
    if (wildcard_ && sent_ != nullptr) Leave(sent_, nullptr);
    wildcard_ = true;
    sent_ = nullptr;
    answer_due_ = true;
  }
  for (const std::string& name : unsubscribe) {
    if (name == kWildcard) {
      StopWildcard();
    } else if (names_.erase(name) != 0) {
      // While "*" is held, the gateway cannot know whether it keeps the resource.
      if (wildcard_) {
        due_.insert(name);
      } else {
        due_.erase(name);
      }
    }
  }
}

void Subscription::ApplyWorld(const std::vector<std::string>& names) {
  const bool first = !known_;
  known_ = true;
  const bool star = std::find(names.begin(), names.end(), kWildcard) != names.end();
  if (!names.empty()) named_ever_ = true;
  const bool all = star || !named_ever_;
  if (first || (all && !wildcard_)) answer_due_ = true;
  if (wildcard_ && !all) StopWildcard();
  wildcard_ = all;

  std::map<std::string, Held, std::less<>> wanted;
  for (const std::string& name : names) {
    if (name == kWildcard) continue;
    const auto old = names_.find(name);
    if (old == names_.end()) {
      // It is sent even if this stream has been told of it before.
      answer_due_ = true;
      wanted[name];
    } else {
      wanted[name] = std::move(old->second);
    }
  }
  names_ = std::move(wanted);
}

// The gateway keeps what it wants by name, and drops the rest by itself.
void Subscription::StopWildcard() {
  if (!wildcard_) return;
  wildcard_ = false;
  for (auto& [name, held] : names_) {
    for (const TypeSet& set : {leftover_, sent_}) {
      if (set == nullptr) continue;
      const auto found = set->find(name);
      if (found != set->end()) held = {.resource = found->second};
    }
  }
  sent_ = nullptr;
  leftover_ = nullptr;
  leftover_of_ = nullptr;
}

size_t Subscription::resources() const {
  if (wildcard_) return sent_ == nullptr ? 0 : sent_->size();
  return static_cast<size_t>(std::count_if(names_.begin(), names_.end(),
                                           [](const auto& entry) { return entry.second.any(); }));
}

void Subscription::Leave(const TypeSet& more, const TypeSet& target) {
  auto all = std::make_shared<ResourcesByName>();
  for (const TypeSet& set : {leftover_, more}) {
    if (set == nullptr) continue;
    for (const auto& [name, resource] : *set) {
      if (target == nullptr || !target->contains(name)) (*all)[name] = resource;
    }
  }
  leftover_ = std::move(all);
  leftover_of_ = nullptr;
}

Resources Subscription::NamedIn(const TypeSet& target) const {
  Resources list;
  for (const auto& [name, held] : names_) {
    const auto found = target->find(name);
    if (found != target->end()) list.push_back(found->second);
  }
  return list;
}

Step Subscription::Answer(const TypeSet& target) {
  Step step = protocol_ == Protocol::kDelta ? AnswerDelta(target) : AnswerWorld(target);
  answer_due_ = false;
  due_.clear();
  initial_ = nullptr;
  return step;
}

// All of the target, or what is different from the versions that the gateway holds from before.
void Subscription::StartWildcard(const TypeSet& target, Step& step) {
  if (initial_ == nullptr) {
    step.bodies = cache_->Between(type_, nullptr, target)->Upserts();
  } else {
    Resources upserts;
    for (const auto& [name, resource] : *target) {
      const auto version = initial_->find(name);
      if (version == initial_->end() || version->second != resource->version) {
        upserts.push_back(resource);
      }
    }
    if (!upserts.empty()) step.bodies = cache_->writer().Delta(type_, std::move(upserts), {});
  }
  auto held = std::make_shared<ResourcesByName>();
  if (initial_ != nullptr) {
    for (const auto& [name, version] : *initial_) (*held)[name] = nullptr;
  }
  for (const auto& [name, entry] : names_) {
    if (entry.any()) (*held)[name] = entry.resource;
  }
  Leave(held, target);
  sent_ = target;
}

Step Subscription::AnswerDelta(const TypeSet& target) {
  Step step;
  step.versions = initial_;
  const bool start = wildcard_ && sent_ == nullptr;
  if (start) StartWildcard(target, step);
  Resources upserts;
  std::vector<std::string> missing;
  std::set<std::string> gone;
  for (const std::string& name : due_) {
    const auto entry = names_.find(name);
    const auto found = target->find(name);
    if (found == target->end()) {
      missing.push_back(name);
      if (entry != names_.end()) entry->second = {};
      gone.insert(name);
      continue;
    }
    const bool current = entry != names_.end() && entry->second.Is(*found->second);
    if (entry != names_.end()) entry->second = {.resource = found->second};
    if (!start && !current) upserts.push_back(found->second);
  }
  if (!gone.empty() && leaving()) {
    auto rest = std::make_shared<ResourcesByName>(*leftover_);
    for (const std::string& name : gone) rest->erase(name);
    leftover_ = std::move(rest);
    leftover_of_ = nullptr;
  }
  // An answer without anything in it says that all is as the gateway has it.
  if (!upserts.empty() || !missing.empty() || step.bodies.empty()) {
    Bodies own = cache_->writer().Delta(type_, std::move(upserts), std::move(missing));
    std::move(own.begin(), own.end(), std::back_inserter(step.bodies));
  }
  return step;
}

Step Subscription::AnswerWorld(const TypeSet& target) {
  Step step;
  if (wildcard_) {
    step.previous = sent_;
    step.bodies = {cache_->Between(type_, nullptr, target)->Complete()};
    sent_ = target;
    leftover_ = nullptr;
    leftover_of_ = nullptr;
    return step;
  }
  step.bodies = {cache_->writer().Complete(type_, NamedIn(target))};
  for (auto& [name, held] : names_) {
    const auto found = target->find(name);
    held = {.resource = found == target->end() ? nullptr : found->second};
  }
  return step;
}

bool Subscription::NeedsUpserts(const TypeSet& target) const {
  if (!known_) return false;
  if (wildcard_) {
    return sent_ != nullptr && sent_ != target &&
           !cache_->Between(type_, sent_, target)->upserts().empty();
  }
  return std::any_of(names_.begin(), names_.end(), [&](const auto& entry) {
    const auto found = target->find(entry.first);
    return found != target->end() && !entry.second.Is(*found->second);
  });
}

bool Subscription::NeedsRemovals(const TypeSet& target) const {
  if (!known_) return false;
  if (wildcard_) {
    return sent_ != nullptr &&
           (leaving() ||
            (sent_ != target && !cache_->Between(type_, sent_, target)->removed()->empty()));
  }
  return std::any_of(names_.begin(), names_.end(), [&](const auto& entry) {
    return entry.second.any() && !target->contains(entry.first);
  });
}

Step Subscription::Upserts(const TypeSet& target, bool with_removals) {
  if (!known_) return {};
  return wildcard_ ? WildcardUpserts(target, with_removals) : NamedUpserts(target, with_removals);
}

Step Subscription::WildcardUpserts(const TypeSet& target, bool with_removals) {
  if (sent_ == nullptr || sent_ == target) return {};
  const auto difference = cache_->Between(type_, sent_, target);
  const bool shared = !leaving();
  Step step{.previous = std::move(sent_)};
  sent_ = target;
  if (shared) {
    leftover_ = difference->removed();
    leftover_of_ = difference;
  } else {
    Leave(difference->removed(), target);
  }
  if (!leaving()) leftover_of_ = nullptr;
  if (difference->upserts().empty()) return step;

  if (protocol_ == Protocol::kDelta) {
    const bool both = shared && with_removals;
    step.bodies = both ? difference->Both() : difference->Upserts();
    if (both) leftover_ = nullptr;
  } else if (with_removals || !leaving()) {
    step.bodies = {cache_->Between(type_, nullptr, target)->Complete()};
    leftover_ = nullptr;
  } else if (shared) {
    step.bodies = {difference->WithRemoved()};
  } else {
    ResourcesByName all = *leftover_;
    all.insert(target->begin(), target->end());
    step.bodies = {cache_->writer().Complete(type_, ListOf(all))};
  }
  if (leftover_ == nullptr) leftover_of_ = nullptr;
  return step;
}

Step Subscription::NamedUpserts(const TypeSet& target, bool with_removals) {
  Step step;
  Resources changed;
  Resources all;  // with what is about to be removed
  for (auto& [name, held] : names_) {
    const auto found = target->find(name);
    if (found == target->end()) {
      if (held.resource != nullptr && !with_removals) all.push_back(held.resource);
      continue;
    }
    all.push_back(found->second);
    if (!held.Is(*found->second)) changed.push_back(found->second);
  }
  if (changed.empty()) return step;
  auto previous = std::make_shared<ResourcesByName>();
  for (auto& [name, held] : names_) {
    if (held.resource != nullptr) (*previous)[name] = held.resource;
    const auto found = target->find(name);
    if (found != target->end()) {
      held = {.resource = found->second};
    } else if (protocol_ == Protocol::kStateOfTheWorld && with_removals) {
      held = {};
    }
  }
  step.previous = std::move(previous);
  step.bodies = protocol_ == Protocol::kDelta
                    ? cache_->writer().Delta(type_, std::move(changed), {})
                    : Bodies{cache_->writer().Complete(type_, std::move(all))};
  return step;
}

Step Subscription::Removals(const TypeSet& target) {
  if (!known_) return {};
  if (!wildcard_) return NamedRemovals(target);
  if (!leaving()) return {};
  Step step{.previous = sent_};
  if (protocol_ == Protocol::kStateOfTheWorld) {
    step.bodies = {cache_->Between(type_, nullptr, target)->Complete()};
  } else if (leftover_of_ != nullptr) {
    step.bodies = leftover_of_->Removals();
  } else {
    step.bodies = cache_->writer().Delta(type_, {}, NamesOf(*leftover_));
  }
  leftover_ = nullptr;
  leftover_of_ = nullptr;
  return step;
}

Step Subscription::NamedRemovals(const TypeSet& target) {
  std::vector<std::string> removed;
  for (auto& [name, held] : names_) {
    if (!held.any() || target->contains(name)) continue;
    removed.push_back(name);
    held = {};
  }
  if (removed.empty()) return {};
  if (protocol_ == Protocol::kDelta) {
    return {.bodies = cache_->writer().Delta(type_, {}, std::move(removed))};
  }
  return {.bodies = {cache_->writer().Complete(type_, NamedIn(target))}};
}

}  // namespace gatehouse::control
