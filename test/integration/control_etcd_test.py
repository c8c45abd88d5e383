"""`gatehouse-control` over a real etcd: several instances agree, and etcd killed, paused, compacted and emptied."""

import base64
import concurrent.futures
import http.client
import json
import os
import signal
import socket
import subprocess
import unittest

from control_plane import ControlPlaneTest, clusters
from harness import kill, route, wait_until


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Etcd:
    """One or more members of an etcd cluster."""

    def __init__(self, folder, members=1):
        ports = free_ports(2 * members)
        self.clients, self.peers = ports[:members], ports[members:]
        self.folder = folder
        self.processes = [None] * members
        for member in range(members):
            self.start(member)

    def start(self, member=0):
        client = f"http://127.0.0.1:{self.clients[member]}"
        peer = f"http://127.0.0.1:{self.peers[member]}"
        with open(os.path.join(self.folder, f"log{member}"), "ab") as log:
            self.processes[member] = subprocess.Popen(
                [
                    "etcd",
                    f"--name=m{member}",
                    f"--data-dir={self.folder}/data{member}",
                    f"--listen-client-urls={client}",
                    f"--advertise-client-urls={client}",
                    f"--listen-peer-urls={peer}",
                    f"--initial-advertise-peer-urls={peer}",
                    "--initial-cluster="
                    + ",".join(f"m{i}=http://127.0.0.1:{port}" for i, port in enumerate(self.peers)),
                    "--heartbeat-interval=50",
                    "--election-timeout=500",
                ],
                stdout=log,
                stderr=log,
                # No auto-compaction, no v2, whatever the environment says.
                env={key: value for key, value in os.environ.items() if not key.startswith("ETCD_")},
            )

    @property
    def endpoints(self):
        return ",".join(f"127.0.0.1:{port}" for port in self.clients)

    def ask(self, path, body, member=0):
        """etcd's own JSON gateway."""
        connection = http.client.HTTPConnection("127.0.0.1", self.clients[member], timeout=5)
        try:
            connection.request("POST", path, json.dumps(body))
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def count(self, prefix):
        end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        encode = lambda text: base64.b64encode(text.encode()).decode()
        answer = self.ask("/v3/kv/range", {"key": encode(prefix), "range_end": encode(end), "count_only": True})
        return int(answer.get("count", 0))

    def wait_ready(self):
        def ready():
            try:
                return "header" in self.ask("/v3/kv/range", {"key": "AA=="})
            except (OSError, http.client.HTTPException, ValueError):
                return False

        wait_until(ready, "etcd to answer")
        return self

    def kill(self, member=0):
        kill(self.processes[member])

    def signal(self, number, member=0):
        self.processes[member].send_signal(number)

    def close(self):
        for process in self.processes:
            process.send_signal(signal.SIGCONT)
            kill(process)


