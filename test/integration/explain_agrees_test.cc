// What Explain() says is what an exchange does: random tables, random requests (with paths, hosts
// and headers that are refused, redirected or brought into another form), each explained and then
// sent through a whole worker.
#include <array>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "gtest/gtest.h"

#include "fmt/format.h"
#include "source/base/random.h"
#include "source/route/route_table_builder.h"
#include "source/server/explain.h"
#include "test/proxy/exchange_bench.h"
#include "test/route/random_tables.h"

namespace gatehouse::server {
namespace {

constexpr int kRequests = 100'000;
constexpr int kRequestsOfATable = 100;

constexpr std::string_view kConfig = R"(
listeners:
- name: edge
  address: "127.0.0.1:0"
  route_tables: [t]
  trusted_proxies: ["192.0.2.0/24"]
  path: { escaped_slashes: unescape_and_redirect }
  access_log: { path: "off" }
route_tables:
- { name: t, domains: ["*"], routes: [ { name: r, match: { path_prefix: / }, respond: { status: 200 } } ] }
)";

// Tables, and a route for each of their actions that says in its answer which it is.
std::shared_ptr<const config::Snapshot> RandomSnapshot(route::Choices& choices,
                                                       const config::Snapshot& base,
                                                       observe::MetricRegistry& metrics) {
  std::vector<route::TableSpec> tables = route::RandomTables(choices);
  const config::Listener& model = *base.FindListener("edge");
  auto listener = std::make_shared<config::Listener>();
  listener->name = model.name;
  listener->h1 = model.h1;
  listener->trusted_proxies = model.trusted_proxies;
  listener->path = model.path;
  listener->metrics = metrics.Acquire<observe::ListenerMetrics>({model.name});
  std::vector<std::shared_ptr<const config::Route>> routes;
  for (route::TableSpec& table : tables) {
    for (route::RouteSpec& spec : table.routes) {
      spec.action = static_cast<uint32_t>(routes.size());
      spec.name = fmt::format("r{}", spec.action);
      auto route = std::make_shared<config::Route>();
      route->action = config::Route::Action::kRespond;
      route->name = spec.name;
      route->table = table.name;
      route->respond.emplace().headers = {{"x-route", fmt::format("{}/{}", table.name, spec.name)}};
      route->metrics = metrics.Acquire<observe::RouteMetrics>({"t", "r"});
      routes.push_back(std::move(route));
    }
  }
  route::RouteTableBuilder builder;
  for (const route::TableSpec& table : tables) builder.Add(table);
  route::RouteTableBuilder::Result result = builder.Build();
  if (result.table == nullptr) return nullptr;
  listener->route_table = std::move(result.table);
  listener->routes = std::move(routes);
  auto snapshot = std::make_shared<config::Snapshot>();
  snapshot->version = base.version + 1;
  snapshot->listeners.push_back(std::move(listener));
  return snapshot;
}

// Something that clients write and gateways read in another way, or refuse.
void Disturb(Random& random, ExplainRequest& request, std::string& path, std::string& host) {
  static constexpr std::array<std::string_view, 16> kPieces = {
      "/.",  "/..", "//",  "/%2e%2e", "/%2E", "%61", "%2f",      "%5c",
      "%zz", "%00", "/a;", "%7Eb",    "\\",   "/*",  "/%2e%2e/", "\x80"};
  static constexpr std::array<std::string_view, 8> kHeaders = {"Connection: x-plan",
                                                               "Connection: authorization",
                                                               "X-Forwarded-For: 203.0.113.9",
                                                               "X-Forwarded-Proto: https",
                                                               "X-User-Id: root",
                                                               "X_Plan: gold",
                                                               "Bad Name: x",
                                                               "Content-Length: 7x"};
  if (random.Below(3) == 0) {
    const size_t at = random.Below(static_cast<uint32_t>(path.size() + 1));
    path.insert(at, kPieces[random.Below(kPieces.size())]);
    if (!path.starts_with('/')) path.insert(0, "/");
  }
  if (random.Below(6) == 0) host += random.Below(2) == 0 ? ":8080" : ".";
  if (random.Below(12) == 0) {
    for (char& c : host) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
  }
  if (random.Below(40) == 0) host += "!";
  if (random.Below(4) == 0) {
    const std::string_view header = kHeaders[random.Below(kHeaders.size())];
    // A command line can not say this: it is no header.
    if (!header.starts_with("Bad")) request.headers.emplace_back(header);
  }
  if (random.Below(20) == 0) request.method = random.Below(2) == 0 ? "TRACE" : "OPTIONS";
}

ExplainRequest RandomRequest(route::Choices& choices, Random& random, std::string* bytes) {
  route::ReferenceRequest reference = route::RandomRequest(choices);
  ExplainRequest request{.method = reference.method, .client = "192.0.2.1"};
  for (const auto& [name, value] : reference.headers) {
    request.headers.push_back(fmt::format("{}: {}", name, value));
  }
  std::string path = reference.path;
  if (!reference.query.empty()) path += "?" + reference.query;
  std::string host = reference.host.empty() ? "a" : reference.host;
  Disturb(random, request, path, host);
  request.url = fmt::format("http://{}{}", host, path);
  request.listener = "edge";
  *bytes = fmt::format("{} {} HTTP/1.1\r\nHost: {}\r\n", request.method, path, host);
  for (const std::string& header : request.headers) *bytes += header + "\r\n";
  *bytes += "\r\n";
  return request;
}

std::string HeaderOf(std::string_view response, std::string_view name) {
  const std::string start = fmt::format("\r\n{}: ", name);
  for (size_t at = 0; at < response.size(); ++at) {
    if (response.size() - at < start.size()) break;
    if (strncasecmp(response.data() + at, start.data(), start.size()) != 0) continue;
    at += start.size();
    return std::string(response.substr(at, response.find("\r\n", at) - at));
  }
  return {};
}

// Empty when both say the same.
std::string Difference(const Explained& explained, std::string_view response) {
  if (!response.starts_with("HTTP/1.1 ")) return "no response";
  const std::string status(response.substr(9, 3));
  const std::string route = HeaderOf(response, "x-route");
  if (!explained.answer) {
    const std::string expected = fmt::format("{}/{}", explained.route_table, explained.route);
    return route == expected ? "" : fmt::format("explained: {}", expected);
  }
  const Explained::Answer& answer = *explained.answer;
  if (std::to_string(answer.status) != status || !route.empty()) {
    return fmt::format("explained: {} {}", answer.status, answer.why);
  }
  if (HeaderOf(response, "location") != answer.location) return answer.location;
  const std::string allow = HeaderOf(response, "allow");
  return allow == answer.allow ? "" : fmt::format("explained: allow {}", answer.allow);
}

TEST(ExplainAgreesTest, WithWhatAnExchangeDoes) {
  proxy::ExchangeBench bench{std::string(kConfig)};
  const std::shared_ptr<const config::Snapshot> base = bench.snapshot();
  std::mt19937 seeds(20260815);
  Random random(4711);
  int done = 0;
  int matched = 0;
  int tables = 0;
  while (done < kRequests) {
    std::vector<uint8_t> bytes(32 * 1024);
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(seeds());
    route::Choices choices(bytes);
    const auto snapshot = RandomSnapshot(choices, *base, bench.metrics());
    if (snapshot == nullptr) continue;
    ++tables;
    bench.Adopt(snapshot);
    for (int i = 0; i < kRequestsOfATable; ++i, ++done) {
      std::string raw;
      const ExplainRequest request = RandomRequest(choices, random, &raw);
      const auto explained = Explain(request, {.snapshot = *snapshot, .loop = bench.loop()});
      ASSERT_TRUE(explained.ok()) << explained.status() << "\n" << raw;
      const auto client = bench.Connect();
      client->Push(raw);
      ASSERT_TRUE(bench.RunUntil([&] {
        return client->written().find("\r\n\r\n") != std::string::npos;
      })) << raw;
      const std::string difference = Difference(*explained, client->written());
      ASSERT_EQ(difference, "") << raw << "\n" << client->written() << "\n" << ToText(*explained);
      matched += explained->route.empty() ? 0 : 1;
      client->PushEof();
      bench.Turn();
      bench.Turn();
    }
  }
  fmt::print("{} requests, {} tables, {} matched\n", done, tables, matched);
  EXPECT_GT(matched, kRequests / 10);
  EXPECT_LT(matched, kRequests);
}

}  // namespace
}  // namespace gatehouse::server
