// Settings: what a bootstrap says about the process itself, checked and with its defaults.
//
// A plain value. Main thread. Most of it is read once, at start: who reloads a config compares it
// with what the process runs on.
#pragma once

#include <cstdint>
#include <string>

#include "source/base/time.h"
#include "source/config/config_error.h"
#include "source/config/source_map.h"

namespace gatehouse::v1 {
class Bootstrap;
}

namespace gatehouse::config {

// Of the buffers, the least that a worker can serve requests with.
inline constexpr uint64_t kMinWorkerBuffers = uint64_t{256} << 10;

struct Settings {
  std::string node_id;
  std::string node_group;
  // host:port (numbers) or unix:/path; "off" for none.
  std::string admin_address = "127.0.0.1:9901";
  uint32_t workers = 0;          // 0: one per core that the process may use
  uint32_t max_connections = 0;  // 0: what the file descriptor limit allows, less a reserve
  uint64_t max_buffer_bytes = uint64_t{1} << 30;
  Duration drain_timeout = std::chrono::seconds(30);
  std::string upgrade_socket;  // a path; empty: none
  uint32_t max_series_per_family = 10000;
  // Absolute, or relative to the folder in which the process runs; empty: none.
  std::string state_folder;

  friend bool operator==(const Settings&, const Settings&) = default;
};

[[nodiscard]] Settings ReadSettings(const v1::Bootstrap& bootstrap, const SourceMap& source,
                                    ErrorList& errors);

// Into the fields of a bootstrap that are not resources.
void WriteSettings(const Settings& settings, v1::Bootstrap* bootstrap);

}  // namespace gatehouse::config
