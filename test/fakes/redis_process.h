// RedisProcess: a real redis-server (or redis-sentinel) of a test's own, on a free port of
// 127.0.0.1, with nothing on disk that outlives it. Killed with the test, whatever ends it.
//
// Owner: the test. Thread: one.
//
//   RedisProcess redis({"--requirepass", "secret"});
//   redis.Run({"SET", "key", "value"});       // "+OK"
//   redis.Kill();
//   redis.Start();                            // empty again, the same port
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace gatehouse {

class RedisProcess {
 public:
  // Ready when it returns: it answers, if only to ask for a password.
  explicit RedisProcess(std::vector<std::string> options = {});
  ~RedisProcess();
  RedisProcess(const RedisProcess&) = delete;
  RedisProcess& operator=(const RedisProcess&) = delete;

  void Start();
  void Kill();    // SIGKILL
  void Pause();   // SIGSTOP: connections are taken, and nobody answers
  void Resume();  // SIGCONT

  [[nodiscard]] uint16_t port() const { return port_; }
  [[nodiscard]] const std::string& folder() const { return folder_; }
  // For what has to be written down, such as a sentinel's configuration. Before Start().
  struct Unstarted {};
  RedisProcess(Unstarted, std::vector<std::string> options);
  void Write(const std::string& name, const std::string& text) const;

  // Over a connection of its own, as this user. The answer as redis-cli prints it to no terminal,
  // roughly: elements of arrays are joined by spaces; "ERROR ..." is an error.
  [[nodiscard]] std::string Run(const std::vector<std::string>& command,
                                const std::string& password = "") const;
  // To a server of another port of 127.0.0.1; "ERROR ..." also when there is none.
  [[nodiscard]] static std::string RunAt(uint16_t port, const std::vector<std::string>& command,
                                         const std::string& password = "");
  // A port that nobody has; it may be taken again at any time.
  [[nodiscard]] static uint16_t FreePort();

 private:
  [[nodiscard]] bool Launch();

  std::vector<std::string> options_;
  std::string folder_;
  uint16_t port_;
  pid_t pid_ = -1;
};

}  // namespace gatehouse
