#include "source/observe/log_writer.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "source/observe/access_log.h"

namespace gatehouse::observe {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

// Long enough for any machine; nothing waits for it to pass.
constexpr milliseconds kLong{60'000};
// Nothing happens by itself: only what a test asks for.
constexpr milliseconds kNever{3'600'000};

class LogWriterTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "/log_writer_XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  std::unique_ptr<LogWriter> Make(LogWriter::Options options) {
    auto writer = LogWriter::Create(options);
    EXPECT_TRUE(writer.ok()) << writer.status();
    return *std::move(writer);
  }
  std::shared_ptr<LogOutput> Open(LogWriter& writer, const std::string& path) {
    auto output = writer.Open(path);
    EXPECT_TRUE(output.ok()) << output.status();
    return *std::move(output);
  }
  std::string Path(const std::string& name = "access.log") const { return dir_ + "/" + name; }

  static std::string Read(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  static LogFormat PathFormat() { return *LogFormat::Compile("$(path)"); }
  static bool Put(LogOutput& output, std::string_view text, uint32_t worker = 0) {
    static const LogFormat format = PathFormat();
    LogRecord record;
    record.path = text;
    return output.Write(worker, format, record);
  }

  std::string dir_;
};

// A pipe of the least capacity, whose other end the test reads or closes.
struct SmallPipe {
  SmallPipe() {
    int fds[2];
    EXPECT_EQ(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    reader = fds[0];
    writer = fds[1];
    capacity = fcntl(writer, F_SETPIPE_SZ, 4096);
  }
  ~SmallPipe() {
    CloseReader();
    close(writer);
  }
  void CloseReader() {
    if (reader >= 0) close(reader);
    reader = -1;
  }
  std::string ReadSome() const {
    std::string text(16 * 1024, '\0');
    const ssize_t size = read(reader, text.data(), text.size());
    text.resize(size > 0 ? static_cast<size_t>(size) : 0);
    return text;
  }
  // By /proc a pipe has a path, which the writer opens for itself.
  std::string path() const { return "/proc/self/fd/" + std::to_string(writer); }

  int reader = -1;
  int writer = -1;
  int capacity = 0;
};

TEST_F(LogWriterTest, WritesLinesInOrder) {
  auto writer = Make({.workers = 1});
  const auto output = Open(*writer, Path());
  std::string want;
  for (int i = 0; i < 1000; ++i) {
    const std::string line = "/" + std::to_string(i);
    EXPECT_TRUE(Put(*output, line));
    want += line + "\n";
  }
  EXPECT_TRUE(writer->Flush(kLong));
  EXPECT_EQ(Read(Path()), want);
  EXPECT_EQ(writer->totals().lines_written, 1000u);
  EXPECT_EQ(writer->totals().lines_dropped, 0u);
}

TEST_F(LogWriterTest, LinesComeWithoutAFlush) {
  auto writer = Make({.workers = 1, .flush_interval = milliseconds(1)});
  const auto output = Open(*writer, Path());
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(Put(*output, "/" + std::to_string(i)));
    while (writer->totals().lines_written <= static_cast<uint64_t>(i)) std::this_thread::yield();
  }
  EXPECT_EQ(Read(Path()), "/0\n/1\n/2\n");
}

TEST_F(LogWriterTest, StopWritesWhatWaits) {
  auto writer = Make({.workers = 2, .flush_interval = kNever});
  const auto output = Open(*writer, Path());
  Put(*output, "/a", 0);
  Put(*output, "/b", 1);
  EXPECT_TRUE(writer->Stop(kLong));
  EXPECT_EQ(Read(Path()), "/a\n/b\n");
  EXPECT_TRUE(writer->Stop(kLong));
}

TEST_F(LogWriterTest, AppendsAndEndsAHalfLineOfBefore) {
  std::ofstream(Path()) << "whole\nhalf";
  auto writer = Make({.workers = 1});
  const auto output = Open(*writer, Path());
  Put(*output, "/a");
  EXPECT_TRUE(writer->Flush(kLong));
  EXPECT_EQ(Read(Path()), "whole\nhalf\n/a\n");
}

TEST_F(LogWriterTest, OnePathIsOneOutput) {
  auto writer = Make({.workers = 1});
  auto one = Open(*writer, Path());
  auto two = Open(*writer, Path());
  EXPECT_EQ(one, two);
  Put(*one, "/a");
  one.reset();
  Put(*two, "/b");
  EXPECT_TRUE(writer->Flush(kLong));
  two.reset();
  // Opened anew after it was let go; totals include what it wrote before.
  auto three = Open(*writer, Path());
  Put(*three, "/c");
  EXPECT_TRUE(writer->Flush(kLong));
  EXPECT_EQ(Read(Path()), "/a\n/b\n/c\n");
  EXPECT_EQ(writer->totals().lines_written, 3u);
}

TEST_F(LogWriterTest, LettingGoWritesWhatWaits) {
  auto writer = Make({.workers = 1, .flush_interval = kNever});
  auto output = Open(*writer, Path());
  Put(*output, "/a");
  output.reset();
  EXPECT_TRUE(writer->Flush(kLong));
  EXPECT_EQ(Read(Path()), "/a\n");
}

TEST_F(LogWriterTest, AnOutputMayOutliveTheWriter) {
  auto writer = Make({.workers = 1});
  auto output = Open(*writer, Path());
  writer.reset();
  Put(*output, "/late");
  output.reset();
}

TEST_F(LogWriterTest, OpenFailsWithTheReason) {
  auto writer = Make({.workers = 1});
  const auto output = writer->Open(Path("missing/access.log"));
  ASSERT_FALSE(output.ok());
  EXPECT_THAT(std::string(output.status().message()), HasSubstr("No such file or directory"));
}

TEST_F(LogWriterTest, ReopenAfterRotation) {
  auto writer = Make({.workers = 1});
  const auto output = Open(*writer, Path());
  Put(*output, "/before");
  EXPECT_TRUE(writer->Flush(kLong));
  std::filesystem::rename(Path(), Path("access.log.1"));
  Put(*output, "/between");
  EXPECT_TRUE(writer->Flush(kLong));
  writer->Reopen();
  EXPECT_TRUE(writer->Flush(kLong));
  Put(*output, "/after");
  EXPECT_TRUE(writer->Flush(kLong));
  EXPECT_EQ(Read(Path("access.log.1")), "/before\n/between\n");
  EXPECT_EQ(Read(Path()), "/after\n");
}

TEST_F(LogWriterTest, ReopenWhenTheFileVanished) {
  auto writer = Make({.workers = 1});
  const auto output = Open(*writer, Path());
  std::filesystem::remove(Path());
  writer->Reopen();
  EXPECT_TRUE(writer->Flush(kLong));
  Put(*output, "/after");
  EXPECT_TRUE(writer->Flush(kLong));
  EXPECT_EQ(Read(Path()), "/after\n");
}

TEST_F(LogWriterTest, ReopenThatFailsKeepsTheOldFileAndGoesOnTrying) {
  std::filesystem::create_directory(Path("logs"));
  auto writer = Make({.workers = 1, .retry_interval = milliseconds(1)});
  const auto output = Open(*writer, Path("logs/access.log"));
  std::filesystem::rename(Path("logs"), Path("old"));
  testing::internal::CaptureStderr();
  writer->Reopen();
  EXPECT_TRUE(writer->Flush(kLong));
  Put(*output, "/old");
  EXPECT_TRUE(writer->Flush(kLong));
  EXPECT_EQ(Read(Path("old/access.log")), "/old\n");
  std::filesystem::create_directory(Path("logs"));
  while (!std::filesystem::exists(Path("logs/access.log"))) {
    EXPECT_TRUE(writer->Flush(kLong));
  }
  EXPECT_TRUE(writer->Flush(kLong));
  Put(*output, "/new");
  EXPECT_TRUE(writer->Flush(kLong));
  EXPECT_EQ(Read(Path("logs/access.log")), "/new\n");
  const std::string told = testing::internal::GetCapturedStderr();
  EXPECT_EQ(std::count(told.begin(), told.end(), '\n'), 1) << told;
}

TEST_F(LogWriterTest, AFullDiskDropsAndCountsAndRecovers) {
  // /dev/full answers each write with ENOSPC; the link is turned to a file later.
  std::filesystem::create_symlink("/dev/full", Path());
  testing::internal::CaptureStderr();
  auto writer = Make({.workers = 1, .ring_bytes = 1, .retry_interval = milliseconds(1)});
  const auto output = Open(*writer, Path());
  const std::string filler(1000, 'x');
  uint64_t accepted = 0;
  uint64_t dropped = 0;
  for (int i = 0; i < 200; ++i) Put(*output, filler) ? ++accepted : ++dropped;
  EXPECT_GT(dropped, 0u);
  EXPECT_EQ(output->lines_dropped(), dropped);
  EXPECT_EQ(writer->totals().lines_dropped, dropped);
  EXPECT_FALSE(writer->Flush(milliseconds(20)));
  while (writer->totals().failing_outputs == 0) std::this_thread::yield();
  std::filesystem::remove(Path());
  while (writer->totals().failing_outputs != 0) std::this_thread::yield();
  EXPECT_TRUE(Put(*output, "/works"));
  EXPECT_TRUE(writer->Flush(kLong));
  const std::string text = Read(Path());
  EXPECT_EQ(text.size(), accepted * 1001 + 7);
  EXPECT_TRUE(text.ends_with("/works\n"));
  EXPECT_EQ(writer->totals().lines_written, accepted + 1);
  const std::string told = testing::internal::GetCapturedStderr();
  EXPECT_THAT(told, HasSubstr("No space left on device"));
  EXPECT_THAT(told, HasSubstr("works again"));
  EXPECT_EQ(std::count(told.begin(), told.end(), '\n'), 2) << told;
}

TEST_F(LogWriterTest, StopGivesUpOnAFullDiskAtOnce) {
  testing::internal::CaptureStderr();
  auto writer = Make({.workers = 1});
  const auto output = Open(*writer, "/dev/full");
  Put(*output, "/lost");
  EXPECT_FALSE(writer->Stop(kLong));
  testing::internal::GetCapturedStderr();
  EXPECT_EQ(writer->totals().lines_dropped, 1u);
  EXPECT_EQ(writer->totals().lines_written, 0u);
}

// The file may not grow beyond a size: a write comes up short in the middle of a line, as on a disk
// that becomes full.
TEST_F(LogWriterTest, AShortWriteIsFinishedWhenThereIsRoomAgain) {
  struct rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  struct rlimit small = before;
  small.rlim_cur = 1'000'000;
  testing::internal::CaptureStderr();
  auto writer = Make({.workers = 2, .retry_interval = milliseconds(1)});
  const auto output = Open(*writer, Path());
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string a(777, 'a');
  const std::string b(888, 'b');
  size_t count = 0;
  for (; count * (778 + 889) < 1'500'000; ++count) {
    EXPECT_TRUE(Put(*output, a, 0));
    EXPECT_TRUE(Put(*output, b, 1));
  }
  while (writer->totals().failing_outputs == 0) std::this_thread::yield();
  EXPECT_EQ(std::filesystem::file_size(Path()), 1'000'000u);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_TRUE(writer->Flush(kLong));
  testing::internal::GetCapturedStderr();
  std::ifstream file(Path());
  size_t a_lines = 0;
  size_t b_lines = 0;
  for (std::string line; std::getline(file, line);) {
    ASSERT_TRUE(line == a || line == b) << line;
    line == a ? ++a_lines : ++b_lines;
  }
  EXPECT_EQ(a_lines, count);
  EXPECT_EQ(b_lines, count);
}

TEST_F(LogWriterTest, APipeThatIsFullBlocksNobody) {
  SmallPipe pipe;
  auto writer = Make({.workers = 2, .ring_bytes = 1, .flush_interval = milliseconds(1)});
  const auto output = Open(*writer, pipe.path());
  const std::string line(100, 'l');
  // Nobody reads: two rings and the pipe fill up, then lines are dropped.
  uint64_t accepted = 0;
  while (output->lines_dropped() < 1000) {
    for (const uint32_t worker : {0u, 1u}) accepted += Put(*output, line, worker) ? 1 : 0;
  }
  // Now somebody reads, and gets whole lines, whatever ring they came from.
  std::string text;
  while (static_cast<uint64_t>(std::count(text.begin(), text.end(), '\n')) < accepted) {
    text += pipe.ReadSome();
  }
  EXPECT_EQ(text.size(), accepted * (line.size() + 1));
  EXPECT_EQ(text.find(line + "\n" + line), 0u);
  size_t at = 0;
  for (size_t end = text.find('\n'); end != std::string::npos; end = text.find('\n', at)) {
    ASSERT_EQ(end - at, line.size());
    at = end + 1;
  }
  EXPECT_TRUE(writer->Flush(kLong));
}

TEST_F(LogWriterTest, StopKeepsItsDeadlineWhenAPipeIsFull) {
  SmallPipe pipe;
  auto writer = Make({.workers = 1});
  const auto output = Open(*writer, pipe.path());
  const std::string line(1000, 'l');
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(Put(*output, line));
  EXPECT_FALSE(writer->Stop(milliseconds(20)));
  const LogWriter::Totals totals = writer->totals();
  EXPECT_GT(totals.lines_dropped, 0u);
  EXPECT_EQ(totals.lines_dropped + totals.lines_written, 100u);
}

TEST_F(LogWriterTest, APipeWithoutAReaderFailsWithoutASignal) {
  testing::internal::CaptureStderr();
  SmallPipe pipe;
  auto writer = Make({.workers = 1, .flush_interval = milliseconds(1)});
  const auto output = Open(*writer, pipe.path());
  pipe.CloseReader();
  Put(*output, "/a");
  while (writer->totals().failing_outputs == 0) std::this_thread::yield();
  EXPECT_FALSE(writer->Stop(milliseconds(20)));
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("Broken pipe"));
}

