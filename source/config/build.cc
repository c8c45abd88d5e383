#include "source/config/build.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <set>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "fmt/format.h"
#include "source/base/check.h"
#include "source/base/crypto.h"
#include "source/base/status.h"
#include "source/config/build_clusters.h"
#include "source/config/build_listeners.h"
#include "source/config/build_matchers.h"
#include "source/config/build_policies.h"
#include "source/config/build_record.h"
#include "source/config/build_routes.h"
#include "source/config/build_scope.h"
#include "source/config/build_tls.h"
#include "source/config/field.h"
#include "source/config/messages.h"

namespace gatehouse::config {
namespace {

template <typename Message>
std::string_view NameOf(const Message& message) {
  return message.name();
}
std::string_view NameOf(const v1::Endpoints& message) { return message.cluster(); }

// The errors of the resources of one type, each its own.
using Errors = std::vector<ErrorList>;

// Field "name" of a resource: not empty, and no other's of its type.
template <typename Message>
void CheckNames(const std::vector<Resource<Message>>& resources, std::string_view field_name,
                Errors& errors) {
  std::unordered_map<std::string_view, size_t> known;
  known.reserve(resources.size());
  for (size_t i = 0; i < resources.size(); ++i) {
    const Field root(resources[i].source, errors[i]);
    const Field name = root.Below(field_name);
    const std::string_view text = NameOf(*resources[i].message);
    if (!CheckName(text, name)) continue;
    const auto [first, is_new] = known.try_emplace(text, i);
    if (is_new) continue;
    const std::string where = resources[first->second].source.FullPath("");
    name.Error(where.empty() ? fmt::format("\"{}\" is there twice", text)
                             : fmt::format("\"{}\" is the name of {} already", text, where));
  }
}

template <typename Message>
bool SameLists(const Messages<Message>& old, const std::vector<Resource<Message>>& resources) {
  return std::equal(old.begin(), old.end(), resources.begin(), resources.end(),
                    [](const auto& a, const auto& b) { return SameMessage(*a, *b.message); });
}

template <typename Message>
Messages<Message> MessagesOf(const std::vector<Resource<Message>>& resources) {
  Messages<Message> messages;
  messages.reserve(resources.size());
  for (const Resource<Message>& resource : resources) messages.push_back(resource.message);
  return messages;
}

// One build, from top to bottom in the order of Run().
class Builder {
 public:
  Builder(const Resources& resources, const BuildEnvironment& environment,
          const std::shared_ptr<const Snapshot>& previous)
      : resources_(resources),
        environment_(environment),
        previous_(previous),
        record_(previous == nullptr ? nullptr : previous->record.get()),
        scope_(environment, resources, previous.get()),
        listener_errors_(resources.listeners.size()),
        table_errors_(resources.route_tables.size()),
        cluster_errors_(resources.clusters.size()),
        endpoints_errors_(resources.endpoints.size()),
        rate_limit_errors_(resources.rate_limits.size()),
        secret_errors_(resources.secrets.size()) {}

  BuildResult Run() {
    CheckAllNames();
    ReadSecrets();
    BuildClusters();
    ReadRateLimits();
    StartTables();
    ReadListeners();
    LayOutRest();
    BuildTables();
    BuildMatchers();
    BuildResult result;
    if (NoErrors() && OpenLogs()) result.snapshot = MakeSnapshot();
    CollectErrors(&result);
    result.files = scope_.TakeFilesRead();
    return result;
  }

 private:
  struct ListenerInBuild {
    PlannedListener planned;
    std::optional<MatcherBuilder> matcher;
    const ListenerRecord* record = nullptr;  // of the predecessor, or null
    const Listener* old = nullptr;           // the predecessor, or null
    std::string tls_digest;
  };

  void CheckAllNames();
  void ReadSecrets();
  void ReadRateLimits();
  void BuildClusters();
  [[nodiscard]] std::optional<size_t> PreviousCluster(std::string_view name);
  [[nodiscard]] bool TakeOverCluster(size_t index, const v1::Endpoints* endpoints,
                                     std::optional<size_t> previous);
  void BuildCluster(size_t index, const Resource<v1::Endpoints>* endpoints,
                    ErrorList* endpoints_errors);
  void ReadClusterTls(const v1::Cluster& message, const upstream::Cluster* old, const Field& root,
                      upstream::ClusterSpec* spec);
  bool OfferCluster(const std::string& name,
                    const std::shared_ptr<const upstream::Cluster>& cluster);
  void StartTables();
  void CheckDelegates(size_t index);
  void ReadListeners();
  void ReadListenerTls(const v1::Listener& message, const Field& root, ListenerInBuild* listener);
  void ServeTables(size_t index);
  void LayOutRest();
  void BuildTables();
  void BuildMatchers();
  [[nodiscard]] bool OpenLogs();
  [[nodiscard]] bool OpenLog(size_t index);
  [[nodiscard]] bool NoErrors() const;

