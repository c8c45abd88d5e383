// What a route does with a request: forward, split, redirect, respond. Inside config/ only; main
// thread.
#pragma once

#include "api/gatehouse/v1/route.pb.h"
#include "source/config/build_record.h"
#include "source/config/build_scope.h"
#include "source/config/field.h"
#include "source/config/snapshot.h"
#include "source/route/route_spec.h"

namespace gatehouse::config {

[[nodiscard]] route::PathMatch PathMatchOf(const v1::Match& match);

// Fills in the action's part of `route`. Nothing to do for delegate.
void BuildAction(const v1::Route& message, BuildScope& scope, const Field& field, Route* route);

// The content of Respond.file.
inline constexpr size_t kMaxRespondFile = size_t{16} << 20;
inline constexpr std::string_view kRespondFile = "the response's file";

}  // namespace gatehouse::config
