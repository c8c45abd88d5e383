"""`gatehouse explain`, of the file and of the running gateway, beside what that gateway does with the same request."""

import json
import os
import unittest

from harness import GatehouseTest, binary, config, route
from http_peers import Client, free_port

TABLES = [
    {
        "name": "shop",
        "domains": ["api.shop.example", "*.eu.shop.example"],
        "filters": [{"cors": {"allow_origins": ["https://shop.example"]}}],
        "routes": [
            {
                "name": "admins",
                "match": {"path_prefix": "/users", "headers": [{"name": "x-role", "exact": "admin"}]},
                "respond": {"status": 204},
            },
            {
                "name": "users",
                "match": {"path_template": "/users/{id}", "methods": ["GET", "POST"]},
                "forward": {"cluster": "one", "rewrite": {"template": "/internal/{id}"}},
            },
            {
                "name": "orders",
                "match": {"path_prefix": "/orders"},
                "split": {
                    "clusters": [{"cluster": "one", "weight": 50}, {"cluster": "two", "weight": 50}],
                    "sticky": {"header": "x-user"},
                },
            },
            {"name": "old", "match": {"path": "/old"}, "redirect": {"path": "/new", "status": 308}},
            {
                "name": "search",
                "match": {"path_prefix": "/s", "query": [{"name": "q", "present": True}]},
                "forward": "two",
            },
            {"name": "team", "match": {"path_prefix": "/team"}, "delegate": ["team"]},
        ],
    },
    {
        "name": "other",
        "domains": ["*"],
        "routes": [
            {"name": "ping", "match": {"path": "/ping"}, "respond": {"body": "pong"}},
            {
                "name": "rewritten",
                "match": {"path_prefix": "/old"},
                "forward": {"cluster": "two", "rewrite_prefix": "/new"},
            },
            {"name": "regex", "match": {"path_regex": "/r/[0-9]+"}, "forward": "one"},
        ],
    },
    {"name": "team", "routes": [{"name": "a", "match": {"path_prefix": "/team/a"}, "forward": "one"}]},
]

#Method, host, path, headers.
REQUESTS = [
    ("GET", "api.shop.example", "/users/7", ()),
    ("GET", "api.shop.example", "/users/7?x=1&y=%20", ()),
    ("GET", "api.shop.example", "/users/7", ("x-role: admin",)),
    ("GET", "api.shop.example", "/users/7", ("X_Role: admin",)),
    ("DELETE", "api.shop.example", "/users/7", ()),
    ("POST", "API.SHOP.EXAMPLE.", "/users/8", ()),
    ("GET", "fr.eu.shop.example", "/users/7", ()),
    ("GET", "eu.shop.example", "/users/7", ()),
    ("GET", "api.shop.example:8080", "/a/../users/7", ()),
    ("GET", "api.shop.example", "/%75sers/7", ()),
    ("GET", "api.shop.example", "//users//7", ()),
    ("GET", "api.shop.example", "/users/7/more", ()),
    ("GET", "api.shop.example", "/users/a%2Fb", ()),
    ("GET", "api.shop.example", "/users/%00", ()),
    ("GET", "api.shop.example", "/../users", ()),
    ("GET", "api.shop.example", "/orders/1", ("x-user: alice",)),
    ("GET", "api.shop.example", "/orders/1", ("x-user: bob",)),
    ("GET", "api.shop.example", "/orders/1", ("x-user: carol",)),
    ("GET", "api.shop.example", "/orders/1", ("x-user: dan",)),
    ("GET", "api.shop.example", "/old", ()),
    ("GET", "api.shop.example", "/old?q=1", ()),
    ("GET", "api.shop.example", "/s", ()),
    ("GET", "api.shop.example", "/s?q=shoes", ()),
    ("GET", "api.shop.example", "/team/a/b", ()),
    ("GET", "api.shop.example", "/team/b", ()),
    ("GET", "elsewhere.example", "/ping", ()),
    ("HEAD", "elsewhere.example", "/ping", ()),
    ("GET", "elsewhere.example", "/old/x?y", ()),
    ("GET", "elsewhere.example", "/r/42", ()),
    ("GET", "elsewhere.example", "/r/x", ()),
    ("GET", "elsewhere.example", "/users/7", ()),
    ("GET", "127.0.0.1", "/ping", ()),
    ("GET", "[::1]", "/ping", ()),
    ("GET", "bad_host!", "/ping", ()),
    ("TRACE", "elsewhere.example", "/ping", ()),
    ("OPTIONS", "elsewhere.example", "/ping", ("max-forwards: 0",)),
    (
        "OPTIONS",
        "api.shop.example",
        "/users/7",
        ("origin: https://shop.example", "access-control-request-method: POST"),
    ),
    ("GET", "api.shop.example", "/users/7", ("connection: authorization",)),
    ("GET", "elsewhere.example", "/ping", ("content-length: 1x",)),
    ("GET", "elsewhere.example", "/ping", ("x-user-id: root", "connection: x-a", "x-a: b")),
]


