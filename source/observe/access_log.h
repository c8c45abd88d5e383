// AccessLog: a format and where its lines go. What a listener or route has in its config.
//
// Owner: the Snapshot (const); dropped on main. Thread: Write by each worker with its own index.
// Write formats straight into the worker's ring: no allocation, no lock, no system call.
//
//   AccessLog log(std::move(format), output);
//   LogRecord record;
//   record.status = 200; ...
//   log.Write(worker_index, record);
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "source/observe/log_format.h"
#include "source/observe/log_record.h"
#include "source/observe/log_writer.h"

namespace gatehouse::observe {

class AccessLog {
 public:
  AccessLog(LogFormat format, std::shared_ptr<LogOutput> output)
      : format_(std::move(format)), output_(std::move(output)) {}

  // False when the line was dropped; the output has counted it.
  bool Write(uint32_t worker, const LogRecord& record) const {
    return output_->Write(worker, format_, record);
  }
  [[nodiscard]] const LogOutput& output() const { return *output_; }

 private:
  LogFormat format_;
  std::shared_ptr<LogOutput> output_;
};

}  // namespace gatehouse::observe
