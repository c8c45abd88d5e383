#include "source/route/rewrite.h"

#include <string>
#include <string_view>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "source/base/arena.h"
#include "source/base/status.h"

namespace gatehouse::route {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class RewriteTest : public testing::Test {
 protected:
  // The target that a rewrite makes of a path whose first `matched` characters the route took.
  std::string Apply(const absl::StatusOr<PathRewrite>& rewrite, std::string_view path,
                    size_t matched, std::string_view query = {}) {
    if (!rewrite.ok()) return "error: " + MessageOf(rewrite.status());
    match_.matched_size = static_cast<uint32_t>(matched);
    return std::string(rewrite->Apply({path, query, &match_}, arena_));
  }
  std::string Prefix(std::string_view prefix, std::string_view replacement, std::string_view path,
                     std::string_view query = {}) {
    return Apply(PathRewrite::Prefix(replacement), path, prefix.size(), query);
  }
  std::string Regex(std::string_view pattern, std::string_view substitution,
                    std::string_view path) {
    return Apply(PathRewrite::Regex(pattern, substitution), path, path.size());
  }
  void Captures(std::vector<std::string_view> captures) {
    match_.capture_count = static_cast<uint32_t>(captures.size());
    std::copy(captures.begin(), captures.end(), match_.captures.begin());
  }

