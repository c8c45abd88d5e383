// Sender and Receiver: the one seam between a codec and what uses it. HTTP/1 (and HTTP/2), both
// sides. A stream is one message each way; on the downstream side the request is received and the
// response sent, on the upstream side the other way round.
//
// Owner of a Sender: its connection. Owner of a Receiver: an exchange or attempt. Each refers to
// the other plainly until the stream ends: by OnError() (after which the Sender must not be used,
// except as said there), or once the Receiver calls Detach().
//
// Order of what a Receiver gets: OnHead (upstream: again for each 1xx), OnBody..., OnTrailers?, or
// OnError at any time as the last. OnCredit and OnSent come in between. Callbacks come from the
// loop, never from within a call of Sender's.
//
// Flow control is credit, both ways: a Receiver gets no more body than it allowed by AllowBody(),
// and hands a Sender no more than Credit() unless it must (filters that make a body grow).
//
//   sender.SendHead(response, /*end=*/false);
//   sender.SendBody(chain, /*end=*/true);
#pragma once

#include <cstddef>
#include <cstdint>

#include "source/base/chain.h"
#include "source/http/error.h"
#include "source/http/header_map.h"
#include "source/http/message.h"

namespace gatehouse::http {

class Receiver {
 public:
  // The head is in the place that was given when the stream began. `end`: no body follows.
  virtual void OnHead(bool end) = 0;
  // Takes all of `data`, which may be empty when `end`.
  virtual void OnBody(Chain& data, bool end) = 0;
  // The trailers are in the place that was given; they end the message.
  virtual void OnTrailers() = 0;
  // The stream has failed; nothing more is received. Downstream: unless the error is
  // kClientAbort, a response that has not begun may still be sent (a 400 for a malformed body).
  virtual void OnError(Error error) = 0;
  // Bytes have left: Credit() may be larger now.
  virtual void OnCredit() = 0;
  // All of the message, up to its end, has left for the network. Once, after `end` was sent.
  virtual void OnSent() = 0;

 protected:
  ~Receiver() = default;
};

class Sender {
 public:
  // Upstream streams only. Once.
  virtual void SendHead(const RequestHead& head, bool end) = 0;
  // Downstream streams only. 1xx heads may come first.
  virtual void SendHead(const ResponseHead& head, bool end) = 0;
  // Takes all of `data`.
  virtual void SendBody(Chain& data, bool end) = 0;
  // Ends the message.
  virtual void SendTrailers(const HeaderMap& trailers) = 0;
  // Body bytes that the connection will take now without holding more than it should.
  [[nodiscard]] virtual size_t Credit() const = 0;
  // From now on up to `bytes` of body may be received; replaces what was allowed before. The first
  // call with more than zero is what makes a server answer Expect: 100-continue.
  virtual void AllowBody(size_t bytes) = 0;
  // Gives the stream up. What was not sent is dropped: the peer sees a broken message unless both
  // directions had ended. No callback comes any more.
  virtual void Abort() = 0;
  // The receiver is done with the stream: both directions have ended, or (downstream) the response
  // has been handed over whole and the rest of the request is of no interest. No callback comes any
  // more; what is still to be written is written.
  virtual void Detach() = 0;

 protected:
  ~Sender() = default;
};

// Where a downstream codec puts a new request, and who gets it.
struct NewStream {
  Receiver* receiver = nullptr;
  RequestHead* head = nullptr;
  HeaderMap* trailers = nullptr;
};

// Where an upstream codec puts a response, and who gets it.
struct ResponsePlace {
  Receiver* receiver = nullptr;
  ResponseHead* head = nullptr;
  HeaderMap* trailers = nullptr;
};

}  // namespace gatehouse::http
