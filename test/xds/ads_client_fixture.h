// AdsClientFixture: an AdsClient in a loop with manual time, a control plane that it speaks to (and
// another one), and an owner that holds what it is given.
#pragma once

#include <array>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

#include "source/base/random.h"
#include "source/http/h1_parser.h"
#include "source/net/loop.h"
#include "source/observe/metric_registry.h"
#include "source/upstream/cluster.h"
#include "source/upstream/upstreams.h"
#include "source/xds/ads_client.h"
#include "source/xds/ads_protocol.h"
#include "test/fakes/fake_control_plane.h"
#include "test/fakes/manual_clock.h"

namespace gatehouse::xds {

inline constexpr std::string_view kNode = "[edge-1 of edge, gatehouse 1.2.3] ";

// Holds what it is given, and answers at once unless told otherwise.
class TestOwner final : public AdsOwner {
 public:
  AdsClient* client = nullptr;
  bool answers = true;
  std::vector<Update> updates;
  std::vector<std::string> absent;
  std::array<Versions, kTypes> held;
  std::array<std::string, kTypes> versions;
  int states = 0;

  std::vector<std::string> TakeLog() { return std::exchange(log_, {}); }

 private:
  void OnUpdate(Update update) override {
    std::string line(TypeName(update.type));
    for (const Upsert& upsert : update.upserts) {
      line += " " + upsert.name + "@" + upsert.version;
      held[IndexOf(update.type)][upsert.name] = upsert.version;
    }
    for (const std::string& name : update.removed) {
      line += " -" + name;
      held[IndexOf(update.type)].erase(name);
    }
    if (update.complete) line += " (all)";
    if (update.id == 0) line += " (expired)";
    log_.push_back(line);
    const uint64_t id = update.id;
    updates.push_back(std::move(update));
    if (answers && id != 0) client->Answer(id, {});
  }
  Versions HeldVersions(Type type) override { return held[IndexOf(type)]; }
  std::string HeldVersion(Type type) override { return versions[IndexOf(type)]; }
  void OnAbsent(Type type, const std::vector<std::string>& names) override {
    std::string line(TypeName(type));
    for (const std::string& name : names) line += " " + name;
    absent.push_back(line);
  }
  void OnState() override { ++states; }

  std::vector<std::string> log_;
};

class AdsClientFixture : public testing::Test {
 protected:
  static constexpr int kMaxTurns = 20000;

  AdsClientFixture() {
    plane_.emplace(loop_, [this] { Turn(); });
  }
  ~AdsClientFixture() override {
    client_.reset();
    other_.reset();
    plane_.reset();
  }

  void Turn() { loop_.RunTurn(false); }
  // Drives everything until `done`; false if it does not come.
  [[nodiscard]] bool Until(const std::function<bool()>& done) {
    for (int i = 0; i < kMaxTurns; ++i) {
      if (done()) return true;
      Turn();
    }
    return done();
  }
  // Enough turns that whatever could happen now has happened.
  void Settle() {
    for (int i = 0; i < 20; ++i) Turn();
  }
  void Advance(Duration by) {
    clock_.Advance(by);
    Settle();
  }
  [[nodiscard]] static upstream::ClusterSpec SpecOf(uint16_t port, std::string name) {
    upstream::ClusterSpec spec;
    spec.name = std::move(name);
    spec.endpoints.push_back({"127.0.0.1", port, 1});
    spec.options.protocol = upstream::Protocol::kHttp2;
    return spec;
  }
  [[nodiscard]] std::shared_ptr<const upstream::Cluster> Make(const upstream::ClusterSpec& spec) {
    auto cluster = upstream::Cluster::Make(spec, nullptr, slots_, registry_);
    EXPECT_TRUE(cluster.ok()) << cluster.status();
    return *cluster;
  }
  [[nodiscard]] std::shared_ptr<const upstream::Cluster> ClusterOf(
      const std::vector<uint16_t>& ports) {
    upstream::ClusterSpec spec = SpecOf(ports.at(0), "control-plane");
    for (size_t i = 1; i < ports.size(); ++i) spec.endpoints.push_back({"127.0.0.1", ports[i], 1});
    return Make(spec);
  }
  // Clusters alone, unless told otherwise.
  AdsOptions Options() {
    AdsOptions options{.cluster = planes_.get(),
                       .node_id = "edge-1",
                       .node_group = "edge",
                       .gateway_version = "1.2.3"};
    for (const Type type : kAllTypes) {
      if (type != Type::kCluster) options.only[type] = {};
    }
    return options;
  }
  void Start(AdsOptions options) {
    owner_.client = nullptr;
    client_.emplace(upstreams_, owner_, std::move(options), random_);
    owner_.client = &*client_;
    client_->Start();
  }
  void Start() {
    planes_ = ClusterOf({plane_->port()});
    Start(Options());
  }
  // With the first request behind it.
  void StartWithClusters() {
    Start();
    EXPECT_EQ(plane_->Sees(), std::string(kNode) + "Cluster +*");
  }
  FakeControlPlane& Other() {
    if (!other_) other_.emplace(loop_, [this] { Turn(); });
    return *other_;
  }
  [[nodiscard]] const AdsState& State() { return client_->state(); }
  [[nodiscard]] const AdsState::OfType& Clusters() {
    return State().types[IndexOf(Type::kCluster)];
  }
  // Until the stream has ended, and then to the next attempt.
  void SkipWait() {
    ASSERT_TRUE(Until([&] { return !State().connected && State().next_attempt != kNever; }));
    ASSERT_LE(State().next_attempt - loop_.Now(), std::chrono::seconds(31));
    Advance(State().next_attempt - loop_.Now() + std::chrono::milliseconds(3));
  }

  ManualClock clock_;
  observe::MetricRegistry registry_;
  upstream::ClusterSlots slots_;
  net::Loop loop_{clock_};
  http::H1HeadScratch scratch_;
  upstream::Upstreams upstreams_{loop_, *registry_.NewBlock(), scratch_};
  std::optional<FakeControlPlane> plane_;
  std::optional<FakeControlPlane> other_;
  std::shared_ptr<const upstream::Cluster> planes_;
  TestOwner owner_;
  Random random_{7};
  std::optional<AdsClient> client_;
};

}  // namespace gatehouse::xds
