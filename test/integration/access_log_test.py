"""The access log: what a line holds, and that writing it never stops a request."""

import json
import os
import re
import signal
import unittest

from harness import Gateway, GatehouseTest, config, route, wait_until
from http_peers import Client, answer

FIELDS = ["time", "method", "scheme", "host", "path", "query", "protocol", "status", "flags", "code", "listener", "table",
          "route", "cluster", "upstream_address", "upstream_status", "upstream_failure",
          "attempts", "request_bytes", "response_bytes",
          "duration_us", "gateway_us", "upstream_us", "client_ip", "consumer", "trace_id", "request_id", "user_agent",
          "referer"]


class AccessLog(GatehouseTest):
    def start(self, log=None, **options):
        self.target = self.origin(lambda _, message: answer(201, b"four"))
        folder = self.folder()
        self.path = os.path.join(folder, "test.log")
        settings = config([route("all", "/", "origin")], {"origin": self.target.address},
                          listener={"access_log": {"path": self.path, **(log or {})}, **options})
        return self.gateway(settings, folder=folder)

    def lines(self, count, path=None):
        def read():
            try:
                with open(path or self.path, encoding="utf-8") as file:
                    lines = file.read().split("\n")[:-1]
            except FileNotFoundError:
                return None
            return (lines,) if len(lines) >= count else None

        return wait_until(read, f"{count} lines")[0]


