"""HTTP/2 and TLS origins that people use, behind the gateway: nginx, nghttpd, node; by prior knowledge and by ALPN."""

import functools
import hashlib
import json
import os
import unittest

from h2_wire import CANCEL, H2Client
from harness import GatehouseTest, config, route, wait_until
from http_peers import Client, answer
from real_servers import SIZES, Nghttpd, Nginx, NodeHttp2, content
from tls_material import TlsMaterial


def clients(test):
    """The test with an HTTP/1.1 and with an HTTP/2 client."""

    @functools.wraps(test)
    def run(self):
        for protocol in ("h1", "h2"):
            with self.subTest(client=protocol):
                test(self, protocol)

    return run


class OriginTest(GatehouseTest):
    @classmethod
    def setUpClass(cls):
        cls.material = TlsMaterial.shared()

    def serve(self, kind, *arguments, **options):
        if not kind.installed():
            self.skipTest(f"{kind.program} is not installed")
        server = kind(self.folder(), *arguments, **options)
        self.addCleanup(server.stop)
        return server

    def before(self, address, tls=False, protocol=None, **cluster):
        made = {"endpoints": [address], **cluster}
        if tls:
            made["tls"] = self.material.cluster_tls() if tls is True else tls
        if protocol:
            made["protocol"] = protocol
        return self.gateway(config([route("all", "/", "origin")], {"origin": made}, secrets=self.material.secrets()))

    def get(self, gateway, path, protocol="h1", headers=(), body=None, method=None):
        """(status, fields, body, trailers) of one request on a connection of its own."""
        method = method or ("GET" if body is None else "POST")
        if protocol == "h2":
            with H2Client(gateway.address) as client:
                state = client.ask(path, *headers, body=body, method=method)
                return state.status, dict(state.headers or []), bytes(state.body), dict(state.trailers or [])
        with Client(gateway.address) as client:
            response = client.ask(path, method, headers=[f"{name}: {value}" for name, value in headers], body=body)
            return (response.status, {name.lower(): value for name, value in response.headers}, response.body,
                    {name.lower(): value for name, value in response.trailers})

    def assert_downloads(self, gateway, protocol):
        for size in SIZES:
            status, _, body, _ = self.get(gateway, f"/bytes/{size}", protocol)
            self.assertEqual((status, body == content(size)), (200, True), size)


class Downloads(OriginTest):
    @clients
    def test_nginx_by_alpn(self, protocol):
        server = self.serve(Nginx, self.material.origin)
        gateway = self.before(server.address, tls=True)
        self.assert_downloads(gateway, protocol)
        said = self.get(gateway, "/protocol", protocol)[2].decode().split()
        self.assertEqual((said[0], said[1], said[3]), ("HTTP/2.0", "https", "origin.example"))

    @clients
    def test_nginx_of_http1_by_alpn(self, protocol):
        server = self.serve(Nginx, self.material.origin, http2=False)
        gateway = self.before(server.address, tls=True)
        self.assert_downloads(gateway, protocol)
        self.assertTrue(self.get(gateway, "/protocol", protocol)[2].startswith(b"HTTP/1.1 https"))

    @clients
    def test_nginx_by_prior_knowledge(self, protocol):
        server = self.serve(Nginx)
        self.assert_downloads(self.before(server.address, protocol="http2"), protocol)

    @clients
    def test_nghttpd(self, protocol):
        server = self.serve(Nghttpd)
        self.assert_downloads(self.before(server.address, protocol="http2"), protocol)

    @clients
    def test_nghttpd_over_tls(self, protocol):
        server = self.serve(Nghttpd, self.material.origin)
        self.assert_downloads(self.before(server.address, tls=True), protocol)

    @clients
    def test_nghttpd_with_padding_and_small_windows_and_few_streams(self, protocol):
        server = self.serve(Nghttpd, more=("-b", "200", "-w", "10", "-W", "12", "-m", "2"))
        self.assert_downloads(self.before(server.address, protocol="http2"), protocol)

    @clients
    def test_nghttpd_without_a_header_table(self, protocol):
        server = self.serve(Nghttpd, more=("-c", "0", "--encoder-header-table-size=0"))
        self.assert_downloads(self.before(server.address, protocol="http2"), protocol)

    @clients
    def test_node(self, protocol):
        server = self.serve(NodeHttp2)
        self.assert_downloads(self.before(server.address, protocol="http2"), protocol)

    @clients
    def test_node_over_tls(self, protocol):
        server = self.serve(NodeHttp2, self.material.origin)
        self.assert_downloads(self.before(server.address, tls=True, protocol="http2"), protocol)


