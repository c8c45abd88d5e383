#include "source/config/load.h"

#include <algorithm>
#include <utility>

#include "api/gatehouse/v1/bootstrap.pb.h"
#include "source/base/no_such.h"
#include "source/config/build.h"

namespace gatehouse::config {
namespace {

// "/etc/gatehouse" of "/etc/gatehouse/gateway.yaml"; "." of "gateway.yaml".
std::string FolderOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

bool LiesAtOrBelow(std::string_view path, std::string_view above) {
  if (!path.starts_with(above)) return false;
  const std::string_view rest = path.substr(above.size());
  return !above.empty() && (rest.empty() || rest.front() == '.' || rest.front() == '[');
}

// What is not in the file may be pushed.
ErrorList WithoutPushed(const ErrorList& errors) {
  ErrorList left;
  for (ConfigError error : errors.entries()) {
    if (ReadNoSuch(error.message)) {
      error.severity = ConfigError::Severity::kWarning;
      error.message += " in this file; it waits until the control plane pushes it";
    }
    left.Add(std::move(error));
  }
  return left;
}

// `read` decodes into the message and the map.
template <typename Read>
LoadedBootstrap Load(const Environment& variables, Read&& read) {
  LoadedBootstrap loaded;
  DecodeContext context{.errors = &loaded.errors, .environment = variables};
  auto bootstrap = std::make_shared<v1::Bootstrap>();
  read(bootstrap.get(), context, &loaded.source);
  // Without a document there is nothing to look for more errors in.
  if (loaded.source.empty()) return loaded;
  loaded.settings = ReadSettings(*bootstrap, loaded.source, loaded.errors);
  loaded.control_plane = ReadControlPlane(*bootstrap, loaded.source, loaded.errors);
  loaded.bootstrap = std::move(bootstrap);
  loaded.resources = ResourcesOf(loaded.bootstrap, loaded.source);
  return loaded;
}

}  // namespace

LoadedBootstrap LoadBootstrap(const std::string& path, const Environment& variables) {
  LoadedBootstrap loaded = Load(variables, [&](auto* message, auto& context, auto* source) {
    static_cast<void>(LoadFile(path, message, context, source));
  });
  loaded.resources.folder = FolderOf(path);
  return loaded;
}

LoadedBootstrap LoadBootstrapText(std::string_view text, const std::string& name,
                                  const Environment& variables) {
  return Load(variables, [&](auto* message, auto& context, auto* source) {
    context.file = name;
    static_cast<void>(LoadText(text, TextFormat::kDetect, message, context, source));
  });
}

void AddNewErrors(const ErrorList& from, ErrorList* to) {
  const ErrorList known = *to;
  for (const ConfigError& error : from.entries()) {
    const bool follows = std::ranges::any_of(known.entries(), [&](const ConfigError& other) {
      return other.severity == ConfigError::Severity::kError && error.file == other.file &&
             LiesAtOrBelow(other.path, error.path);
    });
    if (!follows) to->Add(error);
  }
  to->Sort();
}

ErrorList ValidateFile(const std::string& path, const filters::Registry& filters) {
  LoadedBootstrap loaded = LoadBootstrap(path);
  if (loaded.bootstrap == nullptr) return std::move(loaded.errors);
  // Destroyed in the reverse order, after all that was built with them.
  observe::MetricRegistry metrics;
  upstream::ClusterSlots cluster_slots;
  filters::StateStore states;
  const BuildEnvironment environment{
      .filters = filters, .metrics = metrics, .cluster_slots = cluster_slots, .states = states};
  // Also after errors in the text: the more is found at once, the better.
  const BuildResult built = Build(loaded.resources, environment, nullptr);
  AddNewErrors(loaded.control_plane.configured() ? WithoutPushed(built.errors) : built.errors,
               &loaded.errors);
  if (loaded.control_plane.configured()) {
    const BuildResult control_plane =
        BuildControlPlane(*loaded.bootstrap, loaded.source, loaded.resources, environment, nullptr);
    AddNewErrors(control_plane.errors, &loaded.errors);
  }
  return std::move(loaded.errors);
}

}  // namespace gatehouse::config
