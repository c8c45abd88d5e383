// H1ServerHarness: an H1ServerConnection over a pipe, with receivers that note what they are told
// and answer as the test says.
//
//   H1ServerHarness server;
//   server.Push("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
//   EXPECT_EQ(server.request(0).log, "head GET / end|sent|");
//   EXPECT_TRUE(server.TakeWritten().ends_with("\r\n\r\nok"));
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
#include "source/http/h1_server_connection.h"
#include "test/fakes/manual_clock.h"
#include "test/fakes/pipe_transport.h"

namespace gatehouse::http {

class H1ServerHarness;

inline Chain TextChain(std::string_view text, SlabPool& pool) {
  Chain chain;
  chain.AppendCopy(text, pool);
  return chain;
}

// One request as its receiver sees it.
class TestRequest final : public Receiver {
 public:
  enum class Event : uint8_t { kHead, kBody, kTrailers, kError, kCredit, kSent };
  static constexpr Event kEvents[] = {Event::kHead,  Event::kBody,   Event::kTrailers,
                                      Event::kError, Event::kCredit, Event::kSent};

  TestRequest(net::Loop& loop, Sender& to, std::function<void(TestRequest&, Event)> script)
      : sender(&to), head(arena_), trailers(arena_), loop_(loop), script_(std::move(script)) {}

  // A response with a length.
  void Respond(uint16_t status, std::string_view text) {
    ResponseHead response(arena_);
    response.status = status;
    response.body = BodyKind::kLength;
    response.content_length = text.size();
    response.has_content_length = true;
    sender->SendHead(response, text.empty());
    if (text.empty()) return;
    Chain chain = TextChain(text, loop_.slabs());
    sender->SendBody(chain, true);
  }
  void SendHead(uint16_t status, BodyKind kind = BodyKind::kChunked, uint64_t length = 0) {
    ResponseHead response(arena_);
    response.status = status;
    response.body = kind;
    response.content_length = length;
    response.has_content_length = kind == BodyKind::kLength;
    if (status == 101) response.headers.Set(Name::kUpgrade, "websocket");
    sender->SendHead(response, false);
  }
  void SendBody(std::string_view text, bool end) {
    Chain chain = TextChain(text, loop_.slabs());
    sender->SendBody(chain, end);
    EXPECT_TRUE(chain.empty());
  }

  void OnHead(bool end) override {
    log += "head " + std::string(head.method_text) + " " + std::string(head.path) +
           (end ? " end|" : "|");
    request_ended = end;
    script_(*this, Event::kHead);
  }
  void OnBody(Chain& data, bool end) override {
    while (data.slices() > 0) body += data.TakeFront().view();
    request_ended |= end;
    script_(*this, Event::kBody);
  }
  void OnTrailers() override {
    for (const HeaderEntry& entry : trailers) {
      log +=
          "trailer " + std::string(entry.name_view()) + "=" + std::string(entry.value_view()) + "|";
    }
    request_ended = true;
    script_(*this, Event::kTrailers);
  }
  void OnError(Error error) override {
    ++errors;
    last_error = error;
    if (error.what == Error::What::kClientAbort) sender = nullptr;
    script_(*this, Event::kError);
  }
  void OnCredit() override {
    ++credits;
    script_(*this, Event::kCredit);
  }
  void OnSent() override {
    log += "sent|";
    ++sents;
    script_(*this, Event::kSent);
  }

  Sender* sender;
  std::string log;
  std::string body;
  bool request_ended = false;
  int errors = 0;
  int credits = 0;
  int sents = 0;
  Error last_error;

 private:
  Arena arena_;

 public:
  RequestHead head;
  HeaderMap trailers;

 private:
  net::Loop& loop_;
  std::function<void(TestRequest&, Event)> script_;
};

class H1ServerHarness {
 public:
  using Event = TestRequest::Event;
  using Script = std::function<void(TestRequest&, Event)>;

