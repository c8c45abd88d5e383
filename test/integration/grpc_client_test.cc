// The gateway's own gRPC client against a server by grpc++, which is another process: messages are
// written and read by hand here (grpc_peers/echo.proto).
#include "source/upstream/grpc_client.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

#include "source/base/arena.h"
#include "source/base/check.h"
#include "source/observe/metric_registry.h"
#include "source/upstream/upstreams.h"
#include "test/fakes/test_certificates.h"

namespace gatehouse::upstream {
namespace {

using http::GrpcStatus;

constexpr Duration kPatience = std::chrono::seconds(60);

// --- Messages ---

std::string Varint(uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  return out += static_cast<char>(value);
}

struct EchoRequest {
  std::string text = {};
  uint32_t count = 0;
  uint32_t code = 0;
  uint32_t size = 0;
  std::string payload = {};

  [[nodiscard]] std::string Encode() const {
    const auto bytes = [](char tag, const std::string& value) {
      return value.empty() ? "" : tag + Varint(value.size()) + value;
    };
    const auto number = [](char tag, uint32_t value) {
      return value == 0 ? "" : tag + Varint(value);
    };
    return bytes(0x0a, text) + number(0x10, count) + number(0x18, code) + number(0x20, size) +
           bytes(0x2a, payload);
  }
};

struct EchoReply {
  std::string text;
  uint64_t number = 0;
  std::string payload;
  std::vector<std::string> seen;
  uint64_t time_left = 0;
};

EchoReply Decode(const Chain& message) {
  std::string bytes;
  for (size_t i = 0; i < message.slices(); ++i) bytes += message[i].view();
  EchoReply reply;
  size_t at = 0;
  const auto varint = [&] {
    uint64_t value = 0;
    for (int shift = 0; at < bytes.size(); shift += 7) {
      const auto byte = static_cast<unsigned char>(bytes[at++]);
      value |= uint64_t{byte & 0x7fU} << shift;
      if (byte < 0x80) break;
    }
    return value;
  };
  while (at < bytes.size()) {
    const uint64_t tag = varint();
    const uint64_t value = varint();
    std::string text;
    if ((tag & 7) == 2) {
      text = bytes.substr(at, value);
      at += value;
    }
    if (tag >> 3 == 1) reply.text = text;
    if (tag >> 3 == 2) reply.number = value;
    if (tag >> 3 == 3) reply.payload = text;
    if (tag >> 3 == 4) reply.seen.push_back(text);
    if (tag >> 3 == 5) reply.time_left = value;
  }
  return reply;
}

// --- The server ---

class EchoServer {
 public:
  explicit EchoServer(std::vector<std::string> arguments = {}) {
    int ends[2];
    CHECK(pipe(ends) == 0);
    arguments.insert(arguments.begin(), "test/integration/grpc_peers/echo_server");
    std::vector<char*> raw;
    raw.reserve(arguments.size() + 1);
    for (std::string& argument : arguments) raw.push_back(argument.data());
    raw.push_back(nullptr);
    pid_ = fork();
    CHECK(pid_ >= 0);
    if (pid_ == 0) {
      dup2(ends[1], STDOUT_FILENO);
      close(ends[0]);
      close(ends[1]);
      execv(raw[0], raw.data());
      _exit(127);
    }
    close(ends[1]);
    out_ = ends[0];
    while (said_.find('\n') == std::string::npos) CHECK(ReadSome());
    port_ = static_cast<uint16_t>(std::strtoul(said_.c_str(), nullptr, 10));
    said_.clear();
    fcntl(out_, F_SETFL, O_NONBLOCK);
  }
  ~EchoServer() { Stop(); }
  EchoServer(const EchoServer&) = delete;
  EchoServer& operator=(const EchoServer&) = delete;

  [[nodiscard]] uint16_t port() const { return port_; }
  // What it has printed since its port.
  [[nodiscard]] const std::string& said() {
    while (ReadSome()) {
    }
    return said_;
  }
  void Stop() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    close(out_);
    pid_ = 0;
  }

 private:
  bool ReadSome() {
    char buffer[256];
    const ssize_t got = read(out_, buffer, sizeof(buffer));
    if (got > 0) said_.append(buffer, static_cast<size_t>(got));
    return got > 0;
  }

