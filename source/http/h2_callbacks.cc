// What nghttp2 reports of an HTTP/2 connection, and what it asks for. None of this may call
// nghttp2_session_mem_recv() or nghttp2_session_mem_send(): it runs inside of one of them.
#include "source/http/h2_callbacks.h"

#include <algorithm>
#include <utility>

#include "source/base/check.h"
#include "source/http/h2_heads.h"
#include "source/http/h2_session.h"
#include "source/http/trailers.h"

namespace gatehouse::http {
namespace {

// A header list this many times over its limit is an attack on memory, not a large head.
constexpr uint32_t kAbsurd = 4;
// WINDOW_UPDATE and PING frames that are in order for each frame of data.
constexpr uint32_t kControlsPerData = 3;
constexpr uint32_t kMostControls = 100'000;

// Bytes of a body that may keep a slab from other uses while they wait.
constexpr size_t kWorthASlab = SlabPool::kDataBytes / 4;
constexpr size_t kMaxFrameSize = 16384;  // we never allow more

H2Session& SessionOf(void* self) { return *static_cast<H2Session*>(self); }

// Not our own failure, nor an origin's.
bool IsPeersFault(uint32_t code) {
  return code == NGHTTP2_PROTOCOL_ERROR || code == NGHTTP2_FLOW_CONTROL_ERROR ||
         code == NGHTTP2_STREAM_CLOSED || code == NGHTTP2_FRAME_SIZE_ERROR ||
         code == NGHTTP2_REFUSED_STREAM;
}

std::string_view TextOf(nghttp2_rcbuf* buffer) {
  const nghttp2_vec text = nghttp2_rcbuf_get_buf(buffer);
  return {reinterpret_cast<const char*>(text.base), text.len};
}

}  // namespace

void H2SkippedIds::Note(int32_t before, int32_t now) {
  if (now <= before + 2 || (before == 0 && now == 1)) return;
  ranges_[next_++ % ranges_.size()] = {before == 0 ? 1 : before + 2, now - 2};
}

bool H2SkippedIds::Has(int32_t id) const {
  return std::any_of(ranges_.begin(), ranges_.end(), [id](const Range& range) {
    return id % 2 == 1 && id >= range.first && id <= range.last;
  });
}

const nghttp2_session_callbacks* H2Callbacks::Table() {
  static const nghttp2_session_callbacks* const table = [] {
    nghttp2_session_callbacks* made = nullptr;
    CHECK(nghttp2_session_callbacks_new(&made) == 0);
    nghttp2_session_callbacks_set_on_begin_frame_callback(
        made, [](nghttp2_session*, const nghttp2_frame_hd* header, void* self) {
          return SessionOf(self).OnBeginFrame(*header);
        });
    nghttp2_session_callbacks_set_on_begin_headers_callback(
        made, [](nghttp2_session*, const nghttp2_frame* frame, void* self) {
          return SessionOf(self).OnBeginHeaders(*frame);
        });
    nghttp2_session_callbacks_set_on_header_callback2(
        made, [](nghttp2_session*, const nghttp2_frame*, nghttp2_rcbuf* name, nghttp2_rcbuf* value,
                 uint8_t flags, void* self) {
          return SessionOf(self).OnHeader(TextOf(name), TextOf(value), flags);
        });
    // A field that breaks a rule makes the message malformed (RFC 9113, section 8.1.1); without
    // this it would be left out.
    nghttp2_session_callbacks_set_on_invalid_header_callback2(
        made, [](nghttp2_session* raw, const nghttp2_frame* frame, nghttp2_rcbuf*, nghttp2_rcbuf*,
                 uint8_t, void* self) {
          SessionOf(self).OnInvalidHeader(*frame);
          nghttp2_submit_rst_stream(raw, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                    NGHTTP2_PROTOCOL_ERROR);
          return static_cast<int>(NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE);
        });
    nghttp2_session_callbacks_set_on_frame_recv_callback(
        made, [](nghttp2_session*, const nghttp2_frame* frame, void* self) {
          return SessionOf(self).OnFrame(*frame);
        });
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
        made, [](nghttp2_session*, uint8_t, int32_t id, const uint8_t* data, size_t size,
                 void* self) { return SessionOf(self).OnData(id, data, size); });
    nghttp2_session_callbacks_set_on_stream_close_callback(
        made, [](nghttp2_session*, int32_t id, uint32_t code, void* self) {
          return SessionOf(self).OnStreamClose(id, code);
        });
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(
        made, [](nghttp2_session*, const nghttp2_frame* frame, int error, void* self) {
          return SessionOf(self).OnInvalidFrame(*frame, error);
        });
    nghttp2_session_callbacks_set_on_frame_send_callback(
        made, [](nghttp2_session*, const nghttp2_frame* frame, void* self) {
          SessionOf(self).OnFrameSent(*frame);
          return 0;
        });
    nghttp2_session_callbacks_set_on_frame_not_send_callback(
        made, [](nghttp2_session*, const nghttp2_frame* frame, int, void* self) {
          SessionOf(self).OnFrameNotSent(*frame);
          return 0;
        });
    nghttp2_session_callbacks_set_send_data_callback(
        made, [](nghttp2_session*, nghttp2_frame*, const uint8_t* header, size_t size,
                 nghttp2_data_source* source, void* self) {
          return SessionOf(self).SendData(header, size, *static_cast<H2Stream*>(source->ptr));
        });
    return made;
  }();
  return table;
}

