#include "source/control_plane/api.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <chrono>
#include <optional>
#include <utility>

#include <fmt/chrono.h>
#include <fmt/format.h>

#include "source/base/nearest.h"
#include "source/base/status.h"
#include "source/control_plane/diff.h"
#include "source/control_plane/json_text.h"

namespace gatehouse::control {
namespace {

constexpr size_t kHistory = 100;
constexpr std::string_view kResourcesPath = "/v1/resources";
constexpr std::string_view kRollbackPath = "/v1/rollback/";

std::string ValueOf(const ApiRequest& request, const std::string& name) {
  const auto at = request.query.find(name);
  return at == request.query.end() ? "" : at->second;
}

bool IsSet(const ApiRequest& request, const std::string& name) {
  const std::string value = ValueOf(request, name);
  return value == "1" || value == "true";
}

std::optional<uint64_t> NumberOf(std::string_view text) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) {
    return std::nullopt;
  }
  return number;
}

std::string TimeText(WallTime time) {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}",
                     fmt::gmtime(std::chrono::system_clock::to_time_t(time)));
}

// "cluster", "clusters", "Cluster", "rate-limits".
std::optional<ResourceType> TypeFrom(std::string_view text) {
  const auto plain = [](std::string_view name) {
    std::string out;
    for (const char c : name) {
      if (c != '_' && c != '-') out.push_back(static_cast<char>(std::tolower(c)));
    }
    return out;
  };
  for (size_t t = 0; t < kResourceTypes; ++t) {
    const auto type = static_cast<ResourceType>(t);
    if (plain(text) == plain(TypeName(type)) || plain(text) == plain(FieldName(type)) ||
        text == TypeUrl(type)) {
      return type;
    }
  }
  return std::nullopt;
}

ApiReply UnknownType(std::string_view text) {
  std::vector<std::string_view> names;
  std::string all;
  for (size_t t = 0; t < kResourceTypes; ++t) {
    names.push_back(TypeName(static_cast<ResourceType>(t)));
    all.append(all.empty() ? "" : ", ").append(names.back());
  }
  const std::string_view meant = Nearest(text, names);
  return ErrorReply(
      400, "There is no such type",
      fmt::format("there is no type \"{}\"; {}", text,
                  meant.empty() ? "there are " + all : fmt::format("did you mean {}?", meant)));
}

void AddErrors(const std::vector<config::ConfigError>& errors,
               std::optional<config::ConfigError::Severity> only, JsonText* json) {
  json->Begin('[');
  for (const config::ConfigError& error : errors) {
    if (only.has_value() && error.severity != *only) continue;
    json->Begin('{').Key("file").String(error.file);
    json->Key("line").Number(static_cast<uint64_t>(std::max(error.line, 0)));
    json->Key("path").String(error.path).Key("message").String(error.message);
    if (!error.suggestion.empty()) json->Key("suggestion").String(error.suggestion);
    json->End('}');
  }
  json->End(']');
}

ApiReply ReplyFor(const absl::Status& status) {
  const std::string why = MessageOf(status);
  switch (status.code()) {
    case absl::StatusCode::kNotFound:
      return ErrorReply(404, "Not found", why);
    case absl::StatusCode::kAborted:
      return ErrorReply(409, "It was changed by somebody else", why);
    case absl::StatusCode::kAlreadyExists:
      return ErrorReply(409, "It is written elsewhere", why);
    case absl::StatusCode::kFailedPrecondition:
      return ErrorReply(409, "Refused", why);
    case absl::StatusCode::kInvalidArgument:
      return ErrorReply(400, "The input is wrong", why);
    default:
      return ErrorReply(503, "It cannot be done now", why);
  }
}

void AddResource(const Resource& resource, JsonText* json) {
  json->Key("type").String(TypeName(resource.type)).Key("group").String(resource.group);
  json->Key("name").String(resource.name).Key("version").String(resource.version);
  json->Key("file").String(resource.origin->file);
  json->Key("line").Number(static_cast<uint64_t>(std::max(resource.origin->line, 0)));
  json->Key("from_directory").Bool(resource.origin->from_directory);
}

