"""A client and an origin that see and send exact bytes. Sockets only: no HTTP library tidies up in between.

  client = Client(("127.0.0.1", 8080))
  client.send(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
  response = client.response()

  origin = Origin(lambda connection, request: answer(200, b"hello"))
  origin.address, origin.requests
"""

import contextlib
import os
import queue
import random
import socket
import ssl
import struct
import threading

# How long anything may take before a test fails. Nothing waits this long when all is well.
PATIENCE = float(os.environ.get("GATEHOUSE_PATIENCE", "60"))


class Closed(Exception):
    """The other side closed the connection before what was waited for had come."""


def answer(status=200, body=b"", headers=(), reason="Reason"):
    """A response with a length, as bytes."""
    lines = [f"HTTP/1.1 {status} {reason}".encode(), b"Content-Length: %d" % len(body)]
    lines += [header.encode() for header in headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def request(path="/", method="GET", host="a.example", headers=(), body=None):
    """A request as bytes; with a body it has a length."""
    lines = [f"{method} {path} HTTP/1.1".encode(), b"Host: " + host.encode()]
    lines += [header.encode("latin-1") for header in headers]
    if body is not None:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + (body or b"")


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


class Message:
    """A head, and what followed it."""

    def __init__(self, raw_head):
        self.raw_head = raw_head
        lines = raw_head.decode("latin-1").split("\r\n")
        self.start_line = lines[0]
        self.headers = []
        for line in lines[1:]:
            if line:
                name, _, value = line.partition(":")
                self.headers.append((name, value.strip()))
        self.body = b""
        self.trailers = []
        self.chunked = False
        self.interim = []

    def all(self, name):
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def __getitem__(self, name):
        values = self.all(name)
        return values[0] if values else None

    def __contains__(self, name):
        return bool(self.all(name))

    @property
    def status(self):
        return int(self.start_line.split(" ")[1])

    @property
    def method(self):
        return self.start_line.split(" ")[0]

    @property
    def target(self):
        return self.start_line.split(" ")[1]

    def __repr__(self):
        return f"<{self.start_line!r} {self.headers} {len(self.body)} bytes {self.body[:200]!r}>"


class Connection:
    """A socket with a buffer, and the reading of messages from it."""

    def __init__(self, sock):
        self.sock = sock
        self.sock.settimeout(PATIENCE)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def send(self, data):
        self.sock.sendall(data)

    def fill(self):
        """Reads once; False at the end of the stream."""
        data = self.sock.recv(1 << 18)
        self.buffer += data
        return bool(data)

    def take(self, size):
        parts = []
        while size > 0:
            if not self.buffer and not self.fill():
                raise Closed(f"closed with {size} bytes to come")
            part, self.buffer = self.buffer[:size], self.buffer[size:]
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def take_until(self, mark):
        while mark not in self.buffer:
            if not self.fill():
                raise Closed(f"closed before {mark!r}; got {self.buffer[-500:]!r}")
        part, _, self.buffer = self.buffer.partition(mark)
        return part + mark

    def take_all(self):
        """Everything up to the end of the stream."""
        while self.fill():
            pass
        data, self.buffer = self.buffer, b""
        return data

    def head(self):
        return Message(self.take_until(b"\r\n\r\n"))

    def read_chunks(self, message):
        """The rest of a chunked body, with its trailers."""
        message.chunked = True
        parts = []
        while True:
            size = int(self.take_until(b"\r\n").split(b";")[0].strip(), 16)
            if size == 0:
                break
            parts.append(self.take(size))
            if self.take(2) != b"\r\n":
                raise AssertionError("a chunk without its end")
        while (line := self.take_until(b"\r\n")) != b"\r\n":
            name, _, value = line.decode("latin-1").partition(":")
            message.trailers.append((name, value.strip()))
        message.body = b"".join(parts)

    def read_body(self, message, until_close):
        if (message["transfer-encoding"] or "").lower() == "chunked":
            self.read_chunks(message)
        elif message["content-length"] is not None:
            message.body = self.take(int(message["content-length"]))
        elif until_close:
            message.body = self.take_all()

    def half_close(self):
        if not isinstance(self.sock, ssl.SSLSocket):
            self.sock.shutdown(socket.SHUT_WR)
            return
        self.sock.settimeout(0)  # close_notify, without waiting for the other one
        with contextlib.suppress(ssl.SSLError):
            self.sock.unwrap()
        self.sock.settimeout(PATIENCE)

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self):
        self.sock.close()

    def at_end(self):
        """Waits for the end of the stream, or for a reset; True when nothing came before it."""
        if self.buffer:
            return False
        with contextlib.suppress(ConnectionResetError):
            return not self.fill()
        return True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Client(Connection):
    """`tls` is an ssl.SSLContext; `server_name` what it asks for."""

    def __init__(self, address, receive_buffer=None, source=None, tls=None, server_name="a.example"):
        sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        try:
            if receive_buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            if source:
                sock.bind((source, 0))
            sock.settimeout(PATIENCE)
            sock.connect(address)
            if tls:
                sock = tls.wrap_socket(sock, server_hostname=server_name)
        except OSError:
            sock.close()
            raise
        super().__init__(sock)

    def response(self, method="GET"):
        """The next final response; 1xx before it are in its `interim`."""
        interim = []
        while (message := self.head()).status < 200 and message.status != 101:
            interim.append(message)
        message.interim = interim
        if method != "HEAD" and message.status not in (101, 204, 304):
            self.read_body(message, until_close=True)
        return message

    def ask(self, path="/", method="GET", host="a.example", headers=(), body=None):
        self.send(request(path, method, host, headers, body))
        return self.response(method)


