#include "source/xds/wire_budget.h"

#include <string>
#include <string_view>

#include "gtest/gtest.h"

#include "api/gatehouse/v1/bootstrap.pb.h"
#include "api/gatehouse/v1/filter.pb.h"
#include "api/gatehouse/v1/route.pb.h"

namespace gatehouse::xds {
namespace {

using Message = google::protobuf::Message;

size_t ItemsOf(const Message& message) {
  WireBudget budget(1'000'000);
  EXPECT_TRUE(budget.Take(*message.GetDescriptor(), message.SerializeAsString()));
  return budget.taken();
}

TEST(WireBudgetTest, CountsMessagesAndTexts) {
  v1::RouteTable table;
  EXPECT_EQ(ItemsOf(table), 1u);
  table.set_name("main");
  EXPECT_EQ(ItemsOf(table), 2u);
  for (int i = 0; i < 10; ++i) table.add_routes();
  EXPECT_EQ(ItemsOf(table), 12u);
  for (int i = 0; i < 10; ++i) table.mutable_routes(3)->set_name("r");
  EXPECT_EQ(ItemsOf(table), 13u);
  const std::string bytes = table.SerializeAsString();
  EXPECT_FALSE(WireBudget(12).Take(*table.GetDescriptor(), bytes));
  EXPECT_TRUE(WireBudget(13).Take(*table.GetDescriptor(), bytes));
  EXPECT_FALSE(WireBudget(0).Take(*table.GetDescriptor(), ""));
}

TEST(WireBudgetTest, CountsWhatIsNotKnown) {
  v1::RouteTable table;
  auto* unknown = table.GetReflection()->MutableUnknownFields(&table);
  unknown->AddVarint(1000, 1);
  unknown->AddFixed32(1001, 1);
  unknown->AddFixed64(1002, 1);
  unknown->AddLengthDelimited(1003, "text");
  unknown->AddGroup(1004)->AddVarint(1, 1);
  EXPECT_GE(ItemsOf(table), 6u);
}

TEST(WireBudgetTest, LooksIntoAnyWhenAskedTo) {
  v1::RouteTable table;
  for (int i = 0; i < 100; ++i) table.add_routes();
  v1::Filter filter;
  filter.mutable_extension()->PackFrom(table);
  EXPECT_LT(ItemsOf(filter), 10u);
  WireBudget all(1000);
  EXPECT_TRUE(all.TakeAll(*filter.GetDescriptor(), filter.SerializeAsString()));
  EXPECT_GT(all.taken(), 100u);
  EXPECT_FALSE(WireBudget(100).TakeAll(*filter.GetDescriptor(), filter.SerializeAsString()));
}

// Any bytes, cut anywhere: no crash, and never more items than bytes and one.
TEST(WireBudgetTest, AnyBytes) {
  v1::Bootstrap bootstrap;
  for (int i = 0; i < 5; ++i) {
    bootstrap.add_route_tables()->add_routes()->set_name("route");
    bootstrap.add_clusters()->set_name("users");
  }
  const std::string bytes = bootstrap.SerializeAsString();
  for (size_t cut = 0; cut <= bytes.size(); ++cut) {
    for (const char last : {'\0', '\x7f', '\xff'}) {
      WireBudget budget(1'000'000);
      const std::string text = bytes.substr(0, cut) + last;
      EXPECT_TRUE(budget.TakeAll(*bootstrap.GetDescriptor(), text));
      EXPECT_LE(budget.taken(), text.size() + 1);
    }
  }
}

}  // namespace
}  // namespace gatehouse::xds
