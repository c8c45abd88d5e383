"""What the admin address shows, and to whom."""

import json
import os
import re
import shutil
import socket
import subprocess
import unittest

from harness import GatehouseTest, binary, config, route
from http_peers import Client, free_port

SAMPLE = re.compile(
    r'^(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)'
    r'(?:\{(?P<labels>(?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\["\\n])*",?)*)\})?'
    r' (?P<value>[-+]?(?:\d+(?:\.\d+)?(?:e[-+]?\d+)?|Inf|NaN))$')


class Admin(GatehouseTest):
    def start(self, **options):
        self.target = self.origin()
        return self.gateway(config(
            [route("all", "/", "origin", filters=[{"rate_limit": ["limit"]}])], {"origin": self.target.address},
            rate_limits=[{"name": "limit", "token_bucket": {"rate": "1000/s"}}], **options))

    def test_ready_and_live(self):
        gateway = self.start()
        self.assertEqual((gateway.ask_admin("/ready").status, gateway.ask_admin("/ready").body), (200, b"ready\n"))
        self.assertEqual(gateway.ask_admin("/live").status, 200)
        head = gateway.ask_admin("/ready", "HEAD")
        self.assertEqual(head.status, 200)

    def test_metrics_are_prometheus_text(self):
        gateway = self.start()
        for path in ("/", "/a", "/b"):
            self.assertEqual(self.ask(gateway, path).status, 200)
        gateway.wait_for_metric(3, "gatehouse_route_requests_total", route="all", **{"class": "2xx"})
        response = gateway.ask_admin("/metrics")
        self.assertEqual(response["content-type"], "text/plain; version=0.0.4; charset=utf-8")
        text = response.body.decode()
        self.check_format(text)
        if shutil.which("promtool"):
            done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True,
                                  check=False)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(gateway.metric("gatehouse_cluster_requests_total", cluster="origin"), 3)

    def check_format(self, text):
        """Every line a sample or a comment, families declared once and together, histograms cumulative."""
        types, seen, family = {}, set(), None
        buckets = {}
        self.assertTrue(text.endswith("\n"))
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                _, _, family, kind = line.split(" ")
                self.assertNotIn(family, types, "a family is declared once")
                types[family] = kind
                continue
            if line.startswith("# HELP "):
                continue
            match = SAMPLE.match(line)
            self.assertIsNotNone(match, line)
            self.assertTrue(match["name"].startswith("gatehouse_"), line)
            self.assertNotIn(line.rpartition(" ")[0], seen, "a series is there once")
            seen.add(line.rpartition(" ")[0])
            base = re.sub(r"_(bucket|sum|count)$", "", match["name"])
            self.assertIn(family, (match["name"], base), "samples stand with their family")
            if match["name"].endswith("_bucket"):
                others = re.sub(r'le="[^"]*",?', "", match["labels"])
                previous = buckets.get((match["name"], others), 0)
                self.assertGreaterEqual(float(match["value"]), previous, line)
                buckets[(match["name"], others)] = float(match["value"])
            if types[family] == "counter":
                self.assertTrue(family.endswith("_total"), family)
        self.assertIn("histogram", types.values())

    def test_latencies_have_quantiles(self):
        gateway = self.start()
        for _ in range(20):
            self.ask(gateway)
        gateway.wait_for_metric(20, "gatehouse_route_latency_seconds_count", route="all")
        series = gateway.metrics()
        found = {name for name in series if name.startswith("gatehouse_route_latency_quantile_seconds")}
        self.assertEqual({re.search(r'quantile="([^"]+)"', name)[1] for name in found}, {"0.5", "0.95", "0.99"})

    def test_labels_come_from_the_config_alone(self):
        gateway = self.start()
        for number in range(50):
            self.ask(gateway, f"/{number}", host=f"h{number}.example", headers=[f"X-{number}: y"])
        self.assertNotIn("h7.example", gateway.ask_admin("/metrics").body.decode())

    def test_series_are_bounded_and_say_whose_they_are(self):
        routes = [route(f"r{i}", f"/{i}", respond={}) for i in range(5)]
        gateway = self.gateway(config(
            routes, node={"id": "edge-1", "group": "eu"}, metrics={"max_series_per_family": 3},
        ))
        for i in range(5):
            self.ask(gateway, f"/{i}")
        gateway.wait_for_metric(2, "gatehouse_route_requests_total", table="_other", **{"class": "2xx"})
        requests = [name for name in gateway.metrics() if name.startswith("gatehouse_route_requests_total{")]
        self.assertEqual(len({name.partition(",class")[0] for name in requests}), 4, requests)
        self.assertEqual(gateway.metric("gatehouse_server_node", id="edge-1", group="eu"), 1)

    def test_config_is_what_runs(self):
        gateway = self.start(secrets=[{"name": "key", "inline": "hidden-value"}])
        shown = json.loads(gateway.ask_admin("/config?format=json").body)
        self.assertEqual(shown["route_tables"][0]["routes"][0]["name"], "all")
        self.assertNotIn("hidden-value", json.dumps(shown))
        text = gateway.ask_admin("/config").body.decode()
        self.assertIn("name: all", text)
        self.assertNotIn("hidden-value", text)

    def test_the_config_that_is_shown_can_be_run(self):
        gateway = self.start()
        for name, query in (("dump.yaml", ""), ("dump.json", "?format=json")):
            path = os.path.join(self.folder(), name)
            with open(path, "wb") as file:
                file.write(gateway.ask_admin("/config" + query).body)
            self.run_command(binary(), "validate", path)

    def test_clusters(self):
        gateway = self.start()
        for _ in range(4):
            self.ask(gateway)
        gateway.wait_for_metric(4, "gatehouse_route_requests_total", route="all", **{"class": "2xx"})
        (cluster,) = json.loads(gateway.ask_admin("/clusters").body)["clusters"]
        self.assertEqual((cluster["name"], cluster["requests"]), ("origin", 4))
        self.assertEqual(cluster["endpoints"],
                         [{"address": self.target.address, "name": self.target.address, "weight": 1, "healthy": True}])

    def test_other_methods_and_pages(self):
        gateway = self.start()
        for path, method, status, allow in (
            ("/drain", "GET", 405, "POST"), ("/ready", "POST", 405, "GET, HEAD"), ("/metrics", "DELETE", 405, "GET, HEAD"),
            ("/nothing", "GET", 404, None), ("/", "GET", 200, None),
        ):
            with self.subTest(path=path, method=method):
                response = gateway.ask_admin(path, method)
                self.assertEqual((response.status, response["allow"]), (status, allow))
        self.assertEqual(gateway.ask_admin("/ready").status, 200)

    def test_web_pages_are_refused(self):
        gateway = self.start()
        for host, headers in (("127.0.0.1", ["Origin: https://evil.example"]), ("rebound.example", []),
                              ("localhost.evil.example", [])):
            with self.subTest(host=host), Client(gateway.admin) as client:
                for path, method in (("/config", "GET"), ("/drain", "POST"), ("/metrics", "GET")):
                    self.assertEqual(client.ask(path, method, host=host, headers=headers).status, 403)
        with Client(gateway.admin) as client:
            self.assertEqual(client.ask("/ready", host="localhost:9901").status, 200)

    def test_it_is_no_proxy_and_survives_garbage(self):
        gateway = self.start()
        for data in (b"\x16\x03\x01\x02\x00", b"GET / HTTP/1.1\r\n\r\n", b"GET /ready HTTP/1.1\nHost: a\n\n",
                     b"POST /drain HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"):
            with self.subTest(data=data[:20]), Client(gateway.admin) as client:
                client.send(data)
                client.half_close()
                client.take_all()
        self.assertEqual(gateway.ask_admin("/ready").status, 200)

    def test_it_can_be_off(self):
        gateway = self.start(admin={"address": "off"})
        self.assertIsNone(gateway.admin)
        self.assertEqual(self.ask(gateway).status, 200)

    def test_it_can_be_a_unix_socket(self):
        path = os.path.join(self.folder(), "a")
        self.start(admin={"address": f"unix:{path}"})
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(path)
            sock.sendall(b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            self.assertTrue(sock.recv(4096).startswith(b"HTTP/1.1 200"))

    def test_it_is_loopback_by_default(self):
        port = free_port()
        gateway = self.start(admin={"address": f"127.0.0.1:{port}"})
        self.assertEqual(gateway.admin, ("127.0.0.1", port))


if __name__ == "__main__":
    unittest.main()
