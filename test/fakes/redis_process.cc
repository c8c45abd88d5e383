#include "test/fakes/redis_process.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <string_view>
#include <utility>

#include "source/base/check.h"
#include "source/upstream/redis_codec.h"

namespace gatehouse {
namespace {

using upstream::RedisReply;

constexpr int kStarts = 20;
constexpr std::chrono::seconds kPatience{30};

sockaddr_in Loopback(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

std::string TextOf(const RedisReply& reply) {
  switch (reply.type) {
    case RedisReply::Type::kNull:
      return "(nil)";
    case RedisReply::Type::kInteger:
      return std::to_string(reply.integer);
    case RedisReply::Type::kString:
    case RedisReply::Type::kStatus:
      return std::string(reply.text);
    case RedisReply::Type::kError:
      return "ERROR " + std::string(reply.text);
    case RedisReply::Type::kArray:
      break;
  }
  std::string text;
  for (const RedisReply& element : reply.elements) {
    if (!text.empty()) text += ' ';
    text += TextOf(element);
  }
  return text;
}

// A moment, or less if the process ends.
void WaitForEnd(pid_t pid) {
  const auto fd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  pollfd waiting{fd, POLLIN, 0};
  poll(&waiting, 1, 2);
  if (fd >= 0) close(fd);
}

std::string Encode(const std::vector<std::string>& command) {
  std::string out = "*" + std::to_string(command.size()) + "\r\n";
  for (const std::string& word : command) {
    out += "$" + std::to_string(word.size()) + "\r\n" + word + "\r\n";
  }
  return out;
}

// One reply, or nothing when the connection ends.
std::string ReadReply(int fd) {
  std::string bytes;
  upstream::RedisScanner scanner;
  for (;;) {
    char buffer[4096];
    const ssize_t got = recv(fd, buffer, 1, 0);
    if (got <= 0) return "ERROR the connection ended";
    bytes.append(buffer, static_cast<size_t>(got));
    size_t taken = 0;
    const auto status = scanner.Feed({buffer, static_cast<size_t>(got)}, &taken);
    CHECK(status != upstream::RedisScanner::Status::kBroken);
    if (status == upstream::RedisScanner::Status::kMore) continue;
    upstream::RedisReplyReader reader;
    return TextOf(reader.Read(bytes, scanner.values()));
  }
}

}  // namespace

RedisProcess::RedisProcess(Unstarted, std::vector<std::string> options)
    : options_(std::move(options)), port_(FreePort()) {
  char folder[] = "/tmp/gatehouse-redis-XXXXXX";
  CHECK(mkdtemp(folder) != nullptr);
  folder_ = folder;
}

RedisProcess::RedisProcess(std::vector<std::string> options)
    : RedisProcess(Unstarted{}, std::move(options)) {
  Start();
}

RedisProcess::~RedisProcess() {
  Kill();
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

// Not one that the system gives to those who ask for any: the next connection could be given it,
// and a server that is killed and started again would not have it back.
uint16_t RedisProcess::FreePort() {
  static std::random_device device;
  for (;;) {
    const auto port = static_cast<uint16_t>(12'000 + device() % 20'000);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const sockaddr_in address = Loopback(port);
    const bool bound = bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
    close(fd);
    if (bound) return port;
  }
}

void RedisProcess::Write(const std::string& name, const std::string& text) const {
  std::ofstream(folder_ + "/" + name) << text;
}

void RedisProcess::Start() {
  CHECK(pid_ < 0);
  for (int i = 0; i < kStarts; ++i) {
    if (Launch()) return;
    // Somebody else has the port, or its former owner's connections still linger.
  }
  CHECK(false && "redis-server does not start");
}

bool RedisProcess::Launch() {
  std::vector<std::string> words = {"redis-server"};
  const bool configured = !options_.empty() && options_[0].ends_with(".conf");
  if (configured) words.push_back(folder_ + "/" + options_[0]);
  for (const char* word : {"--bind", "127.0.0.1", "--save", "", "--appendonly", "no"}) {
    if (!configured) words.emplace_back(word);
  }
  bool has_port = false;
  for (size_t i = configured ? 1 : 0; i < options_.size(); ++i) {
    has_port |= options_[i] == "--port" || options_[i] == "--tls-port";
    words.push_back(options_[i] == "PORT" ? std::to_string(port_) : options_[i]);
  }
  if (!has_port) words.insert(words.end(), {"--port", std::to_string(port_)});
  words.insert(words.end(), {"--dir", folder_});
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const std::string log = folder_ + "/log";
  const pid_t parent = getpid();
  pid_ = fork();
  CHECK(pid_ >= 0);
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    const int fd = open(log.c_str(), O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
    dup2(fd, 1);
    dup2(fd, 2);
    execvp(argv[0], argv.data());
    _exit(127);
  }
  const auto until = std::chrono::steady_clock::now() + kPatience;
  while (std::chrono::steady_clock::now() < until) {
    int status = 0;
    if (waitpid(pid_, &status, WNOHANG) == pid_) {
      pid_ = -1;
      return false;
    }
    // TLS servers have no other way of saying that they are there.
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const sockaddr_in address = Loopback(port_);
    const bool there =
        connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
    close(fd);
    if (there) return true;
    WaitForEnd(pid_);
  }
  Kill();
  return false;
}

void RedisProcess::Kill() {
  if (pid_ < 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

void RedisProcess::Pause() { kill(pid_, SIGSTOP); }
void RedisProcess::Resume() { kill(pid_, SIGCONT); }

std::string RedisProcess::Run(const std::vector<std::string>& command,
                              const std::string& password) const {
  return RunAt(port_, command, password);
}

std::string RedisProcess::RunAt(uint16_t port, const std::vector<std::string>& command,
                                const std::string& password) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const timeval patience{10, 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  const sockaddr_in address = Loopback(port);
  std::string answer = "ERROR no connection";
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
    std::string bytes;
    if (!password.empty()) bytes = Encode({"AUTH", password});
    bytes += Encode(command);
    if (send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size())) {
      if (!password.empty()) ReadReply(fd);
      answer = ReadReply(fd);
    }
  }
  close(fd);
  return answer;
}

}  // namespace gatehouse
