#include "source/server/worker.h"

#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <string_view>

namespace gatehouse::server {
namespace {

constexpr Duration kHousekeeping = std::chrono::seconds(1);
constexpr Duration kClosedTick = std::chrono::milliseconds(5);

// As the kernel has it; the C library has neither this nor the calls.
struct SchedulingAttributes {
  uint32_t size;
  uint32_t policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t runtime;  // ns
  uint64_t deadline;
  uint64_t period;
};

// On a core that it shares, the thread takes over soon after it has something to do: else main,
// that builds a config for milliseconds, has its whole time slice first. Linux 6.12 and later;
// before, the slice is the same for all.
void AskForShortSlices() {
  SchedulingAttributes attributes{};
  if (syscall(SYS_sched_getattr, 0, &attributes, sizeof(attributes), 0) != 0) return;
  if (attributes.policy != SCHED_OTHER) return;  // somebody knows better
  attributes.size = sizeof(attributes);
  attributes.runtime = 500'000;
  static_cast<void>(syscall(SYS_sched_setattr, 0, &attributes, 0));
}

}  // namespace

Worker::Worker(uint32_t index, observe::CounterBlock& counters, const Environment& environment)
    : index_(index),
      main_(environment.main),
      counters_(counters),
      metrics_(environment.metrics),
      loop_(environment.clock, environment.slab_budget_bytes),
      shard_(loop_, index, counters, environment.metrics, environment.shared,
             Random::FromKernel().Next(),
             [this](std::shared_ptr<const config::Snapshot> snapshot) {
               // The last reference to a big tree is main's to drop.
               main_.Post([snapshot = std::move(snapshot)]() mutable { snapshot.reset(); });
             }),
      closed_timer_(Timer::Calls<Worker, &Worker::TellWhenClosed>(), this),
      housekeeping_(Timer::Calls<Worker, &Worker::CountMemory>(), this) {}

Worker::~Worker() { Join(); }

void Worker::Start() {
  thread_ = std::thread([this] { ThreadMain(); });
}

void Worker::ThreadMain() {
  char name[16];
  std::snprintf(name, sizeof(name), "worker-%u", index_);
  pthread_setname_np(pthread_self(), name);
  AskForShortSlices();
  loop_.Arm(housekeeping_, kHousekeeping);
  loop_.Run();
  for (auto& [unused, listener] : listeners_) listener->KillAll();
  for (auto& listener : leaving_) listener->KillAll();
  // Buries what was killed.
  for (int i = 0; i < 4; ++i) loop_.RunTurn(/*wait=*/false);
  housekeeping_.Cancel();
  closed_timer_.Cancel();
}

void Worker::Adopt(std::shared_ptr<const config::Snapshot> snapshot, std::vector<NewSocket> sockets,
                   std::shared_ptr<const net::SharedSockets> shared,
                   std::map<std::string, std::shared_ptr<proxy::ListenerCounts>> counts,
                   Duration grace, std::function<void()> adopted) {
  loop_.Post([this, snapshot = std::move(snapshot), sockets = std::move(sockets),
              shared = std::move(shared), counts = std::move(counts), grace,
              adopted = std::move(adopted)]() mutable {
    AdoptNow(std::move(snapshot), sockets, *shared, counts, grace);
    main_.Post(std::move(adopted));
  });
}

void Worker::AdoptNow(std::shared_ptr<const config::Snapshot> snapshot,
                      const std::vector<NewSocket>& sockets, const net::SharedSockets& shared,
                      const std::map<std::string, std::shared_ptr<proxy::ListenerCounts>>& counts,
                      Duration grace) {
  const config::Snapshot& config = *snapshot;
  shard_.Adopt(std::move(snapshot));
  for (auto it = listeners_.begin(); it != listeners_.end();) {
    if (config.FindListener(it->first) != nullptr) {
      ++it;
      continue;
    }
    it->second->Drain(grace, shared);
    leaving_.push_back(std::move(it->second));
    it = listeners_.erase(it);
  }
  for (const auto& listener : config.listeners) {
    std::unique_ptr<proxy::ServingListener>& serving = listeners_[listener->name];
    if (serving == nullptr) {
      serving = std::make_unique<proxy::ServingListener>(shard_, listener->name,
                                                         counts.at(listener->name));
    }
    serving->Update(*listener);
  }
  std::map<std::string_view, std::vector<int>> by_listener;
  for (const NewSocket& socket : sockets) {
    if (listeners_.contains(socket.listener) && accepting_) {
      by_listener[socket.listener].push_back(socket.fd);
    } else {
      close(socket.fd);
    }
  }
  for (const auto& [name, fds] : by_listener) {
    listeners_.find(name)->second->Listen(fds, shared);
  }
}

void Worker::UpdateEndpoints(upstream::ClusterKey key,
                             std::shared_ptr<const upstream::EndpointSet> endpoints) {
  loop_.Post([this, key, endpoints = std::move(endpoints)] {
    shard_.upstreams().UpdateEndpoints(key, endpoints);
  });
}

void Worker::CloseAfterResponses() {
  loop_.Post([this] {
    shard_.set_draining();
    for (auto& [unused, listener] : listeners_) listener->CloseAfterResponses();
  });
}

void Worker::Drain(Duration grace, net::SharedSockets shared, std::function<void()> begun) {
  loop_.Post([this, grace, shared = std::move(shared), begun = std::move(begun)]() mutable {
    shard_.set_draining();
    accepting_ = false;
    for (auto& [unused, listener] : listeners_) listener->Drain(grace, shared);
    drain_begun_ = std::move(begun);
    TellWhenClosed();
  });
}

void Worker::TellWhenClosed() {
  const bool closing =
      std::ranges::any_of(listeners_, [](const auto& it) { return it.second->closing(); }) ||
      std::ranges::any_of(leaving_, [](const auto& listener) { return listener->closing(); });
  if (closing) {
    loop_.Arm(closed_timer_, kClosedTick);
  } else {
    main_.Post(std::move(drain_begun_));
  }
}

void Worker::Stop() { loop_.Stop(); }

void Worker::Join() {
  if (thread_.joinable()) thread_.join();
}

void Worker::CountMemory() {
  DropEndedListeners();
  const auto bytes = static_cast<int64_t>(loop_.slabs().in_use_bytes());
  if (bytes != counted_bytes_) counters_.Gauge(metrics_.slab_bytes, bytes - counted_bytes_);
  counted_bytes_ = bytes;
  loop_.Arm(housekeeping_, kHousekeeping);
}

void Worker::DropEndedListeners() {
  std::erase_if(leaving_, [](const auto& listener) {
    return listener->connections() == 0 && !listener->closing();
  });
}

}  // namespace gatehouse::server
