#include "source/control_plane/directory.h"

#include <sys/stat.h>
#include <unistd.h>

#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "source/control_plane/folder_store.h"

namespace gatehouse::control {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

std::string Cluster(const std::string& name) {
  return "clusters:\n- name: " + name + "\n  endpoints: [\"127.0.0.1:1\"]\n";
}

class DirectoryTest : public testing::Test {
 protected:
  DirectoryTest() {
    std::string name = testing::TempDir() + "/directoryXXXXXX";
    root_ = mkdtemp(name.data());
    folder_ = root_ + "/resources";
    fs::create_directory(folder_);
    store_ = *FolderStore::Open(root_ + "/state");
    editor_ = std::make_unique<Editor>(*store_, nullptr);
    source_ =
        std::make_unique<DirectorySource>(DirectoryOptions{.folder = folder_}, *editor_, *store_,
                                          [this](std::string_view line) { Hear(line); });
  }
  ~DirectoryTest() override {
    source_.reset();
    store_.reset();
    fs::remove_all(root_);
  }

  void Write(const std::string& name, const std::string& text) const {
    fs::create_directories(fs::path(folder_ + "/" + name).parent_path());
    std::ofstream(folder_ + "/" + name) << text;
  }
  void Hear(std::string_view line) {
    const std::lock_guard lock(mutex_);
    said_.emplace_back(line);
    heard_.notify_all();
  }
  void WaitFor(const std::string& text) {
    std::unique_lock lock(mutex_);
    heard_.wait(lock, [&] {
      for (const std::string& line : said_) {
        if (line.find(text) != std::string::npos) return true;
      }
      return false;
    });
    said_.clear();
  }
  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const auto& [key, resource] : store_->Current()->all()) {
      names.push_back(key.group.empty() ? key.name : key.group + "/" + key.name);
    }
    return names;
  }

  std::string root_;
  std::string folder_;
  std::unique_ptr<FolderStore> store_;
  std::unique_ptr<Editor> editor_;
  std::mutex mutex_;
  std::condition_variable heard_;
  std::vector<std::string> said_;
  std::unique_ptr<DirectorySource> source_;
};

TEST_F(DirectoryTest, ReadsFilesAndGroupsAndIgnoresTheRest) {
  Write("a.yaml", Cluster("a"));
  Write("edge/b.yml", Cluster("b"));
  Write(".hidden/c.yaml", Cluster("c"));
  Write(".d.yaml", Cluster("d"));
  Write("notes.txt", "not ours");
  source_->Read();
  EXPECT_EQ(Names(), (std::vector<std::string>{"a", "edge/b"}));
  EXPECT_EQ(PlaceOf(*store_->Current()->all().begin()->second), "a.yaml:2");
  EXPECT_TRUE(source_->Problems().ok());
  source_->Read();
  EXPECT_EQ(store_->Current()->revision(), 1U);
}

