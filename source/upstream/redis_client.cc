#include "source/upstream/redis_client.h"

#include <cstring>
#include <new>
#include <utility>

#include "source/base/check.h"
#include "source/base/crypto.h"
#include "source/upstream/endpoint.h"
#include "source/upstream/redis_codec.h"
#include "source/upstream/redis_connection.h"
#include "source/upstream/redis_lookup.h"
#include "source/upstream/redis_metrics.h"
#include "source/upstream/redis_server.h"
#include "source/upstream/redis_slots.h"
#include "source/upstream/redis_target.h"

namespace gatehouse::upstream {
namespace {

constexpr Duration kHousekeepingEvery = std::chrono::seconds(10);
// A payload and what is in front of it take half a KiB; larger ones come from the heap.
constexpr uint32_t kPayloadRoom = 512 - sizeof(RedisPayload);
constexpr uint32_t kMaxSpares = 2048;

RedisPayload* NewPayload(uint32_t room) {
  return new (::operator new(sizeof(RedisPayload) + room)) RedisPayload{nullptr, room, 0, 0};
}
void DeletePayload(RedisPayload* payload) { ::operator delete(payload); }

}  // namespace

// --- RedisScript, RedisCall ---

RedisScript::RedisScript(std::string_view text) : text_(text), sha1_(HexEncode(View(Sha1(text)))) {}

RedisCall::RedisCall() : deadline_(Timer::Calls<RedisCall, &RedisCall::OnDeadline>(), this) {}

RedisCall::~RedisCall() {
  if (client_ != nullptr) client_->Cancel(*this);
}

void RedisCall::Start(RedisClient& client, const RedisRequest& request, void* owner, Done done) {
  CHECK(!running() && done != nullptr);
  owner_ = owner;
  done_ = done;
  client.Start(*this, request);
}

void RedisCall::OnDeadline() {
  if (client_ != nullptr) client_->OnDeadline(*this);
}

// --- RedisClient ---

RedisClient::RedisClient(std::shared_ptr<const RedisTarget> target, const Environment& environment)
    : target_(std::move(target)),
      environment_(environment),
      loop_(environment.loop),
      counters_(environment.counters),
      metrics_(target_->metrics()),
      lookup_(std::make_unique<RedisLookup>(*this)),
      lookup_timer_(Timer::Calls<RedisClient, &RedisClient::OnLookUpTimer>(), this),
      tell_failed_([](void* self) { static_cast<RedisClient*>(self)->TellFailed(); }, this),
      housekeeping_(Timer::Calls<RedisClient, &RedisClient::OnHousekeeping>(), this),
      used_(loop_.Now()) {
  loop_.Arm(housekeeping_, kHousekeepingEvery);
}

RedisClient::~RedisClient() {
  counters_.Gauge(metrics_.active, -static_cast<int64_t>(running_));
  NoteLookUpGone();
  Orphan(homeless_);
  Orphan(failed_);
  servers_.clear();
  while (spare_ != nullptr) DeletePayload(std::exchange(spare_, spare_->next));
}

void RedisClient::Orphan(RedisCall& call) {
  DeletePayload(std::exchange(call.payload_, nullptr));
  call.deadline_.Cancel();
  call.client_ = nullptr;
  call.server_ = nullptr;
}

void RedisClient::Orphan(IntrusiveList<RedisCall>& calls) {
  while (RedisCall* call = calls.PopFront()) Orphan(*call);
}

void RedisClient::Start(RedisCall& call, const RedisRequest& request) {
  CHECK((request.script != nullptr) != !request.command.empty());
  call.client_ = this;
  call.script_ = request.script;
  call.payload_ = Encode(request);
  call.started_ = used_ = loop_.Now();
  call.turns_ = 0;
  call.asking_ = call.by_text_ = false;
  ++running_;
  counters_.Gauge(metrics_.active, +1);
  loop_.Arm(call.deadline_, request.timeout);
  if (target_->spec().topology == RedisTopology::kCluster) call.slot_ = RedisSlotOf(request.key);
  Route(call);
}

RedisPayload* RedisClient::Encode(const RedisRequest& request) {
  const bool has_key = !request.key.empty();
  size_t room = RedisStringRoom(request.command.size()) + RedisStringRoom(1) +
                RedisStringRoom(request.key.size());
  for (const std::string_view arg : request.args) room += RedisStringRoom(arg.size());
  CHECK(room < UINT32_MAX / 2);
  RedisPayload* payload = spare_;
  if (room > kPayloadRoom) {
    payload = NewPayload(static_cast<uint32_t>(room));
  } else if (payload != nullptr) {
    spare_ = payload->next;
    --spares_;
  } else {
    payload = NewPayload(kPayloadRoom);
  }
  char* out = payload->data();
  if (request.script != nullptr) {
    out = WriteRedisString(has_key ? "1" : "0", out);
  } else {
    out = WriteRedisString(request.command, out);
  }
  if (has_key) out = WriteRedisString(request.key, out);
  for (const std::string_view arg : request.args) out = WriteRedisString(arg, out);
  payload->size = static_cast<uint32_t>(out - payload->data());
  // EVALSHA and the digest, or the command.
  payload->strings = static_cast<uint32_t>((request.script != nullptr ? 3 : 1) + (has_key ? 1 : 0) +
                                           request.args.size());
  return payload;
}

void RedisClient::Release(RedisPayload* payload) {
  if (payload->room != kPayloadRoom || spares_ == kMaxSpares) {
    DeletePayload(payload);
    return;
  }
  payload->next = spare_;
  spare_ = payload;
  ++spares_;
}

void RedisClient::Unlist(RedisCall& call) {
  if (call.server_ != nullptr) {
    call.server_->Forget(call);
    return;
  }
  if (call.failure_ == RedisFailure::kNone && call.linked()) --homeless_count_;
  call.Unlink();
}

void RedisClient::Cancel(RedisCall& call) {
  Unlist(call);
  counters_.Add(metrics_.cancelled);
  End(call);
}

void RedisClient::End(RedisCall& call) {
  Release(std::exchange(call.payload_, nullptr));
  call.deadline_.Cancel();
  call.client_ = nullptr;
  call.failure_ = RedisFailure::kNone;
  --running_;
  counters_.Gauge(metrics_.active, -1);
}

void RedisClient::OnDeadline(RedisCall& call) {
  const bool sent = call.connection_ != nullptr;
  RedisServer* server = call.server_;
  Unlist(call);
  if (server != nullptr) {
    server->OnTimeout();
  } else {
    OnLookUpSlow();
  }
  Finish(call, {sent ? RedisFailure::kTimeout : RedisFailure::kUnreachable, {}});
}

void RedisClient::Finish(RedisCall& call, const RedisResult& result) {
  DCHECK(!call.linked() && call.server_ == nullptr && call.connection_ == nullptr);
  counters_.Add(metrics_.calls[static_cast<size_t>(result.failure)]);
  if (result.ok() || result.failure == RedisFailure::kError) {
    counters_.Record(metrics_.latency,
                     static_cast<uint64_t>((loop_.Now() - call.started_).count()));
  }
  End(call);
  call.done_(call.owner_, result);
}

void RedisClient::FailLater(RedisCall& call, RedisFailure failure) {
  call.server_ = nullptr;
  call.failure_ = failure;
  call.deadline_.Cancel();
  failed_.PushBack(call);
  loop_.FlushLater(tell_failed_);
}

void RedisClient::TellFailed() {
  // What fails meanwhile is told in the next round.
  IntrusiveList<RedisCall> failed;
  failed.TakeAll(failed_);
  while (RedisCall* call = failed.PopFront()) Finish(*call, {call->failure_, {}});
}

void RedisClient::OnHousekeeping() {
  std::erase_if(servers_, [](const std::unique_ptr<RedisServer>& server) {
    return server->left() && !server->busy();
  });
  if (running_ == 0 && loop_.Now() - used_ >= kIdle) {
    environment_.idle(environment_.owner, *this);
    return;
  }
  loop_.Arm(housekeeping_, kHousekeepingEvery);
  switch (target_->spec().topology) {
    case RedisTopology::kSentinel:
      // A former master that nobody has told so yet takes writes that will be lost.
      return LookUp();
    case RedisTopology::kSingle:
      // Who begins now uses what DNS names now; all have to use the same.
      if (master_ != nullptr && !Endpoints().empty()) ChooseEndpoint();
      return;
    case RedisTopology::kCluster:
      return;
  }
}

}  // namespace gatehouse::upstream