class OverEtcd(ControlPlaneTest):
    def etcd(self, members=1):
        etcd = Etcd(self.folder(), members)
        self.addCleanup(etcd.close)
        return etcd.wait_ready()

    def instance(self, etcd, name, *arguments):
        return self.control("--etcd", etcd.endpoints, "--instance", name, *arguments)

    def wait_for_revision(self, control, revision):
        wait_until(lambda: control.status()["revision"] == revision, f"revision {revision}")

    def wait_for_trouble(self, control, there):
        wait_until(lambda: bool(control.status()["trouble"]) == there, f"trouble: {there}")

    def test_two_instances_agree_and_no_change_is_lost(self):
        etcd = self.etcd()
        one, two = self.instance(etcd, "one"), self.instance(etcd, "two")
        one.apply(clusters("a"))
        self.wait_for_revision(two, 1)

        def change(control, name):
            return [control.try_apply(clusters(name, port=port), name=f"{name}.json").code for port in range(1, 16)]

        with concurrent.futures.ThreadPoolExecutor() as pool:
            codes = [pool.submit(change, control, name) for control, name in ((one, "x"), (two, "y"))]
            self.assertEqual([set(done.result()) for done in codes], [{0}, {0}])
        self.wait_for_revision(one, 31)
        self.wait_for_revision(two, 31)
        self.assertEqual(one.resources(), two.resources())
        self.assertEqual(one.names(), ["a", "x", "y"])
        self.assertEqual(two.run("rollback", "1").code, 0)
        one.wait_for_names("a")

    def test_each_instance_knows_the_gateways_of_all(self):
        etcd = self.etcd()
        one, two = self.instance(etcd, "one"), self.instance(etcd, "two")
        table = {"name": "main", "domains": ["*"], "routes": [route("all", "/", respond={"status": 200})]}
        listener = {"name": "edge", "address": "127.0.0.1:0", "route_tables": ["main"]}
        one.apply({"listeners": [listener], "route_tables": [table]})
        bootstrap = {"node": {"id": "gw-1"}, "admin": {"address": "127.0.0.1:0"},
                     "control_plane": [f"127.0.0.1:{two.xds_port}"]}
        self.gateway(json.dumps(bootstrap))
        for control in (one, two):
            wait_until(
                lambda control=control: [
                    (gateway["node"], gateway["instance"], gateway["accepted_revision"])
                    for gateway in control.status()["gateways"]
                ]
                == [("gw-1", "two", 1)],
                "gw-1 in the status",
            )
        two.kill()
        wait_until(lambda: one.status()["gateways"] == [], "the instance's lease to run out")
        two.start()
        two.wait_ready()

    def test_a_base_that_another_instance_has_left_behind_is_refused(self):
        etcd = self.etcd()
        one, two = self.instance(etcd, "one"), self.instance(etcd, "two")
        one.apply(clusters("a"))
        done = two.try_apply(clusters("b"), "--base", "0")
        self.assertEqual(done.code, 1, done)
        self.assertEqual(two.apply(clusters("b"), "--base", "1").code, 0)

    def test_while_etcd_is_away_the_last_revision_is_served_also_after_a_restart(self):
        etcd = self.etcd()
        state = self.folder()
        control = self.instance(etcd, "one", "--state", state)
        control.apply(clusters("a"))
        wait_until(lambda: os.path.exists(os.path.join(state, "etcd_copy")), "the copy")
        etcd.kill()
        self.wait_for_trouble(control, True)
        self.assertEqual(control.names(), ["a"])
        self.assertEqual(control.try_apply(clusters("b")).code, 3)
        self.assertEqual(control.stop(), 0)
        control.start()
        control.wait_ready()
        self.assertEqual((control.names(), control.status()["revision"]), (["a"], 1))
        self.assertIn("etcd", control.status()["trouble"])
        etcd.start()
        self.wait_for_trouble(control, False)
        control.apply(clusters("b"))
        self.assertEqual(control.names(), ["a", "b"])

    def test_a_damaged_copy_is_not_used(self):
        etcd = self.etcd()
        state = self.folder()
        control = self.instance(etcd, "one", "--state", state)
        control.apply(clusters("a"))
        path = os.path.join(state, "etcd_copy")
        wait_until(lambda: os.path.exists(path), "the copy")
        self.assertEqual(control.stop(), 0)
        etcd.kill()
        with open(path, "r+b") as file:
            file.truncate(40)
        control.start()
        control.wait_ready()
        self.assertEqual(control.status()["revision"], 0)

    def test_a_paused_etcd_is_noticed_and_what_was_missed_comes(self):
        etcd = self.etcd()
        one, two = self.instance(etcd, "one"), self.instance(etcd, "two")
        one.apply(clusters("a"))
        self.wait_for_revision(two, 1)
        etcd.signal(signal.SIGSTOP)
        self.wait_for_trouble(two, True)
        etcd.signal(signal.SIGCONT)
        self.wait_for_trouble(two, False)
        wait_until(lambda: one.try_apply(clusters("b")).code == 0, "a change")
        two.wait_for_names("a", "b")

    def test_a_compaction_and_a_paused_instance_lose_nothing(self):
        etcd = self.etcd()
        one, two = self.instance(etcd, "one"), self.instance(etcd, "two")
        one.apply(clusters("a"))
        self.wait_for_revision(two, 1)
        two.pause()
        for port in range(1, 6):
            one.apply(clusters("b", port=port))
        now = etcd.ask("/v3/kv/range", {"key": "AA=="})["header"]["revision"]
        etcd.ask("/v3/kv/compaction", {"revision": now, "physical": True})
        two.resume()
        self.wait_for_revision(two, 6)
        one.apply(clusters("c"))
        two.wait_for_names("a", "b", "c")

    def test_an_emptied_etcd_takes_nothing_from_gateways(self):
        etcd = self.etcd()
        control = self.instance(etcd, "one")
        control.apply(clusters("a"))
        etcd.ask("/v3/kv/deleterange", {"key": "AA==", "range_end": "AA=="})
        self.wait_for_trouble(control, True)
        self.assertEqual(control.names(), ["a"])
        control.apply(clusters("b"))
        other = self.instance(etcd, "two")
        self.assertEqual(other.names(), ["a", "b"])
        self.wait_for_trouble(control, False)

    def test_a_member_that_dies_is_not_missed(self):
        etcd = self.etcd(members=3)
        control = self.instance(etcd, "one")
        control.apply(clusters("a"))
        etcd.kill(0)
        wait_until(lambda: control.try_apply(clusters("b")).code == 0, "a change with two of three members")
        self.assertEqual(control.names(), ["a", "b"])
        etcd.kill(1)
        self.wait_for_trouble(control, True)
        self.assertEqual(control.try_apply(clusters("c")).code, 3)
        etcd.start(1)
        wait_until(lambda: control.try_apply(clusters("d")).code == 0, "a change when the majority is back")

    def test_large_sets_go_in_parts_and_too_large_resources_are_named(self):
        etcd = self.etcd()
        one, two = self.instance(etcd, "one"), self.instance(etcd, "two")
        many = clusters(*(f"cluster-{number}" for number in range(3000)))
        one.apply(many)
        self.wait_for_revision(two, 1)
        self.assertEqual(len(two.resources()), 3000)
        noise = base64.b64encode(os.urandom(3 << 20)).decode()
        done = one.try_apply({"secrets": [{"name": "huge", "inline": noise}]})
        self.assertEqual(done.code, 1, done.err[:500])
        self.assertIn("Secret huge is too large for etcd", done.err)

    def test_old_revisions_and_what_only_they_had_are_removed(self):
        etcd = self.etcd()
        control = self.instance(etcd, "one")
        for port in range(1, 141):
            control.apply(clusters("a", port=port))
        self.assertLessEqual(etcd.count("/gatehouse/revisions/"), 120)
        # Each has a manifest, a message and an outline, of which the last is one for all.
        self.assertLessEqual(etcd.count("/gatehouse/blobs/"), 2 * 121 + 1)
        self.assertEqual(control.run("rollback", "41").code, 0)
        self.assertIn("127.0.0.1:41", control.run("get", "cluster", "a").out)
        self.assertEqual(control.run("rollback", "1").code, 1)


if __name__ == "__main__":
    unittest.main()
