// The command line of `gatehouse-control`.
#pragma once

namespace gatehouse::control {

// Parses, does what is asked for and returns the process's exit code. Main thread.
[[nodiscard]] int RunCommandLine(int argc, char** argv);

}  // namespace gatehouse::control
