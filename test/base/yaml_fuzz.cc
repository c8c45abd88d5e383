// Any bytes are a tree or an error, for YAML and for JSON; a tree that is written is read again as
// the same tree.
#include <cstdint>
#include <string>

#include "source/base/check.h"
#include "source/base/json.h"
#include "source/base/yaml.h"

namespace {

using gatehouse::Document;
using gatehouse::DocumentLimits;
using gatehouse::ParsedDocument;

void CheckRoundTrip(const ParsedDocument& parsed, const DocumentLimits& limits) {
  CHECK((parsed.document == nullptr) <= !parsed.errors.empty());
  if (!parsed.ok()) return;
  const std::string json = gatehouse::WriteJson(parsed.document->root());
  const ParsedDocument again =
      gatehouse::ParseYaml(gatehouse::WriteYaml(parsed.document->root()), limits);
  CHECK(again.ok());
  CHECK(gatehouse::WriteJson(again.document->root()) == json);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  DocumentLimits limits;
  limits.max_depth = 20;
  limits.max_alias_nodes = 5000;
  CheckRoundTrip(gatehouse::ParseYaml(text, limits), limits);
  const ParsedDocument json = gatehouse::ParseJson(text, limits);
  CheckRoundTrip(json, limits);
  if (json.ok()) {
    const std::string written = gatehouse::WriteJson(json.document->root());
    const ParsedDocument again = gatehouse::ParseJson(written, limits);
    CHECK(again.ok());
    CHECK(gatehouse::WriteJson(again.document->root()) == written);
  }
  return 0;
}
