"""Certificates and keys that change while clients are served: nobody notices, but for the new certificate."""

import itertools
import os
import ssl
import subprocess
import threading
import unittest

from harness import GatehouseTest, config, route, wait_until
from http_peers import PATIENCE, Client, Closed, Origin, answer
from protocol_peers import CALLERS, ORIGINS, Traffic
from tls_material import TlsMaterial

ROTATIONS = 100


def serial_of(sock):
    text = subprocess.run(["openssl", "x509", "-inform", "DER", "-noout", "-serial"],
                          input=sock.getpeercert(binary_form=True), capture_output=True, check=True).stdout.decode()
    return int(text.strip().partition("=")[2], 16)


class RotationTest(GatehouseTest):
    @classmethod
    def setUpClass(cls):
        cls.material = TlsMaterial.shared()
        cls.pairs = [cls.material.issue("a.example", cls.material.SITE_NAMES) for _ in range(4)]

    def setUp(self):
        self.secrets = self.folder()

    def put(self, name, *paths):
        """Replaces a file in one step by the content of others."""
        path = os.path.join(self.secrets, name)
        with open(path + ".new", "wb") as out:
            for source in paths:
                with open(source, "rb") as file:
                    out.write(file.read())
        os.rename(path + ".new", path)
        return path

    def serial(self, gateway):
        """Of the certificate that a new connection gets."""
        with Client(gateway.address, tls=self.material.client_context()) as client:
            return serial_of(client.sock)

    def connect(self, gateway, protocol):
        context = self.material.client_context()
        return lambda: CALLERS[protocol](gateway.address, tls=context)


