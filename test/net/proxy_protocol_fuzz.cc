// The PROXY header's parser: the same verdict however little has come, no byte taken that is not
// the header's, and what the writer writes is read as what went in.
#include <cstdint>
#include <cstring>
#include <string_view>

#include "source/base/check.h"
#include "source/net/proxy_protocol.h"

namespace gatehouse::net {
namespace {

using Status = ProxyHeaderStatus;

void CheckPrefixes(std::string_view bytes) {
  ProxyClaim whole;
  const ProxyHeaderResult result = ParseProxyHeader(bytes, whole);
  CHECK(result.status != Status::kClosed);
  CHECK(result.size <= bytes.size());
  CHECK((result.status == Status::kMalformed) == !result.reason.empty());
  // Long ones by strides.
  for (size_t size = 0; size < bytes.size(); size += size < 300 ? 1 : 61) {
    ProxyClaim claim;
    const ProxyHeaderResult part = ParseProxyHeader(bytes.substr(0, size), claim);
    if (part.status == Status::kNeedMore) {
      CHECK(result.status != Status::kDone || size < result.size);
      continue;
    }
    CHECK(part.status == result.status);
    CHECK(part.size == result.size);
    CHECK(part.status != Status::kDone || size >= result.size);
    CHECK(claim.source == whole.source || !claim.has_addresses);
  }
}

void CheckRoundTrip(std::string_view bytes) {
  uint8_t block[36] = {};
  std::memcpy(block, bytes.data(), bytes.size() < 36 ? bytes.size() : 36);
  IpAddress ips[2];
  std::memcpy(ips[0].bytes, block, 16);
  std::memcpy(ips[1].bytes, block + 16, 16);
  const Address source(ips[0], static_cast<uint16_t>(block[32] << 8 | block[33]));
  const Address destination(ips[1], static_cast<uint16_t>(block[34] << 8 | block[35]));
  for (const ProxyVersion version : {ProxyVersion::kV1, ProxyVersion::kV2}) {
    char out[kMaxProxyHeader];
    const size_t size = WriteProxyHeader(version, source, destination, out);
    CHECK(size <= kMaxProxyHeader);
    ProxyClaim claim;
    const ProxyHeaderResult result = ParseProxyHeader({out, size}, claim);
    CHECK(result.status == Status::kDone && result.size == size);
    CHECK(claim.has_addresses && claim.source == source && claim.destination == destination);
  }
}

}  // namespace
}  // namespace gatehouse::net

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > 8192) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  gatehouse::net::CheckPrefixes(bytes);
  gatehouse::net::CheckRoundTrip(bytes);
  return 0;
}
