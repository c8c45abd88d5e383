#include <algorithm>
#include <string>
#include <string_view>

#include "source/base/json.h"
#include "source/base/yaml.h"

namespace gatehouse {
namespace {

constexpr size_t kIndent = 2;

bool IsWordCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '-' || c == '.' || c == '/' || c == '+' || c == '$' || c == '(' || c == ')';
}

// 2s, 64KiB, 10/s: a number with a unit, which no version of YAML reads as anything but text.
bool IsMeasure(std::string_view text) {
  const size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  const std::string_view unit = text.substr(digits);
  if (digits == 0 || unit.empty()) return false;
  if (unit.find_first_not_of("0123456789dhmnusBKMGTi/") != std::string_view::npos) return false;
  return unit.find_first_of("hmsi/") != std::string_view::npos || unit.ends_with("B");
}

// Whether `text` without quotes is read as this very string, by this and by older YAML readers,
// which take `on`, 0755, 1:30 and dates for something else. Cautious: quotes are never wrong.
bool IsSafePlain(std::string_view text) {
  if (text.empty()) return false;
  const char first = text[0];
  const bool begins_like_a_word = (first >= 'a' && first <= 'z') ||
                                  (first >= 'A' && first <= 'Z') || first == '/' || first == '_';
  if (!begins_like_a_word) return IsMeasure(text);
  for (const char c : text) {
    if (!IsWordCharacter(c)) return false;
  }
  if (text.size() > 5) return true;
  std::string lower;
  for (const char c : text) lower.push_back(c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c);
  for (const std::string_view word :
       {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}) {
    if (lower == word) return false;
  }
  return true;
}

class Writer {
 public:
  explicit Writer(std::string* out) : out_(out) {}

  // Stands at the place where a value begins; ends behind a line break.
  void WriteBlock(const Node& node, size_t depth) {
    if (!node.items().empty()) {
      WriteItems(node, depth);
    } else if (!node.members().empty()) {
      WriteMembers(node, depth);
    } else {
      WriteFlat(node);
      out_->push_back('\n');
    }
  }

 private:
  void WriteItems(const Node& node, size_t depth) {
    bool first = true;
    for (const Node& item : node.items()) {
      if (!first) out_->append(depth * kIndent, ' ');
      first = false;
      out_->append("- ");
      WriteBlock(item, depth + 1);
    }
  }

  void WriteMembers(const Node& node, size_t depth) {
    bool first = true;
    for (const NodeMember& member : node.members()) {
      if (!first) out_->append(depth * kIndent, ' ');
      first = false;
      WriteString(member.key.text());
      out_->push_back(':');
      if (member.value.items().empty() && member.value.members().empty()) {
        out_->push_back(' ');
        WriteFlat(member.value);
        out_->push_back('\n');
        continue;
      }
      out_->push_back('\n');
      out_->append((depth + 1) * kIndent, ' ');
      WriteBlock(member.value, depth + 1);
    }
  }

  void WriteFlat(const Node& node) {
    switch (node.kind()) {
      case NodeKind::kNull:
        out_->append("null");
        return;
      case NodeKind::kBool:
      case NodeKind::kNumber:
        out_->append(node.text());
        return;
      case NodeKind::kString:
        WriteString(node.text());
        return;
      case NodeKind::kSequence:
        out_->append("[]");
        return;
      case NodeKind::kMap:
        out_->append("{}");
        return;
    }
  }

  // A JSON string is a YAML string.
  void WriteString(std::string_view text) {
    if (IsSafePlain(text)) {
      out_->append(text);
    } else {
      AppendJsonString(out_, text);
    }
  }

  std::string* out_;
};

}  // namespace

std::string WriteYaml(const Node& root) {
  std::string out;
  Writer(&out).WriteBlock(root, 0);
  return out;
}

}  // namespace gatehouse
