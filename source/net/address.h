// A socket address as a value: IPv4 or IPv6, 28 bytes. Nothing here looks names up.
//
//   StatusOr<Address> address = Address::Parse("[::1]:8080");
//   address->ToString()  // "[::1]:8080"
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "source/base/status.h"

namespace gatehouse::net {

// An IP address without a port, IPv4 as IPv4-mapped, so that both compare and hash alike.
struct IpAddress {
  uint8_t bytes[16];

  friend bool operator==(const IpAddress&, const IpAddress&) = default;
  [[nodiscard]] bool is_v4() const;
  // The first `v4_bits` or `v6_bits` of the address, the rest zero.
  [[nodiscard]] IpAddress Masked(uint32_t v4_bits, uint32_t v6_bits) const;
  // Writes the text to `out` (at least 46 bytes) and returns its length.
  size_t Format(char* out) const;
  [[nodiscard]] std::string ToString() const;
  [[nodiscard]] static bool Parse(std::string_view text, IpAddress* out);
};

class Address {
 public:
  Address() { v6_.sin6_family = AF_UNSPEC; }
  explicit Address(const sockaddr* address);
  Address(const IpAddress& ip, uint16_t port);

  // "1.2.3.4:80" or "[::1]:80": numbers only, no name look-up.
  [[nodiscard]] static absl::StatusOr<Address> Parse(std::string_view text);

  [[nodiscard]] const sockaddr* raw() const { return &any_; }
  [[nodiscard]] socklen_t raw_size() const {
    return any_.sa_family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
  }
  [[nodiscard]] int family() const { return any_.sa_family; }
  [[nodiscard]] uint16_t port() const;
  void set_port(uint16_t port);
  [[nodiscard]] IpAddress ip() const;
  [[nodiscard]] std::string ToString() const;
  friend bool operator==(const Address& a, const Address& b) {
    return a.family() == b.family() && a.port() == b.port() && a.ip() == b.ip();
  }

 private:
  union {
    sockaddr any_;
    sockaddr_in v4_;
    sockaddr_in6 v6_{};
  };
};

// "host:port" taken apart; host without brackets. Port 1 to 65535, or 0 if `zero_port_ok`.
struct HostPort {
  std::string host;
  uint16_t port = 0;
};
[[nodiscard]] absl::StatusOr<HostPort> ParseHostPort(std::string_view text, bool zero_port_ok);

// A network such as 10.0.0.0/8, ::1/128 or a single address.
struct Cidr {
  IpAddress network;
  uint32_t bits = 128;  // of the mapped form: 10.0.0.0/8 has 104

  [[nodiscard]] static absl::StatusOr<Cidr> Parse(std::string_view text);
  [[nodiscard]] bool Contains(const IpAddress& ip) const;
};

}  // namespace gatehouse::net
