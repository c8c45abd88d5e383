#include "source/upstream/redis_connection.h"

#include <cstring>

#include "fmt/format.h"
#include "source/base/check.h"
#include "source/upstream/redis_client.h"
#include "source/upstream/redis_target.h"

namespace gatehouse::upstream {
namespace {

constexpr size_t kReadBytes = 16384;
constexpr size_t kFirstSlots = 64;
constexpr size_t kMaxWords = 200;  // of a server's, for the operator

using Type = RedisReply::Type;

// For the operator. A server that does not know a command repeats what it was told: passwords, too.
std::string Words(std::string_view text, std::string_view password) {
  text = text.substr(0, text.find(", with args beginning with"));
  if (!password.empty() && text.find(password) != std::string_view::npos) {
    return "(what it says has the password in it)";
  }
  return std::string(text.substr(0, kMaxWords));
}

}  // namespace

RedisConnection::RedisConnection(net::Loop& loop, std::shared_ptr<const RedisTarget> target,
                                 const RedisLogin& login,
                                 std::shared_ptr<net::TlsSessions> sessions,
                                 const Callbacks& callbacks, void* owner)
    : net::Buried([](net::Buried* buried) { delete static_cast<RedisConnection*>(buried); }),
      loop_(loop),
      target_(std::move(target)),
      login_(login),
      sessions_(std::move(sessions)),
      callbacks_(callbacks),
      owner_(owner),
      timer_(Timer::Calls<RedisConnection, &RedisConnection::OnTimer>(), this),
      flush_([](void* self) { static_cast<RedisConnection*>(self)->Flush(); }, this),
      slots_(kFirstSlots) {}

RedisConnection::~RedisConnection() {
  bool sent = false;
  while (RedisCall* call = TakeCall(&sent)) RedisClient::Orphan(*call);
}

std::string RedisConnection::Connect(Duration timeout) {
  int error = 0;
  transport_ = target_->Connect(loop_, login_.address, login_.host, *sessions_, &error);
  if (transport_ == nullptr) return std::strerror(error);
  if (!transport_->registered()) return "the system cannot watch the socket";
  transport_->SetReady(this, [](void* self, net::Ready /*ready*/) {
    static_cast<RedisConnection*>(self)->OnReady();
  });
  loop_.Arm(timer_, timeout);
  return {};
}

// --- Events ---

void RedisConnection::OnReady() {
  if (state_ == State::kClosed) return;
  if (state_ == State::kConnecting && transport_->may_write()) OnConnected();
  if (state_ == State::kClosed || state_ == State::kConnecting) return;
  if (transport_->may_read()) {
    ReadAll();
  } else if (transport_->broken()) {
    OnEnd("the connection was reset");
  }
  if (state_ != State::kClosed && !out_.empty() && transport_->may_write())
    loop_.FlushLater(flush_);
}

void RedisConnection::OnConnected() {
  if (const int code = transport_->ConnectError(); code != 0) {
    const std::string why(transport_->failure());
    Fail(why.empty() ? std::strerror(code) : why);
    return;
  }
  state_ = State::kLogin;
  LogIn();
}

void RedisConnection::LogIn() {
  const TimePoint due = timer_.deadline();
  if (!login_.password.empty()) {
    if (login_.username.empty()) {
      Say(Kind::kAuth, {"AUTH", login_.password}, due);
    } else {
      Say(Kind::kAuth, {"AUTH", login_.username, login_.password}, due);
    }
  }
  if (login_.database != 0) {
    Say(Kind::kSelect, {"SELECT", std::to_string(login_.database)}, due);
  }
  // For CLIENT LIST; who may not say it does without.
  Say(Kind::kIgnored, {"CLIENT", "SETNAME", "gatehouse"}, due);
  if (login_.master) Say(Kind::kRole, {"ROLE"}, due);
  Say(Kind::kPing, {"PING"}, due);
}

void RedisConnection::ReadAll() {
  while (transport_->may_read()) {
    switch (transport_->Read(in_, kReadBytes)) {
      case net::IoStatus::kOk:
        if (!ParseAll()) return;
        break;
      case net::IoStatus::kWouldBlock:
        return;
      case net::IoStatus::kEof:
        OnEnd("it has closed the connection");
        return;
      case net::IoStatus::kError:
        OnEnd("the connection broke");
        return;
    }
  }
}

void RedisConnection::OnEnd(std::string_view how) {
  if (!transport_->failure().empty()) {
    Fail(transport_->failure());
  } else if (state_ == State::kLogin && !target_->has_tls()) {
    Fail(fmt::format("{} before it has answered (does it expect TLS?)", how));
  } else {
    Fail(how);
  }
}

bool RedisConnection::ParseAll() {
  while (!in_.empty()) {
    const RedisScanner::Status status = ScanMore();
    if (status == RedisScanner::Status::kMore) return true;
    if (status == RedisScanner::Status::kBroken || first_ == next_) {
      Fail(first_ == next_ ? "it speaks without being asked" : "it does not speak Redis' protocol");
      return false;
    }
    const size_t size = scanner_.bytes();
    if (in_.front().size() < size) in_.PullUp(size, 0, loop_.slabs());
    const RedisReply& reply = reader_.Read(in_.front().substr(0, size), scanner_.values());
    scanner_.Reset();
    OnReply(reply);
    if (state_ == State::kClosed) return false;
    in_.RemovePrefix(size);
  }
  return true;
}

RedisScanner::Status RedisConnection::ScanMore() {
  size_t skip = scanner_.bytes();
  for (size_t i = 0; i < in_.slices(); ++i) {
    const std::string_view piece = in_[i].view();
    if (skip >= piece.size()) {
      skip -= piece.size();
      continue;
    }
    size_t taken = 0;
    const RedisScanner::Status status = scanner_.Feed(piece.substr(skip), &taken);
    if (status != RedisScanner::Status::kMore) return status;
    skip = 0;
  }
  return RedisScanner::Status::kMore;
}

void RedisConnection::OnReply(const RedisReply& reply) {
  Slot& slot = At(first_);
  RedisCall* call = std::exchange(slot.call, nullptr);
  const Kind kind = slot.kind;
  ++first_;
  if (state_ == State::kReady) {
    if (first_ == next_) {
      timer_.Cancel();
    } else if (const TimePoint due = At(first_).due + kOverdue; due < timer_.deadline()) {
      loop_.Arm(timer_, due);
    }
  }
  switch (kind) {
    case Kind::kCall:
      if (call == nullptr) return;  // too late
      call->connection_ = nullptr;
      callbacks_.replied(owner_, *this, *call, reply);
      return;
    case Kind::kIgnored:
      return;
    case Kind::kAsked:
      callbacks_.answered(owner_, *this, reply);
      return;
    case Kind::kAuth:
    case Kind::kSelect:
    case Kind::kPing:
    case Kind::kRole:
      OnLoginReply(kind, reply);
      return;
  }
}

void RedisConnection::OnLoginReply(Kind kind, const RedisReply& reply) {
  // Who may not say ROLE or PING, by its ACL or by a proxy, goes without.
  const bool unknown = reply.IsError("NOPERM") || reply.text.starts_with("ERR unknown command");
  const std::string words = reply.is_error() ? Words(reply.text, login_.password) : std::string();
  if (reply.is_error() && kind == Kind::kAuth) {
    Fail(fmt::format("it refuses user or password: {}", words));
  } else if (reply.IsError("NOAUTH")) {
    Fail(login_.password.empty() ? "it wants a password, and none is configured"
                                 : fmt::format("not logged in: {}", words));
  } else if (reply.IsError("LOADING")) {
    Fail("it is still loading its data");
  } else if (reply.IsError("MASTERDOWN")) {
    Fail("it is a replica whose master is down");
  } else if (reply.is_error() && kind == Kind::kSelect) {
    Fail(fmt::format("database {}: {}", login_.database, words));
  } else if (reply.is_error() && !unknown) {
    Fail(fmt::format("it refuses: {}", words));
  } else if (kind == Kind::kRole && reply.type == Type::kArray && !reply.elements.empty() &&
             reply.elements[0].text != "master") {
    Fail("it is a replica, which takes no writes");
  } else if (kind == Kind::kPing) {
    state_ = State::kReady;
    timer_.Cancel();
    callbacks_.ready(owner_, *this);
  }
}

// --- Writing ---

void RedisConnection::Append(std::string_view text) {
  out_.AppendCopy(text, loop_.slabs());
  appended_ += text.size();
}

void RedisConnection::Push(Kind kind, RedisCall* call, TimePoint due) {
  if (in_flight() == slots_.size()) {
    std::vector<Slot> larger(slots_.size() * 2);
    for (uint64_t i = first_; i != next_; ++i) larger[i & (larger.size() - 1)] = At(i);
    slots_.swap(larger);
  }
  At(next_) = {call, due, appended_, kind};
  ++next_;
  if (state_ == State::kReady && !timer_.armed()) loop_.Arm(timer_, due + kOverdue);
  loop_.FlushLater(flush_);
}

void RedisConnection::Say(Kind kind, std::span<const std::string_view> command, TimePoint due) {
  Push(kind, nullptr, due);
  char count[kRedisCountRoom];
  Append({count, static_cast<size_t>(WriteRedisCount('*', command.size(), count) - count)});
  for (const std::string_view text : command) {
    Append({count, static_cast<size_t>(WriteRedisCount('$', text.size(), count) - count)});
    Append(text);
    Append("\r\n");
  }
}

void RedisConnection::Ask(std::span<const std::string_view> command, Duration timeout) {
  DCHECK(ready());
  Say(Kind::kAsked, command, loop_.Now() + timeout - kOverdue);
}

void RedisConnection::Send(RedisCall& call) {
  DCHECK(ready() && call.connection_ == nullptr);
  const TimePoint due = call.deadline_.deadline();
  if (call.asking_) Say(Kind::kIgnored, {"ASKING"}, due);
  call.connection_ = this;
  call.sequence_ = next_;
  Push(Kind::kCall, &call, due);
  RedisPayload& payload = *call.payload_;
  char head[3 * kRedisCountRoom + 64];
  char* end = WriteRedisCount('*', payload.strings, head);
  if (call.script_ != nullptr && call.by_text_) {
    end = WriteRedisString("EVAL", end);
    end = WriteRedisCount('$', call.script_->text().size(), end);
    Append({head, static_cast<size_t>(end - head)});
    Append(call.script_->text());
    Append("\r\n");
  } else {
    if (call.script_ != nullptr) {
      end = WriteRedisString("EVALSHA", end);
      end = WriteRedisString(call.script_->sha1(), end);
    }
    Append({head, static_cast<size_t>(end - head)});
  }
  Append(payload.view());
}

void RedisConnection::Forget(RedisCall& call) {
  DCHECK(call.connection_ == this && At(call.sequence_).call == &call);
  At(call.sequence_).call = nullptr;
  call.connection_ = nullptr;
}

void RedisConnection::Flush() {
  if (state_ == State::kClosed || !transport_->may_write()) return;
  const net::IoStatus status = transport_->Write(out_);
  written_ = appended_ - out_.bytes();
  if (status == net::IoStatus::kError) OnEnd("the connection broke");
}

void RedisConnection::NoteLoading(const RedisScript& script) {
  for (auto& [known, sequence] : loading_) {
    if (known != &script) continue;
    sequence = next_;
    return;
  }
  loading_.emplace_back(&script, next_);
}

bool RedisConnection::IsLoading(const RedisCall& call) const {
  for (const auto& [script, sequence] : loading_) {
    if (script == call.script_) return sequence > call.sequence_;
  }
  return false;
}

// --- The end ---

void RedisConnection::OnTimer() {
  if (state_ == State::kConnecting) {
    Fail("no connection was made in time");
  } else if (state_ == State::kLogin) {
    Fail("it takes the connection and does not answer");
  } else if (first_ != next_) {
    const TimePoint due = At(first_).due + kOverdue;
    if (due <= loop_.Now()) {
      Fail("it does not answer");
    } else {
      loop_.Arm(timer_, due);
    }
  }
}

void RedisConnection::Fail(std::string_view why) {
  if (state_ == State::kClosed) return;
  const std::string words(why);  // it may be the transport's
  state_ = State::kClosed;
  timer_.Cancel();
  flush_.Unlink();
  loop_.Bury(*this);
  callbacks_.closed(owner_, *this, words);
}

RedisCall* RedisConnection::TakeCall(bool* sent) {
  while (first_ != next_) {
    Slot& slot = At(first_++);
    RedisCall* call = std::exchange(slot.call, nullptr);
    if (call == nullptr) continue;
    call->connection_ = nullptr;
    *sent = slot.begin < written_;
    return call;
  }
  return nullptr;
}

}  // namespace gatehouse::upstream
