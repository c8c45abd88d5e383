#include "source/server/validation_service.h"

#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "api/gatehouse/v1/bootstrap.pb.h"
#include "source/base/status.h"
#include "source/config/build.h"
#include "source/config/messages.h"
#include "source/config/text_environment.h"
#include "source/server/server.h"
#include "source/xds/update.h"

namespace gatehouse::server {
namespace {

constexpr size_t kHeader = 4;  // the length of a message, in front of it

template <typename Message>
using NamedMessages = std::map<std::string, std::shared_ptr<const Message>>;

// A set of resources. Copies share the messages.
struct ResourceSet {
  NamedMessages<v1::Listener> listeners;
  NamedMessages<v1::RouteTable> route_tables;
  NamedMessages<v1::Cluster> clusters;
  NamedMessages<v1::Endpoints> endpoints;
  NamedMessages<v1::RateLimit> rate_limits;
  NamedMessages<v1::Secret> secrets;

  template <typename Visit>
  void At(xds::Type type, Visit&& visit) {
    switch (type) {
      case xds::Type::kSecret:
        return visit(secrets);
      case xds::Type::kRateLimit:
        return visit(rate_limits);
      case xds::Type::kCluster:
        return visit(clusters);
      case xds::Type::kEndpoints:
        return visit(endpoints);
      case xds::Type::kRouteTable:
        return visit(route_tables);
      case xds::Type::kListener:
        return visit(listeners);
    }
  }
};

template <typename Message>
const std::string& NameOf(const Message& message) {
  return message.name();
}
const std::string& NameOf(const v1::Endpoints& message) { return message.cluster(); }

// What is wrong with resources, each there once.
class Findings {
 public:
  explicit Findings(google::protobuf::RepeatedPtrField<v1::Rejection>* out) : out_(out) {}

  void Add(std::string_view type, const std::string& name, const config::ConfigError& error) {
    v1::Rejection*& rejection = known_[{std::string(type), name}];
    if (rejection == nullptr) {
      rejection = out_->Add();
      rejection->set_type(std::string(type));
      rejection->set_name(name);
    }
    v1::ResourceError* item = rejection->add_errors();
    item->set_path(error.path);
    item->set_message(error.message);
    item->set_suggestion(error.suggestion);
  }

