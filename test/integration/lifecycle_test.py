"""How a gateway ends, and how a new one takes over, without a request being lost."""

import os
import signal
import socket
import threading
import unittest

from harness import Gateway, GatehouseTest, Load, config, route, wait_until
from http_peers import PATIENCE, Client, Closed, answer, request


class Held:
    """An origin's handler whose answers wait until they are let go."""

    def __init__(self):
        self.go = threading.Event()

    def __call__(self, _, message):
        if message.target == "/held":
            self.go.wait(PATIENCE)
        return answer(200, b"done")


class Lifecycle(GatehouseTest):
    def start(self, **options):
        self.held = Held()
        self.addCleanup(self.held.go.set)
        self.target = self.origin(self.held)
        top = {"drain_timeout": "30s", **options.pop("top", {})}
        return self.gateway(config([route("all", "/", "origin")], {"origin": self.target.address}, **top), **options)

    def hold(self, gateway):
        """A client whose request is at the origin."""
        client = self.client(gateway)
        client.send(request("/held"))
        self.assertEqual(self.target.next_request().target, "/held")
        return client

    def refused(self, gateway):
        with socket.socket() as sock:
            # Between the first and the last worker's turn to refuse, a SYN may get no answer at all.
            sock.settimeout(0.2)
            try:
                sock.connect(gateway.address)
            except ConnectionRefusedError:
                return True
            except OSError:
                pass
            return False


