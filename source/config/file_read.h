// FileRead: a file that a build has read, or tried to, so that somebody can watch it.
//
// A plain value. What stood in the file is known by its hash alone: it may be a secret.
//
//   for (const FileRead& file : built.files) Watch(file.path, file.content);
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace gatehouse::config {

// Of what a file holds; never 0.
[[nodiscard]] inline size_t ContentHash(std::string_view content) {
  return std::hash<std::string_view>{}(content) | 1;
}

struct FileRead {
  std::string path;          // absolute, or relative to the folder in which the process runs
  std::string_view purpose;  // "the secret's file"; a literal
  size_t content = 0;        // its ContentHash; 0: it could not be read

  bool operator==(const FileRead&) const = default;
};

}  // namespace gatehouse::config
