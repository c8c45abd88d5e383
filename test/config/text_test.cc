#include "source/config/text.h"

#include <string>

#include "gmock/gmock.h"
#include "google/protobuf/dynamic_message.h"
#include "google/protobuf/util/message_differencer.h"
#include "gtest/gtest.h"

#include "fmt/format.h"
#include "test/config/text_test.pb.h"

namespace gatehouse::config {
namespace {

using google::protobuf::util::MessageDifferencer;
using test::Everything;
using testing::HasSubstr;

struct Loaded {
  Everything message;
  ErrorList errors;
  SourceMap source;
  bool ok = false;
};

Loaded Load(std::string_view text, TextFormat format = TextFormat::kYaml) {
  Loaded loaded;
  DecodeContext context;
  context.file = "f.yaml";
  context.errors = &loaded.errors;
  context.environment = [](const std::string& name) -> std::optional<std::string> {
    if (name == "PASSWORD") return "hunter2";
    if (name == "EMPTY") return "";
    if (name == "LATIN1") return "\xe9";
    return std::nullopt;
  };
  loaded.ok = LoadText(text, format, &loaded.message, context, &loaded.source);
  EXPECT_EQ(loaded.ok, loaded.errors.ok());
  return loaded;
}

Everything Good(std::string_view text, TextFormat format = TextFormat::kYaml) {
  Loaded loaded = Load(text, format);
  EXPECT_EQ(loaded.errors.ToString(), "") << text;
  return loaded.message;
}

std::string Errors(std::string_view text, TextFormat format = TextFormat::kYaml) {
  return Load(text, format).errors.ToString();
}

TEST(TextTest, Scalars) {
  const Everything m = Good(
      "name: 8080\nflag: true\nsmall: -3\nlarge: -9223372036854775808\ncount: 1e3\n"
      "total: 0xFF\nsingle: 1.5\nprecise: 2\ndata: aGk=\npolicy: least_request\n"
      "timeout: 1m30s\nwhen: 2030-01-31T12:00:00Z\n");
  EXPECT_EQ(m.name(), "8080");
  EXPECT_TRUE(m.flag());
  EXPECT_EQ(m.small(), -3);
  EXPECT_EQ(m.large(), INT64_MIN);
  EXPECT_EQ(m.count(), 1000u);
  EXPECT_EQ(m.total(), 255u);
  EXPECT_EQ(m.single(), 1.5f);
  EXPECT_EQ(m.precise(), 2);
  EXPECT_EQ(m.data(), "hi");
  EXPECT_EQ(m.policy(), Everything::POLICY_LEAST_REQUEST);
  EXPECT_EQ(m.timeout().seconds(), 90);
  EXPECT_EQ(m.when().seconds(), 1896091200);
}

TEST(TextTest, JsonIsTheSame) {
  const Everything yaml = Good("name: x\nplaces: ['h:1', {address: 'h:2', weight: 3}]\ncount: 3\n");
  const Everything json = Good(
      R"({"$schema": "s", "name": "x", "places": ["h:1", {"address": "h:2", "weight": 3}], "count": 3})",
      TextFormat::kJson);
  EXPECT_TRUE(MessageDifferencer::Equals(yaml, json));
  EXPECT_EQ(Good("{name: x}", TextFormat::kDetect).name(), "x");
  EXPECT_EQ(Good("{\"name\": \"x\"}", TextFormat::kDetect).name(), "x");
  EXPECT_EQ(Errors("{\"name\": \"x\",\n}", TextFormat::kDetect), "");  // fine as YAML
  EXPECT_THAT(Errors("{\"name\": \"x\"\n\"y\"}", TextFormat::kDetect),
              HasSubstr("f.yaml:2:1: expected ',' or '}' in an object"));
}

TEST(TextTest, OtherProtobufToolsQuote64Bits) {
  EXPECT_EQ(Good(R"({"total": "18446744073709551615"})", TextFormat::kJson).total(), UINT64_MAX);
  EXPECT_EQ(Errors("count: '3'"),
            "f.yaml:1: count: expected a number without quotes, found the string \"3\"\n");
}

TEST(TextTest, WrongTypesSayWhatWasExpected) {
  EXPECT_EQ(Errors("flag: yes"),
            "f.yaml:1: flag: expected true or false, found the string \"yes\"\n");
  EXPECT_EQ(Errors("small: 2147483648"),
            "f.yaml:1: small: must be from -2147483648 to 2147483647, found the number "
            "2147483648\n");
  EXPECT_EQ(Errors("count: -1"),
            "f.yaml:1: count: must be from 0 to 4294967295, found the number -1\n");
  EXPECT_EQ(Errors("count: 1.5"),
            "f.yaml:1: count: expected a whole number, found the number 1.5\n");
  EXPECT_EQ(Errors("count: [1]"), "f.yaml:1: count: expected a number, found a list\n");
  EXPECT_EQ(Errors("single: 1e39"),
            "f.yaml:1: single: the number is out of range, found the number 1e39\n");
  EXPECT_EQ(Errors("precise: .inf"),
            "f.yaml:1: precise: expected a number, found the string \".inf\"\n");
  EXPECT_EQ(Errors("name: [x]"), "f.yaml:1: name: expected a string, found a list\n");
  EXPECT_EQ(Errors("{\"name\": 1}", TextFormat::kJson),
            "f.yaml:1: name: expected a string: put the value in quotes, found the number 1\n");
  EXPECT_EQ(Errors("data: '*'"), "f.yaml:1: data: expected base64, found the string \"*\"\n");
  EXPECT_EQ(Errors("timeout: 5"),
            "f.yaml:1: timeout: expected a duration such as 2s, 150ms or 1m30s: a unit is missing, "
            "found the number 5\n");
  EXPECT_EQ(Errors("timeout: -5s"),
            "f.yaml:1: timeout: a duration must not be negative, found the string \"-5s\"\n");
  EXPECT_EQ(Errors("when: soon"),
            "f.yaml:1: when: expected a time such as 2030-01-31T12:00:00Z, found the string "
            "\"soon\"\n");
  EXPECT_EQ(Errors("names: x"),
            "f.yaml:1: names: expected a list, found the string \"x\": write [x]\n");
  EXPECT_EQ(Errors("names: {a: b}"),
            "f.yaml:1: names: expected a list, found a map: begin each item with \"- \"\n");
  EXPECT_EQ(Errors("names:\n- a\n- ~\n"), "f.yaml:3: names[1]: the list item is empty\n");
  EXPECT_EQ(Errors("labels: [a]"), "f.yaml:1: labels: expected a map, found a list\n");
  EXPECT_EQ(Errors("needy: 3"),
            "f.yaml:1: needy: expected a map (name, port, a, b), found the number 3\n");
  EXPECT_EQ(Errors("- a"), fmt::format("f.yaml:1:1: expected a map ({}, ...), found a list\n",
                                       "name, flag, small, large, count, total, single, precise, "
                                       "data, policy, timeout, when, names, codes, policies, "
                                       "places, waits, labels, by_number, sizes, by_name, "
                                       "by_place, by_flag, buffer"));
}

TEST(TextTest, UnknownFieldsNameTheNearest) {
  EXPECT_EQ(Errors("inner:\n  tiemout: 3s\n"),
            "f.yaml:2: inner: unknown field \"tiemout\", did you mean \"timeout\"?\n");
  EXPECT_EQ(Errors("byPlace: x"),
            "f.yaml:1:1: unknown field \"byPlace\", did you mean \"by_place\"?\n");
  EXPECT_EQ(Errors("places: [{zzz: 1, address: x}]"),
            "f.yaml:1: places[0]: unknown field \"zzz\"; the fields here are address, weight\n");
}

TEST(TextTest, AllErrorsAtOnce) {
  EXPECT_EQ(Errors("count: x\nname: [1]\nplaces:\n- h:1\n- {weight: -1}\ncount: 2\n"),
            "f.yaml:1: count: expected a number, found the string \"x\"\n"
            "f.yaml:2: name: expected a string, found a list\n"
            "f.yaml:5: places[1].weight: must be from 0 to 4294967295, found the number -1\n"
            "f.yaml:5: places[1]: the field \"address\" is required\n"
            "f.yaml:6:1: the key \"count\" is written twice; first in line 1\n");
}

TEST(TextTest, Enums) {
  EXPECT_EQ(Good("policy: POLICY_RING_HASH").policy(), Everything::POLICY_RING_HASH);
  EXPECT_EQ(Good("on_error: null").on_error(), Everything::ON_ERROR_NULL);
  EXPECT_EQ(Good("on_error: 5xx").on_error(), Everything::ON_ERROR_5XX);
  EXPECT_EQ(Good("shades: [dark, light]").shades(0), test::COLOR_DARK);
  EXPECT_EQ(Errors("policy: least_requests"),
            "f.yaml:1: policy: expected one of round_robin, least_request, ring_hash; found the "
            "string \"least_requests\", did you mean \"least_request\"?\n");
  EXPECT_THAT(Errors("policy: 1"), HasSubstr("found the number 1"));
  EXPECT_THAT(Errors("policies: [ring_hash, {}]"), HasSubstr("policies[1]: expected one of"));
}

TEST(TextTest, NullIsNotWritten) {
  const Everything m = Good("name: ~\nweight:\nplaces: null\nby_name:\nby_flag: true\ntimeout:\n");
  EXPECT_FALSE(m.has_weight());
  EXPECT_FALSE(m.has_timeout());
  EXPECT_EQ(m.choice_case(), Everything::kByFlag);
  EXPECT_TRUE(Good("weight: 0").has_weight());
  EXPECT_EQ(Errors("labels: {a: }"), "f.yaml:1: labels[\"a\"]: the value is missing\n");
}

// `tls:` alone must not come out as plain TCP.
TEST(TextTest, NothingIsNoMessage) {
  EXPECT_EQ(
      Errors("inner:\n  by_place:\n"),
      "f.yaml:2: inner.by_place: nothing is written here: write {} for the defaults, or leave "
      "it out\n");
  EXPECT_EQ(Errors("{\"inner\": null}", TextFormat::kJson),
            "f.yaml:1: inner: nothing is written here: write {} for the defaults, or leave it "
            "out\n");
  EXPECT_TRUE(Good("inner: {}").has_inner());
}

TEST(TextTest, OneofsTakeOneMember) {
  EXPECT_EQ(Errors("by_name: x\nby_flag: true\n"),
            "f.yaml:2:1: \"by_name\" and \"by_flag\" exclude each other: write one of them\n");
}

TEST(TextTest, ListsAndMaps) {
  const Everything m = Good(
      "names: [a, 1]\ncodes: [200, 404]\npolicies: [ring_hash, round_robin]\nwaits: [1s, 20ms]\n"
      "labels: { a: b, '1': 2 }\nby_number: { 1: h:1, 2: { address: 'h:2' } }\nsizes: { x: 5 }\n");
  EXPECT_THAT(m.names(), testing::ElementsAre("a", "1"));
  EXPECT_THAT(m.codes(), testing::ElementsAre(200, 404));
  EXPECT_EQ(m.policies(0), Everything::POLICY_RING_HASH);
  EXPECT_EQ(m.waits(1).nanos(), 20'000'000);
  EXPECT_EQ(m.labels().at("1"), "2");
  EXPECT_EQ(m.by_number().at(1).address(), "h:1");
  EXPECT_EQ(m.by_number().at(2).address(), "h:2");
  EXPECT_EQ(Errors("by_number: {x: h:1}"),
            "f.yaml:1: by_number[\"x\"]: as a key: expected a number, found the string \"x\"\n");
}

TEST(TextTest, SizesRatiosRates) {
  const Everything m = Good(
      "buffer: 64KiB\nwindow: 1MB\nlimit: 2GiB\nshare: 5%\nmaybe_share: 0.5\nrate: 10/s\n"
      "inner: { buffer: 12, rate: {amount: 3, per: 1m}, on: false, text: x }\n");
  EXPECT_EQ(m.buffer(), 65536u);
  EXPECT_EQ(m.window(), 1'000'000);
  EXPECT_EQ(m.limit().value(), uint64_t{2} << 30);
  EXPECT_DOUBLE_EQ(m.share(), 0.05);
  EXPECT_DOUBLE_EQ(m.maybe_share().value(), 0.5);
  EXPECT_EQ(m.rate().amount(), 10u);
  EXPECT_EQ(m.rate().per().seconds(), 1);
  EXPECT_EQ(m.inner().buffer(), 12u);
  EXPECT_EQ(m.inner().rate().per().seconds(), 60);
  EXPECT_TRUE(m.inner().has_on());
  EXPECT_EQ(m.inner().text().value(), "x");
  EXPECT_EQ(Errors("buffer: 64K"),
            "f.yaml:1: buffer: expected a size such as 64KiB, 10MB or a number of bytes, found the "
            "string \"64K\"\n");
  EXPECT_THAT(Errors("window: 2GiB"), HasSubstr("window: must be at most"));
  EXPECT_THAT(Errors("window: -1"), HasSubstr("must be from 0 to 2147483647"));
  EXPECT_THAT(Errors("share: 5"), HasSubstr("for 5 percent write 5%"));
  EXPECT_THAT(Errors("rate: 10"), HasSubstr("expected a rate such as 10/s"));
  EXPECT_THAT(Errors("total: 64KiB"), HasSubstr("expected a number"));  // no size field
}

TEST(TextTest, Shorthands) {
  const Everything m = Good("by_place: h:1\ngroup: [a, b]\nplaces: [h:1, 8080]\n");
  EXPECT_EQ(m.by_place().address(), "h:1");
  EXPECT_EQ(m.group().members_size(), 2);
  EXPECT_EQ(m.places(1).address(), "8080");
  EXPECT_EQ(Errors("group: a"),
            "f.yaml:1: group: expected a list, found the string \"a\": write [a]\n");
  EXPECT_EQ(
      Errors("by_place: [a]"),
      "f.yaml:1: by_place: expected the value of \"address\" or a map (address, weight), found "
      "a list\n");
}

TEST(TextTest, RequiredFields) {
  EXPECT_EQ(Good("needy: { name: x, port: 0, b: '' }").needy().kind_case(), test::Needy::kB);
  EXPECT_EQ(Errors("needy:\n  name: ''\n  port: null\n"),
            "f.yaml:2: needy.name: must not be empty\n"
            "f.yaml:2: needy: the field \"port\" is required\n"
            "f.yaml:2: needy: one of these is required: a, b\n");
  EXPECT_EQ(Errors("group: []"), "f.yaml:1: group: must not be empty\n");
  EXPECT_EQ(Errors("group: {members: []}"), "f.yaml:1: group.members: must not be empty\n");
  EXPECT_EQ(Errors("by_place: ''"), "f.yaml:1: by_place: must not be empty\n");
}

TEST(TextTest, EnvironmentInSecretsOnly) {
  EXPECT_EQ(Good("password: '${PASSWORD}'").password(), "hunter2");
  EXPECT_EQ(Good("password: 'a${PASSWORD}b${EMPTY}c${NOPE:-d e}$${x}'").password(),
            "ahunter2bcd e${x}");
  EXPECT_EQ(Good("password: '${EMPTY:-d}'").password(), "d");
  EXPECT_EQ(
      Errors("password: '${NOPE}'"),
      "f.yaml:1: password: the environment variable NOPE is not set; set it, or give a default "
      "with ${NOPE:-default}\n");
  EXPECT_THAT(Errors("password: '${1x}'"), HasSubstr("expected ${NAME} or ${NAME:-default}"));
  EXPECT_THAT(Errors("password: '${A'"), HasSubstr("expected ${NAME} or ${NAME:-default}"));
  EXPECT_THAT(Errors("password: '${LATIN1}'"), HasSubstr("not UTF-8"));
  const Loaded loaded = Load("name: 'x${PASSWORD}'\nnames: ['^a${2}$', '$(x)', '${']\n");
  EXPECT_TRUE(loaded.ok);
  EXPECT_EQ(loaded.message.name(), "x${PASSWORD}");
  EXPECT_EQ(
      loaded.errors.ToString(),
      "f.yaml:1: warning: name: ${PASSWORD} stays as it is: the environment is read only in the "
      "values of secrets\n");
}

TEST(TextTest, WithoutAnEnvironmentReferencesStay) {
  ErrorList errors;
  DecodeContext context;
  context.errors = &errors;
  Everything m;
  EXPECT_TRUE(LoadText("password: '${PASSWORD}'", TextFormat::kYaml, &m, context, nullptr));
  EXPECT_EQ(m.password(), "${PASSWORD}");
}

TEST(TextTest, SecretsAreNotQuotedInErrors) {
  for (const std::string_view text :
       {"password: [hunter2]", "keys: hunter2", "hidden: {weight: hunter2, address: x}",
        "hidden: {address: x, weight: 'hunter2'}", "keys: [[hunter2]]", "hidden: [hunter2]"}) {
    const std::string errors = Errors(text);
    EXPECT_NE(errors, "");
    EXPECT_EQ(errors.find("hunter2"), std::string::npos) << errors;
  }
}

TEST(TextTest, FreeForms) {
  const Everything m = Good(
      "metadata: { a: 1, b: [true, ~, x], c: { d: 2.5 } }\nanything: [1]\nlist: [a, {}]\n"
      "extension: { '@type': type.googleapis.com/gatehouse.test.Place, address: 'h:1' }\n"
      "inner: { extension: { '@type': google.protobuf.Duration, value: 3s }, anything: null }\n");
  EXPECT_EQ(m.metadata().fields().at("a").number_value(), 1);
  EXPECT_EQ(m.metadata().fields().at("b").list_value().values(1).kind_case(),
            google::protobuf::Value::kNullValue);
  EXPECT_EQ(m.anything().list_value().values(0).number_value(), 1);
  EXPECT_EQ(m.list().values_size(), 2);
  EXPECT_EQ(m.inner().anything().kind_case(), google::protobuf::Value::kNullValue);
  test::Place place;
  ASSERT_TRUE(m.extension().UnpackTo(&place));
  EXPECT_EQ(place.address(), "h:1");
  google::protobuf::Duration duration;
  ASSERT_TRUE(m.inner().extension().UnpackTo(&duration));
  EXPECT_EQ(duration.seconds(), 3);
  EXPECT_THAT(Errors("extension: {a: 1}"), HasSubstr("expected a map with an \"@type\""));
  EXPECT_THAT(Errors("extension: {'@type': x.Y}"), HasSubstr("unknown type \"x.Y\""));
  EXPECT_EQ(Errors("extension:\n  '@type': gatehouse.test.Place\n  adress: x\n"),
            "f.yaml:2: extension: the field \"address\" is required\n"
            "f.yaml:3: extension: unknown field \"adress\", did you mean \"address\"?\n");
  EXPECT_THAT(Errors("metadata: [1]"), HasSubstr("metadata: expected a map, found a list"));
  EXPECT_THAT(Errors("metadata: {a: 12345678901234567890}"),
              HasSubstr("metadata[\"a\"]: the number has too many digits to be kept"));
}

TEST(TextTest, EmptyFilesGetAHint) {
  for (const std::string_view text : {"", " \n", "# nothing\n", "~"}) {
    EXPECT_NE(Errors(text), "") << text;
  }
  EXPECT_THAT(Errors("\r\n"), HasSubstr("f.yaml: there is nothing here; write a map with some of "
                                        "these fields: name, flag, small"));
}

TEST(TextTest, ErrorsKnowTheirPlaceLongAfter) {
  const Loaded loaded = Load("name: x\nplaces:\n- h:1\n- address: h:2\n  weight: 3\n");
  EXPECT_EQ(loaded.source.Error("places[1].weight", "too heavy").ToString(),
            "f.yaml:5: places[1].weight: too heavy");
  EXPECT_EQ(loaded.source.Locate("places[0].address").line, 3);
}

TEST(TextTest, LongValuesAreCutInErrors) {
  const std::string errors = Errors("count: " + std::string(39, 'a') + "é" + std::string(100, 'b'));
  EXPECT_THAT(errors, HasSubstr(std::string(39, 'a') + "\"...\n"));
}

TEST(TextTest, DynamicMessagesWorkToo) {
  google::protobuf::DynamicMessageFactory factory(
      google::protobuf::DescriptorPool::generated_pool());
  const std::unique_ptr<google::protobuf::Message> message(
      factory.GetPrototype(Everything::descriptor())->New());
  ErrorList errors;
  DecodeContext context;
  context.errors = &errors;
  context.factory = &factory;
  ASSERT_TRUE(
      LoadText("timeout: 2s\nrate: 1/s\nmetadata: {a: [1]}\nlimit: 1KiB\nplaces: [h:1]\n"
               "when: 2030-01-31T12:00:00Z\nlabels: {a: b}\n"
               "extension: {'@type': gatehouse.test.Place, address: x}\n",
               TextFormat::kYaml, message.get(), context, nullptr))
      << errors.ToString();
  Everything copy;
  ASSERT_TRUE(copy.ParseFromString(message->SerializeAsString()));
  EXPECT_EQ(copy.timeout().seconds(), 2);
  EXPECT_EQ(copy.metadata().fields_size(), 1);
  EXPECT_EQ(copy.limit().value(), 1024u);
  EXPECT_EQ(ToYaml(*message), ToYaml(copy));
}

}  // namespace
}  // namespace gatehouse::config
