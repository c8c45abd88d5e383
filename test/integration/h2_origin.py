"""An HTTP/2 origin whose every stream is a script: plain or with TLS, by python3-h2.

  def serve(stream):                     # in a thread of its own, from the request's head on
      if stream.path == "/refuse":
          return stream.reset(REFUSED_STREAM)
      body = stream.read_body()          # credit goes back as the script reads, not before
      stream.respond(200, body, trailers=[("x-digest", "1")])

  origin = H2Origin(serve, tls=material.server_context(alpn=["h2"]))

One thread per connection does all of its input and output; scripts hand it what to send.
"""

import contextlib
import os
import queue
import select
import socket
import ssl
import threading

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from http_peers import PATIENCE, Closed


class H2Stream:
    """A request that came, and its answer."""

    def __init__(self, connection, number, fields):
        self.connection = connection
        self.number = number
        self.fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in fields]
        self.body = b""
        self.trailers = []
        self.reset_code = None
        self._data = []
        self._ended = False

    def all(self, name):
        return [value for key, value in self.fields if key == name.lower()]

    def __getitem__(self, name):
        values = self.all(name)
        return values[0] if values else None

    def __contains__(self, name):
        return bool(self.all(name))

    @property
    def method(self):
        return self[":method"]

    @property
    def path(self):
        return self[":path"]

    @property
    def authority(self):
        return self[":authority"]

    # What came.

    def read(self):
        """Some of the body; b"" at its end."""
        with self.connection.changed:
            self.connection.wait(lambda: self._data or self._ended or self.reset_code is not None)
            if not self._data:
                if not self._ended:
                    raise Closed(f"stream {self.number} was reset: {self.reset_code}")
                return b""
            payload, size = self._data.pop(0)
            if self.reset_code is None:
                with contextlib.suppress(h2.exceptions.ProtocolError):
                    self.connection.h2.acknowledge_received_data(size, self.number)
            self.connection.wake()
        self.body += payload
        return payload or self.read()

    def read_body(self):
        while self.read():
            pass
        self.connection.origin.note(self)
        return self.body

    def wait_abort(self):
        """Until the other side has reset the stream, or its connection is gone."""
        with self.connection.changed:
            self.connection.wait(lambda: self.reset_code is not None)
        return self.reset_code

    # The answer.

    def _do(self, act):
        with self.connection.changed:
            if self.connection.gone or self.reset_code is not None:
                raise Closed(f"stream {self.number} is gone")
            try:
                act(self.connection.h2)
            except h2.exceptions.ProtocolError as error:
                if self.connection.gone or self.reset_code is not None:
                    raise Closed(f"stream {self.number}: {error!r}") from error
                raise
            self.connection.wake()

    def inform(self, status, fields=()):
        self._do(lambda it: it.send_headers(self.number, [(":status", str(status)), *fields]))

    def start(self, status=200, fields=(), length=None, end=False):
        more = [("content-length", str(length))] if length is not None else []
        self._do(lambda it: it.send_headers(self.number, [(":status", str(status)), *fields, *more], end_stream=end))

    def write(self, payload):
        """Returns when the other side's windows had room for all of it."""
        view = memoryview(payload)
        while view:
            with self.connection.changed:
                self.connection.wait(lambda: self.reset_code is not None or self._room() > 0)
            room = min(self._room(), len(view))
            self._do(lambda it, room=room: it.send_data(self.number, bytes(view[:room])))
            view = view[room:]

    def _room(self):
        if self.connection.gone or self.reset_code is not None:
            return 0
        try:
            return min(self.connection.h2.local_flow_control_window(self.number), 16384)
        except h2.exceptions.ProtocolError:
            return 0

    def finish(self, trailers=()):
        if trailers:
            self._do(lambda it: it.send_headers(self.number, list(trailers), end_stream=True))
        else:
            self._do(lambda it: it.end_stream(self.number))

    def respond(self, status=200, body=b"", fields=(), trailers=()):
        """With a length, unless there are trailers."""
        empty = self.method == "HEAD" or status in (204, 304) or (not body and not trailers)
        length = None if status == 204 or trailers else len(body)
        self.start(status, fields, length, end=empty)
        if not empty:
            self.write(body)
            self.finish(trailers)

    def accept_websocket(self):
        self.start(200)

    def break_off(self, code=h2.errors.ErrorCodes.INTERNAL_ERROR):
        self._do(lambda it: it.reset_stream(self.number, code))

    def refuse(self):
        self.break_off(h2.errors.ErrorCodes.REFUSED_STREAM)


