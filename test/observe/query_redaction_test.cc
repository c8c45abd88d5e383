#include "source/observe/query_redaction.h"

#include <string>
#include <string_view>
#include <vector>

#include "gtest/gtest.h"

namespace gatehouse::observe {
namespace {

std::string Logged(std::string_view query, QueryLog mode = QueryLog::kRedacted,
                   const std::vector<std::string>& secrets = {}) {
  std::string out;
  QueryRedaction(mode, secrets).ForEachPiece(query, [&](std::string_view piece) { out += piece; });
  return out;
}

TEST(QueryRedactionTest, HidesWhatLooksLikeACredential) {
  EXPECT_EQ(Logged("a=1&token=abc&b=2"), "a=1&token=***&b=2");
  EXPECT_EQ(Logged("access_token=abc"), "access_token=***");
  EXPECT_EQ(Logged("X-Amz-Signature=abc&X-Amz-Expires=5"), "X-Amz-Signature=***&X-Amz-Expires=5");
  EXPECT_EQ(Logged("API-Key=a;api.key=b;apikey=c"), "API-Key=***;api.key=***;apikey=***");
  EXPECT_EQ(Logged("Password=a=b=c&x=1"), "Password=***&x=1");
  EXPECT_EQ(Logged("code=123&state=xyz"), "code=***&state=***");
  EXPECT_EQ(Logged("%74oken=abc&to%6Ben=d"), "%74oken=***&to%6Ben=***");
}

TEST(QueryRedactionTest, KeepsTheRest) {
  for (const std::string_view query : {"", "a", "a=", "&", "a=1&&b=2", "page=2&sort=key", "token",
                                       "token=", "monkey=1", "%=%2", "="}) {
    EXPECT_EQ(Logged(query), query);
  }
}

TEST(QueryRedactionTest, Modes) {
  const std::string_view query = "a=1&token=abc&c&d=";
  EXPECT_EQ(Logged(query, QueryLog::kFull), query);
  EXPECT_EQ(Logged(query, QueryLog::kNone), "");
  EXPECT_EQ(Logged(query, QueryLog::kNames), "a=***&token=***&c&d=");
}

TEST(QueryRedactionTest, FurtherNames) {
  EXPECT_EQ(Logged("Ticket-Id=1&other=2", QueryLog::kRedacted, {"ticket_id"}),
            "Ticket-Id=***&other=2");
}

}  // namespace
}  // namespace gatehouse::observe
