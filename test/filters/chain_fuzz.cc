// Chains of filters with random behaviour. In the first mode a request and then its response go
// through one after the other, and everything that can be seen must be what a simple model says,
// however bodies are cut and whoever waits. In the second mode both directions, errors and the end
// come in any order, and only what must always hold is checked.

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "source/base/check.h"
#include "source/filters/chain.h"
#include "test/filters/filter_fixture.h"
#include "test/filters/scripted_filter.h"

namespace gatehouse::filters {
namespace {

// The input as a stream of decisions; all zero behind its end.
class Decisions {
 public:
  Decisions(const uint8_t* data, size_t size) : at_(data), end_(data + size) {}
  uint8_t Next() { return at_ == end_ ? 0 : *at_++; }
  size_t Below(size_t bound) { return Next() % bound; }
  bool done() const { return at_ == end_; }

 private:
  const uint8_t* at_;
  const uint8_t* end_;
};

Act HeadersAct(Decisions& decide) {
  constexpr Act kActs[] = {Act::kContinue,  Act::kAbsent,        Act::kWait,
                           Act::kWaitTwice, Act::kReply,         Act::kWaitThenReply,
                           Act::kLeave,     Act::kWaitThenLeave, Act::kForgetsToWait,
                           Act::kContinue,  Act::kContinue};
  return kActs[decide.Below(std::size(kActs))];
}

Act BodyAct(Decisions& decide) {
  constexpr Act kActs[] = {Act::kAbsent, Act::kContinue,      Act::kKeep,      Act::kGrow,
                           Act::kEat,    Act::kWait,          Act::kReply,     Act::kWaitThenReply,
                           Act::kLeave,  Act::kWaitThenLeave, Act::kWaitTwice, Act::kGrow};
  return kActs[decide.Below(std::size(kActs))];
}

Script MakeScript(Decisions& decide, size_t index) {
  Script script;
  script.name = std::string(1, static_cast<char>('a' + index));
  script.request_headers = HeadersAct(decide);
  script.request_body = BodyAct(decide);
  script.request_trailers = HeadersAct(decide);
  script.response_headers = HeadersAct(decide);
  script.response_body = BodyAct(decide);
  script.response_trailers = HeadersAct(decide);
  const size_t whole = decide.Next();
  if ((whole & 3) == 1) script.request_whole = 1 + whole / 16;
  if ((whole & 12) == 4) script.response_whole = 1 + whole / 16;
  return script;
}

bool Replies(Act act) { return act == Act::kReply || act == Act::kWaitThenReply; }
bool Leaves(Act act) { return act == Act::kLeave || act == Act::kWaitThenLeave; }

struct Message {
  bool has_body = false;
  bool has_trailers = false;
  std::vector<std::string> pieces;

  static Message From(Decisions& decide, char letter) {
    Message message;
    const size_t shape = decide.Next();
    message.has_body = (shape & 1) != 0;
    message.has_trailers = message.has_body && (shape & 2) != 0;
    if (!message.has_body) return message;
    for (size_t i = 0; i < shape / 4 % 5; ++i) {
      message.pieces.emplace_back(decide.Below(12), letter);
    }
    return message;
  }
  static Message OfReply() {
    Message message;
    message.has_body = true;
    message.pieces.emplace_back("R");
    return message;
  }
};

// What a chain does, in the simplest words: no waiting, a buffer for every filter.
class Model {
 public:
  explicit Model(const std::vector<Script>& scripts)
      : scripts_(scripts),
        left_(scripts.size()),
        kept_{std::vector<std::string>(scripts.size()), std::vector<std::string>(scripts.size())},
        gathered_(scripts.size()) {}

  void Run(const Message& request, const Message& response) {
    bool replies = !Heads(0, &Script::request_headers, ".request", scripts_.size());
    reached_ = replies ? replier_ + 1 : scripts_.size();
    if (!replies && request.has_body) replies = !Body(0, request, scripts_.size());
    if (!replies) request_out = out_;
    if (!replies && request.has_trailers) {
      replies = !Heads(0, &Script::request_trailers, ".trailers", scripts_.size());
    }
    Respond(replies ? Message::OfReply() : response,
            replies ? std::max(reached_, replier_ + 1) : scripts_.size());
    for (size_t i = reached_; i-- > 0;) diary += " " + scripts_[i].name + ".finish";
  }

  std::string diary;  // without bodies and continuations
  std::string request_out;
  std::string response_out;

