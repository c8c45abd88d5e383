#include "source/xds/fetch_watch.h"

#include <algorithm>

namespace gatehouse::xds {

void FetchWatch::Want(const WantedTypes& wanted) {
  for (size_t i = 0; i < kTypes; ++i) {
    OfType& state = types_[i];
    state.whole = !wanted[i];
    std::erase_if(state.names, [&](const auto& entry) {
      return state.whole || !wanted[i]->contains(entry.first);
    });
    if (!state.whole) {
      for (const std::string& name : *wanted[i]) {
        if (!state.wanted || !state.wanted->contains(name)) state.names.emplace(name, kNotAsked);
      }
    }
    state.wanted = wanted[i];
  }
}

void FetchWatch::Connected(TimePoint now) {
  if (timeout_ == kNoTimeout) return;
  for (OfType& state : types_) {
    if (state.whole && !state.told && state.until == kNotAsked) state.until = now + timeout_;
    for (auto& [name, until] : state.names) {
      if (until == kNotAsked) until = now + timeout_;
    }
  }
}

void FetchWatch::Told(Type type) { types_[IndexOf(type)].told = true; }

void FetchWatch::ToldOf(Type type, std::string_view name) {
  auto& names = types_[IndexOf(type)].names;
  const auto found = names.find(name);
  if (found != names.end()) names.erase(found);
}

std::map<Type, std::vector<std::string>> FetchWatch::GiveUp(TimePoint now) {
  std::map<Type, std::vector<std::string>> due;
  for (const Type type : kAllTypes) {
    OfType& state = types_[IndexOf(type)];
    if (state.whole && !state.told && state.until != kNotAsked && state.until <= now) {
      state.told = true;
      due[type];
    }
    for (auto& [name, until] : state.names) {
      if (until == kNotAsked || until > now) continue;
      until = kNever;
      due[type].push_back(name);
    }
  }
  return due;
}

TimePoint FetchWatch::next() const {
  TimePoint next = kNever;
  for (const OfType& state : types_) {
    if (state.whole && !state.told && state.until != kNotAsked) next = std::min(next, state.until);
    for (const auto& [name, until] : state.names) {
      if (until != kNotAsked) next = std::min(next, until);
    }
  }
  return next;
}

}  // namespace gatehouse::xds
