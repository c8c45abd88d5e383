"""The protocol matrix: {h1, h2} x {plain, TLS} with clients times the same with origins. What a gateway does must not
depend on it, so each behaviour is one test here, and sixteen classes run it."""

import itertools
import json
import os
import queue
import select
import shutil
import tempfile
import threading
import unittest

from harness import GatehouseTest, Gateway, config, route, wait_until
from http_peers import PATIENCE, Closed, free_port
from protocol_peers import CALLERS, ORIGINS
from tls_material import TlsMaterial

HOP_BY_HOP = ("connection", "keep-alive", "proxy-connection", "x-hop", "upgrade", "te", "transfer-encoding")
LOGGED = ["path", "method", "scheme", "host", "protocol", "status", "flags", "code", "route", "cluster", "upstream_address",
          "upstream_status", "attempts", "request_bytes", "response_bytes", "client_ip", "request_id", "tls_version",
          "tls_cipher", "tls_server_name"]
MEGABYTE = 1 << 20


class Scripts:
    """What the origin does, by the last part of the path."""

    def __init__(self):
        self.go = queue.Queue()
        self.told = queue.Queue()
        self.counts = {}
        self.stop = threading.Event()

    def forget(self):
        self.go, self.told, self.counts, self.stop = queue.Queue(), queue.Queue(), {}, threading.Event()

    def __call__(self, stream):
        name = stream.path.split("?")[0].rpartition("/")[2].replace("-", "_")
        script = getattr(self, "on_" + name, None)
        return script(stream) if script else self.tell(stream)

    @staticmethod
    def tell(stream):
        stream.read_body()
        fields = [pair for pair in stream.fields if not pair[0].startswith(":") and pair[0] != "host"]
        stream.respond(200, json.dumps({
            "method": stream.method, "path": stream.path, "authority": stream.authority, "fields": fields,
            "size": len(stream.body), "trailers": stream.trailers}).encode())

    def on_echo(self, stream):
        stream.respond(200, stream.read_body())

    def on_echo_in_pieces(self, stream):
        stream.start(200)
        while piece := stream.read():
            stream.write(piece)
        stream.finish()

    def on_bytes(self, stream):
        size = int(stream.path.partition("?")[2])
        stream.read_body()
        stream.respond(200, b"0123456789abcdef" * (size // 16) + b"0123456789abcdef"[:size % 16])

    def on_pieces(self, stream):
        stream.read_body()
        stream.start(200)
        for _ in range(10):
            stream.write(b"x" * 1000)
        stream.finish()

    def on_trailers(self, stream):
        stream.read_body()
        stream.respond(200, b"body", [("trailer", "x-sum")], [("x-sum", "42")])

    def on_hints(self, stream):
        stream.read_body()
        stream.inform(103, [("link", "</a.css>; rel=preload")])
        stream.inform(103, [("link", "</b.css>; rel=preload")])
        stream.respond(200, b"page")

    def on_empty(self, stream):
        stream.read_body()
        stream.respond(204)

    def on_forbid(self, stream):
        stream.respond(403, b"no")

    def on_not_modified(self, stream):
        stream.read_body()
        stream.start(304, [("etag", '"x"')], end=True)

    def on_large_head(self, stream):
        stream.read_body()
        stream.respond(200, b"x", [("x-large", "v" * 40_000)])

    def on_too_large_head(self, stream):
        stream.read_body()
        stream.respond(200, b"x", [(f"x-large-{number}", "v" * 10_000) for number in range(7)])

    def on_hop_by_hop(self, stream):
        stream.read_body()
        fields = [("x-kept", "1"), ("server", "origin/1"), ("x-powered-by", "x")]
        if not hasattr(stream, "number"):  # HTTP/2 cannot say them
            fields += [("Connection", "X-Hop"), ("X-Hop", "1"), ("Keep-Alive", "timeout=9"), ("Proxy-Connection", "x")]
        stream.respond(200, b"x", fields)

    def on_early(self, stream):
        stream.respond(409, b"no need")
        while stream.read():
            pass

    def on_break(self, stream):
        stream.read_body()
        stream.break_off()

    def on_break_later(self, stream):
        stream.read_body()
        stream.start(200)
        stream.write(b"half")
        self.go.get(timeout=PATIENCE)
        stream.break_off()

    def on_break_later_with_length(self, stream):
        stream.read_body()
        stream.start(200, length=1000)
        stream.write(b"half")
        self.go.get(timeout=PATIENCE)
        stream.break_off()

    def on_hold(self, stream):
        stream.read_body()
        self.told.put(stream.wait_abort())

    def on_hold_after_head(self, stream):
        stream.read_body()
        stream.start(200)
        stream.write(b"begun")
        self.told.put(stream.wait_abort())

    def on_hold_body(self, stream):
        stream.read()
        self.go.put(None)
        try:
            while stream.read():
                pass
        except (Closed, OSError):
            self.told.put("aborted")
            raise
        self.told.put("ended")

    def on_events(self, stream):
        stream.read_body()
        stream.start(200, [("content-type", "text/event-stream")])
        for number in range(5):
            stream.write(b"data: %d\n\n" % number)
            self.go.get(timeout=PATIENCE)
        stream.finish()

    def on_endless(self, stream):
        stream.read_body()
        stream.start(200)
        self.counts["written"] = 0
        while not self.stop.is_set():
            stream.write(b"y" * 16384)
            self.counts["written"] += 16384
        stream.finish()

    def on_deaf(self, stream):
        self.go.get(timeout=PATIENCE)
        stream.respond(200, b"%d" % len(stream.read_body()))

    def on_sometimes(self, stream):
        """Fails at first."""
        stream.read_body()
        self.counts["asked"] = self.counts.get("asked", 0) + 1
        stream.respond(503 if self.counts["asked"] == 1 else 200, stream.body)

    def on_refuse_once(self, stream):
        self.counts["asked"] = self.counts.get("asked", 0) + 1
        if self.counts["asked"] == 1:
            stream.refuse()
        else:
            stream.respond(200, stream.read_body())

    def on_refuse(self, stream):
        stream.refuse()

    def on_ws(self, stream):
        if "sec-websocket-version" not in stream:
            return stream.respond(426, b"websocket only")
        self.told.put(stream.fields)
        stream.accept_websocket()
        try:
            while piece := stream.read():
                stream.write(piece)
                if b"the origin ends" in piece:
                    break
        except (Closed, OSError):
            self.told.put("aborted")
            raise
        self.told.put("ended")
        return stream.finish()


class Behaviour:
    """Once for each pairing. `client`, `client_tls`, `server`, `server_tls` say which."""

    @classmethod
    def setUpClass(cls):
        cls.material = TlsMaterial.shared()
        cls.scripts = Scripts()
        cls.target = ORIGINS[cls.server](cls.scripts, tls=cls.material.server_context(
            alpn=["h2" if cls.server == "h2" else "http/1.1"]) if cls.server_tls else None)
        folder = tempfile.mkdtemp(prefix="ghm", dir="/tmp")
        cls.addClassCleanup(shutil.rmtree, folder, ignore_errors=True)
        cls.addClassCleanup(cls.target.close)
        cls.edge = Gateway(cls.settings(folder), folder)
        cls.addClassCleanup(cls.finish)

    @classmethod
    def finish(cls):
        code = cls.edge.stop()
        if code != 0:
            raise AssertionError(f"exit code {code}: {cls.edge.stderr}")

    @classmethod
    def settings(cls, folder):
        cls.dead = f"127.0.0.1:{free_port()}"
        shared = {"protocol": "http2" if cls.server == "h2" else "http1"}
        if cls.server_tls:
            shared["tls"] = cls.material.cluster_tls()
        clusters = {
            "origin": {"endpoints": [cls.target.address], **shared},
            "gone": {"endpoints": [cls.dead], **shared},
            "half": {"endpoints": [cls.dead, cls.target.address], **shared},
        }
        listener = {
            "headers": {"via": "gate", "remove_from_responses": ["x-powered-by"]},
            "access_log": {"path": os.path.join(folder, "access.log"), "fields": LOGGED},
        }
        if cls.client_tls:
            listener["tls"] = cls.material.listener_tls()
        changes = {"headers": {"request": {"set": {"x-set": "$(client_ip)"}, "remove": ["x-gone"]},
                               "response": {"set": {"x-scheme": "$(scheme)"}, "remove": ["content-type"]}}}
        return config([
            route("origin", "/o", "origin", timeout="60s"),
            route("slow", "/slow", "origin", timeout="150ms"),
            route("idle", "/idle", "origin", idle_timeout="150ms"),
            route("gone", "/gone", "gone"),
            route("half", "/half", "half", retry={"on": ["connect-failure"], "backoff": "1ms"}),
            route("again", "/again", "origin", retry={"on": ["503"], "backoff": "1ms"}),
            route("ws", "/up", "origin", upgrade=["websocket"]),
            route("small", "/small", "origin", max_body_bytes=10),
            route("changed", "/changed", "origin", filters=[changes]),
            route("rewritten", "/before", {"cluster": "origin", "rewrite_prefix": "/o/after",
                                           "rewrite_host": "inner.example"}),
            {"name": "moved", "match": {"path_prefix": "/old"}, "redirect": {"prefix": "/new", "status": 308}},
            {"name": "said", "match": {"path": "/said"}, "respond": {"template": "$(method) $(scheme) $(host)"}},
            {"name": "read", "match": {"path": "/only", "methods": ["GET"]}, "forward": "origin"},
        ], clusters, listener, secrets=cls.material.secrets(), workers=1)

    def setUp(self):
        self.scripts.forget()
        self.target.forget()

    def tearDown(self):
        self.assertEqual(self.target.failures, [], "the origin's script failed")

    def caller(self, **options):
        made = CALLERS[self.client](self.edge.address, tls=self.material.client_context() if self.client_tls else None,
                                    **options)
        self.addCleanup(made.close)
        return made

    def ask(self, *arguments, **options):
        with self.caller() as caller:
            return caller.ask(*arguments, **options)

    def told(self, *arguments, **options):
        reply = self.ask(*arguments, **options)
        self.assertEqual(reply.status, 200, reply)
        return json.loads(reply.body)

    def assert_problem(self, reply, status, code):
        self.assertFalse(reply.broken, reply)
        self.assertEqual((reply.status, reply["content-type"]), (status, "application/problem+json"), reply)
        problem = json.loads(reply.body)
        self.assertEqual((problem["status"], problem["code"]), (status, code))

    # Methods and bodies.

    def test_methods(self):
        with self.caller() as caller:
            for method in ("GET", "DELETE", "OPTIONS"):
                told = json.loads(caller.ask("/o/tell?a=1", method).body)
                self.assertEqual((told["method"], told["path"], told["authority"], told["size"]),
                                 (method, "/o/tell?a=1", "a.example", 0))
            for method in ("POST", "PUT", "PATCH", "DELETE"):
                told = json.loads(caller.ask("/o/tell", method, body=b"12345").body)
                self.assertEqual((told["method"], told["size"]), (method, 5))
                self.assertIn(["content-length", "5"], told["fields"])

    def test_head(self):
        with self.caller() as caller:
            reply = caller.ask("/o/bytes?1000", "HEAD")
            self.assertEqual((reply.status, reply["content-length"], reply.body, reply.broken), (200, "1000", b"", False))
            self.assertEqual(caller.ask("/o/bytes?10").body, b"0123456789")

    def test_no_body_by_status(self):
        with self.caller() as caller:
            for path, status in (("/o/empty", 204), ("/o/not-modified", 304), ("/o/empty", 204)):
                reply = caller.ask(path)
                self.assertEqual((reply.status, reply.body, reply.broken), (status, b"", False))

    def test_bodies_with_a_length(self):
        with self.caller() as caller:
            for size in (0, 1, 16384, MEGABYTE):
                body = os.urandom(size)
                reply = caller.ask("/o/echo", "POST", body=body)
                self.assertEqual((reply.status, reply["content-length"], reply.broken), (200, str(size), False), size)
                self.assertTrue(reply.body == body, size)

    def test_bodies_without_a_length(self):
        with self.caller() as caller:
            for sizes in ((), (1,), (16384, 1), (100_000, 5, 100_000)):
                pieces = [os.urandom(size) for size in sizes]
                reply = caller.ask("/o/echo-in-pieces", "PUT", pieces=pieces)
                self.assertEqual((reply.status, reply.broken), (200, False), sizes)
                self.assertTrue(reply.body == b"".join(pieces), sizes)
                self.assertNotIn("content-length", reply)
            self.assertEqual(len(caller.ask("/o/pieces").body), 10_000)

    def test_both_ways_at_once(self):
        with self.caller() as caller:
            call = caller.begin("/o/echo-in-pieces", "POST", length=None, end=False)
            for number in range(5):
                call.write(b"piece %d" % number)
                self.assertEqual(call.read(), b"piece %d" % number)
            call.finish()
            self.assertEqual(call.read(), b"")

    def test_an_answer_before_the_body(self):
        with self.caller() as caller:
            call = caller.begin("/o/early", "POST", length=100_000, end=False)
            self.assertEqual(call.head().status, 409)
            reply = call.reply()
            self.assertEqual((reply.body, reply.broken), (b"no need", False))

    def test_trailers_of_requests(self):
        told = self.told("/o/tell", "POST", pieces=[b"body"], trailers=[("X-Sum", "42")],
                         fields=[("Trailer", "X-Sum")])
        self.assertEqual((told["size"], told["trailers"]), (4, [["x-sum", "42"]]))

    def test_trailers_of_responses(self):
        reply = self.ask("/o/trailers", fields=[("TE", "trailers")])
        self.assertEqual((reply.body, reply.trailers, reply.broken), (b"body", [("x-sum", "42")], False))

    def test_a_request_that_is_only_trailers_after_no_body(self):
        told = self.told("/o/tell", "POST", pieces=[], trailers=[("x-sum", "0")])
        self.assertEqual((told["size"], told["trailers"]), (0, [["x-sum", "0"]]))

    def test_hints(self):
        with self.caller() as caller:
            reply = caller.ask("/o/hints")
            self.assertEqual([(status, dict(fields)["link"]) for status, fields in reply.interim],
                             [(103, "</a.css>; rel=preload"), (103, "</b.css>; rel=preload")])
            self.assertEqual((reply.status, reply.body), (200, b"page"))
            self.assertEqual(caller.ask("/o/tell").interim, [])

    def test_expect_100(self):
        with self.caller() as caller:
            call = caller.begin("/o/echo", "POST", length=4, end=False, fields=[("Expect", "100-continue")])
            self.assertEqual(call.interim()[0], 100)
            call.write(b"body", end=True)
            self.assertEqual(call.reply().body, b"body")
            self.assertNotIn("expect", self.target.requests[0])

    def test_expect_100_of_who_is_refused(self):
        with self.caller() as caller:
            call = caller.begin("/small/echo", "POST", length=100, end=False, fields=[("Expect", "100-continue")])
            reply = call.reply()
            self.assert_problem(reply, 413, "body_too_large")
            self.assertEqual(reply.interim, [])
            self.assertEqual(self.target.requests, [])

    # Limits.

    def test_large_heads(self):
        told = self.told("/o/tell", fields=[("x-large", "v" * 40_000)])
        self.assertIn(["x-large", "v" * 40_000], told["fields"])
        self.assertEqual(self.ask("/o/large-head")["x-large"], "v" * 40_000)

    def test_too_large_heads(self):
        self.assert_problem(self.ask("/o/tell", fields=[("x-large", "v" * 64_000)]), 431, "headers_too_large")
        self.assert_problem(self.ask("/o/tell", fields=[(f"x-{n}", "v") for n in range(101)]), 431, "headers_too_large")
        self.assertEqual(self.target.requests, [])

    def test_a_too_large_head_of_the_origin(self):
        self.assert_problem(self.ask("/o/too-large-head"), 502, "response_too_large")
        self.assertEqual(self.ask("/o/tell").status, 200)

    def test_a_too_long_target(self):
        self.assert_problem(self.ask("/o/" + "a" * 9000), 414, "uri_too_long")

    def test_a_bad_request(self):
        for path in ("/o/a%2Fb", "/o/%zz"):
            self.assertEqual(self.ask(path).status, 400, path)
        self.assertEqual(self.target.requests, [])

    def test_a_too_large_body(self):
        self.assert_problem(self.ask("/small/echo", "POST", body=b"x" * 11), 413, "body_too_large")
        self.assertEqual(self.ask("/small/echo", "POST", pieces=[b"x" * 11]).status, 413)
        self.assertEqual(self.ask("/small/echo", "POST", body=b"x" * 10).status, 200)

    # What the gateway says by itself.

    def test_no_route(self):
        self.assert_problem(self.ask("/nowhere"), 404, "no_route")

    def test_a_method_that_is_not_allowed(self):
        reply = self.ask("/only", "PUT", body=b"x")
        self.assert_problem(reply, 405, "method_not_allowed")
        self.assertIn("GET", reply["allow"])

    def test_redirect(self):
        reply = self.ask("/old/page?x=1")
        scheme = "https" if self.client_tls else "http"
        self.assertEqual((reply.status, reply["location"]), (308, f"{scheme}://a.example/new/page?x=1"))

    def test_respond(self):
        with self.caller() as caller:
            scheme = "https" if self.client_tls else "http"
            self.assertEqual(caller.ask("/said").body, f"GET {scheme} a.example".encode())
            reply = caller.ask("/said", "HEAD")
            self.assertEqual((reply.status, reply.body), (200, b""))
            self.assertEqual(caller.ask("/said", "POST", body=b"x" * 1000).status, 200)
            self.assertEqual(caller.ask("/o/tell").status, 200)

    # Origins that fail.

    def test_nobody_listens(self):
        self.assert_problem(self.ask("/gone/log"), 503, "connect_failure")
        record = self.edge.record(path="/gone/log")
        self.assertEqual((record["status"], "UF" in record["flags"]), (503, True))

    def test_another_endpoint_after_a_connect_failure(self):
        with self.caller() as caller:
            for number in range(4):
                reply = caller.ask("/half/echo", "POST", body=b"%d" % number)
                self.assertEqual((reply.status, reply.body), (200, b"%d" % number))

    def test_a_break_before_the_head(self):
        with self.caller() as caller:
            self.assert_problem(caller.ask("/o/break", "POST", body=b"x"), 502, "upstream_reset")
            self.assertEqual(len(self.target.requests), 1)
            self.assertEqual(caller.ask("/o/tell").status, 200)

    def test_a_break_after_the_head(self):
        """What broke off must not look whole."""
        for path in ("/o/break-later", "/o/break-later-with-length"):
            with self.caller() as caller:
                call = caller.begin(path)
                self.assertEqual(call.read(), b"half")
                self.scripts.go.put(None)
                reply = call.reply()
                self.assertTrue(reply.broken, reply)
            self.assertEqual(self.ask("/o/tell").status, 200)

    def test_a_slow_origin(self):
        with self.caller() as caller:
            self.assert_problem(caller.ask("/slow/hold"), 504, "upstream_timeout")
            self.scripts.told.get(timeout=PATIENCE)  # it is told to stop
            self.assertEqual(caller.ask("/o/tell").status, 200)

    def test_an_idle_origin(self):
        with self.caller() as caller:
            self.assertEqual(caller.ask("/idle/hold").status, 504)
            self.scripts.told.get(timeout=PATIENCE)

    def test_a_slow_body(self):
        """The time is up after the head: broken off."""
        reply = self.ask("/slow/hold-after-head")
        self.assertEqual((reply.status, reply.broken), (200, True), reply)
        self.scripts.told.get(timeout=PATIENCE)

    def test_a_retry(self):
        reply = self.ask("/again/sometimes", "PUT", body=b"again")
        self.assertEqual((reply.status, reply.body, self.scripts.counts), (200, b"again", {"asked": 2}))
        self.assertEqual(self.edge.record(path="/again/sometimes")["attempts"], 2)

    def test_refused_streams_are_tried_again(self):
        """RFC 9113, section 8.7: nothing was processed, so any method may be."""
        if self.server != "h2":
            self.skipTest("HTTP/1.1 refuses no streams")
        for method in ("GET", "POST"):
            self.scripts.forget()
            reply = self.ask("/o/refuse-once", method, body=b"x")
            self.assertEqual((reply.status, reply.body, self.scripts.counts), (200, b"x", {"asked": 2}), method)
        self.assertEqual(self.ask("/o/refuse").status, 503)

    # Flow.

    def test_an_abort_reaches_the_origin(self):
        for path in ("/o/hold", "/o/hold-after-head"):
            with self.caller() as caller:
                call = caller.begin(path)
                self.target.next_request()
                if path.endswith("head"):
                    self.assertEqual(call.read(), b"begun")
                call.abort()
                self.scripts.told.get(timeout=PATIENCE)
        wait_until(lambda: self.edge.metric("gatehouse_cluster_active_requests") == 0, "no attempt is left")

    def test_a_client_that_vanishes_reaches_the_origin(self):
        with self.caller() as caller:
            caller.begin("/o/hold")
            self.target.next_request()
            caller.vanish()
            self.scripts.told.get(timeout=PATIENCE)

    def test_an_abort_in_the_middle_of_a_body_reaches_the_origin(self):
        with self.caller() as caller:
            call = caller.begin("/o/hold-body", "POST", length=1000, end=False)
            call.write(b"half")
            self.scripts.go.get(timeout=PATIENCE)
            call.abort()
            self.assertEqual(self.scripts.told.get(timeout=PATIENCE), "aborted")

    def test_a_slow_client_stops_the_origin(self):
        options = {"credit": False} if self.client == "h2" else {}
        with self.caller(receive_buffer=16384, **options) as caller:
            call = caller.begin("/o/endless")
            self.assertEqual(call.head().status, 200)
            written = self.stalled()
            # Ours, and what the kernel holds of two connections.
            kernel = self.client == "h1" or self.server == "h1"
            self.assertLess(written, 24 * MEGABYTE if kernel else 2 * MEGABYTE)
            self.assertLess(self.edge.metric("gatehouse_server_slab_bytes"), 4 * MEGABYTE)
            self.scripts.stop.set()
            if self.client == "h2":
                caller.wire.credit = True
                caller.wire.keep = False
                for stream in (call.number, 0):
                    caller.wire.grant(stream, 1 << 20)
                caller.wire.wait(lambda: call.state.over)
                self.assertEqual((call.state.size, call.state.ended), (self.scripts.counts["written"], True))
            else:
                reply = call.reply()
                self.assertEqual((len(reply.body), reply.broken), (self.scripts.counts["written"], False))

    def stalled(self):
        """Waits until the origin writes no more, and returns how much it has written."""
        seen = -1
        while seen != self.scripts.counts.get("written", 0):
            seen = self.scripts.counts.get("written", 0)
            select.select([], [], [], 0.15)
        self.assertGreater(seen, 0)
        return seen

    def test_a_slow_origin_stops_the_client(self):
        """The origin does not read the body; when it does, all of it is there."""
        with self.caller() as caller:
            call = caller.begin("/o/deaf", "POST", length=2 * MEGABYTE, end=False)
            writer = threading.Thread(target=call.write, args=(b"z" * (2 * MEGABYTE), True), daemon=True)
            writer.start()
            wait_until(lambda: self.edge.metric("gatehouse_cluster_active_requests") == 1, "the request")
            self.assertLess(self.edge.metric("gatehouse_server_slab_bytes"), 4 * MEGABYTE)
            self.scripts.go.put(None)
            writer.join(PATIENCE)
            self.assertEqual(call.reply().body, b"%d" % (2 * MEGABYTE))

    def test_events_are_not_held_back(self):
        with self.caller() as caller:
            call = caller.begin("/o/events")
            for number in range(5):
                self.assertEqual(call.read(), b"data: %d\n\n" % number)
                self.scripts.go.put(None)
            self.assertEqual(call.read(), b"")

    def test_connections_are_kept(self):
        self.ask("/o/tell")
        before = self.target.connections
        with self.caller() as caller:
            for _ in range(20):
                self.assertEqual(caller.ask("/o/echo", "POST", body=b"x").status, 200)
        self.ask("/o/tell")
        self.assertEqual(self.target.connections, before)

    # Fields.

    def test_header_filters(self):
        reply = self.ask("/changed/tell", fields=[("x-gone", "1"), ("x-set", "client"), ("x-kept", "2")])
        fields = dict(json.loads(reply.body)["fields"])
        self.assertEqual((fields.get("x-set"), fields.get("x-gone"), fields.get("x-kept")), ("127.0.0.1", None, "2"))
        self.assertEqual(reply["x-scheme"], "https" if self.client_tls else "http")
        self.assertNotIn("content-type", reply)

    def test_rewrites(self):
        told = self.told("/before/tell?q=1")
        self.assertEqual((told["path"], told["authority"]), ("/o/after/tell?q=1", "inner.example"))

    def test_repeated_fields_stay(self):
        told = self.told("/o/tell", fields=[("x-many", "1"), ("x-many", "2"), ("cookie", "a=1"), ("cookie", "b=2")])
        many = ", ".join(value for name, value in told["fields"] if name == "x-many")
        self.assertEqual(many, "1, 2")
        cookies = "; ".join(value for name, value in told["fields"] if name == "cookie")
        self.assertEqual(cookies, "a=1; b=2")

    def test_hop_by_hop_fields_of_requests(self):
        fields = [("te", "trailers"), ("x-kept", "1")]
        if self.client == "h1":
            fields += [("Connection", "X-Hop, TE"), ("X-Hop", "1"), ("Keep-Alive", "timeout=9"),
                       ("Proxy-Connection", "x")]
        told = self.told("/o/tell", fields=fields)
        names = {name for name, _ in told["fields"]}
        self.assertIn("x-kept", names)
        # "te: trailers" is said anew, for this hop (RFC 9110, section 10.1.4).
        self.assertEqual(names & set(HOP_BY_HOP) - {"te", "connection"}, set(), told["fields"])
        self.assertLessEqual({dict(told["fields"]).get("connection", "te").lower()}, {"te"})

    def test_hop_by_hop_fields_of_responses(self):
        reply = self.ask("/o/hop-by-hop")
        names = {name for name, _ in reply.fields}
        self.assertLessEqual({"x-kept", "server"}, names)
        self.assertEqual(names & {*HOP_BY_HOP, "x-powered-by"}, set())

    def test_forwarded(self):
        told = self.told("/o/tell", fields=[
            ("x-forwarded-for", "9.9.9.9"), ("x-forwarded-proto", "gopher"), ("x-forwarded-host", "evil"),
            ("forwarded", "for=9.9.9.9"), ("x-real-ip", "9.9.9.9"), ("x-forwarded-client-cert", "Hash=1")])
        fields = [tuple(pair) for pair in told["fields"] if "forwarded" in pair[0] or pair[0] == "x-real-ip"]
        self.assertEqual(sorted(fields), [("x-forwarded-for", "127.0.0.1"), ("x-forwarded-host", "a.example"),
                                          ("x-forwarded-proto", "https" if self.client_tls else "http")])

    def test_ids(self):
        reply = self.ask("/o/tell")
        fields = dict(json.loads(reply.body)["fields"])
        self.assertTrue(fields["x-request-id"])
        self.assertEqual(reply["x-request-id"], fields["x-request-id"])
        self.assertEqual(reply["x-trace-id"], fields["traceparent"].split("-")[1])

    def test_via(self):
        """RFC 9110, section 7.6.3: it names the protocol in which the message was received."""
        spelled = {"h1": ("1.1 gate",), "h2": ("2 gate", "2.0 gate")}
        reply = self.ask("/o/tell")
        self.assertIn(dict(json.loads(reply.body)["fields"])["via"], spelled[self.client])
        self.assertIn(reply["via"], spelled[self.server])

    def test_access_log(self):
        reply = self.ask("/o/echo/log/echo", "POST", body=b"four")
        record = self.edge.record(path="/o/echo/log/echo")
        self.assertEqual(list(record), LOGGED)
        expected = {
            "method": "POST", "scheme": "https" if self.client_tls else "http", "host": "a.example",
            "protocol": "HTTP/2" if self.client == "h2" else "HTTP/1.1", "status": 200, "flags": None, "code": None,
            "route": "origin", "cluster": "origin", "upstream_address": self.target.address, "upstream_status": 200,
            "attempts": 1, "request_bytes": 4, "response_bytes": 4, "client_ip": "127.0.0.1",
            "request_id": reply["x-request-id"], "tls_version": "TLSv1.3" if self.client_tls else None,
            "tls_server_name": "a.example" if self.client_tls else None,
        }
        self.assertEqual({name: record[name] for name in expected}, expected)
        self.assertEqual((record["tls_cipher"] or "").startswith("TLS_AES"), self.client_tls)

    def test_an_abort_is_logged(self):
        with self.caller() as caller:
            call = caller.begin("/o/aborted/hold")
            self.target.next_request()
            call.abort()
            record = self.edge.record(path="/o/aborted/hold")
        self.assertEqual((record["code"], record["flags"]), ("client_abort", "DC"))

    # WebSockets.

    def open(self, caller):
        call = caller.websocket("/up/ws")
        self.assertTrue(call.opened, call.status)
        fields = self.scripts.told.get(timeout=PATIENCE)
        self.assertEqual(dict(fields)["sec-websocket-version"], "13")
        return call

    def test_a_websocket(self):
        with self.caller() as caller:
            call = self.open(caller)
            for size in (1, 125, 16384, 200_000):
                payload = os.urandom(size)
                call.write(payload)
                self.assertTrue(call.take(size) == payload, size)
            call.finish()
            self.assertEqual(self.scripts.told.get(timeout=PATIENCE), "ended")
        self.assertEqual(self.edge.record(path="/up/ws")["route"], "ws")

    def test_a_websocket_that_the_origin_ends(self):
        with self.caller() as caller:
            call = self.open(caller)
            call.write(b"the origin ends")
            self.assertEqual(call.take(15), b"the origin ends")
            with self.assertRaises(Closed):
                call.take(1)
            self.assertEqual(self.scripts.told.get(timeout=PATIENCE), "ended")

    def test_a_websocket_whose_client_vanishes(self):
        with self.caller() as caller:
            call = self.open(caller)
            call.write(b"x")
            self.assertEqual(call.take(1), b"x")
            call.abort()
            self.assertIn(self.scripts.told.get(timeout=PATIENCE), ("aborted", "ended"))

    def test_a_websocket_that_the_origin_refuses(self):
        with self.caller() as caller:
            call = caller.websocket("/up/forbid")
            self.assertFalse(call.opened)
            self.assertEqual(call.status, 403)

    def test_a_websocket_where_no_route_takes_it(self):
        with self.caller() as caller:
            call = caller.websocket("/o/tell")
            self.assertFalse(call.opened and self.client == "h1", call.status)
            self.assertEqual([seen for seen in self.target.requests if "upgrade" in seen or ":protocol" in seen], [])


def _classes():
    for client, client_tls, server, server_tls in itertools.product(("h1", "h2"), (False, True), repeat=2):
        name = (f"{client.upper()}{'Tls' if client_tls else 'Plain'}To"
                f"{server.upper()}{'Tls' if server_tls else 'Plain'}")
        yield name, type(name, (Behaviour, GatehouseTest), {
            "client": client, "client_tls": client_tls, "server": server, "server_tls": server_tls,
            "__doc__": f"{client} to {server}", "assert_problem": Behaviour.assert_problem})


globals().update(_classes())

if __name__ == "__main__":
    unittest.main()