 private:
  void Respond(Message message, size_t bound) {
    while (true) {
      bool replies = !Heads(1, &Script::response_headers, ".response", bound);
      if (!replies && message.has_body) replies = !Body(1, message, bound);
      if (!replies && message.has_body) response_out = out_;
      if (!replies && message.has_trailers) {
        replies = !Heads(1, &Script::response_trailers, ".rtrailers", bound);
      }
      if (!replies) return;
      message = Message::OfReply();
      bound = replier_;
      response_out.clear();
    }
  }
  bool Heads(int side, Act Script::* act_of, const char* what, size_t bound) {
    for (size_t n = 0; n < bound; ++n) {
      const size_t i = side == 0 ? n : bound - 1 - n;
      const Act act = scripts_[i].*act_of;
      if (act == Act::kAbsent || left_[i]) continue;
      diary += " " + scripts_[i].name + what;
      if (Leaves(act)) left_[i] = true;
      if (!Replies(act)) continue;
      replier_ = i;
      return false;
    }
    return true;
  }
  bool Body(int side, const Message& message, size_t bound) {
    out_.clear();
    gathered_.assign(scripts_.size(), "");
    for (const std::string& piece : message.pieces) {
      if (!piece.empty() && !Feed(side, 0, piece, false, bound)) return false;
    }
    return Feed(side, 0, "", true, bound);
  }
  bool Feed(int side, size_t n, std::string data, bool end, size_t bound) {
    if (n == bound) {
      out_ += data;
      return true;
    }
    const size_t i = side == 0 ? n : bound - 1 - n;
    const Script& script = scripts_[i];
    const Act act = side == 0 ? script.request_body : script.response_body;
    const size_t limit = side == 0 ? script.request_whole : script.response_whole;
    if (act == Act::kAbsent || left_[i]) return Feed(side, n + 1, data, end, bound);
    if (data.empty() && !end) return true;
    if (limit > 0) {
      data = gathered_[i] += data;
      if (data.size() > limit) {
        replier_ = i;
        return false;
      }
      if (!end) return true;
    }
    if (Replies(act)) {
      replier_ = i;
      return false;
    }
    if (Leaves(act)) left_[i] = true;
    if (act == Act::kEat) data.clear();
    if (act == Act::kGrow && end) data += script.name;
    if (act == Act::kKeep) {
      kept_[side][i] += data;
      data = end ? std::exchange(kept_[side][i], "") : "";
    }
    return Feed(side, n + 1, data, end, bound);
  }

  const std::vector<Script>& scripts_;
  std::vector<bool> left_;
  std::vector<std::string> kept_[2];
  std::vector<std::string> gathered_;
  std::string out_;
  size_t replier_ = 0;
  size_t reached_ = 0;
};

class Driver : public FilterWorld {
 public:
  void Start(std::vector<Script> scripts) {
    NextRequest();
    diary_.clear();
    std::vector<NamedFilter> filters;
    for (Script& script : scripts) {
      filters.push_back(Scripted(std::move(script), diary_, EmptyCluster()));
    }
    Use(std::move(filters));
  }

  void RunInOrder(const std::vector<Script>& scripts, const Message& request,
                  const Message& response, Decisions& decide) {
    Model model(scripts);
    model.Run(request, response);
    Start(scripts);
    std::string request_out;
    std::string response_out;
    bool replies = Await([&] { return run_.RequestHeaders(); }) == Progress::kReply;
    if (!replies && request.has_body) {
      replies = !Send(request, decide, request_out,
                      [&](Chain& data, bool end) { return run_.RequestBody(data, end); });
    }
    if (replies) request_out.clear();
    if (!replies && request.has_trailers) {
      replies = Await([&] { return run_.RequestTrailers(); }) == Progress::kReply;
    }
    if (replies) run_.BeginReply();
    Message message = replies ? Message::OfReply() : response;
    while (!Respond(message, decide, response_out)) {
      run_.BeginReply();
      message = Message::OfReply();
      response_out.clear();
    }
    run_.Finish();
    CheckEnd();
    CHECK(Told() == model.diary);
    CHECK(request_out == model.request_out);
    CHECK(response_out == model.response_out);
  }

