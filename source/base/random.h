// Random: a fast generator for ids, jitter and sampling (xoshiro256++). Not for secrets.
//
// Owner: whoever makes it; each thread has one (ThreadRandom), seeded from the kernel. Thread: one.
// A test makes its own from a fixed seed and hands it in.
//
//   uint64_t id = ThreadRandom().Next();
//   auto jitter = ThreadRandom().Below(100);       // 0..99, unbiased
//   Random fixed(42);                               // the same sequence on every run
#pragma once

#include <cstdint>

namespace gatehouse {

class Random {
 public:
  explicit Random(uint64_t seed);
  // Seeded by getrandom(2); by the clock and an address where the kernel refuses.
  [[nodiscard]] static Random FromKernel();

  [[nodiscard]] uint64_t Next() {
    const uint64_t result = RotateLeft(state_[0] + state_[3], 23) + state_[0];
    const uint64_t shifted = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = RotateLeft(state_[3], 45);
    return result;
  }
  // Uniform in [0, bound). `bound` 0 gives 0.
  [[nodiscard]] uint64_t Below(uint64_t bound) {
    Wide product = static_cast<Wide>(Next()) * bound;
    if (__builtin_expect(static_cast<uint64_t>(product) < bound, 0)) {
      // Lemire's rejection: only here can the result be biased.
      const uint64_t threshold = bound == 0 ? 0 : (0 - bound) % bound;
      while (static_cast<uint64_t>(product) < threshold) {
        product = static_cast<Wide>(Next()) * bound;
      }
    }
    return static_cast<uint64_t>(product >> 64);
  }
  // Uniform in [0, 1).
  [[nodiscard]] double Unit() { return static_cast<double>(Next() >> 11) * 0x1.0p-53; }
  // True with this probability; <= 0 is never, >= 1 is always.
  [[nodiscard]] bool Chance(double probability) { return Unit() < probability; }

 private:
  __extension__ using Wide = unsigned __int128;

  Random() = default;
  static uint64_t RotateLeft(uint64_t value, int by) {
    return (value << by) | (value >> (64 - by));
  }

  uint64_t state_[4] = {};
};

// This thread's generator.
[[nodiscard]] Random& ThreadRandom();

}  // namespace gatehouse
