#include "source/control_plane/validator.h"

#include <unistd.h>

#include <chrono>
#include <memory>
#include <string>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "source/control_plane/resource_file.h"

namespace gatehouse::control {
namespace {

using testing::HasSubstr;

// Its program is test/control_plane/fake_gatehouse.py.
class ValidatorTest : public testing::Test {
 protected:
  static std::shared_ptr<const ResourceSet> Set(const std::vector<ResourceFile>& files) {
    static uint64_t revision = 0;
    ResourceSet::All all;
    config::ErrorList errors;
    for (const ResourceFile& file : files) {
      AddResources(ParseResourceFile(file, errors), &all, errors);
    }
    EXPECT_TRUE(errors.ok()) << errors.ToString();
    return std::make_shared<const ResourceSet>(++revision, std::move(all), nullptr);
  }
  static ResourceFile Cluster(const std::string& name, const std::string& group = "") {
    return {.name = name + ".yaml",
            .text = "clusters:\n- name: " + name + "\n  endpoints: [\"127.0.0.1:1\"]\n",
            .group = group};
  }

  Validator validator_{{.program = "test/control_plane/fake_gatehouse.py"}};
};

TEST_F(ValidatorTest, AcceptsAndRefusesWithThePlace) {
  EXPECT_TRUE(validator_.Check(*Set({Cluster("a")}))->ok());
  const auto found = validator_.Check(*Set({Cluster("a"), Cluster("bad1")}));
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(found->ToString(), "bad1.yaml:2: Cluster bad1: name: this name is bad\n");
  EXPECT_TRUE(validator_.Check(*Set({Cluster("a"), Cluster("b")}))->ok());
}

TEST_F(ValidatorTest, WarningsDoNotRefuse) {
  const auto found = validator_.Check(*Set({Cluster("warn1")}));
  ASSERT_TRUE(found.ok());
  EXPECT_TRUE(found->ok());
  EXPECT_THAT(found->ToString(), HasSubstr("this name is odd"));
}

TEST_F(ValidatorTest, WhatIsWrongForAllIsToldOnce) {
  const auto found = validator_.Check(*Set({Cluster("bad1"), Cluster("b", "edge")}));
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(found->error_count(), 1U) << found->ToString();
  const auto of_group = validator_.Check(*Set({Cluster("a"), Cluster("bad2", "edge")}));
  EXPECT_EQ(of_group->error_count(), 1U) << of_group->ToString();
  EXPECT_THAT(of_group->ToString(), HasSubstr("bad2.yaml:2"));
}

TEST_F(ValidatorTest, ASetThatCrashesTheCheckIsRefusedAndTheNextIsChecked) {
  const auto found = validator_.Check(*Set({Cluster("crash")}));
  ASSERT_TRUE(found.ok());
  EXPECT_THAT(found->ToString(), HasSubstr("own check crashed on it (was killed by signal 9)"));
  EXPECT_TRUE(validator_.Check(*Set({Cluster("a")}))->ok());
}

TEST_F(ValidatorTest, HasNoneOfOurFiles) {
  const int file = dup(STDERR_FILENO);  // not closed by exec
  const auto found = validator_.Check(*Set({Cluster(fmt::format("file{}", file))}));
  EXPECT_EQ(found->ToString(), "");
  close(file);
}

TEST_F(ValidatorTest, OneThatDoesNotAnswerIsEnded) {
  Validator impatient({.program = "test/control_plane/fake_gatehouse.py",
                       .deadline = std::chrono::milliseconds(1500)});
  const auto found = impatient.Check(*Set({Cluster("slow")}));
  ASSERT_TRUE(found.ok());
  EXPECT_THAT(found->ToString(), HasSubstr("did not end"));
}

TEST_F(ValidatorTest, AProgramThatIsNotThereOrIsAnotherIsNotTheSetsFault) {
  Validator missing({.program = "/no/such/program"});
  EXPECT_TRUE(absl::IsUnavailable(missing.Check(*Set({Cluster("a")})).status()));
  Validator other({.program = "/bin/echo"});
  const auto found = other.Check(*Set({Cluster("a")}));
  EXPECT_FALSE(found.ok() && found->ok());
}

}  // namespace
}  // namespace gatehouse::control
