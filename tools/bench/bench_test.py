#!/usr/bin/env python3
"""Tests of the bench: the arithmetic of its tables, and one short run of the whole machinery."""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)

from lib import h2load, peers, processes, programs, report, scenarios  # noqa: E402


def throughput(cpu_us, **more):
    sample = {"cpu_us": cpu_us, "user_us": 1.0, "system_us": 2.0, "rps": 50000.0, "p50_us": 900.0,
              "p99_us": 2000.0, "memory_mib": 10.0, "others_busy": 0.1, "errors": 0}
    return dict(sample, **more)


class ReportTest(unittest.TestCase):
    def test_spread_is_median_minimum_maximum_of_what_was_measured(self):
        samples = [{"cpu_us": 3.0}, {"failed": "no"}, {"cpu_us": 1.0}, {"cpu_us": 2.0}]
        self.assertEqual(report.spread(samples, "cpu_us"), (2.0, 1.0, 3.0))
        self.assertIsNone(report.spread([{"failed": "no"}], "cpu_us"))

    def test_neither_the_gateway_nor_the_forwarder_is_the_best_rival(self):
        samples = {"gatehouse": [throughput(5)], "forwarder": [throughput(4)],
                   "nginx": [throughput(12)], "haproxy": [throughput(10)]}
        self.assertEqual(report.best_rival(samples, "cpu_us"), ("haproxy", 10))
        self.assertIsNone(report.best_rival({"forwarder": [throughput(4)]}, "cpu_us"))

    def test_a_table_shows_ratios_errors_and_failures(self):
        samples = {"gatehouse": [throughput(8), throughput(9), throughput(10)],
                   "nginx": [throughput(12, errors=3, first_error="status is not 200")],
                   "h2o": [{"failed": "does not listen"}], "forwarder": [throughput(6)]}
        table = report.markdown(scenarios.SCENARIOS["h1_small"], samples)
        lines = [line for line in table.splitlines() if line.startswith("|")]
        rows = {line.split("|")[1].strip(): line for line in lines}
        self.assertIn("9.0 [8.0-10.0]", rows["gatehouse"])
        self.assertIn("| 0.75 | 1.50 |", rows["gatehouse"])
        self.assertIn("3 errors: status is not 200", rows["nginx"])
        self.assertIn("failed: does not listen", rows["h2o"])
        self.assertEqual(len({line.count("|") for line in lines}), 1)

    def test_every_kind_has_a_table(self):
        samples = {"idle": {"kib_per_connection": 0.5, "memory_mib": 20.0},
                   "instructions": {"instructions": 9000.0},
                   "syscalls": {"syscalls": 4.0, "calls": {"recvfrom": 2.0, "sendto": 2.0}},
                   "throughput": throughput(9), "latency": throughput(9, rate=20000.0)}
        for scenario in scenarios.SCENARIOS.values():
            table = report.markdown(scenario, {"nginx": [dict(samples[scenario.kind], errors=0)]})
            self.assertIn("| nginx |", table)


class TablesTest(unittest.TestCase):
    def test_select_takes_names_and_groups_once_each(self):
        self.assertEqual(scenarios.select("h1_small,h1_json,quick"), ["h1_small", "h1_json"])
        self.assertEqual(scenarios.select("all"), list(scenarios.SCENARIOS))
        with self.assertRaises(KeyError):
            scenarios.select("h1_smal")

    def test_templates_leave_no_word_unfilled_for_any_front(self):
        with tempfile.TemporaryDirectory() as directory:
            for name, front in ((n, f) for n, peer in peers.PEERS.items() for f in peer.fronts):
                argv = peers.command_line(name, "/program", 1001, 1002, directory, front)
                self.assertNotRegex(" ".join(argv), r"[{}@]")
                template = peers.PEERS[name].template
                if not template:
                    continue
                with open(os.path.join(directory, f"{name}-1001", template)) as f:
                    text = f.read()
                with self.subTest(peer=name, front=front):
                    self.assertNotRegex(text, r"@[A-Z_]+@|^#(if|end)")
                    self.assertEqual(len(re.findall(r"[:, ]1001\b", text)), 1)
                    self.assertEqual(len(re.findall(r"[:, ]1002\b", text)), 1)
                    self.assertEqual("cert.pem" in text or "pair.pem" in text, "tls" in front)

    def test_every_front_of_a_scenario_has_a_gateway_and_a_rival(self):
        for scenario in scenarios.SCENARIOS.values():
            serving = [n for n, peer in peers.PEERS.items() if scenario.front in peer.fronts]
            self.assertIn("gatehouse", serving, scenario.name)
            self.assertTrue(any(peers.PEERS[n].rival for n in serving), scenario.name)

    def test_a_section_of_a_template_is_for_the_fronts_it_names(self):
        text = "a\n#if h1 tls\nb\n#end\n#if h2c\nc\n#end\nd\n"
        self.assertEqual(peers.keep_wanted(text, ("tls",)), "a\nb\nd\n")
        self.assertEqual(peers.keep_wanted(text, ("grpc",)), "a\nd\n")


