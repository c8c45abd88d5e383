#include "source/server/server.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "source/observe/notices.h"
#include "source/server/say.h"

namespace gatehouse::server {
namespace {

// Descriptors that are not clients': logs, origins' share, the system's.
constexpr uint64_t kFdReserve = 256;

uint32_t UsableCores() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

uint64_t RaiseFileLimit() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    getrlimit(RLIMIT_NOFILE, &limit);
  }
  return limit.rlim_cur;
}

std::string HostName() {
  char name[256] = {};
  return gethostname(name, sizeof(name) - 1) == 0 ? name : "gateway";
}

sigset_t HandledSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR1}) sigaddset(&set, signal);
  return set;
}

}  // namespace

Server::Server(const filters::Registry& filters, Options options)
    : filters_(filters),
      options_(std::move(options)),
      counters_(metrics_.NewBlock()),
      loop_(clock_),
      drain_timer_(Timer::Calls<Server, &Server::DrainTick>(), this),
      started_(loop_.Now()) {}

Server::~Server() = default;

int Server::Run() {
  const int failed = Start();
  if (failed == kExitOk) loop_.Run();
  Shutdown();
  return failed != kExitOk ? failed : exit_code_;
}

int Server::Start() {
  // Before any thread: they inherit the mask, and only main reads the signals.
  const sigset_t handled = HandledSignals();
  pthread_sigmask(SIG_BLOCK, &handled, nullptr);
  signal(SIGPIPE, SIG_IGN);

  // First, so that no change after the load is missed.
  WatchConfig();
  WatchNotices();
  config::LoadedBootstrap loaded = config::LoadBootstrap(options_.config_path);
  if (!loaded.errors.ok()) {
    std::fputs(AllErrors(loaded.errors).c_str(), stderr);
    return kExitBadInput;
  }
  settings_ = loaded.settings;
  if (settings_.workers == 0) settings_.workers = UsableCores();
  if (settings_.node_id.empty() && loaded.control_plane.configured()) {
    settings_.node_id = HostName();
  }
  const uint64_t files = RaiseFileLimit();
  shared_.max_connections =
      settings_.max_connections != 0
          ? settings_.max_connections
          : static_cast<uint32_t>(std::min<uint64_t>(
                UINT32_MAX, files > 2 * kFdReserve ? files - kFdReserve : files / 2));
  metrics_.set_max_label_sets(settings_.max_series_per_family);
  server_metrics_ = metrics_.Acquire<observe::ServerMetrics>({});
  node_metrics_ = metrics_.Acquire<observe::NodeMetrics>({settings_.node_id, settings_.node_group});
  counters_->Set(node_metrics_->node, 1);
  counters_->Set(server_metrics_->workers, settings_.workers);
  counters_->Set(server_metrics_->max_fds, static_cast<int64_t>(files));

  absl::StatusOr<std::unique_ptr<observe::LogWriter>> log =
      observe::LogWriter::Create({.workers = settings_.workers});
  const auto give_up = [](const absl::Status& status, int code) {
    Say(MessageOf(status));
    return code;
  };
  if (!log.ok()) return give_up(log.status(), kExitEnvironment);
  log_writer_ = *std::move(log);

  control_plane_settings_ = loaded.control_plane;
  if (!settings_.upgrade_socket.empty()) {
    absl::StatusOr<std::unique_ptr<Takeover>> old = Takeover::Ask(settings_.upgrade_socket);
    if (!old.ok()) return give_up(old.status(), kExitEnvironment);
    takeover_ = *std::move(old);
  }
  const absl::Status opened = OpenPushed(loaded);
  if (!opened.ok()) return give_up(opened, kExitEnvironment);
  config::BuildResult built = BuildFirst(loaded);
  std::fputs(loaded.errors.ToString().c_str(), stderr);
  if (built.snapshot == nullptr) return kExitBadInput;
  return StartServing(std::move(built.snapshot));
}

absl::Status Server::OpenPushed(const config::LoadedBootstrap& loaded) {
  if (!loaded.control_plane.configured()) return absl::OkStatus();
  absl::StatusOr<std::unique_ptr<PushedConfig>> pushed =
      PushedConfig::Open({loop_, *counters_, metrics_, [this] { GetReady(); }},
                         {settings_.node_id, settings_.node_group}, loaded.control_plane,
                         settings_.state_folder, /*takes_over=*/takeover_ != nullptr);
  if (!pushed.ok()) return pushed.status();
  pushed_ = *std::move(pushed);
  return absl::OkStatus();
}

config::BuildResult Server::BuildControlPlane(const config::LoadedBootstrap& loaded) {
  return config::BuildControlPlane(*loaded.bootstrap, loaded.source, loaded.resources,
                                   BuildEnvironmentOf(), pushed_->cluster());
}

