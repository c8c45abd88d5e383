#include "source/control_plane/validator.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "api/gatehouse/v1/validation.pb.h"
#include "source/base/status.h"
#include "source/control_plane/resource_file.h"

namespace gatehouse::control {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kLengthBytes = 4;
constexpr size_t kMaxReply = size_t{64} << 20;
// What posix_spawn's child exits with when there is no such program.
constexpr int kCannotRun = 127;

std::string LengthOf(size_t size) {
  std::string bytes(kLengthBytes, '\0');
  for (size_t i = 0; i < kLengthBytes; ++i) {
    bytes[i] = static_cast<char>(size >> (8 * (kLengthBytes - 1 - i)));
  }
  return bytes;
}

size_t ParseLength(std::string_view bytes) {
  size_t size = 0;
  for (const char byte : bytes) size = size << 8 | static_cast<unsigned char>(byte);
  return size;
}

// Waits until `fd` is ready or the time is up.
bool WaitFor(int fd, short events, Clock::time_point until) {
  while (true) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(until - Clock::now()).count();
    if (left <= 0) return false;
    pollfd ready{.fd = fd, .events = events, .revents = 0};
    const int result = poll(&ready, 1, static_cast<int>(left));
    if (result > 0) return true;
    if (result < 0 && errno != EINTR) return false;
  }
}

void AddUpsert(const Resource& resource, v1::ValidationRequest* request) {
  auto* upsert = request->add_upserts();
  upsert->set_type(std::string(TypeName(resource.type)));
  upsert->set_message(resource.message);
}

// What is different between two sets; both sorted by name.
void AddDifference(ResourceType type, const ResourcesByName& before, const ResourcesByName& after,
                   v1::ValidationRequest* request) {
  auto old = before.begin();
  for (const auto& [name, resource] : after) {
    for (; old != before.end() && old->first < name; ++old) {
      auto* removal = request->add_removals();
      removal->set_type(std::string(TypeName(type)));
      removal->set_name(old->first);
    }
    const bool there = old != before.end() && old->first == name;
    if (!there || old->second->version != resource->version) AddUpsert(*resource, request);
    if (there) ++old;
  }
  for (; old != before.end(); ++old) {
    auto* removal = request->add_removals();
    removal->set_type(std::string(TypeName(type)));
    removal->set_name(old->first);
  }
}

v1::ValidationRequest RequestFor(const std::string& group, const GroupSet* before,
                                 const GroupSet& after) {
  v1::ValidationRequest request;
  request.set_group(group);
  request.set_reset(before == nullptr);
  for (size_t t = 0; t < kResourceTypes; ++t) {
    const auto type = static_cast<ResourceType>(t);
    if (before != nullptr && before->shared(type) == after.shared(type)) continue;
    AddDifference(type, before == nullptr ? ResourcesByName{} : before->of(type), after.of(type),
                  &request);
  }
  return request;
}

bool SaysNothing(const v1::ValidationRequest& request) {
  return !request.reset() && request.upserts_size() == 0 && request.removals_size() == 0;
}

// `rejections` as errors, where the resources were written.
void AddFindings(const google::protobuf::RepeatedPtrField<v1::Rejection>& rejections,
                 const std::string& group, const GroupSet& set,
                 config::ConfigError::Severity severity, config::ErrorList* found) {
  for (const v1::Rejection& rejection : rejections) {
    const std::optional<ResourceType> type = TypeOf(rejection.type());
    const Resource* resource = nullptr;
    if (type.has_value()) {
      const auto at = set.of(*type).find(rejection.name());
      if (at != set.of(*type).end()) resource = at->second.get();
    }
    for (const v1::ResourceError& wrong : rejection.errors()) {
      config::ConfigError error;
      if (resource != nullptr) {
        error = ErrorIn(*resource, wrong.path(), wrong.message(), wrong.suggestion());
      } else {
        error.path = fmt::format("{} {}", rejection.type(), rejection.name());
        if (!wrong.path().empty()) error.path.append(": ").append(wrong.path());
        error.message = wrong.message();
        error.suggestion = wrong.suggestion();
      }
      // What all gateways have is wrong only for those of one group.
      if (!group.empty() && (resource == nullptr || resource->group.empty())) {
        error.message.append(fmt::format(" (in group \"{}\")", group));
      }
      error.severity = severity;
      found->Add(std::move(error));
    }
  }
}

}  // namespace

Validator::~Validator() { static_cast<void>(End()); }

absl::StatusOr<config::ErrorList> Validator::Check(const ResourceSet& set) {
  const std::lock_guard lock(mutex_);
  config::ErrorList found;
  std::set<std::string> groups = set.groups();
  groups.insert("");
  for (const std::string& group : groups) {
    config::ErrorList of_group;
    if (absl::Status asked = CheckGroup(group, set.OfGroup(group), &of_group); !asked.ok()) {
      return asked;
    }
    // What is wrong for all is not told again for each group.
    const bool common = !found.ok() && group != "";
    if (!common) found.Append(of_group);
    if (common) {
      for (const config::ConfigError& error : of_group.entries()) {
        const bool told = std::ranges::any_of(found.entries(), [&error](const auto& other) {
          return other.file == error.file && other.line == error.line &&
                 error.message.starts_with(other.message);
        });
        if (!told) found.Add(error);
      }
    }
  }
  std::erase_if(accepted_, [&groups](const auto& entry) { return groups.count(entry.first) == 0; });
  return found;
}

