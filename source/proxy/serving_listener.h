// ServingListener: one worker's side of a listener: its sockets, its config and its connections.
//
// Owner: the worker. It outlives its connections: when the config drops the listener, the sockets
// go and the connections drain. Thread: the shard's loop.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "source/base/intrusive_list.h"
#include "source/config/snapshot.h"
#include "source/net/listener.h"
#include "source/proxy/shard.h"

namespace gatehouse::proxy {

class Downstream;

// Connections of one listener over all workers. Any thread; touched per connection only.
class ListenerCounts {
 public:
  // Counts one more connection unless that is over a limit (0: none).
  [[nodiscard]] bool Add(const net::IpAddress& client, uint32_t max_all, uint32_t max_per_ip);
  void Remove(const net::IpAddress& client);

 private:
  struct Hash {
    size_t operator()(const net::IpAddress& ip) const;
  };
  struct Part {
    std::mutex mutex;
    std::unordered_map<net::IpAddress, uint32_t, Hash> clients;
  };
  // An IPv6 client has a whole /64 to itself.
  [[nodiscard]] static net::IpAddress KeyOf(const net::IpAddress& ip) { return ip.Masked(32, 64); }
  [[nodiscard]] Part& PartOf(const net::IpAddress& key) {
    return parts_[Hash{}(key) % parts_.size()];
  }

  std::atomic<uint32_t> all_ = 0;
  std::array<Part, 16> parts_;
};

class ServingListener {
 public:
  // `counts` is shared by the workers.
  ServingListener(Shard& shard, std::string name, std::shared_ptr<ListenerCounts> counts);
  ~ServingListener();
  ServingListener(const ServingListener&) = delete;
  ServingListener& operator=(const ServingListener&) = delete;

  // Takes the sockets (non-blocking, listening) and accepts on them from now on, and on those
  // before only what waits there or is about to. Those that are `shared` close at once.
  void Listen(std::span<const int> fds, const net::SharedSockets& shared = {});
  // From now on requests are served under this config of the shard's current snapshot.
  void Update(const config::Listener& config);
  // No new connections; those that are there drain: `grace` for idle ones. Sockets that are not
  // `shared` close only when handshakes under way have had time to end: see closing().
  void Drain(Duration grace, const net::SharedSockets& shared = {});
  // Goes on accepting, but each connection ends after its next response.
  void CloseAfterResponses();
  // Ends all connections now.
  void KillAll();

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const config::Listener& config() const { return *config_; }
  [[nodiscard]] const SnapshotPin& pin() const { return pin_; }
  [[nodiscard]] Shard& shard() { return shard_; }
  [[nodiscard]] size_t connections() const { return connection_count_; }

  // There are sockets that are to close but still bring connections.
  [[nodiscard]] bool closing() const { return !closing_.empty(); }
  // New connections are to drain at once, idle ones within grace().
  [[nodiscard]] bool draining() const { return draining_; }
  [[nodiscard]] Duration grace() const { return grace_; }

  // Serves a connection whose transport is there already, unless a limit forbids it.
  void Serve(std::unique_ptr<net::Transport> transport, const net::Address& peer);

 private:
  friend class Downstream;

  void CloseSockets(const net::SharedSockets& shared);
  void CloseEmptied();
  void Accept(int fd, const net::Address& peer);
  // False: a limit forbids it, and that is counted.
  [[nodiscard]] bool AdmitToProcess();
  [[nodiscard]] bool AdmitClient(const net::IpAddress& ip);
  [[nodiscard]] bool CountClient(const net::IpAddress& ip);
  Downstream& Add(const net::Address& peer, bool ip_counted);
  void Forget(Downstream& connection, const net::IpAddress& ip, bool ip_counted);

  Shard& shard_;
  std::string name_;
  std::shared_ptr<ListenerCounts> counts_;
  SnapshotPin pin_;
  const config::Listener* config_ = nullptr;
  // One, or several after an upgrade from a process with more workers.
  std::vector<std::unique_ptr<net::ListenSocket>> sockets_;
  // They begin no handshake any more.
  std::vector<std::unique_ptr<net::ListenSocket>> closing_;
  Timer closing_timer_;
  IntrusiveList<Downstream> connections_;
  size_t connection_count_ = 0;
  bool draining_ = false;
  Duration grace_{};
};

}  // namespace gatehouse::proxy
