#include "source/base/mailbox.h"

#include <atomic>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace gatehouse {
namespace {

TEST(MailboxTest, TellsWhenTheReceiverMustBeWoken) {
  Mailbox box;
  std::vector<int> got;
  EXPECT_TRUE(box.Post([&] { got.push_back(1); }));
  EXPECT_FALSE(box.Post([&] { got.push_back(2); }));
  box.Deliver();
  EXPECT_EQ(got, (std::vector<int>{1, 2}));
  EXPECT_TRUE(box.Post([&] { got.push_back(3); }));
}

TEST(MailboxTest, WhatAMessagePostsComesWithTheNextDelivery) {
  Mailbox box;
  int delivered = 0;
  bool wake = false;
  (void)box.Post([&] {
    ++delivered;
    wake = box.Post([&] { ++delivered; });
  });
  box.Deliver();
  EXPECT_EQ(delivered, 1);
  EXPECT_TRUE(wake);
  box.Deliver();
  EXPECT_EQ(delivered, 2);
  box.Deliver();
  EXPECT_EQ(delivered, 2);
}

TEST(MailboxTest, KeepsTheOrderOfEachPoster) {
  constexpr int kThreads = 4;
  constexpr int kEach = 2000;
  Mailbox box;
  std::vector<int> last(kThreads, -1);
  int total = 0;
  std::atomic<int> running = kThreads;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i) {
        (void)box.Post([&, t, i] {
          EXPECT_EQ(last[static_cast<size_t>(t)], i - 1);
          last[static_cast<size_t>(t)] = i;
          ++total;
        });
      }
      --running;
    });
  }
  while (running > 0) box.Deliver();
  for (std::thread& thread : threads) thread.join();
  box.Deliver();
  EXPECT_EQ(total, kThreads * kEach);
}

}  // namespace
}  // namespace gatehouse
