#include "source/control_plane/rest.h"

#include <httplib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <thread>
#include <utility>

#include <fmt/format.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "source/base/status.h"
#include "source/control_plane/digest.h"
#include "source/control_plane/durable_file.h"
#include "source/control_plane/server_address.h"

namespace gatehouse::control {
namespace {

constexpr size_t kMaxBody = size_t{64} << 20;
// Changes wait for each other and may be checked for long; /live is answered all the same.
constexpr size_t kThreads = 64;
constexpr size_t kMaxName = 256;
constexpr int kPatienceSeconds = 30;

// The subject's common name; empty without a certificate.
std::string CommonName(const SSL* ssl) {
  if (ssl == nullptr) return {};
  X509* certificate = SSL_get1_peer_certificate(ssl);
  if (certificate == nullptr) return {};
  std::array<char, kMaxName> name{};
  const int size = X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName,
                                             name.data(), static_cast<int>(name.size()));
  X509_free(certificate);
  return size > 0 ? std::string(name.data(), static_cast<size_t>(size)) : std::string();
}

// "localhost", or an address in numbers.
bool IsLocalName(std::string host) {
  const size_t close = host.rfind(']');
  if (host.starts_with('[') && close != std::string::npos) {
    host = host.substr(1, close - 1);
  } else {
    host = host.substr(0, host.rfind(':'));
  }
  return host.empty() || host == "localhost" || IsNumeric(host);
}

// Takes the place of a socket that a process which is gone has left.
bool IsTaken(const std::string& path) {
  sockaddr_un address{};
  if (path.size() >= sizeof(address.sun_path)) return true;
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  struct stat there{};
  if (lstat(path.c_str(), &there) != 0) return false;
  if (!S_ISSOCK(there.st_mode)) return true;
  const int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const bool alive = connect(probe, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
  close(probe);
  if (!alive) unlink(path.c_str());
  return alive;
}

absl::Status CheckOptions(const RestOptions& options, const ServerAddress& address) {
  const bool tls = !options.certificate_file.empty();
  if (tls != !options.key_file.empty()) {
    return InvalidArgument("a certificate and its key come together");
  }
  if (!options.client_ca_file.empty() && !tls) {
    return InvalidArgument("client certificates need TLS: give a certificate and a key too");
  }
  const bool proven = !options.token_file.empty() || !options.client_ca_file.empty();
  if (!address.is_loopback() && !(tls && proven)) {
    return InvalidArgument(fmt::format(
        "the REST API on {} could be used by anyone who reaches it; give it TLS (--tls-certificate "
        "and --tls-key) and a token (--rest-token-file) or --client-ca, or listen on 127.0.0.1",
        address.ToString()));
  }
  return absl::OkStatus();
}

}  // namespace

class RestServer::Service {
 public:
  Service(RestOptions options, ServerAddress address, Api& api)
      : options_(std::move(options)), address_(std::move(address)), api_(api) {}

  absl::Status Start() {
    if (options_.certificate_file.empty()) {
      server_ = std::make_unique<httplib::Server>();
    } else {
      server_ = std::make_unique<httplib::SSLServer>(
          options_.certificate_file.c_str(), options_.key_file.c_str(),
          options_.client_ca_file.empty() ? nullptr : options_.client_ca_file.c_str());
    }
    if (!server_->is_valid()) {
      return InvalidArgument(
          fmt::format("{}, {}{}: cannot be used for TLS; PEM files are wanted",
                      options_.certificate_file, options_.key_file,
                      options_.client_ca_file.empty() ? "" : ", " + options_.client_ca_file));
    }
    SetUp();
    if (absl::Status bound = Bind(); !bound.ok()) return bound;
    thread_ = std::thread([this] { server_->listen_after_bind(); });
    while (!server_->is_running()) std::this_thread::yield();
    return absl::OkStatus();
  }

  void Stop() {
    if (!thread_.joinable()) return;
    server_->stop();
    thread_.join();
    if (address_.is_unix()) unlink(address_.path.c_str());
  }
  [[nodiscard]] int port() const { return address_.port; }

 private:
  void SetUp() {
    server_->new_task_queue = [] { return new httplib::ThreadPool(kThreads); };
    server_->set_payload_max_length(kMaxBody);
    // A body that nobody has read would be read as the next request, and a web page writes bodies.
    server_->set_keep_alive_max_count(1);
    server_->set_read_timeout(kPatienceSeconds);
    // Head and body of an answer leave in two writes: the second would wait for the first one's
    // ACK.
    server_->set_tcp_nodelay(true);
    server_->set_write_timeout(kPatienceSeconds);
    // Without SO_REUSEPORT: a second control plane on the same address is an error.
    server_->set_socket_options([](socket_t socket) {
      const int on = 1;
      setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    });
    server_->set_pre_routing_handler([this](const auto& request, auto& response) {
      return Refuse(request, response) ? httplib::Server::HandlerResponse::Handled
                                       : httplib::Server::HandlerResponse::Unhandled;
    });
    const auto handler = [this](const auto& request, auto& response) { Handle(request, response); };
    server_->Get(".*", handler);
    server_->Post(".*", handler);
    server_->Delete(".*", handler);
    server_->set_exception_handler([](const auto&, auto& response, auto) {
      Send(ErrorReply(500, "Internal error", "the request could not be answered"), response);
    });
    // What the library refuses by itself (a body that is too large, a method) gets a body as well.
    server_->set_error_handler([](const httplib::Request&, httplib::Response& response) {
      if (response.body.empty()) {
        Send(ErrorReply(
                 response.status, "Refused",
                 response.status == 413 ? "the body is larger than 64 MiB" : "not understood"),
             response);
      }
    });
  }

