#include "source/filters/resolve.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"
#include <google/protobuf/text_format.h>

#include "api/gatehouse/v1/route.pb.h"

namespace gatehouse::filters {
namespace {

using List = google::protobuf::RepeatedPtrField<gatehouse::v1::Filter>;

List Parse(const std::string& text) {
  gatehouse::v1::RouteTable table;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &table));
  return table.filters();
}

class ResolveTest : public testing::Test {
 protected:
  // "name@path", in order.
  std::string Resolve(const List& outer, const List& inner) {
    errors_.clear();
    const auto resolved =
        ResolveFilters(ResolveFilters({}, outer, "table", errors_), inner, "route", errors_);
    std::string text;
    for (const ResolvedFilter& filter : resolved) {
      text += (text.empty() ? "" : " ") + filter.name + "@" + filter.path;
    }
    return text;
  }
  std::string Errors() const {
    std::string text;
    for (const ResolveError& error : errors_) {
      text += error.path + ": " + error.message;
      if (!error.suggestion.empty()) text += " [" + error.suggestion + "]";
      text += "\n";
    }
    return text;
  }

  std::vector<ResolveError> errors_;
};

TEST_F(ResolveTest, TheOuterListThenTheRoutesOwn) {
  EXPECT_EQ(Resolve(Parse("filters { cors {} } filters { headers {} }"),
                    Parse("filters { rate_limit {} }")),
            "cors@table[0] headers@table[1] rate_limit@route[0]");
  EXPECT_EQ(Errors(), "");
  EXPECT_EQ(Resolve({}, {}), "");
}

TEST_F(ResolveTest, AnEntryOfAKnownNameReplacesItInItsPlace) {
  EXPECT_EQ(
      Resolve(Parse("filters { cors {} } filters { headers {} }"),
              Parse("filters { rate_limit {} } filters { cors { allow_credentials: true } }")),
      "cors@route[1] headers@table[1] rate_limit@route[0]");
  EXPECT_EQ(Errors(), "");
}

TEST_F(ResolveTest, NamesTellEntriesOfOneKindApart) {
  EXPECT_EQ(Resolve(Parse("filters { headers {} } filters { name: 'second' headers {} }"),
                    Parse("filters { name: 'second' headers {} }")),
            "headers@table[0] second@route[0]");
  EXPECT_EQ(Errors(), "");
}

TEST_F(ResolveTest, DisabledRemoves) {
  const List outer = Parse("filters { cors {} } filters { headers {} }");
  EXPECT_EQ(Resolve(outer, Parse("filters { name: 'cors' disabled: true }")), "headers@table[1]");
  EXPECT_EQ(Resolve(outer, Parse("filters { disabled: true headers {} }")), "cors@table[0]");
  EXPECT_EQ(Errors(), "");
}

TEST_F(ResolveTest, DisablingWhatIsNotThereIsAnErrorWithTheNearestName) {
  EXPECT_EQ(Resolve(Parse("filters { rate_limit {} }"),
                    Parse("filters { name: 'rate_limits' disabled: true }")),
            "rate_limit@table[0]");
  EXPECT_EQ(Errors(), "route[0]: there is no filter \"rate_limits\" to disable [rate_limit]\n");
}

TEST_F(ResolveTest, ANameTwiceInOneListIsAnError) {
  EXPECT_EQ(Resolve(Parse("filters { cors {} } filters { cors {} }"), {}), "cors@table[0]");
  EXPECT_EQ(Errors(), "table[1]: a second filter \"cors\" in one list; give it another name\n");
}

TEST_F(ResolveTest, AnEntryNeedsAKind) {
  EXPECT_EQ(Resolve(Parse("filters { } filters { name: 'x' } filters { cors {} }"), {}),
            "cors@table[2]");
  EXPECT_EQ(Errors(),
            "table[0]: a filter needs a kind, such as cors\n"
            "table[1]: a filter needs a kind, such as cors, or disabled: true\n");
}

TEST_F(ResolveTest, AnExtensionIsNamedByItsType) {
  const List list = Parse("filters { extension { type_url: 'type.googleapis.com/acme.ApiKey' } }");
  EXPECT_EQ(Resolve(list, {}), "acme.ApiKey@table[0]");
  EXPECT_EQ(KindOf(list[0]), "acme.ApiKey");
}

}  // namespace
}  // namespace gatehouse::filters
