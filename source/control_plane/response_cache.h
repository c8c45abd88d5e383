// ResponseCache: what differs between two states of a type, and the responses that say so, computed
// once and shared by all streams that need the same.
//
// States are told apart by their pointers: a set that did not change is the same object
// (resource_set.h). Owner: the XdsServer. Any thread; two that need the same difference wait for
// one computation, others do not wait.
//
//   auto difference = cache.Between(ResourceType::kCluster, sent, target);
//   for (const Body& body : difference->Upserts()) ...
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>

#include "source/control_plane/resource_set.h"
#include "source/control_plane/response_body.h"

namespace gatehouse::control {

// The methods that make responses do so when first called.
class Difference {
 public:
  // `from` may be null: nothing is held. The writer must outlive this.
  Difference(const ResponseWriter& writer, ResourceType type, TypeSet from, TypeSet to);
  Difference(const Difference&) = delete;
  Difference& operator=(const Difference&) = delete;

  // By version: resources of equal content are equal, wherever they were written.
  [[nodiscard]] const Resources& upserts() const { return upserts_; }
  // What `from` had and `to` has not. Never null.
  [[nodiscard]] const TypeSet& removed() const { return removed_; }
  [[nodiscard]] bool empty() const { return upserts_.empty() && removed_->empty(); }

  // Delta. None, if there is nothing to say.
  [[nodiscard]] const Bodies& Upserts() const { return Made(upsert_bodies_, true, false); }
  [[nodiscard]] const Bodies& Removals() const { return Made(removal_bodies_, false, true); }
  [[nodiscard]] const Bodies& Both() const { return Made(both_bodies_, true, true); }
  // State of the world: all of `to`; and with what was removed.
  [[nodiscard]] Body Complete() const;
  [[nodiscard]] Body WithRemoved() const;

  [[nodiscard]] size_t bytes() const;

 private:
  struct Lazy {
    bool made = false;
    Bodies bodies;
  };
  const Bodies& Made(Lazy& lazy, bool upserts, bool removals) const;

  const ResponseWriter& writer_;
  const ResourceType type_;
  const TypeSet from_;  // alive, so that its address means it alone
  const TypeSet to_;
  Resources upserts_;
  TypeSet removed_;

  mutable std::mutex mutex_;
  mutable Lazy upsert_bodies_;
  mutable Lazy removal_bodies_;
  mutable Lazy both_bodies_;
  mutable Body complete_;
  mutable Body with_removed_;
};

class ResponseCache {
 public:
  // Differences that are kept besides those from nothing; the oldest goes first.
  static constexpr size_t kMaxKept = 512;

  explicit ResponseCache(std::string identifier, size_t max_bytes = ResponseWriter::kMaxBytes)
      : writer_(std::move(identifier), max_bytes) {}
  ResponseCache(const ResponseCache&) = delete;
  ResponseCache& operator=(const ResponseCache&) = delete;

  // `from` may be null. Never null.
  [[nodiscard]] std::shared_ptr<const Difference> Between(ResourceType type, const TypeSet& from,
                                                          const TypeSet& to);
  // From now on this is what streams go to: what leads elsewhere is dropped.
  void Keep(const ResourceSet& current);

  // For what one stream alone needs.
  [[nodiscard]] const ResponseWriter& writer() const { return writer_; }

  struct Size {
    size_t differences = 0;
    size_t bytes = 0;
    uint64_t hits = 0;
    uint64_t misses = 0;
  };
  [[nodiscard]] Size size() const;

 private:
  struct Entry {
    std::once_flag once;
    std::shared_ptr<const Difference> difference;
    ResourceType type = ResourceType::kSecret;
    TypeSet from;
    TypeSet to;
    uint64_t order = 0;
  };
  const Difference& Compute(Entry& entry) const;
  using Key = std::tuple<const ResourcesByName*, const ResourcesByName*, ResourceType>;
  void DropOldest();

  const ResponseWriter writer_;
  mutable std::mutex mutex_;
  std::map<Key, std::shared_ptr<Entry>> entries_;
  size_t from_something_ = 0;  // entries that have a `from`
  uint64_t order_ = 0;
  uint64_t hits_ = 0;
  uint64_t misses_ = 0;
};

}  // namespace gatehouse::control