ssize_t H2Callbacks::ReadData(nghttp2_session* /*raw*/, int32_t /*id*/, uint8_t* /*buffer*/,
                              size_t limit, uint32_t* flags, nghttp2_data_source* source,
                              void* self) {
  return SessionOf(self).ReadData(*static_cast<H2Stream*>(source->ptr), limit, flags);
}

H2Stream* H2Session::Find(int32_t id) {
  return static_cast<H2Stream*>(nghttp2_session_get_stream_user_data(session_, id));
}

// --- What comes ---

// Rules that nghttp2 leaves to us.
uint32_t H2Session::CheckFrame(const nghttp2_frame_hd& header) {
  switch (header.type) {
    case NGHTTP2_PRIORITY:
      // RFC 9113, section 6.3. What it says is ignored.
      if (header.stream_id == 0) return NGHTTP2_PROTOCOL_ERROR;
      break;
    case NGHTTP2_CONTINUATION:
      if (header.length > kMaxFrameSize) return NGHTTP2_FRAME_SIZE_ERROR;  // section 4.2
      break;
    case NGHTTP2_HEADERS:
      if (server() && skipped_.Has(header.stream_id)) return NGHTTP2_PROTOCOL_ERROR;
      break;
    case NGHTTP2_SETTINGS:
      NoteLargestWindow();
      break;
    default:
      break;
  }
  return NGHTTP2_NO_ERROR;
}

// Section 6.9.2: no stream's window may grow over the largest there is; nghttp2 would reset the
// stream alone.
void H2Session::NoteLargestWindow() {
  largest_window_ = 0;
  for (H2Stream* stream = streams_.Front(); stream != nullptr; stream = streams_.Next(*stream)) {
    if (stream->id <= 0 || stream->closed) continue;
    largest_window_ = std::max(largest_window_,
                               nghttp2_session_get_stream_remote_window_size(session_, stream->id));
  }
}

void H2Session::OnSettings(const nghttp2_settings& settings) {
  if ((settings.hd.flags & NGHTTP2_FLAG_ACK) != 0) return;
  settings_came_ = true;
  for (size_t i = 0; i < settings.niv; ++i) {
    if (settings.iv[i].settings_id != NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE) continue;
    const int64_t more = int64_t{settings.iv[i].value} - peer_window_;
    peer_window_ = settings.iv[i].value;
    if (largest_window_ + more > INT32_MAX) Terminate(NGHTTP2_FLOW_CONTROL_ERROR);
  }
}

int H2Session::OnBeginFrame(const nghttp2_frame_hd& header) {
  if (server() && !terminated_) CountFrame(header);
  if (!terminated_) {
    const uint32_t code = CheckFrame(header);
    if (code != NGHTTP2_NO_ERROR) Terminate(code);
  }
  // Of a new request: what is not begun is told in the end, and what is ignored is not waited for.
  if (header.type == NGHTTP2_HEADERS && server() && header.stream_id > last_id_) {
    block_open_ = true;
    block_opened_ = loop_.Now();
  }
  return 0;
}

