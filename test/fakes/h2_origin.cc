#include "test/fakes/h2_origin.h"

#include "source/base/check.h"
#include "source/net/transport.h"

namespace gatehouse {

struct H2Origin::Connection {
  H2Origin& origin;
  bool closed = false;
  std::optional<http::H2ServerConnection> http;

  static Connection& Of(void* self) { return *static_cast<Connection*>(self); }
  http::NewStream Open(http::Sender& sender) {
    Request& request = *origin.requests_.emplace_back(std::make_unique<Request>(sender));
    if (origin.allow_ > 0) sender.AllowBody(origin.allow_);
    return {&request, &request.head_, &request.trailers_};
  }
  static const http::H2ServerConnection::Callbacks kCallbacks;
};

const http::H2ServerConnection::Callbacks H2Origin::Connection::kCallbacks = {
    .open = [](void* self, http::Sender& sender) { return Of(self).Open(sender); },
    .closed = [](void* self) { Of(self).closed = true; },
    .idle_closed = [](void*) {},
    .refused = [](void*, http::Error) {},
    .abuse = [](void*, http::H2Abuse) {},
    .goaway = [](void*) {},
};

H2Origin::H2Origin(net::Loop& loop, std::shared_ptr<const net::TlsServerContext> tls)
    : loop_(loop), tls_(std::move(tls)) {
  const auto fd = net::OpenListenSocket(*net::Address::Parse("127.0.0.1:0"), 128, false);
  CHECK(fd.ok());
  port_ = net::LocalAddress(*fd).port();
  listener_.emplace(
      loop, *fd,
      net::ListenSocket::Callbacks{
          .owner = this,
          .accepted = [](void* self, int accepted,
                         const net::Address&) { static_cast<H2Origin*>(self)->Accept(accepted); },
          .shed = [](void*) {},
      });
}

H2Origin::~H2Origin() {
  Kill();
  loop_.RunTurn(false);
}

void H2Origin::Accept(int fd) {
  std::unique_ptr<net::Transport> transport;
  if (tls_ != nullptr) {
    transport = tls_->Accept(loop_, fd);
  } else {
    transport = std::make_unique<net::PlainTransport>(loop_, fd);
  }
  Connection& connection =
      *connections_.emplace_back(std::unique_ptr<Connection>(new Connection{*this}));
  connection.http.emplace(loop_, std::move(transport), Chain(), options_, Connection::kCallbacks,
                          &connection);
}

void H2Origin::Kill() {
  for (const std::unique_ptr<Connection>& connection : connections_) {
    if (!connection->closed) connection->http->Kill();
    connection->http.reset();
    connection->closed = true;
  }
}

void H2Origin::Request::Head(uint16_t status, const Fields& fields, bool end) {
  answer_.emplace(arena_);
  answer_->status = status;
  answer_->body = end ? http::BodyKind::kNone : http::BodyKind::kChunked;
  for (const auto& [name, value] : fields) CHECK(answer_->headers.Add(name, value));
  sender_->SendHead(*answer_, end);
}

void H2Origin::Request::Body(std::string_view bytes, bool end) {
  Chain chain;
  chain.AppendCopy(bytes, Stream().session.loop().slabs());
  sender_->SendBody(chain, end);
}

void H2Origin::Request::Trailers(const Fields& fields) {
  end_.emplace(arena_);
  for (const auto& [name, value] : fields) CHECK(end_->Add(name, value));
  sender_->SendTrailers(*end_);
}

void H2Origin::Request::Reset(uint32_t code) { Stream().session.Reset(Stream(), code); }

void H2Origin::Request::GoAway(int32_t last_id) {
  http::H2Session& session = Stream().session;
  CHECK(nghttp2_submit_goaway(session.raw(), NGHTTP2_FLAG_NONE, last_id, NGHTTP2_NO_ERROR, nullptr,
                              0) == 0);
  session.Later();
}

void H2Origin::Request::OnHead(bool end) {
  headed_ = true;
  ended_ = end;
}

void H2Origin::Request::OnBody(Chain& data, bool end) {
  while (!data.empty()) {
    body_ += data.front();
    data.RemovePrefix(data.front().size());
  }
  ended_ = end;
}

void H2Origin::Request::OnError(http::Error /*error*/) {
  broken_ = true;
  sender_ = nullptr;
}

void H2Origin::Request::OnSent() { std::exchange(sender_, nullptr)->Detach(); }

}  // namespace gatehouse
