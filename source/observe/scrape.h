// Scrape: every metric of the registry as Prometheus text (exposition format 0.0.4).
//
// Owner: the admin handler. Thread: main. It can be written in steps, so that a large fleet of
// routes costs bounded memory: what is registered or released between two steps is met or missed,
// never half printed.
//
//   Scrape scrape(registry);
//   std::string out;
//   while (scrape.Append(out, 64 * 1024)) { Send(out); out.clear(); }
//   Send(out);
//   std::string all = RenderPrometheus(registry);
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "source/observe/histogram.h"
#include "source/observe/metric_registry.h"

namespace gatehouse::observe {

inline constexpr std::string_view kPrometheusContentType =
    "text/plain; version=0.0.4; charset=utf-8";

class Scrape {
 public:
  explicit Scrape(const MetricRegistry& registry);

  // Appends whole lines until at least `bytes` are added or all is said. False when all is said.
  [[nodiscard]] bool Append(std::string& out, size_t bytes);

 private:
  void AppendFamily(std::string& out, const MetricGroup& group, size_t limit);
  void AppendInstance(std::string& out, const MetricGroup& group, const MetricInstance& instance);
  void AppendHistogram(std::string& out, const MetricMember& member,
                       const MetricInstance& instance);
  void AppendOwn(std::string& out) const;
  [[nodiscard]] size_t FamilyEnd(const MetricGroup& group) const;
  void NextFamily(const MetricGroup& group);

  const MetricRegistry& registry_;
  // Where the next step goes on.
  size_t group_ = 0;
  size_t member_ = 0;  // first member of the family
  size_t instance_ = 0;
  bool header_ = false;     // the family's HELP and TYPE are written
  bool quantiles_ = false;  // second family of a histogram
  bool done_ = false;
  std::unique_ptr<HistogramTotal> total_;
};

// All at once.
[[nodiscard]] std::string RenderPrometheus(const MetricRegistry& registry);

}  // namespace gatehouse::observe
