// What is saved is loaded again: after damage, full disks and SIGKILL at each call of the system;
// what crashed twice is not.
#include "source/xds/state_store.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <fmt/format.h>

#include "source/xds/saved_file.h"
#include "test/fakes/manual_clock.h"

namespace gatehouse::xds {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

SavedConfig ConfigOf(std::vector<std::pair<std::string, std::string>> clusters,
                     int64_t accepted = 1000) {
  SavedConfig config{.versions = {{Type::kCluster, "v7"}},
                     .source = "control plane 10.0.0.1:18000",
                     .accepted_unix = accepted};
  for (auto& [name, bytes] : clusters) {
    config.resources.push_back({.type = Type::kCluster,
                                .name = name,
                                .version = "1",
                                .bytes = std::make_shared<const std::string>(bytes)});
  }
  return config;
}

// One cluster "c" with these bytes: what tests tell configs apart by.
SavedConfig Plain(std::string_view bytes) { return ConfigOf({{"c", std::string(bytes)}}); }

std::string BytesOf(const std::optional<SavedConfig>& config) {
  if (!config) return "nothing";
  if (config->resources.size() != 1) return "something else";
  return *config->resources.front().bytes;
}

class StateStoreTest : public ::testing::Test {
 protected:
  StateStoreTest() {
    std::string pattern = ::testing::TempDir() + "/state_storeXXXXXX";
    top_ = mkdtemp(pattern.data());
    folder_ = top_ / "state";
  }
  ~StateStoreTest() override { fs::remove_all(top_); }

  // One life of the gateway ends, the next begins.
  StateStore& Start(StateOptions options = {}) {
    store_.reset();
    absl::StatusOr<std::unique_ptr<StateStore>> store = Try(std::move(options));
    EXPECT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
    return *store_;
  }
  absl::StatusOr<std::unique_ptr<StateStore>> Try(StateOptions options = {}) {
    return StateStore::Open(
        loop_, folder_.string(), [this](std::string_view line) { complaints_.emplace_back(line); },
        std::move(options));
  }
  void SaveNow(std::string_view bytes) {
    store_->Save(Plain(bytes));
    EXPECT_TRUE(store_->Flush());
  }
  std::string Restart() { return BytesOf(Start().Load()); }
  // A start after which all went well.
  std::string RestartWell() {
    const std::string bytes = Restart();
    store_->Proven();
    return bytes;
  }
  std::string Read(const std::string& name) const {
    std::ifstream file(folder_ / name, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void Write(const std::string& name, std::string_view bytes) const {
    std::ofstream(folder_ / name, std::ios::binary | std::ios::trunc) << bytes;
  }
  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_)) {
      names.push_back(entry.path().filename().string());
    }
    std::ranges::sort(names);
    return names;
  }
  // Those since the last call.
  std::vector<std::string> Complaints() {
    loop_.RunTurn(false);
    return std::exchange(complaints_, {});
  }

  fs::path top_;
  fs::path folder_;
  ManualClock clock_;
  net::Loop loop_{clock_};
  std::vector<std::string> complaints_;
  std::unique_ptr<StateStore> store_;
};

Suspect SuspectOf(std::string_view name, std::string_view bytes) {
  return {.type = Type::kCluster, .name = std::string(name), .digest = StateStore::DigestOf(bytes)};
}

// ---- saving and loading ----

TEST_F(StateStoreTest, LoadsWhatWasSaved) {
  EXPECT_FALSE(Start().Load());
  SavedConfig config = ConfigOf({{"a", "1"}, {"b", std::string("\0\xff", 2)}}, 1700000000);
  config.resources.push_back({.type = Type::kListener,
                              .name = "\xffnot utf8\n",
                              .version = "",
                              .bytes = std::make_shared<const std::string>()});
  store_->Save(std::move(config));
  EXPECT_TRUE(store_->Flush());
  EXPECT_EQ(store_->state().saved_unix, 1700000000);
  EXPECT_EQ(store_->state().saves, 1U);

  const std::optional<SavedConfig> loaded = Start().Load();
  ASSERT_TRUE(loaded);
  EXPECT_EQ(loaded->source, "control plane 10.0.0.1:18000");
  EXPECT_EQ(loaded->accepted_unix, 1700000000);
  EXPECT_THAT(loaded->versions, ElementsAre(std::pair(Type::kCluster, std::string("v7"))));
  ASSERT_EQ(loaded->resources.size(), 3U);
  EXPECT_EQ(loaded->resources[0].name, "a");
  EXPECT_EQ(loaded->resources[0].version, "1");
  EXPECT_EQ(*loaded->resources[1].bytes, std::string("\0\xff", 2));
  EXPECT_EQ(loaded->resources[2].type, Type::kListener);
  EXPECT_EQ(loaded->resources[2].name, "\xffnot utf8\n");
  EXPECT_EQ(store_->state().saved_unix, 1700000000);
  EXPECT_THAT(Complaints(), IsEmpty());
}

