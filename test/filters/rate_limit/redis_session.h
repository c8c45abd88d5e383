// RedisSession: a blocking connection to a Redis server, for any bytes.
//
//   RedisSession session(redis.port());
//   EXPECT_EQ(session.Call({"SET", "a", "1"}).text, "OK");
#pragma once

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

namespace gatehouse::filters {

struct RedisValue {
  char type = '_';  // as RESP has it; '_': nothing came
  std::string text;
  int64_t integer = 0;
  bool null = false;
  std::vector<RedisValue> elements;
};

class RedisSession {
 public:
  explicit RedisSession(uint16_t port) {
    fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
    const int on = 1;
    setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  }
  ~RedisSession() { close(fd_); }
  RedisSession(const RedisSession&) = delete;
  RedisSession& operator=(const RedisSession&) = delete;

  [[nodiscard]] bool connected() const { return connected_; }

  RedisValue Call(const std::vector<std::string>& words) {
    std::string text = "*" + std::to_string(words.size()) + "\r\n";
    for (const std::string& word : words) {
      text += "$" + std::to_string(word.size()) + "\r\n" + word + "\r\n";
    }
    for (size_t sent = 0; sent < text.size();) {
      const ssize_t n = send(fd_, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
      if (n <= 0) return {};
      sent += static_cast<size_t>(n);
    }
    return Read();
  }

 private:
  bool Fill() {
    char buffer[16384];
    const ssize_t n = recv(fd_, buffer, sizeof(buffer), 0);
    if (n <= 0) return false;
    in_.erase(0, at_);
    at_ = 0;
    in_.append(buffer, static_cast<size_t>(n));
    return true;
  }
  RedisValue Read() {
    size_t end;
    while ((end = in_.find("\r\n", at_)) == std::string::npos) {
      if (!Fill()) return {};
    }
    RedisValue value;
    value.type = in_[at_];
    value.text = in_.substr(at_ + 1, end - at_ - 1);
    at_ = end + 2;
    if (value.type == '+' || value.type == '-') return value;
    value.integer = std::strtoll(value.text.c_str(), nullptr, 10);
    if (value.type == ':') return value;
    value.null = value.integer < 0;
    value.text.clear();
    if (value.null) return value;
    if (value.type == '*') {
      for (int64_t i = 0; i < value.integer; ++i) value.elements.push_back(Read());
      return value;
    }
    const auto size = static_cast<size_t>(value.integer);
    while (in_.size() - at_ < size + 2) {
      if (!Fill()) return {};
    }
    value.text = in_.substr(at_, size);
    at_ += size + 2;
    return value;
  }

  int fd_;
  bool connected_;
  std::string in_;
  size_t at_ = 0;
};

}  // namespace gatehouse::filters
