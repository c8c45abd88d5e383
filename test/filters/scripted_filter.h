// ScriptedFilter: does at each hook what the test has told it to, and keeps a diary of it.
//
//   Diary diary;
//   AnyFilter a = Scripted({.name = "a", .request_headers = Act::kWait}, diary, cluster);
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "source/filters/filter.h"
#include "source/filters/filter_context.h"

namespace gatehouse::filters {

enum class Act : uint8_t {
  kAbsent,  // there is no such hook
  kContinue,
  kWait,
  kWaitTwice,
  kReply,
  kWaitThenReply,
  kLeave,
  kWaitThenLeave,
  // Bodies.
  kKeep,  // gives out all of it with the end
  kGrow,  // puts its name behind the end
  kEat,   // lets none of it through
  // Begins to wait, and goes on all the same.
  kForgetsToWait,
};

struct Script {
  std::string name;
  Act request_headers = Act::kContinue;
  Act request_body = Act::kAbsent;
  Act request_trailers = Act::kAbsent;
  Act response_headers = Act::kContinue;
  Act response_body = Act::kAbsent;
  Act response_trailers = Act::kAbsent;
  size_t request_whole = 0;  // 0: streams
  size_t response_whole = 0;
};

using Diary = std::vector<std::string>;

inline std::string Read(const Diary& diary) {
  std::string text;
  for (const std::string& line : diary) text += (text.empty() ? "" : " ") + line;
  return text;
}

class ScriptedFilter {
 public:
  static constexpr Hooks kHooks = Hooks::kRequestHeaders | Hooks::kRequestBody |
                                  Hooks::kRequestTrailers | Hooks::kResponseHeaders |
                                  Hooks::kResponseBody | Hooks::kResponseTrailers |
                                  Hooks::kResponseEnd | Hooks::kFinish;
  static constexpr BodyMode kRequestBody = BodyMode::kStream;
  static constexpr BodyMode kResponseBody = BodyMode::kStream;

  struct Call {
    Call() { ++living; }
    ~Call() { --living; }
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

    Verdict OnRequestHeaders(const ScriptedFilter& filter, FilterContext& context) {
      return filter.Do(filter.script_.request_headers, "request", context);
    }
    Verdict OnRequestBody(const ScriptedFilter& filter, FilterContext& context, Chain& data,
                          bool end) {
      return filter.Do(filter.script_.request_body, "body", context, data, end, request_kept);
    }
    Verdict OnRequestTrailers(const ScriptedFilter& filter, FilterContext& context) {
      return filter.Do(filter.script_.request_trailers, "trailers", context);
    }
    Verdict OnResponseHeaders(const ScriptedFilter& filter, FilterContext& context) {
      return filter.Do(filter.script_.response_headers, "response", context);
    }
    Verdict OnResponseBody(const ScriptedFilter& filter, FilterContext& context, Chain& data,
                           bool end) {
      return filter.Do(filter.script_.response_body, "rbody", context, data, end, response_kept);
    }
    Verdict OnResponseTrailers(const ScriptedFilter& filter, FilterContext& context) {
      return filter.Do(filter.script_.response_trailers, "rtrailers", context);
    }
    void OnResponseEnd(const ScriptedFilter& filter, FilterContext&) {
      filter.Note("response end");
    }
    void OnFinish(const ScriptedFilter& filter, FilterContext&) { filter.Note("finish"); }

    Chain request_kept;
    Chain response_kept;
    static inline int living = 0;
  };

  ScriptedFilter(Script script, Diary& diary, const upstream::Cluster* cluster)
      : script_(std::move(script)), diary_(&diary), cluster_(cluster) {}

 private:
  void Note(std::string_view what) const {
    diary_->push_back(script_.name + "." + std::string(what));
  }
  Verdict Do(Act act, std::string_view hook, FilterContext& context, Chain& data, bool end,
             Chain& kept) const {
    SlabPool& slabs = context.loop().slabs();
    std::string seen;
    for (size_t i = 0; i < data.slices(); ++i) seen += data[i].view();
    const std::string what = std::string(hook) + "(" + seen + (end ? ".)" : ")");
    if (act == Act::kKeep) {
      kept.Append(std::move(data), slabs);
      if (end) data = std::move(kept);
    } else if (act == Act::kGrow) {
      if (end) data.AppendCopy(script_.name, slabs);
    } else if (act == Act::kEat) {
      data.Clear();
    }
    return Do(act, what, context);
  }
  Verdict Do(Act act, std::string_view hook, FilterContext& context) const {
    Note(hook);
    const Reply reply = {403, "scripted", script_.name};
    const upstream::CalloutRequest ask = {.cluster = cluster_};
    using Result = upstream::CalloutResult;
    switch (act) {
      case Act::kReply:
        return reply;
      case Act::kLeave:
        context.Leave();
        return Continue();
      case Act::kWait:
        return context.Await(ask, [this](const Result&) -> Verdict {
          Note("resumes");
          return Continue();
        });
      case Act::kWaitTwice:
        return context.Await(ask, [this, ask, &context](const Result&) -> Verdict {
          return context.Await(ask, [this](const Result&) -> Verdict {
            Note("resumes");
            return Continue();
          });
        });
      case Act::kWaitThenReply:
        return context.Await(ask, [reply](const Result&) -> Verdict { return reply; });
      case Act::kWaitThenLeave:
        return context.Await(ask, [&context](const Result&) -> Verdict {
          context.Leave();
          return Continue();
        });
      case Act::kForgetsToWait:
        static_cast<void>(context.Await(ask, [this](const Result&) -> Verdict {
          Note("must not resume");
          return Continue();
        }));
        return Continue();
      default:
        return Continue();
    }
  }

  Script script_;
  Diary* diary_;
  const upstream::Cluster* cluster_;
};

inline NamedFilter Scripted(Script script, Diary& diary, const upstream::Cluster& cluster) {
  AnyFilter any = MakeAnyFilter(ScriptedFilter(script, diary, &cluster));
  if (script.request_headers == Act::kAbsent) any.request_headers = nullptr;
  if (script.request_body == Act::kAbsent) any.request_body = nullptr;
  if (script.request_trailers == Act::kAbsent) any.request_trailers = nullptr;
  if (script.response_headers == Act::kAbsent) any.response_headers = nullptr;
  if (script.response_body == Act::kAbsent) any.response_body = nullptr;
  if (script.response_trailers == Act::kAbsent) any.response_trailers = nullptr;
  any.request_whole_limit = script.request_whole;
  any.response_whole_limit = script.response_whole;
  return {script.name, std::move(any)};
}

}  // namespace gatehouse::filters
