#!/usr/bin/env python3
"""Tests of the bench: the arithmetic of its tables, and one short run of the whole machinery."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)

from lib import peers, programs, report, scenarios  # noqa: E402


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

    def test_templates_leave_no_word_unfilled(self):
        with tempfile.TemporaryDirectory() as directory:
            for name, peer in peers.PEERS.items():
                argv = peers.command_line(name, "/program", 1001, 1002, directory)
                self.assertNotRegex(" ".join(argv), r"[{}@]")
                if not peer.template:
                    continue
                with open(os.path.join(directory, f"{name}-1001", peer.template)) as f:
                    text = f.read()
                self.assertNotRegex(text, r"@[A-Z_]+@")
                self.assertIn("1001", text)
                self.assertIn("1002", text)


class RunTest(unittest.TestCase):
    def test_the_forwarder_answers_everything_right_and_nothing_is_left(self):
        with tempfile.TemporaryDirectory() as directory:
            result = os.path.join(directory, "result.json")
            names = scenarios.GROUPS["throughput"] + ["h1_p99"]
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

    def generate_against(self, answer):
        """What the generator prints when a server sends `answer` once per connection."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            argv = [programs.compile_program("loadgen"), "--port", str(server.getsockname()[1]),
                    "--path", "/small", "--connections", "1", "--requests", "1"]
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
