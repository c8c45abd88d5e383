#include "source/base/random.h"

#include <sys/random.h>

#include <chrono>

namespace gatehouse {
namespace {

// splitmix64: spreads a weak seed over the state, which must not be all zero.
uint64_t Spread(uint64_t& seed) {
  uint64_t z = (seed += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

}  // namespace

Random::Random(uint64_t seed) {
  for (uint64_t& word : state_) word = Spread(seed);
}

Random Random::FromKernel() {
  Random random;
  const auto size = static_cast<ssize_t>(sizeof(random.state_));
  bool zero = true;
  if (getrandom(random.state_, sizeof(random.state_), 0) == size) {
    for (uint64_t word : random.state_) zero = zero && word == 0;
  }
  if (!zero) return random;
  const auto now = std::chrono::steady_clock::now().time_since_epoch().count();
  return Random(static_cast<uint64_t>(now) ^ reinterpret_cast<uintptr_t>(&random));
}

Random& ThreadRandom() {
  thread_local Random random = Random::FromKernel();
  return random;
}

}  // namespace gatehouse
