#include "source/filters/rate_limit/limit_script.h"

#include <algorithm>
#include <bit>
#include <initializer_list>
#include <string_view>

#include "source/filters/rate_limit/limit_lua.h"

namespace gatehouse::filters {

namespace {

static_assert(std::endian::native == std::endian::little, "rules are told in this byte order");

// Lives as long as the process.
struct KeptScript {
  explicit KeptScript(std::initializer_list<std::string_view> pieces)
      : text([&] {
          std::string whole;
          for (const std::string_view piece : pieces) whole += piece;
          return whole;
        }()),
        script(text) {}

  const std::string text;
  const upstream::RedisScript script;
};

bool IsWhole(const upstream::RedisReply& reply) {
  return reply.type == upstream::RedisReply::Type::kInteger && reply.integer >= 0;
}

LimitTake DescribeLog(const LimitRule& rule, const ScriptReply& reply, size_t index,
                      uint64_t cost) {
  const auto per = static_cast<int64_t>(rule.numbers().per);
  auto newest = static_cast<int64_t>(reply.states[index].a);
  uint64_t used = reply.states[index].b;
  LimitTake take = {.allowed = cost == 0 || (cost <= rule.limit() && used + cost <= rule.limit()),
                    .limit = rule.limit()};
  if (!take.allowed) {
    take.retry_after =
        cost > rule.limit()
            ? LimitTake::kForever
            : Duration(static_cast<int64_t>(reply.again[index]) + per - reply.micros);
  } else if (cost > 0 && reply.allowed) {
    newest = std::max(newest, reply.micros);
    used += cost;
  }
  take.remaining = rule.limit() > used ? rule.limit() - used : 0;
  if (used > 0) take.reset_after = Duration(newest + per - reply.micros);
  return take;
}

}  // namespace

const upstream::RedisScript& TakeScript() {
  static const auto* const kept = new KeptScript({kLuaStart, kLuaTakeOne, kLuaRules, kLuaTakeAll});
  return kept->script;
}

const upstream::RedisScript& GiveBackScript() {
  static const auto* const kept = new KeptScript({kLuaStart, kLuaRules, kLuaGiveBack});
  return kept->script;
}

const upstream::RedisScript& RenewScript() {
  static const auto* const kept = new KeptScript({kLuaRenew});
  return kept->script;
}

const upstream::RedisScript& ReleaseScript() {
  static const auto* const kept = new KeptScript({kLuaRelease});
  return kept->script;
}

std::string RulesText(const LimitRules& rules) {
  std::string text;
  for (const LimitRule& rule : rules.rules()) {
    const LimitRule::Numbers& numbers = rule.numbers();
    std::array<double, 6> row = {static_cast<double>(rule.kind()),
                                 static_cast<double>(rule.limit())};
    const auto set = [&row](auto... values) {
      size_t at = 2;
      ((row[at++] = static_cast<double>(values)), ...);
    };
    switch (rule.kind()) {
      case LimitKind::kTokenBucket:
      case LimitKind::kLeakyQueue:
        set(numbers.tick, numbers.drain, numbers.unit, numbers.max_wait);
        break;
      case LimitKind::kFixedWindow:
      case LimitKind::kSlidingLog:
        set(numbers.per);
        break;
      case LimitKind::kCalendar:
        set(rule.spec().period, rule.spec().utc_offset.count());
        break;
      case LimitKind::kSlidingWindow:
        set(numbers.tick, numbers.span);
        break;
      case LimitKind::kConcurrency:
        break;
    }
    text.append(reinterpret_cast<const char*>(row.data()), sizeof(row));
  }
  return text;
}

std::optional<ScriptReply> ReadReply(const upstream::RedisReply& reply, const LimitRules& rules) {
  const auto elements = reply.elements;
  if (reply.type != upstream::RedisReply::Type::kArray || elements.size() < 2) return std::nullopt;
  for (const upstream::RedisReply& element : elements) {
    if (!IsWhole(element)) return std::nullopt;
  }
  ScriptReply read;
  read.allowed = elements[0].integer == 1;
  read.micros = elements[1].integer;
  size_t at = 2;
  const auto next = [&] { return static_cast<uint64_t>(elements[at++].integer); };
  for (size_t i = 0; i < rules.rules().size(); ++i) {
    const bool log = rules.rules()[i].kind() == LimitKind::kSlidingLog;
    if (elements.size() - at < (log ? 3 : 2)) return std::nullopt;
    read.states[i].a = next();
    read.states[i].b = next();
    if (log) read.again[i] = next();
  }
  if (at != elements.size()) return std::nullopt;
  return read;
}

// The rule says of the same numbers what the script has said.
void Describe(const LimitRules& rules, const ScriptReply& reply, uint64_t cost, LimitTakes& takes) {
  takes.allowed = reply.allowed;
  takes.count = static_cast<uint32_t>(rules.rules().size());
  for (size_t i = 0; i < takes.count; ++i) {
    const LimitRule& rule = rules.rules()[i];
    if (rule.kind() == LimitKind::kSlidingLog) {
      takes.takes[i] = DescribeLog(rule, reply, i, cost);
      continue;
    }
    LimitState state = reply.states[i];
    takes.takes[i] = rule.Take(state, cost, reply.micros);
    if (reply.allowed || !takes.takes[i].allowed) continue;
    // Another limit has rejected it, so nothing was taken from this one.
    state = reply.states[i];
    takes.takes[i] = rule.Take(state, 0, reply.micros);
  }
}

}  // namespace gatehouse::filters
