#include "source/observe/notices.h"

#include <utility>

namespace gatehouse::observe {

Notices& Notices::Process() {
  static Notices& notices = *new Notices();
  return notices;
}

void Notices::Post(std::string line) {
  std::function<void()> wake;
  {
    const std::lock_guard lock(mutex_);
    if (batch_.lines.size() >= kMax) {
      ++batch_.dropped;
      return;
    }
    batch_.lines.push_back(std::move(line));
    if (batch_.lines.size() == 1) wake = wake_;
  }
  if (wake) wake();
}

void Notices::SetWake(std::function<void()> wake) {
  bool waiting;
  {
    const std::lock_guard lock(mutex_);
    wake_ = wake;
    waiting = !batch_.lines.empty();
  }
  if (waiting && wake) wake();
}

Notices::Batch Notices::Take() {
  const std::lock_guard lock(mutex_);
  return std::exchange(batch_, {});
}

}  // namespace gatehouse::observe
