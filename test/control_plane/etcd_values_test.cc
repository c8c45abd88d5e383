#include "source/control_plane/etcd_values.h"

#include <random>
#include <string>

#include <gtest/gtest.h>

#include "source/control_plane/etcd_client.h"

namespace gatehouse::control {
namespace {

TEST(EtcdValuesTest, WhatIsPackedComesBack) {
  std::mt19937 random(1);
  for (const size_t size : {0, 1, 127, 128, 129, 5'000, 3'000'000}) {
    const std::string even(size, 'a');
    std::string noise(size, '\0');
    for (char& byte : noise) byte = static_cast<char>(random());
    for (const std::string& plain : {even, noise}) {
      const std::string packed = Pack(plain);
      EXPECT_LE(packed.size(), plain.size() + 1);
      const auto back = Unpack(packed);
      ASSERT_TRUE(back.ok()) << back.status();
      EXPECT_EQ(*back, plain);
    }
  }
  EXPECT_LT(Pack(std::string(5'000, 'a')).size(), 100U);
}

TEST(EtcdValuesTest, DamageIsNoticed) {
  const std::string packed = Pack(std::string(5'000, 'a'));
  EXPECT_FALSE(Unpack("").ok());
  EXPECT_FALSE(Unpack("?abc").ok());
  EXPECT_FALSE(Unpack(packed.substr(0, packed.size() / 2)).ok());
  EXPECT_FALSE(Unpack("zgarbage").ok());
}

TEST(EndOfPrefixTest, IsTheNextKey) {
  EXPECT_EQ(EndOfPrefix("a/"), "a0");
  EXPECT_EQ(EndOfPrefix("a\xff"), "b");
  EXPECT_EQ(EndOfPrefix("\xff"), std::string(1, '\0'));
}

}  // namespace
}  // namespace gatehouse::control