TEST_F(StateStoreTest, NobodyElseMayRead) {
  Start();
  SaveNow("secret");
  SaveNow("secret too");
  store_->Trying({SuspectOf("c", "secret")});
  struct stat status{};
  ASSERT_EQ(stat(folder_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0700U);
  EXPECT_THAT(Names(), ElementsAre("config", "config.before", "lock", "trying"));
  for (const std::string& name : Names()) {
    ASSERT_EQ(stat((folder_ / name).c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600U) << name;
  }
  store_.reset();
  fs::permissions(folder_, fs::perms::all);
  Start();
  EXPECT_THAT(Complaints(), ElementsAre(HasSubstr("can be changed by other users")));
}

TEST_F(StateStoreTest, TheNewestWins) {
  Start();
  for (int i = 0; i < 100; ++i) store_->Save(Plain(std::to_string(i)));
  EXPECT_TRUE(store_->Flush());
  EXPECT_LT(store_->state().saves, 100U);
  EXPECT_EQ(Restart(), "99");
}

TEST_F(StateStoreTest, WhatWaitsIsSavedAtTheEnd) {
  Start({.writing = {.min_interval = std::chrono::hours(1)}});
  store_->Save(Plain("first"));
  EXPECT_TRUE(store_->Flush());
  store_->Save(Plain("last"));
  EXPECT_EQ(Restart(), "last");
}

TEST_F(StateStoreTest, TheFolderIsMadeWithThoseAboveIt) {
  folder_ = top_ / "a" / "b" / "c";
  Start();
  SaveNow("x");
  EXPECT_EQ(Restart(), "x");
}

TEST_F(StateStoreTest, AFolderThatCannotBeMadeIsAnError) {
  std::ofstream(top_ / "file") << "x";
  folder_ = top_ / "file" / "state";
  EXPECT_THAT(std::string(Try().status().message()), HasSubstr("Not a directory"));
  folder_ = "";
  EXPECT_FALSE(Try().ok());
}

// ---- damage ----

TEST_F(StateStoreTest, ADamagedFileIsSetAsideAndTheOneBeforeUsed) {
  Start();
  SaveNow("before");
  SaveNow("newest");
  const std::string whole = Read("config");
  std::vector<std::string> damaged = {"", "garbage", whole + "x", std::string(10000, '\0')};
  for (size_t size = 0; size < whole.size(); ++size) damaged.push_back(whole.substr(0, size));
  for (size_t at = 0; at < whole.size(); ++at) {
    damaged.push_back(whole);
    damaged.back()[at] = static_cast<char>(damaged.back()[at] ^ 0x10);
  }
  for (const std::string& bytes : damaged) {
    Write("config", bytes);
    complaints_.clear();
    ASSERT_EQ(RestartWell(), "before") << bytes.size();
    ASSERT_EQ(complaints_.size(), 1U);
    // One with a newer format is whole and of somebody else.
    if (complaints_.front().find("newer version") != std::string::npos) continue;
    ASSERT_THAT(complaints_.front(), HasSubstr("config is damaged: it"));
    ASSERT_EQ(Read("config.broken"), bytes);
    ASSERT_FALSE(fs::exists(folder_ / "config"));
  }
  EXPECT_THAT(Names(), ElementsAre("config.before", "config.broken", "lock", "trying"));
  SaveNow("again");
  EXPECT_EQ(Restart(), "again");
}

TEST_F(StateStoreTest, BothDamaged) {
  Start();
  SaveNow("before");
  SaveNow("newest");
  Write("config", "x");
  Write("config.before", "y");
  EXPECT_EQ(Restart(), "nothing");
  EXPECT_EQ(Complaints().size(), 2U);
  EXPECT_EQ(Read("config.broken"), "x");
  EXPECT_EQ(Read("config.before.broken"), "y");
  SaveNow("again");
  EXPECT_EQ(Restart(), "again");
}

TEST_F(StateStoreTest, AFileThatCannotBeReadDoesNotReplaceTheOneBefore) {
  Start();
  SaveNow("before");
  SaveNow("newest");
  fs::remove(folder_ / "config");
  fs::create_directory(folder_ / "config");
  EXPECT_EQ(RestartWell(), "before");
  EXPECT_THAT(Complaints(), ElementsAre(HasSubstr("config: Is a directory")));
  SaveNow("again");
  fs::remove(folder_ / "config");
  EXPECT_EQ(RestartWell(), "before");
}

TEST_F(StateStoreTest, AFileOfANewerVersionIsKeptForIt) {
  Start();
  SaveNow("before");
  SaveNow("newest");
  std::string newer = Read("config");
  newer[8] = 2;
  Write("config", newer);
  EXPECT_EQ(RestartWell(), "before");
  EXPECT_THAT(Complaints(), ElementsAre(HasSubstr("newer version of the gateway (format 2")));
  EXPECT_EQ(Read("config"), newer);
  SaveNow("ours");
  EXPECT_EQ(Read("config.newer"), newer);
  EXPECT_EQ(RestartWell(), "ours");
  fs::remove(folder_ / "config");
  EXPECT_EQ(RestartWell(), "before");
}

// ---- a disk that fails ----

TEST_F(StateStoreTest, EachCallMayFail) {
  for (const std::string_view call : {"open", "write", "fsync", "rename", "fsync folder"}) {
    for (int nth = 0; nth < 2; ++nth) {
      SCOPED_TRACE(fmt::format("{} {}", call, nth));
      std::atomic<int> left{-1};
      Start(
          {.writing = {.min_interval = std::chrono::hours(1), .first_retry = std::chrono::hours(1)},
           .fault = [&](std::string_view asked) {
             if (asked != call || left < 0) return 0;
             return left.fetch_sub(1) == 0 ? ENOSPC : 0;
           }});
      SaveNow("old");
      const uint64_t failed_before = store_->state().failures;
      left = nth;
      store_->Save(Plain("new"));
      const bool flushed = store_->Flush();
      // The second call of most is not made.
      const bool failed = store_->state().failures > failed_before;
      EXPECT_NE(failed, flushed);
      if (!failed) {
        left = -1;
        continue;
      }
      EXPECT_THAT(store_->state().failure, HasSubstr("No space left"));
      EXPECT_THAT(Complaints(), ElementsAre(HasSubstr("cannot be saved")));
      // What a process finds that dies now.
      bool found = false;
      for (const char* name : {"config", "config.before"}) {
        const SavedFile file = ReadSavedConfig(Read(name));
        found |= file.condition == FileCondition::kWhole;
      }
      EXPECT_TRUE(found);
      EXPECT_TRUE(store_->Flush());
      EXPECT_THAT(Complaints(), ElementsAre(HasSubstr("can be saved again")));
      EXPECT_EQ(store_->state().failure, "");
      EXPECT_EQ(RestartWell(), "new");
      fs::remove(folder_ / "config");
      EXPECT_EQ(RestartWell(), "old");
    }
  }
}

TEST_F(StateStoreTest, AFullDiskIsComplainedAboutOnce) {
  std::atomic<bool> full{true};
  std::atomic<int> writes{0};
  Start({.writing = {.min_interval = Duration::zero(), .first_retry = Duration(10)},
         .fault = [&](std::string_view call) {
           if (call != "write") return 0;
           ++writes;
           return full ? ENOSPC : 0;
         }});
  store_->Save(Plain("a"));
  // It is tried again and again by itself.
  while (writes < 5) loop_.RunTurn(false);
  EXPECT_FALSE(store_->Flush());
  store_->Save(Plain("b"));
  EXPECT_FALSE(store_->Flush());
  EXPECT_THAT(Complaints(), ElementsAre(HasSubstr("cannot be saved")));
  full = false;
  EXPECT_TRUE(store_->Flush());
  EXPECT_THAT(Complaints(), ElementsAre(HasSubstr("can be saved again")));
  EXPECT_EQ(Restart(), "b");
}

TEST_F(StateStoreTest, AFolderThatIsGone) {
  Start();
  SaveNow("a");
  fs::remove_all(folder_);
  store_->Save(Plain("b"));
  EXPECT_FALSE(store_->Flush());
  EXPECT_THAT(Complaints(), ElementsAre(HasSubstr("No such file")));
}

// ---- SIGKILL ----

// Runs `life` in a process of its own until it ends or is killed; true: it ended.
bool RunsToItsEnd(const std::function<void()>& life,
                  const std::function<void(pid_t)>& meanwhile = {}) {
  const pid_t child = fork();
  if (child == 0) {
    life();
    _exit(0);
  }
  if (meanwhile) meanwhile(child);
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST_F(StateStoreTest, KilledAtEachCall) {
  const auto life = [&](int calls_left) {
    ManualClock clock;
    net::Loop loop(clock);
    std::atomic<int> left{calls_left};
    auto store = StateStore::Open(loop, folder_.string(), [](std::string_view) {},
                                  {.fault = [&](std::string_view) {
                                    if (left.fetch_sub(1) == 0) kill(getpid(), SIGKILL);
                                    return 0;
                                  }});
    if (!store.ok() || !(*store)->Load()) _exit(1);
    (*store)->Proven();
    for (const char* bytes : {"1", "2", "3"}) {
      (*store)->Save(Plain(bytes));
      if (!(*store)->Flush()) _exit(1);
    }
  };
  bool ended = false;
  for (int calls = 0; !ended; ++calls) {
    Start();
    SaveNow("0");
    store_.reset();
    ended = RunsToItsEnd([&] { life(calls); });
    // Whatever happened, something is there; what is newer than "0" is there if it was told.
    const std::string found = RestartWell();
    ASSERT_THAT(found, ::testing::AnyOf("0", "1", "2", "3")) << calls;
    ASSERT_THAT(Complaints(), IsEmpty()) << calls;
    ASSERT_FALSE(fs::exists(folder_ / "config.new"));
    if (ended) {
      EXPECT_EQ(found, "3");
      EXPECT_GT(calls, 10);
    }
  }
}

TEST_F(StateStoreTest, KilledAtAnyTime) {
  // Large, so that a write takes a while.
  const auto bytes_of = [](int i) { return std::string(300'000, static_cast<char>('a' + i % 26)); };
  for (int round = 0; round < 30; ++round) {
    int pipe_ends[2];
    ASSERT_EQ(pipe(pipe_ends), 0);
    int told = -1;
    const auto life = [&] {
      ManualClock clock;
      net::Loop loop(clock);
      auto store = StateStore::Open(loop, folder_.string(), [](std::string_view) {});
      if (!store.ok()) _exit(1);
      for (char i = 0; i < 100; ++i) {
        (*store)->Save(ConfigOf({{"c", bytes_of(i)}}, i));
        if (!(*store)->Flush() || write(pipe_ends[1], &i, 1) != 1) _exit(1);
      }
    };
    RunsToItsEnd(life, [&](pid_t child) {
      close(pipe_ends[1]);
      char i = 0;
      for (int n = 0; n <= round % 5; ++n) {
        if (read(pipe_ends[0], &i, 1) == 1) told = i;
      }
      // A different moment of the next save each time.
      for (volatile int spin = 0; spin < round * 20'000;) spin = spin + 1;
      kill(child, SIGKILL);
      while (read(pipe_ends[0], &i, 1) == 1) told = i;
    });
    close(pipe_ends[0]);
    Start();
    const std::optional<SavedConfig> config = store_->Load();
    store_->Proven();
    ASSERT_TRUE(config);
    // At least what had been told.
    ASSERT_GE(config->accepted_unix, told);
    ASSERT_EQ(*config->resources[0].bytes, bytes_of(static_cast<int>(config->accepted_unix)));
    ASSERT_THAT(Complaints(), IsEmpty());
    store_.reset();
    fs::remove_all(folder_);
  }
}

// ---- quarantine: a store that goes without Proven() is a process that died ----

TEST_F(StateStoreTest, AConfigThatCrashesTwiceIsNotLoaded) {
  Start();
  SaveNow("good");
  SaveNow("bad");
  EXPECT_EQ(Restart(), "bad");
  EXPECT_EQ(Restart(), "bad");
  EXPECT_THAT(Complaints(), IsEmpty());
  EXPECT_EQ(Restart(), "good");
  EXPECT_THAT(Complaints(), ElementsAre(HasSubstr("died 2 times in a row soon after it was")));
  EXPECT_TRUE(fs::exists(folder_ / "config.crashed"));
  store_->Proven();
  EXPECT_EQ(RestartWell(), "good");
  EXPECT_THAT(store_->suspects(), IsEmpty());
  EXPECT_THAT(Complaints(), IsEmpty());
}

TEST_F(StateStoreTest, TwiceInARowOnly) {
  Start();
  SaveNow("good");
  SaveNow("fair");
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(Restart(), "fair");
    EXPECT_EQ(RestartWell(), "fair");
  }
  EXPECT_THAT(Complaints(), IsEmpty());
}

TEST_F(StateStoreTest, NothingIsLoadedWhenAllCrash) {
  Start();
  SaveNow("bad");
  SaveNow("bad too");
  for (const char* expected : {"bad too", "bad too", "bad", "bad", "nothing", "nothing"}) {
    EXPECT_EQ(Restart(), expected);
  }
}

TEST_F(StateStoreTest, APushedResourceThatCrashesTwiceIsASuspect) {
  Start();
  store_->Save(ConfigOf({{"c", "good"}}));
  EXPECT_TRUE(store_->Flush());
  for (int life = 0; life < 2; ++life) {
    EXPECT_EQ(RestartWell(), "good");
    EXPECT_THAT(store_->suspects(), IsEmpty());
    EXPECT_FALSE(store_->IsSuspect(Type::kCluster, "new", "bad"));
    store_->Trying({SuspectOf("new", "bad")});
  }
  EXPECT_THAT(Complaints(), IsEmpty());
  EXPECT_EQ(RestartWell(), "good");
  EXPECT_THAT(Complaints(), ElementsAre(::testing::AllOf(HasSubstr("Cluster \"new\""),
                                                         HasSubstr("state/suspects"))));
  EXPECT_TRUE(store_->IsSuspect(Type::kCluster, "new", "bad"));
  EXPECT_FALSE(store_->IsSuspect(Type::kCluster, "new", "better"));
  EXPECT_FALSE(store_->IsSuspect(Type::kEndpoints, "new", "bad"));
  // For good, until the operator says otherwise.
  EXPECT_EQ(RestartWell(), "good");
  ASSERT_EQ(store_->suspects().size(), 1U);
  EXPECT_EQ(store_->suspects()[0].digest, StateStore::DigestOf("bad"));
  EXPECT_THAT(Complaints(), IsEmpty());
  fs::remove(folder_ / "suspects");
  EXPECT_EQ(RestartWell(), "good");
  EXPECT_THAT(store_->suspects(), IsEmpty());
}

// It was accepted and saved, then it crashed the process; after the restart it crashed it again.
TEST_F(StateStoreTest, ASavedConfigWithASuspectIsNotLoaded) {
  Start();
  store_->Save(ConfigOf({{"c", "good"}}));
  EXPECT_TRUE(store_->Flush());
  EXPECT_EQ(RestartWell(), "good");
  store_->Trying({SuspectOf("new", "bad")});
  // Others come in the meantime; the one before stays the one that has proven itself.
  for (const char* other : {"1", "2", "3"}) {
    store_->Save(ConfigOf({{"c", "good"}, {"new", "bad"}, {"other", other}}));
    EXPECT_TRUE(store_->Flush());
  }
  EXPECT_EQ(Restart(), "something else");
  EXPECT_EQ(RestartWell(), "good");
  EXPECT_TRUE(store_->IsSuspect(Type::kCluster, "new", "bad"));
  EXPECT_EQ(Complaints().size(), 2U);
  EXPECT_TRUE(fs::exists(folder_ / "config.crashed"));
}

// The first death came before what crashed was saved: the good one is the newest then, and is not
// to be lost when the same is pushed, and saved, once more.
TEST_F(StateStoreTest, TheGoodOneOutlivesTheSecondDeath) {
  Start();
  store_->Save(ConfigOf({{"c", "good"}}));
  EXPECT_TRUE(store_->Flush());
  EXPECT_EQ(RestartWell(), "good");
  store_->Trying({SuspectOf("new", "bad")});
  EXPECT_EQ(Restart(), "good");
  store_->Trying({SuspectOf("new", "bad")});
  store_->Save(ConfigOf({{"c", "good"}, {"new", "bad"}}));
  EXPECT_TRUE(store_->Flush());
  EXPECT_EQ(Restart(), "good");
  EXPECT_TRUE(store_->IsSuspect(Type::kCluster, "new", "bad"));
}

TEST_F(StateStoreTest, WhatWasReplacedIsNotBlamed) {
  for (int life = 0; life < 3; ++life) {
    Start();
    EXPECT_FALSE(store_->IsSuspect(Type::kCluster, "c", "first"));
    store_->Trying({SuspectOf("c", "first")});
    store_->Trying({SuspectOf("c", "second"), SuspectOf("d", "x")});
    EXPECT_TRUE(store_->trying());
  }
  Start();
  EXPECT_FALSE(store_->IsSuspect(Type::kCluster, "c", "first"));
  EXPECT_TRUE(store_->IsSuspect(Type::kCluster, "c", "second"));
  EXPECT_TRUE(store_->IsSuspect(Type::kCluster, "d", "x"));
}

// It crashed once, and the process served well without it for a while: that proves nothing.
TEST_F(StateStoreTest, ACrashIsRememberedUntilItIsTriedAgain) {
  Start().Trying({SuspectOf("c", "bad")});
  Start().Trying({SuspectOf("d", "fine")});
  store_->Proven();
  Start().Trying({SuspectOf("c", "bad")});
  Start();
  EXPECT_TRUE(store_->IsSuspect(Type::kCluster, "c", "bad"));
  EXPECT_FALSE(store_->IsSuspect(Type::kCluster, "d", "fine"));
}

TEST_F(StateStoreTest, AProvenConfigBecomesTheOneBefore) {
  Start();
  SaveNow("a");
  store_->Trying({SuspectOf("c", "b")});
  SaveNow("b");
  store_->Proven();
  store_->Trying({SuspectOf("c", "c")});
  SaveNow("c");
  fs::remove(folder_ / "config");
  EXPECT_EQ(RestartWell(), "b");
}

TEST_F(StateStoreTest, DamagedMarkersAreNothing) {
  Start();
  SaveNow("a");
  EXPECT_EQ(Restart(), "a");
  const std::string marker = Read("trying");
  for (size_t size = 0; size <= marker.size(); ++size) {
    store_.reset();
    Write("trying", marker.substr(0, size));
    Write("suspects", marker.substr(0, size));
    Start();
    EXPECT_THAT(store_->suspects(), IsEmpty());
    store_->Proven();
  }
  EXPECT_EQ(RestartWell(), "a");
}

// ---- two processes ----

TEST_F(StateStoreTest, AFolderHasOneGateway) {
  Start();
  const absl::StatusOr<std::unique_ptr<StateStore>> other = Try();
  ASSERT_FALSE(other.ok());
  EXPECT_THAT(std::string(other.status().message()),
              HasSubstr(fmt::format("in use by another gateway (process {})", getpid())));
  store_.reset();
  EXPECT_TRUE(Try().ok());
}

TEST_F(StateStoreTest, TheNewProcessTakesOver) {
  Start();
  SaveNow("a");
  SaveNow("b");
  // It is being tried by the old process, which lives: no crash.
  store_->Trying({SuspectOf("x", "y")});
  auto newer = Try({.takes_over = true});
  ASSERT_TRUE(newer.ok());
  EXPECT_FALSE((*newer)->owns_folder());
  EXPECT_EQ(BytesOf((*newer)->Load()), "b");
  (*newer)->Save(Plain("d"));
  EXPECT_FALSE((*newer)->Flush());
  // The old one goes on as before, and is the one that counts if the new one dies now.
  SaveNow("c");
  EXPECT_EQ(ReadSavedConfig(Read("config")).config.resources[0].bytes->front(), 'c');

  store_->Save(Plain("last of the old"));
  store_->Release();
  EXPECT_FALSE(store_->owns_folder());
  clock_.Advance(std::chrono::milliseconds(200));
  loop_.RunTurn(false);
  EXPECT_TRUE((*newer)->owns_folder());
  EXPECT_TRUE((*newer)->Flush());
  // The old one is silent.
  store_->Save(Plain("too late"));
  store_->Trying({SuspectOf("too", "late")});
  store_->Proven();
  store_->Flush();
  store_.reset();
  EXPECT_FALSE(Try().ok());

  (*newer)->Proven();
  newer->reset();
  EXPECT_EQ(RestartWell(), "d");
  EXPECT_THAT(store_->suspects(), IsEmpty());
  EXPECT_THAT(Complaints(), IsEmpty());
}

// What it has not proven when it gets the folder is marked then.
TEST_F(StateStoreTest, TheNewProcessDiesAfterItTookOver) {
  Start();
  SaveNow("good");
  SaveNow("bad");
  for (int life = 0; life < 2; ++life) {
    auto newer = Try({.takes_over = true});
    ASSERT_TRUE(newer.ok());
    EXPECT_EQ(BytesOf((*newer)->Load()), "bad");
    store_->Release();
    EXPECT_FALSE((*newer)->owns_folder());
    EXPECT_TRUE((*newer)->Flush());
    EXPECT_TRUE((*newer)->owns_folder());
    store_ = *std::move(newer);
    EXPECT_EQ(Restart(), life == 0 ? "bad" : "good");
  }
}

TEST_F(StateStoreTest, TheNewProcessDiesBeforeItTookOver) {
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  std::vector<std::string> before;
  std::string config;
  const auto life = [&] {
    char told = 0;
    if (read(pipe_ends[0], &told, 1) != 1) _exit(1);
    ManualClock clock;
    net::Loop loop(clock);
    auto store =
        StateStore::Open(loop, folder_.string(), [](std::string_view) {}, {.takes_over = true});
    if (!store.ok() || !(*store)->Load()) _exit(1);
    (*store)->Trying({SuspectOf("c", "x")});
    (*store)->Save(Plain("x"));
    (*store)->Flush();
    store->reset();
  };
  ASSERT_TRUE(RunsToItsEnd(life, [&](pid_t) {
    Start();
    SaveNow("a");
    before = Names();
    config = Read("config");
    EXPECT_EQ(write(pipe_ends[1], "x", 1), 1);
  }));
  close(pipe_ends[0]);
  close(pipe_ends[1]);
  EXPECT_EQ(Names(), before);
  EXPECT_EQ(Read("config"), config);
  SaveNow("b");
  EXPECT_EQ(Restart(), "b");
}

// The old one is killed: the kernel lets go for it.
TEST_F(StateStoreTest, TheOldProcessIsKilled) {
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  RunsToItsEnd(
      [&] {
        ManualClock clock;
        net::Loop loop(clock);
        auto store = StateStore::Open(loop, folder_.string(), [](std::string_view) {});
        if (!store.ok()) _exit(1);
        (*store)->Save(Plain("a"));
        (*store)->Flush();
        [[maybe_unused]] const ssize_t told = write(pipe_ends[1], "x", 1);
        for (;;) pause();
      },
      [&](pid_t child) {
        char told = 0;
        ASSERT_EQ(read(pipe_ends[0], &told, 1), 1);
        StateStore& store = Start({.takes_over = true});
        EXPECT_EQ(BytesOf(store.Load()), "a");
        store.Save(Plain("b"));
        EXPECT_FALSE(store.Flush());
        kill(child, SIGKILL);
      });
  close(pipe_ends[0]);
  close(pipe_ends[1]);
  EXPECT_TRUE(store_->Flush());
  EXPECT_EQ(RestartWell(), "b");
}

}  // namespace
}  // namespace gatehouse::xds
