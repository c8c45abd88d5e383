"""One limit for three gateways that share a real Redis, exact or synced. Outages are in rate_limit_outages_test.py."""

import re
import unittest
from collections import Counter

from harness import Load, wait_until
from http_peers import Client
from rate_limit_cases import NO_REFILL, Crowd, bucket
from rate_limit_fleet import RedisLimitTest
from tls_material import TlsMaterial

# Each lets sixty pass, and no more during a test.
SIXTY = {
    "token bucket": {"token_bucket": {"rate": NO_REFILL, "burst": 60}},
    "fixed window": {"fixed_window": "60/h"},
    "sliding window": {"sliding_window": "60/h"},
    "sliding log": {"sliding_log": "60/h"},
    "leaky bucket": {"leaky_bucket": {"rate": NO_REFILL, "capacity": 60}},
    "quota": {"quota": {"limit": 60, "per": "year"}},
    "several": {"limits": [{"token_bucket": {"rate": NO_REFILL, "burst": 1000}}, {"fixed_window": "60/h"}]},
    "several with a log": {"limits": [{"sliding_log": "500/h"}, {"quota": {"limit": 60, "per": "month"}}]},
}


# Times of units are not synced.
SYNCABLE = {name: one for name, one in SIXTY.items() if "sliding_log" not in str(one)}


