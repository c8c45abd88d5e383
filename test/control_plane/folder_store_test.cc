#include "source/control_plane/folder_store.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <future>
#include <set>
#include <string>
#include <utility>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "source/control_plane/digest.h"

namespace gatehouse::control {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class FolderStoreTest : public testing::Test {
 protected:
  FolderStoreTest() {
    std::string name = testing::TempDir() + "/storeXXXXXX";
    folder_ = mkdtemp(name.data());
  }
  ~FolderStoreTest() override { fs::remove_all(folder_); }

  std::unique_ptr<FolderStore> Open() {
    auto store = FolderStore::Open(folder_);
    EXPECT_TRUE(store.ok()) << store.status();
    return *std::move(store);
  }
  static ResourceSet::All Clusters(const std::vector<std::string>& names, const std::string& text) {
    ResourceSet::All all;
    for (const std::string& name : names) {
      const std::string message = name + "=" + text;
      const Origin origin{.file = "shop.yaml", .line = 7, .lines = {{"endpoints", 9}}};
      all[{"", ResourceType::kCluster, name}] = std::make_shared<const Resource>(
          Resource{.type = ResourceType::kCluster,
                   .name = name,
                   .message = message,
                   .version = VersionOf(message),
                   .origin = std::make_shared<const Origin>(origin)});
    }
    return all;
  }
  static std::string TextOf(const ResourceSet& set, const std::string& name) {
    const auto at = set.all().find({"", ResourceType::kCluster, name});
    return at == set.all().end() ? "" : at->second->message;
  }
  size_t Count(const std::string& part) const {
    return static_cast<size_t>(
        std::distance(fs::directory_iterator(folder_ + "/" + part), fs::directory_iterator()));
  }

