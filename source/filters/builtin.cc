#include "source/filters/builtin.h"

#include "api/gatehouse/filters/v1/cors.pb.h"
#include "api/gatehouse/filters/v1/grpc_web.pb.h"
#include "api/gatehouse/filters/v1/headers.pb.h"
#include "api/gatehouse/filters/v1/rate_limit.pb.h"
#include "api/gatehouse/filters/v1/request_id.pb.h"
#include "source/filters/cors/cors.h"
#include "source/filters/grpc_web/grpc_web.h"
#include "source/filters/headers/headers.h"
#include "source/filters/rate_limit/rate_limit.h"
#include "source/filters/request_id/request_id.h"

namespace gatehouse::filters {

void RegisterBuiltinFilters(Registry& registry) {
  registry.Register<Cors, v1::Cors>("cors");
  registry.Register<GrpcWeb, v1::GrpcWeb>("grpc_web");
  registry.Register<Headers, v1::Headers>("headers");
  registry.Register<RateLimit, v1::RateLimitFilter>("rate_limit");
  registry.Register<RequestId, v1::RequestId>("request_id");
}

}  // namespace gatehouse::filters
