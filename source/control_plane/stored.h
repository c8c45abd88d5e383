// Revisions as stores keep them (api/gatehouse/stored/v1): to blobs, and back.
//
// Plain functions; any thread.
//
//   Encoded encoded = Encode(all, note);
//   for (const auto& [digest, blob] : encoded.blobs) Keep(digest, blob);
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "api/gatehouse/stored/v1/stored.pb.h"
#include "source/control_plane/fleet.h"
#include "source/control_plane/resource_set.h"
#include "source/control_plane/store.h"

namespace gatehouse::control {

using Blobs = std::map<std::string, std::string>;  // by the content's SHA-256

struct Encoded {
  stored::v1::Revision revision;
  // All that it needs: resources, outlines and the pieces of the manifest.
  Blobs blobs;
};
// Cuts the manifest into blobs of at most `piece` bytes, or keeps it in the revision.
[[nodiscard]] Encoded Encode(const ResourceSet::All& all, const RevisionNote& note,
                             std::optional<size_t> piece);

// The content of a blob, or why it is not to be had.
using Fetch = std::function<absl::StatusOr<std::string>(const std::string& digest)>;
[[nodiscard]] absl::StatusOr<stored::v1::Manifest> DecodeManifest(
    const stored::v1::Revision& revision, const Fetch& fetch);
// Blobs that the revision's resources are made of.
[[nodiscard]] std::vector<std::string> BlobsOf(const stored::v1::Revision& revision,
                                               const stored::v1::Manifest& manifest);
// What is in `known` with the same content is shared with it, and not fetched.
[[nodiscard]] absl::StatusOr<ResourceSet::All> Decode(const stored::v1::Manifest& manifest,
                                                      const ResourceSet::All& known,
                                                      const Fetch& fetch);
[[nodiscard]] RevisionNote NoteOf(const stored::v1::Revision& revision);

// `refusals`: of each gateway, at most so many.
[[nodiscard]] stored::v1::InstanceStatus EncodeStatus(const Fleet& fleet, size_t refusals);
[[nodiscard]] std::vector<GatewayStatus> DecodeStatus(const stored::v1::InstanceStatus& status);

}  // namespace gatehouse::control
