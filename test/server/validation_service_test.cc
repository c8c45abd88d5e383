#include "source/server/validation_service.h"

#include <optional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "api/gatehouse/v1/bootstrap.pb.h"
#include "fmt/format.h"
#include "source/config/text.h"
#include "source/filters/builtin.h"

namespace gatehouse::server {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::string_view kShop = R"(
listeners:
- { name: edge, address: "127.0.0.1:8080", route_tables: [shop] }
route_tables:
- name: shop
  domains: ["*"]
  routes:
  - { name: users, match: { path_prefix: /users }, forward: { cluster: users } }
clusters:
- { name: users, endpoints: ["127.0.0.1:3001"] }
)";

class ValidationServiceTest : public testing::Test {
 protected:
  ValidationServiceTest() { filters::RegisterBuiltinFilters(registry_); }

  template <typename List>
  static void AddAll(const char* type, const List& list, v1::ValidationRequest* request) {
    for (const auto& message : list) {
      v1::ValidationResource* upsert = request->add_upserts();
      upsert->set_type(type);
      upsert->set_message(message.SerializeAsString());
    }
  }
  // The resources of a config as a control plane has them: ${NAME} stays.
  static v1::ValidationRequest Request(std::string_view text) {
    v1::ValidationRequest request;
    if (text.empty()) return request;
    v1::Bootstrap bootstrap;
    config::ErrorList errors;
    config::DecodeContext context{.errors = &errors};
    EXPECT_TRUE(LoadText(text, config::TextFormat::kYaml, &bootstrap, context, nullptr))
        << errors.ToString();
    AddAll("Listener", bootstrap.listeners(), &request);
    AddAll("RouteTable", bootstrap.route_tables(), &request);
    AddAll("Cluster", bootstrap.clusters(), &request);
    AddAll("Endpoints", bootstrap.endpoints(), &request);
    AddAll("RateLimit", bootstrap.rate_limits(), &request);
    AddAll("Secret", bootstrap.secrets(), &request);
    return request;
  }
  static v1::ValidationRequest Removal(const std::string& type, const std::string& name) {
    v1::ValidationRequest request;
    request.add_removals()->set_type(type);
    request.mutable_removals(0)->set_name(name);
    return request;
  }

  static std::vector<std::string> Lines(
      const google::protobuf::RepeatedPtrField<v1::Rejection>& rejections) {
    std::vector<std::string> lines;
    for (const v1::Rejection& rejection : rejections) {
      for (const v1::ResourceError& error : rejection.errors()) {
        lines.push_back(fmt::format("{} {}: {}: {}{}", rejection.type(), rejection.name(),
                                    error.path(), error.message(),
                                    error.suggestion().empty() ? "" : " ?" + error.suggestion()));
      }
    }
    return lines;
  }
  v1::ValidationReply Answer(const v1::ValidationRequest& request) {
    absl::StatusOr<v1::ValidationReply> reply = service_.Answer(request);
    EXPECT_TRUE(reply.ok()) << reply.status();
    return reply.ok() ? *reply : v1::ValidationReply();
  }
  std::vector<std::string> Errors(const v1::ValidationRequest& request) {
    return Lines(Answer(request).rejections());
  }

  filters::Registry registry_;
  std::map<std::string, std::string> variables_;
  ValidationService service_{registry_,
                             [this](const std::string& name) -> std::optional<std::string> {
                               const auto at = variables_.find(name);
                               if (at == variables_.end()) return std::nullopt;
                               return at->second;
                             }};
};

TEST_F(ValidationServiceTest, AcceptsAndGoesOnFromThere) {
  EXPECT_THAT(Errors(Request(kShop)), IsEmpty());
  // Its cluster is known from before.
  EXPECT_THAT(Errors(Request("route_tables: [{ name: shop, domains: [\"*\"], routes: [{ name: a, "
                             "match: { path: /a }, forward: { cluster: users } }] }]")),
              IsEmpty());
  EXPECT_THAT(Errors(Removal("Cluster", "users")),
              ElementsAre("RouteTable shop: routes[0].forward.cluster: there is no cluster "
                          "\"users\""));
  // Which was not kept.
  EXPECT_THAT(Errors(Request("")), IsEmpty());
  EXPECT_THAT(Errors(Removal("Cluster", "never-was")), IsEmpty());
}