class H2Connection:
    """Of an origin: what came on it, and its thread."""

    def __init__(self, sock, origin):
        self.origin = origin
        self.sock = sock
        self.streams = {}
        self.changed = threading.Condition()
        self.gone = False
        self.pings = 0
        self.begun = b""
        self.deaf = False  # reads no more, and so answers nothing
        self._outgoing = b""
        self._waker, self._wakened = os.pipe()
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(
            client_side=False, header_encoding=None, validate_inbound_headers=True))

    def wait(self, condition):
        """With `changed` held."""
        if not self.changed.wait_for(lambda: self.gone or condition(), PATIENCE):
            raise AssertionError("nothing came to the origin")
        if self.gone and not condition():
            raise Closed("the connection is gone")

    def wake(self):
        """What the engine has to send goes out; with `changed` held."""
        if not self.gone:
            os.write(self._wakened, b"w")

    def goaway(self, last, code=0):
        with self.changed:
            self.h2.close_connection(code, last_stream_id=last)
            self.h2.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN  # streams below it go on
            self.wake()

    def run(self):
        try:
            if self.origin.preface:
                self.begun = self.origin.preface(self)
            if self.origin.tls:
                self.sock.settimeout(PATIENCE)
                self.sock = self.origin.tls.wrap_socket(self.sock, server_side=True)
            self.sock.setblocking(False)
            self.h2.local_settings = h2.settings.Settings(client=False, initial_values=self.origin.settings)
            self.h2.initiate_connection()
            self._pump()
        except (OSError, h2.exceptions.ProtocolError) as error:
            self.origin.refused.append(error)
        finally:
            self._end()

    def _end(self):
        with self.changed:
            self.gone = True
            for stream in self.streams.values():
                if stream.reset_code is None:
                    stream.reset_code = -1
            self.changed.notify_all()
            with contextlib.suppress(OSError):
                self.sock.close()
            os.close(self._waker)
            os.close(self._wakened)

    def _pump(self):
        while True:
            with self.changed:
                self._outgoing += self.h2.data_to_send()
            if self._outgoing:
                with contextlib.suppress(BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                    self._outgoing = self._outgoing[self.sock.send(self._outgoing):]
            if not self.deaf and not self._receive():
                return
            ready, _, _ = select.select([self._waker] if self.deaf else [self.sock, self._waker], [self.sock] if self._outgoing else [], [])
            if self._waker in ready:
                os.read(self._waker, 4096)

    def _receive(self):
        """All that is there; False at the end."""
        while True:
            try:
                data = self.sock.recv(1 << 18)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return True
            except OSError:
                return False
            if not data:
                return False
            with self.changed:
                for event in self.h2.receive_data(data):
                    self._take(event)
                self._outgoing += self.h2.data_to_send()
                self.changed.notify_all()

    def _take(self, event):
        if isinstance(event, h2.events.RequestReceived):
            stream = self.streams[event.stream_id] = H2Stream(self, event.stream_id, event.headers)
            self.origin.arrived(stream)
            return
        if isinstance(event, h2.events.PingReceived):
            self.pings += 1
        stream = self.streams.get(getattr(event, "stream_id", 0))
        if stream is None:
            return
        if isinstance(event, h2.events.DataReceived):
            stream._data.append((event.data, event.flow_controlled_length))
        elif isinstance(event, h2.events.TrailersReceived):
            stream.trailers = [(name.decode(), value.decode()) for name, value in event.headers]
        elif isinstance(event, h2.events.StreamEnded):
            stream._ended = True
        elif isinstance(event, h2.events.StreamReset):
            stream.reset_code = int(event.error_code)


class H2Origin:
    """A listening socket of HTTP/2 alone.

    Args:
      script: called with each stream, in a thread of its own.
      tls: an ssl.SSLContext that offers h2; handshakes that fail are in `refused`.
      settings: of the first SETTINGS, over h2's defaults; extended CONNECT is offered.
      preface: called with each H2Connection before anything else; takes what comes before HTTP/2 from its socket.
    """

    def __init__(self, script, tls=None, settings=(), preface=None, address=("127.0.0.1", 0)):
        self.script = script
        self.tls = tls
        codes = h2.settings.SettingCodes
        self.settings = {codes.ENABLE_CONNECT_PROTOCOL: 1, codes.MAX_CONCURRENT_STREAMS: 100, **dict(settings)}
        self.preface = preface
        self.connections = 0
        self.open = set()
        self.requests = []
        self.seen = queue.Queue()
        self.failures = []
        self.refused = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(address, backlog=1024)
        self.port = self._listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = H2Connection(sock, self)
            with self._lock:
                self.connections += 1
                self.open.add(connection)
            threading.Thread(target=self._run, args=(connection,), daemon=True).start()

    def _run(self, connection):
        try:
            connection.run()
        except Exception as error:  # shown by the test that owns this origin
            self.failures.append(error)
        finally:
            with self._lock:
                self.open.discard(connection)

    def arrived(self, stream):
        threading.Thread(target=self._serve, args=(stream,), daemon=True).start()

    def _serve(self, stream):
        try:
            self.script(stream)
        except (Closed, OSError):
            pass
        except Exception as error:  # shown by the test that owns this origin
            self.failures.append(error)

    def note(self, stream):
        with self._lock:
            self.requests.append(stream)
        self.seen.put(stream)

    def next_request(self):
        return self.seen.get(timeout=PATIENCE)

    def forget(self):
        with self._lock:
            self.requests.clear()
        self.seen = queue.Queue()

    def drop_connections(self):
        with self._lock:
            for connection in self.open:
                with contextlib.suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_RDWR)

    def close(self):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop_connections()
