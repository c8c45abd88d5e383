// The xDS server over TLS: who gets in, and what the others are told.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "source/control_plane/xds_server.h"
#include "test/control_plane/resources_for_test.h"
#include "test/control_plane/xds_client_for_test.h"

namespace gatehouse::control {
namespace {

using ::testing::HasSubstr;

// Certificates made by the openssl command, in a folder of the test.
class XdsServerTlsTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = ::testing::TempDir() + "/xds_server_tls";
    std::filesystem::create_directories(folder_);
    MakeCa("ca");
    MakeCa("other-ca");
    Make("server", "ca", "DNS:localhost");
    Make("edge", "ca", "URI:spiffe://example.org/group/edge");
    Make("inner", "ca", "DNS:inner");
    Make("stranger", "other-ca", "DNS:edge");
  }

  static std::string Path(const std::string& name) { return folder_ + "/" + name; }
  static std::string Text(const std::string& name) {
    std::ostringstream text;
    text << std::ifstream(Path(name)).rdbuf();
    return text.str();
  }
  static void Run(const std::string& command) {
    ASSERT_EQ(std::system(("cd " + folder_ + " && " + command + " 2>openssl.log").c_str()), 0)
        << command << "\n"
        << Text("openssl.log");
  }
  static void MakeCa(const std::string& name) {
    Run(
        fmt::format("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
                    "-subj /CN={0} -keyout {0}.key -out {0}.pem",
                    name));
  }
  static void Make(const std::string& name, const std::string& ca, const std::string& san) {
    Run(
        fmt::format("openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={0} "
                    "-addext subjectAltName={2} -keyout {0}.key -out {0}.csr && "
                    "printf 'subjectAltName={2}' > {0}.ext && openssl x509 -req -in {0}.csr "
                    "-CA {1}.pem -CAkey {1}.key -CAcreateserial -days 2 -extfile {0}.ext "
                    "-out {0}.pem",
                    name, ca, san));
  }

  static XdsServerOptions Options() {
    return {.address = "127.0.0.1:0",
            .certificate_file = Path("server.pem"),
            .key_file = Path("server.key"),
            .client_ca_file = Path("ca.pem")};
  }
  void Start(const XdsServerOptions& options) {
    auto server = XdsServer::Start(options, fleet_);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = std::move(*server);
    server_->Publish(SetOf(1, {{Type::kSecret, "key", "1", "edge"}}));
  }
  // Of a gateway with this certificate; none if empty.
  static std::shared_ptr<grpc::ChannelCredentials> Credentials(const std::string& name,
                                                               const std::string& ca = "ca") {
    grpc::SslCredentialsOptions options{.pem_root_certs = Text(ca + ".pem")};
    if (!name.empty()) {
      options.pem_private_key = Text(name + ".key");
      options.pem_cert_chain = Text(name + ".pem");
    }
    return grpc::SslCredentials(options);
  }
  // OK: it was given the secret.
  grpc::Status Try(const std::string& certificate, const std::string& group,
                   const std::string& ca = "ca") {
    XdsClient client(server_->port(), Credentials(certificate, ca));
    client.Sends(Type::kSecret, {"*"}, {.node = "gateway-1", .group = group});
    if (client.Reads().has_value()) return grpc::Status::OK;
    return client.Status();
  }

  static std::string folder_;
  Fleet fleet_{"control-1"};
  std::unique_ptr<XdsServer> server_;
};
std::string XdsServerTlsTest::folder_;

TEST_F(XdsServerTlsTest, ACertificateOfTheClientCaGetsIn) {
  Start(Options());
  EXPECT_TRUE(Try("edge", "edge").ok());
  EXPECT_TRUE(Try("inner", "edge").ok()) << "the group is not looked at, unless asked for";
}

