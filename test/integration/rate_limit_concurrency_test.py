"""Limits of requests under way, and queues: a place comes back however a request ends."""

import threading
import time
import unittest

from h2_wire import H2Client, get, rst_stream
from harness import route, wait_until
from http_peers import PATIENCE, Client, Origin, answer, request
from rate_limit_cases import NO_REFILL, Crowd, RateLimitTest
from redis_peers import RedisServer
from websocket_test import CLOSE, TEXT, echo, frame, handshake, read_frame


class Gate:
    """An origin's handler: /slow waits until it is opened, /reset ends the connection, the rest is answered at once."""

    def __init__(self):
        self.arrived = threading.Semaphore(0)
        self._open = threading.Event()

    def __call__(self, connection, message):
        if "/slow" in message.start_line:
            self.arrived.release()
            self._open.wait(PATIENCE)
        if "/reset" in message.start_line:
            connection.reset()
            return Origin.CLOSE
        return answer(200, b"hello")

    def wait(self, count=1):
        """Until so many more have arrived."""
        for _ in range(count):
            if not self.arrived.acquire(timeout=PATIENCE):
                raise AssertionError("no request arrived")

    def open(self):
        self._open.set()


class Places(RateLimitTest):
    """Limits of two requests at a time, in this process; with_redis() makes them Redis's."""

    STORE = {}

    def setUp(self):
        self.gate = Gate()
        self.target = self.origin(self.gate)
        self.addCleanup(self.gate.open)

    def places(self, limit=2, **options):
        store = dict(self.STORE)
        return self.limited({"name": "limit", "concurrency": limit, **store}, origin=self.target, **options)

    def hold(self, gateway, path="/slow"):
        """A request that does not end by itself; its client."""
        client = self.client(gateway)
        client.send(request(path))
        self.gate.wait()
        return client

    def assert_full(self, gateway):
        response = self.ask(gateway)
        self.assert_problem(response, 429, "rate_limited")
        self.assertEqual(response["x-ratelimit-remaining"], "0")

    def assert_free(self, gateway, places=2):
        """As many as there are, and no more: nothing was given back twice."""
        wait_until(lambda: self.ask(gateway).status == 200, "a place")

        def all_back():
            response = self.ask(gateway)
            return response.status == 200 and response["x-ratelimit-remaining"] == str(places - 1)

        wait_until(all_back, f"all {places} places")

    def test_no_more_than_there_are_places(self):
        gateway = self.places()
        clients = [self.hold(gateway) for _ in range(2)]
        for _ in range(3):
            self.assert_full(gateway)
        self.gate.open()
        self.assertEqual([client.response().status for client in clients], [200, 200])
        self.assert_free(gateway)

    def test_a_place_is_free_when_the_answer_is_there(self):
        gateway = self.places(limit=1)
        clients = [self.client(gateway) for _ in range(4)]
        statuses = [clients[i % 4].ask("/").status for i in range(400)]
        # Redis hears of it a moment later.
        self.assertGreater(statuses.count(200), 0 if self.STORE else 399)

    def test_the_client_goes_away(self):
        gateway = self.places()
        clients = [self.hold(gateway) for _ in range(2)]
        self.assert_full(gateway)
        for client in clients:
            client.reset()
        self.assert_free(gateway)

    def test_a_stream_is_reset(self):
        gateway = self.places()
        with H2Client(gateway.address) as client:
            for stream in (1, 3):
                client.send(client.headers(stream, get("/slow"), end=True))
                self.gate.wait()
            self.assert_full(gateway)
            client.send(rst_stream(1), rst_stream(3))
            self.assert_free(gateway)

    def test_the_origin_takes_too_long(self):
        gateway = self.places(routes=[route("all", "/", "origin", timeout="0.3s")])
        clients = [self.client(gateway) for _ in range(2)]
        for client in clients:
            client.send(request("/slow"))
        self.assertEqual([client.response().status for client in clients], [504, 504])
        self.assert_free(gateway)

    def test_the_origin_resets(self):
        gateway = self.places()
        for _ in range(5):
            self.assertIn(self.ask(gateway, "/reset", "POST", body=b"x").status, (502, 503))
        self.assert_free(gateway)

    def test_no_route_and_no_origin(self):
        gateway = self.places(routes=[route("gone", "/gone", "gone"), route("all", "/", "origin")],
                              clusters={"gone": "127.0.0.1:1"})
        for _ in range(5):
            self.assertEqual(self.ask(gateway, "/gone").status, 503)
        self.assert_free(gateway)

    def test_a_websocket_has_its_place_until_it_ends(self):
        self.target = self.origin(on_connection=echo)
        gateway = self.places(limit=1, routes=[route("all", "/", "origin", upgrade=["websocket"])])
        for leave in (lambda client: client.send(frame(CLOSE, b"\x03\xe8", mask=True)), lambda client: client.reset()):
            client = wait_until(lambda: self.web_socket(gateway), "a place")
            client.send(frame(TEXT, b"hello", mask=True))
            self.assertEqual(read_frame(client), (TEXT, b"hello"))
            self.assertEqual(self.ask(gateway).status, 429)
            leave(client)
            # The origin answers what is no WebSocket by 426, and with a place only.
            wait_until(lambda: self.ask(gateway).status == 426, "the place to come back")

    def web_socket(self, gateway):
        client = self.client(gateway)
        _, head = handshake(client)
        return client if head.status == 101 else None

    def test_a_rejection_by_another_policy_gives_the_place_back(self):
        store = dict(self.STORE)
        gateway = self.limited({"name": "places", "concurrency": 1, **store},
                               {"name": "few", "token_bucket": {"rate": NO_REFILL, "burst": 2}}, origin=self.target)
        for _ in range(2):
            wait_until(lambda: self.ask(gateway).status == 200, "a place")

        def rejected_by():
            return self.assert_problem(self.ask(gateway), 429, "rate_limited")["violated-policies"]

        for _ in range(3):
            wait_until(lambda: rejected_by() == ["few"], "the place to be free")

    def test_under_load_there_are_never_more(self):
        """Whatever comes and goes: the origin never has more than three at a time, and in the end all are free."""
        busy = Busy()
        self.target = self.origin(busy)
        gateway = self.places(limit=3)
        statuses = Crowd([gateway], clients=12, each=40).done()
        self.assertEqual(statuses[200] + statuses[429], 12 * 40, statuses)
        self.assertLessEqual(busy.most, 3)
        self.assertGreater(statuses[200], 0)
        self.assert_free(gateway, 3)


