#include "source/control_plane/resource_file.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/message.h>

#include "api/gatehouse/v1/bootstrap.pb.h"
#include "api/gatehouse/v1/options.pb.h"
#include "api/gatehouse/v1/resource_list.pb.h"
#include "api/gatehouse/v1/secret.pb.h"
#include "source/base/json.h"
#include "source/base/yaml.h"
#include "source/config/source_map.h"
#include "source/config/text.h"
#include "source/control_plane/digest.h"

namespace gatehouse::control {
namespace {

using config::ConfigError;
using config::ErrorList;
using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr size_t kMaxGroup = 128;
constexpr std::string_view kRedacted = "[redacted]";  // see config::ToYaml

std::string Serialize(const Message& message) {
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream out(&stream);
    out.SetSerializationDeterministic(true);
    static_cast<void>(message.SerializeToCodedStream(&out));
  }
  return bytes;
}

ConfigError ErrorAt(const std::string& file, const Node& node, std::string path,
                    std::string message) {
  ConfigError error;
  error.file = file;
  error.line = static_cast<int>(node.position().line);
  error.path = std::move(path);
  error.message = std::move(message);
  return error;
}

// The lines of what is below a resource; what is on the line of its parent is left out.
class Outliner {
 public:
  std::vector<std::pair<std::string, int>> Of(const Node& node, const Descriptor* type) {
    line_ = static_cast<int>(node.position().line);
    Members(node, type);
    std::sort(lines_.begin(), lines_.end());
    return std::move(lines_);
  }

 private:
  void Members(const Node& node, const Descriptor* type) {
    for (const NodeMember& member : node.members()) {
      const std::string key(member.key.text());
      const FieldDescriptor* field = type == nullptr ? nullptr : type->FindFieldByName(key);
      const size_t size = path_.size();
      config::AppendField(&path_, key);
      if (field != nullptr && field->is_map()) {
        MapEntries(member.value, *field);
      } else {
        Below(member.key, member.value, field == nullptr ? nullptr : field->message_type());
      }
      path_.resize(size);
    }
  }
  void MapEntries(const Node& map, const FieldDescriptor& field) {
    const Descriptor* value = field.message_type()->map_value()->message_type();
    for (const NodeMember& entry : map.members()) {
      const size_t size = path_.size();
      config::AppendKey(&path_, entry.key.text());
      Below(entry.key, entry.value, value);
      path_.resize(size);
    }
  }
  // `where` has the line: the key of a member, the item of a list.
  void Below(const Node& where, const Node& node, const Descriptor* type) {
    const int parent = line_;
    const int line = static_cast<int>(where.position().line);
    if (line != 0 && line != parent) {
      lines_.emplace_back(path_, line);
      line_ = line;
    }
    Members(node, type);
    for (size_t i = 0; i < node.items().size(); ++i) {
      const size_t size = path_.size();
      config::AppendIndex(&path_, i);
      Below(node.items()[i], node.items()[i], type);
      path_.resize(size);
    }
    line_ = parent;
  }

