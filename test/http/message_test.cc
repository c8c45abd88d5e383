#include "source/http/message.h"

#include "gtest/gtest.h"

namespace gatehouse::http {
namespace {

TEST(MessageTest, Methods) {
  for (int i = 0; i < static_cast<int>(Method::kOther); ++i) {
    const auto method = static_cast<Method>(i);
    EXPECT_EQ(FindMethod(MethodText(method)), method);
  }
  for (const char* text : {"", "get", "GETS", "PAT", "POSH", "TRACK", "DELETX", "OPTIONZ", "PRI"}) {
    EXPECT_EQ(FindMethod(text), Method::kOther) << text;
  }
  EXPECT_TRUE(IsSafe(Method::kGet));
  EXPECT_FALSE(IsSafe(Method::kPut));
  EXPECT_TRUE(IsIdempotent(Method::kPut));
  EXPECT_FALSE(IsIdempotent(Method::kPost));
  EXPECT_FALSE(IsIdempotent(Method::kOther));
}

TEST(MessageTest, Reasons) {
  EXPECT_EQ(ReasonPhrase(200), "OK");
  EXPECT_EQ(ReasonPhrase(100), "Continue");
  EXPECT_EQ(ReasonPhrase(511), "Network Authentication Required");
  EXPECT_EQ(ReasonPhrase(0), "");
  EXPECT_EQ(ReasonPhrase(299), "");
  EXPECT_EQ(ReasonPhrase(999), "");
  EXPECT_EQ(ReasonPhrase(65535), "");
}

TEST(MessageTest, ResponsesWithoutABody) {
  EXPECT_TRUE(ResponseHasNoBody(Method::kGet, 100));
  EXPECT_TRUE(ResponseHasNoBody(Method::kGet, 204));
  EXPECT_TRUE(ResponseHasNoBody(Method::kGet, 304));
  EXPECT_TRUE(ResponseHasNoBody(Method::kHead, 200));
  EXPECT_TRUE(ResponseHasNoBody(Method::kConnect, 200));
  EXPECT_FALSE(ResponseHasNoBody(Method::kConnect, 407));
  EXPECT_FALSE(ResponseHasNoBody(Method::kGet, 200));
  EXPECT_FALSE(ResponseHasNoBody(Method::kPost, 205));
}

TEST(MessageTest, ResetForgetsEverything) {
  Arena arena;
  RequestHead request(arena);
  request.headers.Add("Host", "a");
  request.method = Method::kPut;
  request.path = "/x";
  request.body = BodyKind::kLength;
  request.content_length = 3;
  EXPECT_TRUE(request.has_body());
  request.Reset();
  EXPECT_TRUE(request.headers.empty());
  EXPECT_EQ(request.path, "");
  EXPECT_FALSE(request.has_body());

  ResponseHead response(arena);
  response.status = 200;
  response.body = BodyKind::kUntilClose;
  response.keep_alive = false;
  EXPECT_TRUE(response.has_body());
  response.Reset();
  EXPECT_EQ(response.status, 0);
  EXPECT_TRUE(response.keep_alive);
  EXPECT_FALSE(response.has_body());
}

}  // namespace
}  // namespace gatehouse::http
