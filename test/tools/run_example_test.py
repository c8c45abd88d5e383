import os
import pathlib
import signal
import sys
import tempfile
import textwrap
import unittest

sys.path.insert(0, "tools")
import run_example  # noqa: behind the path

README = textwrap.dedent("""\
    # An example

    ## Worth trying

    ```console
    $ curl -s http://127.0.0.1:8080/
    Hello
    $ printf 'a\\n'; \\
    >   printf 'b\\n'
    a
    > b
    ```

    ```
    $ not a command: the block has no language
    ```

    ## More

    ```log
    gatehouse: ...: loaded
    ```
    """)


class Steps(unittest.TestCase):
    def test_commands_with_what_they_print(self):
        steps = run_example.read_steps(README)
        self.assertEqual([step.command for step in steps],
                         ["curl -s http://127.0.0.1:8080/", "printf 'a\\n'; \\\n  printf 'b\\n'", None])
        self.assertEqual([step.expected for step in steps],
                         [["Hello"], ["a", "> b"], ["gatehouse: ...: loaded"]])
        self.assertEqual([step.section for step in steps], ["Worth trying", "Worth trying", "More"])
        self.assertEqual(steps[0].line, 6)


class Matching(unittest.TestCase):
    def test_all_lines_in_order(self):
        self.assertTrue(run_example.matches(["a", "b"], "a\r\nb\r\n"))
        self.assertTrue(run_example.matches(["a"], "a"))
        self.assertTrue(run_example.matches([], ""))
        self.assertFalse(run_example.matches(["a", "b"], "b\na\n"))
        self.assertFalse(run_example.matches(["a"], "a\nb\n"))
        self.assertFalse(run_example.matches([], "a\n"))
        self.assertFalse(run_example.matches(["a"], ""))

    def test_dots_stand_for_a_part_of_a_line(self):
        self.assertTrue(run_example.matches(["Date: ... GMT"], "Date: Sun, 06 Nov 1994 08:49:37 GMT\n"))
        self.assertFalse(run_example.matches(["Date: ... GMT"], "Date: Sun\nGMT\n"))

    def test_dots_alone_stand_for_any_lines(self):
        self.assertTrue(run_example.matches(["a", "...", "z"], "a\nb\nc\nz\n"))
        self.assertTrue(run_example.matches(["a", "...", "z"], "a\nz\n"))
        self.assertTrue(run_example.matches(["...", "z", "..."], "z\n"))
        self.assertFalse(run_example.matches(["a", "...", "z"], "a\nb\n"))

    def test_what_is_special_to_regular_expressions_is_not_here(self):
        self.assertTrue(run_example.matches(["a.c (x|y) [z]"], "a.c (x|y) [z]\n"))
        self.assertFalse(run_example.matches(["a.c"], "abc\n"))


class Addresses(unittest.TestCase):
    def test_in_a_config(self):
        told = run_example.addresses_in('admin: { address: "127.0.0.1:9901" }\n'
                                        'listeners:\n- name: edge\n  address: "127.0.0.1:8080"\n'
                                        '- name: inner\n  address: "127.0.0.1:8081"\n')
        self.assertEqual(told, run_example.Addresses({"edge": "8080", "inner": "8081"}, "9901"))

    def test_of_tls(self):
        told = run_example.addresses_in('admin: { address: "127.0.0.1:9901" }\n'
                                        'listeners:\n- name: edge\n  address: "127.0.0.1:8080"\n'
                                        '# With TLS.\n'
                                        '- name: edge-tls\n  address: "127.0.0.1:8443"\n  route_tables: [shop]\n'
                                        '  tls: { certificates: [localhost] }\n'
                                        'clusters:\n- name: other\n  tls: {}\n')
        self.assertEqual(told, run_example.Addresses({"edge": "8080", "edge-tls": "8443"}, "9901",
                                                     frozenset(["edge-tls"])))

    def test_that_a_gateway_says(self):
        said = run_example.addresses_of([
            "a log line",
            "gatehouse: ready: edge on 127.0.0.1:4001, inner on 127.0.0.1:4002; 2 workers; admin on 127.0.0.1:4003"])
        self.assertEqual(said, run_example.Addresses({"edge": "4001", "inner": "4002"}, "4003"))
        self.assertIsNone(run_example.addresses_of(["gatehouse: told to stop"]))

    def test_where_a_gateway_looks_for_its_control_plane(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            (folder / "gateway.yaml").write_text('admin: { address: "127.0.0.1:9901" }\n'
                                                 'control_plane: { addresses: ["127.0.0.1:18000"] }\n')
            example = run_example.Example("fleet", folder, folder)
            self.assertFalse(example.controlled)
            (folder / "resources/edge").mkdir(parents=True)
            (folder / "resources/edge/only.yaml").write_text('listeners:\n- name: edge\n  address: "127.0.0.1:8080"\n')
            self.assertTrue(example.controlled)
            self.assertEqual(run_example.control_ports(example), ["18000"])
            self.assertEqual(example.addresses(), run_example.Addresses({"edge": "8080"}, "9901"))

    def test_where_gateways_look_for_redis(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            example = run_example.Example("limits", folder, folder)
            (folder / "gateway.yaml").write_text('clusters:\n- name: users\n  endpoints: ["127.0.0.1:3001"]\n')
            self.assertIsNone(example.redis_port())
            (folder / "gateway.yaml").write_text('clusters:\n- name: redis\n  endpoints: ["127.0.0.1:16379"]\n')
            self.assertEqual(example.redis_port(), "16379")

    def test_of_further_gateways(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            for name, edge, admin in (("gateway", 8080, 9901), ("gateway-2", 8081, 9902)):
                (folder / f"{name}.yaml").write_text(f'admin: {{ address: "127.0.0.1:{admin}" }}\nlisteners:\n'
                                                     f'- name: {name}\n  address: "127.0.0.1:{edge}"\n')
            example = run_example.Example("two", folder, folder)
            self.assertEqual(example.other_configs(), [folder / "gateway-2.yaml"])
            self.assertEqual(example.addresses(), run_example.Addresses({"gateway": "8080", "gateway-2": "8081"}, "9901"))

    def test_free_ports_are_different(self):
        self.assertEqual(len(set(run_example.free_ports(5))), 5)


class Processes(unittest.TestCase):
    SECONDS = 30

    def begun(self, times):
        return lambda lines: lines.count("begun") == times

    def test_one_is_started_again_until_it_is_stopped(self):
        with tempfile.TemporaryDirectory() as folder:
            pid_file = pathlib.Path(folder) / "pid"
            process = run_example.Process(["/bin/bash", "-c", "echo begun; exec sleep 1000"], pid_file=pid_file,
                                          again=True)
            for times in (1, 2):
                self.assertTrue(process.wait_for(self.begun(times), self.SECONDS))
                os.kill(int(pid_file.read_text()), signal.SIGKILL)
            self.assertTrue(process.wait_for(self.begun(3), self.SECONDS))
            self.assertEqual(process.stop(), -signal.SIGTERM)
            self.assertEqual(process.log.lines(), ["begun"] * 3)

    def test_one_that_fails_is_not_started_again(self):
        process = run_example.Process(["/bin/bash", "-c", "echo begun; exit 3"], again=True)
        self.assertEqual(process.wait(self.SECONDS), 3)
        self.assertIsNone(process.wait_for(self.begun(2), self.SECONDS))

    def test_two_write_one_log(self):
        log = run_example.Log()
        for name in ("one", "two"):
            self.assertEqual(run_example.Process(["/bin/echo", name], log=log).wait(self.SECONDS), 0)
        self.assertEqual(log.lines(), ["one", "two"])
