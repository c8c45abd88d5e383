#include "test/fakes/fake_control_plane.h"

#include "source/base/check.h"
#include "source/http/grpc_frame.h"

namespace gatehouse::xds {
namespace {

constexpr int kTurns = 200;

std::string TextOfMessage(std::string_view path, const std::string& bytes) {
  if (path.ends_with("/DeltaAggregatedResources")) {
    envoy::service::discovery::v3::DeltaDiscoveryRequest request;
    return request.ParseFromString(bytes) ? TextOf(request) : "(garbage)";
  }
  envoy::service::discovery::v3::DiscoveryRequest request;
  return request.ParseFromString(bytes) ? TextOf(request) : "(garbage)";
}

}  // namespace

bool FakeControlPlane::TakeMessage(std::string* message) {
  const std::string_view rest = std::string_view(stream().body()).substr(read_);
  if (rest.size() < http::kGrpcPrefix) return false;
  size_t size = 0;
  for (size_t i = 1; i < http::kGrpcPrefix; ++i) size = size << 8 | static_cast<uint8_t>(rest[i]);
  if (rest.size() < http::kGrpcPrefix + size) return false;
  *message = rest.substr(http::kGrpcPrefix, size);
  read_ += http::kGrpcPrefix + size;
  return true;
}

std::string FakeControlPlane::Sees() {
  for (int i = 0; i < kTurns; ++i) {
    if (origin_.requests() > stream_ && origin_.request(origin_.requests() - 1).headed()) {
      const bool first = stream_ == 0;
      stream_ = origin_.requests();
      read_ = said_ = 0;
      headed_ = false;
      if (!first) return "(a new stream)";
    }
    std::string message;
    if (stream_ > 0 && TakeMessage(&message)) return TextOfMessage(stream().head().path, message);
    turn_();
  }
  return "(nothing)";
}

void FakeControlPlane::SendsBytes(std::string_view message) {
  CHECK(stream_ > 0 && !stream().over());
  if (!std::exchange(headed_, true)) stream().Head(200, {{"content-type", "application/grpc"}});
  char prefix[http::kGrpcPrefix];
  http::WriteGrpcPrefix(static_cast<uint32_t>(message.size()), prefix);
  const std::string frame = std::string(prefix, sizeof(prefix)).append(message);
  stream().Body(frame);
  said_ += frame.size();
}

void FakeControlPlane::Ends(int status, const std::string& message) {
  H2Origin::Fields fields = {{"grpc-status", std::to_string(status)}};
  if (!message.empty()) fields.emplace_back("grpc-message", message);
  if (headed_) {
    stream().Trailers(fields);
  } else {
    fields.emplace(fields.begin(), "content-type", "application/grpc");
    stream().Head(200, fields, /*end=*/true);
  }
}

void FakeControlPlane::AnswersHttp(uint16_t status) { stream().Head(status, {}, /*end=*/true); }

}  // namespace gatehouse::xds
