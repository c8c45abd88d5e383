#include "source/net/listener.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "test/fakes/manual_clock.h"

namespace gatehouse::net {
namespace {

class ListenerTest : public ::testing::Test {
 protected:
  ListenerTest() {
    absl::StatusOr<int> fd = OpenListenSocket(*Address::Parse("127.0.0.1:0"), 512);
    EXPECT_TRUE(fd.ok()) << fd.status();
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
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  EXPECT_EQ(connect(fd, address_.raw(), address_.raw_size()), -1);
  EXPECT_EQ(errno, ECONNREFUSED);
  close(fd);
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
