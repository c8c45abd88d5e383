#include "source/upstream/dns_tracker.h"

#include <algorithm>
#include <utility>

#include "fmt/format.h"
#include "fmt/ranges.h"
#include "source/base/random.h"

namespace gatehouse::upstream {

// One name with its options, whoever asks for it. Lives as long as a watched cluster has it.
struct DnsTracker::Name {
  Name(DnsTracker& owner, std::string name, const DnsSpec& spec)
      : tracker(owner),
        host(std::move(name)),
        options(spec),
        lookup(this,
               [](void* self, const net::DnsAnswer& answer) {
                 auto* asked = static_cast<Name*>(self);
                 asked->tracker.OnAnswer(*asked, answer);
               }),
        timer(Timer::Calls<Name, &Name::OnTimer>(), this) {}
  void OnTimer() { tracker.Resolve(*this); }

  DnsTracker& tracker;
  const std::string host;
  const DnsSpec options;
  std::shared_ptr<net::Resolver> resolver;  // outlives the lookup
  net::Resolver::Lookup lookup;
  Timer timer;                            // when the answer is too old, or the next try is due
  std::vector<net::IpAddress> addresses;  // the last good ones
  bool answered = false;                  // well or not
  uint32_t failures = 0;                  // in a row
  std::string failure;
  bool changed = false;  // since the last Settle()
};

struct DnsTracker::Watched {
  std::shared_ptr<const Cluster> cluster;
  std::vector<std::shared_ptr<Name>> names;  // as cluster->dns().names
  std::shared_ptr<const EndpointSet> published;
  bool fresh = true;  // not looked at by Settle() yet

