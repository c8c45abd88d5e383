// The command line of `gatehouse`, for main() of every build: `run`, `validate`, `explain`,
// `schema`, `version`. A build with filters of its own differs only in what it registers
// (docs/writing_a_filter.md).
//
//   int main(int argc, char** argv) {
//     filters::Registry filters;
//     filters::RegisterBuiltinFilters(filters);
//     return server::RunCommandLine(argc, argv, filters);
//   }
#pragma once

#include "source/filters/registry.h"

namespace gatehouse::server {

// Parses, does what is asked for and returns the process's exit code. Main thread.
[[nodiscard]] int RunCommandLine(int argc, char** argv, const filters::Registry& filters);

}  // namespace gatehouse::server
