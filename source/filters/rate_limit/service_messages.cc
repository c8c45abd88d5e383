#include "source/filters/rate_limit/service_messages.h"

#include <algorithm>
#include <chrono>
#include <limits>

#include "source/base/time.h"
#include "source/base/utf8.h"
#include "source/base/wire_format.h"
#include "source/http/header_map.h"
#include "source/http/names.h"

namespace gatehouse::filters {

namespace {

// Numbers of RateLimitRequest, RateLimitDescriptor, Entry and UInt64Value.
constexpr uint32_t kDomain = 1;
constexpr uint32_t kDescriptors = 2;
constexpr uint32_t kHitsAddend = 3;
constexpr uint32_t kEntries = 1;
constexpr uint32_t kDescriptorHits = 3;
constexpr uint32_t kKey = 1;
constexpr uint32_t kValue = 2;
constexpr uint32_t kWrapped = 1;

// Of RateLimitResponse and what is in it.
constexpr uint32_t kOverallCode = 1;
constexpr uint32_t kStatuses = 2;
constexpr uint32_t kResponseHeaders = 3;
constexpr uint32_t kRequestHeaders = 4;
constexpr uint32_t kRawBody = 5;
constexpr uint32_t kStatusCode = 1;
constexpr uint32_t kCurrentLimit = 2;
constexpr uint32_t kLimitRemaining = 3;
constexpr uint32_t kUntilReset = 4;
constexpr uint32_t kRequestsPerUnit = 1;
constexpr uint32_t kUnit = 2;
constexpr uint32_t kSeconds = 1;
constexpr uint32_t kNanos = 2;
constexpr uint32_t kHeaderKey = 1;
constexpr uint32_t kHeaderValue = 2;
constexpr uint32_t kHeaderRawValue = 3;

constexpr uint64_t kOk = 1;
constexpr uint64_t kOverLimit = 2;

// Nobody means more, and sums of it do not overflow.
constexpr int64_t kMaxSeconds = int64_t{100} * 366 * 86400;

// Framing and routing of messages are the gateway's own.
constexpr http::NameSet kOwnNames({http::Name::kContentLength, http::Name::kExpect,
                                   http::Name::kHost, http::Name::kTrailer});

// --- The question ---

size_t Utf8Size(std::string_view text) {
  size_t size = 0;
  while (!text.empty()) {
    const size_t length = Utf8SequenceLength(text);
    size += length == 0 ? 3 : length;
    text.remove_prefix(std::max<size_t>(length, 1));
  }
  return size;
}

char* PutUtf8(std::string_view text, char* out) {
  constexpr char kHex[] = "0123456789ABCDEF";
  while (!text.empty()) {
    const size_t length = Utf8SequenceLength(text);
    if (length == 0) {
      const auto byte = static_cast<uint8_t>(text.front());
      *out++ = '%';
      *out++ = kHex[byte >> 4];
      *out++ = kHex[byte & 15];
    } else {
      out = std::copy_n(text.data(), length, out);
    }
    text.remove_prefix(std::max<size_t>(length, 1));
  }
  return out;
}

size_t EntrySize(const DescriptorEntry& entry) {
  return WireWriter::BytesSize(kKey, Utf8Size(entry.first)) +
         WireWriter::BytesSize(kValue, Utf8Size(entry.second));
}

// --- The answer ---

struct Status {
  bool over = false;
  bool limited = false;  // there is a limit
  uint64_t limit = 0;
  uint64_t unit = 0;
  uint64_t remaining = 0;
  std::optional<Duration> until_reset;
};

bool ReadLimit(std::string_view message, Status& status) {
  WireReader in(message);
  while (in.Next()) {
    if (in.Is(kRequestsPerUnit, WireType::kVarint)) status.limit = in.varint();
    if (in.Is(kUnit, WireType::kVarint)) status.unit = in.varint();
  }
  status.limited = true;
  return in.ok();
}

bool ReadDuration(std::string_view message, Status& status) {
  int64_t seconds = 0;
  int64_t nanos = 0;
  WireReader in(message);
  while (in.Next()) {
    if (in.Is(kSeconds, WireType::kVarint)) seconds = static_cast<int64_t>(in.varint());
    if (in.Is(kNanos, WireType::kVarint)) nanos = static_cast<int64_t>(in.varint());
  }
  seconds = std::clamp<int64_t>(seconds, 0, kMaxSeconds);
  nanos = std::clamp<int64_t>(nanos, 0, 999'999'999);
  status.until_reset = Duration(seconds * 1'000'000 + (nanos + 999) / 1000);
  return in.ok();
}

bool ReadStatus(std::string_view message, Status& status) {
  WireReader in(message);
  while (in.Next()) {
    if (in.Is(kStatusCode, WireType::kVarint)) {
      status.over = in.varint() == kOverLimit;
    } else if (in.Is(kCurrentLimit, WireType::kBytes)) {
      if (!ReadLimit(in.bytes(), status)) return false;
    } else if (in.Is(kLimitRemaining, WireType::kVarint)) {
      status.remaining = in.varint();
    } else if (in.Is(kUntilReset, WireType::kBytes)) {
      if (!ReadDuration(in.bytes(), status)) return false;
    }
  }
  return in.ok();
}

// How long a window of RateLimit.Unit is at most; zero: not known.
Duration UnitLength(uint64_t unit) {
  using std::chrono::seconds;
  constexpr std::array<seconds, 8> kLengths = {
      seconds(0),     seconds(1),          seconds(60),          seconds(3600),
      seconds(86400), seconds(31 * 86400), seconds(366 * 86400), seconds(7 * 86400)};
  return unit < kLengths.size() ? Duration(kLengths[unit]) : Duration::zero();
}

// When the service does not say, nobody waits for less than a window.
LimitTake TakeOf(const Status& status) {
  LimitTake take;
  take.allowed = !status.over;
  take.limit = status.limit;
  take.remaining = status.over ? 0 : status.remaining;
  take.reset_after = status.until_reset.value_or(UnitLength(status.unit));
  if (status.over) take.retry_after = take.reset_after;
  return take;
}

bool ReadHeader(std::string_view message, ServiceHeader& header) {
  std::string_view raw;
  WireReader in(message);
  while (in.Next()) {
    if (in.Is(kHeaderKey, WireType::kBytes)) header.first = in.bytes();
    if (in.Is(kHeaderValue, WireType::kBytes)) header.second = in.bytes();
    if (in.Is(kHeaderRawValue, WireType::kBytes)) raw = in.bytes();
  }
  if (!raw.empty()) header.second = raw;
  header.second = http::TrimSpace(header.second);
  return in.ok();
}

bool MayAdd(const ServiceHeader& header) {
  const http::Name id = http::FindName(header.first);
  return http::IsToken(header.first) && http::IsFieldValue(header.second) &&
         !http::kHopByHopNames.Has(id) && !kOwnNames.Has(id);
}

// The headers of one of the two fields, `count` at most.
std::optional<std::span<const ServiceHeader>> ReadHeaders(std::string_view message, uint32_t number,
                                                          size_t count, Arena& arena) {
  if (count == 0) return std::span<const ServiceHeader>();
  auto* const headers = arena.NewArray<ServiceHeader>(count);
  size_t size = 0;
  WireReader in(message);
  while (in.Next()) {
    if (!in.Is(number, WireType::kBytes)) continue;
    ServiceHeader header;
    if (!ReadHeader(in.bytes(), header)) return std::nullopt;
    if (!MayAdd(header)) continue;
    new (&headers[size++]) ServiceHeader(arena.Copy(header.first), arena.Copy(header.second));
  }
  return std::span<const ServiceHeader>(headers, size);
}

// The overall code decides, whatever the statuses say.
void Settle(bool over, ServiceAnswer& answer) {
  LimitTakes& takes = answer.takes;
  if (takes.count == 0) takes.takes[takes.count++].allowed = true;
  takes.allowed = !over;
  const std::span<LimitTake> all(takes.takes.data(), takes.count);
  if (!over) {
    for (LimitTake& take : all) {
      take.allowed = true;
      take.retry_after = Duration::zero();
    }
  } else if (std::ranges::all_of(all, [](const LimitTake& take) { return take.allowed; })) {
    all[0].allowed = false;
    all[0].retry_after = all[0].reset_after;
  }
}

}  // namespace

std::string_view EncodeServiceQuestion(std::string_view domain,
                                       std::span<const DescriptorEntry> entries, uint64_t cost,
                                       Arena& arena) {
  // The request's own number knows no 0, and 32 bits.
  const bool by_descriptor = cost == 0 || cost > std::numeric_limits<uint32_t>::max();
  const uint64_t hits = std::clamp<uint64_t>(cost, 1, std::numeric_limits<uint32_t>::max());
  const size_t wrapped_size = cost == 0 ? 0 : WireWriter::IntegerSize(kWrapped, cost);
  size_t descriptor_size = 0;
  for (const DescriptorEntry& entry : entries) {
    descriptor_size += WireWriter::BytesSize(kEntries, EntrySize(entry));
  }
  if (by_descriptor) descriptor_size += WireWriter::BytesSize(kDescriptorHits, wrapped_size);

  const size_t size = WireWriter::BytesSize(kDomain, Utf8Size(domain)) +
                      WireWriter::BytesSize(kDescriptors, descriptor_size) +
                      WireWriter::IntegerSize(kHitsAddend, hits);
  char* const message = arena.AllocateChars(size);
  char* at = PutUtf8(domain, WireWriter::Head(kDomain, Utf8Size(domain), message));
  at = WireWriter::Head(kDescriptors, descriptor_size, at);
  for (const DescriptorEntry& entry : entries) {
    at = WireWriter::Head(kEntries, EntrySize(entry), at);
    at = PutUtf8(entry.first, WireWriter::Head(kKey, Utf8Size(entry.first), at));
    at = PutUtf8(entry.second, WireWriter::Head(kValue, Utf8Size(entry.second), at));
  }
  if (by_descriptor) {
    at = WireWriter::Head(kDescriptorHits, wrapped_size, at);
    if (cost != 0) at = WireWriter::Integer(kWrapped, cost, at);
  }
  at = WireWriter::Integer(kHitsAddend, hits, at);
  return {message, static_cast<size_t>(at - message)};
}

std::optional<ServiceAnswer> DecodeServiceAnswer(std::string_view message, Arena& arena) {
  ServiceAnswer answer;
  uint64_t code = 0;
  size_t request_headers = 0;
  size_t response_headers = 0;
  std::string_view body;
  WireReader in(message);
  while (in.Next()) {
    if (in.Is(kOverallCode, WireType::kVarint)) {
      code = in.varint();
    } else if (in.Is(kStatuses, WireType::kBytes)) {
      Status status;
      if (!ReadStatus(in.bytes(), status)) return std::nullopt;
      // Who has no limit there is in no header.
      if ((!status.limited && !status.over) || answer.takes.count == LimitRules::kMax) continue;
      answer.known |= status.limited;
      answer.takes.takes[answer.takes.count++] = TakeOf(status);
    } else if (in.Is(kResponseHeaders, WireType::kBytes)) {
      ++response_headers;
    } else if (in.Is(kRequestHeaders, WireType::kBytes)) {
      ++request_headers;
    } else if (in.Is(kRawBody, WireType::kBytes)) {
      body = in.bytes();
    }
  }
  if (!in.ok() || (code != kOk && code != kOverLimit)) return std::nullopt;
  Settle(code == kOverLimit, answer);
  answer.body = arena.Copy(body);
  const auto to_request = ReadHeaders(message, kRequestHeaders, request_headers, arena);
  const auto to_response = ReadHeaders(message, kResponseHeaders, response_headers, arena);
  if (!to_request || !to_response) return std::nullopt;
  answer.request_headers = *to_request;
  answer.response_headers = *to_response;
  return answer;
}

}  // namespace gatehouse::filters
