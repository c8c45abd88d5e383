"""HTTP/2 to the letter, connections and streams: what RFC 9113 says that a server must do, and not. See h2_cases.py."""

import struct
import unittest

from h2_cases import (
    LARGEST, ConformanceTest, Table, cases, dies, finished, half_closed, ignored_or, lives, opened, resets, serves,
    told, unfinished)
from h2_wire import (
    ACK, DATA, ENABLE_CONNECT_PROTOCOL, ENABLE_PUSH, END_HEADERS, END_STREAM, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR,
    GOAWAY, HEADER_TABLE_SIZE, HEADERS, INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS, MAX_FRAME_SIZE,
    MAX_HEADER_LIST_SIZE, NO_ERROR, PADDED, PING, PREFACE, PRIORITY, PRIORITY_FLAG, PROTOCOL_ERROR, PUSH_PROMISE,
    REFUSED_STREAM, RST_STREAM, SETTINGS, STREAM_CLOSED, WINDOW_UPDATE, block, continuation, data, frame, get,
    goaway, literal, ping, post, priority, rst_stream, settings, settings_ack, window_update)
from http_peers import Client, Closed


class Preface(ConformanceTest):
    def test_the_servers_preface_is_settings(self):
        """RFC 9113, section 3.4: SETTINGS are the server's first frame, with or without the client's."""
        client = self.open()
        self.assertEqual(client.frames[0], (SETTINGS, 0))

    def test_requests_need_not_wait_for_settings(self):
        """RFC 9113, section 3.4: the client may send on before it has the server's SETTINGS."""
        client = self.open(start=False)
        client.send(PREFACE, client.settings(), client.headers(1, get("/"), end=True))
        client.serves()

    def test_in_single_bytes(self):
        """RFC 9113, section 3.4: the preface is a string of octets, however TCP cuts it."""
        client = self.open(start=False)
        for byte in PREFACE + client.settings() + client.headers(1, get("/"), end=True):
            client.send(bytes([byte]))
        client.serves()

    def test_wrong_prefaces(self):
        """RFC 9113, section 3.4: an invalid preface is a connection error."""
        for preface in (PREFACE[:-1] + b"\r", PREFACE[:18] + b"XX\r\n\r\n", b"PRI * HTTP/2.1\r\n\r\nSM\r\n\r\n",
                        PREFACE.lower(), PREFACE[:-8] + b"\n\nSM\n\n"):
            with self.subTest(preface=preface):
                client = self.open(start=False)
                client.send(preface, settings())
                try:
                    client.dies(PROTOCOL_ERROR, silently=True)
                except Closed as error:  # answered as the HTTP/1 that it may be
                    self.assertRegex(str(error), r"HTTP/1\.[01] (400|501|505)")
        self.assert_nothing_forwarded()

    def test_first_frames_that_are_not_settings(self):
        """RFC 9113, section 3.4: the preface ends with a SETTINGS frame."""
        client = self.open()
        request = client.headers(1, get("/"), end=True)
        for first in (request, ping(), window_update(0, 1), settings_ack(), frame(0xEE), data(1, b"x"), goaway()):
            with self.subTest(first=first[:12]):
                client = self.open(start=False)
                client.send(PREFACE, first)
                client.dies(PROTOCOL_ERROR, silently=True)
        self.assert_nothing_forwarded()

    def test_the_preface_twice(self):
        """RFC 9113, section 3.4: after the preface there are frames only. "PRI" is a length of 5 MiB."""
        client = self.open()
        client.send(PREFACE, settings())
        client.dies(FRAME_SIZE_ERROR, PROTOCOL_ERROR)

    def test_upgrade_from_http1_is_not_honoured(self):
        """RFC 9113, section 3.1: `Upgrade: h2c` is gone; a server answers in HTTP/1.1."""
        with Client(self.server.address) as client:
            response = client.ask("/upgrade", headers=["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c",
                                                       "HTTP2-Settings: AAMAAABkAAQAAP__"])
            self.assertEqual(response.status, 200)
            self.assertTrue(response.start_line.startswith("HTTP/1.1 "))
            self.assertNotIn("upgrade", response)
            self.assertEqual(client.ask("/again").status, 200)

    def test_both_protocols_on_one_port(self):
        """RFC 9113, section 3.3: prior knowledge needs no other port."""
        with Client(self.server.address) as client:
            self.assertEqual(client.ask("/").status, 200)
        self.open().alive()


