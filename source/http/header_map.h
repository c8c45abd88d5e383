// HeaderMap: the fields of one message in the order in which they came, known names found in O(1).
//
// Owner: a RequestHead or ResponseHead. Thread: one loop. Everything it holds lies in the arena it
// was made with (or is literal text) and lives until that arena is reset; call Reset() then. Views
// it hands out, and iterators, are good until the next call that changes the map; the text behind a
// view stays until the arena is reset. Names keep the case in which they came; look-ups ignore it.
//
// There is no setter that borrows: Add, Set and Append copy, and check what they copy, since a
// value with a line break in it would split a message. They trim white space at both ends, return
// false when they refuse (the name is no token, the value holds a control character), and fail to
// the safe side: a refused Set leaves no field of that name behind. Text that is known when the
// code is written goes in as a Literal, checked by the compiler.
//
//   headers.Set(Name::kXUserId, claims.subject);
//   headers.Add("X-Tenant", tenant);
//   headers.AddLiteral(Name::kCacheControl, "no-store");
//   if (auto type = headers.Get(Name::kContentType)) ...
//   for (const HeaderEntry& entry : headers) Log(entry.name_view(), entry.value_view());
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

#include "source/base/arena.h"
#include "source/base/check.h"
#include "source/http/names.h"

namespace gatehouse::http {

// 24 bytes, so that twelve fields are less than five cache lines.
struct HeaderEntry {
  const char* name;
  const char* value;
  uint32_t value_len;
  uint16_t name_len;
  Name id;
  uint8_t flags;  // of the codec that made the entry; 0 otherwise

  [[nodiscard]] std::string_view name_view() const { return {name, name_len}; }
  [[nodiscard]] std::string_view value_view() const { return {value, value_len}; }
};
static_assert(sizeof(HeaderEntry) == 24);

// True for 1*tchar (RFC 9110, section 5.6.2).
[[nodiscard]] bool IsToken(std::string_view text);
// True when no byte is a control character other than HTAB (RFC 9110, section 5.5).
[[nodiscard]] bool IsFieldValue(std::string_view text);
// Without spaces and tabs at both ends.
[[nodiscard]] std::string_view TrimSpace(std::string_view text);

// Static text, checked when the code is compiled.
class Literal {
 public:
  template <size_t N>
  consteval Literal(const char (&text)[N]) : text_(text, N - 1) {  // NOLINT: implicit on purpose
    for (char c : text_) {
      if (c < 0x20 || c == 0x7f) throw "a header literal holds a control or 8-bit character";
    }
    if (!text_.empty() && (text_.front() == ' ' || text_.back() == ' ')) {
      throw "a header literal has white space at an end";
    }
  }
  [[nodiscard]] constexpr std::string_view text() const { return text_; }

 private:
  std::string_view text_;
};

class HeaderMap {
 public:
  static constexpr size_t kInitialCapacity = 32;

  explicit HeaderMap(Arena& arena) : arena_(&arena) { Reset(); }
  HeaderMap(const HeaderMap&) = delete;
  HeaderMap& operator=(const HeaderMap&) = delete;

  // Forgets all fields and the memory they were in. Needed after the arena was reset.
  void Reset() {
    entries_ = nullptr;
    size_ = 0;
    capacity_ = 0;
    std::memset(first_, 0, sizeof(first_));
  }

  [[nodiscard]] size_t size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }
  [[nodiscard]] const HeaderEntry* begin() const { return entries_; }
  [[nodiscard]] const HeaderEntry* end() const { return entries_ + size_; }
  [[nodiscard]] Arena& arena() const { return *arena_; }

  // The first field of that name.
  [[nodiscard]] std::optional<std::string_view> Get(Name name) const {
    const HeaderEntry* entry = Find(name);
    if (entry == nullptr) return std::nullopt;
    return entry->value_view();
  }
  [[nodiscard]] std::optional<std::string_view> Get(std::string_view name) const {
    const HeaderEntry* entry = Find(name);
    if (entry == nullptr) return std::nullopt;
    return entry->value_view();
  }
  [[nodiscard]] bool Has(Name name) const { return first_[Index(name)] != 0; }
  [[nodiscard]] bool Has(std::string_view name) const { return Find(name) != nullptr; }
  // The first entry of that name, or null.
  [[nodiscard]] const HeaderEntry* Find(Name name) const {
    const uint8_t first = first_[Index(name)];
    if (first == 0) return nullptr;
    if (__builtin_expect(first != kFar, 1)) return entries_ + first - 1;
    return FindFar(name);
  }
  [[nodiscard]] const HeaderEntry* Find(std::string_view name) const;
  // How many fields have that name.
  [[nodiscard]] size_t Count(Name name) const;
  [[nodiscard]] size_t Count(std::string_view name) const;
  // Calls visit(value) for every field of that name, in order.
  template <typename Visit>
  void ForEach(Name name, Visit&& visit) const {
    for (const HeaderEntry* entry = Find(name); entry != nullptr && entry != end(); ++entry) {
      if (entry->id == name) visit(entry->value_view());
    }
  }

