#include "source/upstream/upstreams.h"

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "test/upstream/upstream_fixture.h"

namespace gatehouse::upstream {
namespace {

class UpstreamsTest : public UpstreamFixture {};

TEST_F(UpstreamsTest, StatesAreMadeOnFirstUse) {
  TcpOrigin origin;
  const auto a = Make(Spec({&origin}, "a"));
  const auto b = Make(Spec({&origin}, "b"));
  const std::vector<std::shared_ptr<const Cluster>> clusters = {a, b};
  upstreams_->Adopt(clusters);
  EXPECT_EQ(upstreams_->states(), 0u);
  EXPECT_EQ(&State(*a), &State(*a));
  EXPECT_NE(&State(*a), &State(*b));
  EXPECT_EQ(upstreams_->states(), 2u);
}

TEST_F(UpstreamsTest, RetiredClusterClosesIdleConnectionsAndIsFreed) {
  TcpOrigin origin;
  const auto cluster = Make(Spec({&origin}));
  EXPECT_EQ(Exchange(*cluster), 200);
  upstreams_->Retire(cluster->key());
  ASSERT_TRUE(Until([&] { return origin.connection(0).ended(); }));
  EXPECT_EQ(upstreams_->states(), 0u);
  EXPECT_EQ(Value(cluster->metrics().connections), 0);
}

TEST_F(UpstreamsTest, RetiredClusterLivesUntilItsLastLeaseIsBack) {
  TcpOrigin origin;
  const auto cluster = Make(Spec({&origin}));
  TestAttempt attempt(*upstreams_);
  Get(attempt, *cluster);
  upstreams_->Retire(cluster->key());
  Settle();
  EXPECT_EQ(upstreams_->states(), 1u);
  attempt.Send();
  ASSERT_TRUE(Until([&] { return attempt.ended; }));
  EXPECT_EQ(attempt.status, 200);
  Settle();
  EXPECT_EQ(upstreams_->states(), 0u);
  EXPECT_TRUE(Until([&] { return origin.connection(0).ended(); }));
}

TEST_F(UpstreamsTest, LeaseHeldAfterRetiringAndClosingIsHarmless) {
  TcpOrigin origin;
  origin.set_auto_answer(false);
  const auto cluster = Make(Spec({&origin}));
  TestAttempt attempt(*upstreams_);
  Get(attempt, *cluster);
  attempt.Send();
  ASSERT_TRUE(Until([&] { return origin.requests() == 1; }));
  upstreams_->Retire(cluster->key());
  origin.connection(0).Reset();
  ASSERT_TRUE(Until([&] { return static_cast<bool>(attempt.error); }));
  Settle();
  EXPECT_EQ(upstreams_->states(), 1u);
  EXPECT_FALSE(attempt.lease.response_started());
  attempt.Release();
  Settle();
  EXPECT_EQ(upstreams_->states(), 0u);
}

// An exchange may have been routed by the old config and ask for its connection only now.
TEST_F(UpstreamsTest, RetiredClusterStillServesWhoHoldsIt) {
  TcpOrigin origin;
  const auto cluster = Make(Spec({&origin}));
  EXPECT_EQ(Exchange(*cluster), 200);
  upstreams_->Retire(cluster->key());
  Settle();
  EXPECT_EQ(upstreams_->states(), 0u);
  EXPECT_EQ(Exchange(*cluster), 200);
  Settle();
  EXPECT_EQ(upstreams_->states(), 0u);
  EXPECT_EQ(origin.connections(), 2u);
}

TEST_F(UpstreamsTest, RetiredClusterServesItsWaiters) {
  TcpOrigin origin;
  ClusterSpec spec = Spec({&origin});
  spec.options.max_connections = 1;
  const auto cluster = Make(spec);
  TestAttempt a(*upstreams_);
  TestAttempt b(*upstreams_);
  Get(a, *cluster);
  ASSERT_EQ(b.Acquire(*cluster), AcquireStatus::kWaiting);
  upstreams_->Retire(cluster->key());
  a.Release();
  ASSERT_TRUE(Until([&] { return b.decided(); }));
  EXPECT_TRUE(static_cast<bool>(b.lease));
  b.Release();
  Settle();
  EXPECT_EQ(upstreams_->states(), 0u);
}

TEST_F(UpstreamsTest, SlotIsUsedAgainByALaterGeneration) {
  TcpOrigin origin;
  auto old = Make(Spec({&origin}, "old"));
  const ClusterKey key = old->key();
  EXPECT_EQ(Exchange(*old), 200);
  upstreams_->Retire(key);
  Settle();
  old = nullptr;
  const auto next = Make(Spec({&origin}, "next"));
  EXPECT_EQ(next->key().slot, key.slot);
  EXPECT_NE(next->key().generation, key.generation);
  EXPECT_EQ(Exchange(*next), 200);
  // What was posted for the old one comes too late.
  upstreams_->UpdateEndpoints(key, EndpointSet::Make({}, nullptr));
  upstreams_->Retire(key);
  EXPECT_EQ(Exchange(*next), 200);
  EXPECT_EQ(upstreams_->states(), 1u);
}

TEST_F(UpstreamsTest, AdoptKeepsWhatIsSharedAndRetiresTheRest) {
  TcpOrigin origin;
  const auto kept = Make(Spec({&origin}, "kept"));
  const auto gone = Make(Spec({&origin}, "gone"));
  std::vector<std::shared_ptr<const Cluster>> clusters = {kept, gone};
  upstreams_->Adopt(clusters);
  EXPECT_EQ(Exchange(*kept), 200);
  EXPECT_EQ(Exchange(*gone), 200);
  clusters = {kept};
  upstreams_->Adopt(clusters);
  Settle();
  EXPECT_EQ(upstreams_->states(), 1u);
  EXPECT_EQ(State(*kept).idle(), 1u);
  // An earlier config comes back.
  clusters = {kept, gone};
  upstreams_->Adopt(clusters);
  EXPECT_EQ(Exchange(*gone), 200);
  EXPECT_EQ(State(*gone).idle(), 1u);
}

TEST_F(UpstreamsTest, AdoptsChangesAlone) {
  TcpOrigin origin;
  TcpOrigin other;
  const auto kept = Make(Spec({&origin}, "kept"));
  const auto moved = Make(Spec({&origin}, "moved"));
  const auto gone = Make(Spec({&origin}, "gone"));
  std::vector<std::shared_ptr<const Cluster>> clusters = {kept, moved, gone};
  upstreams_->Adopt(clusters);
  for (const auto& cluster : clusters) EXPECT_EQ(Exchange(*cluster), 200);

  const auto moved_on = Make(Spec({&other}, "moved"), moved);
  ASSERT_EQ(moved_on->key(), moved->key());
  const auto fresh = Make(Spec({&other}, "fresh"));
  origins_.push_back(&origin);
  clusters = {moved_on, fresh};
  const std::vector<ClusterKey> removed = {gone->key()};
  upstreams_->AdoptChanges(clusters, removed);
  Settle();
  EXPECT_EQ(upstreams_->states(), 2u);
  EXPECT_EQ(State(*kept).idle(), 1u);
  EXPECT_EQ(Exchange(*moved_on), 200);
  EXPECT_EQ(Exchange(*fresh), 200);
  EXPECT_EQ(other.requests(), 2u);
  // An earlier config comes back, this time as a whole.
  clusters = {kept, moved, gone};
  upstreams_->Adopt(clusters);
  EXPECT_EQ(Exchange(*gone), 200);
  EXPECT_EQ(State(*gone).idle(), 1u);
  EXPECT_EQ(State(*kept).idle(), 1u);
}

TEST_F(UpstreamsTest, ConnectionsToEndpointsThatStayAreKept) {
  TcpOrigin stays;
  TcpOrigin goes;
  TcpOrigin comes;
  const auto before = Make(Spec({&stays, &goes}));
  std::vector<std::shared_ptr<const Cluster>> clusters = {before};
  upstreams_->Adopt(clusters);
  EXPECT_EQ(Exchange(*before), 200);
  EXPECT_EQ(Exchange(*before), 200);
  ASSERT_EQ(State(*before).idle(), 2u);

  const ClusterSpec spec = Spec({&comes, &stays});
  origins_.push_back(&goes);
  const auto after = Make(spec, before);
  EXPECT_NE(after, before);
  EXPECT_EQ(after->key(), before->key());
  clusters = {after};
  upstreams_->Adopt(clusters);
  ASSERT_TRUE(Until([&] { return goes.connection(0).ended(); }));
  EXPECT_EQ(State(*after).idle(), 1u);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(Exchange(*after), 200);
  EXPECT_EQ(stays.connections(), 1u);
  EXPECT_EQ(stays.requests(), 3u);
  EXPECT_EQ(comes.requests(), 2u);
  EXPECT_EQ(goes.requests(), 1u);
}

TEST_F(UpstreamsTest, RemovedEndpointDrains) {
  TcpOrigin stays;
  TcpOrigin goes;
  const auto before = Make(Spec({&goes}));
  TestAttempt attempt(*upstreams_);
  Get(attempt, *before);
  const Endpoint* endpoint = &attempt.lease.endpoint();
  const ClusterSpec spec = Spec({&stays});
  origins_.push_back(&goes);
  const auto after = Make(spec, before);
  upstreams_->UpdateEndpoints(after->key(), after->endpoints());
  Settle();
  EXPECT_EQ(&attempt.lease.endpoint(), endpoint);
  EXPECT_EQ(endpoint->address(), goes.address());
  attempt.Send();
  ASSERT_TRUE(Until([&] { return attempt.ended; }));
  ASSERT_TRUE(Until([&] { return goes.connection(0).ended(); }));
  EXPECT_EQ(State(*after).connections(), 0u);
  EXPECT_EQ(Exchange(*after), 200);
  EXPECT_EQ(stays.requests(), 1u);
}

TEST_F(UpstreamsTest, WaitersOfARemovedEndpointGoElsewhere) {
  TcpOrigin stays;
  TcpOrigin goes;
  ClusterSpec spec = Spec({&goes});
  spec.options.max_connections = 1;
  const auto before = Make(spec);
  TestAttempt holder(*upstreams_);
  Get(holder, *before);
  TestAttempt waiter(*upstreams_);
  ASSERT_EQ(waiter.Acquire(*before), AcquireStatus::kWaiting);
  ClusterSpec next = Spec({&stays});
  next.options.max_connections = 1;
  const auto after = Make(next, before);
  upstreams_->UpdateEndpoints(after->key(), after->endpoints());
  holder.Release();
  ASSERT_TRUE(Until([&] { return waiter.decided(); }));
  ASSERT_TRUE(static_cast<bool>(waiter.lease));
  EXPECT_EQ(waiter.lease.endpoint().address(), stays.address());
}

TEST_F(UpstreamsTest, WaitersFailWhenNoEndpointIsLeft) {
  TcpOrigin goes;
  ClusterSpec spec = Spec({&goes});
  spec.options.max_connections = 1;
  const auto cluster = Make(spec);
  TestAttempt holder(*upstreams_);
  Get(holder, *cluster);
  TestAttempt waiter(*upstreams_);
  ASSERT_EQ(waiter.Acquire(*cluster), AcquireStatus::kWaiting);
  upstreams_->UpdateEndpoints(cluster->key(), EndpointSet::Make({}, nullptr));
  EXPECT_FALSE(waiter.decided());
  ASSERT_TRUE(Until([&] { return waiter.decided(); }));
  EXPECT_EQ(waiter.error.what, http::Error::What::kNoHealthyUpstream);
}

TEST_F(UpstreamsTest, EndpointsPublishedBeforeTheFirstUseCount) {
  TcpOrigin origin;
  const auto cluster = Make(Spec({}));
  origins_ = {&origin};
  upstreams_->UpdateEndpoints(cluster->key(),
                              EndpointSet::Make({{origin.address(), "named:80", 1}}, nullptr));
  EXPECT_EQ(upstreams_->states(), 0u);
  EXPECT_EQ(Exchange(*cluster), 200);
}

TEST_F(UpstreamsTest, UnhealthyEndpointsAreSkipped) {
  TcpOrigin a;
  TcpOrigin b;
  const auto cluster = Make(Spec({&a, &b}));
  cluster->endpoints()->SetHealth(0, false);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(Exchange(*cluster), 200);
  EXPECT_EQ(a.requests(), 0u);
  EXPECT_EQ(b.requests(), 4u);
  cluster->endpoints()->SetHealth(0, true);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(Exchange(*cluster), 200);
  EXPECT_EQ(a.requests(), 2u);
}

TEST_F(UpstreamsTest, DrainPoolsNothingMore) {
  TcpOrigin origin;
  const auto cluster = Make(Spec({&origin}));
  EXPECT_EQ(Exchange(*cluster), 200);
  upstreams_->Drain();
  ASSERT_TRUE(Until([&] { return origin.connection(0).ended(); }));
  EXPECT_EQ(Exchange(*cluster), 200);
  EXPECT_EQ(State(*cluster).connections(), 0u);
}

TEST_F(UpstreamsTest, EndsWithConnectionsOpenAndWaitersWaiting) {
  TcpOrigin origin;
  const auto cluster = Make(Spec({&origin}));
  EXPECT_EQ(Exchange(*cluster), 200);
  TestAttempt ready(*upstreams_);
  Get(ready, *cluster);
  ready.Release();
  TestAttempt waiter(*upstreams_);
  ASSERT_EQ(waiter.Acquire(*cluster, {.fresh = true}), AcquireStatus::kWaiting);
  upstreams_.reset();
  EXPECT_FALSE(waiter.waiting());
  EXPECT_EQ(Value(cluster->metrics().connections), 0);
  EXPECT_EQ(Value(cluster->metrics().idle_connections), 0);
  EXPECT_EQ(Value(cluster->metrics().pending), 0);
}

// Main publishes sets and health while workers pick from them.
TEST_F(UpstreamsTest, PublishingFromAnotherThread) {
  TcpOrigin a;
  TcpOrigin b;
  const auto cluster = Make(Spec({&a, &b}));
  std::atomic<bool> stop = false;
  std::thread main([&] {
    std::shared_ptr<const EndpointSet> set = cluster->endpoints();
    for (int i = 0; i < 300; ++i) {
      std::vector<ResolvedEndpoint> endpoints = {{a.address(), "a", 1}};
      if (i % 2 == 0) endpoints.push_back({b.address(), "b", 2});
      set = EndpointSet::Make(endpoints, set.get());
      loop_.Post([this, set, key = cluster->key()] { upstreams_->UpdateEndpoints(key, set); });
      set->SetHealth(0, i % 3 != 0);
    }
    set->SetHealth(0, true);
    stop = true;
  });
  while (!stop) static_cast<void>(Exchange(*cluster));
  main.join();
  Settle();
  EXPECT_EQ(Exchange(*cluster), 200);
}

}  // namespace
}  // namespace gatehouse::upstream
