"""Gateways that share a Redis for a limit, for tests.

  class Exact(RedisLimitTest):
      def test_one_count(self):
          gateways = self.fleet(self.redis(), bucket(10))
"""

import re

from rate_limit_cases import RateLimitTest
from redis_peers import RedisServer


class RedisLimitTest(RateLimitTest):
    def redis(self, **options):
        server = RedisServer(self.folder(), **options)
        self.addCleanup(server.stop)
        return server

    def fleet(self, server, policy, gateways=3, store=None, clusters=None, handler=None, **options):
        """Gateways that share the Redis at `server` for their policy `limit`."""
        # As patient as the test, unless the test is about that.
        store = {"cluster": "redis", "timeout": "20s", **(store or {})}
        policies = [{**one, "store": {"redis": store}} for one in (policy if isinstance(policy, list) else [policy])]
        self.target = self.origin(handler)
        return [self.limited(*policies, origin=self.target, clusters=clusters or {"redis": server.address}, **options)
                for _ in range(gateways)]

    def lines_about_redis(self, gateway):
        return [line for line in gateway.stderr.split("\n") if re.search(r"redis", line, re.IGNORECASE)
                and not line.startswith("gatehouse: ready")]
