"""Rate limits that are kept in the process: algorithms, keys, plans, costs, and what clients are told."""

import json
import time
import unittest
from collections import Counter

from h2_wire import H2Client
from harness import route, wait_until
from http_peers import Client
from rate_limit_cases import NO_REFILL, Crowd, RateLimitTest, bucket

# Each lets five pass, and no more during a test.
FIVE = {
    "token bucket": {"token_bucket": {"rate": NO_REFILL, "burst": 5}},
    "fixed window": {"fixed_window": "5/h"},
    "sliding window": {"sliding_window": "5/h"},
    "sliding log": {"sliding_log": "5/h"},
    "leaky bucket": {"leaky_bucket": {"rate": NO_REFILL, "capacity": 5}},
    "quota of a year": {"quota": {"limit": 5, "per": "year"}},
    "quota of a month": {"quota": {"limit": 5, "per": "month", "utc_offset": "-11:30"}},
    "several": {"limits": [{"sliding_window": "1000/h"}, {"token_bucket": {"rate": NO_REFILL, "burst": 5}},
                           {"quota": {"limit": 100, "per": "year"}}]},
}


class Algorithms(RateLimitTest):
    def test_the_worked_example(self):
        """Capacity 100: 50 pass; of 60 more, 50 pass and 10 do not."""
        gateway = self.limited(bucket(100, rate="10/h"))
        self.assertEqual(self.statuses(gateway, 50), [200] * 50)
        self.assertEqual(self.statuses(gateway, 60), [200] * 50 + [429] * 10)

    def test_what_comes_back_comes_at_the_rate(self):
        """The other half of the example: after 50 / rate, 50 more have passed, and no sooner."""
        rate = 50
        gateway = self.limited(bucket(100, rate=f"{rate}/s"))
        with Client(gateway.address) as client:
            def ask():
                asked = time.monotonic()
                return asked, client.ask().status

            empty = None
            while empty is None:
                asked, status = ask()
                empty = asked if status == 429 else None
            passed = 0
            while passed < 50:
                passed += ask()[1] == 200
                # Whatever has passed since then has come back since then, and a fraction that was left.
                self.assertLessEqual(passed, rate * (time.monotonic() - empty) + 1)

    def test_each_lets_as_many_pass_as_it_says(self):
        for name, algorithm in FIVE.items():
            with self.subTest(algorithm=name):
                gateway = self.limited({"name": "limit", **algorithm})
                responses = self.many(gateway, 7)
                self.assertEqual([one.status for one in responses], [200] * 5 + [429] * 2)
                self.assertEqual([one["x-ratelimit-remaining"] for one in responses], list("4321000"))
                self.assertEqual({one["x-ratelimit-limit"] for one in responses}, {"5"})
                self.assertGreater(int(responses[5]["retry-after"]), 0)
                problem = self.assert_problem(responses[5], 429, "rate_limited")
                self.assertIn("limit", json.dumps(problem["violated-policies"]))

    def test_each_is_one_for_all_workers(self):
        for name, algorithm in FIVE.items():
            with self.subTest(algorithm=name):
                gateway = self.limited({"name": "limit", **algorithm}, workers=3)
                self.assertEqual(Crowd([gateway], clients=8, each=4).done(), {200: 5, 429: 27})

    def test_windows_end(self):
        for algorithm in ({"fixed_window": "2/s"}, {"sliding_window": "2/s"}, {"sliding_log": "2/s"},
                          {"leaky_bucket": {"rate": "2/s", "capacity": 2}}):
            with self.subTest(algorithm=algorithm):
                gateway = self.limited({"name": "limit", **algorithm})
                with Client(gateway.address) as client:
                    wait_until(lambda client=client: client.ask().status == 429, "the limit")
                    wait_until(lambda client=client: client.ask().status == 200, "the next window")

    def test_several_are_taken_from_all_or_none(self):
        """The second one rejects: the first has lost nothing."""
        gateway = self.limited({"name": "limit", "limits": [
            {"token_bucket": {"rate": NO_REFILL, "burst": 10}}, {"fixed_window": "3/h"}]},
            {"name": "other", "quota": {"limit": 1000, "per": "year"}})
        responses = self.many(gateway, 20)
        self.assertEqual([one.status for one in responses], [200] * 3 + [429] * 17)
        # The draft's field shows each limit; the bucket still has seven, the quota 997.
        self.assertIn("r=7", responses[2]["ratelimit"])
        self.assertIn("r=997", responses[2]["ratelimit"])
        gateway.reload(self.settings({"name": "limit", "limits": [
            {"token_bucket": {"rate": NO_REFILL, "burst": 10}}, {"fixed_window": "1000/h"}]},
            {"name": "other", "quota": {"limit": 1000, "per": "year"}}))
        self.assertEqual(self.passed(gateway, 20), 7)

    def test_a_change_keeps_what_has_been_counted(self):
        gateway = self.limited(bucket(10))
        self.assertEqual(self.passed(gateway, 8), 8)
        gateway.reload(self.settings(bucket(12)))
        self.assertEqual(self.passed(gateway, 10), 4)
        gateway.reload(self.settings(bucket(5)))
        self.assertEqual(self.passed(gateway, 5), 0)


