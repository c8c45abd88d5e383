"""What the conformance tests of HTTP/2 share: an origin that tells what it saw, and cases as rows of tables.

Each case has a connection of its own and names its section of the RFC. Where that lets a server choose (a connection
error in place of a stream error, a response to a malformed request), all choices are right. Everything that the server
sends is checked by h2_wire.py as it comes. `H2_REFERENCE=nghttpx` runs the cases on that server.
"""

import json
import os
import threading
import unittest

from h2_reference import start_server
from h2_wire import H2Client, get, post
from http_peers import Origin, answer, chunk

LARGEST = (1 << 31) - 1


def serve(connection):
    """An origin's connection; /deaf does not read the body."""
    while True:
        message = connection.head()
        if message.target == "/deaf":
            connection.origin.deaf.wait()
            return
        connection.read_body(message, until_close=False)
        connection.origin.note(message)
        reply = echo(connection, message)
        if reply is Origin.CLOSE:
            return
        connection.send(reply or b"")


def echo(connection, message):
    """Tells what came; /bytes/N is N bytes, /hold never answers."""
    path = message.target.split("?")[0]
    if path == "/hold":
        connection.at_end()
        return Origin.CLOSE
    if path.startswith("/bytes/"):
        return answer(200, b"x" * int(path.split("/")[2]))
    if path == "/hints":
        return b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n" + answer(200, b"after a hint")
    if path == "/trailers":
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n" + chunk(b"body") +
                        b"0\r\nX-Sum: 42\r\n\r\n")
        return None
    if path == "/hop-by-hop":
        return answer(200, b"x", ["Connection: keep-alive, X-Hop", "X-Hop: 1", "Keep-Alive: timeout=9",
                                  "Proxy-Connection: x", "X-Upper-Case: Kept"])
    if path == "/empty":
        return b"HTTP/1.1 204 No Content\r\n\r\n"
    told = json.dumps({"method": message.method, "target": message.target, "size": len(message.body),
                       "headers": [(name.lower(), value) for name, value in message.headers],
                       "trailers": [(name.lower(), value) for name, value in message.trailers]}).encode()
    reply = answer(200, told)
    return reply[:-len(told)] if message.method == "HEAD" else reply


def told(state):
    return json.loads(bytes(state.body))


class ConformanceTest(unittest.TestCase):
    listener = {}

    @classmethod
    def setUpClass(cls):
        cls.target = Origin(on_connection=serve)
        cls.target.deaf = threading.Event()
        cls.addClassCleanup(cls.target.close)
        cls.addClassCleanup(cls.target.deaf.set)
        cls.server = start_server(cls, cls.target, **cls.listener)
        cls.gateway_only = "H2_REFERENCE" not in os.environ

    def setUp(self):
        self.target.forget()

    def open(self, **options):
        client = H2Client(self.server.address, **options)
        self.addCleanup(client.close)
        return client

    def assert_nothing_forwarded(self):
        self.assertEqual(self.target.requests, [], "it came to the origin")


# Rows of tables: section, what, what to send, what must come of it.


def dies(*codes, silently=False):
    return lambda _test, client: client.dies(*codes, silently=silently)


def resets(*codes, stream=1):
    return lambda _test, client: client.resets(stream, *codes)


def serves(stream=1, status=200):
    """The stream is answered, and the connection still works."""

    def check(_test, client):
        client.serves(stream, status)
        client.alive()

    return check


def lives(_test, client):
    client.alive()


def refused(test, client):
    """Malformed (8.1.1), and the origin never hears of it."""
    client.refuses()
    test.assertEqual([seen.target for seen in test.target.requests if seen.target != "/alive"], [],
                     "it came to the origin")


def ignored_or(*codes):
    """The server may not mind, or may end the stream or the connection."""

    def check(_test, client):
        if client.sync():
            client.alive()
        else:
            client.dies(*codes)

    return check


def cases(*rows):
    """Makes each row a test method of the class."""

    def add(made):
        for section, what, sent, check in rows:
            def method(self, sent=sent, check=check):
                client = self.open()
                parts = sent(client)
                client.send(*(part for part in (parts if isinstance(parts, list) else [parts]) if part))
                check(self, client)

            name = f"test_{section}_{what}".replace(".", "_")
            name = "".join(letter if letter.isalnum() else "_" for letter in name)
            while hasattr(made, name):  # cases that differ in letters that no name has
                name += "_"
            method.__name__ = name
            method.__doc__ = f"RFC {'7541' if made.rfc7541 else '9113'}, section {section}: {what}"
            setattr(made, name, method)
        return made

    return add


def opened(client, stream=1, fields=None):
    """HEADERS of a request whose body is to come."""
    return client.headers(stream, fields or post("/"))


def half_closed(client, stream=1):
    """A whole request that is not answered for now."""
    return client.headers(stream, get("/hold"), end=True)


def finished(client):
    """Stream 1 has come and gone."""
    client.ask("/", stream=1)


def unfinished(client, stream=1):
    """HEADERS that a CONTINUATION must follow."""
    return client.headers(stream, get("/"), end=True, end_headers=False)


class Table(ConformanceTest):
    rfc7541 = False
