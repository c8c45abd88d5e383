#include "source/net/resolver.h"

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "test/fakes/fake_dns_server.h"
#include "test/fakes/manual_clock.h"

namespace gatehouse::net {
namespace {

struct Asked {
  Resolver::Lookup lookup{this, [](void* self, const DnsAnswer& given) {
                            auto* asked = static_cast<Asked*>(self);
                            asked->done = true;
                            asked->answer = given;
                            if (asked->on_done) asked->on_done();
                          }};
  bool done = false;
  DnsAnswer answer;
  std::function<void()> on_done;

  [[nodiscard]] std::vector<std::string> addresses() const {
    std::vector<std::string> texts;
    for (const IpAddress& ip : answer.addresses) texts.push_back(ip.ToString());
    return texts;
  }
};

class ResolverTest : public testing::Test {
 protected:
  ResolverTest() {
    auto made = Resolver::Make(loop_, {.servers = {dns_.address()}});
    EXPECT_TRUE(made.ok()) << made.status();
    resolver_ = std::move(*made);
  }
  [[nodiscard]] bool Until(const std::function<bool()>& done) {
    for (int i = 0; i < 20000; ++i) {
      if (done()) return true;
      loop_.RunTurn(false);
      dns_.Step();
    }
    return done();
  }
  void Ask(Asked& asked, std::string_view host, DnsFamily family = DnsFamily::kBoth) {
    resolver_->Start(asked.lookup, host, family);
    EXPECT_FALSE(asked.done);
    EXPECT_TRUE(Until([&] { return asked.done; }));
  }

