#include "source/config/source_map.h"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <utility>

#include "fmt/format.h"
#include "source/base/json.h"

namespace gatehouse::config {
namespace {

// One step of a path, or none when the path is not well-formed.
struct Step {
  enum class Kind { kNone, kName, kIndex };
  Kind kind = Kind::kNone;
  std::string name;
  size_t index = 0;
};

Step TakeIndex(std::string_view* path) {
  Step step;
  const size_t close = path->find(']');
  if (close == std::string_view::npos) return step;
  const char* begin = path->data() + 1;
  const char* end = path->data() + close;
  const auto [at, error] = std::from_chars(begin, end, step.index);
  if (error == std::errc() && at == end) step.kind = Step::Kind::kIndex;
  path->remove_prefix(close + 1);
  return step;
}

// ["key"], as AppendKey writes it.
Step TakeKey(std::string_view* path) {
  size_t end = 2;
  while (end < path->size() && (*path)[end] != '"') end += (*path)[end] == '\\' ? 2 : 1;
  Step step;
  if (end + 1 >= path->size()) return step;
  const ParsedDocument key = ParseJson(path->substr(1, end));
  if (!key.ok()) return step;
  step.kind = Step::Kind::kName;
  step.name = key.document->root().text();
  path->remove_prefix(end + 2);
  return step;
}

Step TakeStep(std::string_view* path) {
  if (path->starts_with("[\"")) return TakeKey(path);
  if (path->starts_with('[')) return TakeIndex(path);
  if (path->starts_with('.')) path->remove_prefix(1);
  Step step;
  const size_t end = std::min(path->find_first_of(".["), path->size());
  if (end == 0) return step;
  step.kind = Step::Kind::kName;
  step.name = path->substr(0, end);
  path->remove_prefix(end);
  return step;
}

}  // namespace

SourceMap::SourceMap(std::string file, std::shared_ptr<const Document> document)
    : file_(std::make_shared<const std::string>(std::move(file))),
      document_(std::move(document)),
      root_(document_ == nullptr ? nullptr : &document_->root()) {}

const Node* SourceMap::Walk(std::string_view path) const {
  const Node* node = root_;
  while (node != nullptr && !path.empty()) {
    const Step step = TakeStep(&path);
    const Node* next = nullptr;
    if (step.kind == Step::Kind::kName) {
      next = node->Find(step.name);
    } else if (step.kind == Step::Kind::kIndex && step.index < node->items().size()) {
      next = &node->items()[step.index];
    }
    // A shorthand skips a name: `endpoints: ["h:1"]` has no node for endpoints[0].address, and
    // `upgrade: [websocket]` has upgrade[0] where the message has upgrade.protocols[0].
    if (next == nullptr &&
        !(step.kind == Step::Kind::kName && node->kind() == NodeKind::kSequence)) {
      break;
    }
    if (next != nullptr) node = next;
  }
  return node;
}

SourceLocation SourceMap::Locate(std::string_view path) const {
  SourceLocation location;
  location.file = file();
  if (const Node* node = Walk(path)) {
    location.line = static_cast<int>(node->position().line);
    location.column = static_cast<int>(node->position().column);
  }
  return location;
}

SourceMap SourceMap::Below(std::string_view path) const {
  SourceMap below = *this;
  below.root_ = Walk(path);
  below.prefix_ = FullPath(path);
  return below;
}

std::string SourceMap::FullPath(std::string_view path) const {
  if (prefix_.empty()) return std::string(path);
  if (path.empty()) return prefix_;
  return path.starts_with('[') ? fmt::format("{}{}", prefix_, path)
                               : fmt::format("{}.{}", prefix_, path);
}

ConfigError SourceMap::Error(std::string_view path, std::string message,
                             std::string suggestion) const {
  SourceLocation location = Locate(path);
  ConfigError error;
  error.file = std::move(location.file);
  error.line = location.line;
  error.column = location.column;
  error.path = FullPath(path);
  error.message = std::move(message);
  error.suggestion = std::move(suggestion);
  return error;
}

const std::string& SourceMap::file() const {
  static const std::string kNone;
  return file_ == nullptr ? kNone : *file_;
}

void AppendField(std::string* path, std::string_view name) {
  if (!path->empty()) path->push_back('.');
  path->append(name);
}

void AppendIndex(std::string* path, size_t index) {
  fmt::format_to(std::back_inserter(*path), "[{}]", index);
}

void AppendKey(std::string* path, std::string_view key) {
  path->push_back('[');
  AppendJsonString(path, key);
  path->push_back(']');
}

}  // namespace gatehouse::config
