// RedisCircuit: whether a server is worth asking. After failures in a row it opens, and nobody
// waits for a deadline any more; after a while one probe goes, whose success closes it.
//
//              kToOpen failures, or one that says it all
//   closed ---------------------------------------------> open ---- delay ----> probing
//      ^                                                    ^                    |    |
//      |                                                    +------ failure -----+    |
//      +---------------------------------- success -----------------------------------+
//
// A plain value with a timer of its owner's. Thread: one loop.
//
//   if (!circuit.closed()) return Refuse();
//   if (circuit.Fail(loop.turn())) loop.Arm(timer_, circuit.NextDelay(random));
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include "source/base/random.h"
#include "source/base/time.h"

namespace gatehouse::upstream {

class RedisCircuit {
 public:
  static constexpr uint32_t kToOpen = 5;
  static constexpr Duration kFirstDelay = std::chrono::milliseconds(100);
  static constexpr Duration kMaxDelay = std::chrono::seconds(2);

  [[nodiscard]] bool closed() const { return !open_; }
  // A probe is under way.
  [[nodiscard]] bool probing() const { return probing_; }

  // A call failed. All of one turn count once: one stall fails many. True: this opened it.
  [[nodiscard]] bool Fail(uint64_t turn) {
    if (open_ || turn == last_turn_) return false;
    last_turn_ = turn;
    if (++failures_ < kToOpen) return false;
    return Open();
  }
  // True: this opened it. A probe has failed otherwise, if one was under way.
  bool Open() {
    probing_ = false;
    failures_ = 0;
    return !std::exchange(open_, true);
  }
  // How long until the probe: a random time from the second half of 100 ms, 200 ms, ... 2 s.
  [[nodiscard]] Duration NextDelay(Random& random) {
    const Duration most = std::min(kMaxDelay, kFirstDelay * (1 << std::min(opened_, 10u)));
    ++opened_;
    return most / 2 + Duration(random.Below(static_cast<uint64_t>(most.count() / 2) + 1));
  }
  void Probe() { probing_ = true; }
  // The probe went well. The next delay is as if it had not, until a call does as well: who can
  // log in and do nothing else is tried no more often than who is gone.
  void Close() { open_ = probing_ = false; }
  // A call went well.
  void Succeed() { failures_ = opened_ = 0; }

 private:
  bool open_ = false;
  bool probing_ = false;
  uint32_t failures_ = 0;  // in a row, while closed
  uint32_t opened_ = 0;    // delays since a call succeeded
  uint64_t last_turn_ = UINT64_MAX;
};

}  // namespace gatehouse::upstream
