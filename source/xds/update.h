// Update: what one message of a control plane says, whatever the variant of the protocol. It goes
// from the AdsClient to the Applier, which answers it when it has made up its mind.
//
// Plain values. Main thread.
//
//   Update update{.id = 7, .type = Type::kCluster, .upserts = {{"users", "v3", bytes}}};
//   client.Answer(update.id, {});   // an ACK
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "google/protobuf/message.h"

#include "source/base/time.h"

namespace gatehouse::xds {

// Types of resources, in the order in which one refers to the other: what a type refers to comes
// before it.
enum class Type : uint8_t {
  kSecret,
  kRateLimit,
  kCluster,
  kEndpoints,
  kRouteTable,
  kListener,
};
inline constexpr size_t kTypes = 6;
inline constexpr std::array<Type, kTypes> kAllTypes = {Type::kSecret,     Type::kRateLimit,
                                                       Type::kCluster,    Type::kEndpoints,
                                                       Type::kRouteTable, Type::kListener};

// "RouteTable"
[[nodiscard]] std::string_view TypeName(Type type);
// "type.googleapis.com/gatehouse.v1.RouteTable"
[[nodiscard]] std::string_view TypeUrl(Type type);
[[nodiscard]] std::optional<Type> TypeOfName(std::string_view name);
[[nodiscard]] std::optional<Type> TypeOfUrl(std::string_view url);

[[nodiscard]] inline size_t IndexOf(Type type) { return static_cast<size_t>(type); }
// An empty message of the type, to make others by.
[[nodiscard]] const google::protobuf::Message& PrototypeOf(Type type);

struct Upsert {
  std::string name;
  std::string version;  // the control plane's word for it; empty: it has none
  std::string bytes;    // the message in protobuf's binary form, of the update's type
  // The same, parsed, if somebody had to do that already.
  std::shared_ptr<const google::protobuf::Message> message = nullptr;
};

// What is wrong with one resource of an update.
struct Refusal {
  struct Error {
    std::string path;  // below the resource; may be empty
    std::string message;
    std::string suggestion;
  };
  std::string name;
  std::string version;
  std::vector<Error> errors;
  bool waiting = false;  // only for what it refers to
};

struct Update {
  uint64_t id = 0;  // never used again in this process
  Type type = Type::kSecret;
  std::vector<Upsert> upserts;
  // Names; also those that the control plane says it does not have.
  std::vector<std::string> removed;
  // What could not be read, or not safely: the client has refused it already, whatever the answer
  // says. For people; what was held under these names stays.
  std::vector<Refusal> refused;
  // State of the world: `upserts` is all there is of the type, what is missing is removed.
  bool complete = false;
  // Of the whole message, for people. May be empty.
  std::string version;
};

// Versions of resources that are held, by name.
using Versions = std::map<std::string, std::string, std::less<>>;

}  // namespace gatehouse::xds
