// fleet_load: a simulated fleet. N gateways, each on a connection of its own, subscribe to
// everything, accept everything, and tell how long a revision took to reach them all. Not run by
// tests; benchmarks use it.
//
//   fleet_load --address 127.0.0.1:18000 --gateways 1000 --server-pid 4711
//     Connects; prints one line of JSON when all gateways have all six types, then one for each
//     further revision (as the server numbers them), when the last gateway has it.
//     "since_marker_ms" is counted from a line on standard input: write one when the change is
//     made. Ends with standard input.
//   fleet_load --serve --clusters 2000 --tables 100 --routes 100 --gateways 1000 --revisions 20
//     Its own server and resources in a child process: changes one cluster in each revision.
//
// Options: --world (state of the world), --group NAME.
#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "api/envoy/service/discovery/v3/discovery.grpc.pb.h"
#include "fmt/format.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/grpcpp.h"
#include "source/control_plane/fleet.h"
#include "source/control_plane/resource_set.h"
#include "source/control_plane/xds_server.h"

namespace gatehouse::control {
namespace {

using Clock = std::chrono::steady_clock;
using Service = envoy::service::discovery::v3::AggregatedDiscoveryService;

struct Options {
  std::string address = "127.0.0.1:18000";
  std::string group;
  int gateways = 1000;
  int server_pid = 0;
  bool world = false;
  bool serve = false;
  int clusters = 2000;
  int tables = 100;
  int routes = 100;  // of a table
  int revisions = 10;
};

double Milliseconds(Clock::duration time) {
  return std::chrono::duration<double, std::milli>(time).count();
}

// Resident memory in MiB and CPU seconds so far, of any process.
std::pair<double, double> Use(int pid) {
  double rss = 0;
  std::ifstream status(fmt::format("/proc/{}/status", pid));
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmRSS:")) rss = std::strtod(line.c_str() + 6, nullptr) / 1024;
  }
  std::string stat;
  std::getline(std::ifstream(fmt::format("/proc/{}/stat", pid)), stat);
  // The name, in parentheses, may have spaces; the 12th and 13th fields behind it are the times.
  size_t at = stat.rfind(')');
  for (int field = 0; field < 12 && at != std::string::npos; ++field) at = stat.find(' ', at + 1);
  if (at == std::string::npos) return {rss, 0};
  char* next = nullptr;
  const double user = std::strtod(stat.c_str() + at, &next);
  const double system = std::strtod(next, nullptr);
  return {rss, (user + system) / static_cast<double>(sysconf(_SC_CLK_TCK))};
}

// Who has got how far.
class Progress {
 public:
  explicit Progress(const Options& options) : options_(options), started_(Clock::now()) {}

  void Mark() {
    const std::lock_guard<std::mutex> lock(mutex_);
    marked_ = Clock::now();
  }
  // A gateway has all types, or a newer revision.
  void Reached(uint64_t revision, bool first) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (first) {
      if (++complete_ == options_.gateways) Print("all connected", revision, 0);
      return;
    }
    auto& reached = reached_[revision];
    if (reached.empty()) reached.reserve(static_cast<size_t>(options_.gateways));
    reached.push_back(Clock::now());
    if (static_cast<int>(reached.size()) == options_.gateways) {
      const auto middle = reached[reached.size() / 2];
      Print("all have revision", revision, Milliseconds(middle - marked_));
    }
  }
  void Bytes(size_t bytes) { bytes_ += bytes; }
  void Ended(const std::string& why) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (++ended_ == 1) std::cerr << "a stream has ended: " << why << "\n";
  }

 private:
  void Print(const char* what, uint64_t revision, double median) {
    const auto now = Clock::now();
    const auto [rss, cpu] = Use(options_.server_pid);
    std::cout << fmt::format(
                     "{{\"event\": \"{}\", \"revision\": {}, \"gateways\": {}, "
                     "\"since_start_ms\": {:.1f}, \"since_marker_ms\": {:.1f}, "
                     "\"median_since_marker_ms\": {:.1f}, \"received_mib\": {:.1f}, "
                     "\"server_rss_mib\": {:.1f}, \"server_cpu_s\": {:.2f}}}",
                     what, revision, options_.gateways, Milliseconds(now - started_),
                     Milliseconds(now - marked_), median, static_cast<double>(bytes_) / (1 << 20),
                     rss, cpu)
              << std::endl;
  }

  const Options& options_;
  const Clock::time_point started_;
  std::mutex mutex_;
  Clock::time_point marked_ = started_;
  int complete_ = 0;
  int ended_ = 0;
  std::map<uint64_t, std::vector<Clock::time_point>> reached_;
  std::atomic<size_t> bytes_{0};
};

// The first field of each wire format that we need, without unpacking the resources: a fleet in one
// process must not be what is measured.
struct Head {
  std::string type_url;
  std::string nonce;
  std::string version;  // delta: the revision
};

