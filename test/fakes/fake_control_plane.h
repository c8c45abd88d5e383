// FakeControlPlane: a control plane that says what the test has it say, on a free port of
// 127.0.0.1, in the test's own loop. One stream at a time; `Sees` and `Sends` are of the newest.
//
// Owner: the test; the loop outlives it. Thread: the loop's.
//
//   FakeControlPlane plane(loop, turn);       // `turn` drives everything once
//   EXPECT_EQ(plane.Sees(), "Cluster +*");
//   plane.Sends(DeltaOf(Type::kCluster, "n1").Has("users"));
//   EXPECT_EQ(plane.Sees(), "Cluster ack n1");
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "source/net/loop.h"
#include "source/net/tls_context.h"
#include "test/fakes/ads_messages.h"
#include "test/fakes/h2_origin.h"

namespace gatehouse::xds {

class FakeControlPlane {
 public:
  FakeControlPlane(net::Loop& loop, std::function<void()> turn,
                   std::shared_ptr<const net::TlsServerContext> tls = nullptr)
      : origin_(loop, std::move(tls)), turn_(std::move(turn)) {}

  // The next request, as one line of text. "(nothing)" if none comes, "(a new stream)" when another
  // stream begins.
  [[nodiscard]] std::string Sees();
  [[nodiscard]] bool SeesNothing() { return Sees() == "(nothing)"; }
  // What is sent before the stream's first message is seen waits for nothing.
  template <typename Response>
  void Sends(const Response& response) {
    SendsBytes(response.Bytes());
  }
  void SendsBytes(std::string_view message);
  // Ends the stream.
  void Ends(int status, const std::string& message = "");
  // An answer of HTTP instead of gRPC.
  void AnswersHttp(uint16_t status);
  // Closes its connections; and refuses new ones.
  void Dies() {
    origin_.Kill();
    origin_.StopListening();
  }

  [[nodiscard]] uint16_t port() const { return origin_.port(); }
  [[nodiscard]] size_t streams() const { return origin_.requests(); }
  [[nodiscard]] H2Origin& origin() { return origin_; }
  [[nodiscard]] H2Origin::Request& stream() { return origin_.request(stream_ - 1); }
  // Bytes that it has said and that the gateway has not taken.
  [[nodiscard]] bool heard_out() { return stream().sent() == said_; }

 private:
  // Of the newest stream; false: no message is whole.
  [[nodiscard]] bool TakeMessage(std::string* message);

  H2Origin origin_;
  std::function<void()> turn_;
  size_t stream_ = 0;  // that was seen last, from 1
  size_t read_ = 0;    // of its body
  uint64_t said_ = 0;
  bool headed_ = false;
};

}  // namespace gatehouse::xds