  absl::Status Bind() {
    bool bound = false;
    errno = 0;
    if (address_.is_unix()) {
      if (IsTaken(address_.path)) {
        return Unavailable(fmt::format("{}: another process listens there", address_.ToString()));
      }
      server_->set_address_family(AF_UNIX);
      const mode_t before = umask(0077);
      bound = server_->bind_to_port(address_.path, 80);
      umask(before);
    } else if (address_.port == 0) {
      address_.port = server_->bind_to_any_port(address_.host);
      bound = address_.port > 0;
    } else {
      bound = server_->bind_to_port(address_.host, address_.port);
    }
    if (bound) return absl::OkStatus();
    return Unavailable(fmt::format("the REST API cannot listen on {}: {}", address_.ToString(),
                                   errno != 0 ? std::strerror(errno) : "the address is not good"));
  }

  static void Send(const ApiReply& reply, httplib::Response& response) {
    response.status = reply.status;
    response.set_header("Cache-Control", "no-store");
    response.set_header("X-Content-Type-Options", "nosniff");
    response.set_content(reply.body, reply.content_type);
  }

  // Before the body is read.
  bool Refuse(const httplib::Request& request, httplib::Response& response) const {
    if (request.has_header("Origin")) {
      Send(ErrorReply(403, "Refused", "this is not for web pages"), response);
      return true;
    }
    const bool proven = !options_.token_file.empty() || !options_.client_ca_file.empty();
    if (!proven && !address_.is_unix() && !IsLocalName(request.get_header_value("Host"))) {
      Send(ErrorReply(403, "Refused", "ask by address or as localhost"), response);
      return true;
    }
    if (request.path == "/live" || request.path == "/ready") return false;
    if (!options_.token_file.empty() && !HasToken(request)) {
      response.set_header("WWW-Authenticate", "Bearer");
      Send(ErrorReply(401, "Who are you?",
                      "a token is wanted: Authorization: Bearer ..., or --token-file"),
           response);
      return true;
    }
    return false;
  }

  bool HasToken(const httplib::Request& request) const {
    const absl::StatusOr<std::string> file = ReadWhole(options_.token_file);
    if (!file.ok()) return false;
    const std::string token = file->substr(0, file->find_first_of("\r\n"));
    const std::string given = request.get_header_value("Authorization");
    constexpr std::string_view kBearer = "Bearer ";
    return !token.empty() && given.starts_with(kBearer) &&
           SameSecret(std::string_view(given).substr(kBearer.size()), token);
  }

  void Handle(const httplib::Request& request, httplib::Response& response) {
    ApiRequest asked{.method = request.method, .path = request.path};
    for (const auto& [name, value] : request.params) asked.query.insert_or_assign(name, value);
    const std::string name = CommonName(request.ssl);
    if (!name.empty()) asked.author = fmt::format("api (CN={})", name);
    if (request.is_multipart_form_data()) {
      for (const auto& [field, part] : request.files) {
        asked.files.push_back({.name = part.filename, .text = part.content});
      }
    } else if (!request.body.empty()) {
      asked.files.push_back({.name = request.get_param_value("file"), .text = request.body});
    }
    Send(api_.Answer(asked), response);
  }

  const RestOptions options_;
  ServerAddress address_;
  Api& api_;
  std::unique_ptr<httplib::Server> server_;
  std::thread thread_;
};

absl::StatusOr<std::unique_ptr<RestServer>> RestServer::Start(RestOptions options, Api& api) {
  absl::StatusOr<ServerAddress> address = ParseServerAddress(options.address);
  if (!address.ok()) return address.status();
  if (absl::Status checked = CheckOptions(options, *address); !checked.ok()) return checked;
  if (!options.token_file.empty()) {
    const absl::StatusOr<std::string> token = ReadWhole(options.token_file);
    if (!token.ok()) return token.status();
    if (token->find_first_not_of("\r\n") != 0) {
      return InvalidArgument(
          fmt::format("{}: its first line must be the token", options.token_file));
    }
  }
  auto service = std::make_unique<Service>(std::move(options), *std::move(address), api);
  if (absl::Status started = service->Start(); !started.ok()) return started;
  return std::unique_ptr<RestServer>(new RestServer(std::move(service)));
}

RestServer::RestServer(std::unique_ptr<Service> service) : service_(std::move(service)) {}
RestServer::~RestServer() { Stop(); }
void RestServer::Stop() { service_->Stop(); }
int RestServer::port() const { return service_->port(); }

}  // namespace gatehouse::control
