#include "source/control_plane/rest_client.h"

#include <httplib.h>
#include <sys/socket.h>

#include <memory>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "source/base/status.h"
#include "source/control_plane/durable_file.h"

namespace gatehouse::control {
namespace {

constexpr int kConnectSeconds = 10;
// A large set is checked before the answer comes.
constexpr int kAnswerSeconds = 180;
constexpr std::string_view kUnix = "unix:";

std::string Target(const std::string& path, const RestClient::Query& query) {
  if (query.empty()) return path;
  httplib::Params params(query.begin(), query.end());
  return httplib::append_query_params(path, params);
}

}  // namespace

class RestClient::Connection {
 public:
  static absl::StatusOr<std::unique_ptr<Connection>> Open(const RestClientOptions& options) {
    auto connection = std::make_unique<Connection>();
    if (absl::Status opened = connection->SetUp(options); !opened.ok()) return opened;
    return connection;
  }

  template <typename Ask>
  absl::StatusOr<RestAnswer> Answer(const Ask& ask) {
    const httplib::Result result = ask(*client_, headers_);
    if (result != nullptr) return RestAnswer{.status = result->status, .body = result->body};
    return Unavailable(fmt::format(
        "no answer from {} ({}); is `gatehouse-control serve` running there? --server says where",
        server_, httplib::to_string(result.error())));
  }

 private:
  absl::Status SetUp(const RestClientOptions& options) {
    server_ = options.server;
    if (server_.starts_with(kUnix)) {
      client_ = std::make_unique<httplib::Client>(server_.substr(kUnix.size()), 80);
      client_->set_address_family(AF_UNIX);
      headers_.emplace("Host", "localhost");
    } else {
      const bool tls = server_.starts_with("https://");
      if (!tls && !server_.starts_with("http://")) {
        return InvalidArgument(fmt::format(
            "--server {}: write http://host:port, https://host:port or unix:/path", server_));
      }
      while (server_.ends_with('/')) server_.pop_back();
      client_ =
          std::make_unique<httplib::Client>(server_, options.certificate_file, options.key_file);
      if (tls && !options.ca_file.empty()) client_->set_ca_cert_path(options.ca_file.c_str());
    }
    if (!client_->is_valid()) {
      return InvalidArgument(fmt::format("--server {}: this is no address of a server", server_));
    }
    client_->set_connection_timeout(kConnectSeconds);
    client_->set_read_timeout(kAnswerSeconds);
    client_->set_write_timeout(kAnswerSeconds);
    if (options.token_file.empty()) return absl::OkStatus();
    const absl::StatusOr<std::string> token = ReadWhole(options.token_file);
    if (!token.ok()) return token.status();
    headers_.emplace("Authorization",
                     fmt::format("Bearer {}", token->substr(0, token->find_first_of("\r\n"))));
    return absl::OkStatus();
  }

  std::string server_;
  std::unique_ptr<httplib::Client> client_;
  httplib::Headers headers_;
};

absl::StatusOr<RestAnswer> RestClient::Get(const std::string& path, const Query& query) const {
  absl::StatusOr<std::unique_ptr<Connection>> connection = Connection::Open(options_);
  if (!connection.ok()) return connection.status();
  return (*connection)->Answer([&](httplib::Client& client, const httplib::Headers& headers) {
    return client.Get(Target(path, query), headers);
  });
}

absl::StatusOr<RestAnswer> RestClient::Post(const std::string& path, const Query& query,
                                            const std::vector<ResourceFile>& files) const {
  absl::StatusOr<std::unique_ptr<Connection>> connection = Connection::Open(options_);
  if (!connection.ok()) return connection.status();
  httplib::MultipartFormDataItems items;
  for (const ResourceFile& file : files) items.push_back({"file", file.text, file.name, ""});
  return (*connection)->Answer([&](httplib::Client& client, const httplib::Headers& headers) {
    return items.empty() ? client.Post(Target(path, query), headers, "", "")
                         : client.Post(Target(path, query), headers, items);
  });
}

absl::StatusOr<RestAnswer> RestClient::Delete(const std::string& path, const Query& query) const {
  absl::StatusOr<std::unique_ptr<Connection>> connection = Connection::Open(options_);
  if (!connection.ok()) return connection.status();
  return (*connection)->Answer([&](httplib::Client& client, const httplib::Headers& headers) {
    return client.Delete(Target(path, query), headers);
  });
}

std::string EscapePathPart(const std::string& text) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '_' || c == '.' || c == '~';
    if (plain) {
      out.push_back(c);
    } else {
      out.append(fmt::format("%{:02X}", static_cast<unsigned char>(c)));
    }
  }
  return out;
}

}  // namespace gatehouse::control
