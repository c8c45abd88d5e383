"""The filters that come with the gateway, seen from outside."""

import re
import unittest
from collections import Counter

from harness import GatehouseTest, config, route
from http_peers import Client, answer

TRACEPARENT = re.compile(r"^00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}$")


class FilterTest(GatehouseTest):
    def start(self, *filters, handler=None, route_filters=None, **options):
        self.target = self.origin(handler)
        rest = {"filters": route_filters} if route_filters is not None else {}
        return self.gateway(config([route("all", "/", "origin", **rest)], {"origin": self.target.address},
                                   table={"filters": list(filters)}, **options))

    def seen(self):
        return self.target.requests[-1]


class Headers(FilterTest):
    def test_requests(self):
        gateway = self.start({"headers": {"request": {
            "remove": ["X-Gone"], "rename": {"X-Old": "X-New"}, "set": {"X-Set": "ours"}, "add": {"X-Add": "default"},
            "append": {"X-Append": "more"}}}})
        self.ask(gateway, headers=["X-Gone: 1", "X-Old: kept", "X-Set: theirs", "X-Append: some", "X-Other: same"])
        seen = self.seen()
        self.assertNotIn("x-gone", seen)
        self.assertNotIn("x-old", seen)
        self.assertEqual(seen["x-new"], "kept")
        self.assertEqual(seen.all("x-set"), ["ours"])
        self.assertEqual(seen["x-add"], "default")
        self.assertEqual(", ".join(seen.all("x-append")), "some, more")
        self.assertEqual(seen["x-other"], "same")
        self.ask(gateway, headers=["X-Add: given"])
        self.assertEqual(self.seen().all("x-add"), ["given"])

    def test_responses(self):
        gateway = self.start(
            {"headers": {"response": {"remove": ["X-Powered-By"], "set": {"X-Status": "$(response.status)"},
                                      "rename": {"X-Internal": "X-Public"}}}},
            handler=lambda *_: answer(201, b"x", ["X-Powered-By: magic", "X-Internal: 1"]))
        response = self.ask(gateway)
        self.assertNotIn("x-powered-by", response)
        self.assertEqual(response["x-status"], "201")
        self.assertEqual(response["x-public"], "1")

    def test_substitutions(self):
        gateway = self.start({"headers": {"request": {"set": {
            "X-Ip": "$(client_ip)", "X-Uuid": "$(uuid)", "X-Header": "<$(request.header.x-a)>", "X-Route": "$(route)",
            "X-Query": "$(query.q)", "X-Cookie": "$(cookie.c)", "X-Where": "$(table)/$(listener)",
            "X-Line": "$(method) $(path) $$"}}}})
        self.ask(gateway, "/p?q=a%20b", headers=["X-A: value", "Cookie: c=biscuit"])
        seen = self.seen()
        self.assertEqual(seen["x-ip"], "127.0.0.1")
        self.assertRegex(seen["x-uuid"], r"^[0-9a-f]{8}-[0-9a-f]{4}-[47][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")
        self.assertEqual(seen["x-header"], "<value>")
        self.assertEqual(seen["x-route"], "all")
        self.assertEqual(seen["x-query"], "a b")
        self.assertEqual(seen["x-cookie"], "biscuit")
        self.assertEqual(seen["x-where"], "main/edge")
        self.assertEqual(seen["x-line"], "GET /p $")
        first = seen["x-uuid"]
        self.ask(gateway)
        self.assertNotEqual(self.seen()["x-uuid"], first)

    def test_a_query_cannot_break_the_line(self):
        gateway = self.start({"headers": {"request": {"set": {"X-Query": "$(query.q)"}},
                                          "response": {"set": {"X-Echo": "$(query.q)"}}}})
        response = self.ask(gateway, "/?q=a%0d%0aX-Evil:%20yes%00b")
        self.assertNotIn("x-evil", response)
        if response.status == 200:
            self.assertNotIn("x-evil", self.seen())

    def test_a_route_replaces_adds_and_removes(self):
        origin = self.origin()
        outer = [{"headers": {"request": {"set": {"X-Outer": "1"}}}},
                 {"name": "second", "headers": {"request": {"set": {"X-Second": "1"}}}}]
        gateway = self.gateway(config([
            route("plain", "/plain", "o"),
            route("replaced", "/replaced", "o", filters=[{"headers": {"request": {"set": {"X-Own": "1"}}}}]),
            route("removed", "/removed", "o", filters=[{"name": "second", "disabled": True}]),
            route("added", "/added", "o", filters=[{"name": "third", "headers": {"request": {"set": {"X-Third": "1"}}}}]),
        ], {"o": origin.address}, table={"filters": outer}))
        for path, expected in (("/plain", {"x-outer", "x-second"}), ("/replaced", {"x-own", "x-second"}),
                               ("/removed", {"x-outer"}), ("/added", {"x-outer", "x-second", "x-third"})):
            self.ask(gateway, path)
            names = {name.lower() for name, _ in origin.requests[-1].headers}
            ours = {"x-outer", "x-second", "x-third", "x-own"}
            self.assertEqual(names & ours, expected, path)

    def test_local_replies_get_the_response_headers_too(self):
        gateway = self.start({"headers": {"response": {"set": {"X-Frame-Options": "DENY"}}}},
                             handler=lambda *_: b"garbage\r\n\r\n")
        response = self.ask(gateway)
        self.assertEqual((response.status, response["x-frame-options"]), (502, "DENY"))


