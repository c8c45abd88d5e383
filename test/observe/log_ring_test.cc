#include "source/observe/log_ring.h"

#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "gtest/gtest.h"

namespace gatehouse::observe {
namespace {

std::unique_ptr<LogRing> Make(size_t bytes) {
  auto ring = LogRing::Create(bytes);
  EXPECT_TRUE(ring.ok()) << ring.status();
  return *std::move(ring);
}

void Put(LogRing& ring, std::string_view text) {
  const std::span<char> room = ring.Reserve(text.size());
  ASSERT_EQ(room.size(), text.size());
  std::memcpy(room.data(), text.data(), text.size());
  ring.Commit(text.size());
}

TEST(LogRingTest, RoundsUp) {
  EXPECT_EQ(Make(1)->size(), 2 * LogFormat::kMaxLine);
  EXPECT_EQ(Make(100'000)->size(), 131'072u);
  EXPECT_EQ(Make(1 << 20)->size(), size_t{1} << 20);
}

TEST(LogRingTest, AbsurdSizesFail) { EXPECT_FALSE(LogRing::Create(size_t{1} << 62).ok()); }

TEST(LogRingTest, WhatIsPutIsRead) {
  const auto ring = Make(1);
  EXPECT_EQ(ring->Readable(), "");
  Put(*ring, "one\n");
  Put(*ring, "two\n");
  EXPECT_EQ(ring->Readable(), "one\ntwo\n");
  ring->Consume(2);
  EXPECT_EQ(ring->Readable(), "e\ntwo\n");
  ring->Consume(6);
  EXPECT_EQ(ring->Readable(), "");
  EXPECT_EQ(ring->Waiting(), 0u);
}

TEST(LogRingTest, FullUntilConsumed) {
  const auto ring = Make(1);
  const size_t size = ring->size();
  Put(*ring, std::string(size - 10, 'a'));
  EXPECT_TRUE(ring->Reserve(11).empty());
  EXPECT_EQ(ring->Reserve(10).size(), 10u);
  ring->Drop();
  EXPECT_EQ(ring->dropped(), 1u);
  ring->Consume(1);
  EXPECT_EQ(ring->Reserve(11).size(), 11u);
  EXPECT_TRUE(ring->Reserve(12).empty());
}

TEST(LogRingTest, NothingWrapsAtTheEnd) {
  const auto ring = Make(1);
  std::string line(1000, 'x');
  // Every place of a line relative to the end comes up.
  for (int i = 0; i < 5000; ++i) {
    line.resize(900 + static_cast<size_t>(i % 173), static_cast<char>('a' + i % 26));
    Put(*ring, line);
    ASSERT_EQ(ring->Readable(), line);
    ring->Consume(line.size());
  }
}

TEST(LogRingTest, TwoThreads) {
  const auto ring = Make(1);
  constexpr uint64_t kLines = 200'000;
  std::thread producer([&] {
    for (uint64_t i = 0; i < kLines; ++i) {
      const std::string line = std::to_string(i) + "\n";
      std::span<char> room = ring->Reserve(64);
      while (room.empty()) {
        std::this_thread::yield();
        room = ring->Reserve(64);
      }
      std::memcpy(room.data(), line.data(), line.size());
      ring->Commit(line.size());
    }
  });
  uint64_t next = 0;
  std::string carry;
  while (next < kLines) {
    const std::string_view text = ring->Readable();
    carry += text;
    ring->Consume(text.size());
    size_t at = 0;
    for (size_t end = carry.find('\n'); end != std::string::npos; end = carry.find('\n', at)) {
      ASSERT_EQ(carry.substr(at, end - at), std::to_string(next));
      ++next;
      at = end + 1;
    }
    carry.erase(0, at);
    if (text.empty()) std::this_thread::yield();
  }
  producer.join();
  EXPECT_EQ(ring->Readable(), "");
}

}  // namespace
}  // namespace gatehouse::observe
