#include "source/config/load.h"

#include <filesystem>
#include <fstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "source/filters/builtin.h"

namespace gatehouse::config {
namespace {

using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;
using testing::StartsWith;

class LoadTest : public testing::Test {
 protected:
  LoadTest() : folder_(testing::TempDir() + "/load_test") {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    filters::RegisterBuiltinFilters(registry_);
  }
  std::string Write(const std::string& name, const std::string& text) {
    const std::string path = folder_ + "/" + name;
    std::ofstream(path) << text;
    return path;
  }
  std::vector<std::string> Validate(const std::string& path) {
    std::vector<std::string> lines;
    const ErrorList errors = ValidateFile(path, registry_);
    for (const ConfigError& error : errors.entries()) {
      std::string line = error.ToString();
      if (line.starts_with(folder_)) line.erase(0, folder_.size() + 1);
      lines.push_back(std::move(line));
    }
    return lines;
  }

  std::string folder_;
  filters::Registry registry_;
};

TEST_F(LoadTest, SettingsHaveDefaults) {
  const LoadedBootstrap loaded = LoadBootstrapText("clusters: [{name: a}]", "x");
  EXPECT_TRUE(loaded.errors.ok());
  EXPECT_EQ(loaded.settings, Settings());
  EXPECT_THAT(loaded.resources.clusters, SizeIs(1));
}

TEST_F(LoadTest, BuffersThatAreTooFewForTheWorkersAreAnError) {
  const LoadedBootstrap loaded = LoadBootstrapText(
      "workers: 5\nclusters: [{name: a}]\noverload: { max_buffer_bytes: 1MiB }", "x");
  EXPECT_THAT(loaded.errors.ToString(),
              HasSubstr("x:3: overload.max_buffer_bytes: is less than 256KiB for each of 5"));
}

TEST_F(LoadTest, SettingsAreRead) {
  const LoadedBootstrap loaded = LoadBootstrapText(R"(
node: { id: edge-1, group: edge }
admin: { address: "unix:/run/gatehouse.sock" }
workers: 3
overload: { max_connections: 10, max_buffer_bytes: 64MiB }
drain_timeout: 0s
upgrade_socket: /run/upgrade.sock
metrics: { max_series_per_family: 5 }
)",
                                                   "x");
  EXPECT_TRUE(loaded.errors.ok()) << loaded.errors.ToString();
  EXPECT_EQ(loaded.settings.node_id, "edge-1");
  EXPECT_EQ(loaded.settings.node_group, "edge");
  EXPECT_EQ(loaded.settings.admin_address, "unix:/run/gatehouse.sock");
  EXPECT_EQ(loaded.settings.workers, 3u);
  EXPECT_EQ(loaded.settings.max_connections, 10u);
  EXPECT_EQ(loaded.settings.max_buffer_bytes, 64u << 20);
  EXPECT_EQ(loaded.settings.drain_timeout, seconds(0));
  EXPECT_EQ(loaded.settings.upgrade_socket, "/run/upgrade.sock");
  EXPECT_EQ(loaded.settings.max_series_per_family, 5u);
}

TEST_F(LoadTest, SettingsAreChecked) {
  const LoadedBootstrap loaded = LoadBootstrapText(R"(
admin: { address: localhost }
workers: 5000
overload: { max_buffer_bytes: 1KiB }
upgrade_socket: upgrade.sock
)",
                                                   "x");
  EXPECT_EQ(loaded.errors.error_count(), 4u);
  EXPECT_THAT(loaded.errors.ToString(), HasSubstr("x:2: admin.address: \"localhost\" has no port"));
  EXPECT_THAT(loaded.errors.ToString(), HasSubstr("x:3: workers: 5000 is not in the range of 1"));
  EXPECT_THAT(loaded.errors.ToString(),
              HasSubstr("x:5: upgrade_socket: must be the absolute path"));
}