class Cors(FilterTest):
    RULE = {"allow_origins": ["https://shop.example", "https://*.shop.example"], "allow_methods": ["GET", "PUT"],
            "allow_headers": ["X-Token"], "expose_headers": ["X-Total"], "max_age": "60s", "allow_credentials": True}

    def preflight(self, gateway, origin="https://shop.example", method="PUT", *more):
        return self.ask(gateway, "/a", "OPTIONS", headers=[
            f"Origin: {origin}", f"Access-Control-Request-Method: {method}", *more])

    def test_preflight(self):
        gateway = self.start({"cors": self.RULE})
        response = self.preflight(gateway, "https://shop.example", "PUT", "Access-Control-Request-Headers: x-token")
        self.assertEqual(response.status, 204)
        self.assertEqual(response["access-control-allow-origin"], "https://shop.example")
        self.assertEqual(response["access-control-allow-methods"], "GET, PUT")
        self.assertEqual(response["access-control-allow-headers"], "X-Token")
        self.assertEqual(response["access-control-allow-credentials"], "true")
        self.assertEqual(response["access-control-max-age"], "60")
        self.assertIn("Origin", response["vary"])
        self.assertEqual(self.target.requests, [], "a preflight is answered at the edge")

    def test_a_preflight_for_a_route_of_another_method(self):
        origin = self.origin()
        gateway = self.gateway(config(
            [{"name": "put", "match": {"path": "/a", "methods": ["PUT"]}, "forward": "o"}], {"o": origin.address},
            table={"filters": [{"cors": self.RULE}]}))
        response = self.preflight(gateway)
        self.assertEqual(response.status, 204, response)
        self.assertEqual(response["access-control-allow-origin"], "https://shop.example")

    def test_a_site_that_is_not_allowed(self):
        gateway = self.start({"cors": self.RULE})
        for site in ("https://evil.example", "https://shop.example.evil", "http://shop.example", "null",
                     "https://evilshop.example"):
            with self.subTest(site=site):
                response = self.preflight(gateway, site)
                self.assertEqual(response.status, 403)
                self.assertNotIn("access-control-allow-origin", response)
                plain = self.ask(gateway, headers=[f"Origin: {site}"])
                self.assertEqual(plain.status, 200)
                self.assertNotIn("access-control-allow-origin", plain)
                self.assertIn("Origin", plain["vary"])

    def test_plain_requests(self):
        gateway = self.start({"cors": self.RULE}, handler=lambda *_: answer(
            200, b"x", ["Access-Control-Allow-Origin: *", "Vary: Accept-Encoding"]))
        response = self.ask(gateway, headers=["Origin: https://www.shop.example"])
        self.assertEqual(response.all("access-control-allow-origin"), ["https://www.shop.example"])
        self.assertEqual(response["access-control-expose-headers"], "X-Total")
        self.assertRegex(", ".join(response.all("vary")), r"Accept-Encoding.*Origin")

    def test_errors_of_ours_can_be_read_by_the_page(self):
        gateway = self.start({"cors": self.RULE}, handler=lambda *_: b"garbage\r\n\r\n")
        response = self.ask(gateway, headers=["Origin: https://shop.example"])
        self.assertEqual((response.status, response["access-control-allow-origin"]), (502, "https://shop.example"))

    def test_any_site(self):
        gateway = self.start({"cors": {"allow_origins": ["*"]}})
        response = self.ask(gateway, headers=["Origin: https://anyone.example"])
        self.assertEqual(response["access-control-allow-origin"], "*")
        self.assertNotIn("access-control-allow-credentials", response)


