#include <string>

#include "google/protobuf/util/message_differencer.h"
#include "gtest/gtest.h"

#include "source/config/text.h"
#include "test/config/text_test.pb.h"

namespace gatehouse::config {
namespace {

using google::protobuf::util::MessageDifferencer;
using test::Everything;

Everything Parse(std::string_view text, TextFormat format) {
  Everything message;
  ErrorList errors;
  DecodeContext context;
  context.errors = &errors;
  EXPECT_TRUE(LoadText(text, format, &message, context, nullptr)) << errors.ToString() << text;
  return message;
}

constexpr std::string_view kText =
    "name: edge\n"
    "flag: true\n"
    "small: -3\n"
    "total: 18446744073709551615\n"
    "single: 0.1\n"
    "precise: 1.5\n"
    "data: \"aGk=\"\n"
    "policy: least_request\n"
    "timeout: 1m30s\n"
    "when: \"2030-01-31T12:00:00Z\"\n"
    "names:\n"
    "  - a\n"
    "  - \"8080\"\n"
    "policies:\n"
    "  - ring_hash\n"
    "  - round_robin\n"
    "places:\n"
    "  - \"h:1\"\n"
    "  - address: \"h:2\"\n"
    "    weight: 0\n"
    "labels:\n"
    "  a: b\n"
    "  c: \"on\"\n"
    "by_place: \"h:3\"\n"
    "buffer: 64KiB\n"
    "window: 1MB\n"
    "limit: 2GiB\n"
    "share: 0.05\n"
    "rate: 10/s\n"
    "weight: 0\n"
    "\"on\": false\n"
    "text: x\n"
    "metadata:\n"
    "  a: 1\n"
    "  b:\n"
    "    - true\n"
    "    - null\n"
    "    - z: {}\n"
    "extension:\n"
    "  \"@type\": type.googleapis.com/gatehouse.test.Place\n"
    "  address: \"h:4\"\n"
    "inner: {}\n"
    "group:\n"
    "  - m\n"
    "on_error: \"null\"\n";

TEST(TextDumpTest, WritesYamlAsPeopleDo) {
  const Everything message = Parse(kText, TextFormat::kYaml);
  EXPECT_EQ(ToYaml(message), kText);
}

TEST(TextDumpTest, ReadsBackWhatItWrote) {
  const Everything message = Parse(kText, TextFormat::kYaml);
  EXPECT_TRUE(MessageDifferencer::Equals(message, Parse(ToJson(message), TextFormat::kJson)));
  EXPECT_TRUE(MessageDifferencer::Equals(message, Parse(ToJson(message, 0), TextFormat::kDetect)));
}

TEST(TextDumpTest, RedactsSecrets) {
  Everything message;
  message.set_password("hunter2");
  message.add_keys("hunter2");
  message.mutable_hidden()->set_address("hunter2");
  message.mutable_inner()->set_password("hunter2");
  message.mutable_extension()->PackFrom(Everything(message));
  const std::string yaml = ToYaml(message);
  EXPECT_EQ(yaml.find("hunter2"), std::string::npos) << yaml;
  EXPECT_NE(yaml.find("password: \"[redacted]\"\nkeys: \"[redacted]\"\nhidden: \"[redacted]\"\n"),
            std::string::npos)
      << yaml;
}

TEST(TextDumpTest, WritesWhatTextCannotSpell) {
  Everything message;
  message.set_policy(static_cast<Everything::Policy>(77));
  message.mutable_timeout()->set_seconds(INT64_MAX);
  message.mutable_when()->set_seconds(INT64_MAX);
  message.mutable_rate()->set_amount(3);
  message.set_name("bad \xff");
  message.mutable_extension()->set_type_url("x/y.Z");
  message.mutable_extension()->set_value("\xff\xff");
  message.set_precise(1.0 / 0.0);
  EXPECT_FALSE(ToYaml(message).empty());
  EXPECT_FALSE(ToJson(message).empty());
  EXPECT_EQ(ToYaml(Everything()), "{}\n");
}

TEST(TextDumpTest, StopsInChainsOfAny) {
  Everything message;
  for (int i = 0; i < 300; ++i) {
    Everything outer;
    outer.mutable_extension()->PackFrom(message);
    message = outer;
  }
  EXPECT_NE(ToJson(message).find("[nested too deep]"), std::string::npos);
}

}  // namespace
}  // namespace gatehouse::config