class Exact(RedisLimitTest):
    def test_each_algorithm_admits_exactly_its_limit_under_concurrent_load(self):
        server = self.redis()
        for name, algorithm in SIXTY.items():
            with self.subTest(algorithm=name):
                server.ask("FLUSHALL")
                gateways = self.fleet(server, {"name": "limit", **algorithm})
                statuses = Crowd(gateways, clients=9, each=15).done()
                self.assertEqual(statuses, {200: 60, 429: 75})
                self.assertEqual(len(self.target.requests), 60)

    def test_clients_see_one_count(self):
        gateways = self.fleet(self.redis(), bucket(6))
        responses = [self.ask(gateways[i % 3]) for i in range(9)]
        self.assertEqual([one["x-ratelimit-remaining"] for one in responses], list("543210000"))
        refused = responses[-1]
        self.assert_problem(refused, 429, "rate_limited")
        self.assertTrue(3500 <= int(refused["retry-after"]) <= 3601, refused)

    def test_keys_costs_and_plans(self):
        policy = bucket(4, key=[{"header": "X-Client"}], cost={"header": "X-Cost"}, plan={"header": "X-Plan"},
                        plans=[{"name": "gold", "sliding_log": "9/h"}, {"name": "staff", "unlimited": {}}])
        gateways = self.fleet(self.redis(), policy)

        def passed(*headers, count=12):
            with Client(gateways[0].address) as one, Client(gateways[1].address) as two:
                return sum((one, two)[i % 2].ask(headers=list(headers)).status == 200 for i in range(count))

        self.assertEqual(passed("X-Client: a"), 4)
        self.assertEqual(passed("X-Client: b", "X-Cost: 2"), 2)
        self.assertEqual(passed("X-Client: b", "X-Plan: gold", "X-Cost: 2"), 4)
        self.assertEqual(passed("X-Client: b", "X-Plan: staff"), 12)

    def test_two_policies_all_or_none(self):
        """The second one rejects 27 times; what the first had counted for those comes back."""
        few = {"name": "few", "fixed_window": "3/h"}
        server = self.redis()
        gateways = self.fleet(server, [bucket(10), few], gateways=2)
        self.assertEqual(Crowd(gateways, clients=3, each=10).done(), {200: 3, 429: 27})
        store = {"redis": {"cluster": "redis", "timeout": "20s"}}
        gateways[0].reload(self.settings({**bucket(10), "store": store}, origin=self.target,
                                         clusters={"redis": server.address}))
        self.assertEqual(self.passed(gateways[0], 20), 7)

    def test_a_changed_limit_keeps_its_counts(self):
        server = self.redis()
        gateways = self.fleet(server, bucket(10))
        self.assertEqual(sum(self.passed(gateway, 3) for gateway in gateways), 9)
        store = {"redis": {"cluster": "redis", "timeout": "20s"}}
        for gateway in gateways:
            gateway.reload(self.settings(bucket(15, store=store), origin=self.target,
                                         clusters={"redis": server.address}))
        self.assertEqual(Crowd(gateways, clients=6, each=5).done(), {200: 6, 429: 24})

    def test_a_gateway_that_restarts_has_lost_nothing(self):
        server = self.redis()
        gateways = self.fleet(server, bucket(10), gateways=1)
        self.assertEqual(self.passed(gateways[0], 7), 7)
        self.assertEqual(gateways[0].stop(), 0)
        self.assertEqual(self.passed(self.fleet(server, bucket(10), gateways=1)[0], 7), 3)

    def test_names_and_prefixes_keep_limits_apart(self):
        server = self.redis()
        self.assertEqual(self.passed(self.fleet(server, bucket(3), gateways=1)[0], 5), 3)
        self.assertEqual(self.passed(self.fleet(server, {**bucket(3), "name": "other"}, gateways=1)[0], 5), 3)
        prefixed = self.fleet(server, bucket(3), gateways=1, store={"key_prefix": "test:"})[0]
        self.assertEqual(self.passed(prefixed, 5), 3)
        keys = sorted(server.ask("KEYS", "*"))
        self.assertEqual([key.startswith(b"gatehouse:limit:") for key in keys], [True, True, False], keys)
        # Nothing stays for ever.
        for key in keys:
            self.assertGreater(server.ask("PTTL", key), 0, key)

    def test_scripts_that_the_server_has_forgotten(self):
        server = self.redis()
        gateways = self.fleet(server, bucket(10), gateways=1)
        self.assertEqual(self.passed(gateways[0], 3), 3)
        server.ask("SCRIPT", "FLUSH")
        self.assertEqual(self.passed(gateways[0], 10), 7)

    def test_password_and_database(self):
        server = self.redis(password="open-sesame")
        secrets = [{"name": "redis", "inline": "open-sesame"}]
        gateways = self.fleet(server, bucket(20), store={"password": "redis", "database": 3}, secrets=secrets)
        self.assertEqual(Crowd(gateways, clients=6, each=10).done(), {200: 20, 429: 40})
        with server.connect() as connection:
            connection.ask("SELECT", 3)
            self.assertEqual(len(connection.ask("KEYS", "*")), 1)

    def test_a_password_that_changes(self):
        server = self.redis(password="old")
        gateways = self.fleet(server, bucket(10), gateways=1, store={"password": "redis", "on_failure": "deny"},
                              secrets=[{"name": "redis", "inline": "old"}])
        self.assertEqual(self.passed(gateways[0], 4), 4)
        server.change_password("new")
        store = {"redis": {"cluster": "redis", "timeout": "20s", "password": "redis", "on_failure": "deny"}}
        gateways[0].reload(self.settings(
            bucket(10, store=store), origin=self.target, clusters={"redis": server.address},
            secrets=[{"name": "redis", "inline": "new"}]))
        self.assertEqual(self.passed(gateways[0], 10), 6)

    def test_dry_run(self):
        """Everything passes; the log and the metrics say what would not have, however fast the origin is."""
        gateways = self.fleet(self.redis(), bucket(2, dry_run=True), gateways=1)
        self.assertEqual(self.statuses(gateways[0], 5), [200] * 5)
        gateways[0].wait_for_metric(3, "gatehouse_rate_limit_requests_total", result="dry_run_rejected")
        self.assertEqual(Counter(record["flags"] for record in gateways[0].log(5)), {"RLD": 3, None: 2})

    def test_changes_under_load_lose_no_request(self):
        server = self.redis()
        gateways = self.fleet(server, bucket(10**6, rate="100000/h"), gateways=1)
        store = {"redis": {"cluster": "redis", "timeout": "20s"}}
        others = [bucket(10**6 - 1, rate="100000/h", store=store), {"name": "limit", "fixed_window": "1000000/h"},
                  bucket(10**6, rate="100000/h", store={"redis": {**store["redis"], "sync_interval": "0.1s"}}),
                  bucket(10**6, rate="100000/h", store={"redis": {**store["redis"], "key_prefix": "other:"}})]
        with Load(gateways[0].address, connections=4) as load:
            for number in range(12):
                load.wait_for(20)
                gateways[0].reload(self.settings(others[number % len(others)], origin=self.target,
                                                 clusters={"redis": server.address}))
            load.wait_for(20)
            failures = load.stop()
        self.assertEqual(failures, [])

    def test_a_user_of_its_own(self):
        server = self.redis()
        server.ask("ACL", "SETUSER", "limiter", "on", ">secret", "~gatehouse:limit:*", "+@all")
        server.ask("ACL", "SETUSER", "default", "off")
        gateways = self.fleet(server, bucket(3), gateways=1, store={"username": "limiter", "password": "redis"},
                              secrets=[{"name": "redis", "inline": "secret"}])
        self.assertEqual(self.passed(gateways[0], 5), 3)

    def test_a_wrong_password_is_said_once(self):
        server = self.redis(password="right")
        gateways = self.fleet(server, bucket(3), gateways=1, store={
            "password": "redis", "on_failure": "deny", "timeout": "0.5s"},
            secrets=[{"name": "redis", "inline": "wrong"}])
        self.assertEqual(Counter(self.statuses(gateways[0], 30)), {503: 30})
        gateways[0].wait_for_line(r"(?i)redis.*(WRONGPASS|AUTH|password)")
        self.assertLessEqual(len(self.lines_about_redis(gateways[0])), 2)
        self.assertNotIn("wrong", gateways[0].stderr.replace("WRONGPASS", ""))

    def test_tls(self):
        material = TlsMaterial.shared()
        server = self.redis(tls=material, password="secret")
        secrets = [{"name": "redis", "inline": "secret"}, *material.secrets()]
        cluster = {"endpoints": [server.address], "tls": material.cluster_tls()}
        gateways = self.fleet(server, bucket(20), clusters={"redis": cluster}, secrets=secrets,
                              store={"password": "redis"})
        self.assertEqual(Crowd(gateways, clients=6, each=10).done(), {200: 20, 429: 40})


