#include "test/fakes/pipe_transport.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "test/fakes/manual_clock.h"

namespace gatehouse {
namespace {

using net::IoStatus;

class PipeTransportTest : public ::testing::Test {
 protected:
  PipeTransportTest() : pipe_(MakePipe(loop_)) {
    pipe_.transport->SetReady(this, [](void* self, net::Ready ready) {
      static_cast<PipeTransportTest*>(self)->events_ += ready.hangup  ? "hangup "
                                                        : ready.read  ? "read "
                                                        : ready.write ? "write "
                                                                      : "none ";
    });
  }
  IoStatus Write(std::string_view text) {
    out_.AppendCopy(text, loop_.slabs());
    return pipe_.transport->Write(out_);
  }
  std::string Taken() {
    std::string text;
    while (in_.slices() > 0) text += in_.TakeFront().view();
    return text;
  }

  ManualClock clock_;
  net::Loop loop_{clock_};
  Pipe pipe_;
  Chain in_;
  Chain out_;
  std::string events_;
};

TEST_F(PipeTransportTest, BytesComeWithOneEventPerPushAndInThePiecesAskedFor) {
  EXPECT_EQ(pipe_.transport->Read(in_, 100), IoStatus::kWouldBlock);
  pipe_.end->Push("hello");
  EXPECT_EQ(events_, "read ");
  EXPECT_TRUE(pipe_.transport->may_read());
  pipe_.end->set_read_piece(2);
  EXPECT_EQ(pipe_.transport->Read(in_, 100), IoStatus::kOk);
  EXPECT_EQ(Taken(), "he");
  EXPECT_EQ(pipe_.transport->Read(in_, 1), IoStatus::kOk);
  EXPECT_EQ(Taken(), "l");
  EXPECT_TRUE(pipe_.transport->may_read());
  EXPECT_EQ(pipe_.transport->Read(in_, 100), IoStatus::kOk);
  EXPECT_EQ(Taken(), "lo");
  EXPECT_FALSE(pipe_.transport->may_read());
  EXPECT_EQ(pipe_.end->unread(), 0u);
}

TEST_F(PipeTransportTest, TheEndComesBehindTheBytes) {
  pipe_.end->Push("x");
  pipe_.end->PushEof();
  EXPECT_EQ(events_, "read hangup ");
  EXPECT_EQ(pipe_.transport->Read(in_, 100), IoStatus::kOk);
  EXPECT_TRUE(pipe_.transport->may_read());
  EXPECT_EQ(pipe_.transport->Read(in_, 100), IoStatus::kEof);
  EXPECT_FALSE(pipe_.transport->may_read());
}

TEST_F(PipeTransportTest, AWindowHoldsWritesBack) {
  pipe_.end->SetWindow(3);
  EXPECT_EQ(Write("hello"), IoStatus::kOk);
  EXPECT_EQ(pipe_.end->TakeWritten(), "hel");
  EXPECT_EQ(out_.bytes(), 2u);
  EXPECT_FALSE(pipe_.transport->may_write());
  EXPECT_EQ(pipe_.transport->Write(out_), IoStatus::kWouldBlock);
  events_.clear();
  pipe_.end->SetWindow(10);
  EXPECT_EQ(events_, "write ");
  EXPECT_TRUE(pipe_.transport->may_write());
  EXPECT_EQ(pipe_.transport->Write(out_), IoStatus::kOk);
  EXPECT_EQ(pipe_.end->written(), "lo");
}

TEST_F(PipeTransportTest, TheNthWriteFailsAndSoDoesAllAfterIt) {
  pipe_.end->FailWrite(1);
  EXPECT_EQ(Write("a"), IoStatus::kOk);
  EXPECT_EQ(Write("b"), IoStatus::kError);
  EXPECT_EQ(Write("c"), IoStatus::kError);
  EXPECT_EQ(pipe_.end->written(), "a");
  EXPECT_TRUE(pipe_.transport->may_read());
  EXPECT_EQ(pipe_.transport->Read(in_, 1), IoStatus::kError);
}

TEST_F(PipeTransportTest, ABrokenConnectionFailsBothWays) {
  pipe_.end->Push("lost");
  pipe_.end->Break();
  EXPECT_EQ(pipe_.transport->Read(in_, 1), IoStatus::kError);
  EXPECT_EQ(Write("x"), IoStatus::kError);
}

TEST_F(PipeTransportTest, TheTestsEndOutlivesTheOther) {
  pipe_.transport->Shutdown();
  pipe_.transport->Abort();
  EXPECT_TRUE(pipe_.end->shut_down());
  EXPECT_TRUE(pipe_.end->aborted());
  EXPECT_FALSE(pipe_.end->closed());
  pipe_.transport.reset();
  EXPECT_TRUE(pipe_.end->closed());
  pipe_.end->Push("x");
  pipe_.end->PushEof();
  pipe_.end->Break();
  pipe_.end->SetWindow(1);
}

}  // namespace
}  // namespace gatehouse
