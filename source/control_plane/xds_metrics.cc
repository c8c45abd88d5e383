#include "source/control_plane/xds_metrics.h"

#include <algorithm>
#include <iterator>

#include "fmt/format.h"

namespace gatehouse::control {

namespace {

constexpr std::array<std::string_view, kStreamEnds> kEnds = {
    "gateway",     "shutdown",   "denied",        "too_many_streams",
    "bad_request", "no_request", "does_not_read",
};

void Head(std::string& out, std::string_view name, std::string_view kind, std::string_view help) {
  fmt::format_to(std::back_inserter(out), "# HELP {0} {2}\n# TYPE {0} {1}\n", name, kind, help);
}

void One(std::string& out, std::string_view name, std::string_view kind, std::string_view help,
         uint64_t value) {
  Head(out, name, kind, help);
  fmt::format_to(std::back_inserter(out), "{} {}\n", name, value);
}

void ByType(std::string& out, std::string_view name, std::string_view help,
            const std::array<Counter, kResourceTypes>& counters) {
  Head(out, name, "counter", help);
  for (size_t i = 0; i < kResourceTypes; ++i) {
    fmt::format_to(std::back_inserter(out), "{}{{type=\"{}\"}} {}\n", name,
                   TypeName(static_cast<ResourceType>(i)), counters[i].value());
  }
}

}  // namespace

std::string_view NameOf(StreamEnd end) { return kEnds[static_cast<size_t>(end)]; }

void LatencyHistogram::Observe(std::chrono::steady_clock::duration time) {
  const double seconds = std::chrono::duration<double>(time).count();
  const auto bound = std::lower_bound(kBounds.begin(), kBounds.end(), seconds);
  buckets_[static_cast<size_t>(bound - kBounds.begin())].Add();
  const auto nanoseconds = std::chrono::duration_cast<std::chrono::nanoseconds>(time).count();
  nanoseconds_.Add(static_cast<uint64_t>(std::max<int64_t>(nanoseconds, 0)));
}

void LatencyHistogram::Render(std::string_view name, std::string& out) const {
  uint64_t count = 0;
  for (size_t i = 0; i < buckets_.size(); ++i) {
    count += buckets_[i].value();
    const std::string bound = i < kBounds.size() ? fmt::format("{}", kBounds[i]) : "+Inf";
    fmt::format_to(std::back_inserter(out), "{}_bucket{{le=\"{}\"}} {}\n", name, bound, count);
  }
  fmt::format_to(std::back_inserter(out), "{0}_sum {1:.9f}\n{0}_count {2}\n", name,
                 static_cast<double>(nanoseconds_.value()) / 1e9, count);
}

std::string XdsMetrics::Render(const Gauges& gauges) const {
  std::string out;
  One(out, "gatehouse_control_revision", "gauge", "The newest revision that gateways are given.",
      gauges.revision);
  One(out, "gatehouse_control_publishes_total", "counter", "Revisions that were published.",
      publishes.value());
  One(out, "gatehouse_control_gateways_connected", "gauge", "Gateways that are being served.",
      gauges.fleet.connected);
  One(out, "gatehouse_control_gateways_rejecting", "gauge",
      "Connected gateways that have refused a resource.", gauges.fleet.rejecting);
  One(out, "gatehouse_control_resources_rejected", "gauge",
      "Resources that connected gateways have refused, each counted for each gateway.",
      gauges.fleet.rejections);
  One(out, "gatehouse_control_oldest_accepted_revision", "gauge",
      "The oldest revision that a connected gateway runs; 0: none yet.",
      gauges.fleet.oldest_accepted);
  One(out, "gatehouse_control_streams_open", "gauge", "Discovery streams, admitted or not.",
      gauges.open_streams);
  Head(out, "gatehouse_control_streams_total", "counter", "Discovery streams that were opened.");
  fmt::format_to(std::back_inserter(out),
                 "gatehouse_control_streams_total{{protocol=\"delta\"}} {}\n"
                 "gatehouse_control_streams_total{{protocol=\"state-of-the-world\"}} {}\n",
                 streams[0].value(), streams[1].value());
  Head(out, "gatehouse_control_streams_ended_total", "counter", "Streams that ended, and why.");
  for (size_t i = 0; i < kStreamEnds; ++i) {
    fmt::format_to(std::back_inserter(out),
                   "gatehouse_control_streams_ended_total{{reason=\"{}\"}} {}\n", kEnds[i],
                   ends[i].value());
  }
  ByType(out, "gatehouse_control_requests_total", "Requests of gateways.", requests);
  ByType(out, "gatehouse_control_responses_total", "Responses that were sent.", responses);
  ByType(out, "gatehouse_control_response_bytes_total", "Their bytes.", response_bytes);
  ByType(out, "gatehouse_control_acks_total", "Responses that gateways accepted.", acks);
  ByType(out, "gatehouse_control_nacks_total", "Responses that gateways refused, or a part of.",
         nacks);
  ByType(out, "gatehouse_control_rejections_total", "Resources that gateways refused.", rejected);
  One(out, "gatehouse_control_stale_answers_total", "counter",
      "Answers to responses that do not wait for one.", stale_answers.value());
  One(out, "gatehouse_control_unknown_types_total", "counter", "Requests for types not ours.",
      unknown_types.value());
  Head(out, "gatehouse_control_push_to_ack_seconds", "histogram",
       "From sending a response to its answer.");
  push_to_ack.Render("gatehouse_control_push_to_ack_seconds", out);
  Head(out, "gatehouse_control_publish_to_accepted_seconds", "histogram",
       "From publishing a revision to its acceptance by a gateway that was connected.");
  publish_to_accepted.Render("gatehouse_control_publish_to_accepted_seconds", out);
  One(out, "gatehouse_control_cache_differences", "gauge",
      "Differences between states that are kept for other gateways.", gauges.cache.differences);
  One(out, "gatehouse_control_cache_bytes", "gauge", "Bytes of their responses.",
      gauges.cache.bytes);
  One(out, "gatehouse_control_cache_hits_total", "counter", "Differences that were there.",
      gauges.cache.hits);
  One(out, "gatehouse_control_cache_misses_total", "counter", "Differences that were computed.",
      gauges.cache.misses);
  return out;
}

}  // namespace gatehouse::control