TEST_F(XdsServerTlsTest, NoCertificateIsToldWhatToDo) {
  Start(Options());
  const grpc::Status status = Try("", "edge");
  EXPECT_EQ(status.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_THAT(status.error_message(), HasSubstr("certificate and key"));
  EXPECT_TRUE(fleet_.Own().empty());
}

TEST_F(XdsServerTlsTest, ACertificateOfAnotherCaDoesNotConnect) {
  Start(Options());
  EXPECT_EQ(Try("stranger", "edge").error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(XdsServerTlsTest, TheCertificateNamesTheGroup) {
  XdsServerOptions options = Options();
  options.require_group_in_certificate = true;
  Start(options);
  EXPECT_TRUE(Try("edge", "edge").ok());
  EXPECT_TRUE(Try("inner", "inner").ok());
  const grpc::Status stolen = Try("inner", "edge");
  EXPECT_EQ(stolen.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_THAT(stolen.error_message(), HasSubstr("it names inner"));
  EXPECT_THAT(stolen.error_message(), HasSubstr("/group/edge"));
  EXPECT_EQ(Try("edge", "").error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(Try("", "edge").error_code(), grpc::StatusCode::PERMISSION_DENIED);
  // A gateway may see the end of its stream before it is counted.
  Await(
      [&] { return server_->RenderMetrics().find("{reason=\"denied\"} 3") != std::string::npos; });
}

TEST_F(XdsServerTlsTest, TlsWithoutClientCertificates) {
  XdsServerOptions options = Options();
  options.client_ca_file.clear();
  Start(options);
  EXPECT_TRUE(Try("", "edge").ok());
}

TEST_F(XdsServerTlsTest, FilesAreReadAgainWhenTheyChange) {
  Make("rotating", "ca", "DNS:localhost");
  XdsServerOptions options = Options();
  options.certificate_file = Path("rotating.pem");
  options.key_file = Path("rotating.key");
  options.client_ca_file = Path("clients.pem");
  std::filesystem::copy_file(Path("ca.pem"), options.client_ca_file,
                             std::filesystem::copy_options::overwrite_existing);
  Start(options);
  EXPECT_TRUE(Try("edge", "edge").ok());
  EXPECT_FALSE(Try("stranger", "edge").ok());
  // The other CA signs the server from now on, and the gateways.
  Make("renewed", "other-ca", "DNS:localhost");
  std::filesystem::rename(Path("renewed.key"), options.key_file);
  std::filesystem::rename(Path("renewed.pem"), options.certificate_file);
  std::filesystem::copy_file(Path("other-ca.pem"), options.client_ca_file,
                             std::filesystem::copy_options::overwrite_existing);
  while (!Try("stranger", "edge", "other-ca").ok()) std::this_thread::yield();
  EXPECT_FALSE(Try("edge", "edge", "other-ca").ok());
}

TEST_F(XdsServerTlsTest, OptionsThatOpenAllSecretsNeedAWord) {
  const auto refuses = [&](const XdsServerOptions& options, const std::string& why) {
    const auto server = XdsServer::Start(options, fleet_);
    EXPECT_EQ(server.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(server.status().ToString(), HasSubstr(why));
  };
  refuses({.address = "0.0.0.0:0"}, "without TLS");
  XdsServerOptions no_clients = Options();
  no_clients.address = "0.0.0.0:0";
  no_clients.client_ca_file.clear();
  refuses(no_clients, "without client certificates");
  XdsServerOptions half = Options();
  half.key_file.clear();
  refuses(half, "both a certificate and its key");
  refuses({.client_ca_file = Path("ca.pem")}, "need TLS");
  refuses({.require_group_in_certificate = true}, "give a client CA");
  XdsServerOptions missing = Options();
  missing.key_file = Path("missing.key");
  refuses(missing, "missing.key: cannot be read");
  XdsServerOptions swapped = Options();
  std::swap(swapped.key_file, swapped.certificate_file);
  refuses(swapped, "server.key: is not a certificate in PEM");
}

}  // namespace
}  // namespace gatehouse::control
