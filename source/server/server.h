// Server: the process. Main thread, workers, config, signals, admin, drain and upgrade.
//
// Owner: main(). Thread: main; Run() blocks until the process is to end. Start-up is all or
// nothing: Run() returns an error before anything is served, or serves.
//
//   Server server(registry, {.config_path = "gateway.yaml"});
//   return server.Run();
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "source/config/build.h"
#include "source/config/load.h"
#include "source/filters/registry.h"
#include "source/net/listener.h"
#include "source/net/loop.h"
#include "source/observe/log_writer.h"
#include "source/observe/metric_registry.h"
#include "source/observe/standard_metrics.h"
#include "source/server/admin.h"
#include "source/server/line_limit.h"
#include "source/server/pushed_config.h"
#include "source/server/takeover.h"
#include "source/server/worker.h"
#include "source/upstream/dns_tracker.h"
#include "source/xds/applier.h"
#include "source/xds/file_source.h"

namespace gatehouse::server {

// Exit codes of all commands.
inline constexpr int kExitOk = 0;
inline constexpr int kExitBadInput = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitEnvironment = 3;

class Server {
 public:
  struct Options {
    std::string config_path;
    // Only changes by SIGHUP are taken.
    bool watch = true;
    // Called once when the first config is served; for tests. Null: a line on stderr.
    std::function<void(Server&)> ready;
  };

  Server(const filters::Registry& filters, Options options);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // The exit code.
  [[nodiscard]] int Run();
  // Thread-safe: what SIGTERM does.
  void RequestStop();
  // What SIGHUP does; main thread.
  void Reload(std::string_view why);

  // "address:port" on which a listener serves; port 0 made real. Main thread, from `ready` on.
  [[nodiscard]] std::string ListenerAddress(std::string_view name) const;
  [[nodiscard]] std::string AdminAddress() const;

 private:
  enum class State : uint8_t { kStarting, kServing, kDraining, kStopping };
  using PublishResult = xds::Applier::PublishResult;

  // A listener's sockets, one for each worker, which owns it.
  struct Sockets {
    std::string address_text;
    net::Address address;  // with its real port
    std::vector<int> fds;
    std::shared_ptr<proxy::ListenerCounts> counts;
  };

  // server.cc
  [[nodiscard]] int Start();
  [[nodiscard]] absl::Status OpenPushed(const config::LoadedBootstrap& loaded);
  [[nodiscard]] config::BuildResult BuildFirst(config::LoadedBootstrap& loaded);
  [[nodiscard]] int StartServing(std::shared_ptr<const config::Snapshot> snapshot);
  [[nodiscard]] config::BuildResult BuildControlPlane(const config::LoadedBootstrap& loaded);
  void GetReady();
  void StartWorkers();
  void WatchConfig();
  void OnFilesChanged(const std::vector<std::string>& paths);
  void WatchSignals();
  void OnSignal();
  // What workers have to tell the operator.
  void WatchNotices();
  void SayNotices();
  void RequestStopNow();
  void OnReady();
  void Shutdown();

  // publish.cc: from resources to what the workers serve.
  [[nodiscard]] size_t RoomForSockets() const;
  [[nodiscard]] PublishResult OpenSockets(const config::Snapshot& snapshot,
                                          std::map<std::string, Sockets>& sockets,
                                          std::vector<std::vector<NewSocket>>& fresh);
  [[nodiscard]] std::vector<int> InheritSockets(const config::Listener& heir,
                                                const config::Snapshot& snapshot) const;
  [[nodiscard]] absl::Status OpenListener(const config::Listener& listener,
                                          const config::Snapshot& snapshot, Sockets& sockets);
  // The applier calls it so, and hears of `sequence` when all workers run on the snapshot.
  [[nodiscard]] PublishResult Prepare(std::shared_ptr<const config::Snapshot> snapshot,
                                      uint64_t sequence);
  [[nodiscard]] Duration WarmUp() const;
  void DropUnused(std::vector<std::vector<NewSocket>>& opened) const;
  void SetBacklogs() const;
  void Publish();
  void OnAdopted(uint64_t version);
  [[nodiscard]] std::string AllErrors(const config::ErrorList& of_text) const;
  void NoteProcessSettings(const config::LoadedBootstrap& loaded);
  [[nodiscard]] config::BuildEnvironment BuildEnvironmentOf();
  // Also what the config names: secrets and pages in files.
  void WatchFiles(std::vector<config::FileRead> files);
  void WatchBuiltFiles();

