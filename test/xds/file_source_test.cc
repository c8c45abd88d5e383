// Every way in which a config file is changed in the field: written in place, replaced by a rename,
// swapped through links as in mounted volumes, removed and made again.
#include "source/xds/file_source.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

#include "test/fakes/manual_clock.h"

namespace gatehouse::xds {
namespace {

namespace fs = std::filesystem;

class FileSourceTest : public ::testing::Test {
 protected:
  FileSourceTest() {
    std::string pattern = ::testing::TempDir() + "/file_sourceXXXXXX";
    folder_ = mkdtemp(pattern.data());
    path_ = folder_ / "gateway.yaml";
  }
  ~FileSourceTest() override {
    source_.reset();
    fs::remove_all(folder_);
  }
  static void Write(const fs::path& path, std::string_view text) {
    std::ofstream(path, std::ios::binary) << text;
  }
  void Watch(const fs::path& path) {
    absl::StatusOr<std::unique_ptr<FileSource>> source =
        FileSource::Watch(loop_, path.string(), [this](const std::vector<std::string>& paths) {
          ++changes_;
          changed_ = paths;
          if (on_change_) on_change_();
        });
    ASSERT_TRUE(source.ok()) << source.status();
    source_ = *std::move(source);
  }
  // What happened has been seen, and things have settled.
  int Changes() {
    for (int i = 0; i < 3; ++i) {
      for (int j = 0; j < 5; ++j) loop_.RunTurn(false);
      clock_.Advance(std::chrono::milliseconds(60));
      for (int j = 0; j < 5; ++j) loop_.RunTurn(false);
    }
    return std::exchange(changes_, 0);
  }

  // What a build would say that it has read.
  static config::FileRead Read(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) return {path.string(), "the secret's file", 0};
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    return {path.string(), "the secret's file", config::ContentHash(text)};
  }

