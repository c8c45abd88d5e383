// The Echo service by grpc++: echo_server [CHAIN KEY]. Prints its port, then what happens to Wait.

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <fstream>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>

#include <grpcpp/grpcpp.h>

#include "test/integration/grpc_peers/echo.grpc.pb.h"

namespace gatehouse::test {
namespace {

std::string AllBytes() {
  std::string bytes(256, '\0');
  for (int i = 0; i < 256; ++i) bytes[static_cast<size_t>(i)] = static_cast<char>(i);
  return bytes;
}

void Say(const char* line) {
  std::puts(line);
  std::fflush(stdout);
}

int64_t TimeLeft(const grpc::ServerContext& context) {
  const auto deadline = context.deadline();
  if (deadline == std::chrono::system_clock::time_point::max()) return 0;
  const auto left = deadline - std::chrono::system_clock::now();
  if (left > std::chrono::hours(24 * 365)) return 0;
  return std::chrono::duration_cast<std::chrono::milliseconds>(left).count();
}

class EchoService final : public Echo::Service {
  grpc::Status Unary(grpc::ServerContext* context, const Request* request, Reply* reply) override {
    reply->set_text(request->text());
    reply->set_number(static_cast<int32_t>(request->payload().size()));
    reply->set_payload(std::string(request->size(), 'x'));
    reply->set_time_left(TimeLeft(*context));
    return grpc::Status::OK;
  }

  grpc::Status Collect(grpc::ServerContext*, grpc::ServerReader<Request>* reader,
                       Reply* reply) override {
    Request request;
    int count = 0;
    while (reader->Read(&request)) {
      reply->mutable_text()->append(request.text());
      ++count;
    }
    reply->set_number(count);
    return grpc::Status::OK;
  }

  grpc::Status Expand(grpc::ServerContext*, const Request* request,
                      grpc::ServerWriter<Reply>* writer) override {
    return Write(*request, writer);
  }

  grpc::Status Chat(grpc::ServerContext*,
                    grpc::ServerReaderWriter<Reply, Request>* stream) override {
    Request request;
    for (int number = 0; stream->Read(&request); ++number) {
      Reply reply;
      reply.set_text(request.text());
      reply.set_number(number);
      if (!stream->Write(reply)) break;
    }
    return grpc::Status::OK;
  }

  grpc::Status Fail(grpc::ServerContext*, const Request* request,
                    grpc::ServerWriter<Reply>* writer) override {
    const grpc::Status written = Write(*request, writer);
    if (!written.ok()) return written;
    return {static_cast<grpc::StatusCode>(request->code()), request->text()};
  }

  grpc::Status Metadata(grpc::ServerContext* context, const Request* request,
                        Reply* reply) override {
    for (const auto& [name, value] : context->client_metadata()) {
      if (name.ends_with("-bin")) {
        reply->add_seen(std::string(name.data(), name.size()) + "=" + std::to_string(value.size()));
      } else {
        reply->add_seen(std::string(name.data(), name.size()) + "=" +
                        std::string(value.data(), value.size()));
      }
    }
    context->AddInitialMetadata("initial-echo", request->text());
    context->AddInitialMetadata("initial-bin", AllBytes());
    context->AddTrailingMetadata("trailing-echo", request->text());
    context->AddTrailingMetadata("trailing-bin", AllBytes());
    return grpc::Status::OK;
  }

  grpc::Status Wait(grpc::ServerContext* context, const Request*, Reply*) override {
    Say("waiting");
    std::unique_lock lock(mutex_);
    while (!context->IsCancelled()) never_.wait_for(lock, std::chrono::milliseconds(5));
    Say("cancelled");
    return grpc::Status::CANCELLED;
  }

  static grpc::Status Write(const Request& request, grpc::ServerWriter<Reply>* writer) {
    for (int number = 0; number < request.count(); ++number) {
      Reply reply;
      reply.set_text(request.text());
      reply.set_number(number);
      reply.set_payload(std::string(request.size(), 'x'));
      if (!writer->Write(reply)) return grpc::Status::CANCELLED;
    }
    return grpc::Status::OK;
  }

  std::mutex mutex_;
  std::condition_variable never_;
};

std::string Content(const char* path) {
  std::ostringstream out;
  out << std::ifstream(path).rdbuf();
  return out.str();
}

int Main(int argc, char** argv) {
  std::shared_ptr<grpc::ServerCredentials> credentials = grpc::InsecureServerCredentials();
  if (argc == 3) {
    grpc::SslServerCredentialsOptions options;
    options.pem_key_cert_pairs.push_back({Content(argv[2]), Content(argv[1])});
    credentials = grpc::SslServerCredentials(options);
  }
  EchoService service;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", credentials, &port);
  builder.SetMaxReceiveMessageSize(-1);
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (!server) return 1;
  Say(std::to_string(port).c_str());
  server->Wait();
  return 0;
}

}  // namespace
}  // namespace gatehouse::test

int main(int argc, char** argv) { return gatehouse::test::Main(argc, argv); }
