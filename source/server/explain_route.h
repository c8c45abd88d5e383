// The second half of Explain(): what the route that was found does with the request. Inside
// explain*.cc only; main thread, on the stack.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "source/base/arena.h"
#include "source/config/snapshot.h"
#include "source/filters/filter_context.h"
#include "source/http/message.h"
#include "source/route/match.h"
#include "source/server/explain.h"

namespace gatehouse::v1 {
class RouteTable;
}

namespace gatehouse::server {

// A request that has come as far as its route.
struct RoutedRequest {
  const ExplainScene& scene;
  const config::Listener& listener;
  const route::Match& match;
  http::RequestHead& head;  // as it was admitted
  filters::FilterContext& context;
  Arena& arena;
  std::string_view host;
  uint16_t port = 0;
  std::string_view path;
  std::string_view query;
};

void ExplainRoute(const RoutedRequest& request, Explained* out);

// What the matcher of a listener calls a table is the table's name, unless it is there twice.
[[nodiscard]] std::string TableNameOf(const config::Snapshot& snapshot,
                                      const config::Listener& listener, std::string_view part);
// Null when nothing is known of it.
[[nodiscard]] const v1::RouteTable* TableMessage(const config::Snapshot& snapshot,
                                                 std::string_view name);
// A reply that the gateway makes itself.
[[nodiscard]] Explained::Answer AnswerOf(http::Error error, std::string why);

}  // namespace gatehouse::server
