// The config file of a gateway, from path to Snapshot: what `gatehouse run` and `gatehouse
// validate` do with it. Main thread; nothing is kept but what the caller holds.
//
//   LoadedBootstrap loaded = LoadBootstrap("gateway.yaml");
//   if (!loaded.errors.ok()) { std::cerr << loaded.errors.ToString(); return 1; }
//   BuildResult built = Build(loaded.resources, environment, /*previous=*/nullptr);
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "source/config/config_error.h"
#include "source/config/control_plane.h"
#include "source/config/resources.h"
#include "source/config/settings.h"
#include "source/config/source_map.h"
#include "source/config/text.h"
#include "source/filters/registry.h"

namespace gatehouse::config {

struct LoadedBootstrap {
  // What could be read of it; null when the file could not be read or parsed at all.
  std::shared_ptr<const v1::Bootstrap> bootstrap;
  SourceMap source;
  Settings settings;
  ControlPlaneSettings control_plane;
  Resources resources;
  // Of the text and the settings. With errors nothing of this is to be used but for finding more.
  ErrorList errors;
};

// ${NAME} in secrets comes from `variables`.
[[nodiscard]] LoadedBootstrap LoadBootstrap(const std::string& path,
                                            const Environment& variables = ProcessEnvironment());
// The same for a text that is not in a file; `name` is what errors call it.
[[nodiscard]] LoadedBootstrap LoadBootstrapText(
    std::string_view text, const std::string& name,
    const Environment& variables = ProcessEnvironment());

// Adds what Build() found to what was wrong with the text, but for errors about what holds a field
// that could not be read: it may be missing for that reason alone.
void AddNewErrors(const ErrorList& from, ErrorList* to);

// Every error of the file. Builds everything once with registries that are thrown away: no socket,
// log or running state is touched; the files that it names are read.
[[nodiscard]] ErrorList ValidateFile(const std::string& path, const filters::Registry& filters);

}  // namespace gatehouse::config
