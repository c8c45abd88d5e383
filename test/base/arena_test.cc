#include "source/base/arena.h"

#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace gatehouse {
namespace {

TEST(ArenaTest, PiecesKeepTheirBytesAndTheirAlignment) {
  std::mt19937 random(3);
  Arena arena;
  for (int round = 0; round < 20; ++round) {
    std::vector<std::pair<char*, std::string>> pieces;
    for (int i = 0; i < 200; ++i) {
      const size_t align = size_t{1} << (random() % 5);
      const size_t size = random() % 50 == 0 ? random() % 20000 : random() % 100;
      auto* piece = static_cast<char*>(arena.Allocate(size, align));
      ASSERT_EQ(reinterpret_cast<uintptr_t>(piece) % align, 0u);
      const std::string text(size, static_cast<char>('a' + i % 26));
      std::memcpy(piece, text.data(), size);
      pieces.emplace_back(piece, text);
    }
    for (const auto& [piece, text] : pieces) {
      ASSERT_EQ(std::string_view(piece, text.size()), text);
    }
    arena.Reset();
    EXPECT_EQ(arena.overflow_bytes(), 0u);
  }
}

TEST(ArenaTest, TheFirstBlockIsUsedAgainAfterReset) {
  Arena arena;
  const void* first = arena.Allocate(1);
  for (int i = 0; i < 100; ++i) (void)arena.Allocate(1000);
  EXPECT_GT(arena.overflow_bytes(), 0u);
  arena.Reset();
  EXPECT_EQ(arena.Allocate(1), first);
  EXPECT_EQ(arena.overflow_bytes(), 0u);
}

TEST(ArenaTest, AllOfTheFirstBlockIsUsed) {
  Arena arena;
  for (size_t i = 0; i < Arena::kFirstBlock / 16; ++i) (void)arena.Allocate(16, 1);
  EXPECT_EQ(arena.overflow_bytes(), 0u);
  (void)arena.Allocate(1, 1);
  EXPECT_GT(arena.overflow_bytes(), 0u);
}

TEST(ArenaTest, AnOutsizedPieceLeavesTheCurrentBlockItsRoom) {
  Arena arena;
  char* before = arena.AllocateChars(1);
  (void)arena.AllocateChars(100'000);
  EXPECT_EQ(arena.AllocateChars(1), before + 1);
}

TEST(ArenaTest, CopiesText) {
  Arena arena;
  std::string text = "text";
  const std::string_view copy = arena.Copy(text);
  text[0] = 'T';
  EXPECT_EQ(copy, "text");
  EXPECT_EQ(arena.Concat("a", "bc"), "abc");
  EXPECT_EQ(arena.Concat("", ""), "");
  EXPECT_EQ(arena.Copy(""), "");
  struct Node {
    int a;
    char b;
  };
  const Node* node = arena.New<Node>(1, 'x');
  EXPECT_EQ(node->a, 1);
  EXPECT_EQ(node->b, 'x');
}

}  // namespace
}  // namespace gatehouse
