// Subscription: what one stream wants of one type, what it has been sent, and what it must be sent
// to get to a newer state. Delta, and state of the world.
//
//   request --Apply*()--> due() --Answer()--> up to date with a state
//   newer state --> NeedsUpserts() --Upserts()--> Differs() only by removals --Removals()-->
//
// The state of a wildcard ("*") is a shared pointer to what was sent last; only names that were
// asked for one by one cost memory of their own. Owner: XdsStream, under its lock. No I/O.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "source/control_plane/resource_set.h"
#include "source/control_plane/response_body.h"
#include "source/control_plane/response_cache.h"

namespace gatehouse::control {

enum class Protocol : uint8_t { kDelta, kStateOfTheWorld };

using Versions = std::map<std::string, std::string, std::less<>>;

// What is to be sent, and what the gateway held before it as far as one knows.
struct Step {
  Bodies bodies;
  TypeSet previous;                          // may be null
  std::shared_ptr<const Versions> versions;  // where there is no `previous`; may be null
};

class Subscription {
 public:
  Subscription(Protocol protocol, ResourceType type, ResponseCache& cache)
      : protocol_(protocol), type_(type), cache_(&cache) {}

  // Delta: changes, whatever the nonce. `held` counts in the first request alone.
  void ApplyDelta(const std::vector<std::string>& subscribe,
                  const std::vector<std::string>& unsubscribe, Versions held);
  // State of the world: the whole list. Not for a request with a stale nonce.
  void ApplyWorld(const std::vector<std::string>& names);

  // A request for the type has come.
  [[nodiscard]] bool known() const { return known_; }
  // A request is to be answered, whether or not anything is new.
  [[nodiscard]] bool due() const { return known_ && (answer_due_ || !due_.empty()); }
  [[nodiscard]] bool wildcard() const { return wildcard_; }
  // Names that were asked for one by one.
  [[nodiscard]] size_t names() const { return names_.size(); }
  // That it has been sent.
  [[nodiscard]] size_t resources() const;

  // At least one body.
  [[nodiscard]] Step Answer(const TypeSet& target);
  [[nodiscard]] bool NeedsUpserts(const TypeSet& target) const;
  [[nodiscard]] bool NeedsRemovals(const TypeSet& target) const;
  // `with_removals`: nothing else is between these and the removals of this type.
  [[nodiscard]] Step Upserts(const TypeSet& target, bool with_removals);
  // After Upserts() to the same target.
  [[nodiscard]] Step Removals(const TypeSet& target);

 private:
  // A name that was asked for. What it has: the resource, or from another stream a version.
  struct Held {
    std::shared_ptr<const Resource> resource;
    std::string version;
    [[nodiscard]] bool any() const { return resource != nullptr || !version.empty(); }
    [[nodiscard]] bool Is(const Resource& other) const {
      return (resource != nullptr ? resource->version : version) == other.version;
    }
  };

  [[nodiscard]] Step AnswerDelta(const TypeSet& target);
  [[nodiscard]] Step AnswerWorld(const TypeSet& target);
  void StartWildcard(const TypeSet& target, Step& step);
  [[nodiscard]] Step WildcardUpserts(const TypeSet& target, bool with_removals);
  [[nodiscard]] Step NamedUpserts(const TypeSet& target, bool with_removals);
  [[nodiscard]] Step NamedRemovals(const TypeSet& target);
  void StopWildcard();
  // Adds to what is held but is not in `target`.
  void Leave(const TypeSet& more, const TypeSet& target);
  [[nodiscard]] Resources NamedIn(const TypeSet& target) const;
  [[nodiscard]] bool leaving() const { return leftover_ != nullptr && !leftover_->empty(); }

  Protocol protocol_;
  ResourceType type_;
  ResponseCache* cache_;

  bool known_ = false;
  bool wildcard_ = false;
  bool named_ever_ = false;  // state of the world: an empty list means nothing now
  bool answer_due_ = false;
  std::set<std::string> due_;  // delta: names that are to be answered
  std::map<std::string, Held, std::less<>> names_;
  // Of the wildcard: what was sent last (null: nothing yet); and what is held besides, of earlier
  // states, with null resources where only the name is known.
  TypeSet sent_;
  TypeSet leftover_;
  std::shared_ptr<const Difference> leftover_of_;  // whose removed() it is, if it is one's
  std::shared_ptr<const Versions> initial_;        // until the first answer
};

}  // namespace gatehouse::control
