// PipeTransport: a connection whose other end is the test. Bytes come in when the test says so, in
// the pieces that it chooses; what the code under test writes is taken up to a window.
//
// Owner: the code under test; the test keeps a PipeEnd, which outlives it safely. Thread: one.
//
//   auto [transport, end] = MakePipe(loop);
//   end->Push("GET / HTTP/1.1\r\n\r\n");      // one readiness event
//   EXPECT_EQ(end->TakeWritten(), "HTTP/1.1 200 OK...");
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "source/net/transport.h"

namespace gatehouse {

class PipeTransport;

// The test's end.
class PipeEnd {
 public:
  // Bytes for the code under test to read, and the event that tells of them.
  void Push(std::string_view bytes);
  // The test's side is shut down: end of file after what was pushed.
  void PushEof();
  // The connection breaks: reads and writes fail from now on.
  void Break();
  // How many more bytes may be written before the window is full.
  void SetWindow(size_t bytes);
  // Reads give at most so many bytes each.
  void set_read_piece(size_t bytes) { read_piece_ = bytes; }
  // What is read from now on came before the TLS handshake was complete.
  void set_early_data(bool on) { early_data_ = on; }
  // The nth write from now on (0: the next) fails.
  void FailWrite(int nth) { fail_write_ = nth; }

  [[nodiscard]] const std::string& written() const { return written_; }
  [[nodiscard]] std::string TakeWritten() { return std::exchange(written_, {}); }
  // The code under test has closed, shut its side down, or aborted.
  [[nodiscard]] bool closed() const { return closed_; }
  [[nodiscard]] bool shut_down() const { return shut_down_; }
  [[nodiscard]] bool aborted() const { return aborted_; }
  [[nodiscard]] size_t unread() const { return inbox_.size(); }

 private:
  friend class PipeTransport;
  PipeTransport* transport_ = nullptr;
  std::string inbox_;
  std::string written_;
  size_t window_ = SIZE_MAX;
  size_t read_piece_ = SIZE_MAX;
  int fail_write_ = -1;
  bool eof_ = false;
  bool broken_ = false;
  bool closed_ = false;
  bool shut_down_ = false;
  bool aborted_ = false;
  bool early_data_ = false;
};

class PipeTransport final : public net::Transport {
 public:
  PipeTransport(net::Loop& loop, std::shared_ptr<PipeEnd> end) : loop_(loop), end_(std::move(end)) {
    end_->transport_ = this;
  }
  ~PipeTransport() override {
    end_->transport_ = nullptr;
    end_->closed_ = true;
  }

  [[nodiscard]] net::IoStatus Read(Chain& into, size_t limit) override;
  [[nodiscard]] net::IoStatus Write(Chain& from) override;
  void Shutdown() override { end_->shut_down_ = true; }
  void Abort() override { end_->aborted_ = true; }
  [[nodiscard]] int ConnectError() override { return 0; }
  [[nodiscard]] bool early_data() const override { return end_->early_data_; }

  void Tell(net::Ready ready) { Notify(ready); }

 private:
  net::Loop& loop_;
  std::shared_ptr<PipeEnd> end_;
};

struct Pipe {
  std::unique_ptr<PipeTransport> transport;
  std::shared_ptr<PipeEnd> end;
};
[[nodiscard]] Pipe MakePipe(net::Loop& loop);

}  // namespace gatehouse
