// For --config=tsan only, in front of the distribution's header of this name: that gives map fields
// two members more when the sanitizer is on, and libprotobuf.so, which reads and writes them too,
// is built without it.
#pragma once

// What depends on the sanitizer in the standard library is decided here.
#include <cstddef>

#pragma push_macro("__SANITIZE_THREAD__")
#undef __SANITIZE_THREAD__
#include_next <google/protobuf/map_field.h>
#pragma pop_macro("__SANITIZE_THREAD__")
