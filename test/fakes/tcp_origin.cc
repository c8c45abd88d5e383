#include "test/fakes/tcp_origin.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <charconv>

#include "source/base/check.h"

namespace gatehouse {

TcpOrigin::Connection::~Connection() { Close(); }

void TcpOrigin::Connection::Send(std::string_view bytes) {
  unsent_ += bytes;
  Write();
}

void TcpOrigin::Connection::Write() {
  while (!unsent_.empty() && fd_ >= 0) {
    const ssize_t sent = send(fd_, unsent_.data(), unsent_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent <= 0) return;
    unsent_.erase(0, static_cast<size_t>(sent));
  }
}

void TcpOrigin::Connection::Close() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

void TcpOrigin::Connection::Reset() {
  const linger now{1, 0};
  if (fd_ >= 0) setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
  Close();
}

void TcpOrigin::Connection::Read() {
  char buffer[65536];
  while (fd_ >= 0 && !ended_) {
    const ssize_t got = recv(fd_, buffer, sizeof(buffer), MSG_DONTWAIT);
    if (got > 0) {
      received_.append(buffer, static_cast<size_t>(got));
      continue;
    }
    if (got == 0 || (errno != EAGAIN && errno != EINTR)) ended_ = true;
    return;
  }
}

size_t TcpOrigin::Connection::CountRequests() {
  size_t count = 0;
  while (true) {
    const size_t end = received_.find("\r\n\r\n", parsed_);
    if (end == std::string::npos) break;
    const std::string_view head = std::string_view(received_).substr(parsed_, end - parsed_);
    size_t length = 0;
    static constexpr std::string_view kLength = "\r\ncontent-length: ";
    std::string lower(head);
    for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    if (const size_t at = lower.find(kLength); at != std::string::npos) {
      const char* digits = lower.data() + at + kLength.size();
      std::from_chars(digits, lower.data() + lower.size(), length);
    }
    // A chunked body ends with the first empty chunk; none of the tests hides one in its data.
    if (lower.find("\r\ntransfer-encoding: chunked") != std::string::npos) {
      const size_t last = received_.find("\r\n0\r\n", end + 2);
      const size_t stop = last == std::string::npos ? last : received_.find("\r\n\r\n", last + 3);
      if (stop == std::string::npos) break;
      length = stop - end;
    }
    if (received_.size() < end + 4 + length) break;
    parsed_ = end + 4 + length;
    ++count;
  }
  requests_ += count;
  return count;
}

TcpOrigin::TcpOrigin(int backlog)
    : fd_(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
  CHECK(fd_ >= 0);
  net::IpAddress loopback;
  CHECK(net::IpAddress::Parse("127.0.0.1", &loopback));
  const net::Address any(loopback, 0);
  CHECK(bind(fd_, any.raw(), any.raw_size()) == 0);
  CHECK(listen(fd_, backlog) == 0);
  sockaddr_in bound{};
  socklen_t size = sizeof(bound);
  CHECK(getsockname(fd_, reinterpret_cast<sockaddr*>(&bound), &size) == 0);
  address_ = net::Address(reinterpret_cast<const sockaddr*>(&bound));
}

TcpOrigin::~TcpOrigin() { StopListening(); }

void TcpOrigin::StopListening() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

void TcpOrigin::Step() {
  while (accepting_ && fd_ >= 0) {
    const int fd = accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) break;
    // What is sent in pieces arrives in pieces.
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    connections_.push_back(std::make_unique<Connection>(fd));
  }
  for (const std::unique_ptr<Connection>& connection : connections_) {
    connection->Write();
    connection->Read();
    const size_t requests = connection->CountRequests();
    for (size_t i = 0; i < requests && auto_answer_; ++i) connection->Send(kOk);
  }
}

size_t TcpOrigin::requests() const {
  size_t count = 0;
  for (const std::unique_ptr<Connection>& connection : connections_) {
    count += connection->requests();
  }
  return count;
}

}  // namespace gatehouse