class OneFile(RotationTest):
    """Chain and key in one file."""

    def start(self, handler=None):
        pair = self.pairs[0]
        path = self.put("site.pem", pair.chain, pair.key)
        self.target = self.origin(handler or (lambda _, message: answer(200, message.body)))
        self.settings = config([route("all", "/", "origin")], {"origin": self.target.address},
                               {"tls": {"certificates": ["site"]}}, secrets=[{"name": "site", "file": path}])
        return self.gateway(self.settings)

    def rotate(self, gateway, pair):
        mark = gateway.mark()
        self.put("site.pem", pair.chain, pair.key)
        gateway.wait_for_line(r"site\.pem has changed", mark)
        line = gateway.wait_for_line(r"site\.pem has changed: ", mark)
        self.assertIn(": loaded", line)

    def test_a_hundred_times_under_load(self):
        gateway = self.start()
        loads = [Traffic(self.connect(gateway, protocol), connections=1, streams=streams, fresh=fresh)
                 for protocol, streams, fresh in (("h1", 1, False), ("h1", 1, True), ("h2", 4, False), ("h2", 4, True))]
        old = self.connect(gateway, "h1")()
        self.addCleanup(old.close)
        for load in loads:
            load.wait_for(5)
        for pair in itertools.islice(itertools.cycle(self.pairs[1:] + self.pairs[:1]), ROTATIONS):
            self.rotate(gateway, pair)
        for load in loads:
            load.wait_for(5)
        for load in loads:
            self.assertEqual((load.stop(), load.again), ([], 0))
            self.assertGreater(load.done, ROTATIONS // 2)
        wait_until(lambda: self.serial(gateway) == self.pairs[0].serial, "the last certificate")
        # What was open from before the first one still serves.
        self.assertEqual(old.ask("/", "POST", body=b"x").body, b"x")
        self.assertEqual(gateway.metric("gatehouse_listener_tls_handshakes_total", result="failed"), 0)
        self.assertEqual(gateway.metric("gatehouse_config_last_load_valid"), 1)
        self.assertEqual(gateway.metric("gatehouse_config_loads_total", result="rejected"), 0)

    def test_the_new_one_is_served(self):
        gateway = self.start()
        for pair in self.pairs[1:]:
            self.rotate(gateway, pair)
            wait_until(lambda pair=pair: self.serial(gateway) == pair.serial, "the new certificate")

    def test_sessions_stay_good(self):
        gateway = self.start()
        context = self.material.client_context()
        with Client(gateway.address, tls=context) as client:
            client.ask("/")
            session = client.sock.session
        self.rotate(gateway, self.pairs[1])
        wait_until(lambda: self.serial(gateway) == self.pairs[1].serial, "the new certificate")
        with Client(gateway.address) as client:
            client.sock = context.wrap_socket(client.sock, server_hostname="a.example", session=session)
            self.assertEqual(client.ask("/").status, 200)
            self.assertTrue(client.sock.session_reused)

    def test_what_is_no_good_is_not_taken(self):
        gateway = self.start()
        expired = self.material.issue("a.example", self.material.SITE_NAMES, days=-1)
        stranger = os.path.join(self.secrets, "words")
        with open(stranger, "w", encoding="ascii") as file:
            file.write("not a certificate")
        for paths, reason in (((expired.chain, expired.key), "expired"), ((stranger,), "site.pem"),
                              ((self.pairs[1].chain,), "key")):
            mark = gateway.mark()
            self.put("site.pem", *paths)
            gateway.wait_for_line(reason, mark)
            wait_until(lambda: gateway.metric("gatehouse_config_last_load_valid") == 0, "the refusal")
            self.assertEqual(self.serial(gateway), self.pairs[0].serial)
        os.unlink(os.path.join(self.secrets, "site.pem"))
        self.assertEqual(self.serial(gateway), self.pairs[0].serial)
        self.rotate(gateway, self.pairs[1])
        wait_until(lambda: self.serial(gateway) == self.pairs[1].serial, "the new certificate")
        self.assertEqual(gateway.metric("gatehouse_config_last_load_valid"), 1)

    def test_written_in_place(self):
        gateway = self.start()
        mark = gateway.mark()
        with open(os.path.join(self.secrets, "site.pem"), "w", encoding="ascii") as out:
            for path in (self.pairs[1].chain, self.pairs[1].key):
                with open(path, encoding="ascii") as file:
                    out.write(file.read())
                    out.flush()
        gateway.wait_for_line("site.pem has changed: loaded", mark)
        wait_until(lambda: self.serial(gateway) == self.pairs[1].serial, "the new certificate")

    def test_a_mounted_volume(self):
        """A folder whose link is swapped, as mounted secrets are."""
        for number, pair in enumerate(self.pairs[:2]):
            os.mkdir(os.path.join(self.secrets, f"version-{number}"))
            self.put(f"version-{number}/tls.pem", pair.chain, pair.key)
        os.symlink("version-0", os.path.join(self.secrets, "..data"))
        os.symlink("..data/tls.pem", os.path.join(self.secrets, "tls.pem"))
        self.target = self.origin()
        gateway = self.gateway(config([route("all", "/", "origin")], {"origin": self.target.address},
                                      {"tls": {"certificates": ["site"]}},
                                      secrets=[{"name": "site", "file": os.path.join(self.secrets, "tls.pem")}]))
        mark = gateway.mark()
        os.symlink("version-1", os.path.join(self.secrets, "..data_new"))
        os.rename(os.path.join(self.secrets, "..data_new"), os.path.join(self.secrets, "..data"))
        gateway.wait_for_line("has changed: loaded", mark)
        wait_until(lambda: self.serial(gateway) == self.pairs[1].serial, "the new certificate")


class TwoFiles(RotationTest):
    def start(self, **tls):
        chain = self.put("site.pem", self.pairs[0].chain)
        key = self.put("site.key", self.pairs[0].key)
        self.target = self.origin(lambda _, message: answer(200, message.body))
        return self.gateway(config(
            [route("all", "/", "origin")], {"origin": self.target.address},
            {"tls": {"certificates": [{"chain": "chain", "key": "key"}], **tls}},
            secrets=[{"name": "chain", "file": chain}, {"name": "key", "file": key}]))

    def test_one_after_the_other(self):
        gateway = self.start()
        with Traffic(self.connect(gateway, "h2"), fresh=True) as load:
            for pair, order in zip(self.pairs[1:], ("chain first", "key first", "chain first")):
                before = self.serial(gateway)
                halves = [("site.pem", pair.chain), ("site.key", pair.key)]
                if order == "key first":
                    halves.reverse()
                mark = gateway.mark()
                self.put(*halves[0])
                line = gateway.wait_for_line("does not belong to this certificate", mark)
                self.assertIn(os.path.join(self.secrets, "site.pem"), line)
                self.assertIn(os.path.join(self.secrets, "site.key"), line)
                self.assertEqual(self.serial(gateway), before)
                wait_until(lambda: gateway.metric("gatehouse_config_last_load_valid") == 0, "the refusal")
                mark = gateway.mark()
                self.put(*halves[1])
                gateway.wait_for_line("has changed: loaded", mark)
                wait_until(lambda pair=pair: self.serial(gateway) == pair.serial, "the new certificate")
                self.assertEqual(gateway.metric("gatehouse_config_last_load_valid"), 1)
            load.wait_for(5)
            self.assertEqual(load.stop(), [])


class Open(RotationTest):
    """Streams and tunnels over TLS live through reloads and rotations."""

    def start(self):
        pair = self.pairs[0]
        path = self.put("site.pem", pair.chain, pair.key)
        web = ORIGINS["h1"](self.tunnel)
        target = ORIGINS["h2"](self.serve, tls=self.material.server_context(alpn=["h2"]))
        self.addCleanup(web.close)
        self.addCleanup(target.close)
        self.settings = config(
            [route("ws", "/ws", "web", upgrade=["websocket"]), route("all", "/", "origin", timeout="60s")],
            {"web": web.address, "origin": {"endpoints": [target.address], "tls": self.material.cluster_tls()}},
            {"tls": {"certificates": ["site"]}},
            secrets=[{"name": "site", "file": path}, {"name": "ca", "file": self.material.ca}])
        return self.gateway(self.settings)

    def tunnel(self, stream):
        stream.accept_websocket()
        while piece := stream.read():
            stream.write(piece)

    def serve(self, stream):
        stream.start(200)
        while piece := stream.read():
            stream.write(piece)
        stream.finish()

    def test_all_of_it(self):
        gateway = self.start()
        callers = [self.connect(gateway, protocol)() for protocol in ("h1", "h2", "h1", "h2")]
        for caller in callers:
            self.addCleanup(caller.close)
        streams = [caller.begin("/", "POST", length=None, end=False) for caller in callers[:2]]
        # More than one on a connection.
        streams += [callers[1].begin("/", "POST", length=None, end=False) for _ in range(3)]
        tunnels = [callers[2].websocket("/ws"), callers[3].websocket("/ws")]
        for tunnel in tunnels:
            self.assertTrue(tunnel.opened, tunnel.status)

        def check(text):
            for stream in streams:
                stream.write(text)
            for stream in streams:
                self.assertEqual(stream.read(), text)
            for tunnel in tunnels:
                tunnel.write(text)
                self.assertEqual(tunnel.take(len(text)), text)

        check(b"before")
        for number in range(10):
            self.settings["route_tables"][0]["routes"][1]["timeout"] = f"{number + 61}s"
            gateway.reload(self.settings)
            mark = gateway.mark()
            pair = self.pairs[(number + 1) % len(self.pairs)]
            self.put("site.pem", pair.chain, pair.key)
            gateway.wait_for_line("has changed: loaded", mark)
            check(b"round %d" % number)
        # Even when the certificate, the clusters and their TLS are others now.
        self.settings["route_tables"][0]["routes"] = [route("gone", "/", respond={"status": 410})]
        self.settings["clusters"] = []
        gateway.reload(self.settings)
        wait_until(lambda: self.connect(gateway, "h2")().ask("/").status == 410, "the new config")
        check(b"after")
        for stream in streams:
            stream.finish()
            self.assertEqual(stream.read(), b"")
        self.assertEqual(gateway.metric("gatehouse_listener_http2_goaways_total"), 0)


class Upstream(RotationTest):
    """What is believed of origins, and what they are shown."""

    def test_a_new_authority_and_client_certificate_under_load(self):
        """The origin changes its authority too: for a while it is behind the gateway's secret or before it."""
        other = TlsMaterial(self.folder(), "Another authority")
        both = self.put("ca.pem", self.material.ca, other.ca)
        context = other.server_context(other.issue("origin.example", ("DNS:origin.example",)))
        context.load_verify_locations(self.material.ca)
        context.verify_mode = ssl.CERT_REQUIRED
        shown = set()
        lock = threading.Lock()

        def handler(connection, message):
            with lock:
                shown.add(connection.sock.getpeercert()["serialNumber"])
            return answer(200, message.body)

        target = Origin(handler, tls=context)
        self.addCleanup(target.close)
        clients = [self.material.issue("client", usage="clientAuth") for _ in range(2)]
        client = self.put("client.pem", clients[0].chain, clients[0].key)
        gateway = self.gateway(config(
            [route("all", "/", "origin")], {"origin": {"endpoints": [target.address], "tls": {
                "ca": "ca", "sni": "origin.example", "client_certificate": "client"}}},
            secrets=[{"name": "ca", "file": both}, {"name": "client", "file": client}]))
        with Traffic(lambda: CALLERS["h1"](gateway.address)) as load:
            load.wait_for(10)
            for _ in range(5):
                for paths in ((other.ca,), (other.ca, self.material.ca)):
                    mark = gateway.mark()
                    self.put("ca.pem", *paths)
                    gateway.wait_for_line("has changed: loaded", mark)
            mark = gateway.mark()
            self.put("client.pem", clients[1].chain, clients[1].key)
            gateway.wait_for_line("has changed: loaded", mark)
            wait_until(lambda: len(shown) == 2, "the new certificate to be shown")
            load.wait_for(10)
            self.assertEqual(load.stop(), [])
        self.assertEqual(target.failures, [])

    def test_an_authority_that_is_believed_no_more(self):
        """Open connections of the old belief take no new request."""
        ca = self.put("ca.pem", self.material.ca)
        target = self.origin(tls=self.material.server_context())
        gateway = self.gateway(config(
            [route("all", "/", "origin")], {"origin": {"endpoints": [target.address], "tls": {
                "ca": "ca", "sni": "origin.example"}}}, secrets=[{"name": "ca", "file": ca}], workers=1))
        self.assertEqual(self.ask(gateway).status, 200)
        mark = gateway.mark()
        self.put("ca.pem", TlsMaterial(self.folder(), "Another authority").ca)
        gateway.wait_for_line("has changed: loaded", mark)

        def refused():
            try:
                return self.ask(gateway).status == 503
            except (OSError, Closed):
                return False

        wait_until(refused, "no belief", PATIENCE)


if __name__ == "__main__":
    unittest.main()