  // Any order that the contract allows.
  void RunWild(const std::vector<Script>& scripts, Decisions& decide) {
    Start(scripts);
    bool passed = false;
    bool body_ended = false;
    bool replied = false;
    Progress request_progress = Progress::kDone;
    Progress response_progress = Progress::kDone;
    bool response_headers = false;
    while (!decide.done()) {
      const uint8_t op = decide.Next();
      Chain data;
      data.AppendCopy(std::string(op / 16, 'x'), loop_.slabs());
      const bool end = (op & 8) != 0;
      switch (op & 7) {
        case 0:
        case 1:
          if (!passed && !replied) {
            request_progress = run_.RequestHeaders();
            passed = request_progress == Progress::kDone;
          } else if (!body_ended || request_progress == Progress::kWait) {
            if (body_ended) data.Clear();
            body_ended |= end;
            request_progress = run_.RequestBody(data, end);
          } else {
            request_progress = run_.RequestTrailers();
          }
          if (request_progress != Progress::kReply) break;
          [[fallthrough]];
        case 2:  // a reply or an error
          if (op & 32 || request_progress == Progress::kReply) {
            run_.BeginReply();
            replied = true;
            request_progress = response_progress = Progress::kDone;
            response_headers = false;
          }
          break;
        case 3:
        case 4:
          if (!passed && !replied) break;
          if (!response_headers) {
            response_progress = run_.ResponseHeaders();
            response_headers = response_progress == Progress::kDone;
          } else {
            response_progress = run_.ResponseBody(data, end);
          }
          if (response_progress == Progress::kReply) {
            run_.BeginReply();
            replied = true;
            response_headers = false;
          }
          break;
        case 5:
          if (op >= 0xf0) run_.Finish();
          if (!run_.started()) return CheckEnd();
          break;
        default:
          Turn();
      }
    }
    run_.Finish();
    CheckEnd();
  }

 private:
  template <typename Call>
  Progress Await(Call&& call) {
    Progress progress = call();
    for (int turns = 0; progress == Progress::kWait; ++turns) {
      CHECK(turns < 10);
      Turn();
      progress = call();
    }
    return progress;
  }
  // False: a filter replies.
  template <typename Call>
  bool Send(const Message& message, Decisions& decide, std::string& out, Call&& call) {
    for (size_t i = 0; i <= message.pieces.size(); ++i) {
      const bool end = i == message.pieces.size();
      Chain data;
      if (!end) data.AppendCopy(message.pieces[i], loop_.slabs());
      Progress progress = call(data, end);
      out += ToString(data);
      // Sometimes the next piece comes while a filter waits.
      if (!end && (decide.Next() & 1) != 0 && progress == Progress::kWait) continue;
      for (int turns = 0; progress == Progress::kWait; ++turns) {
        CHECK(turns < 100);
        Turn();
        Chain more;
        progress = call(more, false);
        out += ToString(more);
      }
      if (progress == Progress::kReply) return false;
    }
    return true;
  }
  bool Respond(const Message& message, Decisions& decide, std::string& out) {
    if (Await([&] { return run_.ResponseHeaders(); }) == Progress::kReply) return false;
    if (message.has_body && !Send(message, decide, out, [&](Chain& data, bool end) {
          return run_.ResponseBody(data, end);
        })) {
      return false;
    }
    return !message.has_trailers ||
           Await([&] { return run_.ResponseTrailers(); }) != Progress::kReply;
  }
  [[nodiscard]] std::string Told() const {
    std::string told;
    for (const std::string& line : diary_) {
      const bool body = line.find("body(") != std::string::npos;
      if (!body && !line.ends_with(".resumes")) told += " " + line;
    }
    return told;
  }
  void CheckEnd() {
    CHECK(ScriptedFilter::Call::living == 0);
    const size_t told = diary_.size();
    Turn();
    CHECK(diary_.size() == told);
    // Who is finished says nothing more, and finishes once; nobody speaks after he left.
    for (size_t i = 0; i < diary_.size(); ++i) {
      CHECK(!diary_[i].ends_with("must not resume"));
      if (!diary_[i].ends_with(".finish")) continue;
      for (size_t j = i + 1; j < diary_.size(); ++j) CHECK(diary_[j][0] != diary_[i][0]);
    }
    for (const std::string& line : diary_) {
      CHECK(std::ranges::count(diary_, std::string(1, line[0]) + ".finish") == 1);
    }
  }

  Diary diary_;
};

}  // namespace
}  // namespace gatehouse::filters

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace gatehouse::filters;
  static Driver driver;
  Decisions decide(data, size);
  const uint8_t mode = decide.Next();
  std::vector<Script> scripts;
  for (size_t i = 0; i < 1 + mode / 2 % 6u; ++i) scripts.push_back(MakeScript(decide, i));
  if ((mode & 1) == 0) {
    const Message request = Message::From(decide, 'q');
    const Message response = Message::From(decide, 'r');
    driver.RunInOrder(scripts, request, response, decide);
  } else {
    driver.RunWild(scripts, decide);
  }
  return 0;
}