TEST_F(DirectoryTest, AnyErrorAnywhereChangesNothing) {
  Write("a.yaml", Cluster("a"));
  source_->Read();
  Write("b.yaml", Cluster("b"));
  Write("c.yaml", "clusters: {");
  fs::create_symlink("/no/such/file", folder_ + "/gone.yaml");
  source_->Read();
  EXPECT_EQ(Names(), std::vector<std::string>{"a"});
  EXPECT_THAT(source_->Problems().ToString(), HasSubstr("c.yaml:"));
  EXPECT_THAT(source_->Problems().ToString(), HasSubstr("gone.yaml"));
  fs::remove(folder_ + "/gone.yaml");
  fs::remove(folder_ + "/c.yaml");
  source_->Read();
  EXPECT_EQ(Names(), (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(source_->Problems().ok());
}

TEST_F(DirectoryTest, WhatIsNoFileIsToldInsteadOfWaitedFor) {
  Write("a.yaml", Cluster("a"));
  ASSERT_EQ(mkfifo((folder_ + "/pipe.yaml").c_str(), 0600), 0);
  fs::create_symlink("/dev/zero", folder_ + "/zero.yaml");
  source_->Read();
  EXPECT_THAT(source_->Problems().ToString(), HasSubstr("pipe.yaml: it is not a regular file"));
  EXPECT_THAT(source_->Problems().ToString(), HasSubstr("zero.yaml: it is not a regular file"));
}

TEST_F(DirectoryTest, SeesWritesRenamesSwappedLinksAndNewFolders) {
  source_->Read();
  source_->Start();
  Write("a.yaml", Cluster("a"));
  WaitFor("revision 1: 1 resources");
  std::ofstream(folder_ + "/.new") << Cluster("b");
  fs::rename(folder_ + "/.new", folder_ + "/a.yaml");
  WaitFor("revision 2: 1 resources");
  EXPECT_EQ(Names(), std::vector<std::string>{"b"});
  Write("edge/c.yaml", Cluster("c"));
  WaitFor("revision 3: 2 resources");
  // What a link leads to changes where nobody watches.
  fs::create_directory(root_ + "/elsewhere");
  std::ofstream(root_ + "/elsewhere/d.yaml") << Cluster("d");
  fs::create_symlink(root_ + "/elsewhere/d.yaml", folder_ + "/d.yaml");
  WaitFor("revision 4: 3 resources");
  std::ofstream(root_ + "/elsewhere/d.yaml") << Cluster("longer");
  WaitFor("revision 5: 3 resources");
  // The directory as a whole is another one.
  fs::create_directory(root_ + "/next");
  std::ofstream(root_ + "/next/e.yaml") << Cluster("e");
  fs::rename(folder_, root_ + "/old");
  fs::rename(root_ + "/next", folder_);
  WaitFor("revision 6: 1 resources");
  EXPECT_EQ(Names(), std::vector<std::string>{"e"});
}

TEST_F(DirectoryTest, AnEmptyOrVanishedDirectoryEmptiesNobody) {
  source_->Read();  // empty from the beginning: fine
  EXPECT_TRUE(source_->Problems().ok());
  // Nothing is not a revision: gateways that have something keep it.
  EXPECT_EQ(store_->Current()->revision(), 0U);
  Write("a.yaml", Cluster("a"));
  source_->Read();
  fs::remove(folder_ + "/a.yaml");
  source_->Read();
  EXPECT_THAT(source_->Problems().ToString(), HasSubstr("--allow-empty"));
  fs::remove(folder_);
  source_->Read();
  EXPECT_THAT(source_->Problems().ToString(), HasSubstr("the last resources stay"));
  EXPECT_EQ(Names(), std::vector<std::string>{"a"});
}

// A link is swapped, or what it leads to is not mounted.
TEST_F(DirectoryTest, AFolderThatALinkDoesNotReachStays) {
  fs::create_directory(root_ + "/edge");
  std::ofstream(root_ + "/edge/b.yaml") << Cluster("b");
  fs::create_symlink(root_ + "/edge", folder_ + "/edge");
  Write("a.yaml", Cluster("a"));
  source_->Read();
  ASSERT_EQ(Names().size(), 2U);
  fs::rename(root_ + "/edge", root_ + "/away");
  source_->Read();
  EXPECT_THAT(source_->Problems().ToString(), HasSubstr("edge"));
  EXPECT_EQ(Names().size(), 2U);
  fs::remove(folder_ + "/edge");
  source_->Read();
  EXPECT_TRUE(source_->Problems().ok());
  EXPECT_EQ(Names(), std::vector<std::string>{"a"});
}

TEST_F(DirectoryTest, ARollbackHoldsUntilTheDirectoryChanges) {
  Write("a.yaml", Cluster("a"));
  source_->Read();
  Write("a.yaml", Cluster("b"));
  source_->Read();
  ASSERT_TRUE(editor_->RollBack(1, {}).ok());
  source_->Read();
  EXPECT_EQ(Names(), std::vector<std::string>{"a"});
  EXPECT_NE(editor_->OverruledDirectory(), "");
  Write("a.yaml", Cluster("c"));
  source_->Read();
  EXPECT_EQ(Names(), std::vector<std::string>{"c"});
  EXPECT_EQ(editor_->OverruledDirectory(), "");
}

}  // namespace
}  // namespace gatehouse::control
