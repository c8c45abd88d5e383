// `gatehouse explain`: of a file, or of a running gateway by its admin address. Returns the
// process's exit code; the answer is on stdout, errors on stderr.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"

#include "source/filters/registry.h"
#include "source/server/explain.h"

namespace gatehouse::server {

// Builds the file's snapshot as `run` would, and serves nothing. All errors of a file that has
// some.
[[nodiscard]] int ExplainFile(const std::string& path, const filters::Registry& filters,
                              const ExplainRequest& request, bool json);
// The words that stand for themselves, [FILE] METHOD URL and, behind a --, further -H: taken apart
// into `path`, if `has_file`, and `request`.
[[nodiscard]] absl::Status ReadExplainWords(const std::vector<std::string>& words, bool has_file,
                                            std::string* path, ExplainRequest* request);
// `address`: host:port, or unix:/path.
[[nodiscard]] int ExplainRunning(const std::string& address, const ExplainRequest& request,
                                 bool json);

}  // namespace gatehouse::server
