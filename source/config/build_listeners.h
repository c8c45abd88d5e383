// v1::Listener -> config::Listener, but for its TLS, matcher and routes. Inside config/ only; main
// thread.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "source/config/build_record.h"
#include "source/config/build_scope.h"
#include "source/config/field.h"
#include "source/observe/log_format.h"

namespace gatehouse::config {

// An access log that is yet to be opened: not before the whole config is known to be good.
struct PlannedLog {
  std::string path;
  size_t buffer_bytes = 0;
  std::optional<observe::LogFormat> format;  // nothing: it had errors
};

struct PlannedListener {
  std::shared_ptr<Listener> listener;
  RouteDefaults defaults;
  std::optional<PlannedLog> log;  // nothing: off
};

[[nodiscard]] PlannedListener ReadListener(const v1::Listener& message, const Field& field);

}  // namespace gatehouse::config
