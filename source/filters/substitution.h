// Substitution: a text with variables such as $(client_ip), compiled once, evaluated per request.
//
// Built on the main thread, const afterwards, shared by workers. docs/substitutions.md lists the
// variables; a variable that has no value becomes empty, "$$" is a dollar.
//
//   auto text = Substitution::Compile("$(route)/$(request.header.x-tenant)",
//   Substitution::kRequest); std::string_view value = text->Evaluate(context);      // in the
//   exchange's arena
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "source/http/names.h"

namespace gatehouse::filters {

class FilterContext;

class Substitution {
 public:
  // Where the text is used: before there is a response, $(response.header.x) is an error.
  enum Scope : uint8_t { kRequest, kResponse };

  // Errors say which variable is not known and which was probably meant.
  [[nodiscard]] static absl::StatusOr<Substitution> Compile(std::string_view text, Scope scope);

  // No variables: literal() is the text.
  [[nodiscard]] bool is_literal() const { return ops_.empty(); }
  [[nodiscard]] const std::string& literal() const { return tail_; }
  // A view of literal(), or of the arena, or of what the exchange already holds.
  [[nodiscard]] std::string_view Evaluate(FilterContext& context) const;

 private:
  enum class Variable : uint8_t;
  struct Op {
    std::string literal;  // comes before the variable
    Variable variable;
    http::Name name_id = http::Name::kUnknown;
    std::string name;  // of a header, parameter, cookie, capture or note
  };
  struct Known;

  [[nodiscard]] static absl::StatusOr<Op> CompileVariable(std::string_view text, Scope scope);
  [[nodiscard]] static std::string_view Value(const Op& op, FilterContext& context);

  std::vector<Op> ops_;
  std::string tail_;
};

}  // namespace gatehouse::filters
