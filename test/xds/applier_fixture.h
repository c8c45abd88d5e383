// ApplierTest: an applier with the real Build, resources written as YAML, and workers that the test
// plays.
//
//   TEST_F(ApplierTest, ...) {
//     Start();
//     const uint64_t id = Push(Type::kCluster, kUsers);
//     Settle();
//     EXPECT_TRUE(Acked(id));
//   }
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

#include "api/gatehouse/v1/bootstrap.pb.h"
#include "source/base/status.h"
#include "source/config/load.h"
#include "source/xds/applier.h"
#include "test/fakes/config_builder.h"
#include "test/fakes/manual_clock.h"

namespace gatehouse::xds {

class ApplierTest : public ::testing::Test {
 protected:
  struct Answered {
    uint64_t id;
    std::vector<Refusal> refusals;
  };

  void Start(std::string_view file = "{}", const std::optional<SavedConfig>& saved = {}) {
    Applier::Hooks hooks;
    hooks.build = [this](const config::Resources& resources, const Applier::SnapshotPtr& previous) {
      ++builds;
      builder.current = previous;
      return builder.Try(resources);
    };
    hooks.publish = [this](const Applier::SnapshotPtr& snapshot,
                           uint64_t sequence) -> Applier::PublishResult {
      Applier::PublishResult result;
      for (const auto& listener : snapshot->listeners) {
        if (!taken_ports.contains(listener->address_text)) continue;
        result.status = Unavailable("address already in use");
        result.listeners.emplace_back(listener->name, "address already in use");
      }
      if (!result.status.ok()) return result;
      published = snapshot;
      sequence_ = sequence;
      ++publishes;
      return {};
    };
    hooks.busy = [this] { return busy; };
    hooks.answer = [this](Type, uint64_t id, const std::vector<Refusal>& refusals) {
      answers.push_back({id, refusals});
    };
    hooks.save = [this](SavedConfig config) { saves.push_back(std::move(config)); };
    hooks.trying = [this](const std::vector<Suspect>& resources) {
      for (const Suspect& resource : resources) tried.push_back(resource.name);
    };
    hooks.is_suspect = [this](Type, std::string_view name, std::string_view) {
      return name == suspect;
    };
    hooks.say = [this](std::string_view line) { said.emplace_back(line); };
    applier = std::make_unique<Applier>(loop, std::move(hooks),
                                        Applier::Options{.warm_timeout = std::chrono::seconds(5),
                                                         .pushed = true,
                                                         .source = "control plane test"});
    config::BuildResult built = applier->Start(FileOf(file), saved);
    ASSERT_NE(built.snapshot, nullptr) << built.errors.ToString();
    published = built.snapshot;
    Serve(1);
  }

  static config::Resources FileOf(std::string_view text) {
    config::LoadedBootstrap loaded = config::LoadBootstrapText(text, "gateway.yaml");
    EXPECT_TRUE(loaded.errors.ok()) << loaded.errors.ToString();
    return loaded.resources;
  }

  // Resources of one type in a file's YAML.
  static std::vector<Upsert> Upserts(Type type, std::string_view yaml, std::string version = "1") {
    const config::LoadedBootstrap loaded = config::LoadBootstrapText(yaml, "pushed.yaml");
    EXPECT_TRUE(loaded.errors.ok()) << loaded.errors.ToString();
    std::vector<Upsert> upserts;
    const auto add = [&](const auto& list, const auto& name_of) {
      for (const auto& message : list) {
        upserts.push_back({name_of(message), version, message.SerializeAsString(), nullptr});
      }
    };
    const auto by_name = [](const auto& message) { return message.name(); };
    const v1::Bootstrap& all = *loaded.bootstrap;
    if (type == Type::kSecret) add(all.secrets(), by_name);
    if (type == Type::kRateLimit) add(all.rate_limits(), by_name);
    if (type == Type::kCluster) add(all.clusters(), by_name);
    if (type == Type::kRouteTable) add(all.route_tables(), by_name);
    if (type == Type::kListener) add(all.listeners(), by_name);
    if (type == Type::kEndpoints) {
      add(all.endpoints(), [](const auto& message) { return message.cluster(); });
    }
    return upserts;
  }

  uint64_t Push(Type type, std::string_view yaml, std::vector<std::string> removed = {},
                std::string version = "1") {
    Update update{.id = ++last_id, .type = type};
    update.upserts = Upserts(type, yaml, std::move(version));
    update.removed = std::move(removed);
    applier->Apply(std::move(update));
    return last_id;
  }
  void Turn() { loop.RunTurn(/*wait=*/false); }
  void Serve(uint64_t sequence) {
    applier->OnServed(sequence);
    Turn();
  }
  // All that follows from what was pushed, workers included.
  void Settle() {
    for (int i = 0; i < 3; ++i) {
      Turn();
      if (sequence_ != 0) applier->OnServed(sequence_);
    }
    Turn();
  }
  void After(Duration time) {
    clock.Advance(time);
    Turn();
    Settle();
  }

  void PushGood() {
    Push(Type::kCluster, kUsers);
    Push(Type::kRouteTable, kMain);
    Push(Type::kListener, kEdge);
    Settle();
    answers.clear();
  }

  [[nodiscard]] std::string TargetOf(std::string_view route) const {
    for (const auto& listener : published->listeners) {
      for (const auto& made : listener->routes) {
        if (made->name == route)
          return made->targets.empty() ? "" : made->targets[0].cluster->name();
      }
    }
    return "no route";
  }
  [[nodiscard]] std::vector<std::string> Clusters() const {
    std::vector<std::string> names;
    for (const auto& cluster : published->clusters) names.push_back(cluster->name());
    return names;
  }
  [[nodiscard]] const Answered* AnswerOf(uint64_t id) const {
    const Answered* found = nullptr;
    for (const Answered& answer : answers) {
      if (answer.id == id) found = &answer;
    }
    return found;
  }
  [[nodiscard]] bool Acked(uint64_t id) const {
    return AnswerOf(id) != nullptr && AnswerOf(id)->refusals.empty();
  }
  // "name: path: message" of each error.
  [[nodiscard]] std::vector<std::string> RefusedOf(uint64_t id) const {
    std::vector<std::string> lines;
    if (AnswerOf(id) == nullptr) return {"no answer"};
    for (const Refusal& refusal : AnswerOf(id)->refusals) {
      for (const Refusal::Error& error : refusal.errors) {
        lines.push_back(refusal.name + ": " + error.path + ": " + error.message);
      }
    }
    return lines;
  }

  static constexpr std::string_view kNothing = "{}";
  static constexpr std::string_view kUsers =
      "clusters: [{name: users, endpoints: ['127.0.0.1:1']}]";
  static constexpr std::string_view kMain =
      "route_tables: [{name: main, domains: ['*'], routes: [{name: all, match: {path_prefix: /}, "
      "forward: users}]}]";
  static constexpr std::string_view kEdge =
      "listeners: [{name: edge, address: '127.0.0.1:8080', route_tables: [main]}]";

  ManualClock clock;
  net::Loop loop{clock};
  config::ConfigBuilder builder;
  Applier::SnapshotPtr published;
  std::unique_ptr<Applier> applier;
  std::vector<Answered> answers;
  std::vector<SavedConfig> saves;
  std::vector<std::string> tried;
  std::vector<std::string> said;
  std::set<std::string> taken_ports;
  std::string suspect;
  uint64_t sequence_ = 0;
  uint64_t last_id = 0;
  int publishes = 0;
  int builds = 0;
  bool busy = false;
};

}  // namespace gatehouse::xds
