"""What the commands say about a config, and what a running gateway makes of a changed one."""

import json
import os
import subprocess
import unittest

from harness import GatehouseTest, binary, config, wait_until
from http_peers import Client, free_port

GOOD = """\
admin: { address: "127.0.0.1:0" }
workers: 1
listeners:
- name: edge
  address: "127.0.0.1:0"
  route_tables: [main]
  access_log: { path: "off" }
route_tables:
- name: main
  domains: ["*"]
  routes:
  - name: hello
    match: { path_prefix: / }
    respond: { body: "%s" }
"""

BAD = """\
listeners:
- name: edge
  adress: "127.0.0.1:0"
- { name: more, address: "127.0.0.1:0", route_tables: [mian] }
route_tables:
- name: main
  domains: ["*"]
  routes:
  - name: api
    match: { path_prefix: api }
    forward: usres
    timeout: soon
  - name: broken
    match: { path_regex: "/[" }
    respond: { status: 99 }
    filters:
    - haeders: { request: { set: { X: y } } }
    - headers: { request: { set: { X-Who: "$(client_pi)" } } }
clusters:
- name: users
  endpoints: ["127.0.0.1:99999"]
"""


class Commands(GatehouseTest):
    def write(self, text, name="gateway.yaml"):
        path = os.path.join(self.folder(), name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def command(self, *arguments, **options):
        return subprocess.run([binary(), *arguments], capture_output=True, text=True, timeout=60, check=False, **options)

    def test_validate_says_what_is_fine(self):
        path = self.write(GOOD % "x")
        done = self.command("validate", path)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, f"{path}: ok\n", ""))

    def test_validate_tells_every_error_with_its_line(self):
        path = self.write(BAD)
        done = self.command("validate", path)
        self.assertEqual(done.returncode, 1)
        lines = done.stderr.splitlines()
        for number, *words in (
            (3, "listeners[0]", "adress", "address"),
            (4, "listeners[1].route_tables[0]", "mian", "main"),
            (10, "routes[0].match.path_prefix", "start with '/'"),
            (11, "routes[0].forward", "usres", "users"),
            (12, "routes[0].timeout"),
            (14, "routes[1].match.path_regex"),
            (15, "routes[1].respond.status"),
            (17, "routes[1].filters[0]", "haeders", "headers"),
            (18, "routes[1].filters[1].headers", "client_pi", "client_ip"),
            (21, "clusters[0].endpoints[0]"),
        ):
            with self.subTest(line=number):
                found = [line for line in lines if line.startswith(f"{path}:{number}: ")]
                self.assertTrue(found, done.stderr)
                self.assertTrue(any(all(word in line for word in words) for line in found), found)

    def test_warnings_are_told_and_no_errors(self):
        unreachable = GOOD % "x" + """\
- name: other
  domains: [other.example]
  routes:
  - { name: all, match: { path_prefix: / }, respond: {} }
  - { name: never, match: { path_regex: "/n.*" }, respond: {} }
"""
        unreachable = unreachable.replace("route_tables: [main]", "route_tables: [main, other]")
        path = self.write(unreachable)
        done = self.command("validate", path)
        self.assertEqual((done.returncode, done.stdout), (0, f"{path}: ok\n"))
        self.assertRegex(done.stderr, r"^\S+:\d+: warning: route_tables\[1\]\.routes\[1\].*\n$")
        gateway = self.gateway(None, path=path)
        self.assertIn(done.stderr.strip(), gateway.stderr)
        mark = gateway.mark()
        gateway.write(unreachable.replace("name: never", "name: no_more"))
        gateway.wait_for_line(": warning: ", mark)
        gateway.wait_for_line(": loaded", mark)

    def test_validate_looks_at_every_file(self):
        good, bad = self.write(GOOD % "x"), self.write("listeners: 7\n")
        done = self.command("validate", bad, good, "/no/such/file.yaml")
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"{good}: ok", done.stdout)
        self.assertIn(f"{bad}:1: ", done.stderr)
        self.assertIn("/no/such/file.yaml", done.stderr)

    def test_broken_text_has_its_line(self):
        done = self.command("validate", self.write("listeners:\n- name: [\n"))
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"gateway\.yaml:[23](:\d+)?: ")
        done = self.command("validate", self.write('{"listeners": [\n{"name": }]}', "gateway.json"))
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"gateway\.json:2(:\d+)?: ")

    def test_run_refuses_a_bad_config(self):
        done = self.command("run", self.write(BAD))
        self.assertEqual(done.returncode, 1)
        self.assertIn(":3: ", done.stderr)
        self.assertNotIn("ready", done.stderr)

    def test_run_says_when_an_address_is_taken(self):
        origin = self.origin()
        path = self.write((GOOD % "x").replace('  address: "127.0.0.1:0"', f'  address: "{origin.address}"'))
        done = self.command("run", path)
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertIn(origin.address, done.stderr)

    def test_usage(self):
        self.assertEqual(self.command().returncode, 2)
        self.assertEqual(self.command("fly").returncode, 2)
        done = self.command("valdiate", "x")
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertEqual(done.stderr, 'gatehouse: there is no command "valdiate"; did you mean "validate"?\n')
        self.assertEqual(self.command("run").returncode, 2)
        done = self.command("--help")
        self.assertEqual(done.returncode, 0)
        self.assertIn("gatehouse run gateway.yaml", done.stdout)
        for version in ("version", "--version"):
            done = self.command(version)
            self.assertEqual(done.returncode, 0)
            self.assertRegex(done.stdout, r"^gatehouse \d+\.\d+\.\d+\n$")

    def test_schema_is_json_that_knows_the_fields(self):
        done = self.command("schema")
        self.assertEqual(done.returncode, 0)
        schema = json.loads(done.stdout)
        self.assertIn("$schema", schema)
        for name in ("listeners", "path_template", "token_bucket", "allow_origin_regexes"):
            self.assertIn(f'"{name}"', done.stdout)

    def test_yaml_and_json_say_the_same(self):
        for name, text in (
            ("gateway.json", json.dumps({**config([{"name": "r", "match": {}, "respond": {"body": "same"}}]),
                                         "admin": {"address": "127.0.0.1:0"}})),
            ("gateway.yaml", GOOD % "same"),
        ):
            path = self.write(text, name)
            gateway = self.gateway(None, path=path)
            self.assertEqual(self.ask(gateway).body, b"same")


