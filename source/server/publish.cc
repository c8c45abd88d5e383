// From resources to what the workers serve. See server.h.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <utility>

#include <fmt/format.h>

#include "source/net/listener.h"
#include "source/server/say.h"
#include "source/server/server.h"

namespace gatehouse::server {
namespace {

// How long a new config waits for the names of its clusters before it is served without them.
constexpr Duration kWarmUp = std::chrono::seconds(5);
constexpr Duration kSavedWarmUp = std::chrono::milliseconds(100);
// Idle connections of a listener that left the config.
constexpr Duration kIdleGrace = std::chrono::seconds(5);

absl::Status NoDescriptorsFor(const std::string& listener) {
  return Unavailable(fmt::format(
      "listener \"{}\": the sockets of all listeners, one for each worker, would take more "
      "than half of the file descriptors that this process may open; raise the limit "
      "(ulimit -n, LimitNOFILE) or use fewer listeners",
      listener));
}

}  // namespace

config::BuildEnvironment Server::BuildEnvironmentOf() {
  return {.filters = filters_,
          .metrics = metrics_,
          .cluster_slots = cluster_slots_,
          .states = states_,
          .log_writer = log_writer_.get(),
          .workers = settings_.workers,
          .ticket_keys = &ticket_keys_};
}

// Of a file whose text has errors: those, and what else there is to say about it.
std::string Server::AllErrors(const config::ErrorList& of_text) const {
  const config::ErrorList all = config::ValidateFile(options_.config_path, filters_);
  // It may have been mended meanwhile.
  return all.ok() ? of_text.ToString() : all.ToString();
}

void Server::Reload(std::string_view why) {
  if (state_ == State::kDraining || state_ == State::kStopping) return;
  const auto rejected = [&](const std::string& errors) {
    Tell(errors);
    Say(fmt::format("{}: the new config is not used; the one of version {} serves on", why,
                    version_));
    counters_->Add(server_metrics_->config_rejected);
    last_load_valid_ = false;
  };
  config::LoadedBootstrap loaded = config::LoadBootstrap(options_.config_path);
  if (!loaded.errors.ok()) return rejected(AllErrors(loaded.errors));
  config::BuildResult built = applier_->Rebuild(loaded.resources);
  config::AddNewErrors(built.errors, &loaded.errors);
  config::BuildResult control_plane;
  if (pushed_ != nullptr && loaded.control_plane.configured()) {
    control_plane = BuildControlPlane(loaded);
    config::AddNewErrors(control_plane.errors, &loaded.errors);
    control_plane_files_ = control_plane.files;
    std::ranges::copy(control_plane.files, std::back_inserter(built.files));
  }
  WatchFiles(std::move(built.files));
  if (!loaded.errors.ok()) return rejected(loaded.errors.ToString());
  const bool differs = built.snapshot != applier_->current();
  if (differs) {
    const PublishResult prepared = Prepare(built.snapshot, applier_->NextSequence());
    if (!prepared.status.ok()) return rejected(fmt::format("{}\n", MessageOf(prepared.status)));
  }
  applier_->Reloaded(std::move(loaded.resources), std::move(built.snapshot));
  if (control_plane.snapshot != nullptr) {
    pushed_->Reconfigure(loaded.control_plane, std::move(control_plane.snapshot));
  }
  Tell(loaded.errors.ToString());  // warnings
  last_load_valid_ = true;
  NoteProcessSettings(loaded);
  Say(fmt::format("{}: {}", why, differs ? "loaded" : "nothing that is served differs"));
}

// What only a restart or an upgrade can change.
void Server::NoteProcessSettings(const config::LoadedBootstrap& loaded) {
  config::Settings asked = loaded.settings;
  if (asked.workers == 0) asked.workers = settings_.workers;
  if (asked.node_id.empty()) asked.node_id = settings_.node_id;
  config::ControlPlaneSettings control_plane = loaded.control_plane;
  // These are taken at once.
  settings_.drain_timeout = asked.drain_timeout;
  control_plane_settings_.only = control_plane.only;
  if (control_plane.configured() == control_plane_settings_.configured()) {
    control_plane_settings_.addresses = control_plane.addresses;
  }
  if (asked == settings_ && control_plane == control_plane_settings_) return;
  Say("workers, admin, node, overload, metrics, upgrade_socket, state_folder and timeouts of the "
      "control_plane change with a restart or a binary upgrade, not with a reload");
}

// The sockets of a listener that gives this address up, such as one that got another name: they
// never close, so that what waits in them is not lost. The heir's own descriptors of them; none
// when there are no such sockets.
std::vector<int> Server::InheritSockets(const config::Listener& heir,
                                        const config::Snapshot& snapshot) const {
  std::vector<int> fds;
  for (const auto& [name, sockets] : sockets_) {
    const config::Listener* still = snapshot.FindListener(name);
    const bool given_up = still == nullptr || still->address_text != sockets.address_text;
    if (!given_up || sockets.address != heir.address) continue;
    for (int fd : sockets.fds) {
      if (const int own = fcntl(fd, F_DUPFD_CLOEXEC, 0); own >= 0) fds.push_back(own);
    }
    break;
  }
  return fds;
}

absl::Status Server::OpenListener(const config::Listener& listener,
                                  const config::Snapshot& snapshot, Sockets& sockets) {
  sockets.address_text = listener.address_text;
  sockets.address = listener.address;
  if (takeover_ != nullptr) sockets.fds = takeover_->Take(listener.address_text);
  if (!sockets.fds.empty()) sockets.address = net::LocalAddress(sockets.fds.front());
  if (sockets.fds.empty()) sockets.fds = InheritSockets(listener, snapshot);
  while (sockets.fds.size() < settings_.workers) {
    absl::StatusOr<int> fd = net::OpenListenSocket(sockets.address, listener.backlog);
    if (!fd.ok()) {
      return Unavailable(fmt::format("listener \"{}\": {}", listener.name, MessageOf(fd.status())));
    }
    sockets.fds.push_back(*fd);
    // With port 0 the first socket's port is everyone's.
    if (sockets.fds.size() == 1) sockets.address = net::LocalAddress(*fd);
  }
  return absl::OkStatus();
}

// A push of very many listeners must not take the descriptors that connections need: they get half.
// A worker has a descriptor of its own for each socket.
size_t Server::RoomForSockets() const {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return SIZE_MAX;
  size_t used = 0;
  for (const auto& [name, sockets] : sockets_) used += sockets.fds.size();
  const size_t most = limit.rlim_cur / 4;
  return most > used ? most - used : 0;
}

// Opens what the snapshot needs and is not there yet. On failure nothing has changed.
Server::PublishResult Server::OpenSockets(const config::Snapshot& snapshot,
                                          std::map<std::string, Sockets>& sockets,
                                          std::vector<std::vector<NewSocket>>& fresh) {
  fresh.resize(workers_.size());
  std::vector<int> opened;
  PublishResult result;
  const size_t room = RoomForSockets();
  for (const auto& listener : snapshot.listeners) {
    auto known = sockets_.find(listener->name);
    if (known != sockets_.end() && known->second.address_text == listener->address_text) {
      sockets[listener->name] = known->second;
      continue;
    }
    Sockets made;
    absl::Status status = opened.size() < room ? OpenListener(*listener, snapshot, made)
                                               : NoDescriptorsFor(listener->name);
    opened.insert(opened.end(), made.fds.begin(), made.fds.end());
    if (!status.ok()) {
      result.listeners.emplace_back(listener->name, MessageOf(status));
      result.status.Update(std::move(status));
      continue;
    }
    made.counts =
        known != sockets_.end() ? known->second.counts : std::make_shared<proxy::ListenerCounts>();
    // After an upgrade there may be more sockets than workers: each is served by somebody.
    for (size_t i = 0; i < made.fds.size(); ++i) {
      fresh[i % workers_.size()].push_back({listener->name, made.fds[i]});
    }
    sockets[listener->name] = std::move(made);
  }
  if (!result.status.ok()) {
    for (int fd : opened) close(fd);
  }
  return result;
}

// Closes what was opened for a config that another one has replaced before it was served.
void Server::DropUnused(std::vector<std::vector<NewSocket>>& opened) const {
  for (std::vector<NewSocket>& of_worker : opened) {
    std::erase_if(of_worker, [this](const NewSocket& socket) {
      const auto at = sockets_.find(socket.listener);
      const bool used = at != sockets_.end() && std::ranges::count(at->second.fds, socket.fd) > 0;
      if (!used) close(socket.fd);
      return !used;
    });
  }
}

// Makes everything ready that the snapshot needs; it is published when its names are resolved.
Server::PublishResult Server::Prepare(std::shared_ptr<const config::Snapshot> snapshot,
                                      uint64_t sequence) {
  std::map<std::string, Sockets> sockets;
  std::vector<std::vector<NewSocket>> fresh;
  PublishResult opened = OpenSockets(*snapshot, sockets, fresh);
  if (!opened.status.ok()) return opened;
  sockets_ = std::move(sockets);
  DropUnused(fresh_);
  if (fresh_.size() < fresh.size()) fresh_.resize(fresh.size());
  for (size_t i = 0; i < fresh.size(); ++i) {
    fresh_[i].insert(fresh_[i].end(), fresh[i].begin(), fresh[i].end());
  }
  warming_ = std::move(snapshot);
  warming_sequence_ = sequence;
  dns_->WatchOnly(warming_->clusters);
  if (dns_->resolved()) {
    Publish();
  } else {
    dns_->WhenResolved(WarmUp(), [this] { Publish(); });
  }
  return {};
}

Duration Server::WarmUp() const {
  if (pushed_ == nullptr) return kWarmUp;
  // What was saved serves at once; better some clusters without their names than none at all. Not
  // when there is a process that serves meanwhile.
  const bool first = state_ == State::kStarting && current_ == nullptr;
  if (first && pushed_->has_saved() && takeover_ == nullptr) return kSavedWarmUp;
  return control_plane_settings_.warm_timeout;
}

void Server::Publish() {
  if (warming_ == nullptr) return;
  current_ = std::exchange(warming_, nullptr);
  sequence_ = warming_sequence_;
  config_time_ = loop_.Now();
  const uint64_t version = ++version_;
  counters_->Add(server_metrics_->config_accepted);
  counters_->Set(server_metrics_->config_version, static_cast<int64_t>(version));
  std::map<std::string, std::shared_ptr<proxy::ListenerCounts>> counts;
  for (const auto& [name, sockets] : sockets_) counts[name] = sockets.counts;
  SetBacklogs();
  // Of the sockets that leave, the new ones may be other descriptors: see InheritSockets().
  auto shared = std::make_shared<net::SharedSockets>(SharedWithSuccessor());
  for (const std::vector<NewSocket>& of_worker : fresh_) {
    for (const NewSocket& socket : of_worker) shared->Add(socket.fd);
  }
  to_adopt_ = workers_.size();
  for (size_t i = 0; i < workers_.size(); ++i) {
    // Names that were resolved before this worker knew the cluster.
    workers_[i]->Adopt(current_, std::move(fresh_[i]), shared, counts, kIdleGrace,
                       [this, version] { OnAdopted(version); });
    fresh_[i].clear();
    for (const auto& cluster : current_->clusters) {
      if (!cluster->has_dns()) continue;
      if (auto set = dns_->EndpointsOf(cluster->key())) {
        workers_[i]->UpdateEndpoints(cluster->key(), std::move(set));
      }
    }
  }
}

// Of sockets that were there before; listening again changes nothing else.
void Server::SetBacklogs() const {
  // While it drains, the sockets are closed or about to be.
  if (state_ == State::kDraining || state_ == State::kStopping) return;
  for (const auto& listener : current_->listeners) {
    for (int fd : sockets_.at(listener->name).fds) listen(fd, listener->backlog);
  }
}

void Server::OnAdopted(uint64_t version) {
  if (version != version_ || to_adopt_ == 0 || --to_adopt_ > 0) return;
  applier_->OnServed(sequence_);
  if (pushed_ != nullptr) pushed_->OnServed();
  GetReady();
}

// The first config is served; with a control plane that is the one that it pushes, unless there is
// one from before.
void Server::GetReady() {
  if (state_ != State::kStarting || to_adopt_ > 0 || current_ == nullptr) return;
  if (pushed_ == nullptr || pushed_->has_saved() || applier_->complete()) return OnReady();
  if (std::exchange(told_to_wait_, true)) return;
  Say(fmt::format("not ready yet: waiting for {}; nothing is saved from before",
                  pushed_->WaitingFor()));
}

}  // namespace gatehouse::server
