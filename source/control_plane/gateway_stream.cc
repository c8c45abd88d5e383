#include "source/control_plane/gateway_stream.h"

#include <array>
#include <string_view>
#include <type_traits>
#include <utility>

#include "fmt/format.h"
#include "grpcpp/support/proto_buffer_reader.h"
#include "source/base/status.h"

namespace gatehouse::control {

namespace {

constexpr size_t kMaxNodeText = 256;

grpc::Status ToGrpc(const absl::Status& status) {
  // The codes are the same numbers.
  return {static_cast<grpc::StatusCode>(status.raw_code()), MessageOf(status)};
}

// The body is not copied: all streams send the same bytes.
grpc::ByteBuffer ToBuffer(const XdsResponse& response) {
  auto* held = new Body(response.body);
  const std::string& bytes = response.body->bytes;
  const std::array<grpc::Slice, 2> slices = {
      grpc::Slice(
          const_cast<char*>(bytes.data()), bytes.size(),
          [](void* body) { delete static_cast<Body*>(body); }, held),
      grpc::Slice(response.tail)};
  return {slices.data(), slices.size()};
}

}  // namespace

std::string PeerAddress(const std::string& peer) {
  std::string address = peer.substr(peer.starts_with("ipv4:") || peer.starts_with("ipv6:") ? 5 : 0);
  for (const auto& [escaped, plain] : {std::pair("%5B", "["), std::pair("%5D", "]")}) {
    const size_t at = address.find(escaped);
    if (at != std::string::npos) address.replace(at, 3, plain);
  }
  return address;
}

bool NamesGroup(const std::string& san, const std::string& group) {
  return !group.empty() && (san == group || san.ends_with("/group/" + group));
}

GatewayStream::GatewayStream(StreamContext& context, uint64_t id, Protocol protocol,
                             grpc::CallbackServerContext& call)
    : context_(context),
      id_(id),
      opened_(std::chrono::steady_clock::now()),
      call_(call),
      stream_(protocol, context.cache) {}

GatewayStream::~GatewayStream() = default;

void GatewayStream::Start(const absl::Status& refused, StreamEnd end) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (ended_) return;  // by Stop(), as soon as it was on the list
  absl::Status status = refused;
  if (status.ok() && !context_.options.client_ca_file.empty() &&
      !call_.auth_context()->IsPeerAuthenticated()) {
    status = MakeStatus(absl::StatusCode::kPermissionDenied,
                        "this control plane serves gateways with a certificate only: give the "
                        "gateway a certificate and key that the control plane's client CA signed");
    end = StreamEnd::kDenied;
  }
  if (!status.ok()) {
    EndLocked(status, end);
    return;
  }
  StartRead(&request_);
}

void GatewayStream::Publish(const Published& published) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!admitted_ || ended_) return;
  stream_.SetTarget(published.set->OfGroup(stream_.status().group));
  const uint64_t sent = stream_.status().sent_revision;
  Pump();
  if (stream_.status().sent_revision == sent) return;
  context_.fleet.Change(id_, [&](GatewayStatus& status) {
    status.sent_revision = stream_.status().sent_revision;
    status.accepted_revision = stream_.status().accepted_revision;
  });
}

void GatewayStream::CheckTime(SteadyTime now) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (ended_) return;
  if (!admitted_ && now - opened_ > context_.options.first_request_timeout) {
    EndLocked(
        MakeStatus(absl::StatusCode::kDeadlineExceeded, "no request came on this stream in time"),
        StreamEnd::kNoRequest);
  } else if (writing_ && now - write_started_ > context_.options.write_timeout) {
    // A status would wait behind what is not read. On*() come on other threads.
    end_ = StreamEnd::kDoesNotRead;
    call_.TryCancel();
  }
}

void GatewayStream::End(const absl::Status& status, StreamEnd end) {
  const std::lock_guard<std::mutex> lock(mutex_);
  EndLocked(status, end);
}

void GatewayStream::EndLocked(const absl::Status& status, StreamEnd end) {
  if (ended_) return;
  ended_ = true;
  if (end_ == StreamEnd::kGateway) end_ = end;
  Finish(ToGrpc(status));
}

void GatewayStream::OnReadDone(bool ok) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (ended_) return;
  if (!ok) {
    EndLocked(absl::OkStatus(), StreamEnd::kGateway);
    return;
  }
  const SteadyTime now = std::chrono::steady_clock::now();
  const absl::Status status =
      stream_.protocol() == Protocol::kDelta
          ? Handle<envoy::service::discovery::v3::DeltaDiscoveryRequest>(now)
          : Handle<envoy::service::discovery::v3::DiscoveryRequest>(now);
  if (!status.ok()) {
    EndLocked(status,
              absl::IsPermissionDenied(status) ? StreamEnd::kDenied : StreamEnd::kBadRequest);
    return;
  }
  Pump();
  context_.fleet.Change(id_, [&](GatewayStatus& known) { known = stream_.status(); });
  StartRead(&request_);
}

