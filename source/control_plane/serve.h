// `gatehouse-control serve`: a store, a source, the check, the xDS server and the REST API, put
// together, until SIGTERM.
//
// Called by main() on its thread, before any other thread there is. Returns the exit code.
#pragma once

#include <string>
#include <vector>

namespace gatehouse::control {

struct ServeOptions {
  // One of these, or neither: then resources come through the API alone, and `state` is needed.
  std::string directory;
  std::vector<std::string> etcd;  // host:port
  std::string state;              // default with a directory: DIR/.gatehouse-control

  std::string listen = "127.0.0.1:18000";
  std::string rest = "127.0.0.1:18001";
  std::string certificate_file;
  std::string key_file;
  std::string client_ca_file;
  bool require_group_in_certificate = false;
  bool insecure = false;
  std::string rest_token_file;

  std::string gatehouse;  // the gateway's program; default: beside this one, else in PATH
  bool validate = true;
  bool allow_empty = false;
  std::string instance;  // default: host name and process

  std::string etcd_prefix = "/gatehouse/";
  std::string etcd_ca_file;
  std::string etcd_certificate_file;
  std::string etcd_key_file;
  std::string etcd_user;
  std::string etcd_password_file;
};

[[nodiscard]] int Serve(const ServeOptions& options);

}  // namespace gatehouse::control
