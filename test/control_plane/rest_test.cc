#include "source/control_plane/rest.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "source/control_plane/folder_store.h"

namespace gatehouse::control {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

constexpr std::string_view kResources = "clusters:\n- {name: a, endpoints: [\"127.0.0.1:1\"]}\n";

std::string PostOf(std::string_view headers, std::string_view body) {
  return fmt::format("POST /v1/resources HTTP/1.1\r\n{}Content-Length: {}\r\n\r\n{}", headers,
                     body.size(), body);
}

// The API over a store without gateways and without a check.
class RestTest : public testing::Test {
 protected:
  RestTest() {
    std::string name = testing::TempDir() + "/restXXXXXX";
    folder_ = mkdtemp(name.data());
    store_ = *FolderStore::Open(folder_);
    editor_ = std::make_unique<Editor>(*store_, nullptr);
    api_ = std::make_unique<Api>(Api::Parts{.editor = *editor_, .store = *store_, .fleet = fleet_});
    server_ = *RestServer::Start({.address = "127.0.0.1:0"}, *api_);
  }
  ~RestTest() override {
    server_.reset();
    store_.reset();
    std::filesystem::remove_all(folder_);
  }

  // All that is answered to `bytes` on one connection.
  [[nodiscard]] std::string Answers(const std::string& bytes) const {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(server_->port()));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
    std::string answers;
    char buffer[4096];
    ssize_t got = 0;
    while ((got = recv(fd, buffer, sizeof(buffer), 0)) > 0) {
      answers.append(buffer, static_cast<size_t>(got));
    }
    close(fd);
    return answers;
  }

  std::string folder_;
  Fleet fleet_{"control-1"};
  std::unique_ptr<FolderStore> store_;
  std::unique_ptr<Editor> editor_;
  std::unique_ptr<Api> api_;
  std::unique_ptr<RestServer> server_;
};

TEST_F(RestTest, ChangesResources) {
  EXPECT_THAT(Answers(PostOf("Host: localhost\r\n", kResources)), StartsWith("HTTP/1.1 200"));
  EXPECT_EQ(store_->Current()->revision(), 1U);
}

TEST_F(RestTest, RefusesWebPagesAndNamesThatAreNotOurs) {
  EXPECT_THAT(Answers(PostOf("Host: localhost\r\nOrigin: http://evil.example\r\n", kResources)),
              StartsWith("HTTP/1.1 403"));
  EXPECT_THAT(Answers(PostOf("Host: evil.example\r\n", kResources)), StartsWith("HTTP/1.1 403"));
  EXPECT_EQ(store_->Current()->revision(), 0U);
}

// A web page chooses what is in a body, and it must never be read as a request: one without an
// Origin. The library reads ahead by 4 KiB, and forgets what it has read with the request.
TEST_F(RestTest, WhatIsRefusedIsNotReadOnAsAnotherRequest) {
  constexpr size_t kReadAhead = 4096;
  const std::string hidden = PostOf("Host: localhost\r\n", kResources);
  const std::string head = fmt::format(
      "POST / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\nContent-Length: "
      "{:06}\r\n\r\n",
      kReadAhead);
  const std::string request = head + std::string(kReadAhead - head.size(), 'x') + hidden;
  EXPECT_THAT(Answers(request), testing::Not(HasSubstr("HTTP/1.1 200")));
  EXPECT_EQ(store_->Current()->revision(), 0U);
}

}  // namespace
}  // namespace gatehouse::control