  std::string folder_;
};

TEST_F(FolderStoreTest, KeepsRevisionsWithTheirOriginsOverARestart) {
  {
    const auto store = Open();
    EXPECT_EQ(store->Current()->revision(), 0U);
    ASSERT_TRUE(store->Commit(0, Clusters({"a", "b"}, "1"), {.author = "api"}).ok());
    ASSERT_TRUE(store->Commit(1, Clusters({"a", "b"}, "2"), {.comment = "two"}).ok());
  }
  const auto store = Open();
  EXPECT_EQ(store->Current()->revision(), 2U);
  EXPECT_EQ(TextOf(*store->Current(), "b"), "b=2");
  const Resource& b = *store->Current()->all().at({"", ResourceType::kCluster, "b"});
  EXPECT_EQ(b.origin->file, "shop.yaml");
  EXPECT_EQ(b.origin->LineOf("endpoints[0]"), 9);
  EXPECT_EQ(b.version, VersionOf("b=2"));
  const auto old = store->Load(1);
  ASSERT_TRUE(old.ok());
  EXPECT_EQ(TextOf(**old, "a"), "a=1");
  const auto notes = store->History(10);
  ASSERT_TRUE(notes.ok());
  ASSERT_EQ(notes->size(), 2U);
  EXPECT_EQ((*notes)[0].comment, "two");
  EXPECT_EQ((*notes)[1].author, "api");
  EXPECT_TRUE(absl::IsNotFound(store->Load(3).status()));
  EXPECT_EQ(store->Trouble(), "");
}

TEST_F(FolderStoreTest, KeepsNamesAndCommentsThatAreNotUtf8) {
  {
    const auto store = Open();
    ResourceSet::All all = Clusters({"a"}, "1");
    auto resource = std::make_shared<Resource>(*all.begin()->second);
    resource->origin = std::make_shared<const Origin>(Origin{.file = "caf\xe9.yaml", .line = 7});
    all.begin()->second = resource;
    ASSERT_TRUE(store->Commit(0, all, {.author = "api (CN=\xff)", .comment = "\xfe"}).ok());
  }
  const auto store = Open();
  EXPECT_EQ(store->Current()->all().begin()->second->origin->file, "caf\xe9.yaml");
  EXPECT_EQ(store->History(1)->front().comment, "\xfe");
  EXPECT_EQ(store->History(1)->front().author, "api (CN=\xff)");
}

TEST_F(FolderStoreTest, OnlyTheNewestCanBeChanged) {
  const auto store = Open();
  ASSERT_TRUE(store->Commit(0, Clusters({"a"}, "1"), {}).ok());
  EXPECT_TRUE(absl::IsAborted(store->Commit(0, Clusters({"a"}, "2"), {}).status()));
  EXPECT_EQ(TextOf(*store->Current(), "a"), "a=1");
}

TEST_F(FolderStoreTest, TellsTheCurrentAndThenNewerRevisions) {
  const auto store = Open();
  ASSERT_TRUE(store->Commit(0, Clusters({"a"}, "1"), {}).ok());
  std::promise<void> first;
  std::promise<void> second;
  store->Watch([&](const std::shared_ptr<const ResourceSet>& set) {
    if (set->revision() == 1) first.set_value();
    if (set->revision() == 2) second.set_value();
  });
  first.get_future().wait();
  ASSERT_TRUE(store->Commit(1, Clusters({"a"}, "2"), {}).ok());
  second.get_future().wait();
}

TEST_F(FolderStoreTest, KeepsAHundredRevisionsAndNoContentOfOthers) {
  const auto store = Open();
  for (uint64_t i = 0; i < 130; ++i) {
    ASSERT_TRUE(store->Commit(i, Clusters({"a"}, fmt::format("{}", i)), {}).ok());
  }
  EXPECT_EQ(store->History(1000)->size(), FolderStore::kKeptRevisions);
  EXPECT_EQ(Count("revisions"), FolderStore::kKeptRevisions);
  // A message each, and the outline, which is the same for all.
  EXPECT_EQ(Count("blobs"), FolderStore::kKeptRevisions + 1);
  EXPECT_TRUE(absl::IsNotFound(store->Load(30).status()));
  EXPECT_TRUE(store->Load(31).ok());
}

TEST_F(FolderStoreTest, AnotherProcessIsKeptOut) {
  const auto store = Open();
  const auto second = FolderStore::Open(folder_);
  EXPECT_TRUE(absl::IsUnavailable(second.status()));
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("another gatehouse-control"));
}

// Every file of the newest revision, cut at each of some lengths or with a byte changed: the one
// before is used.
TEST_F(FolderStoreTest, ADamagedRevisionIsNotUsed) {
  {
    const auto store = Open();
    ASSERT_TRUE(store->Commit(0, Clusters({"a"}, "1"), {}).ok());
  }
  std::set<std::string> before;
  for (const auto& file : fs::directory_iterator(folder_ + "/blobs")) before.insert(file.path());
  {
    const auto store = Open();
    ASSERT_TRUE(store->Commit(1, Clusters({"a"}, "2"), {}).ok());
  }
  std::vector<std::string> victims{folder_ + "/revisions/2"};
  for (const auto& file : fs::directory_iterator(folder_ + "/blobs")) {
    if (before.count(file.path()) == 0) victims.push_back(file.path());
  }
  ASSERT_EQ(victims.size(), 2U);
  const std::string saved = folder_ + ".saved";
  fs::copy(folder_, saved, fs::copy_options::recursive);
  for (const std::string& victim : victims) {
    // Without its file a revision has never been.
    for (int damage = victim == victims.front() ? 1 : 0; damage < 4; ++damage) {
      fs::remove_all(folder_);
      fs::copy(saved, folder_, fs::copy_options::recursive);
      const auto size = fs::file_size(victim);
      if (damage == 0) fs::remove(victim);
      if (damage == 1) fs::resize_file(victim, 0);
      if (damage == 2) fs::resize_file(victim, size - 1);
      if (damage == 3) {
        std::fstream file(victim, std::ios::in | std::ios::out | std::ios::binary);
        file.seekp(static_cast<std::streamoff>(size / 2));
        file.put('\x7f');
      }
      auto store = Open();
      EXPECT_EQ(store->Current()->revision(), 1U) << victim << " " << damage;
      EXPECT_EQ(TextOf(*store->Current(), "a"), "a=1");
      EXPECT_THAT(store->Trouble(), HasSubstr("revision 1 is used in its place"));
      // Its number is not used again.
      ASSERT_TRUE(store->Commit(1, Clusters({"a"}, "3"), {}).ok());
      EXPECT_EQ(store->Current()->revision(), 3U);
      EXPECT_EQ(store->Trouble(), "");
      store.reset();
      EXPECT_EQ(TextOf(*Open()->Current(), "a"), "a=3");
    }
  }
  fs::remove_all(saved);
}

