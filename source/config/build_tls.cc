#include "source/config/build_tls.h"

#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "fmt/format.h"
#include "source/base/crypto.h"
#include "source/base/status.h"
#include "source/net/address.h"

namespace gatehouse::config {
namespace {

using std::chrono::hours;
using std::chrono::minutes;

using SanMatchers = google::protobuf::RepeatedPtrField<v1::SubjectAltName>;

// Of everything that makes a context another one.
class Digester {
 public:
  void Add(std::string_view text) { parts_ += View(Sha256(text)); }
  void Add(uint64_t number) { Add(std::to_string(number)); }
  void Add(const net::TlsText& text) { Add(text.text); }
  void Add(const net::TlsCertificateSpec& certificate) {
    Add(certificate.chain);
    Add(certificate.key);
    Add(certificate.ocsp);
  }
  void Add(const net::TlsPeerSpec& peer) {
    Add(peer.ca);
    Add(peer.crl);
    Add(peer.names.size());
    for (const net::SanMatcher& name : peer.names) {
      Add(static_cast<uint64_t>(name.kind));
      Add(static_cast<uint64_t>(name.how));
      Add(name.value);
    }
  }
  void Add(const std::vector<std::string>& texts) {
    Add(texts.size());
    for (const std::string& text : texts) Add(text);
  }
  [[nodiscard]] std::string Finish() const { return HexEncode(View(Sha256(parts_))); }

 private:
  std::string parts_;
};

// What is common to both sides. Once something is wrong no context is made: the errors are told.
class TlsReader {
 public:
  explicit TlsReader(const BuildScope& scope) : scope_(scope) {}

  // False: it refers to what is not there, or to a secret that has errors of its own.
  [[nodiscard]] bool sound() const { return sound_; }
  void Wrong(const Field& field, std::string message) {
    field.Error(std::move(message));
    sound_ = false;
  }

  // Nothing when `name` is empty.
  net::TlsText Text(const std::string& name, const Field& field);
  net::TlsText Needed(const std::string& name, const Field& field);
  net::TlsCertificateSpec Certificate(const v1::Certificate& certificate, const Field& field);
  std::vector<net::SanMatcher> Names(const SanMatchers& names, const Field& field);
  net::TlsVersion Version(v1::TlsVersion version, const Field& field);

 private:
  bool ReadName(const v1::SubjectAltName& name, net::SanMatcher& matcher, const Field& field);
  void CheckName(const net::SanMatcher& matcher, const Field& field);

