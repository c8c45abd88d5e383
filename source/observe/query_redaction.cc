#include "source/observe/query_redaction.h"

#include <algorithm>
#include <array>

namespace gatehouse::observe {
namespace {

// A parameter is secret when its name is one of these ...
constexpr std::array<std::string_view, 17> kSecretNames = {
    "key", "auth", "authorization", "sig",    "pwd", "pass",  "code",  "jwt",         "session",
    "sid", "otp",  "pin",           "sessid", "pw",  "nonce", "state", "samlresponse"};
// ... or contains one of these: by first letter, since most names have none of them.
bool ContainsSecretPart(std::string_view name) {
  for (size_t i = 0; i < name.size(); ++i) {
    const std::string_view rest = name.substr(i);
    switch (name[i]) {
      case 'a':
        if (rest.starts_with("apikey") || rest.starts_with("accesskey")) return true;
        break;
      case 'c':
        if (rest.starts_with("credential")) return true;
        break;
      case 'p':
        if (rest.starts_with("passw") || rest.starts_with("privatekey")) return true;
        break;
      case 's':
        if (rest.starts_with("secret") || rest.starts_with("signature") ||
            rest.starts_with("sessionid")) {
          return true;
        }
        break;
      case 't':
        if (rest.starts_with("token")) return true;
        break;
      default:
        break;
    }
  }
  return false;
}

// Longer names are compared by their first bytes.
constexpr size_t kMaxName = 128;

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// Decoded, in lower case, without the signs that only separate words: X-Api_Key is xapikey.
std::string_view Normalise(std::string_view name, std::array<char, kMaxName>& buffer) {
  size_t size = 0;
  for (size_t i = 0; i < name.size() && size < kMaxName; ++i) {
    char c = name[i];
    if (c == '%' && i + 2 < name.size()) {
      const int high = HexDigit(name[i + 1]);
      const int low = HexDigit(name[i + 2]);
      if (high >= 0 && low >= 0) {
        c = static_cast<char>(high * 16 + low);
        i += 2;
      }
    }
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    if (c == '-' || c == '_' || c == '.' || c == '+' || c == ' ') continue;
    buffer[size++] = c;
  }
  return {buffer.data(), size};
}

}  // namespace

QueryRedaction::QueryRedaction(QueryLog mode, const std::vector<std::string>& secrets)
    : mode_(mode) {
  std::array<char, kMaxName> buffer;
  for (const std::string& name : secrets) secrets_.emplace_back(Normalise(name, buffer));
}

bool QueryRedaction::Hides(std::string_view parameter) const {
  if (mode_ == QueryLog::kFull) return false;
  if (mode_ != QueryLog::kRedacted) return true;
  std::array<char, kMaxName> buffer;
  const std::string_view name = Normalise(parameter, buffer);
  return std::find(kSecretNames.begin(), kSecretNames.end(), name) != kSecretNames.end() ||
         ContainsSecretPart(name) ||
         std::find(secrets_.begin(), secrets_.end(), name) != secrets_.end();
}

}  // namespace gatehouse::observe
