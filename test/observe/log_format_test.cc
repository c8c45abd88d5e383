#include "source/observe/log_format.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <ctime>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "source/base/json.h"
#include "source/base/random.h"
#include "source/base/status.h"

namespace gatehouse::observe {
namespace {

using ::testing::HasSubstr;
using Fields = std::vector<std::pair<std::string, std::string>>;

std::string Line(const LogFormat& format, const LogRecord& record) {
  LogClock clock;
  // Bytes behind the room must stay untouched.
  std::string buffer(LogFormat::kMaxLine + 16, '~');
  const size_t size = format.Write(record, clock, {buffer.data(), LogFormat::kMaxLine});
  EXPECT_LE(size, LogFormat::kMaxLine);
  EXPECT_EQ(buffer.substr(LogFormat::kMaxLine), std::string(16, '~'));
  return buffer.substr(0, size);
}

std::string Text(std::string_view pattern, const LogRecord& record,
                 const LogFormatOptions& options = {}) {
  const auto format = LogFormat::Compile(pattern, options);
  EXPECT_TRUE(format.ok()) << format.status();
  return Line(*format, record);
}

std::string Json(const Fields& fields, const LogRecord& record) {
  const auto format = LogFormat::CompileJson(fields);
  EXPECT_TRUE(format.ok()) << format.status();
  return Line(*format, record);
}

std::string Error(std::string_view pattern) {
  const auto format = LogFormat::Compile(pattern);
  return format.ok() ? "" : MessageOf(format.status());
}

LogRecord Sample() {
  LogRecord record;
  record.wall_us = 1'767'323'045'678'901;
  record.method = "GET";
  record.scheme = "https";
  record.host = "api.example.com";
  record.path = "/users/7";
  record.query = "page=2&token=abc";
  record.protocol = "HTTP/1.1";
  record.status = 504;
  record.flags.Add(LogFlag::kUpstreamTimeout);
  record.flags.Add(LogFlag::kRetryLimit);
  record.code = "upstream_timeout";
  record.listener = "edge";
  record.table = "main";
  record.route = "users";
  record.cluster = "users-v1";
  record.upstream_address = "10.0.0.7:8080";
  record.attempts = 3;
  record.request_bytes = 12;
  record.response_bytes = 345;
  record.duration_us = 1'002'003;
  record.gateway_us = 78;
  record.upstream_us = 1'001'925;
  record.client_ip = "192.0.2.1";
  record.trace_id = "4bf92f3577b34da6a3ce929d0e0e4736";
  record.request_id = "2b0f8b9e-0c4a-4a3e-8d1b-1f2e3d4c5b6a";
  record.user_agent = "curl/7.88.1";
  record.referer = "https://example.com/?code=abc";
  return record;
}

TEST(LogFormatTest, DefaultText) {
  EXPECT_EQ(Text(LogFormat::kDefaultText, Sample()),
            "2026-01-02T03:04:05.678Z 192.0.2.1 \"GET /users/7?page=2&token=*** HTTP/1.1\" 504 "
            "UT,URX upstream_timeout 345 1002003 78 1001925 users users-v1 10.0.0.7:8080 "
            "4bf92f3577b34da6a3ce929d0e0e4736\n");
}

TEST(LogFormatTest, DefaultJson) {
  const auto format = LogFormat::DefaultJson();
  ASSERT_TRUE(format.ok());
  EXPECT_EQ(Line(*format, Sample()),
            R"({"time":"2026-01-02T03:04:05.678Z","method":"GET","scheme":"https",)"
            R"("host":"api.example.com","path":"/users/7","query":"page=2&token=***",)"
            R"("protocol":"HTTP/1.1","status":504,"flags":"UT,URX","code":"upstream_timeout",)"
            R"("listener":"edge","table":"main","route":"users","cluster":"users-v1",)"
            R"("upstream_address":"10.0.0.7:8080","upstream_status":null,)"
            R"("upstream_failure":null,"attempts":3,)"
            R"("request_bytes":12,"response_bytes":345,"duration_us":1002003,"gateway_us":78,)"
            R"("upstream_us":1001925,"client_ip":"192.0.2.1","consumer":null,)"
            R"("trace_id":"4bf92f3577b34da6a3ce929d0e0e4736",)"
            R"("request_id":"2b0f8b9e-0c4a-4a3e-8d1b-1f2e3d4c5b6a","user_agent":"curl/7.88.1",)"
            R"("referer":"https://example.com/?code=***"})"
            "\n");
}

TEST(LogFormatTest, AbsentValues) {
  const LogRecord record;
  EXPECT_EQ(Text("$(method) $(status) $(flags) $(gateway_us) $(upstream_ms) $(uri) $(query) "
                 "$(attempts) $(request.header.x)",
                 record),
            "- - - - - - - 0 -\n");
  const auto format = LogFormat::DefaultJson();
  const std::string line = Line(*format, record);
  EXPECT_TRUE(ParseJson(line).ok()) << line;
  EXPECT_THAT(line, HasSubstr("\"status\":null"));
}

TEST(LogFormatTest, FactsOfTls) {
  const std::string_view pattern =
      "$(protocol) $(tls_version) $(tls_cipher) $(tls_server_name) \"$(tls_client_subject)\" "
      "$(tls_client_fingerprint)";
  LogRecord record = Sample();
  EXPECT_EQ(Text(pattern, record), "HTTP/1.1 - - - \"-\" -\n");
  record.protocol = "HTTP/2";
  record.tls_version = "TLSv1.3";
  record.tls_cipher = "TLS_AES_128_GCM_SHA256";
  record.tls_server_name = "api.example.com";
  record.tls_client_subject = "CN=\"ada\",O=Example";
  record.tls_client_fingerprint = "00ff";
  EXPECT_EQ(Text(pattern, record),
            "HTTP/2 TLSv1.3 TLS_AES_128_GCM_SHA256 api.example.com "
            "\"CN=\\x22ada\\x22,O=Example\" 00ff\n");
}

TEST(LogFormatTest, Numbers) {
  LogRecord record = Sample();
  EXPECT_EQ(Text("$(duration_ms) $(gateway_ms) $(unix_time)", record),
            "1002.003 0.078 1767323045.678\n");
  record.response_bytes = INT64_MAX;
  EXPECT_EQ(Text("$(response_bytes)", record), "9223372036854775807\n");
}

TEST(LogFormatTest, DollarSigns) {
  EXPECT_EQ(Text("$$ $$(x) $(method)$$", Sample()), "$ $(x) GET$\n");
  EXPECT_EQ(Text("", Sample()), "\n");
}

TEST(LogFormatTest, Headers) {
  LogRecord record = Sample();
  record.header = [](const void* context, bool response, std::string_view name) {
    EXPECT_EQ(context, nullptr);
    if (name == "x-a") return std::string_view(response ? "answer" : "question");
    if (name == "location") return std::string_view("/next?token=abc");
    return std::string_view();
  };
  EXPECT_EQ(Text("$(request.header.X-A) $(response.header.x-a) $(request.header.none) "
                 "$(response.header.location)",
                 record),
            "question answer - /next?token=***\n");
  EXPECT_EQ(Json({{"a", "request.header.x-a"}}, record), "{\"a\":\"question\"}\n");
}

TEST(LogFormatTest, CredentialsCannotBeNamed) {
  EXPECT_THAT(Error("$(request.header.Authorization)"), HasSubstr("never logged"));
  EXPECT_THAT(Error("$(request.header.cookie)"), HasSubstr("never logged"));
  EXPECT_THAT(Error("$(response.header.set-cookie)"), HasSubstr("never logged"));
}

TEST(LogFormatTest, Errors) {
  EXPECT_EQ(Error("$(statsu)"), "unknown variable 'statsu'; did you mean 'status'?");
  EXPECT_EQ(Error("$(qqqqqqqqqq)"), "unknown variable 'qqqqqqqqqq'");
  EXPECT_EQ(Error("$(status"), "'$(status' lacks its ')'");
  EXPECT_THAT(Error("100$"), HasSubstr("'$$'"));
  EXPECT_THAT(Error("$(request.header.)"), HasSubstr("does not name a header"));
  EXPECT_THAT(Error("$(request.header.a b)"), HasSubstr("does not name a header"));
  EXPECT_THAT(Error(std::string(5000, 'x')), HasSubstr("more than"));
  std::string many;
  for (int i = 0; i < 300; ++i) many += "$(path)";
  EXPECT_THAT(Error(many), HasSubstr("more than"));
  const Fields twice = {{"a", "path"}, {"a", "host"}};
  EXPECT_FALSE(LogFormat::CompileJson(twice).ok());
  const Fields unnamed = {{"", "path"}};
  EXPECT_FALSE(LogFormat::CompileJson(unnamed).ok());
  const Fields unknown = {{"a", "paht"}};
  EXPECT_EQ(MessageOf(LogFormat::CompileJson(unknown).status()),
            "field 'a': unknown variable 'paht'; did you mean 'path'?");
}

TEST(LogFormatTest, APatternThatCouldOutgrowTheLineIsAnError) {
  std::string flags;
  for (int i = 0; i < 200; ++i) flags += "$(flags)";
  EXPECT_THAT(Error(flags), HasSubstr("16 KiB"));
}

TEST(LogFormatTest, EveryVariableWorks) {
  const LogRecord record = Sample();
  for (const std::string_view name : LogFormat::VariableNames()) {
    const std::string pattern = "$(" + std::string(name) + ")";
    EXPECT_FALSE(Text(pattern, record).empty());
    const std::string json = Json({{std::string(name), std::string(name)}}, record);
    EXPECT_TRUE(ParseJson(json).ok()) << json;
  }
}

TEST(LogFormatTest, TextCannotForgeLines) {
  LogRecord record;
  record.path = "/a\n2026 fake \"line\" \\ \x7f\x1b[31m \xff\xc3\xa9\xc2\x85";
  EXPECT_EQ(Text("$(path)", record),
            "/a\\x0a2026 fake \\x22line\\x22 \\x5c \\x7f\\x1b[31m \\xff\xc3\xa9\\xc2\\x85\n");
}

TEST(LogFormatTest, JsonIsValidWhateverTheBytes) {
  LogRecord record;
  record.path = std::string_view("/a\n\"\\\x01\x7f\0\xff\xc3\xa9\xed\xa0\x80\xf0\x9f\x98\x80", 18);
  EXPECT_EQ(Json({{"p", "path"}}, record),
            "{\"p\":\"/a\\u000a\\\"\\\\\\u0001\\u007f\\u0000\xef\xbf\xbd\xc3\xa9"
            "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xf0\x9f\x98\x80\"}\n");
  Random random(1);
  for (int i = 0; i < 3000; ++i) {
    std::string bytes(random.Below(60), '\0');
    for (char& c : bytes) {
      c = static_cast<char>(random.Chance(0.5) ? 'a' + random.Below(26) : random.Below(256));
    }
    record.path = bytes;
    record.query = bytes;
    const std::string json = Json({{"p", "path"}, {"q", "query"}}, record);
    ASSERT_TRUE(ParseJson(json).ok()) << json;
    ASSERT_EQ(std::count(json.begin(), json.end(), '\n'), 1);
    const std::string text = Text("$(path) $(query)", record);
    ASSERT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
    ASSERT_TRUE(std::all_of(text.begin(), text.end() - 1, [](char c) {
      return static_cast<unsigned char>(c) >= 0x20 && c != 0x7f;
    }));
  }
}

TEST(LogFormatTest, ACarefulByteAtAnyPlace) {
  LogRecord record;
  for (size_t at = 0; at < 40; ++at) {
    for (size_t size = at + 1; size < 41; ++size) {
      std::string path(size, 'a');
      path[at] = '"';
      record.path = path;
      std::string want = path;
      want.insert(at, "\\");
      ASSERT_EQ(Json({{"p", "path"}}, record), "{\"p\":\"" + want + "\"}\n");
    }
  }
}

TEST(LogFormatTest, LongValuesAreCut) {
  LogRecord record;
  const std::string path(5000, 'p');
  record.path = path;
  EXPECT_EQ(Text("$(path)", record), std::string(4096, 'p') + "...\n");
  // Not in the middle of a character.
  std::string wide(4095, 'p');
  wide += "\xf0\x9f\x98\x80 and more";
  record.path = wide;
  EXPECT_EQ(Text("$(path)", record), std::string(4095, 'p') + "...\n");
}

TEST(LogFormatTest, AnyRecordFitsTheLine) {
  LogRecord record = Sample();
  const std::string huge(100'000, '\x01');
  record.header = [](const void* context, bool, std::string_view) {
    return std::string_view(*static_cast<const std::string*>(context));
  };
  record.header_context = &huge;
  for (auto member : {&LogRecord::method, &LogRecord::host, &LogRecord::path, &LogRecord::query,
                      &LogRecord::user_agent, &LogRecord::referer, &LogRecord::route}) {
    record.*member = huge;
  }
  Fields extra;
  for (int i = 0; i < 90; ++i) {
    extra.emplace_back("field_" + std::to_string(i), "request.header.x-" + std::to_string(i));
  }
  const auto format = LogFormat::DefaultJson(extra);
  ASSERT_TRUE(format.ok()) << format.status();
  const std::string line = Line(*format, record);
  EXPECT_TRUE(ParseJson(line).ok());
  EXPECT_GT(line.size(), LogFormat::kMaxLine / 4);
  record.query = "a=&b=&token=x&a=&a=&a=&";
  EXPECT_TRUE(ParseJson(Line(*format, record)).ok());
}

TEST(LogClockTest, AgreesWithTheLibrary) {
  LogClock clock;
  Random random(1);
  for (int i = 0; i < 5000; ++i) {
    // 1900 to 2300.
    const int64_t second = static_cast<int64_t>(random.Below(12'600'000'000)) - 2'200'000'000;
    const std::time_t time = second;
    std::tm date;
    gmtime_r(&time, &date);
    std::array<char, 32> want;
    std::strftime(want.data(), want.size(), "%Y-%m-%dT%H:%M:%S.123Z", &date);
    ASSERT_EQ(clock.Text(second * 1'000'000 + 123'456), want.data());
    ASSERT_EQ(clock.Text(second * 1'000'000 + 123'999), want.data());
  }
  EXPECT_EQ(clock.Text(-1), "1969-12-31T23:59:59.999Z");
}

TEST(LogFlagTest, NamesAreDistinct) {
  std::vector<std::string_view> names;
  for (int i = 0; i < kLogFlagCount; ++i) names.push_back(LogFlagName(i));
  std::sort(names.begin(), names.end());
  EXPECT_EQ(std::adjacent_find(names.begin(), names.end()), names.end());
  LogRecord record;
  for (int i = 0; i < kLogFlagCount; ++i) record.flags.Add(static_cast<LogFlag>(1u << i));
  EXPECT_EQ(Text("$(flags)", record),
            "NR,UH,UF,UO,UT,UR,UC,UPE,URX,RL,UAEX,DC,DPE,DT,IH,SI,LH,OM,DR,RLD,RLU,RLW\n");
}

}  // namespace
}  // namespace gatehouse::observe
