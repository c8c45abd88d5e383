// H1ClientHarness: an H1ClientConnection over a pipe, whose other end is the origin that the test
// plays, and a receiver that notes what it is told.
//
//   H1ClientHarness origin;
//   origin.Get("/x");
//   EXPECT_EQ(origin.TakeRequest(), "GET /x HTTP/1.1\r\n...");
//   origin.Push("HTTP/1.1 204 No Content\r\n\r\n");
//   EXPECT_EQ(origin.log(), "sent|head 204 end|");
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "gtest/gtest.h"

#include "source/base/arena.h"
#include "source/http/h1_client_connection.h"
#include "test/fakes/manual_clock.h"
#include "test/fakes/pipe_transport.h"

namespace gatehouse::http {

class H1ClientHarness final : public Receiver {
 public:
  enum class Event : uint8_t { kHead, kBody, kTrailers, kError, kCredit, kSent };
  static constexpr Event kEvents[] = {Event::kHead,  Event::kBody,   Event::kTrailers,
                                      Event::kError, Event::kCredit, Event::kSent};

  H1ClientHarness() : loop_(clock_), response_(arena_), trailers_(arena_) {
    Pipe pipe = MakePipe(loop_);
    end_ = pipe.end;
    connection_ = std::make_unique<H1ClientConnection>(loop_, std::move(pipe.transport), limits_,
                                                       scratch_, kCallbacks, this);
  }

  // Begins an exchange; `end`: no body follows.
  Sender& Send(std::string_view method, std::string_view path, bool end = true,
               BodyKind body = BodyKind::kNone, uint64_t length = 0,
               std::string_view upgrade = {}) {
    arena_.Reset();
    response_.Reset();
    trailers_.Reset();
    log_.clear();
    body_.clear();
    ended_ = false;
    errors_ = 0;
    RequestHead request(arena_);
    request.method = FindMethod(method);
    request.method_text = method;
    request.path = request.target = path;
    request.authority = "origin.test";
    request.body = body;
    request.content_length = length;
    request.upgrade = !upgrade.empty();
    request.upgrade_protocol = upgrade;
    sender_ = &connection_->Begin(request.method, {this, &response_, &trailers_});
    sender_->SendHead(request, end);
    sender_->AllowBody(allow_at_begin);
    return *sender_;
  }
  void Get(std::string_view path = "/") {
    Send("GET", path);
    Turns();
  }
  void SendBody(std::string_view text, bool end) {
    Chain chain;
    chain.AppendCopy(text, loop_.slabs());
    sender_->SendBody(chain, end);
    EXPECT_TRUE(chain.empty());
  }
  // Bytes from the origin, and turns until all that they cause has happened.
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
      if (closed_ > 0) connection_.reset();
    }
  }
  void Detach() {
    sender_->Detach();
    Turns();
  }
  [[nodiscard]] std::string TakeRequest() { return end_->TakeWritten(); }

  [[nodiscard]] PipeEnd& end() { return *end_; }
  [[nodiscard]] net::Loop& loop() { return loop_; }
  [[nodiscard]] H1ClientConnection& connection() { return *connection_; }
  [[nodiscard]] Sender& sender() { return *sender_; }
  // What the receiver was told, without body bytes and credit.
  [[nodiscard]] const std::string& log() const { return log_; }
  [[nodiscard]] const std::string& body() const { return body_; }
  [[nodiscard]] bool ended() const { return ended_; }
  [[nodiscard]] int errors() const { return errors_; }
  [[nodiscard]] Error error() const { return error_; }
  [[nodiscard]] int idles() const { return idles_; }
  [[nodiscard]] int closed() const { return closed_; }

  size_t allow_at_begin = 1 << 20;
  // Called after each note.
  std::function<void(Event)> script;

  void OnHead(bool end) override {
    log_ += "head " + std::to_string(response_.status) + (end ? " end|" : "|");
    ended_ |= end;
    Told(Event::kHead);
  }
  void OnBody(Chain& data, bool end) override {
    while (data.slices() > 0) body_ += data.TakeFront().view();
    ended_ |= end;
    Told(Event::kBody);
  }
  void OnTrailers() override {
    for (const HeaderEntry& entry : trailers_) {
      log_ +=
          "trailer " + std::string(entry.name_view()) + "=" + std::string(entry.value_view()) + "|";
    }
    ended_ = true;
    Told(Event::kTrailers);
  }
  void OnError(Error error) override {
    ++errors_;
    error_ = error;
    Told(Event::kError);
  }
  void OnCredit() override { Told(Event::kCredit); }
  void OnSent() override {
    log_ += "sent|";
    Told(Event::kSent);
  }

 private:
  void Told(Event event) {
    EXPECT_EQ(closed_, 0);
    if (script) script(event);
  }
  static const H1ClientConnection::Callbacks kCallbacks;

  ManualClock clock_;
  net::Loop loop_;
  H1HeadScratch scratch_;
  H1Limits limits_;
  Arena arena_;
  ResponseHead response_;
  HeaderMap trailers_;
  std::shared_ptr<PipeEnd> end_;
  std::unique_ptr<H1ClientConnection> connection_;
  Sender* sender_ = nullptr;
  std::string log_;
  std::string body_;
  bool ended_ = false;
  int errors_ = 0;
  Error error_;
  int idles_ = 0;
  int closed_ = 0;
};

inline const H1ClientConnection::Callbacks H1ClientHarness::kCallbacks = {
    .idle = [](void* self, H1ClientConnection&) { ++static_cast<H1ClientHarness*>(self)->idles_; },
    .closed = [](void* self,
                 H1ClientConnection&) { ++static_cast<H1ClientHarness*>(self)->closed_; },
};

}  // namespace gatehouse::http
