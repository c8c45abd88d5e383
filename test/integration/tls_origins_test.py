"""TLS with origins: whom the gateway believes, what it shows them, and what a failure says."""

import os
import unittest

from h2_origin import H2Origin
from harness import config, route, wait_until
from http_peers import answer
from tls_material import Pair, TlsMaterial
from tls_test import V12, V13, TlsTest, seen_by


class Origins(TlsTest):
    def before(self, address, tls=None, protocol=None, secrets=(), **cluster):
        made = {"endpoints": [address], "tls": self.material.cluster_tls() if tls is None else tls, **cluster}
        if protocol:
            made["protocol"] = protocol
        folder = self.folder()
        self.log_fields = ["status", "code", "flags", "cluster", "upstream_address", "upstream_failure"]
        return self.gateway(
            config([route("all", "/", "origin")], {"origin": made},
                   {"access_log": {"path": os.path.join(folder, "access.log"), "fields": self.log_fields}},
                   secrets=[*self.material.secrets(), *secrets], workers=1), folder=folder)

    def secure(self, pair=None, clients=False, alpn=("http/1.1",), change=None, handler=seen_by):
        context = self.material.server_context(pair or self.material.origin, alpn=alpn, clients=clients)
        if change:
            change(context)
        return self.origin(handler, tls=context)

    def self_signed(self):
        path = os.path.join(self.folder(), "self")
        self.run_command("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                         "-keyout", path + ".key", "-out", path + ".pem", "-days", "30", "-subj", "/CN=origin.example",
                         "-addext", "subjectAltName=DNS:origin.example")
        return Pair(os.path.dirname(path), "self", 0, "/CN=origin.example")

    def test_who_is_not_believed(self):
        material = self.material
        stranger = TlsMaterial(self.folder(), "Another authority").issue("origin.example", ("DNS:origin.example",))
        old = material.issue("origin.example", ("DNS:origin.example",), days=-1)
        not_server = material.issue("origin.example", ("DNS:origin.example",), usage="clientAuth")
        for what, pair, tls, reason in (
            ("wrong CA", stranger, None, "(?i)not trust|issuer|authority|CA"),
            ("wrong name", material.other_site, None, "(?i)origin.example"),
            ("expired", old, None, "(?i)expired"),
            ("self-signed", self.self_signed(), None, "(?i)self|comes from CN=origin.example"),
            ("not for servers", not_server, None, "(?i)purpose|server|use"),
            ("system's CAs", material.origin, {"sni": "origin.example"}, "(?i)issuer|authority|trust|CA"),
            ("other SAN", material.origin, material.cluster_tls(subject_alt_names=[{"dns": "other.example"}]),
             "(?i)other.example|name"),
        ):
            with self.subTest(what):
                origin = self.secure(pair)
                gateway = self.before(origin.address, tls)
                reply = self.ask(gateway)
                self.assert_problem(reply, 503, "connect_failure")
                self.assertNotIn(b"certificate", reply.body)  # none of the client's business
                record = gateway.record(status=503)
                self.assertIn("UF", record["flags"])
                self.assertRegex(record["upstream_failure"], reason)
                self.assertIn(origin.address, record["upstream_failure"])
                self.assertEqual(origin.requests, [])
                self.assertGreaterEqual(gateway.metric("gatehouse_cluster_connect_failures_total"), 1)

    def test_whoever_answers(self):
        for pair in (self.self_signed(), self.material.issue("x", ("DNS:x",), days=-1)):
            gateway = self.before(self.secure(pair).address, {"sni": "other.example", "insecure_skip_verify": True})
            self.assertEqual(self.ask(gateway).status, 200)

    def test_a_revoked_origin(self):
        revoked = self.material.issue("origin.example", ("DNS:origin.example",))
        secrets = [{"name": "crl", "file": self.material.crl(revoked)}]
        tls = self.material.cluster_tls(crl="crl")
        gateway = self.before(self.secure(revoked).address, tls, secrets=secrets)
        self.assertEqual(self.ask(gateway).status, 503)
        self.assertRegex(gateway.record(status=503)["upstream_failure"], "(?i)revoked")
        self.assertEqual(self.ask(self.before(self.secure().address, tls, secrets=secrets)).status, 200)

    def test_a_client_certificate(self):
        seen = []
        origin = self.secure(clients=True, handler=lambda connection, _: (
            seen.append(connection.sock.getpeercert()["subject"]), answer(200))[1])
        tls = self.material.cluster_tls(client_certificate=self.material.certificate("client"))
        self.assertEqual(self.ask(self.before(origin.address, tls)).status, 200)
        self.assertIn((("commonName", "client"),), seen[0])

    def test_no_client_certificate(self):
        for version in (V12, V13):
            def change(context, version=version):
                context.maximum_version = version

            origin = self.secure(clients=True, change=change)
            gateway = self.before(origin.address)
            status = self.ask(gateway).status
            # With TLS 1.3 the refusal comes after the handshake is done for the gateway.
            self.assertIn(status, (502, 503))
            wait_until(lambda origin=origin: origin.refused, "the refusal")
            self.assertEqual(origin.requests, [])

    def test_the_name_that_is_asked_for(self):
        named = []

        def change(context):
            context.sni_callback = lambda _sock, name, _context: named.append(name)

        origin = self.secure(change=change)
        self.assertEqual(self.ask(self.before(origin.address)).status, 200)
        address = f"localhost:{origin.port}"
        gateway = self.before(address, {"ca": "ca"}, dns={"family": "ipv4"})
        self.assertEqual(self.ask(gateway).status, 200)
        gateway = self.before(origin.address, {"ca": "ca"})  # an address is no name (RFC 6066, section 3)
        self.assertEqual(self.ask(gateway).status, 200)
        self.assertEqual(named, ["origin.example", "localhost", None])

    def test_sessions_are_resumed(self):
        for version in (V12, V13):
            reused = []

            def change(context, version=version):
                context.minimum_version = context.maximum_version = version

            def handler(connection, _, reused=reused):
                reused.append(connection.sock.session_reused)
                return answer(200, b"x")

            origin = self.secure(change=change, handler=handler)
            gateway = self.before(origin.address, pool={"max_idle": 0})
            for _ in range(5):
                self.assertEqual(self.ask(gateway).status, 200)
            self.assertEqual((origin.connections, reused), (5, [False, True, True, True, True]), version)

    def test_versions(self):
        def change(context):
            context.maximum_version = V12

        origin = self.secure(change=change)
        self.assertEqual(self.ask(self.before(origin.address)).status, 200)
        gateway = self.before(origin.address, self.material.cluster_tls(min_version="tls_1_3"))
        self.assertEqual(self.ask(gateway).status, 503)
        self.assertRegex(gateway.record(status=503)["upstream_failure"], "(?i)version")

    def test_an_origin_without_tls(self):
        origin = self.origin(on_connection=lambda connection: connection.send(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
        gateway = self.before(origin.address)
        self.assertEqual(self.ask(gateway).status, 503)
        self.assertRegex(gateway.record(status=503)["upstream_failure"], "not TLS")

    def h2_origin(self, **options):
        origin = H2Origin(lambda stream: stream.respond(200, stream.read_body() or b"h2"), **options)
        self.addCleanup(origin.close)
        return origin

    def test_auto_picks_what_the_origin_agrees_to(self):
        h2 = self.h2_origin(tls=self.material.server_context(alpn=["h2"]))
        h1 = self.secure(alpn=("http/1.1",))
        none = self.secure(change=lambda context: context.set_alpn_protocols([]))
        for origin, protocol in ((h2, None), (h2, "auto"), (h2, "http2"), (h1, None), (h1, "auto"), (h1, "http1"),
                                 (none, None), (none, "auto"), (none, "http1")):
            gateway = self.before(origin.address, protocol=protocol)
            for _ in range(3):
                self.assertEqual(self.ask(gateway).status, 200, protocol)
        self.assertEqual(h2.connections, 3)
        self.assertEqual(len(h2.requests), 9)

    def test_both_in_one_cluster(self):
        h2 = self.h2_origin(tls=self.material.server_context(alpn=["h2"]))
        h1 = self.secure()
        gateway = self.gateway(config([route("all", "/", "origin")], {"origin": {
            "endpoints": [h2.address, h1.address], "tls": self.material.cluster_tls()}},
            secrets=self.material.secrets(), workers=1))
        for number in range(10):
            self.assertEqual(self.ask(gateway, "/", "POST", body=b"%d" % number).status, 200)
        self.assertEqual((len(h2.requests), len(h1.requests)), (5, 5))

    def test_http2_that_the_origin_does_not_agree_to(self):
        origin = self.secure()
        gateway = self.before(origin.address, protocol="http2")
        self.assertEqual(self.ask(gateway).status, 503)
        self.assertRegex(gateway.record(status=503)["upstream_failure"], "(?i)h2|HTTP/2|ALPN")
        self.assertEqual(origin.requests, [])


if __name__ == "__main__":
    unittest.main()
