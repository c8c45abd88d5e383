#include "source/control_plane/commands.h"

#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "source/base/json.h"
#include "source/base/printable.h"
#include "source/base/status.h"
#include "source/config/config_error.h"
#include "source/control_plane/durable_file.h"

namespace gatehouse::control {
namespace {

constexpr size_t kMaxFileBytes = size_t{64} << 20;  // the server takes no more

using Table = std::vector<std::vector<std::string>>;

int Fail(int code, std::string_view why) {
  fmt::print(stderr, "gatehouse-control: {}\n", why);
  return code;
}

std::string TextOf(const Node& node, std::string_view key) {
  const Node* member = node.Find(key);
  return member == nullptr ? "" : std::string(member->text());
}

// For the terminal: gateways choose names and messages, and other users comments.
std::string ShownOf(const Node& node, std::string_view key) { return Printable(TextOf(node, key)); }

std::span<const Node> ItemsOf(const Node& node, std::string_view key) {
  const Node* member = node.Find(key);
  return member == nullptr ? std::span<const Node>() : member->items();
}

bool IsTrue(const Node& node, std::string_view key) { return TextOf(node, key) == "true"; }

std::string PlaceOf(const Node& node) {
  const std::string file = TextOf(node, "file");
  const std::string line = TextOf(node, "line");
  return file.empty() || line == "0" ? file : fmt::format("{}:{}", file, line);
}

// file:line: path: message, did you mean ...?
std::string ErrorText(const Node& node) {
  config::ConfigError error;
  error.path = TextOf(node, "path");
  error.message = TextOf(node, "message");
  error.suggestion = TextOf(node, "suggestion");
  const std::string place = PlaceOf(node);
  return Printable(place.empty() ? error.ToString()
                                 : fmt::format("{}: {}", place, error.ToString()));
}

void PrintTable(Table table) {
  std::vector<size_t> widths;
  for (auto& row : table) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) {
      row[i] = Printable(row[i]);
      widths[i] = std::max(widths[i], row[i].size());
    }
  }
  for (const auto& row : table) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) line.append(fmt::format("{:<{}}  ", row[i], widths[i]));
    line.erase(line.find_last_not_of(' ') + 1);
    fmt::print("{}\n", line);
  }
}

// What the server says is wrong, on stderr.
int Refused(const RestAnswer& answer) {
  const ParsedDocument parsed = ParseJson(answer.body);
  const bool input = answer.status >= 400 && answer.status < 500;
  const int code = input ? kExitInput : kExitEnvironment;
  if (!parsed.ok()) {
    return Fail(kExitEnvironment,
                fmt::format("the server answered {}, which is not a control plane's answer",
                            answer.status));
  }
  const Node& root = parsed.document->root();
  for (const Node& error : ItemsOf(root, "errors")) {
    fmt::print(stderr, "{}\n", ErrorText(error));
  }
  return Fail(code, ShownOf(root, "detail"));
}

// The answer's document, or the exit code.
struct Outcome {
  std::shared_ptr<const Document> document;
  std::string body;
  int code = kExitFine;
  [[nodiscard]] const Node& root() const { return document->root(); }
};

Outcome Take(const absl::StatusOr<RestAnswer>& answer) {
  if (!answer.ok()) {
    const bool usage = absl::IsInvalidArgument(answer.status());
    return {.code = Fail(usage ? kExitUsage : kExitEnvironment, MessageOf(answer.status()))};
  }
  if (!answer->ok()) return {.code = Refused(*answer)};
  const ParsedDocument parsed = ParseJson(answer->body);
  if (!parsed.ok()) return {.code = Fail(kExitEnvironment, "the server's answer cannot be read")};
  return {.document = parsed.document, .body = answer->body};
}

std::optional<std::vector<ResourceFile>> ReadFiles(const std::vector<std::string>& paths) {
  std::vector<ResourceFile> files;
  bool good = true;
  for (const std::string& path : paths) {
    absl::StatusOr<std::string> text = ReadWhole(path == "-" ? "/dev/stdin" : path, kMaxFileBytes);
    if (text.ok()) {
      files.push_back({.name = path == "-" ? "stdin" : path, .text = *std::move(text)});
    } else {
      static_cast<void>(Fail(kExitInput, MessageOf(text.status())));
      good = false;
    }
  }
  if (!good) return std::nullopt;
  return files;
}

