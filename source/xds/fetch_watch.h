// FetchWatch: what the control plane has been asked for and has not told of in time, so that those
// who wait for it stop waiting. Each thing is given up once; it stays subscribed.
//
// Of a type of which everything is wanted: that something is said of it. It may be said by another
// stream than the one that asked; that the connection breaks does not stop the clock. Of a name
// that is wanted: that it comes, or that the control plane says that it has none.
//
// Owner: AdsClient. Thread: main. No I/O, no clock.
//
//   watch.Want(wanted); watch.Connected(now); watch.Told(Type::kCluster);
//   for (auto& [type, names] : watch.GiveUp(now)) owner.OnAbsent(type, names);
#pragma once

#include <array>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "source/base/time.h"
#include "source/xds/ads_protocol.h"
#include "source/xds/update.h"

namespace gatehouse::xds {

class FetchWatch {
 public:
  // kNoTimeout: for ever.
  FetchWatch(Duration timeout, const WantedTypes& wanted) : timeout_(timeout) { Want(wanted); }

  // Names that are wanted from now on have their time from the next Connected() on.
  void Want(const WantedTypes& wanted);
  // There is a stream, and everything was asked for.
  void Connected(TimePoint now);
  // Something was said of the type; or nothing need be, since it is held.
  void Told(Type type);
  void ToldOf(Type type, std::string_view name);

  // What is due, by type; no names: the type as a whole.
  [[nodiscard]] std::map<Type, std::vector<std::string>> GiveUp(TimePoint now);
  // kNever: there is nothing to wait for.
  [[nodiscard]] TimePoint next() const;

 private:
  static constexpr TimePoint kNotAsked = TimePoint::min();

  struct OfType {
    bool whole = false;  // everything is wanted
    bool told = false;   // or given up
    TimePoint until = kNotAsked;
    // Names that are missing, and until when; kNever: given up.
    std::map<std::string, TimePoint, std::less<>> names;
    Wanted wanted = std::set<std::string, std::less<>>();  // nothing
  };

  const Duration timeout_;
  std::array<OfType, kTypes> types_;
};

}  // namespace gatehouse::xds