ApiReply ReplyFor(const absl::StatusOr<Change>& change, bool dry_run) {
  if (!change.ok()) return ReplyFor(change.status());
  if (change->refused()) {
    return ErrorReply(422, "A gateway would refuse it",
                      "nothing was changed; mend what is wrong and apply again", change->problems);
  }
  JsonText json;
  json.Begin('{')
      .Key("revision")
      .Number(dry_run ? change->before->revision() : change->after->revision());
  const std::vector<ResourceChange> changes = Changes(*change->before, *change->after);
  json.Key("changed").Bool(change->before != change->after).Key("dry_run").Bool(dry_run);
  json.Key("changes").Begin('[');
  for (const ResourceChange& one : changes) {
    json.Begin('{').Key("change").String(one.before == nullptr  ? "added"
                                         : one.after == nullptr ? "removed"
                                                                : "changed");
    AddResource(one.any(), &json);
    json.End('}');
  }
  json.End(']').Key("warnings");
  AddErrors(change->problems.entries(), config::ConfigError::Severity::kWarning, &json);
  return {.body = json.End('}').Take() + "\n"};
}

// What of the query says how to change something; nothing when it is wrong.
std::optional<ChangeOptions> OptionsOf(const ApiRequest& request) {
  ChangeOptions options;
  options.author = request.author;
  options.comment = ValueOf(request, "comment");
  options.dry_run = IsSet(request, "dry_run");
  options.prune = IsSet(request, "prune");
  options.allow_empty = IsSet(request, "allow_empty");
  if (const std::string base = ValueOf(request, "base"); !base.empty()) {
    options.base = NumberOf(base);
    if (!options.base.has_value()) return std::nullopt;
  }
  return options;
}

const ApiReply& WrongBase() {
  static const ApiReply kReply =
      ErrorReply(400, "The input is wrong", "base must be the number of a revision");
  return kReply;
}

void AddGateway(const GatewayStatus& gateway, JsonText* json) {
  json->Begin('{').Key("node").String(gateway.node).Key("group").String(gateway.group);
  json->Key("address").String(gateway.address).Key("instance").String(gateway.instance);
  json->Key("gateway_version").String(gateway.gateway_version);
  json->Key("protocol").String(gateway.protocol).Key("connected").Bool(gateway.connected);
  json->Key("connected_at").String(TimeText(gateway.connected_at));
  json->Key("last_seen").String(TimeText(gateway.last_seen));
  json->Key("sent_revision").Number(gateway.sent_revision);
  json->Key("accepted_revision").Number(gateway.accepted_revision);
  json->Key("types").Begin('{');
  for (size_t t = 0; t < kResourceTypes; ++t) {
    const GatewayStatus::OfType& counts = gateway.types[t];
    json->Key(TypeName(static_cast<ResourceType>(t))).Begin('{');
    json->Key("acks").Number(counts.acks).Key("nacks").Number(counts.nacks);
    json->Key("resources").Number(counts.resources);
    if (!counts.text.empty()) json->Key("text").String(counts.text);
    json->End('}');
  }
  json->End('}').Key("rejections").Begin('[');
  for (const auto& [key, rejection] : gateway.rejections) {
    json->Begin('{').Key("type").String(TypeName(rejection.type));
    json->Key("name").String(rejection.name).Key("version").String(rejection.version);
    json->Key("waiting").Bool(rejection.waiting).Key("at").String(TimeText(rejection.at));
    const auto running = gateway.versions.find(key);
    json->Key("running").String(running == gateway.versions.end() ? "" : running->second);
    json->Key("errors").Begin('[');
    for (const StatusError& error : rejection.errors) {
      json->Begin('{').Key("file").String(error.file);
      json->Key("line").Number(static_cast<uint64_t>(std::max(error.line, 0)));
      json->Key("path").String(error.path).Key("message").String(error.message);
      if (!error.suggestion.empty()) json->Key("suggestion").String(error.suggestion);
      json->End('}');
    }
    json->End(']').End('}');
  }
  json->End(']').Key("warnings").Begin('[');
  for (const std::string& warning : gateway.warnings) json->String(warning);
  json->End(']').End('}');
}

}  // namespace

ApiReply ErrorReply(int status, std::string_view title, std::string_view detail,
                    const config::ErrorList& errors) {
  JsonText json;
  json.Begin('{').Key("title").String(title).Key("status").Number(static_cast<uint64_t>(status));
  json.Key("detail").String(detail).Key("errors");
  config::ErrorList sorted = errors;
  sorted.Sort();
  AddErrors(sorted.entries(), config::ConfigError::Severity::kError, &json);
  return {.status = status,
          .content_type = "application/problem+json",
          .body = json.End('}').Take() + "\n"};
}

