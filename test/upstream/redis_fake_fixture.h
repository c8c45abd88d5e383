// RedisFakeFixture: as RedisFixture, with manual time and FakeRedis.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "test/fakes/fake_redis.h"
#include "test/upstream/redis_fixture.h"

namespace gatehouse::upstream {

class RedisFakeFixture : public RedisFixture<ManualClock> {
 protected:
  void Use(std::vector<FakeRedis*> servers, RedisSpec spec = {}) {
    fakes_ = std::move(servers);
    std::vector<uint16_t> ports;
    for (FakeRedis* fake : fakes_) ports.push_back(fake->port());
    RedisFixture::Use(ports, std::move(spec));
  }
  void Also(FakeRedis& server) { fakes_.push_back(&server); }
  void Turn() override {
    RedisFixture::Turn();
    for (FakeRedis* fake : fakes_) fake->Step();
  }
  void Settle() {
    for (int i = 0; i < 20; ++i) Turn();
  }
  void Advance(Duration by) {
    clock_.Advance(by);
    Settle();
  }
  // In steps, so that timers that arm others come up.
  void Pass(Duration time, Duration step = std::chrono::milliseconds(20)) {
    for (Duration passed{}; passed < time; passed += step) Advance(step);
  }
  // An open connection, and nothing under way.
  void WarmUp(FakeRedis& redis) {
    TestCall call;
    const size_t before = redis.commands().size();
    Start(call, {.command = "ECHO", .key = "warm"});
    ASSERT_TRUE(Until([&] { return redis.commands().size() > before || call.done; }));
    ASSERT_FALSE(call.done);
    redis.Answer(before, "+warm\r\n");
    ASSERT_TRUE(Until([&] { return call.done; }));
    ASSERT_EQ(ResultOf(call), "warm");
  }

  std::vector<FakeRedis*> fakes_;
};

}  // namespace gatehouse::upstream
