"""What tests of rate limits share: a gateway in front of an origin, some policies, and counting what passes."""

import threading
from collections import Counter

from harness import GatehouseTest, config, route
from http_peers import PATIENCE, Client

# Fractions come back so slowly that no test sees them: what is in a bucket at first is all there is.
NO_REFILL = "1/h"


def bucket(burst, rate=NO_REFILL, **rest):
    """A policy `limit` with a token bucket."""
    return {"name": "limit", "token_bucket": {"rate": rate, "burst": burst}, **rest}


class RateLimitTest(GatehouseTest):
    def settings(self, *policies, origin=None, routes=None, clusters=None, filters=None, listener=None, **top):
        """All policies on all routes."""
        origin = origin or self.origin()
        names = [policy["name"] for policy in policies]
        return config(routes or [route("all", "/", "origin")], {"origin": origin.address, **(clusters or {})},
                      listener=listener, table={"filters": filters or [{"rate_limit": names}]},
                      rate_limits=list(policies), **top)

    def limited(self, *policies, **options):
        running = {name: options.pop(name) for name in ("arguments", "environment", "exit_code", "files")
                   if name in options}
        return self.gateway(self.settings(*policies, **options), **running)

    def many(self, gateway, count, path="/", **options):
        """The responses to `count` requests on one connection, or on several when the gateway closes it."""
        responses = []
        client = Client(gateway.address)
        try:
            for _ in range(count):
                responses.append(client.ask(path, **options))
                if responses[-1]["connection"] == "close":
                    client.close()
                    client = Client(gateway.address)
        finally:
            client.close()
        return responses

    def statuses(self, gateway, count, path="/", **options):
        return [response.status for response in self.many(gateway, count, path, **options)]

    def passed(self, gateway, count, path="/", **options):
        """How many of `count` requests have passed; the others must be 429."""
        counted = Counter(self.statuses(gateway, count, path, **options))
        self.assertEqual(counted[200] + counted[429], count, counted)
        return counted[200]


class Crowd:
    """`clients` connections, spread over gateways, that ask `each` times all at once; counts statuses."""

    def __init__(self, gateways, clients, each, path="/", headers=()):
        self.statuses = Counter()
        self.failures = []
        self._lock = threading.Lock()
        self._start = threading.Barrier(clients)
        self._each = each
        self._path = path
        self._headers = list(headers)
        self._threads = [threading.Thread(target=self._run, args=(gateways[i % len(gateways)],), daemon=True)
                         for i in range(clients)]
        for thread in self._threads:
            thread.start()

    def _run(self, gateway):
        counted = Counter()
        try:
            with Client(gateway.address) as client:
                self._start.wait(PATIENCE)
                for _ in range(self._each):
                    counted[client.ask(self._path, headers=self._headers).status] += 1
        except Exception as error:  # pylint: disable=broad-except  # shown by done()
            self.failures.append(repr(error))
        with self._lock:
            self.statuses += counted

    def done(self):
        """Counts of statuses, once all have been answered."""
        for thread in self._threads:
            thread.join(2 * PATIENCE)
        if self.failures or any(thread.is_alive() for thread in self._threads):
            raise AssertionError(f"requests were lost: {self.failures}")
        return self.statuses
