// H2ServerHarness and H2ClientHarness: one of our HTTP/2 connections over a pipe, with a peer of
// nghttp2's at its other end and receivers that note what they are told.
//
//   H2ServerHarness server;
//   const int32_t id = server.client().Request({{":path", "/x"}});
//   server.Turns();
//   EXPECT_EQ(server.request(0).log, "head GET /x end|sent|");
//   EXPECT_EQ(server.client().stream(id).log, "200|end|");
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

#include "source/base/arena.h"
#include "source/http/h2_client_connection.h"
#include "source/http/h2_server_connection.h"
#include "test/fakes/h2_peer.h"
#include "test/fakes/manual_clock.h"
#include "test/fakes/pipe_transport.h"
#include "test/http/h1_server_harness.h"

namespace gatehouse::http {

// What both harnesses share: time, the loop, and bytes between the peer and the pipe.
class H2Wire {
 public:
  // All that can happen now, in both directions.
  void Turns(int count = 40) {
    for (int i = 0; i < count; ++i) {
      if (!raw) Carry(peer_->Take());
      loop_.RunTurn(false);
      AfterTurn();
      if (deaf || raw) continue;
      const std::string bytes = end_->TakeWritten();
      written_ += bytes.size();
      peer_->Feed(bytes);
    }
  }
  // Bytes that the peer of nghttp2 knows nothing of.
  void Push(std::string_view bytes) {
    if (!raw) Carry(peer_->Take());
    Carry(bytes);
    Turns();
  }
  void PushEof() {
    end_->PushEof();
    Turns();
  }
  void Advance(Duration by) {
    clock_.Advance(by);
    Turns(6);
  }
  // In steps, as a loop would see it.
  void AdvanceSlowly(Duration by) {
    for (Duration step = std::chrono::milliseconds(250); by > Duration::zero(); by -= step) {
      Advance(step);
    }
  }

  [[nodiscard]] std::string TakeFrames() { return H2FramesText(end_->TakeWritten()); }
  [[nodiscard]] PipeEnd& end() { return *end_; }
  [[nodiscard]] net::Loop& loop() { return loop_; }
  [[nodiscard]] bool open() const { return closed_ == 0; }
  [[nodiscard]] int closed_count() const { return closed_; }
  // Bytes that came out so far.
  [[nodiscard]] size_t written() const { return written_; }

  // Bytes go in so many at a time, each with a turn.
  size_t piece = SIZE_MAX;
  // What comes out does not come to the peer.
  bool deaf = false;
  // There is no peer: what comes out is for TakeFrames().
  bool raw = false;

 protected:
  explicit H2Wire(H2Peer::Options options)
      : loop_(clock_), peer_(std::make_unique<H2Peer>(std::move(options))) {
    Pipe pipe = MakePipe(loop_);
    end_ = pipe.end;
    transport_ = std::move(pipe.transport);
  }
  virtual ~H2Wire() = default;
  virtual void AfterTurn() = 0;

  void Carry(std::string_view bytes) {
    while (!bytes.empty()) {
      end_->Push(bytes.substr(0, piece));
      if (bytes.size() <= piece) return;
      bytes.remove_prefix(piece);
      loop_.RunTurn(false);
      AfterTurn();
    }
  }

  ManualClock clock_;
  net::Loop loop_;
  std::shared_ptr<PipeEnd> end_;
  std::unique_ptr<net::Transport> transport_;
  std::unique_ptr<H2Peer> peer_;
  size_t written_ = 0;
  int closed_ = 0;
};

class H2ServerHarness : public H2Wire {
 public:
  using Event = TestRequest::Event;
  using Script = std::function<void(TestRequest&, Event)>;

  // As H1ServerHarness::Serve().
  static void Serve(TestRequest& request, Event event) { H1ServerHarness::Serve(request, event); }
  static void Nothing(TestRequest& /*request*/, Event /*event*/) {}

  explicit H2ServerHarness(H2ServerOptions options = {}, Script script = &Serve,
                           H2Peer::Options client = {})
      : H2Wire(std::move(client)), script_(std::move(script)), options_(options) {
    connection_ = std::make_unique<H2ServerConnection>(loop_, std::move(transport_), Chain(),
                                                       options_, kCallbacks, this);
  }
  ~H2ServerHarness() override {
    if (connection_ != nullptr && open()) connection_->Kill();
    connection_.reset();
  }

  [[nodiscard]] H2Peer& client() { return *peer_; }
  [[nodiscard]] H2ServerConnection& connection() { return *connection_; }
  [[nodiscard]] TestRequest& request(size_t index) { return *requests_.at(index); }
  [[nodiscard]] size_t requests() const { return requests_.size(); }
  // What all requests were, for comparing.
  [[nodiscard]] std::string Story() const {
    std::string story;
    for (const auto& request : requests_) {
      story += request->log;
      story += request->errors == 0
                   ? request->body
                   : " error " + std::to_string(static_cast<int>(request->last_error.what));
      story += "\n";
    }
    return story;
  }

  int idle_closes = 0;
  int refusals = 0;
  int goaways = 0;
  std::vector<H2Abuse> abuses;

 private:
  static H2ServerHarness& Of(void* self) { return *static_cast<H2ServerHarness*>(self); }
  static const H2ServerConnection::Callbacks kCallbacks;

  void AfterTurn() override {
    if (closed_ > 0) connection_.reset();
  }

