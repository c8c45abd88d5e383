#include "source/base/document.h"

#include <algorithm>
#include <cstring>
#include <unordered_set>
#include <utility>

#include "fmt/format.h"
#include "source/base/check.h"

namespace gatehouse {
namespace {

constexpr size_t kBlockBytes = size_t{256} << 10;
constexpr size_t kMaxDuplicatesReported = 100;
constexpr std::string_view kMergeKey = "<<";

// Keys up to here are compared with each other; more go through a set.
constexpr size_t kFewMembers = 16;

bool HasKey(const std::vector<NodeMember>& members, std::string_view key) {
  return std::any_of(members.begin(), members.end(),
                     [key](const NodeMember& member) { return member.key.text() == key; });
}

}  // namespace

std::string_view NameOf(NodeKind kind) {
  switch (kind) {
    case NodeKind::kNull:
      return "null";
    case NodeKind::kBool:
      return "a boolean";
    case NodeKind::kNumber:
      return "a number";
    case NodeKind::kString:
      return "a string";
    case NodeKind::kSequence:
      return "a list";
    case NodeKind::kMap:
      return "a map";
  }
  return "";
}

const Node* Node::Find(std::string_view key) const {
  for (const NodeMember& member : members()) {
    if (member.key.text() == key) return &member.value;
  }
  return nullptr;
}

DocumentBuilder::DocumentBuilder(const DocumentLimits& limits)
    : limits_(limits), document_(std::make_shared<Document>()) {}

void* DocumentBuilder::Allocate(size_t bytes) {
  bytes = (bytes + alignof(NodeMember) - 1) / alignof(NodeMember) * alignof(NodeMember);
  if (bytes > kBlockBytes / 4) {  // a block of its own, so that the rest of the current one is kept
    document_->blocks_.push_back(std::make_unique_for_overwrite<std::byte[]>(bytes));
    return document_->blocks_.back().get();
  }
  if (bytes > free_bytes_) {
    document_->blocks_.push_back(std::make_unique_for_overwrite<std::byte[]>(kBlockBytes));
    free_ = document_->blocks_.back().get();
    free_bytes_ = kBlockBytes;
  }
  void* result = free_;
  free_ += bytes;
  free_bytes_ -= bytes;
  return result;
}

bool DocumentBuilder::Fail(SourcePosition position, std::string message) {
  if (!failed_) {
    // The syntax error is the one that matters: what was found before may be its consequence.
    errors_.clear();
    errors_.push_back({position, std::move(message)});
  }
  failed_ = true;
  return false;
}

void DocumentBuilder::Push(const Node& node) {
  last_ = node;
  pending_.push_back(node);
}

bool DocumentBuilder::expects_key() const {
  return !frames_.empty() && frames_.back().is_map &&
         (pending_.size() - frames_.back().start) % 2 == 0;
}

bool DocumentBuilder::Scalar(NodeKind kind, std::string_view text, SourcePosition position,
                             bool plain) {
  DCHECK(!failed_);
  Node node;
  node.kind_ = kind;
  node.plain_ = plain;
  node.line_ = position.line;
  node.column_ = position.column;
  node.size_ = static_cast<uint32_t>(text.size());
  if (!text.empty()) {
    void* copy = Allocate(text.size());
    std::memcpy(copy, text.data(), text.size());
    node.data_ = copy;
  }
  ++nodes_;
  Push(node);
  return true;
}

bool DocumentBuilder::Begin(NodeKind sequence_or_map, SourcePosition position) {
  DCHECK(!failed_);
  if (expects_key()) return Fail(position, "a map key must be a scalar");
  if (static_cast<int>(frames_.size()) >= limits_.max_depth) {
    return Fail(position, fmt::format("nested deeper than {} levels", limits_.max_depth));
  }
  ++nodes_;
  frames_.push_back({pending_.size(), position, sequence_or_map == NodeKind::kMap});
  return true;
}

bool DocumentBuilder::End(bool merge) {
  DCHECK(!failed_ && !frames_.empty());
  const Frame frame = frames_.back();
  frames_.pop_back();
  if (frame.is_map) return EndMap(frame, merge);
  const size_t count = pending_.size() - frame.start;
  Node node;
  node.kind_ = NodeKind::kSequence;
  node.line_ = frame.position.line;
  node.column_ = frame.position.column;
  node.size_ = static_cast<uint32_t>(count);
  if (count > 0) {
    void* items = Allocate(count * sizeof(Node));
    std::memcpy(items, static_cast<const void*>(&pending_[frame.start]), count * sizeof(Node));
    node.data_ = items;
  }
  pending_.resize(frame.start);
  Push(node);
  return true;
}

bool DocumentBuilder::EndMap(const Frame& frame, bool merge) {
  std::vector<NodeMember> members;
  members.reserve((pending_.size() - frame.start) / 2);
  for (size_t i = frame.start; i + 1 < pending_.size(); i += 2) {
    members.push_back({pending_[i], pending_[i + 1]});
  }
  ReportDuplicates(members);
  if (merge && !MergeMembers(members)) return false;
  Node node;
  node.kind_ = NodeKind::kMap;
  node.line_ = frame.position.line;
  node.column_ = frame.position.column;
  node.size_ = static_cast<uint32_t>(members.size());
  if (!members.empty()) {
    void* storage = Allocate(members.size() * sizeof(NodeMember));
    std::memcpy(storage, static_cast<const void*>(members.data()),
                members.size() * sizeof(NodeMember));
    node.data_ = storage;
  }
  pending_.resize(frame.start);
  Push(node);
  return true;
}

void DocumentBuilder::ReportDuplicates(std::vector<NodeMember>& members) {
  std::unordered_set<std::string_view> seen;
  const bool many = members.size() > kFewMembers;
  std::vector<NodeMember> unique;
  unique.reserve(members.size());
  for (const NodeMember& member : members) {
    const std::string_view key = member.key.text();
    if (many ? seen.insert(key).second : !HasKey(unique, key)) {
      unique.push_back(member);
    } else if (errors_.size() < kMaxDuplicatesReported) {
      const auto first = std::find_if(unique.begin(), unique.end(), [key](const NodeMember& other) {
        return other.key.text() == key;
      });
      errors_.push_back(
          {member.key.position(), fmt::format("the key \"{}\" is written twice; first in line {}",
                                              key.substr(0, 64), first->key.position().line)});
    }
  }
  members.swap(unique);
}

// "<<" stands for the members of another map (or several) that are not written here.
bool DocumentBuilder::MergeMembers(std::vector<NodeMember>& members) {
  const auto merge = std::find_if(members.begin(), members.end(), [](const NodeMember& member) {
    return member.key.plain() && member.key.text() == kMergeKey;
  });
  if (merge == members.end()) return true;
  const Node source = merge->value;
  members.erase(merge);
  if (source.kind() == NodeKind::kMap) return MergeInto(members, source);
  if (source.kind() != NodeKind::kSequence) {
    return Fail(source.position(), "the merge key \"<<\" needs a map or a list of maps");
  }
  for (const Node& item : source.items()) {
    if (item.kind() != NodeKind::kMap) {
      return Fail(item.position(), "the merge key \"<<\" needs a map or a list of maps");
    }
    if (!MergeInto(members, item)) return false;
  }
  return true;
}

bool DocumentBuilder::MergeInto(std::vector<NodeMember>& members, const Node& source) {
  std::unordered_set<std::string_view> seen;
  for (const NodeMember& member : members) seen.insert(member.key.text());
  alias_nodes_ += 2 * source.members().size();
  if (alias_nodes_ > limits_.max_alias_nodes) {
    return Fail(source.position(), "aliases expand to too many values");
  }
  for (const NodeMember& member : source.members()) {
    if (seen.insert(member.key.text()).second) members.push_back(member);
  }
  return true;
}

bool DocumentBuilder::Share(const Node& node, size_t weight) {
  DCHECK(!failed_);
  alias_nodes_ += weight;
  nodes_ += weight;
  if (alias_nodes_ > limits_.max_alias_nodes) {
    return Fail(node.position(), "aliases expand to too many values");
  }
  Push(node);
  return true;
}

ParsedDocument DocumentBuilder::Finish() {
  ParsedDocument result;
  result.errors = std::move(errors_);
  if (failed_) return result;
  CHECK(frames_.empty() && pending_.size() <= 1);
  if (!pending_.empty()) document_->root_ = pending_.front();
  result.document = std::move(document_);
  return result;
}

}  // namespace gatehouse
