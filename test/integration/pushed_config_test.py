"""What a control plane pushes: how it becomes what is served, and what a gateway survives of one."""

import json
import os
import resource
import selectors
import signal
import socket
import threading
import unittest

from harness import Gateway, GatehouseTest, Load, wait_until
from http_peers import PATIENCE, Client, free_port
from scripted_control_plane import (
    TYPES, ScriptedControlPlane, cluster, discovery, forward_table, listener, packed, respond_table, type_url)
from tls_material import TlsMaterial

# As many as a quick run has time for; the whole is GATEHOUSE_SCALE=1.
WHOLE = os.environ.get("GATEHOUSE_SCALE") == "1"


class EchoServer:
    """Answers the handshake of any number of WebSockets, and sends back what comes after it, on one thread."""

    ANSWER = (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
              b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")

    def __init__(self):
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.address = "127.0.0.1:%d" % self._listener.getsockname()[1]
        self._ending = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            greeted = set()
            while not self._ending:
                for key, _ in selector.select(0.1):
                    if key.fileobj is self._listener:
                        selector.register(self._listener.accept()[0], selectors.EVENT_READ)
                        continue
                    data = key.fileobj.recv(4096)
                    if not data:
                        selector.unregister(key.fileobj)
                        key.fileobj.close()
                    elif key.fd in greeted:
                        key.fileobj.sendall(data)
                    else:
                        greeted.add(key.fd)
                        key.fileobj.sendall(self.ANSWER)
            for key in list(selector.get_map().values()):
                key.fileobj.close()

    def close(self):
        self._ending = True
        self._thread.join(PATIENCE)


class PushedConfig(GatehouseTest):
    def setUp(self):
        self.edge = free_port()
        self.home = self.folder()
        self.state = os.path.join(self.home, "state")

    def plane(self, **options):
        plane = ScriptedControlPlane(**options)
        self.addCleanup(plane.close)
        return plane

    def bootstrap(self, *planes, **more):
        control_plane = {"addresses": [one if isinstance(one, str) else one.address for one in planes],
                         "max_backoff": "0.5s", **more.pop("control_plane", {})}
        return {"node": {"id": "edge-1", "group": "edge"}, "control_plane": control_plane,
                "state_folder": self.state, "listeners": [], **more}

    def start(self, *planes, ready=False, **more):
        options = more.pop("options", {})
        options.setdefault("exit_code", 0)
        gateway = self.gateway_unready(self.bootstrap(*planes, **more), **options)
        if ready:
            self.ready(gateway)
        return gateway

    def gateway_unready(self, settings, exit_code=0, **options):
        """Without waiting until it is ready, which may take what a test does next."""
        gateway = Gateway(settings, self.home, wait=False, **options)

        def finish():
            code = gateway.stop()
            if not self._outcome.success:
                print(f"--- stderr of gatehouse in {self.id()}\n{gateway.stderr}\n---", flush=True)
            if exit_code is not None:
                self.assertEqual(code, exit_code, gateway.stderr)

        self.addCleanup(finish)
        return gateway

    def ready(self, gateway):
        gateway.wait_ready()
        gateway.ports["edge"] = self.edge

    def edge_listener(self, tables=("main",), log=None):
        return listener("edge", f"127.0.0.1:{self.edge}", tables, log)

    def body(self):
        with Client(("127.0.0.1", self.edge)) as client:
            response = client.ask("/")
            return response.status, response.body.decode()

    def serve_text(self, plane, text="one", **more):
        """A gateway that answers `text`, and its stream."""
        gateway = self.start(plane, **more)
        stream = plane.stream()
        stream.sends_all(RouteTable=[respond_table("main", text)], Listener=[self.edge_listener()])
        self.ready(gateway)
        self.assertEqual(self.body(), (200, text))
        return gateway, stream

    def xds(self, gateway):
        return json.loads(gateway.ask_admin("/xds").body)

    def saved(self, gateway):
        """Something is on disk: from now on a restart serves."""
        wait_until(lambda: self.xds(gateway)["state_folder"]["saves"] > 0, "the config to be saved")

    def proven(self, gateway):
        """What is served is known not to crash the process; kills in a row would be taken for that."""
        wait_until(lambda: not self.xds(gateway)["state_folder"]["trying"], "the config to be proven")

    # --- The protocol, seen from the other side ---

    def test_the_first_request_says_who_it_is_and_wants_everything(self):
        plane = self.plane()
        self.start(plane)
        stream = plane.stream()
        for kind in TYPES:
            request = stream.sees(kind)
            self.assertEqual(list(request.resource_names_subscribe), ["*"], kind)
            self.assertEqual(dict(request.initial_resource_versions), {}, kind)
        self.assertEqual((stream.node.id, stream.node.cluster, stream.node.user_agent_name),
                         ("edge-1", "edge", "gatehouse"))

    def test_it_is_not_ready_before_the_first_config(self):
        plane = self.plane()
        gateway = self.start(plane, admin={"address": f"127.0.0.1:{(port := free_port())}"})
        gateway.wait_for_line("not ready yet: waiting for the control plane")
        gateway.admin = ("127.0.0.1", port)
        self.assertEqual(gateway.ask_admin("/ready").status, 503)
        stream = plane.stream()
        stream.sends_all(RouteTable=[respond_table("main", "one")], Listener=[self.edge_listener()])
        self.ready(gateway)
        self.assertEqual(gateway.ask_admin("/ready").status, 200)

    def test_a_change_reaches_traffic_on_connections_that_are_open(self):
        plane = self.plane()
        gateway, stream = self.serve_text(plane)
        client = self.client(gateway)
        self.assertEqual(client.ask("/").body, b"one")
        nonce = stream.sends("RouteTable", [respond_table("main", "two")])
        stream.sees_ack("RouteTable", nonce)
        self.assertEqual(client.ask("/").body, b"two")

    def test_state_of_the_world(self):
        plane = self.plane()
        origin = self.origin()
        gateway = self.start(plane, control_plane={"protocol": "state_of_the_world"})
        stream = plane.stream()
        self.assertFalse(stream.delta)
        stream.sends_all(Cluster=[cluster("a", origin.address), cluster("b", origin.address)],
                         RouteTable=[forward_table("main", "a")], Listener=[self.edge_listener()])
        self.ready(gateway)
        self.assertEqual(self.body()[0], 200)
        # What is missing is removed, but not as long as a route needs it.
        stream.sees_ack("Cluster", stream.sends("Cluster", [cluster("b", origin.address)]))
        self.assertEqual(self.body()[0], 200)
        self.assertEqual(self.xds(gateway)["leaving"], [{"type": "Cluster", "name": "a"}])
        stream.sees_ack("RouteTable", stream.sends("RouteTable", [forward_table("main", "b")]))
        self.assertEqual(self.body()[0], 200)
        wait_until(lambda: not self.xds(gateway)["leaving"], "the cluster to leave")

    def test_the_worst_order_fails_no_request(self):
        plane = self.plane()
        first, second = self.origin(), self.origin()
        gateway = self.start(plane)
        stream = plane.stream()
        stream.sends_all(Cluster=[cluster("c0", first.address)], RouteTable=[forward_table("main", "c0")],
                         Listener=[self.edge_listener()])
        self.ready(gateway)
        load = Load(("127.0.0.1", self.edge))
        for i in range(1, 20):
            address = (first, second)[i % 2].address
            # The route comes before the cluster that it needs, the cluster leaves before the route that needs it.
            routes = stream.sends("RouteTable", [forward_table("main", f"c{i}")])
            removal = stream.sends("Cluster", removed=[f"c{i - 1}"])
            clusters = stream.sends("Cluster", [cluster(f"c{i}", address)])
            for kind, nonce in (("RouteTable", routes), ("Cluster", removal), ("Cluster", clusters)):
                stream.sees_ack(kind, nonce)
        self.assertEqual(load.stop(), [])
        names = [one["name"] for one in json.loads(gateway.ask_admin("/clusters").body)["clusters"]]
        self.assertEqual(names, ["c19"])

    def test_some_bad_of_many(self):
        plane = self.plane()
        origin = self.origin()
        gateway = self.start(plane)
        stream = plane.stream()
        good = [cluster(f"good{i}", origin.address) for i in range(20)]
        bad = [cluster(f"bad{i}", "not an address") for i in range(5)]
        nonce = stream.sends("Cluster", [*good[:10], *bad, *good[10:]])
        error, named = stream.sees_nack("Cluster", nonce)
        self.assertEqual(sorted(named), [f"bad{i}" for i in range(5)])
        self.assertEqual(named["bad3"].errors[0].path, "endpoints[0].address")
        self.assertIn("bad3", error.message)
        stream.sends_all(kinds=[kind for kind in TYPES if kind != "Cluster"],
                         RouteTable=[forward_table("main", "good7")], Listener=[self.edge_listener()])
        self.ready(gateway)
        self.assertEqual(self.body()[0], 200)
        xds = self.xds(gateway)
        self.assertEqual((xds["types"]["Cluster"]["accepted"], len(xds["refused"])), (20, 5))
        self.assertEqual(gateway.metric("gatehouse_xds_refused_resources"), 5)
        # The bad ones, mended.
        nonce = stream.sends("Cluster", [cluster(f"bad{i}", origin.address) for i in range(5)])
        stream.sees_ack("Cluster", nonce)
        self.assertEqual(self.xds(gateway)["refused"], [])

    def test_wanted_names_alone(self):
        plane = self.plane()
        self.start(plane, control_plane={"only": [{"type": "Secret", "names": ["site", "ids"]}]})
        stream = plane.stream()
        self.assertEqual(sorted(stream.sees("Secret").resource_names_subscribe), ["ids", "site"])
        self.assertEqual(list(stream.sees("Cluster").resource_names_subscribe), ["*"])

    def test_what_has_a_ttl_goes_when_nobody_prolongs_it(self):
        plane = self.plane()
        gateway, stream = self.serve_text(plane)
        other = listener("short", f"127.0.0.1:{free_port()}", ["main"])
        stream.sees_ack("Listener", stream.sends("Listener", [other], ttl=1))
        self.assertEqual(self.xds(gateway)["types"]["Listener"]["accepted"], 2)
        wait_until(lambda: self.xds(gateway)["types"]["Listener"]["accepted"] == 1, "the listener to go")
        self.assertEqual(self.body(), (200, "one"))

    def test_a_file_that_is_named_by_what_is_pushed_is_watched(self):
        page = os.path.join(self.home, "page.txt")
        with open(page, "w") as file:
            file.write("before")
        plane = self.plane()
        gateway, stream = self.serve_text(plane)
        table = respond_table("main", "")
        table["routes"][0]["respond"] = {"status": 200, "file": page}
        stream.sees_ack("RouteTable", stream.sends("RouteTable", [table]))
        self.assertEqual(self.body(), (200, "before"))
        with open(page, "w") as file:
            file.write("after")
        wait_until(lambda: self.body() == (200, "after"), "the file's new content")

    def test_types_that_are_not_wanted_are_not_waited_for(self):
        plane = self.plane()
        gateway = self.start(plane, control_plane={"only": [{"type": "Secret", "names": []}]})
        stream = plane.stream()
        for kind in ("RateLimit", "Cluster", "Endpoints"):
            stream.sends(kind, [])
        stream.sends("RouteTable", [respond_table("main", "one")])
        stream.sends("Listener", [self.edge_listener()])
        self.ready(gateway)
        self.assertEqual(self.body(), (200, "one"))
        self.saved(gateway)

    def test_a_name_that_nobody_answers_for_does_not_keep_the_next_push_waiting(self):
        silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(silent.close)
        silent.bind(("127.0.0.1", 0))
        plane = self.plane()
        _, stream = self.serve_text(plane, control_plane={"warm_timeout": "1s"})
        pushed = []

        def served():
            # Each begins to wait for a name of its own before the one before has given up.
            named = cluster(f"c{len(pushed)}", f"c{len(pushed)}.example:80",
                            dns={"resolvers": [f"127.0.0.1:{silent.getsockname()[1]}"]})
            pushed.append(stream.sends("Cluster", [named]))
            stream.sends("RouteTable", [respond_table("main", "two")])
            return self.body() == (200, "two")

        wait_until(served, "the route")

    # --- Control planes that are away, slow, or lie ---

    def test_a_restart_without_the_control_plane_serves_what_was_accepted(self):
        plane = self.plane()
        gateway, stream = self.serve_text(plane)
        self.saved(gateway)
        plane.close()
        self.assertEqual(gateway.stop(), 0)
        again = self.start(plane, ready=True)
        self.assertEqual(self.body(), (200, "one"))
        first_line = again.ask_admin("/config").body.decode().split("\n")[0]
        self.assertRegex(first_line, r"^# version 1, served for \d+ s, from state folder, accepted \d+ s ago$")
        self.assertEqual(again.metric("gatehouse_config_from_disk"), 1)
        self.assertFalse(self.xds(again)["connected"])
        # It is back, and is told what the gateway has.
        back = self.plane(address=plane.address)
        stream = back.stream()
        self.assertEqual(list(stream.sees("RouteTable").initial_resource_versions), ["main"])
        stream.sends_all(RouteTable=[respond_table("main", "two")])
        self.assertEqual(self.body(), (200, "two"))
        self.assertEqual(again.metric("gatehouse_config_from_disk"), 0)

    def test_a_control_plane_that_dies_takes_nothing_with_it(self):
        plane = self.plane()
        gateway, stream = self.serve_text(plane)
        load = Load(("127.0.0.1", self.edge))
        plane.close()
        gateway.wait_for_line("what is served stays")
        back = self.plane(address=plane.address)
        stream = back.stream()
        self.assertEqual(list(stream.sees("Listener").initial_resource_versions), ["edge"])
        nonce = stream.sends("RouteTable", removed=["main"])
        stream.sees_ack("RouteTable", nonce)
        self.assertEqual(load.stop(), [])  # a listener needs the table still
        self.assertEqual(self.body(), (200, "one"))

    def test_another_address_when_one_fails(self):
        class Silent:
            """Takes connections and says nothing."""

            def __init__(self):
                self.socket = socket.create_server(("127.0.0.1", 0))
                self.address = "127.0.0.1:%d" % self.socket.getsockname()[1]

        silent = Silent()
        self.addCleanup(silent.socket.close)
        dead = f"127.0.0.1:{free_port()}"
        plane = self.plane()
        gateway = self.start(dead, silent.address, plane,
                             control_plane={"ping_interval": "0.3s", "ping_timeout": "0.3s"})
        stream = plane.stream()
        stream.sends_all(RouteTable=[respond_table("main", "one")], Listener=[self.edge_listener()])
        self.ready(gateway)
        self.assertEqual(self.xds(gateway)["address"], plane.address)

    def test_lies(self):
        plane = self.plane()
        gateway, stream = self.serve_text(plane)
        load = Load(("127.0.0.1", self.edge))
        twice = discovery.DeltaDiscoveryResponse(type_url=type_url("Cluster"), nonce="twice")
        for _ in range(2):
            twice.resources.add(name="c", version="1", resource=packed("Cluster", cluster("c", "127.0.0.1:1")))
        misnamed = discovery.DeltaDiscoveryResponse(type_url=type_url("Cluster"), nonce="misnamed")
        misnamed.resources.add(name="x", version="1", resource=packed("Cluster", cluster("c", "127.0.0.1:1")))
        garbage = discovery.DeltaDiscoveryResponse(type_url=type_url("Cluster"), nonce="garbage")
        garbage.resources.add(name="g", version="1", resource=packed("Cluster", b"\xff\xff\xff\x01"))
        unknown_field = discovery.DeltaDiscoveryResponse(type_url=type_url("Cluster"), nonce="unknown_field")
        # Field 1900, a varint: a version of the gateway that does not know it must not ignore it.
        unknown_field.resources.add(name="u", version="1", resource=packed("Cluster", b"\x0a\x01u\xe0\x76\x01"))
        other_type = discovery.DeltaDiscoveryResponse(type_url=type_url("Cluster"), nonce="other_type")
        other_type.resources.add(name="r", version="1", resource=packed("RouteTable", respond_table("r", "x")))
        for reply in (twice, misnamed, garbage, unknown_field, other_type):
            stream.sends_bytes(reply.SerializeToString())
            error, _ = stream.sees_nack("Cluster", reply.nonce)
            self.assertTrue(error.message, reply.nonce)
        self.assertEqual(self.xds(gateway)["types"]["Cluster"]["accepted"], 0)
        # No message at all: the stream ends, and another one begins.
        stream.sends_bytes(b"\xff\xff\xff\xff\xff")
        stream = plane.stream()
        stream.sees_ack("RouteTable", stream.sends("RouteTable", [respond_table("main", "one")]))
        self.assertEqual(load.stop(), [])

    def test_a_message_that_is_too_large(self):
        plane = self.plane()
        gateway, stream = self.serve_text(plane, control_plane={"max_message_bytes": "64KiB"})
        stream.sends("RouteTable", [respond_table("main", "x" * 100_000)])
        gateway.wait_for_line("what is served stays")
        self.assertEqual(self.body(), (200, "one"))
        stream = plane.stream()
        stream.sees_ack("RouteTable", stream.sends("RouteTable", [respond_table("main", "two")]))
        self.assertEqual(self.body(), (200, "two"))

    def test_pushes_without_end(self):
        plane = self.plane()
        gateway, stream = self.serve_text(plane)
        before = gateway.resident_bytes()
        load = Load(("127.0.0.1", self.edge))
        count = 5000 if WHOLE else 1000
        for i in range(count):
            nonce = stream.sends("RouteTable", [respond_table("main", f"text {i}")])
        stream.sees_ack("RouteTable", nonce)
        self.assertEqual(load.stop(), [])
        self.assertEqual(self.body(), (200, f"text {count - 1}"))
        self.assertLess(gateway.resident_bytes() - before, 64 << 20)
        self.assertLess(self.xds(gateway)["builds"], count + 5)

    def test_more_listeners_than_descriptors(self):
        plane = self.plane()
        gateway, stream = self.serve_text(plane, options={"files": 400})
        more = [listener(f"more{i}", "127.0.0.1:0", ["main"]) for i in range(300)]
        error, _ = stream.sees_nack("Listener", stream.sends("Listener", more))
        self.assertIn("more than half of the file descriptors", error.message)
        # Those that have a place are served, and connections have descriptors still.
        self.assertGreater(self.xds(gateway)["types"]["Listener"]["accepted"], 10)
        self.assertLess(gateway.open_files(), 300)
        self.assertEqual(self.body(), (200, "one"))
        stream.sees_ack("Listener", stream.sends("Listener", removed=[one["name"] for one in more]))

    def test_a_saved_listener_whose_port_is_taken(self):
        plane = self.plane()
        gateway, stream = self.serve_text(plane)
        port = free_port()
        stream.sees_ack("Listener", stream.sends("Listener", [listener("second", f"127.0.0.1:{port}", ["main"])]))
        self.assertEqual(gateway.stop(), 0)
        with socket.create_server(("127.0.0.1", port)):
            again = self.start(plane, ready=True)
            again.wait_for_line('saved Listener "second" is left out')
            self.assertEqual(self.body(), (200, "one"))
        # It is not held, so the control plane sends it again.
        stream = plane.stream()
        self.assertEqual(list(stream.sees("Listener").initial_resource_versions), ["edge"])
        stream.sees_ack("Listener", stream.sends("Listener", [listener("second", f"127.0.0.1:{port}", ["main"])]))
        with Client(("127.0.0.1", port)) as client:
            self.assertEqual(client.ask("/").body, b"one")

    def test_kills_at_any_moment(self):
        plane = self.plane()
        gateway, stream = self.serve_text(plane, options={"exit_code": None})
        self.saved(gateway)
        texts = {"one"}
        for round_number in range(30 if WHOLE else 6):
            for i in range(3 + round_number):
                texts.add(text := f"{round_number}.{i}")
                stream.sends("RouteTable", [respond_table("main", text)])
            if round_number % 2:
                wait_until(lambda: self.body()[1] in texts, "a push to be served")
            gateway.signal(signal.SIGKILL)
            gateway.wait_exit()
            gateway = self.start(plane, ready=True, options={"exit_code": None})
            status, text = self.body()
            self.assertEqual(status, 200)
            self.assertIn(text, texts)
            stream = plane.stream()
            stream.sees("RouteTable")
            stream.sends_all(RouteTable=[respond_table("main", "settled")])
            texts.add("settled")
            self.proven(gateway)

    def test_what_kills_the_gateway_is_set_aside(self):
        plane = self.plane()
        gateway, stream = self.serve_text(plane, options={"exit_code": None})
        self.saved(gateway)
        self.proven(gateway)
        for _ in range(2):
            stream.sends("RouteTable", [respond_table("main", "poison")])
            wait_until(lambda: self.body()[1] == "poison", "the push to be served")
            # As a crash looks.
            gateway.signal(signal.SIGKILL)
            gateway.wait_exit()
            gateway = self.start(plane, ready=True, options={"exit_code": None})
            stream = plane.stream()
            stream.sees("RouteTable")
        self.assertEqual(self.body(), (200, "one"), "the one before the one that crashed")
        nonce = stream.sends("RouteTable", [respond_table("main", "poison")])
        _, named = stream.sees_nack("RouteTable", nonce)
        self.assertIn("quarantine", named["main"].errors[0].message)
        self.assertEqual(self.body(), (200, "one"))
        stream.sees_ack("RouteTable", stream.sends("RouteTable", [respond_table("main", "mended")]))
        self.assertEqual(self.body(), (200, "mended"))

    # --- Connections ---

    def test_websockets_live_through_updates(self):
        # Two descriptors each, in the gateway and here.
        limit = (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 500) // 2
        sockets_wanted, updates = (min(10_000, limit), 1000) if WHOLE else (300, 60)
        plane = self.plane()
        gateway = self.start(plane)
        stream = plane.stream()
        origin = EchoServer()
        self.addCleanup(origin.close)
        table = {"name": "main", "domains": ["*"], "routes": [{
            "name": "all", "match": {"path_prefix": "/"}, "forward": {"cluster": "c"}, "upgrade": {"protocols": ["websocket"]},
            "timeout": "15s"}]}
        stream.sends_all(Cluster=[cluster("c", origin.address, limits={"max_connections": 20_000})],
                         RouteTable=[table], Listener=[self.edge_listener()])
        self.ready(gateway)
        opened = []
        for _ in range(sockets_wanted):
            client = socket.create_connection(("127.0.0.1", self.edge), timeout=PATIENCE)
            self.addCleanup(client.close)
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                           b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
            opened.append(client)
        for client in opened:
            self.assertTrue(client.recv(4096).startswith(b"HTTP/1.1 101"))
        for i in range(updates):
            table["routes"][0]["timeout"] = f"{10 + i % 7}s"
            nonces = [("RouteTable", stream.sends("RouteTable", [table]))]
            if i % 3 == 0:
                more = [cluster("c", origin.address, limits={"max_connections": 20_000 + i}),
                        cluster(f"other{i % 5}", origin.address)]
                nonces.append(("Cluster", stream.sends("Cluster", more)))
            for kind, nonce in nonces:
                stream.sees_ack(kind, nonce)
        for i, client in enumerate(opened):
            client.sendall(b"ping")
            self.assertEqual(client.recv(4), b"ping", f"websocket {i} of {len(opened)}")

    def test_mutual_tls(self):
        tls = TlsMaterial.shared()
        plane = self.plane(tls=(tls.origin.chain, tls.origin.key, tls.ca))
        gateway = self.start(
            plane,
            control_plane={"tls": tls.cluster_tls(client_certificate=tls.certificate("client"))},
            secrets=tls.secrets())
        stream = plane.stream()
        stream.sends_all(RouteTable=[respond_table("main", "one")], Listener=[self.edge_listener()])
        self.ready(gateway)
        self.assertEqual(self.body(), (200, "one"))

    def test_a_reload_of_the_file_leaves_what_is_pushed(self):
        plane = self.plane()
        gateway, stream = self.serve_text(plane)
        settings = self.bootstrap(plane, clusters=[{"name": "own", "endpoints": ["127.0.0.1:1"]}])
        gateway.reload(settings)
        self.assertEqual(self.body(), (200, "one"))
        nonce = stream.sends("Cluster", [cluster("own", "127.0.0.1:2")])
        _, named = stream.sees_nack("Cluster", nonce)
        self.assertIn("in this gateway's own file", named["own"].errors[0].message)
        stream.sees_ack("RouteTable", stream.sends("RouteTable", [respond_table("main", "two")]))
        self.assertEqual(self.body(), (200, "two"))


if __name__ == "__main__":
    unittest.main()
