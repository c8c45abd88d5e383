"""Messages of all shapes go through whole and come out in a frame of our own."""

import threading
import unittest

from harness import GatehouseTest, config, route
from http_peers import answer, chunk, request


class FramingTest(GatehouseTest):
    def start(self, handler=None, **options):
        self.origin_ = self.origin(handler)
        settings = config([route("all", "/", "origin")], {"origin": self.origin_.address}, **options)
        return self.gateway(settings)


class Connections(FramingTest):
    def test_a_connection_is_kept_for_further_requests(self):
        gateway = self.start(lambda _, request: answer(200, request.target.encode()))
        client = self.client(gateway)
        for number in range(20):
            response = client.ask(f"/{number}")
            self.assertEqual((response.status, response.body), (200, b"/%d" % number))
            self.assertNotEqual(response["connection"], "close")
        self.assertEqual(gateway.metric("gatehouse_listener_connections_total"), 1)
        # The workers' pools are their own, but this was one client on one worker.
        self.assertEqual(self.origin_.connections, 1)

    def test_pipelined_requests_are_answered_in_order(self):
        gateway = self.start(lambda _, request: answer(200, request.target.encode()))
        client = self.client(gateway)
        client.send(b"".join(request(f"/{number}") for number in range(50)))
        for number in range(50):
            self.assertEqual(client.response().body, b"/%d" % number)

    def test_pipelined_requests_with_bodies(self):
        gateway = self.start(lambda _, request: answer(200, request.body))
        client = self.client(gateway)
        client.send(
            request("/a", "POST", body=b"first")
            + b"POST /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            + chunk(b"sec")
            + chunk(b"ond")
            + b"0\r\n\r\n"
            + request("/c", "POST", body=b"third")
        )
        self.assertEqual([client.response().body for _ in range(3)], [b"first", b"second", b"third"])

    def test_one_byte_at_a_time(self):
        gateway = self.start(lambda _, request: answer(200, request.body))
        client = self.client(gateway)
        for byte in request("/slow", "POST", headers=["X-A: b"], body=b"hello"):
            client.send(bytes([byte]))
        self.assertEqual(client.response().body, b"hello")

    def test_connection_close_is_honoured(self):
        gateway = self.start()
        client = self.client(gateway)
        response = client.ask("/", headers=["Connection: close"])
        self.assertEqual((response.status, response["connection"]), (200, "close"))
        self.assertTrue(client.at_end())

    def test_an_origin_that_closes_does_not_close_the_client(self):
        gateway = self.start(lambda _, request: answer(200, b"x", ["Connection: close"]))
        client = self.client(gateway)
        for _ in range(5):
            response = client.ask("/")
            self.assertEqual(response.status, 200)
            self.assertIsNone(response["connection"])
        self.assertEqual(self.origin_.connections, 5)

    def test_requests_per_connection_are_limited(self):
        gateway = self.start(listener={"http1": {"max_requests_per_connection": 3}})
        client = self.client(gateway)
        told = [client.ask("/")["connection"] for _ in range(3)]
        self.assertEqual(told, [None, None, "close"])
        self.assertTrue(client.at_end())

    def test_a_client_that_has_shut_its_side_still_gets_the_answer(self):
        gateway = self.start(lambda _, request: answer(200, request.body))
        client = self.client(gateway)
        client.send(request("/", "POST", body=b"all of it"))
        client.half_close()
        self.assertEqual(client.response().body, b"all of it")
        self.assertTrue(client.at_end())

    def test_a_client_that_leaves_in_the_middle_of_its_body_reaches_no_second_request(self):
        gateway = self.start()
        client = self.client(gateway)
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n1234")
        client.close()
        record = gateway.log(1)[0]
        self.assertEqual(record["code"], "client_abort")
        self.assertIn("DC", record["flags"])
        self.assertEqual(self.ask(gateway).status, 200)