  std::string path_;
  int line_ = 0;
  std::vector<std::pair<std::string, int>> lines_;
};

// A gateway's whole file has fields that say something about a process. Somebody who applies one
// wants to hear that, and not of fields with similar names.
void AddDecodeErrors(const ErrorList& found, ErrorList& errors) {
  const Descriptor& bootstrap = *v1::Bootstrap::descriptor();
  for (ConfigError error : found.entries()) {
    if (error.path.empty()) {
      for (int i = 0; i < bootstrap.field_count(); ++i) {
        const std::string& name = bootstrap.field(i)->name();
        if (!error.message.starts_with(fmt::format("unknown field \"{}\"", name))) continue;
        error.message = fmt::format(
            "\"{}\" belongs to the file that a gateway starts with (its bootstrap), not to the "
            "resources that a control plane pushes; take it out",
            name);
        error.suggestion.clear();
      }
    }
    errors.Add(std::move(error));
  }
}

std::shared_ptr<const Document> ParseDocument(const ResourceFile& file, ErrorList& errors) {
  const auto parse = [&](auto parser) { return parser(file.text, DocumentLimits{}); };
  const auto json = [](std::string_view t, const DocumentLimits& l) { return ParseJson(t, l); };
  const auto yaml = [](std::string_view t, const DocumentLimits& l) { return ParseYaml(t, l); };
  ParsedDocument parsed;
  if (file.name.ends_with(".json")) {
    parsed = parse(json);
  } else {
    // JSON is YAML too; only its errors are better read as JSON.
    parsed = parse(yaml);
    const size_t first = file.text.find_first_not_of(" \t\r\n");
    if (!parsed.ok() && first != std::string::npos && file.text[first] == '{') parsed = parse(json);
  }
  for (const DocumentError& wrong : parsed.errors) {
    ConfigError error;
    error.file = file.name;
    error.line = static_cast<int>(wrong.position.line);
    error.column = static_cast<int>(wrong.position.column);
    error.message = wrong.message;
    errors.Add(std::move(error));
  }
  return parsed.ok() ? parsed.document : nullptr;
}

std::string NameIn(const Message& message, ResourceType type) {
  const FieldDescriptor* field = message.GetDescriptor()->FindFieldByName(
      type == ResourceType::kEndpoints ? "cluster" : "name");
  return message.GetReflection()->GetString(message, field);
}

// The group of the file's resources, or nothing after an error.
std::optional<std::string> GroupOf(const ResourceFile& file, const v1::ResourceList& list,
                                   const Node& root, ErrorList& errors) {
  if (list.group().empty()) return file.group;
  const Node* written = root.Find("group");
  const Node& where = written == nullptr ? root : *written;
  if (std::string wrong = WrongGroup(list.group()); !wrong.empty()) {
    errors.Add(ErrorAt(file.name, where, "group", std::move(wrong)));
    return std::nullopt;
  }
  if (!file.group.empty() && list.group() != file.group) {
    errors.Add(ErrorAt(
        file.name, where, "group",
        file.group_is_fixed
            ? fmt::format("this file is in the folder of group \"{}\", so it cannot be of group "
                          "\"{}\"; move it or take the line out",
                          file.group, list.group())
            : fmt::format("the file is of group \"{}\", but \"{}\" was asked for", list.group(),
                          file.group)));
    return std::nullopt;
  }
  return list.group();
}

std::unique_ptr<Message> Parse(const Resource& resource) {
  const std::string url(TypeUrl(resource.type));
  const Descriptor* descriptor =
      google::protobuf::DescriptorPool::generated_pool()->FindMessageTypeByName(
          url.substr(url.rfind('/') + 1));
  std::unique_ptr<Message> message(
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(descriptor)->New());
  static_cast<void>(message->ParseFromString(resource.message));
  return message;
}

void CollectSecrets(const Message& message, std::string* out) {
  std::vector<const FieldDescriptor*> fields;
  message.GetReflection()->ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    if (field->options().GetExtension(v1::secret)) {
      std::unique_ptr<Message> alone(message.New());
      alone->CopyFrom(message);
      for (const FieldDescriptor* other : fields) {
        if (other != field) alone->GetReflection()->ClearField(alone.get(), other);
      }
      const std::string bytes = Serialize(*alone);
      out->append(fmt::format("{}:", bytes.size())).append(bytes);
    } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      const auto& reflection = *message.GetReflection();
      const int count = field->is_repeated() ? reflection.FieldSize(message, field) : 1;
      for (int i = 0; i < count; ++i) {
        CollectSecrets(field->is_repeated() ? reflection.GetRepeatedMessage(message, field, i)
                                            : reflection.GetMessage(message, field),
                       out);
      }
    }
  }
}

}  // namespace

std::string WrongGroup(std::string_view group) {
  if (group.size() > kMaxGroup) {
    return fmt::format("a group's name has at most {} characters", kMaxGroup);
  }
  const auto good = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
  };
  if (!group.starts_with('.') && std::ranges::all_of(group, good)) return {};
  return "a group's name has letters, digits, '-', '_' and '.', and does not begin with '.'";
}

