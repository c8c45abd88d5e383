#include "source/config/bootstrap_schema.h"

#include <cstdint>

#include "google/protobuf/descriptor.pb.h"

#include "api/gatehouse/v1/bootstrap.pb.h"
#include "source/base/check.h"
#include "source/config/schema.h"

namespace gatehouse::config {
namespace {

constexpr uint8_t kDescribedApi[] = {
#include "source/config/described_api.inc"
};

}  // namespace

std::string BootstrapSchema() {
  google::protobuf::FileDescriptorSet comments;
  CHECK(comments.ParseFromArray(kDescribedApi, sizeof(kDescribedApi)));
  return JsonSchema(*v1::Bootstrap::descriptor(),
                    {.title = "Gatehouse config", .comments = &comments});
}

}  // namespace gatehouse::config
