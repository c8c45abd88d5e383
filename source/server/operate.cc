// What the admin address shows. See server.h.
#include <dirent.h>
#include <unistd.h>

#include <cstdio>
#include <utility>

#include <fmt/format.h>

#include "source/base/json.h"
#include "source/config/dump.h"
#include "source/net/listener.h"
#include "source/observe/scrape.h"
#include "source/server/explain_page.h"
#include "source/server/server.h"

namespace gatehouse::server {
namespace {

constexpr std::string_view kJson = "application/json";
constexpr std::string_view kUnixPrefix = "unix:";

int64_t CountOpenFiles() {
  DIR* folder = opendir("/proc/self/fd");
  if (folder == nullptr) return 0;
  int64_t count = 0;
  while (readdir(folder) != nullptr) ++count;
  closedir(folder);
  return count - 3;  // ".", ".." and the folder itself
}

int64_t ResidentBytes() {
  std::FILE* file = std::fopen("/proc/self/statm", "re");
  if (file == nullptr) return 0;
  long all = 0;
  long resident = 0;
  const int got = std::fscanf(file, "%ld %ld", &all, &resident);
  std::fclose(file);
  return got == 2 ? int64_t{resident} * sysconf(_SC_PAGESIZE) : 0;
}

}  // namespace

absl::Status Server::OpenAdmin() {
  if (settings_.admin_address == "off") return absl::OkStatus();
  int admin = -1;
  if (takeover_ != nullptr) {
    // With another address in its config, the process before keeps its own to its end.
    for (int fd : takeover_->Take("admin")) {
      if (admin < 0 && IsAdminSocket(fd, settings_.admin_address)) {
        admin = fd;
      } else {
        close(fd);
      }
    }
  }
  if (admin < 0) {
    const absl::StatusOr<int> opened = OpenAdminSocket(settings_.admin_address);
    if (!opened.ok()) return opened.status();
    admin = *opened;
  }
  admin_ = std::make_unique<Admin>(
      loop_, admin, [this](http::Method method, std::string_view path, std::string_view query) {
        return OnAdmin(method, path, query);
      });
  return absl::OkStatus();
}

std::string Server::AdminAddress() const {
  if (admin_ == nullptr) return "off";
  if (settings_.admin_address.starts_with(kUnixPrefix)) return settings_.admin_address;
  return net::LocalAddress(admin_->fd()).ToString();
}

AdminReply Server::OnAdmin(http::Method method, std::string_view path, std::string_view query) {
  const bool reads = method == http::Method::kGet || method == http::Method::kHead;
  if (path == "/drain") {
    if (method != http::Method::kPost) {
      return {.status = 405, .body = "Draining changes state: use POST.\n", .allow = "POST"};
    }
    StartDrain("POST /drain", /*exit_when_done=*/false, {});
    return {.body = "draining\n"};
  }
  if (!reads) return {.status = 405, .body = "Use GET.\n", .allow = "GET, HEAD"};
  if (path == "/live") return {.body = "live\n"};
  if (path == "/ready") {
    if (state_ == State::kServing && !not_ready_) return {.body = "ready\n"};
    if (state_ != State::kStarting) return {.status = 503, .body = "draining\n"};
    return {.status = 503,
            .body = pushed_ == nullptr
                        ? "starting\n"
                        : fmt::format("starting: waiting for {}\n", pushed_->WaitingFor())};
  }
  if (path == "/metrics") {
    UpdateServerMetrics();
    return {.content_type = std::string(observe::kPrometheusContentType),
            .body = observe::RenderPrometheus(metrics_)};
  }
  if (path == "/config") {
    if (current_ == nullptr) return {.status = 503, .body = "no config is served yet\n"};
    if (query == "format=json") {
      return {.content_type = std::string(kJson), .body = config::DumpJson(*current_, settings_)};
    }
    return {.content_type = "application/yaml",
            .body = fmt::format("# version {}, served for {} s, from {}\n{}", version_,
                                (loop_.Now() - config_time_).count() / 1'000'000,
                                pushed_ != nullptr ? pushed_->Source() : options_.config_path,
                                config::DumpYaml(*current_, settings_))};
  }
  if (path == "/xds") {
    if (pushed_ == nullptr) return {.status = 404, .body = "there is no control_plane here\n"};
    return {.content_type = std::string(kJson), .body = pushed_->Json(*applier_)};
  }
  if (path == "/explain") return OnExplain(query);
  if (path == "/clusters") {
    return {.content_type = std::string(kJson), .body = ClustersJson()};
  }
  const std::string pages =
      "/ready     200 when requests are served, 503 while starting or draining\n"
      "/live      200 while the process runs\n"
      "/metrics   Prometheus text\n"
      "/config    what is served, without secrets (?format=json)\n"
      "/clusters  origins, their endpoints and counts\n"
      "/explain   what a request would meet: "
      "?method=GET&url=http://HOST/PATH&header=name:%20value\n"
      "/xds       the control plane: what it has pushed, what was refused and why\n"
      "POST /drain  fail readiness, close connections after their responses\n";
  return {.status = static_cast<uint16_t>(path == "/" ? 200 : 404), .body = pages};
}

AdminReply Server::OnExplain(std::string_view query) {
  if (current_ == nullptr) return {.status = 503, .body = "no config is served yet\n"};
  return ExplainPage(
      query,
      {.snapshot = *current_,
       .loop = loop_,
       .endpoints =
           [this](const upstream::Cluster& cluster) {
             return cluster.has_dns() ? dns_->EndpointsOf(cluster.key()) : cluster.endpoints();
           },
       .address =
           [this](const config::Listener& listener) { return ListenerAddress(listener.name); }});
}

std::string Server::ClustersJson() const {
  std::string out = "{\"clusters\":[";
  if (current_ != nullptr) {
    for (size_t i = 0; i < current_->clusters.size(); ++i) {
      const upstream::Cluster& cluster = *current_->clusters[i];
      const observe::ClusterMetrics& ids = cluster.metrics();
      uint64_t requests = 0;
      for (observe::CounterId id : ids.requests) requests += metrics_.Total(id);
      out += fmt::format(
          "{}{{\"name\":{},\"requests\":{},\"active\":{},\"connections\":{},\"idle\":{},"
          "\"pending\":{},\"connect_failures\":{},\"resets\":{},\"timeouts\":{},\"endpoints\":[",
          i == 0 ? "" : ",", QuoteJson(cluster.name()), requests, metrics_.Total(ids.active),
          metrics_.Total(ids.connections), metrics_.Total(ids.idle_connections),
          metrics_.Total(ids.pending), metrics_.Total(ids.connect_failures),
          metrics_.Total(ids.resets), metrics_.Total(ids.timeouts));
      std::shared_ptr<const upstream::EndpointSet> set =
          cluster.has_dns() ? dns_->EndpointsOf(cluster.key()) : cluster.endpoints();
      for (size_t j = 0; set != nullptr && j < set->size(); ++j) {
        const upstream::EndpointSet::Entry& entry = (*set)[j];
        out +=
            fmt::format("{}{{\"address\":{},\"name\":{},\"weight\":{},\"healthy\":{}}}",
                        j == 0 ? "" : ",", QuoteJson(entry.endpoint->address().ToString()),
                        QuoteJson(entry.endpoint->text()), entry.weight, entry.endpoint->healthy());
      }
      out += "]";
      if (cluster.has_dns()) {
        const std::string failure = dns_->FailureOf(cluster.key());
        if (!failure.empty()) out += fmt::format(",\"dns_failure\":{}", QuoteJson(failure));
      }
      out += "}";
    }
  }
  return out + "]}\n";
}

void Server::UpdateServerMetrics() {
  const auto seconds = [](Duration duration) { return duration.count() / 1'000'000; };
  const TimePoint now = loop_.Now();
  const observe::ServerMetrics& ids = *server_metrics_;
  counters_->Set(ids.uptime, seconds(now - started_));
  counters_->Set(ids.open_fds, CountOpenFiles());
  counters_->Set(ids.resident_bytes, ResidentBytes());
  counters_->Set(ids.config_age, current_ == nullptr ? 0 : seconds(now - config_time_));
  counters_->Set(ids.config_valid, last_load_valid_ ? 1 : 0);
  if (pushed_ != nullptr) pushed_->UpdateMetrics(*applier_);
  const observe::LogWriter::Totals logs = log_writer_->totals();
  counters_->Set(ids.log_lines, logs.lines_written);
  counters_->Set(ids.log_lines_dropped, logs.lines_dropped);
  counters_->Set(ids.log_failing, static_cast<int64_t>(logs.failing_outputs));
  if (current_ == nullptr) return;
  for (const auto& listener : current_->listeners) {
    counters_->Set(listener->metrics->certificate_not_after,
                   listener->tls == nullptr ? 0 : listener->tls->not_after());
  }
  for (const auto& cluster : current_->clusters) {
    const auto set = cluster->has_dns() ? dns_->EndpointsOf(cluster->key()) : cluster->endpoints();
    int64_t healthy = 0;
    if (set != nullptr) {
      for (const auto& entry : *set) healthy += entry.endpoint->healthy() ? 1 : 0;
    }
    counters_->Set(cluster->metrics().endpoints,
                   set == nullptr ? 0 : static_cast<int64_t>(set->size()));
    counters_->Set(cluster->metrics().healthy_endpoints, healthy);
  }
}

}  // namespace gatehouse::server
