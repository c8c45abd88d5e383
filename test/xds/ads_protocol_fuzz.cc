// Both variants of the protocol against a control plane that says anything at any time, and an
// owner who answers when and how it likes. An input is a script of steps. What must hold: every
// request can be read; the first of a stream, and no other, says who we are; an answer is to
// something that came on this stream; once everything is sent the server has been told just what is
// wanted; an update says nothing twice, and nothing that is not wanted.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "source/base/check.h"
#include "source/xds/ads_delta.h"
#include "source/xds/ads_lifetimes.h"
#include "source/xds/ads_sotw.h"
#include "test/fakes/ads_messages.h"

namespace gatehouse::xds {
namespace {

class Script {
 public:
  explicit Script(std::string_view bytes) : rest_(bytes) {}

  [[nodiscard]] bool over() const { return rest_.empty(); }
  uint8_t Byte() {
    if (rest_.empty()) return 0;
    const auto byte = static_cast<uint8_t>(rest_.front());
    rest_.remove_prefix(1);
    return byte;
  }
  size_t Below(size_t bound) { return Byte() % bound; }
  bool Flag() { return (Byte() & 1) != 0; }
  std::string_view Bytes() {
    const size_t wished = Byte();
    const size_t size = std::min(wished, rest_.size());
    const std::string_view bytes = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return bytes;
  }
  Type AnyType() { return kAllTypes[Below(kTypes)]; }
  std::string Name() { return std::string(1, static_cast<char>('a' + Below(4))); }
  WantedTypes AllWanted() {
    WantedTypes wanted;
    for (Wanted& type : wanted) {
      const uint8_t names = Byte();
      if ((names & 0x80) != 0) continue;
      type.emplace();
      for (int i = 0; i < 4; ++i) {
        if ((names >> i & 1) != 0) type->insert(std::string(1, static_cast<char>('a' + i)));
      }
    }
    return wanted;
  }

 private:
  std::string_view rest_;
};

Versions SomeVersions(Type type) {
  if (type == Type::kSecret) return {};
  return {{"a", "v0"}, {"b", "v1"}};
}

AdsDelta MakeDelta(const WantedTypes& wanted) {
  return {AdsNode{"id", "group", "1"}, wanted, SomeVersions};
}
AdsSotw MakeSotw(const WantedTypes& wanted) {
  return {
      AdsNode{"id", "group", "1"}, wanted,
      AdsSotw::Held{.versions = SomeVersions, .version = [](Type) { return std::string("r0"); }}};
}

// What a server knows of a stream.
struct Server {
  bool introduced = false;
  std::array<std::optional<std::set<std::string>>, kTypes> names;  // with "*"; none: never asked
  std::multiset<std::string> nonces;                               // that were sent
  std::map<std::string, std::string> latest;                       // by type_url

  void Learn(const envoy::service::discovery::v3::DeltaDiscoveryRequest& request) {
    CHECK(request.has_node() != std::exchange(introduced, true));
    const bool first_of_type = request.response_nonce().empty() && !request.has_error_detail();
    const auto type = TypeOfUrl(request.type_url());
    if (!first_of_type) CHECK(nonces.contains(request.response_nonce()));
    if (!type) return;
    auto& known = names[IndexOf(*type)];
    const int count =
        request.resource_names_subscribe_size() + request.resource_names_unsubscribe_size();
    if (count == 0) return;
    CHECK(!request.has_error_detail() && request.response_nonce().empty());
    if (known) CHECK(request.initial_resource_versions_size() == 0);
    if (!known) known.emplace();
    for (const std::string& name : request.resource_names_subscribe()) known->insert(name);
    for (const std::string& name : request.resource_names_unsubscribe()) {
      CHECK(known->erase(name) == 1);
    }
  }
  void Learn(const envoy::service::discovery::v3::DiscoveryRequest& request) {
    CHECK(request.has_node() != std::exchange(introduced, true));
    if (!request.response_nonce().empty()) CHECK(nonces.contains(request.response_nonce()));
    const auto type = TypeOfUrl(request.type_url());
    if (!type || (!names[IndexOf(*type)] && request.has_error_detail())) return;  // a stray
    CHECK(request.response_nonce() == latest[request.type_url()]);
    auto& known = names[IndexOf(*type)];
    const bool named = known && !known->empty() && !known->contains("*");
    const bool legacy = request.resource_names_size() == 0 && (!known || known->contains("*"));
    if (!known) known.emplace();
    if (legacy && !named) {
      known->insert("*");
      return;
    }
    known->clear();
    for (const std::string& name : request.resource_names()) known->insert(name);
  }
  void CheckKnows(const WantedTypes& wanted, bool delta) const {
    for (size_t i = 0; i < kTypes; ++i) {
      if (!names[i]) CHECK(!WantsSomething(wanted[i]));
      if (!names[i]) continue;
      if (!wanted[i]) CHECK(names[i]->contains("*"));
      // State of the world cannot say "nothing" before it said a name.
      if (!wanted[i] || (!delta && wanted[i]->empty())) continue;
      for (const std::string& name : *wanted[i]) CHECK(names[i]->contains(name));
      CHECK(names[i]->size() == wanted[i]->size());
    }
  }
};

template <typename Protocol, typename Request, typename Response>
class Play {
 public:
  Play(Protocol protocol, WantedTypes wanted, bool delta)
      : protocol_(std::move(protocol)), wanted_(std::move(wanted)), delta_(delta) {
    Begin();
  }

