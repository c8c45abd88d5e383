// Where in a file a field was written: so that an error found long after parsing still names the
// line.
//
// A small value that shares ownership of the parsed document; copy it freely. Looking up a path
// walks the tree, so keeping a map costs nothing. Main thread (const after creation, any thread may
// read). Paths are those of errors: field names joined by '.', list items as [3], map entries as
// ["key"].
//
//   SourceMap source = file_map.Below("route_tables[0]");
//   errors.Add(source.Error("routes[3].match.path_prefix", "must start with '/'"));
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "source/base/document.h"
#include "source/config/config_error.h"

namespace gatehouse::config {

struct SourceLocation {
  std::string file;
  int line = 0;
  int column = 0;
};

class SourceMap {
 public:
  // Knows nothing: errors get the path and no line. For configs that did not come from a file.
  SourceMap() = default;
  SourceMap(std::string file, std::shared_ptr<const Document> document);

  // Of the field, or else of its nearest ancestor that was written.
  [[nodiscard]] SourceLocation Locate(std::string_view path) const;
  // The map of one part: paths are relative to it, errors show them in full.
  [[nodiscard]] SourceMap Below(std::string_view path) const;
  // `path` with what lies above it in the file.
  [[nodiscard]] std::string FullPath(std::string_view path) const;
  [[nodiscard]] ConfigError Error(std::string_view path, std::string message,
                                  std::string suggestion = {}) const;
  [[nodiscard]] const std::string& file() const;
  // Knows of no document: there was no file, or it could not be read or parsed.
  [[nodiscard]] bool empty() const { return root_ == nullptr; }

 private:
  // The node at `path`, or its nearest ancestor. nullptr in an empty map.
  [[nodiscard]] const Node* Walk(std::string_view path) const;

  std::shared_ptr<const std::string> file_;
  std::shared_ptr<const Document> document_;
  const Node* root_ = nullptr;
  std::string prefix_;
};

// Appends to a path: a field name, [index], or ["key"].
void AppendField(std::string* path, std::string_view name);
void AppendIndex(std::string* path, size_t index);
void AppendKey(std::string* path, std::string_view key);

}  // namespace gatehouse::config
