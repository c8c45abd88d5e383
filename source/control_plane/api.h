// Api: what the REST API answers, without HTTP (rest.h is that).
//
//   GET    /v1/resources[?type=&name=&group=&output=yaml]
//   POST   /v1/resources[?group=&comment=&base=&dry_run=1&prune=1&allow_empty=1]
//   DELETE /v1/resources/{type}/{name}[?group=&comment=&base=]
//   POST   /v1/diff[?group=&prune=1]
//   GET    /v1/status, /v1/history[?count=]
//   POST   /v1/rollback/{revision}[?comment=&base=]
//   GET    /metrics, /live, /ready
//
// Errors are application/problem+json with a list `errors` of {file, line, path, message}.
//
// Owner: main(). Any thread; calls that change something wait for each other.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

#include "source/control_plane/directory.h"
#include "source/control_plane/editor.h"
#include "source/control_plane/fleet.h"
#include "source/control_plane/resource_file.h"
#include "source/control_plane/store.h"

namespace gatehouse::control {

struct ApiRequest {
  std::string method;
  std::string path;
  std::map<std::string, std::string> query;
  std::vector<ResourceFile> files;  // the body
  std::string author = "api";
};

struct ApiReply {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
};

[[nodiscard]] ApiReply ErrorReply(int status, std::string_view title, std::string_view detail,
                                  const config::ErrorList& errors = {});

class Api {
 public:
  struct Parts {
    Editor& editor;
    Store& store;
    Fleet& fleet;
    // Null: there is no directory.
    const DirectorySource* directory = nullptr;
    std::function<std::string()> metrics = [] { return std::string(); };
  };
  explicit Api(Parts parts) : parts_(std::move(parts)) {}

  [[nodiscard]] ApiReply Answer(const ApiRequest& request);
  // From now on /ready says yes.
  void SetReady(bool ready) { ready_ = ready; }

 private:
  [[nodiscard]] ApiReply Get(const ApiRequest& request) const;
  [[nodiscard]] ApiReply Post(const ApiRequest& request, bool diff);
  [[nodiscard]] ApiReply Delete(const ApiRequest& request);
  [[nodiscard]] ApiReply RollBack(const ApiRequest& request);
  [[nodiscard]] ApiReply Status() const;
  [[nodiscard]] ApiReply History(const ApiRequest& request) const;
  [[nodiscard]] ApiReply Metrics() const;

  const Parts parts_;
  std::atomic<bool> ready_ = false;
};

}  // namespace gatehouse::control
