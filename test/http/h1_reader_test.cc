#include "source/http/h1_reader.h"

#include <string>

#include "gtest/gtest.h"

#include "test/fakes/manual_clock.h"
#include "test/fakes/pipe_transport.h"

namespace gatehouse::http {
namespace {

// Each would else cost a slice, which is larger than what it holds.
TEST(H1ReaderTest, TinyChunksBecomeFewSlices) {
  constexpr size_t kChunks = 5000;
  ManualClock clock;
  net::Loop loop(clock);
  Pipe pipe = MakePipe(loop);
  std::string text;
  std::string payload;
  for (size_t i = 0; i < kChunks; ++i) {
    const char c = static_cast<char>('a' + i % 26);
    payload += c;
    text += std::string("1\r\n") + c + "\r\n";
  }
  pipe.end->Push(text);

  H1Reader reader(loop.slabs());
  H1HeadScratch scratch;
  reader.StartBody(BodyKind::kChunked, 0);
  Chain out;
  while (pipe.end->unread() > 0) {
    ASSERT_EQ(reader.Fill(*pipe.transport, H1Reader::kMaxBodyRead), net::IoStatus::kOk);
    ASSERT_EQ(reader.Decode(SIZE_MAX, {}, scratch, out), H1BodyStatus::kNeedMore);
  }
  EXPECT_LT(out.slices(), 32u);
  std::string seen;
  while (!out.empty()) seen += out.TakeFront().view();
  EXPECT_EQ(seen, payload);
}

}  // namespace
}  // namespace gatehouse::http
