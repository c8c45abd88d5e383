// WorkerParts: what others keep at one worker for longer than a request, such as what a rate limit
// still has to tell Redis. Each is found by a number that its owner has from NextPartId().
//
// Owner: the worker's Upstreams; parts are destroyed before its clients. Thread: the worker's loop,
// but for NextPartId().
//
//   auto* errands = static_cast<RedisErrands*>(upstreams.parts().Find(id));
//   if (errands == nullptr) upstreams.parts().Put(id, std::make_unique<RedisErrands>(upstreams));
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace gatehouse::upstream {

class WorkerPart {
 public:
  virtual ~WorkerPart() = default;
  // The worker drains: what can be done at once should be.
  virtual void Drain() {}
};

// Never given out again in this process.
[[nodiscard]] inline uint64_t NextPartId() {
  static std::atomic<uint64_t> last{0};
  return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

class WorkerParts {
 public:
  // Null: there is none.
  [[nodiscard]] WorkerPart* Find(uint64_t id) const {
    for (const auto& [its, part] : parts_) {
      if (its == id) return part.get();
    }
    return nullptr;
  }
  void Put(uint64_t id, std::unique_ptr<WorkerPart> part) {
    parts_.emplace_back(id, std::move(part));
  }
  void Remove(uint64_t id) {
    std::erase_if(parts_, [id](const auto& part) { return part.first == id; });
  }
  void Clear() { parts_.clear(); }
  void Drain() {
    for (const auto& [id, part] : parts_) part->Drain();
  }

 private:
  std::vector<std::pair<uint64_t, std::unique_ptr<WorkerPart>>> parts_;  // few
};

}  // namespace gatehouse::upstream
