#include "source/control_plane/response_cache.h"

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "api/envoy/service/discovery/v3/discovery.pb.h"
#include "test/control_plane/resources_for_test.h"

namespace gatehouse::control {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using DeltaResponse = envoy::service::discovery::v3::DeltaDiscoveryResponse;
using WorldResponse = envoy::service::discovery::v3::DiscoveryResponse;

DeltaResponse Parse(const Body& body, uint64_t revision, const std::string& nonce) {
  DeltaResponse response;
  EXPECT_TRUE(response.ParseFromString(body->bytes + DeltaTail(revision, nonce)));
  return response;
}

std::vector<std::string> NamesIn(const Bodies& bodies) {
  std::vector<std::string> names;
  for (const Body& body : bodies) {
    for (const auto& resource : body->resources) names.push_back(resource->name);
    for (const auto& name : body->removed) names.push_back("-" + name);
  }
  return names;
}

TEST(ResponseBodyTest, DeltaIsTheStandardsMessage) {
  const ResponseWriter writer("control-1");
  const Bodies bodies =
      writer.Delta(Type::kCluster, {ResourceOf({Type::kCluster, "users", "v1"})}, {"gone"});
  ASSERT_EQ(bodies.size(), 1U);
  const DeltaResponse response = Parse(bodies[0], 12, "12.3");
  EXPECT_EQ(response.system_version_info(), "12");
  EXPECT_EQ(response.nonce(), "12.3");
  EXPECT_EQ(response.type_url(), TypeUrl(Type::kCluster));
  EXPECT_EQ(response.control_plane().identifier(), "control-1");
  ASSERT_EQ(response.resources_size(), 1);
  EXPECT_EQ(response.resources(0).name(), "users");
  EXPECT_EQ(response.resources(0).version(), "v1");
  EXPECT_EQ(response.resources(0).resource().type_url(), TypeUrl(Type::kCluster));
  EXPECT_EQ(response.resources(0).resource().value(), "users=v1");
  EXPECT_THAT(response.removed_resources(), ElementsAre("gone"));
  EXPECT_TRUE(bodies[0]->Covers("gone"));
  EXPECT_TRUE(bodies[0]->Covers("users"));
  EXPECT_FALSE(bodies[0]->Covers("other"));
}

TEST(ResponseBodyTest, WorldIsTheStandardsMessage) {
  const ResponseWriter writer("control-1");
  const Body body = writer.Complete(Type::kSecret, {ResourceOf({Type::kSecret, "a", "v1"}),
                                                    ResourceOf({Type::kSecret, "b", "v2"})});
  WorldResponse response;
  ASSERT_TRUE(response.ParseFromString(body->bytes + WorldTail("7.1")));
  EXPECT_EQ(response.nonce(), "7.1");
  EXPECT_EQ(response.type_url(), TypeUrl(Type::kSecret));
  EXPECT_EQ(response.control_plane().identifier(), "control-1");
  ASSERT_EQ(response.resources_size(), 2);
  EXPECT_EQ(response.resources(1).type_url(), TypeUrl(Type::kSecret));
  EXPECT_EQ(response.resources(1).value(), "b=v2");
  EXPECT_EQ(response.version_info().size(), 16U);
}

TEST(ResponseBodyTest, VersionOfTheWorldSaysWhatIsInIt) {
  const auto version = [](const std::vector<Written>& resources) {
    Resources list;
    for (const auto& written : resources) list.push_back(ResourceOf(written));
    WorldResponse response;
    EXPECT_TRUE(response.ParseFromString(
        ResponseWriter("any").Complete(Type::kSecret, std::move(list))->bytes));
    return response.version_info();
  };
  EXPECT_EQ(version({{Type::kSecret, "a", "1"}}), version({{Type::kSecret, "a", "1"}}));
  EXPECT_NE(version({{Type::kSecret, "a", "1"}}), version({{Type::kSecret, "a", "2"}}));
  EXPECT_NE(version({{Type::kSecret, "a", "12"}}), version({{Type::kSecret, "a1", "2"}}));
}

TEST(ResponseBodyTest, LargeDeltasAreSplitBetweenResources) {
  const ResponseWriter writer("x", 200);
  Resources many;
  std::vector<std::string> removed;
  for (int i = 10; i < 30; ++i) {
    many.push_back(ResourceOf({Type::kCluster, "c" + std::to_string(i), "v"}));
    removed.push_back("d" + std::to_string(i));
  }
  const Bodies bodies = writer.Delta(Type::kCluster, many, removed);
  EXPECT_GT(bodies.size(), 5U);
  size_t resources = 0;
  size_t gone = 0;
  for (const Body& body : bodies) {
    EXPECT_LT(body->bytes.size(), 300U);
    const DeltaResponse response = Parse(body, 1, "1.1");
    resources += static_cast<size_t>(response.resources_size());
    gone += static_cast<size_t>(response.removed_resources_size());
  }
  EXPECT_EQ(resources, 20U);
  EXPECT_EQ(gone, 20U);
}

TEST(ResponseBodyTest, AResourceLargerThanAMessageGoesAlone) {
  const ResponseWriter writer("x", 10);
  Resources two = {ResourceOf({Type::kCluster, "a", std::string(500, 'v')}),
                   ResourceOf({Type::kCluster, "b", "v"})};
  const Bodies bodies = writer.Delta(Type::kCluster, two, {});
  ASSERT_EQ(bodies.size(), 2U);
  EXPECT_EQ(Parse(bodies[0], 1, "n").resources(0).name(), "a");
}

TEST(ResponseBodyTest, SizesOfAllLengths) {
  const ResponseWriter writer("x");
  for (const size_t size :
       {0U, 1U, 100U, 120U, 127U, 128U, 16'383U, 16'384U, 2'097'151U, 2'097'152U}) {
    const auto resource = ResourceOf({Type::kCluster, "n", std::string(size, 'v')});
    const DeltaResponse response = Parse(writer.Delta(Type::kCluster, {resource}, {})[0], 1, "n");
    EXPECT_EQ(response.resources(0).resource().value(), resource->message);
    EXPECT_EQ(response.resources(0).version().size(), size);
  }
}

class ResponseCacheTest : public ::testing::Test {
 protected:
  static TypeSet Clusters(const std::shared_ptr<const ResourceSet>& set) {
    return set->OfGroup("")->shared(Type::kCluster);
  }

