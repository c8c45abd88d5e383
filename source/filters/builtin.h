// The filters that come with Gatehouse.
//
//   Registry registry;
//   RegisterBuiltinFilters(registry);
#pragma once

#include "source/filters/registry.h"

namespace gatehouse::filters {

void RegisterBuiltinFilters(Registry& registry);

}  // namespace gatehouse::filters
