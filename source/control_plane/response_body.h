// ResponseBody: a serialised response of a type, all but what is different from stream to stream,
// so that one buffer goes to a thousand gateways. In protobuf a message may be written in two
// parts, one after the other: the Tail of a stream comes behind the shared body.
//
// Immutable, shared by pointers; any thread.
//
//   ResponseWriter writer("control-1");
//   Bodies bodies = writer.Delta(ResourceType::kCluster, upserts, {"gone"});
//   Send(bodies[0]->bytes + DeltaTail(7, "7.1"));
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "source/control_plane/resource_set.h"

namespace gatehouse::control {

using TypeSet = std::shared_ptr<const ResourcesByName>;
using Resources = std::vector<std::shared_ptr<const Resource>>;

struct ResponseBody {
  ResourceType type = ResourceType::kSecret;
  bool complete = false;  // state of the world: what is not here is gone
  std::string bytes;
  Resources resources;               // sorted by name
  std::vector<std::string> removed;  // sorted

  // nullptr: not among `resources`.
  [[nodiscard]] std::shared_ptr<const Resource> Find(std::string_view name) const;
  // Tells of `name`: there it is, or it is gone.
  [[nodiscard]] bool Covers(std::string_view name) const;
};
using Body = std::shared_ptr<const ResponseBody>;
using Bodies = std::vector<Body>;

class ResponseWriter {
 public:
  // Other gRPC libraries refuse messages over 4 MiB, unless they are told otherwise.
  static constexpr size_t kMaxBytes = size_t{2} << 20;

  // `identifier` is how the control plane calls itself.
  explicit ResponseWriter(std::string identifier, size_t max_bytes = kMaxBytes)
      : identifier_(std::move(identifier)), max_bytes_(max_bytes) {}

  // Sorted input. Several, if they would be larger than max_bytes together; one of them, if there
  // is nothing to say. A resource is never split.
  [[nodiscard]] Bodies Delta(ResourceType type, Resources upserts,
                             std::vector<std::string> removed) const;
  // State of the world, with a version that says what is in it: it is the same in every control
  // plane that has the same resources. Cannot be split, says the protocol.
  [[nodiscard]] Body Complete(ResourceType type, Resources resources) const;

 private:
  [[nodiscard]] Body Finish(std::shared_ptr<ResponseBody> body) const;

  const std::string identifier_;
  const size_t max_bytes_;
};

// What comes behind the bytes of a body. The revision is for people.
[[nodiscard]] std::string DeltaTail(uint64_t revision, std::string_view nonce);
[[nodiscard]] std::string WorldTail(std::string_view nonce);

}  // namespace gatehouse::control
