// What the tests of route/ share: tables in few words, look-ups by readable requests.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

#include "source/base/arena.h"
#include "source/base/status.h"
#include "source/http/header_map.h"
#include "source/http/message.h"
#include "source/route/explain.h"
#include "source/route/route_table.h"
#include "source/route/route_table_builder.h"

namespace gatehouse::route {

inline std::vector<std::string> ErrorsOf(const std::vector<TableSpec>& tables) {
  RouteTableBuilder builder;
  for (const TableSpec& table : tables) builder.Add(table);
  std::vector<std::string> errors;
  for (const absl::Status& error : builder.Build().errors) errors.push_back(MessageOf(error));
  return errors;
}

inline std::vector<std::string> WarningsOf(const std::vector<TableSpec>& tables) {
  RouteTableBuilder builder;
  for (const TableSpec& table : tables) builder.Add(table);
  return builder.Build().warnings;
}

inline std::unique_ptr<const RouteTable> BuildTable(const std::vector<TableSpec>& tables) {
  RouteTableBuilder builder;
  for (const TableSpec& table : tables) builder.Add(table);
  RouteTableBuilder::Result result = builder.Build();
  for (const absl::Status& error : result.errors) ADD_FAILURE() << MessageOf(error);
  return std::move(result.table);
}

// A request and the arena of its headers.
class TestRequest {
 public:
  TestRequest(std::string method, std::string host, std::string target)
      : method_(std::move(method)), host_(std::move(host)), headers_(arena_) {
    const size_t mark = target.find('?');
    path_ = target.substr(0, mark);
    if (mark != std::string::npos) query_ = target.substr(mark + 1);
  }
  TestRequest& Header(std::string_view name, std::string_view value) {
    EXPECT_TRUE(headers_.Add(name, value));
    return *this;
  }
  [[nodiscard]] RequestView view() const {
    return {http::FindMethod(method_), method_, host_, path_, query_, &headers_};
  }

 private:
  std::string method_, host_, path_, query_;
  Arena arena_;
  http::HeaderMap headers_;
};

// The name of the route, "405 GET, PUT" or "404".
inline std::string Route(const RouteTable& table, const TestRequest& request) {
  const Match match = table.Find(request.view());
  if (match) return std::string(table.RouteName(match.route));
  if (!match.MethodNotAllowed()) return "404";
  Arena arena;
  return "405 " + std::string(table.Allow(match.allowed_methods, arena));
}
inline std::string Get(const RouteTable& table, std::string target) {
  return Route(table, TestRequest("GET", "shop.example", std::move(target)));
}

// A table for every host.
inline TableSpec Everywhere(std::vector<RouteSpec> routes) {
  return {
      .name = "main", .where = "route_tables[0]", .domains = {"*"}, .routes = std::move(routes)};
}

}  // namespace gatehouse::route
