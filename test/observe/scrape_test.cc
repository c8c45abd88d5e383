#include "source/observe/scrape.h"

#include <algorithm>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "source/observe/metric_registry.h"
#include "source/observe/standard_metrics.h"

namespace gatehouse::observe {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

struct TinyMetrics {
  static constexpr const char* kGroup = "tiny";
  static constexpr std::array<const char*, 1> kLabels = {"name"};
  CounterId ok;
  CounterId bad;
  GaugeId level;
  HistogramId time;
  template <typename Visitor>
  void Visit(Visitor& visit) {
    visit(ok, "gatehouse_tiny_events_total", "Events\nof \\ kinds.", {"result", "ok"});
    visit(bad, "gatehouse_tiny_events_total", "Events\nof \\ kinds.", {"result", "bad"});
    visit(level, "gatehouse_tiny_level", "Level.");
    visit(time, "gatehouse_tiny_time_seconds", "Time.");
  }
};

size_t Count(std::string_view text, std::string_view part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST(ScrapeTest, WholeText) {
  MetricRegistry registry;
  CounterBlock* one = registry.NewBlock();
  CounterBlock* two = registry.NewBlock();
  const auto metrics = registry.Acquire<TinyMetrics>({"x"});
  one->Add(metrics->ok, 2);
  two->Add(metrics->ok, 3);
  two->Gauge(metrics->level, -4);
  one->Record(metrics->time, 1500);
  two->Record(metrics->time, 2'000'000);
  EXPECT_EQ(RenderPrometheus(registry), R"(# HELP gatehouse_tiny_events_total Events\nof \\ kinds.
# TYPE gatehouse_tiny_events_total counter
gatehouse_tiny_events_total{name="x",result="ok"} 5
gatehouse_tiny_events_total{name="x",result="bad"} 0
# HELP gatehouse_tiny_level Level.
# TYPE gatehouse_tiny_level gauge
gatehouse_tiny_level{name="x"} -4
# HELP gatehouse_tiny_time_seconds Time.
# TYPE gatehouse_tiny_time_seconds histogram
gatehouse_tiny_time_seconds_bucket{name="x",le="0.0005"} 0
gatehouse_tiny_time_seconds_bucket{name="x",le="0.001"} 0
gatehouse_tiny_time_seconds_bucket{name="x",le="0.0025"} 1
gatehouse_tiny_time_seconds_bucket{name="x",le="0.005"} 1
gatehouse_tiny_time_seconds_bucket{name="x",le="0.01"} 1
gatehouse_tiny_time_seconds_bucket{name="x",le="0.025"} 1
gatehouse_tiny_time_seconds_bucket{name="x",le="0.05"} 1
gatehouse_tiny_time_seconds_bucket{name="x",le="0.1"} 1
gatehouse_tiny_time_seconds_bucket{name="x",le="0.25"} 1
gatehouse_tiny_time_seconds_bucket{name="x",le="0.5"} 1
gatehouse_tiny_time_seconds_bucket{name="x",le="1"} 1
gatehouse_tiny_time_seconds_bucket{name="x",le="2.5"} 2
gatehouse_tiny_time_seconds_bucket{name="x",le="5"} 2
gatehouse_tiny_time_seconds_bucket{name="x",le="10"} 2
gatehouse_tiny_time_seconds_bucket{name="x",le="60"} 2
gatehouse_tiny_time_seconds_bucket{name="x",le="+Inf"} 2
gatehouse_tiny_time_seconds_sum{name="x"} 2.0015
gatehouse_tiny_time_seconds_count{name="x"} 2
# HELP gatehouse_tiny_time_quantile_seconds Time. Since start, within 1%.
# TYPE gatehouse_tiny_time_quantile_seconds gauge
gatehouse_tiny_time_quantile_seconds{name="x",quantile="0.5"} 0.001495
gatehouse_tiny_time_quantile_seconds{name="x",quantile="0.95"} 2.007039
gatehouse_tiny_time_quantile_seconds{name="x",quantile="0.99"} 2.007039
# HELP gatehouse_metrics_label_sets Label sets that have metrics of their own, by group.
# TYPE gatehouse_metrics_label_sets gauge
gatehouse_metrics_label_sets{group="tiny"} 1
# HELP gatehouse_metrics_label_overflows_total Label sets that were counted under "_other" for want of room.
# TYPE gatehouse_metrics_label_overflows_total counter
gatehouse_metrics_label_overflows_total{group="tiny"} 0
)");
}

TEST(ScrapeTest, EscapesLabels) {
  MetricRegistry registry;
  const auto metrics = registry.Acquire<TinyMetrics>({"a\"b\\c\nd\xff\xc3\xa9"});
  EXPECT_THAT(RenderPrometheus(registry),
              HasSubstr("{name=\"a\\\"b\\\\c\\nd\xef\xbf\xbd\xc3\xa9\"} 0"));
}

TEST(ScrapeTest, AHistogramThatNeverRecordedHasNoLines) {
  MetricRegistry registry;
  const auto metrics = registry.Acquire<TinyMetrics>({"x"});
  EXPECT_THAT(RenderPrometheus(registry), Not(HasSubstr("_bucket")));
}

TEST(ScrapeTest, ReleasedLabelsVanish) {
  MetricRegistry registry;
  auto a = registry.Acquire<TinyMetrics>({"gone"});
  const auto b = registry.Acquire<TinyMetrics>({"here"});
  a = {};
  const std::string text = RenderPrometheus(registry);
  EXPECT_THAT(text, Not(HasSubstr("gone")));
  EXPECT_THAT(text, HasSubstr("here"));
}

TEST(ScrapeTest, OverflowHasItsOwnInstance) {
  MetricRegistry registry({.max_label_sets = 1});
  CounterBlock* block = registry.NewBlock();
  const auto a = registry.Acquire<TinyMetrics>({"a"});
  EXPECT_THAT(RenderPrometheus(registry), Not(HasSubstr("name=\"_other\"")));
  const auto b = registry.Acquire<TinyMetrics>({"b"});
  const auto c = registry.Acquire<TinyMetrics>({"c"});
  block->Add(b->ok);
  block->Add(c->ok);
  const std::string text = RenderPrometheus(registry);
  EXPECT_THAT(text, HasSubstr("gatehouse_tiny_events_total{name=\"_other\",result=\"ok\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("gatehouse_metrics_label_overflows_total{group=\"tiny\"} 2\n"));
}

TEST(ScrapeTest, InStepsItIsTheSame) {
  MetricRegistry registry;
  CounterBlock* block = registry.NewBlock();
  std::vector<MetricHandle<TinyMetrics>> handles;
  for (int i = 0; i < 30; ++i) {
    handles.push_back(registry.Acquire<TinyMetrics>({std::to_string(i)}));
    block->Record(handles.back()->time, static_cast<uint64_t>(i) * 1000);
  }
  const std::string whole = RenderPrometheus(registry);
  for (const size_t step : {size_t{1}, size_t{100}, size_t{5000}}) {
    Scrape scrape(registry);
    std::string text;
    std::string part;
    bool more = true;
    while (more) {
      part.clear();
      more = scrape.Append(part, step);
      EXPECT_LT(part.size(), step + 4096);
      text += part;
    }
    EXPECT_EQ(text, whole) << step;
  }
}

TEST(ScrapeTest, MayChangeBetweenSteps) {
  MetricRegistry registry;
  std::vector<MetricHandle<TinyMetrics>> handles;
  for (int i = 0; i < 10; ++i) {
    handles.push_back(registry.Acquire<TinyMetrics>({std::to_string(i)}));
  }
  Scrape scrape(registry);
  std::string text;
  for (int i = 0; scrape.Append(text, 1); ++i) {
    if (i % 2 == 0 && !handles.empty()) handles.pop_back();
    if (i % 3 == 0) handles.push_back(registry.Acquire<TinyMetrics>({"new" + std::to_string(i)}));
    if (i == 5) handles.push_back(registry.Acquire<TinyMetrics>({"n"}));
    ASSERT_LT(i, 1000);
  }
  EXPECT_EQ(Count(text, "# TYPE gatehouse_tiny_level gauge\n"), 1u);
}

// What the exposition format asks of the whole text.
TEST(ScrapeTest, StandardMetricsAreWellFormed) {
  MetricRegistry registry;
  CounterBlock* block = registry.NewBlock();
  const auto route = registry.Acquire<RouteMetrics>({"main", "users"});
  const auto cluster = registry.Acquire<ClusterMetrics>({"users"});
  const auto listener = registry.Acquire<ListenerMetrics>({"edge"});
  const auto server = registry.Acquire<ServerMetrics>({});
  block->Record(route->latency, 1000);
  block->Record(cluster->connect_latency, 1000);
  block->Add(listener->ErrorsOf(ProtocolErrorKind::kUnsupported), 7);
  block->Set(server->workers, 4);
  block->Set(server->log_lines_dropped, uint64_t{9});
  const std::string text = RenderPrometheus(registry);
  EXPECT_THAT(text, HasSubstr("gatehouse_listener_protocol_errors_total{listener=\"edge\","
                              "kind=\"unsupported\"} 7\n"));
  EXPECT_THAT(text, HasSubstr("\ngatehouse_server_workers 4\n"));
  EXPECT_THAT(text, HasSubstr("\ngatehouse_log_dropped_lines_total 9\n"));
  EXPECT_THAT(text, HasSubstr("gatehouse_route_requests_total{table=\"main\",route=\"users\","
                              "class=\"5xx\"} 0\n"));
  std::map<std::string, std::string> types;
  std::string family;
  size_t at = 0;
  while (at < text.size()) {
    const size_t end = text.find('\n', at);
    ASSERT_NE(end, std::string::npos);
    const std::string line = text.substr(at, end - at);
    at = end + 1;
    if (line.starts_with("# HELP ")) continue;
    if (line.starts_with("# TYPE ")) {
      const size_t space = line.find(' ', 7);
      family = line.substr(7, space - 7);
      EXPECT_TRUE(types.emplace(family, line.substr(space + 1)).second) << family;
      EXPECT_EQ(family.ends_with("_total"), types[family] == "counter") << family;
      continue;
    }
    EXPECT_TRUE(line.starts_with(family)) << line;
  }
  EXPECT_EQ(types["gatehouse_route_latency_seconds"], "histogram");
}

}  // namespace
}  // namespace gatehouse::observe
