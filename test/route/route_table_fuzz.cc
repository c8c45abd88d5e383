// The compiled route table against the naive matcher of reference.h, on tables and requests that
// are made of the input. A difference is printed with the tables and the request in full.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "test/route/random_tables.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string difference = gatehouse::route::CompareMatchers({data, size});
  if (!difference.empty()) {
    std::fputs(difference.c_str(), stderr);
    std::abort();
  }
  return 0;
}