  Script script_;
  const H2ServerOptions options_;
  std::vector<std::unique_ptr<TestRequest>> requests_;
  std::unique_ptr<H2ServerConnection> connection_;
};

inline const H2ServerConnection::Callbacks H2ServerHarness::kCallbacks = {
    .open = [](void* self, Sender& sender) -> NewStream {
      H2ServerHarness& harness = Of(self);
      EXPECT_EQ(harness.closed_, 0);
      harness.requests_.push_back(
          std::make_unique<TestRequest>(harness.loop_, sender, harness.script_));
      TestRequest& request = *harness.requests_.back();
      return {&request, &request.head, &request.trailers};
    },
    .closed = [](void* self) { ++Of(self).closed_; },
    .idle_closed = [](void* self) { ++Of(self).idle_closes; },
    .refused = [](void* self, Error) { ++Of(self).refusals; },
    .abuse = [](void* self, H2Abuse abuse) { Of(self).abuses.push_back(abuse); },
    .goaway = [](void* self) { ++Of(self).goaways; },
};

// One exchange as an attempt makes it. It lets go when the response has ended.
class TestExchange final : public Receiver {
 public:
  explicit TestExchange(net::Loop& loop) : head(arena_), trailers(arena_), loop_(loop) {}

  void SendBody(std::string_view text, bool end) {
    Chain chain = TextChain(text, loop_.slabs());
    sender->SendBody(chain, end);
    EXPECT_TRUE(chain.empty());
  }
  void SendTrailers(std::string_view name, std::string_view value) {
    trailers_out_.Set(name, value);
    sender->SendTrailers(trailers_out_);
  }
  void Abort() { std::exchange(sender, nullptr)->Abort(); }
  void Detach() { std::exchange(sender, nullptr)->Detach(); }
  [[nodiscard]] bool over() const { return sender == nullptr; }

  void OnHead(bool end) override {
    log += "head " + std::to_string(head.status) + (end ? " end|" : "|");
    if (end) End();
  }
  void OnBody(Chain& data, bool end) override {
    while (data.slices() > 0) body += data.TakeFront().view();
    if (end) End();
  }
  void OnTrailers() override {
    for (const HeaderEntry& entry : trailers) {
      log +=
          "trailer " + std::string(entry.name_view()) + "=" + std::string(entry.value_view()) + "|";
    }
    End();
  }
  void OnError(Error what) override {
    ++errors;
    error = what;
    sender = nullptr;
  }
  void OnCredit() override { ++credits; }
  void OnSent() override { log += "sent|"; }

  Sender* sender = nullptr;
  H2StreamHandle handle;
  std::string log;
  std::string body;
  bool ended = false;
  bool detach_at_end = true;
  int errors = 0;
  int credits = 0;
  Error error;

 private:
  void End() {
    EXPECT_FALSE(ended);
    ended = true;
    log += "end|";
    if (detach_at_end) Detach();
  }

  Arena arena_;

 public:
  ResponseHead head;
  HeaderMap trailers;

 private:
  friend class H2ClientHarness;
  net::Loop& loop_;
  RequestHead request_{arena_};
  HeaderMap trailers_out_{arena_};
};

class H2ClientHarness : public H2Wire {
 public:
  explicit H2ClientHarness(H2ClientOptions options = {}, H2Peer::Options origin = {},
                           H1Limits limits = {.underscores = UnderscorePolicy::kAllow})
      : H2Wire(AsServer(std::move(origin))) {
    connection_ = std::make_unique<H2ClientConnection>(loop_, std::move(transport_), limits,
                                                       options, kCallbacks, this);
  }

  // Begins an exchange.
  TestExchange& Send(std::string_view method, std::string_view path, bool end = true,
                     size_t allow = 1 << 20,
                     const std::function<void(RequestHead&)>& change = nullptr) {
    exchanges_.push_back(std::make_unique<TestExchange>(loop_));
    TestExchange& exchange = *exchanges_.back();
    RequestHead& request = exchange.request_;
    request.method = FindMethod(method);
    request.method_text = method;
    request.path = request.target = path;
    request.authority = "origin.test";
    request.body = end ? BodyKind::kNone : BodyKind::kChunked;
    if (change) change(request);
    exchange.sender = &connection_->Begin(
        request.method, {&exchange, &exchange.head, &exchange.trailers}, exchange.handle);
    exchange.sender->SendHead(request, end);
    if (exchange.sender != nullptr) exchange.sender->AllowBody(allow);
    return exchange;
  }
  TestExchange& Get(std::string_view path) { return Send("GET", path); }

  [[nodiscard]] H2Peer& origin() { return *peer_; }
  [[nodiscard]] H2ClientConnection& connection() { return *connection_; }
  [[nodiscard]] TestExchange& exchange(size_t index) { return *exchanges_.at(index); }

  int readies = 0;
  int changes = 0;

 private:
  static H2ClientHarness& Of(void* self) { return *static_cast<H2ClientHarness*>(self); }
  static const H2ClientConnection::Callbacks kCallbacks;
  static H2Peer::Options AsServer(H2Peer::Options options) {
    options.server = true;
    return options;
  }
  // As a pool does: not before the last lease is back.
  void AfterTurn() override {
    if (closed_ == 0) return;
    for (const auto& exchange : exchanges_) {
      if (!exchange->over()) return;
    }
    connection_.reset();
  }

  std::vector<std::unique_ptr<TestExchange>> exchanges_;
  std::unique_ptr<H2ClientConnection> connection_;
};

inline const H2ClientConnection::Callbacks H2ClientHarness::kCallbacks = {
    .ready = [](void* self) { ++Of(self).readies; },
    .changed = [](void* self) { ++Of(self).changes; },
    .closed = [](void* self) { ++Of(self).closed_; },
};

}  // namespace gatehouse::http
