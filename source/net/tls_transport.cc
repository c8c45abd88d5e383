#include "source/net/tls_transport.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "openssl/bio.h"
#include "openssl/err.h"
#include "openssl/pool.h"
#include "openssl/ssl.h"
#include "source/base/check.h"
#include "source/net/socket_io.h"
#include "source/net/tls_failure.h"
#include "source/net/tls_names.h"

namespace gatehouse::net {
namespace {

// RFC 8446, section 5.1: plaintext of one record.
constexpr size_t kMaxRecord = 16384;
constexpr int kRecordHeader = 5;
// A read of one slab: recv() instead of readv(). What it leaves comes with the next one.
constexpr size_t kSmallRead = SlabPool::kDataBytes;
// Ciphertext that waits for the socket, and one sendmsg() takes.
constexpr size_t kMaxPending = size_t{64} * 1024;
// Below this, a piece is joined with the next ones into one record.
constexpr size_t kGatherBelow = 4096;
// Below this, the room behind the last slice is not worth a record.
constexpr size_t kMinTailRoom = 2048;
// What is read away before a connection that failed is closed.
constexpr size_t kMaxDiscard = size_t{256} * 1024;

}  // namespace

// A BIO over the chains of the transport.
struct TlsBio {
  static const BIO_METHOD* Method() {
    static const BIO_METHOD* const method = [] {
      BIO_METHOD* made = BIO_meth_new(BIO_TYPE_NONE, "chain");
      CHECK(made != nullptr);
      BIO_meth_set_read(made, &Read);
      BIO_meth_set_write(made, &Write);
      BIO_meth_set_ctrl(made, &Control);
      return made;
    }();
    return method;
  }

  static int Read(BIO* bio, char* to, int size) {
    auto& self = *static_cast<TlsTransport*>(BIO_get_data(bio));
    BIO_clear_retry_flags(bio);
    if (self.in_.empty()) {
      if (self.socket_error_ != 0) return -1;
      if (self.socket_eof_) {
        // BoringSSL asks for the header of a record first, and for no byte beyond a record.
        self.record_cut_ = size != kRecordHeader;
        return 0;
      }
      BIO_set_retry_read(bio);
      return -1;
    }
    size_t copied = 0;
    while (copied < static_cast<size_t>(size) && !self.in_.empty()) {
      const std::string_view front = self.in_.front();
      const size_t count = std::min(front.size(), static_cast<size_t>(size) - copied);
      std::memcpy(to + copied, front.data(), count);
      self.in_.RemovePrefix(count);
      copied += count;
    }
    return static_cast<int>(copied);
  }
  static int Write(BIO* bio, const char* from, int size) {
    auto& self = *static_cast<TlsTransport*>(BIO_get_data(bio));
    self.out_.AppendCopy({from, static_cast<size_t>(size)}, self.pool());
    return size;
  }
  static long Control(BIO* /*bio*/, int command, long /*number*/, void* /*pointer*/) {
    return command == BIO_CTRL_FLUSH ? 1 : 0;
  }
};

TlsTransport::TlsTransport(Loop& loop, int fd, bssl::UniquePtr<SSL> ssl)
    : events_(loop, fd, this,
              [](void* self, Ready ready) { static_cast<TlsTransport*>(self)->OnReady(ready); }),
      ssl_(std::move(ssl)) {
  may_write_ = false;
  if (!is_server()) state_ = State::kConnecting;
  BIO* bio = BIO_new(TlsBio::Method());
  CHECK(bio != nullptr);
  BIO_set_data(bio, this);
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl_.get(), bio, bio);
  SSL_set_app_data(ssl_.get(), this);
  SSL_set_shed_handshake_config(ssl_.get(), 1);
  if (events_.registered()) return;
  // Out of memory in the kernel: no event will ever come.
  state_ = State::kFailed;
  connect_error_ = ENOMEM;
  failure_ = "the kernel does not watch the socket: out of memory";
  may_read_ = true;
  may_write_ = !is_server();
}

TlsTransport::~TlsTransport() {
  // A peer that hears no close_notify may think that the end was cut off.
  if (!aborted_ && !shut_down_ && state_ == State::kOpen && !write_failed_) {
    SSL_shutdown(ssl_.get());
    ERR_clear_error();
    Flush();
  }
  const int own = fd();
  events_.Unregister();
  close(own);
}

TlsTransport& TlsTransport::Of(const SSL* ssl) {
  return *static_cast<TlsTransport*>(SSL_get_app_data(ssl));
}

