// How much a message would be in memory, counted before it is parsed: two bytes on the wire can
// become a hundred (an empty message in a list), so that a control plane with a bug, or worse,
// could fill the memory with what is far below the limit of a message.
//
// A pure function; any thread.
//
//   WireBudget budget(kMaxItems);
//   if (!budget.Take(*RouteTable::descriptor(), bytes)) return "it has too many parts";
#pragma once

#include <cstddef>
#include <string_view>

#include "google/protobuf/descriptor.h"

namespace gatehouse::xds {

class WireBudget {
 public:
  explicit WireBudget(size_t items) : left_(items), all_(items) {}

  // Counts messages, strings and list entries of what is the binary form of a `type`. False: there
  // are more than are left. What cannot be parsed may or may not be counted: the parser finds it
  // out. A google.protobuf.Any is bytes.
  [[nodiscard]] bool Take(const google::protobuf::Descriptor& type, std::string_view bytes) {
    into_any_ = false;
    return TakeMessage(type, bytes, kMaxDepth);
  }
  // Also within each google.protobuf.Any whose type is compiled in.
  [[nodiscard]] bool TakeAll(const google::protobuf::Descriptor& type, std::string_view bytes) {
    into_any_ = true;
    return TakeMessage(type, bytes, kMaxDepth);
  }
  [[nodiscard]] size_t taken() const { return all_ - left_; }

 private:
  static constexpr int kMaxDepth = 100;  // that of protobuf's parser

  [[nodiscard]] bool TakeMessage(const google::protobuf::Descriptor& type, std::string_view bytes,
                                 int depth);
  [[nodiscard]] bool TakeField(const google::protobuf::Descriptor& type, int number,
                               std::string_view content, int depth);
  [[nodiscard]] bool TakeAny(std::string_view bytes, int depth);
  [[nodiscard]] bool TakeItems(size_t count) {
    if (count > left_) return false;
    left_ -= count;
    return true;
  }

  bool into_any_ = false;
  size_t left_;
  size_t all_;
};

}  // namespace gatehouse::xds
