// The commands of `gatehouse-control` that ask a running one: apply, get, diff, delete, status,
// history, rollback.
//
// Each prints on stdout what it was asked for, and on stderr what is wrong, one per line, and
// returns the process's exit code. One thread.
#pragma once

#include <string>
#include <vector>

#include "source/control_plane/rest_client.h"

namespace gatehouse::control {

inline constexpr int kExitFine = 0;
inline constexpr int kExitInput = 1;        // the input is wrong; of diff: there are differences
inline constexpr int kExitUsage = 2;        // the command line is wrong
inline constexpr int kExitEnvironment = 3;  // the server, the network, a disk

struct CommandOptions {
  RestClientOptions client;
  std::vector<std::string> files;  // "-": stdin
  std::string group;
  bool any_group = true;  // no group was asked for
  std::string comment;
  std::string base;  // a revision, or empty
  bool dry_run = false;
  bool prune = false;
  bool allow_empty = false;
  std::string type;
  std::string name;
  std::string output;  // "", "yaml", "json"
  bool json = false;
  uint64_t revision = 0;
};

[[nodiscard]] int Apply(const CommandOptions& options);
[[nodiscard]] int Get(const CommandOptions& options);
[[nodiscard]] int Diff(const CommandOptions& options);
[[nodiscard]] int Delete(const CommandOptions& options);
[[nodiscard]] int Status(const CommandOptions& options);
[[nodiscard]] int History(const CommandOptions& options);
[[nodiscard]] int RollBack(const CommandOptions& options);

}  // namespace gatehouse::control
