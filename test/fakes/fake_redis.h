// FakeRedis: a Redis that does what the test says, on a free port of 127.0.0.1, in the test's own
// thread. It acts only in Step(). Unless told otherwise it answers what a client says to log in and
// keeps everything else for the test.
//
//   FakeRedis redis;
//   while (redis.commands().empty()) { loop.RunTurn(false); redis.Step(); }
//   EXPECT_EQ(redis.commands()[0].words[0], "GET");
//   redis.Answer(0, "$5\r\nhello\r\n");
#pragma once

#include <charconv>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "test/fakes/tcp_origin.h"

namespace gatehouse {

class FakeRedis {
 public:
  struct Command {
    size_t connection = 0;
    std::vector<std::string> words;

    [[nodiscard]] std::string Text() const {
      std::string text;
      for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
      return text;
    }
  };

  FakeRedis() { origin_.set_auto_answer(false); }

  void Step() {
    origin_.Step();
    parsed_.resize(origin_.connections());
    for (size_t i = 0; i < origin_.connections(); ++i) {
      Command command{i, {}};
      while (Parse(origin_.connection(i).received(), &parsed_[i], &command.words)) {
        OnCommand(command);
        command.words.clear();
      }
    }
  }

  // What is said at the login; by the first word. Empty: nothing.
  std::function<std::string(const Command&)> on_login = [](const Command&) { return "+OK\r\n"; };
  // Other commands: answered at once with this. Null: the test does.
  std::function<std::string(const Command&)> on_command;

  // All that were not part of a login.
  [[nodiscard]] const std::vector<Command>& commands() const { return commands_; }
  void Send(size_t connection, std::string_view bytes) {
    origin_.connection(connection).Send(bytes);
  }
  // To the connection of the command with that index.
  void Answer(size_t command, std::string_view bytes) {
    Send(commands_[command].connection, bytes);
  }

  [[nodiscard]] uint16_t port() const { return origin_.port(); }
  [[nodiscard]] TcpOrigin& tcp() { return origin_; }

 private:
  // One whole command from `*at` on, which then stands behind it.
  static bool Parse(const std::string& bytes, size_t* at, std::vector<std::string>* words) {
    size_t cursor = *at;
    size_t count = 0;
    if (!Number(bytes, &cursor, '*', &count)) return false;
    for (size_t i = 0; i < count; ++i) {
      size_t size = 0;
      if (!Number(bytes, &cursor, '$', &size) || bytes.size() < cursor + size + 2) {
        words->clear();
        return false;
      }
      words->push_back(bytes.substr(cursor, size));
      cursor += size + 2;
    }
    *at = cursor;
    return true;
  }
  static bool Number(const std::string& bytes, size_t* at, char type, size_t* out) {
    const size_t end = bytes.find("\r\n", *at);
    if (end == std::string::npos || bytes[*at] != type) return false;
    std::from_chars(bytes.data() + *at + 1, bytes.data() + end, *out);
    *at = end + 2;
    return true;
  }
  void OnCommand(const Command& command) {
    const std::string& name = command.words[0];
    if (name == "AUTH" || name == "SELECT" || name == "CLIENT" || name == "ROLE" ||
        name == "PING") {
      std::string answer = on_login(command);
      if (answer == "+OK\r\n" && name == "ROLE") answer = "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n";
      Send(command.connection, answer);
      return;
    }
    commands_.push_back(command);
    if (on_command) Send(command.connection, on_command(command));
  }

  TcpOrigin origin_;
  std::vector<size_t> parsed_;
  std::vector<Command> commands_;
};

}  // namespace gatehouse
