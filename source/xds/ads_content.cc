#include "source/xds/ads_content.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "google/protobuf/any.pb.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "google/protobuf/stubs/logging.h"
#include <fmt/format.h>

#include "source/config/messages.h"
#include "source/xds/ads_answer.h"

namespace gatehouse::xds {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::Message;

constexpr size_t kMaxTwice = 20;
constexpr size_t kMaxShownName = 100;
// Longer than any process lives; shorter than what overflows when a time is added.
constexpr int64_t kMaxTtlSeconds = int64_t{100} * 365 * 24 * 3600;
// Of the message itself: name, or cluster for Endpoints.
constexpr int kNameField = 1;

}  // namespace

Duration TtlOf(const google::protobuf::Duration& ttl) {
  constexpr int64_t kNanos = 1'000'000'000;
  if (ttl.seconds() < 0 || ttl.nanos() < 0 || ttl.nanos() >= kNanos) return kNoTimeout;
  const int64_t micros = std::min(ttl.seconds(), kMaxTtlSeconds) * 1'000'000 + ttl.nanos() / 1000;
  return Duration(micros);
}

void AdsContent::AddNamed(Resource resource) {
  if (resource.name().empty()) {
    Refuse(resource, "", "it has no name");
  } else {
    Add(resource);
  }
  ++index_;
}

void AdsContent::AddAny(google::protobuf::Any any) {
  Resource resource;
  if (!any.Is<Resource>()) {
    *resource.mutable_resource() = std::move(any);
    Add(resource);
  } else if (budget_.Take(*Resource::descriptor(), any.value()) &&
             ParseQuietly(any.value(), &resource)) {
    any.Clear();
    Add(resource);
  } else {
    Refuse(resource, "", "it is wrapped in bytes that are no Resource");
  }
  ++index_;
}

void AdsContent::AddRemoved(std::string name) {
  NoteName(name);
  if (!IsWanted(wanted_, name)) return;
  removed_.push_back(std::move(name));
}

// One that nobody asked for is left out in silence: it may have been sent before the server heard
// that it is not wanted any more.
void AdsContent::Add(Resource& resource) {
  if (resource.name().size() > kMaxName || resource.version().size() > kMaxVersion) {
    Refuse(resource, "", fmt::format("a name or version of more than {} bytes", kMaxName));
    return;
  }
  if (!resource.has_resource()) {
    AddHeartbeat(resource);
    return;
  }
  google::protobuf::Any& any = *resource.mutable_resource();
  if (any.type_url() != TypeUrl(type_)) {
    Refuse(resource, "",
           fmt::format("its type_url is \"{}\", that of the response is \"{}\"",
                       Shortened(any.type_url(), kMaxShownName), TypeUrl(type_)));
    return;
  }
  const Descriptor& type = *PrototypeOf(type_).GetDescriptor();
  if (!budget_.TakeAll(type, any.value())) {
    Refuse(resource, "", "it, or what else came with it, has too many parts");
    return;
  }
  const std::shared_ptr<Message> message(PrototypeOf(type_).New());
  const bool parsed = ParseQuietly(any.value(), message.get());
  // The name comes first, so that it has mostly been read when the rest could not be.
  const std::string inner = NameIn(*message);
  if (resource.name().empty()) resource.set_name(inner.substr(0, kMaxName + 1));
  if (!parsed) {
    Refuse(resource, "", fmt::format("its bytes are no {}", type.full_name()));
  } else if (inner.size() > kMaxName) {
    Refuse(resource, "", fmt::format("a name of more than {} bytes", kMaxName));
  } else if (resource.name().empty()) {
    Refuse(resource, "", "it has no name");
  } else if (inner != resource.name()) {
    Refuse(resource, type.FindFieldByNumber(kNameField)->name(),
           fmt::format("\"{}\" is not the name under which it was sent",
                       Shortened(inner, kMaxShownName)));
  } else if (const auto unknown = config::UnknownFieldOf(*message)) {
    // To ignore it could open a door that it was meant to close.
    Refuse(resource, unknown->path, unknown->message + "; update it, or leave the field out");
  } else if (resource.has_ttl() && TtlOf(resource.ttl()) == kNoTimeout) {
    Refuse(resource, "", "its ttl is not more than zero");
  } else {
    NoteName(resource.name());
    if (!IsWanted(wanted_, resource.name())) return;
    ttls_.push_back(resource.has_ttl() ? TtlOf(resource.ttl()) : kNoTimeout);
    upserts_.push_back({.name = std::move(*resource.mutable_name()),
                        .version = std::move(*resource.mutable_version()),
                        .bytes = std::move(*any.mutable_value()),
                        .message = message});
  }
}

void AdsContent::AddHeartbeat(Resource& resource) {
  const Duration ttl = resource.has_ttl() ? TtlOf(resource.ttl()) : kNoTimeout;
  if (resource.name().empty() || ttl == kNoTimeout) {
    Refuse(resource, "", "it has no content, and no name or ttl that would make it a heartbeat");
    return;
  }
  NoteName(resource.name());
  if (!IsWanted(wanted_, resource.name())) return;
  heartbeats_.push_back(
      {std::move(*resource.mutable_name()), std::move(*resource.mutable_version()), ttl});
}

std::string AdsContent::NameIn(const Message& message) {
  return message.GetReflection()->GetString(message,
                                            message.GetDescriptor()->FindFieldByNumber(kNameField));
}

void AdsContent::NoteName(const std::string& name) {
  if (!names_.insert(name).second && twice_.size() < kMaxTwice) twice_.push_back(name);
}

void AdsContent::Refuse(const Resource& resource, std::string path, std::string message) {
  const std::string& name = resource.name();
  if (name.empty() || name.size() > kMaxName) {
    nameless_ = true;
    message = fmt::format("resource {} of the response: {}", index_, message);
  } else {
    NoteName(name);
  }
  if (refused_.size() == kMaxKept) {
    ++more_refused_;
    return;
  }
  Refusal& refusal = refused_.emplace_back();
  refusal.name = name.size() > kMaxName ? Shortened(name, kMaxShownName) : name;
  refusal.version = Shortened(resource.version(), kMaxShownName);
  refusal.errors.push_back({std::move(path), std::move(message), ""});
}

}  // namespace gatehouse::xds