  [[nodiscard]] std::shared_ptr<const EndpointSet> MakeSet() const;
};

std::shared_ptr<const EndpointSet> DnsTracker::Watched::MakeSet() const {
  std::vector<ResolvedEndpoint> endpoints;
  for (const EndpointSet::Entry& entry : *cluster->endpoints()) {
    const Endpoint& endpoint = *entry.endpoint;
    endpoints.push_back({endpoint.address(), std::string(endpoint.text()), entry.weight,
                         std::string(endpoint.host())});
  }
  for (size_t i = 0; i < names.size(); ++i) {
    const EndpointSpec& spec = cluster->dns().names[i];
    for (const net::IpAddress& ip : names[i]->addresses) {
      const net::Address address(ip, spec.port);
      endpoints.push_back({address, address.ToString(), spec.weight, spec.host});
    }
  }
  return EndpointSet::Make(endpoints,
                           published != nullptr ? published.get() : cluster->endpoints().get());
}

DnsTracker::DnsTracker(net::Loop& loop, Publish publish, Options options)
    : loop_(loop),
      publish_(std::move(publish)),
      options_(options),
      settle_later_([](void* self) { static_cast<DnsTracker*>(self)->Settle(); }, this),
      deadline_(
          [](void* self) {
            auto* tracker = static_cast<DnsTracker*>(self);
            tracker->deadline_passed_ = true;
            tracker->PublishLater();
          },
          this) {}

DnsTracker::~DnsTracker() = default;

void DnsTracker::Watch(std::shared_ptr<const Cluster> cluster) {
  if (!cluster->has_dns()) return;
  std::unique_ptr<Watched>& watched = watched_[cluster->key().generation];
  if (watched != nullptr) return;
  watched = std::make_unique<Watched>();
  for (const EndpointSpec& spec : cluster->dns().names) {
    watched->names.push_back(NameOf(spec.host, cluster->dns().options));
  }
  watched->cluster = std::move(cluster);
  PublishLater();
}

void DnsTracker::Unwatch(ClusterKey key) {
  watched_.erase(key.generation);
  std::erase_if(names_, [](const auto& entry) { return entry.second.expired(); });
  std::erase_if(resolvers_, [](const auto& entry) { return entry.second.expired(); });
  PublishLater();  // it may have been the one that somebody waited for
}

void DnsTracker::WatchOnly(const std::vector<std::shared_ptr<const Cluster>>& clusters) {
  std::vector<uint32_t> wanted;
  for (const std::shared_ptr<const Cluster>& cluster : clusters) {
    wanted.push_back(cluster->key().generation);
    Watch(cluster);  // before any Unwatch(), so that names in both live on
  }
  std::sort(wanted.begin(), wanted.end());
  std::vector<ClusterKey> gone;
  for (const auto& [generation, watched] : watched_) {
    if (std::binary_search(wanted.begin(), wanted.end(), generation)) continue;
    gone.push_back(watched->cluster->key());
  }
  for (const ClusterKey& key : gone) Unwatch(key);
}

std::shared_ptr<DnsTracker::Name> DnsTracker::NameOf(const std::string& host, const DnsSpec& spec) {
  const std::string key =
      fmt::format("{} {} {} {} {} {}", host, static_cast<int>(spec.family), spec.min_ttl.count(),
                  spec.max_ttl.count(), spec.timeout.count(), fmt::join(spec.resolvers, ","));
  std::weak_ptr<Name>& known = names_[key];
  std::shared_ptr<Name> name = known.lock();
  if (name == nullptr) {
    name = std::make_shared<Name>(*this, host, spec);
    known = name;
    Resolve(*name);
  }
  return name;
}

std::shared_ptr<net::Resolver> DnsTracker::ResolverOf(const DnsSpec& spec, std::string* why_not) {
  std::weak_ptr<net::Resolver>& known =
      resolvers_[fmt::format("{} {}", spec.timeout.count(), fmt::join(spec.resolvers, ","))];
  if (std::shared_ptr<net::Resolver> resolver = known.lock()) return resolver;
  absl::StatusOr<std::unique_ptr<net::Resolver>> made =
      net::Resolver::Make(loop_, {.servers = spec.resolvers, .timeout = spec.timeout});
  if (!made.ok()) {
    *why_not = MessageOf(made.status());
    return nullptr;
  }
  std::shared_ptr<net::Resolver> resolver = std::move(*made);
  known = resolver;
  return resolver;
}

void DnsTracker::Resolve(Name& name) {
  std::string why_not;
  if (name.resolver == nullptr) name.resolver = ResolverOf(name.options, &why_not);
  if (name.resolver == nullptr) {
    OnFailure(name, why_not);
    return;
  }
  name.resolver->Start(name.lookup, name.host, name.options.family);
}

void DnsTracker::OnAnswer(Name& name, const net::DnsAnswer& answer) {
  if (answer.status != net::DnsStatus::kOk) {
    // A new resolver reads resolv.conf again: the servers may be others by now.
    if (name.options.resolvers.empty() && answer.status != net::DnsStatus::kNotFound) {
      name.resolver = nullptr;
    }
    OnFailure(name, answer.detail);
    return;
  }
  name.answered = true;
  name.failures = 0;
  name.failure.clear();
  if (name.addresses != answer.addresses) {
    name.addresses = answer.addresses;
    name.changed = true;
  }
  const Duration ttl = std::max(std::min(answer.ttl, name.options.max_ttl), name.options.min_ttl);
  loop_.Arm(name.timer, ttl);
  PublishLater();
}

// Keeps the last good addresses: an outage of DNS, or a name that went by mistake, must not take
// down what still answers.
void DnsTracker::OnFailure(Name& name, std::string_view why) {
  name.answered = true;
  name.failure = why;
  const uint32_t doublings = std::min(name.failures, 16u);
  ++name.failures;
  const Duration wait =
      std::min(options_.first_backoff * (int64_t{1} << doublings), options_.max_backoff);
  const Duration half = wait / 2;
  loop_.Arm(
      name.timer,
      half + Duration(ThreadRandom().Below(static_cast<uint64_t>((wait - half).count()) + 1)));
  PublishLater();
}

void DnsTracker::PublishLater() {
  if (settle_later_.linked()) return;
  loop_.FlushLater(settle_later_);
  loop_.Post([] {});  // the loop may be about to wait
}

void DnsTracker::Settle() {
  std::vector<std::pair<ClusterKey, std::shared_ptr<const EndpointSet>>> changes;
  for (auto& [generation, watched] : watched_) {
    bool changed = std::exchange(watched->fresh, false);
    for (const std::shared_ptr<Name>& name : watched->names) changed |= name->changed;
    if (!changed) continue;
    std::shared_ptr<const EndpointSet> set = watched->MakeSet();
    const EndpointSet& before =
        watched->published != nullptr ? *watched->published : *watched->cluster->endpoints();
    if (set->SameAs(before)) continue;
    watched->published = set;
    changes.emplace_back(watched->cluster->key(), std::move(set));
  }
  for (const auto& [key, weak] : names_) {
    if (const std::shared_ptr<Name> name = weak.lock()) name->changed = false;
  }
  for (auto& [key, set] : changes) publish_(key, std::move(set));
  if (when_resolved_ == nullptr || !(deadline_passed_ || resolved())) return;
  deadline_.Cancel();
  std::exchange(when_resolved_, nullptr)();
}

void DnsTracker::WhenResolved(Duration deadline, std::function<void()> done) {
  when_resolved_ = std::move(done);
  deadline_passed_ = false;
  loop_.Arm(deadline_, deadline);
  PublishLater();
}

bool DnsTracker::resolved() const {
  for (const auto& [generation, watched] : watched_) {
    // Its names may be known from another cluster, but its endpoints are not there yet.
    if (watched->fresh) return false;
    for (const std::shared_ptr<Name>& name : watched->names) {
      if (!name->answered) return false;
    }
  }
  return true;
}

std::shared_ptr<const EndpointSet> DnsTracker::EndpointsOf(ClusterKey key) const {
  const auto found = watched_.find(key.generation);
  return found == watched_.end() ? nullptr : found->second->published;
}

std::string DnsTracker::FailureOf(ClusterKey key) const {
  const auto found = watched_.find(key.generation);
  if (found == watched_.end()) return {};
  for (const std::shared_ptr<Name>& name : found->second->names) {
    if (!name->failure.empty()) return fmt::format("{}: {}", name->host, name->failure);
  }
  return {};
}

}  // namespace gatehouse::upstream