ApiReply Api::Answer(const ApiRequest& request) {
  const std::string& path = request.path;
  const bool get = request.method == "GET" || request.method == "HEAD";
  const bool post = request.method == "POST";
  const auto text = [](int status, std::string_view body) -> ApiReply {
    return {.status = status,
            .content_type = "text/plain; charset=utf-8",
            .body = std::string(body) + "\n"};
  };
  if (get && path == kResourcesPath) return Get(request);
  if (post && path == kResourcesPath) return Post(request, /*diff=*/false);
  if (post && path == "/v1/diff") return Post(request, /*diff=*/true);
  if (request.method == "DELETE" && path.starts_with(kResourcesPath)) return Delete(request);
  if (post && path.starts_with(kRollbackPath)) return RollBack(request);
  if (get && path == "/v1/status") return Status();
  if (get && path == "/v1/history") return History(request);
  if (get && path == "/metrics") return Metrics();
  if (get && path == "/live") return text(200, "live");
  if (get && path == "/ready") return ready_ ? text(200, "ready") : text(503, "not ready");
  return ErrorReply(404, "Not found",
                    "there are /v1/resources, /v1/diff, /v1/status, /v1/history, /v1/rollback, "
                    "/metrics, /live and /ready");
}

ApiReply Api::Get(const ApiRequest& request) const {
  const std::string type_text = ValueOf(request, "type");
  std::optional<ResourceType> type;
  if (!type_text.empty()) {
    type = TypeFrom(type_text);
    if (!type.has_value()) return UnknownType(type_text);
  }
  const std::string name = ValueOf(request, "name");
  const bool of_group = request.query.count("group") != 0;
  const std::shared_ptr<const ResourceSet> set = parts_.store.Current();
  std::map<std::string, std::vector<const Resource*>> found;
  for (const auto& [key, resource] : set->all()) {
    if ((type.has_value() && key.type != *type) || (!name.empty() && key.name != name)) continue;
    if (of_group && key.group != ValueOf(request, "group")) continue;
    found[key.group].push_back(resource.get());
  }
  if (found.empty() && !name.empty()) {
    return ErrorReply(404, "Not found", fmt::format("there is no {} {}", type_text, name));
  }
  if (ValueOf(request, "output") == "yaml") {
    std::string yaml;
    for (const auto& [group, resources] : found) {
      yaml.append(yaml.empty() ? "" : "---\n").append(ToYaml(resources));
    }
    return {.content_type = "application/yaml", .body = std::move(yaml)};
  }
  JsonText json;
  json.Begin('{').Key("revision").Number(set->revision()).Key("resources").Begin('[');
  for (const auto& [group, resources] : found) {
    for (const Resource* resource : resources) {
      json.Begin('{');
      AddResource(*resource, &json);
      json.Key("resource").Raw(ToJson(*resource)).End('}');
    }
  }
  return {.body = json.End(']').End('}').Take() + "\n"};
}

ApiReply Api::Post(const ApiRequest& request, bool diff) {
  std::optional<ChangeOptions> options = OptionsOf(request);
  if (!options.has_value()) return WrongBase();
  if (request.files.empty()) {
    return ErrorReply(400, "The input is wrong",
                      "the body must be a file of resources, YAML or JSON");
  }
  config::ErrorList errors;
  Resources resources;
  ResourceSet::All all;
  const std::string group = ValueOf(request, "group");
  if (std::string wrong = WrongGroup(group); !wrong.empty()) {
    return ErrorReply(400, "The input is wrong", wrong);
  }
  for (ResourceFile file : request.files) {
    file.group = group;
    const Resources more = ParseResourceFile(file, errors);
    AddResources(more, &all, errors);
    resources.insert(resources.end(), more.begin(), more.end());
  }
  if (!errors.ok()) {
    return ErrorReply(400, "The input is wrong", "nothing was changed; mend what is wrong", errors);
  }
  if (!diff) return ReplyFor(parts_.editor.Apply(resources, *options), options->dry_run);
  options->dry_run = options->unchecked = options->allow_empty = true;
  const absl::StatusOr<Change> change = parts_.editor.Apply(resources, *options);
  if (!change.ok()) return ReplyFor(change.status());
  const std::vector<ResourceChange> changes = Changes(*change->before, *change->after);
  JsonText json;
  json.Begin('{').Key("revision").Number(change->before->revision());
  json.Key("different").Bool(!changes.empty()).Key("diff").String(ToText(changes));
  return {.body = json.End('}').Take() + "\n"};
}

