// An HTTP/2 connection of ours, either side, under a script of bytes: a peer that sends any frames
// or none that are, in any pieces, that stops reading, leaves or breaks; receivers that allow,
// answer, give up and let go at any time; time that passes. Whatever happens, each receiver is told
// of one end at most and nothing after it, and nothing is left of the connection.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "source/base/arena.h"
#include "source/base/check.h"
#include "source/http/h2_client_connection.h"
#include "source/http/h2_server_connection.h"
#include "test/fakes/h2_peer.h"
#include "test/fakes/manual_clock.h"
#include "test/fakes/pipe_transport.h"

namespace gatehouse::http {
namespace {

constexpr std::string_view kMagic = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
constexpr size_t kMaxStreams = 40;

struct Input {
  std::string_view bytes;
  uint8_t Byte() {
    if (bytes.empty()) return 0;
    const auto byte = static_cast<uint8_t>(bytes[0]);
    bytes.remove_prefix(1);
    return byte;
  }
  std::string_view Take(size_t count) {
    const std::string_view taken = bytes.substr(0, count);
    bytes.remove_prefix(taken.size());
    return taken;
  }
};

class FuzzedStream final : public Receiver {
 public:
  FuzzedStream(net::Loop& loop, bool server)
      : request(arena_), response(arena_), trailers(arena_), loop_(loop), server_(server) {}

  void Act(uint8_t what, uint8_t how) {
    if (sender == nullptr) return;
    switch (what % 8) {
      case 0:
        sender->AllowBody(size_t{how} * 100);
        break;
      case 1:
        if (server_) SendHead(how);
        break;
      case 2:
        if (!head_sent_ || ended_) return;
        SendBody(how);
        break;
      case 3:
        if (!head_sent_ || ended_) return;
        ended_ = true;
        trailers_out_.Set("x-sum", "1");
        sender->SendTrailers(trailers_out_);
        break;
      case 4:
        std::exchange(sender, nullptr)->Abort();
        break;
      case 5:
        std::exchange(sender, nullptr)->Detach();
        break;
      case 6:
        on_event_ = how;
        break;
      default:
        (void)sender->Credit();
        break;
    }
  }
  void Begin(H2ClientConnection& connection, uint8_t how) {
    request.method = (how & 1) != 0 ? Method::kPost : Method::kGet;
    request.method_text = MethodText(request.method);
    request.path = request.target = "/";
    request.authority = "a";
    request.body = (how & 1) != 0 ? BodyKind::kChunked : BodyKind::kNone;
    request.upgrade = (how & 6) == 6;
    request.upgrade_protocol = "websocket";
    sender = &connection.Begin(request.method, {this, &response, &trailers}, handle_);
    head_sent_ = true;
    ended_ = (how & 1) == 0 && !request.upgrade;
    sender->SendHead(request, ended_);
    if (sender != nullptr) sender->AllowBody(size_t{how} * 50);
  }

  void OnHead(bool end) override { Told(end); }
  void OnBody(Chain& data, bool end) override {
    data.Clear();
    Told(end);
  }
  void OnTrailers() override { Told(true); }
  void OnError(Error error) override {
    CHECK(sender != nullptr);
    const bool left = error.what == Error::What::kClientAbort;
    CHECK(!failed_ || left);
    CHECK(left || !server_ || error.where == Error::Where::kDownstream);
    failed_ = true;
    if (left || !server_) sender = nullptr;
    Told(false);
  }
  void OnCredit() override {
    CHECK(sender != nullptr);
    if (on_event_ != 0) Act(on_event_, on_event_);
  }
  void OnSent() override {
    CHECK(sender != nullptr);
    CHECK(!std::exchange(sent_, true));
    if (on_event_ != 0) Act(on_event_, on_event_);
  }

  Sender* sender = nullptr;

 private:
  Arena arena_;

 public:
  RequestHead request;
  ResponseHead response;
  HeaderMap trailers;

