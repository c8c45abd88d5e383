#include "source/net/proxy_protocol.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <utility>

namespace gatehouse::net {
namespace {

using Status = ProxyHeaderStatus;

constexpr std::string_view kV1Start = "PROXY ";
constexpr size_t kV1Most = 107;  // with its CRLF
constexpr std::string_view kV2Start("\r\n\r\n\0\r\nQUIT\n", 12);
constexpr size_t kV2Head = 16;
constexpr size_t kV4Block = 12;
constexpr size_t kV6Block = 36;
constexpr size_t kUnixBlock = 216;

enum class Tlv : uint8_t { kAuthority = 0x02, kCrc32c = 0x03, kUniqueId = 0x05, kSsl = 0x20 };
constexpr uint8_t kSslCommonName = 0x22;
constexpr uint8_t kClientSsl = 0x01;
constexpr uint8_t kClientCertificate = 0x02 | 0x04;  // on this connection, or in its session
constexpr size_t kSslHead = 5;
constexpr size_t kMaxUniqueId = 128;

ProxyHeaderResult Malformed(std::string_view reason) { return {Status::kMalformed, 0, reason}; }

uint8_t ByteAt(std::string_view bytes, size_t at) { return static_cast<uint8_t>(bytes[at]); }
uint16_t Number16(std::string_view bytes, size_t at) {
  return static_cast<uint16_t>(ByteAt(bytes, at) << 8 | ByteAt(bytes, at + 1));
}
uint32_t Number32(std::string_view bytes, size_t at) {
  return static_cast<uint32_t>(Number16(bytes, at)) << 16 | Number16(bytes, at + 2);
}

// --- Version 1 ---

// What stands before the next space, which is taken off, too.
std::string_view TakeWord(std::string_view& line) {
  const size_t space = line.find(' ');
  const std::string_view word = line.substr(0, space);
  line.remove_prefix(space == std::string_view::npos ? line.size() : space + 1);
  return word;
}

bool ParsePort(std::string_view text, uint16_t* port) {
  if (text.empty() || (text.size() > 1 && text[0] == '0')) return false;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, *port);
  return error == std::errc() && stop == end;
}

bool ParseIp(std::string_view text, bool v6, IpAddress* ip) {
  return (text.find(':') != std::string_view::npos) == v6 && IpAddress::Parse(text, ip);
}

ProxyHeaderResult ParseV1(std::string_view bytes, ProxyClaim& claim) {
  const size_t end = bytes.substr(0, kV1Most).find('\n');
  if (end == std::string_view::npos) {
    return bytes.size() < kV1Most ? ProxyHeaderResult{}
                                  : Malformed("version 1: the line is too long");
  }
  if (bytes[end - 1] != '\r') return Malformed("version 1: the line does not end with CRLF");
  std::string_view line = bytes.substr(kV1Start.size(), end - 1 - kV1Start.size());
  const ProxyHeaderResult done = {Status::kDone, end + 1, {}};
  const std::string_view protocol = TakeWord(line);
  if (protocol == "UNKNOWN") {
    // Whatever follows is to be ignored.
    claim = ProxyClaim();
    return done;
  }
  const bool v6 = protocol == "TCP6";
  if (!v6 && protocol != "TCP4") return Malformed("version 1: not TCP4, TCP6 or UNKNOWN");
  IpAddress source;
  IpAddress destination;
  uint16_t source_port = 0;
  uint16_t destination_port = 0;
  if (!ParseIp(TakeWord(line), v6, &source) || !ParseIp(TakeWord(line), v6, &destination)) {
    return Malformed("version 1: a bad address");
  }
  // The last word has no space behind it.
  if (!ParsePort(TakeWord(line), &source_port) || !ParsePort(line, &destination_port)) {
    return Malformed("version 1: a bad port");
  }
  claim = ProxyClaim();
  claim.has_addresses = true;
  claim.source = Address(source, source_port);
  claim.destination = Address(destination, destination_port);
  return done;
}

// --- Version 2 ---

constexpr std::array<uint32_t, 256> MakeCrc32cTable() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ ((crc & 1) != 0 ? 0x82f63b78u : 0);
    table[i] = crc;
  }
  return table;
}
constexpr std::array<uint32_t, 256> kCrc32c = MakeCrc32cTable();

// Of the header with zeros at [hole, hole + 4), where the sum itself is.
uint32_t Crc32cWithHole(std::string_view bytes, size_t hole) {
  uint32_t crc = ~0u;
  for (size_t i = 0; i < bytes.size(); ++i) {
    const uint8_t byte = i - hole < 4 ? 0 : ByteAt(bytes, i);
    crc = kCrc32c[(crc ^ byte) & 0xff] ^ crc >> 8;
  }
  return ~crc;
}

// Takes one type-length-value off the front. False: it is longer than what is there.
bool TakeTlv(std::string_view& rest, uint8_t* type, std::string_view* value) {
  if (rest.size() < 3) return false;
  const size_t length = Number16(rest, 1);
  if (rest.size() - 3 < length) return false;
  *type = ByteAt(rest, 0);
  *value = rest.substr(3, length);
  rest.remove_prefix(3 + length);
  return true;
}