  const BuildScope& scope_;
  bool sound_ = true;
};

net::TlsText TlsReader::Text(const std::string& name, const Field& field) {
  return name.empty() ? net::TlsText() : Needed(name, field);
}

net::TlsText TlsReader::Needed(const std::string& name, const Field& field) {
  const auto& secrets = scope_.offers.secrets;
  const auto at = secrets.find(name);
  if (name.empty()) {
    Wrong(field, "must name a secret");
  } else if (at == secrets.end()) {
    sound_ = false;
    field.Unknown("secret", name, NamesOf(secrets));
  } else if (scope_.broken_secrets.contains(name)) {
    sound_ = false;
  } else {
    const auto place = scope_.secret_places.find(name);
    return {place == scope_.secret_places.end()
                ? fmt::format("secret \"{}\"", name)
                : fmt::format("secret \"{}\" ({})", name, place->second),
            at->second};
  }
  return {};
}

net::TlsCertificateSpec TlsReader::Certificate(const v1::Certificate& certificate,
                                               const Field& field) {
  net::TlsCertificateSpec spec;
  spec.chain = Needed(certificate.chain(), field.Below("chain"));
  spec.key = certificate.key().empty() ? spec.chain : Text(certificate.key(), field.Below("key"));
  spec.ocsp = Text(certificate.ocsp(), field.Below("ocsp"));
  return spec;
}

// "exact", "prefix" or "suffix" of a match.
bool ReadMatch(const v1::NameMatch& match, net::SanMatcher& matcher) {
  switch (match.by_case()) {
    case v1::NameMatch::kExact:
      matcher.how = net::SanMatcher::How::kExact;
      matcher.value = match.exact();
      return true;
    case v1::NameMatch::kPrefix:
      matcher.how = net::SanMatcher::How::kPrefix;
      matcher.value = match.prefix();
      return true;
    case v1::NameMatch::kSuffix:
      matcher.how = net::SanMatcher::How::kSuffix;
      matcher.value = match.suffix();
      return true;
    case v1::NameMatch::BY_NOT_SET:
      break;
  }
  return false;
}

bool TlsReader::ReadName(const v1::SubjectAltName& name, net::SanMatcher& matcher,
                         const Field& field) {
  using Kind = net::SanMatcher::Kind;
  net::IpAddress ip;
  switch (name.kind_case()) {
    case v1::SubjectAltName::kDns:
      matcher.kind = Kind::kDns;
      return ReadMatch(name.dns(), matcher);
    case v1::SubjectAltName::kUri:
      matcher.kind = Kind::kUri;
      return ReadMatch(name.uri(), matcher);
    case v1::SubjectAltName::kEmail:
      matcher.kind = Kind::kEmail;
      return ReadMatch(name.email(), matcher);
    case v1::SubjectAltName::kIp:
      matcher.kind = Kind::kIp;
      if (!net::IpAddress::Parse(name.ip(), &ip)) {
        Wrong(field.Below("ip"), fmt::format("\"{}\" is not an address", name.ip()));
      }
      matcher.value = ip.ToString();
      return true;
    case v1::SubjectAltName::KIND_NOT_SET:
      break;
  }
  return false;
}

// A match that takes in more than it seems to is an open door.
void TlsReader::CheckName(const net::SanMatcher& matcher, const Field& field) {
  using Kind = net::SanMatcher::Kind;
  using How = net::SanMatcher::How;
  const std::string_view value = matcher.value;
  if (value.empty()) {
    Wrong(field, "must not be empty");
  } else if (value.find('\0') != value.npos) {
    Wrong(field, "holds a control character");
  } else if (matcher.kind == Kind::kDns && value.find('*') != value.npos) {
    Wrong(field, "has no wildcards; write { suffix: \".example.com\" } for all hosts below one");
  } else if (matcher.kind == Kind::kDns && matcher.how == How::kSuffix && value.front() != '.') {
    Wrong(field,
          fmt::format("must begin with a dot: \"{0}\" is also the end of \"not{0}\"", value));
  } else if (matcher.kind == Kind::kEmail && matcher.how == How::kSuffix &&
             value.find('@') == value.npos) {
    Wrong(field, fmt::format("must hold the \"@\": \"{0}\" is also the end of \"not{0}\"", value));
  } else if (matcher.kind == Kind::kUri && matcher.how == How::kPrefix) {
    const size_t host = value.find("://");
    if (host != value.npos && value.find('/', host + 3) == value.npos) {
      Wrong(field,
            fmt::format("must go on to the \"/\" after the host: \"{0}\" also begins \"{0}.other\"",
                        value));
    }
  }
}

std::vector<net::SanMatcher> TlsReader::Names(const SanMatchers& names, const Field& field) {
  std::vector<net::SanMatcher> matchers;
  for (int i = 0; i < names.size(); ++i) {
    const Field item = field.Item(static_cast<size_t>(i));
    net::SanMatcher matcher;
    if (!ReadName(names[i], matcher, item)) {
      Wrong(item, "needs dns, uri, email or ip, and of a name what is exact, a prefix or a suffix");
      continue;
    }
    if (matcher.kind == net::SanMatcher::Kind::kDns) matcher.value = LowerCase(matcher.value);
    CheckName(matcher, item);
    matchers.push_back(std::move(matcher));
  }
  return matchers;
}

net::TlsVersion TlsReader::Version(v1::TlsVersion version, const Field& field) {
  switch (version) {
    case v1::TLS_1_2:
      return net::TlsVersion::kTls12;
    case v1::TLS_1_3:
      return net::TlsVersion::kTls13;
    default:
      Wrong(field, "is not a version that this version of the gateway knows");
      return net::TlsVersion::kTls13;
  }
}

// Tells what is wrong with `ca` or `crl` below `field`, and whether anything is.
bool BlamePeer(const net::TlsPeerSpec& peer, const Field& field) {
  net::TlsClientSpec spec;
  spec.server = peer;
  const absl::Status status = net::TlsClientContext::Create(spec).status();
  if (status.ok()) return false;
  spec.server.crl = {};
  const bool ca_is_fine = net::TlsClientContext::Create(spec).ok();
  field.Below(ca_is_fine ? "crl" : "ca").Error(status);
  return true;
}

class ServerTlsReader {
 public:
  ServerTlsReader(const v1::Listener& listener, const BuildScope& scope, const Field& field)
      : message_(listener.tls()), scope_(scope), field_(field), reader_(scope) {
    spec_.name = listener.name();
    if (listener.http2().disabled()) spec_.alpn = {"http/1.1"};
  }