 private:
  void Told(bool end) {
    CHECK(sender != nullptr || failed_);
    CHECK(!failed_ || !end);
    CHECK(!end || !in_ended_);
    in_ended_ |= end && !(server_ && request.upgrade) && response.status != 101;
    if (!server_ && in_ended_ && sender != nullptr) {
      std::exchange(sender, nullptr)->Detach();
    } else if (on_event_ != 0) {
      Act(on_event_, on_event_);
    }
  }
  void SendHead(uint8_t how) {
    if (head_sent_) return;
    ResponseHead head(arena_);
    head.status = (how & 1) != 0 ? 200 : 103;
    if (how % 16 == 0 && request.extended_connect) head.status = 101;
    head_sent_ = head.status != 103;
    head.body = (how & 2) != 0 ? BodyKind::kLength : BodyKind::kChunked;
    head.content_length = how;
    head.headers.Set("X-Some", "value");
    ended_ = head.status == 200 && (how & 4) != 0;
    sender->SendHead(head, ended_);
  }
  void SendBody(uint8_t how) {
    Chain chain;
    static const std::string kText(64 * 1024, 'x');
    const size_t count = size_t{how} * how;
    // Both what is owned and what is not.
    if ((how & 1) != 0) {
      chain.AppendCopy(std::string_view(kText).substr(0, count), loop_.slabs());
    } else if (count > 0) {
      chain.Append(Slice::Unowned(std::string_view(kText).substr(0, count)));
    }
    ended_ = how % 8 == 7;
    sender->SendBody(chain, ended_);
    CHECK(chain.empty());
  }

  HeaderMap trailers_out_{arena_};
  H2StreamHandle handle_;
  net::Loop& loop_;
  const bool server_;
  uint8_t on_event_ = 0;
  bool head_sent_ = false;
  bool ended_ = false;
  bool in_ended_ = false;
  bool failed_ = false;
  bool sent_ = false;
};

class Fuzzed {
 public:
  Fuzzed(Input input, uint8_t mode) : input_(input), server_((mode & 1) == 0) {
    Pipe pipe = MakePipe(loop_);
    end_ = pipe.end;
    if (server_) {
      options_.max_streams = 10;
      options_.stream_window = 70000;
      options_.common.keep_alive_timeout = std::chrono::seconds(20);
      if ((mode & 2) != 0) options_.ping_interval = std::chrono::seconds(7);
      as_server_ = std::make_unique<H2ServerConnection>(loop_, std::move(pipe.transport), Chain(),
                                                        options_, kServerCallbacks, this);
      if ((mode & 4) == 0) end_->Push(std::string(kMagic) + H2Frame(NGHTTP2_SETTINGS, 0, 0, ""));
    } else {
      H2ClientOptions options;
      options.max_streams = 10;
      options.stream_window = 70000;
      if ((mode & 2) != 0) options.ping_interval = std::chrono::seconds(7);
      as_client_ = std::make_unique<H2ClientConnection>(
          loop_, std::move(pipe.transport), H1Limits{}, options, kClientCallbacks, this);
      const std::string connect = std::string("\0\x08", 2) + H2Number(1);
      if ((mode & 4) == 0) end_->Push(H2Frame(NGHTTP2_SETTINGS, 0, 0, connect));
    }
    if ((mode & 8) != 0) end_->set_read_piece(1 + (mode >> 4));
  }

  void Run() {
    while (!input_.bytes.empty() && !closed_) Step();
    for (int i = 0; i < 10 && !closed_; ++i) Turn();
    for (const auto& stream : streams_) {
      if (stream->sender != nullptr && !server_) stream->Act(4, 0);
    }
    Turn();
    if (as_server_ != nullptr && !closed_) as_server_->Kill();
    for (const auto& stream : streams_) CHECK(!server_ || stream->sender == nullptr);
    as_server_.reset();
    as_client_.reset();
    streams_.clear();
    (void)loop_.RunTurn(false);
    CHECK(loop_.slabs().in_use_bytes() == 0);
    CHECK(end_->closed());
  }

