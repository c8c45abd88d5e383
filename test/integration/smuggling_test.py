"""What could make two parsers disagree is refused, the connection closed, and the origin never hears of it."""

import unittest

from harness import Gateway, GatehouseTest, config, route
from http_peers import Client, Origin, answer, chunk, request

HEAD = b"POST /target HTTP/1.1\r\nHost: a.example\r\n"
SECOND = b"GET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n"


class Refused(GatehouseTest):
    """One gateway for all cases: each has its own connection."""

    @classmethod
    def setUpClass(cls):
        cls.target = Origin()
        cls.addClassCleanup(cls.target.close)
        import tempfile

        folder = tempfile.TemporaryDirectory(prefix="gh")
        cls.addClassCleanup(folder.cleanup)
        cls.shared = Gateway(config([route("all", "/", "origin")], {"origin": cls.target.address}), folder.name)
        cls.addClassCleanup(cls.shared.stop)

    def setUp(self):
        self.target.forget()

    def assert_refused(self, data, status=400, gateway=None):
        """Answered with `status` and closed; neither this nor what follows it came to the origin."""
        with Client((gateway or self.shared).address) as client:
            client.send(data + SECOND)
            response = client.response()
            self.assertEqual(response.status, status, (data, response))
            self.assertEqual(response["connection"], "close", data)
            self.assertTrue(client.at_end(), f"{data!r}: something was answered after the refusal")
        self.assertEqual(self.target.requests, [], f"{data!r} came to the origin")

    def assert_all_refused(self, cases, status=400):
        for data in cases:
            with self.subTest(data=data[:120]):
                self.assert_refused(data, status)

    def assert_served(self, data):
        with Client(self.shared.address) as client:
            client.send(data)
            self.assertEqual(client.response().status, 200, data)

    def test_length_and_transfer_encoding(self):
        self.assert_all_refused([
            HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
            HEAD + b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            HEAD + b"content-length: 5\r\ntRANSFER-eNCODING: cHUNKED\r\n\r\n0\r\n\r\n",
        ])

    def test_transfer_encoding_that_is_not_just_chunked(self):
        self.assert_all_refused([
            HEAD + b"Transfer-Encoding: xchunked\r\n\r\n",
            HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
            HEAD + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
            HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
            HEAD + b"Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n",
            HEAD + b"Transfer-Encoding: \r\n\r\n",
            HEAD + b"Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
            HEAD + b"Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
            HEAD + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        ])

    def test_a_coding_that_is_not_known_is_501(self):
        self.assert_refused(HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501)

    def test_transfer_encoding_in_1_0(self):
        self.assert_refused(
            b"POST / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        )

    def test_bad_lengths(self):
        self.assert_all_refused([
            HEAD + b"Content-Length: " + value + b"\r\n\r\nhello"
            for value in (
                b"", b"+5", b"-5", b"5 5", b"5,5", b"5, 5", b"0x5", b"5a", b"5.0", b"1e1", b"\"5\"",
                b"9223372036854775808", b"18446744073709551621", b"5\x00", b"5\x0c",
            )
        ])

    def test_two_lengths(self):
        self.assert_all_refused([
            HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            HEAD + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
            HEAD + b"Content-Length: 5\r\ncontent-length:5\r\n\r\nhello",
        ])

    def test_header_lines(self):
        self.assert_all_refused([
            HEAD + b"Content-Length : 5\r\n\r\nhello",
            HEAD + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
            HEAD + b"X-A\t: b\r\n\r\n",
            HEAD + b" X-A: b\r\n\r\n",
            HEAD + b"X-A: b\r\n folded\r\n\r\n",
            HEAD + b"X-A: b\r\n\tfolded\r\n\r\n",
            HEAD + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
            HEAD + b": no name\r\n\r\n",
            HEAD + b"no colon\r\n\r\n",
            HEAD + b"X\x00A: b\r\n\r\n",
            HEAD + b"X-A: b\x00c\r\n\r\n",
            HEAD + b"X-A: b\x01c\r\n\r\n",
            HEAD + b"X-A: b\x7fc\r\n\r\n",
            HEAD + b"X(A): b\r\n\r\n",
            HEAD + b"X\xc3\xa4: b\r\n\r\n",
        ])

    def test_line_ends(self):
        self.assert_all_refused([
            b"GET / HTTP/1.1\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n\n",
            b"GET / HTTP/1.1\rHost: a\r\n\r\n",
            HEAD + b"X-A: b\rX-B: c\r\n\r\n",
            HEAD + b"X-A: b\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            HEAD + b"X-A: b\r\r\n\r\n",
        ])

    def test_request_lines(self):
        self.assert_all_refused([
            b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n",
            b" GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
            b"GET / http/1.1\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1\r\nHost: a\r\n\r\n",
            b"GET /\r\nHost: a\r\n\r\n",
            b"G@T / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET a HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        ])

    def test_other_versions_are_505(self):
        self.assert_all_refused([
            b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
            b"GET / HTTP/0.9\r\nHost: a\r\n\r\n",
        ], 505)

    def test_http2_where_it_is_not_spoken_is_505(self):
        gateway = self.gateway(config([route("all", "/", "origin")], {"origin": self.target.address},
                                      listener={"http2": {"disabled": True}}))
        self.assert_refused(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, gateway)

    def test_hosts(self):
        self.assert_all_refused([
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: user@a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n",
            b"GET http://user@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n",
        ])

    def test_paths(self):
        self.assert_all_refused([
            b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n"
            for path in (
                b"/a#b", b"/a\\b", b"/%00", b"/%zz", b"/%2", b"/a%2Fb", b"/a%5cb", b"/../etc/passwd",
                b"/a/../../b", b"/%2e%2e/b", b"/a\x7fb", b"/a\"\x01", "/ä".encode(),
            )
        ])

    def test_connection_may_not_name_fields_that_matter(self):
        self.assert_all_refused([
            HEAD + b"Content-Length: 0\r\nConnection: " + name + b"\r\n\r\n"
            for name in (b"Host", b"Content-Length", b"X-Forwarded-For", b"close, X-User-ID", b"Authorization")
        ])

    def test_connection_may_not_name_hundreds_of_fields(self):
        self.assert_refused(HEAD + b"Content-Length: 0\r\nConnection: " + b"a," * 300 + b"b\r\n\r\n")

    def test_another_expectation_is_417(self):
        self.assert_refused(HEAD + b"Expect: 200-ok\r\nContent-Length: 1\r\n\r\nx", 417)

    def test_the_gateway_still_serves(self):
        self.assert_served(request("/fine"))
        self.assert_served(b"\r\n" + request("/after-an-empty-line"))
        self.assert_served(HEAD + b"Transfer-Encoding:  chunked \r\n\r\n1\r\nx\r\n0\r\n\r\n")


class BadChunks(GatehouseTest):
    """Seen when the head is already on its way: the origin must never take the message for a whole one."""

    def test_bad_chunks(self):
        whole = []
        origin = self.origin(on_connection=lambda connection: whole.append(connection.request()))
        gateway = self.gateway(config([route("all", "/", "origin")], {"origin": origin.address}))
        head = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
        cases = [
            b"g\r\n", b"-1\r\n", b"+1\r\nx\r\n", b"0x1\r\nx\r\n", b" 1\r\nx\r\n", b"1 x\r\n", b"\r\n",
            b"00000000000000001\r\nx\r\n0\r\n\r\n", b"ffffffffffffffff\r\n", b"10000000000000000\r\n",
            b"1\nx\r\n0\r\n\r\n", b"1\r\nxx\r\n0\r\n\r\n", b"1\r\nx\n0\r\n\r\n", b"1\r\nx0\r\n\r\n",
            b"1;a=\x00\r\nx\r\n0\r\n\r\n", b"1;a=b\nc\r\nx\r\n0\r\n\r\n",
            b"1;" + b"e" * 70000 + b"\r\nx\r\n0\r\n\r\n",
            b"0\r\n\n", b"0\r\nX\r\n\r\n", b"0\r\n X: y\r\n\r\n", b"0\r\nX : y\r\n\r\n", b"0\r\n\rX",
        ]
        for body in cases:
            with self.subTest(body=body[:60]):
                with Client(gateway.address) as client:
                    client.send(head + body + SECOND)
                    response = client.response()
                    self.assertIn(response.status, (400, 431), response)
                    self.assertEqual(response["connection"], "close")
                    self.assertTrue(client.at_end())
        self.assertEqual([seen for seen in whole if seen is not None], [], "the origin got a whole request")

    def test_trailers_that_are_too_large(self):
        origin = self.origin()
        gateway = self.gateway(config([route("all", "/", "origin")], {"origin": origin.address}))
        with Client(gateway.address) as client:
            client.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X-A: " + b"a" * 200_000 + b"\r\n\r\n")
            self.assertEqual(client.response().status, 431)
        self.assertEqual(origin.requests, [])


class Forwarded(GatehouseTest):
    """What does go on is written by us, and carries nothing that the client had no right to say."""

    def seen_by_origin(self, *headers, **options):
        origin = self.origin()
        gateway = self.gateway(config([route("all", "/", "origin")], {"origin": origin.address}, **options))
        response = self.ask(gateway, "/x", headers=headers)
        self.assertEqual(response.status, 200, response)
        return origin.requests[0]

    def test_hop_by_hop_fields_stop_here(self):
        seen = self.seen_by_origin(
            "Connection: keep-alive, X-Secret", "X-Secret: 1", "Keep-Alive: timeout=5", "Proxy-Connection: x",
            "TE: gzip", "Proxy-Authorization: Basic abc", "Upgrade: h2c", "HTTP2-Settings: AAAA",
        )
        for name in ("X-Secret", "Keep-Alive", "Proxy-Connection", "TE", "Proxy-Authorization", "Upgrade",
                     "HTTP2-Settings"):
            self.assertNotIn(name, seen)

    def test_h2c_is_never_forwarded(self):
        seen = self.seen_by_origin("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAAA")
        self.assertNotIn("Upgrade", seen)
        self.assertNotIn("HTTP2-Settings", seen)

    def test_identity_fields_are_taken_out_in_every_spelling(self):
        seen = self.seen_by_origin(
            "X-User-ID: root", "x-user-id: root", "X_User_Id: root", "X-Roles: admin", "X-Tenant-ID: t",
            "X-Consumer-Plan: gold", "X-Original-URL: /admin", "X-Rewrite-URL: /admin", "Proxy: http://evil",
            "X-Forwarded-Client-Cert: x", "X-Gatehouse-Internal: 1", "X-Real-IP: 9.9.9.9",
            "Forwarded: for=9.9.9.9", "X-Forwarded-For: 9.9.9.9", "X-Forwarded-Proto: https",
            "X-Forwarded-Host: evil", "X-Forwarded-Port: 1",
        )
        self.assertEqual(seen.all("X-Forwarded-For"), ["127.0.0.1"])
        self.assertEqual(seen.all("X-Forwarded-Proto"), ["http"])
        self.assertEqual(seen.all("X-Forwarded-Host"), ["a.example"])
        names = {name.lower().replace("_", "-") for name, _ in seen.headers}
        for name in ("x-user-id", "x-roles", "x-tenant-id", "x-consumer-plan", "x-original-url", "x-rewrite-url",
                     "proxy", "x-forwarded-client-cert", "x-gatehouse-internal", "x-real-ip", "forwarded",
                     "x-forwarded-port"):
            self.assertNotIn(name, names)

    def test_underscores_by_policy(self):
        self.assertNotIn("my_header", self.seen_by_origin("my_header: x"))
        allowed = self.seen_by_origin("my_header: x", listener={"headers": {"underscores": "allow"}})
        self.assertEqual(allowed["my_header"], "x")
        origin = self.origin()
        gateway = self.gateway(config([route("all", "/", "o")], {"o": origin.address},
                                      listener={"headers": {"underscores": "reject"}}))
        self.assertEqual(self.ask(gateway, headers=["my_header: x"]).status, 400)

    def test_a_trusted_proxy_is_believed(self):
        seen = self.seen_by_origin(
            "X-Forwarded-For: 9.9.9.9, 198.51.100.7", "X-Forwarded-Proto: https", "X-User-ID: root",
            listener={"trusted_proxies": ["127.0.0.0/8"]},
        )
        self.assertEqual(seen.all("X-Forwarded-For"), ["9.9.9.9, 198.51.100.7, 127.0.0.1"])
        self.assertEqual(seen.all("X-Forwarded-Proto"), ["https"])
        self.assertNotIn("X-User-ID", seen)

    def test_paths_are_forwarded_in_one_form(self):
        origin = self.origin()
        gateway = self.gateway(config([route("all", "/", "origin")], {"origin": origin.address}))
        for sent, expected in (
            ("/a/./b", "/a/b"), ("/a/../b", "/b"), ("/a//b", "/a/b"), ("/%61%2d%7e", "/a-~"), ("/a%20b", "/a%20b"),
            ("/a/%2e%2e/b?q=/../x", "/b?q=/../x"),
        ):
            with self.subTest(sent=sent):
                origin.forget()
                with Client(gateway.address) as client:
                    client.send(f"GET {sent} HTTP/1.1\r\nHost: a\r\n\r\n".encode("latin-1"))
                    self.assertEqual(client.response().status, 200)
                self.assertEqual(origin.requests[0].target, expected)

    def test_escaped_slashes_by_policy(self):
        for policy, status, detail in (
            ("reject", 400, None), ("keep", 200, "/a%2Fb"), ("unescape_and_forward", 200, "/a/b"),
            ("unescape_and_redirect", 307, "/a/b"),
        ):
            with self.subTest(policy=policy):
                origin = self.origin()
                gateway = self.gateway(config([route("all", "/", "o")], {"o": origin.address},
                                              listener={"path": {"escaped_slashes": policy}}))
                response = self.ask(gateway, "/a%2fb")
                self.assertEqual(response.status, status)
                if status == 200:
                    self.assertEqual(origin.requests[0].target, detail)
                elif status == 307:
                    self.assertEqual(response["location"], detail)

    def test_responses_cannot_be_split(self):
        for reply in (
            b"HTTP/1.1 200 OK\r\nX-A: b\nSet-Cookie: evil=1\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX-A: b\r\n folded\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        ):
            with self.subTest(reply=reply):
                origin = self.origin(lambda connection, _, reply=reply: reply)
                gateway = self.gateway(config([route("all", "/", "origin")], {"origin": origin.address}))
                self.assert_problem(self.ask(gateway), 502, "upstream_protocol_error")

    def test_bytes_after_a_response_are_nobodys_response(self):
        evil = answer(200, b"evil")
        origin = self.origin(lambda *_: answer(200, b"good") + evil)
        gateway = self.gateway(config([route("all", "/", "origin")], {"origin": origin.address}))
        client = self.client(gateway)
        for _ in range(5):
            self.assertEqual(client.ask("/").body, b"good")
        self.assertEqual(origin.connections, 5)


if __name__ == "__main__":
    unittest.main()
