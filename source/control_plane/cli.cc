#include "source/control_plane/cli.h"

#include <signal.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <string>
#include <string_view>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "source/base/nearest.h"
#include "source/control_plane/commands.h"
#include "source/control_plane/serve.h"

namespace gatehouse::control {
namespace {

constexpr const char* kFooter =
    "\nExamples:\n"
    "  gatehouse-control serve --dir resources/\n"
    "  gatehouse-control serve --etcd 10.0.0.5:2379,10.0.0.6:2379 --state /var/lib/gatehouse\n"
    "  gatehouse-control diff -f shop.yaml\n"
    "  gatehouse-control apply -f shop.yaml -f users.yaml --comment \"canary to 10%\"\n"
    "  gatehouse-control get cluster users -o yaml\n"
    "  gatehouse-control status\n"
    "  gatehouse-control history && gatehouse-control rollback 41\n"
    "\nExit codes: 0 fine, 1 the input is wrong (diff: there are differences), 2 wrong usage, 3 "
    "the\nenvironment failed. Commands ask --server, which is http://127.0.0.1:18001 or\n"
    "$GATEHOUSE_CONTROL_SERVER.\n";

constexpr std::string_view kCommands[] = {"serve",  "apply",  "get",     "diff",
                                          "delete", "status", "history", "rollback"};

int UnknownCommand(std::string_view name) {
  const std::string_view meant = Nearest(name, kCommands);
  fmt::print(stderr, "gatehouse-control: there is no command \"{}\"; {}\n", name,
             meant.empty()
                 ? "there are serve, apply, get, diff, delete, status, history and rollback"
                 : fmt::format("did you mean \"{}\"?", meant));
  return kExitUsage;
}

void AddServe(CLI::App& app, ServeOptions* options) {
  CLI::App* serve = app.add_subcommand("serve", "Keep resources and push them to gateways");
  CLI::Option* dir = serve->add_option("--dir", options->directory,
                                       "Resources are the files of this directory (watched)");
  serve->add_option("--etcd", options->etcd, "Resources are in etcd: HOST:PORT[,HOST:PORT...]")
      ->delimiter(',')
      ->excludes(dir);
  serve->add_option("--state", options->state,
                    "Folder for revisions; with --etcd: for a copy, used while etcd is away. "
                    "Default with --dir: DIR/.gatehouse-control");
  serve->add_option("--listen", options->listen, "Address for gateways (xDS)")
      ->capture_default_str();
  serve->add_option("--rest", options->rest, "Address of the REST API, or unix:/path")
      ->capture_default_str();
  serve->add_option("--tls-certificate", options->certificate_file, "PEM; of both addresses");
  serve->add_option("--tls-key", options->key_file, "PEM");
  serve->add_option("--client-ca", options->client_ca_file,
                    "PEM: who comes must have a certificate of these authorities");
  serve->add_flag("--require-group-in-certificate", options->require_group_in_certificate,
                  "A gateway's certificate must name its group");
  serve->add_flag("--insecure", options->insecure,
                  "Gateways may connect from elsewhere without TLS and client certificates");
  serve->add_option("--rest-token-file", options->rest_token_file,
                    "The REST API wants the token in this file's first line");
  serve->add_option("--gatehouse", options->gatehouse,
                    "The gateway's program, which checks resources before they are pushed. "
                    "Default: gatehouse beside this program, else in PATH");
  serve->add_flag_callback(
      "--no-validate", [options] { options->validate = false; }, "Push without a check");
  serve->add_flag("--allow-empty", options->allow_empty,
                  "A directory that has become empty empties the fleet");
  serve->add_option("--instance", options->instance, "This control plane's name in status");
  serve->add_option("--etcd-prefix", options->etcd_prefix, "Of all keys in etcd")
      ->capture_default_str();
  serve->add_option("--etcd-ca", options->etcd_ca_file, "PEM: etcd by TLS");
  serve->add_option("--etcd-certificate", options->etcd_certificate_file, "PEM, shown to etcd");
  serve->add_option("--etcd-key", options->etcd_key_file, "PEM");
  serve->add_option("--etcd-user", options->etcd_user, "Name to log in to etcd with");
  serve->add_option("--etcd-password-file", options->etcd_password_file,
                    "Its first line is the password");
}

CLI::App* AddClient(CLI::App& app, const char* name, const char* what, CommandOptions* options) {
  CLI::App* command = app.add_subcommand(name, what);
  RestClientOptions& client = options->client;
  command
      ->add_option("--server", client.server, "http://HOST:PORT, https://HOST:PORT or unix:/path")
      ->capture_default_str();
  command->add_option("--token-file", client.token_file, "Its first line is the token");
  command->add_option("--ca", client.ca_file, "PEM: authorities to trust with https://");
  command->add_option("--certificate", client.certificate_file, "PEM: a certificate of our own");
  command->add_option("--key", client.key_file, "PEM");
  return command;
}

void AddFiles(CLI::App* command, CommandOptions* options) {
  command->add_option("-f,--file", options->files, "YAML or JSON; - is stdin; as often as you like")
      ->required();
  command->add_flag("--prune", options->prune,
                    "What the files do not have is removed, in the groups that they write");
}

void AddGroup(CLI::App* command, CommandOptions* options, const char* what) {
  command->add_option("--group", options->group, what);
}

void AddChange(CLI::App* command, CommandOptions* options) {
  command->add_option("--comment", options->comment, "For the history");
  command->add_option("--base", options->base, "Only if this is the newest revision");
  command->add_flag("--dry-run", options->dry_run, "Check, and change nothing");
  command->add_flag("--allow-empty", options->allow_empty, "Also if nothing is left then");
}

}  // namespace

int RunCommandLine(int argc, char** argv) {
  // A peer that closes is an error to be told, not the end.
  signal(SIGPIPE, SIG_IGN);
  CLI::App app("Gatehouse's control plane: keeps the resources of a fleet of gateways",
               "gatehouse-control");
  app.footer(kFooter);
  app.require_subcommand(1);
  ServeOptions serve;
  AddServe(app, &serve);
  CommandOptions options;
  // Not the parser's business: it would ask the environment for each command by itself.
  if (const char* server = std::getenv("GATEHOUSE_CONTROL_SERVER"); server != nullptr) {
    options.client.server = server;
  }
  if (const char* file = std::getenv("GATEHOUSE_CONTROL_TOKEN_FILE"); file != nullptr) {
    options.client.token_file = file;
  }

  CLI::App* apply =
      AddClient(app, "apply", "Change resources: all of the files, or nothing", &options);
  AddFiles(apply, &options);
  AddGroup(apply, &options, "For gateways of this group alone");
  AddChange(apply, &options);

  CLI::App* get = AddClient(app, "get", "Show resources", &options);
  get->add_option("TYPE", options.type, "Cluster, RouteTable, ...");
  get->add_option("NAME", options.name, "Of one");
  AddGroup(get, &options, "Only those of this group; \"\" is that of all gateways");
  get->add_option("-o,--output", options.output, "yaml or json; default: a table")
      ->check(CLI::IsMember({"yaml", "json"}));

  CLI::App* diff = AddClient(app, "diff", "Show what apply would change", &options);
  AddFiles(diff, &options);
  AddGroup(diff, &options, "For gateways of this group alone");

  CLI::App* remove = AddClient(app, "delete", "Remove a resource", &options);
  remove->add_option("TYPE", options.type, "Cluster, RouteTable, ...")->required();
  remove->add_option("NAME", options.name, "Which one")->required();
  AddGroup(remove, &options, "That of this group");
  AddChange(remove, &options);

  CLI::App* status =
      AddClient(app, "status", "Show gateways, and what they have refused", &options);
  status->add_flag("--json", options.json, "As JSON");
  CLI::App* history = AddClient(app, "history", "Show revisions, the newest first", &options);
  history->add_flag("--json", options.json, "As JSON");
  CLI::App* rollback =
      AddClient(app, "rollback", "Make a new revision that equals an old one", &options);
  rollback->add_option("REVISION", options.revision, "From history")->required();
  AddChange(rollback, &options);

  if (argc > 1 && argv[1][0] != '-' &&
      std::ranges::find(kCommands, argv[1]) == std::end(kCommands)) {
    return UnknownCommand(argv[1]);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // --help is an exception too, and fine.
    return app.exit(error) == 0 ? kExitFine : kExitUsage;
  }
  options.any_group = get->count("--group") == 0;
  if (apply->parsed()) return Apply(options);
  if (get->parsed()) return Get(options);
  if (diff->parsed()) return Diff(options);
  if (remove->parsed()) return Delete(options);
  if (status->parsed()) return Status(options);
  if (history->parsed()) return History(options);
  if (rollback->parsed()) return RollBack(options);
  return Serve(serve);
}

}  // namespace gatehouse::control