  ManualClock clock_;
  net::Loop loop_{clock_};
  fs::path folder_;
  fs::path path_;
  std::unique_ptr<FileSource> source_;
  int changes_ = 0;
  std::vector<std::string> changed_;  // the last time
  std::function<void()> on_change_;
};

TEST_F(FileSourceTest, WrittenInPlace) {
  Write(path_, "one");
  Watch(path_);
  EXPECT_EQ(Changes(), 0);
  Write(path_, "two");
  EXPECT_EQ(Changes(), 1);
  EXPECT_EQ(Changes(), 0);
}

TEST_F(FileSourceTest, TheSameContentIsNoChange) {
  Write(path_, "one");
  Watch(path_);
  Write(path_, "one");
  EXPECT_EQ(Changes(), 0);
  fs::last_write_time(path_, fs::file_time_type::clock::now());
  EXPECT_EQ(Changes(), 0);
}

TEST_F(FileSourceTest, ManyStepsThatFollowEachOtherAreOneChange) {
  Write(path_, "one");
  Watch(path_);
  for (int i = 0; i < 20; ++i) {
    Write(path_, "step " + std::to_string(i));
    for (int j = 0; j < 3; ++j) loop_.RunTurn(false);
    clock_.Advance(std::chrono::milliseconds(20));
  }
  EXPECT_EQ(Changes(), 1);
}

TEST_F(FileSourceTest, ReplacedByARename) {
  Write(path_, "one");
  Watch(path_);
  for (const char* text : {"two", "three"}) {
    Write(folder_ / ".new", text);
    fs::rename(folder_ / ".new", path_);
    EXPECT_EQ(Changes(), 1) << text;
  }
}

TEST_F(FileSourceTest, RemovedAndMadeAgain) {
  Write(path_, "one");
  Watch(path_);
  fs::remove(path_);
  const int gone = Changes();
  EXPECT_LE(gone, 1);
  Write(path_, "two");
  EXPECT_EQ(Changes(), 1);
}

// What a container engine mounts when the file is not there yet.
TEST_F(FileSourceTest, AFolderInItsPlace) {
  Write(path_, "one");
  Watch(path_);
  fs::remove(path_);
  fs::create_directory(path_);
  EXPECT_EQ(Changes(), 1);
  fs::remove(path_);
  Write(path_, "two");
  EXPECT_EQ(Changes(), 1);
}

// As Kubernetes mounts a ConfigMap: gateway.yaml -> ..data/gateway.yaml, ..data -> ..2026_a, and an
// update makes a new folder and renames a new link over ..data.
TEST_F(FileSourceTest, SwappedThroughALinkedFolder) {
  fs::create_directory(folder_ / "..a");
  Write(folder_ / "..a" / "gateway.yaml", "one");
  fs::create_directory_symlink("..a", folder_ / "..data");
  fs::create_symlink("..data/gateway.yaml", path_);
  Watch(path_);
  std::string before = "..a";
  for (const char* next : {"..b", "..c", "..d"}) {
    fs::create_directory(folder_ / next);
    Write(folder_ / next / "gateway.yaml", next);
    EXPECT_EQ(Changes(), 0) << next;
    fs::create_directory_symlink(next, folder_ / "..data_tmp");
    fs::rename(folder_ / "..data_tmp", folder_ / "..data");
    fs::remove_all(folder_ / before);
    before = next;
    EXPECT_EQ(Changes(), 1) << next;
  }
}

TEST_F(FileSourceTest, TheTargetOfALinkInAnotherFolder) {
  fs::create_directories(folder_ / "elsewhere" / "deep");
  const fs::path target = folder_ / "elsewhere" / "deep" / "real.yaml";
  Write(target, "one");
  fs::create_symlink(target, path_);
  Watch(path_);
  Write(target, "two");
  EXPECT_EQ(Changes(), 1);
  const fs::path other = folder_ / "elsewhere" / "other.yaml";
  Write(other, "three");
  fs::create_symlink(other, folder_ / "tmp");
  fs::rename(folder_ / "tmp", path_);
  EXPECT_EQ(Changes(), 1);
  Write(target, "nobody cares");
  EXPECT_EQ(Changes(), 0);
  Write(other, "four");
  EXPECT_EQ(Changes(), 1);
}

TEST_F(FileSourceTest, ALinkedFolderOnTheWay) {
  fs::create_directory(folder_ / "v1");
  fs::create_directory(folder_ / "v2");
  Write(folder_ / "v1" / "gateway.yaml", "one");
  Write(folder_ / "v2" / "gateway.yaml", "two");
  fs::create_directory_symlink("v1", folder_ / "current");
  Watch(folder_ / "current" / "gateway.yaml");
  fs::create_directory_symlink("v2", folder_ / "next");
  fs::rename(folder_ / "next", folder_ / "current");
  EXPECT_EQ(Changes(), 1);
  Write(folder_ / "v2" / "gateway.yaml", "three");
  EXPECT_EQ(Changes(), 1);
}

TEST_F(FileSourceTest, ARelativePath) {
  const fs::path before = fs::current_path();
  fs::current_path(folder_);
  Write("gateway.yaml", "one");
  Watch("gateway.yaml");
  Write("gateway.yaml", "two");
  EXPECT_EQ(Changes(), 1);
  fs::current_path(before);
}

TEST_F(FileSourceTest, ACircleOfLinksIsNotFollowedForEver) {
  fs::create_symlink("b", folder_ / "a");
  fs::create_symlink("a", folder_ / "b");
  Watch(folder_ / "a");
  EXPECT_EQ(Changes(), 0);
  fs::remove(folder_ / "a");
  Write(folder_ / "a", "now");
  EXPECT_EQ(Changes(), 1);
}

TEST_F(FileSourceTest, NeighboursDoNotMatter) {
  Write(path_, "one");
  Watch(path_);
  Write(folder_ / "other.yaml", "x");
  fs::remove(folder_ / "other.yaml");
  EXPECT_EQ(Changes(), 0);
}

TEST_F(FileSourceTest, ANeighbourThatIsAlwaysWrittenDelaysNothing) {
  Write(path_, "one");
  Watch(path_);
  Write(path_, "two");
  for (int i = 0; i < 100 && changes_ == 0; ++i) {
    std::ofstream(folder_ / "access.log", std::ios::app) << "a line\n";
    for (int j = 0; j < 3; ++j) loop_.RunTurn(false);
    clock_.Advance(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(changes_, 1);
}

TEST_F(FileSourceTest, AFileThatIsAlwaysWrittenIsLookedAtInBetween) {
  Write(path_, "one");
  Watch(path_);
  for (int i = 0; i < 300; ++i) {
    Write(path_, std::to_string(i));
    for (int j = 0; j < 3; ++j) loop_.RunTurn(false);
    clock_.Advance(std::chrono::milliseconds(10));
  }
  EXPECT_GE(changes_, 2);
}

TEST_F(FileSourceTest, ItsFolderReplacedByAnother) {
  fs::create_directory(folder_ / "conf");
  Write(folder_ / "conf" / "gateway.yaml", "one");
  Watch(folder_ / "conf" / "gateway.yaml");
  fs::create_directory(folder_ / "new");
  Write(folder_ / "new" / "gateway.yaml", "two");
  fs::rename(folder_ / "conf", folder_ / "old");
  fs::rename(folder_ / "new", folder_ / "conf");
  EXPECT_EQ(Changes(), 1);
  fs::remove_all(folder_ / "conf");
  EXPECT_LE(Changes(), 1);
  fs::create_directory(folder_ / "conf");
  Write(folder_ / "conf" / "gateway.yaml", "three");
  EXPECT_EQ(Changes(), 1);
}

TEST_F(FileSourceTest, AWatchThatEndsTellsNothing) {
  Write(path_, "one");
  Watch(path_);
  Write(path_, "two");
  for (int j = 0; j < 5; ++j) loop_.RunTurn(false);
  source_.reset();
  clock_.Advance(std::chrono::seconds(1));
  EXPECT_EQ(Changes(), 0);
}

using Paths = std::vector<std::string>;

TEST_F(FileSourceTest, FilesThatTheConfigNames) {
  Write(path_, "config");
  const fs::path key = folder_ / "site.key";
  const fs::path chain = folder_ / "site.pem";
  Write(key, "k1");
  Write(chain, "c1");
  Watch(path_);
  source_->WatchAlso({Read(key), Read(chain)});
  EXPECT_EQ(Changes(), 0);
  Write(key, "k2");
  EXPECT_EQ(Changes(), 1);
  EXPECT_EQ(changed_, Paths{key.string()});
  Write(path_, "config 2");
  EXPECT_EQ(Changes(), 1);
  EXPECT_EQ(changed_, Paths{path_.string()});
  // Both at once are one change.
  Write(chain, "c2");
  Write(key, "k3");
  EXPECT_EQ(Changes(), 1);
  EXPECT_EQ(changed_, (Paths{key.string(), chain.string()}));
  // Which are no longer named, and which are now.
  source_->WatchAlso({Read(chain)});
  Write(key, "k4");
  EXPECT_EQ(Changes(), 0);
  Write(chain, "c3");
  EXPECT_EQ(Changes(), 1);
}

TEST_F(FileSourceTest, WhatChangedAfterItWasReadIsTold) {
  Write(path_, "config");
  const fs::path key = folder_ / "site.key";
  Write(key, "k1");
  Watch(path_);
  const config::FileRead read = Read(key);
  Write(key, "k2");
  source_->WatchAlso({read});
  EXPECT_EQ(Changes(), 1);
  EXPECT_EQ(changed_, Paths{key.string()});
  // The config, too: its event has not been read when the watches are made anew.
  Write(path_, "config 2");
  source_->WatchAlso({Read(key)});
  EXPECT_EQ(Changes(), 1);
  EXPECT_EQ(changed_, Paths{path_.string()});
}

TEST_F(FileSourceTest, MissingFilesMayCome) {
  Write(path_, "config");
  const fs::path key = folder_ / "later" / "site.key";
  Watch(path_);
  source_->WatchAlso({Read(key)});
  EXPECT_EQ(Changes(), 0);
  fs::create_directory(key.parent_path());
  Write(key, "k1");
  EXPECT_EQ(Changes(), 1);
}

// Each telling makes a build, which says again that it could not read the file.
TEST_F(FileSourceTest, AFileThatABuildRefusesIsToldOnce) {
  Write(path_, "config");
  const fs::path key = folder_ / "site.key";
  Write(key, "too large");
  Watch(path_);
  const config::FileRead refused{key.string(), "the secret's file", 0};
  on_change_ = [&] { source_->WatchAlso({refused}); };
  source_->WatchAlso({refused});
  EXPECT_EQ(Changes(), 1);
  EXPECT_EQ(Changes(), 0);
  Write(key, "still too large");
  EXPECT_EQ(Changes(), 1);
  EXPECT_EQ(Changes(), 0);
}

// As mounted volumes do it: a link to a folder of the day is renamed over the one before.
TEST_F(FileSourceTest, AHundredRotationsBehindALink) {
  Write(path_, "config");
  const fs::path link = folder_ / "..data";
  const fs::path chain = folder_ / "site.pem";
  const auto rotate = [&](int day) {
    const fs::path target = folder_ / ("..day" + std::to_string(day));
    fs::create_directory(target);
    Write(target / "site.pem", "chain " + std::to_string(day));
    fs::create_directory_symlink(target.filename(), folder_ / "..new");
    fs::rename(folder_ / "..new", link);
    if (day > 0) fs::remove_all(folder_ / ("..day" + std::to_string(day - 1)));
  };
  rotate(0);
  fs::create_symlink(fs::path("..data") / "site.pem", chain);
  Watch(path_);
  on_change_ = [&] { source_->WatchAlso({Read(chain)}); };
  source_->WatchAlso({Read(chain)});
  for (int day = 1; day <= 100; ++day) {
    rotate(day);
    ASSERT_EQ(Changes(), 1) << day;
    ASSERT_EQ(changed_, Paths{chain.string()});
  }
}

}  // namespace
}  // namespace gatehouse::xds
