// gatehouse: the proxy and its commands. Registers every set of filters there is: a build with
// filters of its own writes a main like this one (docs/writing_a_filter.md).
#include "source/filters/builtin.h"
#include "source/filters/registry.h"
#include "source/server/command_line.h"

int main(int argc, char** argv) {
  gatehouse::filters::Registry filters;
  gatehouse::filters::RegisterBuiltinFilters(filters);
  return gatehouse::server::RunCommandLine(argc, argv, filters);
}
