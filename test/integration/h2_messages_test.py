"""HTTP/2 to the letter, messages: header blocks (RFC 7541), fields and bodies (RFC 9113, 8441). See h2_cases.py."""

import unittest

import hpack

from h2_cases import ConformanceTest, Table, cases, dies, opened, refused, resets, serves, told
from h2_wire import (
    COMPRESSION_ERROR, ENABLE_CONNECT_PROTOCOL, HEADER_TABLE_SIZE, PROTOCOL_ERROR, STREAM_CLOSED, block,
    continuation, data, get, integer, literal, post, settings, string)


def raw(make):
    """HEADERS on stream 1 with a block made by hand."""
    return lambda c: c.headers(1, raw=make(c) if callable(make) else make, end=True)


REQUEST = block(get("/"))
HUFFMAN_A = b"\x1f"  # "a" is 00011, then ones


@cases(
    ("2.3.3", "an index of 0", raw(b"\x80"), dies(COMPRESSION_ERROR)),
    ("2.3.3", "an index beyond both tables", raw(b"\xbe"), dies(COMPRESSION_ERROR)),
    ("2.3.3", "an index far beyond", raw(b"\xff\x80\x80\x01"), dies(COMPRESSION_ERROR)),
    ("6.2.1", "a name's index beyond both tables", raw(b"\x7e" + string("x")), dies(COMPRESSION_ERROR)),
    ("6.2.2", "a name's index beyond both tables, not indexed", raw(b"\x0f\x2f" + string("x")),
     dies(COMPRESSION_ERROR)),
    ("5.1", "an integer that overflows", raw(b"\xff" + b"\xff" * 10 + b"\x7f"), dies(COMPRESSION_ERROR)),
    ("5.1", "an integer that never ends", raw(b"\xff" + b"\x80" * 100), dies(COMPRESSION_ERROR)),
    ("5.1", "an integer without its end", raw(REQUEST + b"\xff\x80"), dies(COMPRESSION_ERROR)),
    ("5.1", "a length that overflows", raw(REQUEST + b"\x00\x7f" + b"\xff" * 9 + b"\x01a"), dies(COMPRESSION_ERROR)),
    ("5.2", "a string longer than the block", raw(REQUEST + b"\x00\x05abc"), dies(COMPRESSION_ERROR)),
    ("5.2", "a name without its value", raw(REQUEST + b"\x00\x01a"), dies(COMPRESSION_ERROR)),
    ("5.2", "a literal without anything", raw(REQUEST + b"\x00"), dies(COMPRESSION_ERROR)),
    ("5.2", "Huffman padding of eight bits", raw(REQUEST + b"\x00\x82" + HUFFMAN_A + b"\xff" + string("v")),
     dies(COMPRESSION_ERROR)),
    ("5.2", "Huffman padding of zeros", raw(REQUEST + b"\x00\x81\x18" + string("v")), dies(COMPRESSION_ERROR)),
    ("5.2", "EOS in a Huffman string", raw(REQUEST + b"\x00\x84\xff\xff\xff\xff" + string("v")),
     dies(COMPRESSION_ERROR)),
    ("5.2", "EOS in a value", raw(REQUEST + b"\x00\x01a\x85" + HUFFMAN_A + b"\xff\xff\xff\xff"),
     dies(COMPRESSION_ERROR)),
    ("5.2", "Huffman strings are read", raw(REQUEST + b"\x00\x81" + HUFFMAN_A + b"\x81" + HUFFMAN_A),
     lambda t, c: t.assertIn(["a", "a"], told(c.serves())["headers"])),
    ("6.2", "all kinds of literals are read",
     raw(REQUEST + literal("x-one", "1") + literal("x-two", "2", 0x10) + literal("x-three", "3", 0x40) + b"\xbe"),
     lambda t, c: t.assertEqual([value for name, value in told(c.serves())["headers"] if name.startswith("x-t")
                                 or name == "x-one"].count("3"), 2)),
    ("6.2", "an empty value is a value", raw(REQUEST + literal("x-empty", "")),
     lambda t, c: t.assertIn(["x-empty", ""], told(c.serves())["headers"])),
    ("6.3", "a table size above what was set", raw(integer(1 << 20, 5, 0x20) + REQUEST), dies(COMPRESSION_ERROR)),
    ("4.2", "a table size update after a field", raw(REQUEST + b"\x20"), dies(COMPRESSION_ERROR)),
    ("4.2", "a table size update between fields", raw(b"\x82" + b"\x20" + block(get("/")[1:])),
     dies(COMPRESSION_ERROR)),
    ("4.2", "table size updates at the start", raw(b"\x20" + integer(4096, 5, 0x20) + REQUEST), serves()),
    ("4.3", "a smaller table forgets",
     lambda c: [c.headers(1, raw=REQUEST + literal("x-kept", "1", 0x40), end=True),
                c.headers(3, raw=b"\x20" + integer(4096, 5, 0x20) + REQUEST + b"\xbe", end=True)],
     dies(COMPRESSION_ERROR)),
    ("4.4", "an entry larger than the table empties it",
     lambda c: [c.headers(1, raw=REQUEST + literal("x-kept", "1", 0x40), end=True),
                c.headers(3, raw=REQUEST + literal("x-large", "v" * 4096, 0x40), end=True),
                c.headers(5, raw=REQUEST + b"\xbe", end=True)], dies(COMPRESSION_ERROR)),
    ("2.2", "the table lives as long as the connection",
     lambda c: [c.headers(1, raw=REQUEST + literal("x-kept", "yes", 0x40), end=True),
                c.headers(3, raw=REQUEST + b"\xbe", end=True)],
     lambda t, c: t.assertIn(["x-kept", "yes"], told(c.serves(3))["headers"])),
    ("2.2", "the first entry is the latest",
     raw(REQUEST + literal("x-a", "1", 0x40) + literal("x-b", "2", 0x40) + b"\xbf\xbe"),
     lambda t, c: t.assertEqual([pair for pair in told(c.serves())["headers"] if pair[0] in ("x-a", "x-b")].count(
         ["x-a", "1"]), 2)),
    ("4.3", "a block that ends within a field", lambda c: [c.headers(1, raw=REQUEST + b"\x00\x03ab", end=True)],
     dies(COMPRESSION_ERROR)),
    ("4.1", "a bad block in trailers",
     lambda c: [opened(c), data(1, b"x"), c.headers(1, raw=b"\xff\x80\x80\x01", end=True)], dies(COMPRESSION_ERROR)),
    ("4.1", "a bad block in CONTINUATION",
     lambda c: [c.headers(1, raw=REQUEST, end=True, end_headers=False), continuation(1, b"\x80")],
     dies(COMPRESSION_ERROR)),
)
class Compression(Table):
    rfc7541 = True

    def test_the_table_counts_refused_requests(self):
        """RFC 9113, section 4.3: a block is decoded also when its request is refused: the table goes on."""
        client = self.open()
        client.send(client.headers(1, raw=REQUEST + literal("x-kept", "yes", 0x40) + literal("X-UPPER", "1"), end=True))
        outcome = client.refuses()
        if outcome == "connection":
            return
        # After a reset, refuses() has asked for /alive, whose :authority and :path are entries before ours.
        index = 62 if outcome == "response" else 64
        stream = max(client.streams) + 2
        client.send(client.headers(stream, raw=REQUEST + bytes([0x80 | index]), end=True))
        self.assertIn(["x-kept", "yes"], told(client.serves(stream))["headers"])

    def test_a_smaller_table_for_responses(self):
        """RFC 7541, section 4.2: the server's encoder keeps to our HEADER_TABLE_SIZE and says so."""
        client = self.open()
        for stream in (1, 3):
            client.ask("/", stream=stream)
        client.send(client.settings((HEADER_TABLE_SIZE, 0)))
        self.assertTrue(client.sync())
        for stream in (5, 7):  # hpack raises when an entry of a forgotten table is used
            self.assertEqual(client.ask("/", stream=stream).status, 200)
        self.assertEqual(client.decoder.header_table_size, 0)
        client.send(client.settings((HEADER_TABLE_SIZE, 8192)))
        for stream in (9, 11):
            self.assertEqual(client.ask("/", stream=stream).status, 200)

    def test_no_table_from_the_start(self):
        """RFC 7541, section 4.2: a HEADER_TABLE_SIZE of 0 in the first SETTINGS."""
        client = self.open(own=[(HEADER_TABLE_SIZE, 0)])
        for stream in (1, 3, 5):
            self.assertEqual(client.ask("/", stream=stream).status, 200)

    def test_every_byte_cut_of_a_block(self):
        """RFC 7541, section 3: a block means the same wherever CONTINUATION cuts it."""
        whole = hpack.Encoder().encode(get("/cut", ("x-a", "value")))
        for cut in range(len(whole) + 1):
            with self.subTest(cut=cut):
                client = self.open()
                client.send(client.headers(1, raw=whole[:cut], end=True, end_headers=False),
                            continuation(1, whole[cut:]))
                self.assertEqual(told(client.serves())["target"], "/cut")