class Ids(FilterTest):
    def test_ids_agree_everywhere(self):
        gateway = self.start()
        response = self.ask(gateway)
        seen = self.seen()
        record = gateway.log(1)[0]
        trace = TRACEPARENT.match(seen["traceparent"])
        self.assertIsNotNone(trace, seen["traceparent"])
        self.assertEqual({response["x-trace-id"], seen["x-trace-id"], record["trace_id"]}, {trace[1]})
        self.assertEqual({response["x-request-id"], seen["x-request-id"], record["request_id"]},
                         {seen["x-request-id"]})
        self.assertTrue(seen["x-request-id"])

    def test_ids_differ_between_requests(self):
        gateway = self.start()
        client = self.client(gateway)
        responses = [client.ask() for _ in range(20)]
        self.assertEqual(len({one["x-request-id"] for one in responses}), 20)
        self.assertEqual(len({one["x-trace-id"] for one in responses}), 20)

    def test_a_trace_goes_on(self):
        gateway = self.start()
        trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
        response = self.ask(gateway, headers=[f"traceparent: 00-{trace}-{span}-01", "tracestate: a=b"])
        match = TRACEPARENT.match(self.seen()["traceparent"])
        self.assertEqual(match[1], trace)
        self.assertNotEqual(match[2], span, "the gateway is a span of its own")
        self.assertEqual(self.seen()["tracestate"], "a=b")
        self.assertEqual(response["x-trace-id"], trace)

    def test_a_bad_trace_is_replaced(self):
        gateway = self.start()
        for bad in ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", "nonsense",
                    "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
                    "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"):
            with self.subTest(bad=bad):
                self.ask(gateway, headers=[f"traceparent: {bad}", "tracestate: a=b"])
                seen = self.seen()
                self.assertIsNotNone(TRACEPARENT.match(seen["traceparent"]))
                self.assertNotIn(bad[3:35], seen["traceparent"])
                self.assertNotIn("tracestate", seen)

    def test_request_ids_of_clients_are_believed_only_when_allowed(self):
        gateway = self.start()
        self.assertNotEqual(self.ask(gateway, headers=["X-Request-ID: theirs"])["x-request-id"], "theirs")
        trusting = self.start({"request_id": {"accept_from_clients": True}})
        self.assertEqual(self.ask(trusting, headers=["X-Request-ID: theirs"])["x-request-id"], "theirs")
        self.assertEqual(self.seen()["x-request-id"], "theirs")
        forged = self.ask(trusting, headers=['X-Request-ID: "}{evil'])["x-request-id"]
        self.assertNotIn("evil", forged)

    def test_errors_carry_the_trace(self):
        gateway = self.start(handler=lambda *_: b"garbage\r\n\r\n")
        response = self.ask(gateway)
        problem = self.assert_problem(response, 502, "upstream_protocol_error")
        self.assertEqual(problem["trace_id"], response["x-trace-id"])
        self.assertEqual(gateway.log(1)[0]["trace_id"], problem["trace_id"])

    def test_refusals_before_routing_carry_it_too(self):
        gateway = self.start()
        client = self.client(gateway)
        client.send(b"GET / HTTP/1.1\r\n\r\n")
        response = client.response()
        problem = self.assert_problem(response, 400, "bad_request")
        self.assertEqual(problem["trace_id"], response["x-trace-id"])


