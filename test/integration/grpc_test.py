"""gRPC through the gateway: real clients and servers (grpcio and grpc++), in the clear and over TLS, and gRPC-Web."""

import base64
import os
import struct
import subprocess
import sys
import threading
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "grpc_peers"))

import grpc  # noqa: E402  pylint: disable=wrong-import-position
from echo_peers import ALL_BYTES, UNLIMITED, EchoServer, EchoStub, echo  # noqa: E402

from h2_wire import H2Client, data, post  # noqa: E402
from harness import GatehouseTest, config, kill, route, wait_until  # noqa: E402
from http_peers import PATIENCE, Client, free_port  # noqa: E402
from tls_material import TlsMaterial  # noqa: E402

MEGABYTE = 1 << 20
Status = grpc.StatusCode


def program(name):
    """A peer in C++, which Bazel builds; None when it is not there."""
    for folder in (os.environ.get("GRPC_PEERS", ""), "test/integration/grpc_peers",
                   "bazel-bin/test/integration/grpc_peers",
                   os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "../../bazel-bin/test/integration/grpc_peers")):
        path = os.path.join(folder, name)
        if os.access(path, os.X_OK):
            return os.path.abspath(path)
    return None


def places(test):
    """The test with neither side on TLS, either, and both."""

    def run(self):
        for client_tls, origin_tls in ((False, False), (True, False), (False, True), (True, True)):
            with self.subTest(client_tls=client_tls, origin_tls=origin_tls):
                test(self, client_tls, origin_tls)

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


class GrpcTest(GatehouseTest):
    @classmethod
    def setUpClass(cls):
        cls.material = TlsMaterial.shared()

    def serve(self, tls=False):
        pair = self.material.origin
        server = EchoServer(tls=(pair.chain, pair.key) if tls else None)
        self.addCleanup(server.stop)
        return server

    def before(self, address, client_tls=False, origin_tls=False, routes=None, cluster=None, **route_options):
        """A gateway before the gRPC server at `address`."""
        made = {"endpoints": [address], "protocol": "http2", **(cluster or {})}
        if origin_tls:
            made["tls"] = self.material.cluster_tls()
        listener = {"tls": self.material.listener_tls()} if client_tls else None
        return self.gateway(config(routes or [route("all", "/", "grpc", **route_options)], {"grpc": made},
                                   listener=listener, secrets=self.material.secrets()))

    def channel(self, gateway, tls=False):
        target = f"127.0.0.1:{gateway.ports['edge']}"
        if tls:
            with open(self.material.ca, "rb") as file:
                credentials = grpc.ssl_channel_credentials(file.read())
            channel = grpc.secure_channel(target, credentials,
                                          [*UNLIMITED, ("grpc.ssl_target_name_override", "a.example")])
        else:
            channel = grpc.insecure_channel(target, UNLIMITED)
        self.addCleanup(channel.close)
        return channel

    def start(self, client_tls=False, origin_tls=False, **options):
        """Server, gateway and client; returns the stub."""
        self.server = self.serve(origin_tls)
        self.edge = self.before(self.server.address, client_tls, origin_tls, **options)
        return EchoStub(self.channel(self.edge, client_tls))

    def assert_fails(self, call, *codes):
        with self.assertRaises(grpc.RpcError) as raised:
            call()
        self.assertIn(raised.exception.code(), codes, raised.exception)
        return raised.exception


