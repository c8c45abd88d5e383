#include "source/http/normalize.h"

#include <string>
#include <string_view>

#include "gtest/gtest.h"

namespace gatehouse::http {
namespace {

using std::string_view_literals::operator""sv;
using enum PathResult;

struct Row {
  std::string_view in;
  PathResult result;
  std::string_view out;
};

void Check(const Row& row, const PathOptions& options) {
  SCOPED_TRACE(row.in);
  Arena arena;
  const NormalizedPath path = NormalizePath(row.in, options, arena);
  EXPECT_EQ(path.result, row.result);
  EXPECT_EQ(path.path, row.out);
  if (path.result == kClean) {
    EXPECT_EQ(path.path.data(), row.in.data());
  }
  if (path.result == kChanged || path.result == kRedirect) {
    const NormalizedPath again = NormalizePath(path.path, options, arena);
    EXPECT_EQ(again.result, kClean);
    EXPECT_EQ(again.path, path.path);
  }
}

TEST(NormalizePathTest, Table) {
  constexpr Row kRows[] = {
      {"/", kClean, "/"},
      {"/a/b", kClean, "/a/b"},
      {"/a/b/", kClean, "/a/b/"},
      {"/a.b/c..d/...", kClean, "/a.b/c..d/..."},
      {"/.well-known/x", kClean, "/.well-known/x"},
      {"/a/..b/.c", kClean, "/a/..b/.c"},
      {"/!$&'()*+,;=:@-._~", kClean, "/!$&'()*+,;=:@-._~"},
      {"/a?b=c/../d//e%zz", kClean, "/a?b=c/../d//e%zz"},
      {"/a?", kClean, "/a?"},
      {"/?a?b", kClean, "/?a?b"},
      {"*", kClean, "*"},
      // Escapes.
      {"/%61%7E%2d", kChanged, "/a~-"},
      {"/caf%C3%A9", kClean, "/caf%C3%A9"},
      {"/caf%c3%a9", kChanged, "/caf%C3%A9"},
      {"/%20%3f%23%25", kChanged, "/%20%3F%23%25"},
      {"/%252e%252e/", kClean, "/%252e%252e/"},
      {"/a%3Fb?c", kClean, "/a%3Fb?c"},
      // Dots and slashes.
      {"/a/./b", kChanged, "/a/b"},
      {"/a/../b", kChanged, "/b"},
      {"/a/b/..", kChanged, "/a/"},
      {"/a/b/.", kChanged, "/a/b/"},
      {"/a/..", kChanged, "/"},
      {"/.", kChanged, "/"},
      {"/./", kChanged, "/"},
      {"/a/%2e%2E/b", kChanged, "/b"},
      {"/a/.%2e/b?x", kChanged, "/b?x"},
      {"//", kChanged, "/"},
      {"//a///b//", kChanged, "/a/b/"},
      {"/a//../b", kChanged, "/b"},
      {"/a/b/c/../../../d", kChanged, "/d"},
      {"/a/b/c/./../../g?/../x", kChanged, "/a/g?/../x"},
      // Refused.
      {"", kInvalid, ""},
      {"a", kInvalid, ""},
      {"*x", kInvalid, ""},
      {"?a", kInvalid, ""},
      {"/..", kInvalid, ""},
      {"/../a", kInvalid, ""},
      {"/a/../../b", kInvalid, ""},
      {"/%2e%2e/a", kInvalid, ""},
      {"//..", kInvalid, ""},
      {"/a#b", kInvalid, ""},
      {"/a?b#c", kInvalid, ""},
      {"/a\\b", kInvalid, ""},
      {"/a b", kInvalid, ""},
      {"/a?b c", kInvalid, ""},
      {"/a\tb", kInvalid, ""},
      {"/a\x7f", kInvalid, ""},
      {"/\xc3\xa9", kInvalid, ""},
      {"/a?\xc3\xa9", kInvalid, ""},
      {"/a\0b"sv, kInvalid, ""},
      {"/a%00b", kInvalid, ""},
      {"/a%", kInvalid, ""},
      {"/a%4", kInvalid, ""},
      {"/a%4?1", kInvalid, ""},
      {"/a%zz", kInvalid, ""},
      {"/a%4g", kInvalid, ""},
      {"/a%2Fb", kInvalid, ""},
      {"/a%2fb", kInvalid, ""},
      {"/a%5Cb", kInvalid, ""},
      {"/a?%2F", kClean, "/a?%2F"},
  };
  for (const Row& row : kRows) Check(row, {});
}

// The vector scan must see a fault, a fold and the query wherever they are.
TEST(NormalizePathTest, EveryPosition) {
  for (size_t size = 1; size < 70; ++size) {
    for (size_t at = 1; at < size; ++at) {
      std::string path(size, 'a');
      path[0] = '/';
      for (char bad : {'#', '\\', ' ', '\x7f', '\x80', '\0'}) {
        path[at] = bad;
        Check({path, kInvalid, ""}, {});
      }
      path[at] = '%';
      Check({path, at + 2 < size ? kChanged : kInvalid,
             at + 2 < size ? path.substr(0, at) + "%AA" + path.substr(at + 3) : std::string()},
            {.encoded_slash = EncodedSlash::kKeep});
      path[at] = '?';
      Check({path, kClean, path}, {});
      path[at] = '/';
      const std::string merged = path.substr(0, at) + path.substr(at + 1);
      if (at == 1) {
        Check({path, kChanged, merged}, {});
      } else {
        Check({path, kClean, path}, {});
        path[at - 1] = '/';
        if (at == 2) continue;
        Check({path, kChanged, path.substr(0, at) + path.substr(at + 1)}, {});
      }
    }
  }
}

TEST(NormalizePathTest, EncodedSlashes) {
  const PathOptions keep{.encoded_slash = EncodedSlash::kKeep};
  Check({"/a%2Fb%5C", kClean, "/a%2Fb%5C"}, keep);
  Check({"/a%2fb", kChanged, "/a%2Fb"}, keep);
  Check({"/a/..%2fb", kChanged, "/a/..%2Fb"}, keep);
  const PathOptions forward{.encoded_slash = EncodedSlash::kUnescapeAndForward};
  Check({"/a%2Fb", kChanged, "/a/b"}, forward);
  Check({"/a%5cb", kChanged, "/a/b"}, forward);
  Check({"/a/x%2F..%2Fb?%2F", kChanged, "/a/b?%2F"}, forward);
  Check({"/%2F..", kInvalid, ""}, forward);
  Check({"/a/b", kClean, "/a/b"}, forward);
  const PathOptions redirect{.encoded_slash = EncodedSlash::kUnescapeAndRedirect};
  Check({"/a%2Fb?q", kRedirect, "/a/b?q"}, redirect);
  Check({"/a%41b", kChanged, "/aAb"}, redirect);
  // Not to another host.
  Check({"/%2Fevil.example", kRedirect, "/evil.example"},
        {.encoded_slash = EncodedSlash::kUnescapeAndRedirect, .merge_slashes = false});
}

TEST(NormalizePathTest, SlashesMayStay) {
  const PathOptions options{.merge_slashes = false};
  Check({"/a//b", kClean, "/a//b"}, options);
  Check({"//", kClean, "//"}, options);
  Check({"/a//../b", kChanged, "/a/b"}, options);
  Check({"/a/./b//", kChanged, "/a/b//"}, options);
}

TEST(NormalizeHostTest, Table) {
  struct HostRow {
    std::string_view in;
    std::string_view host;  // empty: refused
    uint16_t port;
  };
  constexpr HostRow kRows[] = {
      {"a", "a", 0},
      {"a.example", "a.example", 0},
      {"A.Example:8080", "a.example", 8080},
      {"a.example.", "a.example", 0},
      {"a.example.:80", "a.example", 80},
      {"my_host-1", "my_host-1", 0},
      {"10.0.0.1:1", "10.0.0.1", 1},
      {"a:00080", "a", 80},
      {"a:65535", "a", 65535},
      {"[::1]", "[::1]", 0},
      {"[2001:DB8::1]:443", "[2001:db8::1]", 443},
      {"[::ffff:10.0.0.1]", "[::ffff:10.0.0.1]", 0},
      {"", "", 0},
      {".", "", 0},
      {"..", "", 0},
      {".a", "", 0},
      {"a..b", "", 0},
      {"a..", "", 0},
      {"a b", "", 0},
      {"a,b", "", 0},
      {"a@b", "", 0},
      {"a/b", "", 0},
      {"a%41", "", 0},
      {"a\\b", "", 0},
      {"a\0b"sv, "", 0},
      {"\xc3\xa9", "", 0},
      {"a:", "", 0},
      {":80", "", 0},
      {"a:0", "", 0},
      {"a:65536", "", 0},
      {"a:000080", "", 0},
      {"a:-1", "", 0},
      {"a:8x", "", 0},
      {"a:80:80", "", 0},
      {"::1", "", 0},
      {"[::1", "", 0},
      {"[]", "", 0},
      {"[::1]x", "", 0},
      {"[::1]:", "", 0},
      {"[fe80::1%25eth0]", "", 0},
      {"[v1.x]", "", 0},
      {"[10.0.0.1]", "", 0},
      {"[::1\0]"sv, "", 0},
  };
  for (const HostRow& row : kRows) {
    SCOPED_TRACE(row.in);
    Arena arena;
    const std::optional<HostPort> host = NormalizeHost(row.in, arena);
    EXPECT_EQ(host.has_value(), !row.host.empty());
    EXPECT_EQ(IsAuthority(row.in), !row.host.empty());
    if (!host) continue;
    EXPECT_EQ(host->host, row.host);
    EXPECT_EQ(host->port, row.port);
    const std::optional<HostPort> again = NormalizeHost(host->host, arena);
    ASSERT_TRUE(again.has_value());
    EXPECT_EQ(again->host, row.host);
  }
  Arena arena;
  EXPECT_TRUE(NormalizeHost(std::string(255, 'a'), arena).has_value());
  EXPECT_FALSE(NormalizeHost(std::string(256, 'a'), arena).has_value());
}

}  // namespace
}  // namespace gatehouse::http