RestClient::Query QueryOf(const CommandOptions& options) {
  RestClient::Query query;
  if (!options.group.empty()) query.emplace("group", options.group);
  if (!options.comment.empty()) query.emplace("comment", options.comment);
  if (!options.base.empty()) query.emplace("base", options.base);
  if (options.dry_run) query.emplace("dry_run", "1");
  if (options.prune) query.emplace("prune", "1");
  if (options.allow_empty) query.emplace("allow_empty", "1");
  return query;
}

// What a change has done.
int Report(const Outcome& outcome) {
  if (outcome.document == nullptr) return outcome.code;
  const Node& root = outcome.root();
  for (const Node& warning : ItemsOf(root, "warnings")) {
    fmt::print(stderr, "warning: {}\n", ErrorText(warning));
  }
  const std::span<const Node> changes = ItemsOf(root, "changes");
  if (changes.empty()) {
    fmt::print("revision {}: nothing to change\n", TextOf(root, "revision"));
    return kExitFine;
  }
  Table table;
  for (const Node& change : changes) {
    const std::string group = TextOf(change, "group");
    table.push_back({"  " + TextOf(change, "change"), TextOf(change, "type"),
                     TextOf(change, "name"), group.empty() ? "" : "group " + group,
                     PlaceOf(change)});
  }
  fmt::print("revision {}{}\n", TextOf(root, "revision"),
             IsTrue(root, "dry_run") ? " stays (dry run); this would change:" : ":");
  PrintTable(table);
  return kExitFine;
}

void PrintRejections(const Node& gateway) {
  for (const Node& rejection : ItemsOf(gateway, "rejections")) {
    const std::string running = ShownOf(rejection, "running");
    fmt::print("\n{}: {} {} {} {}\n", ShownOf(gateway, "node"),
               IsTrue(rejection, "waiting") ? "waits with" : "has refused",
               ShownOf(rejection, "type"), ShownOf(rejection, "name"),
               running.empty() ? "and has none" : fmt::format("and runs version {}", running));
    for (const Node& error : ItemsOf(rejection, "errors")) {
      fmt::print("  {}\n", ErrorText(error));
    }
  }
  for (const Node& warning : ItemsOf(gateway, "warnings")) {
    fmt::print("\n{}: {}\n", ShownOf(gateway, "node"), Printable(warning.text()));
  }
}

void PrintGateways(const Node& root) {
  const std::span<const Node> gateways = ItemsOf(root, "gateways");
  if (gateways.empty()) {
    fmt::print("no gateway has connected yet\n");
    return;
  }
  Table table{{"GATEWAY", "GROUP", "ADDRESS", "CONNECTED", "RUNNING", "SENT", "REFUSED", "VERSION",
               "CONTROL PLANE"}};
  for (const Node& gateway : gateways) {
    table.push_back(
        {TextOf(gateway, "node"), TextOf(gateway, "group"), TextOf(gateway, "address"),
         IsTrue(gateway, "connected") ? "yes" : "no, since " + TextOf(gateway, "last_seen"),
         TextOf(gateway, "accepted_revision"), TextOf(gateway, "sent_revision"),
         fmt::format("{}", ItemsOf(gateway, "rejections").size()),
         TextOf(gateway, "gateway_version"), TextOf(gateway, "instance")});
  }
  PrintTable(table);
  for (const Node& gateway : gateways) PrintRejections(gateway);
}

}  // namespace

int Apply(const CommandOptions& options) {
  const std::optional<std::vector<ResourceFile>> files = ReadFiles(options.files);
  if (!files.has_value()) return kExitInput;
  return Report(Take(RestClient(options.client).Post("/v1/resources", QueryOf(options), *files)));
}

