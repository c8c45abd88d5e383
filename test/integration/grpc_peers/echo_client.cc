// Calls each method of Echo by grpc++: echo_client TARGET [CA AUTHORITY]. Exits with 0 when all is
// well.

#include <chrono>
#include <cstdio>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>

#include <grpcpp/grpcpp.h>

#include "test/integration/grpc_peers/echo.grpc.pb.h"

namespace gatehouse::test {
namespace {

int failures = 0;

void Expect(bool right, const char* what, const grpc::Status& status = grpc::Status::OK) {
  if (right) return;
  ++failures;
  std::printf("wrong: %s (status %d: %s)\n", what, static_cast<int>(status.error_code()),
              status.error_message().c_str());
}

std::string AllBytes() {
  std::string bytes(256, '\0');
  for (int i = 0; i < 256; ++i) bytes[static_cast<size_t>(i)] = static_cast<char>(i);
  return bytes;
}

void SetDeadline(grpc::ClientContext& context, std::chrono::milliseconds after) {
  context.set_deadline(std::chrono::system_clock::now() + after);
}

constexpr std::chrono::seconds kPatience(60);

void Unary(Echo::Stub& stub) {
  for (const uint32_t size : {0U, 1U, 100'000U, 8'000'000U}) {
    grpc::ClientContext context;
    SetDeadline(context, kPatience);
    Request request;
    request.set_text("hello");
    request.set_size(size);
    request.set_payload(std::string(size, 'p'));
    Reply reply;
    const grpc::Status status = stub.Unary(&context, request, &reply);
    Expect(status.ok() && reply.text() == "hello" && reply.payload().size() == size &&
               reply.number() == static_cast<int32_t>(size),
           "unary", status);
    Expect(reply.time_left() > 0 && reply.time_left() <= 61'000, "the deadline goes on");
  }
}

void Collect(Echo::Stub& stub) {
  grpc::ClientContext context;
  SetDeadline(context, kPatience);
  Reply reply;
  auto writer = stub.Collect(&context, &reply);
  Request request;
  request.set_text("x");
  for (int i = 0; i < 1000; ++i) writer->Write(request);
  writer->WritesDone();
  const grpc::Status status = writer->Finish();
  Expect(status.ok() && reply.number() == 1000 && reply.text() == std::string(1000, 'x'), "collect",
         status);
}

void Expand(Echo::Stub& stub) {
  grpc::ClientContext context;
  SetDeadline(context, kPatience);
  Request request;
  request.set_count(1000);
  request.set_size(1000);
  auto reader = stub.Expand(&context, request);
  Reply reply;
  int count = 0;
  while (reader->Read(&reply)) Expect(reply.number() == count++, "expand: order");
  const grpc::Status status = reader->Finish();
  Expect(status.ok() && count == 1000, "expand", status);
}

void Chat(Echo::Stub& stub) {
  grpc::ClientContext context;
  SetDeadline(context, kPatience);
  auto stream = stub.Chat(&context);
  for (int i = 0; i < 100; ++i) {
    Request request;
    request.set_text(std::to_string(i));
    Reply reply;
    Expect(stream->Write(request) && stream->Read(&reply) && reply.text() == request.text(),
           "chat: each reply before the next request");
  }
  stream->WritesDone();
  const grpc::Status status = stream->Finish();
  Expect(status.ok(), "chat", status);
}

void Fail(Echo::Stub& stub) {
  for (int code = 1; code <= 16; ++code) {
    for (const int count : {0, 3}) {
      grpc::ClientContext context;
      SetDeadline(context, kPatience);
      Request request;
      request.set_code(code);
      request.set_count(count);
      request.set_text("100 % of \xC3\xA4");
      auto reader = stub.Fail(&context, request);
      Reply reply;
      int seen = 0;
      while (reader->Read(&reply)) ++seen;
      const grpc::Status status = reader->Finish();
      Expect(static_cast<int>(status.error_code()) == code && seen == count &&
                 status.error_message() == request.text(),
             "fail", status);
    }
  }
}

void Metadata(Echo::Stub& stub) {
  grpc::ClientContext context;
  SetDeadline(context, kPatience);
  context.AddMetadata("x-text", "some text");
  context.AddMetadata("x-twice", "1");
  context.AddMetadata("x-twice", "2");
  context.AddMetadata("x-all-bin", AllBytes());
  Request request;
  request.set_text("mine");
  Reply reply;
  const grpc::Status status = stub.Metadata(&context, request, &reply);
  int found = 0;
  for (const std::string& seen : reply.seen()) {
    found += seen == "x-text=some text" || seen == "x-twice=1" || seen == "x-twice=2" ||
             seen == "x-all-bin=256";
  }
  Expect(status.ok() && found == 4, "metadata of the client", status);
  const auto has = [](const auto& metadata, const char* name, const std::string& value) {
    const auto at = metadata.find(name);
    return at != metadata.end() && std::string(at->second.data(), at->second.size()) == value;
  };
  Expect(has(context.GetServerInitialMetadata(), "initial-echo", "mine") &&
             has(context.GetServerInitialMetadata(), "initial-bin", AllBytes()),
         "initial metadata");
  Expect(has(context.GetServerTrailingMetadata(), "trailing-echo", "mine") &&
             has(context.GetServerTrailingMetadata(), "trailing-bin", AllBytes()),
         "trailing metadata");
}

void Deadline(Echo::Stub& stub) {
  grpc::ClientContext context;
  SetDeadline(context, std::chrono::milliseconds(300));
  Reply reply;
  const grpc::Status status = stub.Wait(&context, Request(), &reply);
  Expect(status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED, "deadline", status);
}

std::string Content(const char* path) {
  std::ostringstream out;
  out << std::ifstream(path).rdbuf();
  return out.str();
}

int Main(int argc, char** argv) {
  if (argc != 2 && argc != 4) return 2;
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials();
  if (argc == 4) {
    credentials = grpc::SslCredentials({Content(argv[2]), "", ""});
    arguments.SetSslTargetNameOverride(argv[3]);
  }
  const auto stub = Echo::NewStub(grpc::CreateCustomChannel(argv[1], credentials, arguments));
  Unary(*stub);
  Collect(*stub);
  Expand(*stub);
  Chat(*stub);
  Fail(*stub);
  Metadata(*stub);
  Deadline(*stub);
  if (failures == 0) std::puts("all is well");
  return failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace gatehouse::test

int main(int argc, char** argv) { return gatehouse::test::Main(argc, argv); }
