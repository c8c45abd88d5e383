#include "source/filters/chain.h"

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "test/fakes/tcp_origin.h"
#include "test/filters/filter_fixture.h"
#include "test/filters/scripted_filter.h"

namespace gatehouse::filters {
namespace {

class Stateless {
 public:
  static constexpr Hooks kHooks = Hooks::kRequestHeaders;
  struct Call {
    Verdict OnRequestHeaders(const Stateless&, FilterContext&) { return Continue(); }
  };
};

class Small {
 public:
  static constexpr Hooks kHooks = Hooks::kRequestHeaders;
  struct Call {
    Verdict OnRequestHeaders(const Small&, FilterContext&) { return Continue(); }
    char one = 'x';
  };
};

class Large {
 public:
  static constexpr Hooks kHooks = Hooks::kRequestHeaders;
  struct alignas(64) Call {
    Verdict OnRequestHeaders(const Large&, FilterContext&) {
      EXPECT_EQ(reinterpret_cast<uintptr_t>(this) % 64, 0u);
      EXPECT_EQ(one, 1);
      return Continue();
    }
    int one = 1;
  };
};

// Asks an authority, and does what it says.
class AskingFilter {
 public:
  static constexpr Hooks kHooks = Hooks::kRequestHeaders;
  struct Call {
    Verdict OnRequestHeaders(const AskingFilter& filter, FilterContext& context) {
      const upstream::CalloutRequest ask = {.cluster = filter.authority, .path = "/check"};
      return context.Await(ask, [&context](const upstream::CalloutResult& answer) -> Verdict {
        if (!answer.ok()) return Reply{503, "authority_failed"};
        if (answer.status != 200) return Reply{403, "denied", context.arena().Copy(answer.body)};
        context.request().Set("X-Answer", answer.body);
        return Continue();
      });
    }
  };

  const upstream::Cluster* authority;
};

class ChainTest : public FilterFixture {
 protected:
  ~ChainTest() override {
    run_.Finish();
    EXPECT_EQ(ScriptedFilter::Call::living, 0);
  }

  void Chain(std::vector<Script> scripts) {
    std::vector<NamedFilter> filters;
    for (Script& script : scripts) {
      filters.push_back(Scripted(std::move(script), diary_, EmptyCluster()));
    }
    Use(std::move(filters));
  }
  // Sends a piece of the request's body: "what came out", with "+wait" or "+reply".
  std::string Body(std::string_view piece, bool end = false) {
    gatehouse::Chain data;
    data.AppendCopy(piece, loop_.slabs());
    return Outcome(run_.RequestBody(data, end), data);
  }
  std::string ResponseBody(std::string_view piece, bool end = false) {
    gatehouse::Chain data;
    data.AppendCopy(piece, loop_.slabs());
    return Outcome(run_.ResponseBody(data, end), data);
  }
  std::string Diary() {
    std::string text = Read(diary_);
    diary_.clear();
    return text;
  }
  // The replying filter's name is in the reply.
  std::string_view Replier() { return run_.reply().detail; }

  filters::Diary diary_;