class Secrets(GatehouseTest):
    def settings(self, secret):
        routes = [{"name": "r", "match": {}, "respond": {"body": "${HOME} stays"}}]
        return config(routes, secrets=[{"name": "pepper", **secret}])

    def test_the_environment_is_for_secrets_alone(self):
        gateway = self.gateway(self.settings({"inline": "x-${GH_TEST_SECRET}-${GH_TEST_NONE:-default}"}),
                               environment={"GH_TEST_SECRET": "tell-nobody"})
        self.assertEqual(self.ask(gateway).body, b"${HOME} stays")
        for query in ("", "?format=json"):
            dump = gateway.ask_admin("/config" + query).body.decode()
            self.assertIn("pepper", dump)
            self.assertNotIn("tell-nobody", dump)

    def test_a_variable_that_is_not_there(self):
        for secret in ({"inline": "${GH_TEST_NONE}"}, {"environment": "GH_TEST_NONE"}):
            with self.subTest(secret=secret):
                path = os.path.join(self.folder(), "gateway.json")
                with open(path, "w", encoding="utf-8") as file:
                    json.dump(self.settings(secret), file, indent=1)
                done = subprocess.run([binary(), "validate", path], capture_output=True, text=True, check=False)
                self.assertEqual(done.returncode, 1)
                self.assertIn("GH_TEST_NONE", done.stderr)


