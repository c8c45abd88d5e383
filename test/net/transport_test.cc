// PlainTransport over real sockets of the loopback.
#include "source/net/transport.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <utility>

#include "gtest/gtest.h"

#include "test/fakes/manual_clock.h"

namespace gatehouse::net {
namespace {

// A listening socket on a free port.
class Server {
 public:
  Server() : fd_(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
    const Address any = *Address::Parse("127.0.0.1:0");
    EXPECT_EQ(bind(fd_, any.raw(), any.raw_size()), 0);
    EXPECT_EQ(listen(fd_, 16), 0);
    sockaddr_in bound{};
    socklen_t size = sizeof(bound);
    EXPECT_EQ(getsockname(fd_, reinterpret_cast<sockaddr*>(&bound), &size), 0);
    address = Address(reinterpret_cast<const sockaddr*>(&bound));
  }
  ~Server() { Close(); }
  void Close() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }
  [[nodiscard]] int Accept() const { return accept4(fd_, nullptr, nullptr, SOCK_NONBLOCK); }

  Address address;

 private:
  int fd_;
};

class TransportTest : public ::testing::Test {
 protected:
  ~TransportTest() override {
    transport_.reset();
    ClosePeer();
  }
  void Listen(PlainTransport& transport) {
    transport.SetReady(this, [](void* self, Ready ready) {
      auto* test = static_cast<TransportTest*>(self);
      ++test->events_;
      test->hangup_ |= ready.hangup;
    });
  }
  void Open() {
    int error = 0;
    transport_ = PlainTransport::Connect(loop_, server_.address, &error);
    ASSERT_NE(transport_, nullptr);
    EXPECT_FALSE(transport_->may_write());
    Listen(*transport_);
    ASSERT_TRUE(RunUntil([&] { return transport_->may_write(); }));
    EXPECT_EQ(transport_->ConnectError(), 0);
    ASSERT_TRUE(RunUntil([&] { return peer_ >= 0 || (peer_ = server_.Accept()) >= 0; }));
  }
  bool RunUntil(const std::function<bool()>& done) {
    for (int i = 0; i < 100'000; ++i) {
      if (done()) return true;
      loop_.RunTurn(false);
    }
    return false;
  }
  void Send(std::string_view text) {
    ASSERT_EQ(send(peer_, text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
  }
  std::string ReceiveAll() {
    std::string text;
    char buffer[65536];
    for (ssize_t got; (got = recv(peer_, buffer, sizeof(buffer), MSG_DONTWAIT)) > 0;) {
      text.append(buffer, static_cast<size_t>(got));
    }
    return text;
  }
  void ClosePeer() {
    if (peer_ >= 0) close(peer_);
    peer_ = -1;
  }
  void ResetPeer() {
    const linger now{1, 0};
    setsockopt(peer_, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    ClosePeer();
  }
  // As an owner does: whatever is there, as long as the transport says so.
  IoStatus ReadAll(std::string* text, size_t limit = 16384) {
    IoStatus status = IoStatus::kWouldBlock;
    while (transport_->may_read()) {
      Chain chain;
      status = transport_->Read(chain, limit);
      while (chain.slices() > 0) *text += chain.TakeFront().view();
      if (status != IoStatus::kOk) break;
    }
    return status;
  }

  ManualClock clock_;
  Loop loop_{clock_};
  Server server_;
  int peer_ = -1;
  std::unique_ptr<PlainTransport> transport_;
  int events_ = 0;
  bool hangup_ = false;
};

// The reset and the bytes before it make one event, which looks like any other.
TEST_F(TransportTest, AResetRightBehindBytesIsFoundByWhoReadsOn) {
  Open();
  Send("half a mess");
  ResetPeer();
  const int before = events_;
  ASSERT_TRUE(RunUntil([&] { return events_ > before; }));
  std::string text;
  IoStatus status = ReadAll(&text);
  if (status == IoStatus::kOk) {
    EXPECT_EQ(text, "half a mess");
    ASSERT_TRUE(transport_->may_read_on());
    Chain chain;
    status = transport_->Read(chain, 16384);
  }
  EXPECT_EQ(status, IoStatus::kError);
  EXPECT_FALSE(transport_->may_read_on());
}

TEST_F(TransportTest, AShortReadSaysThatNothingMoreIsThere) {
  Open();
  EXPECT_TRUE(transport_->registered());
  Send("hello");
  ASSERT_TRUE(RunUntil([&] { return transport_->may_read(); }));
  Chain chain;
  EXPECT_EQ(transport_->Read(chain, 16384), IoStatus::kOk);
  EXPECT_EQ(chain.front(), "hello");
  EXPECT_FALSE(transport_->may_read());
  EXPECT_EQ(transport_->Read(chain, 16384), IoStatus::kWouldBlock);
  Send(" again");
  ASSERT_TRUE(RunUntil([&] { return transport_->may_read(); }));
  // It goes behind what is there already, into the same slab.
  EXPECT_EQ(transport_->Read(chain, 16384), IoStatus::kOk);
  EXPECT_EQ(chain.front(), "hello again");
  EXPECT_EQ(chain.slices(), 1u);
}

TEST_F(TransportTest, NothingIsHeldWhileNothingIsThere) {
  Open();
  Chain chain;
  for (size_t limit : {size_t{1}, size_t{16384}, size_t{262144}}) {
    EXPECT_EQ(transport_->Read(chain, limit), IoStatus::kWouldBlock);
  }
  EXPECT_EQ(chain.slices(), 0u);
  EXPECT_EQ(loop_.slabs().in_use_bytes(), 0u);
}

TEST_F(TransportTest, OneReadFillsManySlabs) {
  Open();
  std::string body(150'000, 'x');
  std::mt19937 random(5);
  for (char& c : body) c = static_cast<char>('a' + random() % 26);
  std::string_view left = body;
  std::string got;
  size_t most = 0;
  ASSERT_TRUE(RunUntil([&] {
    const ssize_t sent = send(peer_, left.data(), left.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) left.remove_prefix(static_cast<size_t>(sent));
    while (transport_->may_read()) {
      Chain chain;
      if (transport_->Read(chain, 262144) != IoStatus::kOk) break;
      most = std::max(most, chain.slices());
      while (chain.slices() > 0) got += chain.TakeFront().view();
    }
    return got.size() >= body.size();
  }));
  EXPECT_TRUE(got == body);
  EXPECT_GT(most, 2u);
  EXPECT_EQ(loop_.slabs().in_use_bytes(), 0u);
}

TEST_F(TransportTest, TheEndOfFileBehindTheLastBytesIsSeenThoughTheReadWasShort) {
  Open();
  Send("bye");
  ASSERT_EQ(shutdown(peer_, SHUT_WR), 0);
  ASSERT_TRUE(RunUntil([&] { return hangup_; }));
  std::string text;
  EXPECT_EQ(ReadAll(&text), IoStatus::kEof);
  EXPECT_EQ(text, "bye");
  // Half-closed: the other direction still works.
  Chain out;
  out.AppendCopy("still here", loop_.slabs());
  EXPECT_EQ(transport_->Write(out), IoStatus::kOk);
  std::string seen;
  EXPECT_TRUE(RunUntil([&] { return (seen += ReceiveAll()) == "still here"; }));
}

TEST_F(TransportTest, TheEndOfFileAloneIsAnEvent) {
  Open();
  Send("x");
  ASSERT_TRUE(RunUntil([&] { return transport_->may_read(); }));
  std::string text;
  EXPECT_NE(ReadAll(&text), IoStatus::kEof);
  ASSERT_EQ(shutdown(peer_, SHUT_WR), 0);
  ASSERT_TRUE(RunUntil([&] { return transport_->may_read(); }));
  EXPECT_EQ(ReadAll(&text), IoStatus::kEof);
  EXPECT_EQ(text, "x");
}

TEST_F(TransportTest, AResetFailsReadsAndWrites) {
  Open();
  ResetPeer();
  ASSERT_TRUE(RunUntil([&] { return transport_->may_read(); }));
  std::string text;
  EXPECT_EQ(ReadAll(&text), IoStatus::kError);
  Chain out;
  out.AppendCopy("x", loop_.slabs());
  EXPECT_EQ(transport_->Write(out), IoStatus::kError);
}

TEST_F(TransportTest, WritesAreHeldBackUntilThePeerReads) {
  Open();
  std::string body(8 << 20, 'b');
  std::mt19937 random(6);
  for (size_t i = 0; i < body.size(); i += 997) body[i] = static_cast<char>('a' + random() % 26);
  Chain out;
  out.AppendCopy(body, loop_.slabs());
  EXPECT_EQ(transport_->Write(out), IoStatus::kOk);
  ASSERT_FALSE(out.empty());
  EXPECT_FALSE(transport_->may_write());
  EXPECT_EQ(transport_->Write(out), IoStatus::kWouldBlock);
  std::string seen;
  ASSERT_TRUE(RunUntil([&] {
    seen += ReceiveAll();
    if (transport_->may_write() && !out.empty()) {
      EXPECT_NE(transport_->Write(out), IoStatus::kError);
    }
    return seen.size() == body.size();
  }));
  EXPECT_TRUE(seen == body);
  EXPECT_TRUE(out.empty());
}

TEST_F(TransportTest, ShutdownEndsOneDirection) {
  Open();
  transport_->Shutdown();
  char byte;
  ASSERT_TRUE(RunUntil([&] { return recv(peer_, &byte, 1, MSG_DONTWAIT) == 0; }));
  Send("answer");
  std::string text;
  ASSERT_TRUE(RunUntil([&] {
    (void)ReadAll(&text);
    return text == "answer";
  }));
}

TEST_F(TransportTest, AbortResetsThePeer) {
  Open();
  transport_->Abort();
  transport_.reset();
  char byte;
  ssize_t got = 0;
  int error = 0;
  ASSERT_TRUE(RunUntil([&] {
    got = recv(peer_, &byte, 1, MSG_DONTWAIT);
    error = errno;
    return got >= 0 || error != EAGAIN;
  }));
  EXPECT_EQ(got, -1);
  EXPECT_EQ(error, ECONNRESET);
}

TEST_F(TransportTest, ARefusedConnectIsToldWhenItIsWriteReady) {
  server_.Close();
  int error = 0;
  transport_ = PlainTransport::Connect(loop_, server_.address, &error);
  if (transport_ == nullptr) {
    EXPECT_EQ(error, ECONNREFUSED);
    return;
  }
  Listen(*transport_);
  ASSERT_TRUE(RunUntil([&] { return transport_->may_write(); }));
  EXPECT_EQ(transport_->ConnectError(), ECONNREFUSED);
}

TEST_F(TransportTest, AnAddressOfAnotherFamilyIsAnErrorAtOnce) {
  int error = 0;
  EXPECT_EQ(PlainTransport::Connect(loop_, Address(), &error), nullptr);
  EXPECT_NE(error, 0);
}

}  // namespace
}  // namespace gatehouse::net
