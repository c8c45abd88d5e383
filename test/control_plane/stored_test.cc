#include "source/control_plane/stored.h"

#include <cstdint>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace gatehouse::control {
namespace {

class StoredStatusTest : public testing::Test {
 protected:
  StoredStatusTest() {
    GatewayStatus status{.node = "edge-1", .group = "edge", .address = "10.0.0.7:1"};
    for (const char* name : {"a", "b", "c"}) {
      status.rejections[{ResourceType::kCluster, name}] = {
          .type = ResourceType::kCluster,
          .name = name,
          // Not all that a gateway says is UTF-8.
          .errors = {{.path = "endpoints[0]", .message = "caf\xe9", .file = "a.yaml", .line = 3}}};
      status.versions[{ResourceType::kCluster, name}] = "1";
    }
    fleet_.Connected(1, status);
  }
  [[nodiscard]] GatewayStatus SeenByOthers(size_t refusals) const {
    stored::v1::InstanceStatus status;
    EXPECT_TRUE(status.ParseFromString(EncodeStatus(fleet_, refusals).SerializeAsString()));
    const std::vector<GatewayStatus> gateways = DecodeStatus(status);
    EXPECT_EQ(gateways.size(), 1U);
    return gateways.empty() ? GatewayStatus() : gateways.front();
  }

  Fleet fleet_{"control-1"};
};

TEST_F(StoredStatusTest, OthersSeeWhatIsKnownOfAGateway) {
  const GatewayStatus seen = SeenByOthers(SIZE_MAX);
  EXPECT_EQ(seen.node, "edge-1");
  EXPECT_EQ(seen.instance, "control-1");
  EXPECT_TRUE(seen.connected);
  ASSERT_EQ(seen.rejections.size(), 3U);
  const ResourceRejection& b = seen.rejections.at({ResourceType::kCluster, "b"});
  ASSERT_EQ(b.errors.size(), 1U);
  EXPECT_EQ(b.errors[0].message, "caf\xe9");
  EXPECT_EQ(b.errors[0].line, 3);
  EXPECT_EQ(seen.versions.size(), 3U);
}

TEST_F(StoredStatusTest, DetailsCanBeLeftOut) {
  EXPECT_EQ(SeenByOthers(1).rejections.size(), 1U);
  EXPECT_EQ(SeenByOthers(1).versions.size(), 1U);
}

}  // namespace
}  // namespace gatehouse::control
