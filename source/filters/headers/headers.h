// headers: removes, renames, sets, adds and appends header fields on the way in and out.
//
//   filters:
//   - headers:
//       request: { remove: [X-Debug], set: { X-Client: "$(client_ip)" } }
//       response: { add: { Cache-Control: no-store } }
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "source/filters/filter.h"
#include "source/filters/filter_context.h"
#include "source/filters/substitution.h"
#include "source/http/header_map.h"

namespace gatehouse::filters::v1 {
class HeaderChanges;
class Headers;
}  // namespace gatehouse::filters::v1

namespace gatehouse::filters {

class BuildContext;

// What is done to one head, in order. Const, shared.
class HeaderChanges {
 public:
  // `field`: where `config` is, for errors, which are noted in `build`.
  [[nodiscard]] static absl::StatusOr<HeaderChanges> Build(const v1::HeaderChanges& config,
                                                           std::string_view field,
                                                           Substitution::Scope scope,
                                                           BuildContext& build);

  void Apply(http::HeaderMap& headers, FilterContext& context) const;

 private:
  enum class Action : uint8_t { kRemove, kRename, kSet, kAdd, kAppend };
  struct Change {
    Action action;
    std::string name;
    std::string to;  // kRename
    Substitution value;
  };
  class Reader;

  static void Rename(http::HeaderMap& headers, const Change& change);

  std::vector<Change> changes_;
};

class Headers {
 public:
  static constexpr Hooks kHooks = Hooks::kRequestHeaders | Hooks::kResponseHeaders;
  [[nodiscard]] static absl::StatusOr<Headers> Build(const v1::Headers& config,
                                                     BuildContext& build);

  struct Call {
    Verdict OnRequestHeaders(const Headers& filter, FilterContext& context) {
      filter.request_.Apply(context.request(), context);
      return Continue();
    }
    Verdict OnResponseHeaders(const Headers& filter, FilterContext& context) {
      filter.response_.Apply(context.response(), context);
      return Continue();
    }
  };

 private:
  Headers(HeaderChanges request, HeaderChanges response)
      : request_(std::move(request)), response_(std::move(response)) {}

  HeaderChanges request_;
  HeaderChanges response_;
};

}  // namespace gatehouse::filters