  pid_t pid_ = 0;
  int out_ = -1;
  uint16_t port_ = 0;
  std::string said_;
};

// --- The client ---

class TestReader final : public GrpcReader {
 public:
  void OnStarted() override { started = true; }
  void OnMetadata(const http::HeaderMap& headers) override {
    initial = headers.Get("initial-echo").value_or("");
  }
  void OnMessage(Chain& message) override {
    replies.push_back(Decode(message));
    if (then) then();
  }
  void OnCredit() override {
    if (on_credit) on_credit();
  }
  void OnDone(const GrpcResult& result, const http::HeaderMap& trailers) override {
    done = true;
    code = result.code;
    words = result.message;
    trailing = trailers.Get("trailing-echo").value_or("");
  }

  std::vector<EchoReply> replies;
  std::function<void()> then;
  std::function<void()> on_credit;
  std::string initial;
  std::string trailing;
  std::string words;
  GrpcStatus code = GrpcStatus::kOk;
  bool started = false;
  bool done = false;
};

class GrpcClientTest : public testing::Test {
 protected:
  GrpcClientTest() {
    upstreams_.emplace(loop_, *registry_.NewBlock(), scratch_);
    cluster_ = Make(server_.port());
  }

  [[nodiscard]] std::shared_ptr<const Cluster> Make(
      uint16_t port, std::shared_ptr<const net::TlsClientContext> tls = nullptr) {
    ClusterSpec spec;
    spec.name = "echo";
    spec.endpoints.push_back({"127.0.0.1", port, 1});
    spec.options.protocol = tls != nullptr ? Protocol::kAuto : Protocol::kHttp2;
    spec.options.tls = std::move(tls);
    auto cluster = Cluster::Make(spec, nullptr, slots_, registry_);
    CHECK(cluster.ok());
    return *cluster;
  }
  [[nodiscard]] bool Until(const std::function<bool()>& done) {
    const TimePoint end = clock_.Now() + kPatience;
    while (!done() && clock_.Now() < end) {
      loop_.RunTurn(false);
      poll(nullptr, 0, 1);  // leaves the processor to the server
    }
    return done();
  }
  void Start(GrpcCall& call, GrpcReader& reader, std::string_view path,
             Duration timeout = kPatience) {
    call.Start({.cluster = cluster_.get(),
                .path = path,
                .timeout = timeout,
                .max_message_bytes = size_t{16} << 20},
               reader);
  }

