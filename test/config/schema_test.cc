#include "source/config/schema.h"

#include <string>

#include "gtest/gtest.h"

#include "re2/re2.h"
#include "source/base/json.h"
#include "source/base/yaml.h"
#include "source/config/bootstrap_schema.h"
#include "test/config/text_test.pb.h"

namespace gatehouse::config {
namespace {

// As much of a JSON Schema validator as the generated schemas need.
class Validator {
 public:
  explicit Validator(const std::string& schema) : parsed_(ParseJson(schema)) {
    EXPECT_TRUE(parsed_.ok());
  }
  bool Accepts(std::string_view yaml) {
    const ParsedDocument document = ParseYaml(yaml);
    EXPECT_TRUE(document.ok()) << yaml;
    return Fits(document.document->root(), parsed_.document->root());
  }
  const Node& root() { return parsed_.document->root(); }

 private:
  bool Fits(const Node& value, const Node& schema) {
    for (const NodeMember& member : schema.members()) {
      if (!FitsKeyword(value, schema, member.key.text(), member.value)) return false;
    }
    return true;
  }

  bool FitsKeyword(const Node& value, const Node& schema, std::string_view keyword,
                   const Node& rule) {
    if (keyword == "$ref") return Fits(value, *root().Find("$defs")->Find(rule.text().substr(8)));
    if (keyword == "type") return FitsType(value, rule);
    if (keyword == "anyOf") return Count(value, rule) > 0;
    if (keyword == "oneOf") return Count(value, rule) == 1;
    if (keyword == "allOf") return Count(value, rule) == rule.items().size();
    if (keyword == "not") return !Fits(value, rule);
    if (keyword == "required") {
      for (const Node& name : rule.items()) {
        if (value.Find(name.text()) == nullptr) return false;
      }
      return true;
    }
    if (keyword == "properties") {
      for (const NodeMember& member : value.members()) {
        const Node* property = rule.Find(member.key.text());
        if (property != nullptr && !Fits(member.value, *property)) return false;
      }
      return true;
    }
    if (keyword == "additionalProperties") return FitsAdditional(value, schema, rule);
    if (keyword == "items") {
      for (const Node& item : value.items()) {
        if (!Fits(item, rule)) return false;
      }
      return true;
    }
    if (keyword == "enum") {
      for (const Node& known : rule.items()) {
        if (known.text() == value.text()) return true;
      }
      return false;
    }
    if (keyword == "const") return value.text() == rule.text();
    if (keyword == "minItems") return !value.items().empty();
    if (keyword == "minLength") return !value.text().empty();
    if (keyword == "pattern") return FitsPattern(value, rule);
    if (keyword == "minimum") {
      return value.kind() != NodeKind::kNumber ||
             std::stod(std::string(value.text())) >= std::stod(std::string(rule.text()));
    }
    if (keyword == "maximum") {
      return value.kind() != NodeKind::kNumber ||
             std::stod(std::string(value.text())) <= std::stod(std::string(rule.text()));
    }
    return true;  // $defs, title, description, format
  }

  size_t Count(const Node& value, const Node& schemas) {
    size_t count = 0;
    for (const Node& schema : schemas.items()) count += Fits(value, schema) ? 1 : 0;
    return count;
  }
  static bool FitsType(const Node& value, const Node& rule) {
    for (const Node& name : rule.items()) {
      if (FitsType(value, name)) return true;
    }
    const std::string_view type = rule.text();
    switch (value.kind()) {
      case NodeKind::kMap:
        return type == "object";
      case NodeKind::kSequence:
        return type == "array";
      case NodeKind::kString:
        return type == "string";
      case NodeKind::kBool:
        return type == "boolean";
      case NodeKind::kNumber:
        return type == "number" ||
               (type == "integer" && value.text().find('.') == std::string::npos);
      case NodeKind::kNull:
        return false;
    }
    return false;
  }
  bool FitsAdditional(const Node& value, const Node& schema, const Node& rule) {
    for (const NodeMember& member : value.members()) {
      const Node* properties = schema.Find("properties");
      if (properties != nullptr && properties->Find(member.key.text()) != nullptr) continue;
      if (rule.kind() == NodeKind::kBool || !Fits(member.value, rule)) return false;
    }
    return true;
  }
  static bool FitsPattern(const Node& value, const Node& rule) {
    if (value.kind() != NodeKind::kString) return true;
    std::string pattern(rule.text());
    const std::string lookahead = "(?=[0-9])";  // which RE2 does not know
    const size_t at = pattern.find(lookahead);
    if (at != std::string::npos) {
      pattern.erase(at, lookahead.size());
      if (value.text().empty()) return false;
    }
    return RE2::PartialMatch(std::string(value.text()), pattern);
  }