 private:
  google::protobuf::RepeatedPtrField<v1::Rejection>* out_;
  std::map<std::pair<std::string, std::string>, v1::Rejection*> known_;
};

void Note(const config::Rejection& found, Findings& errors, Findings& warnings) {
  for (const config::ConfigError& error : found.errors.entries()) {
    const bool is_warning = error.severity == config::ConfigError::Severity::kWarning;
    (is_warning ? warnings : errors).Add(found.type, found.name, error);
  }
}

template <typename Message>
std::vector<config::Resource<Message>> ListOf(const NamedMessages<Message>& set) {
  std::vector<config::Resource<Message>> list;
  list.reserve(set.size());
  for (const auto& [name, message] : set) list.push_back({message, config::SourceMap()});
  return list;
}

// With ${NAME} replaced, as a gateway on this machine does it.
void ExpandSecrets(const config::Environment& variables, config::Resources* resources,
                   Findings& errors) {
  for (config::Resource<v1::Secret>& secret : resources->secrets) {
    if (secret.message->inline_().find("${") == std::string::npos) continue;
    auto expanded = std::make_shared<v1::Secret>(*secret.message);
    absl::StatusOr<std::string> text =
        config::ExpandEnvironment(secret.message->inline_(), variables);
    if (text.ok()) {
      expanded->set_inline_(*std::move(text));
      secret.message = std::move(expanded);
    } else {
      errors.Add("Secret", secret.message->name(),
                 secret.source.Error("inline", MessageOf(text.status())));
    }
  }
}

}  // namespace

// Destroyed from the bottom up: what was built goes before what it was built with.
struct ValidationService::Group {
  observe::MetricRegistry metrics;
  upstream::ClusterSlots cluster_slots;
  filters::StateStore states;
  ResourceSet accepted;
  // Of `accepted`, by a request with the same read_files.
  std::shared_ptr<const config::Snapshot> snapshot;
  bool read_files = false;
};

namespace {

absl::StatusOr<xds::Type> TypeOf(const std::string& name) {
  if (const std::optional<xds::Type> type = xds::TypeOfName(name)) return *type;
  return InvalidArgument(fmt::format("there is no type \"{}\" of resources", name));
}

void Upsert(xds::Type type, const v1::ValidationResource& resource, ResourceSet* set,
            Findings& errors) {
  set->At(type, [&]<typename Message>(NamedMessages<Message>& messages) {
    auto message = std::make_shared<Message>();
    config::ConfigError error;
    if (!message->ParseFromString(resource.message())) {
      error.message = "its bytes are no message of this type";
      return errors.Add(resource.type(), {}, error);
    }
    const std::string name = NameOf(*message);
    if (auto unknown = config::UnknownFieldOf(*message)) {
      error.path = std::move(unknown->path);
      error.message = std::move(unknown->message);
      errors.Add(resource.type(), name, error);
    }
    messages[name] = std::move(message);
  });
}

// What the set of the request is, should it be accepted.
absl::StatusOr<ResourceSet> SetOf(const v1::ValidationRequest& request, const ResourceSet& accepted,
                                  Findings& errors) {
  ResourceSet set;
  if (!request.reset()) set = accepted;
  for (const v1::ValidationRemoval& removal : request.removals()) {
    const absl::StatusOr<xds::Type> type = TypeOf(removal.type());
    if (!type.ok()) return type.status();
    set.At(*type, [&](auto& messages) { messages.erase(removal.name()); });
  }
  for (const v1::ValidationResource& upsert : request.upserts()) {
    const absl::StatusOr<xds::Type> type = TypeOf(upsert.type());
    if (!type.ok()) return type.status();
    Upsert(*type, upsert, &set, errors);
  }
  return set;
}

config::Resources ResourcesOf(const ResourceSet& set) {
  config::Resources resources;
  resources.listeners = ListOf(set.listeners);
  resources.route_tables = ListOf(set.route_tables);
  resources.clusters = ListOf(set.clusters);
  resources.endpoints = ListOf(set.endpoints);
  resources.rate_limits = ListOf(set.rate_limits);
  resources.secrets = ListOf(set.secrets);
  return resources;
}

}  // namespace

ValidationService::ValidationService(const filters::Registry& filters,
                                     config::Environment variables)
    : filters_(filters), variables_(std::move(variables)) {}

ValidationService::~ValidationService() = default;

absl::StatusOr<v1::ValidationReply> ValidationService::Answer(
    const v1::ValidationRequest& request) {
  std::unique_ptr<Group>& slot = groups_[request.group()];
  if (slot == nullptr) slot = std::make_unique<Group>();
  Group& group = *slot;
  v1::ValidationReply reply;
  Findings errors(reply.mutable_rejections());
  Findings warnings(reply.mutable_warnings());
  absl::StatusOr<ResourceSet> set = SetOf(request, group.accepted, errors);
  if (!set.ok()) return set.status();

  config::Resources resources = ResourcesOf(*set);
  if (request.read_files()) ExpandSecrets(variables_, &resources, errors);
  const config::BuildEnvironment environment{.filters = filters_,
                                             .metrics = group.metrics,
                                             .cluster_slots = group.cluster_slots,
                                             .states = group.states,
                                             .variables = variables_,
                                             .another_machine = !request.read_files()};
  const bool continues = group.read_files == request.read_files();
  const config::BuildResult built =
      config::Build(resources, environment, continues ? group.snapshot : nullptr);
  for (const config::Rejection& found : built.rejections) Note(found, errors, warnings);
  for (const config::Rejection& found : built.warnings) Note(found, errors, warnings);
  if (reply.rejections().empty() && built.snapshot != nullptr) {
    group.accepted = *std::move(set);
    group.snapshot = built.snapshot;
    group.read_files = request.read_files();
  }
  return reply;
}

namespace {

int Fail(int code, std::string_view message) {
  fmt::print(stderr, "gatehouse validate --serve: {}\n", message);
  return code;
}

// How many bytes there were before the end, or -1.
ssize_t ReadFully(int fd, char* out, size_t size) {
  size_t done = 0;
  while (done < size) {
    const ssize_t got = read(fd, out + done, size - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return -1;
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  return static_cast<ssize_t>(done);
}

bool WriteFully(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t put = write(fd, bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return false;
    bytes.remove_prefix(static_cast<size_t>(put));
  }
  return true;
}

uint32_t LengthIn(const unsigned char (&header)[kHeader]) {
  return uint32_t{header[0]} << 24 | uint32_t{header[1]} << 16 | uint32_t{header[2]} << 8 |
         uint32_t{header[3]};
}

std::string Frame(const v1::ValidationReply& reply) {
  const auto size = static_cast<uint32_t>(reply.ByteSizeLong());
  std::string frame;
  for (const int shift : {24, 16, 8, 0}) frame.push_back(static_cast<char>(size >> shift));
  reply.AppendToString(&frame);
  return frame;
}

}  // namespace

int ServeValidation(int in, int out, const filters::Registry& filters) {
  ValidationService service(filters);
  while (true) {
    unsigned char header[kHeader];
    ssize_t got = ReadFully(in, reinterpret_cast<char*>(header), kHeader);
    if (got == 0) return kExitOk;
    if (got < 0) return Fail(kExitEnvironment, std::strerror(errno));
    if (static_cast<size_t>(got) < kHeader) return Fail(kExitBadInput, "a request is cut off");
    const size_t size = LengthIn(header);
    if (size > kMaxValidationFrame) {
      return Fail(kExitBadInput, fmt::format("a request of {} bytes is larger than 256MiB", size));
    }
    std::string bytes(size, '\0');
    got = ReadFully(in, bytes.data(), size);
    if (got < 0) return Fail(kExitEnvironment, std::strerror(errno));
    if (static_cast<size_t>(got) < size) return Fail(kExitBadInput, "a request is cut off");
    v1::ValidationRequest request;
    if (!request.ParseFromString(bytes)) {
      return Fail(kExitBadInput, "what came is no ValidationRequest");
    }
    const absl::StatusOr<v1::ValidationReply> reply = service.Answer(request);
    if (!reply.ok()) return Fail(kExitBadInput, MessageOf(reply.status()));
    if (!WriteFully(out, Frame(*reply))) return Fail(kExitEnvironment, std::strerror(errno));
  }
}

}  // namespace gatehouse::server
