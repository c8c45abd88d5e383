// Endpoint and EndpointSet: the addresses of a cluster.
//
// Owner: an Endpoint is shared by the sets that list it: a set that is made from its predecessor
// keeps the objects of the endpoints that stay, so their identity is the endpoint's, and health and
// pooled connections outlive a change of the set. Thread: made on main, const afterwards and read
// by all workers; only health is written, by main.
//
//   auto set = EndpointSet::Make({{address, "10.0.0.1:80", 1}}, /*previous=*/nullptr);
//   set->SetHealth(0, false);                     // main
//   if ((*set)[0].endpoint->healthy()) ...        // a worker
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "source/net/address.h"

namespace gatehouse::upstream {

class Endpoint {
 public:
  Endpoint(const net::Address& address, std::string text, std::string host)
      : address_(address), text_(std::move(text)), host_(std::move(host)) {}
  Endpoint(const Endpoint&) = delete;
  Endpoint& operator=(const Endpoint&) = delete;

  [[nodiscard]] const net::Address& address() const { return address_; }
  // "host:port" as configured, or the number that DNS gave. Lives as long as the Endpoint.
  [[nodiscard]] std::string_view text() const { return text_; }
  // As configured, without the port: the name that DNS resolved, or the address without brackets.
  // What TLS asks for and expects in the certificate. Lives as long as the Endpoint.
  [[nodiscard]] std::string_view host() const { return host_; }
  [[nodiscard]] bool healthy() const { return healthy_.load(std::memory_order_relaxed); }

 private:
  friend class EndpointSet;

  net::Address address_;
  mutable std::atomic<bool> healthy_{true};
  std::string text_;
  std::string host_;
};

// What a set is made of. The same address, text and host twice is one endpoint with the sum of
// weights.
struct ResolvedEndpoint {
  net::Address address;
  std::string text;
  uint32_t weight = 1;    // 0 gets nothing
  std::string host = {};  // empty: the address

  friend bool operator==(const ResolvedEndpoint&, const ResolvedEndpoint&) = default;
};

class EndpointSet {
 public:
  struct Entry {
    std::shared_ptr<const Endpoint> endpoint;
    uint32_t weight = 1;
  };

  // Shares the endpoints that are in `previous` (may be null) too.
  [[nodiscard]] static std::shared_ptr<const EndpointSet> Make(
      const std::vector<ResolvedEndpoint>& endpoints, const EndpointSet* previous);
  EndpointSet(const EndpointSet&) = delete;
  EndpointSet& operator=(const EndpointSet&) = delete;

  [[nodiscard]] size_t size() const { return entries_.size(); }
  [[nodiscard]] bool empty() const { return entries_.empty(); }
  [[nodiscard]] const Entry& operator[](size_t index) const { return entries_[index]; }
  [[nodiscard]] auto begin() const { return entries_.begin(); }
  [[nodiscard]] auto end() const { return entries_.end(); }
  // The same endpoints with the same weights in the same order.
  [[nodiscard]] bool SameAs(const EndpointSet& other) const;

  // Main only.
  void SetHealth(size_t index, bool healthy) const;
  // Changes whenever the health of an endpoint in this set did: balancers look at this alone.
  [[nodiscard]] uint32_t health_version() const {
    return health_version_.load(std::memory_order_acquire);
  }

 private:
  EndpointSet() = default;

  std::vector<Entry> entries_;
  mutable std::atomic<uint32_t> health_version_{0};
};

}  // namespace gatehouse::upstream
