#include "source/control_plane/resource_file.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gatehouse::control {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr const char* kShop =
    "route_tables:\n"
    "- name: shop\n"
    "  domains: [\"*\"]\n"
    "  routes:\n"
    "  - name: all\n"
    "    match:\n"
    "      path_prefix: /\n"
    "    forward: users\n"
    "clusters:\n"
    "- name: users\n"
    "  endpoints: [\"127.0.0.1:3001\"]\n";

TEST(ResourceFileTest, KnowsTheLineOfEachField) {
  config::ErrorList errors;
  const Resources resources = ParseResourceFile({.name = "shop.yaml", .text = kShop}, errors);
  ASSERT_TRUE(errors.ok()) << errors.ToString();
  ASSERT_EQ(resources.size(), 2U);
  const Resource& table = *resources[1];
  EXPECT_EQ(table.type, ResourceType::kRouteTable);
  EXPECT_EQ(PlaceOf(table), "shop.yaml:2");
  EXPECT_EQ(table.origin->LineOf("routes[0].match.path_prefix"), 7);
  EXPECT_EQ(table.origin->LineOf("routes[0].match.nothing"), 6);
  EXPECT_EQ(table.origin->LineOf("routes[0].forward.cluster"), 8);
  EXPECT_EQ(ErrorIn(table, "routes[0].forward", "no").ToString(),
            "shop.yaml:8: RouteTable shop: routes[0].forward: no");
}

TEST(ResourceFileTest, TheSameContentHasTheSameVersionHoweverItIsWritten) {
  config::ErrorList errors;
  const Resources yaml = ParseResourceFile({.name = "a.yaml", .text = kShop}, errors);
  const Resources json = ParseResourceFile(
      {.name = "a.json",
       .text = R"({"clusters":[{"endpoints":["127.0.0.1:3001"],"name":"users"}]})"},
      errors);
  ASSERT_TRUE(errors.ok()) << errors.ToString();
  EXPECT_EQ(yaml[0]->version, json[0]->version);
  EXPECT_EQ(yaml[0]->version.size(), 16U);
}

std::string ErrorsOf(const ResourceFile& file) {
  config::ErrorList errors;
  static_cast<void>(ParseResourceFile(file, errors));
  return errors.ToString();
}

TEST(ResourceFileTest, AValueThatIsNotShownIsNotPutInThePlaceOfTheSecret) {
  EXPECT_THAT(ErrorsOf({.name = "s.yaml", .text = "secrets:\n- name: k\n  inline: '[redacted]'\n"}),
              HasSubstr("s.yaml:3: Secret k: inline: this is how `get` shows a value"));
}

TEST(ResourceFileTest, TellsWhatBelongsToABootstrap) {
  const std::string errors =
      ErrorsOf({.name = "gw.yaml", .text = "admin: {address: \"127.0.0.1:1\"}\nclusters: []\n"});
  EXPECT_THAT(errors, HasSubstr("gw.yaml:1"));
  EXPECT_THAT(errors, HasSubstr("\"admin\" belongs to the file that a gateway starts with"));
}

TEST(ResourceFileTest, TellsSyntaxUnknownFieldsAndDuplicates) {
  EXPECT_THAT(ErrorsOf({.name = "a.yaml", .text = "clusters: [\n"}), HasSubstr("a.yaml:"));
  EXPECT_THAT(ErrorsOf({.name = "a.yaml", .text = "clusters:\n- name: a\n  tsl: {}\n"}),
              HasSubstr("a.yaml:3: clusters[0]: unknown field \"tsl\""));
  EXPECT_THAT(ErrorsOf({.name = "a.yaml", .text = ""}), HasSubstr("the text is empty"));
  config::ErrorList errors;
  ResourceSet::All all;
  AddResources(ParseResourceFile({.name = "a.yaml", .text = kShop}, errors), &all, errors);
  AddResources(ParseResourceFile({.name = "b.yaml", .text = kShop}, errors), &all, errors);
  EXPECT_THAT(errors.ToString(), HasSubstr("b.yaml:10: Cluster users: there is a second one of "
                                           "this name at a.yaml:10"));
}

TEST(ResourceFileTest, GroupsComeFromTheFileOrTheFolderAndMustAgree) {
  config::ErrorList errors;
  const std::string text = std::string("group: edge\n") + kShop;
  EXPECT_EQ(ParseResourceFile({.name = "a.yaml", .text = text}, errors)[0]->group, "edge");
  EXPECT_EQ(ParseResourceFile({.name = "a.yaml", .text = kShop, .group = "core"}, errors)[0]->group,
            "core");
  EXPECT_TRUE(errors.ok());
  EXPECT_THAT(
      ErrorsOf({.name = "core/a.yaml", .text = text, .group = "core", .group_is_fixed = true}),
      HasSubstr("core/a.yaml:1: group: this file is in the folder of group \"core\""));
  EXPECT_THAT(ErrorsOf({.name = "a.yaml", .text = "group: a/b\n"}), HasSubstr("letters, digits"));
}

TEST(ResourceFileTest, SecretsStayAsTheyAreAndAreNotShown) {
  config::ErrorList errors;
  const Resources resources = ParseResourceFile(
      {.name = "a.yaml", .text = "secrets:\n- name: pw\n  inline: \"x-${HOME}-hunter2\"\n"},
      errors);
  ASSERT_TRUE(errors.ok()) << errors.ToString();
  // The gateway's environment is the one that counts.
  EXPECT_THAT(resources[0]->message, HasSubstr("x-${HOME}-hunter2"));
  EXPECT_THAT(ToYaml(*resources[0]), Not(HasSubstr("hunter2")));
  EXPECT_THAT(ToJson(*resources[0]), Not(HasSubstr("hunter2")));
  EXPECT_THAT(ToYaml({resources[0].get()}), HasSubstr("[redacted]"));
}

TEST(ResourceFileTest, WhatIsShownCanBeAppliedAgain) {
  config::ErrorList errors;
  const Resources resources =
      ParseResourceFile({.name = "a.yaml", .text = kShop, .group = "edge"}, errors);
  const std::string yaml = ToYaml({resources[0].get(), resources[1].get()});
  const Resources again = ParseResourceFile({.name = "b.yaml", .text = yaml}, errors);
  ASSERT_TRUE(errors.ok()) << errors.ToString();
  ASSERT_EQ(again.size(), 2U);
  EXPECT_EQ(again[0]->group, "edge");
  EXPECT_EQ(again[0]->message, resources[0]->message);
  EXPECT_EQ(again[1]->message, resources[1]->message);
}

}  // namespace
}  // namespace gatehouse::control