// A wrong permission, too few file descriptors: all is there again when that is mended.
TEST_F(FolderStoreTest, WhatCannotBeReadIsNotRemoved) {
  {
    const auto store = Open();
    ASSERT_TRUE(store->Commit(0, Clusters({"a"}, "1"), {}).ok());
    ASSERT_TRUE(store->Commit(1, Clusters({"a", "b"}, "2"), {}).ok());
  }
  for (const std::string part : {"/blobs", "/revisions"}) {
    // In the place of files are folders, which even root cannot read as files.
    const std::string aside = folder_ + ".aside";
    fs::rename(folder_ + part, aside);
    fs::create_directory(folder_ + part);
    for (const auto& file : fs::directory_iterator(aside)) {
      fs::create_directory(folder_ + part + "/" + file.path().filename().string());
    }
    EXPECT_TRUE(absl::IsUnavailable(FolderStore::Open(folder_).status())) << part;
    fs::remove_all(folder_ + part);
    fs::rename(aside, folder_ + part);
    const auto store = Open();
    EXPECT_EQ(store->Current()->revision(), 2U) << part;
    EXPECT_EQ(TextOf(*store->Current(), "b"), "b=2");
    EXPECT_TRUE(store->Load(1).ok());
  }
}

TEST_F(FolderStoreTest, ADamagedContentOfAnOldRevisionIsWrittenAgain) {
  {
    const auto store = Open();
    ASSERT_TRUE(store->Commit(0, Clusters({"a"}, "1"), {}).ok());
    ASSERT_TRUE(store->Commit(1, Clusters({"a"}, "2"), {}).ok());
  }
  fs::resize_file(folder_ + "/blobs/" + Hex(Sha256("a=1")), 1);
  {
    const auto store = Open();
    ASSERT_TRUE(store->Commit(2, Clusters({"a"}, "1"), {}).ok());
  }
  const auto store = Open();
  EXPECT_EQ(store->Trouble(), "");
  EXPECT_EQ(TextOf(*store->Current(), "a"), "a=1");
}

TEST_F(FolderStoreTest, AFolderThatWasRemovedIsThereAgainWithTheNextRevision) {
  auto store = Open();
  ASSERT_TRUE(store->Commit(0, Clusters({"a", "b"}, "1"), {}).ok());
  fs::remove_all(folder_);
  ASSERT_TRUE(store->Commit(1, Clusters({"a", "b", "c"}, "1"), {}).ok());
  EXPECT_FALSE(FolderStore::Open(folder_).ok()) << "it is locked again";
  store.reset();
  const auto again = Open();
  EXPECT_EQ(again->Current()->revision(), 2U);
  EXPECT_EQ(again->Current()->all().size(), 3U);
}

TEST_F(FolderStoreTest, WithNothingWholeItDoesNotBeginWithNothing) {
  {
    const auto store = Open();
    ASSERT_TRUE(store->Commit(0, Clusters({"a"}, "1"), {}).ok());
  }
  fs::resize_file(folder_ + "/revisions/1", 3);
  const auto store = FolderStore::Open(folder_);
  EXPECT_TRUE(absl::IsUnavailable(store.status()));
  EXPECT_THAT(std::string(store.status().message()), HasSubstr("no revision"));
}

