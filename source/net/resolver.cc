#include "source/net/resolver.h"

#include <ares.h>
#include <sys/time.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <utility>

#include "fmt/format.h"
#include "source/base/check.h"

namespace gatehouse::net {
namespace {

constexpr int kTries = 3;
// c-ares waits this share of the timeout for the first answer, and twice as long each next time.
constexpr int kFirstTryShare = 4;
constexpr uint16_t kDnsPort = 53;

bool ParseServer(const std::string& text, Address* out) {
  IpAddress ip;
  if (IpAddress::Parse(text, &ip)) {
    *out = Address(ip, kDnsPort);
    return true;
  }
  absl::StatusOr<Address> address = Address::Parse(text);
  if (!address.ok() || address->port() == 0) return false;
  *out = *address;
  return true;
}

DnsStatus StatusOf(int ares_status) {
  switch (ares_status) {
    case ARES_SUCCESS:
      return DnsStatus::kOk;
    case ARES_ENOTFOUND:
    case ARES_ENODATA:
    case ARES_ENONAME:
    case ARES_EBADNAME:
      return DnsStatus::kNotFound;
    case ARES_ETIMEOUT:
      return DnsStatus::kTimeout;
    default:
      return DnsStatus::kFailed;
  }
}

int FamilyOf(DnsFamily family) {
  switch (family) {
    case DnsFamily::kIpv4:
      return AF_INET;
    case DnsFamily::kIpv6:
      return AF_INET6;
    case DnsFamily::kBoth:
      break;
  }
  return AF_UNSPEC;
}

DnsAnswer AnswerOf(const ares_addrinfo& info) {
  DnsAnswer answer;
  int ttl = INT32_MAX;
  for (const ares_addrinfo_node* node = info.nodes; node != nullptr; node = node->ai_next) {
    if (node->ai_family != AF_INET && node->ai_family != AF_INET6) continue;
    answer.addresses.push_back(Address(node->ai_addr).ip());
    ttl = std::min(ttl, node->ai_ttl);
  }
  // An alias may point elsewhere before the address itself has changed.
  for (const ares_addrinfo_cname* alias = info.cnames; alias != nullptr; alias = alias->next) {
    ttl = std::min(ttl, alias->ttl);
  }
  const auto less = [](const IpAddress& a, const IpAddress& b) {
    return std::memcmp(a.bytes, b.bytes, sizeof(a.bytes)) < 0;
  };
  std::sort(answer.addresses.begin(), answer.addresses.end(), less);
  answer.addresses.erase(std::unique(answer.addresses.begin(), answer.addresses.end()),
                         answer.addresses.end());
  answer.status = answer.addresses.empty() ? DnsStatus::kNotFound : DnsStatus::kOk;
  if (answer.addresses.empty()) answer.detail = "no address";
  answer.ttl = std::chrono::seconds(answer.addresses.empty() ? 0 : std::max(ttl, 0));
  return answer;
}

}  // namespace

// What c-ares works on. It outlives a lookup that is cancelled or out of time: c-ares cannot cancel
// one query alone.
struct Resolver::Query {
  Lookup* lookup;
};

// The c-ares channel, with its sockets on the loop.
struct Resolver::Channel {
  struct Socket {
    Socket(Channel& owner, ares_socket_t descriptor, FdEvents::Trigger trigger)
        : channel(owner), fd(descriptor), events(owner.loop, fd, this, &OnReady, trigger) {}
    static void OnReady(void* self, Ready ready) {
      auto* socket = static_cast<Socket*>(self);
      Channel& channel = socket->channel;
      const ares_socket_t fd = socket->fd;
      // May close the socket and so destroy `socket`.
      ares_process_fd(channel.ares, ready.read || ready.hangup ? fd : ARES_SOCKET_BAD,
                      ready.write ? fd : ARES_SOCKET_BAD);
      channel.ArmTimer();
    }

    Channel& channel;
    ares_socket_t fd;
    FdEvents events;
  };

  explicit Channel(Loop& owner)
      : loop(owner), timer(Timer::Calls<Channel, &Channel::OnTimer>(), this) {}
  ~Channel() {
    if (ares != nullptr) ares_destroy(ares);
  }

