// Every way in which a config file is changed in the field: written in place, replaced by a rename,
// swapped through links as in mounted volumes, removed and made again.
#include "source/xds/file_source.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>

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
        FileSource::Watch(loop_, path.string(), [this] { ++changes_; });
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

  ManualClock clock_;
  net::Loop loop_{clock_};
  fs::path folder_;
  fs::path path_;
  std::unique_ptr<FileSource> source_;
  int changes_ = 0;
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

}  // namespace
}  // namespace gatehouse::xds
