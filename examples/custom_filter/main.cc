// A gateway with the built-in filters and one more.
#include "examples/custom_filter/tenants.h"
#include "examples/custom_filter/tenants.pb.h"
#include "source/filters/builtin.h"
#include "source/filters/registry.h"
#include "source/server/command_line.h"

int main(int argc, char** argv) {
  gatehouse::filters::Registry filters;
  gatehouse::filters::RegisterBuiltinFilters(filters);
  filters.Register<acme::Tenants, acme::gateway::v1::Tenants>("tenants");
  return gatehouse::server::RunCommandLine(argc, argv, filters);
}
