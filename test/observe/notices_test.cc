#include "source/observe/notices.h"

#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace gatehouse::observe {
namespace {

TEST(NoticesTest, TheFirstOfABatchWakes) {
  Notices notices;
  int woken = 0;
  notices.Post("before anybody listens");
  notices.SetWake([&] { ++woken; });
  EXPECT_EQ(woken, 1);
  notices.Post("one");
  EXPECT_EQ(woken, 1);
  EXPECT_EQ(notices.Take().lines, (std::vector<std::string>{"before anybody listens", "one"}));
  notices.Post("two");
  notices.Post("three");
  EXPECT_EQ(woken, 2);
  EXPECT_EQ(notices.Take().lines, (std::vector<std::string>{"two", "three"}));
  EXPECT_TRUE(notices.Take().lines.empty());
}

TEST(NoticesTest, WhatDoesNotFitIsCounted) {
  Notices notices;
  for (size_t i = 0; i < Notices::kMax + 7; ++i) notices.Post("line");
  const Notices::Batch batch = notices.Take();
  EXPECT_EQ(batch.lines.size(), Notices::kMax);
  EXPECT_EQ(batch.dropped, 7u);
  EXPECT_EQ(notices.Take().dropped, 0u);
}

TEST(NoticesTest, FromManyThreads) {
  Notices notices;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 10; ++j) notices.Post("line");
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(notices.Take().lines.size(), 40u);
}

}  // namespace
}  // namespace gatehouse::observe
