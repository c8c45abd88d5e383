// The resources that a snapshot was built from, as text, without secrets: what admin's /config
// shows. Main thread.
//
//   reply.body = DumpYaml(*snapshot, settings);
#pragma once

#include <string>

#include "source/config/settings.h"
#include "source/config/snapshot.h"

namespace gatehouse::config {

// In the spelling of a config file: it can be loaded again once its secrets are filled in.
[[nodiscard]] std::string DumpYaml(const Snapshot& snapshot, const Settings& settings);
[[nodiscard]] std::string DumpJson(const Snapshot& snapshot, const Settings& settings);

}  // namespace gatehouse::config
