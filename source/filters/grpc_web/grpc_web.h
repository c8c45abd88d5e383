// grpc_web: lets browsers call gRPC services. A request in gRPC-Web goes on as gRPC, its response
// comes back as gRPC-Web; other requests pass as they are.
// (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md)
//
//   filters:
//   - cors: { allow_origins: ["https://shop.example"], expose_headers: [grpc-status, grpc-message]
//   }
//   - grpc_web: {}
#pragma once

#include <string_view>

#include "absl/status/statusor.h"

#include "source/filters/filter.h"
#include "source/filters/filter_context.h"
#include "source/filters/grpc_web/transcode.h"

namespace gatehouse::filters::v1 {
class GrpcWeb;
}

namespace gatehouse::filters {

class BuildContext;

class GrpcWeb {
 public:
  static constexpr Hooks kHooks =
      Hooks::kRequestHeaders | Hooks::kRequestBody | Hooks::kResponseHeaders | Hooks::kResponseBody;
  static constexpr BodyMode kRequestBody = BodyMode::kStream;
  static constexpr BodyMode kResponseBody = BodyMode::kStream;
  [[nodiscard]] static absl::StatusOr<GrpcWeb> Build(const filters::v1::GrpcWeb& config,
                                                     BuildContext& build);

  struct Call {
    Verdict OnRequestHeaders(const GrpcWeb& filter, FilterContext& context);
    Verdict OnRequestBody(const GrpcWeb& filter, FilterContext& context, Chain& data, bool end);
    Verdict OnResponseHeaders(const GrpcWeb& filter, FilterContext& context);
    Verdict OnResponseBody(const GrpcWeb& filter, FilterContext& context, Chain& data, bool end);

   private:
    void EndWithoutBody(FilterContext& context);

    TextDecoder decoder_;
    std::string_view format_;       // "+proto" of the request's type, and its parameters
    std::string_view head_status_;  // a frame of what the response's head said of the call's end
    bool text_request_ = false;
    bool text_response_ = false;
    bool grpc_response_ = false;  // else it is none of ours
  };
};

}  // namespace gatehouse::filters
