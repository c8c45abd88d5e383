#include "source/server/command_line.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "source/base/nearest.h"
#include "source/base/status.h"
#include "source/server/explain_tool.h"
#include "source/server/server.h"
#include "source/server/tools.h"
#include "source/server/validation_service.h"
#include "source/server/version.h"

namespace gatehouse::server {
namespace {

constexpr const char* kFooter =
    "\nExamples:\n"
    "  gatehouse validate gateway.yaml\n"
    "  gatehouse run gateway.yaml\n"
    "  gatehouse explain gateway.yaml -- GET http://api.example/users/7 -H 'x-plan: gold'\n"
    "  gatehouse schema > gatehouse.schema.json\n"
    "\nSignals of a running gateway: SIGTERM drains and stops (twice: stops at once), SIGHUP "
    "reloads\n"
    "the config, SIGUSR1 opens log files anew.\n"
    "Exit codes: 0 fine, 1 the input is wrong, 2 wrong usage, 3 the environment failed.\n";

constexpr std::string_view kCommands[] = {"run", "validate", "explain", "schema", "version"};

int UnknownCommand(std::string_view name) {
  const std::string_view meant = Nearest(name, kCommands);
  fmt::print(stderr, "gatehouse: there is no command \"{}\"; {}\n", name,
             meant.empty() ? "there are run, validate, explain, schema and version"
                           : fmt::format("did you mean \"{}\"?", meant));
  return kExitUsage;
}

// `gatehouse explain`: what was given on the command line.
struct ExplainOptions {
  ExplainRequest request;
  std::string admin;
  std::vector<std::string> words;
  std::vector<std::string> rest;
  bool json = false;

  CLI::App* AddTo(CLI::App& app) {
    CLI::App* explain = app.add_subcommand(
        "explain",
        "Tell what a gateway does with a request, and why:\n"
        "  gatehouse explain FILE -- METHOD URL [-H 'name: value' ...]\n"
        "  gatehouse explain --admin ADDRESS -- METHOD URL [-H 'name: value' ...]");
    explain->add_option("WORDS", words, "FILE (unless --admin), METHOD and URL");
    explain->add_option("--admin", admin,
                        "Ask the running gateway with this admin address, host:port or unix:/path");
    explain->add_option("--listener", request.listener,
                        "The listener that it comes to; else the one with the URL's port");
    explain->add_option("--client", request.client, "The IP address that it comes from")
        ->capture_default_str();
    explain->add_option("-H,--header", request.headers, "A header of the request")
        ->allow_extra_args(false);
    explain->add_flag("--json", json, "Answer in JSON");
    return explain;
  }

  // What stands behind a --, which the parser would take for words of another command.
  void TakeRest(int* argc, char** argv) {
    char** const end = argv + *argc;
    char** const dashes =
        std::find_if(argv, end, [](const char* word) { return std::string_view(word) == "--"; });
    if (dashes == end) return;
    rest.assign(dashes + 1, end);
    *argc = static_cast<int>(dashes - argv);
  }

  [[nodiscard]] int Run(const filters::Registry& filters) {
    words.insert(words.end(), rest.begin(), rest.end());
    std::string path;
    const absl::Status status = ReadExplainWords(words, admin.empty(), &path, &request);
    if (!status.ok()) {
      fmt::print(stderr, "gatehouse explain: {}\n", MessageOf(status));
      return kExitUsage;
    }
    return admin.empty() ? ExplainFile(path, filters, request, json)
                         : ExplainRunning(admin, request, json);
  }
};

}  // namespace

int RunCommandLine(int argc, char** argv, const filters::Registry& filters) {
  CLI::App app("Gatehouse: an API gateway and edge proxy", "gatehouse");
  app.footer(kFooter);
  app.require_subcommand(1);
  app.set_version_flag("--version", kVersion);

  Server::Options options;
  CLI::App* run = app.add_subcommand("run", "Serve the gateway that FILE describes");
  run->add_option("FILE", options.config_path, "Config: YAML or JSON")->required();
  bool no_watch = false;
  run->add_flag("--no-watch", no_watch, "Reload on SIGHUP only, not when the file changes");

  std::vector<std::string> files;
  CLI::App* validate =
      app.add_subcommand("validate", "Tell every error in FILEs, and serve nothing");
  CLI::Option* validate_files = validate->add_option("FILE", files, "Configs");
  bool serve = false;
  validate
      ->add_flag("--serve", serve,
                 "Check what a control plane writes to stdin, and answer on stdout")
      ->excludes(validate_files);

  ExplainOptions explained;
  CLI::App* explain = explained.AddTo(app);
  CLI::App* schema = app.add_subcommand("schema", "Print the JSON Schema of a config, for editors");
  CLI::App* version = app.add_subcommand("version", "Print the version");

  if (argc > 1 && argv[1][0] != '-' &&
      std::ranges::find(kCommands, argv[1]) == std::end(kCommands)) {
    return UnknownCommand(argv[1]);
  }
  if (argc > 1 && std::string_view(argv[1]) == "explain") explained.TakeRest(&argc, argv);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // --help is an exception too, and fine.
    return app.exit(error) == 0 ? kExitOk : kExitUsage;
  }
  if (run->parsed()) {
    options.watch = !no_watch;
    return Server(filters, options).Run();
  }
  if (validate->parsed() && serve) {
    return ServeValidation(STDIN_FILENO, STDOUT_FILENO, filters);
  }
  if (validate->parsed() && files.empty()) {
    fmt::print(stderr, "gatehouse validate: which FILE? See gatehouse validate --help\n");
    return kExitUsage;
  }
  if (validate->parsed()) return ValidateFiles(files, filters);
  if (explain->parsed()) return explained.Run(filters);
  if (schema->parsed()) return PrintSchema();
  if (version->parsed()) std::puts(kVersion);
  return kExitOk;
}

}  // namespace gatehouse::server