  [[nodiscard]] std::shared_ptr<const Snapshot> MakeSnapshot();
  void NoteClusterChanges(Snapshot& snapshot);
  void AssignCursors(BuildRecord& record, Snapshot& snapshot);
  [[nodiscard]] std::shared_ptr<const Listener> FinishListener(size_t index);
  [[nodiscard]] std::shared_ptr<BuildRecord> MakeRecord();
  [[nodiscard]] bool NothingChanged(const Snapshot& snapshot) const;

  void CollectErrors(BuildResult* result);
  template <typename Message>
  void Collect(std::string_view type, const std::vector<Resource<Message>>& resources,
               Errors& errors, BuildResult* result);

  const Resources& resources_;
  const BuildEnvironment& environment_;
  const std::shared_ptr<const Snapshot>& previous_;
  const BuildRecord* record_;
  BuildScope scope_;

  Errors listener_errors_;
  Errors table_errors_;
  Errors cluster_errors_;
  Errors endpoints_errors_;
  Errors rate_limit_errors_;
  Errors secret_errors_;

  std::vector<std::shared_ptr<const upstream::Cluster>> clusters_;
  std::vector<std::shared_ptr<const upstream::Cluster>> stand_ins_;
  // Of the predecessor's clusters, by index. In order they are found without their names.
  size_t next_old_cluster_ = 0;
  std::unordered_map<std::string_view, size_t> old_clusters_;
  std::vector<bool> cluster_is_kept_;
  std::vector<bool> cluster_key_is_kept_;
  std::vector<std::shared_ptr<const upstream::Cluster>> changed_clusters_;
  Messages<v1::Endpoints> endpoints_of_clusters_;
  TablesInBuild tables_;
  std::vector<ListenerInBuild> listeners_;
  std::vector<MatcherBuilder> rest_;  // of tables that no listener serves
  std::vector<std::shared_ptr<Route>> fresh_;
  ByName<Sha256Digest> secret_digests_;
  ByName<std::string> cluster_tls_digests_;
};

void Builder::CheckAllNames() {
  CheckNames(resources_.listeners, "name", listener_errors_);
  CheckNames(resources_.route_tables, "name", table_errors_);
  CheckNames(resources_.clusters, "name", cluster_errors_);
  CheckNames(resources_.endpoints, "cluster", endpoints_errors_);
  CheckNames(resources_.rate_limits, "name", rate_limit_errors_);
  CheckNames(resources_.secrets, "name", secret_errors_);
}

// Names of what was there before: until it turns out to be the same, it has changed.
template <typename Map>
NameSet AllChanged(const Map* old) {
  NameSet names;
  if (old == nullptr) return names;
  for (const auto& [name, value] : *old) names.insert(name);
  return names;
}

void Builder::ReadSecrets() {
  const auto* old = record_ == nullptr ? nullptr : &record_->secret_digests;
  scope_.changed_secrets = AllChanged(old);
  for (size_t i = 0; i < resources_.secrets.size(); ++i) {
    const v1::Secret& secret = *resources_.secrets[i].message;
    const Field root(resources_.secrets[i].source, secret_errors_[i]);
    std::optional<std::string> text = ReadSecret(secret, scope_, root);
    const auto [at, is_new] = scope_.offers.secrets.try_emplace(secret.name(), text.value_or("-"));
    if (!is_new) continue;  // an error, reported with the names
    if (!text) scope_.broken_secrets.insert(secret.name());
    if (std::string place = PlaceOf(secret); !place.empty()) {
      scope_.secret_places[secret.name()] = std::move(place);
    }
    const Sha256Digest digest = Sha256(at->second);
    if (old != nullptr) {
      const auto before = old->find(secret.name());
      if (before != old->end() && before->second == digest) {
        scope_.changed_secrets.erase(secret.name());
      }
    }
    secret_digests_[secret.name()] = digest;
  }
}

void Builder::ReadRateLimits() {
  const auto* old = record_ == nullptr ? nullptr : &record_->rate_limits_by_name;
  scope_.changed_rate_limits = AllChanged(old);
  for (size_t i = 0; i < resources_.rate_limits.size(); ++i) {
    const v1::RateLimit& limit = *resources_.rate_limits[i].message;
    const Field root(resources_.rate_limits[i].source, rate_limit_errors_[i]);
    const bool fine = CheckRateLimit(limit, scope_, root);
    if (old != nullptr) {
      const auto at = old->find(limit.name());
      if (at != old->end() && SameMessage(*at->second, limit)) {
        scope_.changed_rate_limits.erase(limit.name());
      }
    }
    scope_.offers.rate_limits.try_emplace(limit.name(), fine ? &limit : &StandInRateLimit());
  }
}

void Builder::BuildClusters() {
  if (previous_ != nullptr) {
    cluster_is_kept_.resize(previous_->clusters.size());
    cluster_key_is_kept_.resize(previous_->clusters.size());
  }
  std::unordered_map<std::string_view, size_t> endpoints;
  endpoints.reserve(resources_.endpoints.size());
  for (size_t i = 0; i < resources_.endpoints.size(); ++i) {
    endpoints.try_emplace(resources_.endpoints[i].message->cluster(), i);
  }
  clusters_.reserve(resources_.clusters.size());
  endpoints_of_clusters_.reserve(resources_.clusters.size());
  for (size_t i = 0; i < resources_.clusters.size(); ++i) {
    const auto at = endpoints.find(resources_.clusters[i].message->name());
    if (at == endpoints.end()) {
      BuildCluster(i, nullptr, nullptr);
    } else {
      BuildCluster(i, &resources_.endpoints[at->second], &endpoints_errors_[at->second]);
    }
  }
  for (size_t i = 0; i < cluster_is_kept_.size(); ++i) {
    if (!cluster_is_kept_[i]) scope_.changed_clusters.insert(previous_->clusters[i]->name());
  }
  for (size_t i = 0; i < resources_.endpoints.size(); ++i) {
    const std::string& name = resources_.endpoints[i].message->cluster();
    if (name.empty() || scope_.offers.clusters.contains(name)) continue;
    const Field root(resources_.endpoints[i].source, endpoints_errors_[i]);
    root.Below("cluster").Unknown("cluster", name, NamesOf(scope_.offers.clusters));
  }
}

// The index in the predecessor's lists, which mostly goes up by one from cluster to cluster.
std::optional<size_t> Builder::PreviousCluster(std::string_view name) {
  if (previous_ == nullptr) return std::nullopt;
  const auto& old = previous_->clusters;
  if (next_old_cluster_ >= old.size() || old[next_old_cluster_]->name() != name) {
    if (old_clusters_.empty()) {
      old_clusters_.reserve(old.size());
      for (size_t i = 0; i < old.size(); ++i) old_clusters_.emplace(old[i]->name(), i);
    }
    const auto at = old_clusters_.find(name);
    if (at == old_clusters_.end()) return std::nullopt;
    next_old_cluster_ = at->second;
  }
  return next_old_cluster_++;
}

// The very messages that the predecessor's was made of. True: it is this build's, too.
bool Builder::TakeOverCluster(size_t index, const v1::Endpoints* endpoints,
                              std::optional<size_t> previous) {
  const v1::Cluster& message = *resources_.clusters[index].message;
  if (!previous || record_->clusters[*previous].get() != &message ||
      record_->endpoints_of_clusters[*previous].get() != endpoints) {
    return false;
  }
  if (message.has_tls()) {
    const auto digest = record_->cluster_tls_digests.find(message.name());
    if (!scope_.changed_secrets.empty() || digest == record_->cluster_tls_digests.end()) {
      return false;
    }
    cluster_tls_digests_.insert(*digest);
  }
  const std::shared_ptr<const upstream::Cluster>& cluster = previous_->clusters[*previous];
  if (!OfferCluster(message.name(), cluster)) return false;  // an error, reported with the names
  cluster_is_kept_[*previous] = true;
  cluster_key_is_kept_[*previous] = true;
  clusters_.push_back(cluster);
  return true;
}

void Builder::BuildCluster(size_t index, const Resource<v1::Endpoints>* endpoints,
                           ErrorList* endpoints_errors) {
  const Resource<v1::Cluster>& resource = resources_.clusters[index];
  ErrorList& errors = cluster_errors_[index];
  const std::optional<size_t> previous = PreviousCluster(resource.message->name());
  endpoints_of_clusters_.push_back(endpoints == nullptr ? nullptr : endpoints->message);
  if (TakeOverCluster(index, endpoints_of_clusters_.back().get(), previous)) return;
  const Field root(resource.source, errors);
  upstream::ClusterSpec spec = ReadCluster(*resource.message, root);
  std::shared_ptr<const upstream::Cluster> old;
  if (previous) old = previous_->clusters[*previous];
  ReadClusterTls(*resource.message, old.get(), root, &spec);
  const auto& own = resource.message->endpoints();
  spec.endpoints = ReadEndpoints(own, root.Below("endpoints"));
  bool endpoints_fine = true;
  if (endpoints != nullptr) {
    const Field other(endpoints->source, *endpoints_errors);
    if (own.empty()) {
      spec.endpoints = ReadEndpoints(endpoints->message->endpoints(), other.Below("endpoints"));
    } else {
      other.Below("cluster").Error(fmt::format(
          "cluster \"{}\" has endpoints of its own; write them in one place", spec.name));
    }
    endpoints_fine = endpoints_errors->ok();
  }
  if (errors.ok() && endpoints_fine) {
    absl::StatusOr<std::shared_ptr<const upstream::Cluster>> cluster =
        upstream::Cluster::Make(spec, old, environment_.cluster_slots, environment_.metrics);
    if (cluster.ok()) {
      if (*cluster == old) {
        cluster_is_kept_[*previous] = true;
      } else {
        changed_clusters_.push_back(*cluster);
      }
      if (old != nullptr && (*cluster)->key() == old->key()) {
        cluster_key_is_kept_[*previous] = true;
      }
      clusters_.push_back(*cluster);
      OfferCluster(spec.name, *cluster);
      return;
    }
    // What the cluster checks itself is in its endpoints.
    if (endpoints != nullptr) {
      Field(endpoints->source, *endpoints_errors).ErrorBelow(cluster.status());
    } else {
      root.ErrorBelow(cluster.status());
    }
  }
  // Who refers to it has made no mistake.
  upstream::ClusterSpec stand_in;
  stand_in.name = spec.name;
  stand_ins_.push_back(*upstream::Cluster::Make(stand_in, nullptr, environment_.cluster_slots,
                                                environment_.metrics));
  OfferCluster(spec.name, stand_ins_.back());
}

void Builder::ReadClusterTls(const v1::Cluster& message, const upstream::Cluster* old,
                             const Field& root, upstream::ClusterSpec* spec) {
  if (!message.has_tls()) return;
  BuiltClientTls before;
  if (old != nullptr) {
    const auto at = record_->cluster_tls_digests.find(spec->name);
    if (at != record_->cluster_tls_digests.end()) before = {old->options().tls, at->second};
  }
  BuiltClientTls built =
      BuildClientTls(message.tls(), spec->options.protocol, scope_, before, root.Below("tls"));
  spec->options.tls = std::move(built.context);
  spec->tls_fingerprint = built.digest;
  cluster_tls_digests_[spec->name] = std::move(built.digest);
}

// False: there is one of that name.
bool Builder::OfferCluster(const std::string& name,
                           const std::shared_ptr<const upstream::Cluster>& cluster) {
  return scope_.offers.clusters.try_emplace(name, cluster.get()).second;
}

void Builder::StartTables() {
  for (const auto& resource : resources_.route_tables) {
    scope_.route_tables.insert(resource.message->name());
  }
  for (size_t i = 0; i < resources_.route_tables.size(); ++i) {
    const Resource<v1::RouteTable>& resource = resources_.route_tables[i];
    const auto [at, is_new] = tables_.try_emplace(resource.message->name());
    if (!is_new) continue;  // an error, reported with the names
    at->second.builder = std::make_unique<TableBuilder>(resource, scope_, table_errors_[i]);
    CheckDelegates(i);
  }
}

void Builder::CheckDelegates(size_t index) {
  const v1::RouteTable& table = *resources_.route_tables[index].message;
  const Field root(resources_.route_tables[index].source, table_errors_[index]);
  const Field routes = root.Below("routes");
  for (int i = 0; i < table.routes_size(); ++i) {
    if (!table.routes(i).has_delegate()) continue;
    const Field route = routes.Item(static_cast<size_t>(i));
    const Field names = route.Below("delegate.route_tables");
    const v1::Delegate& delegate = table.routes(i).delegate();
    if (delegate.route_tables().empty()) names.Error("must name a route table");
    for (int j = 0; j < delegate.route_tables_size(); ++j) {
      if (scope_.route_tables.contains(delegate.route_tables(j))) continue;
      names.Item(static_cast<size_t>(j))
          .Unknown("route table", delegate.route_tables(j), NamesOf(scope_.route_tables));
    }
  }
}

void Builder::ReadListeners() {
  std::map<std::string, size_t> addresses;
  for (size_t i = 0; i < resources_.listeners.size(); ++i) {
    const Resource<v1::Listener>& resource = resources_.listeners[i];
    const Field root(resource.source, listener_errors_[i]);
    ListenerInBuild& listener = listeners_.emplace_back();
    listener.planned = ReadListener(*resource.message, root);
    if (record_ != nullptr) {
      const auto at = record_->listeners_by_name.find(resource.message->name());
      if (at != record_->listeners_by_name.end()) listener.record = &at->second;
      listener.old = previous_->FindListener(resource.message->name());
    }
    ReadListenerTls(*resource.message, root, &listener);
    const net::Address& address = listener.planned.listener->address;
    if (address.family() != AF_UNSPEC && address.port() != 0) {
      const auto [first, is_new] = addresses.try_emplace(address.ToString(), i);
      if (!is_new) {
        root.Below("address").Error(
            fmt::format("{} is the address of listener \"{}\" already", address.ToString(),
                        resources_.listeners[first->second].message->name()));
      }
    }
    ServeTables(i);
  }
}

void Builder::ReadListenerTls(const v1::Listener& message, const Field& root,
                              ListenerInBuild* listener) {
  if (!message.has_tls()) return;
  BuiltServerTls before;
  if (listener->record != nullptr && listener->old != nullptr) {
    before = {listener->old->tls, listener->record->tls_digest};
  }
  BuiltServerTls built = BuildServerTls(message, scope_, before, root.Below("tls"));
  listener->planned.listener->tls = std::move(built.context);
  listener->tls_digest = std::move(built.digest);
}

void Builder::ServeTables(size_t index) {
  const Resource<v1::Listener>& resource = resources_.listeners[index];
  const Field root(resource.source, listener_errors_[index]);
  const Field names = root.Below("route_tables");
  ListenerInBuild& listener = listeners_[index];
  listener.matcher.emplace(tables_, listener.planned.defaults);
  std::set<std::string_view> seen;
  for (int i = 0; i < resource.message->route_tables_size(); ++i) {
    const std::string& name = resource.message->route_tables(i);
    const Field item = names.Item(static_cast<size_t>(i));
    const auto at = tables_.find(name);
    if (at == tables_.end()) {
      item.Unknown("route table", name, NamesOf(scope_.route_tables));
    } else if (!seen.insert(name).second) {
      item.Error(fmt::format("\"{}\" is there twice", name));
    } else if (at->second.builder->message().domains().empty()) {
      item.Error(fmt::format(
          "\"{}\" has no domains: another table's route mounts it, not a listener", name));
    } else {
      listener.matcher->Serve(at->second);
    }
  }
}

// Tables that no listener serves are checked all the same.
void Builder::LayOutRest() {
  for (const bool with_domains : {true, false}) {
    for (auto& [name, table] : tables_) {
      if (table.builder->wanted() || table.builder->message().domains().empty() == with_domains) {
        continue;
      }
      rest_.emplace_back(tables_, RouteDefaults());
      rest_.back().Serve(table,
                         with_domains ? FilterList::Outer::kKnown : FilterList::Outer::kUnknown);
    }
  }
}

void Builder::BuildTables() {
  for (auto& [name, table] : tables_) table.built = table.builder->Build(&fresh_);
}

void Builder::BuildMatchers() {
  for (ListenerInBuild& listener : listeners_) {
    Listener& made = *listener.planned.listener;
    if (listener.record != nullptr && listener.matcher->SameAs(listener.record->parts)) {
      made.route_table = listener.old->route_table;
    } else {
      made.route_table = listener.matcher->Build();
    }
  }
  for (MatcherBuilder& matcher : rest_) {
    if (!matcher.Unchanged()) static_cast<void>(matcher.Build());
  }
}

bool Builder::NoErrors() const {
  const auto fine = [](const Errors& errors) {
    return std::ranges::all_of(errors, [](const ErrorList& list) { return list.ok(); });
  };
  return fine(listener_errors_) && fine(table_errors_) && fine(cluster_errors_) &&
         fine(endpoints_errors_) && fine(rate_limit_errors_) && fine(secret_errors_);
}

bool Builder::OpenLogs() {
  bool fine = true;
  for (size_t i = 0; i < listeners_.size(); ++i) fine &= OpenLog(i);
  return fine;
}

// Shares the log of any listener, old or new, that has the same config.
bool Builder::OpenLog(size_t index) {
  ListenerInBuild& listener = listeners_[index];
  if (!listener.planned.log || environment_.log_writer == nullptr) return true;
  const v1::AccessLog& config = resources_.listeners[index].message->access_log();
  std::shared_ptr<const observe::AccessLog>& log = listener.planned.listener->access_log;
  if (record_ != nullptr) {
    for (const auto& [name, old] : record_->listeners_by_name) {
      if (!SameMessage(old.message->access_log(), config)) continue;
      log = previous_->FindListener(name)->access_log;
      if (log != nullptr) return true;
    }
  }
  for (size_t i = 0; i < index; ++i) {
    if (!SameMessage(resources_.listeners[i].message->access_log(), config)) continue;
    log = listeners_[i].planned.listener->access_log;
    return true;
  }
  PlannedLog& planned = *listener.planned.log;
  absl::StatusOr<std::shared_ptr<observe::LogOutput>> output =
      environment_.log_writer->Open(planned.path, planned.buffer_bytes);
  if (!output.ok()) {
    const Field root(resources_.listeners[index].source, listener_errors_[index]);
    root.Below("access_log.path").Error(output.status());
    return false;
  }
  log = std::make_shared<const observe::AccessLog>(*std::move(planned.format), *std::move(output));
  return true;
}

std::shared_ptr<const Snapshot> Builder::MakeSnapshot() {
  auto snapshot = std::make_shared<Snapshot>();
  snapshot->version = previous_ == nullptr ? 1 : previous_->version + 1;
  snapshot->clusters = std::move(clusters_);
  NoteClusterChanges(*snapshot);
  std::shared_ptr<BuildRecord> record = MakeRecord();
  AssignCursors(*record, *snapshot);
  for (size_t i = 0; i < listeners_.size(); ++i) snapshot->listeners.push_back(FinishListener(i));
  if (record_ != nullptr && NothingChanged(*snapshot)) return previous_;
  for (const std::shared_ptr<Route>& route : fresh_) {
    route->metrics =
        environment_.metrics.Acquire<observe::RouteMetrics>({route->table, route->name});
  }
  snapshot->record = std::move(record);
  return snapshot;
}

void Builder::NoteClusterChanges(Snapshot& snapshot) {
  // Validations build on threads of their own.
  static std::atomic<uint64_t> last_id{0};
  snapshot.id = ++last_id;
  snapshot.changed_clusters = std::move(changed_clusters_);
  if (previous_ == nullptr) return;
  snapshot.base_id = previous_->id;
  for (size_t i = 0; i < cluster_key_is_kept_.size(); ++i) {
    if (cluster_key_is_kept_[i]) continue;
    snapshot.removed_clusters.push_back(previous_->clusters[i]->key());
  }
}

std::shared_ptr<BuildRecord> Builder::MakeRecord() {
  auto record = std::make_shared<BuildRecord>();
  record->listeners = MessagesOf(resources_.listeners);
  record->route_tables = MessagesOf(resources_.route_tables);
  record->clusters = MessagesOf(resources_.clusters);
  record->endpoints = MessagesOf(resources_.endpoints);
  record->rate_limits = MessagesOf(resources_.rate_limits);
  record->secrets = MessagesOf(resources_.secrets);
  for (const auto& message : record->route_tables) {
    record->tables_by_name[message->name()] = {message, tables_.at(message->name()).built};
  }
  for (size_t i = 0; i < listeners_.size(); ++i) {
    record->listeners_by_name[record->listeners[i]->name()] = {
        record->listeners[i], listeners_[i].matcher->parts(), std::move(listeners_[i].tls_digest)};
  }
  for (const auto& message : record->rate_limits) {
    record->rate_limits_by_name[message->name()] = message;
  }
  record->secret_digests = std::move(secret_digests_);
  record->cluster_tls_digests = std::move(cluster_tls_digests_);
  record->endpoints_of_clusters = std::move(endpoints_of_clusters_);
  return record;
}

// A split keeps its cursor as long as there is a split of that name, so that it goes on where it
// was; new ones get the lowest numbers that are free.
void Builder::AssignCursors(BuildRecord& record, Snapshot& snapshot) {
  std::set<uint32_t> used;
  std::vector<std::pair<std::string, std::string>> without;
  for (const auto& [name, table] : tables_) {
    for (const uint32_t index : table.built->split_routes) {
      const auto& route = table.built->sets.front().routes[index];
      std::pair<std::string, std::string> key(name, route->name);
      if (record_ != nullptr) {
        const auto at = record_->split_cursors.find(key);
        if (at != record_->split_cursors.end()) {
          used.insert(at->second);
          record.split_cursors.insert(*at);
          continue;
        }
      }
      without.push_back(std::move(key));
    }
  }
  uint32_t next = 0;
  for (auto& key : without) {
    while (used.contains(next)) ++next;
    record.split_cursors.emplace(std::move(key), next++);
  }
  for (const auto& [key, cursor] : record.split_cursors) {
    snapshot.split_cursors = std::max(snapshot.split_cursors, cursor + 1);
  }
  for (const std::shared_ptr<Route>& route : fresh_) {
    if (route->action != Route::Action::kSplit) continue;
    route->split_cursor = record.split_cursors.at({route->table, route->name});
  }
}

// The predecessor, if nothing differs.
std::shared_ptr<const Listener> Builder::FinishListener(size_t index) {
  ListenerInBuild& listener = listeners_[index];
  const std::shared_ptr<Listener>& made = listener.planned.listener;
  made->routes = listener.matcher->Routes();
  if (listener.old != nullptr && listener.old->route_table == made->route_table &&
      listener.old->access_log == made->access_log && listener.old->routes == made->routes &&
      listener.old->tls == made->tls &&
      SameMessage(*listener.record->message, *resources_.listeners[index].message)) {
    for (const auto& old : previous_->listeners) {
      if (old.get() == listener.old) return old;
    }
  }
  made->metrics = environment_.metrics.Acquire<observe::ListenerMetrics>({made->name});
  return made;
}

bool Builder::NothingChanged(const Snapshot& snapshot) const {
  return fresh_.empty() && snapshot.listeners == previous_->listeners &&
         snapshot.clusters == previous_->clusters && scope_.changed_secrets.empty() &&
         SameLists(record_->listeners, resources_.listeners) &&
         SameLists(record_->route_tables, resources_.route_tables) &&
         SameLists(record_->clusters, resources_.clusters) &&
         SameLists(record_->endpoints, resources_.endpoints) &&
         SameLists(record_->rate_limits, resources_.rate_limits) &&
         SameLists(record_->secrets, resources_.secrets);
}

void Builder::CollectErrors(BuildResult* result) {
  Collect("Listener", resources_.listeners, listener_errors_, result);
  Collect("RouteTable", resources_.route_tables, table_errors_, result);
  Collect("Cluster", resources_.clusters, cluster_errors_, result);
  Collect("Endpoints", resources_.endpoints, endpoints_errors_, result);
  Collect("RateLimit", resources_.rate_limits, rate_limit_errors_, result);
  Collect("Secret", resources_.secrets, secret_errors_, result);
  result->errors.Sort();
}

template <typename Message>
void Builder::Collect(std::string_view type, const std::vector<Resource<Message>>& resources,
                      Errors& errors, BuildResult* result) {
  for (size_t i = 0; i < resources.size(); ++i) {
    if (errors[i].entries().empty()) continue;
    result->errors.Append(errors[i]);
    std::vector<Rejection>& list = errors[i].ok() ? result->warnings : result->rejections;
    list.push_back({type, std::string(NameOf(*resources[i].message)), std::move(errors[i])});
  }
}

}  // namespace

BuildResult Build(const Resources& resources, const BuildEnvironment& environment,
                  const std::shared_ptr<const Snapshot>& previous) {
  return Builder(resources, environment, previous).Run();
}

}  // namespace gatehouse::config
