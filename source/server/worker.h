// Worker: one thread with a loop, a shard and its side of every listener.
//
// Owner: the Server, which starts and joins it. Thread: made and told things on main (all public
// methods post to the loop), runs on its own. What it answers comes back to main by posts.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "source/base/time.h"
#include "source/net/listener.h"
#include "source/net/loop.h"
#include "source/proxy/downstream.h"
#include "source/proxy/shard.h"

namespace gatehouse::server {

// A new socket of a listener for one worker, which then owns it.
struct NewSocket {
  std::string listener;
  int fd;
};

class Worker {
 public:
  struct Environment {
    net::Loop& main;
    const Clock& clock;
    const observe::ServerMetrics& metrics;
    proxy::SharedCounts& shared;
    size_t slab_budget_bytes;
  };

  Worker(uint32_t index, observe::CounterBlock& counters, const Environment& environment);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  void Start();
  // Serves `snapshot` from now on: listens on `sockets`, drains listeners that are gone (`grace`
  // for their idle connections) and leaves sockets alone that are `shared`. `adopted` then runs on
  // main.
  void Adopt(std::shared_ptr<const config::Snapshot> snapshot, std::vector<NewSocket> sockets,
             std::shared_ptr<const net::SharedSockets> shared,
             std::map<std::string, std::shared_ptr<proxy::ListenerCounts>> counts, Duration grace,
             std::function<void()> adopted);
  void UpdateEndpoints(upstream::ClusterKey key,
                       std::shared_ptr<const upstream::EndpointSet> endpoints);
  // Responses say Connection: close; who comes is still served.
  void CloseAfterResponses();
  // Responses say Connection: close, idle connections get `grace`, and no connection is accepted
  // but those that wait or, in sockets that are not `shared`, are on their way. `begun` runs on
  // main when all sockets are closed.
  void Drain(Duration grace, net::SharedSockets shared, std::function<void()> begun);
  // Ends what is left and the thread.
  void Stop();
  void Join();

 private:
  void ThreadMain();
  void AdoptNow(std::shared_ptr<const config::Snapshot> snapshot,
                const std::vector<NewSocket>& sockets, const net::SharedSockets& shared,
                const std::map<std::string, std::shared_ptr<proxy::ListenerCounts>>& counts,
                Duration grace);
  void TellWhenClosed();
  void DropEndedListeners();
  void CountMemory();

  uint32_t index_;
  net::Loop& main_;
  observe::CounterBlock& counters_;
  const observe::ServerMetrics& metrics_;
  net::Loop loop_;
  proxy::Shard shard_;
  std::map<std::string, std::unique_ptr<proxy::ServingListener>, std::less<>> listeners_;
  // Out of the config, until their last connection has ended.
  std::vector<std::unique_ptr<proxy::ServingListener>> leaving_;
  bool accepting_ = true;
  std::function<void()> drain_begun_;  // until it is told
  Timer closed_timer_;
  Timer housekeeping_;
  int64_t counted_bytes_ = 0;
  std::thread thread_;
};

}  // namespace gatehouse::server