class Node(OriginTest):
    def setUp(self):
        self.server = self.serve(NodeHttp2)
        self.edge = self.before(self.server.address, protocol="http2")

    @clients
    def test_uploads(self, protocol):
        for size in (0, 1, 100_000, 5_000_000):
            body = os.urandom(size)
            told = json.loads(self.get(self.edge, "/", protocol, body=body)[2])
            self.assertEqual((told["size"], told["digest"]), (size, hashlib.sha256(body).hexdigest()))
            self.assertEqual(told["headers"][":scheme"], "http")
            self.assertEqual(told["headers"][":authority"], "a.example")
            self.assertNotIn("host", told["headers"])
            self.assertNotIn("connection", told["headers"])

    @clients
    def test_trailers(self, protocol):
        _, _, body, trailers = self.get(self.edge, "/trailers", protocol, headers=[("te", "trailers")])
        self.assertEqual((body, trailers), (b"some text", {"x-digest": "abc"}))

    @clients
    def test_head_and_events(self, protocol):
        self.assertEqual(self.get(self.edge, "/", protocol, method="HEAD")[:1], (200,))
        self.assertEqual(self.get(self.edge, "/events", protocol)[2].count(b"data: "), 20)

    def test_hints(self):
        with H2Client(self.edge.address) as client:
            state = client.ask("/hints")
            self.assertEqual([dict(fields)[":status"] for fields in state.interim], ["103"])
        with Client(self.edge.address) as client:
            self.assertEqual([message.status for message in client.ask("/hints").interim], [103])

    def test_a_reset_after_the_head(self):
        """What broke off must not look whole."""
        with H2Client(self.edge.address) as client:
            state = client.ask("/reset")
            self.assertIsNotNone(state.reset, state)
            client.alive()
        with Client(self.edge.address) as client:
            with self.assertRaises(Exception):
                client.ask("/reset")

    @clients
    def test_a_refused_stream_is_an_error_or_tried_again(self, protocol):
        self.assertEqual(self.get(self.edge, "/refuse", protocol)[0], 503)

    @clients
    def test_goaway_loses_no_request(self, protocol):
        """Each response says GOAWAY; the next request finds another connection."""
        for _ in range(10):
            self.assertEqual(self.get(self.edge, "/goaway", protocol)[::2][:2], (200, b"the last"))
            self.assertEqual(self.get(self.edge, "/", protocol)[0], 200)

    @clients
    def test_a_session_that_is_destroyed(self, protocol):
        self.assertEqual(self.get(self.edge, "/destroy", protocol, body=b"x")[0], 502)
        self.assertEqual(self.get(self.edge, "/", protocol)[0], 200)

    def test_an_abort_reaches_the_origin(self):
        with H2Client(self.edge.address) as client:
            client.send(client.headers(1, [(":method", "GET"), (":scheme", "http"), (":authority", "a.example"),
                                           (":path", "/hold")], end=True))
            self.assertEqual(self.server.wait_for("held"), "held")
        self.assertEqual(self.server.wait_for("closed"), f"closed {CANCEL}")

    def test_requests_share_a_connection(self):
        with H2Client(self.edge.address) as client:
            for _ in range(50):
                told = json.loads(bytes(client.ask("/").body))
            self.assertEqual(told["sessions"], 1)


class Verification(OriginTest):
    """Whom the gateway believes."""

    def status(self, gateway):
        return self.get(gateway, "/")[0]

    def start(self, pair=None, clients_=False):
        origin = self.origin(lambda *_: answer(200, b"fine"),
                             tls=self.material.server_context(pair or self.material.origin, clients=clients_))
        return origin

    def test_the_right_name(self):
        self.assertEqual(self.status(self.before(self.start().address, tls=True)), 200)

    def test_another_name(self):
        gateway = self.before(self.start().address, tls={"ca": "ca", "sni": "other.example"})
        self.assertEqual(self.status(gateway), 503)

    def test_the_address_as_name(self):
        """Without `sni` the endpoint's host must be in the certificate: 127.0.0.1 is."""
        self.assertEqual(self.status(self.before(self.start().address, tls={"ca": "ca"})), 200)
        other = self.start(self.material.other_site)
        self.assertEqual(self.status(self.before(other.address, tls={"ca": "ca"})), 503)

    def test_an_authority_that_is_not_believed(self):
        gateway = self.before(self.start().address, tls={"sni": "origin.example"})
        self.assertEqual(self.status(gateway), 503)

    def test_a_certificate_that_has_ended(self):
        old = self.material.issue("origin.example", ("DNS:origin.example",), days=-1)
        self.assertEqual(self.status(self.before(self.start(old).address, tls=True)), 503)

    def test_whoever_answers(self):
        gateway = self.before(self.start().address, tls={"sni": "other.example", "insecure_skip_verify": True})
        self.assertEqual(self.status(gateway), 200)

    def test_a_client_certificate(self):
        origin = self.start(clients_=True)
        tls = self.material.cluster_tls(client_certificate=self.material.certificate("client"))
        self.assertEqual(self.status(self.before(origin.address, tls=tls)), 200)

    def test_no_client_certificate(self):
        origin = self.start(clients_=True)
        self.assertGreaterEqual(self.status(self.before(origin.address, tls=True)), 502)
        wait_until(lambda: origin.refused, "the origin to refuse")

    def test_nginx_wants_one(self):
        server = self.serve(Nginx, self.material.origin, client_ca=self.material.ca)
        tls = self.material.cluster_tls(client_certificate=self.material.certificate("client"))
        gateway = self.before(server.address, tls=tls)
        self.assertIn(b"CN=client", self.get(gateway, "/protocol")[2])

    def test_an_origin_without_tls(self):
        origin = self.origin(on_connection=lambda connection: connection.send(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
        self.assertEqual(self.status(self.before(origin.address, tls=True)), 503)


if __name__ == "__main__":
    unittest.main()
