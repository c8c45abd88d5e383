#include "source/net/tls_tickets.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "openssl/digest.h"
#include "openssl/hkdf.h"
#include "openssl/rand.h"
#include "source/base/check.h"

namespace gatehouse::net {
namespace {

constexpr size_t kMinLine = 32;

TlsTicketKey RandomKey() {
  TlsTicketKey key;
  RAND_bytes(key.name.data(), key.name.size());
  RAND_bytes(key.aes.data(), key.aes.size());
  RAND_bytes(key.hmac.data(), key.hmac.size());
  return key;
}

template <size_t N>
void Derive(std::string_view secret, std::string_view use, std::array<uint8_t, N>* out) {
  CHECK(HKDF(out->data(), N, EVP_sha256(), reinterpret_cast<const uint8_t*>(secret.data()),
             secret.size(), nullptr, 0, reinterpret_cast<const uint8_t*>(use.data()),
             use.size()) == 1);
}

std::string_view Trim(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1);
}

}  // namespace

void TlsTicketKeys::Keys::Rotate(TimePoint now) {
  if (rotate_after == kNoTimeout) return;
  if (newest_since == kNever) newest_since = now;
  const Duration age = now - newest_since;
  if (age < rotate_after) return;
  // What the one before has encrypted is older than two turns.
  if (age >= rotate_after * 2) keys.clear();
  keys.insert(keys.begin(), RandomKey());
  if (keys.size() > 2) keys.resize(2);
  newest_since = now;
}

TlsTicketKey TlsTicketKeys::Keys::ForNew(TimePoint now) {
  const std::lock_guard<std::mutex> lock(mutex);
  Rotate(now);
  return keys.front();
}

bool TlsTicketKeys::Keys::Find(const uint8_t* name, TimePoint now, TlsTicketKey* key,
                               bool* newest) {
  const std::lock_guard<std::mutex> lock(mutex);
  Rotate(now);
  const auto found = std::find_if(keys.begin(), keys.end(), [&](const TlsTicketKey& one) {
    return std::memcmp(one.name.data(), name, one.name.size()) == 0;
  });
  if (found == keys.end()) return false;
  *key = *found;
  *newest = found == keys.begin();
  return true;
}

TlsTicketKeys::TlsTicketKeys() : keys_(std::make_unique<Keys>()) {}
TlsTicketKeys::~TlsTicketKeys() = default;

std::shared_ptr<TlsTicketKeys> TlsTicketKeys::Random(Duration rotate_after) {
  std::shared_ptr<TlsTicketKeys> made(new TlsTicketKeys);
  made->keys_->keys.push_back(RandomKey());
  made->keys_->rotate_after = rotate_after;
  return made;
}

absl::StatusOr<std::shared_ptr<TlsTicketKeys>> TlsTicketKeys::FromText(const TlsText& text) {
  std::shared_ptr<TlsTicketKeys> made(new TlsTicketKeys);
  std::string_view rest = text.text;
  for (size_t number = 1; !rest.empty(); ++number) {
    const size_t end = rest.find('\n');
    const std::string_view line = Trim(rest.substr(0, end));
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
    if (line.empty()) continue;
    if (line.size() < kMinLine) {
      return InvalidArgument(fmt::format(
          "{}: line {} has {} characters, and a ticket key needs {} or more; make one: openssl "
          "rand -base64 48",
          text.name, number, line.size(), kMinLine));
    }
    TlsTicketKey key;
    Derive(line, "gatehouse ticket name", &key.name);
    Derive(line, "gatehouse ticket aes", &key.aes);
    Derive(line, "gatehouse ticket hmac", &key.hmac);
    made->keys_->keys.push_back(key);
  }
  if (made->keys_->keys.empty()) {
    return InvalidArgument(fmt::format(
        "{}: has no ticket key in it; put one on a line: openssl rand -base64 48", text.name));
  }
  return made;
}

}  // namespace gatehouse::net
