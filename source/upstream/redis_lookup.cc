#include "source/upstream/redis_lookup.h"

#include <algorithm>
#include <utility>

#include "fmt/format.h"
#include "source/upstream/redis_client.h"
#include "source/upstream/redis_metrics.h"
#include "source/upstream/redis_target.h"

namespace gatehouse::upstream {
namespace {

RedisLookup& Of(void* owner) { return *static_cast<RedisLookup*>(owner); }

}  // namespace

const RedisConnection::Callbacks RedisLookup::kCallbacks{
    .ready = [](void* owner, RedisConnection& connection) { Of(owner).OnReady(connection); },
    .closed = [](void* owner, RedisConnection& /*connection*/,
                 std::string_view why) { Of(owner).OnClosed(why); },
    .replied = [](void* /*owner*/, RedisConnection& /*connection*/, RedisCall& /*call*/,
                  const RedisReply& /*reply*/) {},
    .answered = [](void* owner, RedisConnection& connection,
                   const RedisReply& reply) { Of(owner).OnAnswered(connection, reply); },
};

RedisLookup::~RedisLookup() { delete connection_; }

void RedisLookup::Start(std::vector<Candidate> candidates, std::vector<std::string> question) {
  candidates_ = std::move(candidates);
  question_ = std::move(question);
  const auto good = std::find_if(candidates_.begin(), candidates_.end(),
                                 [&](const Candidate& one) { return one.address == last_good_; });
  if (good != candidates_.end()) std::rotate(candidates_.begin(), good, good + 1);
  next_ = 0;
  why_ = "no address is known";
  running_ = true;
  client_.counters_.Add(client_.metrics_.lookups);
  TryNext();
}

void RedisLookup::TryNext() {
  const RedisTarget& target = *client_.target_;
  const RedisSpec& spec = target.spec();
  const bool sentinel = spec.topology == RedisTopology::kSentinel;
  while (next_ < candidates_.size()) {
    const Candidate& to = candidates_[next_++];
    const RedisLogin login{
        .address = to.address,
        .host = to.host,
        .username = sentinel ? std::string_view() : std::string_view(spec.username),
        .password = sentinel ? spec.sentinel_password : spec.password};
    auto connection = std::make_unique<RedisConnection>(client_.loop_, client_.target_, login,
                                                        sessions_, kCallbacks, this);
    const std::string why = connection->Connect(std::min(kTimeout, target.connect_timeout()));
    if (why.empty()) {
      connection_ = connection.release();
      return;
    }
    why_ = fmt::format("{}: {}", to.address.ToString(), why);
  }
  running_ = false;
  client_.counters_.Add(client_.metrics_.lookup_failures);
  client_.OnNothingFound(why_);
}

void RedisLookup::OnReady(RedisConnection& connection) {
  const std::vector<std::string_view> question(question_.begin(), question_.end());
  connection.Ask(question, kTimeout);
}

void RedisLookup::OnClosed(std::string_view why) {
  if (connection_ == nullptr) return;
  connection_ = nullptr;
  why_ = fmt::format("{}: {}", candidates_[next_ - 1].address.ToString(), why);
  TryNext();
}

void RedisLookup::OnAnswered(RedisConnection& connection, const RedisReply& reply) {
  // A copy: what is found may begin another lookup.
  const auto [from, host] = candidates_[next_ - 1];
  connection_ = nullptr;
  // Buried: the reply lives on for this turn.
  connection.Close("that was all");
  std::string why;
  running_ = false;
  if (client_.OnFound(reply, from, host, &why)) {
    last_good_ = from;
    return;
  }
  running_ = true;
  why_ = fmt::format("{}: {}", from.ToString(), why);
  TryNext();
}

}  // namespace gatehouse::upstream
