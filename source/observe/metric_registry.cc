#include "source/observe/metric_registry.h"

#include <algorithm>

#include "source/base/utf8.h"

namespace gatehouse::observe {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";
constexpr std::string_view kOverflowLabel = "_other";
constexpr uint32_t kKeptForNewGroups = 4096;

// name="value", escaped as the exposition format asks.
void AppendLabel(std::string& out, std::string_view name, std::string_view value) {
  if (!out.empty()) out += ',';
  out += name;
  out += "=\"";
  while (!value.empty()) {
    const size_t size = Utf8SequenceLength(value);
    const char first = value[0];
    if (size == 0) {
      out += kReplacement;
    } else if (first == '\n') {
      out += "\\n";
    } else {
      if (first == '"' || first == '\\') out += '\\';
      out += value.substr(0, size);
    }
    value.remove_prefix(size == 0 ? 1 : size);
  }
  out += '"';
}

std::string KeyOf(std::span<const std::string_view> labels) {
  std::string key;
  for (std::string_view label : labels) {
    // The length in front keeps {"a", "bc"} and {"ab", "c"} apart.
    key += std::to_string(label.size());
    key += ':';
    key += label;
  }
  return key;
}

std::string LabelsOf(const MetricGroup& group, std::span<const std::string_view> labels) {
  std::string text;
  for (size_t i = 0; i < labels.size(); ++i) AppendLabel(text, group.label_names[i], labels[i]);
  return text;
}

uint32_t ChunksFor(uint32_t slots, uint32_t per_chunk) {
  return (slots + per_chunk - 1) / per_chunk;
}

}  // namespace

void MetricRegistry::Definer::Add(const char* name, const char* help, MetricType type,
                                  FixedLabel label) {
  MetricMember member;
  member.name = name;
  member.help = help;
  member.type = type;
  if (label.name != nullptr) AppendLabel(member.label, label.name, label.value);
  member.offset = type == MetricType::kHistogram ? histograms_++ : slots_++;
  members_.push_back(std::move(member));
}

MetricRegistry::MetricRegistry(Options options)
    : options_(options),
      chunks_(ChunksFor(slots_, CounterBlock::kChunkSlots)),
      histogram_chunks_(ChunksFor(histograms_, CounterBlock::kHistogramChunkSlots)) {}

MetricRegistry::~MetricRegistry() = default;

CounterBlock* MetricRegistry::NewBlock() {
  blocks_.push_back(std::unique_ptr<CounterBlock>(new CounterBlock));
  blocks_.back()->Grow(chunks_, histogram_chunks_);
  return blocks_.back().get();
}

MetricGroup* MetricRegistry::FindGroup(std::string_view name) {
  for (const auto& group : groups_) {
    if (group->name == name) return group.get();
  }
  return nullptr;
}

MetricGroup* MetricRegistry::AddGroup(std::string_view name, std::span<const char* const> labels,
                                      std::vector<MetricMember> members) {
  auto group = std::make_unique<MetricGroup>();
  group->name = name;
  group->label_names.assign(labels.begin(), labels.end());
  for (size_t i = 0; i < members.size(); ++i) {
    const MetricMember& member = members[i];
    const bool histogram = member.type == MetricType::kHistogram;
    (histogram ? group->histograms : group->slots)++;
    // A family belongs to one group, has one type, and its members stand side by side.
    const bool same_family = i > 0 && members[i - 1].name == member.name;
    CHECK(!same_family || members[i - 1].type == member.type);
    const auto has_name = [&](const MetricMember& other) { return other.name == member.name; };
    CHECK(same_family || std::none_of(members.begin(), members.begin() + i, has_name));
    for (const auto& other : groups_) {
      CHECK(std::none_of(other->members.begin(), other->members.end(), has_name));
    }
  }
  group->members = std::move(members);
  if (!labels.empty()) {
    const std::vector<std::string_view> others(labels.size(), kOverflowLabel);
    const auto index = PlaceInstance(*group);
    CHECK(index.has_value());
    group->instances[*index].labels = LabelsOf(*group, others);
  }
  groups_.push_back(std::move(group));
  return groups_.back().get();
}

std::optional<uint32_t> MetricRegistry::PlaceInstance(MetricGroup& group) {
  if (!group.free.empty()) {
    const uint32_t index = group.free.back();
    group.free.pop_back();
    return index;
  }
  // A group that comes when the others have filled the blocks finds room for its first instance.
  const uint32_t kept = group.instances.empty() ? 0 : kKeptForNewGroups;
  if (slots_ + group.slots + kept > CounterBlock::kMaxSlots ||
      histograms_ + group.histograms + kept >
          CounterBlock::kHistogramChunkSlots * CounterBlock::kMaxChunks) {
    return std::nullopt;
  }
  MetricInstance& instance = group.instances.emplace_back();
  instance.first_slot = slots_;
  instance.first_histogram = histograms_;
  slots_ += group.slots;
  histograms_ += group.histograms;
  chunks_ = ChunksFor(slots_, CounterBlock::kChunkSlots);
  histogram_chunks_ = ChunksFor(histograms_, CounterBlock::kHistogramChunkSlots);
  for (const auto& block : blocks_) block->Grow(chunks_, histogram_chunks_);
  return static_cast<uint32_t>(group.instances.size() - 1);
}

uint32_t MetricRegistry::AcquireInstance(MetricGroup& group,
                                         std::span<const std::string_view> labels) {
  std::string key = KeyOf(labels);
  const auto known = group.by_key.find(key);
  if (known != group.by_key.end()) {
    group.instances[known->second].references++;
    return known->second;
  }
  std::optional<uint32_t> index;
  if (labels.empty() || group.by_key.size() < options_.max_label_sets) {
    index = PlaceInstance(group);
  }
  if (!index.has_value()) {
    CHECK(!labels.empty());
    group.overflowed++;
    group.instances[0].references++;
    return 0;
  }
  MetricInstance& instance = group.instances[*index];
  instance.labels = LabelsOf(group, labels);
  instance.references = 1;
  instance.key = key;
  group.by_key.emplace(std::move(key), *index);
  return *index;
}

void MetricRegistry::ReleaseInstance(MetricGroup& group, uint32_t index) {
  MetricInstance& instance = group.instances[index];
  CHECK(instance.references > 0);
  if (--instance.references > 0) return;
  const bool overflow = index == 0 && !group.label_names.empty();
  if (overflow) return;
  for (const auto& block : blocks_) {
    block->Clear(instance.first_slot, group.slots);
    block->ClearHistograms(instance.first_histogram, group.histograms);
  }
  group.by_key.erase(instance.key);
  group.free.push_back(index);
}

void MetricRegistry::ReleaseUnused() {
  std::erase_if(kept_, [this](const Kept& kept) {
    if (!kept.user.expired()) return false;
    ReleaseInstance(*kept.group, kept.instance);
    return true;
  });
}

uint64_t MetricRegistry::Total(CounterId id) const {
  uint64_t total = 0;
  for (const auto& block : blocks_) total += block->Value(id);
  return total;
}

int64_t MetricRegistry::Total(GaugeId id) const {
  // Workers add and subtract on their own, so one's share may be negative; the sum wraps right.
  return static_cast<int64_t>(Total(CounterId{id.slot}));
}

void MetricRegistry::AddTo(HistogramTotal& total, HistogramId id) const {
  for (const auto& block : blocks_) {
    if (const Histogram* histogram = block->Find(id)) total.Add(*histogram);
  }
}

}  // namespace gatehouse::observe
