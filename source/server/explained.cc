#include "source/server/explained.h"

#include <algorithm>
#include <iterator>
#include <string_view>

#include <fmt/format.h>

#include "source/base/json.h"

namespace gatehouse::server {
namespace {

// Lines of a label and what belongs to it; several lines of one label stand below each other.
class TextPage {
 public:
  void Line(std::string_view label, std::string_view text) {
    if (text.empty()) return;
    fmt::format_to(std::back_inserter(out_), "{:<13}{}\n", label == label_ ? "" : label, text);
    label_ = label;
  }
  // Rows below a label, in columns.
  void Rows(std::string_view label, const std::vector<std::vector<std::string>>& rows) {
    std::vector<size_t> widths;
    for (const auto& row : rows) {
      widths.resize(std::max(widths.size(), row.size()));
      for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
    }
    for (const auto& row : rows) {
      std::string line;
      for (size_t i = 0; i < row.size(); ++i) line += fmt::format("{:<{}}  ", row[i], widths[i]);
      line.erase(line.find_last_not_of(' ') + 1);
      Line(label, line);
    }
  }
  void Facts(std::string_view label, const ExplainedFacts& facts) {
    std::vector<std::vector<std::string>> rows;
    for (const auto& [name, value] : facts) rows.push_back({name, value});
    Rows(label, rows);
  }
  // What comes has a label of its own, even if that is the same.
  void Break() { label_ = {}; }
  [[nodiscard]] std::string Take() { return std::move(out_); }

 private:
  std::string out_;
  std::string label_;
};

template <typename List>
std::string Join(const List& list, std::string_view between = ", ") {
  return fmt::format("{}", fmt::join(list, between));
}

void WriteRequest(const Explained& explained, TextPage& page) {
  page.Line("request", fmt::format("{} {}", explained.method, explained.url));
  page.Line("listener", fmt::format("{} on {}{}", explained.listener, explained.address,
                                    explained.tls ? ", TLS" : ""));
  page.Line("client", explained.client);
  page.Line("host", explained.host);
  page.Line("path", explained.path_given == explained.path || explained.path.empty()
                        ? explained.path
                        : fmt::format("{}  (came as {})", explained.path, explained.path_given));
  if (!explained.domain.empty()) {
    page.Line("domain", fmt::format("{}  of table {}", explained.domain, explained.table));
  }
  page.Line("preflight", explained.preflight);
  std::vector<std::vector<std::string>> rows;
  for (const Explained::Candidate& candidate : explained.candidates) {
    rows.push_back({fmt::format("{}/{}", candidate.table, candidate.route), candidate.outcome,
                    candidate.detail});
  }
  page.Rows("tried", rows);
}

void WriteAnswer(const Explained& explained, TextPage& page) {
  if (!explained.answer) return;
  const Explained::Answer& answer = *explained.answer;
  page.Line("answer", answer.code.empty()
                          ? fmt::format("{}: {}", answer.status, answer.why)
                          : fmt::format("{} {}: {}", answer.status, answer.code, answer.why));
  page.Line("allow", answer.allow);
  page.Line("location", answer.location);
  for (const Explained::Table& table : explained.tables) {
    std::string line = fmt::format("{}: {}", table.name, table.why);
    if (!table.nearest.empty()) line += fmt::format("; did you mean {}?", table.nearest);
    page.Line("table", line);
  }
}

void WriteTarget(const Explained::Target& target, TextPage& page) {
  page.Break();
  std::string line = target.cluster;
  if (!target.share.empty()) line += fmt::format("  {}", target.share);
  if (target.chosen) line += "  <- this request";
  page.Line("cluster", line);
  for (const auto& [name, value] : target.adds) {
    page.Line("  adds", fmt::format("{}: {}", name, value));
  }
  std::vector<std::string> limits;
  for (const auto& [name, value] : target.limits)
    limits.push_back(fmt::format("{} {}", name, value));
  page.Line("  limits", Join(limits));
  std::vector<std::vector<std::string>> rows;
  for (const Explained::Endpoint& endpoint : target.endpoints) {
    rows.push_back({endpoint.address, fmt::format("weight {}", endpoint.weight),
                    endpoint.healthy ? "healthy" : "not healthy",
                    endpoint.usable ? "" : "is not chosen", endpoint.name});
  }
  page.Rows("  endpoints", rows);
  page.Line("  endpoints", target.endpoints_note);
}

void WriteRoute(const Explained& explained, TextPage& page) {
  if (explained.route.empty()) return;
  page.Line("route", fmt::format("{}/{}", explained.route_table, explained.route));
  for (const std::string& mount : explained.mounts) page.Line("mounted by", mount);
  page.Line("match", explained.match);
  page.Facts("captures", explained.captures);
  std::vector<std::vector<std::string>> rows;
  for (const Explained::Filter& filter : explained.filters) {
    rows.push_back({filter.kind.empty() || filter.kind == filter.name
                        ? filter.name
                        : fmt::format("{} ({})", filter.name, filter.kind),
                    filter.from, filter.note});
  }
  page.Rows("filters", rows);
  for (const std::string& off : explained.filters_off) page.Line("without", off);
  page.Facts("limits", explained.limits);
  page.Line("action", explained.action);
  page.Facts("  which", explained.effects);
  for (const Explained::Target& target : explained.targets) WriteTarget(target, page);
}

// One JSON object or list, written as it goes. What is empty is left out.
class JsonPage {
 public:
  void Text(std::string_view name, std::string_view value) {
    if (!value.empty()) Raw(name, QuoteJson(value));
  }
  void Flag(std::string_view name, bool value) { Raw(name, value ? "true" : "false"); }
  void Number(std::string_view name, uint64_t value) { Raw(name, fmt::format("{}", value)); }
  void Facts(std::string_view name, const ExplainedFacts& facts) {
    if (facts.empty()) return;
    std::string object;
    for (const auto& [key, value] : facts) {
      if (!object.empty()) object += ",";
      object += fmt::format("{}:{}", QuoteJson(key), QuoteJson(value));
    }
    Raw(name, "{" + object + "}");
  }
  void Texts(std::string_view name, const std::vector<std::string>& texts) {
    if (texts.empty()) return;
    std::vector<std::string> quoted;
    for (const std::string& text : texts) quoted.push_back(QuoteJson(text));
    Raw(name, fmt::format("[{}]", fmt::join(quoted, ",")));
  }
  // write(item, JsonPage&) for each item.
  template <typename List, typename Write>
  void Objects(std::string_view name, const List& list, Write&& write) {
    if (list.empty()) return;
    std::string items;
    for (const auto& item : list) {
      JsonPage page;
      write(item, page);
      items += items.empty() ? "" : ",";
      items += page.Take();
    }
    Raw(name, "[" + items + "]");
  }
  void Raw(std::string_view name, std::string_view json) {
    fmt::format_to(std::back_inserter(out_), "{}{}:{}", out_.empty() ? "" : ",", QuoteJson(name),
                   json);
  }
  [[nodiscard]] std::string Take() { return "{" + std::move(out_) + "}"; }

