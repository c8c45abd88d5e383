// What the two variants of the protocol, AdsDelta and AdsSotw, have in common: what they are told
// and what they tell. Neither does any I/O.
//
// Plain values. Main thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/envoy/service/discovery/v3/node.pb.h"
#include "source/base/time.h"
#include "source/xds/update.h"

namespace gatehouse::xds {

// Who the gateway says it is.
struct AdsNode {
  std::string id;
  std::string group;
  std::string version;
};

[[nodiscard]] envoy::config::core::v3::Node NodeOf(const AdsNode& node);

// Of one type. None: everything there is.
using Wanted = std::optional<std::set<std::string, std::less<>>>;
using WantedTypes = std::array<Wanted, kTypes>;

// `only` as AdsOptions has it.
[[nodiscard]] WantedTypes WantedOf(const std::map<Type, std::set<std::string>>& only);
// A name, or at least anything at all.
[[nodiscard]] inline bool IsWanted(const Wanted& wanted, std::string_view name) {
  return !wanted || wanted->contains(name);
}
[[nodiscard]] inline bool WantsSomething(const Wanted& wanted) {
  return !wanted || !wanted->empty();
}

// "The resource of this version lives for another `ttl`."
struct Heartbeat {
  std::string name;
  std::string version;
  Duration ttl;
};

// Of what is sent back to the control plane, or shown to people.
inline constexpr size_t kMaxNonce = 4096;
inline constexpr size_t kMaxShown = 200;

enum class AdsAnswer : uint8_t { kNone, kAck, kNack };

// What a message of the control plane has come to.
struct Received {
  // The message breaks the protocol so badly that the stream has to end. Nothing else counts.
  std::string failure;
  std::optional<Type> type;  // none: one that we do not know
  // Refused as a whole, without asking the owner: why.
  std::string malformed;
  // For the owner. None: the message is answered already, as `answer` says.
  std::optional<Update> update;
  AdsAnswer answer = AdsAnswer::kNone;
  std::vector<Duration> ttls;  // of update->upserts; kNoTimeout: it stays
  std::vector<Heartbeat> heartbeats;
  std::string version;
  std::string identifier;  // of the control plane; may be empty
  size_t cost = 0;         // about its bytes in memory
};

// A response that the owner has been told of.
struct Response {
  Type type = Type::kSecret;
  std::string nonce;
  std::string version;           // state of the world
  std::vector<Refusal> refused;  // by us
  size_t more_refused = 0;       // that are not in the list
  bool answered = false;

  // Ours and the owner's together.
  [[nodiscard]] std::vector<Refusal> AllRefused(const std::vector<Refusal>& refusals) const;
};

// The responses of this stream that wait for the owner's answer; and those that were refused last,
// which may be answered again.
class ResponseLedger {
 public:
  static constexpr size_t kMaxRefused = 256;

  // Of a new response. Ids are never used again.
  [[nodiscard]] uint64_t Add(Response response) {
    responses_.emplace(++last_id_, std::move(response));
    return last_id_;
  }
  [[nodiscard]] Response* Find(uint64_t id) {
    const auto found = responses_.find(id);
    return found == responses_.end() ? nullptr : &found->second;
  }
  [[nodiscard]] std::optional<Type> TypeOf(uint64_t id) {
    const Response* found = Find(id);
    return found == nullptr ? std::nullopt : std::optional(found->type);
  }
  void Accepted(uint64_t id) { responses_.erase(id); }
  void Refused(uint64_t id);
  // The stream has ended.
  void Clear() {
    responses_.clear();
    refused_.clear();
  }
  [[nodiscard]] size_t size() const { return responses_.size(); }

 private:
  std::map<uint64_t, Response> responses_;
  std::deque<uint64_t> refused_;  // oldest first
  uint64_t last_id_ = 0;
};

}  // namespace gatehouse::xds
