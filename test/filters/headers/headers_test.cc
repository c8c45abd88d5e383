#include "source/filters/headers/headers.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "api/gatehouse/filters/v1/headers.pb.h"
#include "test/filters/filter_fixture.h"

namespace gatehouse::filters {
namespace {

using testing::HasSubstr;

class HeadersTest : public FilterFixture {
 protected:
  void UseHeaders(const std::string& config) { Use(Built<Headers, v1::Headers>(config)); }
  void RunRequest() { EXPECT_EQ(run_.RequestHeaders(), Progress::kDone); }
  void RunResponse() { EXPECT_EQ(run_.ResponseHeaders(), Progress::kDone); }
  // What is wrong with the config.
  std::string ErrorsOf(const std::string& config) {
    const auto built = Build<Headers, v1::Headers>(config);
    EXPECT_FALSE(built.ok());
    return Errors();
  }
};

TEST_F(HeadersTest, RemovesWhateverTheCase) {
  UseHeaders(R"pb(request { remove: "X-Debug" remove: "user-agent" })pb");
  request_.headers.Add("x-debug", "1");
  request_.headers.Add("X-DEBUG", "2");
  request_.headers.Add("User-Agent", "curl");
  request_.headers.Add("Accept", "*/*");
  RunRequest();
  EXPECT_EQ(request_.headers.size(), 1u);
  EXPECT_EQ(Request("Accept"), "*/*");
}

TEST_F(HeadersTest, SetReplacesAddKeepsAppendJoins) {
  UseHeaders(R"pb(request {
                    set { key: "X-Set" value: "new" }
                    set { key: "X-Set-New" value: "new" }
                    add { key: "X-Add" value: "new" }
                    add { key: "X-Add-New" value: "new" }
                    append { key: "X-Append" value: "new" }
                    append { key: "X-Append-New" value: "new" }
                  })pb");
  for (const char* name : {"X-Set", "X-Set", "X-Add", "X-Append"}) {
    request_.headers.Add(name, "old");
  }
  RunRequest();
  EXPECT_EQ(Request("X-Set"), "new");
  EXPECT_EQ(Request("X-Set-New"), "new");
  EXPECT_EQ(Request("X-Add"), "old");
  EXPECT_EQ(Request("X-Add-New"), "new");
  EXPECT_EQ(Request("X-Append"), "old, new");
  EXPECT_EQ(Request("X-Append-New"), "new");
}

TEST_F(HeadersTest, RenameTakesAllValuesAlongAndReplaces) {
  UseHeaders(R"pb(request {
                    rename { key: "X-Old" value: "X-New" }
                    rename { key: "X-None" value: "X-Kept" }
                  })pb");
  request_.headers.Add("x-old", "1");
  request_.headers.Add("X-New", "spoofed");
  request_.headers.Add("X-Old", "2");
  request_.headers.Add("X-Kept", "kept");
  RunRequest();
  EXPECT_EQ(Request("X-New"), "1 | 2");
  EXPECT_EQ(Request("X-Old"), "-");
  EXPECT_EQ(Request("X-Kept"), "kept");
}

TEST_F(HeadersTest, TheOrderIsRemoveRenameSetAddAppend) {
  UseHeaders(R"pb(request {
                    append { key: "X-A" value: "appended" }
                    add { key: "X-A" value: "added" }
                    set { key: "X-B" value: "set" }
                    rename { key: "X-B" value: "X-C" }
                    remove: "X-A"
                  })pb");
  request_.headers.Add("X-A", "old");
  request_.headers.Add("X-B", "old");
  RunRequest();
  EXPECT_EQ(Request("X-A"), "added, appended");
  EXPECT_EQ(Request("X-B"), "set");
  EXPECT_EQ(Request("X-C"), "old");
}

TEST_F(HeadersTest, ValuesMayHoldVariables) {
  UseHeaders(
      R"pb(request { set { key: "X-Seen" value: "$(request.header.user-agent) on $(route)" } }
           response { set { key: "X-Status" value: "$(response.status)" } })pb");
  request_.headers.Add("User-Agent", "curl");
  context_.facts().route = "users";
  RunRequest();
  EXPECT_EQ(Request("X-Seen"), "curl on users");
  response_.status = 204;
  RunResponse();
  EXPECT_EQ(Response("X-Status"), "204");
}

