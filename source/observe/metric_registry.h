// MetricRegistry: which metrics exist, under which labels, and in which slots.
//
// Metrics come in groups: a struct of ids whose families share their labels (RouteMetrics under
// {table, route}). An instance of a group is one label set; acquiring it again while it lives gives
// the same slots, so counters go on over a config reload. It is counted: when the last handle goes,
// its slots are recycled and start again at 0.
//
// Owner: the server. Thread: main. It outlives all handles and the threads that write its blocks.
// A handle must be dropped when no worker uses its ids any more; a handle held by a Snapshot is,
// since the last reference to a snapshot is dropped on main after the workers left it.
//
// A group holds at most `max_label_sets` label sets; what comes later shares one instance whose
// labels are all "_other", and is counted.
//
//   struct CacheMetrics {
//     static constexpr const char* kGroup = "cache";
//     static constexpr std::array<const char*, 1> kLabels = {"cache"};
//     CounterId hits; GaugeId bytes; HistogramId lookup;
//     template <typename Visitor> void Visit(Visitor& visit) {
//       visit(hits, "gatehouse_cache_hits_total", "Lookups that found a fresh entry.");
//       visit(bytes, "gatehouse_cache_size_bytes", "Bytes held.");
//       visit(lookup, "gatehouse_cache_lookup_seconds", "Time of a lookup.");
//     }
//   };
//   MetricHandle<CacheMetrics> metrics = registry.Acquire<CacheMetrics>({"static"});
//   block.Add(metrics->hits);
#pragma once

#include <cstdint>
#include <deque>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "source/base/check.h"
#include "source/observe/counters.h"

namespace gatehouse::observe {

class MetricRegistry;

enum class MetricType : uint8_t { kCounter, kGauge, kHistogram };

// One further label with a value fixed by the struct, such as class="2xx".
struct FixedLabel {
  const char* name = nullptr;
  const char* value = nullptr;
};

// One member of a group's struct. Members of the same family (same name) stand side by side.
struct MetricMember {
  std::string name;
  std::string help;
  MetricType type = MetricType::kCounter;
  std::string label;    // the fixed label as it is printed, or empty
  uint32_t offset = 0;  // from the instance's first slot, or first histogram slot
};

// One live label set of a group.
struct MetricInstance {
  std::string key;     // label values joined, for lookup
  std::string labels;  // as printed: table="main",route="users"
  uint32_t first_slot = 0;
  uint32_t first_histogram = 0;
  uint32_t references = 0;
};

struct MetricGroup {
  std::string name;
  std::vector<std::string> label_names;
  std::vector<MetricMember> members;
  uint32_t slots = 0;       // per instance
  uint32_t histograms = 0;  // per instance
  // Index 0 is the overflow instance of a group with labels. Entries never move; those without
  // references are free and are used again.
  std::deque<MetricInstance> instances;
  std::vector<uint32_t> free;
  std::unordered_map<std::string, uint32_t> by_key;
  uint64_t overflowed = 0;  // label sets that were sent to the overflow instance
};

// Keeps one instance alive. Moves; releases when destroyed, on main.
template <typename Metrics>
class MetricHandle {
 public:
  MetricHandle() = default;
  MetricHandle(MetricHandle&& other) noexcept { *this = std::move(other); }
  MetricHandle& operator=(MetricHandle&& other) noexcept;
  ~MetricHandle() { Release(); }

  // All ids are the unread slot when the handle is empty.
  [[nodiscard]] const Metrics* operator->() const { return &metrics_; }
  [[nodiscard]] const Metrics& operator*() const { return metrics_; }

 private:
  friend class MetricRegistry;
  void Release();

  Metrics metrics_;
  MetricRegistry* registry_ = nullptr;
  MetricGroup* group_ = nullptr;
  uint32_t instance_ = 0;
};

class MetricRegistry {
 public:
  struct Options {
    uint32_t max_label_sets = 1000;  // per group
  };
  MetricRegistry() : MetricRegistry(Options{}) {}
  explicit MetricRegistry(Options options);
  ~MetricRegistry();
  MetricRegistry(const MetricRegistry&) = delete;
  MetricRegistry& operator=(const MetricRegistry&) = delete;

  // For what is acquired from now on.
  void set_max_label_sets(uint32_t most) { options_.max_label_sets = most; }

  // A block for one more writing thread. Lives as long as the registry.
  [[nodiscard]] CounterBlock* NewBlock();

  // `labels` are the values of Metrics::kLabels, in their order.
  template <typename Metrics>
  [[nodiscard]] MetricHandle<Metrics> Acquire(std::initializer_list<std::string_view> labels) {
    return Acquire<Metrics>(std::span<const std::string_view>(labels.begin(), labels.size()));
  }
  template <typename Metrics>
  [[nodiscard]] MetricHandle<Metrics> Acquire(std::span<const std::string_view> labels);
  // For what workers share and the last of them destroys: kept until a later Acquire() finds that
  // nobody holds `user` any more.
  template <typename Metrics>
  [[nodiscard]] Metrics AcquireFor(std::initializer_list<std::string_view> labels,
                                   const std::shared_ptr<const void>& user);