class RateLimits(FilterTest):
    def limited(self, limit, workers=2, **rest):
        return self.start({"rate_limit": {"policies": ["limit"]}}, workers=workers,
                          rate_limits=[{"name": "limit", **limit}], **rest)

    def test_429_with_its_headers(self):
        gateway = self.limited({"token_bucket": {"rate": "1/h", "burst": 3}})
        responses = [self.ask(gateway) for _ in range(5)]
        self.assertEqual([one.status for one in responses], [200, 200, 200, 429, 429])
        self.assertEqual([one["x-ratelimit-remaining"] for one in responses], ["2", "1", "0", "0", "0"])
        refused = responses[3]
        self.assert_problem(refused, 429, "rate_limited")
        for name in ("x-ratelimit-limit", "x-ratelimit-reset", "ratelimit", "ratelimit-policy", "retry-after"):
            self.assertIsNotNone(refused[name], name)
        self.assertGreater(int(refused["retry-after"]), 60)
        self.assertEqual(len(self.target.requests), 3)
        self.assertEqual({record["flags"] for record in gateway.log(5) if record["status"] == 429}, {"RL"})
        self.assertEqual(gateway.metric("gatehouse_route_rate_limited_total"), 2)

    def test_workers_share_the_budget(self):
        gateway = self.limited({"token_bucket": {"rate": "1/h", "burst": 40}})
        statuses = Counter(self.ask(gateway).status for _ in range(60))
        self.assertEqual(statuses, {200: 40, 429: 20})

    def test_by_address(self):
        gateway = self.limited({"token_bucket": {"rate": "1/h", "burst": 2}, "key": [{"client_ip": {}}]})
        for last in (1, 2, 3):
            statuses = []
            for _ in range(3):
                with Client(gateway.address, source=f"127.0.0.{last}") as client:
                    statuses.append(client.ask().status)
            self.assertEqual(statuses, [200, 200, 429])

    def test_by_header_and_what_happens_without_it(self):
        for missing, expected in (("shared_budget", [200, 429]), ("skip", [200, 200]), ("reject", [429, 429])):
            with self.subTest(missing=missing):
                gateway = self.limited({"token_bucket": {"rate": "1/h", "burst": 1}, "key": [{"header": "X-Client"}],
                                        "on_missing_key": missing})
                for name in ("a", "b"):
                    statuses = [self.ask(gateway, headers=[f"X-Client: {name}"]).status for _ in range(2)]
                    self.assertEqual(statuses, [200, 429])
                self.assertEqual([self.ask(gateway).status for _ in range(2)], expected)

    def test_dry_run_lets_everything_pass(self):
        gateway = self.limited({"token_bucket": {"rate": "1/h", "burst": 1}, "dry_run": True})
        self.assertEqual([self.ask(gateway).status for _ in range(4)], [200] * 4)

    def test_a_budget_survives_a_reload(self):
        gateway = self.limited({"token_bucket": {"rate": "1/h", "burst": 2}})
        self.assertEqual([self.ask(gateway).status for _ in range(2)], [200, 200])
        settings = config([route("all", "/", "origin", timeout="7s")], {"origin": self.target.address},
                          table={"filters": [{"rate_limit": {"policies": ["limit"]}}]},
                          rate_limits=[{"name": "limit", "token_bucket": {"rate": "1/h", "burst": 2}}])
        gateway.reload(settings)
        self.assertEqual(self.ask(gateway).status, 429)

    def test_a_route_can_be_left_out(self):
        origin = self.origin()
        gateway = self.gateway(config(
            [route("limited", "/limited", "o"),
             route("free", "/free", "o", filters=[{"name": "rate_limit", "disabled": True}])],
            {"o": origin.address}, table={"filters": [{"rate_limit": ["limit"]}]},
            rate_limits=[{"name": "limit", "token_bucket": {"rate": "1/h", "burst": 1}}]))
        self.assertEqual([self.ask(gateway, "/limited").status for _ in range(2)], [200, 429])
        self.assertEqual([self.ask(gateway, "/free").status for _ in range(3)], [200] * 3)


if __name__ == "__main__":
    unittest.main()
