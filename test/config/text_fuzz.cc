// Any bytes are a message or errors, and what was read is written and read again as the same
// message.
#include <cstdint>
#include <string>

#include "google/protobuf/util/message_differencer.h"

#include "api/gatehouse/v1/bootstrap.pb.h"
#include "source/base/check.h"
#include "source/config/text.h"
#include "test/config/text_test.pb.h"

namespace {

using namespace gatehouse::config;  // NOLINT: a program of one file

template <typename Message>
void RoundTrip(std::string_view text) {
  Message message;
  ErrorList errors;
  DecodeContext context;
  context.errors = &errors;
  context.limits.max_depth = 20;
  context.limits.max_alias_nodes = 2000;
  SourceMap source;
  const bool ok = LoadText(text, TextFormat::kDetect, &message, context, &source);
  CHECK(ok == errors.ok());
  for (const ConfigError& error : errors.entries()) {
    CHECK(!error.ToString().empty());
    static_cast<void>(source.Locate(error.path));
  }
  const std::string yaml = ToYaml(message);
  if (!ok || yaml.find("[redacted]") != std::string::npos) return;
  Message again;
  ErrorList none;
  context.errors = &none;
  context.limits = {};
  CHECK(LoadText(yaml, TextFormat::kYaml, &again, context, nullptr));
  google::protobuf::util::MessageDifferencer differ;
  CHECK(differ.Compare(message, again));
  Message from_json;
  CHECK(LoadText(ToJson(message), TextFormat::kJson, &from_json, context, nullptr));
  CHECK(differ.Compare(message, from_json));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  RoundTrip<gatehouse::test::Everything>(text);
  RoundTrip<gatehouse::v1::Bootstrap>(text);
  return 0;
}
