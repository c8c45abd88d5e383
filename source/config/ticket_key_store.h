// TicketKeyStore: the random keys of session tickets, which outlive every config: a reload must not
// make the tickets useless that clients hold.
//
// Owner: the server; outlives all snapshots. Thread: main.
//
//   std::shared_ptr<net::TlsTicketKeys> keys = store.KeysFor(std::chrono::hours(12));
#pragma once

#include <map>
#include <memory>

#include "source/base/time.h"
#include "source/net/tls_context.h"

namespace gatehouse::config {

class TicketKeyStore {
 public:
  TicketKeyStore() = default;
  TicketKeyStore(const TicketKeyStore&) = delete;
  TicketKeyStore& operator=(const TicketKeyStore&) = delete;

  // The same ones for the same pace.
  [[nodiscard]] std::shared_ptr<net::TlsTicketKeys> KeysFor(Duration rotate_after) {
    std::shared_ptr<net::TlsTicketKeys>& keys = keys_[rotate_after];
    if (keys == nullptr) keys = net::TlsTicketKeys::Random(rotate_after);
    return keys;
  }

 private:
  std::map<Duration, std::shared_ptr<net::TlsTicketKeys>> keys_;
};

}  // namespace gatehouse::config
