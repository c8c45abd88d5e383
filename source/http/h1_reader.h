// H1Reader: the incoming half of an HTTP/1 connection, whichever side: what was read and not yet
// parsed, the head parser and the body decoder.
//
// Owner: an H1ServerConnection or H1ClientConnection. Thread: one loop. It holds no buffer while
// there is nothing in it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "source/base/chain.h"
#include "source/http/h1_body.h"
#include "source/http/h1_parser.h"
#include "source/net/transport.h"

namespace gatehouse::http {

class H1Reader {
 public:
  static constexpr size_t kHeadRead = SlabPool::kDataBytes;
  static constexpr size_t kMaxBodyRead = size_t{256} * 1024;

  explicit H1Reader(SlabPool& pool) : pool_(pool) {}

  [[nodiscard]] bool empty() const { return in_.empty(); }
  [[nodiscard]] size_t buffered() const { return in_.bytes(); }
  void Clear() { in_.Clear(); }
  // What was read and not parsed, for another codec.
  [[nodiscard]] Chain TakeAll() { return std::move(in_); }
  // Of the memory that a busy connection needs, an idle one keeps none.
  void Shrink() { in_.ShrinkToInline(); }

  // One read of about `limit` bytes.
  [[nodiscard]] net::IoStatus Fill(net::Transport& transport, size_t limit) {
    return transport.Read(in_, limit);
  }

  // Parses the head at the front; what it took is still there until TakeHead().
  [[nodiscard]] H1ParseStatus ParseRequest(const H1Limits& limits, H1HeadScratch& scratch);
  [[nodiscard]] H1ParseStatus ParseResponse(Method method, const H1Limits& limits,
                                            H1HeadScratch& scratch);
  // Drops the head that was parsed and copied.
  void TakeHead(const H1HeadScratch& scratch) {
    in_.RemovePrefix(scratch.consumed());
    parser_.Reset();
  }

  void StartBody(BodyKind kind, uint64_t length) {
    decoder_.Start(kind, length);
    next_read_ = kHeadRead;
  }
  // Moves up to `max` payload bytes to `out`. kNeedMore: all that was buffered is used up (or `max`
  // was reached: then out.bytes() is max).
  [[nodiscard]] H1BodyStatus Decode(size_t max, const H1Limits& limits, H1HeadScratch& scratch,
                                    Chain& out);
  [[nodiscard]] H1BodyDecoder& decoder() { return decoder_; }
  [[nodiscard]] uint64_t decoder_remaining() const { return decoder_.remaining(); }
  // How much to read next for a body of which `credit` bytes are allowed: the rest if it is known,
  // else more as long as reads come back full.
  [[nodiscard]] size_t BodyReadSize(size_t credit) const;
  void NoteBodyRead(size_t got);

 private:
  template <typename Parse>
  H1ParseStatus ParseHead(Parse&& parse);

  SlabPool& pool_;
  Chain in_;
  H1HeadParser parser_;
  H1BodyDecoder decoder_;
  size_t next_read_ = kHeadRead;
};

}  // namespace gatehouse::http
