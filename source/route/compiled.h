// CompiledRoutes: what RouteTable holds. Flat arrays, referred to by number.
//
// Written by Compiler (main thread), const afterwards, read by Lookup on any thread.
//
//   hosts -> Domain -> Table -> Levels (one per priority, highest first), each:
//     exact paths    TextTable (level, path) -> first route of a list
//     trie           Node by Node: TextTable (node, segment) -> child; a chain of segments without
//     a
//                    choice is one Node. Each Node has up to three lists:
//                      end   of templates that end here
//                      tail  of templates with a tail, then prefixes, that apply from here on
//                      regex of those whose literal part leads here
//   list -> consecutive RouteEntries in the order in which they are tried
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"

#include "re2/re2.h"
#include "source/base/arena.h"
#include "source/route/host_map.h"
#include "source/route/predicate.h"
#include "source/route/regex.h"
#include "source/route/text_table.h"

namespace gatehouse::route {

inline constexpr uint32_t kNone = 0xffffffff;

// What a look-up touches of a route; the rest is in RouteLabel.
struct RouteEntry {
  enum Flag : uint8_t {
    kLast = 1,     // of its list
    kMount = 2,    // `detail` is an index into mounts
    kRegex = 4,    // `detail` is an index into regex_paths
    kTail = 8,     // the last capture is what follows
    kIndexed = 16  // first of a list that has a HeaderIndex
  };
  uint32_t methods = 0;  // bits; 0: all
  uint32_t predicates = 0;
  uint16_t predicate_count = 0;
  uint8_t flags = 0;
  uint8_t capture_count = 0;
  uint32_t action = 0;
  uint32_t matched_size = kNone;  // kNone: the whole path
  uint32_t detail = 0;

  [[nodiscard]] bool Has(Flag flag) const { return (flags & flag) != 0; }
};
static_assert(sizeof(RouteEntry) == 24);

struct RouteLabel {
  std::string_view name;
  uint32_t table = 0;  // into table_names
  uint32_t index = 0;  // in its TableSpec
  uint32_t mount = kNone;
  uint32_t capture_names = 0;
};

// Entered by a segment (literal: the key of its record; or a capture). Then comes its label: the
// rest of a chain without a choice, as "/v1/\x01/orders", where \x01 is a capture.
struct Node {
  uint32_t id = 0;                 // the scope of its children
  uint32_t capture_child = kNone;  // record in nodes
  uint32_t end = kNone;            // route
  uint32_t tail = kNone;           // route
  uint32_t regex = kNone;          // into regex_lists
  bool has_children = false;       // literal ones
  bool label_captures = false;
};
inline constexpr char kLabelCapture = '\x01';  // no pattern has control characters

struct Level {
  uint32_t root = kNone;  // record in nodes
  bool has_exact = false;
};

struct CompiledTable {
  uint32_t first_level = 0;
  uint32_t level_count = 0;
};

struct Domain {
  std::string_view text;
  uint32_t table = 0;
  std::string_view table_name;
};

struct RegexPath {
  const re2::RE2* regex = nullptr;
  uint32_t routes = 0;        // list
  int group_count = 0;        // groups up to the last named one, and the whole match
  std::vector<int> captures;  // group of each capture
};

// Over a list whose routes differ by the value of one header.
struct HeaderIndex {
  http::Name id{};
  std::string_view name;
  uint32_t others = 0;  // into indexed_routes: the routes without an exact value for it
};

struct CompiledRoutes {
  // Bits of http::Method's known methods, then extension methods from this bit on.
  static constexpr uint32_t kFirstExtensionBit = 16;

  HostMap hosts;  // -> domains
  std::vector<Domain> domains;
  std::vector<CompiledTable> tables;
  std::vector<Level> levels;
  TextTable<uint32_t> exact_paths;  // (level, path) -> route
  TextTable<Node> nodes;            // (id of the parent, segment) -> node, with its label

  std::vector<RouteEntry> routes;
  std::vector<RouteLabel> route_labels;
  std::vector<Predicate> predicates;
  std::vector<std::vector<uint32_t>> mounts;  // tables
  std::vector<std::string_view> capture_names;
  std::vector<std::string_view> table_names;
  std::vector<std::string_view> extension_methods;

  std::vector<RegexList> regex_lists;  // ids are into regex_paths
  std::vector<RegexPath> regex_paths;
  absl::flat_hash_map<uint32_t, uint32_t> header_index_of;  // first route of a list -> index
  std::vector<HeaderIndex> header_indexes;
  TextTable<uint32_t> header_values;     // (header index, value) -> into indexed_routes
  std::vector<uint32_t> indexed_routes;  // ascending runs, each ended by kNone

  std::vector<std::unique_ptr<const re2::RE2>> regexes;
  Arena text;  // behind all string_views

  [[nodiscard]] size_t MemoryBytes() const;
};

}  // namespace gatehouse::route