 private:
  std::string out_;
};

void WriteTargetJson(const Explained::Target& target, JsonPage& page) {
  page.Text("cluster", target.cluster);
  page.Text("share", target.share);
  page.Flag("chosen", target.chosen);
  page.Facts("adds", target.adds);
  page.Facts("limits", target.limits);
  page.Objects("endpoints", target.endpoints, [](const Explained::Endpoint& item, JsonPage& inner) {
    inner.Text("address", item.address);
    inner.Text("name", item.name);
    inner.Number("weight", item.weight);
    inner.Flag("healthy", item.healthy);
    inner.Flag("usable", item.usable);
  });
  page.Text("endpoints_note", target.endpoints_note);
}

void WriteRouteJson(const Explained& explained, JsonPage& page) {
  page.Text("name", explained.route);
  page.Text("table", explained.route_table);
  page.Texts("mounts", explained.mounts);
  if (!explained.match.empty()) page.Raw("match", explained.match);
  page.Facts("captures", explained.captures);
  page.Objects("filters", explained.filters, [](const Explained::Filter& item, JsonPage& inner) {
    inner.Text("name", item.name);
    inner.Text("kind", item.kind);
    inner.Text("from", item.from);
    inner.Text("note", item.note);
  });
  page.Texts("filters_off", explained.filters_off);
  page.Facts("limits", explained.limits);
  page.Text("action", explained.action);
  page.Facts("effects", explained.effects);
  page.Objects("targets", explained.targets, WriteTargetJson);
}

}  // namespace

std::string ToText(const Explained& explained) {
  TextPage page;
  WriteRequest(explained, page);
  WriteRoute(explained, page);
  WriteAnswer(explained, page);
  return page.Take();
}

std::string ToJson(const Explained& explained) {
  JsonPage page;
  page.Text("method", explained.method);
  page.Text("url", explained.url);
  page.Text("listener", explained.listener);
  page.Text("address", explained.address);
  page.Flag("tls", explained.tls);
  page.Text("client", explained.client);
  page.Text("host", explained.host);
  page.Text("path_given", explained.path_given);
  page.Text("path", explained.path);
  page.Text("domain", explained.domain);
  page.Text("table", explained.table);
  page.Text("preflight", explained.preflight);
  page.Objects("candidates", explained.candidates,
               [](const Explained::Candidate& item, JsonPage& inner) {
                 inner.Text("route", item.route);
                 inner.Text("table", item.table);
                 inner.Text("outcome", item.outcome);
                 inner.Text("detail", item.detail);
               });
  if (!explained.route.empty()) {
    JsonPage route;
    WriteRouteJson(explained, route);
    page.Raw("route", route.Take());
  }
  if (explained.answer) {
    JsonPage answer;
    answer.Number("status", explained.answer->status);
    answer.Text("code", explained.answer->code);
    answer.Text("why", explained.answer->why);
    answer.Text("allow", explained.answer->allow);
    answer.Text("location", explained.answer->location);
    page.Raw("answer", answer.Take());
  }
  page.Objects("tables", explained.tables, [](const Explained::Table& item, JsonPage& inner) {
    inner.Text("name", item.name);
    inner.Texts("domains", item.domains);
    inner.Text("why", item.why);
    inner.Text("nearest", item.nearest);
  });
  return page.Take() + "\n";
}

}  // namespace gatehouse::server