bool TakeSsl(std::string_view value, ProxyClaim& claim) {
  if (value.size() < kSslHead) return false;
  const uint8_t client = ByteAt(value, 0);
  const bool verified = (client & kClientCertificate) != 0 && Number32(value, 1) == 0;
  claim.tls = (client & kClientSsl) != 0;
  value.remove_prefix(kSslHead);
  while (!value.empty()) {
    uint8_t type;
    std::string_view inner;
    if (!TakeTlv(value, &type, &inner)) return false;
    if (type == kSslCommonName && verified) claim.client_cn = inner;
  }
  return true;
}

// Empty, or why the header is refused.
std::string_view TakeTlvs(std::string_view header, size_t at, ProxyClaim& claim) {
  std::string_view rest = header.substr(at);
  while (!rest.empty()) {
    uint8_t type;
    std::string_view value;
    if (!TakeTlv(rest, &type, &value)) return "version 2: a field is longer than the header";
    switch (static_cast<Tlv>(type)) {
      case Tlv::kAuthority:
        claim.authority = value;
        break;
      case Tlv::kCrc32c: {
        if (value.size() != 4) return "version 2: a bad checksum field";
        const auto hole = static_cast<size_t>(value.data() - header.data());
        if (Crc32cWithHole(header, hole) != Number32(value, 0)) {
          return "version 2: the checksum is wrong";
        }
        break;
      }
      case Tlv::kUniqueId:
        if (value.size() > kMaxUniqueId) return "version 2: the unique id is too long";
        claim.unique_id = value;
        break;
      case Tlv::kSsl:
        if (!TakeSsl(value, claim)) return "version 2: a bad TLS field";
        break;
      default:  // nothing to us
        break;
    }
  }
  return {};
}

IpAddress IpAt(std::string_view header, size_t at, bool v6) {
  IpAddress ip = {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0}};
  std::memcpy(v6 ? ip.bytes : ip.bytes + 12, header.data() + at, v6 ? 16 : 4);
  return ip;
}

// The whole header is there, and the command is PROXY.
ProxyHeaderResult ParseV2Addresses(std::string_view header, ProxyClaim& claim) {
  const uint8_t family = ByteAt(header, 13) >> 4;
  const uint8_t protocol = ByteAt(header, 13) & 15;
  if (family > 3 || protocol > 2) return Malformed("version 2: an unknown family or protocol");
  constexpr size_t kBlocks[] = {0, kV4Block, kV6Block, kUnixBlock};
  if (header.size() - kV2Head < kBlocks[family]) return Malformed("version 2: too short");
  claim = ProxyClaim();
  const bool v6 = family == 2;
  if ((family == 1 || v6) && protocol == 1) {
    const size_t width = v6 ? 16 : 4;
    const size_t ports = kV2Head + 2 * width;
    claim.source = Address(IpAt(header, kV2Head, v6), Number16(header, ports));
    claim.destination = Address(IpAt(header, kV2Head + width, v6), Number16(header, ports + 2));
    claim.has_addresses = true;
    const std::string_view wrong = TakeTlvs(header, ports + 4, claim);
    if (!wrong.empty()) return Malformed(wrong);
  }
  return {Status::kDone, header.size(), {}};
}

ProxyHeaderResult ParseV2(std::string_view bytes, ProxyClaim& claim) {
  if (bytes.size() < kV2Head) return {};
  const uint8_t version_and_command = ByteAt(bytes, 12);
  if (version_and_command >> 4 != 2) return Malformed("an unknown version");
  const uint8_t command = version_and_command & 15;
  if (command > 1) return Malformed("version 2: an unknown command");
  const size_t size = kV2Head + Number16(bytes, 14);
  if (size > kMaxProxyHeaderRead) return Malformed("version 2: too long");
  if (bytes.size() < size) return {};
  if (command == 0) {
    // LOCAL: whatever the rest says is to be ignored.
    claim = ProxyClaim();
    return {Status::kDone, size, {}};
  }
  ProxyClaim found;
  const ProxyHeaderResult result = ParseV2Addresses(bytes.substr(0, size), found);
  if (result.status == Status::kDone) claim = std::move(found);
  return result;
}

}  // namespace

ProxyHeaderResult ParseProxyHeader(std::string_view bytes, ProxyClaim& claim) {
  const std::string_view v1 = bytes.substr(0, kV1Start.size());
  if (kV1Start.starts_with(v1)) {
    return v1.size() < kV1Start.size() ? ProxyHeaderResult{} : ParseV1(bytes, claim);
  }
  const std::string_view v2 = bytes.substr(0, kV2Start.size());
  if (kV2Start.starts_with(v2)) {
    return v2.size() < kV2Start.size() ? ProxyHeaderResult{} : ParseV2(bytes, claim);
  }
  return {Status::kAbsent, 0, {}};
}

// --- The reader ---

ProxyHeaderReader::ProxyHeaderReader(Loop& loop, int fd, void* owner, Callback callback)
    : events_(
          loop, fd, this,
          [](void* self, Ready ready) { static_cast<ProxyHeaderReader*>(self)->OnReady(ready); }),
      owner_(owner),
      callback_(callback),
      fd_(fd) {}

