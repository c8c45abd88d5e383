// Resources that come, change, break and go at random, in any order and with workers that are slow,
// against a model that knows only what the control plane wants in the end.
#include <algorithm>
#include <array>
#include <chrono>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "api/gatehouse/v1/bootstrap.pb.h"
#include "source/base/random.h"
#include "source/config/load.h"
#include "source/xds/applier.h"
#include "test/fakes/config_builder.h"
#include "test/fakes/manual_clock.h"

namespace gatehouse::xds {
namespace {

using ::testing::IsEmpty;

constexpr size_t kNames = 4;  // of each type
constexpr std::array kPushed = {Type::kRateLimit, Type::kCluster, Type::kEndpoints,
                                Type::kRouteTable, Type::kListener};

// What the control plane has: of each type the resources 0 to kNames - 1, or not.
struct Wanted {
  struct Resource {
    int variant = 0;
    bool bad = false;
    std::set<size_t> refers;  // to the resources that it names
  };
  std::map<std::pair<Type, size_t>, Resource> resources;

  [[nodiscard]] bool Has(Type type, size_t index) const {
    return resources.contains({type, index});
  }
};

std::string NameOf(Type type, size_t index) {
  switch (type) {
    case Type::kRateLimit:
      return fmt::format("limit{}", index);
    case Type::kRouteTable:
      return fmt::format("table{}", index);
    case Type::kListener:
      return fmt::format("listener{}", index);
    default:
      return fmt::format("cluster{}", index);
  }
}

// Odd clusters have their endpoints as a resource.
std::string TextOf(Type type, size_t index, const Wanted::Resource& resource) {
  const std::string name = NameOf(type, index);
  const int port = 1000 + resource.variant;
  switch (type) {
    case Type::kRateLimit:
      return fmt::format("rate_limits: [{{name: {}, token_bucket: {{rate: {}/s}}}}]", name, port);
    case Type::kCluster:
      if (resource.bad) return fmt::format("clusters: [{{name: {}, endpoints: ['x']}}]", name);
      if (index % 2 == 0) {
        return fmt::format("clusters: [{{name: {}, endpoints: ['127.0.0.1:{}']}}]", name, port);
      }
      return fmt::format("clusters: [{{name: {}, connect_timeout: {}ms}}]", name, port);
    case Type::kEndpoints:
      return fmt::format("endpoints: [{{cluster: {}, endpoints: ['127.0.0.1:{}']}}]", name,
                         resource.bad ? "x" : fmt::to_string(port));
    case Type::kRouteTable: {
      std::string routes;
      for (const size_t cluster : resource.refers) {
        routes +=
            fmt::format("{{name: r{}, match: {{path_prefix: {}c{}}}, forward: {}}}, ", cluster,
                        resource.bad ? "" : "/", cluster, NameOf(Type::kCluster, cluster));
      }
      return fmt::format(
          "route_tables: [{{name: {}, domains: ['{}.example'], filters: [{{rate_limit: [{}]}}], "
          "routes: [{}{{name: all, match: {{path_prefix: {}}}, respond: {{status: {}}}}}]}}]",
          name, name, NameOf(Type::kRateLimit, static_cast<size_t>(resource.variant) % kNames),
          routes, resource.bad ? "x" : "/", 200 + resource.variant % 50);
    }
    default: {
      std::vector<std::string> tables;
      for (const size_t table : resource.refers) {
        tables.push_back(NameOf(Type::kRouteTable, table));
      }
      return fmt::format("listeners: [{{name: {}, address: '{}', route_tables: [{}]}}]", name,
                         resource.bad ? "nowhere" : fmt::format("127.0.0.1:{}", 8000 + index),
                         fmt::join(tables, ", "));
    }
  }
}

std::string BytesOf(Type type, const std::string& text) {
  const config::LoadedBootstrap loaded = config::LoadBootstrapText(text, "pushed.yaml");
  EXPECT_TRUE(loaded.errors.ok()) << text << loaded.errors.ToString();
  const v1::Bootstrap& all = *loaded.bootstrap;
  if (type == Type::kRateLimit) return all.rate_limits(0).SerializeAsString();
  if (type == Type::kCluster) return all.clusters(0).SerializeAsString();
  if (type == Type::kEndpoints) return all.endpoints(0).SerializeAsString();
  if (type == Type::kRouteTable) return all.route_tables(0).SerializeAsString();
  return all.listeners(0).SerializeAsString();
}

class Story {
 public:
  explicit Story(uint64_t seed) : random_(seed) {
    Applier::Hooks hooks;
    hooks.build = [this](const config::Resources& resources, const Applier::SnapshotPtr& previous) {
      builder_.current = previous;
      return builder_.Try(resources);
    };
    hooks.publish = [this](const Applier::SnapshotPtr& snapshot, uint64_t sequence) {
      CheckServed(*snapshot);
      published_ = snapshot;
      sequence_ = sequence;
      busy_ = true;
      return Applier::PublishResult{};
    };
    hooks.busy = [this] { return busy_; };
    hooks.answer = [this](Type, uint64_t id, const std::vector<Refusal>& refusals) {
      answers_[id] = refusals;
    };
    hooks.save = [this](SavedConfig config) { saved_ = std::move(config); };
    hooks.trying = [](const std::vector<Suspect>&) {};
    hooks.is_suspect = [](Type, std::string_view, std::string_view) { return false; };
    hooks.say = [](std::string_view line) { ADD_FAILURE() << line; };
    applier_ = std::make_unique<Applier>(
        loop_, std::move(hooks),
        Applier::Options{.warm_timeout = kWarm, .pushed = true, .source = "test"});
    published_ = applier_->Start({}, std::nullopt).snapshot;
    applier_->OnServed(1);
    applier_->OnAbsent(Type::kSecret, {});
  }

