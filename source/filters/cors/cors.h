// cors: cross-origin resource sharing at the edge (Fetch standard, section 3.2).
//
// Preflights are answered here; other responses get the fields that let a browser hand them to the
// page. The gateway is the one authority: what the origin server says about CORS is taken out.
// Errors of the gateway and of later filters get the fields too, else a page could not read them.
//
//   filters:
//   - cors: { allow_origins: ["https://shop.example"], allow_credentials: true }
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

#include "source/filters/filter.h"
#include "source/filters/filter_context.h"
#include "source/filters/origin_set.h"
#include "source/http/header_map.h"

namespace gatehouse::filters::v1 {
class Cors;
}

namespace gatehouse::filters {

class BuildContext;

class Cors {
 public:
  static constexpr Hooks kHooks = Hooks::kRequestHeaders | Hooks::kResponseHeaders;
  [[nodiscard]] static absl::StatusOr<Cors> Build(const filters::v1::Cors& config,
                                                  BuildContext& build);

  struct Call {
    Verdict OnRequestHeaders(const Cors& filter, FilterContext& context);
    Verdict OnResponseHeaders(const Cors& filter, FilterContext& context);

   private:
    std::string_view origin_;  // empty: none came
    bool allowed_ = false;
    bool preflight_ = false;  // answered here
  };

 private:
  Cors() = default;
  void DecoratePreflight(FilterContext& context) const;
  void AllowOrigin(http::HeaderMap& response, std::string_view origin) const;

  OriginSet origins_;
  std::string allow_methods_;   // empty: what was asked for
  std::string allow_headers_;   // empty: what was asked for
  std::string expose_headers_;  // empty: none
  std::string max_age_;
  bool credentials_ = false;
  bool private_network_ = false;
  bool shadow_ = false;
  bool forward_preflight_ = false;
};

}  // namespace gatehouse::filters