ProxyHeaderReader::~ProxyHeaderReader() {
  events_.Unregister();
  if (fd_ >= 0) close(fd_);
}

int ProxyHeaderReader::ReleaseFd() {
  events_.Unregister();
  return std::exchange(fd_, -1);
}

// A part of a header stays in the socket and is looked at again with the next edge, which new bytes
// give also while there are unread ones.
void ProxyHeaderReader::OnReady(Ready ready) {
  hangup_ |= ready.hangup;
  if (!ready.read && !ready.hangup) return;
  result_ = Look(hangup_);
  if (result_.status == Status::kNeedMore) return;
  events_.Unregister();
  callback_(owner_);
}

ProxyHeaderResult ProxyHeaderReader::Look(bool hangup) {
  char bytes[kMaxProxyHeaderRead];
  ssize_t got;
  do {
    got = recv(fd_, bytes, sizeof(bytes), MSG_PEEK);
  } while (got < 0 && errno == EINTR);
  if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return {};
  if (got <= 0) return {Status::kClosed, 0, {}};
  const ProxyHeaderResult result = ParseProxyHeader({bytes, static_cast<size_t>(got)}, claim_);
  if (result.status == Status::kNeedMore && hangup) return {Status::kClosed, 0, {}};
  if (result.status == Status::kDone && !Consume(result.size)) return {Status::kClosed, 0, {}};
  return result;
}

bool ProxyHeaderReader::Consume(size_t size) {
  char bytes[kMaxProxyHeaderRead];
  while (size > 0) {
    const ssize_t got = recv(fd_, bytes, size, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    size -= static_cast<size_t>(got);
  }
  return true;
}

// --- The writer ---

namespace {

// What both ends are written as: a default address stands for none.
struct Ends {
  bool v6;
  IpAddress source;
  IpAddress destination;
  uint16_t source_port;
  uint16_t destination_port;
};

Ends EndsOf(const Address& source, const Address& destination) {
  Ends ends{};
  ends.source = source.ip();
  ends.source_port = source.port();
  if (destination.family() == AF_UNSPEC) {
    // The any-address of the source's family: 0.0.0.0 as it is mapped, or ::.
    if (ends.source.is_v4()) ends.destination.bytes[10] = ends.destination.bytes[11] = 0xff;
  } else {
    ends.destination = destination.ip();
    ends.destination_port = destination.port();
  }
  ends.v6 = !ends.source.is_v4() || !ends.destination.is_v4();
  return ends;
}

char* Put(char* out, std::string_view text) { return std::copy(text.begin(), text.end(), out); }

char* PutIp(char* out, const IpAddress& ip, bool v6) {
  if (v6 && ip.is_v4()) out = Put(out, "::ffff:");
  return out + ip.Format(out);
}

size_t WriteV1(const Ends& ends, char* out) {
  char* at = Put(out, ends.v6 ? "PROXY TCP6 " : "PROXY TCP4 ");
  at = PutIp(at, ends.source, ends.v6);
  *at++ = ' ';
  at = PutIp(at, ends.destination, ends.v6);
  *at++ = ' ';
  at = std::to_chars(at, at + 5, ends.source_port).ptr;
  *at++ = ' ';
  at = std::to_chars(at, at + 5, ends.destination_port).ptr;
  return static_cast<size_t>(Put(at, "\r\n") - out);
}

char* PutNumber16(char* out, uint16_t number) {
  *out++ = static_cast<char>(number >> 8);
  *out++ = static_cast<char>(number);
  return out;
}

size_t WriteV2(const Ends& ends, char* out) {
  char* at = Put(out, kV2Start);
  *at++ = 0x21;                                      // version 2, PROXY
  *at++ = static_cast<char>(ends.v6 ? 0x21 : 0x11);  // family, stream
  at = PutNumber16(at, ends.v6 ? kV6Block : kV4Block);
  const size_t skip = ends.v6 ? 0 : 12;
  for (const IpAddress& ip : {ends.source, ends.destination}) {
    std::memcpy(at, ip.bytes + skip, sizeof(ip.bytes) - skip);
    at += sizeof(ip.bytes) - skip;
  }
  at = PutNumber16(at, ends.source_port);
  at = PutNumber16(at, ends.destination_port);
  return static_cast<size_t>(at - out);
}

}  // namespace

size_t WriteProxyHeader(ProxyVersion version, const Address& source, const Address& destination,
                        char* out) {
  if (source.family() == AF_UNSPEC) {
    constexpr std::string_view kLocal("\x20\0\0\0", 4);
    char* end = version == ProxyVersion::kV1 ? Put(out, "PROXY UNKNOWN\r\n")
                                             : Put(Put(out, kV2Start), kLocal);
    return static_cast<size_t>(end - out);
  }
  const Ends ends = EndsOf(source, destination);
  return version == ProxyVersion::kV1 ? WriteV1(ends, out) : WriteV2(ends, out);
}

}  // namespace gatehouse::net