class Reload(GatehouseTest):
    def start(self, **options):
        folder = self.folder()
        self.path = os.path.join(folder, "gateway.yaml")
        with open(self.path, "w", encoding="utf-8") as file:
            file.write(GOOD % "one")
        gateway = self.gateway(None, folder=folder, path=self.path, **options)
        self.assertEqual(self.ask(gateway).body, b"one")
        return gateway

    def wait_for_body(self, gateway, body):
        wait_until(lambda: self.ask(gateway).body == body, f"a gateway that says {body}")

    def test_by_rename(self):
        gateway = self.start()
        gateway.reload(GOOD % "two")
        self.wait_for_body(gateway, b"two")

    def test_by_writing_into_the_file(self):
        gateway = self.start()
        with open(self.path, "w", encoding="utf-8") as file:
            file.write(GOOD % "two")
        self.wait_for_body(gateway, b"two")

    def test_by_a_signal_alone(self):
        gateway = self.start(arguments=["--no-watch"])
        gateway.write(GOOD % "two")
        self.assertEqual(self.ask(gateway).body, b"one")
        gateway.signal(1)
        self.wait_for_body(gateway, b"two")

    def test_by_swapping_links_as_mounted_volumes_do(self):
        """A volume: gateway.yaml -> ..data/gateway.yaml, ..data -> a folder of its own for each version."""
        volume = self.folder()

        def put(version, body):
            os.mkdir(os.path.join(volume, version))
            with open(os.path.join(volume, version, "gateway.yaml"), "w", encoding="utf-8") as file:
                file.write(GOOD % body)
            os.symlink(version, os.path.join(volume, "..data_tmp"))
            os.rename(os.path.join(volume, "..data_tmp"), os.path.join(volume, "..data"))

        put("..v1", "one")
        path = os.path.join(volume, "gateway.yaml")
        os.symlink("..data/gateway.yaml", path)
        gateway = self.gateway(None, path=path)
        self.assertEqual(self.ask(gateway).body, b"one")
        for number in range(2, 6):
            put(f"..v{number}", f"version {number}")
            self.wait_for_body(gateway, b"version %d" % number)
        os.remove(os.path.join(volume, "..v1", "gateway.yaml"))
        self.assertEqual(self.ask(gateway).body, b"version 5")

    def test_a_broken_file_keeps_what_runs(self):
        gateway = self.start()
        for broken in (BAD, "listeners: [", ""):
            with self.subTest(broken=broken[:20]):
                gateway.reload(broken, "the new config is not used")
                self.assertEqual(self.ask(gateway).body, b"one")
                self.assertEqual(gateway.metric("gatehouse_config_last_load_valid"), 0)
        # All of it, with line and suggestion, as validate does.
        for line in (3, 4, 10, 11, 12, 14, 15, 17, 18, 21):
            self.assertIn(f"{self.path}:{line}: ", gateway.stderr)
        self.assertIn('did you mean "main"?', gateway.stderr)
        self.assertEqual(gateway.metric("gatehouse_config_loads_total", result="rejected"), 3)
        gateway.reload(GOOD % "mended")
        self.wait_for_body(gateway, b"mended")
        self.assertEqual(gateway.metric("gatehouse_config_last_load_valid"), 1)

    def test_a_file_that_is_gone_keeps_what_runs(self):
        gateway = self.start()
        mark = gateway.mark()
        os.remove(self.path)
        gateway.wait_for_line("the new config is not used", mark)
        self.assertEqual(self.ask(gateway).body, b"one")
        gateway.reload(GOOD % "back")
        self.wait_for_body(gateway, b"back")

    def test_a_folder_in_its_place_keeps_what_runs(self):
        gateway = self.start()
        mark = gateway.mark()
        os.remove(self.path)
        os.mkdir(self.path)
        gateway.wait_for_line("this is a directory, not a file", mark)
        self.assertEqual(self.ask(gateway).body, b"one")
        os.rmdir(self.path)
        gateway.reload(GOOD % "back")
        self.wait_for_body(gateway, b"back")

    def test_what_needs_a_restart_is_said(self):
        gateway = self.start()
        mark = gateway.mark()
        gateway.write((GOOD % "two").replace("workers: 1", "workers: 3"))
        gateway.wait_for_line("with a restart", mark)
        self.wait_for_body(gateway, b"two")
        self.assertEqual(gateway.metric("gatehouse_server_workers"), 1)

    def test_nothing_new_is_not_a_new_version(self):
        gateway = self.start()
        before = gateway.metric("gatehouse_config_version")
        gateway.reload("# a remark\n" + GOOD % "one", "nothing that is served differs")
        self.assertEqual(gateway.metric("gatehouse_config_version"), before)


class Listeners(GatehouseTest):
    def settings(self, **addresses):
        made = config([{"name": "r", "match": {}, "respond": {"body": "$", "status": 200}}])
        made["route_tables"][0]["routes"][0]["respond"] = {"template": "$(listener)"}
        made["listeners"] = [{"name": name, "address": address, "route_tables": ["main"]}
                             for name, address in addresses.items()]
        return made

    def served_at(self, port):
        try:
            with Client(("127.0.0.1", port)) as client:
                return client.ask().body.decode()
        except OSError:
            return None

    def test_added_moved_and_removed(self):
        first, second, third = free_port(), free_port(), free_port()
        gateway = self.gateway(self.settings(edge=f"127.0.0.1:{first}"))
        kept = self.client(gateway)
        self.assertEqual(kept.ask().body, b"edge")

        gateway.reload(self.settings(edge=f"127.0.0.1:{first}", extra=f"127.0.0.1:{second}"))
        wait_until(lambda: self.served_at(second) == "extra", "a listener that was added")
        self.assertEqual(self.served_at(first), "edge")

        gateway.reload(self.settings(edge=f"127.0.0.1:{third}", extra=f"127.0.0.1:{second}"))
        wait_until(lambda: self.served_at(third) == "edge", "a listener that was moved")
        wait_until(lambda: self.served_at(first) is None, "its old port closed")
        # A connection to the old port is served on.
        self.assertEqual(kept.ask().body, b"edge")

        gateway.reload(self.settings(edge=f"127.0.0.1:{third}"))
        wait_until(lambda: self.served_at(second) is None, "a listener that was removed")
        self.assertEqual(self.served_at(third), "edge")

    def test_a_port_that_is_taken_keeps_what_runs(self):
        first = free_port()
        gateway = self.gateway(self.settings(edge=f"127.0.0.1:{first}"))
        taken = self.origin()
        gateway.reload(self.settings(edge=f"127.0.0.1:{first}", extra=taken.address), "not used")
        self.assertIn(taken.address, gateway.stderr)
        self.assertEqual(self.served_at(first), "edge")


if __name__ == "__main__":
    unittest.main()