class Http10(FramingTest):
    def test_without_host_and_until_close(self):
        def handler(connection, _):
            connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"abc") + b"0\r\n\r\n")

        gateway = self.start(handler)
        client = self.client(gateway)
        client.send(b"GET /old HTTP/1.0\r\n\r\n")
        response = client.response()
        self.assertTrue(response.start_line.startswith("HTTP/1.1 200"), response)
        self.assertNotIn("transfer-encoding", response)
        self.assertEqual(response.body, b"abc")
        self.assertTrue(client.at_end())
        # An empty Host is refused by many origins.
        self.assertEqual(self.origin_.requests[0].all("host"), [self.origin_.address])

    def test_keep_alive_when_asked_for(self):
        gateway = self.start()
        client = self.client(gateway)
        for _ in range(3):
            client.send(b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
            response = client.response()
            self.assertEqual(response["connection"], "keep-alive")
            self.assertEqual(response.body, b"hello")

    def test_closed_when_not(self):
        gateway = self.start()
        client = self.client(gateway)
        client.send(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
        self.assertEqual(client.response().body, b"hello")
        self.assertTrue(client.at_end())

    def test_refused_when_the_listener_says_so(self):
        gateway = self.start(listener={"http1": {"allow_http10": False}})
        client = self.client(gateway)
        client.send(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
        self.assert_problem(client.response(), 505, "version_not_supported")
        self.assertEqual(self.origin_.requests, [])

    def test_an_origin_of_1_0(self):
        gateway = self.start(lambda *_: b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        client = self.client(gateway)
        for _ in range(3):
            self.assertEqual(client.ask("/").body, b"hi")


class Chunked(FramingTest):
    def test_requests_are_framed_anew(self):
        gateway = self.start(lambda _, request: answer(200, request.body))
        client = self.client(gateway)
        client.send(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"5;name=\"a value\"\r\nhello\r\n000006\r\n world\r\n0\r\n\r\n"
        )
        self.assertEqual(client.response().body, b"hello world")
        seen = self.origin_.requests[0]
        self.assertTrue(seen.chunked)
        self.assertNotIn("content-length", seen)
        self.assertEqual(seen.all("transfer-encoding"), ["chunked"])

    def test_responses_are_framed_anew(self):
        def handler(connection, _):
            connection.send(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n"
            )

        gateway = self.start(handler)
        response = self.ask(gateway)
        self.assertTrue(response.chunked)
        self.assertEqual(response.body, b"abcdef")

    def test_trailers_pass_both_ways(self):
        def handler(connection, request):
            self.assertEqual(request.trailers, [("X-Checksum", "in")])
            connection.send(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Checksum\r\n\r\n"
                + chunk(b"body")
                + b"0\r\nX-Checksum: out\r\n\r\n"
            )

        gateway = self.start(handler)
        client = self.client(gateway)
        client.send(
            b"POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n"
            + chunk(b"body")
            + b"0\r\nX-Checksum: in\r\n\r\n"
        )
        response = client.response()
        self.assertEqual(response.trailers, [("X-Checksum", "out")])
        self.assertEqual(self.origin_.requests[0]["te"], "trailers")

    def test_trailers_cannot_smuggle_fields_that_matter(self):
        gateway = self.start(lambda _, request: answer(200, b"ok"))
        client = self.client(gateway)
        client.send(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            + chunk(b"body")
            + b"0\r\nHost: evil.example\r\nContent-Length: 5\r\nX-User-ID: root\r\nX-Fine: yes\r\n\r\n"
        )
        self.assertEqual(client.response().status, 200)
        self.assertEqual(self.origin_.requests[0].trailers, [("X-Fine", "yes")])

    def test_a_response_that_ends_with_the_connection(self):
        def handler(connection, _):
            connection.send(b"HTTP/1.1 200 OK\r\n\r\nfirst ")
            connection.send(b"second")
            return self.origin_.CLOSE

        gateway = self.start(handler)
        client = self.client(gateway)
        for _ in range(2):
            response = client.ask("/")
            self.assertTrue(response.chunked, "1.1 clients learn where it ends")
            self.assertEqual(response.body, b"first second")

    def test_chunks_arrive_as_they_are_sent(self):
        steps = self.origin_steps()
        gateway = self.start(steps)
        client = self.client(gateway)
        client.send(request("/stream"))
        head = client.head()
        self.assertEqual(head["transfer-encoding"], "chunked")
        for piece in (b"one", b"two", b"three"):
            self.assertEqual(client.take(len(chunk(piece))), chunk(piece))
            # The origin sends the next one only when this one has come through.
            self.origin_go.release()
        self.assertEqual(client.take(5), b"0\r\n\r\n")

    def origin_steps(self):
        self.origin_go = threading.Semaphore(0)

        def handler(connection, _):
            connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for piece in (b"one", b"two", b"three"):
                connection.send(chunk(piece))
                self.origin_go.acquire()
            connection.send(b"0\r\n\r\n")

        return handler


class NoBody(FramingTest):
    def test_head_keeps_the_length_and_the_connection(self):
        gateway = self.start(lambda *_: b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n")
        client = self.client(gateway)
        for _ in range(3):
            response = client.ask("/file", "HEAD")
            self.assertEqual((response.status, response["content-length"]), (200, "12345"))
        self.assertEqual(self.origin_.connections, 1)
        self.assertEqual(client.buffer, b"")

    def test_head_of_a_chunked_response(self):
        gateway = self.start(lambda *_: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        client = self.client(gateway)
        for _ in range(3):
            self.assertEqual(client.ask("/", "HEAD").status, 200)
        self.assertEqual(self.origin_.connections, 1)

    def test_204_and_304(self):
        def handler(_, request):
            if request.target == "/204":
                return b"HTTP/1.1 204 No Content\r\n\r\n"
            return b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\nETag: \"a\"\r\n\r\n"

        gateway = self.start(handler)
        client = self.client(gateway)
        response = client.ask("/204")
        self.assertEqual(response.status, 204)
        self.assertNotIn("content-length", response)
        self.assertNotIn("transfer-encoding", response)
        self.assertEqual(client.ask("/304")["etag"], '"a"')
        self.assertEqual(client.ask("/204").status, 204)

    def test_a_204_with_a_length_does_not_poison_the_connection(self):
        reply = b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nEVIL!"
        gateway = self.start(lambda *_: reply)
        client = self.client(gateway)
        for _ in range(3):
            response = client.ask("/")
            self.assertEqual(response.status, 204)
            self.assertNotIn("content-length", response)
        self.assertEqual(self.origin_.connections, 3)

    def test_an_empty_body_with_a_length_of_zero(self):
        gateway = self.start(lambda *_: answer(200, b""))
        client = self.client(gateway)
        self.assertEqual(client.ask("/", "POST", body=b"")["content-length"], "0")
        self.assertEqual(self.origin_.requests[0]["content-length"], "0")

    def test_a_get_without_a_body_is_sent_without_a_frame(self):
        gateway = self.start()
        self.ask(gateway)
        seen = self.origin_.requests[0]
        self.assertNotIn("content-length", seen)
        self.assertNotIn("transfer-encoding", seen)

    def test_a_get_with_a_body_keeps_it(self):
        gateway = self.start(lambda _, request: answer(200, request.body))
        client = self.client(gateway)
        self.assertEqual(client.ask("/", "GET", body=b"odd but legal").body, b"odd but legal")
        self.assertEqual(client.ask("/", "GET", body=b"again").body, b"again")


class Expect(FramingTest):
    def test_100_is_given_before_the_body_is_sent(self):
        gateway = self.start(lambda _, request: answer(200, request.body))
        client = self.client(gateway)
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        self.assertEqual(client.head().status, 100)
        client.send(b"body")
        self.assertEqual(client.response().body, b"body")
        self.assertNotIn("expect", self.origin_.requests[0])
        self.assertEqual(client.ask("/", "POST", body=b"next").body, b"next")

    def test_a_body_that_does_not_wait(self):
        gateway = self.start(lambda _, request: answer(200, request.body))
        client = self.client(gateway)
        client.send(request("/", "POST", headers=["Expect: 100-continue"], body=b"eager"))
        self.assertEqual(client.response().body, b"eager")

    def test_a_refusal_comes_instead_of_100(self):
        gateway = self.start()
        client = self.client(gateway)
        client.send(
            b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n"
        )
        response = client.response()
        self.assert_problem(response, 413, "body_too_large")
        self.assertEqual(response.interim, [])
        self.assertEqual(self.origin_.requests, [])

    def test_another_expectation_is_417(self):
        gateway = self.start()
        response = self.ask(gateway, "/", "POST", headers=["Expect: miracles"], body=b"x")
        self.assert_problem(response, 417, "expectation_failed")
        self.assertEqual(self.origin_.requests, [])


class Interim(FramingTest):
    def test_103_passes(self):
        hint = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
        gateway = self.start(lambda *_: hint + answer(200, b"page"))
        response = self.ask(gateway)
        self.assertEqual([(one.status, one["link"]) for one in response.interim], [(103, "</a.css>; rel=preload")])
        self.assertEqual(response.body, b"page")

    def test_103_does_not_reach_a_1_0_client(self):
        gateway = self.start(lambda *_: b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + answer(200, b"page"))
        client = self.client(gateway)
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        self.assertEqual(client.head().status, 200)

    def test_an_endless_row_of_1xx_is_a_broken_origin(self):
        gateway = self.start(lambda *_: b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100)
        self.assert_problem(self.ask(gateway), 502, "upstream_protocol_error")

    def test_100_of_the_origin_is_kept_back(self):
        gateway = self.start(lambda *_: b"HTTP/1.1 100 Continue\r\n\r\n" + answer(200, b"x"))
        response = self.ask(gateway, "/", "POST", body=b"y")
        self.assertEqual((response.status, response.interim), (200, []))


class Targets(FramingTest):
    def test_absolute_form_wins_over_host(self):
        gateway = self.start()
        client = self.client(gateway)
        client.send(b"GET http://real.example/path?q=1 HTTP/1.1\r\nHost: other.example\r\n\r\n")
        self.assertEqual(client.response().status, 200)
        seen = self.origin_.requests[0]
        self.assertEqual(seen.target, "/path?q=1")
        self.assertEqual(seen.all("host"), ["real.example"])

    def test_absolute_form_without_a_path(self):
        gateway = self.start()
        client = self.client(gateway)
        client.send(b"GET http://real.example?q=1 HTTP/1.1\r\nHost: real.example\r\n\r\n")
        self.assertEqual(client.response().status, 200)
        self.assertEqual(self.origin_.requests[0].target, "/?q=1")

    def test_options_asterisk_is_answered_here(self):
        gateway = self.start()
        client = self.client(gateway)
        client.send(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
        response = client.response()
        self.assertEqual(response.status, 204)
        self.assertIn("GET", response["allow"])
        self.assertEqual(self.origin_.requests, [])
        self.assertEqual(client.ask("/").status, 200)

    def test_connect_and_trace_are_refused(self):
        gateway = self.start()
        for head in (b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n",
                     b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n"):
            with self.subTest(head=head):
                client = self.client(gateway)
                client.send(head)
                response = client.response()
                self.assert_problem(response, 405, "method_not_allowed")
                self.assertIn("GET", response["allow"])
        self.assertEqual(self.origin_.requests, [])

    def test_unknown_methods_pass(self):
        gateway = self.start()
        for method in ("PROPFIND", "QUERY", "M-SEARCH"):
            self.assertEqual(self.ask(gateway, "/", method).status, 200)
        self.assertEqual([seen.method for seen in self.origin_.requests], ["PROPFIND", "QUERY", "M-SEARCH"])


class EarlyResponse(FramingTest):
    def test_an_answer_before_the_end_of_the_body(self):
        def on_connection(connection):
            connection.request_head()
            connection.send(answer(403, b"no", ["Connection: close"]))
            connection.take_all()

        origin = self.origin(on_connection=on_connection)
        gateway = self.gateway(config([route("all", "/", "origin")], {"origin": origin.address}))
        client = self.client(gateway)
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\n" + b"x" * 1000)
        response = client.response()
        self.assertEqual((response.status, response.body), (403, b"no"))
        # 50 MB are not worth reading to save a connection.
        self.assertEqual(response["connection"], "close")

    def test_a_small_rest_is_read_and_the_connection_kept(self):
        def on_connection(connection):
            connection.request_head()
            connection.send(answer(200, b"early"))
            connection.take_all()

        origin = self.origin(on_connection=on_connection)
        gateway = self.gateway(config([route("all", "/", "origin")], {"origin": origin.address}))
        client = self.client(gateway)
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n" + b"x" * 500)
        response = client.response()
        self.assertEqual(response.body, b"early")
        if response["connection"] != "close":
            client.send(b"x" * 500)
            self.assertEqual(client.ask("/").body, b"early")
        # The connection with half a request on it was not used for another one.
        self.assertTrue(all(seen.method == "POST" or seen.body == b"" for seen in origin.requests))


if __name__ == "__main__":
    unittest.main()