  void Go() {
    for (int step = 0; step < 60; ++step) {
      Change(/*may_break=*/true);
      if (random_.Below(3) == 0) Turns();
      if (random_.Below(20) == 0) {
        clock_.Advance(kWarm / 2);
        Turns();
      }
    }
    PutRight();
    Settle();
    CheckEnd();
  }

 private:
  static constexpr Duration kWarm = std::chrono::seconds(5);

  // One message of one type, about one or more of its resources.
  void Change(bool may_break) {
    const Type type = kPushed[random_.Below(kPushed.size())];
    Update update{.id = ++last_id_, .type = type};
    const size_t count = 1 + random_.Below(3);
    std::set<size_t> told;
    for (size_t i = 0; i < count; ++i) {
      const size_t index = random_.Below(kNames);
      if (!told.insert(index).second) continue;
      if (type == Type::kEndpoints && index % 2 == 0) continue;
      if (random_.Below(4) == 0) {
        Remove(type, index, update);
      } else {
        Wanted::Resource resource{.variant = static_cast<int>(random_.Below(100)),
                                  .bad = may_break && random_.Below(6) == 0};
        for (size_t other = 0; other < kNames; ++other) {
          if (random_.Below(2) == 0) resource.refers.insert(other);
        }
        Put(type, index, resource, update);
      }
    }
    applier_->Apply(std::move(update));
  }

  void Put(Type type, size_t index, const Wanted::Resource& resource, Update& update) {
    wanted_.resources[{type, index}] = resource;
    update.upserts.push_back({.name = NameOf(type, index),
                              .version = fmt::to_string(update.id),
                              .bytes = BytesOf(type, TextOf(type, index, resource))});
  }
  void Remove(Type type, size_t index, Update& update) {
    wanted_.resources.erase({type, index});
    update.removed.push_back(NameOf(type, index));
  }

  void Turns() {
    for (size_t i = random_.Below(4); i > 0; --i) {
      loop_.RunTurn(/*wait=*/false);
      if (busy_ && random_.Below(2) == 0) Serve();
    }
  }
  void Serve() {
    busy_ = false;
    applier_->OnServed(sequence_);
  }

  // In the end everything that is wanted is right; told in any order.
  void PutRight() {
    std::vector<Update> updates;
    for (const Type type : kPushed) {
      for (size_t index = 0; index < kNames; ++index) {
        Update update{.id = 0, .type = type};
        const auto at = wanted_.resources.find({type, index});
        if (type == Type::kEndpoints) {
          const bool needed = index % 2 == 1 && wanted_.Has(Type::kCluster, index);
          if (!needed && at != wanted_.resources.end()) Remove(type, index, update);
          if (needed) Put(type, index, {.variant = 1}, update);
        } else if (at != wanted_.resources.end() && Mend(type, at->second)) {
          Put(type, index, at->second, update);
        } else if (type == Type::kRateLimit && at == wanted_.resources.end()) {
          Put(type, index, {.variant = 1}, update);
        }
        if (!update.upserts.empty() || !update.removed.empty()) updates.push_back(update);
      }
    }
    for (size_t i = updates.size(); i > 0; --i) {
      std::swap(updates[i - 1], updates[random_.Below(i)]);
      updates[i - 1].id = ++last_id_;
      applier_->Apply(std::move(updates[i - 1]));
      if (random_.Below(2) == 0) Turns();
    }
  }

