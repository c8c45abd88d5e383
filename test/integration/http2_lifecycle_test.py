"""How connections of HTTP/2 and TLS end without a request being lost, and what stands before their first byte."""

import contextlib
import functools
import itertools
import json
import os
import re
import select
import signal
import socket
import ssl
import struct
import threading
import unittest

from h2_origin import H2Origin
from h2_wire import NO_ERROR, PING, H2Client, get, ping
from harness import Gateway, GatehouseTest, config, route, wait_until
from http_peers import PATIENCE, Client, Closed, request
from protocol_peers import CALLERS, ORIGINS, Traffic
from tls_material import TlsMaterial

LARGEST = (1 << 31) - 1
V2_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def thread_states(pid):
    states = set()
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/stat", encoding="ascii") as file:
            states.add(file.read().rpartition(")")[2].split()[0])
    return states


class LifecycleTest(GatehouseTest):
    secure = False

    @classmethod
    def setUpClass(cls):
        cls.material = TlsMaterial.shared()

    def start(self, listener=None, cluster=None, **top):
        """A gateway in front of an origin of HTTP/2; /hold waits for go, all else is echoed."""
        self.go = threading.Event()
        self.addCleanup(self.go.set)
        self.target = H2Origin(self.serve)
        self.addCleanup(self.target.close)
        self.addCleanup(lambda: self.assertEqual(self.target.failures, []))
        listener = {**({"tls": self.material.listener_tls()} if self.secure else {}), **(listener or {})}
        self.settings = config(
            [route("all", "/", "origin", timeout="60s")],
            {"origin": {"endpoints": [self.target.address], "protocol": "http2", **(cluster or {})}}, listener,
            secrets=self.material.secrets(), **{"drain_timeout": "30s", **top})
        return self.gateway(self.settings)

    def serve(self, stream):
        body = stream.read_body()
        if stream.path == "/hold":
            self.go.wait(PATIENCE)
        stream.respond(200, body or b"done")

    def connect(self, address, protocol="h2"):
        context = self.material.client_context() if self.secure else None
        return lambda: CALLERS[protocol](address, tls=context)

    def client(self, gateway, **options):
        made = H2Client(gateway.address, tls=self.material.client_context() if self.secure else None, **options)
        self.addCleanup(made.close)
        return made

    def hold(self, client, stream=1):
        """A request that is at the origin."""
        client.send(client.headers(stream, get("/hold", scheme="https" if self.secure else "http"), end=True))
        while self.target.next_request().path != "/hold":
            pass

    def ends(self, client):
        """The gateway closes the connection; it then waits a while for the client to do so, too."""
        client.wait(lambda: False)
        self.assertTrue(client.closed)
        client.close()

    def refused(self, gateway):
        try:
            with Client(gateway.address):
                return False
        except OSError:
            return True

    def assert_two_goaways(self, client, last):
        self.assertEqual([(number, code) for number, code, _ in client.goaways],
                         [(LARGEST, NO_ERROR), (last, NO_ERROR)])


