#include "source/control_plane/server_credentials.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>

#include "fmt/format.h"
#include "grpcpp/security/tls_certificate_provider.h"
#include "grpcpp/security/tls_credentials_options.h"
#include "source/base/status.h"
#include "source/control_plane/server_address.h"

namespace gatehouse::control {

namespace {

constexpr unsigned kSecondsBetweenReads = 1;

// gRPC only logs what is wrong with a file, and then refuses every connection.
absl::Status CheckPem(const std::string& path, std::string_view what, std::string_view label) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return InvalidArgument(fmt::format("{}: cannot be read: {}", path, std::strerror(errno)));
  }
  std::ostringstream text;
  text << file.rdbuf();
  const std::string pem = text.str();
  const size_t begin = pem.find("-----BEGIN ");
  if (begin != std::string::npos &&
      pem.substr(begin, pem.find('\n', begin) - begin).find(label) != std::string::npos) {
    return absl::OkStatus();
  }
  return InvalidArgument(
      fmt::format("{}: is not {} in PEM: there is no line -----BEGIN {}-----", path, what, label));
}

absl::Status CheckOptions(const XdsServerOptions& options) {
  const bool tls = !options.certificate_file.empty();
  if (tls == options.key_file.empty()) {
    return InvalidArgument("TLS needs both a certificate and its key");
  }
  if (!tls && !options.client_ca_file.empty()) {
    return InvalidArgument("client certificates need TLS: give a certificate and key, too");
  }
  if (options.require_group_in_certificate && options.client_ca_file.empty()) {
    return InvalidArgument(
        "the group can be required in client certificates only if there are any: give a client CA, "
        "too");
  }
  const absl::StatusOr<ServerAddress> address = ParseServerAddress(options.address);
  if (!address.ok()) return address.status();
  if (options.insecure || address->is_loopback()) return absl::OkStatus();
  if (!tls) {
    return InvalidArgument(fmt::format(
        "{}: without TLS, whoever reaches this address can read all secrets: give a certificate, "
        "key and client CA, or listen on 127.0.0.1, or say that it may be insecure",
        options.address));
  }
  if (options.client_ca_file.empty()) {
    return InvalidArgument(
        fmt::format("{}: without client certificates, whoever reaches this address can read all "
                    "secrets: give a "
                    "client CA, or listen on 127.0.0.1, or say that it may be insecure",
                    options.address));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(
    const XdsServerOptions& options) {
  absl::Status status = CheckOptions(options);
  if (!status.ok()) return status;
  if (options.certificate_file.empty()) return grpc::InsecureServerCredentials();

  status = CheckPem(options.certificate_file, "a certificate", "CERTIFICATE");
  if (status.ok()) status = CheckPem(options.key_file, "a private key", "PRIVATE KEY");
  const bool clients = !options.client_ca_file.empty();
  if (status.ok() && clients) {
    status = CheckPem(options.client_ca_file, "a certificate", "CERTIFICATE");
  }
  if (!status.ok()) return status;

  namespace tls = grpc::experimental;
  const auto provider = std::make_shared<tls::FileWatcherCertificateProvider>(
      options.key_file, options.certificate_file, options.client_ca_file, kSecondsBetweenReads);
  tls::TlsServerCredentialsOptions tls_options(provider);
  tls_options.watch_identity_key_cert_pairs();
  if (clients) {
    tls_options.watch_root_certs();
    // A gateway without any is told what to do, instead of a failed handshake: see GatewayStream.
    tls_options.set_cert_request_type(GRPC_SSL_REQUEST_CLIENT_CERTIFICATE_AND_VERIFY);
  } else {
    tls_options.set_cert_request_type(GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE);
  }
  return tls::TlsServerCredentials(tls_options);
}

}  // namespace gatehouse::control