// What is wrong is in `loaded.errors`, and the snapshot null.
config::BuildResult Server::BuildFirst(config::LoadedBootstrap& loaded) {
  xds::Applier::Hooks hooks;
  hooks.build = [this](const config::Resources& resources,
                       const std::shared_ptr<const config::Snapshot>& previous) {
    config::BuildResult built = config::Build(resources, BuildEnvironmentOf(), previous);
    if (built.snapshot != nullptr) files_built_ = built.files;
    return built;
  };
  hooks.publish = [this](const std::shared_ptr<const config::Snapshot>& snapshot,
                         uint64_t sequence) {
    PublishResult result = Prepare(snapshot, sequence);
    if (result.status.ok()) WatchBuiltFiles();
    return result;
  };
  // What waits for names would wait for ever if each push began that anew; and who is about to go
  // serves nothing new.
  hooks.busy = [this] {
    return to_adopt_ > 0 || warming_ != nullptr || state_ == State::kDraining ||
           state_ == State::kStopping;
  };
  hooks.say = [](std::string_view line) { Say(line); };
  hooks.answer = [](auto...) {};
  hooks.save = [](auto...) {};
  hooks.trying = [](auto...) {};
  hooks.is_suspect = [](auto...) { return false; };
  if (pushed_ != nullptr) pushed_->AddHooks(&hooks);
  applier_ = std::make_unique<xds::Applier>(
      loop_, std::move(hooks),
      xds::Applier::Options{.warm_timeout = control_plane_settings_.warm_timeout,
                            .pushed = pushed_ != nullptr});
  std::optional<xds::SavedConfig> saved;
  if (pushed_ != nullptr) saved = pushed_->LoadSaved();
  config::BuildResult built = applier_->Start(loaded.resources, saved);
  config::AddNewErrors(built.errors, &loaded.errors);
  if (pushed_ != nullptr) {
    const config::BuildResult control_plane = BuildControlPlane(loaded);
    config::AddNewErrors(control_plane.errors, &loaded.errors);
    control_plane_files_ = control_plane.files;
    std::ranges::copy(control_plane.files, std::back_inserter(built.files));
    if (control_plane.snapshot == nullptr) built.snapshot = nullptr;
    first_control_plane_ = control_plane.snapshot;
  }
  WatchFiles(std::move(built.files));
  return built;
}

int Server::StartServing(std::shared_ptr<const config::Snapshot> snapshot) {
  const auto give_up = [](const absl::Status& status) {
    Say(MessageOf(status));
    return kExitEnvironment;
  };
  dns_ = std::make_unique<upstream::DnsTracker>(
      loop_, [this](upstream::ClusterKey key, std::shared_ptr<const upstream::EndpointSet> set) {
        for (const auto& worker : workers_) worker->UpdateEndpoints(key, set);
      });
  const absl::Status opened = OpenAdmin();
  if (!opened.ok()) return give_up(opened);
  StartWorkers();
  WatchSignals();
  while (true) {
    const PublishResult prepared = Prepare(snapshot, /*sequence=*/1);
    if (prepared.status.ok()) break;
    snapshot = applier_->StartWithout(prepared.listeners);
    if (snapshot == nullptr) return give_up(prepared.status);
  }
  if (pushed_ != nullptr) pushed_->Connect(*applier_, std::move(first_control_plane_));
  return kExitOk;
}

void Server::StartWorkers() {
  const Worker::Environment environment{
      .main = loop_,
      .clock = clock_,
      .metrics = *server_metrics_,
      .shared = shared_,
      // The number of cores may have divided it too finely.
      .slab_budget_bytes = static_cast<size_t>(
          std::max(settings_.max_buffer_bytes / settings_.workers, config::kMinWorkerBuffers)),
  };
  for (uint32_t i = 0; i < settings_.workers; ++i) {
    workers_.push_back(std::make_unique<Worker>(i, *metrics_.NewBlock(), environment));
  }
  for (const auto& worker : workers_) worker->Start();
}

void Server::WatchConfig() {
  if (!options_.watch) return;
  absl::StatusOr<std::unique_ptr<xds::FileSource>> source = xds::FileSource::Watch(
      loop_, options_.config_path,
      [this](const std::vector<std::string>& paths) { OnFilesChanged(paths); });
  // A gateway that cannot watch still serves.
  if (source.ok()) {
    file_source_ = *std::move(source);
  } else {
    Say(MessageOf(source.status()));
  }
}

