"""Rate limits in a Redis Cluster and behind sentinels: slots that move, servers that come and go."""

import unittest
from collections import Counter

from harness import Load, wait_until
from http_peers import Client
from rate_limit_cases import Crowd, RateLimitTest, bucket
from redis_peers import RedisCluster, RedisSentinels


class TopologyTest(RateLimitTest):
    def peers(self, kind, **options):
        peers = kind(self.folder(), **options)
        self.addCleanup(peers.stop)
        return peers

    def fleet(self, addresses, policy, gateways=3, store=None, **options):
        store = {"cluster": "redis", "timeout": "20s", **(store or {})}
        self.target = self.origin()
        return [self.limited({**policy, "store": {"redis": store}}, origin=self.target,
                             clusters={"redis": {"endpoints": list(addresses)}}, **options) for _ in range(gateways)]


class Cluster(TopologyTest):
    STORE = {"topology": "cluster"}

    def setUp(self):
        self.cluster = self.peers(RedisCluster)

    def test_each_key_is_exact_wherever_it_is(self):
        # Only one of the nodes is told: the others are found.
        policies = {"name": "limit", "limits": [{"fixed_window": "20/h"}, {"sliding_log": "1000/h"}],
                    "key": [{"header": "X-Client"}]}
        gateways = self.fleet(self.cluster.addresses[:1], policies, store=self.STORE)
        for client in range(12):
            crowd = Crowd(gateways, clients=3, each=10, headers=[f"X-Client: {client}"])
            self.assertEqual(crowd.done(), {200: 20, 429: 10}, client)
        # They are spread over the nodes, and what belongs to one key is in one slot.
        self.assertGreater(min(len(node.ask("KEYS", "*")) for node in self.cluster.nodes), 0)

    def test_a_slot_moves_while_it_is_used(self):
        gateways = self.fleet(self.cluster.addresses, bucket(300), store=self.STORE)
        self.assertEqual(self.passed(gateways[0], 30), 30)
        keys = self.cluster.keys()
        slots = {self.cluster.slot(key) for key in keys}
        self.assertEqual(len(slots), 1, keys)
        slot = slots.pop()
        passed = 30
        for _ in range(3):
            crowd = Crowd(gateways, clients=6, each=12)
            owner = self.cluster.owner(slot)
            self.cluster.move(slot, (owner + 1) % 3, between=lambda: self.also(gateways))
            counted = crowd.done()
            self.assertEqual(set(counted), {200}, counted)
            passed += counted[200] + self.asked
            self.asked = 0
        self.assertLess(passed, 300)
        self.assertEqual(Crowd(gateways, clients=9, each=20).done()[200], 300 - passed)

    asked = 0

    def also(self, gateways):
        """Requests while the slot is half here and half there."""
        for gateway in gateways:
            self.assertEqual(self.ask(gateway).status, 200)
            self.asked += 1

    def test_a_slot_that_had_no_key_when_it_began_to_move(self):
        """ASK: the first request about a key is answered by the node that gets the slot."""
        gateways = self.fleet(self.cluster.addresses, bucket(10), store=self.STORE, gateways=2)
        self.assertEqual(self.passed(gateways[0], 4), 4)
        (key,) = self.cluster.keys()
        slot = self.cluster.slot(key)
        for node in self.cluster.nodes:
            node.ask("FLUSHALL")
        owner = self.cluster.owner(slot)
        self.cluster.move(slot, (owner + 1) % 3, between=lambda: self.also(gateways))
        self.assertGreaterEqual(self.asked, 2)
        self.assertEqual(sum(self.passed(gateway, 10) for gateway in gateways), 10 - self.asked)

    def test_a_node_that_is_gone(self):
        """Keys of other nodes are counted as before; those of this one as on_failure says, until it is back."""
        policy = bucket(5, key=[{"header": "X-Client"}])
        # One worker: the other one would have to find out who has which slots, and perhaps ask the node that hangs.
        gateways = self.fleet(self.cluster.addresses, policy, gateways=1, workers=1, store={
            **self.STORE, "timeout": "0.5s", "on_failure": "deny"})
        with Client(gateways[0].address) as client:
            places = {}
            for number in range(200):
                for node in self.cluster.nodes:
                    node.ask("FLUSHALL")
                client.ask(headers=[f"X-Client: {number}"])
                (at,) = [i for i, node in enumerate(self.cluster.nodes) if node.ask("DBSIZE")]
                places.setdefault(at, f"X-Client: {number}")
                if len(places) == 3:
                    break
        # With a node gone the others would refuse everything after a while.
        for node in self.cluster.nodes:
            node.ask("CONFIG", "SET", "cluster-require-full-coverage", "no")
        self.cluster.nodes[0].pause()
        try:
            self.assertEqual(self.statuses(gateways[0], 2, headers=[places[0]]), [503, 503])
            for at in (1, 2):
                self.assertNotIn(503, self.statuses(gateways[0], 10, headers=[places[at]]))
        finally:
            self.cluster.nodes[0].resume()
        wait_until(lambda: self.ask(gateways[0], headers=[places[0]]).status != 503, "the node to be used again")

    def test_synced(self):
        gateways = self.fleet(self.cluster.addresses, bucket(60, key=[{"header": "X-Client"}]), store={
            **self.STORE, "sync_interval": "0.05s", "max_unsynced": 5})
        for client in range(4):
            counted = Crowd(gateways, clients=6, each=30, headers=[f"X-Client: {client}"]).done()
            self.assertTrue(60 <= counted[200] <= 60 + 3 * 5, counted)


