// The old process and the new one in one: the old one's loop runs in a thread of its own, since
// asking waits for it.
#include "source/server/takeover.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

#include "source/net/listener.h"
#include "test/fakes/manual_clock.h"

namespace gatehouse::server {
namespace {

class TakeoverTest : public ::testing::Test {
 protected:
  TakeoverTest() {
    std::string pattern = "/tmp/takeoverXXXXXX";  // short: a unix socket's path has 107 bytes
    folder_ = mkdtemp(pattern.data());
    path_ = folder_ + "/upgrade.sock";
  }
  ~TakeoverTest() override {
    StopOld();
    for (auto& [address, sockets] : offered_) {
      for (int fd : sockets) close(fd);
    }
    std::filesystem::remove_all(folder_);
  }

  // A process that offers what is in offered_.
  void StartOld() {
    absl::StatusOr<std::unique_ptr<TakeoverOffer>> offer =
        TakeoverOffer::Open(loop_, path_, {[this] { return offered_; }, [this] { ++replaced_; }});
    ASSERT_TRUE(offer.ok()) << offer.status();
    offer_ = *std::move(offer);
    old_ = std::thread([this] { loop_.Run(); });
  }
  void StopOld() {
    if (old_.joinable()) {
      loop_.Stop();
      old_.join();
    }
    offer_.reset();
  }
  // What the old process has done by the time it has seen this message.
  void WaitForOld() {
    std::atomic<int> turns = 0;
    for (int i = 0; i < 3; ++i) {
      loop_.Post([&] { turns.fetch_add(1); });
      while (turns.load() <= i) std::this_thread::yield();
    }
  }
  std::unique_ptr<Takeover> Ask() {
    absl::StatusOr<std::unique_ptr<Takeover>> asked = Takeover::Ask(path_);
    EXPECT_TRUE(asked.ok()) << asked.status();
    return asked.ok() ? *std::move(asked) : nullptr;
  }
  int Listen() {
    absl::StatusOr<int> fd = net::OpenListenSocket(*net::Address::Parse("127.0.0.1:0"), 16);
    EXPECT_TRUE(fd.ok());
    return *fd;
  }

