#include <algorithm>
#include <array>
#include <atomic>
#include <optional>
#include <utility>

#include "openssl/err.h"
#include "openssl/ssl.h"
#include "source/base/check.h"
#include "source/net/socket_io.h"
#include "source/net/tls_certificate.h"
#include "source/net/tls_context.h"
#include "source/net/tls_failure.h"
#include "source/net/tls_peer.h"
#include "source/net/tls_setup.h"
#include "source/net/tls_transport.h"

namespace gatehouse::net {
namespace {

// What handshakes need. Belongs to the SSL_CTX, and so lives as long as the last connection.
struct ClientState {
  uint64_t id = 0;                     // of no other context of this process
  std::optional<TlsPeerCheck> server;  // nullopt: whoever it is
};

void FreeState(void* /*parent*/, void* state, CRYPTO_EX_DATA* /*data*/, int /*index*/,
               long /*number*/, void* /*pointer*/) {
  delete static_cast<ClientState*>(state);
}

int StateIndex() {
  static const int index = SSL_CTX_get_ex_new_index(0, nullptr, nullptr, nullptr, &FreeState);
  return index;
}

const ClientState& StateOf(const SSL_CTX* context) {
  return *static_cast<const ClientState*>(SSL_CTX_get_ex_data(context, StateIndex()));
}

ssl_verify_result_t VerifyServer(SSL* ssl, uint8_t* alert) {
  TlsTransport& transport = TlsTransport::Of(ssl);
  TlsPeerCheck::Refusal refusal;
  if (StateOf(SSL_get_SSL_CTX(ssl))
          .server->Accepts(SSL_get0_peer_certificates(ssl), transport.host(), &refusal)) {
    return ssl_verify_ok;
  }
  *alert = refusal.alert;
  transport.Explain(std::move(refusal.why));
  return ssl_verify_invalid;
}

ssl_verify_result_t VerifyNothing(SSL* /*ssl*/, uint8_t* /*alert*/) { return ssl_verify_ok; }

}  // namespace

// --- Sessions ---

struct TlsSessions::Store {
  static constexpr size_t kMost = 4;

  // A session was checked by the context that made it, for one host: others may think otherwise.
  [[nodiscard]] bool IsFrom(uint64_t id, std::string_view name) const {
    return context_id == id && host == name;
  }
  void Put(bssl::UniquePtr<SSL_SESSION> session) {
    std::move_backward(sessions.begin(), sessions.end() - 1, sessions.end());
    sessions.front() = std::move(session);
  }
  // RFC 8446, appendix C.4: who sees a session twice knows that the client is the same.
  [[nodiscard]] bssl::UniquePtr<SSL_SESSION> Take() {
    if (sessions.front() != nullptr && SSL_SESSION_should_be_single_use(sessions.front().get())) {
      bssl::UniquePtr<SSL_SESSION> taken = std::move(sessions.front());
      std::move(sessions.begin() + 1, sessions.end(), sessions.begin());
      return taken;
    }
    return bssl::UpRef(sessions.front());
  }

  uint64_t context_id = 0;
  std::string host;
  std::array<bssl::UniquePtr<SSL_SESSION>, kMost> sessions;  // the newest first
};

TlsSessions::TlsSessions() = default;
TlsSessions::~TlsSessions() = default;

// --- The context ---

struct TlsClientContext::Inside {
  bssl::UniquePtr<SSL_CTX> context;
  std::string server_name;

