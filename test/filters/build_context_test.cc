#include "source/filters/build_context.h"

#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "api/gatehouse/v1/rate_limit.pb.h"
#include "source/base/status.h"

namespace gatehouse::filters {
namespace {

using testing::ElementsAre;

TEST(StateStoreTest, StateLivesOnWhileSomebodyUsesIt) {
  StateStore store;
  int made = 0;
  const auto make = [&made] { return std::make_shared<int>(++made); };
  std::shared_ptr<int> first = store.Get<int>("limit", "10/s", make);
  EXPECT_EQ(store.Get<int>("limit", "10/s", make), first);
  EXPECT_EQ(made, 1);
  first.reset();
  EXPECT_EQ(*store.Get<int>("limit", "10/s", make), 2);
}

TEST(StateStoreTest, AnotherNameFingerprintOrTypeIsAnotherState) {
  StateStore store;
  const auto make = [] { return std::make_shared<int>(1); };
  const std::shared_ptr<int> state = store.Get<int>("limit", "10/s", make);
  EXPECT_NE(store.Get<int>("limit", "20/s", make), state);
  EXPECT_NE(store.Get<int>("other", "10/s", make), state);
  const auto text =
      store.Get<std::string>("limit", "10/s", [] { return std::make_shared<std::string>("x"); });
  EXPECT_EQ(*text, "x");
  // A config that was tried and thrown away in between costs nothing.
  EXPECT_EQ(store.Get<int>("limit", "10/s", make), state);
}

TEST(StateStoreTest, ForgetsWhatNobodyUses) {
  StateStore store;
  const auto make = [] { return std::make_shared<int>(1); };
  const std::shared_ptr<int> kept = store.Get<int>("kept", "", make);
  for (int i = 0; i < 10000; ++i) {
    static_cast<void>(store.Get<int>("limit", std::to_string(i), make));
  }
  EXPECT_LT(store.size(), 200u);
  EXPECT_EQ(store.Get<int>("kept", "", make), kept);
}

TEST(BuildContextTest, LooksThingsUpAndTellsWhatWasMeant) {
  gatehouse::v1::RateLimit limit;
  BuildResources resources;
  resources.rate_limits["per-user"] = &limit;
  resources.secrets["pepper"] = "salt";
  resources.clusters["users"] = nullptr;
  BuildContext build(resources, "filters[2].jwt");

  EXPECT_EQ(*build.RateLimit("policies[0]", "per-user"), &limit);
  EXPECT_EQ(*build.Secret("key", "pepper"), "salt");
  EXPECT_TRUE(build.Cluster("authority", "users").ok());
  EXPECT_THAT(build.cluster_references(), ElementsAre("users"));
  EXPECT_THAT(build.rate_limit_references(), ElementsAre("per-user"));
  EXPECT_THAT(build.secret_references(), ElementsAre("pepper"));
  EXPECT_TRUE(build.errors().empty());

  EXPECT_EQ(MessageOf(build.Cluster("authority", "user").status()),
            "filters[2].jwt.authority: there is no cluster \"user\", did you mean \"users\"?");
  EXPECT_FALSE(build.Secret("key", "peper").ok());
  EXPECT_FALSE(build.RateLimit("policies[1]", "overall").ok());
  ASSERT_EQ(build.errors().size(), 3u);
  EXPECT_EQ(build.errors()[1].suggestion, "pepper");
  EXPECT_EQ(build.errors()[2].path, "filters[2].jwt.policies[1]");
  EXPECT_EQ(build.errors()[2].suggestion, "");
}

TEST(BuildContextTest, AnErrorMayBeOfTheFilterAsAWhole) {
  const BuildResources resources;
  BuildContext build(resources, "filters[0].x");
  EXPECT_EQ(MessageOf(build.Error("", "is wrong")), "filters[0].x: is wrong");
}

}  // namespace
}  // namespace gatehouse::filters
