#include "source/control_plane/editor.h"

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "source/control_plane/folder_store.h"
#include "test/control_plane/resources_for_test.h"

namespace gatehouse::control {
namespace {

// A store over which somebody else is quicker: `before_commit` happens before the next commit.
class SharedStore final : public Store {
 public:
  explicit SharedStore(Store& store) : store_(store) {}

  std::function<void()> before_commit;

  [[nodiscard]] std::shared_ptr<const ResourceSet> Current() const override {
    return store_.Current();
  }
  [[nodiscard]] absl::StatusOr<std::shared_ptr<const ResourceSet>> Commit(
      uint64_t base, ResourceSet::All all, RevisionNote note) override {
    if (auto first = std::exchange(before_commit, nullptr); first != nullptr) first();
    return store_.Commit(base, std::move(all), std::move(note));
  }
  [[nodiscard]] absl::StatusOr<std::vector<RevisionNote>> History(size_t count) override {
    return store_.History(count);
  }
  [[nodiscard]] absl::StatusOr<std::shared_ptr<const ResourceSet>> Load(
      uint64_t revision) override {
    return store_.Load(revision);
  }
  void Watch(std::function<void(std::shared_ptr<const ResourceSet>)> watcher) override {
    store_.Watch(std::move(watcher));
  }
  void PublishStatus(const Fleet& fleet) override { store_.PublishStatus(fleet); }
  [[nodiscard]] std::string Trouble() const override { return store_.Trouble(); }

 private:
  Store& store_;
};

Resources Clusters(const std::string& name, const std::string& version, bool from_directory) {
  return {ResourceOf({.type = Type::kCluster,
                      .name = name,
                      .version = version,
                      .origin = {.from_directory = from_directory}})};
}

class EditorTest : public testing::Test {
 protected:
  EditorTest() {
    EXPECT_TRUE(other_.UseDirectory(Clusters("a", "1", true), "content 1", {}).ok());
    EXPECT_TRUE(other_.UseDirectory(Clusters("a", "2", true), "content 2", {}).ok());
  }
  ~EditorTest() override {
    store_.reset();
    std::filesystem::remove_all(folder_);
  }
  [[nodiscard]] std::string MessageOf(const std::string& name) const {
    const auto& all = store_->Current()->all();
    const auto at = all.find({"", Type::kCluster, name});
    return at == all.end() ? "" : at->second->message;
  }

  [[nodiscard]] static std::string NewFolder() {
    std::string name = testing::TempDir() + "/editorXXXXXX";
    return mkdtemp(name.data());
  }

  std::string folder_ = NewFolder();
  std::unique_ptr<FolderStore> store_ = *FolderStore::Open(folder_);
  SharedStore shared_{*store_};
  Editor editor_{shared_, nullptr};
  Editor other_{*store_, nullptr};
};

TEST_F(EditorTest, AChangeIsMadeAgainOnWhatAnotherOneLeft) {
  shared_.before_commit = [this] { EXPECT_TRUE(other_.Apply(Clusters("b", "1", false), {}).ok()); };
  ASSERT_TRUE(editor_.Apply(Clusters("c", "1", false), {}).ok());
  EXPECT_EQ(MessageOf("b"), "b=1");
  EXPECT_EQ(MessageOf("c"), "c=1");
}

TEST_F(EditorTest, AChangeDuringARollbackLeavesTheDirectoryOverruled) {
  shared_.before_commit = [this] { EXPECT_TRUE(other_.RollBack(1, {}).ok()); };
  ASSERT_TRUE(editor_.Apply(Clusters("b", "1", false), {}).ok());
  EXPECT_EQ(editor_.OverruledDirectory(), "content 2");
  EXPECT_TRUE(editor_.UseDirectory(Clusters("a", "2", true), "content 2", {}).ok());
  EXPECT_EQ(MessageOf("a"), "a=1");
  EXPECT_EQ(MessageOf("b"), "b=1");
}

TEST_F(EditorTest, TheDirectoryDoesNotUndoARollbackThatWasQuicker) {
  ASSERT_TRUE(other_.Apply(Clusters("b", "1", false), {}).ok());
  // The directory comes with what it had, for instance after a start.
  ASSERT_TRUE(other_.Remove({"", Type::kCluster, "b"}, {}).ok());
  shared_.before_commit = [this] { EXPECT_TRUE(other_.RollBack(1, {}).ok()); };
  Resources moved = Clusters("a", "2", true);
  auto resource = std::make_shared<Resource>(*moved[0]);
  resource->origin = std::make_shared<const Origin>(Origin{.line = 9, .from_directory = true});
  moved[0] = resource;
  ASSERT_TRUE(editor_.UseDirectory(moved, "content 2", {}).ok());
  EXPECT_EQ(MessageOf("a"), "a=1");
  EXPECT_EQ(editor_.OverruledDirectory(), "content 2");
}

}  // namespace
}  // namespace gatehouse::control
