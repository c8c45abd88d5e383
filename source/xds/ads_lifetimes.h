// Lifetimes: when resources with a TTL end, unless the control plane renews them. They outlive
// streams: a control plane that is gone renews nothing, and that is what a TTL is for.
//
// What an update brings counts once the update is accepted: a resource that was refused neither
// prolongs nor replaces its predecessor. While an update waits for its answer its resources do not
// expire; after it they may at once.
//
// Owner: AdsClient. Thread: main. No I/O, no clock.
//
//   lifetimes.Offer(update, ttls, now);
//   lifetimes.Settle(update.id, refusals);
//   for (Update& update : lifetimes.Expire(now)) owner.OnUpdate(std::move(update));
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "source/base/time.h"
#include "source/xds/ads_protocol.h"
#include "source/xds/update.h"

namespace gatehouse::xds {

class Lifetimes {
 public:
  // `ttls` are those of the update's upserts; kNoTimeout: the resource stays.
  void Offer(const Update& update, const std::vector<Duration>& ttls, TimePoint now);
  // The owner's first answer. What only waits is held, and lives as long as it may.
  void Settle(uint64_t id, const std::vector<Refusal>& refusals);
  // Of an update that is not answered yet, or else of what is held: true when it is of that
  // version. False: nobody has that version.
  [[nodiscard]] bool Renew(Type type, const Heartbeat& heartbeat, const Versions& held,
                           TimePoint now);
  // Updates of removals, id 0.
  [[nodiscard]] std::vector<Update> Expire(TimePoint now);
  // kNever: nothing will.
  [[nodiscard]] TimePoint next() const { return order_.empty() ? kNever : order_.begin()->first; }
  [[nodiscard]] size_t size() const { return ends_.size(); }

 private:
  using Key = std::pair<Type, std::string>;
  struct Offered {
    std::string version;
    TimePoint end = kNever;
    bool removed = false;
  };
  struct Open {
    Type type;
    std::map<std::string, Offered> resources;
  };

  void SetEnd(const Key& key, TimePoint end);
  void Hold(const Key& key);
  void Release(const Key& key);

  std::map<uint64_t, Open> open_;  // updates that wait for an answer
  std::map<Key, uint32_t> held_;   // in how many of them
  std::map<Key, TimePoint> ends_;
  std::set<std::pair<TimePoint, Key>> order_;  // of those that are not held
};

}  // namespace gatehouse::xds
