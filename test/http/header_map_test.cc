#include "source/http/header_map.h"

#include <algorithm>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

#include "fmt/format.h"

namespace gatehouse::http {
namespace {

std::string TextOf(const HeaderMap& headers) {
  std::string text;
  for (const HeaderEntry& entry : headers) {
    text += fmt::format("{}={};", entry.name_view(), entry.value_view());
  }
  return text;
}

class HeaderMapTest : public testing::Test {
 protected:
  Arena arena_;
  HeaderMap headers_{arena_};
};

TEST_F(HeaderMapTest, StartsEmpty) {
  EXPECT_TRUE(headers_.empty());
  EXPECT_EQ(headers_.begin(), headers_.end());
  EXPECT_EQ(headers_.Get(Name::kHost), std::nullopt);
  EXPECT_EQ(headers_.Get("x"), std::nullopt);
  EXPECT_EQ(headers_.Remove("x"), 0u);
  EXPECT_EQ(headers_.Remove(Name::kHost), 0u);
}

TEST_F(HeaderMapTest, KeepsOrderAndCaseAndFindsInAnyCase) {
  EXPECT_TRUE(headers_.Add("Host", "a"));
  EXPECT_TRUE(headers_.Add("X-Mine", "1"));
  EXPECT_TRUE(headers_.Add(Name::kAccept, "*/*"));
  EXPECT_TRUE(headers_.Add("x-mine", "2"));
  EXPECT_EQ(TextOf(headers_), "Host=a;X-Mine=1;accept=*/*;x-mine=2;");
  EXPECT_EQ(headers_.Get(Name::kHost), "a");
  EXPECT_EQ(headers_.Get("hOST"), "a");
  EXPECT_EQ(headers_.Get("X-MINE"), "1");
  EXPECT_EQ(headers_.Count("x-Mine"), 2u);
  EXPECT_EQ(headers_.Count(Name::kAccept), 1u);
  EXPECT_TRUE(headers_.Has("ACCEPT"));
  EXPECT_FALSE(headers_.Has("accept-"));
  EXPECT_EQ(headers_.size(), 4u);
}

TEST_F(HeaderMapTest, CopiesWhatItIsGiven) {
  std::string name = "X-Name";
  std::string value = "value";
  headers_.Add(name, value);
  headers_.Set(Name::kVia, value);
  name = value = "gone...";
  EXPECT_EQ(TextOf(headers_), "X-Name=value;via=value;");
}

TEST_F(HeaderMapTest, SetNumberReplacesAllInTheFirstPlace) {
  headers_.Add(Name::kRetryAfter, "1");
  headers_.Add("A", "2");
  headers_.Add("Retry-After", "3");
  headers_.SetNumber(Name::kRetryAfter, UINT64_MAX);
  headers_.SetNumber(Name::kXRatelimitRemaining, 0);
  EXPECT_EQ(TextOf(headers_), "retry-after=18446744073709551615;A=2;x-ratelimit-remaining=0;");
}

TEST_F(HeaderMapTest, SetReplacesAllInTheFirstPlace) {
  headers_.Add("A", "1");
  headers_.Add("Cookie", "x");
  headers_.Add("B", "2");
  headers_.Add("cookie", "y");
  headers_.Add("b", "3");
  headers_.Set(Name::kCookie, "z");
  EXPECT_EQ(TextOf(headers_), "A=1;Cookie=z;B=2;b=3;");
  headers_.Set("B", "4");
  EXPECT_EQ(TextOf(headers_), "A=1;Cookie=z;B=4;");
  headers_.Set("C", "5");
  headers_.Set(Name::kHost, "h");
  EXPECT_EQ(TextOf(headers_), "A=1;Cookie=z;B=4;C=5;host=h;");
  EXPECT_EQ(headers_.Get(Name::kHost), "h");
}

TEST_F(HeaderMapTest, AppendJoinsTheLast) {
  EXPECT_TRUE(headers_.Append(Name::kVia, "1.1 a"));
  EXPECT_TRUE(headers_.Append(Name::kVia, "1.1 b"));
  headers_.Add("X", "1");
  headers_.Add("X", "2");
  EXPECT_TRUE(headers_.Append("x", "3"));
  headers_.Add("E", "");
  EXPECT_TRUE(headers_.Append("E", "v"));
  EXPECT_EQ(TextOf(headers_), "via=1.1 a, 1.1 b;X=1;X=2, 3;E=v;");
}

TEST_F(HeaderMapTest, RemoveKeepsOrderAndIndex) {
  for (const char* name : {"Host", "A", "Via", "B", "via", "Accept", "a"}) headers_.Add(name, name);
  EXPECT_EQ(headers_.Remove(Name::kVia), 2u);
  EXPECT_EQ(TextOf(headers_), "Host=Host;A=A;B=B;Accept=Accept;a=a;");
  EXPECT_EQ(headers_.Get(Name::kAccept), "Accept");
  EXPECT_FALSE(headers_.Has(Name::kVia));
  EXPECT_EQ(headers_.Remove("A"), 2u);
  EXPECT_EQ(TextOf(headers_), "Host=Host;B=B;Accept=Accept;");
  EXPECT_EQ(headers_.RemoveIf([](const HeaderEntry& entry) { return entry.id == Name::kHost; }),
            1u);
  EXPECT_EQ(TextOf(headers_), "B=B;Accept=Accept;");
  EXPECT_EQ(headers_.Get("Accept"), "Accept");
  EXPECT_EQ(headers_.Remove("accept"), 1u);
  EXPECT_EQ(headers_.Remove("b"), 1u);
  EXPECT_TRUE(headers_.empty());
}

TEST_F(HeaderMapTest, ForEachVisitsInOrder) {
  for (const char* value : {"1", "2", "3"}) {
    headers_.Add("Set-Cookie", value);
    headers_.Add("Other", "x");
  }
  std::string seen;
  headers_.ForEach(Name::kSetCookie, [&seen](std::string_view value) { seen += value; });
  EXPECT_EQ(seen, "123");
}

TEST_F(HeaderMapTest, Literals) {
  headers_.AddLiteral(Name::kCacheControl, "no-store");
  headers_.AddLiteral("X-Frame", "deny");
  headers_.SetLiteral(Name::kCacheControl, "no-cache");
  headers_.SetLiteral("x-frame", "allow");
  headers_.SetLiteral("Server", "gatehouse");
  EXPECT_EQ(TextOf(headers_), "cache-control=no-cache;X-Frame=allow;Server=gatehouse;");
  EXPECT_EQ(headers_.Get(Name::kServer), "gatehouse");
}

// A value that could split the message is refused, and does not leave the old one behind.
TEST_F(HeaderMapTest, RefusesWhatCouldSplitAMessage) {
  const std::vector<std::string> bad_values = {"a\r\nB: c", "a\nb", "a\rb", std::string("a\0b", 3),
                                               "a\x7f",     "\x01"};
  for (const std::string& value : bad_values) {
    EXPECT_FALSE(headers_.Add("A", value));
    EXPECT_FALSE(headers_.Add(Name::kVia, value));
    EXPECT_FALSE(headers_.Append("A", value));
    EXPECT_TRUE(headers_.empty());
    headers_.Add("X-User-Id", "the client's");
    headers_.Add("X-Other", "the client's");
    EXPECT_FALSE(headers_.Set(Name::kXUserId, value));
    EXPECT_FALSE(headers_.Set("x-other", value));
    EXPECT_TRUE(headers_.empty());
    headers_.Add("Via", "kept");
    EXPECT_FALSE(headers_.Append(Name::kVia, value));
    EXPECT_EQ(headers_.Get(Name::kVia), "kept");
    headers_.Remove(Name::kVia);
  }
  for (const std::string& name :
       {std::string(), std::string("a b"), std::string("a:"), std::string("a\r\nb"),
        std::string("\xc3\xa9"), std::string(70000, 'n')}) {
    EXPECT_FALSE(headers_.Add(name, "v"));
    EXPECT_FALSE(headers_.Set(name, "v"));
    EXPECT_FALSE(headers_.Append(name, "v"));
  }
  EXPECT_TRUE(headers_.empty());
  // Tabs and 8-bit text are fine; white space at the ends goes.
  EXPECT_TRUE(headers_.Add("A", " \tx\ty \xc3\xa9\t "));
  EXPECT_TRUE(headers_.Add("B", "   "));
  EXPECT_EQ(TextOf(headers_), "A=x\ty \xc3\xa9;B=;");
}

TEST_F(HeaderMapTest, CopyFromIsDeep) {
  Arena other_arena;
  HeaderMap other(other_arena);
  other.Add("Host", "a");
  other.Add("X", "");
  headers_.Add("Gone", "1");
  headers_.CopyFrom(other);
  other_arena.Reset();
  other.Reset();
  other.Add("Overwrites", "the memory of the others");
  EXPECT_EQ(TextOf(headers_), "Host=a;X=;");
  EXPECT_EQ(headers_.Get(Name::kHost), "a");
  EXPECT_FALSE(headers_.Has("Gone"));
}

TEST_F(HeaderMapTest, ResetForgetsEverything) {
  headers_.Add("Host", "a");
  arena_.Reset();
  headers_.Reset();
  EXPECT_TRUE(headers_.empty());
  EXPECT_FALSE(headers_.Has(Name::kHost));
  headers_.Add("Host", "b");
  EXPECT_EQ(TextOf(headers_), "Host=b;");
}

// Positions beyond what the index can say.
TEST_F(HeaderMapTest, ManyFields) {
  for (int i = 0; i < 400; ++i) headers_.Add("X", fmt::format("{}", i));
  headers_.Add("Via", "last");
  headers_.Add("Via", "very last");
  EXPECT_EQ(headers_.Get(Name::kVia), "last");
  EXPECT_EQ(headers_.Count(Name::kVia), 2u);
  EXPECT_EQ(headers_.Count("X"), 400u);
  headers_.Set(Name::kVia, "only");
  EXPECT_EQ(headers_.size(), 401u);
  EXPECT_EQ(headers_.Get(Name::kVia), "only");
  EXPECT_EQ(headers_.Remove(Name::kVia), 1u);
  EXPECT_EQ(headers_.Get(Name::kVia), std::nullopt);
}

// Random changes, against a list that is searched.
TEST_F(HeaderMapTest, BehavesLikeAList) {
  std::mt19937 random(7);
  const std::vector<std::string> names = {"Host", "via", "Accept", "X-A", "x-b", "TE"};
  std::vector<std::pair<std::string, std::string>> model;
  const auto is = [](const std::string& name) {
    return [name](const auto& field) { return EqualsIgnoreCase(field.first, name); };
  };
  for (int round = 0; round < 20000; ++round) {
    const std::string& name = names[random() % names.size()];
    const std::string value = fmt::format("v{}", random() % 100);
    const auto first = std::find_if(model.begin(), model.end(), is(name));
    switch (random() % 5) {
      case 0:
      case 1:
        headers_.Add(name, value);
        model.emplace_back(name, value);
        break;
      case 2:
        headers_.Set(name, value);
        if (first == model.end()) {
          // A known name that is set anew gets its usual spelling.
          const Name id = FindName(name);
          model.emplace_back(id == Name::kUnknown ? name : std::string(NameText(id)), value);
        } else {
          first->second = value;
          model.erase(std::remove_if(first + 1, model.end(), is(name)), model.end());
        }
        break;
      case 3:
        headers_.Remove(name);
        std::erase_if(model, is(name));
        break;
      default:
        break;
    }
    std::string text;
    for (const auto& [n, v] : model) text += fmt::format("{}={};", n, v);
    ASSERT_EQ(TextOf(headers_), text);
    for (const std::string& each : names) {
      const auto found = std::find_if(model.begin(), model.end(), is(each));
      ASSERT_EQ(headers_.Has(each), found != model.end());
      if (found != model.end()) {
        ASSERT_EQ(headers_.Get(each), found->second);
      }
    }
    if (model.size() > 30) {
      headers_.RemoveIf([](const HeaderEntry&) { return true; });
      model.clear();
    }
  }
}

TEST(HeaderTextTest, Tokens) {
  EXPECT_TRUE(IsToken("abc-09!"));
  EXPECT_FALSE(IsToken(""));
  EXPECT_FALSE(IsToken("a b"));
  EXPECT_TRUE(IsFieldValue(""));
  EXPECT_TRUE(IsFieldValue("a\tb \x80"));
  EXPECT_FALSE(IsFieldValue("a\n"));
  EXPECT_EQ(TrimSpace(" \t a b\t"), "a b");
  EXPECT_EQ(TrimSpace(" \t "), "");
}

}  // namespace
}  // namespace gatehouse::http
