// The scripts that count in Redis what LimitRule counts here: the same arithmetic (limit_rule.h),
// by Redis's clock, all limits of a key at once.
//
// A key's state is one string: the rules it was counted by, six doubles each, then two doubles for
// each (LimitState). So a script that is run with other rules converts it, as LimitRule::Convert.
// Sliding logs and places of requests under way are a list and a sorted set beside it, `KEY:1` for
// the first limit, in the same slot of a Redis Cluster. Everything expires when it counts no more.
//
// The scripts and the functions are for any thread.
//
//   const std::string rules_text = RulesText(rules);          // once for each policy
//   call.Start(client, {.script = &TakeScript(), .key = name, .args = {rules_text, "1"}}, ...);
//   std::optional<ScriptReply> reply = ReadReply(result.reply, rules);
//   Describe(rules, *reply, 1, takes);
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "source/filters/rate_limit/limit_table.h"
#include "source/upstream/redis_client.h"

namespace gatehouse::filters {

// Arguments: the rules, the cost, a debt, when it was made, the lease in microseconds, a name for
// the place. Those at the end may be left out: the debt with its time when it is 0, the lease and
// the name where no limit is a kConcurrency.
//
// Counts the debt (units that have been let through already) whether there is room or not, then
// takes the cost from all limits if all have it.
[[nodiscard]] const upstream::RedisScript& TakeScript();
// Arguments: the rules, the cost, "0", microseconds since it was taken, the lease, by how many
// microseconds that may be wrong. All kinds but kConcurrency.
[[nodiscard]] const upstream::RedisScript& GiveBackScript();
// Arguments: the rules, the lease in microseconds, the names of places that are still in use.
[[nodiscard]] const upstream::RedisScript& RenewScript();
// Arguments: the rules, the names of places that are free again.
[[nodiscard]] const upstream::RedisScript& ReleaseScript();

// The rules as the scripts read them.
[[nodiscard]] std::string RulesText(const LimitRules& rules);

// What TakeScript() says.
struct ScriptReply {
  bool allowed = false;
  int64_t micros = 0;  // by Redis's clock
  // With the debt, before the cost was taken. Of a kSlidingLog: the time of the newest unit, and
  // how many there are.
  std::array<LimitState, LimitRules::kMax> states{};
  // kSlidingLog that rejects: the time of the unit that has to go first.
  std::array<uint64_t, LimitRules::kMax> again{};
};

// nullopt: that is not what a script says of these rules.
[[nodiscard]] std::optional<ScriptReply> ReadReply(const upstream::RedisReply& reply,
                                                   const LimitRules& rules);
// What a request of that cost has got.
void Describe(const LimitRules& rules, const ScriptReply& reply, uint64_t cost, LimitTakes& takes);

}  // namespace gatehouse::filters
