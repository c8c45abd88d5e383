#include "source/filters/rate_limit/limit_key.h"

#include <algorithm>
#include <array>

#include "api/gatehouse/v1/rate_limit.pb.h"
#include "fmt/format.h"
#include "source/base/printable.h"
#include "source/filters/build_context.h"
#include "source/filters/request_values.h"
#include "source/http/header_map.h"

namespace gatehouse::filters {

namespace {

using Key = gatehouse::v1::RateLimitKey;

constexpr int kMaxDepth = 4;
constexpr size_t kMaxLiteral = 256;

std::string Lower(std::string text) {
  std::ranges::transform(text, text.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return text;
}

// The field of a part that is a name or a text, and what may stand there. Null: another part.
struct TextField {
  const char* field;
  const std::string* text;
  const char* wrong;  // null: any text will do
};

std::optional<TextField> TextFieldOf(const Key& config) {
  switch (config.part_case()) {
    case Key::kHeader:
      return TextField{"header", &config.header(), "\"{}\" is not a header name"};
    case Key::kCookie:
      return TextField{"cookie", &config.cookie(), "\"{}\" is not a cookie's name"};
    case Key::kQuery:
      return TextField{"query", &config.query(), nullptr};
    case Key::kClaim:
      return TextField{"claim", &config.claim(), nullptr};
    case Key::kLiteral:
      return TextField{"literal", &config.literal(), nullptr};
    default:
      return std::nullopt;
  }
}

}  // namespace

void LimitKey::Bytes::Grow(size_t more) {
  capacity_ = 2 * (size_ + more);
  char* const larger = arena_.AllocateChars(capacity_);
  std::memcpy(larger, at_, size_);
  at_ = larger;
}

absl::StatusOr<LimitKey> LimitKey::Build(const Config& config, std::string_view field,
                                         BuildContext& build) {
  LimitKey key;
  absl::Status wrong;
  for (int i = 0; i < config.size(); ++i) {
    absl::StatusOr<Part> part = BuildPart(config[i], fmt::format("{}[{}]", field, i), 0, build);
    if (part.ok()) {
      key.parts_.push_back(*std::move(part));
    } else {
      wrong.Update(part.status());
    }
  }
  if (!wrong.ok()) return wrong;
  return key;
}

absl::StatusOr<LimitKey::Part> LimitKey::BuildPart(const Key& config, const std::string& field,
                                                   int depth, BuildContext& build) {
  static constexpr std::array<std::pair<Key::PartCase, Kind>, 10> kKinds = {
      {{Key::kClientIp, Kind::kClientIp},
       {Key::kHeader, Kind::kHeader},
       {Key::kQuery, Kind::kQuery},
       {Key::kCookie, Kind::kCookie},
       {Key::kClaim, Kind::kClaim},
       {Key::kConsumer, Kind::kConsumer},
       {Key::kPlan, Kind::kPlan},
       {Key::kRoute, Kind::kRoute},
       {Key::kMethod, Kind::kMethod},
       {Key::kLiteral, Kind::kLiteral}}};
  if (config.has_all()) return BuildAll(config, field, depth, build);
  const auto kind =
      std::ranges::find(kKinds, config.part_case(), &decltype(kKinds)::value_type::first);
  if (kind == kKinds.end()) {
    return build.Error(field,
                       "needs a part: client_ip, header, query, cookie, claim, consumer, plan, "
                       "route, method, literal, or all for several");
  }
  Part part;
  part.kind = kind->second;
  if (part.kind == Kind::kClientIp) {
    const uint32_t v4 = config.client_ip().ipv4_prefix();
    const uint32_t v6 = config.client_ip().ipv6_prefix();
    if (v4 > 32) return build.Error(field + ".client_ip.ipv4_prefix", "is at most 32");
    if (v6 > 128) return build.Error(field + ".client_ip.ipv6_prefix", "is at most 128");
    if (v4 != 0) part.v4_prefix = static_cast<uint8_t>(v4);
    if (v6 != 0) part.v6_prefix = static_cast<uint8_t>(v6);
  }
  if (const std::optional<TextField> text = TextFieldOf(config)) {
    const std::string inner = fmt::format("{}.{}", field, text->field);
    if (text->wrong != nullptr && !http::IsToken(*text->text)) {
      return build.Error(inner, fmt::format(fmt::runtime(text->wrong), *text->text));
    }
    if (text->text->empty()) return build.Error(inner, "must not be empty");
    if (text->text->size() > kMaxLiteral) {
      return build.Error(inner, fmt::format("has more than {} bytes", kMaxLiteral));
    }
    part.name = part.kind == Kind::kHeader ? Lower(*text->text) : *text->text;
    if (part.kind == Kind::kHeader) part.header_id = http::FindName(part.name);
  }
  part.bytes = static_cast<char>(part.kind);
  if (!part.name.empty()) {
    part.bytes += static_cast<char>(part.name.size() & 0xff);
    part.bytes += static_cast<char>(part.name.size() >> 8);
    part.bytes += part.name;
  }
  return part;
}

absl::StatusOr<LimitKey::Part> LimitKey::BuildAll(const Key& config, const std::string& field,
                                                  int depth, BuildContext& build) {
  if (config.all().parts().empty()) return build.Error(field + ".all", "needs a part");
  if (depth == kMaxDepth) return build.Error(field + ".all", "is nested too deeply");
  Part part;
  absl::Status wrong;
  for (int i = 0; i < config.all().parts_size(); ++i) {
    absl::StatusOr<Part> inner = BuildPart(
        config.all().parts(i), fmt::format("{}.all.parts[{}]", field, i), depth + 1, build);
    if (inner.ok()) {
      part.all.push_back(*std::move(inner));
    } else {
      wrong.Update(inner.status());
    }
  }
  if (!wrong.ok()) return wrong;
  return part;
}

bool LimitKey::Write(FilterContext& context, Bytes& bytes) const {
  bytes.Clear();
  if (parts_.empty()) return true;
  for (const Part& part : parts_) {
    bytes.Clear();
    if (WritePart(part, context, bytes)) return true;
  }
  return false;
}

std::string_view LimitKey::ValueOf(const Part& part, FilterContext& context) {
  switch (part.kind) {
    case Kind::kHeader: {
      const http::HeaderMap& headers = context.request();
      const auto value = part.header_id != http::Name::kUnknown ? headers.Get(part.header_id)
                                                                : headers.Get(part.name);
      return value.value_or(std::string_view());
    }
    case Kind::kQuery:
      return QueryValue(context.request_head().path, part.name, context.arena())
          .value_or(std::string_view());
    case Kind::kCookie:
      return CookieValue(context.request(), part.name).value_or(std::string_view());
    case Kind::kClaim:
      return context.facts().identity.claims.Get(part.name);
    case Kind::kConsumer:
      return context.facts().identity.consumer;
    case Kind::kPlan:
      return context.facts().identity.plan;
    case Kind::kRoute:
      return context.facts().route;
    case Kind::kMethod:
      return context.request_head().method_text;
    case Kind::kLiteral:
      return part.name;
    case Kind::kClientIp:
    case Kind::kAll:
      break;
  }
  return {};
}

bool LimitKey::WritePart(const Part& part, FilterContext& context, Bytes& bytes) {
  if (part.kind == Kind::kClientIp) {
    const net::IpAddress network = context.facts().client_ip.Masked(part.v4_prefix, part.v6_prefix);
    bytes.Put(part.bytes);
    bytes.PutValue({reinterpret_cast<const char*>(network.bytes), sizeof(network.bytes)});
    return true;
  }
  if (part.kind == Kind::kAll) {
    return std::ranges::all_of(part.all,
                               [&](const Part& inner) { return WritePart(inner, context, bytes); });
  }
  const std::string_view value = ValueOf(part, context);
  if (value.empty()) return false;
  bytes.Put(part.bytes);
  if (part.kind == Kind::kLiteral) return true;
  if (part.kind == Kind::kRoute) bytes.PutValue(context.facts().table);
  bytes.PutValue(value);
  return true;
}

// --- For people and for services ---

std::string LimitKey::AddressOf(const Part& part, FilterContext& context) {
  const net::IpAddress& ip = context.facts().client_ip;
  const uint32_t bits = ip.is_v4() ? part.v4_prefix : part.v6_prefix;
  std::string text = ip.Masked(part.v4_prefix, part.v6_prefix).ToString();
  if (bits != (ip.is_v4() ? 32u : 128u)) text += fmt::format("/{}", bits);
  return text;
}

std::string_view LimitKey::LabelOf(const Part& part) {
  switch (part.kind) {
    case Kind::kClientIp:
      return "client_ip";
    case Kind::kHeader:
      return "header";
    case Kind::kQuery:
      return "query";
    case Kind::kCookie:
      return "cookie";
    case Kind::kClaim:
      return "claim";
    case Kind::kConsumer:
      return "consumer";
    case Kind::kPlan:
      return "plan";
    case Kind::kRoute:
      return "route";
    case Kind::kMethod:
      return "method";
    case Kind::kLiteral:
      return "literal";
    case Kind::kAll:
      break;
  }
  return "all";
}

std::optional<std::string> LimitKey::Describe(FilterContext& context) const {
  if (parts_.empty()) return "everybody";
  for (const Part& part : parts_) {
    std::string text;
    if (AppendText(part, context, &text)) return text;
  }
  return std::nullopt;
}

// What Write() takes.
bool LimitKey::AppendText(const Part& part, FilterContext& context, std::string* text) {
  if (part.kind == Kind::kAll) {
    for (const Part& inner : part.all) {
      if (!text->empty()) *text += " and ";
      if (!AppendText(inner, context, text)) return false;
    }
    return true;
  }
  if (part.kind == Kind::kClientIp) {
    *text += "client_ip " + AddressOf(part, context);
    return true;
  }
  const std::string_view value = ValueOf(part, context);
  if (value.empty()) return false;
  *text += LabelOf(part);
  const bool named = !part.name.empty() && part.kind != Kind::kLiteral;
  *text += named ? fmt::format(" {}=", part.name) : " ";
  if (part.kind == Kind::kRoute) *text += fmt::format("{}/", context.facts().table);
  *text += Printable(value);
  return true;
}

size_t LimitKey::Leaves(const Part& part) {
  if (part.kind != Kind::kAll) return 1;
  size_t leaves = 0;
  for (const Part& inner : part.all) leaves += Leaves(inner);
  return leaves;
}

std::span<const LimitKey::Entry> LimitKey::Entries(FilterContext& context) const {
  for (const Part& part : parts_) {
    const size_t most = Leaves(part);
    const std::span<Entry> entries(context.arena().NewArray<Entry>(most), most);
    size_t count = 0;
    if (AppendEntries(part, context, entries, &count)) return entries.first(count);
  }
  return {};
}

bool LimitKey::AppendEntries(const Part& part, FilterContext& context, std::span<Entry> entries,
                             size_t* count) {
  if (part.kind == Kind::kAll) {
    return std::ranges::all_of(
        part.all, [&](const Part& inner) { return AppendEntries(inner, context, entries, count); });
  }
  std::string_view value;
  if (part.kind == Kind::kClientIp) {
    char text[64];
    const net::IpAddress& ip = context.facts().client_ip;
    char* end = text + ip.Masked(part.v4_prefix, part.v6_prefix).Format(text);
    const uint32_t bits = ip.is_v4() ? part.v4_prefix : part.v6_prefix;
    if (bits != (ip.is_v4() ? 32u : 128u)) end = fmt::format_to(end, "/{}", bits);
    value = context.arena().Copy({text, static_cast<size_t>(end - text)});
  } else {
    value = ValueOf(part, context);
    if (value.empty()) return false;
    if (part.kind == Kind::kRoute) {
      value = context.arena().Concat(context.arena().Concat(context.facts().table, "/"), value);
    }
  }
  const bool named = !part.name.empty() && part.kind != Kind::kLiteral;
  new (&entries[(*count)++]) Entry(named ? std::string_view(part.name) : LabelOf(part), value);
  return true;
}

absl::StatusOr<LimitPlanName> LimitPlanName::Build(const Key& config, std::string_view field,
                                                   BuildContext& build) {
  switch (config.part_case()) {
    case Key::kHeader:
    case Key::kQuery:
    case Key::kCookie:
    case Key::kClaim:
    case Key::kConsumer:
    case Key::kPlan:
      break;
    default:
      return build.Error(field,
                         "a plan is named by header, query, cookie, claim, consumer or plan");
  }
  absl::StatusOr<LimitKey::Part> part = LimitKey::BuildPart(config, std::string(field), 0, build);
  if (!part.ok()) return part.status();
  LimitPlanName name;
  name.part_ = *std::move(part);
  return name;
}

}  // namespace gatehouse::filters
