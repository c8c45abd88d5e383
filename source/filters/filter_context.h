// FilterContext: what a filter may see and change of the exchange that it runs in.
//
// Owner: the Exchange. Thread: its loop. Valid during a hook or continuation; views that it gives
// stay valid until the exchange ends. It is a plain struct of references, not an interface.
#pragma once

#include <cstdint>
#include <new>
#include <string_view>
#include <type_traits>
#include <utility>

#include "source/base/arena.h"
#include "source/filters/verdict.h"
#include "source/http/message.h"
#include "source/net/address.h"
#include "source/net/loop.h"
#include "source/observe/counters.h"
#include "source/observe/log_record.h"
#include "source/upstream/callout.h"

namespace gatehouse::net {
struct TlsFacts;
}

namespace gatehouse::filters {

class FilterRun;

// What the route's path template or regex captured, looked up by name.
struct Captures {
  using Find = std::string_view (*)(const void* of, std::string_view name);

  // Empty when there is none of that name.
  [[nodiscard]] std::string_view Get(std::string_view name) const {
    return find == nullptr ? std::string_view() : find(of, name);
  }

  const void* of = nullptr;  // lives as long as the exchange
  Find find = nullptr;
};

// Who calls, as an authentication filter has verified it: never what a request merely says. The
// views live as long as the exchange.
struct Identity {
  std::string_view consumer;  // empty: none
  std::string_view plan;
  Captures claims;  // of the token, by name: sub, or realm.tenant of an object
};

// Facts about the exchange, filled in as it goes.
struct ExchangeFacts {
  net::IpAddress client_ip{};  // the client's, behind trusted proxies
  net::Address peer;           // the connection's other end
  bool peer_trusted = false;   // it is a trusted proxy
  // Of the connection; null without TLS. Lives as long as the exchange.
  const net::TlsFacts* tls = nullptr;
  std::string_view listener;
  std::string_view table;  // empty before routing
  std::string_view route;
  std::string_view cluster;
  std::string_view upstream_address;  // of the last attempt
  std::string_view original_path;     // with its query, as it came
  std::string_view request_id;
  std::string_view trace_id;     // 32 hex digits
  std::string_view traceparent;  // as it goes upstream
  bool echo_request_id = true;
  // The response is the gateway's own. Its body passes no body hooks: do not promise in its headers
  // what only they could keep (a coding).
  bool local_reply = false;
  Captures captures;  // none before routing
  Identity identity;
};

// Something a filter notes for those after it and for the log, such as a verified claim.
struct Note {
  std::string_view key;
  std::string_view value;
  const Note* next;
};

// Tells a waiting filter that its operation is done: once, from the loop, never from within
// Start(). The operation may be destroyed by it.
struct Waker {
  void operator()() const { wake(of); }

  void* of = nullptr;
  void (*wake)(void* of) = nullptr;
};

class FilterContext {
 public:
  FilterContext(net::Loop& loop, Arena& arena, http::RequestHead& request,
                http::ResponseHead& response)
      : loop_(loop), arena_(arena), request_(request), response_(response) {}
  FilterContext(const FilterContext&) = delete;
  FilterContext& operator=(const FilterContext&) = delete;

  [[nodiscard]] http::HeaderMap& request() { return request_.headers; }
  [[nodiscard]] http::HeaderMap& response() { return response_.headers; }
  [[nodiscard]] http::RequestHead& request_head() { return request_; }
  [[nodiscard]] http::ResponseHead& response_head() { return response_; }
  [[nodiscard]] http::HeaderMap& request_trailers() { return *request_trailers_; }
  [[nodiscard]] http::HeaderMap& response_trailers() { return *response_trailers_; }
  // Memory that lives as long as the exchange.
  [[nodiscard]] Arena& arena() { return arena_; }
  [[nodiscard]] net::Loop& loop() { return loop_; }
  [[nodiscard]] TimePoint now() const { return loop_.Now(); }
  [[nodiscard]] ExchangeFacts& facts() { return facts_; }
  [[nodiscard]] observe::CounterBlock& counters() { return *counters_; }

