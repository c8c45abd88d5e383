#include "source/filters/headers/headers.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "api/gatehouse/filters/v1/headers.pb.h"
#include "fmt/format.h"
#include "source/base/status.h"
#include "source/filters/build_context.h"
#include "source/http/names.h"

namespace gatehouse::filters {

namespace {

// Framing and routing of messages are the gateway's own.
constexpr http::NameSet kOwnNames({http::Name::kContentLength, http::Name::kExpect,
                                   http::Name::kTrailer});

// Why the field must not be touched; empty when it may.
std::string Refusal(std::string_view name) {
  if (name.starts_with(':')) return fmt::format("\"{}\" is a pseudo-header", name);
  if (!http::IsToken(name)) return fmt::format("\"{}\" is not a header name", name);
  const http::Name id = http::FindName(name);
  if (id == http::Name::kHost) return "Host is changed by the route's rewrite_host";
  if (http::kHopByHopNames.Has(id) || kOwnNames.Has(id)) {
    return fmt::format("{} belongs to the connection; the gateway writes its own", name);
  }
  return {};
}

std::string Lower(std::string_view text) {
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
  });
  return lower;
}

}  // namespace

// Reads one HeaderChanges message.
class HeaderChanges::Reader {
 public:
  using Map = google::protobuf::Map<std::string, std::string>;

  Reader(std::string_view field, Substitution::Scope scope, BuildContext& build)
      : field_(field), scope_(scope), build_(build) {}

  void Remove(const google::protobuf::RepeatedPtrField<std::string>& names) {
    for (int i = 0; i < names.size(); ++i) {
      if (!Check(fmt::format("{}.remove[{}]", field_, i), names[i])) continue;
      changes_.push_back({Action::kRemove, names[i], {}, {}});
    }
  }
  void Rename(const Map& names) {
    for (const auto& [from, to] : Sorted("rename", names)) {
      const std::string field = FieldOf("rename", from);
      if (!Check(field, from) || !Check(field, to)) continue;
      if (http::EqualsIgnoreCase(from, to)) {
        Fail(field, "the old and the new name are the same");
        continue;
      }
      changes_.push_back({Action::kRename, from, to, {}});
    }
  }
  void Values(std::string_view what, Action action, const Map& values) {
    for (const auto& [name, text] : Sorted(what, values)) {
      const std::string field = FieldOf(what, name);
      if (!Check(field, name)) continue;
      absl::StatusOr<Substitution> value = Substitution::Compile(text, scope_);
      if (!value.ok()) {
        Fail(field, MessageOf(value.status()));
      } else if (value->is_literal() && http::TrimSpace(value->literal()).empty()) {
        Fail(field, "the value is empty; use remove to take a header away");
      } else if (value->is_literal() && !http::IsFieldValue(value->literal())) {
        Fail(field, "the value holds a control character");
      } else if (action == Action::kAppend && http::EqualsIgnoreCase(name, "set-cookie")) {
        Fail(field, "Set-Cookie cannot be joined with a comma");
      } else {
        changes_.push_back({action, name, {}, *std::move(value)});
      }
    }
  }

  [[nodiscard]] absl::StatusOr<std::vector<Change>> Done() {
    if (!status_.ok()) return status_;
    return std::move(changes_);
  }

 private:
  [[nodiscard]] std::string FieldOf(std::string_view what, std::string_view name) const {
    return fmt::format("{}.{}[\"{}\"]", field_, what, name);
  }
  void Fail(std::string_view field, std::string_view message) {
    status_ = build_.Error(field, message);
  }
  bool Check(std::string_view field, std::string_view name) {
    const std::string refusal = Refusal(name);
    if (!refusal.empty()) Fail(field, refusal);
    return refusal.empty();
  }
  // A map of the wire has no order of its own: by name, so that every build does the same.
  std::map<std::string, std::string> Sorted(std::string_view what, const Map& map) {
    std::map<std::string, std::string> sorted(map.begin(), map.end());
    std::set<std::string> names;
    for (const auto& [name, value] : sorted) {
      if (!names.insert(Lower(name)).second) {
        Fail(FieldOf(what, name), "the same header twice, in another spelling");
      }
    }
    return sorted;
  }

  std::string field_;
  Substitution::Scope scope_;
  BuildContext& build_;
  std::vector<Change> changes_;
  absl::Status status_;
};

absl::StatusOr<HeaderChanges> HeaderChanges::Build(const v1::HeaderChanges& config,
                                                   std::string_view field,
                                                   Substitution::Scope scope, BuildContext& build) {
  Reader reader(field, scope, build);
  reader.Remove(config.remove());
  reader.Rename(config.rename());
  reader.Values("set", Action::kSet, config.set());
  reader.Values("add", Action::kAdd, config.add());
  reader.Values("append", Action::kAppend, config.append());
  absl::StatusOr<std::vector<Change>> read = reader.Done();
  if (!read.ok()) return read.status();
  HeaderChanges changes;
  changes.changes_ = *std::move(read);
  return changes;
}

// A value that turns out empty, or that cannot be a header's, is not written; what it would have
// replaced is gone all the same, so that a client cannot put its own in that place.
void HeaderChanges::Apply(http::HeaderMap& headers, FilterContext& context) const {
  for (const Change& change : changes_) {
    switch (change.action) {
      case Action::kRemove:
        headers.Remove(change.name);
        break;
      case Action::kRename:
        Rename(headers, change);
        break;
      case Action::kSet: {
        const std::string_view value = change.value.Evaluate(context);
        if (value.empty()) {
          headers.Remove(change.name);
        } else {
          headers.Set(change.name, value);
        }
        break;
      }
      case Action::kAdd:
      case Action::kAppend: {
        if (change.action == Action::kAdd && headers.Has(change.name)) break;
        const std::string_view value = change.value.Evaluate(context);
        if (!value.empty()) headers.Append(change.name, value);
        break;
      }
    }
  }
}

void HeaderChanges::Rename(http::HeaderMap& headers, const Change& change) {
  const size_t count = headers.Count(change.name);
  if (count == 0) return;
  auto* values = headers.arena().NewArray<std::string_view>(count);
  size_t found = 0;
  for (const http::HeaderEntry& entry : headers) {
    if (http::EqualsIgnoreCase(entry.name_view(), change.name))
      values[found++] = entry.value_view();
  }
  headers.Remove(change.name);
  headers.Remove(change.to);
  for (size_t i = 0; i < found; ++i) headers.Add(change.to, values[i]);
}

absl::StatusOr<Headers> Headers::Build(const v1::Headers& config, BuildContext& build) {
  absl::StatusOr<HeaderChanges> request =
      HeaderChanges::Build(config.request(), "request", Substitution::kRequest, build);
  absl::StatusOr<HeaderChanges> response =
      HeaderChanges::Build(config.response(), "response", Substitution::kResponse, build);
  if (!request.ok()) return request.status();
  if (!response.ok()) return response.status();
  return Headers(*std::move(request), *std::move(response));
}

}  // namespace gatehouse::filters
