// Graceful stop and binary upgrade. See server.h.
#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "source/server/say.h"
#include "source/server/server.h"

namespace gatehouse::server {
namespace {

constexpr Duration kDrainTick = std::chrono::milliseconds(20);
// An idle connection is given this long for a request that is on its way.
constexpr Duration kIdleGrace = std::chrono::seconds(2);
constexpr std::string_view kAdminAddress = "admin";

}  // namespace

// `shared`: sockets that another process may serve on.
void Server::StartDrain(std::string_view why, bool exit_when_done,
                        const net::SharedSockets& shared) {
  if (!exit_when_done) {
    // POST /drain: out of the balancer's rotation, but still serving who comes.
    if (std::exchange(not_ready_, true)) return;
    Say(fmt::format("{}: not ready any more; responses close their connections", why));
    counters_->Set(server_metrics_->draining, 1);
    for (const auto& worker : workers_) worker->CloseAfterResponses();
    return;
  }
  if (exit_when_drained_) return;
  state_ = State::kDraining;
  exit_when_drained_ = not_ready_ = true;
  drain_deadline_ = loop_.Now() + settings_.drain_timeout;
  counters_->Set(server_metrics_->draining, 1);
  Say(fmt::format("{}: draining {} connection(s) for up to {} s", why,
                  shared_.connections.load(std::memory_order_relaxed),
                  settings_.drain_timeout.count() / 1'000'000));
  file_source_.reset();
  if (pushed_ != nullptr) pushed_->Stop();
  if (offer_ != nullptr) offer_->Withdraw();
  to_drain_ = workers_.size();
  for (const auto& worker : workers_) {
    worker->Drain(std::min(kIdleGrace, settings_.drain_timeout), shared, [this] { --to_drain_; });
  }
  loop_.Arm(drain_timer_, kDrainTick);
}

void Server::DrainTick() {
  const uint32_t left = shared_.connections.load(std::memory_order_relaxed);
  // What waits in the sockets, or is on its way, is counted only when each worker has closed its
  // own.
  if ((left == 0 && to_drain_ == 0) || loop_.Now() >= drain_deadline_) {
    if (left > 0) Say(fmt::format("closing {} connection(s) that did not end in time", left));
    state_ = State::kStopping;
    loop_.Stop();
    return;
  }
  loop_.Arm(drain_timer_, kDrainTick);
}

SocketSet Server::SocketsToHandOver() const {
  SocketSet set;
  for (const auto& [unused, sockets] : sockets_) {
    std::vector<int>& fds = set[sockets.address_text];
    fds.insert(fds.end(), sockets.fds.begin(), sockets.fds.end());
  }
  if (admin_ != nullptr) set[std::string(kAdminAddress)] = {admin_->fd()};
  return set;
}

// A new process that has been handed sockets may serve on them, whatever becomes of this one.
net::SharedSockets Server::SharedWithSuccessor() const {
  const bool shared = offer_ != nullptr && offer_->has_peer();
  return shared ? net::SharedSockets::All() : net::SharedSockets();
}

absl::Status Server::OfferUpgrade() {
  absl::StatusOr<std::unique_ptr<TakeoverOffer>> offer =
      TakeoverOffer::Open(loop_, settings_.upgrade_socket,
                          {.sockets = [this] { return SocketsToHandOver(); },
                           .replaced =
                               [this] {
                                 if (admin_ != nullptr) admin_->StopAccepting();
                                 if (pushed_ != nullptr) pushed_->Release();
                                 StartDrain("a new process has taken over", /*exit_when_done=*/true,
                                            net::SharedSockets::All());
                               }});
  if (!offer.ok()) return offer.status();
  offer_ = *std::move(offer);
  return absl::OkStatus();
}

}  // namespace gatehouse::server