bool TlsTransport::is_server() const { return SSL_is_server(ssl_.get()) != 0; }

bool TlsTransport::early_data() const {
  return state_ == State::kOpen && is_server() && SSL_in_early_data(ssl_.get()) != 0;
}

void TlsTransport::SetServer(std::string_view host, TlsSessions& sessions) {
  host_ = host;
  sessions_ = &sessions;
}

// --- Events ---

void TlsTransport::OnReady(Ready ready) {
  socket_readable_ |= ready.read || ready.hangup;
  socket_writable_ |= ready.write;
  hangup_ |= ready.hangup;
  if (state_ == State::kFailed) return;
  const bool was_open = state_ == State::kOpen;
  // What the owner waits for goes with its Write(), which lets go of the plaintext.
  if (!out_.empty() && (encrypted_ == 0 || shut_down_)) Flush();
  if (state_ == State::kConnecting && (ready.write || ready.hangup)) FinishConnect();
  if (state_ == State::kHandshake) Handshake();
  if (state_ == State::kConnecting || state_ == State::kHandshake) return;
  if (state_ == State::kOpen && !is_server() && !got_data_) LookForData();
  UpdateFlags();
  if (!was_open && state_ == State::kFailed) {
    may_read_ = true;
    may_write_ = !is_server();
  }
  ready.write = may_write_ && (ready.write || !was_open);
  if (!may_read_ && !ready.write) return;
  Notify({.read = may_read_, .write = ready.write, .hangup = may_read_ && ready.hangup});
}

bool TlsTransport::broken() const { return TakeSocketError(fd()) != 0; }

void TlsTransport::FinishConnect() {
  connect_error_ = TakeSocketError(fd());
  state_ = connect_error_ == 0 ? State::kHandshake : State::kFailed;
}

void TlsTransport::Handshake() {
  for (;;) {
    const int result = SSL_do_handshake(ssl_.get());
    // If that fails, the peer may have said why before it closed.
    Flush();
    if (result == 1) return Establish();
    if (SSL_get_error(ssl_.get(), result) != SSL_ERROR_WANT_READ) return Fail(result);
    if (!FillOn(kSmallRead)) return;
  }
}

void TlsTransport::Establish() {
  SSL* ssl = ssl_.get();
  facts_.version = SSL_get_version(ssl);
  const char* cipher = SSL_CIPHER_standard_name(SSL_get_current_cipher(ssl));
  if (cipher != nullptr) facts_.cipher = cipher;
  const uint8_t* alpn = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(ssl, &alpn, &size);
  facts_.alpn = {reinterpret_cast<const char*>(alpn), size};
  facts_.resumed = SSL_session_reused(ssl) != 0;
  const char* name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
  if (is_server() && name != nullptr) facts_.server_name = LowerCase(name);
  failure_ = std::string();
  if (!DescribePeer()) return;
  state_ = State::kOpen;
  established_ = true;
}

bool TlsTransport::DescribePeer() {
  const STACK_OF(CRYPTO_BUFFER)* chain = SSL_get0_peer_certificates(ssl_.get());
  if (chain == nullptr || sk_CRYPTO_BUFFER_num(chain) == 0) return true;
  facts_.has_certificate = true;
  // Of a server's certificate nobody asks for more, and it would be memory of every connection.
  if (!is_server()) return true;
  const int64_t end = DescribeCertificate(sk_CRYPTO_BUFFER_value(chain, 0), &facts_);
  // All else that a client's certificate was checked for is the same where its ticket counts.
  if (!facts_.resumed || end > loop().WallMicros() / 1'000'000) return true;
  SSL_send_fatal_alert(ssl_.get(), SSL_AD_CERTIFICATE_EXPIRED);
  ERR_clear_error();
  failure_ = "the client's certificate (" + facts_.subject + ") has expired (" + TimeText(end) +
             ") since its session began";
  Break();
  return false;
}

// A server sends tickets behind its handshake: nothing that the owner could read.
void TlsTransport::LookForData() {
  for (;;) {
    char first;
    const int got = SSL_peek(ssl_.get(), &first, 1);
    if (got > 0) break;
    if (SSL_get_error(ssl_.get(), got) != SSL_ERROR_WANT_READ) {
      tell_ = true;
      break;
    }
    if (!FillOn(kSmallRead)) break;
  }
  ERR_clear_error();
  if (!out_.empty()) Flush();
}

