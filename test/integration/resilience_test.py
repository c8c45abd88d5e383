"""What the gateway must survive: crowds, idlers, garbage and want."""

import contextlib
import random
import resource
import select
import threading
import unittest

from harness import GatehouseTest, config, route, wait_until
from http_peers import Client, Closed, answer, request


def raise_file_limit(wanted):
    """As many descriptors as the system lets us have; whether they are enough."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= wanted


class ResilienceTest(GatehouseTest):
    def start(self, handler=None, **options):
        self.target = self.origin(handler, **options.pop("origin", {}))
        return self.gateway(config([route("all", "/", "origin")], {"origin": self.target.address},
                                   options.pop("listener", None), **options.pop("top", {})), **options)

    def assert_served(self, gateway, times=5):
        for _ in range(times):
            self.assertEqual(self.ask(gateway).status, 200)

    def wait_for_service(self, gateway):
        """Until a new connection is served again, after some may have been closed unheard."""

        def served():
            try:
                return self.ask(gateway).status == 200
            except (Closed, OSError):
                return False

        wait_until(served, "service again")


class Crowds(ResilienceTest):
    # For connection, transport, socket bookkeeping of ours; no buffer is held for one that is idle.
    BYTES_PER_IDLE = 8 * 1024

    def test_idle_connections(self):
        count = 10_000 if raise_file_limit(10_200) else 1000
        # All of them connect before the first one asks.
        gateway = self.start(listener={"timeouts": {"request_header": "5m", "keep_alive": "5m"}})
        self.assert_served(gateway)
        clients = [self.client(gateway) for _ in range(count // 10)]
        for client in clients:
            self.assertEqual(client.ask().status, 200)
        before = gateway.resident_bytes()
        idle = [self.client(gateway) for _ in range(count)]
        for client in idle:
            client.send(request())
            self.assertEqual(client.response().status, 200)
        wait_until(lambda: gateway.metric("gatehouse_listener_active_connections") >= count, "all to be open")
        grown = gateway.resident_bytes() - before
        self.assertLess(grown / count, self.BYTES_PER_IDLE)
        # They are all still good, and so are new ones.
        for client in idle[::10]:
            self.assertEqual(client.ask().status, 200)
        self.assert_served(gateway)
        for client in idle + clients:
            client.close()
        wait_until(lambda: gateway.metric("gatehouse_listener_active_connections") == 0, "all to be gone")

    def test_slow_clients_do_not_slow_others(self):
        gateway = self.start()
        slow = [self.client(gateway) for _ in range(200)]
        for number, client in enumerate(slow):
            client.send(request("/slow", "POST", body=b"x" * 1000)[: 20 + number])
        self.assert_served(gateway, 50)
        for number, client in enumerate(slow):
            client.send(request("/slow", "POST", body=b"x" * 1000)[20 + number:])
        self.assertEqual({client.response().status for client in slow}, {200})

    def test_a_slow_origin_does_not_slow_others(self):
        go = threading.Event()
        self.addCleanup(go.set)

        def handler(_, message):
            if message.target == "/slow":
                go.wait(60)
            return answer(200, b"x")

        gateway = self.start(handler)
        slow = [self.client(gateway) for _ in range(100)]
        for client in slow:
            client.send(request("/slow"))
        self.assert_served(gateway, 50)
        go.set()
        self.assertEqual({client.response().status for client in slow}, {200})


class Want(ResilienceTest):
    FILES = 64

    def test_no_file_descriptors_left(self):
        gateway = self.start(files=self.FILES)
        crowd = []
        self.addCleanup(lambda: [client.close() for client in crowd])
        shed = served = 0
        for _ in range(self.FILES * 3):
            client = Client(gateway.address)
            crowd.append(client)
            client.send(request())
            ready, _, _ = select.select([client.sock], [], [], 5)
            try:
                self.assertTrue(ready, "neither served nor refused")
                if client.response().status == 200:
                    served += 1
                    continue
                shed += 1
            except (Closed, OSError):
                shed += 1
        self.assertGreater(served, 10)
        self.assertGreater(shed, 10)
        self.assertIsNone(gateway.process.poll())
        for client in crowd:
            client.close()
        crowd.clear()

        self.wait_for_service(gateway)
        self.assert_served(gateway, 20)

    def test_no_descriptor_for_the_origin(self):
        """Each client is let in, but there is none left towards the origin: 503, not silence."""
        gateway = self.start(lambda *_: answer(200, b"x"), files=self.FILES, top={"overload": {"max_connections": 1000}})
        crowd = [Client(gateway.address) for _ in range(self.FILES * 2)]
        self.addCleanup(lambda: [client.close() for client in crowd])
        for client in crowd:
            with contextlib.suppress(OSError):
                client.send(request())
        # Who has been accepted is answered one way or the other; who has not waits in the queue.
        statuses = set()
        ready, _, _ = select.select([client.sock for client in crowd], [], [], 60)
        for client in crowd:
            if client.sock in ready:
                with contextlib.suppress(Closed, OSError):
                    statuses.add(client.response().status)
        self.assertLessEqual(statuses, {200, 503})
        self.assertIsNone(gateway.process.poll())
        for client in crowd:
            client.close()
        self.wait_for_service(gateway)

    def test_short_of_buffer_memory(self):
        """Downloads that nobody reads fill the budget; the rest is told to come later, then all is well again."""
        size = 4 << 20

        def handler(connection, message):
            if message.target == "/large":
                with contextlib.suppress(OSError):
                    connection.send(answer(200, b"x" * size))
                return connection.origin.CLOSE
            return answer(200, b"small")

        gateway = self.start(handler, top={"overload": {"max_buffer_bytes": "4MiB"}})
        hoarders = []
        for _ in range(60):
            client = self.client(gateway, receive_buffer=8 * 1024)
            client.send(request("/large"))
            hoarders.append(client)
        wait_until(lambda: all(one.head().status in (200, 503) for one in hoarders) or True)
        self.assertLess(gateway.metric("gatehouse_server_slab_bytes"), 16 << 20)
        for client in hoarders:
            client.close()
        self.wait_for_service(gateway)
        self.assert_served(gateway, 20)


class Garbage(ResilienceTest):
    def test_random_bytes(self):
        gateway = self.start()
        generator = random.Random(7)
        for _ in range(300):
            with Client(gateway.address) as client, contextlib.suppress(OSError):
                client.send(generator.randbytes(generator.randint(1, 3000)))
                client.half_close()
                client.take_all()
        self.assertEqual(self.target.requests, [])
        self.assert_served(gateway)

    def test_broken_copies_of_a_request(self):
        gateway = self.start()
        generator = random.Random(8)
        whole = request("/a/b?c=d", "POST", headers=["X-A: b", "Cookie: e=f", "Connection: keep-alive"], body=b"hello")
        for _ in range(500):
            broken = bytearray(whole)
            for _ in range(generator.randint(1, 3)):
                broken[generator.randrange(len(broken))] = generator.randrange(256)
            with Client(gateway.address) as client, contextlib.suppress(OSError):
                client.send(bytes(broken))
                client.half_close()
                client.take_all()
        self.assert_served(gateway)

    def test_requests_cut_at_every_byte(self):
        gateway = self.start()
        whole = request("/cut", "POST", headers=["X-A: b"], body=b"hello")
        for cut in range(1, len(whole)):
            for reset in (False, True):
                client = Client(gateway.address)
                client.send(whole[:cut])
                client.reset() if reset else client.close()
        self.assert_served(gateway)
        wait_until(lambda: gateway.metric("gatehouse_listener_active_connections") == 0, "all connections to end")
        self.assertEqual([seen for seen in self.target.requests if seen.target == "/cut"], [])

    def test_clients_that_leave_without_their_answer(self):
        gateway = self.start()
        for _ in range(200):
            client = Client(gateway.address)
            client.send(request() * 3)
            client.reset()
        self.assert_served(gateway)
        wait_until(lambda: gateway.metric("gatehouse_route_active_requests") == 0, "no request to be left behind")

    def test_tls_on_a_plain_port(self):
        gateway = self.start()
        with Client(gateway.address) as client:
            client.send(bytes.fromhex("16030100c8010000c40303") + bytes(100))
            self.assertEqual(client.response().status, 400)
        self.assert_served(gateway)


if __name__ == "__main__":
    unittest.main()
