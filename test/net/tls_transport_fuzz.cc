// Bytes into an accepting TlsTransport over a socket pair, split as the first byte says. BoringSSL
// is fuzzed elsewhere: this is about our reading, writing and failing around it.
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "source/base/check.h"
#include "source/net/tls_context.h"
#include "test/net/tls_certificates.h"
#include "test/net/tls_pair.h"

namespace gatehouse::net {
namespace {

const TlsServerContext& Context() {
  static const std::shared_ptr<const TlsServerContext> context = [] {
    const TestCa ca("Test CA");
    TlsServerSpec spec{.name = "fuzz"};
    spec.certificates = {ca.Issue({}).Spec("a"), ca.Issue({.key = TestKey::kRsa}).Spec("b")};
    spec.client_certificates = TlsServerSpec::ClientCertificates::kOptional;
    spec.client.ca = ca.Text();
    spec.early_data = true;
    spec.ticket_keys = TlsTicketKeys::Random(std::chrono::hours(1));
    return *TlsServerContext::Create(spec);
  }();
  return *context;
}

void Run(const uint8_t* data, size_t size) {
  static ManualClock clock;
  static Loop loop(clock);
  if (size == 0) return;
  const size_t step = std::max<size_t>(*data & 0x7f, 1);
  const bool close_at_end = (*data & 0x80) != 0;
  int fds[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
  TlsEnd end(loop, Context().Accept(loop, fds[0]));
  for (size_t at = 1; at < size && !end.failed && !end.ended; at += step) {
    const ssize_t put = send(fds[1], data + at, std::min(step, size - at), MSG_NOSIGNAL);
    loop.RunTurn(false);
    if (put <= 0) break;
    char answer[4096];
    while (recv(fds[1], answer, sizeof(answer), MSG_DONTWAIT) > 0) {
    }
  }
  if (close_at_end) {
    close(fds[1]);
    loop.RunTurn(false);
    // Nothing is left that could still come: the owner was told.
    CHECK(end.failed || end.ended);
  }
  if (end.failed) CHECK(!end.failure().empty());
  if (!end.established()) CHECK(end.received.empty());
  end.Close();
  if (!close_at_end) close(fds[1]);
  loop.RunTurn(false);
  CHECK(loop.slabs().in_use_bytes() == 0);
}

}  // namespace
}  // namespace gatehouse::net

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  gatehouse::net::Run(data, size);
  return 0;
}
