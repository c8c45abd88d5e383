"""What holds when the Redis of a limit is slow, wrong, full, or not there: nobody loses a request, and it is said once."""

import threading
import time
import unittest
from collections import Counter

from harness import Load, wait_until
from rate_limit_cases import Crowd, bucket
from rate_limit_fleet import RedisLimitTest


class Outages(RedisLimitTest):
    def test_killed_and_restarted_under_load(self):
        """No request is lost or answered otherwise than configured; then the limit is Redis's again."""
        cases = (("allow", {200}, 200), ("deny", {200, 503}, 503), ("local", {200}, 200))
        for failure, expected, meanwhile in cases:
            with self.subTest(on_failure=failure):
                server = self.redis()
                gateways = self.fleet(server, bucket(10**6, rate="100000/h"), store={
                    "on_failure": failure, "timeout": "0.25s", "gateways": 3})
                loads = [Load(gateway.address, connections=2, expect=tuple(expected)) for gateway in gateways]
                try:
                    for load in loads:
                        load.wait_for(50)
                    server.kill()
                    for gateway, load in zip(gateways, loads):
                        wait_until(lambda gateway=gateway: self.ask(gateway).status == meanwhile, "the outage")
                        load.wait_for(100)
                    server.start()
                    for load in loads:
                        load.wait_for(50)
                    # Redis counts again: it has the key.
                    wait_until(lambda server=server: server.ask("KEYS", "*"), "Redis to be used again")
                    for gateway in gateways:
                        wait_until(lambda gateway=gateway: self.ask(gateway).status == 200, "the end of the outage")
                finally:
                    failures = [failed for load in loads for failed in load.stop()]
                self.assertEqual(failures, [])
                for gateway in gateways:
                    said = self.lines_about_redis(gateway)
                    self.assertTrue(1 <= len(said) <= 6, said)

    def test_a_limit_holds_locally_by_the_fleets_share(self):
        server = self.redis()
        gateways = self.fleet(server, bucket(30), store={"on_failure": "local", "timeout": "0.25s", "gateways": 3})
        server.kill()
        name = "gatehouse_rate_limit_redis_fallback_total"
        for gateway in gateways:
            self.assertEqual(self.passed(gateway, 40), 10)
            gateway.wait_for_metric(10, name, policy="limit", decision="allowed")
            gateway.wait_for_metric(30, name, policy="limit", decision="rejected")
            self.assertTrue(all("RLU" in record["flags"] for record in gateway.log(40)))
            self.assertEqual(gateway.metric("gatehouse_rate_limit_redis_checks_total", policy="limit", result="ok"), 0)

    def test_exact_again_after_the_outage(self):
        server = self.redis()
        # One worker each: the other one would find Redis in its own time.
        gateways = self.fleet(server, bucket(60), store={"on_failure": "allow", "timeout": "0.25s"}, workers=1)
        self.assertEqual(sum(self.passed(gateway, 5) for gateway in gateways), 15)
        server.kill()
        for gateway in gateways:
            self.assertEqual(self.statuses(gateway, 10), [200] * 10)
        server.start()  # empty
        for gateway in gateways:
            wait_until(lambda gateway=gateway: self.asks_redis(server, gateway), "Redis to be asked again")
        server.ask("FLUSHALL")
        self.assertEqual(Crowd(gateways, clients=9, each=20).done(), {200: 60, 429: 120})

    def asks_redis(self, server, gateway):
        """Whether a request changes what Redis has."""
        server.ask("FLUSHALL")
        self.ask(gateway)
        return server.ask("DBSIZE") > 0

    def test_a_redis_that_hangs(self):
        """Each request is answered about when its check's deadline is; then nobody waits: the circuit is open."""
        server = self.redis()
        gateways = self.fleet(server, bucket(1000), gateways=1, store={"on_failure": "allow", "timeout": "0.2s"})
        gateway = gateways[0]
        self.assertEqual(self.passed(gateway, 3), 3)
        server.pause()
        try:
            begun = time.monotonic()
            self.assertEqual(Counter(self.statuses(gateway, 300)), {200: 300})
            # 300 times the deadline would be a minute.
            self.assertLess(time.monotonic() - begun, 30)
            flags = [record["flags"] for record in gateway.log(303)]
            self.assertGreaterEqual(sum("RLU" in (one or "") for one in flags), 300)
            self.assertTrue(self.lines_about_redis(gateway))
        finally:
            server.resume()
        wait_until(lambda: self.asks_redis(server, gateway), "Redis to be asked again")
        self.assertLessEqual(len(self.lines_about_redis(gateway)), 4)

    def test_never_there(self):
        server = self.redis()
        server.kill()
        gateways = self.fleet(server, bucket(4), gateways=1, store={"timeout": "0.2s"})
        # By default: locally.
        self.assertEqual(self.passed(gateways[0], 20), 4)
        gateways[0].wait_for_line(r"(?i)redis")
        server.start()
        wait_until(lambda: self.asks_redis(server, gateways[0]), "Redis to be found")

    def test_a_server_that_is_no_redis(self):
        origin = self.origin()
        gateways = self.fleet(None, bucket(4), gateways=1, clusters={"redis": origin.address},
                              store={"timeout": "0.2s", "on_failure": "deny"})
        self.assertEqual(Counter(self.statuses(gateways[0], 20)), {503: 20})
        self.assertLessEqual(len(self.lines_about_redis(gateways[0])), 2)

    def test_a_full_redis(self):
        """Errors are answers too: the policy's on_failure holds."""
        server = self.redis()
        gateways = self.fleet(server, bucket(100), gateways=1, store={"on_failure": "deny"})
        self.assertEqual(self.passed(gateways[0], 2), 2)
        server.ask("CONFIG", "SET", "maxmemory", "1")
        self.assertEqual(set(self.statuses(gateways[0], 20)), {503})
        server.ask("CONFIG", "SET", "maxmemory", "0")
        wait_until(lambda: self.ask(gateways[0]).status == 200, "Redis to take it again")

    def test_a_gateway_stops_while_redis_hangs(self):
        server = self.redis()
        gateways = self.fleet(server, bucket(1000), gateways=1, store={"on_failure": "allow", "timeout": "5s"})
        self.assertEqual(self.passed(gateways[0], 2), 2)
        server.pause()
        try:
            answered = []
            asking = threading.Thread(target=lambda: answered.append(self.ask(gateways[0]).status))
            asking.start()
            gateways[0].wait_for_metric(1, "gatehouse_route_active_requests")
            self.assertEqual(gateways[0].stop(), 0)
            asking.join()
            self.assertEqual(answered, [200])
        finally:
            server.resume()

    def test_synced_limits_go_on_while_redis_is_away(self):
        server = self.redis()
        gateways = self.fleet(server, bucket(60), store={
            "sync_interval": "0.05s", "max_unsynced": 2, "timeout": "0.25s", "gateways": 3})
        server.kill()
        total = sum(self.passed(gateway, 60) for gateway in gateways)
        # A third for each, and what may go unsynced.
        self.assertTrue(60 <= total <= 60 + 3 * 2, total)


if __name__ == "__main__":
    unittest.main()
