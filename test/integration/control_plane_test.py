"""`gatehouse-control` over a directory and over its API: what is changed, refused, shown and survived."""

import http.client
import json
import os
import random
import socket
import threading
import unittest

from control_plane import ControlPlaneTest, clusters
from harness import binary, route, wait_until

SECRET = "hunter2-very-secret"


class Directory(ControlPlaneTest):
    def setUp(self):
        self.dir = self.folder()
        self.write(self.dir, "shop.json", clusters("users", "orders"))
        self.write(self.dir, "edge/only.json", clusters("inside"))

    def test_files_are_the_resources_of_all_and_of_groups(self):
        control = self.control("--dir", self.dir)
        self.assertEqual(sorted(control.resources()), [("", "orders"), ("", "users"), ("edge", "inside")])
        users = control.resources()["", "users"]
        self.assertEqual((users["file"], users["line"]), ("shop.json", 3))
        self.write(self.dir, "shop.json", clusters("users"))
        control.wait_for_names("users", "inside")

    def test_a_link_that_is_swapped_as_a_config_map_does_is_one_change(self):
        real, link = self.folder(), self.folder()
        for number, names in ((1, ["a", "b"]), (2, ["b", "c"])):
            self.write(real, f"v{number}/all.json", clusters(*names))
        os.symlink(os.path.join(real, "v1"), os.path.join(link, "..data"))
        os.symlink("..data/all.json", os.path.join(link, "all.json"))
        control = self.control("--dir", link, "--state", self.folder())
        self.assertEqual(control.names(), ["a", "b"])
        os.symlink(os.path.join(real, "v2"), os.path.join(link, "..tmp"))
        os.rename(os.path.join(link, "..tmp"), os.path.join(link, "..data"))
        control.wait_for_names("b", "c")
        self.assertEqual(control.status()["revision"], 2)

    def test_with_any_error_nothing_changes_and_the_error_has_its_line(self):
        control = self.control("--dir", self.dir)
        self.write(self.dir, "shop.json", clusters("users", "bad-one"))
        control.wait_for_line(r"shop\.json:10: Cluster bad-one: name: this name is bad")
        self.assertEqual(control.names(), ["inside", "orders", "users"])
        self.assertEqual(control.status()["problems"][0]["line"], 10)
        self.write(self.dir, "other.yaml", "clusters: [ {name: users, endpoints: ['127.0.0.1:1']} ]\n")
        self.write(self.dir, "shop.json", clusters("users"))
        control.wait_for_line(r"shop\.json:3: Cluster users: there is a second one of this name at other\.yaml:1")
        self.write(self.dir, "other.yaml", "clusters: []\nlistenrs: []\n")
        control.wait_for_line(r'other\.yaml:2:1: unknown field "listenrs", did you mean "listeners"\?')
        self.assertEqual(control.names(), ["inside", "orders", "users"])
        os.remove(os.path.join(self.dir, "other.yaml"))
        control.wait_for_names("inside", "users")
        wait_until(lambda: control.status()["problems"] == [], "no problems any more")

    def test_a_directory_that_is_emptied_or_gone_empties_nobody(self):
        control = self.control("--dir", self.dir, "--state", self.folder())
        os.rename(self.dir, self.dir + ".away")
        control.wait_for_line("the last resources stay")
        self.assertEqual(len(control.names()), 3)
        os.mkdir(self.dir)
        control.wait_for_line("the directory has no resources any more")
        self.assertEqual(len(control.names()), 3)
        os.rmdir(self.dir)
        os.rename(self.dir + ".away", self.dir)
        self.write(self.dir, "shop.json", clusters("users"))
        control.wait_for_names("inside", "users")

    def test_what_is_applied_stands_beside_and_the_directory_is_not_overwritten(self):
        control = self.control("--dir", self.dir)
        control.apply(clusters("extra"))
        done = control.try_apply(clusters("users", port=9))
        self.assertEqual((done.code, "users is written in shop.json:3; change it there" in done.err), (1, True), done)
        self.write(self.dir, "shop.json", clusters("users"))
        control.wait_for_names("extra", "inside", "users")
        self.write(self.dir, "shop.json", clusters("users", "extra"))
        control.wait_for_line("extra was applied through the API before; `gatehouse-control delete Cluster extra`")
        self.assertEqual(control.run("delete", "cluster", "extra").code, 0)
        wait_until(lambda: control.resources().get(("", "extra"), {}).get("from_directory"), "the directory's extra")

    def test_a_rollback_overrules_the_directory_until_it_changes(self):
        control = self.control("--dir", self.dir)
        self.write(self.dir, "shop.json", clusters("users"))
        control.wait_for_names("inside", "users")
        self.assertEqual(control.run("rollback", "1").code, 0)
        self.assertEqual(control.names(), ["inside", "orders", "users"])
        self.assertTrue(control.status()["directory"]["overruled"])
        self.assertEqual(control.stop(), 0)
        control.start()
        control.wait_ready()
        self.assertEqual(control.names(), ["inside", "orders", "users"])
        self.write(self.dir, "more.json", clusters("more"))
        control.wait_for_names("inside", "more", "users")
        self.assertFalse(control.status()["directory"]["overruled"])

    def test_a_group_in_a_file_must_be_that_of_its_folder(self):
        self.write(self.dir, "edge/only.json", clusters("inside", group="core"))
        control = self.control("--dir", self.dir)
        control.wait_for_line(r'edge/only\.json:\d+: group: this file is in the folder of group "edge"')
        self.assertEqual(control.status()["revision"], 0)


