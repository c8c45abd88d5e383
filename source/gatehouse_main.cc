// gatehouse: the proxy and its tools. Flags -> registry -> Server::Run.
//
// Registers every set of filters there is: a build with filters of its own writes a main like this
// one (docs/writing_a_filter.md).
#include <CLI/CLI.hpp>

#include <cstdio>
#include <string>
#include <vector>

#include "source/config/load.h"
#include "source/filters/builtin.h"
#include "source/filters/registry.h"
#include "source/server/server.h"
#include "source/server/tools.h"

namespace {

constexpr const char* kExamples =
    "\nExamples:\n"
    "  gatehouse validate gateway.yaml\n"
    "  gatehouse run gateway.yaml\n"
    "  gatehouse schema > gatehouse.schema.json\n"
    "\nSignals of a running gateway: SIGTERM drains and stops (twice: stops at once), SIGHUP reloads\n"
    "the config, SIGUSR1 opens log files anew.\n"
    "Exit codes: 0 fine, 1 the input is wrong, 2 wrong usage, 3 the environment failed.\n";

}  // namespace

int main(int argc, char** argv) {
  gatehouse::filters::Registry filters;
  gatehouse::filters::RegisterBuiltinFilters(filters);

  CLI::App app("Gatehouse: an API gateway and edge proxy", "gatehouse");
  app.footer(kExamples);
  app.require_subcommand(1);

  gatehouse::server::Server::Options options;
  CLI::App* run = app.add_subcommand("run", "Serve the gateway that FILE describes");
  run->add_option("FILE", options.config_path, "Config: YAML or JSON")->required();
  bool no_watch = false;
  run->add_flag("--no-watch", no_watch, "Reload on SIGHUP only, not when the file changes");

  std::vector<std::string> files;
  CLI::App* validate = app.add_subcommand("validate", "Tell every error in FILEs, and serve nothing");
  validate->add_option("FILE", files, "Configs")->required();

  CLI::App* schema = app.add_subcommand("schema", "Print the JSON Schema of a config, for editors");
  CLI::App* version = app.add_subcommand("version", "Print the version");

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // --help is an exception too, and fine.
    return app.exit(error) == 0 ? gatehouse::server::kExitOk : gatehouse::server::kExitUsage;
  }
  if (run->parsed()) {
    options.watch = !no_watch;
    gatehouse::server::Server server(filters, options);
    return server.Run();
  }
  if (validate->parsed()) return gatehouse::server::ValidateFiles(files, filters);
  if (schema->parsed()) return gatehouse::server::PrintSchema();
  if (version->parsed()) std::puts(gatehouse::server::kVersion);
  return gatehouse::server::kExitOk;
}
