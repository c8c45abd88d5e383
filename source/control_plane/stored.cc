#include "source/control_plane/stored.h"

#include <memory>
#include <utility>

#include <fmt/format.h>

#include "source/base/status.h"
#include "source/control_plane/digest.h"

namespace gatehouse::control {
namespace {

std::string Keep(std::string content, Blobs* blobs) {
  std::string digest = Sha256(content);
  blobs->try_emplace(digest, std::move(content));
  return digest;
}

std::string OutlineOf(const Origin& origin) {
  stored::v1::Outline outline;
  for (const auto& [path, line] : origin.lines) {
    outline.add_paths(path);
    outline.add_lines(line - origin.line);
  }
  return outline.SerializeAsString();
}

// The resource that `known` has in the place of `entry`, if there is one with the same message.
std::shared_ptr<const Resource> SameMessage(const stored::v1::Entry& entry, ResourceType type,
                                            const ResourceSet::All& known) {
  const auto at = known.find({entry.group(), type, entry.name()});
  // Versions are the beginning of the digest, so few contents are compared in vain.
  if (at == known.end() || Hex(entry.message().substr(0, 8)) != at->second->version ||
      Sha256(at->second->message) != entry.message()) {
    return nullptr;
  }
  return at->second;
}

absl::StatusOr<std::vector<std::pair<std::string, int>>> DecodeLines(const stored::v1::Entry& entry,
                                                                     const Origin* known,
                                                                     const Fetch& fetch) {
  std::vector<std::pair<std::string, int>> lines;
  if (entry.outline().empty()) return lines;
  std::string blob = known == nullptr ? "" : OutlineOf(*known);
  if (known == nullptr || Sha256(blob) != entry.outline()) {
    absl::StatusOr<std::string> fetched = fetch(entry.outline());
    if (!fetched.ok()) return fetched.status();
    blob = *std::move(fetched);
  }
  stored::v1::Outline outline;
  if (!outline.ParseFromString(blob) || outline.paths_size() != outline.lines_size()) {
    return Unavailable("a stored outline cannot be read");
  }
  for (int i = 0; i < outline.paths_size(); ++i) {
    lines.emplace_back(outline.paths(i), entry.line() + outline.lines(i));
  }
  return lines;
}

absl::StatusOr<std::shared_ptr<const Resource>> DecodeResource(const stored::v1::Entry& entry,
                                                               ResourceType type,
                                                               const ResourceSet::All& known,
                                                               const Fetch& fetch) {
  const std::shared_ptr<const Resource> same = SameMessage(entry, type, known);
  absl::StatusOr<std::vector<std::pair<std::string, int>>> lines =
      DecodeLines(entry, same == nullptr ? nullptr : same->origin.get(), fetch);
  if (!lines.ok()) return lines.status();
  auto origin = std::make_shared<Origin>();
  origin->file = entry.file();
  origin->line = entry.line();
  origin->from_directory = entry.from_directory();
  origin->lines = *std::move(lines);
  if (same != nullptr && *same->origin == *origin) return same;
  auto made = std::make_shared<Resource>();
  if (same != nullptr) {
    made->message = same->message;
  } else {
    absl::StatusOr<std::string> message = fetch(entry.message());
    if (!message.ok()) return message.status();
    made->message = *std::move(message);
  }
  made->type = type;
  made->group = entry.group();
  made->name = entry.name();
  made->version = Hex(entry.message().substr(0, 8));
  made->origin = std::move(origin);
  return made;
}

int64_t Millis(WallTime time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
}
WallTime FromMillis(int64_t millis) { return WallTime(std::chrono::milliseconds(millis)); }

void EncodeGateway(const GatewayStatus& from, size_t refusals, stored::v1::Gateway* to) {
  to->set_node(from.node);
  to->set_group(from.group);
  to->set_address(from.address);
  to->set_gateway_version(from.gateway_version);
  to->set_protocol(from.protocol);
  to->set_connected(from.connected);
  to->set_connected_at_ms(Millis(from.connected_at));
  to->set_last_seen_ms(Millis(from.last_seen));
  to->set_sent_revision(from.sent_revision);
  to->set_accepted_revision(from.accepted_revision);
  for (size_t t = 0; t < kResourceTypes; ++t) {
    const GatewayStatus::OfType& counts = from.types[t];
    auto* type = to->add_types();
    type->set_type(std::string(TypeName(static_cast<ResourceType>(t))));
    type->set_acks(counts.acks);
    type->set_nacks(counts.nacks);
    type->set_resources(counts.resources);
    type->set_text(counts.text);
  }
  for (const auto& [key, rejection] : from.rejections) {
    if (static_cast<size_t>(to->refusals_size()) == refusals) break;
    auto* refusal = to->add_refusals();
    refusal->set_type(std::string(TypeName(rejection.type)));
    refusal->set_name(rejection.name);
    refusal->set_version(rejection.version);
    refusal->set_waiting(rejection.waiting);
    refusal->set_at_ms(Millis(rejection.at));
    for (const StatusError& error : rejection.errors) {
      auto* out = refusal->add_errors();
      out->set_path(error.path);
      out->set_message(error.message);
      out->set_suggestion(error.suggestion);
      out->set_file(error.file);
      out->set_line(error.line);
    }
  }
  for (const auto& [key, version] : from.versions) {
    if (static_cast<size_t>(to->running_size()) == refusals) break;
    auto* running = to->add_running();
    running->set_type(std::string(TypeName(key.first)));
    running->set_name(key.second);
    running->set_version(version);
  }
}

ResourceRejection DecodeRefusal(const stored::v1::Gateway::Refusal& from, ResourceType type) {
  ResourceRejection rejection;
  rejection.type = type;
  rejection.name = from.name();
  rejection.version = from.version();
  rejection.waiting = from.waiting();
  rejection.at = FromMillis(from.at_ms());
  for (const auto& error : from.errors()) {
    rejection.errors.push_back({.path = error.path(),
                                .message = error.message(),
                                .suggestion = error.suggestion(),
                                .file = error.file(),
                                .line = error.line()});
  }
  return rejection;
}

GatewayStatus DecodeGateway(const stored::v1::Gateway& from, const std::string& instance) {
  GatewayStatus to;
  to.node = from.node();
  to.group = from.group();
  to.address = from.address();
  to.instance = instance;
  to.gateway_version = from.gateway_version();
  to.protocol = from.protocol();
  to.connected = from.connected();
  to.connected_at = FromMillis(from.connected_at_ms());
  to.last_seen = FromMillis(from.last_seen_ms());
  to.sent_revision = from.sent_revision();
  to.accepted_revision = from.accepted_revision();
  for (const auto& counts : from.types()) {
    const std::optional<ResourceType> type = TypeOf(counts.type());
    if (!type.has_value()) continue;
    to.types[static_cast<size_t>(*type)] = {.acks = counts.acks(),
                                            .nacks = counts.nacks(),
                                            .resources = counts.resources(),
                                            .text = counts.text()};
  }
  for (const auto& refusal : from.refusals()) {
    const std::optional<ResourceType> type = TypeOf(refusal.type());
    if (!type.has_value()) continue;
    to.rejections[{*type, refusal.name()}] = DecodeRefusal(refusal, *type);
  }
  for (const auto& running : from.running()) {
    const std::optional<ResourceType> type = TypeOf(running.type());
    if (type.has_value()) to.versions[{*type, running.name()}] = running.version();
  }
  return to;
}

}  // namespace

Encoded Encode(const ResourceSet::All& all, const RevisionNote& note, std::optional<size_t> piece) {
  Encoded encoded;
  stored::v1::Manifest manifest;
  for (const auto& [key, resource] : all) {
    stored::v1::Entry& entry = *manifest.add_entries();
    entry.set_group(resource->group);
    entry.set_type(std::string(TypeName(resource->type)));
    entry.set_name(resource->name);
    entry.set_message(Keep(resource->message, &encoded.blobs));
    const Origin& origin = *resource->origin;
    entry.set_file(origin.file);
    entry.set_line(origin.line);
    entry.set_from_directory(origin.from_directory);
    if (!origin.lines.empty()) entry.set_outline(Keep(OutlineOf(origin), &encoded.blobs));
  }
  encoded.revision.set_revision(note.revision);
  encoded.revision.set_made_ms(Millis(note.made));
  encoded.revision.set_author(note.author);
  encoded.revision.set_comment(note.comment);
  encoded.revision.set_restores(note.restores);
  encoded.revision.set_overruled_directory(note.overruled_directory);
  std::string bytes = manifest.SerializeAsString();
  if (!piece.has_value()) {
    encoded.revision.set_inline_manifest(std::move(bytes));
    return encoded;
  }
  for (size_t at = 0; at < bytes.size(); at += *piece) {
    encoded.revision.add_manifest(Keep(bytes.substr(at, *piece), &encoded.blobs));
  }
  return encoded;
}

absl::StatusOr<stored::v1::Manifest> DecodeManifest(const stored::v1::Revision& revision,
                                                    const Fetch& fetch) {
  std::string bytes = revision.inline_manifest();
  for (const std::string& digest : revision.manifest()) {
    absl::StatusOr<std::string> piece = fetch(digest);
    if (!piece.ok()) return piece.status();
    bytes.append(*piece);
  }
  stored::v1::Manifest manifest;
  if (!manifest.ParseFromString(bytes)) {
    return Unavailable(fmt::format("the list of revision {} cannot be read", revision.revision()));
  }
  return manifest;
}

std::vector<std::string> BlobsOf(const stored::v1::Revision& revision,
                                 const stored::v1::Manifest& manifest) {
  std::vector<std::string> blobs(revision.manifest().begin(), revision.manifest().end());
  for (const auto& entry : manifest.entries()) {
    blobs.push_back(entry.message());
    if (!entry.outline().empty()) blobs.push_back(entry.outline());
  }
  return blobs;
}

absl::StatusOr<ResourceSet::All> Decode(const stored::v1::Manifest& manifest,
                                        const ResourceSet::All& known, const Fetch& fetch) {
  ResourceSet::All all;
  for (const auto& entry : manifest.entries()) {
    const std::optional<ResourceType> type = TypeOf(entry.type());
    if (!type.has_value()) {
      return Unavailable(fmt::format(
          "it has a resource of type \"{}\", which this version does not know", entry.type()));
    }
    absl::StatusOr<std::shared_ptr<const Resource>> resource =
        DecodeResource(entry, *type, known, fetch);
    if (!resource.ok()) return resource.status();
    all.insert_or_assign({entry.group(), *type, entry.name()}, *std::move(resource));
  }
  return all;
}

RevisionNote NoteOf(const stored::v1::Revision& revision) {
  return {.revision = revision.revision(),
          .made = FromMillis(revision.made_ms()),
          .author = revision.author(),
          .comment = revision.comment(),
          .restores = revision.restores(),
          .overruled_directory = revision.overruled_directory()};
}

stored::v1::InstanceStatus EncodeStatus(const Fleet& fleet, size_t refusals) {
  stored::v1::InstanceStatus status;
  status.set_instance(fleet.instance());
  for (const GatewayStatus& gateway : fleet.Own()) {
    EncodeGateway(gateway, refusals, status.add_gateways());
  }
  return status;
}

std::vector<GatewayStatus> DecodeStatus(const stored::v1::InstanceStatus& status) {
  std::vector<GatewayStatus> gateways;
  for (const auto& gateway : status.gateways()) {
    gateways.push_back(DecodeGateway(gateway, status.instance()));
  }
  return gateways;
}

}  // namespace gatehouse::control
