#include "source/control_plane/serve.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "source/base/status.h"
#include "source/control_plane/api.h"
#include "source/control_plane/commands.h"
#include "source/control_plane/digest.h"
#include "source/control_plane/directory.h"
#include "source/control_plane/editor.h"
#include "source/control_plane/etcd_store.h"
#include "source/control_plane/fleet.h"
#include "source/control_plane/folder_store.h"
#include "source/control_plane/rest.h"
#include "source/control_plane/validator.h"
#include "source/control_plane/xds_server.h"

namespace gatehouse::control {
namespace {

constexpr auto kStopPatience = std::chrono::seconds(5);
constexpr auto kLongestStop = std::chrono::seconds(10);
// How often other control planes hear of our gateways, at most.
constexpr auto kStatusInterval = std::chrono::seconds(1);
constexpr size_t kInstanceBytes = 4;

void Say(std::string_view line) { fmt::print(stderr, "gatehouse-control: {}\n", line); }

int Fail(const absl::Status& status) {
  Say(MessageOf(status));
  return absl::IsInvalidArgument(status) ? kExitUsage : kExitEnvironment;
}

bool IsProgram(const std::string& path) {
  struct stat status{};
  return stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode) &&
         access(path.c_str(), X_OK) == 0;
}

// The gateway's program: the one that was given, the one beside this one, the one in PATH.
std::optional<std::string> FindGatehouse(const std::string& given) {
  if (!given.empty()) return IsProgram(given) ? std::optional(given) : std::nullopt;
  std::array<char, 4096> self{};
  const ssize_t size = readlink("/proc/self/exe", self.data(), self.size());
  if (size > 0) {
    const std::string_view path(self.data(), static_cast<size_t>(size));
    std::string beside = std::string(path.substr(0, path.rfind('/') + 1)) + "gatehouse";
    if (IsProgram(beside)) return beside;
  }
  const char* variable = std::getenv("PATH");
  std::string_view folders = variable == nullptr ? "" : variable;
  while (!folders.empty()) {
    const size_t end = std::min(folders.find(':'), folders.size());
    std::string path = fmt::format("{}/gatehouse", folders.substr(0, end));
    if (end > 0 && IsProgram(path)) return path;
    folders.remove_prefix(std::min(end + 1, folders.size()));
  }
  return std::nullopt;
}

std::string InstanceName(const std::string& given) {
  if (!given.empty()) return given;
  std::array<char, 256> host{};
  if (gethostname(host.data(), host.size() - 1) != 0) host[0] = '\0';
  return fmt::format("{}-{}", host.data(), RandomHex(kInstanceBytes));
}

absl::StatusOr<std::unique_ptr<Store>> OpenEtcd(const ServeOptions& options, Fleet& fleet) {
  absl::StatusOr<std::unique_ptr<EtcdStore>> store =
      EtcdStore::Open({.etcd = {.endpoints = options.etcd,
                                .ca_file = options.etcd_ca_file,
                                .certificate_file = options.etcd_certificate_file,
                                .key_file = options.etcd_key_file,
                                .user = options.etcd_user,
                                .password_file = options.etcd_password_file},
                       .prefix = options.etcd_prefix,
                       .state = options.state},
                      fleet);
  if (!store.ok()) return store.status();
  return std::unique_ptr<Store>(*std::move(store));
}

absl::StatusOr<std::unique_ptr<Store>> OpenStore(const ServeOptions& options, Fleet& fleet) {
  if (!options.etcd.empty()) return OpenEtcd(options, fleet);
  const std::string state = !options.state.empty()      ? options.state
                            : options.directory.empty() ? ""
                                                        : options.directory + "/.gatehouse-control";
  if (state.empty()) {
    return InvalidArgument(
        "where do the resources come from? --dir DIR (files), --etcd HOST:PORT, or --state DIR "
        "(the "
        "API alone)");
  }
  absl::StatusOr<std::unique_ptr<FolderStore>> store = FolderStore::Open(state);
  if (!store.ok()) return store.status();
  return std::unique_ptr<Store>(*std::move(store));
}

// Tells the store about the gateways when something has changed.
class StatusPublisher {
 public:
  StatusPublisher(Store& store, const Fleet& fleet)
      : thread_([this, &store, &fleet] { Run(store, fleet); }) {}
  ~StatusPublisher() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }
  StatusPublisher(const StatusPublisher&) = delete;
  StatusPublisher& operator=(const StatusPublisher&) = delete;