@cases(
    ("4.1", "an unknown type on stream 0 is ignored", lambda c: frame(0xEE, 0xFF, 0, b"payload"), lives),
    ("4.1", "an unknown type without payload is ignored", lambda c: frame(0xEE), lives),
    ("4.1", "an unknown type on an open stream is ignored",
     lambda c: [opened(c), frame(0xEE, 0xFF, 1, b"payload"), data(1, b"x", True)], serves()),
    ("4.1", "an unknown type on a half-closed stream is ignored",
     lambda c: [half_closed(c), frame(0xEE, 0xFF, 1, b"payload")], lives),
    ("4.1", "an unknown type with any length up to the limit is ignored",
     lambda c: frame(0xEE, 0, 0, bytes(16384)), lives),
    ("4.1", "ALTSVC ORIGIN and PRIORITY_UPDATE from a client are ignored",
     lambda c: [frame(0x0A, 0, 0, b"\0\0"), frame(0x0C, 0, 0, b""), frame(0x10, 0, 0, b"\0\0\0\1u=1")], lives),
    ("4.1", "undefined flags are ignored",
     lambda c: [frame(PING, 0xFE, 0, bytes(8)), c.noted(frame(SETTINGS, 0xFE)), window_update(0, 1)[:4] + b"\xff" +
                window_update(0, 1)[5:], c.open(1), frame(HEADERS, 0xD7, 1, c.encode(get("/")))], serves()),
    ("4.1", "the reserved bit of the stream is ignored",
     lambda c: [frame(PING, 0, 1 << 31, bytes(8)), c.noted(frame(SETTINGS, 0, 1 << 31))], lives),
    ("4.1", "the reserved bit of an increment is ignored",
     lambda c: frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", (1 << 31) | 1)), lives),
    ("4.2", "DATA of the largest size is taken",
     lambda c: [opened(c), data(1, bytes(16384), True)], serves()),
    ("4.2", "HEADERS of the largest size are taken",
     lambda c: c.headers(1, raw=(made := block(get("/"))) + literal("x-fill", "f" * (16373 - len(made))), end=True),
     serves()),
    ("4.2", "DATA over MAX_FRAME_SIZE", lambda c: [opened(c), frame(DATA, 0, 1, bytes(16385))],
     resets(FRAME_SIZE_ERROR)),
    ("4.2", "HEADERS over MAX_FRAME_SIZE",
     lambda c: c.headers(1, raw=block(get("/")) + literal("x-fill", "f" * 16384), end=True), dies(FRAME_SIZE_ERROR)),
    ("4.2", "CONTINUATION over MAX_FRAME_SIZE",
     lambda c: [unfinished(c), continuation(1, literal("x-fill", "f" * 16384))], dies(FRAME_SIZE_ERROR)),
    ("4.2", "SETTINGS over MAX_FRAME_SIZE", lambda c: settings(*[(0x99, 0)] * 2731), dies(FRAME_SIZE_ERROR)),
    ("4.2", "PING over MAX_FRAME_SIZE", lambda c: frame(PING, 0, 0, bytes(16385)), dies(FRAME_SIZE_ERROR)),
    ("4.2", "GOAWAY over MAX_FRAME_SIZE", lambda c: goaway(0, NO_ERROR, bytes(16384)), dies(FRAME_SIZE_ERROR)),
    ("4.2", "a frame of 16 MiB that does not come", lambda c: frame(DATA, 0, 1, b"", length=(1 << 24) - 1),
     dies(FRAME_SIZE_ERROR, PROTOCOL_ERROR)),
    ("4.2", "an unknown type over MAX_FRAME_SIZE", lambda c: frame(0xEE, 0, 0, bytes(16385)), dies(FRAME_SIZE_ERROR)),
)
class Frames(Table):
    pass


@cases(
    ("5.1", "idle: DATA", lambda c: data(1, b"x", True), dies(PROTOCOL_ERROR, STREAM_CLOSED)),
    ("5.1", "idle: RST_STREAM", lambda c: rst_stream(1), dies(PROTOCOL_ERROR)),
    ("5.1", "idle: WINDOW_UPDATE", lambda c: window_update(1, 100), dies(PROTOCOL_ERROR)),
    ("5.1", "idle: CONTINUATION", lambda c: continuation(1, b""), dies(PROTOCOL_ERROR)),
    ("5.1", "idle: PRIORITY is allowed", lambda c: priority(1), lives),
    ("5.1", "idle beyond the last: RST_STREAM", lambda c: [half_closed(c), rst_stream(3)], dies(PROTOCOL_ERROR)),
    ("5.1", "idle of the server: WINDOW_UPDATE", lambda c: window_update(2, 1), dies(PROTOCOL_ERROR)),
    ("5.1", "idle of the server: RST_STREAM", lambda c: rst_stream(2), dies(PROTOCOL_ERROR)),
    ("5.1", "half-closed: DATA", lambda c: [half_closed(c), data(1, b"x")], resets(STREAM_CLOSED)),
    ("5.1", "half-closed: empty DATA", lambda c: [half_closed(c), data(1, b"", True)], resets(STREAM_CLOSED)),
    ("5.1", "half-closed: HEADERS", lambda c: [half_closed(c), c.headers(1, get("/"), end=True)],
     resets(STREAM_CLOSED)),
    ("5.1", "half-closed by DATA: DATA",
     lambda c: [opened(c, fields=post("/hold")), data(1, b"x", True), data(1, b"x")], resets(STREAM_CLOSED)),
    ("5.1", "half-closed: CONTINUATION", lambda c: [half_closed(c), continuation(1, b"")],
     dies(PROTOCOL_ERROR, STREAM_CLOSED)),
    ("5.1", "half-closed: PRIORITY and WINDOW_UPDATE are allowed",
     lambda c: [half_closed(c), priority(1), window_update(1, 100)], lives),
    ("5.1", "half-closed: RST_STREAM is allowed", lambda c: [half_closed(c), rst_stream(1)], lives),
    ("5.1", "closed by us: DATA", lambda c: [opened(c), rst_stream(1), data(1, b"x")], ignored_or(STREAM_CLOSED)),
    ("5.1", "closed by us: HEADERS", lambda c: [half_closed(c), rst_stream(1), c.headers(1, get("/"), end=True)],
     ignored_or(STREAM_CLOSED, PROTOCOL_ERROR)),
    ("5.1", "closed by us: CONTINUATION", lambda c: [half_closed(c), rst_stream(1), continuation(1, b"")],
     dies(PROTOCOL_ERROR, STREAM_CLOSED)),
    ("5.1", "closed by END_STREAM: DATA", lambda c: [finished(c), data(1, b"x", True)], ignored_or(STREAM_CLOSED)),
    ("5.1", "closed by END_STREAM: HEADERS", lambda c: [finished(c), c.headers(1, get("/again"), end=True)],
     ignored_or(STREAM_CLOSED, PROTOCOL_ERROR)),
    ("5.1", "closed: WINDOW_UPDATE RST_STREAM PRIORITY are allowed",
     lambda c: [finished(c), window_update(1, 1), rst_stream(1), priority(1)], lives),
    ("5.1.1", "an even stream", lambda c: c.headers(2, get("/"), end=True), dies(PROTOCOL_ERROR)),
    ("5.1.1", "stream 0", lambda c: frame(HEADERS, END_HEADERS | END_STREAM, 0, c.encode(get("/"))),
     dies(PROTOCOL_ERROR)),
    ("5.1.1", "a stream below the last, never used",
     lambda c: [c.headers(5, get("/hold"), end=True), c.headers(3, get("/"), end=True)], dies(PROTOCOL_ERROR)),
    ("5.1.1", "the largest stream is a stream", lambda c: c.headers(LARGEST, get("/"), end=True),
     lambda _test, c: c.serves(LARGEST)),
    ("5.1.1", "streams may leave numbers out",
     lambda c: [c.headers(1, get("/"), end=True), c.headers(101, get("/"), end=True)], serves(101)),
    ("5.3", "HEADERS with a priority are served",
     lambda c: c.headers(1, get("/"), end=True, weight=(0, 200)), serves()),
    ("5.3", "HEADERS that depend on themselves",
     lambda c: c.headers(1, get("/"), end=True, weight=(1, 200)),
     lambda _test, c: c.resets(1, PROTOCOL_ERROR, statuses=(200, 400))),
    ("5.3", "PRIORITY on itself", lambda c: priority(1, 1), ignored_or(PROTOCOL_ERROR)),
    ("5.3", "PRIORITY on streams far away", lambda c: [priority(999, 997), priority(1, 12345, 255, True)], lives),
)
class States(Table):
    pass


@cases(
    ("6.1", "DATA on stream 0", lambda c: data(0, b"x"), dies(PROTOCOL_ERROR)),
    ("6.1", "padding is not body", lambda c: [opened(c), data(1, b"12345", True, padding=200)],
     lambda t, c: t.assertEqual(told(c.serves())["size"], 5)),
    ("6.1", "padding of 0 and nothing but padding",
     lambda c: [opened(c), data(1, b"123", padding=0), data(1, b"", padding=255), data(1, b"45", True)],
     lambda t, c: t.assertEqual(told(c.serves())["size"], 5)),
    ("6.1", "padding as long as the payload", lambda c: [opened(c), frame(DATA, PADDED, 1, b"\x06hello")],
     dies(PROTOCOL_ERROR)),
    ("6.1", "padding longer than the payload", lambda c: [opened(c), frame(DATA, PADDED, 1, b"\xffhello")],
     dies(PROTOCOL_ERROR)),
    ("6.1", "PADDED without the length", lambda c: [opened(c), frame(DATA, PADDED, 1)],
     dies(FRAME_SIZE_ERROR, PROTOCOL_ERROR)),
    ("6.1", "empty DATA ends a stream", lambda c: [opened(c), data(1, b"", True)], serves()),
    ("6.2", "HEADERS with padding and priority",
     lambda c: c.headers(1, get("/"), end=True, padding=100, weight=(0, 15)), serves()),
    ("6.2", "padding longer than HEADERS",
     lambda c: frame(HEADERS, END_HEADERS | END_STREAM | PADDED, 1, b"\xff" + c.encode(get("/"))),
     dies(PROTOCOL_ERROR)),
    ("6.2", "PADDED and PRIORITY in too few bytes",
     lambda c: frame(HEADERS, END_HEADERS | END_STREAM | PADDED | PRIORITY_FLAG, 1, b"\0\0\0"),
     dies(FRAME_SIZE_ERROR, PROTOCOL_ERROR)),
    ("6.2", "PRIORITY flag in four bytes",
     lambda c: frame(HEADERS, END_HEADERS | END_STREAM | PRIORITY_FLAG, 1, bytes(4)),
     dies(FRAME_SIZE_ERROR, PROTOCOL_ERROR)),
    ("6.3", "PRIORITY on stream 0", lambda c: priority(0, 1), dies(PROTOCOL_ERROR)),
    ("6.3", "PRIORITY of four bytes", lambda c: [half_closed(c), frame(PRIORITY, 0, 1, bytes(4))],
     resets(FRAME_SIZE_ERROR)),
    ("6.3", "PRIORITY of six bytes", lambda c: [half_closed(c), frame(PRIORITY, 0, 1, bytes(6))],
     resets(FRAME_SIZE_ERROR)),
    ("6.4", "RST_STREAM on stream 0", lambda c: rst_stream(0), dies(PROTOCOL_ERROR)),
    ("6.4", "RST_STREAM of three bytes", lambda c: [half_closed(c), frame(RST_STREAM, 0, 1, bytes(3))],
     dies(FRAME_SIZE_ERROR)),
    ("6.4", "RST_STREAM of five bytes", lambda c: [half_closed(c), frame(RST_STREAM, 0, 1, bytes(5))],
     dies(FRAME_SIZE_ERROR)),
    ("6.5", "SETTINGS on a stream", lambda c: frame(SETTINGS, 0, 1), dies(PROTOCOL_ERROR)),
    ("6.5", "an ACK with a payload", lambda c: frame(SETTINGS, ACK, 0, bytes(6)), dies(FRAME_SIZE_ERROR)),
    ("6.5", "SETTINGS of five bytes", lambda c: frame(SETTINGS, 0, 0, bytes(5)), dies(FRAME_SIZE_ERROR)),
    ("6.5", "SETTINGS of seven bytes", lambda c: frame(SETTINGS, 0, 0, bytes(7)), dies(FRAME_SIZE_ERROR)),
    ("6.5.2", "ENABLE_PUSH 2", lambda c: settings((ENABLE_PUSH, 2)), dies(PROTOCOL_ERROR)),
    ("6.5.2", "INITIAL_WINDOW_SIZE 2^31", lambda c: settings((INITIAL_WINDOW_SIZE, 1 << 31)),
     dies(FLOW_CONTROL_ERROR)),
    ("6.5.2", "INITIAL_WINDOW_SIZE 2^32-1", lambda c: settings((INITIAL_WINDOW_SIZE, (1 << 32) - 1)),
     dies(FLOW_CONTROL_ERROR)),
    ("6.5.2", "MAX_FRAME_SIZE 16383", lambda c: settings((MAX_FRAME_SIZE, 16383)), dies(PROTOCOL_ERROR)),
    ("6.5.2", "MAX_FRAME_SIZE 2^24", lambda c: settings((MAX_FRAME_SIZE, 1 << 24)), dies(PROTOCOL_ERROR)),
    ("6.5.2", "the limits of what is valid",
     lambda c: [c.settings((ENABLE_PUSH, 0), (ENABLE_PUSH, 1), (MAX_FRAME_SIZE, 16384), (MAX_FRAME_SIZE, (1 << 24) - 1),
                           (INITIAL_WINDOW_SIZE, LARGEST), (MAX_CONCURRENT_STREAMS, 0), (HEADER_TABLE_SIZE, 0),
                           (HEADER_TABLE_SIZE, (1 << 32) - 1), (MAX_HEADER_LIST_SIZE, (1 << 32) - 1))], lives),
    ("6.5.2", "unknown settings are ignored",
     lambda c: [c.settings((0, 1), (0x99, 0xFFFFFFFF), (0xFFFF, 5), (7, 1), (10, 1))], lives),
    ("6.6", "PUSH_PROMISE from a client",
     lambda c: [half_closed(c), frame(PUSH_PROMISE, END_HEADERS, 1, struct.pack(">I", 2) + c.encode(get("/")))],
     dies(PROTOCOL_ERROR)),
    ("6.6", "PUSH_PROMISE on an idle stream",
     lambda c: frame(PUSH_PROMISE, END_HEADERS, 1, struct.pack(">I", 2) + c.encode(get("/"))), dies(PROTOCOL_ERROR)),
    ("6.7", "PING on a stream", lambda c: [half_closed(c), frame(PING, 0, 1, bytes(8))], dies(PROTOCOL_ERROR)),
    ("6.7", "PING of six bytes", lambda c: frame(PING, 0, 0, bytes(6)), dies(FRAME_SIZE_ERROR)),
    ("6.7", "PING of ten bytes", lambda c: frame(PING, 0, 0, bytes(10)), dies(FRAME_SIZE_ERROR)),
    ("6.7", "an ACK of a PING that nobody sent is ignored", lambda c: ping(b"12345678", ack=True),
     lambda t, c: (c.alive(), t.assertNotIn(b"12345678", c.pongs))),
    ("6.8", "GOAWAY on a stream", lambda c: [half_closed(c), goaway(stream=1)], dies(PROTOCOL_ERROR)),
    ("6.8", "GOAWAY of four bytes", lambda c: frame(GOAWAY, 0, 0, bytes(4)), dies(FRAME_SIZE_ERROR)),
    ("6.8", "streams from before GOAWAY are answered",
     lambda c: [opened(c), goaway(0, NO_ERROR, b"going"), data(1, b"x", True)], lambda _test, c: c.serves()),
    ("6.9", "WINDOW_UPDATE of 0 on the connection", lambda c: window_update(0, 0), dies(PROTOCOL_ERROR)),
    ("6.9", "WINDOW_UPDATE of 0 on a stream", lambda c: [half_closed(c), window_update(1, 0)], resets(PROTOCOL_ERROR)),
    ("6.9", "WINDOW_UPDATE of three bytes", lambda c: frame(WINDOW_UPDATE, 0, 0, bytes(3)), dies(FRAME_SIZE_ERROR)),
    ("6.9", "WINDOW_UPDATE of five bytes", lambda c: frame(WINDOW_UPDATE, 0, 0, bytes(5)), dies(FRAME_SIZE_ERROR)),
    ("6.9.1", "the connection's window over 2^31-1",
     lambda c: [window_update(0, LARGEST), window_update(0, LARGEST)], dies(FLOW_CONTROL_ERROR)),
    ("6.9.1", "a stream's window over 2^31-1",
     lambda c: [half_closed(c), window_update(1, LARGEST), window_update(1, LARGEST)], resets(FLOW_CONTROL_ERROR)),
    ("6.9.1", "the connection's window at 2^31-1", lambda c: window_update(0, LARGEST - 65535), lives),
    ("6.9.2", "a change of INITIAL_WINDOW_SIZE that overflows a stream",
     lambda c: [half_closed(c), window_update(1, LARGEST - 65535), c.settings((INITIAL_WINDOW_SIZE, 65536))],
     dies(FLOW_CONTROL_ERROR)),
    ("6.10", "CONTINUATION in pieces",
     lambda c: [frame(HEADERS, END_STREAM, 1, (made := c.encode(get("/")))[:1]), c.open(1),
                continuation(1, made[1:3], False), continuation(1, b"", False), continuation(1, made[3:])], serves()),
    ("6.10", "CONTINUATION after END_HEADERS",
     lambda c: [c.headers(1, post("/")), continuation(1, c.encode([("x-a", "b")]))], dies(PROTOCOL_ERROR)),
    ("6.10", "CONTINUATION after CONTINUATION with END_HEADERS",
     lambda c: [c.headers(1, post("/"), end_headers=False), continuation(1, b""), continuation(1, b"")],
     dies(PROTOCOL_ERROR)),
    ("6.10", "CONTINUATION after DATA", lambda c: [opened(c), data(1, b"x"), continuation(1, b"")],
     dies(PROTOCOL_ERROR)),
    ("6.10", "CONTINUATION on stream 0", lambda c: [unfinished(c), continuation(0, b"")], dies(PROTOCOL_ERROR)),
    ("6.10", "CONTINUATION on another stream", lambda c: [unfinished(c), continuation(3, b"")], dies(PROTOCOL_ERROR)),
    ("6.10", "HEADERS of another stream before CONTINUATION",
     lambda c: [unfinished(c), frame(HEADERS, END_STREAM | END_HEADERS, 3, block(get("/"))), continuation(1, b"")],
     dies(PROTOCOL_ERROR)),
    *(("6.10", f"{name} before CONTINUATION", lambda c, made=made: [unfinished(c), made, continuation(1, b"")],
       dies(PROTOCOL_ERROR))
      for name, made in (("DATA", data(1, b"x")), ("HEADERS", frame(HEADERS, END_HEADERS, 1, b"\x82")),
                         ("PRIORITY", priority(1)), ("RST_STREAM", rst_stream(1)), ("SETTINGS", settings()),
                         ("SETTINGS ACK", settings_ack()), ("PUSH_PROMISE", frame(PUSH_PROMISE, 4, 1, bytes(4))),
                         ("PING", ping()), ("GOAWAY", goaway()), ("WINDOW_UPDATE", window_update(0, 1)),
                         ("an unknown type", frame(0xEE, 0, 1)))),
    ("7", "unknown codes of RST_STREAM and GOAWAY are no error",
     lambda c: [half_closed(c), rst_stream(1, 0xFFFFFFFF), half_closed(c, 3), rst_stream(3, 0x55),
                goaway(0, 0xABCDEF), c.headers(5, get("/"), end=True)], lambda t, c: t.assertTrue(c.sync() or True)),
)
class FrameTypes(Table):
    pass


class Settings(ConformanceTest):
    def test_each_settings_is_acknowledged(self):
        """RFC 9113, section 6.5.3: as soon as they are applied, SETTINGS are acknowledged, once each."""
        client = self.open()
        client.send(*[client.settings((INITIAL_WINDOW_SIZE, 1000 + number)) for number in range(10)])
        self.assertTrue(client.sync())
        self.assertEqual(client.acknowledged, 11)

    def test_values_are_taken_in_order(self):
        """RFC 9113, section 6.5.3: values are processed in order; the last of one setting is what counts."""
        client = self.open(credit=False)
        client.send(client.settings((INITIAL_WINDOW_SIZE, 100), (INITIAL_WINDOW_SIZE, 1)))
        self.assertTrue(client.sync())
        client.send(client.headers(1, get("/bytes/10"), end=True))
        client.wait(lambda: client.streams[1].size == 1)
        self.assertTrue(client.sync())
        self.assertEqual(client.streams[1].size, 1)

    def test_what_the_server_may_say(self):
        """RFC 9113, section 6.5.2: values in their bounds, no push; a limit of streams of 100 or more is advised."""
        said = self.open().server_settings
        self.assertGreaterEqual(said.get(MAX_CONCURRENT_STREAMS, 100), 100)
        self.assertLessEqual(said.get(INITIAL_WINDOW_SIZE, 0), LARGEST)
        self.assertEqual(said.get(ENABLE_PUSH, 0), 0)
        self.assertIn(said.get(ENABLE_CONNECT_PROTOCOL, 0), (0, 1))

    def test_frames_are_no_larger_than_we_said(self):
        """RFC 9113, section 4.2: no frame is larger than the receiver's MAX_FRAME_SIZE (checked by h2_wire.py)."""
        client = self.open()
        self.assertEqual(client.ask("/bytes/300000").size, 300_000)
        client = self.open(own=[(MAX_FRAME_SIZE, 1 << 20)])
        self.assertEqual(client.ask("/bytes/300000").size, 300_000)

    def test_the_ack_that_never_comes(self):
        """RFC 9113, section 6.5.3: a server may wait for an ACK; it must not stop serving at once."""
        client = self.open(answer=False)
        client.alive()

    def test_ping_is_answered_with_its_payload(self):
        """RFC 9113, section 6.7: a PING is answered with the same eight bytes, also while streams are open."""
        client = self.open()
        client.send(half_closed(client), ping(b"\0\xff345678"), ping(b"abcdefgh"))
        client.wait(lambda: len(client.pongs) == 2, "two answers to PING")
        self.assertEqual(client.pongs, [b"\0\xff345678", b"abcdefgh"])

    def test_ping_is_answered_between_a_large_response(self):
        """RFC 9113, section 6.7: an answer to PING does not wait for windows."""
        client = self.open(own=[(INITIAL_WINDOW_SIZE, 0)], credit=False)
        client.send(*[client.headers(stream, get("/bytes/100000"), end=True) for stream in (1, 3, 5)])
        self.assertTrue(client.sync())


class Concurrency(ConformanceTest):
    def test_more_streams_than_allowed(self):
        """RFC 9113, section 5.1.2: a stream over the limit is a stream error, PROTOCOL_ERROR or REFUSED_STREAM."""
        client = self.open()
        limit = client.server_settings[MAX_CONCURRENT_STREAMS]
        for number in range(limit + 1):
            client.send(client.headers(2 * number + 1, post("/")))
        over = client.streams[2 * limit + 1]
        client.wait(lambda: over.over, "the refusal")
        if client.goaways:
            client.dies(PROTOCOL_ERROR)
            return
        self.assertIn(over.reset, (PROTOCOL_ERROR, REFUSED_STREAM), client.story())
        self.assertFalse(any(state.over for state in list(client.streams.values())[:-1]), "the others go on")
        client.send(*[data(2 * number + 1, b"x", True) for number in range(limit)])
        for number in range(limit):
            client.serves(2 * number + 1)
        client.alive()

    def test_streams_that_ended_do_not_count(self):
        """RFC 9113, section 5.1.2: only open and half-closed streams count."""
        client = self.open()
        for number in range(client.server_settings[MAX_CONCURRENT_STREAMS] + 20):
            self.assertEqual(client.ask("/", stream=2 * number + 1).status, 200)

    def test_many_at_once(self):
        """RFC 9113, section 5: streams are independent; each gets its own answer."""
        client = self.open()
        for number in range(50):
            client.send(client.headers(2 * number + 1, get(f"/{number}"), end=True))
        for number in range(50):
            self.assertEqual(told(client.serves(2 * number + 1))["target"], f"/{number}")


class FlowControl(ConformanceTest):
    def waiting(self, path="/bytes/1000", **options):
        """A client whose response waits for windows, and the stream."""
        client = self.open(credit=False, **options)
        client.send(client.headers(1, get(path), end=True))
        state = client.streams[1]
        client.wait(lambda: state.headers, "the head, which no window holds back")
        return client, state

    def assert_stays(self, client, state, size):
        self.assertTrue(client.sync() and client.sync(), client.story())
        self.assertEqual(state.size, size)
        self.assertFalse(state.ended)

    def test_a_window_of_zero(self):
        """RFC 9113, section 6.9.2: an initial window of 0 lets the head through and no byte of DATA."""
        client, state = self.waiting(own=[(INITIAL_WINDOW_SIZE, 0)])
        self.assert_stays(client, state, 0)
        client.grant(1, 400)
        client.wait(lambda: state.size == 400, "400 bytes")
        self.assert_stays(client, state, 400)
        client.grant(1, 600)
        self.assertEqual(client.serves(1).size, 1000)

    def test_a_window_of_one(self):
        """RFC 9113, section 6.9.1: a window of 1 is a byte at a time."""
        client, state = self.waiting("/bytes/5", own=[(INITIAL_WINDOW_SIZE, 1)])
        for size in range(1, 5):
            client.wait(lambda size=size: state.size == size, f"{size} bytes")
            self.assert_stays(client, state, size)
            client.grant(1, 1)
        self.assertEqual(client.serves(1).size, 5)

    def test_no_body_needs_no_window(self):
        """RFC 9113, section 6.9.1: HEADERS, and an empty DATA with END_STREAM, are sent when no window is left."""
        client = self.open(credit=False, own=[(INITIAL_WINDOW_SIZE, 0)])
        client.send(client.headers(1, get("/bytes/0"), end=True), client.headers(3, get("/", method="HEAD"), end=True))
        client.send(client.headers(5, get("/empty"), end=True))
        client.serves(1)
        client.serves(3)
        client.serves(5, 204)

    def test_the_window_opens_by_settings(self):
        """RFC 9113, section 6.9.2: a new INITIAL_WINDOW_SIZE changes the windows of open streams."""
        client, state = self.waiting(own=[(INITIAL_WINDOW_SIZE, 0)])
        self.assert_stays(client, state, 0)
        client.send(client.settings((INITIAL_WINDOW_SIZE, 300)))
        client.wait(lambda: state.size == 300, "300 bytes")
        self.assert_stays(client, state, 300)
        client.send(client.settings((INITIAL_WINDOW_SIZE, 65535)))
        self.assertEqual(client.serves(1).size, 1000)

    def test_a_window_below_zero(self):
        """RFC 9113, section 6.9.2: a window that a setting made negative is paid back first."""
        client, state = self.waiting(own=[(INITIAL_WINDOW_SIZE, 100)])
        client.wait(lambda: state.size == 100, "100 bytes")
        client.send(client.settings((INITIAL_WINDOW_SIZE, 10)))  # the window is -90
        self.assertTrue(client.sync())
        client.grant(1, 90)  # and now 0
        self.assert_stays(client, state, 100)
        client.grant(1, 1)
        client.wait(lambda: state.size == 101, "one byte")
        self.assert_stays(client, state, 101)
        client.grant(1, 899)
        self.assertEqual(client.serves(1).size, 1000)

    def test_the_connections_window(self):
        """RFC 9113, section 6.9.1: all streams together send no more than the connection's window."""
        client = self.open(credit=False, own=[(INITIAL_WINDOW_SIZE, LARGEST)])
        client.send(*[client.headers(stream, get("/bytes/50000"), end=True) for stream in (1, 3, 5)])

        def size():
            return sum(state.size for state in client.streams.values())

        client.wait(lambda: size() == 65535, "what the window lets through")
        self.assertTrue(client.sync() and client.sync())
        self.assertEqual(size(), 65535)
        client.grant(0, 150_000 - 65535)
        for stream in (1, 3, 5):
            self.assertEqual(client.serves(stream).size, 50_000)

    def test_settings_do_not_change_the_connections_window(self):
        """RFC 9113, section 6.9.2: INITIAL_WINDOW_SIZE is of streams alone."""
        client, state = self.waiting("/bytes/70000", own=[(INITIAL_WINDOW_SIZE, 1 << 20)])
        client.wait(lambda: state.size == 65535, "what the connection's window lets through")
        client.send(client.settings((INITIAL_WINDOW_SIZE, 1 << 24)))
        self.assert_stays(client, state, 65535)

    def test_one_stalled_stream_does_not_hold_the_others(self):
        """RFC 9113, section 5.2: flow control is per stream."""
        client, state = self.waiting(own=[(INITIAL_WINDOW_SIZE, 0)])
        client.send(client.settings((INITIAL_WINDOW_SIZE, 0)), client.headers(3, get("/bytes/5000"), end=True))
        client.grant(3, 5000)
        self.assertEqual(client.serves(3).size, 5000)
        self.assertEqual(state.size, 0)

    def test_uploads_get_their_window_back(self):
        """RFC 9113, section 5.2.2: a receiver gives back what it took; padding counts too (6.1)."""
        client = self.open()
        client.send(opened(client))
        client.upload(1, bytes(1 << 20))
        self.assertEqual(told(client.serves(1))["size"], 1 << 20)
        client.send(opened(client, 3))
        for _ in range(1000):  # 257 bytes each of which one is body
            client.wait(lambda: min(client.send_window, client.send_windows[3]) >= 257, "a window")
            client.send(data(3, b"x", padding=255))
            client.send_window -= 257
            client.send_windows[3] -= 257
        client.send(data(3, b"", True))
        self.assertEqual(told(client.serves(3))["size"], 1000)

    def test_more_than_the_streams_window(self):
        """RFC 9113, section 6.9.1: DATA beyond a window is a flow control error."""
        client = self.open()
        client.send(opened(client, fields=post("/deaf")))
        # Far more than the sockets on the way to an origin that does not read can hold.
        client.push(data(1, bytes(16384)) * 4096)
        # It is more than the connection's window, too.
        client.wait(lambda: client.streams[1].over or client.goaways, "the end of the stream")
        codes = {client.streams[1].reset, *[code for _, code, _ in client.goaways]}
        self.assertLessEqual(codes, {FLOW_CONTROL_ERROR, None}, client.story())

    def test_data_of_refused_streams_is_given_back(self):
        """RFC 9113, section 5.1: DATA on a closed stream still counts for the connection, and is given back."""
        client = self.open()
        for number in range(20):
            stream = 2 * number + 1
            client.send(opened(client, stream), rst_stream(stream))
            client.wait(lambda: client.send_window >= 16384, "the connection's window")
            client.send(data(stream, bytes(16384)))
            client.send_window -= 16384
            if not client.sync():
                client.dies(STREAM_CLOSED)
                return
        client.alive()




if __name__ == "__main__":
    unittest.main()
