// /explain of the admin address, from both of its sides: what the gateway answers, and how
// `gatehouse explain --admin` asks.
//
//   GET /explain?method=GET&url=http%3A%2F%2Fa.example%2Fx&header=x-user%3A%20alice&format=json
//
// Thread: main. Also listener= and client=. 400 says what is wrong with the question.
#pragma once

#include <string>
#include <string_view>

#include "source/server/admin.h"
#include "source/server/explain.h"

namespace gatehouse::server {

[[nodiscard]] AdminReply ExplainPage(std::string_view query, const ExplainScene& scene);
// "method=GET&url=..."
[[nodiscard]] std::string ExplainQuery(const ExplainRequest& request, bool json);

}  // namespace gatehouse::server
