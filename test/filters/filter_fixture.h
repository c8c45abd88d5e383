// FilterFixture: what a filter needs around it: a loop with manual time, heads, a context, and a
// chain to run in. Real objects; only time is the test's.
//
//   class HeadersTest : public FilterFixture {};
//   Use(Built<Headers, v1::Headers>(R"(request { remove: "X-Debug" })"));
//   request_.headers.Add("X-Debug", "1");
//   EXPECT_EQ(run_.RequestHeaders(), Progress::kDone);
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <google/protobuf/text_format.h>

#include "source/base/arena.h"
#include "source/filters/build_context.h"
#include "source/filters/chain.h"
#include "source/filters/filter_context.h"
#include "source/http/h1_parser.h"
#include "source/net/loop.h"
#include "source/observe/metric_registry.h"
#include "source/upstream/cluster.h"
#include "source/upstream/upstreams.h"
#include "test/fakes/manual_clock.h"

namespace gatehouse::filters {

using Progress = FilterRun::Progress;

inline std::string ToString(const Chain& chain) {
  std::string text;
  for (size_t i = 0; i < chain.slices(); ++i) text += chain[i].view();
  return text;
}

// Everything but the test itself, so that fuzzers can have one, too.
class FilterWorld {
 public:
  FilterWorld() : upstreams_(loop_, *counters_, scratch_) {
    resources_.states = &states_;
    resources_.metrics = &registry_;
    context_.Bind(*counters_, upstreams_, request_trailers_, response_trailers_);
    loop_.RunTurn(false);
  }
  ~FilterWorld() { run_.Finish(); }

  // A cluster without endpoints: every callout fails, in the loop's next turn.
  [[nodiscard]] const upstream::Cluster& EmptyCluster() {
    if (empty_cluster_ == nullptr) {
      upstream::ClusterSpec spec;
      spec.name = "empty";
      auto made = upstream::Cluster::Make(spec, nullptr, slots_, registry_);
      CHECK(made.ok());
      empty_cluster_ = *made;
    }
    return *empty_cluster_;
  }

  void Use(std::vector<NamedFilter> filters) {
    absl::StatusOr<FilterChain> built = FilterChain::Build(std::move(filters));
    CHECK(built.ok());
    chain_ = *std::move(built);
    run_.Start(chain_, context_, this,
               [](void* self) { ++static_cast<FilterWorld*>(self)->wakes_; });
  }
  void Use(AnyFilter filter) {
    std::vector<NamedFilter> filters;
    filters.push_back({"tested", std::move(filter)});
    Use(std::move(filters));
  }
  // A config in protobuf's text format.
  template <typename F, typename Proto>
  [[nodiscard]] absl::StatusOr<F> Build(const std::string& text) {
    Proto config;
    CHECK(google::protobuf::TextFormat::ParseFromString(text, &config));
    build_ = std::make_unique<BuildContext>(resources_, "filters[0].tested");
    return F::Build(config, *build_);
  }
  template <typename F, typename Proto>
  [[nodiscard]] AnyFilter Built(const std::string& text) {
    absl::StatusOr<F> built = Build<F, Proto>(text);
    if (!built.ok()) ADD_FAILURE() << built.status();
    CHECK(built.ok());
    return MakeAnyFilter(*std::move(built));
  }

  // The next request of a recycled exchange.
  void NextRequest() {
    run_.Finish();
    context_.Reset();
    arena_.Reset();
    request_.Reset();
    response_.Reset();
    request_trailers_.Reset();
    response_trailers_.Reset();
  }
  void Turn() { loop_.RunTurn(false); }
  void Advance(Duration by) {
    clock_.Advance(by);
    loop_.RunTurn(false);
  }
  [[nodiscard]] std::string Request(std::string_view name) const {
    return Joined(request_.headers, name);
  }
  [[nodiscard]] std::string Response(std::string_view name) const {
    return Joined(response_.headers, name);
  }
  // What Build said of the last config: "path: message [suggestion]", a line each.
  [[nodiscard]] std::string Errors() const {
    std::string text;
    for (const FieldError& error : build_->errors()) {
      text += error.path + ": " + error.message;
      if (!error.suggestion.empty()) text += " [" + error.suggestion + "]";
      text += "\n";
    }
    return text;
  }

  ManualClock clock_;
  observe::MetricRegistry registry_;
  observe::CounterBlock* counters_ = registry_.NewBlock();
  upstream::ClusterSlots slots_;
  net::Loop loop_{clock_};
  http::H1HeadScratch scratch_;
  upstream::Upstreams upstreams_;
  std::shared_ptr<const upstream::Cluster> empty_cluster_;
  StateStore states_;
  BuildResources resources_;
  std::unique_ptr<BuildContext> build_;
  Arena arena_;
  http::RequestHead request_{arena_};
  http::ResponseHead response_{arena_};
  http::HeaderMap request_trailers_{arena_};
  http::HeaderMap response_trailers_{arena_};
  FilterContext context_{loop_, arena_, request_, response_};
  FilterChain chain_;
  int wakes_ = 0;
  FilterRun run_;

 private:
  // The field's lines, with " | " between them; "-" when there is none.
  static std::string Joined(const http::HeaderMap& headers, std::string_view name) {
    std::string text;
    size_t count = 0;
    for (const http::HeaderEntry& entry : headers) {
      if (!http::EqualsIgnoreCase(entry.name_view(), name)) continue;
      if (count++ > 0) text += " | ";
      text += entry.value_view();
    }
    return count == 0 ? "-" : text;
  }
};

class FilterFixture : public testing::Test, public FilterWorld {};

}  // namespace gatehouse::filters
