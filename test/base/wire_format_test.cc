#include "source/base/wire_format.h"

#include <string>
#include <string_view>
#include <vector>

#include "gtest/gtest.h"

namespace gatehouse {
namespace {

using namespace std::string_view_literals;

// "1=5 2=text", or what came before it was wrong and "!".
std::string Read(std::string_view message) {
  std::string text;
  WireReader in(message);
  while (in.Next()) {
    for (uint32_t number = 1; number <= 20; ++number) {
      if (in.Is(number, WireType::kVarint)) {
        text += std::to_string(number) + "=" + std::to_string(in.varint()) + " ";
      }
      if (in.Is(number, WireType::kBytes)) {
        text += std::to_string(number) + "=" + std::string(in.bytes()) + " ";
      }
      if (in.Is(number, WireType::kFixed32)) text += std::to_string(number) + ":32 ";
      if (in.Is(number, WireType::kFixed64)) text += std::to_string(number) + ":64 ";
    }
  }
  if (!in.ok()) text += "!";
  EXPECT_FALSE(in.Next());
  return text;
}

TEST(WireFormat, Fields) {
  EXPECT_EQ(Read(""), "");
  EXPECT_EQ(Read("\x08\x05\x12\x04text"), "1=5 2=text ");
  EXPECT_EQ(Read("\x08\xac\x02"), "1=300 ");
  EXPECT_EQ(Read("\x12\x00\x08\x01"sv), "2= 1=1 ");
  EXPECT_EQ(Read("\x0d\x01\x02\x03\x04\x11\x01\x02\x03\x04\x05\x06\x07\x08"), "1:32 2:64 ");
  // A number may be written longer than it has to be.
  EXPECT_EQ(Read("\x08\x85\x80\x80\x00"sv), "1=5 ");
  EXPECT_EQ(Read("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), "1=18446744073709551615 ");
  EXPECT_EQ(Read("\x82\x01\x01x"), "16=x ");
}

TEST(WireFormat, WhatIsNone) {
  const std::vector<std::string_view> wrong = {
      "\x00\x01"sv,                                          // field 0
      "\x08"sv,                                              // no value
      "\x08\x80"sv,                                          // half a value
      "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"sv,  // eleven bytes
      "\x12\x05text"sv,                                      // one byte is missing
      "\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"sv,      // a length of 2^64 - 1
      "\x0d\x01\x02\x03"sv,
      "\x11\x01\x02\x03\x04\x05\x06\x07"sv,
      "\x0b\x0c"sv,                      // a group
      "\x0f"sv,                          // no such type
      "\xf8\xff\xff\xff\xff\x01\x01"sv,  // a field number of more than 29 bits
      "\x80"sv,
  };
  for (const std::string_view message : wrong) {
    EXPECT_EQ(Read(message), "!") << testing::PrintToString(message);
    EXPECT_EQ(Read("\x08\x07" + std::string(message)), "1=7 !");
  }
}

TEST(WireFormat, WritesWhatItReads) {
  for (const uint64_t value : {uint64_t{0}, uint64_t{1}, uint64_t{127}, uint64_t{128},
                               uint64_t{16383}, uint64_t{16384}, UINT64_MAX}) {
    for (const uint32_t number : {1u, 15u, 16u, 20u}) {
      std::string message(WireWriter::IntegerSize(number, value), '?');
      ASSERT_EQ(WireWriter::Integer(number, value, message.data()),
                message.data() + message.size());
      EXPECT_EQ(Read(message), std::to_string(number) + "=" + std::to_string(value) + " ");
    }
  }
  for (const size_t size : {0, 1, 127, 128, 20000}) {
    const std::string text(size, 't');
    std::string message(WireWriter::BytesSize(16, size), '?');
    ASSERT_EQ(WireWriter::Bytes(16, text, message.data()), message.data() + message.size());
    EXPECT_EQ(Read(message), "16=" + text + " ");
  }
}

}  // namespace
}  // namespace gatehouse