class Kinds(GrpcTest):
    @places
    def test_all(self, client_tls, origin_tls):
        stub = self.start(client_tls, origin_tls)
        reply = stub.unary(echo.Request(text="hello"), timeout=PATIENCE)
        self.assertEqual(reply.text, "hello")
        reply = stub.collect((echo.Request(text=str(number % 10)) for number in range(500)), timeout=PATIENCE)
        self.assertEqual((reply.number, reply.text), (500, "0123456789" * 50))
        replies = list(stub.expand(echo.Request(count=500, size=2000), timeout=PATIENCE))
        self.assertEqual([one.number for one in replies], list(range(500)))
        self.assertTrue(all(len(one.payload) == 2000 for one in replies))
        replies = stub.chat((echo.Request(text=str(number)) for number in range(100)), timeout=PATIENCE)
        self.assertEqual([one.text for one in replies], [str(number) for number in range(100)])

    def test_a_chat_is_not_held_back(self):
        """Each reply comes before the next request is made: nothing waits for more."""
        stub = self.start()
        replied = threading.Semaphore(1)

        def requests():
            for number in range(50):
                if not replied.acquire(timeout=PATIENCE):
                    return
                yield echo.Request(text=str(number))

        count = 0
        for reply in stub.chat(requests(), timeout=PATIENCE):
            self.assertEqual(reply.text, str(count))
            count += 1
            replied.release()
        self.assertEqual(count, 50)

    def test_large_messages(self):
        stub = self.start()
        for size in (65_535, MEGABYTE, 30 * MEGABYTE):
            reply = stub.unary(echo.Request(payload=b"p" * size, size=size), timeout=PATIENCE)
            self.assertEqual((reply.number, len(reply.payload)), (size, size))

    def test_many_calls_at_once(self):
        stub = self.start()
        calls = [stub.unary.future(echo.Request(text=str(number), size=10_000), timeout=PATIENCE)
                 for number in range(500)]
        for number, call in enumerate(calls):
            self.assertEqual(call.result(PATIENCE).text, str(number))

    def test_calls_share_connections(self):
        stub = self.start()
        for _ in range(100):
            stub.unary(echo.Request(), timeout=PATIENCE)
        self.assertEqual(self.edge.metric("gatehouse_listener_connections_total"), 1)
        self.assertLessEqual(self.edge.metric("gatehouse_cluster_connects_total"), 2, "one per worker at the most")


class Metadata(GrpcTest):
    @places
    def test_both_ways(self, client_tls, origin_tls):
        stub = self.start(client_tls, origin_tls)
        reply, call = stub.metadata.with_call(
            echo.Request(text="mine"), timeout=PATIENCE,
            metadata=(("x-text", "some text"), ("x-twice", "1"), ("x-twice", "2"), ("x-all-bin", ALL_BYTES)))
        for expected in ("x-text=some text", "x-twice=1", "x-twice=2", "x-all-bin=256"):
            self.assertIn(expected, list(reply.seen))
        initial, trailing = dict(call.initial_metadata()), dict(call.trailing_metadata())
        self.assertEqual((initial["initial-echo"], initial["initial-bin"]), ("mine", ALL_BYTES))
        self.assertEqual((trailing["trailing-echo"], trailing["trailing-bin"]), ("mine", ALL_BYTES))

    def test_te_goes_on(self):
        """Servers of gRPC may insist on te: trailers; a proxy that drops it is found out."""
        stub = self.start()
        reply = stub.metadata(echo.Request(), timeout=PATIENCE)
        names = {seen.partition("=")[0] for seen in reply.seen}
        self.assertNotIn("connection", names)
        self.assertIn("x-forwarded-for", names)

    @places
    def test_every_status(self, client_tls, origin_tls):
        stub = self.start(client_tls, origin_tls)
        for code in Status:
            if code is Status.OK:
                continue
            for count in (0, 3):
                request = echo.Request(code=code.value[0], text="100 % of \u00e4", count=count)
                seen = []
                error = self.assert_fails(
                    lambda seen=seen, request=request: seen.extend(stub.fail(request, timeout=PATIENCE)), code)
                self.assertEqual((error.details(), len(seen)), ("100 % of \u00e4", count))

    def test_an_unknown_method(self):
        stub = self.start()
        self.assert_fails(lambda: stub.unknown(echo.Request(), timeout=PATIENCE), Status.UNIMPLEMENTED)


