// cors: cross-origin resource sharing at the edge (Fetch standard, section 3.2).
//
// Preflights are answered here; other responses get the fields that let a browser hand them to the
// page. The gateway is the one authority: what the origin server says about CORS is taken out.
// Errors of the gateway and of later filters get the fields too, else a page could not read them.
//
//   filters:
//   - cors: { allow_origins: ["https://shop.example"], allow_credentials: true }
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "absl/status/statusor.h"

#include "source/filters/filter.h"
#include "source/filters/filter_context.h"
#include "source/http/header_map.h"

namespace re2 {
class RE2;
}

namespace gatehouse::filters::v1 {
class Cors;
}

namespace gatehouse::filters {

class BuildContext;

// Which origins are allowed. An origin is compared as browsers write it: lower case, no default
// port, no slash at the end.
class OriginSet {
 public:
  // False, with the reason in `error`, when the pattern is none.
  [[nodiscard]] bool AddPattern(std::string_view pattern, std::string& error);
  [[nodiscard]] bool AddRegex(std::string_view regex, std::string& error);

  // "null" (a sandboxed page, a local file) only when it is listed by that name.
  [[nodiscard]] bool Allows(std::string_view origin) const;
  // "*" is in it.
  [[nodiscard]] bool allows_any() const { return any_; }
  // It would say yes to any site whatever, by "*" or by a regex.
  [[nodiscard]] bool IsOpen() const;
  [[nodiscard]] bool empty() const;

 private:
  struct Suffix {
    std::string scheme;  // "https://"
    std::string host;    // ".shop.example" or ".shop.example:8443"
  };
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };

  bool any_ = false;
  std::unordered_set<std::string, Hash, std::equal_to<>> exact_;
  std::vector<Suffix> suffixes_;
  std::vector<std::shared_ptr<const re2::RE2>> regexes_;
};

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
