#include "source/filters/registry.h"

#include <memory>

#include "api/gatehouse/v1/filter.pb.h"
#include "fmt/format.h"
#include "source/base/nearest.h"
#include "source/base/status.h"
#include "source/filters/resolve.h"

namespace gatehouse::filters {

void Registry::Add(std::string_view kind, std::string_view type,
                   const google::protobuf::Message& prototype, Builder build) {
  const auto [at, added] =
      by_type_.try_emplace(std::string(type), Kind{std::string(kind), &prototype, build});
  CHECK(added);
  CHECK(by_kind_.try_emplace(std::string(kind), &at->second).second);
}

std::vector<std::string_view> Registry::kinds() const {
  std::vector<std::string_view> kinds;
  for (const auto& [name, kind] : by_kind_) kinds.push_back(name);
  return kinds;
}

absl::StatusOr<AnyFilter> Registry::Build(const gatehouse::v1::Filter& entry,
                                          BuildContext& context) const {
  if (entry.kind_case() == gatehouse::v1::Filter::KIND_NOT_SET) {
    return context.Error("", "a filter needs a kind, such as cors");
  }
  if (entry.kind_case() == gatehouse::v1::Filter::kExtension) {
    return BuildExtension(entry, context);
  }
  const google::protobuf::FieldDescriptor* field =
      entry.GetDescriptor()->FindFieldByNumber(entry.kind_case());
  const auto at = by_kind_.find(field->name());
  if (at == by_kind_.end()) {
    return context.Error("", fmt::format("this build has no filter \"{}\"", field->name()),
                         Nearest(field->name(), kinds()));
  }
  return at->second->build(entry.GetReflection()->GetMessage(entry, field), context);
}

absl::StatusOr<AnyFilter> Registry::BuildExtension(const gatehouse::v1::Filter& entry,
                                                   BuildContext& context) const {
  const std::string_view type = KindOf(entry);
  const auto at = by_type_.find(type);
  if (at == by_type_.end()) {
    std::vector<std::string_view> types;
    for (const auto& [name, kind] : by_type_) types.push_back(name);
    return context.Error("", fmt::format("no filter takes a config of the type \"{}\"", type),
                         Nearest(type, types));
  }
  const std::unique_ptr<google::protobuf::Message> config(at->second.prototype->New());
  if (!config->ParseFromString(entry.extension().value())) {
    return context.Error("", fmt::format("not a serialized \"{}\"", type));
  }
  return at->second.build(*config, context);
}

}  // namespace gatehouse::filters