  Arena arena_;
  Match match_;
};

TEST_F(RewriteTest, Prefix) {
  EXPECT_EQ(Prefix("/api", "/v2", "/api/users"), "/v2/users");
  EXPECT_EQ(Prefix("/api", "/v2/", "/api/users"), "/v2/users");
  EXPECT_EQ(Prefix("/api", "/v2", "/api"), "/v2");
  EXPECT_EQ(Prefix("/api", "/v2", "/api/"), "/v2/");
  EXPECT_EQ(Prefix("", "/v2", "/users"), "/v2/users");
  EXPECT_EQ(Prefix("/api", "/v2", "/api/users", "a=b&c"), "/v2/users?a=b&c");
}

// "//x" would be another host.
TEST_F(RewriteTest, PrefixNeverMakesTwoSlashes) {
  for (const char* nothing : {"", "/", "//"}) {
    EXPECT_EQ(Prefix("/api", nothing, "/api/x"), "/x");
    EXPECT_EQ(Prefix("/api", nothing, "/api"), "/");
    EXPECT_EQ(Prefix("/api", nothing, "/api/"), "/");
    EXPECT_EQ(Prefix("/api", nothing, "/api//evil.example/x"), "/evil.example/x");
  }
  EXPECT_EQ(Prefix("/api", "//evil.example", "/api/x"), "/evil.example/x");
}

TEST_F(RewriteTest, Regex) {
  EXPECT_EQ(Regex("^/users/([^/]+)/orders/([0-9]+)$", "/orders/\\2/of/\\1", "/users/ann/orders/7"),
            "/orders/7/of/ann");
  EXPECT_EQ(Regex("/old", "/new", "/old/x/old"), "/new/x/new");
  EXPECT_EQ(Regex("nothing", "x", "/a/b"), "/a/b");
  EXPECT_EQ(Regex("[aeiou]", "<\\0>", "/abe"), "/<a>b<e>");
  EXPECT_EQ(Regex("/(a)|(b)", "/\\2-\\\\", "/a"), "/-\\");
  EXPECT_EQ(Regex("x*", "-", "/xxa"), "/-/-a-");  // as RE2::GlobalReplace: "-/-a-"
  EXPECT_EQ(Regex("^/api", "", "/api/x"), "/x");
  EXPECT_EQ(Regex("^/api", "", "/api"), "/");
  EXPECT_EQ(Regex("^/api/", "", "/api/x"), "/x");
  EXPECT_EQ(Regex("^/api", "/", "/api/x"), "/x");
}

// Many matches cost no more memory than a few times the result.
TEST_F(RewriteTest, RegexOnALongPath) {
  const std::string path = "/" + std::string(20000, 'a');
  EXPECT_EQ(Regex("a", "bc", path).size(), 40001u);
  EXPECT_LT(arena_.overflow_bytes(), 400'000u);
}

TEST_F(RewriteTest, RegexErrors) {
  EXPECT_EQ(Regex("(", "x", "/"), "error: pattern: is not a valid RE2 regex: missing ): (");
  EXPECT_EQ(Regex("(a)", "\\2", "/"), "error: substitution: \\2 but the pattern has 1 groups");
  EXPECT_EQ(Regex("a", "\\n", "/"),
            "error: substitution: a '\\' is followed by a digit or by another one");
  EXPECT_EQ(Regex("a", "x\\", "/"),
            "error: substitution: a '\\' is followed by a digit or by another one");
  EXPECT_EQ(Regex("a", "x?y", "/"), "error: substitution: must not contain '?'");
}

TEST_F(RewriteTest, Template) {
  const std::vector<std::string> names = {"id", "rest"};
  Captures({"7", "x/y"});
  const auto apply = [&](std::string_view text) {
    return Apply(PathRewrite::Template(text, names), "/in", 3, "q=1");
  };
  EXPECT_EQ(apply("/v2/{id}/items/{rest*}"), "/v2/7/items/x/y?q=1");
  EXPECT_EQ(apply("/{rest}"), "/x/y?q=1");
  EXPECT_EQ(apply("/v2"), "/v2?q=1");
  EXPECT_EQ(apply("/{idd}"), "error: the route's path has no capture 'idd'; did you mean 'id'?");
  EXPECT_EQ(apply("/{}"), "error: the route's path has no capture ''");
  EXPECT_EQ(apply("/{id"), "error: has a '{' or '}' without its other half");
  EXPECT_EQ(apply("/id}"), "error: has a '{' or '}' without its other half");
  EXPECT_EQ(apply("{id}"), "error: must start with '/'");
  EXPECT_EQ(apply("/a b"), "error: must not contain spaces or control characters: write %20");
  Captures({"7", ""});
  EXPECT_EQ(apply("/{rest*}/x"), "/x?q=1");
}

TEST_F(RewriteTest, Whole) {
  EXPECT_EQ(Apply(PathRewrite::Whole("/new"), "/old/x", 4, "a"), "/new?a");
  EXPECT_EQ(Apply(PathRewrite::Whole("new"), "/old", 4), "error: must start with '/'");
}

TEST_F(RewriteTest, ALiteralResultIsNotCopied) {
  const auto rewrite = PathRewrite::Whole("/new");
  const std::string_view once = rewrite->ApplyToPath({"/a", {}, &match_}, arena_);
  EXPECT_EQ(once.data(), rewrite->ApplyToPath({"/b", {}, &match_}, arena_).data());
}

TEST_F(RewriteTest, CaptureNames) {
  EXPECT_THAT(CaptureNamesOf(PathMatch::Template("/a/{b}/*/{c*}")), ElementsAre("b", "", "c"));
  EXPECT_THAT(CaptureNamesOf(PathMatch::Regex("/(?P<x>a)(b)(?P<y>c)")), ElementsAre("x", "y"));
  EXPECT_THAT(CaptureNamesOf(PathMatch::Prefix("/a")), IsEmpty());
  EXPECT_THAT(CaptureNamesOf(PathMatch::Template("/{a}/{a}")), IsEmpty());
}

TEST_F(RewriteTest, Host) {
  http::HeaderMap headers(arena_);
  const auto apply = [&](const absl::StatusOr<HostRewrite>& rewrite) {
    if (!rewrite.ok()) return "error: " + MessageOf(rewrite.status());
    return std::string(rewrite->Apply(headers, match_, arena_).value_or("none"));
  };
  EXPECT_EQ(apply(HostRewrite::Literal("origin.internal:8080")), "origin.internal:8080");
  EXPECT_EQ(apply(HostRewrite::Literal("[::1]:80")), "[::1]:80");
  EXPECT_EQ(apply(HostRewrite::Literal("a b")), "error: 'a b' is not a host or host:port");
  EXPECT_EQ(apply(HostRewrite::Literal("a:")), "error: 'a:' is not a host or host:port");
  EXPECT_EQ(apply(HostRewrite::FromHeader("x y")), "error: 'x y' is not a header name");
  EXPECT_EQ(apply(HostRewrite::FromHeader("X-Host")), "none");
  ASSERT_TRUE(headers.Add("x-host", "tenant.example"));
  ASSERT_TRUE(headers.Add("x-evil", "user@tenant.example"));
  EXPECT_EQ(apply(HostRewrite::FromHeader("X-Host")), "tenant.example");
  EXPECT_EQ(apply(HostRewrite::FromHeader("X-Evil")), "none");

  const std::vector<std::string> names = {"tenant"};
  Captures({"acme"});
  EXPECT_EQ(apply(HostRewrite::Template("{tenant}.internal", names)), "acme.internal");
  for (const char* evil : {"evil.example/", "a%2fb", "a@b", "a?b", ""}) {
    Captures({evil});
    EXPECT_EQ(apply(HostRewrite::Template("{tenant}", names)), "none") << evil;
  }
}

class RedirectTest : public RewriteTest {
 protected:
  std::string Location(Redirect::Spec spec, std::string_view path, std::string_view query = {}) {
    const auto redirect = Redirect::Build(std::move(spec));
    if (!redirect.ok()) return "error: " + MessageOf(redirect.status());
    match_.matched_size = 4;
    return std::string(redirect->Location(request_, {path, query, &match_}, arena_));
  }
  Redirect::Request request_{"http", "shop.example", 8080};
};

TEST_F(RedirectTest, Places) {
  EXPECT_EQ(Location({.scheme = "https"}, "/a", "b=c"), "https://shop.example/a?b=c");
  EXPECT_EQ(Location({.scheme = "https", .port = 8443}, "/a"), "https://shop.example:8443/a");
  EXPECT_EQ(Location({.scheme = "https", .port = 443}, "/a"), "https://shop.example/a");
  EXPECT_EQ(Location({.scheme = "http"}, "/a"), "http://shop.example:8080/a");
  EXPECT_EQ(Location({.host = "new.example"}, "/a"), "http://new.example/a");
  EXPECT_EQ(Location({.port = 80}, "/a"), "http://shop.example/a");
  EXPECT_EQ(Location({}, "/a"), "http://shop.example:8080/a");
  EXPECT_EQ(Location({.strip_query = true}, "/a", "b"), "http://shop.example:8080/a");
  request_.host = {};
  EXPECT_EQ(Location({}, "//evil.example"), "/evil.example");
  // A path alone would lead back here, again and again.
  EXPECT_EQ(Location({.scheme = "https"}, "/a"), "");
  EXPECT_EQ(Location({.port = 8443}, "/a"), "");
  EXPECT_EQ(Location({.scheme = "https", .host = "a.example"}, "/a"), "https://a.example/a");
}

TEST_F(RedirectTest, Paths) {
  request_.port = 0;
  EXPECT_EQ(Location({.path = *PathRewrite::Prefix("/new")}, "/old/x", "q"),
            "http://shop.example/new/x?q");
  EXPECT_EQ(Location({.path = *PathRewrite::Whole("/there")}, "/old/x"),
            "http://shop.example/there");
  EXPECT_EQ(Location({.path = *PathRewrite::Regex("old", "new")}, "/old/x"),
            "http://shop.example/new/x");
}

TEST_F(RedirectTest, Statuses) {
  for (uint32_t status : {301u, 302u, 303u, 307u, 308u}) {
    EXPECT_EQ(Redirect::Build({.status = status})->status(), status);
  }
  EXPECT_EQ(Redirect::Build({})->status(), 301u);
  EXPECT_EQ(Location({.status = 200}, "/"),
            "error: status: 200 is not one of 301, 302, 303, 307, 308");
}

TEST_F(RedirectTest, Errors) {
  EXPECT_EQ(Location({.scheme = "ftp"}, "/"), "error: scheme: 'ftp' is not http or https");
  EXPECT_EQ(Location({.host = "a:80"}, "/"),
            "error: host: 'a:80' is not a host: the port is a field");
  EXPECT_EQ(Location({.host = "[::1]:80"}, "/"),
            "error: host: '[::1]:80' is not a host: the port is a field");
  EXPECT_EQ(Location({.host = "a/b"}, "/"), "error: host: 'a/b' is not a host");
  EXPECT_EQ(Location({.port = 65536}, "/"), "error: port: 65536 is not a port");
  EXPECT_EQ(Location({.host = "[::1]"}, "/x"), "http://[::1]/x");
}

}  // namespace
}  // namespace gatehouse::route