  ManualClock clock_;
  net::Loop loop_{clock_};
  std::string folder_;
  std::string path_;
  SocketSet offered_;
  std::unique_ptr<TakeoverOffer> offer_;
  std::atomic<int> replaced_ = 0;
  std::thread old_;
};

TEST_F(TakeoverTest, NobodyThereIsNoError) {
  EXPECT_EQ(Ask(), nullptr);
  // A socket that somebody left behind is nobody, too.
  StartOld();
  std::filesystem::create_hard_link(path_, path_ + ".left");
  StopOld();
  std::filesystem::rename(path_ + ".left", path_);
  EXPECT_EQ(Ask(), nullptr);
}

TEST_F(TakeoverTest, TheSocketsKeepTheirConnections) {
  const int fd = Listen();
  const net::Address address = net::LocalAddress(fd);
  offered_["127.0.0.1:80"] = {fd, Listen()};
  offered_["[::1]:81"] = {Listen()};
  // This one waits in the queue while the sockets change hands.
  const int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(connect(client, address.raw(), address.raw_size()), 0);
  StartOld();
  std::unique_ptr<Takeover> takeover = Ask();
  ASSERT_NE(takeover, nullptr);
  std::vector<int> taken = takeover->Take("127.0.0.1:80");
  ASSERT_EQ(taken.size(), 2u);
  EXPECT_EQ(net::LocalAddress(taken[0]), address);
  EXPECT_TRUE(takeover->Take("127.0.0.1:80").empty());
  EXPECT_TRUE(takeover->Take("127.0.0.1:99").empty());
  takeover->TellReady();
  while (replaced_ == 0) std::this_thread::yield();
  for (auto& [name, sockets] : offered_) {
    for (int old : std::exchange(sockets, {})) close(old);
  }
  const int accepted = accept4(taken[0], nullptr, nullptr, SOCK_CLOEXEC);
  EXPECT_GE(accepted, 0);
  close(accepted);
  close(client);
  for (int mine : taken) close(mine);
}

TEST_F(TakeoverTest, MoreSocketsThanOneMessageHolds) {
  for (int i = 0; i < 300; ++i) offered_["a"].push_back(dup(0));
  offered_["b"] = {dup(0)};
  StartOld();
  std::unique_ptr<Takeover> takeover = Ask();
  ASSERT_NE(takeover, nullptr);
  std::vector<int> taken = takeover->Take("a");
  EXPECT_EQ(taken.size(), 300u);
  EXPECT_EQ(takeover->Take("b").size(), 1u);
  for (int fd : taken) close(fd);
}

TEST_F(TakeoverTest, MoreListenersThanTheSocketHoldsAtOnce) {
  for (int i = 0; i < 600; ++i) {
    offered_[std::string(400, 'x') + std::to_string(i)] = {dup(0)};
  }
  StartOld();
  std::unique_ptr<Takeover> takeover = Ask();
  ASSERT_NE(takeover, nullptr);
  for (const auto& [address, sockets] : offered_) {
    const std::vector<int> taken = takeover->Take(address);
    ASSERT_EQ(taken.size(), 1u);
    close(taken[0]);
  }
}

TEST_F(TakeoverTest, NoListenersAtAllIsAnAnswer) {
  StartOld();
  std::unique_ptr<Takeover> takeover = Ask();
  ASSERT_NE(takeover, nullptr);
  EXPECT_TRUE(takeover->Take("a").empty());
}

TEST_F(TakeoverTest, ANewProcessThatGivesUpChangesNothing) {
  offered_["a"] = {Listen()};
  StartOld();
  Ask().reset();
  WaitForOld();
  EXPECT_EQ(replaced_, 0);
  // The next one is served as if nothing had happened.
  std::unique_ptr<Takeover> takeover;
  while ((takeover = Takeover::Ask(path_).value_or(nullptr)) == nullptr) std::this_thread::yield();
  const std::vector<int> taken = takeover->Take("a");
  EXPECT_EQ(taken.size(), 1u);
  takeover->TellReady();
  while (replaced_ == 0) std::this_thread::yield();
  for (int fd : taken) close(fd);
}

TEST_F(TakeoverTest, AlsoWhenThereIsNoDescriptorLeft) {
  offered_["a"] = {Listen()};
  StartOld();
  const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path_.c_str(), sizeof(address.sun_path) - 1);
  std::vector<int> all;
  for (int one = dup(fd); one >= 0; one = dup(fd)) all.push_back(one);
  char text[16] = {};
  const bool asked = connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
  const ssize_t got = asked ? recv(fd, text, sizeof(text), 0) : -1;
  for (int one : all) close(one);
  close(fd);
  EXPECT_EQ(got, 1);
  EXPECT_EQ(text[0], 'a');
}

TEST_F(TakeoverTest, OneAtATime) {
  offered_["a"] = {Listen()};
  StartOld();
  std::unique_ptr<Takeover> first = Ask();
  ASSERT_NE(first, nullptr);
  const absl::StatusOr<std::unique_ptr<Takeover>> second = Takeover::Ask(path_);
  EXPECT_FALSE(second.ok());
  EXPECT_NE(second.status().message().find("went away"), std::string::npos) << second.status();
}

TEST_F(TakeoverTest, OnlyThisUserMayAsk) {
  StartOld();
  struct stat file{};
  ASSERT_EQ(stat(path_.c_str(), &file), 0);
  EXPECT_EQ(file.st_mode & 0777, 0600u | S_IXUSR);
}

TEST_F(TakeoverTest, ASocketOfAnotherUserIsNotBelieved) {
  constexpr uid_t kNobody = 65534;
  std::filesystem::permissions(folder_, std::filesystem::perms::all);
  const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path_.c_str(), sizeof(address.sun_path) - 1);
  if (seteuid(kNobody) != 0) GTEST_SKIP() << "only root can be somebody else";
  const bool listens =
      bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0 && listen(fd, 1) == 0;
  ASSERT_EQ(seteuid(0), 0);
  ASSERT_TRUE(listens);
  EXPECT_NE(Takeover::Ask(path_).status().message().find("another user"), std::string::npos);
  close(fd);
}