class Time(GrpcTest):
    @places
    def test_a_deadline_that_passes(self, client_tls, origin_tls):
        stub = self.start(client_tls, origin_tls)
        self.assert_fails(lambda: stub.wait(echo.Request(), timeout=0.3), Status.DEADLINE_EXCEEDED)
        self.assertEqual(self.server.events.get(timeout=PATIENCE), "waiting")
        self.assertEqual(self.server.events.get(timeout=PATIENCE), "cancelled")

    def test_the_server_knows_the_deadline(self):
        stub = self.start()
        left = stub.unary(echo.Request(), timeout=40).time_left
        self.assertTrue(0 < left <= 41_000, left)

    def by_hand(self, path, *fields):
        """A call by hand, which has no clock of its own."""
        client = H2Client(self.edge.address)
        self.addCleanup(client.close)
        client.send(client.headers(1, post(path, ("content-type", "application/grpc"), ("te", "trailers"), *fields)),
                    data(1, b"\0\0\0\0\0", True))
        return client.response(1)

    def assert_trailers_only(self, state, status):
        self.assertEqual((state.status, state["content-type"], state["grpc-status"]),
                         (200, "application/grpc", str(status)), state)
        self.assertEqual((state.size, state.trailers), (0, None))

    def test_the_gateway_ends_what_the_client_forgets(self):
        """grpc-timeout is a timeout of the gateway too."""
        self.start()
        self.assert_trailers_only(self.by_hand("/gatehouse.test.Echo/Wait", ("grpc-timeout", "200m")), 4)
        self.assertEqual(self.server.events.get(timeout=PATIENCE), "waiting")
        self.assertEqual(self.server.events.get(timeout=PATIENCE), "cancelled")

    def test_units_of_grpc_timeout(self):
        self.start()
        for text in ("200m", "200000u", "99999999n", "1S"):
            with self.subTest(text=text):
                self.assert_trailers_only(self.by_hand("/gatehouse.test.Echo/Wait", ("grpc-timeout", text)), 4)

    def test_the_routes_timeout(self):
        self.start(timeout="300ms")
        self.assert_trailers_only(self.by_hand("/gatehouse.test.Echo/Wait"), 4)

    def test_grpc_timeout_is_believed_to_a_point(self):
        self.start(max_grpc_timeout="300ms")
        self.assert_trailers_only(self.by_hand("/gatehouse.test.Echo/Wait", ("grpc-timeout", "10H")), 4)

    @places
    def test_cancelling_reaches_the_server(self, client_tls, origin_tls):
        stub = self.start(client_tls, origin_tls)
        call = stub.wait.future(echo.Request(), timeout=PATIENCE)
        self.assertEqual(self.server.events.get(timeout=PATIENCE), "waiting")
        call.cancel()
        self.assertEqual(self.server.events.get(timeout=PATIENCE), "cancelled")
        wait_until(lambda: self.edge.metric("gatehouse_cluster_active_requests") == 0, "the attempt to end")

    def test_a_client_that_is_gone_is_a_cancellation(self):
        self.start()
        with H2Client(self.edge.address) as client:
            client.send(client.headers(1, post("/gatehouse.test.Echo/Wait", ("content-type", "application/grpc"),
                                               ("te", "trailers"))), data(1, b"\0\0\0\0\0", True))
            self.assertEqual(self.server.events.get(timeout=PATIENCE), "waiting")
        self.assertEqual(self.server.events.get(timeout=PATIENCE), "cancelled")

    def test_an_endless_stream_that_is_left(self):
        stub = self.start()
        replies = stub.expand(echo.Request(count=1_000_000, size=1000), timeout=PATIENCE)
        for _ in range(10):
            next(replies)
        replies.cancel()
        wait_until(lambda: self.edge.metric("gatehouse_cluster_active_requests") == 0, "the attempt to end")


class Errors(GrpcTest):
    """What the gateway says itself is a status that clients understand."""

    @places
    def test_no_route(self, client_tls, origin_tls):
        stub = self.start(client_tls, origin_tls, routes=[route("one", "/gatehouse.test.Echo/Unary", "grpc")])
        stub.unary(echo.Request(), timeout=PATIENCE)
        error = self.assert_fails(lambda: stub.metadata(echo.Request(), timeout=PATIENCE), Status.UNIMPLEMENTED)
        self.assertEqual(error.details(), "Nothing is here")

    def test_the_origin_is_down(self):
        gateway = self.before(f"127.0.0.1:{free_port()}")
        stub = EchoStub(self.channel(gateway))
        self.assert_fails(lambda: stub.unary(echo.Request(), timeout=PATIENCE), Status.UNAVAILABLE)
        self.assert_fails(lambda: list(stub.expand(echo.Request(), timeout=PATIENCE)), Status.UNAVAILABLE)

    def test_the_origin_speaks_no_http2(self):
        origin = self.origin()
        gateway = self.before(origin.address)
        stub = EchoStub(self.channel(gateway))
        self.assert_fails(lambda: stub.unary(echo.Request(), timeout=PATIENCE), Status.UNAVAILABLE, Status.INTERNAL)

    def test_the_origin_shows_a_wrong_certificate(self):
        server = self.serve(tls=True)
        gateway = self.before(server.address, cluster={"tls": {"ca": "ca", "sni": "other.example"}})
        stub = EchoStub(self.channel(gateway))
        self.assert_fails(lambda: stub.unary(echo.Request(), timeout=PATIENCE), Status.UNAVAILABLE)

    def test_too_much(self):
        stub = self.start(cluster={"limits": {"max_connections": 1, "max_pending": 1},
                                   "http2": {"max_concurrent_streams": 1}})
        first = stub.wait.future(echo.Request(), timeout=PATIENCE)
        self.assertEqual(self.server.events.get(timeout=PATIENCE), "waiting")
        calls = [stub.wait.future(echo.Request(), timeout=PATIENCE) for _ in range(20)]
        wait_until(lambda: sum(call.done() for call in calls) >= 10, "the refusals")
        for call in calls:
            if call.done():
                self.assertEqual(call.code(), Status.UNAVAILABLE)
            call.cancel()
        first.cancel()

    def test_the_origin_dies_in_the_middle(self):
        stub = self.start()
        replies = stub.expand(echo.Request(count=1_000_000, size=10_000), timeout=PATIENCE)
        next(replies)
        threading.Thread(target=self.server.stop, daemon=True).start()
        self.assert_fails(lambda: list(replies), Status.UNAVAILABLE, Status.INTERNAL, Status.UNKNOWN,
                          Status.CANCELLED)

    def test_an_answer_that_is_not_grpc_by_a_filter_or_route(self):
        gateway = self.gateway(config([{"name": "r", "match": {}, "respond": {"status": 403, "body": "no"}}]))
        stub = EchoStub(self.channel(gateway))
        self.assert_fails(lambda: stub.unary(echo.Request(), timeout=PATIENCE), Status.PERMISSION_DENIED)

    def test_the_log_tells_the_status(self):
        stub = self.start()
        self.assert_fails(lambda: list(stub.fail(echo.Request(code=5), timeout=PATIENCE)), Status.NOT_FOUND)
        record = self.edge.record(path="/gatehouse.test.Echo/Fail")
        self.assertEqual((record["status"], record["protocol"]), (200, "HTTP/2"))


