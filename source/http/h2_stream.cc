#include "source/http/h2_stream.h"

#include "source/http/h2_heads.h"
#include "source/http/h2_session.h"

namespace gatehouse::http {

void H2Stream::SendHead(const RequestHead& head, bool end) {
  if (head.upgrade) {
    if (!session.peer_takes_connect()) {
      session.FailLater(*this, Error::Upstream(Error::What::kUpstreamProtocolError));
      return;
    }
    connect_accept = unpaced = true;
    websocket_key = head.headers.Get("sec-websocket-key").value_or(std::string_view());
    end = false;
  }
  method = head.method;
  counted = head.body == BodyKind::kLength && !head.upgrade;
  response_left = head.content_length;
  const H2Fields fields =
      RequestFields(head, session.secure() ? "https" : "http", session.first_head());
  session.Submit(*this, fields.fields, fields.count, end);
}

void H2Stream::SendHead(const ResponseHead& head, bool end) {
  if (head.status < 200 && head.status != 101) {
    const H2Fields fields = ResponseFields(head, false, 0, {}, false);
    session.SubmitInterim(*this, fields.fields, fields.count);
    return;
  }
  expect_continue = false;
  if (head.status == 101) {
    // RFC 8441, section 5: any success says that the tunnel is there.
    H2Fields fields = ResponseFields(head, false, 0, session.loop().HttpDate(), false);
    fields.fields[0] = StatusField(200);
    session.Submit(*this, fields.fields, fields.count, /*end=*/false);
    session.BecomeTunnel(*this);
    return;
  }
  wants_tunnel = false;
  // A client's word alone makes no stream that may be read as slowly as it likes.
  unpaced = unpaced && IsGrpc(head.headers);
  empty = ResponseHasNoBody(method, head.status);
  const bool has_length = head.body == BodyKind::kLength || head.has_content_length;
  counted = head.body == BodyKind::kLength && !empty;
  response_left = head.content_length;
  // A length is announced for HEAD and 304 only (RFC 9110, section 8.6).
  const bool may_announce = head.status != 204 && method != Method::kConnect;
  const H2Fields fields = ResponseFields(head, has_length && may_announce, head.content_length,
                                         session.loop().HttpDate(), session.first_head());
  session.Submit(*this, fields.fields, fields.count, end || empty);
  if (empty && !end) out_ended = true;
}

void H2Stream::SendBody(Chain& data, bool end) { session.SendBody(*this, data, end); }
void H2Stream::SendTrailers(const HeaderMap& fields) { session.SendTrailers(*this, fields); }
size_t H2Stream::Credit() const { return session.CreditOf(*this); }
void H2Stream::AllowBody(size_t bytes) { session.AllowBody(*this, bytes); }
void H2Stream::Abort() { session.Abort(*this); }
void H2Stream::Detach() { session.Detach(*this); }

}  // namespace gatehouse::http
