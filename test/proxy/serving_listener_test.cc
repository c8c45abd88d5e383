// Sockets that close: who is on the way to them.
#include "source/proxy/serving_listener.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>

#include "source/net/listener.h"
#include "test/fakes/slow_handshake.h"
#include "test/proxy/exchange_bench.h"

namespace gatehouse::proxy {
namespace {

constexpr const char* kConfig = R"(
listeners:
- { name: edge, address: "127.0.0.1:0", route_tables: [all], access_log: { path: "off" } }
route_tables:
- name: all
  domains: ["*"]
  routes:
  - { name: hello, match: { path: /hello }, respond: { body: "hi\n" } }
clusters:
- { name: origin, endpoints: ["ORIGIN"] }
)";
constexpr std::string_view kRequest = "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n";
constexpr Duration kIdleGrace = std::chrono::seconds(2);

class ServingListenerTest : public ::testing::Test {
 protected:
  ServingListenerTest() { address_ = net::LocalAddress(Listen("127.0.0.1:0")); }
  ~ServingListenerTest() override {
    for (int fd : clients_) close(fd);
  }
  int Listen(std::string_view address) {
    absl::StatusOr<int> fd = net::OpenListenSocket(*net::Address::Parse(address), 16);
    EXPECT_TRUE(fd.ok()) << fd.status();
    bench_.listener().Listen(std::array{*fd});
    return *fd;
  }
  int BeginSlowly() { return clients_.emplace_back(ConnectWithoutAck(address_)); }
  bool Refused() {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const bool refused = connect(fd, address_.raw(), address_.raw_size()) != 0;
    EXPECT_TRUE(!refused || errno == ECONNREFUSED) << errno;
    close(fd);
    return refused;
  }
  // What a client gets for a request; "reset" when that is what it gets.
  std::string Ask(int fd) {
    if (send(fd, kRequest.data(), kRequest.size(), MSG_NOSIGNAL) < 0) return "reset";
    std::string got;
    const bool ended = bench_.RunUntil([&] {
      char piece[1024];
      const ssize_t size = recv(fd, piece, sizeof(piece), MSG_DONTWAIT);
      if (size < 0 && errno == ECONNRESET) got = "reset";
      if (size > 0) got.append(piece, static_cast<size_t>(size));
      return got == "reset" || got.ends_with("hi\n") || size == 0;
    });
    EXPECT_TRUE(ended);
    return got;
  }

  ExchangeBench bench_{kConfig};
  net::Address address_;
  std::vector<int> clients_;
};

TEST_F(ServingListenerTest, AHandshakeUnderWayIsServedByAListenerThatDrains) {
  const int client = BeginSlowly();
  bench_.listener().Drain(kIdleGrace);
  EXPECT_TRUE(bench_.listener().closing());
  EXPECT_TRUE(Refused());
  EXPECT_TRUE(Ask(client).starts_with("HTTP/1.1 200 OK\r\n"));
  bench_.Advance(std::chrono::milliseconds(200));
  EXPECT_FALSE(bench_.listener().closing());
  EXPECT_TRUE(Refused());
}

TEST_F(ServingListenerTest, AHandshakeThatEndsWithTheGraceIsServedToo) {
  const int client = BeginSlowly();
  bench_.listener().Drain(kIdleGrace);
  // Nothing was accepted yet when the time is over.
  bench_.clock().Advance(std::chrono::milliseconds(200));
  EXPECT_TRUE(Ask(client).starts_with("HTTP/1.1 200 OK\r\n"));
  EXPECT_FALSE(bench_.listener().closing());
}

TEST_F(ServingListenerTest, AHandshakeUnderWayIsServedByAListenerThatMoves) {
  const int client = BeginSlowly();
  Listen("127.0.0.1:0");
  EXPECT_TRUE(bench_.listener().closing());
  EXPECT_TRUE(Ask(client).starts_with("HTTP/1.1 200 OK\r\n"));
  bench_.Advance(std::chrono::milliseconds(200));
  EXPECT_FALSE(bench_.listener().closing());
  EXPECT_TRUE(Refused());
}

TEST_F(ServingListenerTest, SocketsOfOthersAreLeftAsTheyAre) {
  absl::StatusOr<int> fd = net::OpenListenSocket(*net::Address::Parse("127.0.0.1:0"), 16);
  ASSERT_TRUE(fd.ok()) << fd.status();
  const int other = fcntl(*fd, F_DUPFD_CLOEXEC, 0);
  address_ = net::LocalAddress(other);
  bench_.listener().Listen(std::array{*fd});
  bench_.Advance(std::chrono::milliseconds(200));
  const int client = BeginSlowly();
  net::SharedSockets shared;
  shared.Add(other);
  bench_.listener().Drain(kIdleGrace, shared);
  EXPECT_FALSE(bench_.listener().closing());
  EXPECT_FALSE(Refused());
  // Both have come to the other owner.
  ASSERT_EQ(send(client, "x", 1, MSG_NOSIGNAL), 1);
  for (int i = 0; i < 2; ++i) {
    const int accepted = accept4(other, nullptr, nullptr, SOCK_NONBLOCK);
    EXPECT_GE(accepted, 0);
    if (accepted >= 0) close(accepted);
  }
  close(other);
}

TEST_F(ServingListenerTest, MayGoWhileItsSocketsClose) {
  ServingListener leaving(bench_.shard(), "leaving", std::make_shared<ListenerCounts>());
  absl::StatusOr<int> fd = net::OpenListenSocket(*net::Address::Parse("127.0.0.1:0"), 16);
  ASSERT_TRUE(fd.ok()) << fd.status();
  leaving.Listen(std::array{*fd});
  leaving.Drain(kIdleGrace);
  EXPECT_TRUE(leaving.closing());
}

}  // namespace
}  // namespace gatehouse::proxy
