#include "source/server/admin.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "gtest/gtest.h"

#include "test/fakes/manual_clock.h"

namespace gatehouse::server {
namespace {

class AdminTest : public ::testing::Test {
 protected:
  AdminTest() {
    const absl::StatusOr<int> fd =
        net::OpenListenSocket(*net::Address::Parse("127.0.0.1:0"), 256, /*reuse_port=*/false);
    EXPECT_TRUE(fd.ok());
    address_ = net::LocalAddress(*fd);
    admin_ = std::make_unique<Admin>(
        loop_, *fd, [this](http::Method method, std::string_view path, std::string_view query) {
          asked_ += std::string(http::MethodText(method)) + " " + std::string(path) + "?" +
                    std::string(query) + "\n";
          return reply_;
        });
  }
  ~AdminTest() override {
    for (int client : clients_) close(client);
  }
  int Connect() {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT_EQ(connect(fd, address_.raw(), address_.raw_size()), 0);
    clients_.push_back(fd);
    return fd;
  }
  void Send(int fd, std::string_view text) {
    ASSERT_EQ(send(fd, text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
  }
  // Reads until `done` says so or the connection ends.
  std::string Read(int fd, const std::function<bool(const std::string&)>& done) {
    std::string text;
    char buffer[65536];
    for (int i = 0; i < 20'000 && !done(text); ++i) {
      loop_.RunTurn(false);
      const ssize_t got = recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT);
      if (got > 0) text.append(buffer, static_cast<size_t>(got));
      if (got == 0) {
        text += "<end>";
        break;
      }
    }
    return text;
  }
  std::string Ask(int fd, std::string_view request, std::string tail = "body") {
    Send(fd, request);
    return Read(fd, [&](const std::string& text) { return text.ends_with(tail); });
  }

  ManualClock clock_;
  net::Loop loop_{clock_};
  net::Address address_;
  AdminReply reply_{.body = "the body"};
  std::string asked_;
  std::unique_ptr<Admin> admin_;
  std::vector<int> clients_;
};

TEST_F(AdminTest, AnswersWhatTheHandlerSays) {
  const int client = Connect();
  std::string reply = Ask(client, "GET /metrics?x=1 HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_TRUE(reply.starts_with("HTTP/1.1 200 OK\r\n")) << reply;
  EXPECT_NE(reply.find("content-type: text/plain; charset=utf-8\r\n"), std::string::npos) << reply;
  EXPECT_NE(reply.find("cache-control: no-store\r\n"), std::string::npos) << reply;
  EXPECT_TRUE(reply.ends_with("\r\n\r\nthe body")) << reply;
  reply_ = {.status = 405, .body = "not that body", .allow = "GET"};
  reply =
      Ask(client, "PUT /ready HTTP/1.1\r\nHost: 127.0.0.1:9901\r\nContent-Length: 4\r\n\r\nabcd");
  EXPECT_TRUE(reply.starts_with("HTTP/1.1 405 ")) << reply;
  EXPECT_NE(reply.find("allow: GET\r\n"), std::string::npos) << reply;
  EXPECT_EQ(asked_, "GET /metrics?x=1\nPUT /ready?\n");
}

TEST_F(AdminTest, AnEmptyReplyAndAHeadRequest) {
  reply_ = {.status = 204, .body = ""};
  const int client = Connect();
  EXPECT_TRUE(Ask(client, "GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n", "\r\n\r\n")
                  .starts_with("HTTP/1.1 204"));
  reply_ = {.body = "12345"};
  const std::string head = Ask(client, "HEAD /x HTTP/1.1\r\nHost: localhost\r\n\r\n", "\r\n\r\n");
  EXPECT_NE(head.find("content-length: 5\r\n"), std::string::npos) << head;
}

TEST_F(AdminTest, ALargeAnswerComesWhole) {
  reply_ = {.body = std::string(20 << 20, 'm') + "body"};
  const int client = Connect();
  const std::string reply = Ask(client, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(reply.size() - reply.find("\r\n\r\n") - 4, reply_.body.size());
}

TEST_F(AdminTest, AWebPageGetsNothing) {
  for (const char* request : {
           "GET /config HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\r\n",
           "GET /config HTTP/1.1\r\nHost: rebound.example\r\n\r\n",
           "POST /drain HTTP/1.1\r\nHost: localhost.evil.example:9901\r\n\r\n",
       }) {
    const int client = Connect();
    const std::string reply = Ask(client, request, "localhost.\n");
    EXPECT_TRUE(reply.starts_with("HTTP/1.1 403 ")) << reply;
  }
  EXPECT_EQ(asked_, "");
  for (const char* host :
       {"localhost", "LOCALHOST:9901", "127.0.0.1", "10.0.0.7:9901", "[::1]:9901"}) {
    const int client = Connect();
    EXPECT_TRUE(Ask(client, "GET / HTTP/1.1\r\nHost: " + std::string(host) + "\r\n\r\n")
                    .starts_with("HTTP/1.1 200 "))
        << host;
  }
}

TEST_F(AdminTest, GarbageIs400AndTheEnd) {
  const int client = Connect();
  Send(client, "GET / HTTP/1.1\nHost: localhost\n\n");
  shutdown(client, SHUT_WR);
  const std::string reply = Read(client, [](const std::string&) { return false; });
  EXPECT_TRUE(reply.starts_with("HTTP/1.1 400 ")) << reply;
  EXPECT_TRUE(reply.ends_with("<end>")) << reply;
}

TEST_F(AdminTest, AClientThatLeavesWhileItIsAnsweredHarmsNobody) {
  reply_ = {.body = std::string(20 << 20, 'm')};
  const int client = Connect();
  Send(client, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
  for (int i = 0; i < 50; ++i) loop_.RunTurn(false);
  const linger now{1, 0};
  setsockopt(client, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
  close(client);
  clients_.clear();
  for (int i = 0; i < 50; ++i) loop_.RunTurn(false);
  reply_ = {.body = "the body"};
  EXPECT_TRUE(Ask(Connect(), "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").ends_with("the body"));
}

TEST_F(AdminTest, ConnectionsAreBounded) {
  for (int i = 0; i < 70; ++i) Connect();
  for (int i = 0; i < 50; ++i) loop_.RunTurn(false);
  char byte;
  EXPECT_EQ(recv(clients_.back(), &byte, 1, MSG_DONTWAIT), 0);
  EXPECT_EQ(recv(clients_.front(), &byte, 1, MSG_DONTWAIT), -1);
  // One goes, another may come.
  close(clients_.front());
  clients_.erase(clients_.begin());
  for (int i = 0; i < 50; ++i) loop_.RunTurn(false);
  EXPECT_TRUE(Ask(Connect(), "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").ends_with("the body"));
}

TEST_F(AdminTest, OnceItStopsAcceptingWhatIsUnderWayGoesOn) {
  const int client = Connect();
  (void)Ask(client, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
  admin_->StopAccepting();
  EXPECT_TRUE(Ask(client, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").ends_with("the body"));
  const int refused = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  EXPECT_NE(connect(refused, address_.raw(), address_.raw_size()), 0);
  close(refused);
}

class AdminSocketTest : public ::testing::Test {
 protected:
  AdminSocketTest() {
    std::string pattern = "/tmp/adminXXXXXX";  // short: a unix socket's path has 107 bytes
    folder_ = mkdtemp(pattern.data());
    path_ = folder_ + "/admin.sock";
  }
  ~AdminSocketTest() override { std::filesystem::remove_all(folder_); }
  static std::string ErrorOf(const std::string& address) {
    const absl::StatusOr<int> fd = OpenAdminSocket(address);
    if (fd.ok()) close(*fd);
    return std::string(fd.status().message());
  }

  std::string folder_;
  std::string path_;
};

TEST_F(AdminSocketTest, ASocketThatIsLeftOverIsReplaced) {
  close(*OpenAdminSocket("unix:" + path_));
  ASSERT_TRUE(std::filesystem::exists(path_));
  EXPECT_EQ(ErrorOf("unix:" + path_), "");
}

TEST_F(AdminSocketTest, ASocketThatIsInUseStays) {
  const int fd = *OpenAdminSocket("unix:" + path_);
  EXPECT_NE(ErrorOf("unix:" + path_).find("another process listens there"), std::string::npos);
  EXPECT_TRUE(std::filesystem::exists(path_));
  close(fd);
}

TEST_F(AdminSocketTest, AFileIsNotReplaced) {
  std::ofstream(path_) << "precious";
  EXPECT_NE(ErrorOf("unix:" + path_).find("something else"), std::string::npos);
  EXPECT_EQ(std::filesystem::file_size(path_), 8u);
}

TEST_F(AdminSocketTest, KnowsItsAddress) {
  const int local = *OpenAdminSocket("unix:" + path_);
  EXPECT_TRUE(IsAdminSocket(local, "unix:" + path_));
  EXPECT_FALSE(IsAdminSocket(local, "unix:" + path_ + "2"));
  EXPECT_FALSE(IsAdminSocket(local, "127.0.0.1:9901"));
  const int tcp = *OpenAdminSocket("127.0.0.1:0");
  EXPECT_TRUE(IsAdminSocket(tcp, "127.0.0.1:0"));
  EXPECT_TRUE(IsAdminSocket(tcp, net::LocalAddress(tcp).ToString()));
  EXPECT_FALSE(IsAdminSocket(tcp, "127.0.0.2:0"));
  EXPECT_FALSE(IsAdminSocket(tcp, "127.0.0.1:1"));
  EXPECT_FALSE(IsAdminSocket(tcp, "[::1]:0"));
  EXPECT_FALSE(IsAdminSocket(tcp, "unix:" + path_));
  close(local);
  close(tcp);
}

}  // namespace
}  // namespace gatehouse::server
