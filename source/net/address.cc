#include "source/net/address.h"

#include <arpa/inet.h>
#include <endian.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include <fmt/format.h>

namespace gatehouse::net {
namespace {

constexpr uint8_t kMappedPrefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

IpAddress MaskBits(IpAddress ip, uint32_t bits) {
  uint64_t halves[2];
  std::memcpy(halves, ip.bytes, sizeof(halves));
  for (uint32_t i = 0; i < 2; ++i) {
    const uint32_t kept = std::clamp(bits, i * 64, i * 64 + 64) - i * 64;
    halves[i] &= kept == 0 ? 0 : htobe64(UINT64_MAX << (64 - kept));
  }
  std::memcpy(ip.bytes, halves, sizeof(halves));
  return ip;
}

bool IsHostChar(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '.' || c == '_';
}

}  // namespace

bool IpAddress::is_v4() const {
  return std::memcmp(bytes, kMappedPrefix, sizeof(kMappedPrefix)) == 0;
}

IpAddress IpAddress::Masked(uint32_t v4_bits, uint32_t v6_bits) const {
  return MaskBits(*this, is_v4() ? 96 + std::min(v4_bits, 32u) : std::min(v6_bits, 128u));
}

size_t IpAddress::Format(char* out) const {
  if (is_v4()) {
    char* at = out;
    for (int i = 12; i < 16; ++i) {
      if (i > 12) *at++ = '.';
      at = std::to_chars(at, at + 3, bytes[i]).ptr;
    }
    return static_cast<size_t>(at - out);
  }
  char text[INET6_ADDRSTRLEN];
  inet_ntop(AF_INET6, bytes, text, sizeof(text));
  const size_t size = std::strlen(text);
  std::memcpy(out, text, size);
  return size;
}

std::string IpAddress::ToString() const {
  char text[INET6_ADDRSTRLEN];
  return std::string(text, Format(text));
}

bool IpAddress::Parse(std::string_view text, IpAddress* out) {
  char copy[INET6_ADDRSTRLEN];
  if (text.empty() || text.size() >= sizeof(copy)) return false;
  // inet_pton() would stop there and take the rest on trust.
  if (text.find('\0') != std::string_view::npos) return false;
  std::memcpy(copy, text.data(), text.size());
  copy[text.size()] = '\0';
  if (text.find(':') != std::string_view::npos) return inet_pton(AF_INET6, copy, out->bytes) == 1;
  std::memcpy(out->bytes, kMappedPrefix, sizeof(kMappedPrefix));
  return inet_pton(AF_INET, copy, out->bytes + 12) == 1;
}

Address::Address(const sockaddr* address) : Address() {
  if (address->sa_family == AF_INET) std::memcpy(&v4_, address, sizeof(v4_));
  if (address->sa_family == AF_INET6) std::memcpy(&v6_, address, sizeof(v6_));
}

Address::Address(const IpAddress& ip, uint16_t port) : Address() {
  if (ip.is_v4()) {
    v4_ = {};
    v4_.sin_family = AF_INET;
    v4_.sin_port = htons(port);
    std::memcpy(&v4_.sin_addr, ip.bytes + 12, 4);
  } else {
    v6_.sin6_family = AF_INET6;
    v6_.sin6_port = htons(port);
    std::memcpy(&v6_.sin6_addr, ip.bytes, 16);
  }
}

uint16_t Address::port() const {
  return ntohs(any_.sa_family == AF_INET ? v4_.sin_port : v6_.sin6_port);
}

void Address::set_port(uint16_t port) {
  (any_.sa_family == AF_INET ? v4_.sin_port : v6_.sin6_port) = htons(port);
}

IpAddress Address::ip() const {
  IpAddress ip;
  if (any_.sa_family == AF_INET) {
    std::memcpy(ip.bytes, kMappedPrefix, sizeof(kMappedPrefix));
    std::memcpy(ip.bytes + 12, &v4_.sin_addr, 4);
  } else {
    std::memcpy(ip.bytes, &v6_.sin6_addr, 16);
  }
  return ip;
}

std::string Address::ToString() const {
  const IpAddress own = ip();
  return own.is_v4() ? fmt::format("{}:{}", own.ToString(), port())
                     : fmt::format("[{}]:{}", own.ToString(), port());
}

absl::StatusOr<Address> Address::Parse(std::string_view text) {
  absl::StatusOr<HostPort> parts = ParseHostPort(text, /*zero_port_ok=*/true);
  if (!parts.ok()) return parts.status();
  IpAddress ip;
  if (!IpAddress::Parse(parts->host, &ip)) {
    return InvalidArgument(fmt::format(
        "\"{}\" is not an IP address with a port, such as 127.0.0.1:8080 or [::1]:8080", text));
  }
  return Address(ip, parts->port);
}

absl::StatusOr<HostPort> ParseHostPort(std::string_view text, bool zero_port_ok) {
  const size_t colon = text.rfind(':');
  const auto wrong = [&](std::string_view why) {
    return InvalidArgument(fmt::format("\"{}\" {}", text, why));
  };
  if (text.find("://") != std::string_view::npos) return wrong("is a URL; write host:port alone");
  if (colon == std::string_view::npos) {
    return wrong("has no port; write host:port, such as 127.0.0.1:8080");
  }
  if (colon == 0) return wrong("has no host; write host:port, such as 127.0.0.1:8080");
  std::string_view host = text.substr(0, colon);
  const std::string_view digits = text.substr(colon + 1);
  if (host.front() == '[') {
    if (host.back() != ']') return wrong("is not [ipv6]:port");
    host = host.substr(1, host.size() - 2);
    IpAddress ip;
    if (host.find(':') == std::string_view::npos || !IpAddress::Parse(host, &ip)) {
      return wrong("is not [ipv6]:port");
    }
  } else if (host.find(':') != std::string_view::npos) {
    return wrong("is not host:port; write an IPv6 address in brackets, such as [::1]:8080");
  } else if (!std::all_of(host.begin(), host.end(), IsHostChar)) {
    return wrong("is not host:port: a host has letters, digits, '-', '.' and '_' only");
  }
  uint32_t port = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (error != std::errc() || end != digits.data() + digits.size() || port > 65535 ||
      (port == 0 && !zero_port_ok)) {
    return wrong(
        fmt::format("has a bad port; it must be a number from {} to 65535", zero_port_ok ? 0 : 1));
  }
  return HostPort{std::string(host), static_cast<uint16_t>(port)};
}

absl::StatusOr<Cidr> Cidr::Parse(std::string_view text) {
  const size_t slash = text.find('/');
  Cidr cidr;
  const auto wrong = [&] {
    return InvalidArgument(fmt::format(
        "\"{}\" is not a network; write one such as 10.0.0.0/8, 2001:db8::/32 or 192.0.2.7", text));
  };
  if (!IpAddress::Parse(text.substr(0, slash), &cidr.network)) return wrong();
  // Written as IPv6 it is counted as IPv6, mapped or not.
  const bool v4 = text.find(':') == std::string_view::npos;
  const uint32_t most = v4 ? 32 : 128;
  uint32_t bits = most;
  if (slash != std::string_view::npos) {
    const std::string_view digits = text.substr(slash + 1);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), bits);
    if (error != std::errc() || end != digits.data() + digits.size() || bits > most) return wrong();
  }
  cidr.bits = v4 ? 96 + bits : bits;
  cidr.network = MaskBits(cidr.network, cidr.bits);
  return cidr;
}

bool Cidr::Contains(const IpAddress& ip) const { return MaskBits(ip, bits) == network; }

}  // namespace gatehouse::net