int Get(const CommandOptions& options) {
  RestClient::Query query;
  if (!options.any_group) query.emplace("group", options.group);
  if (!options.type.empty()) query.emplace("type", options.type);
  if (!options.name.empty()) query.emplace("name", options.name);
  const bool yaml = options.output == "yaml" || (options.output.empty() && !options.name.empty());
  if (yaml) query.emplace("output", "yaml");
  const absl::StatusOr<RestAnswer> answer = RestClient(options.client).Get("/v1/resources", query);
  if (yaml && answer.ok() && answer->ok()) {
    fmt::print("{}", answer->body);
    return kExitFine;
  }
  const Outcome outcome = Take(answer);
  if (outcome.document == nullptr) return outcome.code;
  if (options.output == "json") {
    fmt::print("{}\n", WriteJson(outcome.root(), 2));
    return kExitFine;
  }
  Table table{{"TYPE", "NAME", "GROUP", "VERSION", "WRITTEN IN"}};
  for (const Node& resource : ItemsOf(outcome.root(), "resources")) {
    table.push_back({TextOf(resource, "type"), TextOf(resource, "name"), TextOf(resource, "group"),
                     TextOf(resource, "version"), PlaceOf(resource)});
  }
  PrintTable(table);
  return kExitFine;
}

int Diff(const CommandOptions& options) {
  const std::optional<std::vector<ResourceFile>> files = ReadFiles(options.files);
  // 1 would say that there are differences.
  if (!files.has_value()) return kExitUsage;
  const Outcome outcome =
      Take(RestClient(options.client).Post("/v1/diff", QueryOf(options), *files));
  if (outcome.document == nullptr) return outcome.code == kExitInput ? kExitUsage : outcome.code;
  fmt::print("{}", TextOf(outcome.root(), "diff"));
  return IsTrue(outcome.root(), "different") ? kExitInput : kExitFine;
}

int Delete(const CommandOptions& options) {
  const std::string path = fmt::format("/v1/resources/{}/{}", EscapePathPart(options.type),
                                       EscapePathPart(options.name));
  return Report(Take(RestClient(options.client).Delete(path, QueryOf(options))));
}

int Status(const CommandOptions& options) {
  const Outcome outcome = Take(RestClient(options.client).Get("/v1/status", {}));
  if (outcome.document == nullptr) return outcome.code;
  const Node& root = outcome.root();
  if (options.json) {
    fmt::print("{}\n", WriteJson(root, 2));
    return kExitFine;
  }
  fmt::print("revision {}, {} resources\n", TextOf(root, "revision"), TextOf(root, "resources"));
  if (const std::string trouble = ShownOf(root, "trouble"); !trouble.empty()) {
    fmt::print("trouble: {}\n", trouble);
  }
  const Node* directory = root.Find("directory");
  if (directory != nullptr && IsTrue(*directory, "overruled")) {
    fmt::print("a rollback has overruled {} until something changes there\n",
               TextOf(*directory, "folder"));
  }
  if (!ItemsOf(root, "problems").empty()) {
    fmt::print("the directory is not used as it is now:\n");
    for (const Node& problem : ItemsOf(root, "problems")) fmt::print("  {}\n", ErrorText(problem));
  }
  fmt::print("\n");
  PrintGateways(root);
  return kExitFine;
}

int History(const CommandOptions& options) {
  const Outcome outcome = Take(RestClient(options.client).Get("/v1/history", {}));
  if (outcome.document == nullptr) return outcome.code;
  if (options.json) {
    fmt::print("{}\n", WriteJson(outcome.root(), 2));
    return kExitFine;
  }
  Table table{{"REVISION", "MADE", "BY", "COMMENT"}};
  for (const Node& note : ItemsOf(outcome.root(), "revisions")) {
    const std::string restores = TextOf(note, "restores");
    std::string comment = restores.empty() ? "" : fmt::format("as revision {} ", restores);
    comment.append(TextOf(note, "comment"));
    table.push_back({TextOf(note, "revision"), TextOf(note, "made"), TextOf(note, "author"),
                     std::move(comment)});
  }
  PrintTable(table);
  return kExitFine;
}

int RollBack(const CommandOptions& options) {
  const std::string path = fmt::format("/v1/rollback/{}", options.revision);
  return Report(Take(RestClient(options.client).Post(path, QueryOf(options), {})));
}

}  // namespace gatehouse::control
