// Registry: which kinds of filters there are. An object that main() fills, not a set of globals.
//
// Owner: main; const once it is filled. Thread: main.
//
//   Registry registry;
//   RegisterBuiltinFilters(registry);                          // builtin.h
//   registry.Register<ApiKey, acme::ApiKeyConfig>("api_key");  // docs/writing_a_filter.md
//   absl::StatusOr<AnyFilter> filter = registry.Build(entry, context);
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include <google/protobuf/message.h>

#include "source/base/check.h"
#include "source/filters/build_context.h"
#include "source/filters/filter.h"

namespace gatehouse::v1 {
class Filter;
}

namespace gatehouse::filters {

class Registry {
 public:
  // F::Build(const Proto&, BuildContext&) -> absl::StatusOr<F>. `kind` is the name of the field in
  // gatehouse.v1.Filter; filters from outside the tree are found by the type of their config, in
  // `extension`. Each kind and each type once.
  template <typename F, typename Proto>
  void Register(std::string_view kind) {
    Add(kind, Proto::descriptor()->full_name(), Proto::default_instance(),
        [](const google::protobuf::Message& config,
           BuildContext& context) -> absl::StatusOr<AnyFilter> {
          absl::StatusOr<F> built = F::Build(static_cast<const Proto&>(config), context);
          if (!built.ok()) return built.status();
          return MakeAnyFilter(*std::move(built));
        });
  }

  // The filter of an entry; `context` is that of its config. Errors are noted in `context`.
  [[nodiscard]] absl::StatusOr<AnyFilter> Build(const gatehouse::v1::Filter& entry,
                                                BuildContext& context) const;
  [[nodiscard]] std::vector<std::string_view> kinds() const;

 private:
  using Builder = absl::StatusOr<AnyFilter> (*)(const google::protobuf::Message&, BuildContext&);
  struct Kind {
    std::string name;
    const google::protobuf::Message* prototype;
    Builder build;
  };
  void Add(std::string_view kind, std::string_view type, const google::protobuf::Message& prototype,
           Builder build);
  [[nodiscard]] absl::StatusOr<AnyFilter> BuildExtension(const gatehouse::v1::Filter& entry,
                                                         BuildContext& context) const;

  std::map<std::string, Kind, std::less<>> by_type_;  // full name of the config's message
  std::map<std::string, const Kind*, std::less<>> by_kind_;
};

}  // namespace gatehouse::filters
