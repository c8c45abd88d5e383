#include "source/http/h1_reader.h"

#include <algorithm>
#include <utility>

namespace gatehouse::http {
namespace {

// From so many pieces on, small ones are copied together: a slice is larger than what it refers to
// when a body comes in chunks of a few bytes.
constexpr size_t kManyPieces = 16;

}  // namespace

template <typename Parse>
H1ParseStatus H1Reader::ParseHead(Parse&& parse) {
  H1ParseStatus status = parse(in_.front());
  if (status == H1ParseStatus::kNeedMore && in_.slices() > 1) {
    // The head goes on in the next slab: join them, with room so that joining stays rare.
    in_.PullUp(in_.bytes(), in_.bytes(), pool_);
    status = parse(in_.front());
  }
  return status;
}

H1ParseStatus H1Reader::ParseRequest(const H1Limits& limits, H1HeadScratch& scratch) {
  return ParseHead(
      [&](std::string_view buffered) { return parser_.ParseRequest(buffered, limits, scratch); });
}

H1ParseStatus H1Reader::ParseResponse(Method method, const H1Limits& limits,
                                      H1HeadScratch& scratch) {
  return ParseHead([&](std::string_view buffered) {
    return parser_.ParseResponse(buffered, method, limits, scratch);
  });
}

H1BodyStatus H1Reader::Decode(size_t max, const H1Limits& limits, H1HeadScratch& scratch,
                              Chain& out) {
  if (decoder_.done()) return H1BodyStatus::kDone;
  const size_t before = out.bytes();
  while (!in_.empty()) {
    const size_t left = max - (out.bytes() - before);
    if (left == 0) return H1BodyStatus::kNeedMore;
    const Slice& front = in_[0];
    const std::string_view input = front.view().substr(0, left);
    const H1BodyDecoder::Step step = decoder_.Decode(input, limits, scratch);
    if (step.status == H1BodyStatus::kData) {
      if (step.data.size() == front.size()) {
        out.Append(in_.TakeFront());
        continue;
      }
      if (step.data.size() <= Chain::kCopyBelow && out.slices() >= kManyPieces) {
        out.AppendCopy(step.data, pool_);
      } else {
        const auto at = static_cast<size_t>(step.data.data() - front.data());
        out.Append(front.Sub(at, step.data.size()));
      }
    }
    in_.RemovePrefix(step.consumed);
    if (step.status == H1BodyStatus::kDone || step.status == H1BodyStatus::kError) {
      return step.status;
    }
    if (decoder_.done()) return H1BodyStatus::kDone;
  }
  return decoder_.done() ? H1BodyStatus::kDone : H1BodyStatus::kNeedMore;
}

size_t H1Reader::BodyReadSize(size_t credit) const {
  const uint64_t known = decoder_.remaining();
  const size_t want = known > next_read_
                          ? static_cast<size_t>(std::min<uint64_t>(known, kMaxBodyRead))
                          : next_read_;
  return std::max<size_t>(std::min({want, credit, kMaxBodyRead}), 1);
}

void H1Reader::NoteBodyRead(size_t got) {
  if (got >= next_read_) {
    next_read_ = std::min(next_read_ * 2, kMaxBodyRead);
  } else if (got < next_read_ / 4) {
    next_read_ = std::max(next_read_ / 2, kHeadRead);
  }
}

}  // namespace gatehouse::http