class Lines(AccessLog):
    def test_json(self):
        gateway = self.start()
        response = self.ask(gateway, "/a/b?x=1&token=secret", "POST", host="Shop.Example:80", body=b"hello",
                            headers=["User-Agent: te\"st", "Referer: http://x.example/?api_key=secret"])
        (line,) = self.lines(1)
        record = json.loads(line)
        self.assertEqual(list(record), FIELDS)
        expected = {
            "method": "POST", "scheme": "http", "host": "shop.example", "path": "/a/b", "query": "x=1&token=***",
            "protocol": "HTTP/1.1", "status": 201, "flags": None, "code": None, "listener": "edge", "table": "main",
            "route": "all", "cluster": "origin", "upstream_address": self.target.address, "upstream_status": 201,
            "attempts": 1, "request_bytes": 5, "response_bytes": 4, "client_ip": "127.0.0.1", "consumer": None,
            "trace_id": response["x-trace-id"], "request_id": response["x-request-id"], "user_agent": 'te"st',
            "referer": "http://x.example/?api_key=***",
        }
        self.assertEqual({name: record[name] for name in expected}, expected)
        self.assertRegex(record["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        self.assertNotIn("secret", line)
        for name in ("duration_us", "gateway_us", "upstream_us"):
            self.assertGreaterEqual(record[name], 0)
        self.assertEqual(record["duration_us"], record["gateway_us"] + record["upstream_us"])

    def test_a_text_pattern(self):
        gateway = self.start({"pattern": '$(client_ip) "$(method) $(uri)" $(status) <$(request.header.x-tag)> $$ $(code)'})
        self.ask(gateway, "/p?q=1", headers=['X-Tag: a "b"\tc'])
        self.assertEqual(self.lines(1), ['127.0.0.1 "GET /p?q=1" 201 <a \\x22b\\x22\\x09c> $ -'])

    def test_chosen_fields_and_headers(self):
        gateway = self.start({"fields": ["status", "route"], "request_headers": ["X-Tag"],
                              "response_headers": ["Content-Length"]})
        self.ask(gateway, headers=["X-Tag: v"])
        record = json.loads(self.lines(1)[0])
        self.assertEqual(record, {"status": 201, "route": "all", "request.header.x-tag": "v",
                                  "response.header.content-length": "4"})

    def test_credentials_cannot_be_named(self):
        for name in ("Authorization", "Cookie", "X-Api-Key"):
            with self.subTest(name=name):
                settings = config([], listener={"access_log": {"request_headers": [name]}})
                gateway = Gateway(settings, self.folder(), wait=False)
                self.assertEqual(gateway.wait_exit(), 1)
                self.assertIn("access_log.request_headers[0]", gateway.stderr)

    def test_queries_can_be_left_out(self):
        gateway = self.start({"omit_query": True})
        self.ask(gateway, "/a?mail=x@example")
        self.assertNotIn("x@example", self.lines(1)[0])

    def test_lines_cannot_be_forged(self):
        gateway = self.start()
        self.ask(gateway, "/%0a%22status%22:200", headers=["User-Agent: \xff\x22}{", "Referer: a\tb"])
        (line,) = self.lines(1)
        self.assertEqual(json.loads(line)["user_agent"], '\ufffd"}{')

    def test_refusals_are_logged(self):
        gateway = self.start()
        with Client(gateway.address) as client:
            client.send(b"GET / HTTP/1.1\r\nbad header\r\n\r\n")
            client.response()
        record = json.loads(self.lines(1)[0])
        self.assertEqual((record["status"], record["flags"], record["code"]), (400, "DPE", "bad_request"))

    def test_stdout_is_the_default(self):
        settings = config([{"name": "r", "match": {}, "respond": {"body": "x"}}], listener={"access_log": {}})
        gateway = self.gateway(settings)
        self.ask(gateway)
        self.assertEqual(json.loads(self.lines(1, gateway.stdout_path)[0])["route"], "r")

    def test_off_is_silent(self):
        settings = config([{"name": "r", "match": {}, "respond": {"body": "x"}}], listener={"access_log": {"path": "off"}})
        gateway = self.gateway(settings)
        self.ask(gateway)
        self.assertEqual(gateway.stop(), 0)
        self.assertEqual(os.path.getsize(gateway.stdout_path), 0)

    def test_every_request_has_its_line(self):
        gateway = self.start()
        client = self.client(gateway)
        for number in range(500):
            client.ask(f"/{number}")
        self.assertEqual(gateway.stop(), 0)
        self.assertEqual({json.loads(line)["path"] for line in self.lines(500)}, {f"/{number}" for number in range(500)})


class Outputs(AccessLog):
    def test_a_file_is_opened_anew_on_a_signal(self):
        gateway = self.start()
        self.ask(gateway, "/before")
        self.lines(1)
        os.rename(self.path, self.path + ".1")
        self.ask(gateway, "/still-the-old-file")
        self.assertEqual(len(self.lines(2, self.path + ".1")), 2)
        gateway.signal(signal.SIGUSR1)
        wait_until(lambda: os.path.exists(self.path), "a new file")
        self.ask(gateway, "/after")
        self.assertEqual(json.loads(self.lines(1)[0])["path"], "/after")
        self.assertEqual(len(self.lines(2, self.path + ".1")), 2)

    def test_rotation_under_load_loses_no_line(self):
        gateway = self.start()
        client = self.client(gateway)
        total = 0
        for turn in range(5):
            for _ in range(100):
                client.ask(f"/{total}")
                total += 1
            os.rename(self.path, f"{self.path}.{turn}")
            gateway.signal(signal.SIGUSR1)
            wait_until(lambda: os.path.exists(self.path), "a new file")
        self.assertEqual(gateway.stop(), 0)
        paths = set()
        for name in [self.path] + [f"{self.path}.{turn}" for turn in range(5)]:
            paths |= {json.loads(line)["path"] for line in self.lines(0, name)}
        self.assertEqual(paths, {f"/{number}" for number in range(total)})

    def check_blocked(self, gateway, requests=2000):
        client = self.client(gateway)
        for _ in range(requests):
            self.assertEqual(client.ask("/" + "a" * 500).status, 201)
        wait_until(lambda: gateway.metric("gatehouse_log_dropped_lines_total") > 0, "dropped lines are counted")
        wait_until(lambda: gateway.metric("gatehouse_log_failing_outputs") == 1, "the output is known to fail")
        self.assertEqual(client.ask().status, 201)

    def test_a_full_disk_drops_lines_and_nothing_else(self):
        self.target = self.origin(lambda *_: answer(201, b"x"))
        gateway = self.gateway(config(
            [route("all", "/", "origin")], {"origin": self.target.address},
            listener={"access_log": {"path": "/dev/full", "buffer_bytes": "64KiB"}}))
        self.check_blocked(gateway)
        self.assertIn("/dev/full", gateway.stderr)

    def test_a_pipe_that_nobody_reads_drops_lines_and_nothing_else(self):
        folder = self.folder()
        self.target = self.origin(lambda *_: answer(201, b"x"))
        path = os.path.join(folder, "pipe")
        os.mkfifo(path)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        gateway = self.gateway(config(
            [route("all", "/", "origin")], {"origin": self.target.address},
            listener={"access_log": {"path": path, "buffer_bytes": "64KiB"}}), folder=folder)
        self.check_blocked(gateway)
        # When somebody reads again, lines come again, each of them whole.
        text = b""
        while not re.search(rb'\n[^\n]*"path":"/back"[^\n]*\n', text):
            try:
                text += os.read(reader, 1 << 16)
            except BlockingIOError:
                self.ask(gateway, "/back")
        for line in text.split(b"\n")[:-1]:
            json.loads(line)
        wait_until(lambda: gateway.metric("gatehouse_log_failing_outputs") == 0, "the output works again")

    def test_a_folder_that_is_not_there(self):
        settings = config([], listener={"access_log": {"path": "/no/such/folder/access.log"}})
        gateway = Gateway(settings, self.folder(), wait=False)
        self.assertNotEqual(gateway.wait_exit(), 0)
        self.assertIn("/no/such/folder/access.log", gateway.stderr)


if __name__ == "__main__":
    unittest.main()
