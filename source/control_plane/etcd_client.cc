#include "source/control_plane/etcd_client.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include "source/base/status.h"
#include "source/control_plane/durable_file.h"

namespace gatehouse::control {
namespace {

// etcd ends connections that ping more often than every 5 s.
constexpr int kPingMs = 10'000;
constexpr int kPingTimeoutMs = 3'000;
constexpr int kLongestBackoffMs = 1'000;

bool TryNext(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::UNAVAILABLE ||
         status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED ||
         status.error_code() == grpc::StatusCode::CANCELLED;
}

absl::StatusOr<std::string> ReadIfGiven(const std::string& path) {
  if (path.empty()) return std::string();
  return ReadWhole(path);
}

}  // namespace

std::string EndOfPrefix(std::string prefix) {
  while (!prefix.empty() && static_cast<unsigned char>(prefix.back()) == 0xff) prefix.pop_back();
  if (prefix.empty()) return std::string(1, '\0');
  ++prefix.back();
  return prefix;
}

absl::StatusOr<std::unique_ptr<EtcdClient>> EtcdClient::Make(EtcdOptions options) {
  std::unique_ptr<EtcdClient> client(new EtcdClient(std::move(options)));
  if (absl::Status connected = client->Connect(); !connected.ok()) return connected;
  return client;
}

absl::Status EtcdClient::Connect() {
  std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials();
  if (!options_.ca_file.empty() || !options_.certificate_file.empty()) {
    grpc::SslCredentialsOptions ssl;
    for (const auto& [path, to] : {std::pair(&options_.ca_file, &ssl.pem_root_certs),
                                   std::pair(&options_.certificate_file, &ssl.pem_cert_chain),
                                   std::pair(&options_.key_file, &ssl.pem_private_key)}) {
      absl::StatusOr<std::string> pem = ReadIfGiven(*path);
      if (!pem.ok()) return InvalidArgument(MessageOf(pem.status()));
      *to = *std::move(pem);
    }
    credentials = grpc::SslCredentials(ssl);
  }
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetMaxSendMessageSize(-1);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kPingMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kPingTimeoutMs);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kLongestBackoffMs);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 100);
  // An environment's proxy for the web is not the way to etcd.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  for (const std::string& endpoint : options_.endpoints) {
    channels_.push_back(grpc::CreateCustomChannel(endpoint, credentials, arguments));
  }
  if (channels_.empty()) return InvalidArgument("--etcd wants HOST:PORT");
  return absl::OkStatus();
}

void EtcdClient::Prepare(grpc::ClientContext* context) {
  // A member that has lost its leader says so, in place of waiting.
  context->AddMetadata("hasleader", "true");
  const std::lock_guard lock(mutex_);
  if (!token_.empty()) context->AddMetadata("token", token_);
}

bool EtcdClient::LogIn(const std::shared_ptr<grpc::Channel>& channel) {
  const absl::StatusOr<std::string> password = ReadIfGiven(options_.password_file);
  if (!password.ok()) return false;
  etcdserverpb::AuthenticateRequest request;
  request.set_name(options_.user);
  request.set_password(password->substr(0, password->find_first_of("\r\n")));
  etcdserverpb::AuthenticateResponse response;
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + options_.deadline);
  if (!etcdserverpb::Auth::NewStub(channel)->Authenticate(&context, request, &response).ok()) {
    return false;
  }
  const std::lock_guard lock(mutex_);
  token_ = response.token();
  return true;
}

grpc::Status EtcdClient::AskOnce(size_t at, const Call& call) {
  grpc::Status status;
  for (int i = 0; i < 2; ++i) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + options_.deadline);
    Prepare(&context);
    status = call(channels_[at], &context);
    // A token that was forgotten comes as INVALID_ARGUMENT or UNAUTHENTICATED.
    const bool unknown = status.error_code() == grpc::StatusCode::UNAUTHENTICATED ||
                         (status.error_code() == grpc::StatusCode::INVALID_ARGUMENT &&
                          status.error_message().find("user name is empty") != std::string::npos);
    if (!unknown || options_.user.empty() || !LogIn(channels_[at])) break;
  }
  return status;
}

