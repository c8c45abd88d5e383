#include "source/upstream/redis_slots.h"

#include <array>
#include <charconv>

#include "source/net/address.h"

namespace gatehouse::upstream {
namespace {

using Type = RedisReply::Type;

constexpr std::array<uint16_t, 256> MakeCrcTable() {
  std::array<uint16_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i << 8;
    for (int bit = 0; bit < 8; ++bit) crc = (crc & 0x8000) != 0 ? (crc << 1) ^ 0x1021 : crc << 1;
    table[i] = static_cast<uint16_t>(crc);
  }
  return table;
}
constexpr std::array<uint16_t, 256> kCrcTable = MakeCrcTable();

template <typename T>
bool ParseNumber(std::string_view text, T* out) {
  const char* end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, *out);
  return error == std::errc() && at == end;
}

bool IsAddress(std::string_view text) {
  net::IpAddress ip;
  return net::IpAddress::Parse(text, &ip);
}

// [address or name, port, id, [ "ip", address, "hostname", name ]]. Before Redis 7 only the first
// three; a preferred endpoint that is not known is null, "" or "?".
bool ReadNode(const RedisReply& node, RedisSlotRange* range) {
  if (node.type != Type::kArray || node.elements.size() < 2) return false;
  const RedisReply& port = node.elements[1];
  if (port.type != Type::kInteger || port.integer <= 0 || port.integer > UINT16_MAX) return false;
  range->port = static_cast<uint16_t>(port.integer);
  const std::string_view preferred = node.elements[0].text;
  if (preferred != "?" && !preferred.empty()) {
    (IsAddress(preferred) ? range->host : range->name) = preferred;
  }
  if (node.elements.size() < 4 || node.elements[3].type != Type::kArray) return true;
  const auto& more = node.elements[3].elements;
  for (size_t i = 0; i + 1 < more.size(); i += 2) {
    if (more[i].text == "ip" && range->host.empty()) range->host = more[i + 1].text;
    if (more[i].text == "hostname" && range->name.empty()) range->name = more[i + 1].text;
  }
  return true;
}

}  // namespace

uint16_t RedisSlotOf(std::string_view key) {
  if (const size_t open = key.find('{'); open != std::string_view::npos) {
    const size_t close = key.find('}', open + 1);
    if (close != std::string_view::npos && close > open + 1) {
      key = key.substr(open + 1, close - open - 1);
    }
  }
  uint16_t crc = 0;
  for (const char c : key) {
    const auto index = static_cast<uint8_t>((crc >> 8) ^ static_cast<uint8_t>(c));
    crc = static_cast<uint16_t>((crc << 8) ^ kCrcTable[index]);
  }
  return crc % kRedisSlots;
}

std::optional<RedisMoved> ParseRedisMoved(std::string_view error) {
  RedisMoved moved;
  if (error.starts_with("ASK ")) {
    moved.ask = true;
    error.remove_prefix(4);
  } else if (error.starts_with("MOVED ")) {
    error.remove_prefix(6);
  } else {
    return std::nullopt;
  }
  const size_t space = error.find(' ');
  const size_t colon = error.rfind(':');
  if (space == std::string_view::npos || colon == std::string_view::npos || colon <= space) {
    return std::nullopt;
  }
  moved.host = error.substr(space + 1, colon - space - 1);
  if (moved.host == "?") moved.host = {};
  if (!ParseNumber(error.substr(0, space), &moved.slot) || moved.slot >= kRedisSlots ||
      !ParseNumber(error.substr(colon + 1), &moved.port) || moved.port == 0) {
    return std::nullopt;
  }
  return moved;
}

std::vector<RedisSlotRange> ParseRedisSlots(const RedisReply& reply) {
  std::vector<RedisSlotRange> ranges;
  if (reply.type != Type::kArray) return ranges;
  for (const RedisReply& entry : reply.elements) {
    if (entry.type != Type::kArray || entry.elements.size() < 3) return {};
    const RedisReply& first = entry.elements[0];
    const RedisReply& last = entry.elements[1];
    if (first.type != Type::kInteger || last.type != Type::kInteger) return {};
    if (first.integer < 0 || first.integer > last.integer || last.integer >= kRedisSlots) return {};
    RedisSlotRange range;
    range.first = static_cast<uint16_t>(first.integer);
    range.last = static_cast<uint16_t>(last.integer);
    if (!ReadNode(entry.elements[2], &range)) return {};
    ranges.push_back(range);
  }
  return ranges;
}

}  // namespace gatehouse::upstream