  BuiltServerTls Build(const BuiltServerTls& old) && {
    ReadCertificates(field_.Below("certificates"));
    spec_.min_version = reader_.Version(message_.min_version(), field_.Below("min_version"));
    if (message_.has_client_certificates()) ReadClients(field_.Below("client_certificates"));
    ReadTickets(field_.Below("session_tickets"));
    spec_.early_data = message_.early_data();
    if (spec_.early_data && message_.session_tickets().disabled()) {
      reader_.Wrong(field_.Below("early_data"), "needs session tickets, which are disabled");
    }
    if (!reader_.sound()) return {};
    std::string digest = Digest();
    if (old.context != nullptr && old.digest == digest) return old;
    return {Create(), std::move(digest)};
  }

 private:
  void ReadCertificates(const Field& field);
  void ReadClients(const Field& field);
  void ReadTickets(const Field& field);
  [[nodiscard]] std::string Digest() const;
  [[nodiscard]] std::shared_ptr<const net::TlsServerContext> Create();
  void Blame(const absl::Status& status) const;

  const v1::ListenerTls& message_;
  const BuildScope& scope_;
  const Field& field_;
  TlsReader reader_;
  net::TlsServerSpec spec_;
  net::TlsText ticket_text_;
  Duration rotate_after_ = hours(12);
};

void ServerTlsReader::ReadCertificates(const Field& field) {
  if (message_.certificates().empty()) {
    reader_.Wrong(field, "must name the secret of a certificate");
  }
  for (int i = 0; i < message_.certificates_size(); ++i) {
    const Field item = field.Item(static_cast<size_t>(i));
    spec_.certificates.push_back(reader_.Certificate(message_.certificates(i), item));
  }
}

void ServerTlsReader::ReadClients(const Field& field) {
  using Mode = net::TlsServerSpec::ClientCertificates;
  const v1::ClientCertificates& clients = message_.client_certificates();
  switch (clients.mode()) {
    case v1::ClientCertificates::MODE_REQUIRED:
      spec_.client_certificates = Mode::kRequired;
      break;
    case v1::ClientCertificates::MODE_OPTIONAL:
      spec_.client_certificates = Mode::kOptional;
      break;
    default:
      reader_.Wrong(field.Below("mode"), "is not a choice that this version knows");
  }
  spec_.client.ca = reader_.Needed(clients.ca(), field.Below("ca"));
  spec_.client.crl = reader_.Text(clients.crl(), field.Below("crl"));
  spec_.client.names = reader_.Names(clients.subject_alt_names(), field.Below("subject_alt_names"));
}

void ServerTlsReader::ReadTickets(const Field& field) {
  const v1::SessionTickets& tickets = message_.session_tickets();
  // Whoever has a ticket key can read what was recorded: it should not be kept for long.
  rotate_after_ =
      ReadDuration(tickets.has_rotate_after(), tickets.rotate_after(),
                   {.fallback = hours(12), .longest = hours(24 * 7)}, field.Below("rotate_after"));
  if (rotate_after_ < minutes(1)) {
    reader_.Wrong(field.Below("rotate_after"), "must be at least 1m");
  }
  ticket_text_ = reader_.Text(tickets.keys(), field.Below("keys"));
  const auto refuse = [&](bool given, std::string_view name, std::string_view why) {
    if (given) reader_.Wrong(field.Below(name), fmt::format("has no effect {}", why));
  };
  if (tickets.disabled()) {
    refuse(!tickets.keys().empty(), "keys", "when tickets are disabled");
    refuse(tickets.has_rotate_after(), "rotate_after", "when tickets are disabled");
  } else if (!tickets.keys().empty()) {
    refuse(tickets.has_rotate_after(), "rotate_after",
           "with keys, which rotate when their secret changes");
  }
}

std::string ServerTlsReader::Digest() const {
  Digester digester;
  digester.Add(spec_.name);
  digester.Add(spec_.certificates.size());
  for (const net::TlsCertificateSpec& certificate : spec_.certificates) digester.Add(certificate);
  digester.Add(static_cast<uint64_t>(spec_.min_version));
  digester.Add(spec_.alpn);
  digester.Add(static_cast<uint64_t>(spec_.client_certificates));
  digester.Add(spec_.client);
  digester.Add(static_cast<uint64_t>(spec_.early_data));
  digester.Add(static_cast<uint64_t>(message_.session_tickets().disabled()));
  digester.Add(ticket_text_);
  digester.Add(static_cast<uint64_t>(rotate_after_.count()));
  return digester.Finish();
}

std::shared_ptr<const net::TlsServerContext> ServerTlsReader::Create() {
  if (!ticket_text_.empty()) {
    auto keys = net::TlsTicketKeys::FromText(ticket_text_);
    if (!keys.ok()) {
      const Field tickets = field_.Below("session_tickets");
      tickets.Below("keys").Error(keys.status());
      return nullptr;
    }
    spec_.ticket_keys = *std::move(keys);
  } else if (!message_.session_tickets().disabled()) {
    TicketKeyStore* store = scope_.environment.ticket_keys;
    spec_.ticket_keys = store != nullptr ? store->KeysFor(rotate_after_)
                                         : net::TlsTicketKeys::Random(rotate_after_);
  }
  auto context = net::TlsServerContext::Create(spec_);
  if (context.ok()) return *std::move(context);
  Blame(context.status());
  return nullptr;
}

// Finds the fields that are to blame: `status` tells of one of them only.
void ServerTlsReader::Blame(const absl::Status& status) const {
  bool found = false;
  const Field certificates = field_.Below("certificates");
  for (size_t i = 0; i < spec_.certificates.size(); ++i) {
    net::TlsServerSpec alone;
    alone.name = spec_.name;
    alone.certificates = {spec_.certificates[i]};
    const absl::Status of_this = net::TlsServerContext::Create(alone).status();
    if (of_this.ok()) continue;
    certificates.Item(i).Error(of_this);
    found = true;
  }
  if (message_.has_client_certificates()) {
    found |= BlamePeer(spec_.client, field_.Below("client_certificates"));
  }
  if (!found) field_.Error(status);
}

class ClientTlsReader {
 public:
  ClientTlsReader(const v1::ClusterTls& tls, const BuildScope& scope, const Field& field)
      : message_(tls), field_(field), reader_(scope) {}

