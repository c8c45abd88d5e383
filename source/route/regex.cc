#include "source/route/regex.h"

#include <algorithm>
#include <utility>

#include "fmt/format.h"
#include "source/base/status.h"

namespace gatehouse::route {
namespace {

constexpr int64_t kRegexMemory = 1 << 20;
constexpr int64_t kSetMemory = 8 << 20;

re2::RE2::Options OptionsWith(int64_t memory) {
  re2::RE2::Options options;
  options.set_log_errors(false);
  options.set_max_mem(memory);
  return options;
}

re2::StringPiece ToRe2(std::string_view text) { return {text.data(), text.size()}; }

}  // namespace

absl::StatusOr<std::unique_ptr<const re2::RE2>> CompileRegex(std::string_view text) {
  auto regex = std::make_unique<const re2::RE2>(ToRe2(text), OptionsWith(kRegexMemory));
  if (!regex->ok()) {
    return InvalidArgument(fmt::format("is not a valid RE2 regex: {}", regex->error()));
  }
  return regex;
}

bool FullMatch(const re2::RE2& regex, std::string_view text) {
  return regex.Match(ToRe2(text), 0, text.size(), re2::RE2::ANCHOR_BOTH, nullptr, 0);
}

RegexList RegexList::Build(std::vector<Entry> entries) {
  RegexList list;
  list.entries_ = std::move(entries);
  const size_t count = list.entries_.size();
  if (count <= kLeaf) return list;
  list.width_ = kLeaf;
  while (list.width_ < count) list.width_ *= 2;
  const size_t nodes = list.width_ / kLeaf * 2 - 1;
  list.sets_.resize(nodes);
  for (size_t node = 0, level_width = list.width_, on_level = 1, index = 0; node < nodes; ++node) {
    const size_t begin = index * level_width;
    const size_t end = std::min(begin + level_width, count);
    if (begin < end) {
      auto set = std::make_unique<re2::RE2::Set>(OptionsWith(kSetMemory), re2::RE2::ANCHOR_BOTH);
      bool usable = true;
      for (size_t i = begin; i < end; ++i) {
        usable = usable && set->Add(list.entries_[i].regex->pattern(), nullptr) >= 0;
      }
      if (usable && set->Compile()) list.sets_[node] = std::move(set);
    }
    if (++index == on_level) {
      index = 0;
      on_level *= 2;
      level_width /= 2;
    }
  }
  return list;
}

size_t RegexList::Next(std::string_view path, size_t from) const {
  if (!sets_.empty()) return NextBelow(0, 0, width_, path, from);
  for (size_t i = from; i < entries_.size(); ++i) {
    const Entry& entry = entries_[i];
    if (path.starts_with(entry.literal) && FullMatch(*entry.regex, path)) return i;
  }
  return kEnd;
}

size_t RegexList::NextBelow(size_t node, size_t begin, size_t end, std::string_view path,
                            size_t from) const {
  if (begin >= entries_.size() || end <= from) return kEnd;
  if (sets_[node] != nullptr) {
    re2::RE2::Set::ErrorInfo error{re2::RE2::Set::kNoError};
    const bool some = sets_[node]->Match(ToRe2(path), nullptr, &error);
    // An automaton that outgrew its memory answers nothing: look below.
    if (!some && error.kind == re2::RE2::Set::kNoError) return kEnd;
  }
  if (end - begin == kLeaf) {
    for (size_t i = std::max(begin, from); i < std::min(end, entries_.size()); ++i) {
      const Entry& entry = entries_[i];
      if (path.starts_with(entry.literal) && FullMatch(*entry.regex, path)) return i;
    }
    return kEnd;
  }
  const size_t middle = begin + (end - begin) / 2;
  const size_t left = NextBelow(2 * node + 1, begin, middle, path, from);
  return left != kEnd ? left : NextBelow(2 * node + 2, middle, end, path, from);
}

}  // namespace gatehouse::route
