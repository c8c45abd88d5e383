#include "source/filters/rate_limit/limit_key.h"

#include <cstring>

#include "api/gatehouse/v1/rate_limit.pb.h"
#include "fmt/format.h"
#include "source/filters/build_context.h"
#include "source/http/header_map.h"

namespace gatehouse::filters {

namespace {

constexpr int kMaxDepth = 4;
constexpr size_t kStackBytes = 256;

}  // namespace

// The bytes of a key: each piece with its length in front, so that no two keys read the same.
// Small keys need no memory.
class LimitKey::Writer {
 public:
  explicit Writer(Arena& arena) : arena_(arena) {}

  void Put(const void* data, size_t size) {
    const auto length = static_cast<uint32_t>(size);
    Reserve(size + sizeof(length));
    std::memcpy(at_ + size_, &length, sizeof(length));
    std::memcpy(at_ + size_ + sizeof(length), data, size);
    size_ += sizeof(length) + size;
  }
  void Clear() { size_ = 0; }
  [[nodiscard]] std::string_view view() const { return {at_, size_}; }

 private:
  void Reserve(size_t more) {
    if (size_ + more <= capacity_) return;
    capacity_ = 2 * (size_ + more);
    char* const larger = arena_.AllocateChars(capacity_);
    std::memcpy(larger, at_, size_);
    at_ = larger;
  }

  Arena& arena_;
  char stack_[kStackBytes];
  char* at_ = stack_;
  size_t capacity_ = kStackBytes;
  size_t size_ = 0;
};

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

absl::StatusOr<LimitKey::Part> LimitKey::BuildPart(const gatehouse::v1::RateLimitKey& config,
                                                   const std::string& field, int depth,
                                                   BuildContext& build) {
  using Key = gatehouse::v1::RateLimitKey;
  Part part;
  switch (config.part_case()) {
    case Key::kClientIp:
      part.kind = Part::Kind::kClientIp;
      if (config.client_ip().ipv4_prefix() != 0) part.v4_prefix = config.client_ip().ipv4_prefix();
      if (config.client_ip().ipv6_prefix() != 0) part.v6_prefix = config.client_ip().ipv6_prefix();
      if (part.v4_prefix > 32)
        return build.Error(field + ".client_ip.ipv4_prefix", "is at most 32");
      if (part.v6_prefix > 128) {
        return build.Error(field + ".client_ip.ipv6_prefix", "is at most 128");
      }
      return part;
    case Key::kHeader:
      part.kind = Part::Kind::kHeader;
      part.header = config.header();
      part.header_id = http::FindName(part.header);
      if (!http::IsToken(part.header)) {
        return build.Error(field + ".header",
                           fmt::format("\"{}\" is not a header name", part.header));
      }
      return part;
    case Key::kAll:
      if (config.all().parts().empty()) return build.Error(field + ".all", "needs a part");
      if (depth == kMaxDepth) return build.Error(field + ".all", "is nested too deeply");
      for (int i = 0; i < config.all().parts_size(); ++i) {
        absl::StatusOr<Part> inner = BuildPart(
            config.all().parts(i), fmt::format("{}.all.parts[{}]", field, i), depth + 1, build);
        if (!inner.ok()) return inner.status();
        part.all.push_back(*std::move(inner));
      }
      return part;
    default:
      break;
  }
  return build.Error(field, "needs client_ip, header or all");
}

std::optional<uint64_t> LimitKey::Hash(FilterContext& context, const KeyHash& hash) const {
  if (parts_.empty()) return hash("everybody");
  Writer writer(context.arena());
  for (uint32_t i = 0; i < parts_.size(); ++i) {
    writer.Clear();
    writer.Put(&i, sizeof(i));
    if (Write(parts_[i], context, writer)) return hash(writer.view());
  }
  return std::nullopt;
}

std::optional<std::string> LimitKey::Describe(FilterContext& context) const {
  if (parts_.empty()) return "everybody";
  for (const Part& part : parts_) {
    std::string text;
    if (Append(part, context, &text)) return text;
  }
  return std::nullopt;
}

// What Write() takes.
bool LimitKey::Append(const Part& part, FilterContext& context, std::string* text) {
  switch (part.kind) {
    case Part::Kind::kClientIp: {
      const net::IpAddress& ip = context.facts().client_ip;
      const uint32_t bits = ip.is_v4() ? part.v4_prefix : part.v6_prefix;
      *text += fmt::format("client_ip {}", ip.Masked(part.v4_prefix, part.v6_prefix).ToString());
      if (bits != (ip.is_v4() ? 32u : 128u)) *text += fmt::format("/{}", bits);
      return true;
    }
    case Part::Kind::kHeader: {
      const auto value = context.request().Get(part.header);
      if (!value || value->empty()) return false;
      *text += fmt::format("header {}={}", part.header, *value);
      return true;
    }
    case Part::Kind::kAll:
      for (const Part& inner : part.all) {
        if (!text->empty()) *text += " and ";
        if (!Append(inner, context, text)) return false;
      }
      return true;
  }
  return false;
}

bool LimitKey::Write(const Part& part, FilterContext& context, Writer& writer) {
  switch (part.kind) {
    case Part::Kind::kClientIp: {
      const net::IpAddress network =
          context.facts().client_ip.Masked(part.v4_prefix, part.v6_prefix);
      writer.Put(network.bytes, sizeof(network.bytes));
      return true;
    }
    case Part::Kind::kHeader: {
      const http::HeaderMap& headers = context.request();
      const auto value = part.header_id != http::Name::kUnknown ? headers.Get(part.header_id)
                                                                : headers.Get(part.header);
      if (!value || value->empty()) return false;
      writer.Put(value->data(), value->size());
      return true;
    }
    case Part::Kind::kAll:
      for (const Part& inner : part.all) {
        if (!Write(inner, context, writer)) return false;
      }
      return true;
  }
  return false;
}

}  // namespace gatehouse::filters