  // Adds a field behind the others.
  bool Add(Name name, std::string_view value);
  bool Add(std::string_view name, std::string_view value);
  // Makes this the only field of that name. It takes the place of the first one.
  bool Set(Name name, std::string_view value);
  bool Set(std::string_view name, std::string_view value);
  // The same with a number in decimal digits, which need no check.
  void SetNumber(Name name, uint64_t number);
  // Adds ", value" to the last field of that name, or adds the field. Not for Set-Cookie.
  bool Append(Name name, std::string_view value);
  bool Append(std::string_view name, std::string_view value);
  // The same for static text; nothing is copied and nothing can fail.
  void AddLiteral(Name name, Literal value);
  void SetLiteral(Name name, Literal value);
  void AddLiteral(Literal name, Literal value);
  void SetLiteral(Literal name, Literal value);

  // Removes all fields of that name; returns how many there were. Keeps the order of the rest.
  size_t Remove(Name name);
  size_t Remove(std::string_view name);
  // Removes the fields for which drop(entry) is true, in one pass.
  template <typename Drop>
  size_t RemoveIf(Drop&& drop) {
    size_t kept = 0;
    while (kept < size_ && !drop(static_cast<const HeaderEntry&>(entries_[kept]))) ++kept;
    if (kept == size_) return 0;
    for (size_t i = kept + 1; i < size_; ++i) {
      if (!drop(static_cast<const HeaderEntry&>(entries_[i]))) entries_[kept++] = entries_[i];
    }
    const size_t removed = size_ - kept;
    size_ = static_cast<uint32_t>(kept);
    Reindex();
    return removed;
  }
  // Replaces everything by a copy of the other map's fields, in this map's arena.
  void CopyFrom(const HeaderMap& other);

  // For codecs alone: adds a field whose name and value already lie in this map's arena (or are
  // static) and were checked by the codec.
  void Adopt(const HeaderEntry& entry) {
    if (__builtin_expect(size_ == capacity_, 0)) Reserve(size_ + 1);
    entries_[size_] = entry;
    NoteFirst(entry.id, size_);
    ++size_;
  }
  // For codecs alone: adopts entries whose texts lie in a block at `from`, of which the arena now
  // holds a copy at `to`.
  void AdoptBlock(const HeaderEntry* entries, size_t count, const char* from, const char* to) {
    Reserve(size_ + count);
    HeaderEntry* out = entries_ + size_;
    for (size_t i = 0; i < count; ++i, ++out) {
      *out = entries[i];
      out->name = to + (entries[i].name - from);
      out->value = to + (entries[i].value - from);
      NoteFirst(out->id, size_ + i);
    }
    size_ += static_cast<uint32_t>(count);
  }
  // For text that the gateway itself made of safe characters (ids, addresses), in this map's arena
  // or static: makes it the only field of that name without looking at it again.
  void SetMade(Name name, std::string_view value) {
    if (__builtin_expect(Has(name), 0)) Remove(name);
    const std::string_view text = NameText(name);
    Adopt({text.data(), value.data(), static_cast<uint32_t>(value.size()),
           static_cast<uint16_t>(text.size()), name, 0});
  }
  // Room for that many fields in all.
  void Reserve(size_t count);

 private:
  // first_ holds position + 1; positions that do not fit say kFar and are found by a scan.
  static constexpr uint8_t kFar = 255;
  static constexpr size_t Index(Name name) { return static_cast<size_t>(name); }

  void NoteFirst(Name id, size_t position) {
    uint8_t& first = first_[Index(id)];
    if (first == 0) first = position + 1 < kFar ? static_cast<uint8_t>(position + 1) : kFar;
  }
  [[nodiscard]] const HeaderEntry* FindFar(Name name) const;
  [[nodiscard]] HeaderEntry* FindLast(Name id, std::string_view name);
  void Put(Name id, std::string_view name, std::string_view value);
  // Puts the value into the first field of that name and removes the others; false: there is none.
  bool Replace(Name id, std::string_view name, std::string_view value);
  bool SetChecked(Name id, std::string_view name, std::string_view value);
  bool AppendChecked(Name id, std::string_view name, std::string_view value);
  size_t RemoveUnknown(std::string_view name);
  void Reindex();

  Arena* arena_;
  HeaderEntry* entries_;
  uint32_t size_;
  uint32_t capacity_;
  uint8_t first_[kNameCount];  // first_[0] (unknown names) says only that there is one
};

}  // namespace gatehouse::http
