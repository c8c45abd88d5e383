#include "source/config/field.h"

#include "gtest/gtest.h"

#include "source/base/status.h"

namespace gatehouse::config {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class FieldTest : public testing::Test {
 protected:
  std::string Errors() const { return errors_.ToString(); }

  SourceMap source_;
  ErrorList errors_;
  const Field root_{source_, errors_};
};

TEST_F(FieldTest, PathsAreWrittenOut) {
  EXPECT_EQ(root_.Path(), "");
  const Field routes = root_.Below("routes");
  const Field route = routes.Item(3);
  EXPECT_EQ(route.Below("match.path").Path(), "routes[3].match.path");
  EXPECT_EQ(route.Below("[2]").Path(), "routes[3][2]");
}

TEST_F(FieldTest, StatusesMayNameAPart) {
  const Field regex = root_.Below("regex");
  regex.ErrorBelow(InvalidArgument("pattern: missing ): a("));
  regex.ErrorBelow(InvalidArgument("Something: else"));
  regex.ErrorBelow(InvalidArgument("items[2].name: bad"));
  regex.ErrorBelow(absl::OkStatus());
  EXPECT_EQ(Errors(),
            "regex.pattern: missing ): a(\n"
            "regex: Something: else\n"
            "regex.items[2].name: bad\n");
}

TEST_F(FieldTest, UnknownNamesGetTheNearest) {
  const std::vector<std::string_view> known = {"users", "orders"};
  root_.Below("cluster").Unknown("cluster", "usres", known);
  root_.Below("cluster").Unknown("cluster", "else", known);
  EXPECT_EQ(Errors(),
            "cluster: there is no cluster \"usres\", did you mean \"users\"?\n"
            "cluster: there is no cluster \"else\"\n");
}

TEST_F(FieldTest, Durations) {
  const DurationRule rule = {.fallback = seconds(5)};
  const Field field = root_.Below("d");
  google::protobuf::Duration value;
  const auto read = [&](int64_t s, int32_t nanos, const DurationRule& by) {
    value.set_seconds(s);
    value.set_nanos(nanos);
    return ReadDuration(true, value, by, field);
  };
  EXPECT_EQ(ReadDuration(false, value, rule, field), seconds(5));
  EXPECT_EQ(read(1, 500'000'000, rule), milliseconds(1500));
  EXPECT_EQ(read(0, 0, {.fallback = seconds(5), .zero_is_none = true}), kNoTimeout);
  EXPECT_EQ(Errors(), "");
  EXPECT_EQ(read(0, 0, rule), seconds(5));
  EXPECT_EQ(read(-1, 0, rule), seconds(5));
  EXPECT_EQ(read(1, -1, rule), seconds(5));
  EXPECT_EQ(read(0, 1000, rule), seconds(5));
  EXPECT_EQ(read(0, 1'000'000'000, rule), seconds(5));
  EXPECT_EQ(read(INT64_MAX, 0, rule), seconds(5));
  EXPECT_EQ(Errors(),
            "d: must be more than 0s\n"
            "d: must not be negative\n"
            "d: must not be negative\n"
            "d: must be at least 1ms\n"
            "d: is not a valid duration\n"
            "d: is longer than 8760h\n");
}

TEST_F(FieldTest, Headers) {
  const Field field = root_.Below("h");
  EXPECT_EQ(ReadHeaderName("X-Tenant", field), "x-tenant");
  EXPECT_TRUE(CheckSettableHeader("X-Tenant", "a b", field));
  EXPECT_FALSE(CheckSettableHeader("Transfer-Encoding", "chunked", field));
  EXPECT_FALSE(CheckSettableHeader("X-Tenant", "a\r\nb", field));
  EXPECT_FALSE(CheckSettableHeader("", "a", field));
  EXPECT_EQ(Errors(),
            "h.name: \"Transfer-Encoding\" is for the gateway to write\n"
            "h.value: holds a control character, which no header may\n"
            "h.name: must not be empty\n");
}

TEST_F(FieldTest, Names) {
  const Field field = root_.Below("name");
  EXPECT_TRUE(CheckName("users v2/äöü", field));
  EXPECT_FALSE(CheckName("", field));
  EXPECT_FALSE(CheckName("a\nb", field));
  EXPECT_FALSE(CheckName(std::string(256, 'a'), field));
}

}  // namespace
}  // namespace gatehouse::config
