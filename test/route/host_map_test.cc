#include "source/route/host_map.h"

#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace gatehouse::route {
namespace {

HostMap Map(const std::vector<std::string>& domains) {
  HostMap::Builder builder;
  for (uint32_t i = 0; i < domains.size(); ++i) builder.Add(domains[i], i);
  return std::move(builder).Build();
}

TEST(HostMapTest, LongestSuffixOfWholeLabels) {
  const HostMap hosts = Map({"*.c", "*.b.c", "*.d.b.c"});
  EXPECT_EQ(hosts.Find("x.c"), 0u);
  EXPECT_EQ(hosts.Find("b.c"), 0u);
  EXPECT_EQ(hosts.Find("x.b.c"), 1u);
  EXPECT_EQ(hosts.Find("d.b.c"), 1u);
  EXPECT_EQ(hosts.Find("x.y.d.b.c"), 2u);
  EXPECT_EQ(hosts.Find("xd.b.c"), 1u);
  EXPECT_EQ(hosts.Find("c"), HostMap::kAbsent);
  EXPECT_EQ(hosts.Find(".c"), HostMap::kAbsent);
  EXPECT_EQ(hosts.Find("xc"), HostMap::kAbsent);
  EXPECT_EQ(hosts.Find(""), HostMap::kAbsent);
}

TEST(HostMapTest, LongestPrefixOfWholeLabels) {
  const HostMap hosts = Map({"a.*", "a.b.*", "a.b.c.*"});
  EXPECT_EQ(hosts.Find("a.x"), 0u);
  EXPECT_EQ(hosts.Find("a.b"), 0u);
  EXPECT_EQ(hosts.Find("a.b.x"), 1u);
  EXPECT_EQ(hosts.Find("a.b.c.d.e"), 2u);
  EXPECT_EQ(hosts.Find("a.bb.x"), 0u);
  EXPECT_EQ(hosts.Find("a"), HostMap::kAbsent);
  EXPECT_EQ(hosts.Find("a."), HostMap::kAbsent);
  EXPECT_EQ(hosts.Find("aa.x"), HostMap::kAbsent);
}

TEST(HostMapTest, SuffixBeforePrefixBeforeAny) {
  const HostMap hosts = Map({"*", "a.*", "*.z"});
  EXPECT_EQ(hosts.Find("a.y"), 1u);
  EXPECT_EQ(hosts.Find("a.z"), 2u);
  EXPECT_EQ(hosts.Find("b.y"), 0u);
  EXPECT_EQ(hosts.Find("[::ffff:1.2.3.z]"), 0u);
}

// Labels beyond the longest wildcard's are not looked at; the host's length does not matter.
TEST(HostMapTest, HostsOfManyLabels) {
  const HostMap hosts = Map({"*.b.c"});
  std::string host = "b.c";
  for (int i = 0; i < 5000; ++i) host.insert(0, "x.");
  EXPECT_EQ(hosts.Find(host), 0u);
  EXPECT_EQ(hosts.Find(host + ".d"), HostMap::kAbsent);
}

TEST(HostMapTest, DomainsInLowerCase) {
  std::string error;
  EXPECT_EQ(NormalizeDomain("*.Shop.EXAMPLE", error), "*.shop.example");
  EXPECT_EQ(error, "");
}

}  // namespace
}  // namespace gatehouse::route
