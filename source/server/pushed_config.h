// PushedConfig: the control plane's side of a server: the client that speaks to it, what is kept on
// disk of what it said, and what both have to say to operators.
//
// Owner: the Server; made only when the bootstrap names a control plane. Thread: main. The applier
// decides what becomes of what is pushed; this carries it there and the answers back.
//
//   auto pushed = PushedConfig::Open(loop, environment, settings, takes_over);
//   applier.Start(file, (*pushed)->LoadSaved());
//   (*pushed)->Connect(applier, built_control_plane);
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "source/config/control_plane.h"
#include "source/config/settings.h"
#include "source/http/h1_parser.h"
#include "source/observe/metric_registry.h"
#include "source/observe/standard_metrics.h"
#include "source/server/line_limit.h"
#include "source/upstream/dns_tracker.h"
#include "source/upstream/upstreams.h"
#include "source/xds/ads_client.h"
#include "source/xds/applier.h"
#include "source/xds/state_store.h"

namespace gatehouse::server {

class PushedConfig final : public xds::AdsOwner {
 public:
  struct Environment {
    net::Loop& loop;
    observe::CounterBlock& counters;  // main's
    observe::MetricRegistry& metrics;
    // Something was decided about what was pushed. From the loop.
    std::function<void()> progress;
  };
  struct Identity {
    std::string node_id;
    std::string node_group;
  };

  // Opens the state folder, if there is to be one. `takes_over`: another process may have it still.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<PushedConfig>> Open(
      const Environment& environment, const Identity& identity,
      const config::ControlPlaneSettings& settings, const std::string& state_folder,
      bool takes_over);
  ~PushedConfig();
  PushedConfig(const PushedConfig&) = delete;
  PushedConfig& operator=(const PushedConfig&) = delete;

  // What was accepted before this process began, if that is known. Once.
  [[nodiscard]] std::optional<xds::SavedConfig> LoadSaved();
  [[nodiscard]] bool has_saved() const { return saved_unix_ != 0; }
  // For the applier: those hooks that have to do with the control plane or the disk.
  void AddHooks(xds::Applier::Hooks* hooks);

  // `cluster` is a snapshot of the control plane's cluster alone. The applier outlives this.
  void Connect(xds::Applier& applier, std::shared_ptr<const config::Snapshot> cluster);
  // After a reload of the file; also when nothing differs.
  void Reconfigure(const config::ControlPlaneSettings& settings,
                   std::shared_ptr<const config::Snapshot> cluster);
  [[nodiscard]] const std::shared_ptr<const config::Snapshot>& cluster() const { return cluster_; }

  // What was accepted is being served by all workers.
  void OnServed();
  // An orderly end: what was tried has not crashed. The stream ends.
  void Stop();
  // A new process has taken over, and the folder is its own now.
  void Release();

  // Where what is served comes from: "control plane 10.0.0.1:18000", "state folder, saved ...".
  [[nodiscard]] std::string Source() const;
  // Why a gateway that starts is not ready: it waits for this.
  [[nodiscard]] std::string WaitingFor() const;
  [[nodiscard]] std::string Json(const xds::Applier& applier) const;
  void UpdateMetrics(const xds::Applier& applier);

 private:
  PushedConfig(const Environment& environment, const Identity& identity,
               const config::ControlPlaneSettings& settings);

  void OnUpdate(xds::Update update) override;
  [[nodiscard]] xds::Versions HeldVersions(xds::Type type) override;
  [[nodiscard]] std::string HeldVersion(xds::Type type) override;
  void OnAbsent(xds::Type type, const std::vector<std::string>& names) override;
  void OnState() override;
  void SayOften(std::string_view line);
  void NoteUnasked();
  void TellConnected();
  void TellRefusals(xds::Type type, const std::vector<xds::Refusal>& refusals);
  void UseCluster(std::shared_ptr<const config::Snapshot> cluster);
  [[nodiscard]] xds::AdsOptions OptionsOf(const upstream::Cluster& cluster) const;
  void OnProven();

  net::Loop& loop_;
  observe::CounterBlock& counters_;
  std::function<void()> progress_;
  observe::MetricHandle<observe::PushedMetrics> metrics_;
  Identity identity_;
  config::ControlPlaneSettings settings_;
  http::H1HeadScratch scratch_;
  std::unique_ptr<xds::StateStore> store_;
  std::shared_ptr<const config::Snapshot> cluster_;
  // A stream that runs, or is being made, ends on the one that it began with.
  std::vector<std::shared_ptr<const config::Snapshot>> former_clusters_;
  std::unique_ptr<upstream::Upstreams> upstreams_;
  std::unique_ptr<upstream::DnsTracker> dns_;
  std::unique_ptr<xds::AdsClient> client_;
  xds::Applier* applier_ = nullptr;
  LineLimit lines_;
  Timer proven_;
  int64_t saved_unix_ = 0;  // of LoadSaved()
  bool pushed_ = false;     // something of this process's control plane is served
  bool connected_ = false;
  bool told_connected_ = false;  // of this stream
  std::string told_failure_;
};

}  // namespace gatehouse::server