TEST_F(LoadTest, FilesAreFoundBesideTheConfig) {
  Write("page.html", "hello");
  const std::string path = Write("gateway.yaml",
                                 "route_tables: [ { name: t, routes: [ { respond: { file: "
                                 "page.html } } ] } ]");
  EXPECT_THAT(Validate(path), SizeIs(0));
  std::filesystem::remove(folder_ + "/page.html");
  EXPECT_THAT(Validate(path), ElementsAre("gateway.yaml:1: route_tables[0].routes[0].respond.file: "
                                          "cannot be read: there is no such file"));
  std::filesystem::create_directory(folder_ + "/page.html");
  EXPECT_THAT(Validate(path), ElementsAre("gateway.yaml:1: route_tables[0].routes[0].respond.file: "
                                          "is not a regular file"));
}

TEST_F(LoadTest, AllErrorsAtOnceAndEachOnce) {
  const std::string path = Write("gateway.yaml", R"(
route_tables:
- name: t
  domains: ["*"]
  routes:
  - { forwrd: users }
  - { match: { path: users }, forward: usres, timeuot: 2s }
clusters:
- { name: users, connect_timeout: fast }
)");
  EXPECT_THAT(
      Validate(path),
      ElementsAre(
          HasSubstr("gateway.yaml:6: route_tables[0].routes[0]"),
          HasSubstr("gateway.yaml:7: route_tables[0].routes[1]"),
          HasSubstr("gateway.yaml:7: route_tables[0].routes[1].forward.cluster: there is no "
                    "cluster \"usres\", did you mean \"users\"?"),
          "gateway.yaml:7: route_tables[0].routes[1].match.path: must start with '/'",
          StartsWith("gateway.yaml:9: clusters[0].connect_timeout: ")));
}

// A warning about a text hides no error about what it says.
TEST_F(LoadTest, WarningsHideNoError) {
  const std::string path = Write("gateway.yaml", R"(
route_tables:
- name: t
  domains: [a.example]
  routes:
  - { name: r, match: { path: / }, forward: { cluster: c, rewrite_host: "${HOST}" } }
clusters: [{name: c}]
)");
  EXPECT_THAT(Validate(path), ElementsAre(HasSubstr("warning: "), HasSubstr("no capture 'HOST'")));
  EXPECT_FALSE(ValidateFile(path, registry_).ok());
}

TEST_F(LoadTest, AllErrorsOfARateLimit) {
  const std::string path = Write("gateway.yaml", R"(
rate_limits:
- name: r
  token_bucket: { rate: 0/s }
  max_keys: 30000000
  key: [ { header: a b }, { client_ip: { ipv4_prefix: 33 } }, {} ]
  answer: { status: 200 }
)");
  EXPECT_THAT(Validate(path), SizeIs(6));
}

TEST_F(LoadTest, BrokenSyntaxIsOneError) {
  EXPECT_THAT(Validate(Write("gateway.yaml", "clusters: [ {")), SizeIs(1));
  EXPECT_THAT(Validate(Write("gateway.json", "{")), SizeIs(1));
  EXPECT_THAT(Validate(folder_ + "/nowhere.yaml"),
              ElementsAre("nowhere.yaml: cannot be read: there is no such file"));
}

TEST_F(LoadTest, ValidatingOpensNoLog) {
  const std::string log = folder_ + "/access.log";
  EXPECT_THAT(Validate(Write("gateway.yaml",
                             "listeners: [ { name: a, address: '127.0.0.1:0', "
                             "access_log: { path: " +
                                 log + " } } ]")),
              SizeIs(0));
  EXPECT_FALSE(std::filesystem::exists(log));
}

// The examples of the documentation say the truth.
class DocumentsTest : public LoadTest, public testing::WithParamInterface<const char*> {};

TEST_P(DocumentsTest, DocumentedConfigsAreValid) {
  std::ifstream document(GetParam());
  ASSERT_TRUE(document.is_open());
  std::string block;
  size_t blocks = 0;
  bool inside = false;
  for (std::string line; std::getline(document, line);) {
    if (inside && line == "```") {
      const std::vector<std::string> errors = Validate(Write("documented.yaml", block));
      EXPECT_THAT(errors, SizeIs(0)) << block;
      ++blocks;
      inside = false;
    } else if (inside) {
      block += line + "\n";
    } else if (line == "```yaml") {
      inside = true;
      block.clear();
    }
  }
  EXPECT_GE(blocks, 5u);
}

INSTANTIATE_TEST_SUITE_P(All, DocumentsTest,
                         testing::Values("docs/configuration.md", "docs/rate_limits.md"));

}  // namespace
}  // namespace gatehouse::config