absl::Status EtcdClient::Ask(const Call& call, bool again) {
  size_t first = 0;
  {
    const std::lock_guard lock(mutex_);
    first = at_;
  }
  std::string why;
  for (size_t i = 0; i < channels_.size(); ++i) {
    const size_t at = (first + i) % channels_.size();
    const grpc::Status status = AskOnce(at, call);
    if (status.ok()) {
      const std::lock_guard lock(mutex_);
      at_ = at;
      return absl::OkStatus();
    }
    why = fmt::format("etcd {}: {}", options_.endpoints[at], status.error_message());
    if (!TryNext(status)) return MakeStatus(absl::StatusCode::kInternal, why);
    if (!again) break;
  }
  return Unavailable(why);
}

void EtcdClient::Leave() {
  const std::lock_guard lock(mutex_);
  at_ = (at_ + 1) % channels_.size();
}

absl::StatusOr<etcdserverpb::RangeResponse> EtcdClient::Range(
    const etcdserverpb::RangeRequest& request) {
  etcdserverpb::RangeResponse response;
  absl::Status asked = Ask(
      [&](const auto& channel, auto* context) {
        return etcdserverpb::KV::NewStub(channel)->Range(context, request, &response);
      },
      /*again=*/true);
  if (!asked.ok()) return asked;
  return response;
}

absl::StatusOr<etcdserverpb::TxnResponse> EtcdClient::Txn(const etcdserverpb::TxnRequest& request,
                                                          bool again) {
  etcdserverpb::TxnResponse response;
  absl::Status asked = Ask(
      [&](const auto& channel, auto* context) {
        return etcdserverpb::KV::NewStub(channel)->Txn(context, request, &response);
      },
      again);
  if (!asked.ok()) return asked;
  return response;
}

absl::StatusOr<int64_t> EtcdClient::GrantLease(std::chrono::seconds ttl) {
  etcdserverpb::LeaseGrantRequest request;
  request.set_ttl(ttl.count());
  etcdserverpb::LeaseGrantResponse response;
  absl::Status asked = Ask(
      [&](const auto& channel, auto* context) {
        return etcdserverpb::Lease::NewStub(channel)->LeaseGrant(context, request, &response);
      },
      /*again=*/true);
  if (!asked.ok()) return asked;
  return response.id();
}

absl::Status EtcdClient::KeepLease(int64_t lease) {
  etcdserverpb::LeaseKeepAliveRequest request;
  request.set_id(lease);
  etcdserverpb::LeaseKeepAliveResponse response;
  absl::Status asked = Ask(
      [&](const auto& channel, auto* context) {
        const auto stub = etcdserverpb::Lease::NewStub(channel);
        const auto stream = stub->LeaseKeepAlive(context);
        const bool answered = stream->Write(request) && stream->Read(&response);
        stream->WritesDone();
        context->TryCancel();
        const grpc::Status status = stream->Finish();
        return answered ? grpc::Status::OK : status;
      },
      /*again=*/true);
  if (!asked.ok()) return asked;
  return response.ttl() > 0 ? absl::OkStatus() : NotFound("the lease has run out");
}

void EtcdClient::RevokeLease(int64_t lease) {
  etcdserverpb::LeaseRevokeRequest request;
  request.set_id(lease);
  etcdserverpb::LeaseRevokeResponse response;
  // If not, it runs out.
  static_cast<void>(Ask(
      [&](const auto& channel, auto* context) {
        return etcdserverpb::Lease::NewStub(channel)->LeaseRevoke(context, request, &response);
      },
      /*again=*/false));
}

std::unique_ptr<EtcdClient::Watch> EtcdClient::StartWatch(
    const std::vector<etcdserverpb::WatchCreateRequest>& watched) {
  auto watch = std::make_unique<Watch>();
  Prepare(&watch->context_);
  std::shared_ptr<grpc::Channel> channel;
  {
    const std::lock_guard lock(mutex_);
    channel = channels_[at_];
  }
  watch->stream_ = etcdserverpb::Watch::NewStub(channel)->Watch(&watch->context_);
  for (const etcdserverpb::WatchCreateRequest& one : watched) {
    etcdserverpb::WatchRequest request;
    *request.mutable_create_request() = one;
    // A stream that is broken already says so when it is read.
    static_cast<void>(watch->stream_->Write(request));
  }
  return watch;
}

bool EtcdClient::Watch::Read(etcdserverpb::WatchResponse* response) {
  return stream_->Read(response);
}
void EtcdClient::Watch::Cancel() { context_.TryCancel(); }
std::string EtcdClient::Watch::Finish() { return stream_->Finish().error_message(); }

}  // namespace gatehouse::control