  ManualClock clock_;
  Loop loop_{clock_};
  FakeDnsServer dns_;
  std::unique_ptr<Resolver> resolver_;
};

using Texts = std::vector<std::string>;

TEST_F(ResolverTest, AllAddressesOfBothFamiliesSorted) {
  dns_.Answer("users.test", {"10.0.0.2", "10.0.0.1", "2001:db8::1"}, 30);
  Asked both;
  Ask(both, "users.test");
  EXPECT_EQ(both.answer.status, DnsStatus::kOk);
  EXPECT_EQ(both.addresses(), (Texts{"10.0.0.1", "10.0.0.2", "2001:db8::1"}));
  EXPECT_EQ(both.answer.ttl, std::chrono::seconds(30));
  Asked v4;
  Ask(v4, "users.test", DnsFamily::kIpv4);
  EXPECT_EQ(v4.addresses(), (Texts{"10.0.0.1", "10.0.0.2"}));
  Asked v6;
  Ask(v6, "users.test", DnsFamily::kIpv6);
  EXPECT_EQ(v6.addresses(), (Texts{"2001:db8::1"}));
}

TEST_F(ResolverTest, OneFamilyIsEnough) {
  dns_.Answer("four.test", {"10.0.0.1"}, 5);
  Asked asked;
  Ask(asked, "four.test");
  EXPECT_EQ(asked.addresses(), (Texts{"10.0.0.1"}));
}

TEST_F(ResolverTest, NamesThatDoNotExist) {
  Asked missing;
  Ask(missing, "missing.test");
  EXPECT_EQ(missing.answer.status, DnsStatus::kNotFound);
  EXPECT_FALSE(missing.answer.detail.empty());
  dns_.Answer("empty.test", {}, 5);
  Asked empty;
  Ask(empty, "empty.test");
  EXPECT_EQ(empty.answer.status, DnsStatus::kNotFound);
  EXPECT_TRUE(empty.answer.addresses.empty());
}

TEST_F(ResolverTest, NoSearchListWithServersOfOnesOwn) {
  Asked asked;
  Ask(asked, "users");
  EXPECT_EQ(asked.answer.status, DnsStatus::kNotFound);
  for (const std::string& name : dns_.asked()) EXPECT_EQ(name, "users");
}

TEST_F(ResolverTest, ServerFailure) {
  dns_.set_mode(FakeDnsServer::Mode::kServerFailure);
  Asked asked;
  Ask(asked, "users.test");
  EXPECT_EQ(asked.answer.status, DnsStatus::kFailed);
}

TEST_F(ResolverTest, SilentServerTimesOut) {
  dns_.set_mode(FakeDnsServer::Mode::kSilent);
  Asked asked;
  resolver_->Start(asked.lookup, "users.test", DnsFamily::kBoth);
  EXPECT_TRUE(Until([&] { return dns_.queries() >= 2; }));
  clock_.Advance(std::chrono::milliseconds(4900));
  for (int i = 0; i < 10; ++i) loop_.RunTurn(false);
  EXPECT_FALSE(asked.done);
  clock_.Advance(std::chrono::milliseconds(200));
  EXPECT_TRUE(Until([&] { return asked.done; }));
  EXPECT_EQ(asked.answer.status, DnsStatus::kTimeout);
  // The same lookup may be used again.
  dns_.set_mode(FakeDnsServer::Mode::kAnswer);
  dns_.Answer("users.test", {"10.0.0.1"}, 5);
  asked.done = false;
  Ask(asked, "users.test");
  EXPECT_EQ(asked.answer.status, DnsStatus::kOk);
}

TEST_F(ResolverTest, GarbageIsNoAnswer) {
  dns_.set_mode(FakeDnsServer::Mode::kGarbage);
  Asked asked;
  resolver_->Start(asked.lookup, "users.test", DnsFamily::kIpv4);
  EXPECT_TRUE(Until([&] { return dns_.queries() >= 1; }));
  for (int i = 0; i < 50; ++i) loop_.RunTurn(false);
  clock_.Advance(std::chrono::seconds(6));
  EXPECT_TRUE(Until([&] { return asked.done; }));
  EXPECT_NE(asked.answer.status, DnsStatus::kOk);
}

TEST_F(ResolverTest, HostsFileAnswersFromTheLoop) {
  Asked asked;
  resolver_->Start(asked.lookup, "localhost", DnsFamily::kIpv4);
  EXPECT_FALSE(asked.done);
  loop_.RunTurn(true);  // does not hang: the answer is there already
  ASSERT_TRUE(asked.done);
  EXPECT_EQ(asked.addresses(), (Texts{"127.0.0.1"}));
  EXPECT_EQ(dns_.queries(), 0u);
}

TEST_F(ResolverTest, CancelledLookupsAreNotTold) {
  dns_.Answer("users.test", {"10.0.0.1"}, 5);
  Asked cancelled;
  resolver_->Start(cancelled.lookup, "users.test", DnsFamily::kBoth);
  cancelled.lookup.Cancel();
  {
    Asked destroyed;
    resolver_->Start(destroyed.lookup, "users.test", DnsFamily::kBoth);
    Asked answered_at_once;
    resolver_->Start(answered_at_once.lookup, "localhost", DnsFamily::kBoth);
  }
  Asked kept;
  Ask(kept, "users.test");
  EXPECT_EQ(kept.answer.status, DnsStatus::kOk);
  EXPECT_FALSE(cancelled.done);
}

TEST_F(ResolverTest, ResolverMayEndFirst) {
  Asked asked;
  resolver_->Start(asked.lookup, "users.test", DnsFamily::kBoth);
  resolver_ = nullptr;
  EXPECT_FALSE(asked.lookup.running());
  loop_.RunTurn(false);
  EXPECT_FALSE(asked.done);
}

TEST_F(ResolverTest, ManyAtOnce) {
  std::vector<std::unique_ptr<Asked>> all;
  for (int i = 0; i < 100; ++i) {
    const std::string host = "host" + std::to_string(i) + ".test";
    dns_.Answer(host, {"10.0.1." + std::to_string(i)}, 5);
    all.push_back(std::make_unique<Asked>());
    resolver_->Start(all.back()->lookup, host, DnsFamily::kBoth);
  }
  EXPECT_TRUE(Until([&] {
    for (const auto& asked : all) {
      if (!asked->done) return false;
    }
    return true;
  }));
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(all[i]->addresses(), (Texts{"10.0.1." + std::to_string(i)}));
  }
}

TEST_F(ResolverTest, DoneMayDestroyTheLookup) {
  dns_.Answer("users.test", {"10.0.0.1"}, 5);
  auto asked = std::make_unique<Asked>();
  bool done = false;
  asked->on_done = [&] {
    done = true;
    asked.reset();
  };
  resolver_->Start(asked->lookup, "users.test", DnsFamily::kBoth);
  EXPECT_TRUE(Until([&] { return done; }));
}

TEST(ResolverServersTest, AreNumbers) {
  EXPECT_TRUE(Resolver::CheckServers({"10.0.0.1", "10.0.0.1:5353", "::1", "[::1]:53"}).ok());
  EXPECT_FALSE(Resolver::CheckServers({"dns.test"}).ok());
  EXPECT_FALSE(Resolver::CheckServers({"10.0.0.1:0"}).ok());
}

}  // namespace
}  // namespace gatehouse::net
