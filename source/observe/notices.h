// Notices: lines for the operator from threads that must not write to stderr themselves, such as
// "redis limits: no answer; requests are counted locally". For what happens once, not per request.
//
// Owner: the process (server/ drains it on main). Any thread may post; a post takes a short lock
// and allocates. When more wait than kMax, further ones are counted and dropped.
//
//   observe::Notices::Process().Post("redis at 10.0.0.5:6379 is back");
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

namespace gatehouse::observe {

class Notices {
 public:
  static constexpr size_t kMax = 256;

  [[nodiscard]] static Notices& Process();

  void Post(std::string line);
  // Called by Post() in the poster's thread when the first line of a batch comes, and at once if
  // lines wait already; wakes main.
  void SetWake(std::function<void()> wake);
  struct Batch {
    std::vector<std::string> lines;
    uint64_t dropped = 0;
  };
  [[nodiscard]] Batch Take();

 private:
  std::mutex mutex_;
  Batch batch_;
  std::function<void()> wake_;
};

}  // namespace gatehouse::observe