class Drain:
    """In the clear and over TLS."""

    def test_two_goaways(self):
        """RFC 9113, section 6.8: what is on its way when the first one comes is still served."""
        gateway = self.start()
        client = self.client(gateway, answer=False)
        client.send(b"\0\0\0\4\1\0\0\0\0")  # the ACK that it does not send by itself
        self.hold(client)
        gateway.signal(signal.SIGTERM)
        client.wait(lambda: client.goaways, "the first GOAWAY")
        self.assertEqual(client.goaways[0][:2], (LARGEST, NO_ERROR))
        # It has not answered the PING, so it may not have seen the GOAWAY yet.
        late = client.ask("/late", stream=3)
        self.assertEqual((late.status, bytes(late.body)), (200, b"done"))
        client.wait(lambda: len(client.goaways) == 2, "the second GOAWAY")
        self.assert_two_goaways(client, 3)
        self.assertIsNone(gateway.process.poll())
        self.go.set()
        self.assertEqual((client.response(1).status, client.streams[1].ended), (200, True))
        self.ends(client)
        self.assertEqual(gateway.wait_exit(), 0)
        self.assertEqual(gateway.record(path="/hold")["status"], 200)

    def test_an_idle_connection_is_told_and_closed(self):
        gateway = self.start()
        client = self.client(gateway)
        self.assertEqual(client.ask("/").status, 200)
        gateway.signal(signal.SIGTERM)
        self.ends(client)
        self.assert_two_goaways(client, 1)
        self.assertEqual(gateway.wait_exit(), 0)

    def test_a_request_in_the_middle_of_its_body(self):
        gateway = self.start()
        client = self.client(gateway)
        client.send(client.headers(1, get("/", method="POST")))
        client.upload(1, b"first ", end=False)
        gateway.signal(signal.SIGTERM)
        client.wait(lambda: len(client.goaways) == 2, "both GOAWAYs")
        client.upload(1, b"second")
        state = client.response(1)
        self.assertEqual((state.status, bytes(state.body)), (200, b"first second"))
        self.ends(client)
        self.assertEqual(gateway.wait_exit(), 0)

    def test_sigterm_under_load(self):
        gateway = self.start()
        with Traffic(self.connect(gateway.address), connections=4, streams=8, refused=True) as load, \
                Traffic(self.connect(gateway.address, "h1"), connections=2, refused=True) as other:
            load.wait_for(100)
            gateway.signal(signal.SIGTERM)
            self.assertEqual(gateway.wait_exit(), 0)
            load.join()
            other.join()
            self.assertEqual([load.failures, other.failures], [[], []])
        wait_until(lambda: len(gateway.log(1)) >= load.done + other.done, "the log")
        statuses = {record["status"] for record in gateway.log(1)}
        self.assertEqual(statuses, {200})

    def test_patience_has_an_end(self):
        gateway = self.start(drain_timeout="300ms")
        client = self.client(gateway)
        self.hold(client)
        gateway.signal(signal.SIGTERM)
        self.assertEqual(gateway.wait_exit(), 0)
        self.ends(client)
        self.assertFalse(client.streams[1].ended)

    def test_binary_upgrades_under_load(self):
        path = os.path.join(self.folder(), "s")
        gateway = self.start(upgrade_socket=path)
        with open(gateway.path, encoding="utf-8") as file:
            settings = file.read()
        with Traffic(self.connect(gateway.address), connections=3, streams=4) as kept, \
                Traffic(self.connect(gateway.address), connections=2, fresh=True) as fresh:
            for _ in range(3):
                kept.wait_for(50)
                fresh.wait_for(20)
                new = Gateway(settings, self.folder(), wait=False)
                self.addCleanup(new.stop)
                new.wait_ready()
                self.assertEqual(new.ports, gateway.ports)
                self.assertEqual(gateway.wait_exit(), 0, gateway.stderr)
                gateway = new
            kept.wait_for(50)
            fresh.wait_for(20)
            self.assertEqual([kept.stop(), fresh.stop()], [[], []])

    def test_the_old_process_ends_what_it_has_begun(self):
        path = os.path.join(self.folder(), "s")
        gateway = self.start(upgrade_socket=path, workers=1)
        client = self.client(gateway)
        self.hold(client)
        with open(gateway.path, encoding="utf-8") as file:
            new = Gateway(file.read(), self.folder(), wait=False)
        self.addCleanup(new.stop)
        new.wait_ready()
        client.wait(lambda: len(client.goaways) == 2, "both GOAWAYs")
        with self.connect(new.address)() as caller:
            self.assertEqual(caller.ask("/").status, 200)
        self.assertIsNone(gateway.process.poll())
        self.go.set()
        self.assertEqual(client.response(1).status, 200)
        self.ends(client)
        self.assertEqual(gateway.wait_exit(), 0)

    def test_a_listener_that_a_reload_removes(self):
        gateway = self.start()
        self.settings["listeners"].append({**self.settings["listeners"][0], "name": "other"})
        gateway.reload(self.settings)
        client = self.client(gateway)
        self.hold(client)
        address = gateway.address
        del self.settings["listeners"][0]
        gateway.reload(self.settings)
        client.wait(lambda: len(client.goaways) == 2, "both GOAWAYs")
        wait_until(lambda: self.refused(gateway), f"{address} to be closed")
        self.go.set()
        self.assertEqual(client.response(1).status, 200)
        self.ends(client)

    def test_max_connection_age(self):
        gateway = self.start({"timeouts": {"max_connection_age": "300ms"}})
        client = self.client(gateway)
        self.hold(client)
        client.wait(lambda: len(client.goaways) == 2, "both GOAWAYs")
        self.assert_two_goaways(client, 1)
        self.assertFalse(client.closed)
        self.go.set()
        self.assertEqual(client.response(1).status, 200)
        self.ends(client)
        with self.connect(gateway.address)() as caller:
            self.assertEqual(caller.ask("/").status, 200)

    def test_max_connection_age_under_load(self):
        gateway = self.start({"timeouts": {"max_connection_age": "100ms"}})
        with Traffic(self.connect(gateway.address), connections=4, streams=4) as load:
            wait_until(lambda: gateway.metric("gatehouse_listener_http2_goaways_total") > 20 or load.failures, "GOAWAYs")
            self.assertEqual(load.stop(), [])

    def test_max_requests_of_a_connection(self):
        gateway = self.start({"http1": {"max_requests_per_connection": 5}})
        with Traffic(self.connect(gateway.address), connections=2, streams=2) as load:
            load.wait_for(60)
            self.assertEqual(load.stop(), [])
        self.assertGreaterEqual(gateway.metric("gatehouse_listener_http2_connections_total"), 6)

    def test_an_idle_connection_has_its_time(self):
        gateway = self.start({"timeouts": {"keep_alive": "200ms"}})
        client = self.client(gateway)
        self.assertEqual(client.ask("/").status, 200)
        self.ends(client)
        self.assertEqual({code for _, code, _ in client.goaways} - {NO_ERROR}, set())

    def test_pings_of_the_gateway(self):
        gateway = self.start({"http2": {"ping_interval": "100ms", "ping_timeout": "300ms"}})
        client = self.client(gateway)
        self.hold(client)
        client.wait(lambda: sum(kind == PING for kind, _ in client.frames) >= 3, "three PINGs")
        self.go.set()
        self.assertEqual(client.response(1).status, 200)
        silent = self.client(gateway)
        self.go.clear()
        self.hold(silent)
        silent.answer = False
        self.ends(silent)
        self.assertFalse(silent.streams[1].ended)