ApiReply Api::Delete(const ApiRequest& request) {
  const std::optional<ChangeOptions> options = OptionsOf(request);
  if (!options.has_value()) return WrongBase();
  std::string_view rest = std::string_view(request.path).substr(kResourcesPath.size());
  const size_t slash = rest.find('/', 1);
  if (!rest.starts_with('/') || slash == std::string_view::npos || slash + 1 == rest.size()) {
    return ErrorReply(400, "The input is wrong", "write /v1/resources/{type}/{name}");
  }
  const std::string_view type_text = rest.substr(1, slash - 1);
  const std::optional<ResourceType> type = TypeFrom(type_text);
  if (!type.has_value()) return UnknownType(type_text);
  const ResourceSet::Key key{ValueOf(request, "group"), *type, std::string(rest.substr(slash + 1))};
  return ReplyFor(parts_.editor.Remove(key, *options), options->dry_run);
}

ApiReply Api::RollBack(const ApiRequest& request) {
  const std::optional<ChangeOptions> options = OptionsOf(request);
  if (!options.has_value()) return WrongBase();
  const std::optional<uint64_t> revision =
      NumberOf(std::string_view(request.path).substr(kRollbackPath.size()));
  if (!revision.has_value()) {
    return ErrorReply(400, "The input is wrong", "write /v1/rollback/{number of a revision}");
  }
  return ReplyFor(parts_.editor.RollBack(*revision, *options), options->dry_run);
}

ApiReply Api::Status() const {
  const std::shared_ptr<const ResourceSet> set = parts_.store.Current();
  JsonText json;
  json.Begin('{').Key("instance").String(parts_.fleet.instance());
  json.Key("revision").Number(set->revision()).Key("resources").Number(set->all().size());
  json.Key("trouble").String(parts_.store.Trouble());
  if (parts_.directory != nullptr) {
    json.Key("directory").Begin('{').Key("folder").String(parts_.directory->folder());
    json.Key("overruled").Bool(!parts_.editor.OverruledDirectory().empty()).End('}');
  }
  json.Key("problems");
  AddErrors(parts_.directory == nullptr ? std::vector<config::ConfigError>{}
                                        : parts_.directory->Problems().entries(),
            config::ConfigError::Severity::kError, &json);
  json.Key("gateways").Begin('[');
  for (const GatewayStatus& gateway : parts_.fleet.All()) AddGateway(gateway, &json);
  return {.body = json.End(']').End('}').Take() + "\n"};
}

ApiReply Api::History(const ApiRequest& request) const {
  const size_t count = NumberOf(ValueOf(request, "count")).value_or(kHistory);
  const absl::StatusOr<std::vector<RevisionNote>> notes =
      parts_.store.History(std::min(count, kHistory));
  if (!notes.ok()) return ReplyFor(notes.status());
  JsonText json;
  json.Begin('{').Key("revisions").Begin('[');
  for (const RevisionNote& note : *notes) {
    json.Begin('{').Key("revision").Number(note.revision).Key("made").String(TimeText(note.made));
    json.Key("author").String(note.author).Key("comment").String(note.comment);
    if (note.restores != 0) json.Key("restores").Number(note.restores);
    json.End('}');
  }
  return {.body = json.End(']').End('}').Take() + "\n"};
}

ApiReply Api::Metrics() const {
  std::string text = parts_.metrics();
  const std::shared_ptr<const ResourceSet> set = parts_.store.Current();
  text.append(fmt::format(
      "# HELP gatehouse_control_store_revision The newest revision of the resources.\n"
      "# TYPE gatehouse_control_store_revision gauge\ngatehouse_control_store_revision {}\n"
      "# HELP gatehouse_control_store_resources Resources of the newest revision.\n"
      "# TYPE gatehouse_control_store_resources gauge\ngatehouse_control_store_resources {}\n"
      "# HELP gatehouse_control_store_trouble 1 when the store cannot be reached or is damaged.\n"
      "# TYPE gatehouse_control_store_trouble gauge\ngatehouse_control_store_trouble {}\n",
      set->revision(), set->all().size(), parts_.store.Trouble().empty() ? 0 : 1));
  const size_t problems =
      parts_.directory == nullptr ? 0 : parts_.directory->Problems().error_count();
  text.append(fmt::format(
      "# HELP gatehouse_control_directory_problems Errors in the directory as it is now.\n"
      "# TYPE gatehouse_control_directory_problems gauge\n"
      "gatehouse_control_directory_problems {}\n",
      problems));
  return {.content_type = "text/plain; version=0.0.4; charset=utf-8", .body = std::move(text)};
}

}  // namespace gatehouse::control