  ResponseCache cache_{"control-1"};
  std::shared_ptr<const ResourceSet> one_ = SetOf(
      1, {{Type::kCluster, "a", "1"}, {Type::kCluster, "b", "1"}, {Type::kCluster, "c", "1"}});
  std::shared_ptr<const ResourceSet> two_ =
      SetOf(2, {{Type::kCluster, "b", "2"}, {Type::kCluster, "c", "1"}, {Type::kCluster, "d", "1"}},
            one_);
};

TEST_F(ResponseCacheTest, Differences) {
  const auto difference = cache_.Between(Type::kCluster, Clusters(one_), Clusters(two_));
  EXPECT_THAT(NamesIn(difference->Upserts()), ElementsAre("b", "d"));
  EXPECT_THAT(NamesIn(difference->Removals()), ElementsAre("-a"));
  EXPECT_THAT(NamesIn(difference->Both()), ElementsAre("b", "d", "-a"));
  EXPECT_THAT(NamesIn({difference->Complete()}), ElementsAre("b", "c", "d"));
  EXPECT_THAT(NamesIn({difference->WithRemoved()}), ElementsAre("a", "b", "c", "d"));
}

TEST_F(ResponseCacheTest, FromNothing) {
  const auto difference = cache_.Between(Type::kCluster, nullptr, Clusters(one_));
  EXPECT_THAT(NamesIn(difference->Upserts()), ElementsAre("a", "b", "c"));
  EXPECT_THAT(difference->Removals(), IsEmpty());
}

TEST_F(ResponseCacheTest, EqualContentIsNoDifference) {
  const auto same = SetOf(
      2, {{Type::kCluster, "a", "1"}, {Type::kCluster, "b", "1"}, {Type::kCluster, "c", "1"}});
  const auto difference = cache_.Between(Type::kCluster, Clusters(one_), Clusters(same));
  EXPECT_TRUE(difference->empty());
  EXPECT_THAT(difference->Both(), IsEmpty());
}

TEST_F(ResponseCacheTest, SharedByAllThatNeedIt) {
  const auto first = cache_.Between(Type::kCluster, Clusters(one_), Clusters(two_));
  const auto again = cache_.Between(Type::kCluster, Clusters(one_), Clusters(two_));
  EXPECT_EQ(first, again);
  EXPECT_EQ(first->Upserts()[0], again->Upserts()[0]);
  EXPECT_EQ(cache_.size().hits, 1U);
  EXPECT_EQ(cache_.size().misses, 1U);
  EXPECT_EQ(cache_.size().bytes, first->Upserts()[0]->bytes.size());
}

TEST_F(ResponseCacheTest, TypesAreNotMixedUp) {
  const auto set = SetOf(3, {});
  EXPECT_NE(cache_.Between(Type::kCluster, nullptr, Clusters(set)),
            cache_.Between(Type::kSecret, nullptr, Clusters(set)));
}

TEST_F(ResponseCacheTest, KeepsWhatLeadsToTheCurrentSetOnly) {
  const auto old = cache_.Between(Type::kCluster, nullptr, Clusters(one_));
  const auto current = cache_.Between(Type::kCluster, Clusters(one_), Clusters(two_));
  cache_.Keep(*two_);
  EXPECT_EQ(cache_.size().differences, 1U);
  EXPECT_EQ(cache_.Between(Type::kCluster, Clusters(one_), Clusters(two_)), current);
  EXPECT_NE(cache_.Between(Type::kCluster, nullptr, Clusters(one_)), old);
}

TEST_F(ResponseCacheTest, KeepsWhatGroupsHave) {
  const auto set = SetOf(5, {{Type::kCluster, "a", "1", "edge"}});
  const auto edge = set->OfGroup("edge")->shared(Type::kCluster);
  const auto difference = cache_.Between(Type::kCluster, nullptr, edge);
  cache_.Keep(*set);
  EXPECT_EQ(cache_.Between(Type::kCluster, nullptr, edge), difference);
}

TEST_F(ResponseCacheTest, IsBounded) {
  std::vector<std::shared_ptr<const ResourceSet>> sets;
  static_cast<void>(cache_.Between(Type::kCluster, nullptr, Clusters(two_)));
  for (uint64_t i = 0; i < ResponseCache::kMaxKept + 20; ++i) {
    sets.push_back(SetOf(i, {{Type::kCluster, "a", std::to_string(i)}}));
    static_cast<void>(cache_.Between(Type::kCluster, Clusters(sets.back()), Clusters(two_)));
  }
  EXPECT_EQ(cache_.size().differences, ResponseCache::kMaxKept + 1);
  const uint64_t misses = cache_.size().misses;
  static_cast<void>(cache_.Between(Type::kCluster, nullptr, Clusters(two_)));
  static_cast<void>(cache_.Between(Type::kCluster, Clusters(sets.back()), Clusters(two_)));
  EXPECT_EQ(cache_.size().misses, misses);
}

TEST_F(ResponseCacheTest, ThreadsShareOneComputation) {
  std::vector<std::shared_ptr<const Difference>> seen(8);
  std::vector<std::thread> threads;
  for (auto& slot : seen) {
    threads.emplace_back([&] {
      slot = cache_.Between(Type::kCluster, Clusters(one_), Clusters(two_));
      EXPECT_EQ(slot->Both().size(), 1U);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& slot : seen) EXPECT_EQ(slot, seen[0]);
  EXPECT_EQ(cache_.size().misses, 1U);
}

}  // namespace
}  // namespace gatehouse::control
