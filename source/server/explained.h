// Explained: what a gateway would do with a request and why, as plain data; as text for people and
// as JSON.
//
// Plain values; any thread. Made by Explain() (explain.h). Fields that do not apply are empty.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace gatehouse::server {

// Names and values in the order in which they are told.
using ExplainedFacts = std::vector<std::pair<std::string, std::string>>;

struct Explained {
  // What the gateway answers itself, without a route or in place of what its route does.
  struct Answer {
    uint16_t status = 0;
    std::string code;  // as in the problem object: "no_route"
    std::string why;
    std::string allow;
    std::string location;
  };
  struct Candidate {
    std::string route;
    std::string table;
    std::string outcome;  // "matched", "mounted", "method", "header", ...
    std::string detail;
  };
  // A table of the listener that did not give the route. Only when no route was found.
  struct Table {
    std::string name;
    std::vector<std::string> domains;
    std::string why;
    std::string nearest;  // a domain or path that was probably meant
  };
  struct Filter {
    std::string name;
    std::string kind;
    std::string from;  // "table shop", "route", "built in"
    std::string note;  // its own words
  };
  struct Endpoint {
    std::string address;
    std::string name;  // as configured, when that is not the address
    uint32_t weight = 1;
    bool healthy = true;
    bool usable = true;  // the balancer may choose it
  };
  struct Target {
    std::string cluster;
    std::string share;      // "95 of 100"
    bool chosen = false;    // it is known that this request goes here
    ExplainedFacts adds;    // headers
    ExplainedFacts limits;  // of the cluster
    std::vector<Endpoint> endpoints;
    std::string endpoints_note;
  };

  std::string method;
  std::string url;
  std::string listener;
  std::string address;  // of the listener
  bool tls = false;
  std::string client;
  std::string host;
  std::string path_given;
  std::string path;  // normalised, with the query
  std::string domain;
  std::string table;  // of the domain
  std::string preflight;
  std::vector<Candidate> candidates;
  std::optional<Answer> answer;
  std::vector<Table> tables;

  std::string route;  // empty: none
  std::string route_table;
  std::vector<std::string> mounts;  // "table/route", the innermost first
  std::string match;                // as it is configured, JSON
  ExplainedFacts captures;
  std::vector<Filter> filters;
  std::vector<std::string> filters_off;
  std::string action;      // "forward", "split", "redirect", "respond"
  ExplainedFacts effects;  // of the action on this request
  ExplainedFacts limits;   // of the route
  std::vector<Target> targets;
};

// Lines for a terminal, ending in a line break.
[[nodiscard]] std::string ToText(const Explained& explained);
[[nodiscard]] std::string ToJson(const Explained& explained);

}  // namespace gatehouse::server
