"""One face for HTTP/1.1 and HTTP/2, as client and as origin, so that a test of a behaviour is written once.

  caller = CALLERS["h2"](gateway.address, tls=context)
  reply = caller.ask("/x", "POST", body=b"hello")       # Reply: status, fields, body, trailers, interim, broken
  call = caller.begin("/slow")                          # step by step
  call.head().status; call.read(); call.abort()

  origin = ORIGINS["h1"](serve, tls=None)               # serve(stream): H1Stream here, H2Stream of h2_origin.py

Names of fields are in lower case everywhere.
"""

import base64
import contextlib
import hashlib
import os
import socket
import struct
import threading

from h2_origin import H2Origin
from h2_wire import CANCEL, REFUSED_STREAM, H2Client, continuation, data, rst_stream
from harness import wait_until
from http_peers import PATIENCE, Client, Closed, Origin, chunk


class Reply:
    """A response; `broken` when it did not end as it should."""

    def __init__(self, status=None, fields=()):
        self.status = status
        self.fields = list(fields)
        self.interim = []  # (status, fields)
        self.body = b""
        self.trailers = []
        self.broken = False

    def all(self, name):
        return [value for key, value in self.fields if key == name.lower()]

    def __getitem__(self, name):
        values = self.all(name)
        return values[0] if values else None

    def __contains__(self, name):
        return bool(self.all(name))

    def __repr__(self):
        return (f"<{self.status} {self.fields} {len(self.body)} bytes {self.body[:200]!r} {self.trailers} "
                f"{'broken' if self.broken else ''}>")


def accept_for(key):
    """Sec-WebSocket-Accept (RFC 6455, section 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()).decode()


def lowered(pairs):
    return [(name.lower(), value) for name, value in pairs]


class Caller:
    """One connection of a client."""

    def ask(self, path="/", method="GET", *, fields=(), body=None, pieces=None, trailers=(), authority="a.example"):
        """`body` has a length, `pieces` have none."""
        length = len(body) if body is not None else None if pieces is not None else 0
        call = self.begin(path, method, fields=fields, length=length, authority=authority,
                          end=body is None and pieces is None)
        if body is not None:
            call.write(body, end=True)
        elif pieces is not None:
            for piece in pieces:
                call.write(piece)
            call.finish(trailers)
        return call.reply()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class H1Caller(Caller):
    protocol = "HTTP/1.1"

    def __init__(self, address, tls=None, server_name="a.example", receive_buffer=None, connection=None):
        if tls:
            tls.set_alpn_protocols(["http/1.1"])
        self.leaves = False
        self.wire = connection or Client(address, tls=tls, server_name=server_name, receive_buffer=receive_buffer)

    def begin(self, path="/", method="GET", *, fields=(), length=0, end=True, authority="a.example"):
        """`end`: there is no body. `length` None: it is chunked."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {authority}", *(f"{name}: {value}" for name, value in fields)]
        if not end:
            lines.append("Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}")
        call = H1Call(self, method, length is None and not end)
        try:
            self.wire.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n")
        except OSError:
            call.cut = True
        return call

    def websocket(self, path="/ws", fields=()):
        key = base64.b64encode(os.urandom(16)).decode()
        call = self.begin(path, fields=[("Connection", "Upgrade"), ("Upgrade", "websocket"),
                                        ("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", key), *fields])
        head = self.wire.head()
        if head.status == 101 and head["sec-websocket-accept"] != accept_for(key):
            raise AssertionError(f"Sec-WebSocket-Accept: {head}")
        call.opened = head.status == 101
        call.status = head.status
        return call

    def ended(self):
        """The gateway has closed the connection, with nothing more to say."""
        return self.wire.at_end()

    def vanish(self):
        self.wire.reset()

    def close(self):
        self.wire.close()


