"""RateLimit resources that a control plane pushes: what has been counted stays, and `explain` shows it."""

import subprocess
import unittest

from harness import Gateway, binary, wait_until
from http_peers import PATIENCE, Client, free_port
from rate_limit_cases import RateLimitTest
from redis_peers import RedisServer
from scripted_control_plane import ScriptedControlPlane, cluster, listener


def bucket(name, burst, **rest):
    """As protobuf's JSON has it."""
    return {"name": name, "tokenBucket": {"rate": {"amount": 1, "per": "3600s"}, "burst": burst}, **rest}


class Pushed(RateLimitTest):
    def serve(self, *limits, clusters=()):
        """A gateway that has all it serves from a control plane; `limit` is on all routes."""
        self.target = self.origin()
        self.edge = free_port()
        plane = ScriptedControlPlane()
        self.addCleanup(plane.close)
        gateway = Gateway({"node": {"id": "edge-1", "group": "edge"}, "listeners": [],
                           "control_plane": {"addresses": [plane.address]}}, self.folder(), wait=False)
        self.addCleanup(lambda: self.assertEqual(gateway.stop(), 0, gateway.stderr))
        self.stream = plane.stream()
        self.stream.sends_all(
            RateLimit=limits, Cluster=[cluster("origin", self.target.address), *clusters],
            RouteTable=[{"name": "main", "domains": ["*"], "filters": [{"rateLimit": {"policies": ["limit"]}}],
                         "routes": [{"name": "all", "match": {"pathPrefix": "/"}, "forward": {"cluster": "origin"}}]}],
            Listener=[listener("edge", f"127.0.0.1:{self.edge}", ["main"])])
        gateway.wait_ready()
        gateway.ports["edge"] = self.edge
        return gateway

    def push(self, *limits):
        self.stream.sees_ack("RateLimit", self.stream.sends("RateLimit", limits))

    def remaining(self, gateway, **options):
        return int(self.ask(gateway, **options)["x-ratelimit-remaining"])

    def test_a_changed_limit_keeps_its_counts(self):
        gateway = self.serve(bucket("limit", 10), bucket("other", 1))
        self.assertEqual(self.passed(gateway, 8), 8)
        self.push(bucket("limit", 12))
        self.assertEqual(self.remaining(gateway), 3)
        self.push(bucket("limit", 5))
        self.assertEqual(self.passed(gateway, 5), 0)
        self.push(bucket("limit", 20))
        # Five of five were used: more than a limit has it does not remember.
        self.assertEqual(self.passed(gateway, 20), 15)
        # What else is pushed changes nothing about it.
        self.push(bucket("other", 7))
        self.stream.sees_ack("Cluster", self.stream.sends("Cluster", [cluster("more", self.target.address)]))
        self.assertEqual(self.passed(gateway, 5), 0)

    def test_another_answer_or_cost_keeps_the_counts_too(self):
        gateway = self.serve(bucket("limit", 10))
        self.assertEqual(self.passed(gateway, 5), 5)
        self.push(bucket("limit", 10, answer={"status": 503}, cost={"fixed": 2}))
        self.assertEqual([self.ask(gateway).status for _ in range(4)], [200, 200, 503, 503])
        self.push(bucket("limit", 10, dryRun=True))
        self.assertEqual(self.statuses(gateway, 3), [200] * 3)

    def test_from_one_algorithm_to_another(self):
        """As much as can be kept: a window that is used up does not become a fresh one."""
        gateway = self.serve({"name": "limit", "fixedWindow": {"limit": {"amount": 5, "per": "3600s"}}})
        self.assertEqual(self.passed(gateway, 5), 5)
        self.push({"name": "limit", "slidingWindow": {"limit": {"amount": 5, "per": "3600s"}}})
        self.assertEqual(self.passed(gateway, 5), 0)

    def test_a_wrong_limit_is_refused_and_the_old_one_stays(self):
        gateway = self.serve(bucket("limit", 3))
        self.assertEqual(self.passed(gateway, 2), 2)
        nonce = self.stream.sends("RateLimit", [{"name": "limit", "slidingLog": {}}])
        _, named = self.stream.sees_nack("RateLimit", nonce)
        self.assertIn("limit", named)
        self.assertEqual(self.passed(gateway, 3), 1)

    def test_in_redis(self):
        server = RedisServer(self.folder())
        self.addCleanup(server.stop)
        store = {"redis": {"cluster": "redis", "timeout": "20s"}}
        gateway = self.serve(bucket("limit", 10, store=store), clusters=[cluster("redis", server.address)])
        self.assertEqual(self.passed(gateway, 8), 8)
        self.push(bucket("limit", 12, store=store))
        self.assertEqual(self.remaining(gateway), 3)
        # To another store: it begins anew there, and the old one is left in peace.
        self.push(bucket("limit", 12))
        self.assertEqual(self.remaining(gateway), 11)

    def explain(self, gateway, *words):
        done = subprocess.run(
            [binary(), "explain", "--admin", "%s:%d" % gateway.admin, "--", *words], capture_output=True, text=True,
            timeout=PATIENCE, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_explain_shows_the_key_and_the_state(self):
        gateway = self.serve(bucket("limit", 10, key=[{"header": "X-Client"}]))
        words = ["GET", f"http://127.0.0.1:{self.edge}/", "-H", "X-Client: alice"]
        before = self.explain(gateway, *words)
        self.assertIn("limit", before)
        self.assertIn("alice", before)
        with Client(gateway.address) as client:
            for _ in range(4):
                client.ask(headers=["X-Client: alice"])
        said = wait_until(lambda: (text := self.explain(gateway, *words)) != before and text, "the state")
        self.assertRegex(said, r"\b6\b")
        # It has taken nothing.
        self.assertEqual(self.remaining(gateway, headers=["X-Client: alice"]), 5)
        other = self.explain(gateway, "GET", f"http://127.0.0.1:{self.edge}/", "-H", "X-Client: bob")
        self.assertIn("bob", other)


if __name__ == "__main__":
    unittest.main()