TEST_F(ValidationServiceTest, TellsEveryResourceWithItsErrors) {
  ASSERT_THAT(Errors(Request(kShop)), IsEmpty());
  const auto lines = Errors(Request(R"(
route_tables:
- name: shop
  domains: ["*"]
  routes:
  - { name: a, match: { path_prefix: users }, forward: { cluster: userz } }
clusters:
- { name: orders, endpoints: ["127.0.0.1:99999"] }
listeners:
- { name: inner, address: "127.0.0.1:8080", route_tables: [shop] }
)"));
  EXPECT_THAT(lines,
              testing::UnorderedElementsAre(
                  HasSubstr("Listener inner: address: 127.0.0.1:8080 is the address of"),
                  HasSubstr("RouteTable shop: routes[0].match.path_prefix: must start with '/'"),
                  "RouteTable shop: routes[0].forward.cluster: there is no cluster \"userz\" "
                  "?users",
                  HasSubstr("Cluster orders: endpoints[0].address: ")));
  EXPECT_THAT(Errors(Request("")), IsEmpty());
}

TEST_F(ValidationServiceTest, GroupsAndResetsAreApart) {
  ASSERT_THAT(Errors(Request(kShop)), IsEmpty());
  v1::ValidationRequest other = Request(
      "route_tables: [{ name: t, domains: [\"*\"], routes: [{ name: a, match: { path: /a }, "
      "forward: { cluster: users } }] }]");
  other.set_group("eu");
  EXPECT_EQ(Errors(other).size(), 1u);
  other.clear_group();
  EXPECT_THAT(Errors(other), IsEmpty());
  other.set_reset(true);
  EXPECT_EQ(Errors(other).size(), 1u);
  EXPECT_THAT(Errors(Removal("RouteTable", "t")), IsEmpty()) << "what was accepted last stays";
  v1::ValidationRequest all = Request(kShop);
  all.set_reset(true);
  EXPECT_THAT(Errors(all), IsEmpty());
}

TEST_F(ValidationServiceTest, WarningsDoNotReject) {
  const v1::ValidationReply reply = Answer(Request(R"(
route_tables:
- name: shop
  domains: ["*"]
  routes:
  - { name: all, match: { path_prefix: / }, respond: { status: 204 } }
  - { name: same, match: { path_prefix: / }, respond: { status: 204 } }
)"));
  EXPECT_THAT(Lines(reply.rejections()), IsEmpty());
  EXPECT_THAT(Lines(reply.warnings()), ElementsAre(HasSubstr("RouteTable shop: routes[1]")));
}

constexpr std::string_view kSecrets = R"(
listeners:
- name: edge
  address: "127.0.0.1:8443"
  tls: { certificates: [site], client_certificates: { ca: ca }, session_tickets: { keys: tickets } }
route_tables:
- name: shop
  domains: ["*"]
  routes:
  - { name: page, match: { path: /p }, respond: { file: pages/none.html, content_type: text/html } }
  - { name: abs, match: { path: /q }, respond: { file: /nowhere/none.html } }
clusters:
- { name: users, protocol: http2, endpoints: ["127.0.0.1:3001"], tls: { ca: own } }
secrets:
- { name: site, file: site.pem }
- { name: ca, environment: NOT_SET_HERE }
- { name: tickets, inline: "${TICKETS}" }
- { name: own, inline: "text ${CA:-x}" }
)";

TEST_F(ValidationServiceTest, FilesOfAnotherMachineCountAsThere) {
  const v1::ValidationReply reply = Answer(Request(kSecrets));
  EXPECT_THAT(Lines(reply.rejections()), IsEmpty());
  EXPECT_THAT(Lines(reply.warnings()), IsEmpty());
  // The next one builds on it.
  EXPECT_THAT(Errors(Request("secrets: [{ name: site, file: other.pem }]")), IsEmpty());
  // What does not depend on them is checked all the same.
  EXPECT_THAT(
      Errors(Request("listeners: [{ name: edge, address: \"127.0.0.1:8443\", tls: { certificates: "
                     "[cite], client_certificates: { ca: ca } } }]")),
      ElementsAre(HasSubstr("there is no secret \"cite\" ?site")));
  EXPECT_THAT(Errors(Request("secrets: [{ name: own, inline: no certificate }]")),
              ElementsAre(HasSubstr("Cluster users: tls.ca: secret \"own\": is not PEM")));
  EXPECT_THAT(Errors(Request("secrets: [{ name: ca, inline: \"${1}\" }]")),
              ElementsAre(HasSubstr("Secret ca: inline: expected ${NAME}")));
  EXPECT_THAT(Errors(Request("secrets: [{ name: ca, inline: \"\" }]")),
              ElementsAre(HasSubstr("Secret ca: inline: is empty")));
}

TEST_F(ValidationServiceTest, FilesOfThisMachineAreRead) {
  v1::ValidationRequest request = Request(kSecrets);
  ASSERT_THAT(Errors(request), IsEmpty());
  request = Request("");
  request.set_read_files(true);
  EXPECT_THAT(
      Errors(request),
      testing::UnorderedElementsAre(
          HasSubstr("RouteTable shop: routes[0].respond.file: must be an absolute path"),
          HasSubstr("RouteTable shop: routes[1].respond.file: cannot be read"),
          HasSubstr("Secret site: file: must be an absolute path"),
          HasSubstr("Secret ca: environment: the environment variable \"NOT_SET_HERE\" is not set"),
          HasSubstr("Secret tickets: inline: the environment variable TICKETS is not set"),
          HasSubstr("Cluster users: tls.ca")));
}

TEST_F(ValidationServiceTest, UnknownFieldsAreErrors) {
  v1::Cluster cluster;
  cluster.set_name("users");
  cluster.add_endpoints()->set_address("127.0.0.1:1");
  v1::Endpoint* endpoint = cluster.mutable_endpoints(0);
  endpoint->GetReflection()->MutableUnknownFields(endpoint)->AddVarint(2300, 1);
  v1::ValidationRequest request;
  AddAll("Cluster", std::vector{cluster}, &request);
  EXPECT_THAT(Errors(request), ElementsAre("Cluster users: endpoints[0]: field 2300 is not known "
                                           "to this version of the gateway"));
  request.mutable_upserts(0)->set_message("\xff");
  EXPECT_THAT(Errors(request), ElementsAre("Cluster : : its bytes are no message of this type"));
}

TEST_F(ValidationServiceTest, UnknownTypesAreNoRequest) {
  v1::ValidationRequest request;
  request.add_upserts()->set_type("Route");
  EXPECT_THAT(service_.Answer(request).status().ToString(),
              HasSubstr("there is no type \"Route\" of resources"));
  EXPECT_FALSE(service_.Answer(Removal("", "a")).ok());
}

}  // namespace
}  // namespace gatehouse::server