Head HeadOf(const grpc::ByteBuffer& buffer) {
  Head head;
  std::vector<grpc::Slice> slices;
  if (!buffer.Dump(&slices).ok()) return head;
  std::string bytes;
  for (const auto& slice : slices) {
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  for (size_t at = 0; at < bytes.size();) {
    const int field = static_cast<unsigned char>(bytes[at++]) >> 3;
    size_t length = 0;
    for (int shift = 0; at < bytes.size(); shift += 7) {
      const auto byte = static_cast<unsigned char>(bytes[at++]);
      length |= static_cast<size_t>(byte & 0x7f) << shift;
      if (byte < 0x80) break;
    }
    if (field == 1) head.version = bytes.substr(at, length);
    if (field == 4) head.type_url = bytes.substr(at, length);
    if (field == 5) head.nonce = bytes.substr(at, length);
    at += length;
  }
  return head;
}

// One gateway, on gRPC's callback threads.
class Gateway : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  Gateway(const Options& options, int number, Progress& progress)
      : options_(options), progress_(progress), number_(number) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetMaxReceiveMessageSize(-1);
    channel_ =
        grpc::CreateCustomChannel(options.address, grpc::InsecureChannelCredentials(), arguments);
    stub_ =
        std::make_unique<grpc::TemplatedGenericStub<grpc::ByteBuffer, grpc::ByteBuffer>>(channel_);
  }
  void Start() {
    context_.set_wait_for_ready(true);
    stub_->PrepareBidiStreamingCall(
        &context_,
        options_.world
            ? "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
            : "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
        {}, this);
    for (size_t i = 0; i < kResourceTypes; ++i) {
      Queue(Request(std::string(TypeUrl(static_cast<ResourceType>(i))), "", "", i == 0));
    }
    StartRead(&response_);
    StartCall();
  }
  void Stop() { context_.TryCancel(); }
  void Wait() {
    while (!done_) std::this_thread::yield();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    progress_.Bytes(response_.Length());
    const Head head = HeadOf(response_);
    response_.Clear();
    Queue(Request(head.type_url, head.nonce, head.version, false));
    // The revision is the first part of our server's nonces.
    const uint64_t revision = std::strtoull(head.nonce.c_str(), nullptr, 10);
    const bool complete = types_ == kResourceTypes;
    if (!complete && std::find(seen_.begin(), seen_.end(), head.type_url) == seen_.end()) {
      seen_.push_back(head.type_url);
      if (++types_ == kResourceTypes) progress_.Reached(revision, true);
    } else if (complete && revision > newest_) {
      progress_.Reached(revision, false);
    }
    newest_ = std::max(newest_, revision);
    StartRead(&response_);
  }
  void OnWriteDone(bool ok) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    writing_ = false;
    waiting_.erase(waiting_.begin());
    if (ok) WriteNext();
  }
  void OnDone(const grpc::Status& status) override {
    if (!status.ok() && status.error_code() != grpc::StatusCode::CANCELLED) {
      progress_.Ended(status.error_message());
    }
    done_ = true;
  }

 private:
  grpc::ByteBuffer Request(const std::string& type, const std::string& nonce,
                           const std::string& version, bool first) const {
    std::string bytes;
    const auto fill = [&](auto request) {
      if (first) {
        request.mutable_node()->set_id(fmt::format("load-{}", number_));
        request.mutable_node()->set_cluster(options_.group);
      }
      request.set_type_url(type);
      request.set_response_nonce(nonce);
      request.SerializeToString(&bytes);
    };
    if (options_.world) {
      envoy::service::discovery::v3::DiscoveryRequest request;
      request.set_version_info(version);
      fill(std::move(request));
    } else {
      envoy::service::discovery::v3::DeltaDiscoveryRequest request;
      if (nonce.empty()) request.add_resource_names_subscribe("*");
      fill(std::move(request));
    }
    const grpc::Slice slice(bytes);
    return {&slice, 1};
  }
  void Queue(grpc::ByteBuffer request) {
    const std::lock_guard<std::mutex> lock(mutex_);
    waiting_.push_back(std::move(request));
    WriteNext();
  }
  void WriteNext() {
    if (writing_ || waiting_.empty()) return;
    writing_ = true;
    StartWrite(&waiting_.front());
  }

  const Options& options_;
  Progress& progress_;
  const int number_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<grpc::TemplatedGenericStub<grpc::ByteBuffer, grpc::ByteBuffer>> stub_;
  grpc::ClientContext context_;
  grpc::ByteBuffer response_;
  std::vector<std::string> seen_;
  size_t types_ = 0;
  uint64_t newest_ = 0;
  std::mutex mutex_;
  bool writing_ = false;
  std::list<grpc::ByteBuffer> waiting_;
  std::atomic<bool> done_{false};
};

