// The JSON Schema of a config file: what `gatehouse schema` prints. Any thread.
#pragma once

#include <string>

namespace gatehouse::config {

[[nodiscard]] std::string BootstrapSchema();

}  // namespace gatehouse::config