def without(name, fields=None):
    return [pair for pair in fields or get("/") if pair[0] != name]


def request(fields):
    return lambda c: c.headers(1, raw=block(fields), end=True)


def with_field(name, value):
    return request(get("/", (name, value)))


@cases(
    ("8.2.1", "a name in upper case", with_field("X-Upper", "1"), refused),
    ("8.2.1", "one letter in upper case", with_field("x-uppEr", "1"), refused),
    ("8.2.1", "a name of nothing", with_field("", "1"), refused),
    ("8.2.1", "a name with a colon", with_field("x:a", "1"), refused),
    ("8.2.1", "a name that begins with a space", with_field(" x-a", "1"), refused),
    ("8.2.1", "a name that ends with a space", with_field("x-a ", "1"), refused),
    ("8.2.1", "a name with CR LF", with_field("x-a\r\nx-b", "1"), refused),
    ("8.2.1", "a name with NUL", with_field("x\0a", "1"), refused),
    ("8.2.1", "a name with DEL", with_field("x\x7fa", "1"), refused),
    ("8.2.1", "a name with an 8-bit letter", with_field("x\xe4", "1"), refused),
    *(("8.2.1", f"a name with {letter}", with_field(f"x{letter}a", "1"), refused) for letter in "(),/;<=>?@[\\]{}\""),
    ("8.2.1", "a value with NUL", with_field("x-a", "a\0b"), refused),
    ("8.2.1", "a value with LF", with_field("x-a", "a\nb"), refused),
    ("8.2.1", "a value with CR", with_field("x-a", "a\rb"), refused),
    ("8.2.1", "a value with CR LF and a field", with_field("x-a", "a\r\nhost: evil"), refused),
    ("8.2.1", "a value that begins with a space", with_field("x-a", " a"), refused),
    ("8.2.1", "a value that ends with a space", with_field("x-a", "a "), refused),
    ("8.2.1", "a value that begins with a tab", with_field("x-a", "\ta"), refused),
    ("8.2.1", "a value that ends with a tab", with_field("x-a", "a\t"), refused),
    ("8.2.1", "a pseudo field's value with LF", request([*get("/")[:3], (":path", "/\nx")]), refused),
    ("8.2.1", "a value with 8-bit letters and tabs within is taken", with_field("x-a", "a\t\xe4"), serves()),
    *(("8.2.2", f"the field {name}", with_field(name, value), refused)
      for name, value in (("connection", "close"), ("connection", "keep-alive, x-a"), ("proxy-connection", "close"),
                          ("keep-alive", "timeout=5"), ("transfer-encoding", "chunked"), ("upgrade", "h2c"))),
    ("8.2.2", "te: trailers is taken", with_field("te", "trailers"), serves()),
    ("8.2.2", "te: gzip", with_field("te", "gzip"), refused),
    ("8.2.2", "te: trailers and more", with_field("te", "trailers, gzip"), refused),
    ("8.2.2", "transfer-encoding with a body",
     lambda c: [c.headers(1, raw=block(post("/", ("transfer-encoding", "chunked")))), data(1, b"0\r\n\r\n", True)],
     refused),
    ("8.3", "an unknown pseudo field", request([*get("/"), (":unknown", "1")]), refused),
    ("8.3", ":status in a request", request([*get("/"), (":status", "200")]), refused),
    ("8.3", "a pseudo field after a regular one", request([*get("/")[:3], ("x-a", "1"), (":path", "/")]), refused),
    ("8.3", "an upper-case pseudo field", request([*without(":path"), (":PATH", "/")]), refused),
    ("8.3", "a pseudo field of no name", request([*get("/"), (":", "1")]), refused),
    *(("8.3", f"{name} twice", request([(name, value), *get("/")]), refused) for name, value in get("/")),
    *(("8.3.1", f"no {name}", request(without(name)), refused) for name in (":method", ":scheme", ":path")),
    ("8.3.1", "neither :authority nor host", request(without(":authority")), refused),
    ("8.3.1", "host in place of :authority", request([*without(":authority"), ("host", "a.example")]), serves()),
    ("8.3.1", "host equal to :authority", with_field("host", "a.example"), serves()),
    ("8.3.1", "host that differs from :authority", with_field("host", "b.example"), refused),
    ("8.3.1", "host with another port", with_field("host", "a.example:81"), refused),
    ("8.3.1", "two hosts", request(get("/", ("host", "a.example"), ("host", "a.example"))), refused),
    ("8.3.1", "two hosts that differ", request([*without(":authority"), ("host", "a.example"), ("host", "b.example")]),
     refused),
    ("8.3.1", "userinfo in :authority", request(get("/", authority="user@a.example")), refused),
    ("8.3.1", "an empty :authority", request(get("/", authority="")), refused),
    *(("8.3.1", f"the authority {authority}", request(get("/", authority=authority)), refused)
      for authority in ("a b", "a/b", "a:b", "a:99999", "a.example:80:80", "a\tb", "a#b", "a?b", "[::1")),
    ("8.3.1", "an authority with a port", request(get("/", authority="a.example:8080")), serves()),
    ("8.3.1", "an empty :path", request(get("")), refused),
    ("8.3.1", "a :path without its slash", request(get("a")), refused),
    ("8.3.1", "a :path that is a URI", request(get("http://a.example/")), refused),
    ("8.3.1", "a :path of ?", request(get("?a=b")), refused),
    ("8.3.1", "a :path with a fragment", request(get("/a#b")), refused),
    ("8.3.1", "a :path with a space", request(get("/a b")), refused),
    ("8.3.1", "a :path that smuggles", request(get("/ HTTP/1.1\r\nhost: evil\r\n\r\n")), refused),
    ("8.3.1", "a :path with 8-bit letters", request(get("/\xe4")), refused),
    ("8.3.1", "a :path of * with GET", request(get("*")), refused),
    ("8.3.1", "a :path of * with OPTIONS", request(get("*", method="OPTIONS")),
     lambda t, c: t.assertLess(c.response(1).status or 500, 500)),
    ("8.3.1", "an empty :method", request(get("/", method="")), refused),
    ("8.3.1", "a :method with a space", request(get("/", method="GET / HTTP/1.1")), refused),
    ("8.3.1", "a :method with a bad letter", request(get("/", method="G@T")), refused),
    ("8.3.1", "an empty :scheme", request(get("/", scheme="")), refused),
    ("8.3.1", "a :scheme that is none", request(get("/", scheme="ht tp")), refused),
    ("8.3.1", "a :scheme that smuggles", request(get("/", scheme="http://evil/?")), refused),
    ("8.3.1", "HTTP2-Settings goes nowhere", with_field("http2-settings", "AAMAAABk"),
     lambda t, c: t.assertNotIn("http2-settings", [name for name, _ in told(c.serves())["headers"]])),
    ("8.3.1", "a method that nobody knows is forwarded", request(get("/", method="FROBNICATE")),
     lambda t, c: t.assertEqual(told(c.serves())["method"], "FROBNICATE")),
    ("8.5", "CONNECT with :path and :scheme", request(get("/", method="CONNECT")), refused),
    ("8.5", "CONNECT without :authority", request([(":method", "CONNECT")]), refused),
    ("8.5", "CONNECT with :scheme", request([(":method", "CONNECT"), (":scheme", "http"), (":authority", "a:1")]),
     refused),
    ("8.5", "CONNECT with an empty :path",
     request([(":method", "CONNECT"), (":authority", "a:1"), (":path", "")]), refused),
    ("8.5", "CONNECT to a host is not for a gateway",
     lambda c: c.headers(1, raw=block([(":method", "CONNECT"), (":authority", "a.example:443")])),
     lambda t, c: (c.wait(lambda: c.streams[1].headers or c.streams[1].over), t.assertNotEqual(
         (c.streams[1].status or 400) // 100, 2, c.streams[1]), t.assertEqual(t.target.requests, []))),
)
class Fields(Table):
    pass


def late_refusal(_test, client):
    """Malformed, which is known only when its head may have gone on."""
    client.refuses()


@cases(
    ("8.1", "trailers are taken",
     lambda c: [opened(c), data(1, b"x"), c.headers(1, [("x-sum", "42")], end=True)],
     lambda t, c: t.assertEqual(told(c.serves())["size"], 1)),
    ("8.1", "trailers without DATA", lambda c: [opened(c), c.headers(1, [("x-sum", "42")], end=True)], serves()),
    ("8.1", "trailers without END_STREAM", lambda c: [opened(c), data(1, b"x"), c.headers(1, [("x-sum", "42")])],
     late_refusal),
    ("8.1", "trailers without END_STREAM after no DATA", lambda c: [opened(c), c.headers(1, [("x-sum", "42")])],
     late_refusal),
    ("8.1", "a second head in place of trailers",
     lambda c: [opened(c), data(1, b"x"), c.headers(1, post("/second"), end=True)], late_refusal),
    ("8.1", "pseudo fields in trailers",
     lambda c: [opened(c), data(1, b"x"), c.headers(1, [("x-sum", "1"), (":path", "/")], end=True)], late_refusal),
    ("8.1", ":status in trailers",
     lambda c: [opened(c), data(1, b"x"), c.headers(1, [(":status", "200")], end=True)], late_refusal),
    ("8.1", "upper case in trailers",
     lambda c: [opened(c), data(1, b"x"), c.headers(1, raw=literal("X-Sum", "1"), end=True)], late_refusal),
    ("8.1", "transfer-encoding in trailers",
     lambda c: [opened(c), data(1, b"x"), c.headers(1, [("transfer-encoding", "chunked")], end=True)], late_refusal),
    ("8.1", "LF in trailers",
     lambda c: [opened(c), data(1, b"x"), c.headers(1, raw=literal("x-sum", "a\nb"), end=True)], late_refusal),
    ("8.1", "DATA after trailers",
     lambda c: [opened(c, fields=post("/hold")), c.headers(1, [("x-sum", "1")], end=True), data(1, b"x")],
     resets(STREAM_CLOSED)),
    ("8.1.1", "content-length above DATA",
     lambda c: [opened(c, fields=post("/", ("content-length", "5"))), data(1, b"1234", True)], late_refusal),
    ("8.1.1", "content-length below DATA",
     lambda c: [opened(c, fields=post("/", ("content-length", "1"))), data(1, b"12", True)], late_refusal),
    ("8.1.1", "content-length below DATA in two frames",
     lambda c: [opened(c, fields=post("/", ("content-length", "3"))), data(1, b"12"), data(1, b"34", True)],
     late_refusal),
    ("8.1.1", "content-length of 0 with DATA",
     lambda c: [opened(c, fields=post("/", ("content-length", "0"))), data(1, b"1", True)], late_refusal),
    ("8.1.1", "content-length without DATA",
     lambda c: c.headers(1, post("/", ("content-length", "1")), end=True), refused),
    ("8.1.1", "content-length without DATA, with trailers",
     lambda c: [opened(c, fields=post("/", ("content-length", "1"))), c.headers(1, [("x-sum", "1")], end=True)],
     late_refusal),
    ("8.1.1", "padding does not count for content-length",
     lambda c: [opened(c, fields=post("/", ("content-length", "2"))), data(1, b"12", True, padding=9)], serves()),
    *(("8.1.1", f"content-length of {value or 'nothing'}",
       lambda c, value=value: [opened(c, fields=post("/", ("content-length", value))), data(1, b"12345", True)],
       refused)
      for value in ("", "+5", "-5", "5a", "0x5", "5 5", "5,5", "9223372036854775808", "18446744073709551621")),
    ("8.1.1", "two content-lengths that differ",
     lambda c: [opened(c, fields=post("/", ("content-length", "5"), ("content-length", "6"))), data(1, b"12345", True)],
     refused),
    ("8.1.1", "content-length that is right",
     lambda c: [opened(c, fields=post("/", ("content-length", "5"))), data(1, b"12345", True)],
     lambda t, c: t.assertEqual(told(c.serves())["size"], 5)),
)
class Messages(Table):
    def test_the_origin_never_takes_half_a_body_for_a_whole_one(self):
        """RFC 9113, section 8.1.1: an intermediary must not forward a malformed request."""
        for length, parts in (("5", [b"1234"]), ("3", [b"12", b"34"]), ("9", [b""])):
            with self.subTest(length=length):
                client = self.open()
                client.send(opened(client, fields=post("/", ("content-length", length))),
                            *[data(1, part, part is parts[-1]) for part in parts])
                client.refuses()
                self.assertEqual([seen for seen in self.target.requests if seen.target != "/alive"], [])

    def test_cookie_crumbs_become_one_field(self):
        """RFC 9113, section 8.2.3: crumbs are joined by "; " before HTTP/1.1."""
        client = self.open()
        client.send(client.headers(1, get("/", ("cookie", "a=1"), ("x-a", "1"), ("cookie", "b=2"), ("cookie", "c=3")),
                                   end=True))
        seen = [value for name, value in told(client.serves())["headers"] if name == "cookie"]
        self.assertEqual(seen, ["a=1; b=2; c=3"])

    def test_authority_becomes_host(self):
        """RFC 9113, section 8.3.1: an intermediary makes Host of :authority."""
        for fields in (get("/", authority="a.example:8080"),
                       [*without(":authority"), ("host", "a.example:8080")]):
            client = self.open()
            client.send(client.headers(1, fields, end=True))
            seen = [value for name, value in told(client.serves())["headers"] if name == "host"]
            self.assertEqual(seen, ["a.example:8080"])

    def test_responses_are_http2(self):
        """RFC 9113, sections 8.2.2, 8.3.2: a response has :status first, lower case, no connection fields."""
        state = self.open().ask("/hop-by-hop")  # h2_wire.py checks it
        self.assertEqual(state["x-upper-case"], "Kept")
        self.assertIsNone(state["x-hop"])

    def test_an_interim_response(self):
        """RFC 9113, section 8.1: HEADERS of 1xx come before those of the response."""
        state = self.open().ask("/hints")
        self.assertEqual(state.status, 200)
        self.assertEqual([dict(fields)[":status"] for fields in state.interim], ["103"])

    def test_trailers_of_a_response(self):
        """RFC 9113, section 8.1: trailers are HEADERS with END_STREAM after DATA."""
        state = self.open().ask("/trailers", ("te", "trailers"))
        self.assertEqual((state.status, bytes(state.body)), (200, b"body"))
        self.assertEqual(state.trailers, [("x-sum", "42")])

    def test_responses_without_content(self):
        """RFC 9113, section 8.1: the response to HEAD and a 204 have no DATA but perhaps an empty one."""
        client = self.open()
        head = client.ask("/", method="HEAD")
        self.assertEqual((head.status, head.size), (200, 0))
        self.assertGreater(int(head["content-length"]), 0)
        empty = client.ask("/empty")
        self.assertEqual((empty.status, empty.size), (204, 0))

    def test_expect_100(self):
        """RFC 9110, section 10.1.1: 100 comes before the body is sent."""
        client = self.open()
        client.send(client.headers(1, post("/", ("expect", "100-continue"), ("content-length", "5"))))
        client.wait(lambda: client.streams[1].interim, "100")
        self.assertEqual(client.streams[1].interim[0][0], (":status", "100"))
        client.send(data(1, b"hello", True))
        self.assertEqual(told(client.serves())["size"], 5)

    def test_trailers_go_on(self):
        """RFC 9110, section 6.5.1: trailers of a request are forwarded after its content."""
        client = self.open()
        client.send(client.headers(1, post("/", ("trailer", "x-sum"))), data(1, b"x"),
                    client.headers(1, [("x-sum", "42")], end=True))
        self.assertIn(["x-sum", "42"], told(client.serves())["trailers"])


EXTENDED = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":authority", "a.example"),
            (":path", "/")]


class ExtendedConnect(ConformanceTest):
    def offered(self):
        client = self.open()
        if not client.server_settings.get(ENABLE_CONNECT_PROTOCOL):
            self.skipTest("the server does not offer extended CONNECT")
        return client

    def test_bad_ones(self):
        """RFC 8441, section 4: :scheme and :path are there, the method is CONNECT, the other rules hold."""
        self.offered()
        for fields in (without(":path", EXTENDED), without(":scheme", EXTENDED), without(":authority", EXTENDED),
                       [*EXTENDED[:1], *EXTENDED], [EXTENDED[1], *EXTENDED], [*EXTENDED, ("x-a", "1"), (":path", "/")],
                       [(":method", "GET"), *EXTENDED[1:]], [*EXTENDED, ("connection", "Upgrade")],
                       [*EXTENDED, ("upgrade", "websocket")], [*EXTENDED, ("host", "b.example")]):
            with self.subTest(fields=fields):
                client = self.open()
                client.send(client.headers(1, raw=block(fields)))
                client.refuses()
        self.assert_nothing_forwarded_but_alive()

    def assert_nothing_forwarded_but_alive(self):
        self.assertEqual([seen.target for seen in self.target.requests if seen.target != "/alive"], [])

    def test_a_protocol_that_nobody_knows(self):
        """RFC 9220, section 3: an unknown :protocol is refused, by 501 at best."""
        client = self.offered()
        client.send(client.headers(1, [(name, "frob" if name == ":protocol" else value) for name, value in EXTENDED]))
        state = client.streams[1]
        client.wait(lambda: state.headers or state.over)
        self.assertGreaterEqual(state.status or 400, 400)

    def test_an_upgrade_that_is_not_made_is_not_a_success(self):
        """RFC 8441, section 5: 2xx says that the tunnel is open; an origin that did not upgrade opened none."""
        client = self.offered()
        client.send(client.headers(1, EXTENDED))
        state = client.streams[1]
        client.wait(lambda: state.headers or state.over)
        self.assertGreaterEqual(state.status or 400, 300, state)

    def test_the_clients_setting_is_checked(self):
        """RFC 8441, section 3: ENABLE_CONNECT_PROTOCOL is 0 or 1."""
        client = self.offered()
        client.send(settings((ENABLE_CONNECT_PROTOCOL, 2)))
        client.dies(PROTOCOL_ERROR)

    def test_the_setting_may_be_sent_by_clients(self):
        """RFC 8441, section 3: a client may send it; it says nothing to a server."""
        client = self.open()
        client.send(client.settings((ENABLE_CONNECT_PROTOCOL, 1)))
        client.alive()


class NoExtendedConnect(ConformanceTest):
    listener = {"http2": {"extended_connect": False}}

    def test_not_offered(self):
        """RFC 8441, section 3: without the setting :protocol is an unknown pseudo field (9113, 8.3)."""
        client = self.open()
        if client.server_settings.get(ENABLE_CONNECT_PROTOCOL):
            self.assertFalse(self.gateway_only, "it is offered although it is off")
            self.skipTest("the server offers extended CONNECT")
        client.send(client.headers(1, raw=block(EXTENDED)))
        client.refuses()


if __name__ == "__main__":
    unittest.main()