  void SetNote(std::string_view key, std::string_view value) {
    notes_ = arena_.New<Note>(Note{arena_.Copy(key), arena_.Copy(value), notes_});
  }
  // Empty when there is none.
  [[nodiscard]] std::string_view GetNote(std::string_view key) const {
    for (const Note* note = notes_; note != nullptr; note = note->next) {
      if (note->key == key) return note->value;
    }
    return {};
  }
  // Marks the access log line.
  void AddFlag(observe::LogFlag flag) { flags_.Add(flag); }
  void AddFlags(observe::LogFlags flags) { flags_.Add(flags); }
  // This filter's hooks are not called any more for this exchange, but for OnFinish.
  void Leave() { leave_ = true; }

  // In OnResponseHeaders: gives this body to a response that has none, be it the origin's or the
  // gateway's own. It passes no body hooks. `body` lives as long as the exchange.
  void SetResponseBody(std::string_view body) { response_body_ = body; }

  // Sends a side request and goes on with `then(const upstream::CalloutResult&) -> Verdict`, called
  // from the loop, once, and never after the exchange has ended. `then` is kept in the arena: it
  // may hold references to the call, the filter and this context, nothing with a destructor. What
  // the request refers to must live in the arena or longer.
  template <typename Then>
  Verdict Await(const upstream::CalloutRequest& request, Then then) {
    return AwaitOperation<AwaitedCallout>(
        [then](AwaitedCallout& callout) -> Verdict { return then(*callout.result); }, *this,
        request);
  }

  // The same for whatever else comes later. An Operation(args...) is made in the arena, begun by
  // its Start(Waker), and destroyed when it is over or the exchange ends, which cancels it. Then
  // goes on with `then(Operation&) -> Verdict`.
  template <typename Operation, typename Then, typename... Args>
  Verdict AwaitOperation(Then then, Args&&... args) {
    static_assert(std::is_trivially_destructible_v<Then>);
    auto* operation = new (arena_.Allocate(sizeof(Operation), alignof(Operation)))
        Operation(std::forward<Args>(args)...);
    operation->Start(BeginWait(
        operation, [](void* of) { static_cast<Operation*>(of)->~Operation(); },
        arena_.New<Then>(std::move(then)),
        [](void* continuation, void* of) -> Verdict {
          return (*static_cast<Then*>(continuation))(*static_cast<Operation*>(of));
        }));
    return Verdict(Verdict::Kind::kWait);
  }

 private:
  friend class FilterRun;
  using EndOperation = void (*)(void* operation);
  using Resume = Verdict (*)(void* continuation, void* operation);

  struct AwaitedCallout {
    AwaitedCallout(FilterContext& context, const upstream::CalloutRequest& what)
        : callout(context.upstreams(), context.arena()), request(what) {}
    void Start(Waker wake_by) {
      waker = wake_by;
      callout.Start(request, this, [](void* self, const upstream::CalloutResult& answer) {
        auto* awaited = static_cast<AwaitedCallout*>(self);
        awaited->result = &answer;
        awaited->waker();
      });
    }

    upstream::Callout callout;
    const upstream::CalloutRequest& request;  // used by Start() alone
    const upstream::CalloutResult* result = nullptr;
    Waker waker;
  };

  [[nodiscard]] Waker BeginWait(void* operation, EndOperation end, void* continuation,
                                Resume resume);

 public:
  // For the exchange and the chain, not for filters.
  void Bind(observe::CounterBlock& counters, upstream::Upstreams& upstreams,
            http::HeaderMap& request_trailers, http::HeaderMap& response_trailers) {
    counters_ = &counters;
    upstreams_ = &upstreams;
    request_trailers_ = &request_trailers;
    response_trailers_ = &response_trailers;
  }
  [[nodiscard]] observe::LogFlags flags() const { return flags_; }
  [[nodiscard]] upstream::Upstreams& upstreams() { return *upstreams_; }
  [[nodiscard]] std::string_view response_body() const { return response_body_; }
  // As new, for the next exchange; Bind() stays. After FilterRun::Finish().
  void Reset();

 private:
  net::Loop& loop_;
  Arena& arena_;
  http::RequestHead& request_;
  http::ResponseHead& response_;
  http::HeaderMap* request_trailers_ = nullptr;
  http::HeaderMap* response_trailers_ = nullptr;
  observe::CounterBlock* counters_ = nullptr;
  upstream::Upstreams* upstreams_ = nullptr;
  ExchangeFacts facts_;
  const Note* notes_ = nullptr;
  std::string_view response_body_;
  observe::LogFlags flags_;
  bool leave_ = false;
  FilterRun* run_ = nullptr;  // while one is under way
};

}  // namespace gatehouse::filters