  // drain.cc
  void StartDrain(std::string_view why, bool exit_when_done, const net::SharedSockets& shared);
  void DrainTick();
  [[nodiscard]] SocketSet SocketsToHandOver() const;
  [[nodiscard]] net::SharedSockets SharedWithSuccessor() const;
  [[nodiscard]] absl::Status OfferUpgrade();

  // operate.cc: what admin shows.
  [[nodiscard]] absl::Status OpenAdmin();
  [[nodiscard]] AdminReply OnAdmin(http::Method method, std::string_view path,
                                   std::string_view query);
  [[nodiscard]] AdminReply OnExplain(std::string_view query);
  [[nodiscard]] std::string ClustersJson() const;
  void UpdateServerMetrics();

  const filters::Registry& filters_;
  Options options_;
  SystemClock clock_;
  // Handles in snapshots refer to it, and snapshots wait in the loop's mailbox: it goes last.
  observe::MetricRegistry metrics_;
  upstream::ClusterSlots cluster_slots_;
  filters::StateStore states_;
  config::TicketKeyStore ticket_keys_;
  observe::MetricHandle<observe::ServerMetrics> server_metrics_;
  observe::MetricHandle<observe::NodeMetrics> node_metrics_;
  observe::CounterBlock* counters_;  // main's own
  proxy::SharedCounts shared_;
  std::unique_ptr<observe::LogWriter> log_writer_;
  net::Loop loop_;
  config::Settings settings_;
  std::shared_ptr<const config::Snapshot> current_;
  // Built and waiting for its names to be resolved.
  std::shared_ptr<const config::Snapshot> warming_;
  std::map<std::string, Sockets> sockets_;
  // Opened for `warming_`, by worker.
  std::vector<std::vector<NewSocket>> fresh_;
  uint64_t warming_sequence_ = 0;
  uint64_t sequence_ = 0;  // of `current_`
  std::unique_ptr<upstream::DnsTracker> dns_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::unique_ptr<Takeover> takeover_;
  std::unique_ptr<TakeoverOffer> offer_;
  std::unique_ptr<Admin> admin_;
  std::unique_ptr<xds::FileSource> file_source_;
  std::vector<config::FileRead> files_read_;   // that are watched
  std::vector<config::FileRead> files_built_;  // of the last config that could be built
  std::vector<config::FileRead> control_plane_files_;
  std::unique_ptr<xds::Applier> applier_;
  std::unique_ptr<PushedConfig> pushed_;  // null without a control plane
  config::ControlPlaneSettings control_plane_settings_;
  std::shared_ptr<const config::Snapshot> first_control_plane_;  // until it is connected
  std::unique_ptr<net::FdEvents> signal_events_;
  int signal_fd_ = -1;
  LineLimit notice_lines_{100, std::chrono::minutes(1)};
  Timer drain_timer_;
  TimePoint started_;
  TimePoint config_time_;
  TimePoint drain_deadline_ = kNever;
  uint64_t version_ = 0;
  size_t to_adopt_ = 0;
  size_t to_drain_ = 0;  // workers that have not begun to drain
  State state_ = State::kStarting;
  bool told_to_stop_ = false;
  bool exit_when_drained_ = false;
  bool last_load_valid_ = true;
  bool told_to_wait_ = false;
  bool not_ready_ = false;  // by POST /drain
  int exit_code_ = kExitOk;
};

}  // namespace gatehouse::server
