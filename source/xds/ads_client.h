// AdsClient: the gateway's side of the xDS protocol, version 3, over one stream to one of several
// control planes: AggregatedDiscoveryService, delta or state of the world. It knows who said what
// and what was answered; what resources mean is the Applier's business.
//
// Owner: the Server. Thread: main. Callbacks come from the loop, never from within a method, and
// must not destroy it. What it is given must outlive it. A control plane that hangs is noticed by
// the cluster's HTTP/2 PINGs; each attempt goes to another endpoint than the one before. The config
// that is served does not depend on it: when no control plane can be reached, nothing is told to
// the owner but the state of the connection.
//
//   AdsClient client(upstreams, owner, {.cluster = &cluster, .node_id = "edge-1"});
//   client.Start();
//   ... owner.OnUpdate(update) ... client.Answer(update.id, refusals);
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "source/base/random.h"
#include "source/base/time.h"
#include "source/upstream/cluster.h"
#include "source/upstream/upstreams.h"
#include "source/xds/update.h"

namespace gatehouse::xds {

enum class AdsProtocol : uint8_t { kDelta, kStateOfTheWorld };

struct AdsOptions {
  const upstream::Cluster* cluster = nullptr;  // of the control planes; speaks HTTP/2
  std::string node_id;
  std::string node_group;
  std::string gateway_version;
  AdsProtocol protocol = AdsProtocol::kDelta;
  // Types that are not here: everything ("*").
  std::map<Type, std::set<std::string>> only;
  Duration fetch_timeout = std::chrono::seconds(15);  // kNoTimeout: for ever
  Duration max_backoff = std::chrono::seconds(10);
  size_t max_message_bytes = size_t{64} << 20;
};

class AdsOwner {
 public:
  // To be answered once by Answer(), now or later. Those of one type come in order. What has lived
  // past its TTL comes as an update of removals with id 0, which needs no answer.
  virtual void OnUpdate(Update update) = 0;
  // The versions of what is held of a type (accepted, or waiting), for a new stream.
  [[nodiscard]] virtual Versions HeldVersions(Type type) = 0;
  // Of state of the world: the version of the last message of this type that was accepted.
  [[nodiscard]] virtual std::string HeldVersion(Type type) = 0;
  // A type (no names) has not been told of within fetch_timeout of the first connection, or a
  // wanted name has not: it is not there, as far as one knows. It stays subscribed. What is held is
  // not waited for: of what is unchanged a control plane says nothing.
  virtual void OnAbsent(Type type, const std::vector<std::string>& names) = 0;
  // The state() has changed.
  virtual void OnState() = 0;

 protected:
  ~AdsOwner() = default;
};

// For admin and metrics.
struct AdsState {
  bool connected = false;
  // host:port of the control plane of this stream, or of the one tried last; and how it calls
  // itself (ControlPlane.identifier).
  std::string address;
  std::string identifier;
  TimePoint since;      // connected, or not
  std::string failure;  // why the last stream ended, or could not be made; may be empty
  TimePoint next_attempt = kNever;
  TimePoint last_message = kNever;  // of the control plane
  uint64_t connects = 0;
  uint64_t disconnects = 0;
  uint64_t connect_failures = 0;
  struct OfType {
    uint64_t updates = 0;
    uint64_t acks = 0;
    uint64_t nacks = 0;
    uint64_t malformed = 0;  // could not be read at all: refused without asking the owner
    std::string version;     // of the last message
    bool answered = false;   // the control plane has said something of this type on this stream
  };
  std::array<OfType, kTypes> types;
};

class AdsClient {
 public:
  AdsClient(upstream::Upstreams& upstreams, AdsOwner& owner, AdsOptions options,
            Random& random = ThreadRandom());
  ~AdsClient();
  AdsClient(const AdsClient&) = delete;
  AdsClient& operator=(const AdsClient&) = delete;

  void Start();
  // None: an ACK. Else a NACK whose text and details name each of them. Unknown ids, such as those
  // of a stream that has ended, are nothing. An update that was refused may be answered again, with
  // nothing, when what it waited for has come: the control plane is told then.
  void Answer(uint64_t id, const std::vector<Refusal>& refusals);
  // What is wanted has changed: subscribes and unsubscribes on the stream that runs.
  void Want(std::map<Type, std::set<std::string>> only);
  // From the next attempt to connect on; the one before has to live as long as it is cluster().
  void UseCluster(const upstream::Cluster& cluster);
  // Of the attempt or stream that runs, or ended last.
  [[nodiscard]] const upstream::Cluster* cluster() const;

  [[nodiscard]] const AdsState& state() const;

 private:
  class Session;
  std::unique_ptr<Session> session_;
};

}  // namespace gatehouse::xds
