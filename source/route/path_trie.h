// PathTrie: the trie of one level while it is being built, a node per segment.
//
// Main thread, inside route/ only. Views are into the specs. Compiler turns it into Nodes, in which
// a chain of segments without a choice is one.
//
//   PathTrie trie;
//   trie.At(trie.Insert(pattern.segments)).tail.push_back(route);
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"

#include "source/route/path_pattern.h"
#include "source/route/text_table.h"

namespace gatehouse::route {

class PathTrie {
 public:
  static constexpr uint32_t kRoot = 0;
  static constexpr uint32_t kNoNode = 0xffffffff;

  struct Node {
    std::string_view segment;
    std::vector<uint32_t> children;  // literal ones
    uint32_t capture_child = kNoNode;
    std::vector<uint32_t> end;  // routes, here and below: the caller's numbers
    std::vector<uint32_t> tail;
    std::vector<uint32_t> regex;

    // No choice here: one child of either kind and nothing else.
    [[nodiscard]] bool IsLink() const {
      return children.size() + (capture_child != kNoNode ? 1 : 0) == 1 && end.empty() &&
             tail.empty() && regex.empty();
    }
  };

  PathTrie() : nodes_(1) {}

  [[nodiscard]] Node& At(uint32_t node) { return nodes_[node]; }
  [[nodiscard]] const Node& At(uint32_t node) const { return nodes_[node]; }
  [[nodiscard]] bool empty() const { return nodes_.size() == 1 && !HasLists(nodes_[0]); }

  // The node that the segments lead to.
  uint32_t Insert(std::span<const PathPattern::Segment> segments) {
    uint32_t at = 0;
    for (const PathPattern::Segment& segment : segments) {
      at = segment.capture ? CaptureChild(at) : Child(at, segment.text);
    }
    return at;
  }
  // The literal child, or kNoNode.
  [[nodiscard]] uint32_t Find(uint32_t parent, std::string_view segment) const {
    const auto found = children_.find({parent, segment});
    return found == children_.end() ? kNoNode : found->second;
  }

 private:
  struct Key {
    uint32_t parent;
    std::string_view segment;
    bool operator==(const Key&) const = default;
  };
  struct KeyHash {
    size_t operator()(const Key& key) const {
      return HashText(key.segment) ^ (key.parent * 0x9e3779b97f4a7c15);
    }
  };
  static bool HasLists(const Node& node) {
    return !node.end.empty() || !node.tail.empty() || !node.regex.empty();
  }
  uint32_t NewNode() {
    nodes_.emplace_back();
    return static_cast<uint32_t>(nodes_.size() - 1);
  }
  uint32_t Child(uint32_t parent, std::string_view segment) {
    auto [place, fresh] = children_.try_emplace(Key{parent, segment}, 0);
    if (fresh) {
      place->second = NewNode();
      nodes_[place->second].segment = segment;
      nodes_[parent].children.push_back(place->second);
    }
    return place->second;
  }
  uint32_t CaptureChild(uint32_t parent) {
    if (nodes_[parent].capture_child == kNoNode) {
      const uint32_t child = NewNode();
      nodes_[parent].capture_child = child;
    }
    return nodes_[parent].capture_child;
  }

  std::vector<Node> nodes_;
  absl::flat_hash_map<Key, uint32_t, KeyHash> children_;
};

}  // namespace gatehouse::route
