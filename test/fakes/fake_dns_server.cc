#include "test/fakes/fake_dns_server.h"

#include <sys/socket.h>
#include <unistd.h>

#include "source/base/check.h"

namespace gatehouse {
namespace {

// RFC 1035, section 4.1.
constexpr size_t kHeader = 12;
constexpr uint16_t kTypeA = 1;
constexpr uint16_t kTypeAaaa = 28;
constexpr char kServerFailure = 2;
constexpr char kNameError = 3;

void Put16(std::string& out, uint16_t value) {
  out += static_cast<char>(value >> 8);
  out += static_cast<char>(value & 0xff);
}

}  // namespace

FakeDnsServer::FakeDnsServer()
    : fd_(socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
  CHECK(fd_ >= 0);
  net::IpAddress loopback;
  CHECK(net::IpAddress::Parse("127.0.0.1", &loopback));
  const net::Address any(loopback, 0);
  CHECK(bind(fd_, any.raw(), any.raw_size()) == 0);
  sockaddr_in bound{};
  socklen_t size = sizeof(bound);
  CHECK(getsockname(fd_, reinterpret_cast<sockaddr*>(&bound), &size) == 0);
  address_ = net::Address(reinterpret_cast<const sockaddr*>(&bound));
}

FakeDnsServer::~FakeDnsServer() { close(fd_); }

void FakeDnsServer::Answer(const std::string& name, const std::vector<std::string>& addresses,
                           uint32_t ttl_seconds) {
  Record record;
  record.ttl = ttl_seconds;
  for (const std::string& text : addresses) {
    net::IpAddress ip;
    CHECK(net::IpAddress::Parse(text, &ip));
    record.addresses.push_back(ip);
  }
  records_[name] = record;
}

void FakeDnsServer::Step() {
  char buffer[1500];
  while (true) {
    sockaddr_storage from{};
    socklen_t from_size = sizeof(from);
    const ssize_t got =
        recvfrom(fd_, buffer, sizeof(buffer), 0, reinterpret_cast<sockaddr*>(&from), &from_size);
    if (got < static_cast<ssize_t>(kHeader)) return;
    ++queries_;
    const std::string reply = Reply({buffer, static_cast<size_t>(got)});
    if (mode_ == Mode::kSilent) continue;
    sendto(fd_, reply.data(), reply.size(), 0, reinterpret_cast<sockaddr*>(&from), from_size);
  }
}

std::string FakeDnsServer::Reply(std::string_view query) {
  std::string name;
  size_t at = kHeader;
  while (at < query.size() && query[at] != 0) {
    const size_t length = static_cast<uint8_t>(query[at]);
    if (!name.empty()) name += '.';
    name += query.substr(at + 1, length);
    at += length + 1;
  }
  ++at;
  CHECK(at + 4 <= query.size());
  const uint16_t type = static_cast<uint16_t>(static_cast<uint8_t>(query[at]) << 8 |
                                              static_cast<uint8_t>(query[at + 1]));
  at += 4;
  asked_.push_back(name);
  if (mode_ == Mode::kGarbage) return std::string(query.substr(0, 4)) + "????????not dns";

  std::string answers;
  uint16_t count = 0;
  const auto found = records_.find(name);
  if (found != records_.end() && mode_ == Mode::kAnswer) {
    for (const net::IpAddress& ip : found->second.addresses) {
      if (type != (ip.is_v4() ? kTypeA : kTypeAaaa)) continue;
      ++count;
      Put16(answers, 0xc000 | kHeader);  // the name of the question
      Put16(answers, type);
      Put16(answers, 1);
      Put16(answers, static_cast<uint16_t>(found->second.ttl >> 16));
      Put16(answers, static_cast<uint16_t>(found->second.ttl & 0xffff));
      const size_t skip = ip.is_v4() ? 12 : 0;
      Put16(answers, static_cast<uint16_t>(16 - skip));
      answers.append(reinterpret_cast<const char*>(ip.bytes) + skip, 16 - skip);
    }
  }
  std::string reply(query.substr(0, 2));
  reply += static_cast<char>(0x81);  // a response, recursion desired
  reply += static_cast<char>(0x80 | (mode_ == Mode::kServerFailure ? kServerFailure
                                     : found == records_.end()     ? kNameError
                                                                   : 0));
  Put16(reply, 1);
  Put16(reply, count);
  Put16(reply, 0);
  Put16(reply, 0);
  reply += query.substr(kHeader, at - kHeader);
  return reply + answers;
}

}  // namespace gatehouse