  // Takes all of a request, answers 200 "ok" at its end, lets go when that was sent; an error is
  // answered with 400 and "bad".
  static void Serve(TestRequest& request, Event event) {
    if (event == Event::kHead && !request.request_ended) request.sender->AllowBody(1 << 20);
    if (event == Event::kError) {
      if (request.sender != nullptr) request.Respond(400, "bad");
    } else if (event == Event::kSent) {
      request.sender->Detach();
    } else if (event != Event::kCredit && request.request_ended) {
      request.Respond(200, "ok");
    }
  }
  static void Nothing(TestRequest& /*request*/, Event /*event*/) {}

  explicit H1ServerHarness(H1ServerOptions options = {}, Script script = &Serve)
      : script_(std::move(script)), options_(options), loop_(clock_) {
    Pipe pipe = MakePipe(loop_);
    end_ = pipe.end;
    connection_ = std::make_unique<H1ServerConnection>(loop_, std::move(pipe.transport), options_,
                                                       scratch_, kCallbacks, this);
  }

  // Bytes from the client, and turns until all that they cause has happened.
  void Push(std::string_view bytes) {
    end_->Push(bytes);
    Turns();
  }
  void PushEof() {
    end_->PushEof();
    Turns();
  }
  void Turns(int count = 6) {
    for (int i = 0; i < count; ++i) {
      loop_.RunTurn(false);
      if (closed_) connection_.reset();
    }
  }
  void Advance(Duration by) {
    clock_.Advance(by);
    Turns();
  }
  // In steps, as a loop would see it.
  void AdvanceSlowly(Duration by) {
    for (Duration step = std::chrono::milliseconds(250); by > Duration::zero(); by -= step) {
      Advance(step);
    }
  }

  [[nodiscard]] std::string TakeWritten() { return end_->TakeWritten(); }
  [[nodiscard]] PipeEnd& end() { return *end_; }
  [[nodiscard]] net::Loop& loop() { return loop_; }
  [[nodiscard]] H1ServerConnection& connection() { return *connection_; }
  [[nodiscard]] bool open() const { return connection_ != nullptr && !closed_; }
  [[nodiscard]] TestRequest& request(size_t index) { return *requests_.at(index); }
  [[nodiscard]] size_t requests() const { return requests_.size(); }
  [[nodiscard]] int closed_count() const { return closed_count_; }
  [[nodiscard]] int idle_closes() const { return idle_closes_; }
  [[nodiscard]] int refusals() const { return refusals_; }
  // What all requests were, for comparing.
  [[nodiscard]] std::string Story() const {
    std::string story;
    for (const auto& request : requests_) {
      // How much of a body came before its error is a matter of the pieces.
      story += request->log;
      story += request->errors == 0
                   ? request->body
                   : " error " + std::to_string(static_cast<int>(request->last_error.what));
      story += "\n";
    }
    return story;
  }

 private:
  static H1ServerHarness& Of(void* self) { return *static_cast<H1ServerHarness*>(self); }
  static const H1ServerConnection::Callbacks kCallbacks;

  ManualClock clock_;
  Script script_;
  H1ServerOptions options_;
  net::Loop loop_;
  H1HeadScratch scratch_;
  std::shared_ptr<PipeEnd> end_;
  std::vector<std::unique_ptr<TestRequest>> requests_;
  std::unique_ptr<H1ServerConnection> connection_;
  bool closed_ = false;
  int closed_count_ = 0;
  int idle_closes_ = 0;
  int refusals_ = 0;
};

inline const H1ServerConnection::Callbacks H1ServerHarness::kCallbacks = {
    .open = [](void* self, Sender& sender) -> NewStream {
      H1ServerHarness& harness = Of(self);
      EXPECT_FALSE(harness.closed_);
      harness.requests_.push_back(
          std::make_unique<TestRequest>(harness.loop_, sender, harness.script_));
      TestRequest& request = *harness.requests_.back();
      return {&request, &request.head, &request.trailers};
    },
    .closed =
        [](void* self) {
          Of(self).closed_ = true;
          ++Of(self).closed_count_;
        },
    .idle_closed = [](void* self) { ++Of(self).idle_closes_; },
    .refused = [](void* self, Error) { ++Of(self).refusals_; },
};

}  // namespace gatehouse::http
