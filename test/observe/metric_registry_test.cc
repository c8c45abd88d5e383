#include "source/observe/metric_registry.h"

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

#include "source/observe/counters.h"
#include "source/observe/standard_metrics.h"

namespace gatehouse::observe {
namespace {

struct CacheMetrics {
  static constexpr const char* kGroup = "cache";
  static constexpr std::array<const char*, 1> kLabels = {"cache"};
  CounterId hits;
  CounterId misses;
  GaugeId bytes;
  HistogramId lookup;
  template <typename Visitor>
  void Visit(Visitor& visit) {
    visit(hits, "gatehouse_cache_lookups_total", "Lookups.", {"result", "hit"});
    visit(misses, "gatehouse_cache_lookups_total", "Lookups.", {"result", "miss"});
    visit(bytes, "gatehouse_cache_size_bytes", "Bytes held.");
    visit(lookup, "gatehouse_cache_lookup_seconds", "Time of a lookup.");
  }
};

TEST(MetricRegistryTest, TotalsSumOverBlocks) {
  MetricRegistry registry;
  CounterBlock* one = registry.NewBlock();
  CounterBlock* two = registry.NewBlock();
  const auto metrics = registry.Acquire<CacheMetrics>({"static"});
  one->Add(metrics->hits);
  two->Add(metrics->hits, 41);
  // A gauge may rise in one worker and fall in another.
  one->Gauge(metrics->bytes, 100);
  two->Gauge(metrics->bytes, -30);
  one->Record(metrics->lookup, 10);
  two->Record(metrics->lookup, 30);
  EXPECT_EQ(registry.Total(metrics->hits), 42u);
  EXPECT_EQ(registry.Total(metrics->misses), 0u);
  EXPECT_EQ(registry.Total(metrics->bytes), 70);
  HistogramTotal total;
  registry.AddTo(total, metrics->lookup);
  EXPECT_EQ(total.count(), 2u);
  EXPECT_EQ(total.sum(), 40u);
}

TEST(MetricRegistryTest, ABlockMadeLaterKnowsOlderIds) {
  MetricRegistry registry;
  const auto metrics = registry.Acquire<CacheMetrics>({"static"});
  CounterBlock* block = registry.NewBlock();
  block->Add(metrics->hits, 3);
  EXPECT_EQ(registry.Total(metrics->hits), 3u);
}

TEST(MetricRegistryTest, DefaultIdsAreHarmless) {
  MetricRegistry registry;
  CounterBlock* block = registry.NewBlock();
  const auto metrics = registry.Acquire<CacheMetrics>({"static"});
  const MetricHandle<CacheMetrics> unset;
  block->Add(unset->hits);
  block->Gauge(unset->bytes, 5);
  block->Record(unset->lookup, 1);
  EXPECT_EQ(registry.Total(metrics->hits), 0u);
  EXPECT_EQ(registry.Total(metrics->bytes), 0);
  EXPECT_EQ(block->Find(metrics->lookup), nullptr);
}

TEST(MetricRegistryTest, TheSameLabelsAreTheSameSlotsWhileOneHolds) {
  MetricRegistry registry;
  CounterBlock* block = registry.NewBlock();
  auto old_config = registry.Acquire<CacheMetrics>({"static"});
  block->Add(old_config->hits, 5);
  auto new_config = registry.Acquire<CacheMetrics>({"static"});
  EXPECT_EQ(old_config->hits.slot, new_config->hits.slot);
  old_config = {};
  EXPECT_EQ(registry.Total(new_config->hits), 5u);
}

TEST(MetricRegistryTest, AReleasedSlotIsUsedAgainFromZero) {
  MetricRegistry registry;
  CounterBlock* block = registry.NewBlock();
  auto first = registry.Acquire<CacheMetrics>({"first"});
  const uint32_t slot = first->hits.slot;
  block->Add(first->hits, 5);
  block->Gauge(first->bytes, 6);
  block->Record(first->lookup, 7);
  first = {};
  auto second = registry.Acquire<CacheMetrics>({"second"});
  EXPECT_EQ(second->hits.slot, slot);
  EXPECT_EQ(registry.Total(second->hits), 0u);
  EXPECT_EQ(registry.Total(second->bytes), 0);
  EXPECT_EQ(block->Find(second->lookup), nullptr);
}

TEST(MetricRegistryTest, WhatAUserHoldsIsKeptUntilItIsGone) {
  MetricRegistry registry;
  CounterBlock* block = registry.NewBlock();
  auto user = std::make_shared<const int>(1);
  const auto kept = registry.AcquireFor<CacheMetrics>({"shared"}, user);
  block->Gauge(kept.bytes, 5);
  EXPECT_EQ(registry.Acquire<CacheMetrics>({"shared"})->bytes.slot, kept.bytes.slot);
  EXPECT_EQ(registry.Total(kept.bytes), 5);
  // On whatever thread that is; the next one who acquires anything clears it away.
  std::thread([&] {
    block->Gauge(kept.bytes, -4);
    user.reset();
  }).join();
  EXPECT_EQ(registry.Total(kept.bytes), 1);
  const auto other = registry.Acquire<CacheMetrics>({"other"});
  EXPECT_EQ(other->bytes.slot, kept.bytes.slot);
  EXPECT_EQ(registry.Total(other->bytes), 0);
}

TEST(MetricRegistryTest, LabelsThatOnlyLookTheSameDiffer) {
  MetricRegistry registry;
  const auto a = registry.Acquire<RouteMetrics>({"a", "bc"});
  const auto b = registry.Acquire<RouteMetrics>({"ab", "c"});
  EXPECT_NE(a->latency.slot, b->latency.slot);
}

TEST(MetricRegistryTest, BeyondTheLimitLabelsShareOneInstance) {
  MetricRegistry registry({.max_label_sets = 2});
  CounterBlock* block = registry.NewBlock();
  auto a = registry.Acquire<CacheMetrics>({"a"});
  const auto b = registry.Acquire<CacheMetrics>({"b"});
  const auto c = registry.Acquire<CacheMetrics>({"c"});
  const auto d = registry.Acquire<CacheMetrics>({"d"});
  EXPECT_EQ(c->hits.slot, d->hits.slot);
  EXPECT_NE(c->hits.slot, b->hits.slot);
  block->Add(c->hits);
  block->Add(d->hits);
  EXPECT_EQ(registry.Total(c->hits), 2u);
  EXPECT_EQ(registry.groups()[0]->overflowed, 2u);
  // One that lives already is still found, and room that is given back is used.
  EXPECT_EQ(registry.Acquire<CacheMetrics>({"b"})->hits.slot, b->hits.slot);
  a = {};
  const auto e = registry.Acquire<CacheMetrics>({"e"});
  EXPECT_NE(e->hits.slot, c->hits.slot);
}

TEST(MetricRegistryTest, HandlesMove) {
  MetricRegistry registry;
  CounterBlock* block = registry.NewBlock();
  auto a = registry.Acquire<CacheMetrics>({"a"});
  block->Add(a->hits);
  MetricHandle<CacheMetrics> b = std::move(a);
  EXPECT_EQ(registry.Total(b->hits), 1u);
  EXPECT_EQ(registry.groups()[0]->by_key.size(), 1u);
  b = registry.Acquire<CacheMetrics>({"b"});
  EXPECT_EQ(registry.groups()[0]->by_key.size(), 1u);
}

TEST(MetricRegistryTest, GrowsOverManyChunks) {
  MetricRegistry registry({.max_label_sets = 100'000});
  CounterBlock* block = registry.NewBlock();
  std::vector<MetricHandle<RouteMetrics>> handles;
  for (int i = 0; i < 3000; ++i) {
    handles.push_back(registry.Acquire<RouteMetrics>({"main", std::to_string(i)}));
    block->Add(handles.back()->RequestsFor(200), static_cast<uint64_t>(i));
  }
  block->Record(handles[2999]->latency, 1);
  for (int i = 0; i < 3000; ++i) {
    ASSERT_EQ(registry.Total(handles[static_cast<size_t>(i)]->requests[1]),
              static_cast<uint64_t>(i));
  }
}

// Main adds and releases label sets and scrapes while workers count; ids are handed over by atomics
// as a snapshot would.
struct ManyHistograms {
  static constexpr const char* kGroup = "many";
  static constexpr std::array<const char*, 1> kLabels = {"name"};
  std::array<HistogramId, 4000> ids;
  template <typename Visitor>
  void Visit(Visitor& visit) {
    for (HistogramId& id : ids) visit(id, "gatehouse_many_seconds", "Many.");
  }
};

TEST(MetricRegistryTest, AGroupThatComesWhenAllSlotsAreTakenHasRoomForItsOverflow) {
  MetricRegistry registry({.max_label_sets = 100'000});
  std::vector<MetricHandle<ManyHistograms>> handles;
  const auto overflowed = [&] { return registry.groups().front()->overflowed; };
  while (handles.empty() || overflowed() == 0) {
    handles.push_back(registry.Acquire<ManyHistograms>({std::to_string(handles.size())}));
    ASSERT_LT(handles.size(), 1000u);
  }
  auto late = registry.Acquire<RouteMetrics>({"table", "route"});
  CounterBlock& block = *registry.NewBlock();
  block.Add(late->timeouts, 3);
  EXPECT_EQ(registry.Total(late->timeouts), 3u);
}

TEST(MetricRegistryTest, WorkersCountWhileMainGrowsAndReads) {
  constexpr int kWorkers = 3;
  constexpr int kRounds = 40;
  MetricRegistry registry({.max_label_sets = 100'000});
  struct Mailbox {
    std::atomic<const CacheMetrics*> current{nullptr};
    std::atomic<int> adopted{0};
  };
  std::vector<std::unique_ptr<Mailbox>> mailboxes;
  std::vector<std::thread> threads;
  std::atomic<int> version{0};
  std::atomic<bool> done{false};
  for (int i = 0; i < kWorkers; ++i) {
    mailboxes.push_back(std::make_unique<Mailbox>());
    CounterBlock* block = registry.NewBlock();
    threads.emplace_back([&, block, mailbox = mailboxes.back().get()] {
      while (!done.load(std::memory_order_acquire)) {
        const int adopted = version.load(std::memory_order_acquire);
        if (const CacheMetrics* metrics = mailbox->current.load(std::memory_order_acquire)) {
          block->Add(metrics->hits);
          block->Gauge(metrics->bytes, 1);
          block->Record(metrics->lookup, 100);
        }
        mailbox->adopted.store(adopted, std::memory_order_release);
      }
    });
  }
  MetricHandle<CacheMetrics> old;
  std::unique_ptr<CacheMetrics> old_ids;
  std::vector<MetricHandle<RouteMetrics>> growth;
  HistogramTotal total;
  for (int round = 1; round <= kRounds; ++round) {
    auto next = registry.Acquire<CacheMetrics>({std::to_string(round)});
    for (int i = 0; i < 5; ++i) {
      growth.push_back(registry.Acquire<RouteMetrics>({"t", std::to_string(round * 10 + i)}));
    }
    auto ids = std::make_unique<CacheMetrics>(*next);
    for (auto& mailbox : mailboxes) mailbox->current.store(ids.get(), std::memory_order_release);
    version.store(round, std::memory_order_release);
    // A worker that answers has read the new ids and meets the old ones no more.
    for (auto& mailbox : mailboxes) {
      while (mailbox->adopted.load(std::memory_order_acquire) < round) std::this_thread::yield();
    }
    total.Clear();
    registry.AddTo(total, next->lookup);
    EXPECT_LE(total.count(), registry.Total(next->hits) + kWorkers);
    old = std::move(next);
    old_ids = std::move(ids);
  }
  done.store(true, std::memory_order_release);
  for (auto& thread : threads) thread.join();
  total.Clear();
  registry.AddTo(total, old->lookup);
  EXPECT_EQ(total.count(), registry.Total(old->hits));
  EXPECT_EQ(registry.Total(old->bytes), static_cast<int64_t>(registry.Total(old->hits)));
}

}  // namespace
}  // namespace gatehouse::observe