class Keys(RateLimitTest):
    def assert_keys(self, key, same, others, **rest):
        """Requests like `same` share a budget of two; each of `others` has another."""
        gateway = self.limited(bucket(2, key=key), **rest)

        def ask(how):
            how = dict(how)
            source = how.pop("source", None)
            with Client(gateway.address, source=source) as client:
                return client.ask(how.pop("path", "/"), how.pop("method", "GET"), **how).status

        asked = [ask(same[i % len(same)]) for i in range(4)]
        self.assertEqual(asked, [200, 200, 429, 429], (key, same))
        for other in others:
            self.assertEqual([ask(other) for _ in range(3)], [200, 200, 429], (key, other))

    def test_client_address(self):
        self.assert_keys([{"client_ip": {}}], [{"source": "127.0.0.1"}],
                         [{"source": "127.0.0.2"}, {"source": "127.0.1.1"}])
        self.assert_keys([{"client_ip": {"ipv4_prefix": 24}}], [{"source": "127.0.0.1"}, {"source": "127.0.0.9"}],
                         [{"source": "127.0.1.1"}])

    def test_client_address_behind_a_proxy_by_ipv6_network(self):
        def behind(address):
            return {"headers": [f"X-Forwarded-For: {address}"]}

        self.assert_keys(
            [{"client_ip": {"ipv6_prefix": 48}}], [behind("2001:db8:1:1::1"), behind("2001:db8:1:2::7")],
            [behind("2001:db8:2::1"), behind("192.0.2.7")], listener={"trusted_proxies": ["127.0.0.0/8"]})

    def test_header(self):
        self.assert_keys([{"header": "X-Client"}], [{"headers": ["x-client: a"]}, {"headers": ["X-CLIENT: a"]}],
                         [{"headers": ["X-Client: A"]}, {"headers": ["X-Client: aa"]}])

    def test_query(self):
        self.assert_keys([{"query": "key"}], [{"path": "/?key=a%20b"}, {"path": "/x?y=1&key=a%20b&key=other"}],
                         [{"path": "/?key=b"}, {"path": "/?key=a"}])

    def test_cookie(self):
        self.assert_keys([{"cookie": "session"}],
                         [{"headers": ["Cookie: session=1"]}, {"headers": ["Cookie: a=b; session=1; c=d"]}],
                         [{"headers": ["Cookie: session=2"]}])

    def test_method_and_route(self):
        self.assert_keys([{"method": {}}], [{"path": "/a"}, {"path": "/b"}], [{"method": "DELETE"}])
        self.assert_keys([{"route": {}}], [{"path": "/a/1"}, {"path": "/a/2"}], [{"path": "/b/1"}],
                         routes=[route("a", "/a", "origin"), route("b", "/b", "origin")])

    def test_a_combination_needs_all_of_its_parts(self):
        key = [{"all": [{"header": "X-Client"}, {"method": {}}]}, {"header": "X-Client"}, {"literal": "rest"}]
        self.assert_keys(key, [{"headers": ["X-Client: a"]}], [
            {"headers": ["X-Client: a"], "method": "DELETE"}, {"headers": ["X-Client: b"]}, {}])

    def test_the_first_part_that_is_present(self):
        self.assert_keys([{"header": "X-Client"}, {"cookie": "session"}, {"client_ip": {}}],
                         [{"headers": ["X-Client: a", "Cookie: session=1"]}, {"headers": ["X-Client: a"]}],
                         [{"headers": ["Cookie: session=1"]}, {}])

    def test_what_nobody_has_verified_is_not_there(self):
        for part in ({"claim": "sub"}, {"consumer": {}}, {"plan": {}}):
            gateway = self.limited(bucket(1, key=[part], on_missing_key="reject"))
            response = self.ask(gateway, headers=["Authorization: Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0."])
            self.assert_problem(response, 429, "rate_limited")

    def test_without_the_key(self):
        for missing, expected in ((None, [200, 429, 429]), ("shared_budget", [200, 429, 429]),
                                  ("skip", [200] * 3), ("reject", [429] * 3)):
            with self.subTest(missing=missing):
                rule = {"on_missing_key": missing} if missing else {}
                gateway = self.limited(bucket(1, key=[{"header": "X-Client"}], **rule))
                self.assertEqual(self.statuses(gateway, 2, headers=["X-Client: a"]), [200, 429])
                self.assertEqual(self.statuses(gateway, 3), expected)


