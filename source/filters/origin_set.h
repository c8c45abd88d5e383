// OriginSet: which origins a config allows.
//
// Built on main, const afterwards, shared by workers.
//
//   OriginSet origins;
//   if (!origins.AddPattern("https://*.shop.example", error)) ...
//   if (origins.Allows("https://www.shop.example")) ...
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

namespace re2 {
class RE2;
}

namespace gatehouse::filters {

// An origin is compared as browsers write it: lower case, no default
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
  // It would say yes to any site whatever, by "*", by a regex, or by "null", which every site can
  // be in a sandboxed frame.
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

}  // namespace gatehouse::filters