class OriginConnection(Connection):
    def __init__(self, sock, origin):
        super().__init__(sock)
        self.origin = origin

    def request(self):
        """The next request, recorded once it is whole; None when the other side is done."""
        try:
            message = self.head()
        except (Closed, OSError):
            return None
        self.read_body(message, until_close=False)
        self.origin.note(message)
        return message

    def request_head(self):
        message = self.head()
        self.origin.note(message)
        return message


class Origin:
    """A listening socket; each connection has a thread.

    `handler(connection, request)` is called per request. It returns the response as bytes, or None when it has
    written (or closed) by itself; CLOSE after None ends the connection. `on_connection(connection)` takes the whole
    connection instead. `tls` is an ssl.SSLContext; handshakes that fail are in `refused`.
    """

    CLOSE = object()

    def __init__(self, handler=None, on_connection=None, address=("127.0.0.1", 0), backlog=1024, tls=None):
        self.handler = handler or (lambda _connection, _request: answer(200, b"hello"))
        self.on_connection = on_connection or self._serve
        self.requests = []
        self.seen = queue.Queue()
        self.connections = 0
        self.failures = []
        self.refused = []
        self._tls = tls
        self._lock = threading.Lock()
        self._open = set()
        self._closed = False
        self._listener = socket.create_server(address, backlog=backlog)
        self.host, self.port = self._listener.getsockname()[:2]
        self.address = f"{self.host}:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def note(self, message):
        with self._lock:
            self.requests.append(message)
        self.seen.put(message)

    def next_request(self):
        """Waits for the next request that was not asked for yet."""
        return self.seen.get(timeout=PATIENCE)

    def forget(self):
        with self._lock:
            self.requests.clear()
        self.seen = queue.Queue()

    def _accept(self):
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                if self._closed:
                    sock.close()
                    return
                self.connections += 1
                connection = OriginConnection(sock, self)
                self._open.add(connection)
            threading.Thread(target=self._run, args=(connection,), daemon=True).start()

    def _run(self, connection):
        try:
            if self._tls and not self._handshake(connection):
                return
            self.on_connection(connection)
        except (Closed, OSError):
            pass
        except Exception as error:  # shown by the test that owns this origin
            self.failures.append(error)
        finally:
            connection.close()
            with self._lock:
                self._open.discard(connection)

    def _handshake(self, connection):
        try:
            connection.sock = self._tls.wrap_socket(connection.sock, server_side=True)
        except OSError as error:
            self.refused.append(error)
            return False
        return True

    def _serve(self, connection):
        while (message := connection.request()) is not None:
            reply = self.handler(connection, message)
            if reply is Origin.CLOSE:
                return
            if reply is not None:
                connection.send(reply)

    def drop_connections(self):
        """Closes what is open, as an origin that restarts does."""
        with self._lock:
            for connection in list(self._open):
                with contextlib.suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_RDWR)

    def close(self):
        with self._lock:
            self._closed = True
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        self.drop_connections()


def free_port():
    """A port where nobody listens now. For servers that cannot take port 0, and for dead endpoints.

    Not one that the system gives to those who ask for any: the next connection could be given it.
    """
    while True:
        port = random.randrange(12_000, 32_000)
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port
