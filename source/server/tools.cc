#include "source/server/tools.h"

#include <cstdio>

#include "source/config/bootstrap_schema.h"
#include "source/config/load.h"
#include "source/server/server.h"

namespace gatehouse::server {

int ValidateFiles(const std::vector<std::string>& files, const filters::Registry& filters) {
  int code = kExitOk;
  for (const std::string& file : files) {
    const config::ErrorList errors = config::ValidateFile(file, filters);
    std::fputs(errors.ToString().c_str(), stderr);
    if (errors.ok()) {
      std::printf("%s: ok\n", file.c_str());
    } else {
      code = kExitBadInput;
    }
  }
  return code;
}

int PrintSchema() {
  std::puts(config::BootstrapSchema().c_str());
  return kExitOk;
}

}  // namespace gatehouse::server