class Stop(Lifecycle):
    def test_an_idle_gateway_ends_at_once(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(signal=number):
                gateway = self.start()
                self.assertEqual(self.ask(gateway).status, 200)
                gateway.signal(number)
                self.assertEqual(gateway.wait_exit(), 0)

    def test_what_is_under_way_ends_well(self):
        gateway = self.start()
        client = self.hold(gateway)
        idle = self.client(gateway)
        self.assertEqual(idle.ask("/idle").status, 200)
        gateway.signal(signal.SIGTERM)
        gateway.wait_for_line("draining")
        self.assertEqual(gateway.ask_admin("/ready").status, 503)
        self.assertEqual(gateway.ask_admin("/live").status, 200)
        wait_until(lambda: self.refused(gateway), "the listener is closed")
        self.assertTrue(idle.at_end())
        self.assertIsNone(gateway.process.poll())
        self.held.go.set()
        response = client.response()
        self.assertEqual((response.status, response.body, response["connection"]), (200, b"done", "close"))
        self.assertEqual(gateway.wait_exit(), 0)
        self.assertEqual(gateway.record(path="/held")["status"], 200)

    def test_a_connection_that_is_kept_alive_is_told(self):
        gateway = self.start()
        client = self.client(gateway)
        self.assertEqual(client.ask().status, 200)
        gateway.signal(signal.SIGTERM)
        wait_until(lambda: self.refused(gateway), "the listener is closed")
        response = client.ask()  # within the grace of idle connections
        self.assertEqual((response.status, response["connection"]), (200, "close"))
        self.assertEqual(gateway.wait_exit(), 0)

    def test_a_second_signal_stops_at_once(self):
        gateway = self.start()
        client = self.hold(gateway)
        gateway.signal(signal.SIGTERM)
        gateway.wait_for_line("draining")
        gateway.signal(signal.SIGTERM)
        self.assertEqual(gateway.wait_exit(), 0)
        with self.assertRaises((Closed, OSError)):
            client.response()

    def test_patience_has_an_end(self):
        gateway = self.start(top={"drain_timeout": "300ms"})
        client = self.hold(gateway)
        gateway.signal(signal.SIGTERM)
        self.assertEqual(gateway.wait_exit(), 0)
        self.assertIn("did not end in time", gateway.stderr)
        with self.assertRaises((Closed, OSError)):
            client.response()

    def test_under_load(self):
        gateway = self.start()
        with Load(gateway.address, 8) as load:
            load.wait_for(200)
            gateway.signal(signal.SIGTERM)
            # Who is refused is not lost: nothing was taken on.
            self.assertEqual(gateway.wait_exit(), 0)
            failures = load.stop()
        lost = [failure for failure in failures if "ConnectionRefused" not in failure]
        self.assertEqual(lost, [])
        self.assertEqual(sum(record["status"] == 200 for record in gateway.log(load.done)), load.done)

    def test_a_connection_that_is_being_made_is_served_or_refused(self):
        """A connection for each request, so that a handshake is always under way."""
        for _ in range(3):
            gateway = self.start()
            done, lost = [], []

            def connect(gateway=gateway, done=done, lost=lost):
                try:
                    while True:
                        with Client(gateway.address) as client:
                            done.append(client.ask(headers=["Connection: close"]).status)
                except ConnectionRefusedError:
                    pass
                except (OSError, Closed) as error:
                    lost.append(repr(error))

            threads = [threading.Thread(target=connect, daemon=True) for _ in range(16)]
            for thread in threads:
                thread.start()
            wait_until(lambda done=done, lost=lost: len(done) >= 100 or lost, "requests")
            gateway.signal(signal.SIGTERM)
            self.assertEqual(gateway.wait_exit(), 0)
            for thread in threads:
                thread.join(PATIENCE)
            self.assertEqual(lost, [])
            self.assertEqual(set(done), {200})

    def test_drain_by_the_admin_address(self):
        gateway = self.start()
        client = self.client(gateway)
        self.assertIsNone(client.ask()["connection"])
        response = gateway.ask_admin("/drain", "POST")
        self.assertEqual(response.status, 200)
        self.assertEqual(gateway.ask_admin("/ready").status, 503)
        self.assertEqual(gateway.metric("gatehouse_server_draining"), 1)

        def told():
            with Client(gateway.address) as other:
                return other.ask()["connection"] == "close"

        wait_until(told, "Connection: close")
        self.assertEqual(client.ask()["connection"], "close")
        # It is out of rotation, but serves who still comes.
        for _ in range(5):
            self.assertEqual(self.ask(gateway).status, 200)
        self.assertIsNone(gateway.process.poll())


class Upgrade(Lifecycle):
    def upgradable(self, **top):
        # Paths of unix sockets are short.
        self.socket_path = os.path.join(self.folder(), "s")
        return self.start(top={"upgrade_socket": self.socket_path, **top})

    def successor(self, old, settings=None, wait=True):
        """A new process on the same config."""
        if settings is None:
            with open(old.path, encoding="utf-8") as file:
                settings = file.read()
        new = Gateway(settings, self.folder(), wait=False)
        self.addCleanup(new.stop)
        if wait:
            new.wait_ready()
        return new

    def test_five_times_under_load_loses_nothing(self):
        gateway = self.upgradable()
        with Load(gateway.address, 8) as load:
            for _ in range(5):
                load.wait_for(100)
                new = self.successor(gateway)
                self.assertEqual(new.ports, gateway.ports)
                self.assertEqual(new.admin, gateway.admin)
                self.assertEqual(gateway.wait_exit(), 0, gateway.stderr)
                gateway = new
            load.wait_for(100)
            self.assertEqual(load.stop(), [])
        self.assertEqual(gateway.stop(), 0)

    def test_new_connections_under_load_are_not_refused(self):
        """A connection for each request: they wait in the sockets that are handed over."""
        gateway = self.upgradable()
        failures, done, ending = [], [], threading.Event()

        def connect():
            while not ending.is_set():
                try:
                    with Client(gateway.address) as client:
                        done.append(client.ask(headers=["Connection: close"]).status)
                except (OSError, Closed) as error:
                    failures.append(repr(error))

        threads = [threading.Thread(target=connect, daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        old = gateway
        for _ in range(5):
            goal = len(done) + 50
            wait_until(lambda goal=goal: len(done) >= goal or failures, "requests")
            new = self.successor(old)
            self.assertEqual(old.wait_exit(), 0)
            old = new
        ending.set()
        for thread in threads:
            thread.join(PATIENCE)
        self.assertEqual(failures, [])
        self.assertEqual(set(done), {200})

    def test_the_old_one_ends_what_it_has_begun(self):
        gateway = self.upgradable(workers=1)
        client = self.hold(gateway)
        idle = self.client(gateway)
        self.assertEqual(idle.ask().status, 200)
        new = self.successor(gateway)
        self.assertTrue(idle.at_end())  # so the worker knows
        with Client(new.address) as other:
            self.assertEqual(other.ask().status, 200)
        self.assertIsNone(gateway.process.poll())
        self.held.go.set()
        response = client.response()
        self.assertEqual((response.status, response["connection"]), (200, "close"))
        self.assertEqual(gateway.wait_exit(), 0)

    def test_a_successor_with_a_bad_config_changes_nothing(self):
        gateway = self.upgradable()
        new = self.successor(gateway, "listeners: 7\n", wait=False)
        self.assertEqual(new.wait_exit(), 1)
        self.assertEqual(self.ask(gateway).status, 200)
        # And a good one can still come.
        good = self.successor(gateway)
        self.assertEqual(gateway.wait_exit(), 0)
        with Client(good.address) as client:
            self.assertEqual(client.ask().status, 200)

    def test_a_successor_that_fails_half_way_changes_nothing(self):
        gateway = self.upgradable()
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as half:
            half.connect(self.socket_path)
            half.settimeout(PATIENCE)
            self.assertTrue(half.recv(512))
        self.assertEqual(self.ask(gateway).status, 200)
        self.successor(gateway)
        self.assertEqual(gateway.wait_exit(), 0)

    def test_a_stop_leaves_the_sockets_to_a_successor_that_has_them_already(self):
        gateway = self.upgradable()
        sockets, message = [], b""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as starting:
            starting.connect(self.socket_path)
            starting.settimeout(PATIENCE)
            while message != b"\n":
                message, fds, _, _ = socket.recv_fds(starting, 512, 128)
                sockets += [socket.socket(fileno=fd) for fd in fds]
            gateway.signal(signal.SIGTERM)
            self.assertEqual(gateway.wait_exit(), 0)
        for _ in range(8):
            Client(gateway.address).close()
        for sock in sockets:
            sock.close()

    def test_after_a_crash_the_socket_is_only_a_file(self):
        gateway = self.start_and_kill()
        new = self.successor(gateway)
        with Client(new.address) as client:
            self.assertEqual(client.ask().status, 200)
        self.assertEqual(new.stop(), 0)

    def start_and_kill(self):
        self.socket_path = os.path.join(self.folder(), "s")
        gateway = self.start(top={"upgrade_socket": self.socket_path}, exit_code=-signal.SIGKILL)
        gateway.process.kill()
        gateway.wait_exit()
        self.assertTrue(os.path.exists(self.socket_path))
        return gateway

    def test_the_config_may_change_with_the_upgrade(self):
        gateway = self.upgradable()
        with open(gateway.path, encoding="utf-8") as file:
            changed = file.read().replace('"workers": 2', '"workers": 1')
        with Load(gateway.address, 4) as load:
            load.wait_for(50)
            new = self.successor(gateway, changed)
            self.assertEqual(gateway.wait_exit(), 0)
            load.wait_for(200)
            self.assertEqual(load.stop(), [])
        self.assertEqual(new.metric("gatehouse_server_workers"), 1)


    def test_fewer_workers_and_then_another_upgrade(self):
        """One worker serves the sockets of four, and they are all there to be handed over again."""
        gateway = self.upgradable(workers=4)
        with open(gateway.path, encoding="utf-8") as file:
            fewer = file.read().replace('"workers": 4', '"workers": 1')
        for settings in (fewer, fewer):
            new = self.successor(gateway, settings)
            self.assertEqual(gateway.wait_exit(), 0, gateway.stderr)
            gateway = new
            # Enough for each of the sockets to have some.
            for _ in range(40):
                with Client(gateway.address) as client:
                    self.assertEqual(client.ask(headers=["Connection: close"]).status, 200)

    def test_the_admin_address_may_change_too(self):
        gateway = self.upgradable()
        with open(gateway.path, encoding="utf-8") as file:
            moved = file.read().replace("127.0.0.1:0", "127.0.0.2:0", 1)
        self.assertIn("127.0.0.2:0", moved.split("listeners")[0])
        new = self.successor(gateway, moved)
        self.assertEqual(new.admin[0], "127.0.0.2")
        self.assertEqual(gateway.wait_exit(), 0)

    def test_one_signal_does_not_hurry_a_process_that_has_been_replaced(self):
        gateway = self.upgradable()
        client = self.hold(gateway)
        self.successor(gateway)
        wait_until(lambda: "a new process has taken over" in gateway.stderr, "the hand-over")
        gateway.process.terminate()
        wait_until(lambda: "told to stop" in gateway.stderr, "the signal")
        self.held.go.set()
        self.assertEqual(client.response().status, 200)
        self.assertEqual(gateway.wait_exit(), 0)


class ReloadUnderLoad(Lifecycle):
    def test_a_listener_with_another_name_keeps_the_sockets(self):
        """What waits in a socket when it is closed is lost."""
        gateway = self.start()
        port = gateway.ports["edge"]

        def sockets():
            with open("/proc/net/tcp", encoding="ascii") as file:
                lines = [line.split() for line in file]
            # Listening (0A), by inode.
            return {line[9] for line in lines if line[1] == f"0100007F:{port:04X}" and line[3] == "0A"}

        before = sockets()
        self.assertEqual(len(before), 2)
        settings = config([route("all", "/", "origin")], {"origin": self.target.address}, drain_timeout="30s",
                          listener={"name": "front", "address": f"127.0.0.1:{port}"})
        gateway.reload(settings)

        def served():
            self.assertEqual(self.ask(gateway).status, 200)
            return gateway.metric("gatehouse_listener_requests_total", listener="front") > 0

        wait_until(served, "a request under the new name")
        self.assertEqual(sockets(), before)

    def test_a_hundred_reloads_lose_nothing(self):
        gateway = self.start()
        settings = config([route("all", "/", "origin")], {"origin": self.target.address}, drain_timeout="30s")
        with Load(gateway.address, 8) as load:
            for number in range(100):
                # Routes, clusters, filters and limits all change.
                settings["route_tables"][0]["routes"] = [
                    route("all", "/", "origin", timeout=f"{number + 10}s",
                          filters=[{"headers": {"response": {"set": {"X-Version": str(number)}}}}]),
                    route(f"more-{number}", f"/more/{number}", "other"),
                ]
                settings["clusters"] = [
                    {"name": "origin", "endpoints": [self.target.address], "connect_timeout": f"{number + 1}s"},
                    {"name": "other", "endpoints": ["127.0.0.1:1"]},
                ]
                gateway.reload(settings)
            load.wait_for(100)
            self.assertEqual(load.stop(), [])
        self.assertGreater(load.done, 100)
        self.assertEqual(gateway.metric("gatehouse_config_version"), 101)
        self.assertEqual(gateway.metric("gatehouse_config_loads_total", result="accepted"), 101)
        wait_until(lambda: self.ask(gateway)["x-version"] == "99", "the last version")


if __name__ == "__main__":
    unittest.main()