class Sentinel(TopologyTest):
    STORE = {"topology": "sentinel", "sentinel_master": RedisSentinels.NAME}

    def test_a_failover_loses_no_count_that_was_replicated(self):
        group = self.peers(RedisSentinels)
        # One worker each: the other one would find the new master in its own time.
        gateways = self.fleet(group.addresses, bucket(60), workers=1, store={
            **self.STORE, "timeout": "0.5s", "on_failure": "deny"})
        self.assertEqual(Crowd(gateways, clients=6, each=5).done(), {200: 30})
        group.replicated()
        group.fail_over()
        for gateway in gateways:
            wait_until(lambda gateway=gateway: self.ask(gateway).status != 503, "the new master")
        with group.replica.connect() as connection:
            self.assertEqual(len(connection.ask("KEYS", "*")), 1)
        # Each has asked once and been counted; nothing else was.
        self.assertEqual(Crowd(gateways, clients=6, each=10).done(), {200: 30 - 3, 429: 33})

    def test_under_load_nothing_is_lost(self):
        group = self.peers(RedisSentinels, password="secret")
        gateways = self.fleet(group.addresses, bucket(10**6, rate="100000/h"), gateways=2,
                              secrets=[{"name": "redis", "inline": "secret"}], store={
                                  **self.STORE, "timeout": "0.25s", "on_failure": "local", "password": "redis"})
        loads = [Load(gateway.address, connections=2) for gateway in gateways]
        try:
            for load in loads:
                load.wait_for(50)
            group.fail_over()
            wait_until(lambda: group.replica.ask("KEYS", "*") and self.moves_on(group), "the new master to be used")
            for load in loads:
                load.wait_for(50)
        finally:
            failures = [failed for load in loads for failed in load.stop()]
        self.assertEqual(failures, [])

    def moves_on(self, group):
        """Whether the new master is told of new requests."""
        before = int(group.replica.info("stats", "total_writes_processed"))
        return wait_until(lambda: int(group.replica.info("stats", "total_writes_processed")) > before + 20, "writes")

    def test_several_sentinels_of_which_one_is_dead(self):
        group = self.peers(RedisSentinels, sentinels=3)
        group.sentinels[0].kill()
        gateways = self.fleet(group.addresses, bucket(10), gateways=2, store=self.STORE)
        self.assertEqual(Counter(sum((self.statuses(one, 8) for one in gateways), [])), {200: 10, 429: 6})

    def test_a_name_that_the_sentinels_do_not_know(self):
        group = self.peers(RedisSentinels)
        gateways = self.fleet(group.addresses, bucket(10), gateways=1, store={
            "topology": "sentinel", "sentinel_master": "nobody", "timeout": "0.3s", "on_failure": "deny"})
        self.assertEqual(set(self.statuses(gateways[0], 5)), {503})
        gateways[0].wait_for_line("nobody")


if __name__ == "__main__":
    unittest.main()