template <typename Request>
absl::Status GatewayStream::Handle(SteadyTime now) {
  Request request;
  {
    grpc::ProtoBufferReader reader(&request_);
    if (!reader.status().ok() || !request.ParseFromZeroCopyStream(&reader)) {
      return InvalidArgument("a request is not a message of the discovery protocol, version 3");
    }
  }
  request_.Clear();
  const WallTime wall = std::chrono::system_clock::now();
  if (!admitted_) {
    const absl::Status admitted = Admit(request.node(), request.has_node(), wall);
    if (!admitted.ok()) return admitted;
    admitted_ = true;
    admitted_at_ = now;
    context_.fleet.Connected(id_, stream_.status());
    const Published published = context_.published();
    if (published.set != nullptr) {
      stream_.SetTarget(published.set->OfGroup(stream_.status().group));
    }
  }
  const RequestOutcome outcome = stream_.OnRequest(request, now, wall);
  Count(outcome, now);
  return outcome.status;
}

template <typename Node>
absl::Status GatewayStream::Admit(const Node& node, bool has_node, WallTime now) {
  if (node.id().size() > kMaxNodeText || node.cluster().size() > kMaxNodeText ||
      node.user_agent_version().size() > kMaxNodeText) {
    return InvalidArgument(fmt::format("a text in node is longer than {}", kMaxNodeText));
  }
  GatewayStatus& status = stream_.status();
  status.address = PeerAddress(call_.peer());
  status.node = has_node && !node.id().empty() ? node.id() : status.address;
  status.group = node.cluster();
  status.gateway_version = node.user_agent_version();
  status.instance = context_.fleet.instance();
  status.connected = true;
  status.connected_at = now;
  status.last_seen = now;
  return CheckGroup(status.group);
}

absl::Status GatewayStream::CheckGroup(const std::string& group) const {
  if (!context_.options.require_group_in_certificate) return absl::OkStatus();
  const auto denied = [](const std::string& why) {
    return MakeStatus(absl::StatusCode::kPermissionDenied, why);
  };
  if (group.empty()) {
    return denied(
        "this control plane serves gateways that name their group only: set the gateway's group "
        "(node.cluster), and give it a certificate of that group");
  }
  std::string found;
  for (const grpc::string_ref& value :
       call_.auth_context()->FindPropertyValues(GRPC_X509_SAN_PROPERTY_NAME)) {
    const std::string san(value.data(), value.size());
    if (NamesGroup(san, group)) return absl::OkStatus();
    found += (found.empty() ? "" : ", ") + san;
  }
  return denied(fmt::format(
      "the certificate of this gateway is not one of group {:?} (it names {}): give it a "
      "certificate with a SAN that is {:?} or ends in \"/group/{}\", or set its group right",
      group, found.empty() ? "nobody" : found, group, group));
}

void GatewayStream::Count(const RequestOutcome& outcome, SteadyTime now) {
  XdsMetrics& metrics = context_.metrics;
  if (!outcome.type.has_value()) {
    metrics.unknown_types.Add();
    return;
  }
  const auto type = static_cast<size_t>(*outcome.type);
  metrics.requests[type].Add();
  switch (outcome.kind) {
    case RequestOutcome::Kind::kAck:
      metrics.acks[type].Add();
      metrics.push_to_ack.Observe(now - outcome.sent);
      break;
    case RequestOutcome::Kind::kNack:
      metrics.nacks[type].Add();
      metrics.rejected[type].Add(outcome.rejected);
      metrics.push_to_ack.Observe(now - outcome.sent);
      break;
    case RequestOutcome::Kind::kStale:
      metrics.stale_answers.Add();
      break;
    case RequestOutcome::Kind::kSubscription:
    case RequestOutcome::Kind::kUnknownType:
      break;
  }
  if (outcome.newly_accepted == 0) return;
  const Published published = context_.published();
  if (published.set != nullptr && published.set->revision() == outcome.newly_accepted &&
      published.at > admitted_at_) {
    metrics.publish_to_accepted.Observe(now - published.at);
  }
}

void GatewayStream::Pump() {
  if (ended_ || writing_) return;
  const SteadyTime now = std::chrono::steady_clock::now();
  const std::optional<XdsResponse> response = stream_.Next(now);
  if (!response.has_value()) return;
  const auto type = static_cast<size_t>(response->body->type);
  context_.metrics.responses[type].Add();
  context_.metrics.response_bytes[type].Add(response->body->bytes.size() + response->tail.size());
  response_ = ToBuffer(*response);
  writing_ = true;
  write_started_ = now;
  StartWrite(&response_);
}

void GatewayStream::OnWriteDone(bool ok) {
  const std::lock_guard<std::mutex> lock(mutex_);
  writing_ = false;
  response_.Clear();
  if (ended_) return;
  if (!ok) {
    EndLocked(MakeStatus(absl::StatusCode::kCancelled, "the stream is broken"),
              StreamEnd::kGateway);
    return;
  }
  const uint64_t sent = stream_.status().sent_revision;
  Pump();
  if (stream_.status().sent_revision == sent) return;
  context_.fleet.Change(id_, [&](GatewayStatus& known) { known = stream_.status(); });
}

void GatewayStream::OnCancel() {
  const std::lock_guard<std::mutex> lock(mutex_);
  EndLocked(MakeStatus(absl::StatusCode::kCancelled, "the stream was cancelled"),
            StreamEnd::kGateway);
}

void GatewayStream::OnDone() {
  context_.fleet.Disconnected(id_);
  context_.metrics.ends[static_cast<size_t>(end_)].Add();
  context_.done(id_);  // may be the end of this object
}

}  // namespace gatehouse::control
