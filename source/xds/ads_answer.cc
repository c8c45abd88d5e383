#include "source/xds/ads_answer.h"

#include <fmt/format.h>

#include "api/gatehouse/v1/rejection.pb.h"
#include "source/base/utf8.h"

namespace gatehouse::xds {
namespace {

constexpr int kInvalidArgument = 3;  // google.rpc.Code
constexpr size_t kMaxErrorText = 1024;
constexpr size_t kMaxErrors = 100;  // of one resource

// False: there was no room for it.
bool AppendLine(Type type, const Refusal& refusal, const Refusal::Error& error, std::string* text) {
  const size_t before = text->size();
  if (!text->empty()) *text += '\n';
  fmt::format_to(std::back_inserter(*text), "{} \"{}\": ", TypeName(type),
                 Shortened(refusal.name, kMaxErrorText));
  if (!error.path.empty()) *text += Shortened(error.path, kMaxErrorText) + ": ";
  *text += Shortened(error.message, kMaxErrorText);
  if (!error.suggestion.empty()) {
    fmt::format_to(std::back_inserter(*text), ", did you mean \"{}\"?",
                   Shortened(error.suggestion, kMaxErrorText));
  }
  if (text->size() <= kMaxNackText) return true;
  text->resize(before);
  return false;
}

// As many lines as there is room for. False: there was none for the first.
bool AppendLines(Type type, const Refusal& refusal, std::string* text) {
  if (refusal.errors.empty()) {
    return AppendLine(type, refusal, {.path = "", .message = "refused", .suggestion = ""}, text);
  }
  for (size_t i = 0; i < refusal.errors.size(); ++i) {
    if (!AppendLine(type, refusal, refusal.errors[i], text)) return i > 0;
  }
  return true;
}

v1::Rejection RejectionOf(Type type, const Refusal& refusal) {
  v1::Rejection rejection;
  rejection.set_type(std::string(TypeName(type)));
  rejection.set_name(Shortened(refusal.name, kMaxErrorText));
  rejection.set_version(Shortened(refusal.version, kMaxErrorText));
  rejection.set_waiting(refusal.waiting);
  for (size_t i = 0; i < refusal.errors.size() && i < kMaxErrors; ++i) {
    v1::ResourceError* error = rejection.add_errors();
    error->set_path(Shortened(refusal.errors[i].path, kMaxErrorText));
    error->set_message(Shortened(refusal.errors[i].message, kMaxErrorText));
    error->set_suggestion(Shortened(refusal.errors[i].suggestion, kMaxErrorText));
  }
  return rejection;
}

}  // namespace

std::string Shortened(std::string_view text, size_t max) {
  constexpr std::string_view kMark = "...";
  std::string result;
  while (!text.empty()) {
    const size_t size = Utf8SequenceLength(text);
    const std::string_view next = size == 0 ? std::string_view("?") : text.substr(0, size);
    text.remove_prefix(size == 0 ? 1 : size);
    const size_t room = text.empty() ? 0 : kMark.size();  // for the mark, if more comes
    if (result.size() + next.size() + room > max) return result.append(kMark);
    result += next;
  }
  return result;
}

google::rpc::Status StatusOfRefusals(Type type, const std::vector<Refusal>& refusals, size_t more) {
  google::rpc::Status status;
  status.set_code(kInvalidArgument);
  std::string text;
  size_t detail_bytes = 0;
  bool room = true;
  for (const Refusal& refusal : refusals) {
    if (!room || !AppendLines(type, refusal, &text)) {
      room = false;
      ++more;
    }
    if (static_cast<size_t>(status.details_size()) == kMaxNackDetails) continue;
    const v1::Rejection rejection = RejectionOf(type, refusal);
    detail_bytes += rejection.ByteSizeLong();
    if (detail_bytes <= kMaxNackDetailBytes) status.add_details()->PackFrom(rejection);
  }
  if (more > 0) {
    fmt::format_to(std::back_inserter(text), "{}and {} more", text.empty() ? "" : "\n", more);
  }
  status.set_message(text);
  return status;
}

google::rpc::Status StatusOfMalformed(std::string_view why) {
  google::rpc::Status status;
  status.set_code(kInvalidArgument);
  status.set_message(Shortened(why, kMaxNackText));
  return status;
}

}  // namespace gatehouse::xds