TEST_F(TakeoverTest, ThePathBelongsToTheNewProcessOnceItIsReady) {
  StartOld();
  std::unique_ptr<Takeover> takeover = Ask();
  ASSERT_NE(takeover, nullptr);
  net::Loop new_loop(clock_);
  absl::StatusOr<std::unique_ptr<TakeoverOffer>> next =
      TakeoverOffer::Open(new_loop, path_, {[] { return SocketSet(); }, [] {}});
  ASSERT_TRUE(next.ok()) << next.status();
  takeover->TellReady();
  while (replaced_ == 0) std::this_thread::yield();
  StopOld();
  EXPECT_TRUE(std::filesystem::exists(path_));
  next->reset();
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(TakeoverTest, WhoHasWithdrawnIsNobody) {
  offered_["a"] = {Listen()};
  StartOld();
  std::unique_ptr<Takeover> first = Ask();
  ASSERT_NE(first, nullptr);
  loop_.Post([this] { offer_->Withdraw(); });
  WaitForOld();
  EXPECT_FALSE(std::filesystem::exists(path_));
  EXPECT_EQ(Ask(), nullptr);
  first->TellReady();
  WaitForOld();
  EXPECT_EQ(replaced_, 0);
}

// Its sockets are closed by then, and their numbers are clients'.
TEST_F(TakeoverTest, WhoHasBeenReplacedOffersNothing) {
  offered_["a"] = {Listen()};
  StartOld();
  std::unique_ptr<Takeover> takeover = Ask();
  ASSERT_NE(takeover, nullptr);
  takeover->TellReady();
  while (replaced_ == 0) std::this_thread::yield();
  EXPECT_EQ(Ask(), nullptr);
  // The new process may put its own there at any moment: the old one leaves the path alone.
  EXPECT_TRUE(std::filesystem::exists(path_));
}

TEST_F(TakeoverTest, ThePathOfAnotherProcessStays) {
  StartOld();
  net::Loop new_loop(clock_);
  absl::StatusOr<std::unique_ptr<TakeoverOffer>> next =
      TakeoverOffer::Open(new_loop, path_, {[] { return SocketSet(); }, [] {}});
  ASSERT_TRUE(next.ok()) << next.status();
  StopOld();  // before it has heard of the new one
  EXPECT_TRUE(std::filesystem::exists(path_));
}

TEST_F(TakeoverTest, APathThatIsTooLongOrNowhereSaysSo) {
  const std::string longer = "/tmp/" + std::string(200, 'x');
  EXPECT_NE(Takeover::Ask(longer).status().message().find("too long"), std::string::npos);
  EXPECT_FALSE(TakeoverOffer::Open(loop_, longer, {}).ok());
  const auto nowhere = TakeoverOffer::Open(loop_, folder_ + "/none/x.sock", {});
  EXPECT_NE(nowhere.status().message().find("cannot listen at"), std::string::npos)
      << nowhere.status();
}

TEST_F(TakeoverTest, AnOldProcessThatDiesInBetweenIsAnError) {
  const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path_.c_str(), sizeof(address.sun_path) - 1);
  ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(listen(fd, 1), 0);
  std::thread dying([fd] { close(accept(fd, nullptr, nullptr)); });
  EXPECT_NE(Takeover::Ask(path_).status().message().find("went away"), std::string::npos);
  dying.join();
  close(fd);
}

}  // namespace
}  // namespace gatehouse::server
