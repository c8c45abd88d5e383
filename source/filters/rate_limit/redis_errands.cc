#include "source/filters/rate_limit/redis_errands.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include <fmt/format.h>

#include "source/base/random.h"
#include "source/filters/rate_limit/limit_script.h"

namespace gatehouse::filters {

namespace {

constexpr Duration kUpkeep = std::chrono::seconds(2);
// A policy that has gone is told of for so long to a Redis that is away.
constexpr Duration kLastWords = std::chrono::minutes(1);
constexpr Duration kLeastPause = std::chrono::milliseconds(100);  // while Redis is away
constexpr size_t kSpareLists = 64;

// Between nine tenths of it and all of it, so that gateways do not come all at once.
Duration Jittered(Duration interval) {
  const auto tenth = static_cast<uint64_t>(interval.count() / 10);
  return interval - Duration(static_cast<int64_t>(ThreadRandom().Below(tenth + 1)));
}

}  // namespace

RedisErrands& RedisErrands::Of(upstream::Upstreams& upstreams,
                               const std::shared_ptr<RedisStore>& store) {
  if (auto* part = upstreams.parts().Find(store->part_id())) {
    return static_cast<RedisErrands&>(*part);
  }
  auto made = std::make_unique<RedisErrands>(upstreams, store);
  RedisErrands& errands = *made;
  upstreams.parts().Put(store->part_id(), std::move(made));
  return errands;
}

RedisErrands::RedisErrands(upstream::Upstreams& upstreams, std::shared_ptr<RedisStore> store)
    : upstreams_(upstreams),
      store_(std::move(store)),
      worker_name_(fmt::format("{:016x}", Random::FromKernel().Next())),
      sync_timer_(Timer::Calls<RedisErrands, &RedisErrands::OnSync>(), this),
      lease_timer_(Timer::Calls<RedisErrands, &RedisErrands::OnLease>(), this),
      upkeep_timer_(Timer::Calls<RedisErrands, &RedisErrands::OnUpkeep>(), this),
      urgent_([](void* self) { static_cast<RedisErrands*>(self)->DoMore(); }, this) {
  upstreams_.loop().Arm(upkeep_timer_, kUpkeep);
}

// Other workers may go on with what this one has not told.
RedisErrands::~RedisErrands() {
  for (const MirrorTable::Place place : dirty_) store_->mirror()->Unlist(place, false);
  for (const MirrorTable::Place place : batch_) store_->mirror()->Unlist(place, false);
  for (const auto& errand : errands_) {
    if (errand->running && errand->task.what == What::kPush) {
      store_->mirror()->Unlist(errand->task.mirrored, true);
    }
  }
}

void RedisErrands::Count(observe::CounterId RedisLimitMetrics::* id, uint64_t by) {
  if (const RedisLimitMetrics* const ids = store_->metrics())
    upstreams_.counters().Add(ids->*id, by);
}

void RedisErrands::Note(const MirrorTable::Taken& taken) {
  if (taken.urgent && !halted_) {
    batch_.push_back(taken.place);
    upstreams_.loop().FlushLater(urgent_);
  } else if (taken.dirty) {
    dirty_.push_back(taken.place);
  }
  ArmSync();
}

void RedisErrands::ArmSync() {
  if (sync_timer_.armed() || (dirty_.empty() && batch_.empty())) return;
  const Duration interval = store_->terms().sync_interval;
  upstreams_.loop().Arm(sync_timer_,
                        Jittered(halted_ ? std::max(interval, kLeastPause) : interval));
}

void RedisErrands::OnSync() {
  batch_.insert(batch_.end(), dirty_.begin(), dirty_.end());
  dirty_.clear();
  DoMore();
  ArmSync();
}

void RedisErrands::Drain() { OnSync(); }

// When the policy has gone, so do the errands, once all is told, or cannot be: Redis may be gone as
// well, and with it whoever would want to know.
void RedisErrands::OnUpkeep() {
  if (store_->retired()) {
    OnSync();
    const TimePoint now = upstreams_.loop().Now();
    if (!retired_at_) retired_at_ = now;
    const bool told = running_ == 0 && waiting_.empty() && dirty_.empty() && batch_.empty();
    if (keys_.empty() && (told || now - *retired_at_ >= kLastWords)) {
      upstreams_.parts().Remove(store_->part_id());
      return;
    }
  }
  upstreams_.loop().Arm(upkeep_timer_, kUpkeep);
}

void RedisErrands::GiveBack(const KeyDigest& digest, uint64_t cost, int64_t since_taken) {
  Do({.what = What::kGiveBack, .digest = digest, .units = cost, .micros = since_taken});
}

std::string_view RedisErrands::NameOf(uint64_t place, PlaceName& buffer) const {
  char* at = std::copy(worker_name_.begin(), worker_name_.end(), buffer.data());
  *at++ = '-';
  at = std::to_chars(at, buffer.data() + buffer.size(), place).ptr;
  return {buffer.data(), static_cast<size_t>(at - buffer.data())};
}

void RedisErrands::AppendPlaces(std::vector<std::string>& names, uint64_t place,
                                uint64_t cost) const {
  PlaceName buffer;
  const std::string_view name = NameOf(place, buffer);
  names.emplace_back(name);
  for (uint64_t i = 2; i <= cost; ++i) names.push_back(fmt::format("{}.{}", name, i));
}

void RedisErrands::Hold(uint64_t key_hash, const KeyDigest& digest, uint64_t place, uint64_t cost) {
  const auto [found, is_new] = keys_.try_emplace(key_hash);
  Key& key = found->second;
  if (is_new) {
    key.digest = digest;
    if (!spare_.empty()) {
      key.held = std::move(spare_.back());
      spare_.pop_back();
    }
  }
  key.held.push_back({place, cost});
  // Before this lease ends, which may be shorter than those before a change.
  net::Loop& loop = upstreams_.loop();
  const TimePoint renewal = loop.Now() + store_->terms().lease / 3;
  if (!lease_timer_.armed() || lease_timer_.deadline() > renewal) loop.Arm(lease_timer_, renewal);
}

bool RedisErrands::Release(uint64_t key_hash, uint64_t cost) {
  const auto found = keys_.find(key_hash);
  if (found == keys_.end()) return false;
  std::vector<Held>& held = found->second.held;
  const auto it =
      std::find_if(held.begin(), held.end(), [&](const Held& one) { return one.cost == cost; });
  if (it == held.end()) return false;
  const KeyDigest digest = found->second.digest;
  const uint64_t place = it->place;
  *it = held.back();
  held.pop_back();
  if (held.empty()) {
    if (spare_.size() < kSpareLists) spare_.push_back(std::move(held));
    keys_.erase(found);
  }
  Release(digest, place, cost);
  return true;
}

void RedisErrands::Release(const KeyDigest& digest, uint64_t place, uint64_t cost) {
  Do({.what = What::kRelease, .digest = digest, .units = cost, .place = place});
}

void RedisErrands::OnLease() {
  for (const auto& [hash, key] : keys_) {
    Do({.what = What::kRenew, .digest = key.digest, .key = hash});
  }
  if (!keys_.empty()) upstreams_.loop().Arm(lease_timer_, store_->terms().lease / 3);
}

void RedisErrands::Do(const Task& task) {
  if (running_ < kMaxRunning) return Start(task);
  if (waiting_.size() < kMaxWaiting) return waiting_.push_back(task);
  Count(&RedisLimitMetrics::errands_failed);
}

void RedisErrands::DoMore() {
  while (running_ < kMaxRunning && !waiting_.empty()) {
    const Task task = waiting_.front();
    waiting_.pop_front();
    Start(task);
  }
  MirrorTable* const mirror = store_->mirror();
  while (running_ < kMaxRunning && !batch_.empty() && !(halted_ && pushing_ > 0)) {
    const MirrorTable::Place place = batch_.front();
    batch_.pop_front();
    const auto push = mirror->BeginPush(place, store_->terms());
    if (!push) continue;
    Start({.what = What::kPush,
           .digest = push->digest,
           .units = push->units,
           .micros = push->micros,
           .mirrored = place});
  }
}

void RedisErrands::Start(const Task& task) {
  if (idle_.empty()) {
    errands_.push_back(std::make_unique<Errand>(*this));
    idle_.push_back(errands_.back().get());
  }
  Errand& errand = *idle_.back();
  idle_.pop_back();
  errand.task = task;
  errand.terms = &store_->terms();
  errand.running = true;
  ++running_;
  const auto& terms = *errand.terms;
  const std::string units = fmt::format("{}", task.units);
  const std::string micros = fmt::format("{}", task.micros);
  const std::string lease = fmt::format("{}", terms.lease.count());
  const std::string timeout = fmt::format("{}", terms.timeout.count());
  std::vector<std::string> names;
  std::vector<std::string_view> args = {terms.rules_text};
  switch (task.what) {
    case What::kPush:
      ++pushing_;
      args.insert(args.end(), {"0", units, micros, lease});
      return Send(errand, TakeScript(), args);
    case What::kGiveBack:
      args.insert(args.end(), {units, "0", micros, lease, timeout});
      return Send(errand, GiveBackScript(), args);
    case What::kRelease:
      AppendPlaces(names, task.place, task.units);
      args.insert(args.end(), names.begin(), names.end());
      return Send(errand, ReleaseScript(), args);
    case What::kRenew:
      args.push_back(lease);
      if (const auto found = keys_.find(task.key); found != keys_.end()) {
        for (const Held& held : found->second.held) AppendPlaces(names, held.place, held.cost);
      }
      args.insert(args.end(), names.begin(), names.end());
      Count(&RedisLimitMetrics::places_renewed, names.size());
      return Send(errand, RenewScript(), args);
  }
}

void RedisErrands::Send(Errand& errand, const upstream::RedisScript& script,
                        std::vector<std::string_view>& args) {
  RedisStore::NameBuffer buffer;
  errand.call.Start(upstreams_.Redis(store_->target()),
                    {.script = &script,
                     .key = store_->Name(errand.task.digest, buffer),
                     .args = args,
                     .timeout = errand.terms->timeout},
                    &errand, [](void* self, const upstream::RedisResult& result) {
                      auto& its = *static_cast<Errand*>(self);
                      its.owner.OnDone(its, result);
                    });
}

void RedisErrands::OnDone(Errand& errand, const upstream::RedisResult& result) {
  --running_;
  errand.running = false;
  store_->NoteResult(result.failure, upstreams_.loop().WallMicros());
  if (errand.task.what == What::kPush) {
    OnPushed(errand, result);
  } else if (!result.ok()) {
    Count(&RedisLimitMetrics::errands_failed);
  }
  idle_.push_back(&errand);
  DoMore();
  ArmSync();
}

void RedisErrands::OnPushed(const Errand& errand, const upstream::RedisResult& result) {
  --pushing_;
  const Task& task = errand.task;
  const RedisTerms& terms = *errand.terms;
  if (const RedisLimitMetrics* const ids = store_->metrics()) {
    upstreams_.counters().Add(ids->pushes[static_cast<size_t>(result.failure)]);
  }
  bool dirty;
  const auto reply = result.ok() ? ReadReply(result.reply, terms.rules) : std::nullopt;
  if (result.ok() && !reply) store_->NoteWrong(upstreams_.loop().Now());
  if (reply) {
    store_->NoteClock(reply->micros, upstreams_.loop().WallMicros());
    dirty = store_->mirror()->FinishPush(task.mirrored, terms, task.units, reply->states,
                                         reply->micros);
  } else {
    dirty = store_->mirror()->FailPush(task.mirrored);
  }
  if (dirty) dirty_.push_back(task.mirrored);
  // An error is the key's own trouble, or one that goes on for as long as it does.
  halted_ = !result.ok() && result.failure != upstream::RedisFailure::kError;
}

}  // namespace gatehouse::filters
