// KeyHash: SipHash-1-3 with a secret seed. Who does not know the seed cannot find two keys that
// collide, so nobody can share (or fill) another's bucket on purpose.
//
//   KeyHash hash(seed0, seed1);
//   uint64_t value = hash("user-17");
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

namespace gatehouse::filters {

class KeyHash {
 public:
  KeyHash(uint64_t seed0, uint64_t seed1) : seed0_(seed0), seed1_(seed1) {}

  [[nodiscard]] uint64_t operator()(std::string_view key) const {
    State state = {seed0_ ^ 0x736f6d6570736575, seed1_ ^ 0x646f72616e646f6d,
                   seed0_ ^ 0x6c7967656e657261, seed1_ ^ 0x7465646279746573};
    const char* at = key.data();
    size_t left = key.size();
    for (; left >= 8; left -= 8, at += 8) {
      uint64_t word;
      std::memcpy(&word, at, 8);
      state.Add(word);
    }
    uint64_t last = 0;
    if (left > 0) std::memcpy(&last, at, left);
    state.Add(last | uint64_t{key.size()} << 56);
    state.c ^= 0xff;
    for (int i = 0; i < 3; ++i) state.Round();
    return state.a ^ state.b ^ state.c ^ state.d;
  }

 private:
  struct State {
    uint64_t a, b, c, d;

    void Add(uint64_t word) {
      d ^= word;
      Round();
      a ^= word;
    }
    void Round() {
      a += b;
      b = Rotate(b, 13) ^ a;
      a = Rotate(a, 32);
      c += d;
      d = Rotate(d, 16) ^ c;
      a += d;
      d = Rotate(d, 21) ^ a;
      c += b;
      b = Rotate(b, 17) ^ c;
      c = Rotate(c, 32);
    }
    static uint64_t Rotate(uint64_t value, int by) { return value << by | value >> (64 - by); }
  };

  uint64_t seed0_;
  uint64_t seed1_;
};

}  // namespace gatehouse::filters
