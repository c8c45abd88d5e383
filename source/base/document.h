// A parsed YAML or JSON text: a tree of scalars, sequences and maps that knows where each came
// from.
//
// Both parsers (base/yaml.h, base/json.h) make the same tree, so nothing behind them asks which of
// the two a file was. Scalars keep their exact text: a number is its lexeme, not a double. Owner: a
// Document owns all its Nodes and their text; a Node is a small view into it, freely copied, valid
// as long as the Document lives. A Document is built on one thread and const afterwards.
//
//   ParsedDocument parsed = ParseYaml(text, {});
//   for (const NodeMember& member : parsed.document->root().members()) Use(member.key.text(),
//   member.value);
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace gatehouse {

// Counted from 1, the column in characters; 0 is "not known".
struct SourcePosition {
  uint32_t line = 0;
  uint32_t column = 0;
};

enum class NodeKind : uint8_t { kNull, kBool, kNumber, kString, kSequence, kMap };

// "a map", "the number 5": for messages.
[[nodiscard]] std::string_view NameOf(NodeKind kind);

struct NodeMember;

class Node {
 public:
  Node() = default;

  [[nodiscard]] NodeKind kind() const { return kind_; }
  // A YAML scalar without quotes: 8080 may be meant as text where text is wanted.
  [[nodiscard]] bool plain() const { return plain_; }
  [[nodiscard]] bool is_scalar() const { return kind_ < NodeKind::kSequence; }
  [[nodiscard]] SourcePosition position() const { return {line_, column_}; }
  // Of a scalar; of a null the empty text.
  [[nodiscard]] std::string_view text() const {
    return is_scalar() ? std::string_view(static_cast<const char*>(data_), size_)
                       : std::string_view();
  }
  // Of a sequence; else empty.
  [[nodiscard]] std::span<const Node> items() const;
  // Of a map, in the order of the text; keys are unique scalars. Else empty.
  [[nodiscard]] std::span<const NodeMember> members() const;
  // The value of a map's key, or nullptr. Linear.
  [[nodiscard]] const Node* Find(std::string_view key) const;

 private:
  friend class DocumentBuilder;

  const void* data_ = "";
  uint32_t size_ = 0;
  uint32_t line_ = 0;
  uint32_t column_ = 0;
  NodeKind kind_ = NodeKind::kNull;
  bool plain_ = false;
};

struct NodeMember {
  Node key;
  Node value;
};

inline std::span<const Node> Node::items() const {
  if (kind_ != NodeKind::kSequence) return {};
  return {static_cast<const Node*>(data_), size_};
}
inline std::span<const NodeMember> Node::members() const {
  if (kind_ != NodeKind::kMap) return {};
  return {static_cast<const NodeMember*>(data_), size_};
}

struct DocumentLimits {
  size_t max_bytes = size_t{64} << 20;
  // Sequences and maps inside each other. The parsers of the wire format stop at 100.
  int max_depth = 64;
  // Nodes that YAML aliases may add: a document that doubles itself twenty times stops here.
  size_t max_alias_nodes = size_t{4} << 20;
};

struct DocumentError {
  SourcePosition position;
  std::string message;
};

class Document {
 public:
  Document() = default;
  Document(const Document&) = delete;
  Document& operator=(const Document&) = delete;

  [[nodiscard]] const Node& root() const { return root_; }

 private:
  friend class DocumentBuilder;

  Node root_;
  std::vector<std::unique_ptr<std::byte[]>> blocks_;
};

// What a parser gives. Without a document the syntax is broken and `errors` has one entry. With a
// document there may still be errors (duplicate keys), and the tree is fit only for finding more.
struct ParsedDocument {
  std::shared_ptr<const Document> document;
  std::vector<DocumentError> errors;
  [[nodiscard]] bool ok() const { return document != nullptr && errors.empty(); }
};

// Puts a tree together from a parser's events. After a call returned false there is a fatal error
// in errors() and no further call is allowed but that.
class DocumentBuilder {
 public:
  explicit DocumentBuilder(const DocumentLimits& limits = {});

  // A scalar: an item of the open sequence, or by turns a key and a value of the open map.
  bool Scalar(NodeKind kind, std::string_view text, SourcePosition position = {},
              bool plain = false);
  bool Begin(NodeKind sequence_or_map, SourcePosition position = {});
  // Reports duplicate keys. `merge` resolves YAML's merge key "<<".
  bool End(bool merge = false);
  // A node that is in the tree already (an alias); `weight` is how many nodes it holds.
  bool Share(const Node& node, size_t weight);

  // The node that was finished last.
  [[nodiscard]] const Node& last() const { return last_; }
  // The next scalar is a map's key.
  [[nodiscard]] bool expects_key() const;
  // All nodes so far, those shared counted each time.
  [[nodiscard]] size_t nodes() const { return nodes_; }
  // Always false.
  bool Fail(SourcePosition position, std::string message);
  [[nodiscard]] ParsedDocument Finish();

 private:
  struct Frame {
    size_t start;  // index of its first child in pending_
    SourcePosition position;
    bool is_map;
  };

  void* Allocate(size_t bytes);
  void Push(const Node& node);
  bool EndMap(const Frame& frame, bool merge);
  bool MergeInto(std::vector<NodeMember>& members, const Node& source);
  bool MergeMembers(std::vector<NodeMember>& members);
  void ReportDuplicates(std::vector<NodeMember>& members);

  DocumentLimits limits_;
  std::shared_ptr<Document> document_;
  std::byte* free_ = nullptr;
  size_t free_bytes_ = 0;
  std::vector<Frame> frames_;
  std::vector<Node> pending_;  // finished children of open collections
  Node last_;
  size_t nodes_ = 0;
  size_t alias_nodes_ = 0;
  bool failed_ = false;
  std::vector<DocumentError> errors_;
};

}  // namespace gatehouse