class H1Call:
    """A request of HTTP/1.1 and its response. After websocket() write and take are of the bare stream."""

    def __init__(self, caller, method, chunked):
        self.caller = caller
        self.wire = caller.wire
        self.method = method
        self.chunked = chunked
        self.cut = False
        self.opened = False
        self._reply = None
        self._left = None

    def write(self, payload, end=False):
        try:
            if not self.chunked:
                self.wire.send(payload)
                return
            if payload:
                self.wire.send(chunk(payload))
            if end:
                self.finish()
        except OSError:
            self.cut = True

    def finish(self, trailers=()):
        if self.opened:
            self.wire.half_close()
        elif self.chunked:
            with contextlib.suppress(OSError):
                self.wire.send(b"0\r\n" + b"".join(f"{n}: {v}\r\n".encode() for n, v in trailers) + b"\r\n")

    def take(self, size):
        return self.wire.take(size)

    def interim(self):
        """The next head, whatever it is."""
        message = self.wire.head()
        return message.status, lowered(message.headers)

    def head(self):
        if self._reply is None:
            interim = []
            while (message := self.wire.head()).status < 200:
                interim.append((message.status, lowered(message.headers)))
            self._reply = Reply(message.status, lowered(message.headers))
            self._reply.interim = interim
            if self.method == "HEAD" or message.status in (204, 304):
                self._left = 0
            elif (message["transfer-encoding"] or "") == "chunked":
                self._left = "chunked"
            elif message["content-length"] is not None:
                self._left = int(message["content-length"])
            else:
                self._left = "close"
        return self._reply

    def read(self):
        """Some of the body, b"" at its end."""
        reply = self.head()
        if self._left == 0:
            return b""
        if self._left == "chunked":
            size = int(self.wire.take_until(b"\r\n").split(b";")[0], 16)
            if size == 0:
                while (line := self.wire.take_until(b"\r\n")) != b"\r\n":
                    name, _, value = line.decode("latin-1").partition(":")
                    reply.trailers.append((name.lower(), value.strip()))
                self._left = 0
                return b""
            piece = self.wire.take(size)
            self.wire.take(2)
        elif self._left == "close":
            piece = self.wire.take_all()
            self._left = 0
        else:
            if not self.wire.buffer and not self.wire.fill():
                raise Closed("closed in the body")
            piece = self.wire.take(min(self._left, len(self.wire.buffer)))
            self._left -= len(piece)
        reply.body += piece
        return piece

    def reply(self):
        try:
            self.head()
            while self.read():
                pass
        except (Closed, OSError):
            self._reply = self._reply or Reply()
            self._reply.broken = True
        self.caller.leaves = self._reply["connection"] == "close"
        return self._reply

    def not_processed(self):
        return False

    def abort(self):
        self.wire.reset()