  BuiltClientTls Build(upstream::Protocol protocol, const BuiltClientTls& old) && {
    SetAlpn(protocol);
    ReadServer();
    ReadName(field_.Below("sni"));
    if (message_.has_client_certificate()) ReadCertificate(field_.Below("client_certificate"));
    spec_.min_version = reader_.Version(message_.min_version(), field_.Below("min_version"));
    if (!reader_.sound()) return {};
    std::string digest = Digest();
    if (old.context != nullptr && old.digest == digest) return old;
    return {Create(), std::move(digest)};
  }

 private:
  void SetAlpn(upstream::Protocol protocol);
  void ReadServer();
  void ReadName(const Field& field);
  void ReadCertificate(const Field& field);
  [[nodiscard]] std::string Digest() const;
  [[nodiscard]] std::shared_ptr<const net::TlsClientContext> Create() const;
  void Blame(const absl::Status& status) const;

  const v1::ClusterTls& message_;
  const Field& field_;
  TlsReader reader_;
  net::TlsClientSpec spec_;
};

void ClientTlsReader::SetAlpn(upstream::Protocol protocol) {
  switch (protocol) {
    case upstream::Protocol::kHttp1:
      spec_.alpn = {"http/1.1"};
      return;
    case upstream::Protocol::kHttp2:
      spec_.alpn = {"h2"};
      return;
    case upstream::Protocol::kAuto:
      spec_.alpn = {"h2", "http/1.1"};
      return;
  }
}

void ClientTlsReader::ReadServer() {
  spec_.server.ca = reader_.Text(message_.ca(), field_.Below("ca"));
  spec_.server.crl = reader_.Text(message_.crl(), field_.Below("crl"));
  spec_.server.names =
      reader_.Names(message_.subject_alt_names(), field_.Below("subject_alt_names"));
  spec_.verify = !message_.insecure_skip_verify();
  if (spec_.verify) return;
  const auto refuse = [&](bool given, std::string_view name) {
    if (given) reader_.Wrong(field_.Below(name), "has no effect with insecure_skip_verify");
  };
  refuse(!message_.ca().empty(), "ca");
  refuse(!message_.crl().empty(), "crl");
  refuse(!message_.subject_alt_names().empty(), "subject_alt_names");
}

void ClientTlsReader::ReadName(const Field& field) {
  // RFC 6066, section 3: a host name, without the dot at its end.
  const std::string& name = message_.sni();
  net::IpAddress ip;
  if (name.empty()) return;
  if (net::IpAddress::Parse(name, &ip)) {
    return reader_.Wrong(field, fmt::format("\"{}\" is an address, which is not asked for; write "
                                            "subject_alt_names: [ {{ ip: \"{}\" }} ]",
                                            name, name));
  }
  const std::string lower = LowerCase(name);
  if (lower.size() > 253 || lower.front() == '.' || lower.back() == '.' ||
      lower.find("..") != lower.npos ||
      lower.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789.-_") != lower.npos) {
    return reader_.Wrong(field, fmt::format("\"{}\" is not a host name", name));
  }
  spec_.server_name = lower;
}

void ClientTlsReader::ReadCertificate(const Field& field) {
  const v1::Certificate& certificate = message_.client_certificate();
  spec_.certificate = reader_.Certificate(certificate, field);
  if (!certificate.ocsp().empty()) {
    reader_.Wrong(field.Below("ocsp"), "is for servers: a client has nothing to staple it to");
  }
}

std::string ClientTlsReader::Digest() const {
  Digester digester;
  digester.Add(spec_.server);
  digester.Add(static_cast<uint64_t>(spec_.verify));
  digester.Add(spec_.server_name);
  digester.Add(spec_.alpn);
  digester.Add(spec_.certificate);
  digester.Add(static_cast<uint64_t>(spec_.min_version));
  return digester.Finish();
}

std::shared_ptr<const net::TlsClientContext> ClientTlsReader::Create() const {
  auto context = net::TlsClientContext::Create(spec_);
  if (context.ok()) return *std::move(context);
  Blame(context.status());
  return nullptr;
}

void ClientTlsReader::Blame(const absl::Status& status) const {
  net::TlsClientSpec alone;
  alone.certificate = spec_.certificate;
  alone.verify = false;
  const absl::Status of_certificate = net::TlsClientContext::Create(alone).status();
  if (!of_certificate.ok()) field_.Below("client_certificate").Error(of_certificate);
  const bool peer = spec_.verify && BlamePeer(spec_.server, field_);
  if (of_certificate.ok() && !peer) field_.Error(status);
}

}  // namespace

BuiltServerTls BuildServerTls(const v1::Listener& listener, const BuildScope& scope,
                              const BuiltServerTls& old, const Field& field) {
  return ServerTlsReader(listener, scope, field).Build(old);
}

BuiltClientTls BuildClientTls(const v1::ClusterTls& tls, upstream::Protocol protocol,
                              const BuildScope& scope, const BuiltClientTls& old,
                              const Field& field) {
  return ClientTlsReader(tls, scope, field).Build(protocol, old);
}

}  // namespace gatehouse::config
