// A whole worker under a script of bytes: clients that send anything in any pieces, stop reading,
// leave or break; an origin that answers anything or goes away; time that passes; configs that
// change; drains. Whatever happens, nothing is left in the end: no connection, no exchange, no
// slab, no gauge that is not back at zero.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "source/base/check.h"
#include "test/proxy/exchange_bench.h"

namespace gatehouse::proxy {
namespace {

constexpr const char* kConfig = R"(
listeners:
- { name: edge, address: "127.0.0.1:0", route_tables: [all] }
route_tables:
- name: all
  domains: ["*"]
  routes:
  - { name: hello, match: { path: /hello }, respond: { body: "hi\n" } }
  - { name: small, match: { path_prefix: /small }, forward: origin, max_body_bytes: 10B, timeout: 2s }
  - { name: ws, match: { path: /ws }, forward: origin, upgrade: [websocket] }
  - name: retry
    match: { path_prefix: /retry }
    forward: origin
    retry: { attempts: 2, on: [5xx, reset, connect-failure] }
  - { name: rest, match: { path_prefix: / }, forward: origin }
clusters:
- { name: origin, endpoints: ["ORIGIN"] }
)";

constexpr const char* kOtherConfig = R"(
listeners:
- { name: edge, address: "127.0.0.1:0", route_tables: [all] }
route_tables:
- name: all
  domains: ["*"]
  routes:
  - { name: old, match: { path: /hello }, redirect: { path: /x } }
  - { name: rest, match: { path_prefix: / }, forward: other }
clusters:
- { name: other, endpoints: ["ORIGIN"], limits: { max_connections: 1 } }
)";