class Synced(RedisLimitTest):
    SYNC = {"sync_interval": "0.05s", "max_unsynced": 5}

    def test_no_more_than_the_bound(self):
        """docs/rate_limits_accuracy.md: what each gateway may let pass before it has told Redis, too much."""
        server = self.redis()
        for name, algorithm in SYNCABLE.items():
            with self.subTest(algorithm=name):
                server.ask("FLUSHALL")
                gateways = self.fleet(server, {"name": "limit", **algorithm}, store=self.SYNC)
                statuses = Crowd(gateways, clients=9, each=30).done()
                self.assertEqual(statuses[200] + statuses[429], 270, statuses)
                self.assertGreaterEqual(statuses[200], 60)
                self.assertLessEqual(statuses[200], 60 + 3 * 5)

    def test_what_all_have_used_is_known_to_all(self):
        gateways = self.fleet(self.redis(), bucket(40), store={"sync_interval": "0.02s", "max_unsynced": 4})
        with Client(gateways[0].address) as client:
            wait_until(lambda: client.ask().status == 429, "the limit")
        for gateway in gateways[1:]:
            wait_until(lambda gateway=gateway: self.ask(gateway).status == 429, "the others to know")

    def test_it_is_cheap(self):
        """A thousand requests are far fewer runs of a script."""
        server = self.redis()
        gateways = self.fleet(server, bucket(100_000, rate="1000/h"), gateways=1,
                              store={"sync_interval": "1s", "max_unsynced": 5000})
        self.assertEqual(self.passed(gateways[0], 1000), 1000)

        def told():
            text = server.ask("INFO", "commandstats").decode()
            return sum(int(calls) for calls in re.findall(r"cmdstat_(?:evalsha|eval|fcall):calls=(\d+)", text))

        wait_until(lambda: told() > 0, "Redis to be told")
        self.assertLess(told(), 100)


if __name__ == "__main__":
    unittest.main()