class Plain(Drain, LifecycleTest):
    pass


class Secure(Drain, LifecycleTest):
    secure = True

    def test_a_handshake_that_is_under_way(self):
        """It ends, and its request is served, or it never began."""
        gateway = self.start()
        holder = self.client(gateway)
        self.hold(holder)
        raw = socket.create_connection(gateway.address, timeout=PATIENCE)
        self.addCleanup(raw.close)
        wait_until(lambda: gateway.metric("gatehouse_listener_active_connections") == 2, "both")
        gateway.signal(signal.SIGTERM)
        gateway.wait_for_line("draining")
        with contextlib.suppress(OSError):
            sock = self.material.client_context().wrap_socket(raw, server_hostname="a.example")
            self.addCleanup(sock.close)
            sock.sendall(request("/"))
            said = sock.recv(65536)
            self.assertTrue(not said or said.startswith(b"HTTP/1.1 200"), said)
        self.go.set()
        self.assertEqual(holder.response(1).status, 200)
        self.assertEqual(gateway.wait_exit(), 0)


class OriginsConnections(LifecycleTest):
    def test_pings_to_the_origin(self):
        gateway = self.start(cluster={"http2": {"ping_interval": "100ms", "ping_timeout": "300ms"}}, workers=1)
        client = self.client(gateway)
        self.hold(client)
        wait_until(lambda: sum(one.pings for one in self.target.open) >= 3, "three PINGs")
        self.go.set()
        self.assertEqual(client.response(1).status, 200)

    def test_an_origin_that_does_not_answer_pings(self):
        gateway = self.start(cluster={"http2": {"ping_interval": "100ms", "ping_timeout": "200ms"}}, workers=1)
        client = self.client(gateway)
        self.hold(client)
        (connection,) = self.target.open
        connection.deaf = True
        with connection.changed:
            connection.wake()
        self.assertEqual(client.response(1).status // 100, 5)
        self.assertEqual(client.ask("/").status, 200)
        self.assertEqual(self.target.connections, 2)
        with connection.changed:
            connection.deaf = False
            connection.wake()

    def test_goaway_of_the_origin_under_load(self):
        """Requests above its last stream are sent again, whatever their method; none is lost."""
        gateway = self.start(workers=1)
        goal = threading.Event()

        def serve(stream):
            if stream.number > 199:
                # This connection takes no more: what is below goes on, this one and later ones do not.
                with contextlib.suppress(Exception):
                    stream.connection.goaway(199)
                goal.set()
                return
            stream.respond(200, stream.read_body())

        self.target.script = serve
        with Traffic(self.connect(gateway.address), connections=3, streams=5) as load:
            load.wait_for(700)
            self.assertEqual(load.stop(), [])
        self.assertTrue(goal.is_set())
        self.assertGreater(self.target.connections, 3)


class Resets(LifecycleTest):
    """Bytes and the reset behind them, seen by the gateway in one turn."""

    def behind_a_body(self, protocol):
        """The origin does not read, so neither does the gateway, when the client goes."""
        gateway = self.start(workers=1, drain_timeout="1s")
        begun, aborted = threading.Event(), threading.Event()

        def serve(stream):
            begun.set()
            with contextlib.suppress(AssertionError):
                stream.wait_abort()
                aborted.set()

        self.target.script = serve
        caller = self.connect(gateway.address, protocol)()
        call = caller.begin("/hold", "POST", length=64 << 20, end=False)
        self.assertTrue(begun.wait(PATIENCE))
        if protocol == "h1":
            caller.wire.sock.setblocking(False)
            with contextlib.suppress(BlockingIOError, ssl.SSLWantWriteError):
                while select.select([], [caller.wire.sock], [], 0.3)[1]:
                    caller.wire.sock.send(b"x" * 65536)
        else:
            call.write(b"x" * 65535)
        caller.vanish()
        self.assertTrue(aborted.wait(PATIENCE), "the origin is not told that the client is gone")
        wait_until(lambda: gateway.metric("gatehouse_listener_active_connections") == 0, "no connection")

    def test_h1_behind_a_body(self):
        self.behind_a_body("h1")

    def test_h1_over_tls_behind_a_body(self):
        self.secure = True
        self.behind_a_body("h1")

    def test_h2_behind_a_body(self):
        self.behind_a_body("h2")

    def test_h2_over_tls_behind_a_body(self):
        self.secure = True
        self.behind_a_body("h2")

    def vanish(self, protocol, said):
        gateway = self.start(workers=1, drain_timeout="1s")
        aborted = threading.Event()

        def serve(stream):
            stream.read_body()
            with contextlib.suppress(AssertionError):
                stream.wait_abort()
                aborted.set()

        self.target.script = serve
        caller = self.connect(gateway.address, protocol)()
        caller.begin("/hold")
        self.target.next_request()
        gateway.signal(signal.SIGSTOP)
        self.addCleanup(gateway.signal, signal.SIGCONT)
        wait_until(lambda: thread_states(gateway.process.pid) == {"T"}, "it to stop")
        caller.wire.send(said)
        caller.vanish()
        gateway.signal(signal.SIGCONT)
        self.assertTrue(aborted.wait(PATIENCE), "the origin is not told that the client is gone")
        wait_until(lambda: gateway.metric("gatehouse_listener_active_connections") == 0, "no connection")

    def test_h1(self):
        self.vanish("h1", request("/next"))

    def test_h1_over_tls(self):
        self.secure = True
        self.vanish("h1", request("/next"))

    def test_h2(self):
        self.vanish("h2", ping())

    def test_h2_over_tls(self):
        self.secure = True
        self.vanish("h2", ping())


# The PROXY protocol.


def v1(source="192.0.2.7", port=4711, destination="198.51.100.1"):
    family = "TCP6" if ":" in source else "TCP4"
    return f"PROXY {family} {source} {destination} {port} 443\r\n".encode()


def v2(source="192.0.2.7", port=4711, destination="198.51.100.1", command=1, more=b""):
    kind = socket.AF_INET6 if ":" in source else socket.AF_INET
    body = socket.inet_pton(kind, source) + socket.inet_pton(kind, destination) + struct.pack("!HH", port, 443) + more
    return V2_SIGNATURE + struct.pack("!BBH", 0x20 | command, 0x21 if ":" in source else 0x11, len(body)) + body


class ProxyIn(GatehouseTest):
    @classmethod
    def setUpClass(cls):
        cls.material = TlsMaterial.shared()

    def start(self, mode="required", trusted=("127.0.0.0/8",), tls=False, listener=None):
        self.target = self.origin()
        made = {"proxy_protocol": {"mode": mode, "trusted": list(trusted)}, **(listener or {})}
        if tls:
            made["tls"] = self.material.listener_tls()
        return self.gateway(config([
            {"name": "who", "match": {"path": "/who"}, "respond": {"template": "$(client_ip) $(scheme)"}},
            route("all", "/", "origin")], {"origin": self.target.address}, made, secrets=self.material.secrets()))

    def speak(self, gateway, header, protocol="h1", tls=False):
        """A caller whose connection begins with this header, sent in two parts."""
        raw = socket.create_connection(gateway.address, timeout=PATIENCE)
        self.addCleanup(raw.close)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw.sendall(header[:7])
        raw.sendall(header[7:])
        if tls:
            context = self.material.client_context()
            context.set_alpn_protocols(["h2" if protocol == "h2" else "http/1.1"])
            raw = context.wrap_socket(raw, server_hostname="a.example")
        return CALLERS[protocol].__new__(CALLERS[protocol]), raw

    def ask_behind(self, gateway, header, path="/who", protocol="h1", tls=False, fields=()):
        caller, raw = self.speak(gateway, header, protocol, tls)
        self.addCleanup(raw.close)
        if protocol == "h1":
            wire = Client.__new__(Client)
            super(Client, wire).__init__(raw)
            caller.__init__(None, connection=wire)
        else:
            wire = H2Client.__new__(H2Client)
            wire.__init__(gateway.address, start=False)
            wire.sock.close()
            wire.sock = raw
            wire.start()
            caller.wire = wire
            caller.scheme = "https" if tls else "http"
        return caller.ask(path, fields=fields)

    def rejected(self, gateway):
        return gateway.metric("gatehouse_listener_rejected_total", reason="proxy_protocol")

    def assert_rejected(self, gateway, said):
        before = self.rejected(gateway)
        with Client(gateway.address) as client:
            with contextlib.suppress(OSError):
                client.send(said)
                client.half_close()
            try:
                got = client.take_all()
            except OSError:
                got = b""
        self.assertNotIn(b" 200 ", got)
        wait_until(lambda: self.rejected(gateway) == before + 1, f"{said[:60]!r} to be rejected")

    def test_the_client_that_it_names(self):
        for tls in (False, True):
            gateway = self.start(tls=tls)
            scheme = b"https" if tls else b"http"
            for protocol in ("h1", "h2"):
                for header, address in (
                    (v1(), "192.0.2.7"), (v2(), "192.0.2.7"), (v1("2001:db8::7", 1, "2001:db8::1"), "2001:db8::7"),
                    (v2("2001:db8::7", 1, "2001:db8::1"), "2001:db8::7"), (v1("192.0.2.255", 65535), "192.0.2.255"),
                    (v2(more=b"\x04\0\x03abc\x02\0\x09a.example"), "192.0.2.7"),
                    (b"PROXY UNKNOWN\r\n", "127.0.0.1"), (v2(command=0), "127.0.0.1"),
                    (V2_SIGNATURE + b"\x20\0\0\0", "127.0.0.1"),
                ):
                    with self.subTest(tls=tls, protocol=protocol, header=header):
                        reply = self.ask_behind(gateway, header, protocol=protocol, tls=tls)
                        self.assertEqual(reply.body, address.encode() + b" " + scheme)

    def test_the_log_and_the_origin(self):
        for protocol in ("h1", "h2"):
            gateway = self.start(tls=True, listener={"trusted_proxies": ["10.0.0.0/8"]})
            fields = [("x-forwarded-for", "9.9.9.9")]
            self.assertEqual(self.ask_behind(gateway, v2(), "/x", protocol, True, fields).status, 200)
            seen = self.target.next_request()
            self.assertEqual(seen.all("x-forwarded-for"), ["192.0.2.7"])
            self.assertEqual(seen.all("x-forwarded-proto"), ["https"])
            self.assertEqual(gateway.record(path="/x")["client_ip"], "192.0.2.7")
            # The client that the header names may be a trusted proxy itself.
            self.ask_behind(gateway, v2("10.0.0.1"), "/y", protocol, True, fields)
            self.assertEqual(gateway.record(path="/y")["client_ip"], "9.9.9.9")
            self.assertEqual(self.target.next_request().all("x-forwarded-for"), ["9.9.9.9, 10.0.0.1"])

    def test_required(self):
        for tls in (False, True):
            gateway = self.start(tls=tls)
            self.assert_rejected(gateway, request("/who"))
            self.assertEqual(self.ask_behind(gateway, v1(), tls=tls).status, 200)

    def test_optional(self):
        for tls in (False, True):
            gateway = self.start("optional", tls=tls)
            for protocol in ("h1", "h2"):
                reply = self.ask_behind(gateway, b"", protocol=protocol, tls=tls)
                self.assertEqual(reply.body.split()[0], b"127.0.0.1")
                self.assertEqual(self.ask_behind(gateway, v2(), protocol=protocol, tls=tls).body.split()[0], b"192.0.2.7")

    def test_who_is_not_trusted(self):
        required = self.start(trusted=["10.0.0.0/8"])
        self.assert_rejected(required, v1() + request("/who"))
        self.assert_rejected(required, request("/who"))
        optional = self.start("optional", trusted=["10.0.0.0/8"])
        self.assertEqual(self.ask(optional, "/who").body, b"127.0.0.1 http")
        for header in (v1(), v2()):
            with Client(optional.address) as client:
                client.send(header + request("/who"))
                with contextlib.suppress(OSError):
                    client.half_close()
                    self.assertNotIn(b" 200 ", client.take_all())

    def test_off(self):
        gateway = self.gateway(config([{"name": "who", "match": {}, "respond": {"template": "$(client_ip)"}}]))
        for header in (v1(), v2()):
            with Client(gateway.address) as client:
                client.send(header + request("/who"))
                self.assertIn(client.response().status, (400, 505))

    def test_malformed(self):
        for mode in ("required", "optional"):
            gateway = self.start(mode)
            for said in (
                b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\n", b"PROXY TCP4 192.0.2.7 198.51.100.1 4711\r\n",
                b"PROXY TCP4 192.0.2.700 198.51.100.1 4711 443\r\n", b"PROXY TCP4 192.0.2.7 198.51.100.1 70000 443\r\n",
                b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n", b"PROXY UDP4 192.0.2.7 198.51.100.1 4711 443\r\n",
                b"PROXY  TCP4 192.0.2.7 198.51.100.1 4711 443\r\n", b"PROXY TCP4 192.0.2.7 198.51.100.1 04711 443\r\n",
                b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443 \r\n", b"PROXY " + b"x" * 200 + b"\r\n",
                V2_SIGNATURE + b"\x31\x11\0\x0c" + b"\0" * 12, V2_SIGNATURE + b"\x22\x11\0\x0c" + b"\0" * 12,
                V2_SIGNATURE + b"\x21\x11\0\x04" + b"\0" * 4, V2_SIGNATURE + b"\x21\x11\xff\xff" + b"\0" * 70_000,
                v2(more=b"\x04\0\xffabc"),
            ):
                with self.subTest(mode=mode, said=said[:60]):
                    self.assert_rejected(gateway, said + request("/who"))
            self.assertEqual(self.target.requests, [])
            self.assertEqual(self.ask_behind(gateway, v1()).status, 200)

    def test_a_second_header_is_none(self):
        gateway = self.start()
        with Client(gateway.address) as client:
            client.send(v1() + v1("198.51.100.99") + request("/who"))
            self.assertIn(client.response().status, (400, 505))

    def test_it_has_its_time(self):
        gateway = self.start(listener={"timeouts": {"handshake": "200ms"}})
        for said in (b"", b"PROXY TCP4", V2_SIGNATURE):
            with Client(gateway.address) as client:
                client.send(said)
                self.assertTrue(client.at_end(), said)
        wait_until(lambda: self.rejected(gateway) == 3, "three")

    def test_limits_count_the_client(self):
        gateway = self.start(listener={"limits": {"max_connections_per_ip": 1}})

        def open_one(source):
            client = Client(gateway.address)
            self.addCleanup(client.close)
            client.send(v1(source) + request("/who"))
            return client

        self.assertEqual(open_one("192.0.2.1").response().status, 200)
        self.assertEqual(open_one("192.0.2.2").response().status, 200)
        third = open_one("192.0.2.1")
        with self.assertRaises((Closed, OSError)):
            third.response()


def read_header(connection):
    """Takes a PROXY header off an origin's socket: (version, source, port, destination, port)."""
    sock = connection.sock
    sock.settimeout(PATIENCE)

    def take(size):
        got = b""
        while len(got) < size:
            part = sock.recv(size - len(got))
            if not part:
                raise Closed("in the PROXY header")
            got += part
        return got

    begun = take(6)
    if begun == b"PROXY ":
        while not begun.endswith(b"\r\n"):
            begun += take(1)
        found = re.fullmatch(rb"PROXY TCP[46] (\S+) (\S+) (\d+) (\d+)\r\n", begun)
        if not found:
            raise AssertionError(begun)
        return 1, found[1].decode(), int(found[3]), found[2].decode(), int(found[4])
    begun += take(10)
    if not begun.startswith(V2_SIGNATURE) or begun[12] != 0x21:
        raise AssertionError(begun)
    body = take(struct.unpack("!H", begun[14:16])[0])
    kind, size = (socket.AF_INET, 4) if begun[13] == 0x11 else (socket.AF_INET6, 16)
    ports = struct.unpack("!HH", body[2 * size:2 * size + 4])
    return (2, socket.inet_ntop(kind, body[:size]), ports[0], socket.inet_ntop(kind, body[size:2 * size]), ports[1])


def pairings(test):
    """The test with each version of the header and each kind of origin."""

    @functools.wraps(test)
    def run(self):
        for version, protocol, tls in itertools.product(("v1", "v2"), ("h1", "h2"), (False, True)):
            with self.subTest(version=version, protocol=protocol, tls=tls):
                test(self, version, protocol, tls)

    return run


class ProxyOut(GatehouseTest):
    @classmethod
    def setUpClass(cls):
        cls.material = TlsMaterial.shared()

    def start(self, version, protocol="h1", tls=False, listener=None):
        context = self.material.server_context(alpn=["h2" if protocol == "h2" else "http/1.1"]) if tls else None
        self.target = ORIGINS[protocol](self.serve, tls=context, preface=read_header)
        self.addCleanup(self.target.close)
        self.addCleanup(lambda: self.assertEqual(self.target.failures, []))
        cluster = {"endpoints": [self.target.address], "protocol": "http2" if protocol == "h2" else "http1",
                   "proxy_protocol": version}
        if tls:
            cluster["tls"] = self.material.cluster_tls()
        return self.gateway(config([route("all", "/", "origin")], {"origin": cluster}, listener,
                                   secrets=self.material.secrets(), workers=1))

    @staticmethod
    def serve(stream):
        stream.read_body()
        stream.respond(200, json.dumps(stream.connection.begun).encode())

    @pairings
    def test_the_origin_sees_the_client(self, version, protocol, tls):
        gateway = self.start(version, protocol, tls)
        for kind in ("h1", "h2"):
            with CALLERS[kind](gateway.address) as caller:
                mine = caller.wire.sock.getsockname()
                told = [json.loads(caller.ask("/").body) for _ in range(3)]
                self.assertEqual([seen[:3] for seen in told], [[int(version[1]), *mine]] * 3)

    @pairings
    def test_the_destination_is_where_the_client_connected_to(self, version, protocol, tls):
        """proxy-protocol.txt, section 2.2: the original connection's endpoints."""
        gateway = self.start(version, protocol, tls)
        with CALLERS["h1"](gateway.address) as caller:
            self.assertEqual(json.loads(caller.ask("/").body)[3:], list(gateway.address))

    @pairings
    def test_a_connection_for_each_client(self, version, protocol, tls):
        gateway = self.start(version, protocol, tls)
        with contextlib.ExitStack() as stack:
            callers = [stack.enter_context(CALLERS[kind](gateway.address)) for kind in ("h1", "h2", "h1", "h2")]
            for _ in range(3):
                for caller in callers:
                    seen = json.loads(caller.ask("/", "POST", body=b"x").body)
                    self.assertEqual(seen[1:3], list(caller.wire.sock.getsockname()))
            self.assertEqual(self.target.connections, 4)

    def test_clients_that_left_leave_no_connections(self):
        gateway = self.start("v1")
        for _ in range(5):
            with CALLERS["h1"](gateway.address) as caller:
                caller.ask("/")
        wait_until(lambda: gateway.metric("gatehouse_cluster_connections") <= 1 or
                   gateway.metric("gatehouse_cluster_idle_connections") <= 5, "few connections")

    def test_a_claim_is_handed_on(self):
        listener = {"proxy_protocol": {"mode": "required", "trusted": ["127.0.0.0/8"]}}
        for version in ("v1", "v2"):
            gateway = self.start(version, listener=listener)
            for header, source in ((v1(), "192.0.2.7"), (v2("2001:db8::7", 4711, "2001:db8::1"), "2001:db8::7")):
                with Client(gateway.address) as client:
                    client.send(header + request("/"))
                    self.assertEqual(json.loads(client.response().body)[1:3], [source, 4711])

    def test_a_websocket(self):
        """A tunnel has the header too, and speaks for its client alone."""
        seen = []

        def serve(stream):
            seen.append(stream.connection.begun)
            stream.accept_websocket()
            while piece := stream.read():
                stream.write(piece)

        self.target = ORIGINS["h1"](serve, preface=read_header)
        self.addCleanup(self.target.close)
        gateway = self.gateway(config([route("all", "/", "origin", upgrade=["websocket"])], {"origin": {
            "endpoints": [self.target.address], "proxy_protocol": "v2"}}, workers=1))
        for kind in ("h1", "h2"):
            with CALLERS[kind](gateway.address) as caller:
                call = caller.websocket("/")
                self.assertTrue(call.opened)
                call.write(b"x")
                self.assertEqual(call.take(1), b"x")
                self.assertEqual(seen[-1][1:3], caller.wire.sock.getsockname())


if __name__ == "__main__":
    unittest.main()
