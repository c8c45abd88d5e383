"""A policy whose limits are a rate-limit service's own: what it is asked, and what its answers do."""

import base64
import threading
import unittest
from collections import Counter

import grpc

from harness import wait_until
from http_peers import PATIENCE
from rate_limit_cases import NO_REFILL, Crowd, RateLimitTest
from rate_limit_service import RateLimitService


class Service(RateLimitTest):
    def service(self, answer=None):
        service = RateLimitService(answer)
        self.addCleanup(service.close)
        return service

    def asking(self, service, *, timeout="20s", key=None, store=None, clusters=None, handler=None, **policy):
        """A gateway with a policy of that service."""
        where = {"endpoints": [service.address], "protocol": "http2"}
        self.target = self.origin(handler)
        return self.limited(
            {"name": "limit", "key": key or [{"header": "X-Client"}, {"literal": "all"}],
             "store": {"service": {"cluster": "limits", "timeout": timeout, **(store or {})}}, **policy},
            origin=self.target, clusters={"limits": where, **(clusters or {})})

    def test_allowed_and_over_the_limit(self):
        service = self.service(RateLimitService.counting(3))
        gateway = self.asking(service)
        responses = self.many(gateway, 5)
        self.assertEqual([one.status for one in responses], [200] * 3 + [429] * 2)
        self.assertEqual([one["x-ratelimit-remaining"] for one in responses], list("21000"))
        self.assertEqual({one["x-ratelimit-limit"] for one in responses}, {"3"})
        self.assertTrue(1790 <= int(responses[4]["retry-after"]) <= 1800, responses[4])
        self.assert_problem(responses[4], 429, "rate_limited")
        self.assertEqual(len(self.target.requests), 3)
        self.assertEqual(len(service.requests), 5)
        self.assertEqual(self.statuses(gateway, 4, headers=["X-Client: other"]), [200] * 3 + [429])

    def test_what_the_service_is_asked(self):
        service = self.service()
        key = [{"all": [{"header": "X-Client"}, {"method": {}}, {"client_ip": {}}]}]
        gateway = self.asking(service, key=key, store={"domain": "shop"}, cost=4)
        self.assertEqual(self.ask(gateway, headers=["X-Client: gr\xc3\xbc\xc3\x9f"]).status, 200)
        request = service.requests[-1]
        self.assertEqual((request.domain, request.hits_addend, len(request.descriptors)), ("shop", 4, 1))
        values = [value for _, value in service.entries()]
        self.assertEqual(values, ["gr\u00fc\u00df", "GET", "127.0.0.1"])
        self.assertEqual(len({name for name, _ in service.entries()}), 3)
        # What is no UTF-8 no service could read: it would not be asked about such a request.
        self.assertEqual(self.ask(gateway, headers=["X-Client: \xff"]).status, 200)
        self.assertEqual(service.entries()[0][1], "%FF")

    def test_many_at_once(self):
        gateway = self.asking(self.service(RateLimitService.counting(50)))
        self.assertEqual(Crowd([gateway], clients=8, each=10).done(), {200: 50, 429: 30})

    def test_headers_to_add(self):
        def say(request):
            return {"overallCode": "OK",
                    "requestHeadersToAdd": [{"key": "x-tier", "value": "gold"}, {"key": "Host", "value": "evil"}],
                    "responseHeadersToAdd": [
                        {"key": "x-limit-rule", "value": "users"}, {"key": "content-length", "value": "1"},
                        {"key": "x-raw", "rawValue": base64.b64encode(b"caf\xe9").decode()},
                        {"key": "x-split", "value": "a\r\nx-evil: b"}]}

        gateway = self.asking(self.service(say))
        response = self.ask(gateway)
        self.assertEqual((response.status, response.body), (200, b"hello"))
        self.assertEqual((response["x-limit-rule"], response["x-raw"]), ("users", "caf\xe9"))
        self.assertIsNone(response["x-split"])
        self.assertIsNone(response["x-evil"])
        request = self.target.requests[-1]
        self.assertEqual((request["x-tier"], request["host"]), ("gold", "a.example"))

    def test_headers_and_a_body_for_who_is_over_the_limit(self):
        gateway = self.asking(self.service(lambda request: {
            "overallCode": "OVER_LIMIT", "responseHeadersToAdd": [{"key": "x-limit-rule", "value": "users"}],
            "rawBody": base64.b64encode(b"not so fast").decode()}))
        response = self.ask(gateway)
        self.assertEqual((response.status, response["x-limit-rule"], response.body), (429, "users", b"not so fast"))
        self.assertGreaterEqual(int(response["retry-after"]), 1)

    def test_without_limits_there_are_no_numbers(self):
        gateway = self.asking(self.service())
        response = self.ask(gateway)
        self.assertEqual(response.status, 200)
        self.assertEqual([response["x-ratelimit-limit"], response["ratelimit"]], [None, None])

    def test_a_service_that_is_too_slow(self):
        opened = threading.Event()
        self.addCleanup(opened.set)

        def slow(_request):
            opened.wait(PATIENCE)
            return {"overallCode": "OVER_LIMIT"}

        for failure, expected in ((None, 200), ("allow", 200), ("deny", 503)):
            with self.subTest(on_failure=failure):
                service = self.service(slow)
                gateway = self.asking(service, timeout="0.1s", store={"on_failure": failure} if failure else {})
                self.assertEqual(Counter(self.statuses(gateway, 12)), {expected: 12})
                # Not all of them have waited: after five in a row hardly anybody asks.
                self.assertLess(len(service.requests), 12)
                self.assertGreaterEqual(len(service.requests), 5)
                flags = {record["flags"] for record in gateway.log(12)}
                self.assertTrue(all("RLU" in (flag or "") for flag in flags), flags)

    def test_a_service_that_is_gone_and_comes_back(self):
        service = self.service(RateLimitService.counting(1000))
        gateway = self.asking(service, store={"on_failure": "deny"})
        self.assertEqual(self.ask(gateway).status, 200)
        service.close()
        wait_until(lambda: self.ask(gateway).status == 503, "the service to be missed")
        self.assertEqual(Counter(self.statuses(gateway, 50)), {503: 50})
        gateway.wait_for_line(r'rate limit service "limits" does not answer')
        service.start()
        wait_until(lambda: self.ask(gateway).status == 200, "the service to be found again")
        gateway.wait_for_line(r'rate limit service "limits" answers again')
        self.assertEqual(Counter(self.statuses(gateway, 20)), {200: 20})
        said = [line for line in gateway.stderr.split("\n") if "rate limit service" in line]
        self.assertEqual(len(said), 2, said)

    def test_a_local_limit_takes_over(self):
        service = self.service()
        service.close()
        gateway = self.asking(service, store={"gateways": 2}, token_bucket={"rate": NO_REFILL, "burst": 10})
        self.assertEqual(Counter(self.statuses(gateway, 20)), {200: 5, 429: 15})
        self.assertTrue(all("RLU" in record["flags"] for record in gateway.log(20)))

    def test_answers_that_are_none(self):
        answers = [b"\x08", b"<html>", b"", lambda: {"statuses": [{"code": "OK"}]}, grpc.StatusCode.INVALID_ARGUMENT,
                   grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNIMPLEMENTED]
        turn = iter(range(10**6))
        service = self.service(lambda request: (
            one() if callable(one := answers[next(turn) % len(answers)]) else one))
        gateway = self.asking(service, store={"on_failure": "deny"})
        self.assertEqual(Counter(self.statuses(gateway, 3 * len(answers))), {503: 3 * len(answers)})
        # All were asked: what one request does to a service must not keep others from being counted.
        self.assertEqual(len(service.requests), 3 * len(answers))
        said = [line for line in gateway.stderr.split("\n") if "rate limit service" in line]
        self.assertEqual(len(said), 1, said)
        service.answer = lambda request: {"overallCode": "OK"}
        self.assertEqual(self.ask(gateway).status, 200)

    def test_a_client_that_goes_away_is_not_asked_about_any_more(self):
        opened = threading.Event()
        self.addCleanup(opened.set)
        service = self.service(lambda request: opened.wait(PATIENCE) and {"overallCode": "OK"})
        gateway = self.asking(service)
        client = self.client(gateway)
        client.send(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
        wait_until(lambda: service.requests, "the question")
        client.reset()
        gateway.log(1)
        opened.set()
        self.assertEqual(self.ask(gateway).status, 200)
        self.assertEqual(len(self.target.requests), 1)

    def test_dry_run(self):
        gateway = self.asking(self.service(RateLimitService.counting(1)), dry_run=True)
        self.assertEqual(self.statuses(gateway, 4), [200] * 4)
        gateway.wait_for_metric(3, "gatehouse_rate_limit_requests_total", policy="limit", result="dry_run_rejected")
        self.assertEqual(Counter(record["flags"] for record in gateway.log(4)), {"RLD": 3, None: 1})


if __name__ == "__main__":
    unittest.main()
