#include "source/net/proxy_protocol.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "gtest/gtest.h"

#include "test/fakes/manual_clock.h"

namespace gatehouse::net {
namespace {

using Status = ProxyHeaderStatus;

constexpr std::string_view kSignature("\r\n\r\n\0\r\nQUIT\n", 12);

std::string Number16(size_t number) {
  return {static_cast<char>(number >> 8), static_cast<char>(number)};
}
std::string Tlv(char type, std::string_view value) {
  return type + Number16(value.size()) + std::string(value);
}
std::string V2(char version_and_command, char family, std::string_view rest) {
  return std::string(kSignature) + version_and_command + family + Number16(rest.size()) +
         std::string(rest);
}
// From 192.0.2.1:5000 to 198.51.100.2:443.
std::string V4Block() {
  return std::string("\xc0\x00\x02\x01\xc6\x33\x64\x02", 8) + Number16(5000) + Number16(443);
}
std::string V6Block() {
  std::string ip("\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0", 15);
  return ip + '\1' + ip + '\2' + Number16(5000) + Number16(443);
}

// What a header comes to: "done 43: 192.0.2.1:5000 > ...", "malformed", "absent", "more".
std::string Read(std::string_view bytes, ProxyClaim* out = nullptr) {
  ProxyClaim claim;
  const ProxyHeaderResult result = ParseProxyHeader(bytes, claim);
  if (out != nullptr) *out = claim;
  switch (result.status) {
    case Status::kNeedMore:
      return "more";
    case Status::kAbsent:
      return "absent";
    case Status::kMalformed:
      EXPECT_FALSE(result.reason.empty());
      return "malformed";
    case Status::kClosed:
      return "closed";
    case Status::kDone:
      break;
  }
  const std::string size = "done " + std::to_string(result.size) + ": ";
  if (!claim.has_addresses) return size + "local";
  return size + claim.source.ToString() + " > " + claim.destination.ToString();
}

const std::string kHeaders[] = {
    "PROXY TCP4 192.0.2.1 198.51.100.2 5000 443\r\n",
    "PROXY TCP6 2001:db8::1 2001:db8::2 5000 443\r\n",
    "PROXY UNKNOWN\r\n",
    "PROXY UNKNOWN ffff::1 what ever\r\n",
    V2(0x21, 0x11, V4Block()),
    V2(0x21, 0x21, V6Block()),
    V2(0x20, 0x00, ""),
    V2(0x20, 0x11, "what ever"),
    V2(0x21, 0x00, "ignored"),
    V2(0x21, 0x31, std::string(216, 'u')),
    V2(0x21, 0x12, V4Block()),
    V2(0x21, 0x11, V4Block() + Tlv(2, "shop.example") + Tlv(4, "   ") + Tlv(5, "id")),
};

TEST(ProxyProtocolTest, Version1) {
  EXPECT_EQ(Read(kHeaders[0]), "done 44: 192.0.2.1:5000 > 198.51.100.2:443");
  EXPECT_EQ(Read(kHeaders[1]), "done 45: [2001:db8::1]:5000 > [2001:db8::2]:443");
  EXPECT_EQ(Read(kHeaders[2]), "done 15: local");
  EXPECT_EQ(Read(kHeaders[3]), "done 33: local");
  EXPECT_EQ(Read("PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 0 65535\r\n"),
            "done 49: 192.0.2.1:0 > [2001:db8::2]:65535");
  // The longest that there is.
  const std::string ip = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
  EXPECT_EQ(Read("PROXY TCP6 " + ip + " " + ip + " 65535 65535\r\nGET /").substr(0, 9),
            "done 104:");
  EXPECT_EQ(Read("PROXY UNKNOWN " + ip + " " + ip + " 65535 65535\r\n"), "done 107: local");
}

TEST(ProxyProtocolTest, Version1IsStrict) {
  for (const std::string line : {"TCP4 192.0.2.1 198.51.100.2 5000 443 ",
                                 "TCP4 192.0.2.1 198.51.100.2 5000 443 1",
                                 "TCP4 192.0.2.1 198.51.100.2 5000",
                                 "TCP4 192.0.2.1 198.51.100.2 5000 ",
                                 "TCP4  192.0.2.1 198.51.100.2 5000 443",
                                 " TCP4 192.0.2.1 198.51.100.2 5000 443",
                                 "TCP4 192.0.2.1 198.51.100.2 05000 443",
                                 "TCP4 192.0.2.1 198.51.100.2 5000 65536",
                                 "TCP4 192.0.2.1 198.51.100.2 +5000 443",
                                 "TCP4 192.0.2.1 198.51.100.2 -1 443",
                                 "TCP4 192.0.2.01 198.51.100.2 5000 443",
                                 "TCP4 192.0.2 198.51.100.2 5000 443",
                                 "TCP4 2001:db8::1 198.51.100.2 5000 443",
                                 "TCP4 ::ffff:1.2.3.4 ::1 5000 443",
                                 "TCP6 192.0.2.1 198.51.100.2 5000 443",
                                 "TCP6 2001:db8::1 2001:db8:: 5000 0x1",
                                 "TCP6 2001:db8::1%eth0 2001:db8:: 5000 1",
                                 "TCP4\t192.0.2.1 198.51.100.2 5000 443",
                                 "TCP5 192.0.2.1 198.51.100.2 5000 443",
                                 "tcp4 192.0.2.1 198.51.100.2 5000 443",
                                 "TCP4",
                                 "",
                                 "UNKNOWNX",
                                 "UDP4 192.0.2.1 198.51.100.2 5000 443",
                                 "TCP4 localhost 198.51.100.2 1 2"}) {
    EXPECT_EQ(Read("PROXY " + line + "\r\n"), "malformed") << line;
  }
  EXPECT_EQ(Read("PROXY TCP4 192.0.2.1 198.51.100.2 5000 443\n"), "malformed");
  EXPECT_EQ(Read("PROXY TCP4 192.0.2.1 198.51.100.2 5000 443\r\r\n"), "malformed");
  EXPECT_EQ(Read(std::string("PROXY TCP4 192.0.2.1\0 198.51.100.2 5000 443\r\n", 46)), "malformed");
  EXPECT_EQ(Read("PROXY UNKNOWN" + std::string(93, ' ')), "more");
  EXPECT_EQ(Read("PROXY UNKNOWN" + std::string(94, ' ')), "malformed");
  EXPECT_EQ(Read("PROXY UNKNOWN" + std::string(94, ' ') + "\r\n"), "malformed");
}

TEST(ProxyProtocolTest, Version2) {
  EXPECT_EQ(Read(kHeaders[4]), "done 28: 192.0.2.1:5000 > 198.51.100.2:443");
  EXPECT_EQ(Read(kHeaders[5]), "done 52: [2001:db8::1]:5000 > [2001:db8::2]:443");
  EXPECT_EQ(Read(kHeaders[6]), "done 16: local");
  EXPECT_EQ(Read(kHeaders[7]), "done 25: local");
  EXPECT_EQ(Read(kHeaders[8]), "done 23: local");
  EXPECT_EQ(Read(kHeaders[9]), "done 232: local");
  EXPECT_EQ(Read(kHeaders[10]), "done 28: local");
}

TEST(ProxyProtocolTest, Version2IsStrict) {
  EXPECT_EQ(Read(V2(0x11, 0x11, V4Block())), "malformed");
  EXPECT_EQ(Read(V2(0x31, 0x11, V4Block())), "malformed");
  EXPECT_EQ(Read(V2(0x22, 0x11, V4Block())), "malformed");
  EXPECT_EQ(Read(V2(0x21, 0x41, V4Block())), "malformed");
  EXPECT_EQ(Read(V2(0x21, 0x13, V4Block())), "malformed");
  EXPECT_EQ(Read(V2(0x21, 0x11, V4Block().substr(1))), "malformed");
  EXPECT_EQ(Read(V2(0x21, 0x21, V6Block().substr(1))), "malformed");
  EXPECT_EQ(Read(V2(0x21, 0x31, std::string(215, 'u'))), "malformed");
  EXPECT_EQ(Read(V2(0x21, 0x11, V4Block() + "\x02")), "malformed");
  EXPECT_EQ(Read(V2(0x21, 0x11, V4Block() + Tlv(2, "shop").substr(0, 6))), "malformed");
  EXPECT_EQ(Read(V2(0x21, 0x11, V4Block() + Tlv(5, std::string(129, 'u')))), "malformed");
  EXPECT_EQ(Read(V2(0x21, 0x11, V4Block() + Tlv(0x20, "abcd"))), "malformed");
  EXPECT_EQ(Read(V2(0x21, 0x11, V4Block() + Tlv(0x20, "abcde\x22"))), "malformed");
  // Refused before the rest has come.
  EXPECT_EQ(Read(V2(0x21, 0x11, std::string(5000, 'x')).substr(0, 16)), "malformed");
  const std::string filler = Tlv('\xe0', std::string(4096 - 12 - 3, 'f'));
  EXPECT_EQ(Read(V2(0x21, 0x11, V4Block() + filler)).substr(0, 10), "done 4112:");
}

TEST(ProxyProtocolTest, WhatElseVersion2Says) {
  ProxyClaim claim;
  (void)Read(kHeaders[11], &claim);
  EXPECT_EQ(claim.authority, "shop.example");
  EXPECT_EQ(claim.unique_id, "id");
  EXPECT_FALSE(claim.tls);
  const std::string names = Tlv(0x21, "TLSv1.3") + Tlv(0x22, "client");
  const std::string ok(4, '\0');
  (void)Read(V2(0x21, 0x11, V4Block() + Tlv(0x20, "\x07" + ok + names)), &claim);
  EXPECT_TRUE(claim.tls);
  EXPECT_EQ(claim.client_cn, "client");
  // Not verified, and no certificate at all.
  (void)Read(V2(0x21, 0x11, V4Block() + Tlv(0x20, "\x07" + std::string("\0\0\0\1", 4) + names)),
             &claim);
  EXPECT_TRUE(claim.tls);
  EXPECT_EQ(claim.client_cn, "");
  (void)Read(V2(0x21, 0x11, V4Block() + Tlv(0x20, "\x01" + ok + names)), &claim);
  EXPECT_EQ(claim.client_cn, "");
  (void)Read(V2(0x20, 0x11, V4Block() + Tlv(2, "shop.example")), &claim);
  EXPECT_EQ(claim.authority, "");
}

// CRC-32C bit by bit: RFC 3720, appendix B.4, has its test vectors.
uint32_t Crc32c(std::string_view bytes) {
  uint32_t crc = ~0u;
  for (const char c : bytes) {
    crc ^= static_cast<uint8_t>(c);
    for (int i = 0; i < 8; ++i) crc = (crc & 1) != 0 ? crc >> 1 ^ 0x82f63b78u : crc >> 1;
  }
  return ~crc;
}

TEST(ProxyProtocolTest, TheChecksumIsChecked) {
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(Crc32c("123456789"), 0xe3069283u);
  const std::string fields = Tlv(2, "shop.example") + Tlv(3, std::string(4, '\0')) + Tlv(5, "id");
  std::string header = V2(0x21, 0x11, V4Block() + fields);
  const uint32_t sum = Crc32c(header);
  const size_t hole = header.size() - 5 - 4;
  const std::string text = Number16(sum >> 16) + Number16(sum & 0xffff);
  EXPECT_EQ(Read(header), "malformed");
  header.replace(hole, 4, text);
  EXPECT_EQ(Read(header).substr(0, 8), "done 55:");
  for (size_t i = 16; i < header.size(); ++i) {
    if (i == hole - 3) continue;  // its type: then it is no checksum
    std::string broken = header;
    broken[i] = static_cast<char>(broken[i] ^ 1);
    EXPECT_NE(Read(broken), Read(header)) << i;
  }
  EXPECT_EQ(Read(V2(0x21, 0x11, V4Block() + Tlv(3, "abc"))), "malformed");
}

TEST(ProxyProtocolTest, EveryTruncationWantsMoreAndWhatFollowsIsNotTaken) {
  for (const std::string& header : kHeaders) {
    for (size_t i = 0; i < header.size(); ++i) EXPECT_EQ(Read(header.substr(0, i)), "more") << i;
    EXPECT_EQ(Read(header + "GET / HTTP/1.1\r\n"), Read(header));
    EXPECT_EQ(Read(header + header), Read(header));
  }
}

TEST(ProxyProtocolTest, OtherProtocolsAreNotTakenForIt) {
  for (const std::string_view bytes :
       {"GET / HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "POST / HTTP/1.1\r\n", "PROXYX",
        "\r\nGET / HTTP/1.1\r\n", "\x16\x03\x01\x02\x00\x01", "proxy TCP4 ", "\r\n\r\nX"}) {
    EXPECT_EQ(Read(bytes), "absent") << bytes;
  }
  EXPECT_EQ(Read("P"), "more");
  EXPECT_EQ(Read("PO"), "absent");
  EXPECT_EQ(Read("\r\n"), "more");
}

// --- The writer ---

std::string Write(ProxyVersion version, std::string_view source, std::string_view destination) {
  const auto address = [](std::string_view text) {
    return text.empty() ? Address() : *Address::Parse(text);
  };
  char out[kMaxProxyHeader];
  return {out, WriteProxyHeader(version, address(source), address(destination), out)};
}

TEST(ProxyProtocolTest, Writes) {
  const auto v1 = ProxyVersion::kV1;
  EXPECT_EQ(Write(v1, "192.0.2.1:5000", "198.51.100.2:443"), kHeaders[0]);
  EXPECT_EQ(Write(v1, "[2001:db8::1]:5000", "[2001:db8::2]:443"), kHeaders[1]);
  EXPECT_EQ(Write(v1, "192.0.2.1:5000", "[2001:db8::2]:443"),
            "PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 5000 443\r\n");
  EXPECT_EQ(Write(v1, "[::ffff:192.0.2.1]:5000", "198.51.100.2:443"), kHeaders[0]);
  EXPECT_EQ(Write(v1, "192.0.2.1:5000", ""), "PROXY TCP4 192.0.2.1 0.0.0.0 5000 0\r\n");
  EXPECT_EQ(Write(v1, "[2001:db8::1]:5000", ""), "PROXY TCP6 2001:db8::1 :: 5000 0\r\n");
  EXPECT_EQ(Write(v1, "", "198.51.100.2:443"), kHeaders[2]);
  const auto v2 = ProxyVersion::kV2;
  EXPECT_EQ(Write(v2, "192.0.2.1:5000", "198.51.100.2:443"), kHeaders[4]);
  EXPECT_EQ(Write(v2, "[2001:db8::1]:5000", "[2001:db8::2]:443"), kHeaders[5]);
  EXPECT_EQ(Write(v2, "", ""), kHeaders[6]);
}

TEST(ProxyProtocolTest, WhatIsWrittenIsRead) {
  const std::string_view addresses[] = {"192.0.2.1:1", "255.255.255.255:65535", "[2001:db8::1]:80",
                                        "[::]:0",
                                        "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"};
  for (const auto version : {ProxyVersion::kV1, ProxyVersion::kV2}) {
    for (const std::string_view from : addresses) {
      for (const std::string_view to : addresses) {
        const std::string header = Write(version, from, to);
        EXPECT_LE(header.size(), kMaxProxyHeader);
        EXPECT_EQ(Read(header), "done " + std::to_string(header.size()) + ": " + std::string(from) +
                                    " > " + std::string(to));
      }
    }
  }
}

// --- The reader, over sockets ---

class ProxyHeaderReaderTest : public ::testing::TestWithParam<bool> {
 protected:
  ~ProxyHeaderReaderTest() override {
    reader_.reset();
    Close();
  }
  // TCP of the loopback, or a pair of UNIX sockets.
  void Connect() {
    reader_.reset();
    Close();
    calls_ = 0;
    int pair[2];
    if (GetParam()) {
      ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    } else {
      const int listener = socket(AF_INET, SOCK_STREAM, 0);
      Address any = *Address::Parse("127.0.0.1:0");
      ASSERT_EQ(bind(listener, any.raw(), any.raw_size()), 0);
      ASSERT_EQ(listen(listener, 1), 0);
      sockaddr_in bound{};
      socklen_t size = sizeof(bound);
      getsockname(listener, reinterpret_cast<sockaddr*>(&bound), &size);
      pair[0] = socket(AF_INET, SOCK_STREAM, 0);
      const int at_once = 1;
      setsockopt(pair[0], IPPROTO_TCP, TCP_NODELAY, &at_once, sizeof(at_once));
      ASSERT_EQ(connect(pair[0], reinterpret_cast<sockaddr*>(&bound), size), 0);
      pair[1] = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK);
      close(listener);
    }
    client_ = pair[0];
    server_ = pair[1];
    sent_ = 0;
    reader_ = std::make_unique<ProxyHeaderReader>(loop_, pair[1], this, [](void* self) {
      ++static_cast<ProxyHeaderReaderTest*>(self)->calls_;
    });
    ASSERT_TRUE(reader_->registered());
  }
  void Close() {
    if (client_ >= 0) close(std::exchange(client_, -1));
  }
  void Send(std::string_view bytes) {
    ASSERT_EQ(send(client_, bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
    sent_ += bytes.size();
    // TCP hands bytes on when it likes.
    int there = 0;
    while (static_cast<size_t>(there) < sent_) ASSERT_EQ(ioctl(server_, FIONREAD, &there), 0);
    Turn();
  }
  // Until the reader has come to an end.
  void Wait() {
    while (calls_ == 0) loop_.RunTurn(true);
    Turn();
    EXPECT_EQ(calls_, 1);
  }
  void Turn() {
    for (int i = 0; i < 3; ++i) loop_.RunTurn(false);
  }
  // What is left in the socket once the reader has given it back.
  std::string Rest() {
    const int fd = reader_->ReleaseFd();
    char bytes[8192];
    const ssize_t got = recv(fd, bytes, sizeof(bytes), 0);
    close(fd);
    return got < 0 ? "-" : std::string(bytes, static_cast<size_t>(got));
  }

  ManualClock clock_;
  Loop loop_{clock_};
  int client_ = -1;
  int server_ = -1;  // the reader's
  size_t sent_ = 0;
  int calls_ = 0;
  std::unique_ptr<ProxyHeaderReader> reader_;
};

TEST_P(ProxyHeaderReaderTest, WaitsForTheRestAndTakesNoByteMore) {
  for (const std::string& header : kHeaders) {
    for (size_t cut = 1; cut < header.size(); cut += header.size() > 60 ? 7 : 1) {
      Connect();
      Turn();
      Send(header.substr(0, cut));
      EXPECT_EQ(calls_, 0);
      EXPECT_EQ(reader_->status(), Status::kNeedMore);
      Send(header.substr(cut) + "GET /");
      Wait();
      ASSERT_EQ(reader_->status(), Status::kDone);
      EXPECT_EQ(Rest(), "GET /");
    }
  }
}

TEST_P(ProxyHeaderReaderTest, ByteByByte) {
  Connect();
  for (const char c : kHeaders[0]) {
    EXPECT_EQ(calls_, 0);
    Send({&c, 1});
  }
  Wait();
  EXPECT_EQ(reader_->claim().source.ToString(), "192.0.2.1:5000");
  EXPECT_EQ(Rest(), "-");
}

TEST_P(ProxyHeaderReaderTest, WhatIsNoHeaderStays) {
  for (const std::string bytes : {"GET / HTTP/1.1\r\n\r\n", "PROXY TCP4 bad\r\n"}) {
    Connect();
    Send(bytes);
    Wait();
    EXPECT_EQ(reader_->status(), bytes[0] == 'G' ? Status::kAbsent : Status::kMalformed);
    EXPECT_EQ(reader_->reason().empty(), bytes[0] == 'G');
    EXPECT_EQ(Rest(), bytes);
  }
}

TEST_P(ProxyHeaderReaderTest, TheLongestOne) {
  const std::string filler = Tlv('\xe0', std::string(4096 - 12 - 3, 'f'));
  const std::string header = V2(0x21, 0x11, V4Block() + filler);
  Connect();
  Send(header.substr(0, 3000));
  EXPECT_EQ(calls_, 0);
  Send(header.substr(3000) + "x");
  Wait();
  EXPECT_EQ(reader_->status(), Status::kDone);
  EXPECT_EQ(Rest(), "x");
}

TEST_P(ProxyHeaderReaderTest, APeerThatLeavesEarly) {
  for (const std::string_view bytes : {"", "PROXY TCP4 192"}) {
    Connect();
    if (!bytes.empty()) Send(bytes);
    EXPECT_EQ(calls_, 0);
    shutdown(client_, SHUT_WR);
    Wait();
    EXPECT_EQ(reader_->status(), Status::kClosed);
  }
}

TEST_P(ProxyHeaderReaderTest, AWholeHeaderFromOneThatLeavesAtOnceCounts) {
  Connect();
  ASSERT_GT(send(client_, kHeaders[0].data(), kHeaders[0].size(), 0), 0);
  shutdown(client_, SHUT_WR);
  Wait();
  EXPECT_EQ(reader_->status(), Status::kDone);
  EXPECT_EQ(Rest(), "");
}

TEST_P(ProxyHeaderReaderTest, WhoWatchesTheDescriptorNextIsToldOfWhatIsThere) {
  Connect();
  Send(kHeaders[0] + "GET /");
  Wait();
  ASSERT_EQ(reader_->status(), Status::kDone);
  const int fd = reader_->ReleaseFd();
  int reads = 0;
  {
    FdEvents next(loop_, fd, &reads,
                  [](void* count, Ready ready) { *static_cast<int*>(count) += ready.read; });
    Turn();
    EXPECT_GE(reads, 1);
  }
  close(fd);
}

TEST_P(ProxyHeaderReaderTest, ADestroyedReaderClosesTheConnection) {
  Connect();
  Send("PROXY ");
  reader_.reset();
  Turn();
  EXPECT_EQ(calls_, 0);
  char byte;
  const ssize_t got = recv(client_, &byte, 1, 0);
  EXPECT_LE(got, 0);
}

INSTANTIATE_TEST_SUITE_P(Sockets, ProxyHeaderReaderTest, testing::Bool(),
                         [](const auto& kind) { return kind.param ? "unix" : "tcp"; });

}  // namespace
}  // namespace gatehouse::net
