// What the status of a gateway says of what it has accepted and refused.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "test/control_plane/stream_for_test.h"

namespace gatehouse::control {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class XdsRejectionsTest : public ::testing::Test {
 protected:
  using Key = std::pair<Type, std::string>;

  void SetUp() override {
    gateway_.Gets(one_);
    gateway_.Subscribes(Type::kCluster, {"*"});
    gateway_.Reads();
  }
  // `set` is sent; the gateway refuses those named in `names`.
  DeltaGateway::Response Refuses(const std::shared_ptr<const ResourceSet>& set,
                                 const std::vector<std::string>& names) {
    gateway_.Gets(set);
    const auto response = gateway_.Takes();
    std::map<std::string, std::pair<std::string, std::string>> errors;
    for (const auto& name : names) errors[name] = {"endpoints[0]", "is no address"};
    EXPECT_THAT(gateway_.TakesAll(), IsEmpty());
    gateway_.Nacks(*response, errors);
    return *response;
  }
  std::vector<std::string> Rejected() {
    std::vector<std::string> names;
    for (const auto& [key, rejection] : gateway_.status().rejections) names.push_back(key.second);
    return names;
  }
  GatewayStatus::OfType& Clusters() {
    return gateway_.status().types[static_cast<size_t>(Type::kCluster)];
  }

