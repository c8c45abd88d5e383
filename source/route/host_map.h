// HostMap: host -> table, in the order exact, longest "*.suffix", longest "prefix.*", "*".
//
// Owner: CompiledRoutes. Built on the main thread, const afterwards, any thread. One hash probe,
// and one per label for wildcards, but for no more labels than the config's longest wildcard has.
//
//   HostMap::Builder builder;
//   builder.Add("*.shop.example", 0);
//   HostMap hosts = std::move(builder).Build();
//   hosts.Find("api.shop.example");   // 0
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "source/route/text_table.h"

namespace gatehouse::route {

class HostMap {
 public:
  static constexpr uint32_t kAbsent = 0xffffffff;

  class Builder {
   public:
    // The domain is checked, in lower case, and added once.
    void Add(std::string_view domain, uint32_t value);
    [[nodiscard]] HostMap Build() &&;

   private:
    TextTable<uint32_t>::Builder names_;
    size_t suffix_labels_ = 0;
    size_t prefix_labels_ = 0;
    uint32_t any_ = kAbsent;
  };

  // The host is in lower case, without port and trailing dot.
  [[nodiscard]] uint32_t Find(std::string_view host) const {
    if (const auto* exact = names_.Find(kExact, host)) return exact->payload;
    return suffix_labels_ + prefix_labels_ == 0 ? any_ : FindWildcard(host);
  }
  [[nodiscard]] size_t MemoryBytes() const { return names_.MemoryBytes(); }

 private:
  enum Scope : uint32_t { kExact, kSuffix, kPrefix };
  [[nodiscard]] uint32_t FindWildcard(std::string_view host) const;

  TextTable<uint32_t> names_;
  size_t suffix_labels_ = 0;  // of the longest "*.suffix", without the star
  size_t prefix_labels_ = 0;
  uint32_t any_ = kAbsent;
};

// Lower case; what is wrong with the domain goes to `error`.
[[nodiscard]] std::string NormalizeDomain(std::string_view domain, std::string& error);

}  // namespace gatehouse::route
