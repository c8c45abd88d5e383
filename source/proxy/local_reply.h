// Local replies: what the gateway itself answers, for errors and for filters. The one table from
// http::Error to HTTP status, gRPC status, code word and log flag.
//
// Pure functions, any loop. A reply is written into a ResponseHead and, if it has one, a body text;
// both in the head's arena (or static, or the Reply's own).
//
//   LocalReply reply = ReplyForError(error);
//   std::string_view body = WriteLocalReply(reply, {.head = &request, .trace_id = id}, response);
#pragma once

#include <cstdint>
#include <string_view>

#include "source/filters/verdict.h"
#include "source/http/error.h"
#include "source/http/grpc_frame.h"
#include "source/http/message.h"
#include "source/observe/log_record.h"

namespace gatehouse::proxy {

struct LocalReply {
  uint16_t status = 500;
  std::string_view code;   // stable word; also the access log's
  std::string_view title;  // one short sentence
  http::GrpcStatus grpc_status = http::GrpcStatus::kUnknown;
  observe::LogFlags flags;
  uint32_t retry_after = 0;  // seconds; 0: not said
  bool close = false;        // the connection must not be used again
  // From filters.
  std::string_view detail;
  std::string_view type;     // of the problem; empty: about:blank
  std::string_view members;  // further members of the problem object, as JSON
  std::string_view body;     // instead of a problem object
  std::string_view content_type;
  bool empty = false;
};

// What `error` becomes. One with status 499 is for the log alone.
[[nodiscard]] LocalReply ReplyForError(http::Error error);
[[nodiscard]] LocalReply ReplyForFilter(const filters::Reply& reply);

// gRPC's status for an HTTP status, as gRPC clients understand a proxy's answer.
[[nodiscard]] http::GrpcStatus GrpcStatusFor(uint16_t http_status);
// The request's content-type is application/grpc, application/grpc+proto, ... (not grpc-web).
[[nodiscard]] bool IsGrpcRequest(const http::RequestHead& request);

// grpc-status and grpc-message: of a head, or of the trailers of a response that has begun.
void WriteGrpcStatus(const LocalReply& reply, http::HeaderMap& headers);

struct LocalReplyRequest {
  const http::RequestHead* head = nullptr;  // null: not even the head came
  std::string_view trace_id;
  std::string_view allow;  // for 405
};

// Replaces what is in `response`, and returns the body ("" for none: HEAD, 204, 304, gRPC). The
// framing in the head is set. gRPC requests get status 200 with the gRPC status in the head and
// nothing behind it.
[[nodiscard]] std::string_view WriteLocalReply(const LocalReply& reply,
                                               const LocalReplyRequest& request,
                                               http::ResponseHead& response);

}  // namespace gatehouse::proxy
