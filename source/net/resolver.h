// Resolver: names to addresses, over DNS and /etc/hosts. The only door to c-ares.
//
// Owner: the DnsTracker (one per set of servers). Thread: main's loop. A Lookup lives in whoever
// asks; its destructor cancels. `done` comes once per Start(), from the loop, never inline; it may
// destroy the Lookup. The resolver outlives its lookups. The answer is valid until `done` returns.
//
// The system's resolv.conf rules: its servers, its search list, its ndots. With servers of one's
// own names are taken as they stand.
//
//   StatusOr<unique_ptr<Resolver>> resolver = Resolver::Make(loop, {});
//   Resolver::Lookup lookup_{this, [](void* self, const DnsAnswer& answer) { ... }};
//   (*resolver)->Start(lookup_, "users.internal", DnsFamily::kBoth);
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "source/base/intrusive_list.h"
#include "source/base/status.h"
#include "source/base/time.h"
#include "source/base/timer_wheel.h"
#include "source/net/address.h"
#include "source/net/loop.h"

struct ares_addrinfo;

namespace gatehouse::net {

enum class DnsFamily : uint8_t { kBoth, kIpv4, kIpv6 };

enum class DnsStatus : uint8_t {
  kOk,        // at least one address
  kNotFound,  // the name does not exist or has no address
  kTimeout,
  kFailed,  // no server reached, or a broken answer
};

struct DnsAnswer {
  DnsStatus status = DnsStatus::kFailed;
  std::vector<IpAddress> addresses;  // sorted, each once
  Duration ttl = Duration::zero();   // the shortest; zero for /etc/hosts
  std::string_view detail;           // why not, in words
};

class Resolver {
  struct Query;
  struct Channel;

 public:
  struct Options {
    std::vector<std::string> servers;  // "ip", "ip:port" or "[v6]:port"; empty: the system's
    Duration timeout = std::chrono::seconds(5);  // of a whole lookup, all tries
  };

  class Lookup : public ListNode<Lookup> {
   public:
    using Done = void (*)(void* owner, const DnsAnswer& answer);
    Lookup(void* owner, Done done);
    ~Lookup() { Cancel(); }
    // `done` is not called any more.
    void Cancel();
    [[nodiscard]] bool running() const { return resolver_ != nullptr; }

   private:
    friend class Resolver;
    void Answer(DnsAnswer answer);
    void OnTimeout();
    void Tell();

    void* owner_;
    Done done_;
    Resolver* resolver_ = nullptr;  // while it runs
    Query* query_ = nullptr;        // what c-ares works on, or null
    DnsAnswer answer_;
    Flushable tell_;
    Timer timeout_;
  };

  // OK when Make() would take them.
  [[nodiscard]] static absl::Status CheckServers(const std::vector<std::string>& servers);
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Resolver>> Make(Loop& loop, Options options);
  ~Resolver();
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;

  void Start(Lookup& lookup, std::string_view host, DnsFamily family);

 private:
  Resolver(Loop& loop, Options options);
  static void OnResult(void* query, int status, int timeouts, ares_addrinfo* info);

  Loop& loop_;
  Options options_;
  IntrusiveList<Lookup> lookups_;
  std::unique_ptr<Channel> channel_;  // c-ares and its sockets
};

}  // namespace gatehouse::net