class Busy:
    """Counts how many requests are under way at the origin."""

    def __init__(self):
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()
        self._pause = threading.Event()

    def __call__(self, _connection, _message):
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        self._pause.wait(0.003)
        # Before the answer: the gateway may give the place to another one as soon as it has that.
        with self._lock:
            self._now -= 1
        return answer(200, b"hello")


class PlacesInRedis(Places):
    """The same, kept in Redis."""

    def setUp(self):
        super().setUp()
        self.server = RedisServer(self.folder())
        self.addCleanup(self.server.stop)
        self.STORE = {"store": {"redis": {"cluster": "redis", "timeout": "5s", "on_failure": "deny"}}}

    def limited(self, *policies, **options):
        clusters = {"redis": self.server.address, **options.pop("clusters", {})}
        return super().limited(*policies, clusters=clusters, **options)

    def test_a_gateway_that_dies_gives_its_places_back(self):
        store = dict(self.STORE)
        policy = {"name": "limit", "concurrency": {"limit": 1, "lease": "1s"}, **store}
        first = self.limited(policy, origin=self.target, exit_code=None)
        second = self.limited(policy, origin=self.target)
        self.hold(first)
        self.assertEqual(self.ask(second).status, 429)
        first.process.kill()
        self.assert_free(second, 1)

    def test_a_place_is_kept_for_as_long_as_it_takes(self):
        """Longer than the lease: it is renewed."""
        store = dict(self.STORE)
        policy = {"name": "limit", "concurrency": {"limit": 1, "lease": "1s"}, **store}
        first, second = (self.limited(policy, origin=self.target) for _ in range(2))
        self.hold(first)
        begun = time.monotonic()
        while time.monotonic() < begun + 2.5:
            self.assertEqual(self.ask(second).status, 429)
        self.gate.open()
        self.assert_free(second, 1)


class Queue(RateLimitTest):
    def test_requests_wait_for_their_turn(self):
        arrivals = []

        def handler(_connection, _message):
            arrivals.append(time.monotonic())
            return answer(200, b"hello")

        gateway = self.limited({"name": "limit", "leaky_bucket": {"rate": "20/s", "capacity": 20, "max_delay": "20s"}},
                               origin=self.origin(handler))
        begun = time.monotonic()
        self.assertEqual(Crowd([gateway], clients=7, each=1).done(), {200: 7})
        # The last one is the seventh: six turns after the first.
        self.assertGreaterEqual(max(arrivals) - begun, 6 / 20 - 0.001)
        waited = [record for record in gateway.log(7) if record["flags"] and "RLW" in record["flags"]]
        self.assertGreaterEqual(len(waited), 1)

    def test_who_would_wait_too_long_is_rejected(self):
        queue = {"rate": NO_REFILL, "capacity": 10, "max_delay": "1s"}
        gateway = self.limited({"name": "limit", "leaky_bucket": queue})
        self.assertEqual(self.statuses(gateway, 3), [200, 429, 429])

    def test_a_client_that_goes_away_while_it_waits(self):
        gateway = self.limited({"name": "limit", "leaky_bucket": {"rate": "1/m", "capacity": 10, "max_delay": "300s"}},
                               origin=(target := self.origin()))
        self.assertEqual(self.ask(gateway).status, 200)
        waiting = [Client(gateway.address) for _ in range(3)]
        for client in waiting:
            client.send(request("/"))
        gateway.wait_for_metric(3, "gatehouse_route_active_requests")
        for client in waiting:
            client.reset()
        gateway.log(4)
        self.assertEqual(len(target.requests), 1)


if __name__ == "__main__":
    unittest.main()
