// What a message costs from bytes to a head in the arena, and from there to bytes.
#include <string>
#include <string_view>

#include "benchmark/benchmark.h"
#include "source/http/h1_parser.h"
#include "source/http/h1_writer.h"
#include "source/http/normalize.h"
#include "test/http/h1_bench_messages.h"

namespace gatehouse::http {
namespace {

void ParseRequest(benchmark::State& state, std::string_view bytes) {
  const H1Limits limits;
  H1HeadScratch scratch;
  H1HeadParser parser;
  for (auto _ : state) {
    benchmark::DoNotOptimize(parser.ParseRequest(bytes, limits, scratch));
    parser.Reset();
  }
}
BENCHMARK_CAPTURE(ParseRequest, small, kSmallRequest);
BENCHMARK_CAPTURE(ParseRequest, browser, kBrowserRequest);

void ParseAndCopyRequest(benchmark::State& state, std::string_view bytes) {
  const H1Limits limits;
  H1HeadScratch scratch;
  H1HeadParser parser;
  Arena arena;
  RequestHead head(arena);
  for (auto _ : state) {
    arena.Reset();
    head.Reset();
    benchmark::DoNotOptimize(parser.ParseRequest(bytes, limits, scratch));
    scratch.CopyTo(arena, head);
    parser.Reset();
    benchmark::DoNotOptimize(head);
  }
}
BENCHMARK_CAPTURE(ParseAndCopyRequest, small, kSmallRequest);
BENCHMARK_CAPTURE(ParseAndCopyRequest, browser, kBrowserRequest);

void ParseAndCopyResponse(benchmark::State& state) {
  const H1Limits limits;
  H1HeadScratch scratch;
  H1HeadParser parser;
  Arena arena;
  ResponseHead head(arena);
  for (auto _ : state) {
    arena.Reset();
    head.Reset();
    benchmark::DoNotOptimize(parser.ParseResponse(kJsonResponse, Method::kGet, limits, scratch));
    scratch.CopyTo(arena, head);
    parser.Reset();
    benchmark::DoNotOptimize(head);
  }
}
BENCHMARK(ParseAndCopyResponse);

// A head that trickles in: the cost per byte must not grow with the size.
void ParseByteByByte(benchmark::State& state) {
  const H1Limits limits;
  H1HeadScratch scratch;
  std::string bytes = "GET / HTTP/1.1\r\nHost: a\r\n";
  while (bytes.size() + 2 < static_cast<size_t>(state.range(0))) bytes += "Name: some value\r\n";
  bytes += "\r\n";
  H1Limits wide = limits;
  wide.max_headers = 10000;
  for (auto _ : state) {
    H1HeadParser parser;
    for (size_t size = 1; size <= bytes.size(); ++size) {
      benchmark::DoNotOptimize(
          parser.ParseRequest(std::string_view(bytes).substr(0, size), wide, scratch));
    }
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(bytes.size()));
}
BENCHMARK(ParseByteByByte)->Arg(1000)->Arg(10000)->Arg(60000);

class Written {
 public:
  Written() {
    H1HeadScratch scratch;
    H1HeadParser parser;
    (void)parser.ParseRequest(kBrowserRequest, {}, scratch);
    scratch.CopyTo(arena_, request);
    parser.Reset();
    (void)parser.ParseResponse(kJsonResponse, Method::kGet, {}, scratch);
    scratch.CopyTo(arena_, response);
  }

 private:
  Arena arena_;

 public:
  RequestHead request{arena_};
  ResponseHead response{arena_};
};

void WriteRequest(benchmark::State& state) {
  const Written written;
  char out[4096];
  for (auto _ : state) {
    const H1RequestFraming framing = H1RequestFraming::Of(written.request);
    benchmark::DoNotOptimize(RequestHeadBound(written.request, framing));
    benchmark::DoNotOptimize(WriteRequestHead(out, written.request, framing));
    benchmark::ClobberMemory();
  }
}
BENCHMARK(WriteRequest);

void WriteResponse(benchmark::State& state) {
  const Written written;
  char out[4096];
  for (auto _ : state) {
    const H1ResponseFraming framing =
        FrameResponse(Method::kGet, Version::kHttp11, written.response, true);
    benchmark::DoNotOptimize(ResponseHeadBound(written.response, framing));
    benchmark::DoNotOptimize(WriteResponseHead(out, written.response, framing));
    benchmark::ClobberMemory();
  }
}
BENCHMARK(WriteResponse);

void Normalize(benchmark::State& state) {
  Arena arena;
  for (auto _ : state) {
    arena.Reset();
    benchmark::DoNotOptimize(NormalizePath("/api/v1/items?page=2&sort=name", {}, arena));
    benchmark::DoNotOptimize(NormalizeHost("bench.example.com", arena));
  }
}
BENCHMARK(Normalize);

// What is looked at, and mostly left alone, in every request.
void Strip(benchmark::State& state) {
  H1HeadScratch scratch;
  H1HeadParser parser;
  (void)parser.ParseRequest(kBrowserRequest, {}, scratch);
  Arena arena;
  RequestHead head(arena);
  for (auto _ : state) {
    arena.Reset();
    head.Reset();
    scratch.CopyTo(arena, head);
    benchmark::DoNotOptimize(StripHopByHop(head.headers));
    benchmark::DoNotOptimize(StripUntrusted(head.headers, {}));
  }
}
BENCHMARK(Strip);

}  // namespace
}  // namespace gatehouse::http