void Server::OnFilesChanged(const std::vector<std::string>& paths) {
  if (paths.front() == options_.config_path) return Reload("the file has changed");
  const auto read = std::ranges::find(files_read_, paths.front(), &config::FileRead::path);
  const std::string_view purpose = read == files_read_.end() ? "the file" : read->purpose;
  const std::string more =
      paths.size() > 1 ? fmt::format(" (and {} more)", paths.size() - 1) : std::string();
  Reload(fmt::format("{} {} has changed{}", purpose, paths.front(), more));
}

void Server::WatchFiles(std::vector<config::FileRead> files) {
  files_read_ = std::move(files);
  if (file_source_ != nullptr) file_source_->WatchAlso(files_read_);
}

// Those that pushed resources name, too.
void Server::WatchBuiltFiles() {
  std::vector<config::FileRead> files = files_built_;
  std::ranges::copy(control_plane_files_, std::back_inserter(files));
  if (files != files_read_) WatchFiles(std::move(files));
}

void Server::WatchSignals() {
  const sigset_t handled = HandledSignals();
  signal_fd_ = signalfd(-1, &handled, SFD_NONBLOCK | SFD_CLOEXEC);
  CHECK(signal_fd_ >= 0);
  signal_events_ = std::make_unique<net::FdEvents>(
      loop_, signal_fd_, this,
      [](void* self, net::Ready) { static_cast<Server*>(self)->OnSignal(); },
      net::FdEvents::Trigger::kLevelRead);
}

void Server::OnSignal() {
  signalfd_siginfo info;
  while (read(signal_fd_, &info, sizeof(info)) == sizeof(info)) {
    switch (info.ssi_signo) {
      case SIGHUP:
        Reload("SIGHUP");
        break;
      case SIGUSR1:
        log_writer_->Reopen();
        break;
      default:
        RequestStopNow();
        break;
    }
  }
}

void Server::WatchNotices() {
  observe::Notices::Process().SetWake([this] { loop_.Post([this] { SayNotices(); }); });
}

void Server::SayNotices() {
  const observe::Notices::Batch batch = observe::Notices::Process().Take();
  for (const std::string& line : batch.lines) {
    const std::optional<uint64_t> left_out = notice_lines_.Take(loop_.Now());
    if (!left_out.has_value()) continue;
    if (*left_out > 0) Say(fmt::format("{} further notice(s) were left out", *left_out));
    Say(line);
  }
  if (batch.dropped > 0) Say(fmt::format("{} notice(s) were lost", batch.dropped));
}

void Server::RequestStop() {
  loop_.Post([this] { RequestStopNow(); });
}

void Server::RequestStopNow() {
  // Not when it drains because of an upgrade: then this is the first time.
  if (std::exchange(told_to_stop_, true)) {
    Say("told to stop again: closing what is left");
    state_ = State::kStopping;
    loop_.Stop();
    return;
  }
  if (exit_when_drained_) {
    Say("told to stop: it drains already; told once more, it closes what is left");
    return;
  }
  StartDrain("told to stop", /*exit_when_done=*/true, SharedWithSuccessor());
}

void Server::OnReady() {
  state_ = State::kServing;
  if (takeover_ != nullptr) {
    takeover_->TellReady();
    takeover_.reset();
  }
  if (!settings_.upgrade_socket.empty()) {
    absl::Status offered = OfferUpgrade();
    if (!offered.ok()) Say(MessageOf(offered));
  }
  if (options_.ready) {
    options_.ready(*this);
    return;
  }
  std::string where;
  for (const auto& [name, sockets] : sockets_) {
    where += fmt::format("{}{} on {}", where.empty() ? "" : ", ", name, sockets.address.ToString());
  }
  Say(fmt::format("ready: {}; {} worker{}; admin on {}", where.empty() ? "no listeners" : where,
                  settings_.workers, settings_.workers == 1 ? "" : "s", AdminAddress()));
}

void Server::Shutdown() {
  for (const auto& worker : workers_) worker->Stop();
  for (const auto& worker : workers_) worker->Join();
  observe::Notices::Process().SetWake({});
  SayNotices();
  offer_.reset();
  admin_.reset();
  if (pushed_ != nullptr) pushed_->Stop();
  file_source_.reset();
  signal_events_.reset();
  if (signal_fd_ >= 0) close(signal_fd_);
  // Last words of the workers: snapshots to drop.
  workers_.clear();
  loop_.RunTurn(/*wait=*/false);
  dns_.reset();
  pushed_.reset();
  applier_.reset();
  first_control_plane_.reset();
  warming_.reset();
  current_.reset();
  loop_.RunTurn(/*wait=*/false);
  if (log_writer_ != nullptr) log_writer_->Stop(std::chrono::seconds(2));
}

std::string Server::ListenerAddress(std::string_view name) const {
  auto it = sockets_.find(std::string(name));
  return it == sockets_.end() ? std::string() : it->second.address.ToString();
}

}  // namespace gatehouse::server