// RFC 9113, section 10.5: frames that make work and carry nothing.
void H2Session::CountFrame(const nghttp2_frame_hd& header) {
  const TimePoint now = loop_.Now();
  switch (header.type) {
    case NGHTTP2_DATA:
      if (Find(header.stream_id) == nullptr) {
        // On a stream that is over. What was on its way when that was told is no flood.
        if (!control_.Take(now)) Abused(H2Abuse::kControl);
      } else if (header.length == 0 && (header.flags & NGHTTP2_FLAG_END_STREAM) == 0 &&
                 !empty_.Take(now)) {
        Abused(H2Abuse::kEmpty);
      }
      break;
    case NGHTTP2_HEADERS:
    case NGHTTP2_CONTINUATION:
      if (header.length == 0 && !empty_.Take(now)) Abused(H2Abuse::kEmpty);
      break;
    case NGHTTP2_RST_STREAM:
      if (!resets_.Take(now)) Abused(H2Abuse::kResets);
      break;
    default:
      if (allowed_controls_ > 0) {
        --allowed_controls_;
      } else if (!control_.Take(now)) {
        Abused(H2Abuse::kControl);
      }
      break;
  }
}

// Windows are opened, and pings sent, for data that moved; the peer may do so all at once.
void H2Session::AllowControls(uint32_t count) {
  allowed_controls_ = std::min(allowed_controls_ + count, kMostControls);
}

// What a frame of data carries besides padding.
void H2Session::CountData(const nghttp2_frame& frame) {
  const size_t payload = frame.hd.length - frame.data.padlen;
  if (payload > 0) {
    AllowControls(1);
  } else if (frame.hd.length > 0 && (frame.hd.flags & NGHTTP2_FLAG_END_STREAM) == 0 &&
             !empty_.Take(loop_.Now())) {
    Abused(H2Abuse::kEmpty);
  }
}

int H2Session::OnBeginHeaders(const nghttp2_frame& frame) {
  block_ = nullptr;
  if (frame.hd.type != NGHTTP2_HEADERS) Terminate(NGHTTP2_PROTOCOL_ERROR);  // nothing is pushed
  if (terminated_) return 0;
  const bool is_new = server() && frame.headers.cat == NGHTTP2_HCAT_REQUEST;
  H2Stream* stream = is_new ? nullptr : Find(frame.hd.stream_id);
  if (is_new) {
    stream = &NewStream();
    stream->id = frame.hd.stream_id;
    skipped_.Note(last_id_, stream->id);
    last_id_ = stream->id;
    nghttp2_session_set_stream_user_data(session_, stream->id, stream);
    // Each stream its share, whatever the client thinks of their order.
    nghttp2_extpri priority{NGHTTP2_EXTPRI_DEFAULT_URGENCY, 1};
    nghttp2_session_change_extpri_stream_priority(session_, stream->id, &priority, 1);
    // RFC 9113, section 5.1.2. Streams that only wait for their last bytes to be written count,
    // too.
    if (stream_count_ > settings_.max_streams || !side_.begin(self_, *stream)) {
      Reset(*stream, NGHTTP2_REFUSED_STREAM);
      return 0;
    }
  }
  if (stream == nullptr || stream->receiver == nullptr) return 0;
  stream->in_trailers = stream->head_done;
  stream->block_bytes = stream->block_fields = 0;
  block_ = stream;
  return 0;
}

int H2Session::OnHeader(std::string_view name, std::string_view value, uint8_t flags) {
  // A block may come in many reads, and the exchange, whose memory the head lies in, end meanwhile.
  if (block_ == nullptr || block_->receiver == nullptr || terminated_) return 0;
  H2Stream& stream = *block_;
  // RFC 9113, section 6.5.2: what a field counts.
  stream.block_bytes += static_cast<uint32_t>(name.size() + value.size() + 32);
  ++stream.block_fields;
  const uint32_t most = settings_.max_header_bytes;
  // What is over the limit is still decoded: the table of the connection depends on it.
  if (stream.block_bytes > most || stream.block_fields > settings_.max_headers) {
    stream.block_error = server() ? Error::Downstream(Error::What::kHeadersTooLarge)
                                  : Error::Upstream(Error::What::kResponseTooLarge);
    if (stream.block_bytes > most * kAbsurd) Abused(H2Abuse::kHeaderList);
    return 0;
  }
  if (stream.in_trailers) {
    const bool spoof = server() && settings_.underscores != UnderscorePolicy::kAllow &&
                       name.find('_') != std::string_view::npos;
    if (!spoof) AddTrailerField(*stream.trailers, name, value, flags);
  } else if (server()) {
    AddRequestField(stream, name, value, flags, settings_.underscores);
  } else {
    AddResponseField(stream, name, value, flags);
  }
  return 0;
}

