#include "source/xds/saved_file.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "api/gatehouse/v1/saved_config.pb.h"
#include "source/base/check.h"
#include "source/base/crypto.h"

namespace gatehouse::xds {
namespace {

constexpr std::string_view kConfigMagic = "GHconfig";
constexpr std::string_view kAttemptsMagic = "GHtrying";
constexpr uint32_t kFormat = 1;
constexpr size_t kMagicBytes = 8;
constexpr size_t kHeadBytes = kMagicBytes + 4 + 8;
constexpr size_t kDigestBytes = std::tuple_size_v<Sha256Digest>;

void PutNumber(uint64_t number, size_t bytes, std::string* out) {
  for (size_t i = 0; i < bytes; ++i) out->push_back(static_cast<char>(number >> (8 * i)));
}

uint64_t NumberAt(std::string_view text) {
  uint64_t number = 0;
  for (size_t i = text.size(); i-- > 0;) number = number << 8 | static_cast<uint8_t>(text[i]);
  return number;
}

std::string Wrap(std::string_view magic, const google::protobuf::MessageLite& message) {
  std::string file(magic);
  file.reserve(kHeadBytes + message.ByteSizeLong() + kDigestBytes);
  PutNumber(kFormat, 4, &file);
  PutNumber(message.ByteSizeLong(), 8, &file);
  // Fails over 2 GiB alone, as the size above says to who reads it.
  CHECK(message.AppendToString(&file));
  const Sha256Digest digest = Sha256(file);
  file.append(View(digest));
  return file;
}

struct Unwrapped {
  FileCondition condition = FileCondition::kBroken;
  std::string problem;
  std::string_view payload;
  std::string_view digest;
};

Unwrapped Broken(std::string_view problem) { return {.problem = std::string(problem)}; }

Unwrapped Unwrap(std::string_view magic, std::string_view file, bool may_go_on) {
  if (file.empty()) return Broken("it is empty");
  if (!file.starts_with(magic.substr(0, file.size()))) return Broken("it is something else");
  if (file.size() < kHeadBytes) return Broken("it is cut off");
  const uint64_t format = NumberAt(file.substr(kMagicBytes, 4));
  if (format > kFormat) {
    return {.condition = FileCondition::kNewer,
            .problem = fmt::format("it is of a newer version of the gateway (format {}; this one "
                                   "reads {})",
                                   format, kFormat)};
  }
  if (format == 0) return Broken("its format is unknown");
  const uint64_t size = NumberAt(file.substr(kMagicBytes + 4, 8));
  const size_t rest = file.size() - kHeadBytes;
  if (rest < kDigestBytes || size > rest - kDigestBytes) return Broken("it is cut off");
  if (size != rest - kDigestBytes && !may_go_on) return Broken("it is longer than it should be");
  const std::string_view digest = file.substr(kHeadBytes + size, kDigestBytes);
  const Sha256Digest expected = Sha256(file.substr(0, kHeadBytes + size));
  if (View(expected) != digest) return Broken("its checksum is wrong");
  return {.condition = FileCondition::kWhole,
          .payload = file.substr(kHeadBytes, size),
          .digest = digest};
}

}  // namespace

SavedFile ReadSavedConfig(std::string_view file) {
  SavedFile read;
  const Unwrapped unwrapped = Unwrap(kConfigMagic, file, false);
  read.condition = unwrapped.condition;
  read.problem = unwrapped.problem;
  if (read.condition != FileCondition::kWhole) return read;
  gatehouse::v1::SavedConfig message;
  if (!message.ParseFromArray(unwrapped.payload.data(),
                              static_cast<int>(unwrapped.payload.size()))) {
    read.condition = FileCondition::kBroken;
    read.problem = "it cannot be decoded";
    return read;
  }
  for (gatehouse::v1::SavedConfig::OfType& of_type : *message.mutable_types()) {
    const std::optional<Type> type = TypeOfName(of_type.type());
    if (!type) {
      read.condition = FileCondition::kNewer;
      read.problem = fmt::format(
          "it is of a newer version of the gateway: resources of the type \"{}\" are unknown here",
          of_type.type());
      read.config = {};
      return read;
    }
    if (!of_type.version().empty()) read.config.versions.emplace_back(*type, of_type.version());
    for (gatehouse::v1::SavedConfig::Resource& resource : *of_type.mutable_resources()) {
      read.config.resources.push_back(
          {.type = *type,
           .name = std::move(*resource.mutable_name()),
           .version = std::move(*resource.mutable_version()),
           .bytes = std::make_shared<const std::string>(std::move(*resource.mutable_resource()))});
    }
  }
  read.config.source = message.source();
  read.config.accepted_unix = message.accepted_unix();
  read.digest = HexEncode(unwrapped.digest);
  return read;
}

std::string WriteSavedConfig(const SavedConfig& config, std::string* digest) {
  gatehouse::v1::SavedConfig message;
  message.set_source(config.source);
  message.set_accepted_unix(config.accepted_unix);
  std::array<gatehouse::v1::SavedConfig::OfType*, kTypes> of_types{};
  const auto of_type = [&](Type type) {
    gatehouse::v1::SavedConfig::OfType*& found = of_types[static_cast<size_t>(type)];
    if (found == nullptr) {
      found = message.add_types();
      found->set_type(std::string(TypeName(type)));
    }
    return found;
  };
  for (const auto& [type, version] : config.versions) of_type(type)->set_version(version);
  for (const SavedResource& resource : config.resources) {
    gatehouse::v1::SavedConfig::Resource* saved = of_type(resource.type)->add_resources();
    saved->set_name(resource.name);
    saved->set_version(resource.version);
    if (resource.bytes != nullptr) saved->set_resource(*resource.bytes);
  }
  std::string file = Wrap(kConfigMagic, message);
  *digest = HexEncode(std::string_view(file).substr(file.size() - kDigestBytes));
  return file;
}

std::optional<std::vector<LoadAttempt>> ReadLoadAttempts(std::string_view file) {
  const Unwrapped unwrapped = Unwrap(kAttemptsMagic, file, true);
  gatehouse::v1::LoadAttempts message;
  if (unwrapped.condition != FileCondition::kWhole ||
      !message.ParseFromArray(unwrapped.payload.data(),
                              static_cast<int>(unwrapped.payload.size()))) {
    return std::nullopt;
  }
  std::vector<LoadAttempt> attempts;
  for (const gatehouse::v1::LoadAttempts::Attempt& attempt : message.attempts()) {
    const std::optional<Type> type = TypeOfName(attempt.type());
    if (!type && !attempt.type().empty()) continue;
    attempts.push_back({.type = type,
                        .name = attempt.name(),
                        .digest = attempt.digest(),
                        .crashes = std::clamp(attempt.crashes(), 0, 1000),
                        .trying = attempt.trying()});
  }
  return attempts;
}

std::string WriteLoadAttempts(const std::vector<LoadAttempt>& attempts) {
  gatehouse::v1::LoadAttempts message;
  for (const LoadAttempt& attempt : attempts) {
    gatehouse::v1::LoadAttempts::Attempt* saved = message.add_attempts();
    if (attempt.type) saved->set_type(std::string(TypeName(*attempt.type)));
    saved->set_name(attempt.name);
    saved->set_digest(attempt.digest);
    saved->set_crashes(attempt.crashes);
    saved->set_trying(attempt.trying);
  }
  return Wrap(kAttemptsMagic, message);
}

}  // namespace gatehouse::xds
