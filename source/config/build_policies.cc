#include "source/config/build_policies.h"

#include <algorithm>
#include <string_view>

#include "fmt/format.h"
#include "source/base/status.h"
#include "source/config/build_filters.h"
#include "source/config/text_environment.h"
#include "source/filters/rate_limit/limit_policy.h"

namespace gatehouse::config {
namespace {

constexpr size_t kMaxSecretFile = size_t{1} << 20;

// Of a text; DER has some in its first bytes.
bool IsBinary(std::string_view text) {
  return std::ranges::any_of(text, [](char c) {
    return static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\r' && c != '\t';
  });
}

// Editors and `echo` end a file with a line break that is not part of a password.
void DropLineBreak(std::string* text) {
  if (IsBinary(*text)) return;
  if (text->ends_with('\n')) text->pop_back();
  if (text->ends_with('\r')) text->pop_back();
}

std::optional<std::string> NotEmpty(std::string text, const Field& field) {
  if (!text.empty()) return text;
  field.Error("is empty");
  return std::nullopt;
}

std::optional<std::string> ReadSecretFile(const v1::Secret& secret, BuildScope& scope,
                                          const Field& field) {
  const absl::StatusOr<std::string>& content =
      scope.ReadFile(secret.file(), kMaxSecretFile, "the secret's file");
  if (!content.ok()) {
    field.Error(content.status());
    return std::nullopt;
  }
  if (scope.environment.another_machine) return std::nullopt;
  std::string text = *content;
  DropLineBreak(&text);
  return NotEmpty(std::move(text), field);
}

// What another machine will make of it: nothing, if that depends on its variables.
std::optional<std::string> ExpandElsewhere(const std::string& text, const Field& field) {
  bool depends = false;
  absl::StatusOr<std::string> expanded =
      ExpandEnvironment(text, [&](const std::string&) -> std::optional<std::string> {
        depends = true;
        return "-";
      });
  if (expanded.ok() && !depends) return NotEmpty(*std::move(expanded), field);
  field.Error(expanded.status());
  return std::nullopt;
}

std::optional<std::string> ReadVariable(const std::string& name, const BuildScope& scope,
                                        const Field& field) {
  const Environment& variables = scope.environment.variables;
  if (scope.environment.another_machine && !name.empty()) return std::nullopt;
  std::optional<std::string> text;
  if (variables && !scope.environment.another_machine) text = variables(name);
  if (text) return NotEmpty(*std::move(text), field);
  field.Error(fmt::format("the environment variable \"{}\" is not set", name));
  return std::nullopt;
}

}  // namespace

std::optional<std::string> ReadSecret(const v1::Secret& secret, BuildScope& scope,
                                      const Field& field) {
  switch (secret.source_case()) {
    case v1::Secret::kInline:
      if (scope.environment.another_machine) {
        return ExpandElsewhere(secret.inline_(), field.Below("inline"));
      }
      return NotEmpty(secret.inline_(), field.Below("inline"));
    case v1::Secret::kFile:
      return ReadSecretFile(secret, scope, field.Below("file"));
    case v1::Secret::kEnvironment:
      return ReadVariable(secret.environment(), scope, field.Below("environment"));
    case v1::Secret::SOURCE_NOT_SET:
      break;
  }
  field.Error("needs inline, file or environment");
  return std::nullopt;
}

std::string PlaceOf(const v1::Secret& secret) {
  switch (secret.source_case()) {
    case v1::Secret::kFile:
      return secret.file();
    case v1::Secret::kEnvironment:
      return fmt::format("${}", secret.environment());
    default:
      return {};
  }
}

bool CheckRateLimit(const v1::RateLimit& limit, const BuildScope& scope, const Field& field) {
  filters::BuildContext context(scope.offers, "");
  const absl::Status status = filters::CheckRateLimit(limit, context);
  if (status.ok()) return true;
  ReportFilterErrors(context, status, field);
  return false;
}

const v1::RateLimit& StandInRateLimit() {
  static const v1::RateLimit& limit = *[] {
    auto* made = new v1::RateLimit;
    made->set_name("-");
    made->set_max_keys(1);
    // More than any request costs.
    made->mutable_quota()->set_limit(1'000'000'000'000);
    made->mutable_quota()->set_per(v1::Quota::PERIOD_DAY);
    return made;
  }();
  return limit;
}

}  // namespace gatehouse::config
