// The inside of TlsTicketKeys: keys by name, which one encrypts, and when it is replaced.
//
// Thread-safe; the lock is held for a copy of one key, once or twice per handshake.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <string_view>
#include <vector>

#include "source/base/time.h"
#include "source/net/tls_context.h"

namespace gatehouse::net {

struct TlsTicketKey {
  std::array<uint8_t, 16> name;
  std::array<uint8_t, 32> aes;
  std::array<uint8_t, 32> hmac;
};

struct TlsTicketKeys::Keys {
  // The key for new tickets. `now` only counts for random keys.
  [[nodiscard]] TlsTicketKey ForNew(TimePoint now);
  // The key with this name (16 bytes). False: there is none, any more. `newest`: it still encrypts.
  [[nodiscard]] bool Find(const uint8_t* name, TimePoint now, TlsTicketKey* key, bool* newest);

  void Rotate(TimePoint now);

  std::mutex mutex;
  std::vector<TlsTicketKey> keys;      // the newest first
  Duration rotate_after = kNoTimeout;  // zero: never
  TimePoint newest_since = kNever;     // kNever: not used yet
};

}  // namespace gatehouse::net
