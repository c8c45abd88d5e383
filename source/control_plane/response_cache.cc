#include "source/control_plane/response_cache.h"

#include <set>
#include <utility>
#include <vector>

namespace gatehouse::control {

Difference::Difference(const ResponseWriter& writer, ResourceType type, TypeSet from, TypeSet to)
    : writer_(writer), type_(type), from_(std::move(from)), to_(std::move(to)) {
  static const ResourcesByName kNothing;
  const ResourcesByName& old = from_ == nullptr ? kNothing : *from_;
  auto removed = std::make_shared<ResourcesByName>();
  // Both are sorted by name.
  auto before = old.begin();
  for (const auto& [name, resource] : *to_) {
    for (; before != old.end() && before->first < name; ++before) removed->insert(*before);
    if (before == old.end() || before->first != name) {
      upserts_.push_back(resource);
      continue;
    }
    if (before->second != resource && before->second->version != resource->version) {
      upserts_.push_back(resource);
    }
    ++before;
  }
  removed->insert(before, old.end());
  removed_ = std::move(removed);
}

const Bodies& Difference::Made(Lazy& lazy, bool upserts, bool removals) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (lazy.made) return lazy.bodies;
  lazy.made = true;
  Resources resources;
  if (upserts) resources = upserts_;
  std::vector<std::string> names;
  if (removals) {
    for (const auto& [name, resource] : *removed_) names.push_back(name);
  }
  if (!resources.empty() || !names.empty()) {
    lazy.bodies = writer_.Delta(type_, std::move(resources), std::move(names));
  }
  return lazy.bodies;
}

namespace {

Resources ListOf(const ResourcesByName& resources) {
  Resources list;
  list.reserve(resources.size());
  for (const auto& [name, resource] : resources) list.push_back(resource);
  return list;
}

}  // namespace

Body Difference::Complete() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (complete_ == nullptr) complete_ = writer_.Complete(type_, ListOf(*to_));
  return complete_;
}

Body Difference::WithRemoved() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (with_removed_ == nullptr) {
    ResourcesByName all = *to_;
    all.insert(removed_->begin(), removed_->end());
    with_removed_ = writer_.Complete(type_, ListOf(all));
  }
  return with_removed_;
}

size_t Difference::bytes() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  size_t bytes = 0;
  for (const Lazy* lazy : {&upsert_bodies_, &removal_bodies_, &both_bodies_}) {
    for (const Body& body : lazy->bodies) bytes += body->bytes.size();
  }
  if (complete_ != nullptr) bytes += complete_->bytes.size();
  if (with_removed_ != nullptr) bytes += with_removed_->bytes.size();
  return bytes;
}

std::shared_ptr<const Difference> ResponseCache::Between(ResourceType type, const TypeSet& from,
                                                         const TypeSet& to) {
  std::shared_ptr<Entry> entry;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::shared_ptr<Entry>& slot = entries_[Key(from.get(), to.get(), type)];
    if (slot == nullptr) {
      ++misses_;
      slot = std::make_shared<Entry>();
      slot->order = ++order_;
      slot->type = type;
      slot->from = from;
      slot->to = to;
      entry = slot;
      if (from != nullptr && ++from_something_ > kMaxKept) DropOldest();
    } else {
      ++hits_;
      entry = slot;
    }
  }
  Compute(*entry);
  return entry->difference;
}

const Difference& ResponseCache::Compute(Entry& entry) const {
  std::call_once(entry.once, [&] {
    entry.difference =
        std::make_shared<const Difference>(writer_, entry.type, entry.from, entry.to);
  });
  return *entry.difference;
}

void ResponseCache::DropOldest() {
  auto oldest = entries_.end();
  for (auto it = entries_.begin(); it != entries_.end(); ++it) {
    if (it->second->from == nullptr) continue;
    if (oldest == entries_.end() || it->second->order < oldest->second->order) oldest = it;
  }
  if (oldest == entries_.end()) return;
  entries_.erase(oldest);
  --from_something_;
}

void ResponseCache::Keep(const ResourceSet& current) {
  std::set<const ResourcesByName*> kept;
  std::set<std::string> groups = current.groups();
  groups.insert("");
  for (const std::string& group : groups) {
    const auto set = current.OfGroup(group);
    for (size_t i = 0; i < kResourceTypes; ++i) {
      kept.insert(set->shared(static_cast<ResourceType>(i)).get());
    }
  }
  std::vector<std::shared_ptr<Entry>> dropped;  // freed outside of the lock
  const std::lock_guard<std::mutex> lock(mutex_);
  for (auto it = entries_.begin(); it != entries_.end();) {
    if (kept.contains(it->second->to.get())) {
      ++it;
      continue;
    }
    if (it->second->from != nullptr) --from_something_;
    dropped.push_back(std::move(it->second));
    it = entries_.erase(it);
  }
}

ResponseCache::Size ResponseCache::size() const {
  std::vector<std::shared_ptr<Entry>> entries;
  Size size;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const auto& [key, entry] : entries_) entries.push_back(entry);
    size.differences = entries_.size();
    size.hits = hits_;
    size.misses = misses_;
  }
  for (const auto& entry : entries) size.bytes += Compute(*entry).bytes();
  return size;
}

}  // namespace gatehouse::control
