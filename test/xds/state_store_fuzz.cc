// What a state folder holds may be anything: no crash, and what is taken for whole says the same
// when it is written and read again.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "source/base/check.h"
#include "source/base/crypto.h"
#include "source/xds/saved_file.h"

namespace gatehouse::xds {
namespace {

constexpr size_t kHeadBytes = 20;

void CheckSame(const SavedConfig& config) {
  std::string digest;
  const SavedFile again = ReadSavedConfig(WriteSavedConfig(config, &digest));
  CHECK(again.condition == FileCondition::kWhole && again.digest == digest);
  CHECK(again.config.source == config.source);
  CHECK(again.config.accepted_unix == config.accepted_unix);
  CHECK(again.config.resources.size() == config.resources.size());
  // By type, else in their order.
  for (const Type type : kAllTypes) {
    auto it = again.config.resources.begin();
    for (const SavedResource& resource : config.resources) {
      if (resource.type != type) continue;
      while (it->type != type) ++it;
      CHECK(it->name == resource.name && it->version == resource.version);
      CHECK(*it->bytes == *resource.bytes);
      ++it;
    }
  }
}

void ReadBoth(std::string_view file) {
  const SavedFile read = ReadSavedConfig(file);
  CHECK(read.problem.empty() == (read.condition == FileCondition::kWhole));
  if (read.condition == FileCondition::kWhole) CheckSame(read.config);
  if (const std::optional<std::vector<LoadAttempt>> attempts = ReadLoadAttempts(file)) {
    const auto again = ReadLoadAttempts(WriteLoadAttempts(*attempts) + "what was there before");
    CHECK(again && again->size() == attempts->size());
  }
}

// A fuzzer finds no SHA-256: the input as a payload that is whole.
std::string Whole(std::string_view magic, std::string_view payload) {
  std::string file = std::string(magic) + std::string("\1\0\0\0", 4);
  for (int i = 0; i < 8; ++i)
    file.push_back(static_cast<char>(uint64_t{payload.size()} >> (8 * i)));
  CHECK(file.size() == kHeadBytes);
  file.append(payload);
  file.append(View(Sha256(file)));
  return file;
}

}  // namespace
}  // namespace gatehouse::xds

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace gatehouse::xds;  // NOLINT
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  ReadBoth(input);
  ReadBoth(Whole("GHconfig", input));
  ReadBoth(Whole("GHtrying", input));
  return 0;
}
