// The files of a state folder, as bytes: eight bytes that say what it is, the version of the format
// (u32), the size of the payload (u64), both little endian, the payload (a message of
// api/gatehouse/v1/saved_config.proto), and the SHA-256 of all before it. Whatever is cut off,
// flipped or put in its place is noticed.
//
// Pure functions, any thread. Views and configs do not refer to what was read.
//
//   std::string file = EncodeFile(payload);
//   SavedFile read = ReadSavedConfig(file);
//   if (read.condition == FileCondition::kWhole) Use(read.config);
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "source/xds/update.h"

namespace gatehouse::xds {

struct SavedResource {
  Type type = Type::kSecret;
  std::string name;
  std::string version;
  // Shared with who saves it: a config of 10 000 resources of which one has changed is not copied.
  std::shared_ptr<const std::string> bytes;
};

struct SavedConfig {
  std::vector<SavedResource> resources;
  std::vector<std::pair<Type, std::string>> versions;  // of whole types, state of the world
  std::string source;                                  // "control plane 10.0.0.1:18000"
  int64_t accepted_unix = 0;                           // seconds
};

enum class FileCondition : uint8_t {
  kWhole,
  kBroken,
  // Of a version of the gateway that is newer than this one: to be kept for it.
  kNewer,
};

struct SavedFile {
  FileCondition condition = FileCondition::kBroken;
  std::string problem;  // for people, unless kWhole
  std::string digest;   // of what it holds, in hex; only of kWhole
  SavedConfig config;
};

// What was being used when the process died, or is. No type: a saved config as a whole.
struct LoadAttempt {
  std::optional<Type> type;
  std::string name;
  std::string digest;  // in hex
  int crashes = 0;     // in a row
  bool trying = false;
};

[[nodiscard]] SavedFile ReadSavedConfig(std::string_view file);
// Also gives the digest that ReadSavedConfig() will find. Resources of one type keep their order.
[[nodiscard]] std::string WriteSavedConfig(const SavedConfig& config, std::string* digest);

// Nothing when it is not whole. What comes after the end is let be: this one is written in place.
[[nodiscard]] std::optional<std::vector<LoadAttempt>> ReadLoadAttempts(std::string_view file);
[[nodiscard]] std::string WriteLoadAttempts(const std::vector<LoadAttempt>& attempts);

}  // namespace gatehouse::xds