void H2Session::OnInvalidHeader(const nghttp2_frame& frame) {
  H2Stream* stream = Find(frame.hd.stream_id);
  block_ = nullptr;
  block_open_ = false;
  if (stream != nullptr) Malformed(*stream);
}

void H2Session::Malformed(H2Stream& stream) {
  if (std::exchange(stream.malformed, true)) return;
  stream.swallow = true;
  stream.out.Clear();
  // A reply that was handed over whole already is not sent any more; its exchange must hear so.
  if (stream.out_ended && !stream.end_sent) SwallowedEnd(stream);
  if (stream.receiver != nullptr) side_.malformed(self_, stream);
}

int H2Session::OnFrame(const nghttp2_frame& frame) {
  switch (frame.hd.type) {
    case NGHTTP2_HEADERS:
      block_open_ = false;
      OnHeadersFrame(frame);
      break;
    case NGHTTP2_DATA:
      if (server() && !terminated_) CountData(frame);
      if ((frame.hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) {
        if (H2Stream* stream = Find(frame.hd.stream_id)) {
          stream->in_ended = true;
          Ready(*stream);
        }
      }
      break;
    case NGHTTP2_SETTINGS:
      OnSettings(frame.settings);
      break;
    case NGHTTP2_PING:
      ping_answered_ |= (frame.hd.flags & NGHTTP2_FLAG_ACK) != 0;
      break;
    case NGHTTP2_GOAWAY:
      peer_goes_away_ = true;
      break;
    default:
      break;
  }
  return 0;
}

void H2Session::OnHeadersFrame(const nghttp2_frame& frame) {
  H2Stream* stream = std::exchange(block_, nullptr);
  if (stream == nullptr || stream->receiver == nullptr || stream->malformed) return;
  const bool end = (frame.hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
  stream->in_ended |= end;
  if (stream->in_trailers) {
    if (stream->block_error) {
      if (!server()) Reset(*stream, NGHTTP2_CANCEL);
      Fail(*stream, stream->block_error);
      return;
    }
    DropForbiddenTrailers(*stream->trailers);
    stream->has_trailers = true;
    Ready(*stream);
    return;
  }
  stream->in_told = end;
  side_.head(self_, *stream, end);
}

int H2Session::OnData(int32_t id, const uint8_t* data, size_t size) {
  H2Stream* stream = Find(id);
  if (stream == nullptr || stream->receiver == nullptr || stream->malformed) {
    nghttp2_session_consume(session_, id, size);
    return 0;
  }
  stream->received += size;
  stream->expect_continue = false;
  const char* begin = reinterpret_cast<const char*>(data);
  // An origin's connection is shared by clients: one that does not read holds its own stream up,
  // not the others. A client's connection is its own, and what it may make us hold is bounded.
  if (!server()) nghttp2_session_consume_connection(session_, size);
  // A piece of what is being parsed. What has to wait must not pin a slab for a few bytes.
  const bool goes_on = stream->allowed >= stream->in.bytes() + size;
  if (size >= kWorthASlab || (goes_on && (stream->in.empty() || size >= Chain::kCopyBelow))) {
    stream->in.Append(feeding_->Sub(static_cast<size_t>(begin - feeding_->data()), size));
  } else {
    stream->in.AppendCopy({begin, size}, loop_.slabs());
  }
  Ready(*stream);
  return 0;
}

int H2Session::OnStreamClose(int32_t id, uint32_t code) {
  H2Stream* found = Find(id);
  if (found == nullptr) return 0;
  H2Stream& stream = *found;
  stream.closed = true;
  if (block_ == found) block_ = nullptr;
  if (stream.receiver == nullptr) {
    FreeIfDone(stream);
    return 0;
  }
  // A message that was received whole is still to be delivered, one that was sent whole to be told.
  if (server() ? stream.end_sent || stream.malformed : stream.in_ended) return 0;
  Error error = LostError(stream);
  if (!server() && stream.malformed) {
    error = Error::Upstream(Error::What::kUpstreamProtocolError);
  } else if (!server() && code == NGHTTP2_REFUSED_STREAM) {
    error = Error::Upstream(Error::What::kUpstreamRefusedStream, /*retryable=*/true);
  }
  stream.swallow = true;
  stream.reset_code = code;
  Fail(stream, error);
  FreeIfDone(stream);
  return 0;
}

int H2Session::OnInvalidFrame(const nghttp2_frame& frame, int /*error*/) {
  block_open_ = false;
  if (H2Stream* stream = Find(frame.hd.stream_id)) Malformed(*stream);
  return 0;
}

// --- What goes ---

ssize_t H2Session::ReadData(H2Stream& stream, size_t limit, uint32_t* flags) {
  const size_t count = std::min(limit, stream.out.bytes());
  if (count == 0 && !stream.out_ended) {
    stream.deferred = true;
    return NGHTTP2_ERR_DEFERRED;
  }
  *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
  if (count == stream.out.bytes() && stream.out_ended) {
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (stream.trailers_out != nullptr) {
      const H2Fields fields = TrailerFields(*std::exchange(stream.trailers_out, nullptr));
      // No field is left: an empty DATA frame ends the stream.
      if (fields.count > 0) {
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        nghttp2_submit_trailer(session_, stream.id, fields.fields, fields.count);
      }
    }
  }
  return static_cast<ssize_t>(count);
}

int H2Session::SendData(const uint8_t* header, size_t size, H2Stream& stream) {
  // The stream was given up since this frame was begun.
  if (stream.out.bytes() < size) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  if (out_.bytes() >= OutTarget()) return NGHTTP2_ERR_WOULDBLOCK;
  constexpr size_t kFrameHeader = 9;
  out_.AppendCopy({reinterpret_cast<const char*>(header), kFrameHeader}, loop_.slabs());
  serialized_ += kFrameHeader + size;
  stream.sent += size;
  body_sent_ += size;
  for (size_t left = size; left > 0;) {
    const Slice& front = stream.out[0];
    const size_t count = std::min(left, front.size());
    left -= count;
    // Memory of an exchange may go before the bytes do.
    if (count < Chain::kCopyBelow || !front.owned()) {
      out_.AppendCopy(front.view().substr(0, count), loop_.slabs());
      stream.out.RemovePrefix(count);
    } else {
      stream.out.MoveTo(count, out_);
    }
  }
  stream.output_left |= stream.out.empty();
  AllowControls(kControlsPerData);
  if (!stream.ListNode<H2Stream, H2CreditTag>::linked()) credited_.PushBack(stream);
  return 0;
}

void H2Session::OnFrameSent(const nghttp2_frame& frame) {
  switch (frame.hd.type) {
    case NGHTTP2_HEADERS:
    case NGHTTP2_DATA: {
      H2Stream* stream = Find(frame.hd.stream_id);
      if (stream == nullptr) return;
      const bool end = (frame.hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
      if (frame.hd.type == NGHTTP2_HEADERS) {
        NoteHeadSent(*stream, end);
      } else if (end) {
        MarkEnd(*stream);
      }
      if (!end) return;
      if (stream->reset_after_end && !stream->in_ended) Reset(*stream, NGHTTP2_NO_ERROR);
      return;
    }
    case NGHTTP2_RST_STREAM:
      // A client can make us send these, and throw work away, as well as send them itself.
      if (!IsPeersFault(frame.rst_stream.error_code)) return;
      if (server() && !errors_.Take(loop_.Now())) Abused(H2Abuse::kErrors);
      // What nghttp2 found wrong without telling: a body of another length than was said.
      if (H2Stream* stream = Find(frame.hd.stream_id)) Malformed(*stream);
      return;
    default:
      return;
  }
}

void H2Session::OnFrameNotSent(const nghttp2_frame& frame) {
  if (frame.hd.type != NGHTTP2_HEADERS) return;
  H2Stream* stream = Find(frame.hd.stream_id);
  if (stream == nullptr || stream->closed) return;
  if (frame.headers.cat == NGHTTP2_HCAT_REQUEST) {
    // nghttp2 closes the stream. The origin does not know it, and must not hear of a reset.
    stream->swallow = true;
    stream->out.Clear();
    return;
  }
  // Too large for the peer, or the stream has just been closed, which is told by itself.
  Reset(*stream, NGHTTP2_INTERNAL_ERROR);
}

}  // namespace gatehouse::http
