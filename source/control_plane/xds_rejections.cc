// What gateways refuse: the part of XdsStream that keeps account of it.
#include <algorithm>
#include <limits>
#include <set>
#include <utility>

#include "api/gatehouse/v1/rejection.pb.h"
#include "source/control_plane/xds_stream.h"

namespace gatehouse::control {

namespace {

// A gateway is believed, but not with all of our memory.
constexpr size_t kMaxRejections = 10'000;
constexpr int kMaxErrors = 20;
constexpr size_t kMaxText = 2000;
constexpr size_t kMaxBytes = size_t{4} << 20;  // of the texts of all errors

std::string Shortened(const std::string& text) {
  if (text.size() <= kMaxText) return text;
  size_t end = kMaxText;
  // Not within a character of UTF-8.
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return text.substr(0, end) + "...";
}

size_t BytesOf(const ResourceRejection& rejection) {
  size_t bytes = 0;
  for (const StatusError& error : rejection.errors) {
    bytes += sizeof(error) + error.path.size() + error.message.size() + error.suggestion.size() +
             error.file.size();
  }
  return bytes;
}

ResourceRejection ToRejection(const gatehouse::v1::Rejection& told, ResourceType type,
                              const Resource* resource, WallTime at) {
  ResourceRejection rejection{.type = type,
                              .name = told.name(),
                              .version = resource != nullptr ? resource->version : told.version(),
                              .waiting = told.waiting(),
                              .at = at};
  for (const auto& error : told.errors()) {
    if (rejection.errors.size() == static_cast<size_t>(kMaxErrors)) break;
    StatusError& added = rejection.errors.emplace_back();
    added.path = Shortened(error.path());
    added.message = Shortened(error.message());
    added.suggestion = Shortened(error.suggestion());
    if (resource == nullptr || resource->origin == nullptr) continue;
    added.file = resource->origin->file;
    added.line = resource->origin->LineOf(error.path());
  }
  return rejection;
}

}  // namespace

void XdsStream::Clear(const Key& key) {
  const auto rejection = status_.rejections.find(key);
  if (rejection != status_.rejections.end()) {
    rejection_bytes_ -= BytesOf(rejection->second);
    status_.rejections.erase(rejection);
  }
  status_.versions.erase(key);
  refused_by_.erase(key);
}

// What was refused before, and is in what is accepted now (but for `refused`), or is gone.
void XdsStream::Accept(const Sent& sent, const std::set<Key>& refused) {
  const ResourceType type = sent.body->type;
  std::vector<Key> cleared;
  bool left = false;
  for (auto it = refused_by_.lower_bound({type, ""});
       it != refused_by_.end() && it->first.first == type; ++it) {
    const auto& [key, number] = *it;
    // A refusal without a name is that of a whole response: any later one that is accepted ends it.
    if (number <= sent.number && !refused.contains(key) &&
        (number == sent.number || key.second.empty() || sent.body->Covers(key.second))) {
      cleared.push_back(key);
    } else {
      left = true;
    }
  }
  for (const Key& key : cleared) Clear(key);
  if (!left) status_.types[static_cast<size_t>(type)].text.clear();
}

size_t XdsStream::Refuse(const Sent& sent, const google::rpc::Status& error, WallTime wall) {
  const ResourceType type = sent.body->type;
  std::vector<ResourceRejection> rejections;
  for (const google::protobuf::Any& detail : error.details()) {
    gatehouse::v1::Rejection told;
    if (!detail.Is<gatehouse::v1::Rejection>() || !detail.UnpackTo(&told)) continue;
    // The type of the response, unless it says otherwise.
    const ResourceType told_type = TypeOf(told.type()).value_or(type);
    std::shared_ptr<const Resource> resource = sent.body->Find(told.name());
    if (told_type != type) resource = nullptr;
    if (resource == nullptr && target_ != nullptr) {
      const auto found = target_->of(told_type).find(told.name());
      if (found != target_->of(told_type).end()) resource = found->second;
    }
    rejections.push_back(ToRejection(told, told_type, resource.get(), wall));
    rejections.back().name = Shortened(told.name());
  }
  const bool details = !rejections.empty();
  auto& text = status_.types[static_cast<size_t>(type)].text;
  text = details ? std::string() : Shortened(error.message());
  if (!details) {
    gatehouse::v1::Rejection all;
    all.add_errors()->set_message(error.message());
    const Resource* only = nullptr;
    if (sent.body->resources.size() == 1) {
      only = sent.body->resources[0].get();
      all.set_name(only->name);
    }
    rejections.push_back(ToRejection(all, type, only, wall));
  } else {
    // It has taken the rest.
    std::set<Key> refused;
    for (const ResourceRejection& rejection : rejections) {
      refused.emplace(rejection.type, rejection.name);
    }
    Accept(sent, refused);
  }
  const size_t count = rejections.size();
  for (ResourceRejection& rejection : rejections) AddRejection(sent, std::move(rejection));
  return count;
}

void XdsStream::AddRejection(const Sent& sent, ResourceRejection rejection) {
  Key key(rejection.type, rejection.name);
  const auto before = status_.rejections.find(key);
  if (before == status_.rejections.end()) {
    if (status_.rejections.size() >= kMaxRejections) return;
    status_.versions[key] = VersionBefore(sent, rejection.name);
  } else {
    // Refused twice in a row: it still runs what it ran before the first.
    rejection_bytes_ -= BytesOf(before->second);
  }
  if (rejection_bytes_ + BytesOf(rejection) > kMaxBytes) rejection.errors.clear();
  rejection_bytes_ += BytesOf(rejection);
  refused_by_[key] = sent.number;
  status_.rejections[std::move(key)] = std::move(rejection);
}

std::string XdsStream::VersionBefore(const Sent& sent, const std::string& name) {
  if (sent.previous != nullptr) {
    const auto found = sent.previous->find(name);
    if (found != sent.previous->end() && found->second != nullptr) return found->second->version;
  }
  if (sent.versions != nullptr) {
    const auto found = sent.versions->find(name);
    if (found != sent.versions->end()) return found->second;
  }
  return {};
}

// The newest revision that was sent in full, and before which nothing is unanswered or refused.
uint64_t XdsStream::UpdateAccepted() {
  uint64_t open = std::numeric_limits<uint64_t>::max();
  for (const OfType& of_type : types_) {
    if (!of_type.unanswered.empty()) open = std::min(open, of_type.unanswered.front().number);
  }
  for (const auto& [key, number] : refused_by_) open = std::min(open, number);
  uint64_t accepted = 0;
  while (!sent_revisions_.empty() && sent_revisions_.front().second < open) {
    // Still in the queue, so not even sent.
    if (sent_revisions_.front().second > last_number_) break;
    accepted = sent_revisions_.front().first;
    sent_revisions_.pop_front();
  }
  if (accepted == 0 || last_number_ == 0) return 0;
  status_.accepted_revision = accepted;
  return accepted;
}

}  // namespace gatehouse::control
