#include "source/config/messages.h"

#include <string>

#include "gmock/gmock.h"
#include "google/protobuf/unknown_field_set.h"
#include "gtest/gtest.h"

#include "test/config/text_test.pb.h"

namespace gatehouse::config {
namespace {

using google::protobuf::Message;

void AddUnknown(Message* message, int number) {
  message->GetReflection()->MutableUnknownFields(message)->AddVarint(number, 1);
}

std::string Found(const Message& message) {
  const auto unknown = UnknownFieldOf(message);
  return unknown ? unknown->path + ": " + unknown->message : "";
}

TEST(UnknownFieldTest, NothingUnknown) {
  test::Everything message;
  message.set_name("a");
  message.add_places()->set_address("b");
  (*message.mutable_by_number())[3].set_address("c");
  test::Place packed;
  packed.set_address("d");
  message.mutable_inner()->mutable_extension()->PackFrom(packed);
  EXPECT_EQ(Found(message), "");
}

TEST(UnknownFieldTest, TellsWhere) {
  test::Everything top;
  AddUnknown(&top, 2300);
  EXPECT_EQ(Found(top), ": field 2300 is not known to this version of the gateway");

  test::Everything below;
  below.mutable_inner()->add_places();
  AddUnknown(below.mutable_inner()->add_places(), 99);
  EXPECT_EQ(Found(below), "inner.places[1]: field 99 is not known to this version of the gateway");

  test::Everything in_map;
  AddUnknown(&(*in_map.mutable_by_number())[7], 99);
  EXPECT_EQ(Found(in_map),
            "by_number[0].value: field 99 is not known to this version of the gateway");
}

TEST(UnknownFieldTest, LooksIntoAny) {
  test::Place place;
  AddUnknown(&place, 99);
  test::Everything message;
  message.mutable_extension()->PackFrom(place);
  EXPECT_EQ(Found(message), "extension: field 99 is not known to this version of the gateway");
  // Types that are not there, and bytes that are no message, are for whoever unpacks them.
  message.mutable_extension()->set_type_url("type.example/none.Such");
  EXPECT_EQ(Found(message), "");
}

// Each is parsed anew: without a limit, a peer would choose where the stack ends.
TEST(UnknownFieldTest, AnyWithinAnyWithinAny) {
  test::Everything message;
  for (int i = 0; i < 8; ++i) {
    test::Everything outer;
    outer.mutable_extension()->PackFrom(message);
    message = outer;
  }
  EXPECT_EQ(Found(message), "");
  for (int i = 0; i < 2000; ++i) {
    test::Everything outer;
    outer.mutable_extension()->PackFrom(message);
    message = outer;
  }
  EXPECT_THAT(Found(message), testing::HasSubstr("more messages within one another"));
}

TEST(UnknownFieldTest, ValuesOfEnums) {
  test::Everything message;
  message.add_policies(test::Everything::POLICY_RING_HASH);
  EXPECT_EQ(Found(message), "");
  message.add_policies(static_cast<test::Everything::Policy>(77));
  EXPECT_EQ(Found(message),
            "policies[1]: the value 77 is not known to this version of the gateway");
}

}  // namespace
}  // namespace gatehouse::config
