// The commands of `gatehouse` that serve nothing. Each returns the process's exit code.
#pragma once

#include <string>
#include <vector>

#include "source/filters/registry.h"

namespace gatehouse::server {

// Every error of every file on stderr, one per line; what is fine is said on stdout.
[[nodiscard]] int ValidateFiles(const std::vector<std::string>& files,
                                const filters::Registry& filters);
// The JSON Schema of a config file on stdout.
[[nodiscard]] int PrintSchema();

}  // namespace gatehouse::server
