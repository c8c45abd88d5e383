#include "source/server/pushed_config.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "source/base/json.h"
#include "source/base/status.h"
#include "source/server/say.h"
#include "source/server/version.h"

namespace gatehouse::server {
namespace {

// A config that has served for so long does not crash the process by being loaded.
constexpr Duration kProven = std::chrono::seconds(5);
// Of lines about what a control plane says, which it could make as many of as it likes.
constexpr uint32_t kMostLines = 200;
constexpr Duration kLinesInterval = std::chrono::minutes(1);

int64_t Seconds(Duration duration) { return duration.count() / 1'000'000; }

std::string RefusalsJson(const std::vector<std::pair<xds::Type, xds::Refusal>>& refusals) {
  std::string out;
  for (const auto& [type, refusal] : refusals) {
    std::string errors;
    for (const xds::Refusal::Error& error : refusal.errors) {
      errors += fmt::format("{}{{\"path\":{},\"message\":{}}}", errors.empty() ? "" : ",",
                            QuoteJson(error.path), QuoteJson(error.message));
    }
    out += fmt::format("{}{{\"type\":\"{}\",\"name\":{},\"version\":{},\"errors\":[{}]}}",
                       out.empty() ? "" : ",", xds::TypeName(type), QuoteJson(refusal.name),
                       QuoteJson(refusal.version), errors);
  }
  return out;
}

bool SaidEverything(const xds::AdsState& state) {
  return std::ranges::all_of(state.types, &xds::AdsState::OfType::answered);
}

}  // namespace

absl::StatusOr<std::unique_ptr<PushedConfig>> PushedConfig::Open(
    const Environment& environment, const Identity& identity,
    const config::ControlPlaneSettings& settings, const std::string& state_folder,
    bool takes_over) {
  std::unique_ptr<PushedConfig> made(new PushedConfig(environment, identity, settings));
  if (!state_folder.empty()) {
    absl::StatusOr<std::unique_ptr<xds::StateStore>> store = xds::StateStore::Open(
        environment.loop, state_folder, [](std::string_view line) { Say(line); },
        {.takes_over = takes_over, .writing = {}, .fault = {}});
    if (!store.ok()) return store.status();
    made->store_ = *std::move(store);
  }
  return made;
}

PushedConfig::PushedConfig(const Environment& environment, const Identity& identity,
                           const config::ControlPlaneSettings& settings)
    : loop_(environment.loop),
      counters_(environment.counters),
      progress_(environment.progress),
      metrics_(environment.metrics.Acquire<observe::PushedMetrics>({})),
      identity_(identity),
      settings_(settings),
      lines_(kMostLines, kLinesInterval),
      proven_(Timer::Calls<PushedConfig, &PushedConfig::OnProven>(), this) {
  upstreams_ = std::make_unique<upstream::Upstreams>(loop_, counters_, scratch_);
  dns_ = std::make_unique<upstream::DnsTracker>(
      loop_, [this](upstream::ClusterKey key, std::shared_ptr<const upstream::EndpointSet> set) {
        upstreams_->UpdateEndpoints(key, std::move(set));
      });
}

PushedConfig::~PushedConfig() = default;

std::optional<xds::SavedConfig> PushedConfig::LoadSaved() {
  if (store_ == nullptr) return std::nullopt;
  std::optional<xds::SavedConfig> saved = store_->Load();
  if (saved.has_value()) {
    saved_unix_ = saved->accepted_unix;
    Say(fmt::format("serving what was saved {} s ago, from {}",
                    loop_.WallMicros() / 1'000'000 - saved_unix_, saved->source));
  }
  return saved;
}

void PushedConfig::AddHooks(xds::Applier::Hooks* hooks) {
  hooks->answer = [this](xds::Type type, uint64_t update,
                         const std::vector<xds::Refusal>& refusals) {
    TellRefusals(type, refusals);
    if (client_ == nullptr) return;  // at the end, when there may be no next turn for this
    client_->Answer(update, refusals);
    loop_.Post([this] {
      // Also when nothing differs from what was saved: then nothing is saved.
      pushed_ |= client_ != nullptr && applier_->complete() && SaidEverything(client_->state());
      progress_();
    });
  };
  hooks->say = [this](std::string_view line) { SayOften(line); };
  hooks->save = [this](xds::SavedConfig saved) {
    pushed_ = true;
    if (store_ != nullptr) store_->Save(std::move(saved));
  };
  hooks->trying = [this](const std::vector<xds::Suspect>& resources) {
    if (store_ != nullptr) store_->Trying(resources);
  };
  hooks->is_suspect = [this](xds::Type type, std::string_view name, std::string_view bytes) {
    return store_ != nullptr && store_->IsSuspect(type, name, bytes);
  };
}

xds::AdsOptions PushedConfig::OptionsOf(const upstream::Cluster& cluster) const {
  xds::AdsOptions options;
  options.cluster = &cluster;
  options.node_id = identity_.node_id;
  options.node_group = identity_.node_group;
  options.gateway_version = kVersionNumber;
  options.protocol =
      settings_.state_of_the_world ? xds::AdsProtocol::kStateOfTheWorld : xds::AdsProtocol::kDelta;
  for (const auto& [type, names] : settings_.only) {
    options.only[*xds::TypeOfName(type)] = names;
  }
  options.fetch_timeout = settings_.fetch_timeout;
  options.max_backoff = settings_.max_backoff;
  options.max_message_bytes = settings_.max_message_bytes;
  return options;
}

void PushedConfig::UseCluster(std::shared_ptr<const config::Snapshot> cluster) {
  if (cluster == cluster_) return;
  if (cluster_ != nullptr) former_clusters_.push_back(std::move(cluster_));
  cluster_ = std::move(cluster);
  dns_->WatchOnly(cluster_->clusters);
}

void PushedConfig::Connect(xds::Applier& applier, std::shared_ptr<const config::Snapshot> cluster) {
  applier_ = &applier;
  UseCluster(std::move(cluster));
  const upstream::Cluster& made = *cluster_->clusters.front();
  client_ = std::make_unique<xds::AdsClient>(*upstreams_, *this, OptionsOf(made));
  client_->Start();
  NoteUnasked();
}

// Of a type that is not asked for nothing comes.
void PushedConfig::NoteUnasked() {
  for (const auto& [type, names] : settings_.only) {
    if (names.empty()) applier_->OnAbsent(*xds::TypeOfName(type), {});
  }
}

void PushedConfig::Reconfigure(const config::ControlPlaneSettings& settings,
                               std::shared_ptr<const config::Snapshot> cluster) {
  if (client_ == nullptr) return;
  if (settings.only != settings_.only) {
    settings_.only = settings.only;
    client_->Want(OptionsOf(*cluster->clusters.front()).only);
    NoteUnasked();
  }
  if (cluster == cluster_) return;
  UseCluster(std::move(cluster));
  client_->UseCluster(*cluster_->clusters.front());
}

void PushedConfig::OnServed() {
  if (store_ != nullptr && store_->trying() && !proven_.armed()) loop_.Arm(proven_, kProven);
}

void PushedConfig::OnProven() { store_->Proven(); }

void PushedConfig::Stop() {
  client_.reset();
  if (store_ != nullptr) store_->Proven();
}

void PushedConfig::Release() {
  if (store_ != nullptr) store_->Release();
}

void PushedConfig::OnUpdate(xds::Update update) {
  if (!told_connected_) TellConnected();
  applier_->Apply(std::move(update));
}

void PushedConfig::SayOften(std::string_view line) {
  const std::optional<uint64_t> left_out = lines_.Take(loop_.Now());
  if (!left_out) return;
  if (*left_out > 0) {
    Say(
        fmt::format("{} line(s) about what control planes say were left out; GET /xds of the admin "
                    "address shows how things are",
                    *left_out));
  }
  Say(line);
}

void PushedConfig::TellConnected() {
  SayOften(fmt::format("control plane {}: connected", client_->state().address));
  told_connected_ = true;
  told_failure_.clear();
}

xds::Versions PushedConfig::HeldVersions(xds::Type type) { return applier_->HeldVersions(type); }

std::string PushedConfig::HeldVersion(xds::Type type) { return applier_->HeldVersion(type); }

void PushedConfig::OnAbsent(xds::Type type, const std::vector<std::string>& names) {
  std::string all;
  for (const std::string& name : names) all += fmt::format(" \"{}\"", name);
  SayOften(names.empty() ? fmt::format("the control plane has not said anything about {}",
                                       xds::TypeName(type))
                         : fmt::format("the control plane has no {}{}", xds::TypeName(type), all));
  applier_->OnAbsent(type, names);
  loop_.Post(progress_);
}

void PushedConfig::OnState() {
  const xds::AdsState& state = client_->state();
  if (state.connected && !connected_) {
    applier_->set_source(fmt::format("control plane {}", state.address));
    // One that began to connect before a reload goes on where it began.
    std::erase_if(former_clusters_, [this](const auto& former) {
      return former->clusters.front().get() != client_->cluster();
    });
    told_connected_ = false;
    // One that failed may be about to do so again: it is believed when it says something.
    if (told_failure_.empty()) TellConnected();
  } else if (!state.connected && !state.failure.empty() && state.failure != told_failure_) {
    SayOften(
        fmt::format("control plane {}: {}; what is served stays", state.address, state.failure));
    told_failure_ = state.failure;
  }
  connected_ = state.connected;
}

void PushedConfig::TellRefusals(xds::Type type, const std::vector<xds::Refusal>& refusals) {
  constexpr size_t kMost = 20;
  for (size_t i = 0; i < refusals.size(); ++i) {
    if (i == kMost) {
      SayOften(fmt::format("... and {} more; GET /xds of the admin address has all",
                           refusals.size() - i));
      return;
    }
    const xds::Refusal& refusal = refusals[i];
    for (const xds::Refusal::Error& error : refusal.errors) {
      SayOften(fmt::format("pushed {} \"{}\" {}: {}{}{}", xds::TypeName(type), refusal.name,
                           refusal.waiting ? "waits" : "is refused", error.path,
                           error.path.empty() ? "" : ": ", error.message));
    }
  }
}

std::string PushedConfig::Source() const {
  if (pushed_) {
    return client_ == nullptr ? "control plane"
                              : fmt::format("control plane {}", client_->state().address);
  }
  if (saved_unix_ != 0) {
    return fmt::format("state folder, accepted {} s ago",
                       loop_.WallMicros() / 1'000'000 - saved_unix_);
  }
  return "file";
}

std::string PushedConfig::WaitingFor() const {
  if (client_ == nullptr || !client_->state().connected) return "the control plane";
  return "the control plane's first config";
}

std::string PushedConfig::Json(const xds::Applier& applier) const {
  const TimePoint now = loop_.Now();
  const xds::Applier::Status status = applier.status();
  const xds::AdsState none;
  const xds::AdsState& state = client_ == nullptr ? none : client_->state();
  std::string types;
  for (const xds::Type type : xds::kAllTypes) {
    const auto index = static_cast<size_t>(type);
    const xds::AdsState::OfType& of = state.types[index];
    types += fmt::format(
        "{}\"{}\":{{\"accepted\":{},\"updates\":{},\"acks\":{},\"nacks\":{},\"version\":{},"
        "\"told\":{}}}",
        types.empty() ? "" : ",", xds::TypeName(type), status.accepted[index], of.updates, of.acks,
        of.nacks, QuoteJson(of.version), status.told[index]);
  }
  std::string leaving;
  for (const auto& [type, name] : status.leaving) {
    leaving += fmt::format("{}{{\"type\":\"{}\",\"name\":{}}}", leaving.empty() ? "" : ",",
                           xds::TypeName(type), QuoteJson(name));
  }
  std::string saved = "null";
  if (store_ != nullptr) {
    const xds::StateStore::State of = store_->state();
    saved = fmt::format(
        "{{\"accepted_unix\":{},\"saves\":{},\"failures\":{},\"failure\":{},\"trying\":{}}}",
        of.saved_unix, of.saves, of.failures, QuoteJson(of.failure), store_->trying());
  }
  return fmt::format(
      "{{\"connected\":{},\"address\":{},\"identifier\":{},\"seconds\":{},\"failure\":{},"
      "\"connects\":{},\"source\":{},\"types\":{{{}}},\"refused\":[{}],\"waiting\":[{}],"
      "\"leaving\":[{}],\"state_folder\":{},\"builds\":{}}}\n",
      state.connected, QuoteJson(state.address), QuoteJson(state.identifier),
      Seconds(now - state.since), QuoteJson(state.failure), state.connects, QuoteJson(Source()),
      types, RefusalsJson(status.refused), RefusalsJson(status.waiting), leaving, saved,
      status.builds);
}

void PushedConfig::UpdateMetrics(const xds::Applier& applier) {
  const observe::PushedMetrics& ids = *metrics_;
  const xds::Applier::Status status = applier.status();
  const auto set = [&](auto id, uint64_t value) { counters_.Set(id, static_cast<int64_t>(value)); };
  if (client_ != nullptr) {
    const xds::AdsState& state = client_->state();
    set(ids.connected, state.connected ? 1 : 0);
    set(ids.connects, state.connects);
    set(ids.connect_failures, state.connect_failures);
    set(ids.disconnects, state.disconnects);
    if (state.last_message != kNever) {
      set(ids.last_message_age, static_cast<uint64_t>(Seconds(loop_.Now() - state.last_message)));
    }
    for (size_t i = 0; i < xds::kTypes; ++i) {
      set(ids.updates[i], state.types[i].updates);
      set(ids.acks[i], state.types[i].acks);
      set(ids.nacks[i], state.types[i].nacks);
    }
  }
  for (size_t i = 0; i < xds::kTypes; ++i) set(ids.resources[i], status.accepted[i]);
  set(ids.refused, status.refused.size());
  set(ids.waiting, status.waiting.size());
  set(ids.leaving, status.leaving.size());
  set(ids.builds, status.builds);
  set(ids.from_disk, !pushed_ && saved_unix_ != 0 ? 1 : 0);
  if (store_ != nullptr) {
    const xds::StateStore::State of = store_->state();
    set(ids.saved_at, static_cast<uint64_t>(of.saved_unix));
    set(ids.saves, of.saves);
    set(ids.save_failures, of.failures);
  }
}

}  // namespace gatehouse::server