TEST_F(HeadersTest, AValueThatIsEmptyOrImpossibleLeavesNoHeaderBehind) {
  UseHeaders(R"pb(request {
                    set { key: "X-User" value: "$(cookie.user)" }
                    set { key: "X-Name" value: "$(query.name)" }
                    append { key: "X-Log" value: "$(cookie.user)" }
                  })pb");
  request_.path = "/?name=a%0d%0aX-Evil:1";
  request_.headers.Add("X-User", "spoofed");
  request_.headers.Add("X-Name", "spoofed");
  request_.headers.Add("X-Log", "kept");
  RunRequest();
  EXPECT_EQ(Request("X-User"), "-");
  EXPECT_EQ(Request("X-Name"), "-");
  EXPECT_EQ(Request("X-Log"), "kept");
}

TEST_F(HeadersTest, RequestAndResponseAreApart) {
  UseHeaders(R"pb(response {
                    set { key: "X-A" value: "1" }
                    remove: "Server"
                  })pb");
  request_.headers.Add("Server", "x");
  response_.headers.Add("Server", "origin");
  RunRequest();
  RunResponse();
  EXPECT_EQ(Request("Server"), "x");
  EXPECT_EQ(Request("X-A"), "-");
  EXPECT_EQ(Response("Server"), "-");
  EXPECT_EQ(Response("X-A"), "1");
}

TEST_F(HeadersTest, FieldsOfTheConnectionAreRefused) {
  for (const char* name : {"Connection", "transfer-encoding", "Content-Length", "Upgrade", "TE",
                           "Keep-Alive", "Trailer", "Expect", "Proxy-Connection"}) {
    EXPECT_THAT(ErrorsOf("request { set { key: '" + std::string(name) + "' value: 'x' } }"),
                HasSubstr("belongs to the connection"));
    EXPECT_THAT(ErrorsOf("response { remove: '" + std::string(name) + "' }"),
                HasSubstr("response.remove[0]: "));
  }
  EXPECT_THAT(ErrorsOf("request { set { key: 'Host' value: 'x' } }"), HasSubstr("rewrite_host"));
  EXPECT_THAT(ErrorsOf("request { rename { key: 'X-A' value: 'host' } }"),
              HasSubstr("rewrite_host"));
  EXPECT_THAT(ErrorsOf("request { set { key: ':path' value: '/' } }"), HasSubstr("pseudo-header"));
}

TEST_F(HeadersTest, BadConfigsSayWhere) {
  EXPECT_EQ(ErrorsOf("request { set { key: 'X A' value: 'x' } }"),
            "filters[0].tested.request.set[\"X A\"]: \"X A\" is not a header name\n");
  EXPECT_THAT(ErrorsOf("request { set { key: 'X-A' value: '' } }"), HasSubstr("use remove"));
  EXPECT_THAT(ErrorsOf("request { set { key: 'X-A' value: 'a\\nb' } }"),
              HasSubstr("control character"));
  EXPECT_THAT(ErrorsOf("request { set { key: 'X-A' value: '$(nope)' } }"),
              HasSubstr("unknown variable"));
  EXPECT_THAT(ErrorsOf("request { set { key: 'X-A' value: '$(response.status)' } }"),
              HasSubstr("before there is a response"));
  EXPECT_THAT(ErrorsOf("response { append { key: 'Set-Cookie' value: 'a=b' } }"),
              HasSubstr("comma"));
  EXPECT_THAT(ErrorsOf("request { rename { key: 'X-A' value: 'x-a' } }"), HasSubstr("the same"));
  EXPECT_THAT(ErrorsOf("request { set { key: 'X-A' value: '1' } set { key: 'x-a' value: '2' } }"),
              HasSubstr("twice"));
}

TEST_F(HeadersTest, AllErrorsAreToldAtOnce) {
  ErrorsOf("request { remove: 'Host' remove: 'TE' } response { remove: ':status' }");
  EXPECT_EQ(build_->errors().size(), 3u);
}

}  // namespace
}  // namespace gatehouse::filters
