"""An HTTP/2 client that sends exact frames, right or wrong, and is strict about those that come back.

  client = H2Client(("127.0.0.1", 8080))
  client.send(client.headers(1, get("/"), end=True))
  client.response(1).status

  client.send(frame(DATA, stream=0, payload=b"x"))
  client.dies(PROTOCOL_ERROR)

What the server sends is checked as it is read: order, sizes, flow control and fields. A Violation is a failure of the
test. Nothing waits longer than PATIENCE.
"""

import contextlib
import os
import select
import socket
import ssl
import struct
import time

import hpack

from http_peers import PATIENCE, Closed

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
TYPES = ("DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS", "PUSH_PROMISE", "PING", "GOAWAY", "WINDOW_UPDATE",
         "CONTINUATION")

END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY_FLAG = 0x1, 0x1, 0x4, 0x8, 0x20

(HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE,
 MAX_HEADER_LIST_SIZE) = range(1, 7)
ENABLE_CONNECT_PROTOCOL = 8

(NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE_ERROR,
 REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM, INADEQUATE_SECURITY,
 HTTP_1_1_REQUIRED) = range(14)
ERRORS = ("NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
          "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
          "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED")

# How long a server may take, which is PATIENCE unless one wants to know sooner that many cases fail.
DEADLINE = float(os.environ.get("H2_DEADLINE", PATIENCE))