class Explain(GatehouseTest):
    def start(self):
        one, two = self.origin(), self.origin()
        settings = config([], {
  "one" : one.address, "two" : two.address})
        folder = self.folder()
        settings["listeners"][0].update(
            address=f"127.0.0.1:{free_port()}",
            route_tables=["shop", "other"],
            access_log={"path": os.path.join(folder, "access.log"), "request_headers": ["x-number"]},
        )
        settings["route_tables"] = TABLES
        return self.gateway(settings, folder=folder), (one, two)

    def explain(self, *arguments, code=0):
        done = self.run_command(binary(), "explain", *arguments, check=False)
        self.assertEqual(done.returncode, code, done)
        return done.stdout if code == 0 else done.stderr

    def question(self, method, host, path, headers):
        words = ["--json", "--", method, f"http://{host}{path}"]
        for header in headers:
            words += ["-H", header]
        return words

    def check(self, gateway, origins, explained, number, asked):
        """What the gateway did, by its answer, its log and what the origin saw."""
        method, host, path, headers = asked
        seen = [len(origin.requests) for origin in origins]
        with Client(gateway.address) as client:
            response = client.ask(path, method, host=host, headers=[*headers, f"x-number: {number}"])
        answer = explained.get("answer")
        if answer:
            self.assertEqual(response.status, answer["status"], explained)
            self.assertEqual(response["allow"] or "", answer.get("allow", ""))
            return
        taken = explained["route"]
        record = gateway.record(**{"request.header.x-number": str(number)})
        self.assertEqual((record["table"], record["route"]), (taken["table"], taken["name"]))
        effects = taken.get("effects", {})
        if taken["action"] in ("redirect", "respond") and not explained.get("preflight"):
            self.assertEqual(str(response.status), effects["status"])
            self.assertEqual(response["location"] or "", effects.get("location", ""))
        if taken["action"] in ("forward", "split") and not explained.get("preflight"):
            self.assertEqual(response.status, 200)
            now = [len(origin.requests) for origin in origins]
            (index,) = [i for i in range(2) if now[i] != seen[i]]
            got = origins[index].requests[-1]
            self.assertEqual(f"{got.method} {got.target}", effects["sends"])
            chosen = [t["cluster"] for t in taken["targets"] if t["chosen"]] or [taken["targets"][0]["cluster"]]
            self.assertEqual(chosen, [["one", "two"][index]])

    def test_says_what_the_gateway_does(self):
        gateway, origins = self.start()
        admin = "%s:%d" % gateway.admin
        for number, asked in enumerate(REQUESTS):
            with self.subTest(asked):
                words = self.question(*asked)
                running = json.loads(self.explain("--admin", admin, *words))
                of_file = json.loads(self.explain(gateway.path, *words))
                self.assertEqual(running, of_file)
                self.check(gateway, origins, running, number, asked)

    def test_a_reload_is_explained_at_once(self):
        gateway, _ = self.start()
        admin = "%s:%d" % gateway.admin
        question = ("--admin", admin, "--", "GET", "http://elsewhere.example/new")
        self.assertIn("404 no_route", self.explain(*question))
        gateway.reload(config([route("new", "/new", respond={"status": 204})]))
        self.assertIn("main/new", self.explain(*question))

    def test_the_page(self):
        gateway, _ = self.start()
        reply = gateway.ask_admin("/explain?url=http://elsewhere.example/ping&header=x-a:%20b")
        self.assertEqual(reply.status, 200)
        self.assertIn("route        other/ping", reply.body.decode())
        reply = gateway.ask_admin("/explain?format=json&url=http://elsewhere.example/ping")
        self.assertEqual(reply["content-type"], "application/json")
        self.assertEqual(json.loads(reply.body)["route"]["name"], "ping")
        self.assertEqual(gateway.ask_admin("/explain").status, 400)
        self.assertEqual(gateway.ask_admin("/explain?url=x").status, 400)
        self.assertEqual(gateway.ask_admin("/explain?url=http://a/", "POST").status, 405)
        self.assertIn("/explain", gateway.ask_admin("/").body.decode())

    def test_exit_codes(self):
        folder = self.folder()
        path = os.path.join(folder, "bad.yaml")
        with open(path, "w", encoding="utf-8") as file:
            file.write("listeners:\n- { name: edge }\nclusters:\n- { nam: x }\n")
        errors = self.explain(path, "--", "GET", "http://a/", code=1)
        self.assertIn("bad.yaml:2: ", errors)
        self.assertIn("bad.yaml:4: ", errors)
        self.assertIn("no such file", self.explain(os.path.join(folder, "none"), "--", "GET", "http://a/", code=1))
        with open(path, "w", encoding="utf-8") as file:
            file.write("clusters: []\n")
        self.assertIn("there are no listeners", self.explain(path, "--", "GET", "http://a/", code=1))
        gateway, _ = self.start()
        for words in (
            ("GET",),
            ("GET", "ftp://a/"),
            ("G T", "http://a/"),
            ("GET", "http://a/", "-H"),
            ("GET", "http://a/", "-H", "x"),
        ):
            self.explain(gateway.path, "--", *words, code=2)
            self.explain("--admin", "%s:%d" % gateway.admin, "--", *words, code=2)
        self.explain(gateway.path, "--listener", "none", "--", "GET", "http://a/", code=2)
        self.explain("--admin", "nonsense", "--", "GET", "http://a/", code=2)
        self.assertIn(
            "no gateway answers at",
            self.explain("--admin", f"127.0.0.1:{free_port()}", "--", "GET", "http://a/", code=3),
        )
        self.explain("--admin", "unix:" + os.path.join(folder, "none"), "--", "GET", "http://a/", code=3)

    def test_over_a_unix_socket(self):
        folder = self.folder()
        where = "unix:" + os.path.join(folder, "admin")
        settings = config([route("all", "/", respond={"status": 204})], admin={"address": where})
        self.gateway(settings)
        self.assertIn("main/all", self.explain("--admin", where, "GET", "http://a/", "-H", "x-a: b"))


if __name__ == "__main__":
    unittest.main()