  ParsedDocument parsed_;
};

TEST(SchemaTest, AcceptsWhatTheDecoderAccepts) {
  Validator validator(JsonSchema(*test::Everything::descriptor(), {}));
  for (const std::string_view text :
       {"name: x\nflag: true\ncount: 3\npolicy: ring_hash\ntimeout: 1m30s\n",
        "timeout: 0",
        "places: [h:1, {address: 'h:2', weight: 3}]",
        "group: [a]",
        "group: {members: [a]}",
        "labels: {a: b, c: 1}",
        "by_number: {'1': {address: x}}",
        "by_name: x",
        "buffer: 64KiB",
        "buffer: 4096",
        "limit: 1MB",
        "share: 5%",
        "share: 0.05",
        "rate: 10/s",
        "rate: 5/100ms",
        "name: 8080",
        "metadata: {a: [1, {b: c}]}",
        "anything: [1]",
        "waits: [1s, 20ms]",
        "extension: {'@type': x, whatever: 1}",
        "inner: {inner: {name: x}}",
        "{}",
        "needy: {name: x, port: 1, a: y}",
        "on_error: 5xx",
        "on: true",
        "$schema: x"}) {
    EXPECT_TRUE(validator.Accepts(text)) << text;
  }
}

TEST(SchemaTest, RefusesWhatTheDecoderRefuses) {
  Validator validator(JsonSchema(*test::Everything::descriptor(), {}));
  for (const std::string_view text : {"nmae: x",
                                      "inner: {nmae: x}",
                                      "flag: 1",
                                      "count: -1",
                                      "count: x",
                                      "policy: random",
                                      "timeout: 5",
                                      "timeout: 5x",
                                      "timeout: ''",
                                      "places: h:1",
                                      "places: [{weight: 1}]",
                                      "group: a",
                                      "group: []",
                                      "by_name: x\nby_flag: true",
                                      "buffer: 64K",
                                      "share: 5",
                                      "rate: 10",
                                      "needy: {name: x, port: 1}",
                                      "needy: {name: '', port: 1, a: y}",
                                      "extension: {a: 1}",
                                      "metadata: [1]",
                                      "[]"}) {
    EXPECT_FALSE(validator.Accepts(text)) << text;
  }
}

TEST(SchemaTest, TakesDescriptionsFromComments) {
  // What protoc --include_source_info would give.
  google::protobuf::FileDescriptorSet files;
  auto* file = files.add_file();
  file->set_name("c.proto");
  file->set_package("gatehouse.test");
  auto* message = file->add_message_type();
  message->set_name("Needy");
  auto* field = message->add_field();
  field->set_name("name");
  field->set_number(1);
  field->set_type(google::protobuf::FieldDescriptorProto::TYPE_STRING);
  field->set_label(google::protobuf::FieldDescriptorProto::LABEL_OPTIONAL);
  auto* location = file->mutable_source_code_info()->add_location();
  for (const int step : {4, 0, 2, 0}) location->add_path(step);
  for (const int at : {1, 2, 3}) location->add_span(at);
  location->set_leading_comments(" Who it is,\n in words.\n");
  SchemaOptions options;
  options.comments = &files;
  options.id = "https://gatehouse.example/schema.json";
  options.title = "A needy thing";
  Validator validator(JsonSchema(*test::Needy::descriptor(), options));
  const Node& needy = *validator.root().Find("$defs")->Find("gatehouse.test.Needy");
  EXPECT_EQ(needy.Find("properties")->Find("name")->Find("description")->text(),
            "Who it is, in words.");
  EXPECT_EQ(validator.root().Find("$id")->text(), options.id);
  EXPECT_EQ(validator.root().Find("title")->text(), "A needy thing");
}

TEST(BootstrapSchemaTest, SaysWhatTheProtosSay) {
  const ParsedDocument schema = ParseJson(BootstrapSchema());
  ASSERT_TRUE(schema.ok());
  const Node& definitions = *schema.document->root().Find("$defs");
  const auto description = [&](std::string_view message, std::string_view field) {
    const Node* found = definitions.Find(message);
    EXPECT_NE(found, nullptr) << message;
    if (found != nullptr && !field.empty()) found = found->Find("properties")->Find(field);
    if (found != nullptr) found = found->Find("description");
    return found == nullptr ? std::string() : std::string(found->text());
  };
  EXPECT_EQ(description("Listener", ""), "One address on which clients are served.");
  EXPECT_TRUE(description("ListenerTimeouts", "keep_alive").starts_with("Between two requests"));
  EXPECT_TRUE(description("ClusterTls", "sni").starts_with("The host to ask for"));
  // Spelled as people write them, not as the proto does.
  EXPECT_NE(BootstrapSchema().find("\"tls_1_3\""), std::string::npos);
  EXPECT_NE(BootstrapSchema().find("\"append_forward\""), std::string::npos);
}

}  // namespace
}  // namespace gatehouse::config