void Connect(const Options& options, Progress& progress, std::list<Gateway>& fleet) {
  for (int i = 0; i < options.gateways; ++i) {
    fleet.emplace_back(options, i, progress);
    fleet.back().Start();
  }
}

// As large as real ones are: about 200 bytes a cluster, and a route.
void Add(ResourceSet::All& all, ResourceType type, const std::string& name, size_t size,
         const std::string& version) {
  static const auto kOrigin = std::make_shared<const Origin>(Origin{.file = "load.yaml"});
  all[{"", type, name}] = std::make_shared<const Resource>(Resource{
      .type = type,
      .name = name,
      .message = name + version + std::string(size, 'x'),
      .version = fmt::format("{:0>16}", version),
      .origin = kOrigin,
  });
}

ResourceSet::All Resources(const Options& options) {
  constexpr size_t kBytes = 200;
  ResourceSet::All all;
  for (int i = 0; i < options.clusters; ++i) {
    Add(all, ResourceType::kCluster, fmt::format("cluster-{}", i), kBytes, "1");
  }
  for (int i = 0; i < options.tables; ++i) {
    Add(all, ResourceType::kRouteTable, fmt::format("table-{}", i),
        kBytes * static_cast<size_t>(options.routes), "1");
  }
  Add(all, ResourceType::kListener, "edge", kBytes, "1");
  return all;
}

// The server of --serve, in a process of its own: writes its port, and makes a revision for each
// byte that it reads.
void Serve(const Options& options, int in, int out) {
  Fleet fleet("fleet_load");
  auto server = XdsServer::Start({.address = "127.0.0.1:0"}, fleet);
  if (!server.ok()) std::exit(3);
  ResourceSet::All all = Resources(options);
  auto set = std::make_shared<const ResourceSet>(1, all, nullptr);
  (*server)->Publish(set);
  const int port = (*server)->port();
  if (write(out, &port, sizeof(port)) != sizeof(port)) std::exit(3);
  char byte = 0;
  for (uint64_t revision = 2; read(in, &byte, 1) == 1; ++revision) {
    Add(all, ResourceType::kCluster, "cluster-7", 200, fmt::format("{}", revision));
    set = std::make_shared<const ResourceSet>(revision, all, set);
    (*server)->Publish(set);
  }
  std::cout << (*server)->RenderMetrics();
  (*server)->Stop(std::chrono::seconds(5));
  std::exit(0);
}

int RunWithServer(Options options) {
  int to_server[2];
  int from_server[2];
  if (pipe(to_server) != 0 || pipe(from_server) != 0) return 3;
  const pid_t child = fork();  // before gRPC has threads
  if (child == 0) {
    close(to_server[1]);
    Serve(options, to_server[0], from_server[1]);
  }
  int port = 0;
  if (read(from_server[0], &port, sizeof(port)) != sizeof(port)) return 3;
  options.address = fmt::format("127.0.0.1:{}", port);
  options.server_pid = child;
  Progress progress(options);
  std::list<Gateway> fleet;
  Connect(options, progress, fleet);
  // Time for each to arrive; a benchmark may wait.
  const auto wait = [] { poll(nullptr, 0, 1500); };
  poll(nullptr, 0, 8000);
  for (int i = 0; i < options.revisions; ++i) {
    progress.Mark();
    if (write(to_server[1], "r", 1) != 1) return 3;
    wait();
  }
  for (Gateway& gateway : fleet) gateway.Stop();
  for (Gateway& gateway : fleet) gateway.Wait();
  close(to_server[1]);
  int status = 0;
  waitpid(child, &status, 0);
  return status == 0 ? 0 : 3;
}

int Run(const Options& options) {
  Progress progress(options);
  std::list<Gateway> fleet;
  Connect(options, progress, fleet);
  for (std::string line; std::getline(std::cin, line);) progress.Mark();
  for (Gateway& gateway : fleet) gateway.Stop();
  for (Gateway& gateway : fleet) gateway.Wait();
  return 0;
}

int Main(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag == "--world" || flag == "--serve") {
      (flag == "--world" ? options.world : options.serve) = true;
      continue;
    }
    if (++i == argc) {
      std::cerr << flag << ": unknown, or its value is missing; see the top of fleet_load.cc\n";
      return 2;
    }
    const std::pair<const char*, int*> numbers[] = {
        {"--gateways", &options.gateways}, {"--server-pid", &options.server_pid},
        {"--clusters", &options.clusters}, {"--tables", &options.tables},
        {"--routes", &options.routes},     {"--revisions", &options.revisions}};
    if (flag == "--address") options.address = argv[i];
    if (flag == "--group") options.group = argv[i];
    for (const auto& [name, value] : numbers) {
      if (flag == name) *value = std::atoi(argv[i]);
    }
  }
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  return options.serve ? RunWithServer(options) : Run(options);
}

}  // namespace
}  // namespace gatehouse::control

int main(int argc, char** argv) { return gatehouse::control::Main(argc, argv); }