class PlansAndCosts(RateLimitTest):
    def test_plans(self):
        plans = [{"name": "gold", "token_bucket": {"rate": NO_REFILL, "burst": 5}},
                 {"name": "silver", "fixed_window": "3/h"}, {"name": "staff", "unlimited": {}}]
        gateway = self.limited(bucket(1, plan={"header": "X-Plan"}, plans=plans, key=[{"header": "X-Client"}]))
        for client in "ab":
            for plan, count in (("gold", 5), ("silver", 3), ("staff", 20), ("bronze", 1)):
                headers = [f"X-Client: {client}"] + [f"X-Plan: {plan}"]
                self.assertEqual(self.passed(gateway, 20, headers=headers), count, plan)

    def test_costs(self):
        gateway = self.limited(bucket(10, cost=3))
        self.assertEqual(self.passed(gateway, 6), 3)
        gateway = self.limited(bucket(10, cost={"header": "X-Cost", "fixed": 2, "max": 6}))
        self.assertEqual([response["x-ratelimit-remaining"] for response in (
            self.ask(gateway, headers=["X-Cost: 3"]), self.ask(gateway, headers=["X-Cost: lots"]),
            self.ask(gateway, headers=["X-Cost: -1"]), self.ask(gateway))], ["7", "5", "3", "1"])
        gateway = self.limited(bucket(10, cost={"header": "X-Cost", "max": 6}))
        self.assertEqual(self.ask(gateway, headers=["X-Cost: 1000000000000"])["x-ratelimit-remaining"], "4")

    def test_a_route_has_its_own_cost(self):
        gateway = self.limited(
            bucket(10), routes=[
                route("search", "/search", "origin", filters=[{"rate_limit": {"policies": ["limit"], "cost": 5}}]),
                route("all", "/", "origin")])
        self.assertEqual(self.ask(gateway, "/search")["x-ratelimit-remaining"], "5")
        self.assertEqual(self.ask(gateway, "/")["x-ratelimit-remaining"], "4")
        self.assertEqual(self.ask(gateway, "/search").status, 429)
        self.assertEqual(self.ask(gateway, "/").status, 200)

    def test_what_costs_more_than_there_ever_is(self):
        gateway = self.limited(bucket(2, cost={"header": "X-Cost"}))
        response = self.ask(gateway, headers=["X-Cost: 3"])
        self.assert_problem(response, 429, "rate_limited")
        self.assertEqual(self.passed(gateway, 4), 2)


