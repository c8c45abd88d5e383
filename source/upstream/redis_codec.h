// RESP2 (https://redis.io/docs/reference/protocol-spec/): commands to bytes, bytes to replies.
// RedisScanner finds where a reply ends, however it is cut into reads; RedisReplyReader then makes
// a RedisReply of its bytes. Nothing allocates once warm.
//
// Owner: a connection. Thread: one. A reply's views live until the reader's next Read() and as long
// as the bytes.
//
//   size_t taken = 0;
//   switch (scanner.Feed(bytes, &taken)) {
//     case RedisScanner::Status::kDone:
//       Use(reader.Read(bytes.substr(0, taken), scanner.values()));
//       scanner.Reset();
//   }
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "source/upstream/redis_reply.h"

namespace gatehouse::upstream {

// Limits on what a server may send. CLUSTER SLOTS of a thousand nodes fits; all else is small.
inline constexpr size_t kRedisMaxReply = size_t{1} << 20;
inline constexpr size_t kRedisMaxLine = size_t{64} << 10;
inline constexpr uint32_t kRedisMaxValues = 1 << 15;
inline constexpr uint32_t kRedisMaxDepth = 8;

class RedisScanner {
 public:
  enum class Status : uint8_t { kMore, kDone, kBroken };

  // Goes on with the bytes behind those that were fed before; `taken` says how many belong to the
  // reply. Not after kDone or kBroken, until Reset().
  [[nodiscard]] Status Feed(std::string_view bytes, size_t* taken);
  void Reset() { *this = RedisScanner(); }

  // Of the reply, as far as it was fed: bytes, and values with those inside of arrays.
  [[nodiscard]] size_t bytes() const { return bytes_; }
  [[nodiscard]] uint32_t values() const { return values_; }

 private:
  enum class State : uint8_t { kType, kLine, kNumber, kLineEnd, kBulk, kBulkCr, kBulkEnd };

  // One character of it; false: that makes no sense.
  [[nodiscard]] bool OnType(char c);
  [[nodiscard]] bool OnNumber(char c);
  [[nodiscard]] bool OnLineEnd();
  // As many of `bytes` as belong to the line, or to the string, that is being read.
  [[nodiscard]] size_t SkipLine(std::string_view bytes);
  [[nodiscard]] size_t SkipBulk(std::string_view bytes);
  [[nodiscard]] bool Step(char c);
  void EndValue();

  State state_ = State::kType;
  char type_ = 0;
  bool negative_ = false;
  bool done_ = false;
  uint8_t digits_ = 0;
  uint8_t depth_ = 0;
  uint32_t values_ = 0;
  uint64_t number_ = 0;
  size_t line_ = 0;  // bytes of it
  size_t bulk_ = 0;  // bytes that are missing
  size_t bytes_ = 0;
  std::array<uint32_t, kRedisMaxDepth> missing_{};  // elements, of each array that is open
};

class RedisReplyReader {
 public:
  // `bytes` is one whole reply, as a RedisScanner has found it, of so many values.
  [[nodiscard]] const RedisReply& Read(std::string_view bytes, uint32_t values);

 private:
  void ReadValue(RedisReply& into);
  [[nodiscard]] std::string_view Line();

  std::vector<RedisReply> values_;
  size_t used_ = 0;
  const char* at_ = nullptr;
  const char* end_ = nullptr;
};

// Commands are arrays of strings. These write to memory that has room for it and return its end.
[[nodiscard]] char* WriteRedisCount(char type, size_t count, char* out);  // "*3\r\n"
[[nodiscard]] char* WriteRedisString(std::string_view text, char* out);   // "$3\r\nfoo\r\n"
// The room that they need at most.
inline constexpr size_t kRedisCountRoom = 24;
[[nodiscard]] constexpr size_t RedisStringRoom(size_t size) { return kRedisCountRoom + size + 2; }

}  // namespace gatehouse::upstream