 private:
  static std::string Outcome(Progress progress, const gatehouse::Chain& data) {
    std::string text = ToString(data);
    if (progress == Progress::kWait) text += "+wait";
    if (progress == Progress::kReply) text += "+reply";
    return text;
  }
};

TEST_F(ChainTest, AnEmptyChainAndNoChainAtAllLetEverythingPass) {
  for (int started = 0; started < 2; ++started) {
    if (started == 1) Chain({});
    EXPECT_EQ(run_.RequestHeaders(), Progress::kDone);
    EXPECT_EQ(Body("data", true), "data");
    EXPECT_EQ(run_.RequestTrailers(), Progress::kDone);
    run_.BeginReply();
    EXPECT_EQ(run_.ResponseHeaders(), Progress::kDone);
    EXPECT_EQ(ResponseBody("data", true), "data");
    EXPECT_EQ(run_.ResponseTrailers(), Progress::kDone);
    EXPECT_FALSE(run_.wants_request_body() || run_.wants_response_body() ||
                 run_.wants_request_trailers() || run_.wants_response_trailers() ||
                 run_.holds_response_head());
    run_.Finish();
    run_.Finish();
  }
}

TEST_F(ChainTest, RequestsGoInOrderResponsesInReverse) {
  Chain({{.name = "a"}, {.name = "b"}, {.name = "c"}});
  EXPECT_EQ(run_.RequestHeaders(), Progress::kDone);
  EXPECT_EQ(run_.ResponseHeaders(), Progress::kDone);
  run_.Finish();
  EXPECT_EQ(Diary(),
            "a.request b.request c.request c.response b.response a.response "
            "c.finish b.finish a.finish");
}

TEST_F(ChainTest, WhomTheRequestReachedHearsOfTheResponsesEnd) {
  run_.ResponseEnd();
  Chain({{.name = "a"}, {.name = "b", .request_headers = Act::kReply}, {.name = "c"}});
  EXPECT_EQ(run_.RequestHeaders(), Progress::kReply);
  run_.BeginReply();
  EXPECT_EQ(run_.ResponseHeaders(), Progress::kDone);
  run_.ResponseEnd();
  run_.Finish();
  EXPECT_EQ(Diary(),
            "a.request b.request b.response a.response b.response end a.response end "
            "b.finish a.finish");
}

TEST_F(ChainTest, AbsentHooksAreNotCalledAndTheRestOfTheFilterIs) {
  Chain({{.name = "a", .request_headers = Act::kAbsent},
         {.name = "b", .response_headers = Act::kAbsent}});
  EXPECT_EQ(run_.RequestHeaders(), Progress::kDone);
  EXPECT_EQ(run_.ResponseHeaders(), Progress::kDone);
  EXPECT_EQ(Diary(), "b.request a.response");
}

TEST_F(ChainTest, EachMethodIsDoneOnce) {
  Chain({{.name = "a", .request_trailers = Act::kContinue, .response_trailers = Act::kContinue}});
  for (int i = 0; i < 2; ++i) EXPECT_EQ(run_.RequestHeaders(), Progress::kDone);
  for (int i = 0; i < 2; ++i) EXPECT_EQ(run_.RequestTrailers(), Progress::kDone);
  for (int i = 0; i < 2; ++i) EXPECT_EQ(run_.ResponseHeaders(), Progress::kDone);
  for (int i = 0; i < 2; ++i) EXPECT_EQ(run_.ResponseTrailers(), Progress::kDone);
  EXPECT_EQ(Diary(), "a.request a.trailers a.response a.rtrailers");
}

TEST_F(ChainTest, AWaitingFilterIsGoneOnBehindOnceItsCalloutIsAnswered) {
  Chain({{.name = "a"}, {.name = "b", .request_headers = Act::kWait}, {.name = "c"}});
  EXPECT_EQ(run_.RequestHeaders(), Progress::kWait);
  EXPECT_EQ(run_.RequestHeaders(), Progress::kWait);
  EXPECT_EQ(Diary(), "a.request b.request");
  EXPECT_EQ(wakes_, 0);
  Turn();
  EXPECT_EQ(wakes_, 1);
  EXPECT_EQ(Diary(), "b.resumes");
  EXPECT_EQ(run_.RequestHeaders(), Progress::kDone);
  EXPECT_EQ(Diary(), "c.request");
  Turn();
  EXPECT_EQ(wakes_, 1);
}

TEST_F(ChainTest, AContinuationMayWaitAgain) {
  Chain({{.name = "a", .request_headers = Act::kWaitTwice}, {.name = "b"}});
  EXPECT_EQ(run_.RequestHeaders(), Progress::kWait);
  for (int turns = 0; wakes_ == 0 && turns < 10; ++turns) Turn();
  EXPECT_EQ(wakes_, 1);
  EXPECT_EQ(run_.RequestHeaders(), Progress::kDone);
  EXPECT_EQ(Diary(), "a.request a.resumes b.request");
}

TEST_F(ChainTest, AWaitThatIsNotReturnedIsCancelled) {
  Chain({{.name = "a", .request_headers = Act::kForgetsToWait}});
  EXPECT_EQ(run_.RequestHeaders(), Progress::kDone);
  Turn();
  EXPECT_EQ(wakes_, 0);
  EXPECT_EQ(Diary(), "a.request");
}

TEST_F(ChainTest, ARequestThatEndsWhileAFilterWaitsIsNotWoken) {
  Chain({{.name = "a", .request_headers = Act::kWait}, {.name = "b"}});
  EXPECT_EQ(run_.RequestHeaders(), Progress::kWait);
  run_.Finish();
  Turn();
  EXPECT_EQ(wakes_, 0);
  EXPECT_EQ(Diary(), "a.request a.finish");
}

TEST_F(ChainTest, AReplyIsSeenByTheFiltersBeforeAndByTheReplier) {
  Chain({{.name = "a"}, {.name = "b", .request_headers = Act::kReply}, {.name = "c"}});
  EXPECT_EQ(run_.RequestHeaders(), Progress::kReply);
  EXPECT_EQ(Replier(), "b");
  EXPECT_EQ(run_.reply().status, 403);
  EXPECT_FALSE(context_.facts().local_reply);
  run_.BeginReply();
  EXPECT_TRUE(context_.facts().local_reply);
  EXPECT_EQ(run_.ResponseHeaders(), Progress::kDone);
  run_.Finish();
  EXPECT_EQ(Diary(), "a.request b.request b.response a.response b.finish a.finish");
}

TEST_F(ChainTest, AReplyAfterWaiting) {
  Chain({{.name = "a", .request_headers = Act::kWaitThenReply}, {.name = "b"}});
  EXPECT_EQ(run_.RequestHeaders(), Progress::kWait);
  Turn();
  EXPECT_EQ(run_.RequestHeaders(), Progress::kReply);
  EXPECT_EQ(Replier(), "a");
  run_.BeginReply();
  EXPECT_EQ(run_.ResponseHeaders(), Progress::kDone);
  EXPECT_EQ(Diary(), "a.request a.response");
}

TEST_F(ChainTest, AnErrorsReplyIsSeenByWhomTheRequestHasPassed) {
  Chain({{.name = "a"}, {.name = "b", .request_headers = Act::kWait}, {.name = "c"}});
  EXPECT_EQ(run_.RequestHeaders(), Progress::kWait);
  run_.BeginReply();  // a deadline, say
  EXPECT_EQ(run_.ResponseHeaders(), Progress::kDone);
  EXPECT_EQ(run_.RequestHeaders(), Progress::kDone);
  Turn();
  EXPECT_EQ(wakes_, 0);
  run_.Finish();
  EXPECT_EQ(Diary(), "a.request b.request a.response b.finish a.finish");
}

TEST_F(ChainTest, AReplyInPlaceOfAResponseIsSeenByTheOuterFiltersOnly) {
  Chain({{.name = "a"}, {.name = "b", .response_headers = Act::kReply}, {.name = "c"}});
  EXPECT_EQ(run_.RequestHeaders(), Progress::kDone);
  EXPECT_EQ(run_.ResponseHeaders(), Progress::kReply);
  EXPECT_EQ(Replier(), "b");
  run_.BeginReply();
  EXPECT_EQ(run_.ResponseHeaders(), Progress::kDone);
  EXPECT_EQ(Diary(), "a.request b.request c.request c.response b.response a.response");
}

TEST_F(ChainTest, RepliesInPlaceOfRepliesComeToAnEnd) {
  Chain({{.name = "a", .response_headers = Act::kReply},
         {.name = "b", .response_headers = Act::kReply}});
  EXPECT_EQ(run_.RequestHeaders(), Progress::kDone);
  int replies = 0;
  while (run_.ResponseHeaders() == Progress::kReply) {
    run_.BeginReply();
    ++replies;
  }
  EXPECT_EQ(replies, 2);
}

TEST_F(ChainTest, AResponseHookMayWait) {
  Chain({{.name = "a"}, {.name = "b", .response_headers = Act::kWait}});
  EXPECT_EQ(run_.RequestHeaders(), Progress::kDone);
  EXPECT_EQ(run_.ResponseHeaders(), Progress::kWait);
  Turn();
  EXPECT_EQ(run_.ResponseHeaders(), Progress::kDone);
  EXPECT_EQ(Diary(), "a.request b.request b.response b.resumes a.response");
}

TEST_F(ChainTest, WhoLeavesIsNotCalledAgainButAtTheEnd) {
  Chain({{.name = "a", .request_headers = Act::kLeave, .request_body = Act::kContinue},
         {.name = "b", .request_headers = Act::kWaitThenLeave, .request_body = Act::kReply},
         {.name = "c"}});
  EXPECT_EQ(run_.RequestHeaders(), Progress::kWait);
  Turn();
  EXPECT_EQ(run_.RequestHeaders(), Progress::kDone);
  EXPECT_EQ(Body("data", true), "data");
  EXPECT_EQ(run_.ResponseHeaders(), Progress::kDone);
  run_.Finish();
  EXPECT_EQ(Diary(), "a.request b.request c.request c.response c.finish b.finish a.finish");
}

// --- Bodies ---

TEST_F(ChainTest, AStreamedBodyPassesPieceByPiece) {
  Chain({{.name = "a", .request_body = Act::kContinue}, {.name = "b", .request_body = Act::kGrow}});
  EXPECT_EQ(run_.RequestHeaders(), Progress::kDone);
  diary_.clear();
  EXPECT_EQ(Body("one"), "one");
  EXPECT_EQ(Body(""), "");
  EXPECT_EQ(Body("two", true), "twob");
  EXPECT_EQ(Diary(), "a.body(one) b.body(one) a.body(two.) b.body(two.)");
}

TEST_F(ChainTest, AnEndWithoutDataIsAPieceToo) {
  Chain({{.name = "a", .request_body = Act::kGrow}});
  EXPECT_EQ(run_.RequestHeaders(), Progress::kDone);
  EXPECT_EQ(Body("one"), "one");
  EXPECT_EQ(Body("", true), "a");
  EXPECT_EQ(Body("", true), "");
  EXPECT_EQ(Diary(), "a.request a.body(one) a.body(.)");
}

TEST_F(ChainTest, WhatAFilterKeepsIsNotShownToTheNext) {
  Chain({{.name = "a", .request_body = Act::kKeep}, {.name = "b", .request_body = Act::kContinue}});
  EXPECT_EQ(run_.RequestHeaders(), Progress::kDone);
  diary_.clear();
  EXPECT_EQ(Body("one"), "");
  EXPECT_EQ(Body("two", true), "onetwo");
  EXPECT_EQ(Diary(), "a.body(one) a.body(two.) b.body(onetwo.)");
}

TEST_F(ChainTest, AWholeBodyIsGatheredAndShownOnce) {
  Chain({{.name = "a", .request_body = Act::kContinue},
         {.name = "b", .request_body = Act::kGrow, .request_whole = 100},
         {.name = "c", .request_body = Act::kContinue, .request_whole = 100}});
  EXPECT_EQ(run_.RequestHeaders(), Progress::kDone);
  diary_.clear();
  EXPECT_EQ(Body("one"), "");
  EXPECT_EQ(Body("two"), "");
  EXPECT_EQ(run_.waiting_request_bytes(), 0u);
  EXPECT_EQ(Body("three", true), "onetwothreeb");
  EXPECT_EQ(Diary(),
            "a.body(one) a.body(two) a.body(three.) b.body(onetwothree.) c.body(onetwothreeb.)");
}

TEST_F(ChainTest, AWholeBodyOverItsLimitIs413BeforeTheEnd) {
  Chain({{.name = "a", .request_body = Act::kContinue, .request_whole = 5}});
  EXPECT_EQ(run_.RequestHeaders(), Progress::kDone);
  EXPECT_EQ(Body("12345"), "");
  EXPECT_EQ(Body("6"), "+reply");
  EXPECT_EQ(run_.reply().status, 413);
  EXPECT_EQ(run_.reply().code, "body_too_large");
  run_.BeginReply();
  EXPECT_EQ(run_.ResponseHeaders(), Progress::kDone);
  EXPECT_EQ(Body("7"), "");  // what still comes is dropped
  EXPECT_EQ(Diary(), "a.request a.response");
}

TEST_F(ChainTest, AWholeBodyOfExactlyItsLimitPasses) {
  Chain({{.name = "a", .request_body = Act::kContinue, .request_whole = 5}});
  EXPECT_EQ(run_.RequestHeaders(), Progress::kDone);
  EXPECT_EQ(Body("12345"), "");
  EXPECT_EQ(Body("", true), "12345");
}

TEST_F(ChainTest, ABodyMadeLongerByAFilterCountsForTheNextOnesLimit) {
  Chain({{.name = "a", .request_body = Act::kGrow, .request_whole = 5},
         {.name = "b", .request_body = Act::kContinue, .request_whole = 5}});
  EXPECT_EQ(run_.RequestHeaders(), Progress::kDone);
  EXPECT_EQ(Body("12345", true), "+reply");
}

TEST_F(ChainTest, AWholeResponseOverItsLimitIs502AndTheOuterFiltersSeeIt) {
  Chain({{.name = "a"}, {.name = "b", .response_body = Act::kContinue, .response_whole = 5}});
  EXPECT_EQ(run_.RequestHeaders(), Progress::kDone);
  EXPECT_EQ(run_.ResponseHeaders(), Progress::kDone);
  EXPECT_TRUE(run_.holds_response_head());
  EXPECT_EQ(ResponseBody("1234"), "");
  EXPECT_EQ(ResponseBody("56"), "+reply");
  EXPECT_EQ(run_.reply().status, 502);
  run_.BeginReply();
  EXPECT_FALSE(run_.holds_response_head());
  EXPECT_EQ(run_.ResponseHeaders(), Progress::kDone);
  EXPECT_EQ(ResponseBody("problem", true), "problem");
  EXPECT_EQ(Diary(), "a.request b.request b.response a.response a.response");
}

TEST_F(ChainTest, WhatWasGatheredGoesOnWhenItsFilterLeaves) {
  Chain({{.name = "a",
          .request_headers = Act::kContinue,
          .request_body = Act::kContinue,
          .response_headers = Act::kLeave,
          .request_whole = 100},
         {.name = "b", .request_body = Act::kContinue}});
  EXPECT_EQ(run_.RequestHeaders(), Progress::kDone);
  EXPECT_EQ(Body("one"), "");
  EXPECT_EQ(run_.ResponseHeaders(), Progress::kDone);  // an early response
  diary_.clear();
  EXPECT_EQ(Body("two"), "onetwo");
  EXPECT_EQ(Body("three", true), "three");
  EXPECT_EQ(Diary(), "b.body(onetwo) b.body(three.)");
}

TEST_F(ChainTest, ABodyHookThatWaitsKeepsItsPieceAndWhatComesMeanwhile) {
  Chain({{.name = "a", .request_body = Act::kWait}, {.name = "b", .request_body = Act::kGrow}});
  EXPECT_EQ(run_.RequestHeaders(), Progress::kDone);
  diary_.clear();
  EXPECT_EQ(Body("one"), "+wait");
  EXPECT_EQ(Body("two"), "+wait");
  EXPECT_EQ(run_.waiting_request_bytes(), 6u);
  Turn();
  EXPECT_EQ(wakes_, 1);
  EXPECT_EQ(Body("three", true), "one+wait");
  EXPECT_EQ(run_.waiting_request_bytes(), 8u);
  Turn();
  EXPECT_EQ(wakes_, 2);
  EXPECT_EQ(Body(""), "twothreeb");
  EXPECT_EQ(Diary(),
            "a.body(one) a.resumes b.body(one) a.body(twothree.) a.resumes b.body(twothree.)");
}

TEST_F(ChainTest, AWholeBodyHookMayWaitAndReply) {
  Chain({{.name = "a", .request_body = Act::kWaitThenReply, .request_whole = 100}});
  EXPECT_EQ(run_.RequestHeaders(), Progress::kDone);
  EXPECT_EQ(Body("one"), "");
  EXPECT_EQ(Body("two", true), "+wait");
  Turn();
  EXPECT_EQ(Body(""), "+reply");
  EXPECT_EQ(Replier(), "a");
}

TEST_F(ChainTest, ABodyHookThatRepliesEndsTheRequest) {
  Chain(
      {{.name = "a", .request_body = Act::kContinue}, {.name = "b", .request_body = Act::kReply}});
  EXPECT_EQ(run_.RequestHeaders(), Progress::kDone);
  EXPECT_EQ(Body("one"), "+reply");
  run_.BeginReply();
  EXPECT_EQ(run_.ResponseHeaders(), Progress::kDone);
  EXPECT_EQ(Diary(), "a.request b.request a.body(one) b.body(one) b.response a.response");
}

TEST_F(ChainTest, TrailersComeAfterTheBody) {
  Chain({{.name = "a", .request_body = Act::kGrow, .request_trailers = Act::kWait},
         {.name = "b", .request_trailers = Act::kReply}});
  EXPECT_EQ(run_.RequestHeaders(), Progress::kDone);
  EXPECT_EQ(Body("one"), "one");
  EXPECT_EQ(Body("", true), "a");
  EXPECT_EQ(run_.RequestTrailers(), Progress::kWait);
  Turn();
  EXPECT_EQ(run_.RequestTrailers(), Progress::kReply);
  EXPECT_EQ(Replier(), "b");
}

TEST_F(ChainTest, BothDirectionsAtOnce) {
  Chain({{.name = "a", .request_body = Act::kWait, .response_body = Act::kContinue},
         {.name = "b", .request_body = Act::kContinue, .response_headers = Act::kWait}});
  EXPECT_EQ(run_.RequestHeaders(), Progress::kDone);
  EXPECT_EQ(Body("one"), "+wait");
  EXPECT_EQ(run_.ResponseHeaders(), Progress::kWait);
  Turn();
  EXPECT_EQ(wakes_, 2);
  EXPECT_EQ(run_.ResponseHeaders(), Progress::kDone);
  EXPECT_EQ(ResponseBody("early"), "early");
  EXPECT_EQ(Body(""), "one");
  EXPECT_EQ(ResponseBody("end", true), "end");
  EXPECT_EQ(Body("two", true), "+wait");
  Turn();
  EXPECT_EQ(Body(""), "two");
}

TEST_F(ChainTest, AFilterAsksAnAuthority) {
  TcpOrigin origin;
  upstream::ClusterSpec spec;
  spec.name = "authority";
  spec.endpoints.push_back({"127.0.0.1", origin.port(), 1});
  const auto cluster = upstream::Cluster::Make(spec, nullptr, slots_, registry_);
  ASSERT_TRUE(cluster.ok()) << cluster.status();
  const auto ask = [&](std::function<void()> answer) {
    NextRequest();
    wakes_ = 0;
    Use(MakeAnyFilter(AskingFilter{cluster->get()}));
    EXPECT_EQ(run_.RequestHeaders(), Progress::kWait);
    const size_t asked = origin.requests() + 1;
    for (int turns = 0; wakes_ == 0 && turns < 10000; ++turns) {
      Turn();
      origin.Step();
      if (answer && origin.requests() == asked) std::exchange(answer, nullptr)();
    }
    EXPECT_EQ(wakes_, 1);
    return run_.RequestHeaders();
  };
  EXPECT_EQ(ask(nullptr), Progress::kDone);
  EXPECT_EQ(Request("X-Answer"), "ok");

  origin.set_auto_answer(false);
  const auto deny = [&] {
    origin.connection(origin.connections() - 1)
        .Send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno");
  };
  EXPECT_EQ(ask(deny), Progress::kReply);
  EXPECT_EQ(run_.reply().code, "denied");
  EXPECT_EQ(Replier(), "no");

  EXPECT_EQ(ask([&] { Advance(std::chrono::seconds(6)); }), Progress::kReply);
  EXPECT_EQ(run_.reply().code, "authority_failed");
}

TEST_F(ChainTest, ARecycledExchangeStartsAsNew) {
  const Script script = {.name = "a", .request_headers = Act::kLeave, .request_body = Act::kKeep};
  Chain({script});
  EXPECT_EQ(run_.RequestHeaders(), Progress::kDone);
  context_.SetNote("who", "me");
  context_.AddFlag(observe::LogFlag::kRateLimited);
  context_.facts().route = "users";
  NextRequest();
  EXPECT_EQ(context_.GetNote("who"), "");
  EXPECT_TRUE(context_.flags().empty());
  EXPECT_EQ(context_.facts().route, "");
  diary_.clear();
  Chain({script});
  EXPECT_EQ(run_.RequestHeaders(), Progress::kDone);
  EXPECT_EQ(Diary(), "a.request");
}

TEST_F(ChainTest, CallsWithoutStateTakeNoMemory) {
  Use(MakeAnyFilter(Stateless()));
  EXPECT_EQ(chain_.call_bytes(), 0u);
  EXPECT_EQ(run_.RequestHeaders(), Progress::kDone);
}

TEST_F(ChainTest, CallsAreAligned) {
  Use({{"a", MakeAnyFilter(Small())},
       {"b", MakeAnyFilter(Large())},
       {"c", MakeAnyFilter(Small())}});
  EXPECT_EQ(run_.RequestHeaders(), Progress::kDone);
}

TEST_F(ChainTest, TooManyFiltersAreRefused) {
  std::vector<NamedFilter> filters;
  for (size_t i = 0; i <= FilterChain::kMaxFilters; ++i) {
    filters.push_back(Scripted({.name = "x"}, diary_, EmptyCluster()));
  }
  EXPECT_FALSE(FilterChain::Build(filters).ok());
  filters.pop_back();
  EXPECT_TRUE(FilterChain::Build(filters).ok());
}

}  // namespace
}  // namespace gatehouse::filters
