#include "source/http/header_map.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "source/http/chars.h"

namespace gatehouse::http {
namespace {

bool Matches(const HeaderEntry& entry, Name id, std::string_view name) {
  if (entry.id != id) return false;
  return id != Name::kUnknown || EqualsIgnoreCase(entry.name_view(), name);
}

bool IsName(std::string_view name) {
  return name.size() <= std::numeric_limits<uint16_t>::max() && IsToken(name);
}

bool IsValue(std::string_view value) {
  return value.size() <= std::numeric_limits<uint32_t>::max() && IsFieldValue(value);
}

}  // namespace

bool IsToken(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), IsTokenChar);
}

bool IsFieldValue(std::string_view text) {
#if defined(__SSE2__)
  if (text.size() <= 16) {
    const unsigned wanted = (1u << text.size()) - 1;
    return (chars_internal::Control::Mask(LoadPadded(text.data(), text.size())) & wanted) == 0;
  }
#endif
  const char* end = text.data() + text.size();
  return FindControl(text.data(), end, text.data()) == end;
}

std::string_view TrimSpace(std::string_view text) {
  while (!text.empty() && IsSpace(text.front())) text.remove_prefix(1);
  while (!text.empty() && IsSpace(text.back())) text.remove_suffix(1);
  return text;
}

void HeaderMap::Reserve(size_t count) {
  if (count <= capacity_) return;
  // The parser asks for what it needs; who adds one by one gets doubled room.
  const size_t capacity = capacity_ == 0 ? std::max(count, kInitialCapacity)
                                         : std::max<size_t>(count, size_t{capacity_} * 2);
  auto* entries = arena_->NewArray<HeaderEntry>(capacity);
  if (size_ > 0) std::memcpy(entries, entries_, size_ * sizeof(HeaderEntry));
  entries_ = entries;
  capacity_ = static_cast<uint32_t>(capacity);
}

const HeaderEntry* HeaderMap::Find(std::string_view name) const {
  const Name id = FindName(name);
  if (id != Name::kUnknown) return Find(id);
  if (!Has(Name::kUnknown)) return nullptr;
  for (const HeaderEntry& entry : *this) {
    if (Matches(entry, id, name)) return &entry;
  }
  return nullptr;
}

const HeaderEntry* HeaderMap::FindFar(Name name) const {
  for (size_t i = kFar - 1; i < size_; ++i) {
    if (entries_[i].id == name) return &entries_[i];
  }
  return nullptr;
}

HeaderEntry* HeaderMap::FindLast(Name id, std::string_view name) {
  if (!Has(id)) return nullptr;
  for (size_t i = size_; i > 0; --i) {
    if (Matches(entries_[i - 1], id, name)) return &entries_[i - 1];
  }
  return nullptr;
}

size_t HeaderMap::Count(Name name) const {
  size_t count = 0;
  ForEach(name, [&count](std::string_view) { ++count; });
  return count;
}

size_t HeaderMap::Count(std::string_view name) const {
  const Name id = FindName(name);
  if (id != Name::kUnknown) return Count(id);
  return static_cast<size_t>(std::count_if(
      begin(), end(), [id, name](const HeaderEntry& entry) { return Matches(entry, id, name); }));
}

void HeaderMap::Put(Name id, std::string_view name, std::string_view value) {
  Adopt({.name = name.data(),
         .value = value.data(),
         .value_len = static_cast<uint32_t>(value.size()),
         .name_len = static_cast<uint16_t>(name.size()),
         .id = id,
         .flags = 0});
}

bool HeaderMap::Replace(Name id, std::string_view name, std::string_view value) {
  auto* first = const_cast<HeaderEntry*>(id != Name::kUnknown ? Find(id) : Find(name));
  if (first == nullptr) return false;
  first->value = value.data();
  first->value_len = static_cast<uint32_t>(value.size());
  first->flags = 0;
  RemoveIf([first, id, name](const HeaderEntry& entry) {
    return &entry > first && Matches(entry, id, name);
  });
  return true;
}

bool HeaderMap::Add(Name name, std::string_view value) {
  DCHECK(name != Name::kUnknown);
  value = TrimSpace(value);
  if (!IsValue(value)) return false;
  Put(name, NameText(name), arena_->Copy(value));
  return true;
}

bool HeaderMap::Add(std::string_view name, std::string_view value) {
  const Name id = FindName(name);
  value = TrimSpace(value);
  if ((id == Name::kUnknown && !IsName(name)) || !IsValue(value)) return false;
  const std::string_view kept_name = arena_->Copy(name);
  Put(id, kept_name, arena_->Copy(value));
  return true;
}