class H2Caller(Caller):
    protocol = "HTTP/2"

    def __init__(self, address, tls=None, server_name="a.example", receive_buffer=None, credit=True, **options):
        self.wire = H2Client(address, tls=tls, server_name=server_name, receive_buffer=receive_buffer, credit=credit,
                             **options)
        self.scheme = "https" if tls else "http"

    @property
    def leaves(self):
        return bool(self.wire.goaways) or self.wire.closed

    def _open(self, fields, end):
        number = max(self.wire.streams, default=-1) + 2
        encoded = self.wire.encode(fields)
        parts = [encoded[at:at + 16384] for at in range(0, len(encoded), 16384)]
        frames = [self.wire.headers(number, raw=parts[0], end=end, end_headers=len(parts) == 1)]
        frames += [continuation(number, part, part is parts[-1]) for part in parts[1:]]
        with contextlib.suppress(OSError):
            self.wire.send(*frames)
        return H2Call(self.wire, number)

    def begin(self, path="/", method="GET", *, fields=(), length=0, end=True, authority="a.example"):
        head = [(":method", method), (":scheme", self.scheme), (":authority", authority), (":path", path)]
        head += lowered(fields)
        if length is not None and not end:
            head.append(("content-length", str(length)))
        return self._open(head, end)

    def websocket(self, path="/ws", fields=()):
        call = self._open([(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", self.scheme),
                           (":authority", "a.example"), (":path", path), ("sec-websocket-version", "13"),
                           *lowered(fields)], end=False)
        call.status = call.head().status
        call.opened = call.status == 200
        return call

    def ended(self):
        self.wire.wait(lambda: False)
        return self.wire.closed

    def vanish(self):
        self.wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.wire.close()

    def close(self):
        self.wire.close()


class H2Call:
    def __init__(self, wire, number):
        self.wire = wire
        self.number = number
        self.state = wire.streams[number]
        self.opened = False
        self._read = 0

    def write(self, payload, end=False):
        with contextlib.suppress(OSError):
            self.wire.upload(self.number, payload, end)

    def finish(self, trailers=()):
        with contextlib.suppress(OSError):
            if trailers:
                self.wire.send(self.wire.headers(self.number, lowered(trailers), end=True))
            else:
                self.wire.send(data(self.number, b"", end=True))

    def take(self, size):
        """Bytes of the body, this many."""
        self.wire.wait(lambda: len(self.state.body) >= self._read + size or self.state.over)
        piece = bytes(self.state.body[self._read:self._read + size])
        if len(piece) < size:
            raise Closed(f"{self.state}")
        self._read += size
        return piece

    def interim(self):
        self.wire.wait(lambda: self.state.interim or self.state.headers)
        fields = self.state.interim[0] if self.state.interim else self.state.headers
        return int(dict(fields)[":status"]), fields

    def _made(self):
        reply = Reply(self.state.status, [pair for pair in self.state.headers or [] if pair[0] != ":status"])
        reply.interim = [(int(dict(fields)[":status"]), fields) for fields in self.state.interim]
        reply.body = bytes(self.state.body)
        reply.trailers = self.state.trailers or []
        reply.broken = not self.state.ended
        return reply

    def head(self):
        self.wire.wait(lambda: self.state.headers is not None or self.state.over, "a head")
        return self._made()

    def read(self):
        self.wire.wait(lambda: len(self.state.body) > self._read or self.state.over, "some of the body")
        piece = bytes(self.state.body[self._read:])
        self._read += len(piece)
        if not piece and not self.state.ended:
            raise Closed(f"{self.state}")
        return piece

    def reply(self):
        self.wire.wait(lambda: self.state.over, "the end of the stream")
        return self._made()

    def not_processed(self):
        """The gateway has said that it did nothing about it."""
        goaways = self.wire.goaways
        return self.state.reset == REFUSED_STREAM or bool(goaways and self.number > goaways[-1][0])

    def abort(self):
        self.wire.send(rst_stream(self.number, CANCEL))

    def __repr__(self):
        return f"<{self.state}; {self.wire.story()}>"


class H1Stream:
    """A request at an origin of HTTP/1.1, as H2Stream is one of HTTP/2."""

    def __init__(self, connection, head):
        self.connection = connection
        self.fields = [(":method", head.method), (":path", head.target), (":authority", head["host"]),
                       *lowered(head.headers)]
        self.body = b""
        self.trailers = []
        self.answered = False
        self._chunked = (head["transfer-encoding"] or "").lower() == "chunked"
        self._left = int(head["content-length"] or 0)
        self._head_only = head.method == "HEAD"
        self._chunks = False

    all = Reply.all
    __getitem__ = Reply.__getitem__
    __contains__ = Reply.__contains__

    @property
    def method(self):
        return self[":method"]

    @property
    def path(self):
        return self[":path"]

    @property
    def authority(self):
        return self[":authority"]

    def read(self):
        if self.connection.tunnel:
            if not self.connection.buffer and not self.connection.fill():
                return b""
            piece, self.connection.buffer = self.connection.buffer, b""
            return piece
        if self._chunked:
            size = int(self.connection.take_until(b"\r\n").split(b";")[0], 16)
            if size == 0:
                while (line := self.connection.take_until(b"\r\n")) != b"\r\n":
                    name, _, value = line.decode("latin-1").partition(":")
                    self.trailers.append((name.lower(), value.strip()))
                self._chunked = False
                return b""
            piece = self.connection.take(size)
            self.connection.take(2)
        elif self._left:
            if not self.connection.buffer and not self.connection.fill():
                raise Closed("closed in the body")
            piece = self.connection.take(min(self._left, len(self.connection.buffer)))
            self._left -= len(piece)
        else:
            return b""
        self.body += piece
        return piece

    def read_body(self):
        while self.read():
            pass
        self.connection.origin.note(self)
        return self.body

    def wait_abort(self):
        with contextlib.suppress(OSError):
            while self.connection.fill():
                pass
        return -1

    def _head(self, status, fields):
        lines = [f"HTTP/1.1 {status} Reason", *(f"{name}: {value}" for name, value in fields)]
        self.connection.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n")

    def inform(self, status, fields=()):
        self._head(status, fields)

    def start(self, status=200, fields=(), length=None, end=False):
        fields = list(fields)
        if length is not None:
            fields.append(("Content-Length", str(length)))
        elif status not in (204, 304):
            self._chunks = not self._head_only
            fields.append(("Transfer-Encoding", "chunked"))
        self.answered = True
        self._head(status, fields)
        if end:
            self.finish()

    def write(self, payload):
        if payload:
            self.connection.send(chunk(payload) if self._chunks else payload)

    def finish(self, trailers=()):
        if self._chunks:
            self.connection.send(b"0\r\n" + b"".join(f"{n}: {v}\r\n".encode() for n, v in trailers) + b"\r\n")
        if self.connection.tunnel:
            self.connection.half_close()

    def respond(self, status=200, body=b"", fields=(), trailers=()):
        length = None if status == 204 or trailers else len(body)
        self.start(status, fields, length)
        if not self._head_only and status not in (204, 304):
            self.write(body)
            self.finish(trailers)

    def accept_websocket(self):
        self.connection.tunnel = True
        self._head(101, [("Connection", "Upgrade"), ("Upgrade", "websocket"),
                         ("Sec-WebSocket-Accept", accept_for(self["sec-websocket-key"]))])

    def break_off(self):
        self.connection.reset()


class H1Origin(Origin):
    """`script(stream)` for each request, as of H2Origin."""

    def __init__(self, script, tls=None, preface=None, address=("127.0.0.1", 0)):
        self.script = script
        self.preface = preface
        super().__init__(on_connection=self._streams, tls=tls, address=address)

    def _run(self, connection):
        connection.begun = None
        super()._run(connection)

    def _handshake(self, connection):
        connection.begun = self.preface(connection) if self.preface else b""
        return super()._handshake(connection)

    def _streams(self, connection):
        connection.tunnel = False
        if connection.begun is None:
            connection.begun = self.preface(connection) if self.preface else b""
        while True:
            stream = H1Stream(connection, connection.head())
            self.script(stream)
            if connection.tunnel or connection.sock.fileno() < 0:
                return


class Traffic:
    """Requests without a pause over `connections` connections until stop(), each answer checked.

    Args:
      connect: makes a Caller.
      streams: requests at the same time on a connection of HTTP/2.
      fresh: a connection for each round.
      refused: who cannot connect has lost nothing and ends.

    A connection is renewed when the gateway says so: by `Connection: close`, or by GOAWAY. A stream that a GOAWAY says
    was not processed is asked again (RFC 9113, section 6.8). All else that ends one is a lost request.
    """

    def __init__(self, connect, connections=2, streams=1, fresh=False, refused=False, path="/"):
        self.done = 0
        self.again = 0
        self.failures = []
        self._connect = connect
        self._streams = streams
        self._fresh = fresh
        self._refused = refused
        self._path = path
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(connections)]
        for thread in self._threads:
            thread.start()

    def _run(self):
        caller, left = None, self._streams
        while not self._ending.is_set():
            try:
                caller = caller or self._connect()
            except ConnectionRefusedError as error:
                if not self._refused:
                    self.failures.append(f"connecting: {error!r}")
                return
            except (OSError, Closed, AssertionError) as error:
                self.failures.append(f"connecting: {error!r}")
                return
            try:
                left = self._round(caller, left)
            except (OSError, Closed, AssertionError) as error:
                self.failures.append(repr(error))
                left = 0
            if left or self._fresh or caller.leaves:
                caller.close()
                caller = None
            left = left or self._streams
        if caller:
            caller.close()

    def _round(self, caller, count):
        """So many requests at once; how many of them were not processed."""
        calls = [caller.begin(self._path, "POST", length=5, end=False) for _ in range(count)]
        for call in calls:
            call.write(b"hello", end=True)
        refused = 0
        for call in calls:
            reply = call.reply()
            if reply.broken and call.not_processed():
                refused += 1
            elif reply.broken or reply.status != 200 or reply.body != b"hello":
                raise AssertionError(f"answered {reply}: {call}")
        with self._lock:
            self.done += count - refused
            self.again += refused
        return refused

    def wait_for(self, count):
        goal = self.done + count
        wait_until(lambda: self.done >= goal or self.failures, f"{count} more requests")

    def join(self):
        """Until all have ended by themselves."""
        for thread in self._threads:
            thread.join(PATIENCE)

    def stop(self):
        self._ending.set()
        self.join()
        return self.failures

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


CALLERS = {"h1": H1Caller, "h2": H2Caller}
ORIGINS = {"h1": H1Origin, "h2": H2Origin}

