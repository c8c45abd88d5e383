#include "source/config/bootstrap_schema.h"

#include "api/gatehouse/v1/bootstrap.pb.h"
#include "source/config/schema.h"

namespace gatehouse::config {

std::string BootstrapSchema() {
  return JsonSchema(*v1::Bootstrap::descriptor(), {.title = "Gatehouse config"});
}

}  // namespace gatehouse::config
