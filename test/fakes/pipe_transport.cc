#include "test/fakes/pipe_transport.h"

#include <algorithm>

namespace gatehouse {

void PipeEnd::Push(std::string_view bytes) {
  inbox_ += bytes;
  if (transport_ != nullptr) transport_->Tell({true, false, false});
}

void PipeEnd::PushEof() {
  eof_ = true;
  if (transport_ != nullptr) transport_->Tell({true, false, true});
}

void PipeEnd::Break() {
  broken_ = true;
  if (transport_ != nullptr) transport_->Tell({true, true, true});
}

void PipeEnd::SetWindow(size_t bytes) {
  window_ = bytes;
  if (transport_ != nullptr && bytes > 0) transport_->Tell({false, true, false});
}

net::IoStatus PipeTransport::Read(Chain& into, size_t limit) {
  may_read_ = false;
  if (end_->broken_) return net::IoStatus::kError;
  if (end_->inbox_.empty()) return end_->eof_ ? net::IoStatus::kEof : net::IoStatus::kWouldBlock;
  const size_t count = std::min({limit, end_->inbox_.size(), end_->read_piece_});
  into.AppendCopy(std::string_view(end_->inbox_).substr(0, count), loop_.slabs());
  end_->inbox_.erase(0, count);
  // Edge-triggered as a socket: a read that was not short leaves the state as it was.
  may_read_ = !end_->inbox_.empty() || end_->eof_;
  return net::IoStatus::kOk;
}

net::IoStatus PipeTransport::Write(Chain& from) {
  if (end_->fail_write_ >= 0 && end_->fail_write_-- == 0) end_->broken_ = true;
  if (end_->broken_) {
    // The event that a socket would have told of the error: the next read fails too.
    may_read_ = true;
    may_write_ = false;
    return net::IoStatus::kError;
  }
  bool wrote = false;
  while (!from.empty() && end_->window_ > 0) {
    const std::string_view front = from.front();
    const size_t count = std::min(front.size(), end_->window_);
    end_->written_ += front.substr(0, count);
    if (end_->window_ != SIZE_MAX) end_->window_ -= count;
    from.RemovePrefix(count);
    wrote = true;
  }
  if (!from.empty()) may_write_ = false;
  return wrote || from.empty() ? net::IoStatus::kOk : net::IoStatus::kWouldBlock;
}

Pipe MakePipe(net::Loop& loop) {
  auto end = std::make_shared<PipeEnd>();
  auto transport = std::make_unique<PipeTransport>(loop, end);
  return {std::move(transport), std::move(end)};
}

}  // namespace gatehouse