  ResponseCache cache_{"control-1"};
  DeltaGateway gateway_{cache_};
  std::shared_ptr<const ResourceSet> one_ =
      SetOf(1, {{Type::kCluster, "a", "1"}, {Type::kCluster, "b", "1"}});
  std::shared_ptr<const ResourceSet> two_ =
      SetOf(2,
            {{Type::kCluster,
              "a",
              "2",
              "",
              {.file = "shop.yaml", .line = 20, .lines = {{"endpoints", 23}}}},
             {Type::kCluster, "b", "2"}},
            one_);
};

TEST_F(XdsRejectionsTest, AcceptedAfterTheAckOfEverything) {
  EXPECT_EQ(gateway_.status().sent_revision, 1U);
  EXPECT_EQ(gateway_.status().accepted_revision, 1U);
  EXPECT_EQ(Clusters().acks, 1U);
  EXPECT_EQ(Clusters().resources, 2U);

  gateway_.Gets(SetOf(
      2, {{Type::kCluster, "a", "2"}, {Type::kCluster, "b", "1"}, {Type::kListener, "l", "1"}},
      one_));
  gateway_.Subscribes(Type::kListener, {"*"});
  const auto responses = gateway_.TakesAll();
  ASSERT_EQ(responses.size(), 2U);
  EXPECT_EQ(gateway_.status().sent_revision, 2U);
  EXPECT_EQ(gateway_.status().accepted_revision, 1U);
  EXPECT_EQ(gateway_.Acks(responses[1]).newly_accepted, 0U);
  EXPECT_EQ(gateway_.status().accepted_revision, 1U);
  EXPECT_EQ(gateway_.Acks(responses[0]).newly_accepted, 2U);
  EXPECT_EQ(gateway_.status().accepted_revision, 2U);
}

TEST_F(XdsRejectionsTest, NamesFileAndLine) {
  Refuses(two_, {"a"});
  ASSERT_THAT(Rejected(), ElementsAre("a"));
  const ResourceRejection& rejection = gateway_.status().rejections.at(Key(Type::kCluster, "a"));
  EXPECT_EQ(rejection.version, "2");
  ASSERT_EQ(rejection.errors.size(), 1U);
  EXPECT_EQ(rejection.errors[0].path, "endpoints[0]");
  EXPECT_EQ(rejection.errors[0].message, "is no address");
  EXPECT_EQ(rejection.errors[0].file, "shop.yaml");
  EXPECT_EQ(rejection.errors[0].line, 23);
  EXPECT_EQ(gateway_.status().versions.at(Key(Type::kCluster, "a")), "1") << "is what it runs";
  EXPECT_EQ(gateway_.status().accepted_revision, 1U);
  EXPECT_EQ(Clusters().nacks, 1U);
  EXPECT_EQ(Clusters().resources, 1U);
}

TEST_F(XdsRejectionsTest, LinesAreThoseOfTheVersionThatWasRefused) {
  gateway_.Gets(two_);
  const auto response = gateway_.Takes();
  // Before the answer comes, the file has changed.
  gateway_.Gets(
      SetOf(3, {{Type::kCluster, "a", "3", "", {.file = "shop.yaml", .line = 90}}}, two_));
  gateway_.Nacks(*response, {{"a", {"endpoints[0]", "is no address"}}});
  const ResourceRejection& rejection = gateway_.status().rejections.at(Key(Type::kCluster, "a"));
  EXPECT_EQ(rejection.version, "2");
  EXPECT_EQ(rejection.errors[0].line, 23);
}

TEST_F(XdsRejectionsTest, EndsWhenANewerVersionIsAccepted) {
  Refuses(two_, {"a", "b"});
  const auto three = SetOf(3, {{Type::kCluster, "a", "3"}, {Type::kCluster, "b", "2"}}, two_);
  gateway_.Gets(three);
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster +a@3"));
  EXPECT_THAT(Rejected(), ElementsAre("b")) << "which was not sent again";
  EXPECT_EQ(gateway_.status().accepted_revision, 1U);
  gateway_.Gets(SetOf(4, {{Type::kCluster, "a", "3"}}, three));
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster -b"));
  EXPECT_THAT(Rejected(), IsEmpty());
  EXPECT_TRUE(gateway_.status().versions.empty());
  EXPECT_EQ(gateway_.status().accepted_revision, 4U);
}

TEST_F(XdsRejectionsTest, EndsWhenTheSameResponseIsAcceptedAfterAll) {
  const auto response = Refuses(two_, {"a", "b"});
  // b's reference has come: only a is refused now.
  gateway_.Nacks(response, {{"a", {"", "bad"}}});
  EXPECT_THAT(Rejected(), ElementsAre("a"));
  EXPECT_EQ(gateway_.Acks(response).kind, RequestOutcome::Kind::kAck);
  EXPECT_THAT(Rejected(), IsEmpty());
  EXPECT_EQ(gateway_.status().accepted_revision, 2U);
  EXPECT_EQ(gateway_.Acks(response).kind, RequestOutcome::Kind::kStale);
}

TEST_F(XdsRejectionsTest, TheRestOfARefusedResponseIsAccepted) {
  Refuses(two_, {"a", "b"});
  Refuses(SetOf(3, {{Type::kCluster, "a", "3"}, {Type::kCluster, "b", "3"}}, two_), {"a"});
  EXPECT_THAT(Rejected(), ElementsAre("a"));
  EXPECT_EQ(gateway_.status().versions.at(Key(Type::kCluster, "a")), "1") << "twice refused";
}

TEST_F(XdsRejectionsTest, WaitingIsSaid) {
  gateway_.Gets(two_);
  const auto response = gateway_.Takes();
  DeltaGateway::Request request = gateway_.Answer(*response);
  gatehouse::v1::Rejection rejection;
  rejection.set_type("Cluster");
  rejection.set_name("a");
  rejection.set_waiting(true);
  request.mutable_error_detail()->add_details()->PackFrom(rejection);
  gateway_.Sends(request);
  EXPECT_TRUE(gateway_.status().rejections.at(Key(Type::kCluster, "a")).waiting);
}

TEST_F(XdsRejectionsTest, ForeignGatewaysGiveATextAlone) {
  gateway_.Gets(two_);
  const auto response = gateway_.Takes();
  EXPECT_EQ(gateway_.Nacks(*response, {}).rejected, 1U);
  EXPECT_EQ(Clusters().text, "refused");
  EXPECT_THAT(Rejected(), ElementsAre("")) << "nobody knows which";
  EXPECT_EQ(gateway_.status().accepted_revision, 1U);
  gateway_.Gets(SetOf(3, {{Type::kCluster, "a", "3"}, {Type::kCluster, "b", "2"}}, two_));
  gateway_.Reads();
  EXPECT_THAT(Rejected(), IsEmpty());
  EXPECT_EQ(Clusters().text, "");
  EXPECT_EQ(gateway_.status().accepted_revision, 3U);
}

TEST_F(XdsRejectionsTest, AGatewayDoesNotFillOurMemoryWithItsErrors) {
  gateway_.Gets(two_);
  const auto response = gateway_.Takes();
  std::map<std::string, std::pair<std::string, std::string>> errors;
  const std::string text(5000, 'x');
  for (int i = 0; i < 3000; ++i) errors[std::to_string(i)] = {text, text};
  gateway_.Nacks(*response, errors);
  gateway_.Nacks(*response, errors);
  size_t bytes = 0;
  for (const auto& [key, rejection] : gateway_.status().rejections) {
    for (const auto& error : rejection.errors) bytes += error.path.size() + error.message.size();
  }
  EXPECT_EQ(gateway_.status().rejections.size(), 3000U) << "each is named";
  EXPECT_LT(bytes, size_t{4} << 20);
  EXPECT_GT(bytes, size_t{3} << 20);
  gateway_.Acks(*response);
  EXPECT_THAT(Rejected(), IsEmpty());
}

TEST_F(XdsRejectionsTest, ALongTextIsCutBetweenCharacters) {
  gateway_.Gets(two_);
  std::string text = "x";
  while (text.size() < 3000) text += "\xc3\xa9";
  gateway_.Nacks(*gateway_.Takes(), {{"a", {"", text}}});
  const std::string& kept =
      gateway_.status().rejections.at(Key(Type::kCluster, "a")).errors[0].message;
  EXPECT_EQ(kept, text.substr(0, 1999) + "...");
}

TEST_F(XdsRejectionsTest, ATextAboutOneResourceIsAboutIt) {
  gateway_.Gets(SetOf(2, {{Type::kCluster, "a", "2"}, {Type::kCluster, "b", "1"}}, one_));
  const auto response = gateway_.Takes();
  gateway_.Nacks(*response, {});
  ASSERT_THAT(Rejected(), ElementsAre("a"));
  const ResourceRejection& rejection = gateway_.status().rejections.at(Key(Type::kCluster, "a"));
  EXPECT_EQ(rejection.errors[0].message, "refused");
  EXPECT_EQ(rejection.errors[0].file, "shop.yaml");
  EXPECT_EQ(rejection.errors[0].line, 10);
}

TEST_F(XdsRejectionsTest, VersionsFromBeforeAReconnectAreKnown) {
  DeltaGateway again(cache_);
  again.Gets(two_);
  again.Subscribes(Type::kCluster, {"*"}, {{"a", "1"}, {"b", "2"}});
  const auto response = again.Takes();
  again.Nacks(*response, {{"a", {"", "bad"}}});
  EXPECT_EQ(again.status().versions.at(Key(Type::kCluster, "a")), "1");
}

TEST_F(XdsRejectionsTest, UnderAFloodOfRevisionsAcceptanceIsNotLost) {
  auto set = one_;
  std::vector<DeltaGateway::Response> open;
  for (uint64_t revision = 2; revision < 200; ++revision) {
    set = SetOf(revision, {{Type::kCluster, "a", std::to_string(revision)}}, set);
    gateway_.Gets(set);
    for (const auto& response : gateway_.TakesAll()) open.push_back(response);
    // Always one behind.
    if (open.size() < 2) continue;
    gateway_.Acks(open.front());
    open.erase(open.begin());
    EXPECT_GE(gateway_.status().accepted_revision + 2, revision);
  }
}

TEST_F(XdsRejectionsTest, AGatewayIsNotGivenAllOfOurMemory) {
  gateway_.Gets(two_);
  const auto response = gateway_.Takes();
  DeltaGateway::Request request = gateway_.Answer(*response);
  for (int i = 0; i < 11'000; ++i) {
    gatehouse::v1::Rejection rejection;
    rejection.set_type("Cluster");
    rejection.set_name(std::to_string(i));
    for (int j = 0; j < 30; ++j) rejection.add_errors()->set_message("m");
    if (i == 0) rejection.mutable_errors(0)->set_message(std::string(100'000, 'x'));
    request.mutable_error_detail()->add_details()->PackFrom(rejection);
  }
  gateway_.Sends(request);
  EXPECT_EQ(gateway_.status().rejections.size(), 10'000U);
  const auto& errors = gateway_.status().rejections.at(Key(Type::kCluster, "0")).errors;
  EXPECT_EQ(errors.size(), 20U);
  EXPECT_LT(errors[0].message.size(), 3000U);
}

}  // namespace
}  // namespace gatehouse::control
