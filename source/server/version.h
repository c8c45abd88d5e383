// What this program is called, for --version, the control plane and logs.
#pragma once

namespace gatehouse::server {

inline constexpr const char* kVersionNumber = "0.1.0";
inline constexpr const char* kVersion = "gatehouse 0.1.0";

}  // namespace gatehouse::server