constexpr std::string_view kRequests[] = {
    "GET /x HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /retry HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    "POST /small HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    "9\r\n123456789\r\n",
    "0\r\nX-Trailer: y\r\n\r\n",
    "PUT /retry HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n",
    "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "HEAD /x HTTP/1.0\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nBad(: x\r\n\r\n",
    "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n",
};

constexpr std::string_view kResponses[] = {
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    "0\r\nX-Trailer: y\r\n\r\n",
    "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhi",
    "HTTP/1.1 200 OK\r\n\r\nuntil the end",
    "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 400000\r\n\r\n",
    "HTTP/1.1 204 No Content\r\n\r\n",
    "garbage",
};

// The bytes that decide.
class Script {
 public:
  Script(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  [[nodiscard]] bool done() const { return at_ >= size_; }
  uint8_t Next() { return at_ < size_ ? data_[at_++] : 0; }
  std::string_view Text(size_t most) {
    const size_t count = std::min(most, size_ - std::min(at_, size_));
    const std::string_view text(reinterpret_cast<const char*>(data_) + at_, count);
    at_ += count;
    return text;
  }

 private:
  const uint8_t* data_;
  size_t size_;
  size_t at_ = 0;
};

class Run {
 public:
  explicit Run(Script& script) : script_(script), bench_(kConfig) {
    bench_.origin().set_auto_answer(false);
    clients_.push_back(bench_.Connect());
  }

  void Step() {
    const uint8_t what = script_.Next();
    if (what & 0x80) {
      OriginDoes(what & 0x0f);
    } else if (what & 0x40) {
      WorldDoes(what & 0x0f);
    } else {
      ClientDoes(*clients_[(what >> 4) % clients_.size()], what & 0x0f);
    }
    for (uint8_t i = what & 0x03; i > 0; --i) bench_.Turn();
  }

  // Everybody leaves; nothing may be left of them.
  void End() {
    bench_.Settle();
    bench_.listener().KillAll();
    for (size_t i = 0; i < bench_.origin().connections(); ++i)
      bench_.origin().connection(i).Close();
    for (int i = 0; i < 4; ++i) bench_.Turn();
    bench_.Advance(std::chrono::hours(1));
    for (int i = 0; i < 4; ++i) bench_.Turn();
    CHECK(bench_.listener().connections() == 0);
    CHECK(bench_.loop().slabs().in_use_bytes() == 0);
    for (const std::shared_ptr<PipeEnd>& client : clients_) CHECK(client->closed());
    CheckGauges();
  }

 private:
  void ClientDoes(PipeEnd& client, uint8_t what) {
    switch (what) {
      case 0:
      case 1:
        return client.Push(script_.Text(script_.Next()));
      case 2:
      case 3:
      case 4:
      case 5:
        return client.Push(kRequests[script_.Next() % std::size(kRequests)]);
      case 6:
        return client.Push(std::string(size_t{script_.Next()} * 2000, 'x'));
      case 7:
        return client.PushEof();
      case 8:
        return client.Break();
      case 9:
        return client.SetWindow(script_.Next());
      case 10:
        return client.SetWindow(SIZE_MAX);
      case 11:
        return client.FailWrite(script_.Next() % 8);
      case 12:
        // Not byte by byte: half a megabyte may follow.
        return client.set_read_piece(size_t{16} + size_t{16} * script_.Next());
      case 13: {
        // A request that comes in two pieces.
        const std::string_view request = kRequests[script_.Next() % std::size(kRequests)];
        const size_t cut = script_.Next() % request.size();
        client.Push(request.substr(0, cut));
        bench_.Turn();
        return client.Push(request.substr(cut));
      }
      default:
        (void)client.TakeWritten();
    }
  }
  void OriginDoes(uint8_t what) {
    TcpOrigin& origin = bench_.origin();
    bench_.Turn();
    bench_.Turn();
    if (origin.connections() == 0) return;
    // Mostly the newest: that is where something happens.
    const uint8_t which = script_.Next();
    const size_t index = which < 200 ? origin.connections() - 1 : which % origin.connections();
    TcpOrigin::Connection& connection = origin.connection(index);
    switch (what) {
      case 0:
      case 1:
        return connection.Send(script_.Text(script_.Next()));
      case 2:
      case 3:
      case 4:
      case 5:
      case 6:
        return connection.Send(kResponses[script_.Next() % std::size(kResponses)]);
      case 7:
        return connection.Send(std::string(size_t{script_.Next()} * 2000, 'y'));
      case 8:
        return connection.Close();
      case 9:
        return connection.Reset();
      case 10:
        return origin.set_auto_answer(true);
      case 11:
        return origin.set_auto_answer(false);
      default:
        return connection.Send(kResponses[0]);
    }
  }
  void WorldDoes(uint8_t what) {
    switch (what) {
      case 0:
        return bench_.Advance(std::chrono::milliseconds(script_.Next()));
      case 1:
        return bench_.Advance(std::chrono::seconds(1));
      case 2:
        return bench_.Advance(std::chrono::seconds(script_.Next()));
      case 3:
      case 4:
        if (clients_.size() < 4) clients_.push_back(bench_.Connect());
        return;
      case 5:
        return bench_.Adopt(kOtherConfig);
      case 6:
        return bench_.Adopt(kConfig);
      case 7:
        return bench_.listener().Drain(std::chrono::seconds(1));
      case 8:
        return bench_.listener().KillAll();
      case 9:
        return bench_.listener().CloseAfterResponses();
      case 10:
        // Memory is short: nothing more is read than must be.
        return bench_.loop().slabs().set_budget_bytes(size_t{script_.Next()} * 16 * 1024);
      case 11:
        return bench_.loop().slabs().set_budget_bytes(SIZE_MAX);
      case 12:
        return bench_.origin().StopListening();
      default:
        for (int i = 0; i < 8; ++i) bench_.Turn();
    }
  }
  void CheckGauges() {
    const observe::CounterBlock& counters = bench_.shard().counters();
    const config::Listener& listener = *bench_.snapshot()->FindListener("edge");
    CHECK(counters.Value(listener.metrics->active_connections) == 0);
    for (const auto& route : listener.routes) CHECK(counters.Value(route->metrics->active) == 0);
  }

  Script& script_;
  ExchangeBench bench_;
  std::vector<std::shared_ptr<PipeEnd>> clients_;
};

}  // namespace
}  // namespace gatehouse::proxy

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  gatehouse::proxy::Script script(data, size);
  gatehouse::proxy::Run run(script);
  for (int steps = 0; steps < 200 && !script.done(); ++steps) run.Step();
  run.End();
  return 0;
}