class Answers(RateLimitTest):
    NAMES = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "ratelimit", "ratelimit-policy")

    def shown(self, response):
        return {name for name in self.NAMES if response[name] is not None}

    def test_which_headers(self):
        legacy, draft = set(self.NAMES[:3]), set(self.NAMES[3:])
        for choice, expected in (("all", legacy | draft), ("legacy", legacy), ("draft", draft), ("none", set())):
            with self.subTest(headers=choice):
                gateway = self.limited(bucket(1, answer={"headers": choice}))
                passes, refused = self.many(gateway, 2)
                self.assertEqual((self.shown(passes), passes["retry-after"]), (expected, None))
                self.assertEqual(self.shown(refused), expected)
                self.assertIsNotNone(refused["retry-after"])

    def test_reset_as_a_time_or_as_seconds(self):
        before = int(time.time())
        epoch = int(self.ask(self.limited(bucket(2, rate="1/h")))["x-ratelimit-reset"])
        self.assertTrue(before + 3590 <= epoch <= int(time.time()) + 3610, epoch)
        delta = int(self.ask(self.limited(bucket(2, rate="1/h", answer={"reset": "delta"})))["x-ratelimit-reset"])
        self.assertTrue(3500 <= delta <= 3601, delta)

    def test_the_drafts_fields(self):
        gateway = self.limited(bucket(10, rate="10/s"), {"name": "daily", "quota": {"limit": 1000, "per": "day"}})
        response = self.ask(gateway)
        self.assertRegex(response["ratelimit-policy"], r'"limit";q=10;w=1\b.*"daily";q=1000;w=86400')
        self.assertRegex(response["ratelimit"], r'"limit";r=9;t=\d+.*"daily";r=999;t=\d+')

    def test_a_status_of_ones_own(self):
        gateway = self.limited(bucket(1, answer={"status": 503}))
        self.assertEqual(self.ask(gateway).status, 200)
        self.assert_problem(self.ask(gateway), 503, "rate_limited")

    def test_retry_after_may_have_jitter(self):
        gateway = self.limited(bucket(1, rate="1/h", answer={"retry_jitter": "1h"}))
        waits = [int(one["retry-after"]) for one in self.many(gateway, 40)[1:]]
        self.assertTrue(all(3500 <= wait <= 7201 for wait in waits), waits)
        self.assertGreater(len(set(waits)), 5)

    def test_grpc(self):
        gateway = self.limited(bucket(1))
        self.assertEqual(self.ask(gateway).status, 200)
        with H2Client(gateway.address) as client:
            response = client.ask("/shop.Orders/Get", ("content-type", "application/grpc"), ("te", "trailers"),
                                  method="POST")
        self.assertEqual((response.status, response["grpc-status"]), (200, "8"))
        self.assertIsNotNone(response["retry-after"])

    def test_dry_run(self):
        gateway = self.limited(bucket(2, dry_run=True))
        responses = self.many(gateway, 5)
        self.assertEqual([one.status for one in responses], [200] * 5)
        self.assertEqual({frozenset(self.shown(one)) for one in responses}, {frozenset()})
        name = "gatehouse_rate_limit_requests_total"
        gateway.wait_for_metric(3, name, policy="limit", result="dry_run_rejected")
        gateway.wait_for_metric(2, name, policy="limit", result="allowed")
        self.assertEqual(Counter(record["flags"] for record in gateway.log(5)), {"RLD": 3, None: 2})

    def test_log_and_metrics(self):
        gateway = self.limited(bucket(2))
        self.assertEqual(self.passed(gateway, 5), 2)
        name = "gatehouse_rate_limit_requests_total"
        gateway.wait_for_metric(3, name, policy="limit", result="rejected")
        gateway.wait_for_metric(2, name, policy="limit", result="allowed")
        records = gateway.log(5)
        self.assertEqual({(record["status"], record["flags"]) for record in records}, {(200, None), (429, "RL")})

    def test_a_flood_of_keys_does_not_reset_one_that_is_at_its_limit(self):
        gateway = self.limited(bucket(3, key=[{"header": "X-Client"}], max_keys=100))
        self.assertEqual(self.passed(gateway, 4, headers=["X-Client: victim"]), 3)
        with Client(gateway.address) as client:
            for number in range(1000):
                client.ask(headers=[f"X-Client: {number}"])
        self.assertEqual(self.passed(gateway, 4, headers=["X-Client: victim"]), 0)


if __name__ == "__main__":
    unittest.main()