_NEVER_IN_HTTP2 = {b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"}


class Violation(AssertionError):
    """The server sent what RFC 9113 forbids."""


class Late(AssertionError):
    """Nothing came in time."""


def error_name(code):
    return ERRORS[code] if code is not None and code < len(ERRORS) else str(code)


def frame(kind, flags=0, stream=0, payload=b"", length=None):
    """Any frame. `length` is what the header says when that is not the truth."""
    return struct.pack(">I", len(payload) if length is None else length)[1:] + struct.pack(
        ">BBI", kind, flags, stream) + payload


def settings(*pairs):
    return frame(SETTINGS, payload=b"".join(struct.pack(">HI", key, value) for key, value in pairs))


def settings_ack():
    return frame(SETTINGS, ACK)


def data(stream, payload=b"", end=False, padding=None):
    flags = END_STREAM if end else 0
    if padding is not None:
        flags |= PADDED
        payload = bytes([padding]) + payload + bytes(padding)
    return frame(DATA, flags, stream, payload)


def window_update(stream, increment):
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", increment))


def rst_stream(stream, code=CANCEL):
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def ping(payload=b"gatehous", ack=False):
    return frame(PING, ACK if ack else 0, 0, payload)


def goaway(last=0, code=NO_ERROR, debug=b"", stream=0):
    return frame(GOAWAY, 0, stream, struct.pack(">II", last, code) + debug)


def priority(stream, depends_on=0, weight=15, exclusive=False):
    return frame(PRIORITY, 0, stream, struct.pack(">IB", depends_on | (exclusive << 31), weight))


def continuation(stream, block=b"", end=True):
    return frame(CONTINUATION, END_HEADERS if end else 0, stream, block)


# Header blocks by hand (RFC 7541). They leave the encoder's dynamic table alone unless they say `index`.


def integer(value, prefix, first=0):
    """An integer of RFC 7541, section 5.1; `first` has the bits before the prefix."""
    limit = (1 << prefix) - 1
    if value < limit:
        return bytes([first | value])
    out = [first | limit]
    value -= limit
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    return bytes(out + [value])


def string(text):
    text = text if isinstance(text, bytes) else text.encode("latin-1")
    return integer(len(text), 7) + text


def literal(name, value, kind=0x00):
    """A literal field with a literal name: 0x00 not indexed, 0x10 never, 0x40 added to the dynamic table."""
    return bytes([kind]) + string(name) + string(value)


def block(fields):
    """A header block that needs no table."""
    return b"".join(literal(name, value) for name, value in fields)


def get(path="/", *fields, method="GET", scheme="http", authority="a.example"):
    """The fields of a request."""
    return [(":method", method), (":scheme", scheme), (":authority", authority), (":path", path), *fields]


def post(path="/", *fields):
    return get(path, *fields, method="POST")


class Stream:
    """What came on one stream."""

    def __init__(self, number):
        self.number = number
        self.interim = []
        self.headers = None
        self.trailers = None
        self.body = bytearray()
        self.size = 0
        self.data_frames = 0
        self.ended = False
        self.reset = None

    @property
    def over(self):
        return self.ended or self.reset is not None

    @property
    def status(self):
        return int(self[":status"]) if self.headers is not None else None

    def all(self, name):
        return [value for key, value in self.headers or [] if key == name]

    def __getitem__(self, name):
        values = self.all(name)
        return values[0] if values else None

    def __repr__(self):
        return (f"<stream {self.number} {self.headers} {self.size} bytes {bytes(self.body[:200])!r} {self.trailers} "
                f"{'ended ' if self.ended else ''}{'' if self.reset is None else 'reset ' + error_name(self.reset)}>")


class H2Client:
    """One connection.

    Args:
      address: (host, port).
      tls: an ssl.SSLContext; ALPN is set here.
      server_name: SNI.
      start: send the preface and SETTINGS, and wait until both sides have acknowledged.
      own: pairs of the first SETTINGS.
      answer: acknowledge SETTINGS and PING by itself.
      credit: give back what DATA took from the windows by itself.
      keep: keep bodies, else only their size.
    """

    def __init__(self, address, *, tls=None, server_name="a.example", start=True, own=(), answer=True, credit=True,
                 keep=True, receive_buffer=None, alpn=("h2",)):
        sock = socket.socket()
        try:
            if receive_buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            sock.settimeout(DEADLINE)
            sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls:
                tls.set_alpn_protocols(list(alpn))
                sock = tls.wrap_socket(sock, server_hostname=server_name)
        except BaseException:
            sock.close()
            raise
        self.sock = sock
        self.answer = answer
        self.credit = credit
        self.keep = keep
        self.streams = {}
        self.frames = []  # (type, stream) of what came
        self.server_settings = {}
        self.server_settings_frames = 0
        self.acknowledged = 0
        self.pongs = []
        self.goaways = []
        self.closed = False
        self.reset_by_peer = False
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder(max_header_list_size=1 << 20)
        self.max_frame_size = 16384
        self.initial_window = 65535
        self.window = 65535  # what the server may still send, as it must see it
        self.windows = {}
        self.send_window = 65535  # what we may still send
        self.send_windows = {}
        self._buffer = bytearray()
        self._block = None
        self._unacknowledged = []
        self._first = True
        self._ping = 0
        if start:
            self.start(*own)

    # Sending.

    def send(self, *parts):
        self.sock.settimeout(DEADLINE)
        self.sock.sendall(b"".join(parts))

    def start(self, *own):
        self.send(PREFACE, self.settings(*own))
        self.wait(lambda: self.acknowledged and self.server_settings_frames, "both SETTINGS and the ACK")
        if self.closed:
            raise Closed("closed instead of SETTINGS")

    def settings(self, *pairs):
        """SETTINGS that take effect here when the server acknowledges them."""
        self._unacknowledged.append(dict(pairs))
        return settings(*pairs)

    def headers(self, stream, fields=None, end=False, end_headers=True, padding=None, weight=None, raw=None):
        """HEADERS of fields, or of a raw block. `weight` is (depends_on, weight)."""
        payload = self.encode(fields) if raw is None else raw
        flags = (END_STREAM if end else 0) | (END_HEADERS if end_headers else 0)
        if weight is not None:
            flags |= PRIORITY_FLAG
            payload = struct.pack(">IB", *weight) + payload
        if padding is not None:
            flags |= PADDED
            payload = bytes([padding]) + payload + bytes(padding)
        self.open(stream)
        return frame(HEADERS, flags, stream, payload)

    def noted(self, made):
        """A SETTINGS frame made by hand; its ACK is expected."""
        self._unacknowledged.append({})
        return made

    def open(self, stream):
        """Tells the bookkeeping of a stream whose HEADERS were made elsewhere."""
        if stream not in self.streams:
            self.streams[stream] = Stream(stream)
            self.windows[stream] = self.initial_window
            self.send_windows[stream] = self.server_settings.get(INITIAL_WINDOW_SIZE, 65535)

    def encode(self, fields):
        return self.encoder.encode(fields)

    def grant(self, stream, bytes_):
        """WINDOW_UPDATE, counted."""
        if stream == 0:
            self.window += bytes_
        else:
            self.windows[stream] += bytes_
        self.send(window_update(stream, bytes_))

    def upload(self, stream, payload, end=True, chunk=16384):
        """DATA within the windows; stops when the stream is over."""
        view = memoryview(payload)
        state = self.streams[stream]
        while view and not state.over and not self.closed:
            room = min(self.send_window, self.send_windows[stream], chunk, len(view))
            if room <= 0:
                self.wait(lambda: min(self.send_window, self.send_windows[stream]) > 0 or state.over, "a window")
                continue
            self.send(data(stream, bytes(view[:room]), end and room == len(view)))
            self.send_window -= room
            self.send_windows[stream] -= room
            view = view[room:]
        if end and not payload:
            self.send(data(stream, b"", True))

    def push(self, payload, stall=0.5):
        """Sends without reading: "sent", "closed", or "stalled" when the server takes no more."""
        view = memoryview(payload)
        self.sock.setblocking(False)
        try:
            while view:
                try:
                    view = view[self.sock.send(view):]
                except (BlockingIOError, ssl.SSLWantWriteError):
                    if not select.select([], [self.sock], [], stall)[1]:
                        return "stalled"
                except OSError:
                    return "closed"
            return "sent"
        finally:
            with contextlib.suppress(OSError):
                self.sock.settimeout(DEADLINE)

    # Receiving.

    def read_some(self, deadline):
        """Reads once; False at the end of the connection."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise Late("nothing came")
        self.sock.settimeout(left)
        try:
            part = self.sock.recv(1 << 18)
        except ConnectionResetError:
            self.reset_by_peer = True
            part = b""
        except (TimeoutError, socket.timeout) as error:
            raise Late("nothing came") from error
        except (ssl.SSLError, BrokenPipeError):
            part = b""
        self._buffer += part
        return bool(part)

    def glance(self, pause=0.02):
        """Processes what comes within a moment."""
        with contextlib.suppress(Late):
            deadline = time.monotonic() + pause
            while self.next_frame(deadline) is not None:
                pass

    def next_frame(self, deadline=None):
        """The next frame, processed; None at the end of the connection."""
        deadline = deadline or time.monotonic() + DEADLINE
        while len(self._buffer) < 9 or len(self._buffer) < 9 + int.from_bytes(self._buffer[:3], "big"):
            if self.closed or not self.read_some(deadline):
                self.closed = True
                return None
            if self._first and self._buffer[:5] == b"HTTP/":
                raise Closed(f"HTTP/1: {bytes(self._buffer[:200])!r}")
        length = int.from_bytes(self._buffer[:3], "big")
        kind, flags, stream = struct.unpack(">BBI", self._buffer[3:9])
        payload = bytes(self._buffer[9:9 + length])
        del self._buffer[:9 + length]
        self.frames.append((kind, stream))
        if length > self.max_frame_size:
            raise Violation(f"a frame of {length} bytes (4.2)")
        if self._first and (kind != SETTINGS or flags & ACK):
            raise Violation("the first frame is not SETTINGS (3.4)")
        self._first = False
        self._process(kind, flags, stream & 0x7FFFFFFF, payload)
        return kind, flags, stream, payload

    def _process(self, kind, flags, stream, payload):
        if self._block is not None and (kind != CONTINUATION or stream != self._block[0]):
            raise Violation("a frame between HEADERS and CONTINUATION (6.10)")
        if kind in (DATA, HEADERS, RST_STREAM, CONTINUATION) and stream not in self.streams:
            raise Violation(f"{TYPES[kind]} on stream {stream}, which we did not open (5.1)")
        if kind in (SETTINGS, PING, GOAWAY) and stream != 0:
            raise Violation(f"{TYPES[kind]} on stream {stream} (6.5, 6.7, 6.8)")
        processor = {DATA: self._on_data, HEADERS: self._on_headers, CONTINUATION: self._on_continuation,
                     RST_STREAM: self._on_rst_stream, SETTINGS: self._on_settings, PING: self._on_ping,
                     GOAWAY: self._on_goaway, WINDOW_UPDATE: self._on_window_update}.get(kind)
        if kind == PUSH_PROMISE:
            raise Violation("PUSH_PROMISE")
        if processor:
            processor(flags, stream, payload)

    def _on_settings(self, flags, _stream, payload):
        if flags & ACK:
            if payload:
                raise Violation("SETTINGS ACK with a payload (6.5)")
            self.acknowledged += 1
            if not self._unacknowledged:
                raise Violation("an ACK of SETTINGS that were not sent (6.5.3)")
            self._apply(self._unacknowledged.pop(0))
            return
        if len(payload) % 6:
            raise Violation("SETTINGS of a wrong size (6.5)")
        for at in range(0, len(payload), 6):
            key, value = struct.unpack(">HI", payload[at:at + 6])
            if key == INITIAL_WINDOW_SIZE:
                delta = value - self.server_settings.get(key, 65535)
                for stream in self.send_windows:
                    self.send_windows[stream] += delta
            self.server_settings[key] = value
        if self.server_settings.get(ENABLE_PUSH):
            raise Violation("a server that says ENABLE_PUSH 1 (6.5.2)")
        if not 16384 <= self.server_settings.get(MAX_FRAME_SIZE, 16384) <= 16777215:
            raise Violation("MAX_FRAME_SIZE (6.5.2)")
        self.server_settings_frames += 1
        if self.answer:
            self._reply(settings_ack())

    def _apply(self, pairs):
        if INITIAL_WINDOW_SIZE in pairs:
            delta = pairs[INITIAL_WINDOW_SIZE] - self.initial_window
            self.initial_window = pairs[INITIAL_WINDOW_SIZE]
            for stream in self.windows:
                self.windows[stream] += delta
        self.max_frame_size = pairs.get(MAX_FRAME_SIZE, self.max_frame_size)
        if HEADER_TABLE_SIZE in pairs:
            self.decoder.max_allowed_table_size = pairs[HEADER_TABLE_SIZE]

    def _on_ping(self, flags, _stream, payload):
        if len(payload) != 8:
            raise Violation("PING of a wrong size (6.7)")
        if flags & ACK:
            self.pongs.append(payload)
        elif self.answer:
            self._reply(ping(payload, ack=True))

    def _on_goaway(self, _flags, _stream, payload):
        last, code = struct.unpack(">II", payload[:8])
        if self.goaways and last > self.goaways[-1][0]:
            raise Violation("a GOAWAY with a later last stream (6.8)")
        self.goaways.append((last, code, payload[8:]))

    def _on_window_update(self, _flags, stream, payload):
        increment = struct.unpack(">I", payload)[0] & 0x7FFFFFFF
        if increment == 0:
            raise Violation("WINDOW_UPDATE of 0 (6.9)")
        if stream == 0:
            self.send_window += increment
        elif stream in self.send_windows:
            self.send_windows[stream] += increment
        else:
            raise Violation("WINDOW_UPDATE on an idle stream (5.1)")

    def _on_rst_stream(self, _flags, stream, payload):
        if len(payload) != 4:
            raise Violation("RST_STREAM of a wrong size (6.4)")
        if self.streams[stream].reset is None:
            self.streams[stream].reset = struct.unpack(">I", payload)[0]

    def _on_data(self, flags, stream, payload):
        state = self.streams[stream]
        if state.over:
            raise Violation(f"DATA on stream {stream} after its end (5.1)")
        if state.headers is None:
            raise Violation("DATA before HEADERS (8.1)")
        size = len(payload)
        self.window -= size
        self.windows[stream] -= size
        if size and (self.window < 0 or self.windows[stream] < 0):
            raise Violation(f"{size} bytes of DATA beyond the window of stream {stream} (6.9)")
        if flags & PADDED:
            if payload[0] >= size:
                raise Violation("padding (6.1)")
            payload = payload[1:size - payload[0]]
        state.size += len(payload)
        state.data_frames += 1
        if self.keep:
            state.body += payload
        state.ended = bool(flags & END_STREAM)
        if self.credit and size:
            self.window += size
            self.windows[stream] += size
            self._reply(window_update(0, size) + (b"" if state.ended else window_update(stream, size)))

    def _on_headers(self, flags, stream, payload):
        if flags & PADDED:
            payload = payload[1:len(payload) - payload[0]]
        if flags & PRIORITY_FLAG:
            payload = payload[5:]
        if self.streams[stream].over:
            raise Violation(f"HEADERS on stream {stream} after its end (5.1)")
        self._block = (stream, flags, bytearray(payload))
        self._end_block(flags)

    def _on_continuation(self, flags, stream, payload):
        if self._block is None:
            raise Violation("CONTINUATION without HEADERS (6.10)")
        self._block[2].extend(payload)
        self._end_block(flags)

    def _end_block(self, flags):
        if not flags & END_HEADERS:
            return
        stream, first_flags, encoded = self._block
        self._block = None
        try:
            fields = self.decoder.decode(bytes(encoded), raw=True)
        except hpack.HPACKError as error:
            raise Violation(f"a header block that does not decode: {error!r} (4.3)") from error
        self._take_fields(self.streams[stream], fields, bool(first_flags & END_STREAM))

    def _take_fields(self, state, fields, end):
        pseudo = [name for name, _ in fields if name.startswith(b":")]
        for name, value in fields:
            if name != name.lower() or name in _NEVER_IN_HTTP2:
                raise Violation(f"the field {name!r} (8.2)")
            if value != value.strip(b" \t") or any(byte in value for byte in b"\r\n\0"):
                raise Violation(f"the value of {name!r}: {value!r} (8.2.1)")
        text = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in fields]
        state.ended = end
        if state.headers is not None:
            if pseudo:
                raise Violation("pseudo fields in trailers (8.1)")
            if not end:
                raise Violation("trailers without END_STREAM (8.1)")
            state.trailers = text
            return
        if pseudo != [b":status"] or fields[0][0] != b":status":
            raise Violation(f"pseudo fields of a response: {fields} (8.3.2)")
        status = int(fields[0][1])
        if status == 101:
            raise Violation("101 (8.6)")
        if status < 200:
            if end:
                raise Violation("an interim response with END_STREAM (8.1)")
            state.interim.append(text)
        else:
            state.headers = text

    def _reply(self, data_):
        """What the protocol asks of us; the server may be gone meanwhile."""
        with contextlib.suppress(OSError):
            self.sock.settimeout(DEADLINE)
            self.sock.sendall(data_)

    # Waiting.

    def wait(self, condition, what="it"):
        """Reads until the condition is true or the connection ended; returns what the condition said last."""
        deadline = time.monotonic() + DEADLINE
        while not (value := condition()):
            try:
                if self.next_frame(deadline) is None:
                    return condition()
            except Late as error:
                raise Late(f"{what} did not come; {self.story()}") from error
        return value

    def response(self, stream):
        """Waits for the end of the stream. A reset or the end of the connection ends the waiting too."""
        state = self.streams[stream]
        self.wait(lambda: state.over, f"the end of stream {stream}")
        if not state.over:
            raise Closed(f"closed before the end of stream {stream}; {self.story()}")
        return state

    def ask(self, path="/", *fields, stream=None, body=None, method=None):
        """One request with the next stream number."""
        stream = stream or max(self.streams, default=-1) + 2
        method = method or ("GET" if body is None else "POST")
        self.send(self.headers(stream, get(path, *fields, method=method), end=body is None))
        if body is not None:
            self.upload(stream, body)
        return self.response(stream)

    def sync(self):
        """A PING and its answer: what was sent before it has been seen. False when the connection ended."""
        self._ping += 1
        mark = struct.pack(">Q", self._ping)
        try:
            self.send(ping(mark))
        except OSError:
            self.wait(lambda: False)
            return False
        return bool(self.wait(lambda: mark in self.pongs, "the answer to PING"))

    def story(self):
        """What is known, for messages."""
        went = ", ".join(f"GOAWAY {last} {error_name(code)} {debug!r}" for last, code, debug in self.goaways)
        return f"{went or 'no GOAWAY'}; {'closed' if self.closed else 'open'}; {list(self.streams.values())[-3:]}"

    # What a case expects.

    def alive(self):
        """The connection still serves."""
        stream = max(self.streams, default=-1) + 2
        self.send(self.headers(stream, get("/alive"), end=True))
        state = self.response(stream)
        if state.status != 200:
            raise AssertionError(f"the connection does not serve any more: {state}")

    def dies(self, *codes, silently=False):
        """A connection error with one of the codes. `silently`: without a GOAWAY is also right."""
        self.wait(lambda: False, "the end of the connection")
        wrong = [code for _, code, _ in self.goaways if code not in (*codes, NO_ERROR)]
        found = [code for _, code, _ in self.goaways if code in codes]
        if wrong or not (found or (silently and not self.goaways)):
            raise AssertionError(f"expected GOAWAY {'/'.join(map(error_name, codes))}; {self.story()}")

    def resets(self, stream, *codes, statuses=(), connection_codes=None):
        """A stream error with one of the codes, or the same as a connection error (RFC 9113, section 5.4.2).

        `statuses`: or a response with one of these. Returns "stream", "connection" or "response".
        """
        state = self.streams[stream]
        self.wait(lambda: state.over or (self.goaways and self.closed), f"the end of stream {stream}")
        if state.ended and state.status in statuses:
            return "response"
        if state.reset in codes:
            if not self.goaways:
                self.alive()
            return "stream"
        if state.reset is None and not state.ended:
            self.dies(*(connection_codes or codes))
            return "connection"
        raise AssertionError(f"expected stream {stream} to end by {'/'.join(map(error_name, codes))} or {statuses}; "
                             f"{self.story()}")

    def refuses(self, stream=1):
        """A malformed request (8.1.1): reset, the connection's end, or a response that says so."""
        return self.resets(stream, PROTOCOL_ERROR, statuses=(400, 501))

    def serves(self, stream=1, status=200):
        state = self.response(stream)
        if state.status != status or not state.ended:
            raise AssertionError(f"expected {status}: {state}; {self.story()}")
        return state

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