class Commands(ControlPlaneTest):
    def setUp(self):
        self.state = self.folder()

    def test_apply_get_diff_delete_history_rollback(self):
        control = self.control("--state", self.state)
        self.assertIn("added", control.apply(clusters("users")).out)
        self.assertIn("nothing to change", control.apply(clusters("users")).out)
        self.assertEqual(control.status()["revision"], 1)
        path = os.path.join(control.folder, "next.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(clusters("users", port=4000), file)
        diff = control.run("diff", "-f", path)
        self.assertEqual(diff.code, 1, diff)
        self.assertIn('-  - "127.0.0.1:3001"\n+  - "127.0.0.1:4000"\n', diff.out)
        self.assertEqual(control.run("apply", "-f", path, "--dry-run").code, 0)
        self.assertEqual(control.status()["revision"], 1)
        self.assertEqual(control.run("apply", "-f", path, "--comment", "moved").code, 0)
        self.assertEqual(control.run("diff", "-f", path).code, 0)
        self.assertIn("127.0.0.1:4000", control.run("get", "cluster", "users").out)
        self.assertEqual(control.run("rollback", "1").code, 0)
        self.assertIn("127.0.0.1:3001", control.run("get", "Cluster", "users", "-o", "yaml").out)
        history = json.loads(control.run("history", "--json").out)["revisions"]
        self.assertEqual([one["revision"] for one in history], [3, 2, 1])
        self.assertEqual((history[1]["comment"], history[0]["restores"]), ("moved", 1))
        gone = control.run("delete", "cluster", "users")
        self.assertEqual((gone.code, "all 1 resources away" in gone.err), (1, True), gone)
        self.assertEqual(control.run("delete", "cluster", "users", "--allow-empty").code, 0)
        self.assertEqual(control.run("delete", "cluster", "users").code, 1)

    def test_apply_is_all_or_nothing_and_tells_every_error(self):
        control = self.control("--state", self.state)
        wrong = 'clusters:\n- name: good\n  endpoints: ["127.0.0.1:1"]\n  tiemout: 3\nadmin: {}\n'
        done = control.try_apply(wrong, name="applied.yaml")
        self.assertEqual(done.code, 1)
        self.assertRegex(done.err, r'applied\.yaml:4: .*"tiemout"')
        self.assertIn("bootstrap", done.err)
        done = control.try_apply(clusters("good", "bad1", "bad2"))
        self.assertRegex(done.err, r"bad1: name: this name is bad\n.*bad2: name: this name is bad\n")
        self.assertEqual(control.names(), [])
        self.assertIn("warning:", control.apply(clusters("warned")).err)

    def test_a_check_that_crashes_refuses_and_is_there_again(self):
        control = self.control("--state", self.state)
        control.apply(clusters("good"))
        done = control.try_apply(clusters("crash"))
        self.assertEqual((done.code, "the gateway's own check crashed on it" in done.err), (1, True), done)
        control.apply(clusters("better"))
        self.assertEqual(control.names(), ["better", "good"])

    def test_only_what_has_changed_is_checked(self):
        control = self.control("--state", self.state)
        control.apply(clusters(*(f"c{i}" for i in range(50))))
        control.apply(clusters("own", group="edge"))
        mark = len(control.lines)
        control.apply(clusters("own", port=2, group="edge"))
        control.wait_for_line("asked: group 'edge': 1 upserts, 0 removals", mark)
        self.assertNotIn("group ''", "\n".join(control.lines[mark:]))

    def test_secrets_are_not_shown_but_their_change_is(self):
        control = self.control("--state", self.state)
        secret = {"secrets": [{"name": "pw", "inline": SECRET + "${NAME}"}]}
        control.apply(secret)
        shown = control.run("get", "secret", "pw").out + control.run("get", "-o", "json").out
        path = os.path.join(control.folder, "next.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"secrets": [{"name": "pw", "inline": SECRET + "2"}]}, file)
        diff = control.run("diff", "-f", path)
        self.assertEqual((diff.code, "A secret value has changed" in diff.out), (1, True), diff)
        self.assertNotIn(SECRET, shown + diff.out + control.stderr)
        self.assertIn("[redacted]", shown)

    def test_base_guards_against_lost_updates(self):
        control = self.control("--state", self.state)
        control.apply(clusters("a"), "--base", "0")
        done = control.try_apply(clusters("b"), "--base", "0")
        self.assertEqual((done.code, "the newest revision is 1 and not 0" in done.err), (1, True), done)

    def test_prune_removes_what_is_not_written(self):
        control = self.control("--state", self.state)
        control.apply(clusters("a", "b"))
        control.apply(clusters("c", group="edge"))
        control.apply(clusters("b"), "--prune")
        self.assertEqual(sorted(control.resources()), [("", "b"), ("edge", "c")])

    def test_wrong_usage_and_no_server_have_their_exit_codes(self):
        control = self.control("--state", self.state)
        self.assertEqual(control.run("aply").code, 2)
        self.assertIn('did you mean "apply"', control.run("aply").err)
        self.assertEqual(control.run("get", "--output", "xml").code, 2)
        self.assertEqual(control.run("--help").code, 0)
        self.assertEqual(control.run("get", "clusters", "nobody").code, 1)
        self.assertEqual(control.run("status", "--server", "http://127.0.0.1:1").code, 3)

    def test_serve_says_what_is_missing(self):
        missing = self.control("--state", self.state, "--gatehouse", "/no/such", wait=False, exit_code=3)
        missing.wait_for_line("--gatehouse PATH, or check nothing with --no-validate")
        missing.process.wait()
        nothing = self.control(wait=False, exit_code=2)
        nothing.wait_for_line("--dir DIR")
        nothing.process.wait()
        open_to_all = self.control("--state", self.state, "--rest", "0.0.0.0:0", wait=False, exit_code=2)
        open_to_all.wait_for_line("could be used by anyone")
        open_to_all.process.wait()

    def test_two_processes_do_not_share_a_folder(self):
        self.control("--state", self.state)
        second = self.control("--state", self.state, wait=False, exit_code=3)
        second.wait_for_line("another gatehouse-control uses")
        second.process.wait()


class Rest(ControlPlaneTest):
    def ask(self, control, method, path, headers=None, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", control.rest_port, timeout=20)
        self.addCleanup(connection.close)
        connection.request(method, path, body=body, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read().decode(), response

    def test_errors_are_problems_with_places(self):
        control = self.control("--state", self.folder())
        status, body, response = self.ask(control, "POST", "/v1/resources?file=a.yaml", body="clusters:\n- nam: x\n")
        self.assertEqual((status, response.getheader("content-type")), (400, "application/problem+json"))
        error = json.loads(body)["errors"][0]
        self.assertEqual((error["file"], error["line"]), ("a.yaml", 2))
        self.assertEqual(self.ask(control, "GET", "/nothing")[0], 404)
        self.assertEqual(self.ask(control, "DELETE", "/v1/resources/Cluster")[0], 400)
        self.assertEqual(self.ask(control, "POST", "/v1/rollback/x")[0], 400)
        self.assertEqual(self.ask(control, "POST", "/v1/resources?base=x", body="{}")[0], 400)

    def test_web_pages_are_kept_out(self):
        control = self.control("--state", self.folder())
        self.assertEqual(self.ask(control, "GET", "/v1/status", {"Origin": "http://evil.example"})[0], 403)
        self.assertEqual(self.ask(control, "GET", "/v1/status", {"Host": "evil.example"})[0], 403)
        self.assertEqual(self.ask(control, "GET", "/v1/status", {"Host": "localhost:1"})[0], 200)

    def test_a_token_is_asked_for(self):
        path = os.path.join(self.folder(), "token")
        with open(path, "w", encoding="ascii") as file:
            file.write("open-sesame\n")
        control = self.control("--state", self.folder(), "--rest-token-file", path)
        self.assertEqual(self.ask(control, "GET", "/v1/status")[0], 401)
        self.assertEqual(self.ask(control, "GET", "/v1/status", {"Authorization": "Bearer open-sesam"})[0], 401)
        self.assertEqual(self.ask(control, "GET", "/v1/status", {"Authorization": "Bearer open-sesame"})[0], 200)
        self.assertEqual(self.ask(control, "GET", "/live")[0], 200)
        self.assertEqual(control.run("status").code, 1)
        self.assertEqual(control.run("status", "--token-file", path).code, 0)

    def test_live_ready_and_metrics(self):
        control = self.control("--state", self.folder())
        control.apply(clusters("a"))
        self.assertEqual([self.ask(control, "GET", path)[0] for path in ("/live", "/ready")], [200, 200])
        metrics = self.ask(control, "GET", "/metrics")[1]
        self.assertIn("gatehouse_control_store_revision 1\n", metrics)
        names = [line.split()[2] for line in metrics.splitlines() if line.startswith("# TYPE")]
        self.assertEqual(len(names), len(set(names)))

    def test_garbage_does_no_harm(self):
        control = self.control("--state", self.folder())
        for seed in range(30):
            noise = random.Random(seed)
            with socket.create_connection(("127.0.0.1", control.rest_port)) as peer:
                peer.sendall(b"POST /v1/resources HTTP/1.1\r\nHost: localhost\r\n" + noise.randbytes(300) + b"\r\n\r\n")
        body = b"{" * 100_000
        self.assertEqual(self.ask(control, "POST", "/v1/resources", body=body)[0], 400)
        control.apply(clusters("still-there"))

    def test_over_a_unix_socket(self):
        path = os.path.join(self.folder(), "rest")
        control = self.control("--state", self.folder(), "--rest", f"unix:{path}", wait=False)
        control.wait_for_line("ready")
        self.assertEqual(control.run("status", "--server", f"unix:{path}").code, 0)
        self.assertEqual(os.stat(path).st_mode & 0o77, 0)


class Survives(ControlPlaneTest):
    def test_killed_again_and_again_while_things_are_applied(self):
        state = self.folder()
        control = self.control("--state", state, exit_code=None)
        last = 0
        noise = random.Random(4)
        for number in range(12):
            killer = threading.Timer(noise.random() * 0.12, control.process.kill)
            killer.start()
            for port in range(1000):
                tried = number * 1000 + port
                done = control.try_apply(clusters("a", "b", port=1 + tried))
                if done.code != 0:
                    break
                last = tried
            killer.join()
            control.kill()
            control.start()
            control.wait_ready()
            if last:
                shown = control.run("get", "cluster", "a").out
                port = int(shown.split(":")[-1].strip().strip('"'))
                # What was acknowledged is there; the one under way may be.
                self.assertIn(port - 1, (last, tried), shown)
                last = port - 1
        self.assertEqual(control.stop(), 0)

    def test_a_client_that_never_ends_does_not_keep_it_from_stopping(self):
        control = self.control("--state", self.folder())
        slow = socket.create_connection(("127.0.0.1", control.rest_port))
        self.addCleanup(slow.close)
        slow.sendall(
            b"POST /v1/resources HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 99999\r\n\r\n"
        )
        self.assertIn(b"100 Continue", slow.recv(4096))
        stopped = threading.Event()

        def send():
            while not stopped.wait(0.5):
                try:
                    slow.sendall(b"x")
                except OSError:
                    return

        sender = threading.Thread(target=send)
        sender.start()
        self.addCleanup(sender.join)
        self.addCleanup(stopped.set)
        self.assertEqual(control.stop(), 0)

    def test_a_full_disk_refuses_and_loses_nothing(self):
        control = self.control("--state", self.folder())
        control.apply(clusters("a"))
        path = os.path.join(control.arguments[1], "blobs")
        os.chmod(path, 0o500)
        self.addCleanup(os.chmod, path, 0o700)
        if os.access(path, os.W_OK):
            self.skipTest("root writes everywhere")
        done = control.try_apply(clusters("b"))
        self.assertEqual((done.code, "nothing was changed" in done.err), (3, True), done)


class WithGateway(ControlPlaneTest):
    """The check and the gateway are the real ones."""

    def table(self, status):
        return {
            "listeners": [{"name": "edge", "address": "127.0.0.1:0", "route_tables": ["main"]}],
            "route_tables": [
                {"name": "main", "domains": ["*"], "routes": [route("all", "/", respond={"status": status})]}
            ],
        }

    def test_a_file_changes_what_a_gateway_answers(self):
        folder = self.folder()
        self.write(folder, "main.json", self.table(200))
        control = self.control("--dir", folder, "--state", self.folder(), "--gatehouse", binary())
        self.write(folder, "main.json", {**self.table(201), **clusters("c")})
        wait_until(lambda: control.status()["revision"] == 2, "revision 2")
        bad = self.table(200)
        bad["route_tables"][0]["routes"] = [route("all", "/", "no-such-cluster")]
        self.write(folder, "main.json", bad)
        problem = wait_until(lambda: control.status()["problems"], "a problem")[0]
        self.assertEqual(problem["file"], "main.json")
        self.assertIn("no-such-cluster", problem["message"] + problem["path"])
        self.assertGreater(problem["line"], 0)
        self.assertEqual(control.status()["revision"], 2)


if __name__ == "__main__":
    unittest.main()