  // What it refers to that is not there is no longer named. True: it is another one now.
  bool Mend(Type type, Wanted::Resource& resource) {
    bool changed = std::exchange(resource.bad, false);
    const Type other = type == Type::kListener ? Type::kRouteTable : Type::kCluster;
    if (type == Type::kListener || type == Type::kRouteTable) {
      changed |= std::erase_if(resource.refers,
                               [&](size_t index) { return !wanted_.Has(other, index); }) > 0;
    }
    return changed;
  }

  // Without any help of the clock: what can be served is served now, not when something else comes.
  void Settle() {
    for (int i = 0; i < 30; ++i) {
      loop_.RunTurn(/*wait=*/false);
      if (busy_) Serve();
    }
  }

  // A route never leads to a cluster that has just lost its endpoints.
  void CheckServed(const config::Snapshot& snapshot) {
    for (const auto& listener : snapshot.listeners) {
      for (const auto& route : listener->routes) {
        for (const auto& target : route->targets) {
          const std::string name(target.cluster->name());
          if (!target.cluster->endpoints()->empty()) {
            had_endpoints_.insert(name);
          } else {
            EXPECT_FALSE(had_endpoints_.contains(name)) << name << " has lost its endpoints";
          }
        }
      }
    }
    std::erase_if(had_endpoints_, [&](const std::string& name) {
      return std::ranges::none_of(snapshot.clusters,
                                  [&](const auto& cluster) { return cluster->name() == name; });
    });
  }

  void CheckEnd() {
    const Applier::Status status = applier_->status();
    for (const auto& [type, refusal] : status.waiting) {
      ADD_FAILURE() << TypeName(type) << " " << refusal.name
                    << " waits: " << (refusal.errors.empty() ? "" : refusal.errors[0].message);
    }
    for (const auto& [type, name] : status.leaving) {
      ADD_FAILURE() << TypeName(type) << " " << name << " has not left";
    }
    for (const auto& [type, refusal] : status.refused) {
      ADD_FAILURE() << TypeName(type) << " " << refusal.name
                    << " is refused: " << refusal.errors[0].message;
    }
    std::set<std::pair<Type, std::string>> held;
    for (const SavedResource& resource : saved_.resources) {
      held.emplace(resource.type, resource.name);
      for (size_t index = 0; index < kNames; ++index) {
        const auto at = wanted_.resources.find({resource.type, index});
        if (NameOf(resource.type, index) != resource.name || at == wanted_.resources.end())
          continue;
        EXPECT_EQ(*resource.bytes,
                  BytesOf(resource.type, TextOf(resource.type, index, at->second)));
      }
    }
    std::set<std::pair<Type, std::string>> wanted;
    for (const auto& [key, resource] : wanted_.resources) {
      wanted.emplace(key.first, NameOf(key.first, key.second));
    }
    EXPECT_EQ(held, wanted);
    for (uint64_t id = 1; id <= last_id_; ++id) EXPECT_TRUE(answers_.contains(id)) << id;
    // And then it is quiet.
    const uint64_t builds = status.builds;
    clock_.Advance(kWarm * 2);
    Settle();
    EXPECT_EQ(applier_->status().builds, builds);
  }

  Random random_;
  ManualClock clock_;
  net::Loop loop_{clock_};
  config::ConfigBuilder builder_;
  Applier::SnapshotPtr published_;
  std::unique_ptr<Applier> applier_;
  Wanted wanted_;
  std::map<uint64_t, std::vector<Refusal>> answers_;
  std::set<std::string, std::less<>> had_endpoints_;
  SavedConfig saved_;
  uint64_t sequence_ = 1;
  uint64_t last_id_ = 0;
  bool busy_ = false;
};

TEST(ApplierRandomTest, WhateverCameBeforeTheEndIsWhatIsWanted) {
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    Story(seed).Go();
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace gatehouse::xds
