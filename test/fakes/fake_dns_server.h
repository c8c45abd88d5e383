// FakeDnsServer: answers DNS queries over UDP on a free port of 127.0.0.1, in the test's own
// thread. It does something only in Step(), which never blocks. Names it was not told of do not
// exist.
//
// Owner: the test. Thread: the one that calls Step().
//
//   FakeDnsServer dns;
//   dns.Answer("users.test", {"10.0.0.1", "10.0.0.2"}, /*ttl_seconds=*/30);
//   dns.set_mode(FakeDnsServer::Mode::kSilent);
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "source/net/address.h"

namespace gatehouse {

class FakeDnsServer {
 public:
  enum class Mode : uint8_t { kAnswer, kSilent, kServerFailure, kGarbage };

  FakeDnsServer();
  ~FakeDnsServer();
  FakeDnsServer(const FakeDnsServer&) = delete;
  FakeDnsServer& operator=(const FakeDnsServer&) = delete;

  // IPv4 and IPv6 addresses; an A query gets the former, an AAAA query the latter. Without
  // addresses of the asked kind the answer is empty (NODATA).
  void Answer(const std::string& name, const std::vector<std::string>& addresses,
              uint32_t ttl_seconds);
  // From now on NXDOMAIN.
  void Forget(const std::string& name) { records_.erase(name); }
  void set_mode(Mode mode) { mode_ = mode; }
  void Step();

  // "127.0.0.1:port".
  [[nodiscard]] std::string address() const { return address_.ToString(); }
  // Queries seen, A and AAAA each.
  [[nodiscard]] size_t queries() const { return queries_; }
  // The names as they were asked for.
  [[nodiscard]] const std::vector<std::string>& asked() const { return asked_; }

 private:
  struct Record {
    std::vector<net::IpAddress> addresses;
    uint32_t ttl = 0;
  };
  [[nodiscard]] std::string Reply(std::string_view query);

  int fd_;
  net::Address address_;
  Mode mode_ = Mode::kAnswer;
  size_t queries_ = 0;
  std::vector<std::string> asked_;
  std::map<std::string, Record> records_;
};

}  // namespace gatehouse
