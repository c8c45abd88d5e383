#include "source/filters/grpc_web/transcode.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "source/base/crypto.h"
#include "source/http/names.h"

namespace gatehouse::filters {
namespace {

constexpr size_t kGroup = 4;  // characters, of up to three bytes
constexpr size_t kBytes = 3;
constexpr size_t kFrameHead = 5;
constexpr uint8_t kTrailerFlag = 0x80;
// What is coded at once: its result fits a slab.
constexpr size_t kMostText = SlabPool::kDataBytes / kGroup * kGroup;
constexpr size_t kMostBytes = SlabPool::kDataBytes / kGroup * kBytes;

// `text` is whole groups.
bool DecodeGroups(std::string_view text, Chain& out, SlabPool& pool) {
  while (!text.empty()) {
    const std::string_view some = text.substr(0, kMostText);
    char* to = out.Reserve(Base64DecodedSize(some.size()), pool);
    const std::optional<size_t> size = Base64Decode(some, Base64::kStandard, to);
    out.Commit(size.value_or(0));
    if (!size.has_value()) return false;
    text.remove_prefix(some.size());
  }
  return true;
}

void EncodeBytes(std::string_view bytes, Chain& out, SlabPool& pool) {
  while (!bytes.empty()) {
    const std::string_view some = bytes.substr(0, kMostBytes);
    char* to = out.Reserve(Base64Size(some.size()), pool);
    out.Commit(Base64Encode(some, Base64::kStandard, to));
    bytes.remove_prefix(some.size());
  }
}

}  // namespace

bool TextDecoder::Decode(Chain& data, SlabPool& pool) {
  Chain out;
  bool ok = true;
  for (size_t i = 0; i < data.slices() && ok; ++i) ok = DecodeSlice(data[i].view(), out, pool);
  data = std::move(out);
  return ok;
}

bool TextDecoder::DecodeSlice(std::string_view text, Chain& out, SlabPool& pool) {
  while (!text.empty()) {
    if (kept_ > 0) {
      if (!DecodeKept(text, out, pool)) return false;
      continue;
    }
    // Up to the group with padding in it, which is decoded by itself.
    const size_t padding = std::min(text.find('='), text.size());
    const size_t whole = padding / kGroup * kGroup;
    if (!DecodeGroups(text.substr(0, whole), out, pool)) return false;
    text.remove_prefix(whole);
    if (!text.empty() && !DecodeKept(text, out, pool)) return false;
  }
  return true;
}

bool TextDecoder::DecodeKept(std::string_view& text, Chain& out, SlabPool& pool) {
  const size_t taken = std::min(kGroup - kept_, text.size());
  std::memcpy(group_ + kept_, text.data(), taken);
  text.remove_prefix(taken);
  kept_ = static_cast<uint8_t>(kept_ + taken);
  if (kept_ < kGroup) return true;
  kept_ = 0;
  return DecodeGroups({group_, kGroup}, out, pool);
}

void EncodeText(Chain& data, SlabPool& pool) {
  Chain out;
  char group[kBytes];  // bytes of one slice that are coded with those of the next
  size_t kept = 0;
  for (size_t i = 0; i < data.slices(); ++i) {
    std::string_view bytes = data[i].view();
    if (kept > 0) {
      const size_t taken = std::min(kBytes - kept, bytes.size());
      std::memcpy(group + kept, bytes.data(), taken);
      bytes.remove_prefix(taken);
      kept += taken;
      if (kept < kBytes) continue;
      EncodeBytes({group, kBytes}, out, pool);
    }
    kept = bytes.size() % kBytes;
    std::memcpy(group, bytes.data() + bytes.size() - kept, kept);
    bytes.remove_suffix(kept);
    EncodeBytes(bytes, out, pool);
  }
  EncodeBytes({group, kept}, out, pool);
  data = std::move(out);
}

bool IsStatusField(const http::HeaderEntry& entry) {
  return entry.id == http::Name::kGrpcStatus || entry.id == http::Name::kGrpcMessage ||
         (entry.id == http::Name::kUnknown &&
          http::EqualsIgnoreCase(entry.name_view(), "grpc-status-details-bin"));
}

std::string_view TrailerFrame(const http::HeaderMap& fields, FrameOf which, Arena& arena) {
  const auto wanted = [which](const http::HeaderEntry& entry) {
    return which == FrameOf::kAll || IsStatusField(entry);
  };
  size_t size = 0;
  for (const http::HeaderEntry& entry : fields) {
    if (wanted(entry)) size += entry.name_len + size_t{1} + entry.value_len + 2;
  }
  if (size == 0) return {};
  char* frame = arena.AllocateChars(kFrameHead + size);
  char* at = frame;
  *at++ = static_cast<char>(kTrailerFlag);
  for (int shift = 24; shift >= 0; shift -= 8) *at++ = static_cast<char>(size >> shift);
  for (const http::HeaderEntry& entry : fields) {
    if (!wanted(entry)) continue;
    for (char c : entry.name_view()) {
      *at++ = c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
    }
    *at++ = ':';
    at = std::ranges::copy(entry.value_view(), at).out;
    *at++ = '\r';
    *at++ = '\n';
  }
  return {frame, kFrameHead + size};
}

}  // namespace gatehouse::filters