Resources ParseResourceFile(const ResourceFile& file, ErrorList& errors) {
  const std::shared_ptr<const Document> document = ParseDocument(file, errors);
  if (document == nullptr) return {};
  const Node& root = document->root();
  v1::ResourceList list;
  ErrorList found;
  config::DecodeContext context{.file = file.name, .errors = &found};
  static_cast<void>(config::DecodeInto(root, &list, context));
  AddDecodeErrors(found, errors);
  const std::optional<std::string> group = GroupOf(file, list, root, errors);
  if (!found.ok() || !group.has_value()) return {};

  Resources resources;
  const auto& reflection = *list.GetReflection();
  for (size_t t = 0; t < kResourceTypes; ++t) {
    const auto type = static_cast<ResourceType>(t);
    const FieldDescriptor* field =
        list.GetDescriptor()->FindFieldByName(std::string(FieldName(type)));
    const Node* items = root.Find(field->name());
    for (int i = 0; i < reflection.FieldSize(list, field); ++i) {
      const Message& message = reflection.GetRepeatedMessage(list, field, i);
      auto resource = std::make_shared<Resource>();
      resource->type = type;
      resource->group = *group;
      resource->name = NameIn(message, type);
      resource->message = Serialize(message);
      resource->version = VersionOf(resource->message);
      auto origin = std::make_shared<Origin>();
      origin->file = file.name;
      origin->from_directory = file.from_directory;
      if (items != nullptr && static_cast<size_t>(i) < items->items().size()) {
        const Node& item = items->items()[static_cast<size_t>(i)];
        origin->line = static_cast<int>(item.position().line);
        origin->lines = Outliner().Of(item, message.GetDescriptor());
      }
      resource->origin = std::move(origin);
      if (type == ResourceType::kSecret &&
          static_cast<const v1::Secret&>(message).inline_() == kRedacted) {
        errors.Add(ErrorIn(*resource, "inline",
                           "this is how `get` shows a value, not the value; write it, or leave the "
                           "secret out, and it stays as it is"));
      }
      resources.push_back(std::move(resource));
    }
  }
  return resources;
}

void AddResources(const Resources& resources, ResourceSet::All* all, ErrorList& errors) {
  for (const auto& resource : resources) {
    const auto [at, is_new] =
        all->try_emplace({resource->group, resource->type, resource->name}, resource);
    if (is_new) continue;
    errors.Add(ErrorIn(*resource, "",
                       fmt::format("there is a second one of this name at {}; names are unique "
                                   "among all resources of a type and group",
                                   PlaceOf(*at->second))));
  }
}

ConfigError ErrorIn(const Resource& resource, std::string_view path, std::string message,
                    std::string suggestion) {
  ConfigError error;
  error.file = resource.origin->file;
  error.line = resource.origin->LineOf(path);
  error.path = fmt::format("{} {}", TypeName(resource.type), resource.name);
  if (!path.empty()) error.path.append(": ").append(path);
  error.message = std::move(message);
  error.suggestion = std::move(suggestion);
  return error;
}

std::string PlaceOf(const Resource& resource) {
  const Origin& origin = *resource.origin;
  if (origin.file.empty()) return "the API";
  return origin.line == 0 ? origin.file : fmt::format("{}:{}", origin.file, origin.line);
}

std::string ToYaml(const std::vector<const Resource*>& resources) {
  v1::ResourceList list;
  for (const Resource* resource : resources) {
    list.set_group(resource->group);
    const FieldDescriptor* field =
        list.GetDescriptor()->FindFieldByName(std::string(FieldName(resource->type)));
    Message* message = list.GetReflection()->AddMessage(&list, field);
    static_cast<void>(message->ParseFromString(resource->message));
  }
  return config::ToYaml(list);
}

std::string ToYaml(const Resource& resource) { return config::ToYaml(*Parse(resource)); }
std::string ToJson(const Resource& resource) { return config::ToJson(*Parse(resource), 0); }

std::string SecretsDigest(const Resource& resource) {
  std::string secrets;
  CollectSecrets(*Parse(resource), &secrets);
  return Sha256(secrets);
}

}  // namespace gatehouse::control