TEST_F(LogWriterTest, ARecoveredReaderIsToldOnce) {
  testing::internal::CaptureStderr();
  SmallPipe pipe;
  auto writer =
      Make({.workers = 1, .flush_interval = milliseconds(1), .retry_interval = milliseconds(5)});
  const auto output = Open(*writer, pipe.path());
  for (int i = 0; i < 20; ++i) Put(*output, std::string(1000, 'l'));
  while (writer->totals().failing_outputs == 0) std::this_thread::yield();
  while (writer->totals().failing_outputs != 0) (void)pipe.ReadSome();
  const std::string told = testing::internal::GetCapturedStderr();
  EXPECT_THAT(told, HasSubstr("its reader does not read"));
  EXPECT_THAT(told, HasSubstr("works again"));
}

// stdout as a socket, as a service manager gives it: shared with others, so it stays as it is.
TEST_F(LogWriterTest, StdoutMayBeASocket) {
  int pair[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  const int saved = dup(STDOUT_FILENO);
  ASSERT_EQ(dup2(pair[0], STDOUT_FILENO), STDOUT_FILENO);
  auto writer = Make({.workers = 1});
  auto output = writer->Open("stdout");
  EXPECT_EQ(dup2(saved, STDOUT_FILENO), STDOUT_FILENO);
  close(saved);
  ASSERT_TRUE(output.ok()) << output.status();
  Put(**output, "/a");
  EXPECT_TRUE(writer->Flush(kLong));
  char text[16] = {};
  EXPECT_EQ(read(pair[1], text, sizeof(text)), 3);
  EXPECT_STREQ(text, "/a\n");
  EXPECT_EQ(fcntl(pair[0], F_GETFL) & O_NONBLOCK, 0);
  close(pair[0]);
  close(pair[1]);
}

TEST_F(LogWriterTest, StdoutMayBeAPipe) {
  int fds[2];
  ASSERT_EQ(pipe2(fds, O_CLOEXEC), 0);
  const int saved = dup(STDOUT_FILENO);
  ASSERT_EQ(dup2(fds[1], STDOUT_FILENO), STDOUT_FILENO);
  auto writer = Make({.workers = 1});
  auto output = writer->Open("stdout");
  EXPECT_EQ(dup2(saved, STDOUT_FILENO), STDOUT_FILENO);
  close(saved);
  ASSERT_TRUE(output.ok()) << output.status();
  // It did not become non-blocking for others.
  EXPECT_EQ(fcntl(fds[1], F_GETFL) & O_NONBLOCK, 0);
  Put(**output, "/a");
  EXPECT_TRUE(writer->Flush(kLong));
  char text[16] = {};
  EXPECT_EQ(read(fds[0], text, sizeof(text)), 3);
  EXPECT_STREQ(text, "/a\n");
  close(fds[0]);
  close(fds[1]);
}

// Workers write, main reopens and rotates, opens and lets go of outputs: nothing is torn or lost
// but what is counted.
TEST_F(LogWriterTest, ManyThreads) {
  constexpr uint32_t kWorkers = 3;
  constexpr int kLines = 20'000;
  auto writer = Make({.workers = kWorkers, .ring_bytes = 1, .flush_interval = milliseconds(1)});
  const auto output = Open(*writer, Path());
  std::vector<std::thread> threads;
  std::atomic<uint64_t> accepted{0};
  for (uint32_t worker = 0; worker < kWorkers; ++worker) {
    threads.emplace_back([&, worker] {
      uint64_t mine = 0;
      const std::string line = "/" + std::string(50 + worker, static_cast<char>('a' + worker));
      for (int i = 0; i < kLines; ++i) mine += Put(*output, line, worker) ? 1 : 0;
      accepted += mine;
    });
  }
  std::vector<std::string> files;
  for (int i = 0; i < 20; ++i) {
    const std::string rotated = Path("access.log." + std::to_string(i));
    std::filesystem::rename(Path(), rotated);
    files.push_back(rotated);
    writer->Reopen();
    const auto other = Open(*writer, Path("other"));
    EXPECT_TRUE(writer->Flush(kLong));
    EXPECT_LE(writer->totals().lines_written, uint64_t{kWorkers} * kLines);
  }
  for (auto& thread : threads) thread.join();
  EXPECT_TRUE(writer->Stop(kLong));
  files.push_back(Path());
  uint64_t lines = 0;
  for (const std::string& path : files) {
    std::ifstream file(path);
    for (std::string line; std::getline(file, line); ++lines) {
      ASSERT_GE(line.size(), 51u);
      ASSERT_EQ(line.find_first_not_of(line[1], 1), std::string::npos) << line;
      ASSERT_EQ(line.size(), 51u + static_cast<size_t>(line[1] - 'a'));
    }
  }
  EXPECT_EQ(lines, accepted.load());
  EXPECT_EQ(writer->totals().lines_written, lines);
  EXPECT_EQ(writer->totals().lines_dropped + lines, uint64_t{kWorkers} * kLines);
}

}  // namespace
}  // namespace gatehouse::observe