class H2loadTest(unittest.TestCase):
    TEXT = """
finished in 500.12ms, 400.00 req/s, 94.99KB/s
requests: 200 total, 210 started, 200 done, {succeeded} succeeded, {failed} failed, 0 errored, 0 timeout
status codes: {good} 2xx, 0 3xx, 0 4xx, {bad} 5xx
traffic: 47.50KB (48640) total, 1.20KB (1229) headers (space savings 95.00%), 40.00KB ({data}) data
"""

    def result(self, succeeded=200, failed=0, good=200, bad=0, data=40000, words=()):
        text = self.TEXT.format(succeeded=succeeded, failed=failed, good=good, bad=bad, data=data)
        return h2load.result_of(text, h2load.parse_arguments(["--port", "1", *words]))

    def test_right_answers_are_counted(self):
        result = self.result()
        self.assertEqual((result["requests"], result["errors"]), (200, 0))
        self.assertAlmostEqual(result["rps"], 200 / 0.50012, places=1)

    def test_wrong_answers_are_errors(self):
        self.assertEqual(self.result(good=190, bad=10)["errors"], 10)
        self.assertEqual(self.result(succeeded=195, failed=5, good=195)["errors"], 5)
        self.assertIn("39000 body bytes", self.result(data=39000)["first_error"])
        self.assertIn("body bytes", self.result(words=["--grpc"])["first_error"])
        self.assertEqual(h2load.result_of("no", h2load.parse_arguments(["--port", "1"]))["errors"], 1)


class RunTest(unittest.TestCase):
    def test_the_forwarder_answers_everything_right_and_nothing_is_left(self):
        with tempfile.TemporaryDirectory() as directory:
            result = os.path.join(directory, "result.json")
            names = [n for n in scenarios.GROUPS["h1"]
                     if scenarios.SCENARIOS[n].kind in ("throughput", "latency")]
            done = subprocess.run(
                [os.path.join(HERE, "bench"), "--peers", "forwarder", "--scenario", ",".join(names),
                 "--rounds", "1", "--seconds", "0.2", "--warmup", "0.1", "--json", result],
                capture_output=True, text=True, timeout=120,
                env=dict(os.environ, TMPDIR=directory))
            self.assertEqual(done.returncode, 0, done.stderr)
            with open(result) as f:
                measured = json.load(f)["scenarios"]
            for name in names:
                sample = measured[name]["forwarder"][0]
                self.assertGreater(sample["requests"], 0, name)
                self.assertGreater(sample["cpu_us"], 0, name)
            self.assertEqual(os.listdir(directory), ["result.json"])

    def test_the_generator_finds_wrong_answers(self):
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n"
        for answer, error in (
                (head + b"x" * 200, "body differs from the origin's"),
                (head, "closed before the answer was complete"),
                (head.replace(b"200\r\n\r", b"199\r\n\r"), "Content-Length is not the origin's"),
                (head.replace(b"200 OK", b"502 No"), "status is not 200")):
            with self.subTest(error=error):
                self.assertIn(error, self.generate_against(answer))

    def test_the_tls_generator_finds_wrong_answers_too(self):
        settings = b"\0\0\0\4\0\0\0\0\0"
        head = b"\0\0\1\1\4\0\0\0\1\x88"
        for answer, error in (
                (settings + head + b"\0\0\xc8\0\1\0\0\0\1" + b"x" * 200, "body differs"),
                (head + b"\0\0\0\0\1\0\0\0\1", "the body is too short"),
                (b"\0\0\1\1\5\0\0\0\1\x8d", "status is not 200"),
                (settings, "closed before the answer was complete")):
            with self.subTest(error=error):
                self.assertIn(error, self.generate_against(
                    answer, "tlsload", "--h2", "--plain"))

    def test_the_grpc_origin_answers_h2load(self):
        with tempfile.TemporaryDirectory() as directory, processes.Processes(directory) as group:
            port = processes.free_port()
            origin = group.start([programs.compile_program("h2origin"), str(port)], 1)
            origin.wait_until_listening(port, 5)
            done = subprocess.run(
                [*programs.generator("h2load"), "--port", str(port), "--grpc", "--requests",
                 "5000"], capture_output=True, text=True, timeout=60)
            self.assertEqual(json.loads(done.stdout)["requests"], 5000, done.stderr)
            self.assertEqual(done.returncode, 0)
            done = subprocess.run(
                [*programs.generator("h2load"), "--port", str(port), "--requests", "500"],
                capture_output=True, text=True, timeout=60)
            self.assertEqual(done.returncode, 1, "a GET is no gRPC")

    def generate_against(self, answer, generator="loadgen", *words):
        """What the generator prints when a server sends `answer` once per connection."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            argv = [*programs.generator(generator), "--port", str(server.getsockname()[1]),
                    "--path", "/small", "--connections", "1", "--requests", "1", *words]
            generator = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)
            out, _ = generator.communicate(timeout=60)
            self.assertEqual(generator.returncode, 1)
            return out

    def test_wrong_usage_is_told(self):
        done = subprocess.run([os.path.join(HERE, "bench"), "--peers", "ngin"],
                              capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 2)
        self.assertIn("unknown peer 'ngin'", done.stderr)


if __name__ == "__main__":
    unittest.main()