  SystemClock clock_;
  observe::MetricRegistry registry_;
  ClusterSlots slots_;
  net::Loop loop_{clock_};
  http::H1HeadScratch scratch_;
  EchoServer server_;
  std::optional<Upstreams> upstreams_;
  std::shared_ptr<const Cluster> cluster_;
  Arena arena_;
};

TEST_F(GrpcClientTest, Unary) {
  for (const uint32_t size : {0U, 1U, 100'000U, 8'000'000U}) {
    GrpcUnary unary(*upstreams_, arena_);
    const std::string message =
        EchoRequest{.text = "hello", .size = size, .payload = std::string(size, 'p')}.Encode();
    struct Outcome {
      bool done = false;
      std::string words;
      EchoReply reply;
    } outcome;
    unary.Start({.cluster = cluster_.get(),
                 .path = "/gatehouse.test.Echo/Unary",
                 .timeout = kPatience,
                 .max_message_bytes = size_t{16} << 20},
                message, &outcome, [](void* to, const GrpcAnswer& answer) {
                  auto& into = *static_cast<Outcome*>(to);
                  into.done = true;
                  into.words = answer.result.message;
                  if (answer.message != nullptr) into.reply = Decode(*answer.message);
                });
    ASSERT_TRUE(Until([&] { return outcome.done; })) << size;
    EXPECT_EQ(outcome.words, "");
    EXPECT_EQ(outcome.reply.text, "hello");
    EXPECT_EQ(outcome.reply.number, size);
    EXPECT_EQ(outcome.reply.payload.size(), size);
    EXPECT_GT(outcome.reply.time_left, 0u);
    EXPECT_LE(outcome.reply.time_left, 61'000u);
  }
}

TEST_F(GrpcClientTest, ClientStreamsWithinItsCredit) {
  TestReader reader;
  GrpcCall call(*upstreams_, arena_);
  const std::string message = EchoRequest{.text = std::string(5000, 'x')}.Encode();
  int sent = 0;
  reader.on_credit = [&] {
    while (sent < 1000 && call.Send(message)) ++sent;
    if (sent == 1000) call.WritesDone();
  };
  Start(call, reader, "/gatehouse.test.Echo/Collect");
  while (call.Send(message)) ++sent;
  EXPECT_LT(sent, 1000);
  ASSERT_TRUE(Until([&] { return reader.done; }));
  EXPECT_EQ(reader.words, "");
  ASSERT_EQ(reader.replies.size(), 1u);
  EXPECT_EQ(reader.replies[0].number, 1000u);
  EXPECT_EQ(reader.replies[0].text.size(), 5'000'000u);
}

TEST_F(GrpcClientTest, ServerStreamsToAReaderThatPauses) {
  TestReader reader;
  GrpcCall call(*upstreams_, arena_);
  call.Start({.cluster = cluster_.get(),
              .path = "/gatehouse.test.Echo/Expand",
              .timeout = kPatience,
              .messages = 10},
             reader);
  EXPECT_TRUE(call.Send(EchoRequest{.count = 1000, .size = 10'000}.Encode()));
  call.WritesDone();
  for (size_t expected = 10; expected < 1000; expected += 90) {
    ASSERT_TRUE(Until([&] { return reader.replies.size() >= expected; }));
    for (int i = 0; i < 20; ++i) loop_.RunTurn(false);
    ASSERT_EQ(reader.replies.size(), expected);
    call.AllowMessages(90);
  }
  ASSERT_TRUE(Until([&] { return reader.done; }));
  EXPECT_EQ(reader.code, GrpcStatus::kOk) << reader.words;
  ASSERT_EQ(reader.replies.size(), 1000u);
  for (size_t i = 0; i < 1000; ++i) EXPECT_EQ(reader.replies[i].number, i);
}

TEST_F(GrpcClientTest, Chat) {
  TestReader reader;
  GrpcCall call(*upstreams_, arena_);
  reader.then = [&] {
    const size_t next = reader.replies.size();
    if (next == 100) {
      call.WritesDone();
    } else {
      EXPECT_TRUE(call.Send(EchoRequest{.text = std::to_string(next)}.Encode()));
    }
  };
  Start(call, reader, "/gatehouse.test.Echo/Chat");
  EXPECT_TRUE(call.Send(EchoRequest{.text = "0"}.Encode()));
  ASSERT_TRUE(Until([&] { return reader.done; }));
  EXPECT_EQ(reader.code, GrpcStatus::kOk) << reader.words;
  ASSERT_EQ(reader.replies.size(), 100u);
  EXPECT_EQ(reader.replies[99].text, "99");
}

TEST_F(GrpcClientTest, EveryStatus) {
  for (uint32_t code = 1; code <= 16; ++code) {
    for (const uint32_t count : {0U, 3U}) {
      TestReader reader;
      GrpcCall call(*upstreams_, arena_);
      Start(call, reader, "/gatehouse.test.Echo/Fail");
      EXPECT_TRUE(call.Send(
          EchoRequest{.text = "100 % of \xC3\xA4", .count = count, .code = code}.Encode()));
      call.WritesDone();
      ASSERT_TRUE(Until([&] { return reader.done; }));
      EXPECT_EQ(static_cast<uint32_t>(reader.code), code);
      EXPECT_EQ(reader.words, "100 % of \xC3\xA4");
      EXPECT_EQ(reader.replies.size(), count);
    }
  }
  TestReader reader;
  GrpcCall call(*upstreams_, arena_);
  Start(call, reader, "/gatehouse.test.Echo/NoSuchMethod");
  call.WritesDone();
  ASSERT_TRUE(Until([&] { return reader.done; }));
  EXPECT_EQ(reader.code, GrpcStatus::kUnimplemented);
}

TEST_F(GrpcClientTest, Metadata) {
  TestReader reader;
  GrpcCall call(*upstreams_, arena_);
  const std::pair<std::string_view, std::string_view> metadata[] = {{"x-text", "some text"},
                                                                    {"x-three-bin", "AAEC"}};
  call.Start({.cluster = cluster_.get(),
              .path = "/gatehouse.test.Echo/Metadata",
              .metadata = metadata,
              .timeout = kPatience},
             reader);
  EXPECT_TRUE(call.Send(EchoRequest{.text = "mine"}.Encode()));
  call.WritesDone();
  ASSERT_TRUE(Until([&] { return reader.done; }));
  EXPECT_EQ(reader.initial, "mine");
  EXPECT_EQ(reader.trailing, "mine");
  ASSERT_EQ(reader.replies.size(), 1u);
  int found = 0;
  for (const std::string& seen : reader.replies[0].seen) {
    found += seen == "x-text=some text" || seen == "x-three-bin=3";
  }
  EXPECT_EQ(found, 2);
}

TEST_F(GrpcClientTest, DeadlineAndCancel) {
  TestReader late;
  GrpcCall call(*upstreams_, arena_);
  Start(call, late, "/gatehouse.test.Echo/Wait", std::chrono::milliseconds(300));
  EXPECT_TRUE(call.Send(""));
  call.WritesDone();
  ASSERT_TRUE(Until([&] { return late.done; }));
  EXPECT_EQ(late.code, GrpcStatus::kDeadlineExceeded) << late.words;
  const std::string once = "waiting\ncancelled\n";
  ASSERT_TRUE(Until([&] { return server_.said() == once; })) << server_.said();

  TestReader reader;
  std::optional<GrpcCall> cancelled(std::in_place, *upstreams_, arena_);
  Start(*cancelled, reader, "/gatehouse.test.Echo/Wait");
  EXPECT_TRUE(cancelled->Send(""));
  cancelled->WritesDone();
  ASSERT_TRUE(Until([&] { return server_.said() == once + "waiting\n"; }));
  cancelled.reset();
  ASSERT_TRUE(Until([&] { return server_.said() == once + once; })) << server_.said();
  EXPECT_FALSE(reader.done);
}

TEST_F(GrpcClientTest, OverTls) {
  const net::TestCa ca("Test CA");
  const net::TestCertificate site = ca.Issue({});
  const std::string folder = testing::TempDir();
  std::ofstream(folder + "/echo.pem") << site.pem;
  std::ofstream(folder + "/echo.key") << site.key_pem;
  EchoServer server({folder + "/echo.pem", folder + "/echo.key"});
  net::TlsClientSpec spec;
  spec.server.ca = ca.Text();
  spec.alpn = {"h2", "http/1.1"};
  const auto tls = net::TlsClientContext::Create(spec);
  ASSERT_TRUE(tls.ok()) << tls.status();
  cluster_ = Make(server.port(), *tls);
  TestReader reader;
  GrpcCall call(*upstreams_, arena_);
  Start(call, reader, "/gatehouse.test.Echo/Unary");
  EXPECT_TRUE(call.Send(EchoRequest{.text = "secret", .size = 100'000}.Encode()));
  call.WritesDone();
  ASSERT_TRUE(Until([&] { return reader.done; }));
  EXPECT_EQ(reader.code, GrpcStatus::kOk) << reader.words;
  ASSERT_EQ(reader.replies.size(), 1u);
  EXPECT_EQ(reader.replies[0].payload.size(), 100'000u);
}

class ChatOwner final : public GrpcStreamOwner {
 public:
  void OnConnected() override {
    ++connected;
    EXPECT_TRUE(stream->Send(EchoRequest{.text = "hello"}.Encode()));
  }
  void OnMessage(Chain& message) override { text += Decode(message).text + "|"; }
  void OnDisconnected(const GrpcResult& result) override {
    ++disconnected;
    code = result.code;
  }

  GrpcStream* stream = nullptr;
  int connected = 0;
  int disconnected = 0;
  std::string text;
  GrpcStatus code = GrpcStatus::kOk;
};

TEST_F(GrpcClientTest, StreamComesBackWhenTheServerDoes) {
  ChatOwner owner;
  GrpcStream stream(*upstreams_, owner,
                    {.first = std::chrono::milliseconds(20), .max = std::chrono::milliseconds(50)});
  owner.stream = &stream;
  stream.Start({.cluster = cluster_.get(), .path = "/gatehouse.test.Echo/Chat"});
  ASSERT_TRUE(Until([&] { return owner.text == "hello|"; }));
  server_.Stop();
  ASSERT_TRUE(Until([&] { return owner.disconnected >= 3; }));
  EXPECT_EQ(owner.code, GrpcStatus::kUnavailable);
  EXPECT_EQ(owner.connected, 1);
  EchoServer again;
  const auto moved = Make(again.port());
  stream.UseCluster(*moved);
  ASSERT_TRUE(Until([&] { return owner.text == "hello|hello|"; }));
  EXPECT_EQ(owner.connected, 2);
  stream.Stop();
}

}  // namespace
}  // namespace gatehouse::upstream