  void Step(Script& script) {
    switch (script.Below(8)) {
      case 0:
        return Begin();
      case 1:
        return Says(std::string(script.Bytes()));
      case 2:
        wanted_ = script.AllWanted();
        return protocol_.Want(wanted_);
      case 3:
        return Answer(script);
      case 4:
        return Drain();
      case 5:
        now_ += std::chrono::seconds(script.Below(20));
        for (const Update& update : lifetimes_.Expire(now_)) CHECK(!update.removed.empty());
        CHECK(lifetimes_.next() > now_);
        return;
      default:
        return Says(Built(script));
    }
  }
  void Drain() {
    while (const auto bytes = protocol_.NextRequest()) {
      Request request;
      CHECK(request.ParseFromString(*bytes));
      server_.Learn(request);
    }
    server_.CheckKnows(wanted_, delta_);
    CHECK(protocol_.unsent() == 0);
  }

 private:
  void Begin() {
    protocol_.Begin();
    server_ = Server();
  }
  void Says(const std::string& bytes) {
    Response response;
    if (response.ParseFromString(bytes)) server_.nonces.insert(response.nonce());
    const Received received = protocol_.Receive(bytes);
    if (!received.failure.empty()) return Begin();
    if (received.type && server_.names[IndexOf(*received.type)]) {
      server_.latest[response.type_url()] = response.nonce();
    }
    for (const Heartbeat& beat : received.heartbeats) {
      const bool known = lifetimes_.Renew(*received.type, beat, SomeVersions(*received.type), now_);
      if constexpr (std::is_same_v<Protocol, AdsDelta>) {
        // With everything wanted the name is subscribed beside it: the model knows no such thing.
        if (!known && wanted_[IndexOf(*received.type)]) protocol_.AskAgain(*received.type, beat);
      } else {
        static_cast<void>(known);
      }
    }
    if (!received.update) return;
    const Update& update = *received.update;
    CHECK(update.id > last_id_ && received.malformed.empty());
    CHECK(received.ttls.size() == update.upserts.size());
    last_id_ = update.id;
    std::set<std::string> names;
    for (const Upsert& upsert : update.upserts) {
      CHECK(!upsert.name.empty() && names.insert(upsert.name).second);
      CHECK(IsWanted(wanted_[IndexOf(update.type)], upsert.name));
      CHECK(upsert.message->GetDescriptor()->full_name() ==
            "gatehouse.v1." + std::string(TypeName(update.type)));
    }
    for (const std::string& name : update.removed) CHECK(names.insert(name).second);
    lifetimes_.Offer(update, received.ttls, now_);
  }
  void Answer(Script& script) {
    const uint64_t back = script.Below(4);
    if (back >= last_id_) return;
    std::vector<Refusal> refusals;
    if (script.Flag()) {
      refusals.push_back({.name = script.Name(),
                          .version = "",
                          .errors = {{std::string(script.Bytes()), "why", ""}},
                          .waiting = script.Flag()});
    }
    lifetimes_.Settle(last_id_ - back, refusals);
    protocol_.Answer(last_id_ - back, refusals);
  }
  std::string Built(Script& script) {
    const Type type = script.AnyType();
    Response response;
    response.set_type_url(std::string(TypeUrl(type)));
    response.set_nonce(std::string(1, static_cast<char>('0' + script.Below(10))));
    for (size_t i = script.Below(4); i > 0; --i) AddResource(script, type, &response);
    if constexpr (std::is_same_v<Protocol, AdsDelta>) {
      for (size_t i = script.Below(3); i > 0; --i) response.add_removed_resources(script.Name());
    } else {
      response.set_version_info("r" + script.Name());
    }
    return response.SerializeAsString();
  }
  static void AddResource(Script& script, Type type, Response* response) {
    envoy::service::discovery::v3::Resource resource;
    const std::string name = script.Name();
    resource.set_name(name);
    resource.set_version("v" + std::to_string(script.Below(3)));
    const uint8_t how = script.Byte();
    if ((how & 1) != 0) resource.mutable_ttl()->set_seconds(static_cast<int8_t>(script.Byte()));
    if ((how & 2) == 0) *resource.mutable_resource() = AnyOf(type, BytesOf(type, name));
    if ((how & 4) != 0) resource.mutable_resource()->mutable_value()->append(script.Bytes());
    if constexpr (std::is_same_v<Protocol, AdsDelta>) {
      *response->add_resources() = resource;
    } else if ((how & 8) != 0) {
      response->add_resources()->PackFrom(resource);
    } else {
      *response->add_resources() = resource.resource();
    }
  }

  Protocol protocol_;
  WantedTypes wanted_;
  const bool delta_;
  Server server_;
  Lifetimes lifetimes_;
  TimePoint now_{std::chrono::hours(1)};
  uint64_t last_id_ = 0;
};

}  // namespace
}  // namespace gatehouse::xds

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace gatehouse::xds;
  namespace discovery = envoy::service::discovery::v3;
  if (size > 4096) return 0;
  const google::protobuf::LogSilencer quiet;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  {
    Script script(bytes);
    const WantedTypes wanted = script.AllWanted();
    Play<AdsDelta, discovery::DeltaDiscoveryRequest, discovery::DeltaDiscoveryResponse> play(
        MakeDelta(wanted), wanted, /*delta=*/true);
    while (!script.over()) play.Step(script);
    play.Drain();
  }
  Script script(bytes);
  const WantedTypes wanted = script.AllWanted();
  Play<AdsSotw, discovery::DiscoveryRequest, discovery::DiscoveryResponse> play(
      MakeSotw(wanted), wanted, /*delta=*/false);
  while (!script.over()) play.Step(script);
  play.Drain();
  return 0;
}
