#include "source/xds/wire_budget.h"

#include <cstdint>
#include <string>

#include "google/protobuf/any.pb.h"

namespace gatehouse::xds {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

// https://protobuf.dev/programming-guides/encoding: the fields of a message, one after another.
class WireReader {
 public:
  explicit WireReader(std::string_view bytes) : rest_(bytes) {}

  struct Field {
    int number = 0;
    bool has_content = false;  // length-delimited: a message, a text, a packed list
    std::string_view content;
  };
  // False at the end, and at what no parser takes.
  [[nodiscard]] bool Next(Field* field) {
    uint64_t tag = 0;
    if (rest_.empty() || !Varint(&tag)) return false;
    *field = {.number = static_cast<int>(tag >> 3 & 0x1FFFFFFF)};
    uint64_t size = 0;
    switch (tag & 7) {
      case 0:
        return Varint(&size);
      case 1:
        return Skip(8);
      case 2:
        field->has_content = true;
        if (!Varint(&size) || size > rest_.size()) return false;
        field->content = rest_.substr(0, size);
        return Skip(size);
      case 3:  // a group: its fields count as ours
      case 4:
        return true;
      case 5:
        return Skip(4);
      default:
        return false;
    }
  }

 private:
  [[nodiscard]] bool Varint(uint64_t* value) {
    *value = 0;
    for (int shift = 0; shift < 70 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<uint8_t>(rest_.front());
      rest_.remove_prefix(1);
      if (shift < 64) *value |= uint64_t{byte & 0x7Fu} << shift;
      if (byte < 0x80) return true;
    }
    return false;
  }
  [[nodiscard]] bool Skip(uint64_t count) {
    if (count > rest_.size()) return false;
    rest_.remove_prefix(count);
    return true;
  }

  std::string_view rest_;
};

}  // namespace

bool WireBudget::TakeMessage(const Descriptor& type, std::string_view bytes, int depth) {
  if (!TakeItems(1)) return false;
  if (depth == 0) return true;
  WireReader reader(bytes);
  WireReader::Field field;
  while (reader.Next(&field)) {
    if (!field.has_content) {
      // A number of a list, or one that is not known, is kept; others are in their message.
      const FieldDescriptor* known = type.FindFieldByNumber(field.number);
      if ((known == nullptr || known->is_repeated()) && !TakeItems(1)) return false;
    } else if (!TakeField(type, field.number, field.content, depth)) {
      return false;
    }
  }
  return !into_any_ || &type != google::protobuf::Any::descriptor() || TakeAny(bytes, depth);
}

bool WireBudget::TakeField(const Descriptor& type, int number, std::string_view content,
                           int depth) {
  const FieldDescriptor* field = type.FindFieldByNumber(number);
  if (field == nullptr) return TakeItems(1);
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
    return TakeMessage(*field->message_type(), content, depth - 1);
  }
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_STRING) return TakeItems(1);
  return TakeItems(content.size());  // packed: as many as there could be
}

bool WireBudget::TakeAny(std::string_view bytes, int depth) {
  std::string_view url;
  std::string_view value;
  WireReader reader(bytes);
  WireReader::Field field;
  while (reader.Next(&field)) {
    if (field.number == google::protobuf::Any::kTypeUrlFieldNumber) url = field.content;
    if (field.number == google::protobuf::Any::kValueFieldNumber) value = field.content;
  }
  if (value.empty()) return true;
  const Descriptor* inner =
      google::protobuf::DescriptorPool::generated_pool()->FindMessageTypeByName(
          std::string(url.substr(url.rfind('/') + 1)));
  return inner == nullptr || TakeMessage(*inner, value, depth - 1);
}

}  // namespace gatehouse::xds
