// Validator: asks a gateway what it would say to a set of resources, before any gateway gets it.
//
// The check is the gateway's own code, in a child process: `gatehouse validate --serve` (messages:
// api/gatehouse/v1/validation.proto). The child keeps the set of each group that it accepted last,
// so a change of one resource among thousands costs as much as that one. A child that dies is
// started anew and gets everything; a set on which it dies twice is refused.
//
// Owner: main(). Any thread: calls wait for each other.
//
//   Validator validator({.program = "/usr/bin/gatehouse"});
//   auto found = validator.Check(set);
//   if (!found.ok()) ...                  // the check cannot be had
//   if (!found->errors.ok()) ...          // the set is refused
#pragma once

#include <sys/types.h>

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "source/config/config_error.h"
#include "source/control_plane/resource_set.h"

namespace gatehouse::v1 {
class ValidationReply;
class ValidationRequest;
}  // namespace gatehouse::v1

namespace gatehouse::control {

struct ValidatorOptions {
  std::string program;  // of the gateway
  std::vector<std::string> arguments = {"validate", "--serve"};
  std::chrono::milliseconds deadline{30'000};  // of one group
};

class Validator {
 public:
  explicit Validator(ValidatorOptions options) : options_(std::move(options)) {}
  ~Validator();
  Validator(const Validator&) = delete;
  Validator& operator=(const Validator&) = delete;

  // Every group of `set` that is not as it was accepted last. Errors and warnings tell where the
  // resource was written. UNAVAILABLE: the program cannot be run.
  [[nodiscard]] absl::StatusOr<config::ErrorList> Check(const ResourceSet& set);

 private:
  struct Reply;

  [[nodiscard]] absl::Status CheckGroup(const std::string& group,
                                        const std::shared_ptr<const GroupSet>& set,
                                        config::ErrorList* found);
  [[nodiscard]] absl::Status Start();
  // Ends the child and returns how it ended: "was killed by signal 11".
  std::string End();
  // False: the child is gone, or took too long; `*why` says so.
  bool Ask(const v1::ValidationRequest& request, v1::ValidationReply* reply, std::string* why);
  bool Send(std::string_view bytes, std::chrono::steady_clock::time_point until, std::string* why);
  bool Receive(size_t size, std::string* bytes, std::chrono::steady_clock::time_point until,
               std::string* why);

  const ValidatorOptions options_;
  std::mutex mutex_;
  pid_t child_ = 0;
  int to_child_ = -1;
  int from_child_ = -1;
  // What the child holds.
  std::map<std::string, std::shared_ptr<const GroupSet>> accepted_;
};

}  // namespace gatehouse::control
