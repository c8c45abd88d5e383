#include "source/http/early_data.h"

#include "gtest/gtest.h"

namespace gatehouse::http {
namespace {

class EarlyDataTest : public ::testing::Test {
 protected:
  Arena arena_;
  RequestHead request_{arena_};
};

TEST_F(EarlyDataTest, SafeRequestsGoOnAndSaySo) {
  for (const Method method : {Method::kGet, Method::kHead, Method::kOptions}) {
    request_.Reset();
    request_.method = method;
    EXPECT_TRUE(AdmitEarlyData(request_, true));
    EXPECT_EQ(request_.headers.Get("Early-Data"), "1");
  }
}

TEST_F(EarlyDataTest, WhatTheClientSaysIsReplaced) {
  request_.headers.Add("Early-Data", "0");
  EXPECT_TRUE(AdmitEarlyData(request_, true));
  EXPECT_EQ(request_.headers.Count("early-data"), 1u);
  EXPECT_EQ(request_.headers.Get("early-data"), "1");
}

TEST_F(EarlyDataTest, OthersComeTooEarly) {
  for (const Method method : {Method::kPost, Method::kPut, Method::kDelete, Method::kPatch,
                              Method::kConnect, Method::kOther}) {
    request_.method = method;
    EXPECT_FALSE(AdmitEarlyData(request_, true));
  }
  request_.method = Method::kGet;
  request_.body = BodyKind::kChunked;
  EXPECT_FALSE(AdmitEarlyData(request_, true));
  request_.body = BodyKind::kLength;
  EXPECT_TRUE(AdmitEarlyData(request_, true));  // of no bytes
  request_.content_length = 1;
  EXPECT_FALSE(AdmitEarlyData(request_, true));
  request_.body = BodyKind::kNone;
  request_.upgrade = true;
  EXPECT_FALSE(AdmitEarlyData(request_, true));
}

TEST_F(EarlyDataTest, AfterTheHandshakeNothingIsChanged) {
  request_.method = Method::kPost;
  EXPECT_TRUE(AdmitEarlyData(request_, false));
  EXPECT_EQ(request_.headers.size(), 0u);
}

}  // namespace
}  // namespace gatehouse::http
