#include "source/http/message.h"

#include <array>
#include <cstddef>
#include <cstring>

namespace gatehouse::http {
namespace {

constexpr std::string_view kMethods[] = {
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "",
};
static_assert(std::size(kMethods) == static_cast<size_t>(Method::kOther) + 1);

struct Reason {
  uint16_t status;
  std::string_view phrase;
};
// The IANA registry of status codes, and 499, which only logs see.
constexpr Reason kReasons[] = {
    {100, "Continue"},
    {101, "Switching Protocols"},
    {102, "Processing"},
    {103, "Early Hints"},
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {203, "Non-Authoritative Information"},
    {204, "No Content"},
    {205, "Reset Content"},
    {206, "Partial Content"},
    {207, "Multi-Status"},
    {208, "Already Reported"},
    {226, "IM Used"},
    {300, "Multiple Choices"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {304, "Not Modified"},
    {305, "Use Proxy"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {402, "Payment Required"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {407, "Proxy Authentication Required"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {416, "Range Not Satisfiable"},
    {417, "Expectation Failed"},
    {421, "Misdirected Request"},
    {422, "Unprocessable Content"},
    {423, "Locked"},
    {424, "Failed Dependency"},
    {425, "Too Early"},
    {426, "Upgrade Required"},
    {428, "Precondition Required"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {451, "Unavailable For Legal Reasons"},
    {499, "Client Closed Request"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
    {506, "Variant Also Negotiates"},
    {507, "Insufficient Storage"},
    {508, "Loop Detected"},
    {511, "Network Authentication Required"},
};

constexpr std::array<uint8_t, 600> MakeReasonIndex() {
  std::array<uint8_t, 600> index = {};
  for (size_t i = 0; i < std::size(kReasons); ++i) {
    index[kReasons[i].status] = static_cast<uint8_t>(i + 1);
  }
  return index;
}
constexpr std::array<uint8_t, 600> kReasonIndex = MakeReasonIndex();

}  // namespace

Method FindMethod(std::string_view text) {
  Method guess = Method::kOther;
  switch (text.size()) {
    case 3:
      if (std::memcmp(text.data(), "GET", 3) == 0) return Method::kGet;
      guess = Method::kPut;
      break;
    case 4:
      guess = text[0] == 'H' ? Method::kHead : Method::kPost;
      break;
    case 5:
      guess = text[0] == 'P' ? Method::kPatch : Method::kTrace;
      break;
    case 6:
      guess = Method::kDelete;
      break;
    case 7:
      guess = text[0] == 'O' ? Method::kOptions : Method::kConnect;
      break;
    default:
      return Method::kOther;
  }
  return text == MethodText(guess) ? guess : Method::kOther;
}

std::string_view MethodText(Method method) { return kMethods[static_cast<size_t>(method)]; }

std::string_view ReasonPhrase(uint16_t status) {
  if (status >= kReasonIndex.size() || kReasonIndex[status] == 0) return {};
  return kReasons[kReasonIndex[status] - 1].phrase;
}

void RequestHead::Reset() {
  method_text = scheme = authority = target = path = upgrade_protocol = {};
  headers.Reset();
  content_length = 0;
  method = Method::kGet;
  version = Version::kHttp11;
  target_form = TargetForm::kOrigin;
  body = BodyKind::kNone;
  keep_alive = true;
  expect_continue = upgrade = extended_connect = early_data = false;
}

void ResponseHead::Reset() {
  headers.Reset();
  upgrade_protocol = {};
  content_length = 0;
  status = 0;
  version = Version::kHttp11;
  body = BodyKind::kNone;
  has_content_length = upgrade = last = false;
  keep_alive = true;
}

}  // namespace gatehouse::http
