#include "source/observe/trace_context.h"

#include <array>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gtest/gtest.h"

#include "source/base/random.h"

namespace gatehouse::observe {
namespace {

constexpr std::string_view kTrace = "4bf92f3577b34da6a3ce929d0e0e4736";
constexpr std::string_view kSpan = "00f067aa0ba902b7";
constexpr std::string_view kValid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

TEST(TraceparentTest, Valid) {
  const auto parsed = ParseTraceparent(kValid);
  ASSERT_TRUE(parsed.has_value());
  EXPECT_EQ(parsed->trace_id, kTrace);
  EXPECT_EQ(parsed->parent_id, kSpan);
  EXPECT_EQ(parsed->flags, 1);
}

TEST(TraceparentTest, LaterVersionsAreReadAsFarAsTheyAreKnown) {
  std::string later(kValid);
  later[1] = '1';
  EXPECT_TRUE(ParseTraceparent(later).has_value());
  EXPECT_TRUE(ParseTraceparent(later + "-what-comes-next").has_value());
  EXPECT_TRUE(ParseTraceparent(later + "-").has_value());
  EXPECT_FALSE(ParseTraceparent(later + "x").has_value());
  later[0] = 'f';
  later[1] = 'e';
  EXPECT_TRUE(ParseTraceparent(later).has_value());
  later[1] = 'f';
  EXPECT_FALSE(ParseTraceparent(later).has_value());
}

TEST(TraceparentTest, EveryOtherLengthIsInvalid) {
  for (size_t size = 0; size < kValid.size(); ++size) {
    EXPECT_FALSE(ParseTraceparent(kValid.substr(0, size)).has_value()) << size;
  }
  EXPECT_FALSE(ParseTraceparent(std::string(kValid) + "-").has_value());
  EXPECT_FALSE(ParseTraceparent(std::string(kValid) + " ").has_value());
}

TEST(TraceparentTest, EveryByteMatters) {
  for (size_t at = 0; at < kValid.size(); ++at) {
    for (const char wrong : {'g', 'A', ' ', '\0', '\xff'}) {
      std::string text(kValid);
      text[at] = wrong;
      EXPECT_FALSE(ParseTraceparent(text).has_value()) << at << " " << text;
    }
  }
}

TEST(TraceparentTest, ZeroIdsAreInvalid) {
  EXPECT_FALSE(
      ParseTraceparent("00-00000000000000000000000000000000-00f067aa0ba902b7-01").has_value());
  EXPECT_FALSE(
      ParseTraceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01").has_value());
}

TEST(TracestateTest, Valid) {
  EXPECT_TRUE(ValidTracestate("rojo=00f067aa0ba902b7"));
  EXPECT_TRUE(ValidTracestate("rojo=1,congo=t61rcWkgMzE"));
  EXPECT_TRUE(ValidTracestate(" rojo=1 \t,\t congo=2 "));
  EXPECT_TRUE(ValidTracestate("a=1,,b=2,"));
  EXPECT_TRUE(ValidTracestate("fw529a3039@dt=FfJvZQ"));
  EXPECT_TRUE(ValidTracestate("0tenant=a b!"));
  EXPECT_TRUE(ValidTracestate("a_-*/z=~"));
}

TEST(TracestateTest, Invalid) {
  for (const std::string_view text :
       {"", ",", "a", "a=", "=1", "A=1", "a=1,a=2", "a=b=c", "a=\x7f", "a=\x1f", "a=\xc3\xa9",
        "a b=1", "_a=1", "a =1", "a=1;b=2,c"}) {
    EXPECT_FALSE(ValidTracestate(text)) << text;
  }
}

TEST(TracestateTest, Limits) {
  std::string text;
  for (int i = 0; i < 32; ++i) text += "k" + std::to_string(i) + "=v,";
  EXPECT_TRUE(ValidTracestate(text));
  EXPECT_FALSE(ValidTracestate(text + "one=more"));
  const std::string key(256, 'k');
  EXPECT_TRUE(ValidTracestate(key + "=v"));
  EXPECT_FALSE(ValidTracestate(key + "k=v"));
  const std::string value(256, 'v');
  EXPECT_TRUE(ValidTracestate("k=" + value));
  EXPECT_FALSE(ValidTracestate("k=" + value + "v"));
  EXPECT_FALSE(ValidTracestate("a=" + value + ",b=" + value + ",c=" + value + ",d=" + value));
}

TEST(TracestateTest, SeveralLinesAreOneList) {
  const std::array<std::string_view, 2> lines = {"a=1", "b=2"};
  EXPECT_TRUE(ValidTracestate(lines));
  const std::array<std::string_view, 2> twice = {"a=1", "a=2"};
  EXPECT_FALSE(ValidTracestate(twice));
  const std::string half(600, ',');
  const std::array<std::string_view, 2> large = {half, half};
  EXPECT_FALSE(ValidTracestate(large));
}

TEST(ExternalIdTest, Rule) {
  EXPECT_TRUE(ValidExternalId("order-42_A.b"));
  EXPECT_TRUE(ValidExternalId(std::string(128, 'a')));
  EXPECT_FALSE(ValidExternalId(std::string(129, 'a')));
  for (const std::string_view text : {"", "a b", "a\nb", "a/b", "\xc3\xa9", "a;b", "\"", "<"}) {
    EXPECT_FALSE(ValidExternalId(text)) << text;
  }
}

TEST(RequestIdTest, IsAVersionFourUuid) {
  Random random(1);
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) {
    std::array<char, kRequestIdSize> buffer;
    const std::string id(WriteRequestId(random, buffer));
    ASSERT_EQ(id.size(), 36u);
    for (const size_t dash : {8, 13, 18, 23}) ASSERT_EQ(id[dash], '-');
    ASSERT_EQ(id[14], '4');
    ASSERT_NE(std::string_view("89ab").find(id[19]), std::string_view::npos);
    ASSERT_EQ(id.find_first_not_of("0123456789abcdef-"), std::string::npos);
    ASSERT_TRUE(ValidExternalId(id));
    ASSERT_TRUE(seen.insert(id).second);
  }
}

std::string Written(const TraceIds& ids) {
  std::array<char, kTraceparentSize> buffer;
  return std::string(ids.WriteTraceparent(buffer));
}

TEST(TraceIdsTest, JoinsTheTraceOfTraceparent) {
  Random random(1);
  const TraceIds ids = TraceIds::Join(kValid, "ffffffffffffffffffffffffffffffff", random);
  EXPECT_EQ(ids.trace_id(), kTrace);
  EXPECT_EQ(ids.parent_id(), kSpan);
  EXPECT_NE(ids.span_id(), kSpan);
  EXPECT_TRUE(ids.has_parent());
  EXPECT_TRUE(ids.sampled());
  const std::string text = Written(ids);
  const auto parsed = ParseTraceparent(text);
  ASSERT_TRUE(parsed.has_value());
  EXPECT_EQ(parsed->trace_id, kTrace);
  EXPECT_EQ(parsed->parent_id, ids.span_id());
  EXPECT_EQ(parsed->flags, 1);
}

TEST(TraceIdsTest, FlagsOfALaterVersionAreNotPassedOn) {
  Random random(1);
  std::string later(kValid);
  later[1] = '7';
  later[53] = 'f';
  later[54] = 'f';
  EXPECT_TRUE(Written(TraceIds::Join(later, "", random)).ends_with("-03"));
  EXPECT_TRUE(Written(TraceIds::Join(later, "", random)).starts_with("00-"));
}

TEST(TraceIdsTest, TakesAnExternalTraceId) {
  Random random(1);
  const TraceIds same = TraceIds::Join("garbage", kTrace, random);
  EXPECT_EQ(same.trace_id(), kTrace);
  EXPECT_FALSE(same.has_parent());
  EXPECT_EQ(same.parent_id(), "");
  // Any other accepted text always leads to the same trace.
  const TraceIds one = TraceIds::Join("", "order-42", random);
  const TraceIds two = TraceIds::Join("", "order-42", random);
  const TraceIds other = TraceIds::Join("", "order-43", random);
  EXPECT_EQ(one.trace_id(), two.trace_id());
  EXPECT_NE(one.trace_id(), other.trace_id());
  EXPECT_NE(one.span_id(), two.span_id());
  EXPECT_TRUE(ParseTraceparent(Written(one)).has_value());
}

TEST(TraceIdsTest, StartsATraceOtherwise) {
  Random random(1);
  std::set<std::string> seen;
  for (const std::string_view text : {"", "not valid!", "00000000000000000000000000000000"}) {
    TraceIds ids = TraceIds::Join("", text, random);
    EXPECT_TRUE(ParseTraceparent(Written(ids)).has_value()) << text;
    EXPECT_TRUE(seen.emplace(ids.trace_id()).second);
    EXPECT_FALSE(ids.sampled());
    ids.set_sampled(true);
    EXPECT_TRUE(Written(ids).ends_with("-01"));
    const std::string span(ids.span_id());
    ids.NewSpan(random);
    EXPECT_NE(ids.span_id(), span);
  }
}

}  // namespace
}  // namespace gatehouse::observe
