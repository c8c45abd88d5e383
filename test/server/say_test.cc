#include "source/server/say.h"

#include <fcntl.h>
#include <unistd.h>

#include <string>
#include <thread>

#include "gtest/gtest.h"

namespace gatehouse::server {
namespace {

class SayTest : public ::testing::Test {
 protected:
  SayTest() { EXPECT_EQ(pipe2(ends_, O_CLOEXEC), 0); }
  ~SayTest() override {
    for (int fd : ends_) close(fd);
  }

  int ends_[2];
};

TEST_F(SayTest, AReaderThatReadsGetsAll) {
  const std::string text(300'000, 'x');
  std::string read_text;
  std::thread reader([&] {
    char buffer[4096];
    while (read_text.size() < text.size()) {
      const ssize_t got = read(ends_[0], buffer, sizeof(buffer));
      if (got <= 0) break;
      read_text.append(buffer, static_cast<size_t>(got));
    }
  });
  EXPECT_EQ(WriteWithPatience(ends_[1], text), text.size());
  reader.join();
  EXPECT_EQ(read_text, text);
}

TEST_F(SayTest, AReaderThatIsStuckHoldsNobodyUp) {
  const std::string text(300'000, 'x');
  const size_t first = WriteWithPatience(ends_[1], text);
  EXPECT_GT(first, 0u);
  EXPECT_LT(first, text.size());
  EXPECT_EQ(WriteWithPatience(ends_[1], "one more line\n"), 0u);
}

TEST_F(SayTest, NobodyThereIsNoError) { EXPECT_EQ(WriteWithPatience(-1, "a line\n"), 0u); }

}  // namespace
}  // namespace gatehouse::server
