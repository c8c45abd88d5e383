#include "source/route/text_table.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

#include "fmt/format.h"

namespace gatehouse::route {
namespace {

TEST(TextTableTest, EmptyFindsNothing) {
  const TextTable<uint32_t> fresh;
  EXPECT_EQ(fresh.Find(0, ""), nullptr);
  const TextTable<uint32_t> built = TextTable<uint32_t>::Builder().Build();
  EXPECT_EQ(built.Find(0, "a"), nullptr);
}

TEST(TextTableTest, FindsByScopeAndText) {
  for (uint32_t count : {1u, 2u, 3u, 4u, 100u, 5000u}) {
    TextTable<uint32_t>::Builder builder;
    for (uint32_t i = 0; i < count; ++i) {
      (void)builder.Add(i % 3, fmt::format("key-{}", i), i, fmt::format("rest {}", i));
    }
    const uint32_t unlisted = builder.AddUnlisted(7, "", 99, "label");
    const TextTable<uint32_t> table = std::move(builder).Build();
    for (uint32_t i = 0; i < count; ++i) {
      const std::string key = fmt::format("key-{}", i);
      const auto* record = table.Find(i % 3, key);
      ASSERT_NE(record, nullptr);
      EXPECT_EQ(record->payload, i);
      EXPECT_EQ(record->key(), key);
      EXPECT_EQ(record->rest(), fmt::format("rest {}", i));
      EXPECT_EQ(table.Find((i + 1) % 3, key), nullptr);
    }
    EXPECT_EQ(table.Find(0, fmt::format("key-{}", count)), nullptr);
    EXPECT_EQ(table.Find(7, ""), nullptr);
    EXPECT_EQ(table.At(unlisted).payload, 99u);
    EXPECT_EQ(table.At(unlisted).rest(), "label");
  }
}

TEST(TextTableTest, KeysOfAllLengths) {
  TextTable<uint32_t>::Builder builder;
  for (uint32_t size = 0; size < 70; ++size) (void)builder.Add(0, std::string(size, 'a'), size);
  const TextTable<uint32_t> table = std::move(builder).Build();
  for (uint32_t size = 0; size < 70; ++size) {
    std::string key(size, 'a');
    ASSERT_NE(table.Find(0, key), nullptr);
    EXPECT_EQ(table.Find(0, key)->payload, size);
    for (char& c : key) {
      c = 'b';
      EXPECT_EQ(table.Find(0, key), nullptr);
      c = 'a';
    }
  }
  EXPECT_EQ(table.Find(0, std::string(100000, 'a')), nullptr);
}

TEST(TextTableTest, SameTextLooksAtEveryByte) {
  for (size_t size = 0; size < 40; ++size) {
    const std::string a(size, 'x');
    EXPECT_TRUE(SameText(a.data(), std::string(size, 'x').data(), size));
    for (size_t i = 0; i < size; ++i) {
      std::string b = a;
      b[i] = 'y';
      EXPECT_FALSE(SameText(a.data(), b.data(), size)) << size << " " << i;
      EXPECT_NE(HashText(a), HashText(b)) << size << " " << i;
    }
  }
}

}  // namespace
}  // namespace gatehouse::route