  // One: the session is ours.
  static int KeepSession(SSL* ssl, SSL_SESSION* session) {
    const TlsTransport& transport = TlsTransport::Of(ssl);
    if (transport.sessions() == nullptr) return 0;
    const uint64_t id = StateOf(SSL_get_SSL_CTX(ssl)).id;
    std::unique_ptr<TlsSessions::Store>& store = transport.sessions()->store_;
    if (store != nullptr && store->context_id > id) return 0;  // a newer context is at work
    if (store == nullptr || !store->IsFrom(id, transport.host())) {
      store = std::make_unique<TlsSessions::Store>();
      store->context_id = id;
      store->host = transport.host();
    }
    store->Put(bssl::UniquePtr<SSL_SESSION>(session));
    return 1;
  }
  void OfferSession(SSL* ssl, std::string_view host, TlsSessions& sessions) const {
    TlsSessions::Store* store = sessions.store_.get();
    if (store == nullptr || !store->IsFrom(StateOf(context.get()).id, host)) return;
    const bssl::UniquePtr<SSL_SESSION> session = store->Take();
    if (session != nullptr) SSL_set_session(ssl, session.get());
  }
};

TlsClientContext::TlsClientContext(std::unique_ptr<Inside> inside) : inside_(std::move(inside)) {}
TlsClientContext::~TlsClientContext() = default;

absl::StatusOr<std::shared_ptr<const TlsClientContext>> TlsClientContext::Create(
    const TlsClientSpec& spec) {
  static std::atomic<uint64_t> last_id = 0;
  auto state = std::make_unique<ClientState>();
  state->id = ++last_id;
  auto inside = std::make_unique<Inside>();
  inside->server_name = spec.server_name;
  inside->context = NewTlsContext(spec.min_version);
  SSL_CTX* context = inside->context.get();
  if (spec.verify) {
    absl::StatusOr<TlsPeerCheck> check =
        TlsPeerCheck::Create(spec.server, TlsPeerCheck::Role::kServer);
    if (!check.ok()) return check.status();
    state->server = *std::move(check);
    // The CA may have revoked, or time ended, what a session was made with.
    SSL_CTX_set_reverify_on_resume(context, 1);
  }
  SSL_CTX_set_custom_verify(context, SSL_VERIFY_PEER, spec.verify ? &VerifyServer : &VerifyNothing);
  if (!spec.certificate.chain.empty()) {
    const absl::StatusOr<TlsCertificate> certificate = TlsCertificate::Load(spec.certificate);
    if (!certificate.ok()) return certificate.status();
    if (!certificate->Use(context)) {
      return InvalidArgument(spec.certificate.chain.name + ": " + TakeTlsError());
    }
  }
  const absl::StatusOr<std::string> alpn = AlpnToWire(spec.alpn);
  if (!alpn.ok()) return alpn.status();
  CHECK(SSL_CTX_set_alpn_protos(context, reinterpret_cast<const uint8_t*>(alpn->data()),
                                static_cast<unsigned>(alpn->size())) == 0);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  SSL_CTX_sess_set_new_cb(context, &Inside::KeepSession);
  CHECK(SSL_CTX_set_ex_data(context, StateIndex(), state.release()) == 1);
  return std::shared_ptr<const TlsClientContext>(new TlsClientContext(std::move(inside)));
}

std::unique_ptr<Transport> TlsClientContext::Connect(Loop& loop, const Address& to,
                                                     std::string_view host, TlsSessions& sessions,
                                                     int* error) const {
  const int fd = StartConnect(to, error);
  return fd < 0 ? nullptr : Adopt(loop, fd, host, sessions);
}

std::unique_ptr<Transport> TlsClientContext::Adopt(Loop& loop, int fd, std::string_view host,
                                                   TlsSessions& sessions) const {
  if (!inside_->server_name.empty()) host = inside_->server_name;
  if (host.ends_with('.')) host.remove_suffix(1);
  bssl::UniquePtr<SSL> ssl(SSL_new(inside_->context.get()));
  CHECK(ssl != nullptr);
  SSL_set_connect_state(ssl.get());
  IpAddress ip;
  // RFC 6066, section 3: names, no addresses. A name that is too long for one is none.
  if (!IpAddress::Parse(host, &ip)) {
    SSL_set_tlsext_host_name(ssl.get(), std::string(host).c_str());
    ERR_clear_error();
  }
  inside_->OfferSession(ssl.get(), host, sessions);
  auto transport = std::make_unique<TlsTransport>(loop, fd, std::move(ssl));
  transport->SetServer(host, sessions);
  return transport;
}

}  // namespace gatehouse::net
