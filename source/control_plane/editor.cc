#include "source/control_plane/editor.h"

#include <algorithm>
#include <chrono>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "source/base/status.h"

namespace gatehouse::control {
namespace {

// Several control planes that change things all the time: somebody gets through each time.
constexpr int kTries = 10;

absl::Status BelongsToDirectory(const Resource& resource) {
  return MakeStatus(absl::StatusCode::kAlreadyExists,
                    fmt::format("{} {} is written in {}; change it there", TypeName(resource.type),
                                resource.name, PlaceOf(resource)));
}

// Keeps the pointers of what did not change, which is what makes sets share.
void Put(const std::shared_ptr<const Resource>& resource, ResourceSet::All* all) {
  auto& there = (*all)[{resource->group, resource->type, resource->name}];
  if (there != nullptr && there->message == resource->message &&
      *there->origin == *resource->origin) {
    return;
  }
  there = resource;
}

bool SameResources(const ResourceSet::All& a, const ResourceSet::All& b) {
  return std::ranges::equal(a, b, [](const auto& left, const auto& right) {
    return left.first == right.first &&
           (left.second == right.second || (left.second->message == right.second->message &&
                                            *left.second->origin == *right.second->origin));
  });
}

}  // namespace

std::string Editor::OverruledDirectory() const {
  absl::StatusOr<std::vector<RevisionNote>> newest = store_.History(1);
  if (!newest.ok() || newest->empty()) return {};
  return newest->front().overruled_directory;
}

void Editor::SetDirectoryContent(const std::string& content) {
  const std::lock_guard lock(mutex_);
  directory_content_ = content;
}

absl::StatusOr<Change> Editor::Make(const Edit& edit, const ChangeOptions& options) {
  const std::lock_guard lock(changing_);
  absl::StatusOr<Change> change;
  for (int i = 0; i < kTries; ++i) {
    change = MakeOnce(edit, options);
    if (change.ok() || !absl::IsAborted(change.status()) || options.base.has_value()) break;
  }
  return change;
}

absl::StatusOr<Change> Editor::MakeOnce(const Edit& edit, const ChangeOptions& options) {
  Change change;
  change.before = change.after = store_.Current();
  const uint64_t base = change.before->revision();
  if (options.base.has_value() && *options.base != base) {
    return MakeStatus(absl::StatusCode::kAborted,
                      fmt::format("the newest revision is {} and not {}; look at what has changed "
                                  "and try again",
                                  base, *options.base));
  }
  // Not before: of a revision that is newer than `base` it does not matter, the commit is refused.
  const std::string overruled = OverruledDirectory();
  RevisionNote note{.made = std::chrono::system_clock::now(),
                    .author = options.author,
                    .comment = options.comment,
                    .overruled_directory = overruled};
  absl::StatusOr<ResourceSet::All> all = edit(*change.before, note);
  if (!all.ok()) return all.status();
  const bool same = SameResources(change.before->all(), *all);
  if (same && note.overruled_directory == overruled) return change;
  if (all->empty() && !change.before->all().empty() && !options.allow_empty) {
    return MakeStatus(
        absl::StatusCode::kFailedPrecondition,
        fmt::format("this would take all {} resources away from all gateways; if that is meant, "
                    "say so with --allow-empty",
                    change.before->all().size()));
  }
  change.after = std::make_shared<const ResourceSet>(base + 1, *all, change.before);
  if (options.dry_run && options.unchecked) return change;
  if (validator_ != nullptr) {
    absl::StatusOr<config::ErrorList> found = validator_->Check(*change.after);
    if (!found.ok()) return found.status();
    change.problems = *std::move(found);
  }
  if (change.refused() || options.dry_run) return change;
  absl::StatusOr<std::shared_ptr<const ResourceSet>> made =
      store_.Commit(base, *std::move(all), note);
  if (!made.ok()) return made.status();
  change.after = *std::move(made);
  return change;
}

absl::StatusOr<Change> Editor::Apply(const Resources& resources, const ChangeOptions& options) {
  const auto edit = [&](const ResourceSet& current,
                        RevisionNote& /*note*/) -> absl::StatusOr<ResourceSet::All> {
    ResourceSet::All all = current.all();
    std::set<std::string> groups;
    for (const auto& resource : resources) {
      groups.insert(resource->group);
      const auto there = all.find({resource->group, resource->type, resource->name});
      if (there != all.end() && there->second->origin->from_directory) {
        return BelongsToDirectory(*there->second);
      }
    }
    if (options.prune) {
      std::erase_if(all, [&](const auto& entry) {
        return groups.count(entry.first.group) != 0 && !entry.second->origin->from_directory;
      });
    }
    for (const auto& resource : resources) {
      const ResourceSet::Key key{resource->group, resource->type, resource->name};
      const auto before = current.all().find(key);
      if (before != current.all().end()) all[key] = before->second;
      Put(resource, &all);
    }
    return all;
  };
  return Make(edit, options);
}

absl::StatusOr<Change> Editor::Remove(const ResourceSet::Key& key, const ChangeOptions& options) {
  const auto edit = [&](const ResourceSet& current,
                        RevisionNote& /*note*/) -> absl::StatusOr<ResourceSet::All> {
    ResourceSet::All all = current.all();
    const auto at = all.find(key);
    if (at == all.end()) {
      return NotFound(
          fmt::format("there is no {} {}{}", TypeName(key.type), key.name,
                      key.group.empty() ? "" : fmt::format(" in group \"{}\"", key.group)));
    }
    if (at->second->origin->from_directory) return BelongsToDirectory(*at->second);
    all.erase(at);
    return all;
  };
  return Make(edit, options);
}

absl::StatusOr<Change> Editor::RollBack(uint64_t revision, const ChangeOptions& options) {
  absl::StatusOr<std::shared_ptr<const ResourceSet>> old = store_.Load(revision);
  if (!old.ok()) return old.status();
  const auto edit = [&](const ResourceSet& /*current*/,
                        RevisionNote& note) -> absl::StatusOr<ResourceSet::All> {
    note.restores = revision;
    const std::lock_guard lock(mutex_);
    note.overruled_directory = directory_content_;
    return (*old)->all();
  };
  return Make(edit, options);
}

absl::StatusOr<Change> Editor::UseDirectory(const Resources& resources, const std::string& content,
                                            const ChangeOptions& options) {
  SetDirectoryContent(content);
  const auto edit = [&](const ResourceSet& current,
                        RevisionNote& note) -> absl::StatusOr<ResourceSet::All> {
    ResourceSet::All all = current.all();
    if (!content.empty() && note.overruled_directory == content) return all;
    note.overruled_directory.clear();
    const bool had_some = std::ranges::any_of(
        all, [](const auto& entry) { return entry.second->origin->from_directory; });
    if (resources.empty() && had_some && !options.allow_empty) {
      return MakeStatus(absl::StatusCode::kFailedPrecondition,
                        "the directory has no resources any more; the last ones stay, as this "
                        "would take them away from all gateways. If that is meant, start "
                        "`gatehouse-control serve` with --allow-empty");
    }
    std::set<ResourceSet::Key> written;
    for (const auto& resource : resources) {
      const ResourceSet::Key key{resource->group, resource->type, resource->name};
      const auto there = all.find(key);
      if (there != all.end() && !there->second->origin->from_directory) {
        return MakeStatus(
            absl::StatusCode::kAlreadyExists,
            fmt::format("{}: {} {} was applied through the API before; `gatehouse-control delete "
                        "{} {}{}`, and it is the directory's",
                        PlaceOf(*resource), TypeName(key.type), key.name, TypeName(key.type),
                        key.name, key.group.empty() ? "" : " --group " + key.group));
      }
      Put(resource, &all);
      written.insert(key);
    }
    std::erase_if(all, [&](const auto& entry) {
      return entry.second->origin->from_directory && written.count(entry.first) == 0;
    });
    return all;
  };
  return Make(edit, options);
}

}  // namespace gatehouse::control
