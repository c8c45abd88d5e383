// Secrets and rate limits: what filters refer to by name. Inside config/ only; main thread.
#pragma once

#include <optional>
#include <string>

#include "source/config/build_record.h"
#include "source/config/build_scope.h"
#include "source/config/field.h"

namespace gatehouse::config {

// The secret's text. Errors name its source, never show what is in it.
[[nodiscard]] std::optional<std::string> ReadSecret(const v1::Secret& secret, BuildScope& scope,
                                                    const Field& field);

// Where it comes from, in words: "/etc/site.pem", "$SITE_KEY"; empty when it is inline.
[[nodiscard]] std::string PlaceOf(const v1::Secret& secret);

// False with errors.
bool CheckRateLimit(const v1::RateLimit& limit, const BuildScope& scope, const Field& field);

// What stands in for one with errors, so that who refers to it has none of his own.
[[nodiscard]] const v1::RateLimit& StandInRateLimit();

}  // namespace gatehouse::config
