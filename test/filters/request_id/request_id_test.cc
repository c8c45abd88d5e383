#include "source/filters/request_id/request_id.h"

#include <string>

#include "gtest/gtest.h"

#include "api/gatehouse/filters/v1/request_id.pb.h"
#include "test/filters/filter_fixture.h"

namespace gatehouse::filters {
namespace {

constexpr char kTrace[] = "4bf92f3577b34da6a3ce929d0e0e4736";
constexpr char kTraceparent[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

class RequestIdTest : public FilterFixture {
 protected:
  void UseIds(const std::string& config = "") { Use(Built<RequestId, v1::RequestId>(config)); }
  void Pass() {
    EXPECT_EQ(run_.RequestHeaders(), Progress::kDone);
    EXPECT_EQ(run_.ResponseHeaders(), Progress::kDone);
  }
  // What the origin, the client and the log see is one story.
  void ExpectConsistent() {
    const ExchangeFacts& facts = context_.facts();
    EXPECT_EQ(Request("X-Request-ID"), facts.request_id);
    EXPECT_EQ(Request("X-Trace-ID"), facts.trace_id);
    EXPECT_EQ(Request("traceparent"), facts.traceparent);
    EXPECT_EQ(facts.traceparent.substr(3, 32), facts.trace_id);
    EXPECT_EQ(Response("X-Trace-ID"), facts.trace_id);
  }
};

TEST_F(RequestIdTest, GivesIdsToARequestWithout) {
  UseIds();
  Pass();
  ExpectConsistent();
  EXPECT_EQ(context_.facts().request_id.size(), 36u);
  EXPECT_EQ(context_.facts().trace_id.size(), 32u);
  EXPECT_EQ(Response("X-Request-ID"), context_.facts().request_id);
  EXPECT_EQ(Request("tracestate"), "-");
}

TEST_F(RequestIdTest, AClientsRequestIdIsReplaced) {
  UseIds();
  request_.headers.Add("X-Request-ID", "mine");
  request_.headers.Add("X-Request-ID", "mine too");
  Pass();
  ExpectConsistent();
  EXPECT_EQ(context_.facts().request_id.size(), 36u);
}

TEST_F(RequestIdTest, ATrustedProxysRequestIdIsKept) {
  UseIds();
  context_.facts().peer_trusted = true;
  request_.headers.Add("X-Request-ID", "proxy-1.7");
  Pass();
  ExpectConsistent();
  EXPECT_EQ(context_.facts().request_id, "proxy-1.7");
}

TEST_F(RequestIdTest, AClientsRequestIdIsKeptWhenTheConfigSaysSo) {
  UseIds("accept_from_clients: true");
  request_.headers.Add("X-Request-ID", "mine");
  Pass();
  EXPECT_EQ(context_.facts().request_id, "mine");
  NextRequest();
  UseIds("accept_from_clients: true");
  request_.headers.Add("X-Request-ID", "no spaces please");
  Pass();
  EXPECT_EQ(context_.facts().request_id.size(), 36u);
  ExpectConsistent();
}

TEST_F(RequestIdTest, ATraceIsContinuedWithASpanOfOurOwn) {
  UseIds();
  request_.headers.Add("traceparent", kTraceparent);
  request_.headers.Add("tracestate", "vendor=1,other=2");
  Pass();
  ExpectConsistent();
  EXPECT_EQ(context_.facts().trace_id, kTrace);
  EXPECT_NE(context_.facts().traceparent, kTraceparent);
  EXPECT_EQ(context_.facts().traceparent.substr(53), "01");
  EXPECT_EQ(Request("tracestate"), "vendor=1,other=2");
}

TEST_F(RequestIdTest, WhatIsNotValidStartsANewTrace) {
  for (const char* bad : {"00-00000000000000000000000000000000-00f067aa0ba902b7-01", "x", ""}) {
    UseIds();
    request_.headers.Add("traceparent", bad);
    request_.headers.Add("tracestate", "vendor=1");
    Pass();
    ExpectConsistent();
    EXPECT_NE(context_.facts().trace_id, kTrace);
    EXPECT_EQ(Request("tracestate"), "-");
    NextRequest();
  }
}

TEST_F(RequestIdTest, TwoTraceparentsAreNone) {
  UseIds();
  request_.headers.Add("traceparent", kTraceparent);
  request_.headers.Add("traceparent", kTraceparent);
  Pass();
  ExpectConsistent();
  EXPECT_NE(context_.facts().trace_id, kTrace);
}

TEST_F(RequestIdTest, BadTracestateIsDroppedAlone) {
  UseIds();
  request_.headers.Add("traceparent", kTraceparent);
  request_.headers.Add("tracestate", "a=1");
  request_.headers.Add("tracestate", "a=2");
  Pass();
  EXPECT_EQ(context_.facts().trace_id, kTrace);
  EXPECT_EQ(Request("tracestate"), "-");
}

TEST_F(RequestIdTest, TooManyTracestateLinesAreDropped) {
  UseIds();
  request_.headers.Add("traceparent", kTraceparent);
  for (int i = 0; i < 40; ++i) request_.headers.Add("tracestate", "");
  Pass();
  EXPECT_EQ(Request("tracestate"), "-");
}

TEST_F(RequestIdTest, ATraceIdAloneIsContinued) {
  UseIds();
  request_.headers.Add("X-Trace-ID", kTrace);
  Pass();
  ExpectConsistent();
  EXPECT_EQ(context_.facts().trace_id, kTrace);
}

TEST_F(RequestIdTest, TracesNeedNotBeContinued) {
  UseIds("continue_traces: false");
  request_.headers.Add("traceparent", kTraceparent);
  request_.headers.Add("tracestate", "vendor=1");
  request_.headers.Add("X-Trace-ID", kTrace);
  Pass();
  ExpectConsistent();
  EXPECT_NE(context_.facts().trace_id, kTrace);
  EXPECT_EQ(Request("tracestate"), "-");
}

TEST_F(RequestIdTest, TheEchoCanBeTurnedOff) {
  UseIds("echo: false");
  response_.headers.Add("X-Request-ID", "of the origin");
  Pass();
  ExpectConsistent();
  EXPECT_EQ(Response("X-Request-ID"), "-");
}

TEST_F(RequestIdTest, TheFunctionsWorkWithoutAChain) {
  AssignIds(context_, RequestIdPolicy{});
  AddIdsToResponse(context_);
  ExpectConsistent();
  EXPECT_EQ(Response("X-Request-ID"), context_.facts().request_id);
}

TEST_F(RequestIdTest, ARequestThatNeverGotIdsTellsNone) {
  AddIdsToResponse(context_);
  EXPECT_TRUE(response_.headers.empty());
}

}  // namespace
}  // namespace gatehouse::filters
