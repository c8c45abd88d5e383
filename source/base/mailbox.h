// Messages from any thread to one loop, in order. A closure is run once, by the loop's thread.
//
// Owner: the Loop. Post() is thread-safe and may allocate: it is for config, drain and scrape, not
// for requests. Posting wakes the loop only when the box was empty.
#pragma once

#include <functional>
#include <mutex>
#include <utility>
#include <vector>

namespace gatehouse {

class Mailbox {
 public:
  using Message = std::function<void()>;

  // True if the box was empty: the receiver must be woken.
  [[nodiscard]] bool Post(Message message) {
    std::lock_guard lock(mutex_);
    messages_.push_back(std::move(message));
    return messages_.size() == 1;
  }
  // Runs all that was posted before the call.
  void Deliver() {
    std::vector<Message> messages;
    {
      std::lock_guard lock(mutex_);
      messages.swap(messages_);
    }
    for (Message& message : messages) message();
  }

 private:
  std::mutex mutex_;
  std::vector<Message> messages_;
};

}  // namespace gatehouse