absl::Status Validator::CheckGroup(const std::string& group,
                                   const std::shared_ptr<const GroupSet>& set,
                                   config::ErrorList* found) {
  std::string why;
  for (int attempt = 0; attempt < 2; ++attempt) {
    if (child_ == 0) {
      if (absl::Status started = Start(); !started.ok()) return started;
    }
    const auto before = accepted_.find(group);
    const v1::ValidationRequest request =
        RequestFor(group, before == accepted_.end() ? nullptr : before->second.get(), *set);
    if (SaysNothing(request)) {
      accepted_[group] = set;
      return absl::OkStatus();
    }
    v1::ValidationReply reply;
    if (Ask(request, &reply, &why)) {
      AddFindings(reply.rejections(), group, *set, config::ConfigError::Severity::kError, found);
      AddFindings(reply.warnings(), group, *set, config::ConfigError::Severity::kWarning, found);
      if (reply.rejections().empty()) accepted_[group] = set;
      return absl::OkStatus();
    }
    const bool late = why.empty();
    why = End();
    if (why == fmt::format("ended with {}", kCannotRun)) {
      return Unavailable(fmt::format("the gateway's program cannot be run: {}", options_.program));
    }
    if (late) {
      why = fmt::format("it took longer than {} s", options_.deadline.count() / 1000);
      break;
    }
  }
  config::ConfigError error;
  error.message = fmt::format(
      "the gateway's own check crashed on it ({}); it is refused, so that no gateway crashes", why);
  if (why.starts_with("it took")) {
    error.message = fmt::format("the gateway's own check did not end: {}", why);
  }
  if (!group.empty()) error.message.append(fmt::format(" (in group \"{}\")", group));
  found->Add(std::move(error));
  return absl::OkStatus();
}

absl::Status Validator::Start() {
  accepted_.clear();
  // A socket and not pipes: writing to a child that is gone must not be a signal.
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
    return Unavailable(fmt::format("cannot start the check: {}", std::strerror(errno)));
  }
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, pair[1], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, pair[1], STDOUT_FILENO);
  // Libraries do not close all of theirs: connections of the API would stay open in the child.
  posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
  // A process group of its own: Ctrl-C at a terminal is for us. Signals that main blocks are not
  // blocked there.
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  std::vector<char*> arguments{const_cast<char*>(options_.program.c_str())};
  for (const std::string& argument : options_.arguments) {
    arguments.push_back(const_cast<char*>(argument.c_str()));
  }
  arguments.push_back(nullptr);
  const int error = posix_spawn(&child_, options_.program.c_str(), &actions, &attributes,
                                arguments.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  close(pair[1]);
  if (error != 0) {
    close(pair[0]);
    child_ = 0;
    return Unavailable(
        fmt::format("cannot run {}: {}; say where the gateway's program is with --gatehouse",
                    options_.program, std::strerror(error)));
  }
  fcntl(pair[0], F_SETFL, O_NONBLOCK);
  to_child_ = from_child_ = pair[0];
  return absl::OkStatus();
}

std::string Validator::End() {
  if (child_ == 0) return {};
  // It ends with its input; one that does not is made to.
  shutdown(to_child_, SHUT_RDWR);
  close(to_child_);
  to_child_ = from_child_ = -1;
  int status = 0;
  pid_t done = 0;
  constexpr int kTries = 50;
  for (int i = 0; i < kTries && (done = waitpid(child_, &status, WNOHANG)) == 0; ++i) {
    poll(nullptr, 0, 10);
  }
  if (done == 0) {
    kill(child_, SIGKILL);
    waitpid(child_, &status, 0);
  }
  child_ = 0;
  accepted_.clear();
  if (WIFSIGNALED(status)) return fmt::format("was killed by signal {}", WTERMSIG(status));
  return fmt::format("ended with {}", WEXITSTATUS(status));
}

bool Validator::Ask(const v1::ValidationRequest& request, v1::ValidationReply* reply,
                    std::string* why) {
  const Clock::time_point until = Clock::now() + options_.deadline;
  const std::string bytes = request.SerializeAsString();
  if (!Send(LengthOf(bytes.size()) + bytes, until, why)) return false;
  std::string answer;
  if (!Receive(kLengthBytes, &answer, until, why)) return false;
  const size_t size = ParseLength(answer);
  if (size > kMaxReply || !Receive(size, &answer, until, why) || !reply->ParseFromString(answer)) {
    if (why->empty() && Clock::now() < until) *why = "answered what is no answer";
    return false;
  }
  return true;
}

bool Validator::Send(std::string_view bytes, Clock::time_point until, std::string* why) {
  why->clear();
  while (!bytes.empty()) {
    const ssize_t sent = send(to_child_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent > 0) {
      bytes.remove_prefix(static_cast<size_t>(sent));
    } else if (errno == EAGAIN) {
      if (!WaitFor(to_child_, POLLOUT, until)) return false;
    } else if (errno != EINTR) {
      *why = "is gone";
      return false;
    }
  }
  return true;
}

bool Validator::Receive(size_t size, std::string* bytes, Clock::time_point until,
                        std::string* why) {
  why->clear();
  bytes->assign(size, '\0');
  size_t at = 0;
  while (at < size) {
    const ssize_t got = recv(from_child_, bytes->data() + at, size - at, 0);
    if (got > 0) {
      at += static_cast<size_t>(got);
    } else if (got < 0 && errno == EAGAIN) {
      if (!WaitFor(from_child_, POLLIN, until)) return false;
    } else if (got == 0 || errno != EINTR) {
      *why = "is gone";
      return false;
    }
  }
  return true;
}

}  // namespace gatehouse::control
