#include "source/filters/registry.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <google/protobuf/text_format.h>

#include "api/gatehouse/filters/v1/cors.pb.h"
#include "api/gatehouse/v1/filter.pb.h"
#include "api/gatehouse/v1/rate_limit.pb.h"
#include "source/base/status.h"
#include "source/filters/builtin.h"
#include "test/filters/filter_fixture.h"

namespace gatehouse::filters {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// A filter from outside the tree; any message will do as its config.
class Outside {
 public:
  static constexpr Hooks kHooks = Hooks::kRequestHeaders;
  static absl::StatusOr<Outside> Build(const gatehouse::v1::TokenBucket& config,
                                       BuildContext& context) {
    if (config.burst() == 0) return context.Error("burst", "must not be 0");
    return Outside();
  }
  struct Call {
    Verdict OnRequestHeaders(const Outside&, FilterContext&) {
      return Reply{418, "outside", "Called."};
    }
  };
};

class RegistryTest : public FilterFixture {
 protected:
  RegistryTest() {
    RegisterBuiltinFilters(registry_of_filters_);
    registry_of_filters_.Register<Outside, gatehouse::v1::TokenBucket>("outside");
  }
  absl::StatusOr<AnyFilter> Build(const gatehouse::v1::Filter& entry) {
    build_ = std::make_unique<BuildContext>(resources_, "filters[0]");
    return registry_of_filters_.Build(entry, *build_);
  }
  absl::StatusOr<AnyFilter> Build(const std::string& text) {
    gatehouse::v1::Filter entry;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &entry));
    return Build(entry);
  }

  Registry registry_of_filters_;
};

TEST_F(RegistryTest, KnowsTheBuiltinFilters) {
  EXPECT_THAT(registry_of_filters_.kinds(),
              ElementsAre("cors", "grpc_web", "headers", "outside", "rate_limit", "request_id"));
}

TEST_F(RegistryTest, BuildsByTheFieldThatIsSet) {
  EXPECT_TRUE(Build("cors { allow_origins: '*' }").ok());
  EXPECT_TRUE(Build("headers {}").ok());
  EXPECT_TRUE(Build("request_id {}").ok());
  EXPECT_FALSE(Build("").ok());
}

TEST_F(RegistryTest, ErrorsOfABuildAreNotedWithTheirPath) {
  EXPECT_FALSE(Build("cors { allow_origins: 'shop.example' }").ok());
  EXPECT_THAT(Errors(), HasSubstr("filters[0].allow_origins[0]: "));
}

TEST_F(RegistryTest, FindsAFilterFromOutsideByTheTypeOfItsConfig) {
  gatehouse::v1::TokenBucket config;
  config.set_burst(1);
  gatehouse::v1::Filter entry;
  entry.mutable_extension()->PackFrom(config);
  absl::StatusOr<AnyFilter> built = Build(entry);
  ASSERT_TRUE(built.ok()) << built.status();
  Use(*std::move(built));
  EXPECT_EQ(run_.RequestHeaders(), Progress::kReply);
  EXPECT_EQ(run_.reply().status, 418);
}

TEST_F(RegistryTest, AnExtensionMustBeKnownAndReadable) {
  EXPECT_FALSE(
      Build("extension { type_url: 'type.googleapis.com/gatehouse.v1.TokenBuckets' }").ok());
  EXPECT_THAT(Errors(), HasSubstr("[gatehouse.v1.TokenBucket]"));
  EXPECT_FALSE(
      Build("extension { type_url: 'x/gatehouse.v1.TokenBucket' value: '\\377\\377' }").ok());
  EXPECT_THAT(Errors(), HasSubstr("not a serialized"));
}

TEST_F(RegistryTest, AFilterThatThisBuildLacksIsAnError) {
  const Registry empty;
  gatehouse::v1::Filter entry;
  entry.mutable_cors();
  build_ = std::make_unique<BuildContext>(resources_, "filters[0]");
  EXPECT_THAT(MessageOf(empty.Build(entry, *build_).status()),
              HasSubstr("this build has no filter \"cors\""));
}

}  // namespace
}  // namespace gatehouse::filters
