#include "source/observe/scrape.h"

#include <array>
#include <charconv>
#include <cstdint>
#include <limits>

namespace gatehouse::observe {
namespace {

struct Bound {
  uint64_t microseconds;
  std::string_view text;
};
// What the classic histogram shows of the fine one.
constexpr std::array<Bound, 15> kBounds = {{{500, "0.0005"},
                                            {1'000, "0.001"},
                                            {2'500, "0.0025"},
                                            {5'000, "0.005"},
                                            {10'000, "0.01"},
                                            {25'000, "0.025"},
                                            {50'000, "0.05"},
                                            {100'000, "0.1"},
                                            {250'000, "0.25"},
                                            {500'000, "0.5"},
                                            {1'000'000, "1"},
                                            {2'500'000, "2.5"},
                                            {5'000'000, "5"},
                                            {10'000'000, "10"},
                                            {60'000'000, "60"}}};

struct QuantileText {
  double quantile;
  std::string_view text;
};
constexpr std::array<QuantileText, 3> kQuantiles = {{{0.5, "0.5"}, {0.95, "0.95"}, {0.99, "0.99"}}};

template <typename Integer>
void AppendNumber(std::string& out, Integer value) {
  char text[24];
  const auto end = std::to_chars(text, text + sizeof(text), value).ptr;
  out.append(text, end);
}

// Microseconds as seconds.
void AppendSeconds(std::string& out, uint64_t microseconds) {
  AppendNumber(out, microseconds / 1'000'000);
  const uint64_t fraction = microseconds % 1'000'000;
  if (fraction == 0) return;
  char digits[8];
  std::to_chars(digits, digits + sizeof(digits), fraction + 1'000'000);
  size_t size = 7;
  while (digits[size - 1] == '0') --size;
  digits[0] = '.';
  out.append(digits, size);
}

// name_suffix{labels,fixed,extra="value"} and a space.
void AppendName(std::string& out, std::string_view name, std::string_view suffix,
                std::string_view labels, std::string_view fixed, std::string_view extra = {},
                std::string_view value = {}) {
  out += name;
  out += suffix;
  if (!labels.empty() || !fixed.empty() || !extra.empty()) {
    out += '{';
    out += labels;
    if (!fixed.empty()) {
      if (!labels.empty()) out += ',';
      out += fixed;
    }
    if (!extra.empty()) {
      if (!labels.empty() || !fixed.empty()) out += ',';
      out += extra;
      out += "=\"";
      out += value;
      out += '"';
    }
    out += '}';
  }
  out += ' ';
}

void AppendHeader(std::string& out, std::string_view name, std::string_view help,
                  std::string_view type) {
  out += "# HELP ";
  out += name;
  out += ' ';
  for (const char c : help) {
    if (c == '\n') {
      out += "\\n";
    } else {
      if (c == '\\') out += c;
      out += c;
    }
  }
  out += "\n# TYPE ";
  out += name;
  out += ' ';
  out += type;
  out += '\n';
}

std::string_view TypeName(MetricType type) {
  switch (type) {
    case MetricType::kCounter:
      return "counter";
    case MetricType::kGauge:
      return "gauge";
    case MetricType::kHistogram:
      break;
  }
  return "histogram";
}

// gatehouse_route_latency_seconds -> gatehouse_route_latency_quantile_seconds
std::string QuantileName(std::string_view name) {
  constexpr std::string_view kUnit = "_seconds";
  if (name.ends_with(kUnit)) name.remove_suffix(kUnit.size());
  std::string result(name);
  result += "_quantile_seconds";
  return result;
}

}  // namespace

Scrape::Scrape(const MetricRegistry& registry)
    : registry_(registry), total_(std::make_unique<HistogramTotal>()) {}

bool Scrape::Append(std::string& out, size_t bytes) {
  if (done_) return false;
  const size_t limit =
      bytes > std::numeric_limits<size_t>::max() - out.size() ? bytes : out.size() + bytes;
  while (group_ < registry_.groups().size()) {
    if (out.size() >= limit) return true;
    AppendFamily(out, *registry_.groups()[group_], limit);
  }
  AppendOwn(out);
  done_ = true;
  return false;
}

size_t Scrape::FamilyEnd(const MetricGroup& group) const {
  size_t end = member_ + 1;
  while (end < group.members.size() && group.members[end].name == group.members[member_].name) {
    ++end;
  }
  return end;
}

void Scrape::NextFamily(const MetricGroup& group) {
  instance_ = 0;
  header_ = false;
  const bool histogram =
      member_ < group.members.size() && group.members[member_].type == MetricType::kHistogram;
  if (histogram && !quantiles_) {
    quantiles_ = true;
    return;
  }
  quantiles_ = false;
  member_ = member_ < group.members.size() ? FamilyEnd(group) : member_;
  if (member_ < group.members.size()) return;
  member_ = 0;
  ++group_;
}

void Scrape::AppendFamily(std::string& out, const MetricGroup& group, size_t limit) {
  if (group.members.empty()) return NextFamily(group);
  const MetricMember& first = group.members[member_];
  if (!header_) {
    header_ = true;
    if (quantiles_) {
      AppendHeader(out, QuantileName(first.name), first.help + " Since start, within 1%.", "gauge");
    } else {
      AppendHeader(out, first.name, first.help, TypeName(first.type));
    }
  }
  while (instance_ < group.instances.size()) {
    if (out.size() >= limit) return;
    const MetricInstance& instance = group.instances[instance_++];
    if (instance.references > 0) AppendInstance(out, group, instance);
  }
  NextFamily(group);
}

void Scrape::AppendInstance(std::string& out, const MetricGroup& group,
                            const MetricInstance& instance) {
  const size_t end = FamilyEnd(group);
  for (size_t i = member_; i < end; ++i) {
    const MetricMember& member = group.members[i];
    if (member.type == MetricType::kHistogram) {
      AppendHistogram(out, member, instance);
      continue;
    }
    AppendName(out, member.name, {}, instance.labels, member.label);
    const uint32_t slot = instance.first_slot + member.offset;
    if (member.type == MetricType::kGauge) {
      AppendNumber(out, registry_.Total(GaugeId{slot}));
    } else {
      AppendNumber(out, registry_.Total(CounterId{slot}));
    }
    out += '\n';
  }
}

void Scrape::AppendHistogram(std::string& out, const MetricMember& member,
                             const MetricInstance& instance) {
  total_->Clear();
  registry_.AddTo(*total_, HistogramId{instance.first_histogram + member.offset});
  // A histogram that never recorded has no memory; it has no lines either.
  if (total_->count() == 0) return;
  if (quantiles_) {
    const std::string name = QuantileName(member.name);
    for (const QuantileText& quantile : kQuantiles) {
      AppendName(out, name, {}, instance.labels, member.label, "quantile", quantile.text);
      AppendSeconds(out, total_->Quantile(quantile.quantile));
      out += '\n';
    }
    return;
  }
  for (const Bound& bound : kBounds) {
    AppendName(out, member.name, "_bucket", instance.labels, member.label, "le", bound.text);
    AppendNumber(out, total_->CountUpTo(bound.microseconds));
    out += '\n';
  }
  AppendName(out, member.name, "_bucket", instance.labels, member.label, "le", "+Inf");
  AppendNumber(out, total_->count());
  out += '\n';
  AppendName(out, member.name, "_sum", instance.labels, member.label);
  AppendSeconds(out, total_->sum());
  out += '\n';
  AppendName(out, member.name, "_count", instance.labels, member.label);
  AppendNumber(out, total_->count());
  out += '\n';
}

void Scrape::AppendOwn(std::string& out) const {
  constexpr std::string_view kSets = "gatehouse_metrics_label_sets";
  constexpr std::string_view kOverflows = "gatehouse_metrics_label_overflows_total";
  AppendHeader(out, kSets, "Label sets that have metrics of their own, by group.", "gauge");
  for (const auto& group : registry_.groups()) {
    if (group->label_names.empty()) continue;
    AppendName(out, kSets, {}, {}, {}, "group", group->name);
    AppendNumber(out, group->by_key.size());
    out += '\n';
  }
  AppendHeader(out, kOverflows, "Label sets that were counted under \"_other\" for want of room.",
               "counter");
  for (const auto& group : registry_.groups()) {
    if (group->label_names.empty()) continue;
    AppendName(out, kOverflows, {}, {}, {}, "group", group->name);
    AppendNumber(out, group->overflowed);
    out += '\n';
  }
}

std::string RenderPrometheus(const MetricRegistry& registry) {
  std::string out;
  Scrape scrape(registry);
  while (scrape.Append(out, std::numeric_limits<size_t>::max() / 2)) {
  }
  return out;
}

}  // namespace gatehouse::observe