  absl::Status Open(const Options& options);
  void OnSocketState(ares_socket_t fd, bool read, bool write) {
    sockets.erase(fd);
    if (!read && !write) return;
    const FdEvents::Trigger trigger = !write  ? FdEvents::Trigger::kLevelRead
                                      : !read ? FdEvents::Trigger::kLevelWrite
                                              : FdEvents::Trigger::kLevelBoth;
    sockets.emplace(fd, std::make_unique<Socket>(*this, fd, trigger));
  }
  void OnTimer() {
    ares_process_fd(ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    ArmTimer();
  }
  // For the next try of whatever query is due first.
  void ArmTimer() {
    timeval wait;
    if (ares_timeout(ares, nullptr, &wait) == nullptr) {
      timer.Cancel();
      return;
    }
    loop.Arm(timer, std::chrono::seconds(wait.tv_sec) + Duration(wait.tv_usec));
  }

  Loop& loop;
  ares_channel ares = nullptr;
  std::map<ares_socket_t, std::unique_ptr<Socket>> sockets;
  Timer timer;
};

absl::Status Resolver::Channel::Open(const Options& options) {
  static const int library = ares_library_init(ARES_LIB_INIT_ALL);
  if (library != ARES_SUCCESS) return Unavailable(ares_strerror(library));

  char lookups[] = "fb";  // /etc/hosts first, then DNS
  ares_options settings{};
  settings.lookups = lookups;
  settings.tries = kTries;
  settings.timeout = static_cast<int>(
      std::chrono::duration_cast<std::chrono::milliseconds>(options.timeout / kFirstTryShare)
          .count());
  settings.timeout = std::max(settings.timeout, 1);
  settings.sock_state_cb = [](void* self, ares_socket_t fd, int read, int write) {
    static_cast<Channel*>(self)->OnSocketState(fd, read != 0, write != 0);
  };
  settings.sock_state_cb_data = this;
  int set = ARES_OPT_LOOKUPS | ARES_OPT_TRIES | ARES_OPT_TIMEOUTMS | ARES_OPT_SOCK_STATE_CB;
  // With servers of one's own the system's search list has no say: no domains at all.
  if (!options.servers.empty()) set |= ARES_OPT_DOMAINS;
  int status = ares_init_options(&ares, &settings, set);
  if (status != ARES_SUCCESS) {
    ares = nullptr;
    return Unavailable(fmt::format("DNS: {}", ares_strerror(status)));
  }
  if (options.servers.empty()) return absl::OkStatus();

  std::string servers;
  for (const std::string& server : options.servers) {
    Address address;
    if (!ParseServer(server, &address)) continue;
    if (!servers.empty()) servers += ',';
    servers += address.ToString();
  }
  status = ares_set_servers_ports_csv(ares, servers.c_str());
  if (status != ARES_SUCCESS) return Unavailable(fmt::format("DNS: {}", ares_strerror(status)));
  return absl::OkStatus();
}

absl::Status Resolver::CheckServers(const std::vector<std::string>& servers) {
  for (size_t i = 0; i < servers.size(); ++i) {
    Address address;
    if (ParseServer(servers[i], &address)) continue;
    return InvalidArgument(
        fmt::format("resolvers[{}]: '{}' is no address such as '10.0.0.2:53'", i, servers[i]));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Resolver>> Resolver::Make(Loop& loop, Options options) {
  if (absl::Status status = CheckServers(options.servers); !status.ok()) return status;
  std::unique_ptr<Resolver> resolver(new Resolver(loop, std::move(options)));
  if (absl::Status status = resolver->channel_->Open(resolver->options_); !status.ok()) {
    return status;
  }
  return resolver;
}

Resolver::Resolver(Loop& loop, Options options)
    : loop_(loop), options_(std::move(options)), channel_(std::make_unique<Channel>(loop)) {}

Resolver::~Resolver() {
  while (Lookup* lookup = lookups_.Front()) lookup->Cancel();
}

void Resolver::Start(Lookup& lookup, std::string_view host, DnsFamily family) {
  CHECK(!lookup.running());
  lookup.resolver_ = this;
  lookup.query_ = new Query{&lookup};
  lookups_.PushBack(lookup);
  loop_.Arm(lookup.timeout_, options_.timeout);

  ares_addrinfo_hints hints{};
  hints.ai_flags = ARES_AI_NOSORT;
  hints.ai_family = FamilyOf(family);
  hints.ai_socktype = SOCK_STREAM;
  // May call back at once, when /etc/hosts knows the name.
  ares_getaddrinfo(channel_->ares, std::string(host).c_str(), nullptr, &hints, &Resolver::OnResult,
                   lookup.query_);
  channel_->ArmTimer();
}

void Resolver::OnResult(void* argument, int status, int /*timeouts*/, ares_addrinfo* info) {
  auto* query = static_cast<Query*>(argument);
  if (Lookup* lookup = query->lookup) {
    lookup->query_ = nullptr;
    DnsAnswer answer;
    if (status == ARES_SUCCESS && info != nullptr) {
      answer = AnswerOf(*info);
    } else {
      answer.status = StatusOf(status);
      answer.detail = ares_strerror(status);
    }
    lookup->Answer(std::move(answer));
  }
  delete query;
  if (info != nullptr) ares_freeaddrinfo(info);
}

Resolver::Lookup::Lookup(void* owner, Done done)
    : owner_(owner),
      done_(done),
      tell_([](void* self) { static_cast<Lookup*>(self)->Tell(); }, this),
      timeout_(Timer::Calls<Lookup, &Lookup::OnTimeout>(), this) {}

void Resolver::Lookup::Cancel() {
  Unlink();
  tell_.Unlink();
  timeout_.Cancel();
  resolver_ = nullptr;
  if (query_ != nullptr) query_->lookup = nullptr;
  query_ = nullptr;
}

void Resolver::Lookup::Answer(DnsAnswer answer) {
  answer_ = std::move(answer);
  Loop& loop = resolver_->loop_;
  loop.FlushLater(tell_);
  // The loop may be about to wait: Start() was called before the first turn, say.
  loop.Post([] {});
}

void Resolver::Lookup::OnTimeout() {
  answer_ = DnsAnswer{};
  answer_.status = DnsStatus::kTimeout;
  answer_.detail = "no answer in time";
  resolver_->loop_.FlushLater(tell_);
}

void Resolver::Lookup::Tell() {
  Cancel();
  const DnsAnswer answer = std::move(answer_);
  done_(owner_, answer);
}

}  // namespace gatehouse::net
