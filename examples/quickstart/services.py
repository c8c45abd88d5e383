#!/usr/bin/python3
"""Small services to put a gateway in front of: users, orders in two versions, and an echo.

  services.py                          all of them, where gateway.yaml expects them
  services.py users-1=3001 echo=0      these; port 0 takes a free one

Prints `NAME 127.0.0.1:PORT` for each, then serves until it is told to stop.

  users    GET /internal/users, GET /internal/users/ID, POST /internal/users
  orders   GET /orders, GET /orders/by-user/ID
  echo     /stream?lines=3 sends a line each 200 ms; /live is a WebSocket that says everything back;
           anything else is answered with the request as it arrived
"""

import argparse
import http.server
import json
import signal
import sys
import threading
import time
import urllib.parse

import websocket

DEFAULT = ["users-1=3001", "users-2=3002", "orders-v1=3003", "orders-v2=3004", "echo=3005"]
STREAM_INTERVAL_SECONDS = 0.2


class Service(http.server.BaseHTTPRequestHandler):
    """What the services have in common: JSON, request bodies, /health."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    name = ""

    def answer(self, status, value, headers=()):
        body = (json.dumps(value) + "\n").encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        # The kind of header that a gateway is asked to hide.
        self.send_header("X-Powered-By", "python")
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def read_body(self):
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return body

    def handle_any(self):
        body = self.read_body()
        url = urllib.parse.urlsplit(self.path)
        if url.path == "/health":
            self.answer(200, {"healthy": self.name})
        else:
            self.serve(url, body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = handle_any

    def log_message(self, format, *arguments):  # the gateway's access log is the one to look at
        pass


class Users(Service):
    PEOPLE = {"41": "Ada", "42": "Grace", "43": "Barbara"}
    FOLDER = "/internal/users"

    def serve(self, url, body):
        person = url.path.removeprefix(self.FOLDER).strip("/")
        if not url.path.startswith(self.FOLDER):
            self.answer(404, {"error": f"{url.path} is not here"})
        elif self.command == "POST":
            self.answer(201, {"created": body.decode(errors="replace")}, [("Location", "/users/44")])
        elif not person:
            self.answer(200, {"users": sorted(self.PEOPLE), "served_by": self.name})
        elif person in self.PEOPLE:
            self.answer(200, {"id": person, "name": self.PEOPLE[person]})
        else:
            self.answer(404, {"error": f"no user {person}"})


class Orders(Service):
    def serve(self, url, body):
        prefix = "/orders/by-user/"
        if url.path.startswith(prefix):
            self.answer(200, {"service": self.name, "orders_of": url.path.removeprefix(prefix)})
        elif url.path == "/orders" or url.path.startswith("/orders/"):
            self.answer(200, {"service": self.name, "path": url.path})
        else:
            self.answer(404, {"error": f"{url.path} is not here"})


class Echo(Service):
    def serve(self, url, body):
        if url.path == "/stream":
            self.stream(int(urllib.parse.parse_qs(url.query).get("lines", ["3"])[0]))
        elif url.path == "/live" and "Sec-WebSocket-Key" in self.headers:
            self.talk()
        else:
            self.answer(200, {
                "method": self.command,
                "path": self.path,
                "headers": dict(self.headers.items()),
                "body": body.decode(errors="replace"),
            })

    def stream(self, lines):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(1, min(lines, 1000) + 1):
            line = f"line {number}\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            self.wfile.flush()
            time.sleep(STREAM_INTERVAL_SECONDS)
        self.wfile.write(b"0\r\n\r\n")

    def talk(self):
        self.send_response(101)
        self.send_header("Connection", "Upgrade")
        self.send_header("Upgrade", "websocket")
        self.send_header("Sec-WebSocket-Accept", websocket.accept_key(self.headers["Sec-WebSocket-Key"]))
        self.end_headers()
        self.wfile.flush()
        self.close_connection = True
        while True:
            opcode, payload = websocket.read_frame(self.rfile)
            if opcode == websocket.PING:
                opcode = websocket.PONG
            websocket.write_frame(self.wfile, opcode, payload, masked=False)
            if opcode == websocket.CLOSE:
                return


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], ConnectionError):  # clients may leave when they like
            super().handle_error(request, client_address)


KINDS = {"users": Users, "orders": Orders, "echo": Echo}


def start(spec):
    name, port = spec.split("=")
    kind = KINDS[name.split("-")[0]]
    handler = type(kind.__name__, (kind,), {"name": name})
    server = Server(("127.0.0.1", int(port)), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return name, server.server_address[1]


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("services", metavar="NAME=PORT", nargs="*", default=DEFAULT)
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # before there are threads
    try:
        for spec in arguments.parse_args().services:
            name, port = start(spec)
            print(f"{name} 127.0.0.1:{port}", flush=True)
    except OSError as error:
        sys.exit(f"services.py: {spec}: {error.strerror}")
    signal.sigwait(signals)


if __name__ == "__main__":
    main()
