// v1::AccessLog -> what is logged, and where. Inside config/ only; main thread.
#pragma once

#include <optional>

#include "source/config/build_listeners.h"

namespace gatehouse::config {

// Nothing when the log is off. Fills in the listener's lists of headers to log.
[[nodiscard]] std::optional<PlannedLog> ReadAccessLog(const v1::AccessLog& message,
                                                      const Field& field, Listener* listener);

}  // namespace gatehouse::config
