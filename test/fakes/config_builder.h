// ConfigBuilder: everything that Build() needs, with files and variables that tests make up.
//
//   ConfigBuilder builder;
//   auto first = builder.Build("clusters: ...");
//   EXPECT_EQ(builder.Errors("clusters: ..."), "test.yaml:1: ...\n");
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gtest/gtest.h"

#include "source/base/status.h"
#include "source/config/build.h"
#include "source/config/load.h"
#include "source/filters/builtin.h"

namespace gatehouse::config {

class ConfigBuilder {
 public:
  ConfigBuilder() { filters::RegisterBuiltinFilters(registry_); }

  BuildResult Try(std::string_view text) {
    LoadedBootstrap loaded = LoadBootstrapText(text, "test.yaml", Variables());
    if (loaded.bootstrap == nullptr || !loaded.errors.ok()) {
      return {nullptr, std::move(loaded.errors), {}};
    }
    loaded.resources.folder = "/config";
    return Try(loaded.resources);
  }
  BuildResult Try(const Resources& resources) {
    const BuildEnvironment environment{
        .filters = registry_,
        .metrics = metrics,
        .cluster_slots = slots_,
        .states = states_,
        .log_writer = log_writer.get(),
        .workers = 2,
        .variables = Variables(),
        .read_file = [this](const std::string& path,
                            size_t max_bytes) -> absl::StatusOr<std::string> {
          const auto at = files.find(path);
          if (at == files.end()) return NotFound("cannot be read: there is no such file");
          if (at->second.size() > max_bytes) return InvalidArgument("is too large");
          return at->second;
        },
        .ticket_keys = &ticket_keys_};
    return config::Build(resources, environment, current);
  }

  // A config that is right becomes the current one.
  std::shared_ptr<const Snapshot> Build(std::string_view text) {
    BuildResult result = Try(text);
    EXPECT_TRUE(result.errors.ok()) << result.errors.ToString();
    if (result.snapshot != nullptr) current = result.snapshot;
    return result.snapshot;
  }
  // One line each, without the file's name and without warnings.
  std::vector<std::string> Errors(std::string_view text) {
    const BuildResult result = Try(text);
    EXPECT_EQ(result.snapshot != nullptr, result.errors.ok());
    std::vector<std::string> lines;
    for (const ConfigError& error : result.errors.entries()) {
      if (error.severity == ConfigError::Severity::kWarning) continue;
      lines.push_back(error.ToString());
      if (lines.back().starts_with("test.yaml:")) lines.back().erase(0, 10);
    }
    return lines;
  }

  std::map<std::string, std::string> files;
  std::map<std::string, std::string> variables;
  observe::MetricRegistry metrics;
  std::unique_ptr<observe::LogWriter> log_writer;

 private:
  Environment Variables() {
    return [this](const std::string& name) -> std::optional<std::string> {
      const auto at = variables.find(name);
      if (at == variables.end()) return std::nullopt;
      return at->second;
    };
  }

  filters::Registry registry_;
  upstream::ClusterSlots slots_;
  filters::StateStore states_;
  TicketKeyStore ticket_keys_;

 public:
  std::shared_ptr<const Snapshot> current;  // the first to go
};

}  // namespace gatehouse::config
