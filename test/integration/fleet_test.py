"""Gateways and their control plane together, both real, under load: what is pushed, changed, broken and rolled back."""

import json
import os
import unittest

from control_plane import ControlPlaneTest
from harness import Gateway, Load, binary, wait_until
from http_peers import Client, answer, free_port


def forward(cluster, **rest):
    return {"name": "all", "match": {"path_prefix": "/"}, "forward": cluster, **rest}


class Fleet(ControlPlaneTest):
    def setUp(self):
        self.directory = self.folder()

    def serve(self, *more, **options):
        return self.control("--dir", self.directory, "--gatehouse", binary(), *more, **options)

    def member(self, control, group="edge", name="edge-1", **more):
        """A gateway that starts with its bootstrap alone."""
        home = self.folder()
        ports = control if isinstance(control, list) else [control.xds_port]
        settings = {
            "node": {"id": name, "group": group}, "state_folder": os.path.join(home, "state"), "listeners": [],
            "control_plane": {"addresses": [f"127.0.0.1:{port}" for port in ports], "max_backoff": "0.5s",
                              "ping_interval": "0.5s", "ping_timeout": "0.5s"}, **more}
        gateway = Gateway(settings, home, wait=False)

        def finish():
            code = gateway.stop()
            if not self._outcome.success:
                print(f"--- stderr of gatehouse in {self.id()}\n{gateway.stderr}\n---", flush=True)
            self.assertEqual(code, 0, gateway.stderr)

        self.addCleanup(finish)
        gateway.wait_ready()
        return gateway

    def origins(self, *names):
        made = {}
        for name in names:
            made[name] = self.origin(lambda _connection, _request, text=name: answer(200, text.encode()))
        return made

    def site(self, port, routes, clusters, **more):
        return {
            "listeners": [{"name": "edge", "address": f"127.0.0.1:{port}", "route_tables": ["site"]}],
            "route_tables": [{"name": "site", "domains": ["*"], "routes": routes}],
            "clusters": [{"name": name, "endpoints": [address]} for name, address in clusters.items()],
            **more,
        }

    def body(self, port, path="/"):
        with Client(("127.0.0.1", port)) as client:
            response = client.ask(path)
            return response.status, response.body.decode()

    def gateway_status(self, control, name="edge-1"):
        return next((one for one in control.status()["gateways"] if one["node"] == name), None)

    def running(self, control, revision, name="edge-1"):
        wait_until(lambda: (self.gateway_status(control, name) or {}).get("accepted_revision") == revision,
                   f"{name} to run revision {revision}: {control.status()}")

    def test_pushed_changed_broken_and_rolled_back_under_load(self):
        origins = self.origins("one", "two")
        addresses = {name: origin.address for name, origin in origins.items()}
        port = free_port()
        self.write(self.directory, "site.yaml", self.site(port, [forward("one")], addresses))
        control = self.serve()
        gateway = self.member(control)
        self.assertEqual(self.body(port), (200, "one"))
        load = Load(("127.0.0.1", port), connections=3)

        # Routes, clusters, a limit that nobody reaches: pushed and changed.
        limit = {"rate_limits": [{"name": "plenty", "token_bucket": {"rate": "100000/s"}}]}
        for i in range(10):
            target = ("two", "one")[i % 2]
            more = {f"extra{i}": addresses["one"]}
            self.write(self.directory, "site.yaml", self.site(
                port, [forward(target, filters=[{"rate_limit": ["plenty"]}])], {**addresses, **more}, **limit))
            wait_until(lambda text=target: self.body(port) == (200, text), f"change {i} to be served")
        load.wait_for(50)
        good = control.status()["revision"]
        self.running(control, good)

        # Broken: refused before it is pushed, with file and line; what is served stays.
        self.write(self.directory, "site.yaml", self.site(port, [forward("nobody")], addresses))
        problem = wait_until(lambda: control.status()["problems"], "the control plane to notice")[0]
        self.assertEqual(problem["file"], "site.yaml")
        self.assertGreater(problem["line"], 0)
        self.assertIn("nobody", problem["message"])
        self.assertEqual(control.status()["revision"], good)
        load.wait_for(50)

        # Changed for the worse, and rolled back.
        self.write(self.directory, "site.yaml", self.site(port, [forward("two")], addresses))
        wait_until(lambda: self.body(port) == (200, "two"), "the change to be served")
        done = control.run("rollback", str(good))
        self.assertEqual(done.code, 0, done)
        wait_until(lambda: self.body(port) == (200, "one"), "the rollback to be served")
        load.wait_for(50)
        self.assertEqual(load.stop(), [])
        self.running(control, control.status()["revision"])
        self.assertEqual(self.gateway_status(control)["rejections"], [])
        self.assertEqual(gateway.metric("gatehouse_xds_refused_resources"), 0)

    def test_a_limit_is_pushed_and_lifted(self):
        port = free_port()
        origins = self.origins("one")
        addresses = {"one": origins["one"].address}
        limited = [forward("one", filters=[{"rate_limit": ["few"]}])]
        limits = {"rate_limits": [{"name": "few", "token_bucket": {"rate": "1/h", "burst": 2}}]}
        self.write(self.directory, "site.yaml", self.site(port, limited, addresses, **limits))
        self.member(self.serve())
        self.assertEqual([self.body(port)[0] for _ in range(4)], [200, 200, 429, 429])
        self.write(self.directory, "site.yaml", self.site(port, [forward("one")], addresses))
        wait_until(lambda: self.body(port)[0] == 200, "the limit to be lifted")

    def test_what_only_the_gateway_can_see_comes_back_with_file_and_line(self):
        port, taken = free_port(), free_port()
        self.write(self.directory, "site.yaml", self.site(port, [forward("one")], {"one": "127.0.0.1:1"}))
        control = self.serve()
        self.member(control)
        blocker = self.origin(address=("127.0.0.1", taken))
        self.write(self.directory, "more.yaml", {"listeners": [
            {"name": "more", "address": blocker.address, "route_tables": ["site"]}]})
        rejection = wait_until(lambda: (self.gateway_status(control) or {}).get("rejections"), "the rejection")[0]
        self.assertEqual((rejection["type"], rejection["name"]), ("Listener", "more"))
        self.assertEqual(rejection["errors"][0]["file"], "more.yaml")
        self.assertGreater(rejection["errors"][0]["line"], 0)
        self.assertRegex(rejection["errors"][0]["message"], "in use")
        self.assertEqual(self.body(port)[0], 503, "the rest is served")

    def test_groups_get_sets_of_their_own(self):
        common = {"clusters": [{"name": "one", "endpoints": ["127.0.0.1:1"]}]}
        self.write(self.directory, "common.yaml", common)
        ports = {"edge": free_port(), "inner": free_port()}
        for group, port in ports.items():
            table = {"name": "site", "domains": ["*"], "routes": [
                {"name": "all", "match": {"path_prefix": "/"}, "respond": {"status": 200, "body": group}}]}
            self.write(self.directory, f"{group}/site.yaml", {
                "route_tables": [table],
                "listeners": [{"name": "edge", "address": f"127.0.0.1:{port}", "route_tables": ["site"]}]})
        control = self.serve()
        gateways = [self.member(control, group, f"{group}-1") for group in ports]
        for group, port in ports.items():
            self.assertEqual(self.body(port), (200, group))
        self.assertEqual({one["group"] for one in control.status()["gateways"]}, set(ports))
        for gateway in gateways:
            self.assertEqual(len(json.loads(gateway.ask_admin("/clusters").body)["clusters"]), 1)

    def test_a_control_plane_killed_paused_and_back(self):
        port = free_port()
        origins = self.origins("one", "two")
        addresses = {name: origin.address for name, origin in origins.items()}
        self.write(self.directory, "site.yaml", self.site(port, [forward("one")], addresses))
        control = self.serve(exit_code=None)
        gateway = self.member(control)
        load = Load(("127.0.0.1", port), connections=2)
        xds, rest = control.xds_port, control.rest_port
        control.kill()
        gateway.wait_for_line("what is served stays")
        load.wait_for(20)
        self.write(self.directory, "site.yaml", self.site(port, [forward("two")], addresses))
        control.start(xds, rest)
        control.wait_ready()
        wait_until(lambda: self.body(port) == (200, "two"), "what was changed meanwhile")
        control.pause()
        mark = gateway.mark()
        gateway.wait_for_line("what is served stays", mark)
        load.wait_for(20)
        control.resume()
        self.write(self.directory, "site.yaml", self.site(port, [forward("one")], addresses))
        wait_until(lambda: self.body(port) == (200, "one"), "the change after the pause")
        self.assertEqual(load.stop(), [])

    def test_an_upgrade_of_the_gateway_takes_what_is_pushed_along(self):
        port = free_port()
        origins = self.origins("one", "two")
        addresses = {name: origin.address for name, origin in origins.items()}
        self.write(self.directory, "site.yaml", self.site(port, [forward("one")], addresses))
        control = self.serve()
        old = self.member(control, upgrade_socket=os.path.join(self.folder(), "up"))
        load = Load(("127.0.0.1", port), connections=2)
        load.wait_for(10)
        new = Gateway(None, old.folder, wait=False, path=old.path)
        self.addCleanup(new.stop)
        new.wait_ready()
        self.assertEqual(old.wait_exit(), 0)
        self.write(self.directory, "site.yaml", self.site(port, [forward("two")], addresses))
        wait_until(lambda: self.body(port) == (200, "two"), "the new process to be told")
        load.wait_for(10)
        self.assertEqual(load.stop(), [])
        # The state folder is the new one's now.
        wait_until(lambda: json.loads(new.ask_admin("/xds").body)["state_folder"]["saves"] > 0, "it to save")

    def test_explain_says_what_is_pushed(self):
        port = free_port()
        self.write(self.directory, "site.yaml", self.site(port, [forward("one")], {"one": "127.0.0.1:1"}))
        gateway = self.member(self.serve())
        done = self.run_command(binary(), "explain", "--admin", "%s:%d" % gateway.admin, "--", "GET",
                                f"http://site.example:{port}/x")
        self.assertIn("one", done.stdout)
        self.assertIn("site", done.stdout)

    def test_two_thousand_clusters_and_ten_thousand_routes(self):
        port = free_port()
        clusters = {f"c{i}": "127.0.0.1:1" for i in range(2000)}
        everything = self.site(port, [{"name": "all", "match": {"path": "/"}, "respond": {"status": 200, "body": "0"}}],
                               clusters)
        self.write(self.directory, "site.json", everything)
        for i in range(100):
            routes = [{"name": f"r{j}", "match": {"path_prefix": f"/t{i}/{j}"}, "forward": f"c{(i * 100 + j) % 2000}"}
                      for j in range(100)]
            self.write(self.directory, f"t{i}.json", {"route_tables": [
                {"name": f"t{i}", "domains": [f"t{i}.example"], "routes": routes}]})
        everything["listeners"][0]["route_tables"] += [f"t{i}" for i in range(100)]
        self.write(self.directory, "site.json", everything)
        control = self.serve()
        gateway = self.member(control)
        self.assertEqual(self.body(port), (200, "0"))
        load = Load(("127.0.0.1", port), connections=1)
        for i in range(1, 6):
            everything["route_tables"][0]["routes"][0]["respond"]["body"] = str(i)
            self.write(self.directory, "site.json", everything)
            wait_until(lambda text=str(i): self.body(port) == (200, text), f"change {i}")
        self.assertEqual(load.stop(), [])
        xds = json.loads(gateway.ask_admin("/xds").body)
        self.assertEqual(xds["types"]["RouteTable"]["accepted"], 101)
        self.assertLess(xds["builds"], 30)


if __name__ == "__main__":
    unittest.main()