bool HeaderMap::SetChecked(Name id, std::string_view name, std::string_view value) {
  value = TrimSpace(value);
  if (!IsValue(value)) {
    // Whoever sets a value does not want the old one, which may be what a client claims to be.
    if (id != Name::kUnknown) {
      Remove(id);
    } else {
      RemoveUnknown(name);
    }
    return false;
  }
  const std::string_view kept = arena_->Copy(value);
  if (Replace(id, name, kept)) return true;
  Put(id, id != Name::kUnknown ? NameText(id) : arena_->Copy(name), kept);
  return true;
}

bool HeaderMap::Set(Name name, std::string_view value) {
  DCHECK(name != Name::kUnknown);
  return SetChecked(name, NameText(name), value);
}

bool HeaderMap::Set(std::string_view name, std::string_view value) {
  const Name id = FindName(name);
  if (id == Name::kUnknown && !IsName(name)) return false;
  return SetChecked(id, name, value);
}

void HeaderMap::SetNumber(Name name, uint64_t number) {
  DCHECK(name != Name::kUnknown);
  constexpr size_t kDigits = std::numeric_limits<uint64_t>::digits10 + 1;
  char* const text = arena_->AllocateChars(kDigits);
  const char* const end = std::to_chars(text, text + kDigits, number).ptr;
  const std::string_view value = {text, static_cast<size_t>(end - text)};
  if (!Replace(name, NameText(name), value)) Put(name, NameText(name), value);
}

bool HeaderMap::AppendChecked(Name id, std::string_view name, std::string_view value) {
  value = TrimSpace(value);
  if (!IsValue(value)) return false;
  HeaderEntry* last = FindLast(id, name);
  if (last == nullptr || last->value_len == 0) {
    const std::string_view kept = arena_->Copy(value);
    if (last == nullptr) {
      Put(id, id != Name::kUnknown ? NameText(id) : arena_->Copy(name), kept);
    } else {
      last->value = kept.data();
      last->value_len = static_cast<uint32_t>(kept.size());
    }
    return true;
  }
  constexpr std::string_view kJoint = ", ";
  const size_t size = last->value_len + kJoint.size() + value.size();
  if (size > std::numeric_limits<uint32_t>::max()) return false;
  char* joined = arena_->AllocateChars(size);
  std::memcpy(joined, last->value, last->value_len);
  std::memcpy(joined + last->value_len, kJoint.data(), kJoint.size());
  if (!value.empty()) {
    std::memcpy(joined + last->value_len + kJoint.size(), value.data(), value.size());
  }
  last->value = joined;
  last->value_len = static_cast<uint32_t>(size);
  return true;
}

bool HeaderMap::Append(Name name, std::string_view value) {
  DCHECK(name != Name::kUnknown);
  return AppendChecked(name, NameText(name), value);
}

bool HeaderMap::Append(std::string_view name, std::string_view value) {
  const Name id = FindName(name);
  if (id == Name::kUnknown && !IsName(name)) return false;
  return AppendChecked(id, name, value);
}

void HeaderMap::AddLiteral(Name name, Literal value) {
  DCHECK(name != Name::kUnknown);
  Put(name, NameText(name), value.text());
}

void HeaderMap::SetLiteral(Name name, Literal value) {
  if (!Replace(name, NameText(name), value.text())) AddLiteral(name, value);
}

void HeaderMap::AddLiteral(Literal name, Literal value) {
  DCHECK(IsToken(name.text()));
  Put(FindName(name.text()), name.text(), value.text());
}

void HeaderMap::SetLiteral(Literal name, Literal value) {
  if (!Replace(FindName(name.text()), name.text(), value.text())) AddLiteral(name, value);
}

size_t HeaderMap::Remove(Name name) {
  if (!Has(name)) return 0;
  return RemoveIf([name](const HeaderEntry& entry) { return entry.id == name; });
}

size_t HeaderMap::Remove(std::string_view name) {
  const Name id = FindName(name);
  return id != Name::kUnknown ? Remove(id) : RemoveUnknown(name);
}

size_t HeaderMap::RemoveUnknown(std::string_view name) {
  if (!Has(Name::kUnknown)) return 0;
  return RemoveIf(
      [name](const HeaderEntry& entry) { return Matches(entry, Name::kUnknown, name); });
}

void HeaderMap::CopyFrom(const HeaderMap& other) {
  size_ = 0;
  Reserve(other.size());
  for (const HeaderEntry& entry : other) {
    HeaderEntry copy = entry;
    copy.name = arena_->Copy(entry.name_view()).data();
    copy.value = arena_->Copy(entry.value_view()).data();
    entries_[size_++] = copy;
  }
  Reindex();
}

void HeaderMap::Reindex() {
  std::memset(first_, 0, sizeof(first_));
  for (size_t i = 0; i < size_; ++i) NoteFirst(entries_[i].id, i);
}

}  // namespace gatehouse::http