class Cpp(GrpcTest):
    """grpc++ on both sides, and on one side with grpcio on the other."""

    def client(self, gateway, tls):
        path = program("echo_client")
        if not path:
            self.skipTest("echo_client is not built")
        arguments = [self.material.ca, "a.example"] if tls else []
        done = self.run_command(path, f"127.0.0.1:{gateway.ports['edge']}", *arguments, check=False)
        self.assertEqual((done.returncode, done.stdout), (0, "all is well\n"), done.stderr)

    @places
    def test_client_of_grpcio(self, client_tls, origin_tls):
        self.start(client_tls, origin_tls)
        self.client(self.edge, client_tls)

    @places
    def test_client_and_server(self, client_tls, origin_tls):
        path = program("echo_server")
        if not path:
            self.skipTest("echo_server is not built")
        pair = self.material.origin
        # pylint: disable-next=consider-using-with
        process = subprocess.Popen([path, *([pair.chain, pair.key] if origin_tls else [])], stdout=subprocess.PIPE,
                                   text=True)
        self.addCleanup(process.stdout.close)
        self.addCleanup(kill, process)
        gateway = self.before(f"127.0.0.1:{int(process.stdout.readline())}", client_tls, origin_tls)
        self.client(gateway, client_tls)
        self.assertEqual([process.stdout.readline().strip() for _ in range(2)], ["waiting", "cancelled"])
        stub = EchoStub(self.channel(gateway, client_tls))
        self.assertEqual(stub.unary(echo.Request(text="hello"), timeout=PATIENCE).text, "hello")


def framed(message):
    encoded = message.SerializeToString()
    return b"\0" + struct.pack(">I", len(encoded)) + encoded


def frames(body):
    """The frames of a gRPC-Web body: (flags, payload)."""
    found = []
    while body:
        flags, size = struct.unpack(">BI", body[:5])
        if len(body) < 5 + size:
            raise AssertionError(f"a frame of {size} bytes is cut")
        found.append((flags, body[5:5 + size]))
        body = body[5 + size:]
    return found


def decoded_text(body):
    """Base64 that may have its padding anywhere: pieces were encoded one by one."""
    return b"".join(base64.b64decode(body[at:at + 4]) for at in range(0, len(body), 4))


