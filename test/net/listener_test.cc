#include "source/net/listener.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "gtest/gtest.h"

#include "test/fakes/manual_clock.h"
#include "test/fakes/slow_handshake.h"

namespace gatehouse::net {
namespace {

class ListenerTest : public ::testing::Test {
 protected:
  ListenerTest() { Listen("127.0.0.1:0"); }
  void Listen(std::string_view address) {
    absl::StatusOr<int> fd = OpenListenSocket(*Address::Parse(address), 512);
    ASSERT_TRUE(fd.ok()) << fd.status();
    address_ = LocalAddress(*fd);
    socket_ = std::make_unique<ListenSocket>(
        loop_, *fd,
        ListenSocket::Callbacks{this,
                                [](void* self, int client, const Address& peer) {
                                  auto* test = static_cast<ListenerTest*>(self);
                                  test->accepted_.push_back(client);
                                  test->peers_.push_back(peer);
                                },
                                [](void* self) { ++static_cast<ListenerTest*>(self)->shed_; }});
  }
  ~ListenerTest() override {
    socket_.reset();
    for (int fd : accepted_) close(fd);
    for (int fd : clients_) close(fd);
  }
  bool Refused() {
    const int fd = socket(address_.family(), SOCK_STREAM | SOCK_CLOEXEC, 0);
    const bool refused =
        connect(fd, address_.raw(), address_.raw_size()) != 0 && errno == ECONNREFUSED;
    close(fd);
    return refused;
  }
  int Connect() {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT_EQ(connect(fd, address_.raw(), address_.raw_size()), 0);
    clients_.push_back(fd);
    return fd;
  }
  bool RunUntil(const std::function<bool()>& done) {
    for (int i = 0; i < 10'000 && !done(); ++i) loop_.RunTurn(false);
    return done();
  }

  ManualClock clock_;
  Loop loop_{clock_};
  Address address_;
  std::unique_ptr<ListenSocket> socket_;
  std::vector<int> accepted_;
  std::vector<Address> peers_;
  std::vector<int> clients_;
  int shed_ = 0;
};

// No more descriptors than there are now.
class NoMoreDescriptors {
 public:
  NoMoreDescriptors() {
    EXPECT_EQ(getrlimit(RLIMIT_NOFILE, &before_), 0);
    const int lowest = dup(0);
    close(lowest);
    rlimit now = before_;
    now.rlim_cur = static_cast<rlim_t>(lowest);
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &now), 0);
  }
  ~NoMoreDescriptors() { setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_;
};

TEST_F(ListenerTest, AcceptsAndTellsWhoItIs) {
  const int client = Connect();
  ASSERT_TRUE(RunUntil([&] { return accepted_.size() == 1; }));
  EXPECT_EQ(peers_[0], LocalAddress(client));
  EXPECT_NE(fcntl(accepted_[0], F_GETFL) & O_NONBLOCK, 0);
  EXPECT_NE(fcntl(accepted_[0], F_GETFD) & FD_CLOEXEC, 0);
}

TEST_F(ListenerTest, AcceptsInBatchesSoThatOthersHaveTheirTurn) {
  for (int i = 0; i < 100; ++i) Connect();
  loop_.RunTurn(false);
  EXPECT_GT(accepted_.size(), 0u);
  EXPECT_LT(accepted_.size(), 100u);
  EXPECT_TRUE(RunUntil([&] { return accepted_.size() == 100; }));
}

TEST_F(ListenerTest, AcceptAllTakesWhatWaitsBeforeTheSocketGoes) {
  for (int i = 0; i < 150; ++i) Connect();
  socket_->AcceptAll();
  EXPECT_EQ(accepted_.size(), 150u);
  socket_.reset();
  EXPECT_TRUE(Refused());
}

// Over loopback a handshake ends within connect(), unless somebody holds it up.
class ListenerHandshakeTest : public ListenerTest,
                              public ::testing::WithParamInterface<const char*> {};

TEST_P(ListenerHandshakeTest, ThoseUnderWayEndAndNoOtherBegins) {
  Listen(GetParam());
  const int slow = ConnectWithoutAck(address_);
  clients_.push_back(slow);
  ASSERT_TRUE(socket_->StopHandshakes());
  EXPECT_TRUE(Refused());
  ASSERT_EQ(send(slow, "hello", 5, MSG_NOSIGNAL), 5);
  socket_->AcceptAll();
  ASSERT_EQ(accepted_.size(), 1u);
  EXPECT_EQ(peers_[0], LocalAddress(slow));
  socket_.reset();
  // What was accepted goes on.
  char text[8];
  EXPECT_EQ(recv(accepted_[0], text, sizeof(text), MSG_DONTWAIT), 5);
  EXPECT_EQ(send(accepted_[0], "there", 5, MSG_NOSIGNAL), 5);
  EXPECT_EQ(recv(slow, text, sizeof(text), 0), 5);
  EXPECT_TRUE(Refused());
}

INSTANTIATE_TEST_SUITE_P(Families, ListenerHandshakeTest,
                         ::testing::Values("127.0.0.1:0", "[::1]:0"));

TEST_F(ListenerTest, OfASharedSocketEveryDescriptorIsKnown) {
  const int other = dup(socket_->fd());
  absl::StatusOr<int> unrelated = OpenListenSocket(address_, 16);
  ASSERT_TRUE(unrelated.ok());
  SharedSockets shared;
  EXPECT_FALSE(shared.Contains(socket_->fd()));
  shared.Add(other);
  EXPECT_TRUE(shared.Contains(socket_->fd()));
  EXPECT_FALSE(shared.Contains(*unrelated));
  EXPECT_TRUE(SharedSockets::All().Contains(*unrelated));
  close(other);
  close(*unrelated);
}

TEST_F(ListenerTest, OutOfDescriptorsClientsSeeAClosedConnectionAtOnce) {
  const std::vector<int> clients = {Connect(), Connect(), Connect()};
  {
    NoMoreDescriptors limit;
    EXPECT_TRUE(RunUntil([&] { return shed_ == 3; }));
  }
  EXPECT_TRUE(accepted_.empty());
  for (int client : clients) {
    char byte;
    EXPECT_EQ(recv(client, &byte, 1, 0), 0);
  }
  // And it goes on once there are some again.
  Connect();
  EXPECT_TRUE(RunUntil([&] { return accepted_.size() == 1; }));
  EXPECT_EQ(shed_, 3);
}

TEST_F(ListenerTest, SeveralSocketsShareAnAddress) {
  absl::StatusOr<int> second = OpenListenSocket(address_, 16);
  ASSERT_TRUE(second.ok()) << second.status();
  close(*second);
}

TEST_F(ListenerTest, AnAddressInUseSaysWhatToDo) {
  absl::StatusOr<int> second = OpenListenSocket(address_, 16, /*reuse_port=*/false);
  ASSERT_FALSE(second.ok());
  const std::string message(second.status().message());
  EXPECT_NE(message.find("cannot listen on " + address_.ToString()), std::string::npos) << message;
  EXPECT_NE(message.find("another process listens there"), std::string::npos) << message;
}

TEST(LocalAddressTest, OfNothingIsEmpty) { EXPECT_EQ(LocalAddress(-1).family(), AF_UNSPEC); }

}  // namespace
}  // namespace gatehouse::net
