// Whatever a server sends: the scanner takes it the same however it is cut, within its limits, and
// the reader makes a reply of what the scanner has found, with all of it inside of the bytes.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "source/base/check.h"
#include "source/upstream/redis_codec.h"
#include "source/upstream/redis_slots.h"

namespace gatehouse::upstream {
namespace {

void CheckInside(const RedisReply& reply, std::string_view bytes, uint32_t depth) {
  CHECK(depth <= kRedisMaxDepth);
  if (!reply.text.empty()) {
    CHECK(reply.text.data() >= bytes.data());
    CHECK(reply.text.data() + reply.text.size() <= bytes.data() + bytes.size());
  }
  for (const RedisReply& element : reply.elements) CheckInside(element, bytes, depth + 1);
}

// The ends of replies, and how it ended.
std::vector<size_t> Scan(std::string_view bytes, size_t piece, bool read) {
  RedisScanner scanner;
  RedisReplyReader reader;
  std::vector<size_t> ends;
  size_t begin = 0;
  size_t at = 0;
  while (at < bytes.size()) {
    size_t taken = 0;
    const auto status = scanner.Feed(bytes.substr(at, std::min(piece, bytes.size() - at)), &taken);
    at += taken;
    CHECK(scanner.bytes() == at - begin && scanner.bytes() <= kRedisMaxReply + piece);
    if (status == RedisScanner::Status::kBroken) {
      ends.push_back(SIZE_MAX);
      break;
    }
    if (status == RedisScanner::Status::kMore) continue;
    ends.push_back(at);
    if (read) {
      CHECK(scanner.values() <= kRedisMaxValues);
      const std::string_view whole = bytes.substr(begin, at - begin);
      const RedisReply& reply = reader.Read(whole, scanner.values());
      CheckInside(reply, whole, 0);
      (void)ParseRedisMoved(reply.text);
      for (const RedisSlotRange& range : ParseRedisSlots(reply)) {
        CHECK(range.first <= range.last && range.last < kRedisSlots && range.port != 0);
      }
      CHECK(RedisSlotOf(reply.text) < kRedisSlots);
    }
    begin = at;
    scanner.Reset();
  }
  return ends;
}

}  // namespace
}  // namespace gatehouse::upstream

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace gatehouse::upstream;  // NOLINT(google-build-using-namespace)
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto whole = Scan(bytes, std::max<size_t>(size, 1), /*read=*/true);
  CHECK(Scan(bytes, 1, /*read=*/true) == whole);
  CHECK(Scan(bytes, 7, /*read=*/false) == whole);
  return 0;
}