void TlsTransport::UpdateFlags() {
  const bool open = state_ == State::kOpen;
  may_read_ = open && (socket_readable_ || tell_ || !in_.empty() || SSL_pending(ssl_.get()) > 0);
  may_write_ = open && socket_writable_ && !write_failed_;
}

// Words go into failure() unless a callback has found better ones.
void TlsTransport::Fail(int result) {
  const bool in_handshake = !established_;
  const bool syscall = SSL_get_error(ssl_.get(), result) == SSL_ERROR_SYSCALL;
  std::string why = ExplainTlsFailure({.is_server = is_server(),
                                       .in_handshake = in_handshake,
                                       .eof = syscall && socket_eof_,
                                       .socket_error = syscall ? socket_error_ : 0});
  if (failure_.empty()) failure_ = std::move(why);
  if (in_handshake) connect_error_ = socket_error_ != 0 ? socket_error_ : EPROTO;
  Break();
}

void TlsTransport::Break() {
  Flush();  // the alert
  DiscardInput();
  state_ = State::kFailed;
  encrypted_ = 0;
  in_.Clear();
  out_.Clear();
}

// Closing a socket that has unread bytes sends RST, which takes our alert from the peer.
void TlsTransport::DiscardInput() {
  char unused[4096];
  for (size_t done = 0; done < kMaxDiscard;) {
    // MSG_TRUNC: TCP throws the bytes away without a copy; other sockets do with what fits.
    const ssize_t got = recv(fd(), unused, sizeof(unused), MSG_TRUNC | MSG_DONTWAIT);
    if (got <= 0) return;
    done += static_cast<size_t>(got);
  }
}

// --- Reading ---

// One recv(), also after a short one: what it brought was not enough, and a reset that came with it
// gives no event of its own (see may_read_on()). False: there is nothing new.
bool TlsTransport::FillOn(size_t limit) {
  if (!socket_readable_ && !short_read_) return false;
  const SocketIo got = ReceiveInto(fd(), in_, limit, pool());
  if (got.bytes > 0) {
    // As PlainTransport does.
    short_read_ = !got.full();
    if (short_read_ && !hangup_) socket_readable_ = false;
    return true;
  }
  socket_readable_ = short_read_ = false;
  if (got.would_block()) return false;
  if (got.bytes == 0) {
    socket_eof_ = true;
  } else {
    socket_error_ = got.error;
  }
  return true;
}

IoStatus TlsTransport::Read(Chain& into, size_t limit) {
  if (state_ == State::kFailed) {
    may_read_ = short_read_ = false;
    return IoStatus::kError;
  }
  if (state_ != State::kOpen) return IoStatus::kWouldBlock;
  if (ended_) return ReadBeyondEnd();
  IoStatus status = Decrypt(into, limit);
  // A second recv() only where the first one brought no whole record.
  while (status == IoStatus::kWouldBlock && FillOn(std::max(limit, kSmallRead))) {
    status = Decrypt(into, limit);
  }
  if (!out_.empty()) Flush();  // a key update or an alert was answered
  in_.ShrinkToInline();
  if (status == IoStatus::kEof || status == IoStatus::kError) {
    ended_ = true;
    tell_ = short_read_ = socket_readable_ = false;
    in_.Clear();
  }
  UpdateFlags();
  return status;
}

// The end was told, and there was an event all the same: perhaps a reset.
IoStatus TlsTransport::ReadBeyondEnd() {
  if (socket_readable_) FillOn(kSmallRead);
  in_.Clear();
  may_read_ = short_read_ = socket_readable_ = false;
  return socket_error_ != 0 ? IoStatus::kError : IoStatus::kEof;
}

// False: SSL_read() could only say that it wants more, and that costs a quarter of a record.
bool TlsTransport::MayHoldRecord() const {
  return !in_.empty() || tell_ || socket_eof_ || socket_error_ != 0 ||
         SSL_has_pending(ssl_.get()) != 0;
}

// kOk: some was appended. An end or an error behind that is told by the next call.
IoStatus TlsTransport::Decrypt(Chain& into, size_t limit) {
  size_t taken = 0;
  while (taken < limit && MayHoldRecord()) {
    const int got = ReadRecord(into, limit - taken);
    if (got > 0) {
      taken += static_cast<size_t>(got);
      continue;
    }
    if (SSL_get_error(ssl_.get(), got) == SSL_ERROR_WANT_READ) break;
    tell_ = true;
    if (taken == 0) return EndOfReading(got);
    break;
  }
  got_data_ |= taken > 0;
  return taken > 0 ? IoStatus::kOk : IoStatus::kWouldBlock;
}