TEST_F(FolderStoreTest, ACommitThatWasKilledLeavesNothing) {
  {
    const auto store = Open();
    ASSERT_TRUE(store->Commit(0, Clusters({"a"}, "1"), {}).ok());
  }
  std::ofstream(folder_ + "/blobs/.new-abc") << "half";
  std::ofstream(folder_ + "/blobs/abcdef") << "stray";
  std::ofstream(folder_ + "/revisions/.new-2") << "half";
  const auto store = Open();
  EXPECT_EQ(store->Current()->revision(), 1U);
  EXPECT_FALSE(fs::exists(folder_ + "/blobs/.new-abc"));
  EXPECT_FALSE(fs::exists(folder_ + "/revisions/.new-2"));
  EXPECT_FALSE(fs::exists(folder_ + "/blobs/abcdef"));
  ASSERT_TRUE(store->Commit(1, Clusters({"a"}, "2"), {}).ok());
  EXPECT_EQ(TextOf(*store->Current(), "a"), "a=2");
}

// A child commits as fast as it can and says each number when it is done; it is killed at some
// moment. What it has said is there.
TEST_F(FolderStoreTest, SurvivesBeingKilledAtAnyMoment) {
  uint64_t last = 0;
  for (int round = 0; round < 20; ++round) {
    int said[2];
    ASSERT_EQ(pipe(said), 0);
    const pid_t child = fork();
    if (child == 0) {
      auto store = FolderStore::Open(folder_);
      while (store.ok()) {
        const uint64_t base = (*store)->Current()->revision();
        const std::string text = fmt::format("{}", base + 1);
        if (!(*store)->Commit(base, Clusters({"a", "b", "c"}, text), {}).ok()) break;
        const uint64_t done = base + 1;
        if (write(said[1], &done, sizeof(done)) != sizeof(done)) break;
      }
      _exit(1);
    }
    close(said[1]);
    // Some commits, then into the middle of one.
    uint64_t done = 0;
    for (int i = 0; i <= round % 5; ++i) {
      ASSERT_EQ(read(said[0], &done, sizeof(done)), static_cast<ssize_t>(sizeof(done)));
    }
    const auto until =
        std::chrono::steady_clock::now() + std::chrono::microseconds(round * 211 % 3000);
    while (std::chrono::steady_clock::now() < until) {
    }
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status));
    while (read(said[0], &done, sizeof(done)) > 0) {
    }
    close(said[0]);
    ASSERT_GT(done, last);
    const auto store = Open();
    last = store->Current()->revision();
    ASSERT_TRUE(last == done || last == done + 1) << last << " after " << done;
    for (const char* name : {"a", "b", "c"}) {
      ASSERT_EQ(TextOf(*store->Current(), name), fmt::format("{}={}", name, last));
    }
    ASSERT_EQ(store->Trouble(), "");
  }
}

TEST_F(FolderStoreTest, ADiskThatTakesNothingRefusesTheChangeAndStaysWhole) {
  const auto store = Open();
  ASSERT_TRUE(store->Commit(0, Clusters({"a"}, "1"), {}).ok());
  // A folder in the place of the file cannot be renamed over, whoever we are.
  fs::create_directory(folder_ + "/revisions/2");
  fs::create_directory(folder_ + "/revisions/2/in-the-way");
  const auto refused = store->Commit(1, Clusters({"a"}, "2"), {});
  EXPECT_TRUE(absl::IsUnavailable(refused.status()));
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("nothing was changed"));
  EXPECT_EQ(TextOf(*store->Current(), "a"), "a=1");
  fs::remove_all(folder_ + "/revisions/2");
  ASSERT_TRUE(store->Commit(1, Clusters({"a"}, "2"), {}).ok());
}

}  // namespace
}  // namespace gatehouse::control