 private:
  void Step() {
    const uint8_t what = input_.Byte();
    switch (what % 12) {
      case 0:
        end_->Push(input_.Take(input_.Byte()));
        break;
      case 1:
      case 2:
      case 3: {
        const uint8_t type = input_.Byte() % 11;
        const uint8_t flags = input_.Byte();
        const uint8_t id = input_.Byte();
        std::string payload(input_.Take(input_.Byte()));
        if (what % 12 == 3) payload = H2GetBlock() + payload;
        if (what % 12 == 2) payload.resize(size_t{id} * 64, 'p');
        end_->Push(H2Frame(type, flags, id % 32, payload));
        break;
      }
      case 4:
        end_->Push(H2Frame(NGHTTP2_HEADERS, server_ ? 5 : 4, input_.Byte() % 32,
                           server_ ? H2GetBlock() : "\x88"));
        break;
      case 5:
        clock_.Advance(std::chrono::milliseconds(100) * input_.Byte());
        break;
      case 6:
        end_->SetWindow(size_t{input_.Byte()} * 40);
        break;
      case 7:
        BeginOrDrain(input_.Byte());
        break;
      case 8:
        if (input_.Byte() % 4 == 0) end_->PushEof();
        break;
      case 9:
        if (input_.Byte() % 16 == 0) end_->Break();
        break;
      default: {
        const uint8_t index = input_.Byte();
        const uint8_t act = input_.Byte();
        const uint8_t how = input_.Byte();
        if (!streams_.empty()) streams_[index % streams_.size()]->Act(act, how);
        break;
      }
    }
    Turn();
  }
  void BeginOrDrain(uint8_t how) {
    if (server_) {
      if (how % 4 == 0) as_server_->Drain(std::chrono::seconds(how));
    } else if (how == 255) {
      as_client_->Shutdown();
    } else if (as_client_->available() && streams_.size() < kMaxStreams) {
      streams_.push_back(std::make_unique<FuzzedStream>(loop_, false));
      streams_.back()->Begin(*as_client_, how);
    }
  }
  void Turn() { loop_.RunTurn(false); }

  static Fuzzed& Of(void* self) { return *static_cast<Fuzzed*>(self); }
  void OnClosed() { CHECK(!std::exchange(closed_, true)); }

  static const H2ServerConnection::Callbacks kServerCallbacks;
  static const H2ClientConnection::Callbacks kClientCallbacks;

  Input input_;
  const bool server_;
  ManualClock clock_;
  net::Loop loop_{clock_};
  H2ServerOptions options_;
  std::shared_ptr<PipeEnd> end_;
  std::vector<std::unique_ptr<FuzzedStream>> streams_;
  std::unique_ptr<H2ServerConnection> as_server_;
  std::unique_ptr<H2ClientConnection> as_client_;
  bool closed_ = false;
};

const H2ServerConnection::Callbacks Fuzzed::kServerCallbacks = {
    .open = [](void* self, Sender& sender) -> NewStream {
      Fuzzed& fuzzed = Of(self);
      CHECK(!fuzzed.closed_);
      fuzzed.streams_.push_back(std::make_unique<FuzzedStream>(fuzzed.loop_, true));
      FuzzedStream& stream = *fuzzed.streams_.back();
      stream.sender = &sender;
      return {&stream, &stream.request, &stream.trailers};
    },
    .closed = [](void* self) { Of(self).OnClosed(); },
    .idle_closed = [](void*) {},
    .refused = [](void*, Error) {},
    .abuse = [](void*, H2Abuse) {},
    .goaway = [](void*) {},
};
const H2ClientConnection::Callbacks Fuzzed::kClientCallbacks = {
    .ready = [](void*) {},
    .changed = [](void*) {},
    .closed = [](void* self) { Of(self).OnClosed(); },
};

}  // namespace
}  // namespace gatehouse::http

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  gatehouse::http::Input input{{reinterpret_cast<const char*>(data), size}};
  const uint8_t mode = input.Byte();
  gatehouse::http::Fuzzed(input, mode).Run();
  return 0;
}
