// Once warm, calls of Redis do without the heap.
//
// When it fails: GATEHOUSE_HEAP_STACKS=8 makes it print the stacks of the first eight calls.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "gtest/gtest.h"

#include "source/base/time.h"
#include "test/alloc/heap_watch.h"
#include "test/fakes/redis_fixture.h"
#include "test/fakes/redis_process.h"

namespace gatehouse::upstream {
namespace {

constexpr int kWindows = 8;
constexpr int kInFlight = 100;
const RedisScript kScript("return {redis.call('INCR', KEYS[1]), 'text', {1, 2, 3}}");

struct Asker {
  void Start() {
    const std::string_view args[] = {"100", "some-argument-of-a-call"};
    call.Start(*client,
               {.script = &kScript, .key = key, .args = args, .timeout = std::chrono::seconds(10)},
               this, [](void* self, const RedisResult& result) {
                 auto& asker = *static_cast<Asker*>(self);
                 ++*asker.done;
                 if (result.ok() && result.reply.elements.size() == 3) asker.Start();
               });
  }
  RedisClient* client = nullptr;
  std::string_view key;
  uint64_t* done = nullptr;
  RedisCall call;
};

class SteadyStateRedisTest : public RedisFixture<SystemClock> {};

TEST_F(SteadyStateRedisTest, CallsInAPipeline) {
  RedisProcess redis;
  Use({redis.port()}, {.connections = 2});
  uint64_t done = 0;
  std::array<Asker, kInFlight> askers;
  for (Asker& asker : askers) {
    asker.client = &Client();
    asker.key = "a-key-that-has-no-room-within-a-string";
    asker.done = &done;
    asker.Start();
  }
  ASSERT_TRUE(Until([&] { return done > 20 * kInFlight; }));
  size_t stacks = 0;
  if (const char* wanted = std::getenv("GATEHOUSE_HEAP_STACKS")) {
    stacks = std::strtoul(wanted, nullptr, 10);
  }
  // What happens now and then, such as the trimming of slabs, may fall into one window or another.
  size_t fewest = SIZE_MAX;
  for (int i = 0; i < kWindows && fewest > 0; ++i) {
    HeapCalls calls;
    const uint64_t until = done + 20 * kInFlight;
    {
      HeapWatch watch(calls, stacks);
      while (done < until) Turn();
    }
    fewest = std::min(fewest, calls.allocations + calls.frees);
  }
  if (kHeapIsWatched) {
    EXPECT_EQ(fewest, 0u);
  }
  EXPECT_EQ(Client().running(), static_cast<uint32_t>(kInFlight));
}

}  // namespace
}  // namespace gatehouse::upstream
