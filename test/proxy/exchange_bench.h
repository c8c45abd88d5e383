// ExchangeBench: a whole worker in the test's thread: config from text, clients over pipes, an
// origin of the test's own, time by hand.
//
//   ExchangeBench bench(R"(... clusters: [{name: origin, endpoints: ["ORIGIN"]}] ...)");
//   auto client = bench.Connect();
//   client->Push("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
//   bench.RunUntil([&] { return bench.origin().requests() == 1; });
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "source/config/build.h"
#include "source/config/load.h"
#include "source/filters/builtin.h"
#include "source/filters/registry.h"
#include "source/proxy/downstream.h"
#include "test/fakes/manual_clock.h"
#include "test/fakes/pipe_transport.h"
#include "test/fakes/tcp_origin.h"

namespace gatehouse::proxy {

class ExchangeBench {
 public:
  // ORIGIN in the text becomes the address of origin(). Without a `log_writer` there are no logs.
  explicit ExchangeBench(std::string text, filters::Registry* registry = nullptr,
                         observe::LogWriter* log_writer = nullptr)
      : log_writer_(log_writer), loop_(clock_) {
    if (registry == nullptr) {
      registry = &own_registry_;
      filters::RegisterBuiltinFilters(own_registry_);
    }
    registry_ = registry;
    server_metrics_ = metrics_.Acquire<observe::ServerMetrics>({});
    shard_ = std::make_unique<Shard>(loop_, 0, *metrics_.NewBlock(), *server_metrics_, shared_, 42,
                                     [this](std::shared_ptr<const config::Snapshot> snapshot) {
                                       retired_.push_back(std::move(snapshot));
                                     });
    listener_ =
        std::make_unique<ServingListener>(*shard_, "edge", std::make_shared<ListenerCounts>());
    Adopt(std::move(text));
  }
  ~ExchangeBench() {
    listener_->KillAll();
    for (int i = 0; i < 8; ++i) Turn();
    listener_.reset();
    shard_.reset();
    retired_.clear();
    current_.reset();
  }

  void Adopt(std::string text) {
    std::shared_ptr<const config::Snapshot> built = Build(std::move(text));
    ASSERT_NE(built, nullptr);
    Adopt(std::move(built));
  }
  // The successor of what is adopted, unless it is never adopted. Null: the text has errors.
  [[nodiscard]] std::shared_ptr<const config::Snapshot> Build(std::string text) {
    const std::string address = "127.0.0.1:" + std::to_string(origin_.port());
    for (size_t at; (at = text.find("ORIGIN")) != std::string::npos;) text.replace(at, 6, address);
    config::LoadedBootstrap loaded = config::LoadBootstrapText(text, "test.yaml");
    EXPECT_TRUE(loaded.errors.ok()) << loaded.errors.ToString();
    config::BuildResult built = config::Build(loaded.resources,
                                              {.filters = *registry_,
                                               .metrics = metrics_,
                                               .cluster_slots = slots_,
                                               .states = states_,
                                               .log_writer = log_writer_},
                                              current_);
    EXPECT_NE(built.snapshot, nullptr) << built.errors.ToString();
    return built.snapshot;
  }
  // One that a test has put together.
  void Adopt(std::shared_ptr<const config::Snapshot> snapshot) {
    current_ = std::move(snapshot);
    shard_->Adopt(current_);
    listener_->Update(*current_->FindListener("edge"));
  }

  // A new client.
  std::shared_ptr<PipeEnd> Connect() {
    Pipe pipe = MakePipe(loop_);
    listener_->Serve(std::move(pipe.transport), *net::Address::Parse("192.0.2.1:5000"));
    return pipe.end;
  }
  void Turn() {
    origin_.Step();
    loop_.RunTurn(/*wait=*/false);
  }
  // False when it did not come to be in a good many turns.
  [[nodiscard]] bool RunUntil(const std::function<bool()>& done) {
    for (int i = 0; i < 20000; ++i) {
      if (done()) return true;
      Turn();
    }
    return done();
  }
  // Until nothing happens any more, for what must not happen.
  void Settle() {
    for (int i = 0; i < 50; ++i) Turn();
  }
  void Advance(Duration by) {
    clock_.Advance(by);
    Turn();
    Turn();
  }
  // Waits for a whole response whose text ends with `tail`, and takes it.
  [[nodiscard]] std::string Response(PipeEnd& client, std::string_view tail) {
    EXPECT_TRUE(RunUntil([&] { return client.written().ends_with(tail); }))
        << "got: " << client.written();
    return client.TakeWritten();
  }

  [[nodiscard]] TcpOrigin& origin() { return origin_; }
  [[nodiscard]] ManualClock& clock() { return clock_; }
  [[nodiscard]] net::Loop& loop() { return loop_; }
  [[nodiscard]] Shard& shard() { return *shard_; }
  [[nodiscard]] ServingListener& listener() { return *listener_; }
  [[nodiscard]] observe::MetricRegistry& metrics() { return metrics_; }
  [[nodiscard]] const std::shared_ptr<const config::Snapshot>& snapshot() { return current_; }
  [[nodiscard]] size_t retired() const { return retired_.size(); }

 private:
  ManualClock clock_;
  filters::Registry own_registry_;
  filters::Registry* registry_;
  observe::LogWriter* log_writer_;
  observe::MetricRegistry metrics_;
  upstream::ClusterSlots slots_;
  filters::StateStore states_;
  observe::MetricHandle<observe::ServerMetrics> server_metrics_;
  SharedCounts shared_;
  TcpOrigin origin_;
  net::Loop loop_;
  std::shared_ptr<const config::Snapshot> current_;
  std::vector<std::shared_ptr<const config::Snapshot>> retired_;
  std::unique_ptr<Shard> shard_;
  std::unique_ptr<ServingListener> listener_;
};

}  // namespace gatehouse::proxy
