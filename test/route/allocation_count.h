// How often this thread has called operator new: linking this in replaces it by one that counts.
#pragma once

#include <cstddef>

namespace gatehouse::route {

[[nodiscard]] size_t AllocationCount();

}  // namespace gatehouse::route
