// EtcdClient: etcd's v3 API over several endpoints. One that does not answer is left for the next.
//
// Owner: an EtcdStore. Any thread. Calls block, at most for the deadline and once per endpoint.
//
//   EtcdClient etcd({.endpoints = {"127.0.0.1:2379"}});
//   auto found = etcd.Range(request);
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "api/etcd/etcdserverpb/rpc.grpc.pb.h"

namespace gatehouse::control {

struct EtcdOptions {
  std::vector<std::string> endpoints;  // host:port
  // PEM files. With any of them: TLS.
  std::string ca_file;
  std::string certificate_file;
  std::string key_file;
  std::string user;
  std::string password_file;
  std::chrono::milliseconds deadline{3'000};
};

// The end of the range of all keys that begin with `prefix`.
[[nodiscard]] std::string EndOfPrefix(std::string prefix);

class EtcdClient {
 public:
  // INVALID_ARGUMENT: a file cannot be used.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<EtcdClient>> Make(EtcdOptions options);

  [[nodiscard]] absl::StatusOr<etcdserverpb::RangeResponse> Range(
      const etcdserverpb::RangeRequest& request);
  // `again`: may be done twice, so another endpoint is tried when one does not answer. Otherwise
  // an error leaves open whether it was done.
  [[nodiscard]] absl::StatusOr<etcdserverpb::TxnResponse> Txn(
      const etcdserverpb::TxnRequest& request, bool again);
  [[nodiscard]] absl::StatusOr<int64_t> GrantLease(std::chrono::seconds ttl);
  // NOT_FOUND: it has run out.
  [[nodiscard]] absl::Status KeepLease(int64_t lease);
  void RevokeLease(int64_t lease);

  // From now on another endpoint is asked.
  void Leave();

  // One stream of events. Any thread may Cancel().
  class Watch {
   public:
    // False: the stream has ended.
    [[nodiscard]] bool Read(etcdserverpb::WatchResponse* response);
    void Cancel();
    [[nodiscard]] std::string Finish();

   private:
    friend class EtcdClient;
    grpc::ClientContext context_;
    std::unique_ptr<
        grpc::ClientReaderWriter<etcdserverpb::WatchRequest, etcdserverpb::WatchResponse>>
        stream_;
  };
  [[nodiscard]] std::unique_ptr<Watch> StartWatch(
      const std::vector<etcdserverpb::WatchCreateRequest>& watched);

 private:
  using Call = std::function<grpc::Status(const std::shared_ptr<grpc::Channel>& channel,
                                          grpc::ClientContext* context)>;

  explicit EtcdClient(EtcdOptions options) : options_(std::move(options)) {}
  [[nodiscard]] absl::Status Connect();
  [[nodiscard]] absl::Status Ask(const Call& call, bool again);
  [[nodiscard]] grpc::Status AskOnce(size_t at, const Call& call);
  void Prepare(grpc::ClientContext* context);
  [[nodiscard]] bool LogIn(const std::shared_ptr<grpc::Channel>& channel);

  const EtcdOptions options_;
  std::vector<std::shared_ptr<grpc::Channel>> channels_;
  std::mutex mutex_;
  size_t at_ = 0;  // the endpoint that is asked first
  std::string token_;
};

}  // namespace gatehouse::control