int TlsTransport::ReadRecord(Chain& into, size_t limit) {
  const size_t tail = into.TailRoom();
  if (tail >= std::min(limit, kMinTailRoom)) {
    char* to = into.Reserve(tail, pool());
    const int got = SSL_read(ssl_.get(), to, static_cast<int>(std::min(tail, limit)));
    if (got > 0) into.Commit(static_cast<size_t>(got));
    return got;
  }
  Slab* slab = pool().Get();
  const int got =
      SSL_read(ssl_.get(), slab->data(), static_cast<int>(std::min<size_t>(slab->size, limit)));
  if (got <= 0) {
    pool().Put(slab);
    return got;
  }
  Slice slice(slab, slab->data(), 0);
  slice.Extend(static_cast<size_t>(got));
  into.Append(std::move(slice));
  return got;
}

IoStatus TlsTransport::EndOfReading(int result) {
  const int error = SSL_get_error(ssl_.get(), result);
  if (error == SSL_ERROR_ZERO_RETURN) return IoStatus::kEof;
  if (error == SSL_ERROR_SYSCALL && socket_eof_ && socket_error_ == 0 && !record_cut_ &&
      (is_server() || !got_data_)) {
    return IoStatus::kEof;
  }
  Fail(result);
  return IoStatus::kError;
}

// --- Writing ---

// One record, behind what is encrypted already.
bool TlsTransport::Encrypt(const Chain& from) {
  size_t skip = encrypted_;
  size_t index = 0;
  while (skip >= from[index].size()) skip -= from[index++].size();
  std::string_view piece = from[index].view().substr(skip, kMaxRecord);
  // Small pieces share a record: a head and its body, or the parts of a chunk.
  thread_local char gathered[kMaxRecord];
  if (piece.size() < kGatherBelow && index + 1 < from.slices()) {
    size_t count = 0;
    for (; index < from.slices() && count < kMaxRecord; ++index) {
      piece = from[index].view().substr(skip, kMaxRecord - count);
      skip = 0;
      std::memcpy(gathered + count, piece.data(), piece.size());
      count += piece.size();
    }
    piece = {gathered, count};
  }
  const int put = SSL_write(ssl_.get(), piece.data(), static_cast<int>(piece.size()));
  if (put <= 0) return false;
  encrypted_ += static_cast<size_t>(put);
  return true;
}

// Ciphertext is never shorter than its plaintext: what has not left yet is at most that.
void TlsTransport::Release(Chain& from) {
  const size_t left = std::min(encrypted_, out_.bytes());
  from.RemovePrefix(encrypted_ - left);
  encrypted_ = left;
}

IoStatus TlsTransport::Write(Chain& from) {
  if (state_ == State::kFailed || write_failed_) {
    may_write_ = false;
    return IoStatus::kError;
  }
  if (state_ != State::kOpen || !socket_writable_) {
    may_write_ = false;
    return IoStatus::kWouldBlock;
  }
  DCHECK(encrypted_ <= from.bytes());
  const size_t before = from.bytes();
  do {
    while (encrypted_ < from.bytes() && out_.bytes() < kMaxPending) {
      if (Encrypt(from)) continue;
      ERR_clear_error();
      write_failed_ = true;
      break;
    }
    if (Flush()) Release(from);
  } while (!write_failed_ && out_.empty() && !from.empty());
  UpdateFlags();
  if (write_failed_) {
    encrypted_ = 0;
    return IoStatus::kError;
  }
  return from.bytes() < before || before == 0 ? IoStatus::kOk : IoStatus::kWouldBlock;
}

bool TlsTransport::Flush() {
  while (!out_.empty() && socket_writable_) {
    const SocketIo sent = SendFrom(fd(), out_);
    if (!sent.full()) socket_writable_ = false;
    if (sent.bytes >= 0 || sent.would_block()) continue;
    write_failed_ = true;
    out_.Clear();
  }
  if (out_.empty()) {
    out_.ShrinkToInline();
    if (shut_down_ && !std::exchange(fin_sent_, true)) shutdown(fd(), SHUT_WR);
  }
  return !write_failed_;
}

void TlsTransport::Shutdown() {
  if (std::exchange(shut_down_, true)) return;
  if (state_ == State::kOpen && !write_failed_) {
    SSL_shutdown(ssl_.get());
    ERR_clear_error();
  }
  Flush();
}

void TlsTransport::Abort() {
  aborted_ = true;
  const linger now{1, 0};
  setsockopt(fd(), SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

}  // namespace gatehouse::net
