#include "source/control_plane/response_body.h"

#include <algorithm>
#include <utility>

#include "fmt/format.h"

namespace gatehouse::control {

namespace {

// Field numbers of discovery.proto and of google.protobuf.Any. All fields here are of wire type 2,
// length and bytes. Written by hand, since a message object would copy each resource twice.
constexpr int kVersionInfo = 1;  // system_version_info, too
constexpr int kResources = 2;
constexpr int kTypeUrl = 4;
constexpr int kNonce = 5;
constexpr int kWorldControlPlane = 6;
constexpr int kRemovedResources = 6;
constexpr int kDeltaControlPlane = 7;
constexpr int kIdentifier = 1;
constexpr int kResourceVersion = 1;
constexpr int kResourceAny = 2;
constexpr int kResourceName = 3;
constexpr int kAnyTypeUrl = 1;
constexpr int kAnyValue = 2;

size_t VarintSize(uint64_t value) {
  size_t size = 1;
  for (; value >= 0x80; value >>= 7) ++size;
  return size;
}

// Of a field whose number is below 16.
size_t FieldSize(size_t length) { return 1 + VarintSize(length) + length; }

void AppendHead(std::string& out, int field, size_t length) {
  out.push_back(static_cast<char>((field << 3) | 2));
  uint64_t rest = length;
  for (; rest >= 0x80; rest >>= 7) out.push_back(static_cast<char>((rest & 0x7f) | 0x80));
  out.push_back(static_cast<char>(rest));
}

void AppendField(std::string& out, int field, std::string_view bytes) {
  AppendHead(out, field, bytes.size());
  out.append(bytes);
}

size_t AnySize(const Resource& resource) {
  return FieldSize(TypeUrl(resource.type).size()) + FieldSize(resource.message.size());
}

void AppendAny(std::string& out, const Resource& resource) {
  AppendField(out, kAnyTypeUrl, TypeUrl(resource.type));
  AppendField(out, kAnyValue, resource.message);
}

size_t DeltaSize(const Resource& resource) {
  return FieldSize(resource.version.size()) + FieldSize(AnySize(resource)) +
         FieldSize(resource.name.size());
}

void AppendDelta(std::string& out, const Resource& resource) {
  AppendHead(out, kResources, DeltaSize(resource));
  AppendField(out, kResourceVersion, resource.version);
  AppendHead(out, kResourceAny, AnySize(resource));
  AppendAny(out, resource);
  AppendField(out, kResourceName, resource.name);
}

// FNV-1a, 64 bits: for telling states apart, not for safety.
uint64_t Mix(uint64_t hash, std::string_view text) {
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return (hash ^ 0xff) * 0x100000001b3;
}

auto FindByName(const Resources& resources, std::string_view name) {
  const auto found = std::lower_bound(
      resources.begin(), resources.end(), name,
      [](const auto& resource, std::string_view key) { return resource->name < key; });
  return found != resources.end() && (*found)->name == name ? found : resources.end();
}

}  // namespace

std::shared_ptr<const Resource> ResponseBody::Find(std::string_view name) const {
  const auto found = FindByName(resources, name);
  return found == resources.end() ? nullptr : *found;
}

bool ResponseBody::Covers(std::string_view name) const {
  return complete || FindByName(resources, name) != resources.end() ||
         std::binary_search(removed.begin(), removed.end(), name, std::less<>());
}

Body ResponseWriter::Finish(std::shared_ptr<ResponseBody> body) const {
  std::string control_plane;
  AppendField(control_plane, kIdentifier, identifier_);
  AppendField(body->bytes, kTypeUrl, TypeUrl(body->type));
  AppendField(body->bytes, body->complete ? kWorldControlPlane : kDeltaControlPlane, control_plane);
  body->bytes.shrink_to_fit();
  return body;
}

Bodies ResponseWriter::Delta(ResourceType type, Resources upserts,
                             std::vector<std::string> removed) const {
  Bodies bodies;
  auto body = std::make_shared<ResponseBody>();
  body->type = type;
  const auto make_room = [&](size_t size) {
    if (body->bytes.empty() || body->bytes.size() + size <= max_bytes_) return;
    bodies.push_back(Finish(std::move(body)));
    body = std::make_shared<ResponseBody>();
    body->type = type;
  };
  for (auto& resource : upserts) {
    make_room(DeltaSize(*resource));
    AppendDelta(body->bytes, *resource);
    body->resources.push_back(std::move(resource));
  }
  for (auto& name : removed) {
    make_room(name.size());
    AppendField(body->bytes, kRemovedResources, name);
    body->removed.push_back(std::move(name));
  }
  bodies.push_back(Finish(std::move(body)));
  return bodies;
}

Body ResponseWriter::Complete(ResourceType type, Resources resources) const {
  auto body = std::make_shared<ResponseBody>();
  body->type = type;
  body->complete = true;
  uint64_t version = 0xcbf29ce484222325;
  size_t size = 0;
  for (const auto& resource : resources) {
    version = Mix(Mix(version, resource->name), resource->version);
    size += AnySize(*resource) + 8;
  }
  body->bytes.reserve(size + 256);
  AppendField(body->bytes, kVersionInfo, fmt::format("{:016x}", version));
  for (const auto& resource : resources) {
    AppendHead(body->bytes, kResources, AnySize(*resource));
    AppendAny(body->bytes, *resource);
  }
  body->resources = std::move(resources);
  return Finish(std::move(body));
}

std::string DeltaTail(uint64_t revision, std::string_view nonce) {
  std::string tail;
  AppendField(tail, kVersionInfo, fmt::format("{}", revision));
  AppendField(tail, kNonce, nonce);
  return tail;
}

std::string WorldTail(std::string_view nonce) {
  std::string tail;
  AppendField(tail, kNonce, nonce);
  return tail;
}

}  // namespace gatehouse::control
