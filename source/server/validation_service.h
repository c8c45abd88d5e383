// ValidationService: `gatehouse validate --serve`, which checks sets of resources for a control
// plane by the same Build that a gateway does (api/gatehouse/v1/validation.proto).
//
// Owner: the command. Thread: main. It holds, for each group of gateways, the set that was accepted
// last and what was built from it, so that the next change costs what it changes. Whoever writes
// to stdin is trusted: a request that is none ends the program.
//
//   ValidationService service(registry);
//   absl::StatusOr<v1::ValidationReply> reply = service.Answer(request);
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

#include "api/gatehouse/v1/validation.pb.h"
#include "source/config/text.h"
#include "source/filters/registry.h"

namespace gatehouse::server {

inline constexpr size_t kMaxValidationFrame = size_t{256} << 20;

class ValidationService {
 public:
  // `variables`: of this machine, for requests with read_files.
  explicit ValidationService(const filters::Registry& filters,
                             config::Environment variables = config::ProcessEnvironment());
  ~ValidationService();
  ValidationService(const ValidationService&) = delete;
  ValidationService& operator=(const ValidationService&) = delete;

  // An error: the request cannot be understood.
  [[nodiscard]] absl::StatusOr<v1::ValidationReply> Answer(const v1::ValidationRequest& request);

 private:
  struct Group;

  const filters::Registry& filters_;
  config::Environment variables_;
  std::map<std::string, std::unique_ptr<Group>> groups_;
};

// Answers what comes from `in` on `out` until `in` ends. The exit code; errors are on stderr.
[[nodiscard]] int ServeValidation(int in, int out, const filters::Registry& filters);

}  // namespace gatehouse::server