 private:
  void Run(Store& store, const Fleet& fleet) {
    std::optional<uint64_t> told;
    std::unique_lock lock(mutex_);
    while (!wake_.wait_for(lock, kStatusInterval, [this] { return stopping_; })) {
      const uint64_t changes = fleet.changes();
      if (told == changes) continue;
      told = changes;
      lock.unlock();
      store.PublishStatus(fleet);
      lock.lock();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  std::thread thread_;
};

// Ends the process when it takes too long to stop: a client of the API that sends its body byte by
// byte, a check of many groups. Nothing is lost by that, stores are whole at any moment.
class StopDeadline {
 public:
  StopDeadline() : thread_([this] { Run(); }) {}
  ~StopDeadline() {
    {
      const std::lock_guard lock(mutex_);
      stopped_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }
  StopDeadline(const StopDeadline&) = delete;
  StopDeadline& operator=(const StopDeadline&) = delete;

 private:
  void Run() {
    std::unique_lock lock(mutex_);
    if (wake_.wait_for(lock, kLongestStop, [this] { return stopped_; })) return;
    Say("stopped, without an end of what was under way");
    _exit(kExitFine);
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopped_ = false;
  std::thread thread_;
};

// Null: nothing is to be checked.
absl::StatusOr<std::unique_ptr<Validator>> MakeValidator(const ServeOptions& options) {
  if (!options.validate) return std::unique_ptr<Validator>();
  const std::optional<std::string> program = FindGatehouse(options.gatehouse);
  if (!program.has_value()) {
    return Unavailable(
        fmt::format("there is no program {} to check resources with; say where the gateway's "
                    "program is with --gatehouse PATH, or check nothing with --no-validate",
                    options.gatehouse.empty() ? "gatehouse" : options.gatehouse));
  }
  return std::make_unique<Validator>(ValidatorOptions{.program = *program});
}

XdsServerOptions XdsOptionsOf(const ServeOptions& options) {
  XdsServerOptions xds;
  xds.address = options.listen;
  xds.certificate_file = options.certificate_file;
  xds.key_file = options.key_file;
  xds.client_ca_file = options.client_ca_file;
  xds.insecure = options.insecure;
  xds.require_group_in_certificate = options.require_group_in_certificate;
  return xds;
}

RestOptions RestOptionsOf(const ServeOptions& options) {
  return {.address = options.rest,
          .certificate_file = options.certificate_file,
          .key_file = options.key_file,
          .client_ca_file = options.client_ca_file,
          .token_file = options.rest_token_file};
}

// SIGTERM and SIGINT are for WaitForEnd(), on whichever thread they would arrive.
void BlockSignals(sigset_t* signals) {
  sigemptyset(signals);
  sigaddset(signals, SIGTERM);
  sigaddset(signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
}

}  // namespace

int Serve(const ServeOptions& options) {
  sigset_t signals;
  BlockSignals(&signals);
  absl::StatusOr<std::unique_ptr<Validator>> validator = MakeValidator(options);
  if (!validator.ok()) return Fail(validator.status());
  if (!options.directory.empty()) {
    struct stat status{};
    if (stat(options.directory.c_str(), &status) != 0 || !S_ISDIR(status.st_mode)) {
      return Fail(Unavailable(fmt::format("--dir {}: there is no such folder", options.directory)));
    }
  }

  Fleet fleet(InstanceName(options.instance));
  absl::StatusOr<std::unique_ptr<Store>> store = OpenStore(options, fleet);
  if (!store.ok()) return Fail(store.status());
  if (const std::string trouble = (*store)->Trouble(); !trouble.empty()) Say(trouble);
  Editor editor(**store, validator->get());
  std::unique_ptr<DirectorySource> directory;
  if (!options.directory.empty()) {
    directory = std::make_unique<DirectorySource>(
        DirectoryOptions{.folder = options.directory, .allow_empty = options.allow_empty}, editor,
        **store, Say);
    directory->Read();
  }

  absl::StatusOr<std::unique_ptr<XdsServer>> xds = XdsServer::Start(XdsOptionsOf(options), fleet);
  if (!xds.ok()) return Fail(xds.status());
  Api api({.editor = editor,
           .store = **store,
           .fleet = fleet,
           .directory = directory.get(),
           .metrics = [&xds] { return (*xds)->RenderMetrics(); }});
  absl::StatusOr<std::unique_ptr<RestServer>> rest = RestServer::Start(RestOptionsOf(options), api);
  if (!rest.ok()) return Fail(rest.status());
  (*store)->Watch([&xds](std::shared_ptr<const ResourceSet> set) { (*xds)->Publish(set); });
  if (directory != nullptr) directory->Start();
  std::optional<StatusPublisher> publisher(std::in_place, **store, fleet);
  api.SetReady(true);
  Say(fmt::format("ready: revision {}, gateways on port {}, REST on {}",
                  (*store)->Current()->revision(), (*xds)->port(),
                  (*rest)->port() == 0 ? options.rest : fmt::format("port {}", (*rest)->port())));

  int received = 0;
  sigwait(&signals, &received);
  const StopDeadline deadline;
  api.SetReady(false);
  publisher.reset();
  // First, so that gateways go to another one.
  (*xds)->Stop(kStopPatience);
  if (directory != nullptr) directory->Stop();
  (*rest)->Stop();
  store->reset();
  Say("stopped");
  return kExitFine;
}

}  // namespace gatehouse::control
