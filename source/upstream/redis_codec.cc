#include "source/upstream/redis_codec.h"

#include <algorithm>
#include <charconv>
#include <cstring>

#include "source/base/check.h"

namespace gatehouse::upstream {
namespace {

constexpr uint8_t kMaxDigits = 19;  // of an int64_t
// Values that the reader keeps room for.
constexpr size_t kKeptValues = 256;

// Of a line that the scanner has found to be a number.
int64_t NumberOf(std::string_view text) {
  int64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

}  // namespace

RedisScanner::Status RedisScanner::Feed(std::string_view bytes, size_t* taken) {
  DCHECK(!done_);
  size_t at = 0;
  bool good = true;
  while (good && !done_ && at < bytes.size()) {
    size_t step = 0;
    if (state_ == State::kLine) {
      step = SkipLine(bytes.substr(at));
      good = line_ <= kRedisMaxLine;
    } else if (state_ == State::kBulk) {
      step = SkipBulk(bytes.substr(at));
    } else {
      good = Step(bytes[at]);
      step = 1;
    }
    at += step;
    bytes_ += step;
    if (bytes_ > kRedisMaxReply) good = false;
  }
  *taken = at;
  if (!good) return Status::kBroken;
  return done_ ? Status::kDone : Status::kMore;
}

bool RedisScanner::Step(char c) {
  switch (state_) {
    case State::kType:
      return OnType(c);
    case State::kNumber:
      return OnNumber(c);
    case State::kLineEnd:
      return c == '\n' && OnLineEnd();
    case State::kBulkCr:
      state_ = State::kBulkEnd;
      return c == '\r';
    case State::kBulkEnd:
      EndValue();
      return c == '\n';
    case State::kLine:
    case State::kBulk:
      break;
  }
  return false;
}

bool RedisScanner::OnType(char c) {
  type_ = c;
  number_ = 0;
  digits_ = 0;
  negative_ = false;
  line_ = 0;
  ++values_;
  switch (c) {
    case '+':
    case '-':
      state_ = State::kLine;
      return true;
    case ':':
    case '$':
    case '*':
      state_ = State::kNumber;
      return true;
    default:
      return false;
  }
}

size_t RedisScanner::SkipLine(std::string_view bytes) {
  const void* end = std::memchr(bytes.data(), '\r', bytes.size());
  const size_t size = end == nullptr
                          ? bytes.size()
                          : static_cast<size_t>(static_cast<const char*>(end) - bytes.data());
  line_ += size;
  if (end == nullptr) return size;
  state_ = State::kLineEnd;
  return size + 1;
}

bool RedisScanner::OnNumber(char c) {
  if (c >= '0' && c <= '9') {
    number_ = number_ * 10 + static_cast<uint64_t>(c - '0');
    return ++digits_ <= kMaxDigits;
  }
  if (c == '-') {
    const bool first = digits_ == 0 && !negative_;
    negative_ = true;
    return first;
  }
  state_ = State::kLineEnd;
  return c == '\r' && digits_ > 0;
}

bool RedisScanner::OnLineEnd() {
  if (type_ == '+' || type_ == '-') {
    EndValue();
    return true;
  }
  if (type_ == ':') {
    EndValue();
    return number_ <= static_cast<uint64_t>(INT64_MAX) + (negative_ ? 1 : 0);
  }
  if (negative_) {  // null
    EndValue();
    return number_ == 1;
  }
  if (type_ == '$') {
    bulk_ = number_;
    state_ = bulk_ == 0 ? State::kBulkCr : State::kBulk;
    return number_ <= kRedisMaxReply;
  }
  if (number_ == 0) {
    EndValue();
    return true;
  }
  if (depth_ == kRedisMaxDepth) return false;
  // With what the arrays around it still owe; of each of those this one is an element.
  uint64_t promised = values_ + number_;
  for (uint8_t i = 0; i < depth_; ++i) promised += missing_[i] - 1;
  if (promised > kRedisMaxValues) return false;
  missing_[depth_++] = static_cast<uint32_t>(number_);
  state_ = State::kType;
  return true;
}

size_t RedisScanner::SkipBulk(std::string_view bytes) {
  const size_t size = std::min(bulk_, bytes.size());
  bulk_ -= size;
  if (bulk_ == 0) state_ = State::kBulkCr;
  return size;
}

void RedisScanner::EndValue() {
  state_ = State::kType;
  while (depth_ > 0) {
    if (--missing_[depth_ - 1] > 0) return;
    --depth_;
  }
  done_ = true;
}

const RedisReply& RedisReplyReader::Read(std::string_view bytes, uint32_t values) {
  if (values_.size() > kKeptValues && values <= kKeptValues) {
    values_.resize(kKeptValues);
    values_.shrink_to_fit();
  }
  // All at once: elements are found by address.
  if (values_.size() < values) values_.resize(values);
  at_ = bytes.data();
  end_ = at_ + bytes.size();
  used_ = 1;
  ReadValue(values_[0]);
  DCHECK(at_ == end_ && used_ == values);
  return values_[0];
}

std::string_view RedisReplyReader::Line() {
  const auto* cr =
      static_cast<const char*>(std::memchr(at_, '\r', static_cast<size_t>(end_ - at_)));
  CHECK(cr != nullptr);
  const std::string_view line(at_, static_cast<size_t>(cr - at_));
  at_ = cr + 2;
  return line;
}

// As deep as kRedisMaxDepth.
void RedisReplyReader::ReadValue(RedisReply& into) {
  into = RedisReply();
  const char type = *at_++;
  const std::string_view line = Line();
  if (type == '+' || type == '-') {
    into.type = type == '+' ? RedisReply::Type::kStatus : RedisReply::Type::kError;
    into.text = line;
    return;
  }
  const int64_t number = NumberOf(line);
  if (type == ':') {
    into.type = RedisReply::Type::kInteger;
    into.integer = number;
    return;
  }
  if (number < 0) return;  // null
  const auto size = static_cast<size_t>(number);
  if (type == '$') {
    into.type = RedisReply::Type::kString;
    into.text = {at_, size};
    at_ += size + 2;
    return;
  }
  into.type = RedisReply::Type::kArray;
  const size_t first = used_;
  used_ += size;
  CHECK(used_ <= values_.size());
  for (size_t i = 0; i < size; ++i) ReadValue(values_[first + i]);
  into.elements = {values_.data() + first, size};
}

char* WriteRedisCount(char type, size_t count, char* out) {
  *out++ = type;
  out = std::to_chars(out, out + kRedisCountRoom - 3, count).ptr;
  *out++ = '\r';
  *out++ = '\n';
  return out;
}

char* WriteRedisString(std::string_view text, char* out) {
  out = WriteRedisCount('$', text.size(), out);
  if (!text.empty()) std::memcpy(out, text.data(), text.size());
  out += text.size();
  *out++ = '\r';
  *out++ = '\n';
  return out;
}

}  // namespace gatehouse::upstream
