// LimitWord: a LimitState in memory that all threads change without a lock, by one compare-and-swap
// of 16 bytes. Beside the state it has the version of the rules that the state was counted by, and
// a number that changes whenever the place gets another key; so who counts by other rules, or for
// a key that has lost its place, cannot change it.
//
//   LimitWord::Value old = word.Load();
//   ... if (!word.Exchange(old, old.With(state))) start again;
#pragma once

#include <atomic>
#include <cstdint>

#include "source/filters/rate_limit/limit_rule.h"

namespace gatehouse::filters {

class alignas(16) LimitWord {
 public:
  static constexpr int kStateBits = 52;
  static constexpr uint64_t kStateMask = (uint64_t{1} << kStateBits) - 1;

  struct Value {
    uint64_t low = 0;   // version, a
    uint64_t high = 0;  // owner, b

    [[nodiscard]] LimitState state() const { return {low & kStateMask, high & kStateMask}; }
    [[nodiscard]] uint32_t version() const { return static_cast<uint32_t>(low >> kStateBits); }
    [[nodiscard]] uint32_t owner() const { return static_cast<uint32_t>(high >> kStateBits); }
    [[nodiscard]] Value With(const LimitState& state) const {
      return {(low & ~kStateMask) | state.a, (high & ~kStateMask) | state.b};
    }
    [[nodiscard]] static Value Of(const LimitState& state, uint32_t version, uint32_t owner) {
      return {state.a | uint64_t{version} << kStateBits, state.b | uint64_t{owner} << kStateBits};
    }
    friend bool operator==(const Value&, const Value&) = default;
  };

  // The halves may be of different moments: only an Exchange(), or loading the same again, tells.
  [[nodiscard]] Value Load() const {
    const uint64_t low = low_.load(std::memory_order_acquire);
    return {low, high_.load(std::memory_order_acquire)};
  }
  // Where nobody else changes it.
  void Store(const Value& value) {
    low_.store(value.low, std::memory_order_release);
    high_.store(value.high, std::memory_order_release);
  }
  // Sequentially consistent. Compiled with -mcx16.
  [[nodiscard]] bool Exchange(const Value& expected, const Value& desired) {
    __extension__ typedef unsigned __int128 __attribute__((may_alias)) Wide;
    return __sync_bool_compare_and_swap(reinterpret_cast<Wide*>(this),
                                        Wide{expected.high} << 64 | expected.low,
                                        Wide{desired.high} << 64 | desired.low);
  }

 private:
  std::atomic<uint64_t> low_ = 0;
  std::atomic<uint64_t> high_ = 0;
};
static_assert(sizeof(LimitWord) == 16);

}  // namespace gatehouse::filters
