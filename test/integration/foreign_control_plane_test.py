"""Any server of the standard protocol can push: a control plane that is not ours, by grpc-java on Netty."""

import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "foreign_control_plane"))

from foreign_control_plane import ForeignControlPlane
from harness import Gateway, GatehouseTest, Load, binary, wait_until
from http_peers import Client, free_port
from scripted_control_plane import cluster, forward_table, listener, respond_table


class ForeignTest(GatehouseTest):
    def setUp(self):
        self.edge = free_port()

    def plane(self, port=0):
        plane = ForeignControlPlane(port)
        self.addCleanup(plane.close)
        return plane

    def gateway_of(self, plane, protocol):
        home = self.folder()
        settings = {
            "node": {"id": "edge-1", "group": "edge"},
            "control_plane": {"addresses": [plane.address], "protocol": protocol, "max_backoff": "0.2s"},
            "state_folder": os.path.join(home, "state"),
            "listeners": [],
        }
        gateway = Gateway(settings, home, wait=False)

        def finish():
            code = gateway.stop()
            if not self._outcome.success:
                print(f"--- stderr of gatehouse in {self.id()}\n{gateway.stderr}\n---", flush=True)
            self.assertEqual(code, 0, gateway.stderr)

        self.addCleanup(finish)
        return gateway

    def ready(self, gateway):
        gateway.wait_ready()
        gateway.ports["edge"] = self.edge

    def body(self):
        with Client(("127.0.0.1", self.edge)) as client:
            response = client.ask("/")
            return response.status, response.body.decode()

    def serves(self, text):
        wait_until(lambda: self.body() == (200, text), f"{text} to be served")

    def edge_listener(self):
        return listener("edge", f"127.0.0.1:{self.edge}", ("main",))


PROTOCOLS = {"delta": "delta", "state_of_the_world": "sotw"}


class Push(ForeignTest):
    def check_pushes(self, protocol):
        plane = self.plane()
        origin = self.origin()
        plane.set("Cluster", cluster("users", origin.address))
        plane.set("RouteTable", forward_table("main", "users"))
        plane.set("Listener", self.edge_listener())
        plane.push()
        gateway = self.gateway_of(plane, protocol)
        plane.wait_for(f"^open {PROTOCOLS[protocol]}$")
        self.ready(gateway)
        for kind in ("Cluster", "RouteTable", "Listener"):
            plane.wait_for(f"^ack {kind} ")
        self.serves("hello")
        return plane, gateway

    def check_changes(self, plane, gateway):
        with Load(("127.0.0.1", self.edge), connections=2) as load:
            load.wait_for(20)
            # The route before its cluster: it waits, the one before serves on.
            start = plane.mark()
            two = self.origin()
            plane.set("RouteTable", forward_table("main", "two"))
            plane.push()
            plane.set("Cluster", cluster("two", two.address))
            plane.push()
            wait_until(lambda: two.requests, "requests at the new origin")
            plane.wait_for("^ack Cluster ", start)
            # Nothing changes: nothing is sent.
            plane.push()
            plane.remove("Cluster", "users")
            plane.push()
            load.wait_for(20)
            self.assertEqual(load.stop(), [])
        done = self.run_command(
            binary(), "explain", "--admin", "%s:%d" % gateway.admin, "--", "GET", f"http://localhost:{self.edge}/"
        )
        self.assertIn("route        main/all", done.stdout)
        self.assertIn("cluster      two", done.stdout)

    def check_refusals(self, plane):
        """What is wrong is named, and what was there serves on."""
        start = plane.mark()
        bad = forward_table("main", "two")
        bad["routes"][0]["match"] = {"path_prefix": "no-slash"}
        plane.set("RouteTable", bad)
        plane.push()
        refused = plane.wait_for("^nack RouteTable [0-9]+ (.*)", start)[1]
        self.assertIn("main", refused)
        self.assertIn("routes[0].match.path_prefix", refused)
        self.assertEqual(self.body()[0], 200)
        start = plane.mark()
        plane.say("garbage", "Cluster")
        plane.wait_for("^nack Cluster ", start)
        self.assertEqual(self.body()[0], 200)
        start = plane.mark()
        plane.set("RouteTable", respond_table("main", "mended"))
        plane.push()
        plane.wait_for("^ack RouteTable ", start)
        self.serves("mended")

    def test_delta(self):
        plane, gateway = self.check_pushes("delta")
        self.check_changes(plane, gateway)
        self.check_refusals(plane)

    def test_state_of_the_world(self):
        plane, gateway = self.check_pushes("state_of_the_world")
        self.check_changes(plane, gateway)
        self.check_refusals(plane)

    def test_a_control_plane_that_starts_again(self):
        for protocol in PROTOCOLS:
            with self.subTest(protocol):
                self.edge = free_port()
                plane = self.plane()
                plane.set("RouteTable", respond_table("main", "one"))
                plane.set("Listener", self.edge_listener())
                plane.push()
                gateway = self.gateway_of(plane, protocol)
                self.ready(gateway)
                self.serves("one")
                port = plane.port
                plane.close()
                self.assertEqual(self.body(), (200, "one"))
                plane = self.plane(port)
                plane.set("RouteTable", respond_table("main", "two"))
                plane.set("Listener", self.edge_listener())
                plane.push()
                self.serves("two")

    def test_paused(self):
        plane = self.plane()
        plane.say("pause")
        plane.set("RouteTable", respond_table("main", "one"))
        plane.set("Listener", self.edge_listener())
        plane.push()
        gateway = self.gateway_of(plane, "delta")
        plane.wait_for("^subscribe Listener$")
        plane.say("resume")
        self.ready(gateway)
        self.serves("one")


if __name__ == "__main__":
    unittest.main()
