#include "source/upstream/redis_codec.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace gatehouse::upstream {
namespace {

using Type = RedisReply::Type;

// All of a reply, with its types.
std::string Text(const RedisReply& reply) {
  switch (reply.type) {
    case Type::kNull:
      return "null";
    case Type::kInteger:
      return std::to_string(reply.integer);
    case Type::kString:
      return "'" + std::string(reply.text) + "'";
    case Type::kStatus:
      return "+" + std::string(reply.text);
    case Type::kError:
      return "-" + std::string(reply.text);
    case Type::kArray:
      break;
  }
  std::string text = "[";
  for (const RedisReply& element : reply.elements) {
    if (text.size() > 1) text += ' ';
    text += Text(element);
  }
  return text + "]";
}

// What the bytes are, fed in pieces of this size: replies, then "broken", or "more" for a rest.
std::string Parse(std::string_view bytes, size_t piece) {
  RedisScanner scanner;
  RedisReplyReader reader;
  std::string text;
  size_t begin = 0;
  size_t at = 0;
  while (at < bytes.size()) {
    const std::string_view next = bytes.substr(at, std::min(piece, bytes.size() - at));
    size_t taken = 0;
    const RedisScanner::Status status = scanner.Feed(next, &taken);
    EXPECT_LE(taken, next.size());
    at += taken;
    EXPECT_EQ(scanner.bytes(), at - begin);
    if (status == RedisScanner::Status::kBroken) return text + "broken";
    if (status == RedisScanner::Status::kMore) {
      EXPECT_EQ(taken, next.size());
      continue;
    }
    text += Text(reader.Read(bytes.substr(begin, at - begin), scanner.values())) + "; ";
    begin = at;
    scanner.Reset();
  }
  return begin == at ? text : text + "more";
}

// The same at once, byte by byte, and in two pieces cut anywhere.
std::string ParseInAllWays(std::string_view bytes) {
  const std::string whole = Parse(bytes, bytes.size());
  EXPECT_EQ(Parse(bytes, 1), whole) << bytes;
  for (size_t cut = 2; cut < bytes.size() && bytes.size() < 1000; ++cut) {
    EXPECT_EQ(Parse(bytes, cut), whole) << bytes;
  }
  return whole;
}

TEST(RedisCodecTest, Replies) {
  const std::vector<std::pair<std::string_view, std::string_view>> cases = {
      {"+OK\r\n", "+OK; "},
      {"+\r\n", "+; "},
      {"-ERR no such key\r\n", "-ERR no such key; "},
      {":0\r\n", "0; "},
      {":-1\r\n", "-1; "},
      {":9223372036854775807\r\n", "9223372036854775807; "},
      {":-9223372036854775808\r\n", "-9223372036854775808; "},
      {"$-1\r\n", "null; "},
      {"$0\r\n\r\n", "''; "},
      {"$5\r\na\r\nb\n\r\n", "'a\r\nb\n'; "},
      {"*-1\r\n", "null; "},
      {"*0\r\n", "[]; "},
      {"*3\r\n:1\r\n$-1\r\n+x\r\n", "[1 null +x]; "},
      {"*2\r\n*2\r\n:1\r\n*0\r\n*1\r\n$1\r\nz\r\n", "[[1 []] ['z']]; "},
      {"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", "[[[[[[[[1]]]]]]]]; "},
      {":1\r\n+two\r\n$5\r\nthree\r\n", "1; +two; 'three'; "},
      {"*2\r\n:1\r\n", "more"},
      {"$5\r\nabc", "more"},
      {":1\r\n:2", "1; more"},
  };
  for (const auto& [bytes, expected] : cases) EXPECT_EQ(ParseInAllWays(bytes), expected) << bytes;
}

TEST(RedisCodecTest, WhatIsNoReply) {
  for (const std::string_view bytes : {"HTTP/1.1 400\r\n",
                                       "\r\n",
                                       "OK\r\n",
                                       ":\r\n",
                                       ":-\r\n",
                                       ":--1\r\n",
                                       ":1-\r\n",
                                       ":+1\r\n",
                                       ":1x\r\n",
                                       ": 1\r\n",
                                       ":1\n",
                                       ":1\rx",
                                       "+OK\rx",
                                       ":9223372036854775808\r\n",
                                       ":-9223372036854775809\r\n",
                                       ":99999999999999999999\r\n",
                                       "$-2\r\n",
                                       "$\r\n",
                                       "$x\r\n",
                                       "$3\r\nabcd\r\n",
                                       "$3\r\nabc\n",
                                       "$1048577\r\n",
                                       "$99999999999999999\r\n",
                                       "*-2\r\n",
                                       "*32768\r\n",
                                       "*99999999999\r\n",
                                       "*1\r\nx\r\n",
                                       "%1\r\n",
                                       "_\r\n",
                                       "#t\r\n",
                                       "(123\r\n",
                                       ",1.5\r\n",
                                       "~1\r\n",
                                       ">1\r\n",
                                       "=5\r\n",
                                       "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n"}) {
    EXPECT_EQ(ParseInAllWays(bytes), "broken") << bytes;
  }
}

TEST(RedisCodecTest, WhatIsLargeIsBounded) {
  // A string of the most that may come, and one that exceeds the reply.
  const std::string most(kRedisMaxReply - 20, 'x');
  EXPECT_EQ(Parse("$" + std::to_string(most.size()) + "\r\n" + most + "\r\n", 5000).size(),
            most.size() + 4);
  std::string many = "*3\r\n";
  for (int i = 0; i < 3; ++i) many += "$400000\r\n" + std::string(400'000, 'x') + "\r\n";
  EXPECT_EQ(Parse(many, 5000), "broken");
  // Lines without an end.
  EXPECT_EQ(Parse("+" + std::string(kRedisMaxLine + 1, 'x'), 5000), "broken");
  EXPECT_EQ(Parse("-" + std::string(kRedisMaxLine, 'x') + "\r\n", 5000).size(), kRedisMaxLine + 3);
  EXPECT_EQ(Parse(":" + std::string(100, '0'), 5), "broken");
  // Arrays of arrays that promise more than may come.
  std::string promises = "*100\r\n";
  for (int i = 0; i < 100; ++i) {
    promises += "*1000\r\n";
    for (int j = 0; j < 1000; ++j) promises += ":1\r\n";
  }
  EXPECT_EQ(Parse(promises, 5000), "broken");
  // And those that keep their promises one inside of the other.
  std::string nested = "*20000\r\n*20000\r\n";
  for (int i = 0; i < 39999; ++i) nested += ":1\r\n";
  EXPECT_EQ(Parse(nested, 5000), "broken");
  // The reader's room is small again after a large one.
  std::string wide = "*30000\r\n";
  for (int i = 0; i < 30000; ++i) wide += ":1\r\n";
  EXPECT_EQ(Parse(wide + ":7\r\n", 16384).substr(60001), "; 7; ");
}

TEST(RedisCodecTest, Commands) {
  char room[256];
  char* end = WriteRedisCount('*', 2, room);
  end = WriteRedisString("GET", end);
  end = WriteRedisString("a\r\nb", end);
  EXPECT_EQ(std::string_view(room, static_cast<size_t>(end - room)),
            "*2\r\n$3\r\nGET\r\n$4\r\na\r\nb\r\n");
  EXPECT_LE(static_cast<size_t>(WriteRedisCount('$', SIZE_MAX, room) - room), kRedisCountRoom);
  EXPECT_EQ(WriteRedisString("", room) - room, 6);
}

TEST(RedisCodecTest, ErrorCodes) {
  RedisReply reply{.type = Type::kError, .text = "MOVED 1 a:1"};
  EXPECT_TRUE(reply.IsError("MOVED"));
  EXPECT_FALSE(reply.IsError("MOVE"));
  EXPECT_FALSE(reply.IsError("ASK"));
  reply.text = "LOADING";
  EXPECT_TRUE(reply.IsError("LOADING"));
  reply.type = Type::kString;
  EXPECT_FALSE(reply.IsError("LOADING"));
}

}  // namespace
}  // namespace gatehouse::upstream