  // For scraping and tests.
  [[nodiscard]] const std::vector<std::unique_ptr<MetricGroup>>& groups() const { return groups_; }
  [[nodiscard]] const std::vector<std::unique_ptr<CounterBlock>>& blocks() const { return blocks_; }
  // Summed over all blocks.
  [[nodiscard]] uint64_t Total(CounterId id) const;
  [[nodiscard]] int64_t Total(GaugeId id) const;
  void AddTo(HistogramTotal& total, HistogramId id) const;

 private:
  template <typename Metrics>
  friend class MetricHandle;

  class Definer;   // visitor that collects a struct's members
  class Assigner;  // visitor that fills a struct's ids

  MetricGroup* FindGroup(std::string_view name);
  MetricGroup* AddGroup(std::string_view name, std::span<const char* const> labels,
                        std::vector<MetricMember> members);
  uint32_t AcquireInstance(MetricGroup& group, std::span<const std::string_view> labels);
  void ReleaseInstance(MetricGroup& group, uint32_t index);
  // Index of an instance with slots of its own, or none when all slots are taken.
  [[nodiscard]] std::optional<uint32_t> PlaceInstance(MetricGroup& group);

  struct Kept {
    MetricGroup* group;
    uint32_t instance;
    std::weak_ptr<const void> user;
  };
  void ReleaseUnused();

  Options options_;
  std::vector<Kept> kept_;
  uint32_t slots_ = 1;  // slot 0 is the one that nobody reads
  uint32_t histograms_ = 1;
  uint32_t chunks_ = 0;
  uint32_t histogram_chunks_ = 0;
  std::vector<std::unique_ptr<CounterBlock>> blocks_;
  std::vector<std::unique_ptr<MetricGroup>> groups_;
};

// --- implementation of the templates ---

class MetricRegistry::Definer {
 public:
  void operator()(CounterId&, const char* name, const char* help, FixedLabel label = {}) {
    Add(name, help, MetricType::kCounter, label);
  }
  void operator()(GaugeId&, const char* name, const char* help, FixedLabel label = {}) {
    Add(name, help, MetricType::kGauge, label);
  }
  void operator()(HistogramId&, const char* name, const char* help, FixedLabel label = {}) {
    Add(name, help, MetricType::kHistogram, label);
  }
  [[nodiscard]] std::vector<MetricMember> Take() { return std::move(members_); }

 private:
  void Add(const char* name, const char* help, MetricType type, FixedLabel label);

  std::vector<MetricMember> members_;
  uint32_t slots_ = 0;
  uint32_t histograms_ = 0;
};

class MetricRegistry::Assigner {
 public:
  Assigner(uint32_t slot, uint32_t histogram) : slot_(slot), histogram_(histogram) {}
  void operator()(CounterId& id, const char*, const char*, FixedLabel = {}) { id.slot = slot_++; }
  void operator()(GaugeId& id, const char*, const char*, FixedLabel = {}) { id.slot = slot_++; }
  void operator()(HistogramId& id, const char*, const char*, FixedLabel = {}) {
    id.slot = histogram_++;
  }

 private:
  uint32_t slot_;
  uint32_t histogram_;
};

template <typename Metrics>
MetricHandle<Metrics> MetricRegistry::Acquire(std::span<const std::string_view> labels) {
  CHECK(labels.size() == std::size(Metrics::kLabels));
  if (!kept_.empty()) ReleaseUnused();
  MetricGroup* group = FindGroup(Metrics::kGroup);
  MetricHandle<Metrics> handle;
  if (group == nullptr) {
    Definer definer;
    handle.metrics_.Visit(definer);
    group = AddGroup(Metrics::kGroup, Metrics::kLabels, definer.Take());
  }
  handle.instance_ = AcquireInstance(*group, labels);
  const MetricInstance& instance = group->instances[handle.instance_];
  Assigner assigner(instance.first_slot, instance.first_histogram);
  handle.metrics_.Visit(assigner);
  handle.registry_ = this;
  handle.group_ = group;
  return handle;
}

template <typename Metrics>
Metrics MetricRegistry::AcquireFor(std::initializer_list<std::string_view> labels,
                                   const std::shared_ptr<const void>& user) {
  MetricHandle<Metrics> handle = Acquire<Metrics>(labels);
  const Metrics metrics = *handle;
  kept_.push_back({handle.group_, handle.instance_, user});
  handle.registry_ = nullptr;
  return metrics;
}

template <typename Metrics>
MetricHandle<Metrics>& MetricHandle<Metrics>::operator=(MetricHandle&& other) noexcept {
  if (this == &other) return *this;
  Release();
  metrics_ = std::exchange(other.metrics_, Metrics{});
  registry_ = std::exchange(other.registry_, nullptr);
  group_ = std::exchange(other.group_, nullptr);
  instance_ = other.instance_;
  return *this;
}

template <typename Metrics>
void MetricHandle<Metrics>::Release() {
  if (registry_ == nullptr) return;
  registry_->ReleaseInstance(*group_, instance_);
  registry_ = nullptr;
  metrics_ = Metrics{};
}

}  // namespace gatehouse::observe