class Web(GrpcTest):
    """gRPC-Web, as browsers send it, over HTTP/1.1 and HTTP/2."""

    def start_web(self):
        server = self.serve()
        self.edge = self.before(server.address, routes=[route("all", "/", "grpc", filters=[{"grpc_web": {}}])])
        return self.edge

    def call(self, method, message, text=False, protocol="h1", headers=(), cut=None):
        """Returns the response's head, its messages and its trailers."""
        kind = "application/grpc-web-text" if text else "application/grpc-web"
        body = framed(message)
        if text:
            pieces = [body] if cut is None else [body[:cut], body[cut:]]
            body = b"".join(base64.b64encode(piece) for piece in pieces)
        path = f"/gatehouse.test.Echo/{method}"
        fields = [("content-type", kind + "+proto"), ("accept", kind + "+proto"), ("x-grpc-web", "1"), *headers]
        if protocol == "h2":
            client = H2Client(self.edge.address)
            self.addCleanup(client.close)
            response = client.ask(path, *fields, body=body)
            self.assertIsNone(response.trailers)
            status, content, found = response.status, response["content-type"], bytes(response.body)
        else:
            with Client(self.edge.address) as client:
                response = client.ask(path, "POST", headers=[f"{name}: {value}" for name, value in fields], body=body)
            self.assertEqual(response.trailers, [])
            status, content, found = response.status, response["content-type"], response.body
        self.assertEqual(status, 200, response)
        self.assertTrue(content.startswith(kind), content)
        parts = frames(decoded_text(found) if text else found)
        messages = [echo.Reply.FromString(payload) for flags, payload in parts if flags == 0]
        trailers = {}
        for flags, payload in parts:
            if flags & 0x80:
                self.assertIs(payload, parts[-1][1], "the trailers are last")
                for line in payload.decode("latin-1").split("\r\n"):
                    if line:
                        name, _, value = line.partition(":")
                        trailers[name.lower()] = value.strip()
        if not trailers and response["grpc-status"]:
            trailers["grpc-status"] = response["grpc-status"]
            trailers["grpc-message"] = response["grpc-message"]
        return response, messages, trailers

    def everywhere(self):
        for protocol in ("h1", "h2"):
            for text in (False, True):
                yield {"protocol": protocol, "text": text}

    def test_unary(self):
        self.start_web()
        for how in self.everywhere():
            with self.subTest(**how):
                _, messages, trailers = self.call("Unary", echo.Request(text="hello", size=70_000), **how)
                self.assertEqual([(one.text, len(one.payload)) for one in messages], [("hello", 70_000)])
                self.assertEqual(trailers["grpc-status"], "0")

    def test_a_stream_of_replies(self):
        self.start_web()
        for how in self.everywhere():
            with self.subTest(**how):
                _, messages, trailers = self.call("Expand", echo.Request(count=50, size=777), **how)
                self.assertEqual([one.number for one in messages], list(range(50)))
                self.assertEqual(trailers["grpc-status"], "0")

    def test_failures(self):
        self.start_web()
        for how in self.everywhere():
            for count in (0, 2):
                with self.subTest(count=count, **how):
                    request = echo.Request(code=5, text="not here", count=count)
                    _, messages, trailers = self.call("Fail", request, **how)
                    self.assertEqual((len(messages), trailers["grpc-status"], trailers["grpc-message"]),
                                     (count, "5", "not here"))

    def test_metadata(self):
        self.start_web()
        for how in self.everywhere():
            with self.subTest(**how):
                response, messages, trailers = self.call("Metadata", echo.Request(text="mine"),
                                                         headers=[("x-text", "some")], **how)
                self.assertIn("x-text=some", list(messages[0].seen))
                self.assertEqual(response["initial-echo"], "mine")
                self.assertEqual(trailers["trailing-echo"], "mine")
                self.assertEqual(base64.b64decode(trailers["trailing-bin"] + "=="), ALL_BYTES)

    def test_text_in_pieces(self):
        """A client may encode piece by piece: padding stands in the middle."""
        self.start_web()
        for cut in (1, 2, 3, 5, 7):
            with self.subTest(cut=cut):
                _, messages, _ = self.call("Unary", echo.Request(text="hello"), text=True, cut=cut)
                self.assertEqual(messages[0].text, "hello")

    def test_what_is_not_base64(self):
        self.start_web()
        response = self.ask(self.edge, "/gatehouse.test.Echo/Unary", "POST",
                            headers=["Content-Type: application/grpc-web-text+proto"], body=b"!!!! this is not")
        self.assertTrue(response.status == 400 or response["grpc-status"] not in (None, "0") or
                        b"grpc-status" in decoded_text(response.body), response)

    def test_plain_grpc_goes_on_as_it_is(self):
        self.start_web()
        stub = EchoStub(self.channel(self.edge))
        self.assertEqual(stub.unary(echo.Request(text="hello"), timeout=PATIENCE).text, "hello")


if __name__ == "__main__":
    unittest.main()
