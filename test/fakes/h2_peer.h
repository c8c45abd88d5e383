// H2Peer: the other end of an HTTP/2 connection under test: a session of nghttp2 that the test
// drives, client or server, and what it has been told, stream by stream, as text.
//
// Owner: a harness. It does no I/O: Take() is what it wants to say, Feed() what it hears.
//
//   H2Peer client({});
//   const int32_t id = client.Request({{":path", "/x"}}, "body");
//   server.Push(client.Take());
//   client.Feed(server.TakeWritten());
//   EXPECT_EQ(client.stream(id).log, "200|end|");
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nghttp2/nghttp2.h>

#include "source/base/check.h"

namespace gatehouse::http {

using H2TestFields = std::vector<std::pair<std::string, std::string>>;

// A frame by hand (RFC 9113, section 4.1).
inline std::string H2Frame(uint8_t type, uint8_t flags, uint32_t id, std::string_view payload) {
  std::string frame;
  for (int shift : {16, 8, 0}) frame += static_cast<char>(payload.size() >> shift);
  frame += static_cast<char>(type);
  frame += static_cast<char>(flags);
  for (int shift : {24, 16, 8, 0}) frame += static_cast<char>(id >> shift);
  return frame += payload;
}
inline std::string H2Number(uint32_t number) {
  std::string text;
  for (int shift : {24, 16, 8, 0}) text += static_cast<char>(number >> shift);
  return text;
}
// GET / of http://a, without Huffman codes: 0x82 :method GET, 0x86 :scheme http, 0x84 :path /.
inline std::string H2GetBlock() { return std::string("\x82\x86\x84\x41\x01") + "a"; }

// Whole frames as text: "SETTINGS|HEADERS 1|RST 1 8|GOAWAY 0 1|" and so on.
inline std::string H2FramesText(std::string_view bytes) {
  const auto number = [&](size_t at) {
    uint32_t value = 0;
    for (size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<uint8_t>(bytes[at + i]);
    return value;
  };
  std::string text;
  while (!bytes.empty()) {
    CHECK(bytes.size() >= 9);
    const size_t size = number(0) >> 8;
    CHECK(bytes.size() >= 9 + size);
    const std::string id = std::to_string(number(5));
    const bool ack = (bytes[4] & NGHTTP2_FLAG_ACK) != 0;
    switch (bytes[3]) {
      case NGHTTP2_DATA:
        text += "DATA " + id + " " + std::to_string(size) + "|";
        break;
      case NGHTTP2_HEADERS:
        text += "HEADERS " + id + "|";
        break;
      case NGHTTP2_RST_STREAM:
        text += "RST " + id + " " + std::to_string(number(9)) + "|";
        break;
      case NGHTTP2_SETTINGS:
        text += ack ? "ACK|" : "SETTINGS|";
        break;
      case NGHTTP2_PING:
        text += ack ? "PONG|" : "PING|";
        break;
      case NGHTTP2_GOAWAY:
        text += "GOAWAY " + std::to_string(number(13)) + " " + std::to_string(number(9)) + "|";
        break;
      default:
        break;
    }
    bytes.remove_prefix(9 + size);
  }
  return text;
}

class H2Peer {
 public:
  struct Options {
    bool server = false;
    bool auto_window = true;  // opens windows as bytes come
    std::vector<nghttp2_settings_entry> settings = {};
    size_t data_frame = SIZE_MAX;  // the most in a DATA frame
  };
  struct Stream {
    std::string log;  // heads by status or method and path, trailers, "end|", "RST code|"
    std::string body;
    H2TestFields fields;  // of the last head
    bool ended = false;
    bool closed = false;
    // What goes.
    std::string out;
    bool out_ended = false;
    bool deferred = false;
    H2TestFields trailers;
    [[nodiscard]] std::string Field(std::string_view name) const {
      for (const auto& [field, value] : fields) {
        if (field == name) return value;
      }
      return "(none)";
    }
  };

  explicit H2Peer(Options options) : options_(std::move(options)) {
    nghttp2_session_callbacks* callbacks = nullptr;
    CHECK(nghttp2_session_callbacks_new(&callbacks) == 0);
    SetCallbacks(callbacks);
    nghttp2_option* option = nullptr;
    CHECK(nghttp2_option_new(&option) == 0);
    if (!options_.auto_window) nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_peer_max_concurrent_streams(option, 1000);
    const auto make = options_.server ? &nghttp2_session_server_new2 : &nghttp2_session_client_new2;
    CHECK(make(&session_, callbacks, this, option) == 0);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    Settings(options_.settings);
  }
  ~H2Peer() { nghttp2_session_del(session_); }
  H2Peer(const H2Peer&) = delete;
  H2Peer& operator=(const H2Peer&) = delete;

  void Settings(const std::vector<nghttp2_settings_entry>& entries) {
    CHECK(nghttp2_submit_settings(session_, 0, entries.data(), entries.size()) == 0);
  }
  // A client's request; what is not said of it is that of GET http://origin.test/. Without a body,
  // it ends with its head.
  int32_t Request(const H2TestFields& fields = {}, std::optional<std::string_view> body = {},
                  bool end = true) {
    H2TestFields all = {{":method", body ? "POST" : "GET"},
                        {":scheme", "http"},
                        {":authority", "origin.test"},
                        {":path", "/"}};
    for (const auto& field : fields) {
      bool found = false;
      for (auto& known : all) {
        if (known.first != field.first || field.first[0] != ':') continue;
        known.second = field.second;
        found = true;
      }
      if (!found) all.insert(field.first[0] == ':' ? all.begin() : all.end(), field);
    }
    nghttp2_data_provider provider = Provider();
    const auto raw = Raw(all);
    const int32_t id = nghttp2_submit_request(session_, nullptr, raw.data(), raw.size(),
                                              body ? &provider : nullptr, nullptr);
    CHECK(id > 0);
    if (body) SendBody(id, *body, end);
    return id;
  }
  // A server's response.
  void Respond(int32_t id, const H2TestFields& fields, std::optional<std::string_view> body = {},
               bool end = true) {
    nghttp2_data_provider provider = Provider();
    const auto raw = Raw(fields);
    CHECK(nghttp2_submit_response(session_, id, raw.data(), raw.size(),
                                  body ? &provider : nullptr) == 0);
    if (body) SendBody(id, *body, end);
  }
  void Interim(int32_t id, const H2TestFields& fields) {
    const auto raw = Raw(fields);
    CHECK(nghttp2_submit_headers(session_, 0, id, nullptr, raw.data(), raw.size(), nullptr) == 0);
  }
  void SendBody(int32_t id, std::string_view text, bool end = false) {
    Stream& to = streams_[id];
    to.out += text;
    to.out_ended |= end;
    Resume(id);
  }
  void SendTrailers(int32_t id, const H2TestFields& trailers) {
    streams_[id].trailers = trailers;
    SendBody(id, "", true);
  }
  void Reset(int32_t id, uint32_t code) {
    CHECK(nghttp2_submit_rst_stream(session_, 0, id, code) == 0);
  }
  void Goaway(int32_t last, uint32_t code = 0) {
    CHECK(nghttp2_submit_goaway(session_, 0, last, code, nullptr, 0) == 0);
  }
  void Ping() { CHECK(nghttp2_submit_ping(session_, 0, nullptr) == 0); }
  // Opens a window that auto_window did not.
  void Open(int32_t id, int32_t bytes) {
    CHECK(nghttp2_submit_window_update(session_, 0, id, bytes) == 0);
  }

  [[nodiscard]] std::string Take() {
    std::string bytes;
    while (true) {
      const uint8_t* data = nullptr;
      const ssize_t size = nghttp2_session_mem_send(session_, &data);
      if (size <= 0) return bytes;
      bytes.append(reinterpret_cast<const char*>(data), static_cast<size_t>(size));
    }
  }
  void Feed(std::string_view bytes) {
    if (broken) return;
    const ssize_t taken = nghttp2_session_mem_recv(
        session_, reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
    if (taken < 0) broken = true;
  }

  [[nodiscard]] Stream& stream(int32_t id) { return streams_[id]; }
  [[nodiscard]] nghttp2_session* raw() { return session_; }
  // The ids of the streams on which something came, in order.
  [[nodiscard]] const std::vector<int32_t>& heard() const { return heard_; }
  // Of the connection: "SETTINGS|", "ACK|", "PING|", "PONG|", "GOAWAY code last|".
  std::string TakeLog() { return std::exchange(log_, {}); }
  [[nodiscard]] const std::string& log() const { return log_; }
  // The order in which body bytes came: one id per DATA frame.
  std::vector<int32_t> data_frames;
  // What came is no HTTP/2.
  bool broken = false;

 private:
  static H2Peer& Of(void* self) { return *static_cast<H2Peer*>(self); }
  static std::vector<nghttp2_nv> Raw(const H2TestFields& fields) {
    std::vector<nghttp2_nv> raw;
    for (const auto& [name, value] : fields) {
      raw.push_back({reinterpret_cast<uint8_t*>(const_cast<char*>(name.data())),
                     reinterpret_cast<uint8_t*>(const_cast<char*>(value.data())), name.size(),
                     value.size(), NGHTTP2_NV_FLAG_NONE});
    }
    return raw;
  }
  static nghttp2_data_provider Provider() {
    nghttp2_data_provider provider{};
    provider.read_callback = [](nghttp2_session* session, int32_t id, uint8_t* buffer, size_t limit,
                                uint32_t* flags, nghttp2_data_source*, void* self) -> ssize_t {
      Stream& from = Of(self).streams_[id];
      if (from.out.empty() && !from.out_ended) {
        from.deferred = true;
        return NGHTTP2_ERR_DEFERRED;
      }
      const size_t count = from.out.copy(reinterpret_cast<char*>(buffer),
                                         std::min(limit, Of(self).options_.data_frame));
      from.out.erase(0, count);
      if (from.out.empty() && from.out_ended) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (!from.trailers.empty()) {
          *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
          const auto raw = Raw(from.trailers);
          CHECK(nghttp2_submit_trailer(session, id, raw.data(), raw.size()) == 0);
        }
      }
      return static_cast<ssize_t>(count);
    };
    return provider;
  }
  void Resume(int32_t id) {
    if (std::exchange(streams_[id].deferred, false)) nghttp2_session_resume_data(session_, id);
  }
  Stream& Heard(int32_t id) {
    Stream& stream = streams_[id];
    if (stream.log.empty() && stream.body.empty()) heard_.push_back(id);
    return stream;
  }
  void OnHead(const nghttp2_frame& frame) {
    Stream& stream = Heard(frame.hd.stream_id);
    if (stream.Field(":status") != "(none)") {
      stream.log += stream.Field(":status") + "|";
    } else if (stream.Field(":method") != "(none)") {
      stream.log += stream.Field(":method") + " " + stream.Field(":path") + "|";
    } else {
      stream.log += "trailers";
      for (const auto& [name, value] : stream.fields) stream.log += " " + name + "=" + value;
      stream.log += "|";
    }
  }
  void OnFrame(const nghttp2_frame& frame) {
    const bool ack = (frame.hd.flags & NGHTTP2_FLAG_ACK) != 0;
    switch (frame.hd.type) {
      case NGHTTP2_SETTINGS:
        log_ += ack ? "ACK|" : "SETTINGS|";
        break;
      case NGHTTP2_PING:
        log_ += ack ? "PONG|" : "PING|";
        break;
      case NGHTTP2_GOAWAY:
        log_ += "GOAWAY " + std::to_string(frame.goaway.error_code) + " " +
                std::to_string(frame.goaway.last_stream_id) + "|";
        break;
      case NGHTTP2_RST_STREAM:
        Heard(frame.hd.stream_id).log += "RST " + std::to_string(frame.rst_stream.error_code) + "|";
        break;
      case NGHTTP2_HEADERS:
        OnHead(frame);
        break;
      case NGHTTP2_DATA:
        data_frames.push_back(frame.hd.stream_id);
        break;
      default:
        break;
    }
    const bool message = frame.hd.type == NGHTTP2_HEADERS || frame.hd.type == NGHTTP2_DATA;
    if (message && (frame.hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) {
      streams_[frame.hd.stream_id].ended = true;
      streams_[frame.hd.stream_id].log += "end|";
    }
  }
  static void SetCallbacks(nghttp2_session_callbacks* callbacks) {
    nghttp2_session_callbacks_set_on_begin_headers_callback(
        callbacks, [](nghttp2_session*, const nghttp2_frame* frame, void* self) {
          Of(self).streams_[frame->hd.stream_id].fields.clear();
          return 0;
        });
    nghttp2_session_callbacks_set_on_header_callback(
        callbacks, [](nghttp2_session*, const nghttp2_frame* frame, const uint8_t* name,
                      size_t name_size, const uint8_t* value, size_t size, uint8_t, void* self) {
          Of(self).streams_[frame->hd.stream_id].fields.emplace_back(
              std::string(reinterpret_cast<const char*>(name), name_size),
              std::string(reinterpret_cast<const char*>(value), size));
          return 0;
        });
    nghttp2_session_callbacks_set_on_frame_recv_callback(
        callbacks, [](nghttp2_session*, const nghttp2_frame* frame, void* self) {
          Of(self).OnFrame(*frame);
          return 0;
        });
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
        callbacks,
        [](nghttp2_session*, uint8_t, int32_t id, const uint8_t* data, size_t size, void* self) {
          Of(self).Heard(id).body.append(reinterpret_cast<const char*>(data), size);
          return 0;
        });
    nghttp2_session_callbacks_set_on_stream_close_callback(
        callbacks, [](nghttp2_session*, int32_t id, uint32_t, void* self) {
          Of(self).streams_[id].closed = true;
          return 0;
        });
  }

  const Options options_;
  nghttp2_session* session_ = nullptr;
  std::map<int32_t, Stream> streams_;
  std::vector<int32_t> heard_;
  std::string log_;
};

}  // namespace gatehouse::http
