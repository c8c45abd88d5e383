// Writes JSON, one value after the other, with the commas where they belong.
//
// A plain value; any thread.
//
//   JsonText json;
//   json.Begin('{').Key("revision").Number(12).Key("names").Begin('[').String("a").End(']').End('}');
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include "source/base/json.h"

namespace gatehouse::control {

class JsonText {
 public:
  JsonText& Begin(char bracket) {
    Comma();
    text_.push_back(bracket);
    comma_ = false;
    return *this;
  }
  JsonText& End(char bracket) {
    text_.push_back(bracket);
    comma_ = true;
    return *this;
  }
  JsonText& Key(std::string_view key) {
    Comma();
    AppendJsonString(&text_, key);
    text_.push_back(':');
    comma_ = false;
    return *this;
  }
  JsonText& String(std::string_view value) {
    Comma();
    AppendJsonString(&text_, value);
    return *this;
  }
  JsonText& Number(uint64_t value) { return Raw(fmt::format("{}", value)); }
  JsonText& Bool(bool value) { return Raw(value ? "true" : "false"); }
  // JSON already.
  JsonText& Raw(std::string_view json) {
    Comma();
    text_.append(json);
    return *this;
  }
  [[nodiscard]] std::string Take() { return std::move(text_); }

 private:
  void Comma() {
    if (comma_) text_.push_back(',');
    comma_ = true;
  }

  std::string text_;
  bool comma_ = false;
};

}  // namespace gatehouse::control
