"""Which route a request takes, and what the route does with it."""

import os
import unittest
from collections import Counter

from harness import GatehouseTest, config, wait_until
from http_peers import Client, answer, request


def respond(name, match, **rest):
    """A route that answers with its own name."""
    return {"name": name, "match": match, "respond": {"body": name}, **rest}


class RoutingTest(GatehouseTest):
    def table(self, *routes, **options):
        return self.gateway(config(list(routes), **options))

    def taken(self, gateway, path="/", method="GET", **options):
        """The name of the route that answered, or the status when none did."""
        response = self.ask(gateway, path, method, **options)
        return response.body.decode() if response.status == 200 else response.status

    def assert_taken(self, gateway, expected):
        for request_, name in expected.items():
            arguments = request_ if isinstance(request_, tuple) else (request_,)
            with self.subTest(request=request_):
                self.assertEqual(self.taken(gateway, *arguments), name)


class Hosts(GatehouseTest):
    def test_exact_suffix_prefix_and_any(self):
        tables = [
            {"name": name, "domains": [domain], "routes": [respond(name, {})]}
            for name, domain in (
                ("exact", "api.shop.example"), ("suffix", "*.shop.example"), ("longer", "*.eu.shop.example"),
                ("prefix", "api.*"), ("any", "*"),
            )
        ]
        settings = config([])
        settings["route_tables"] = tables
        settings["listeners"][0]["route_tables"] = [table["name"] for table in tables]
        gateway = self.gateway(settings)
        for host, name in (
            ("api.shop.example", "exact"), ("API.Shop.Example", "exact"), ("api.shop.example:8080", "exact"),
            ("api.shop.example.", "exact"), ("www.shop.example", "suffix"), ("a.b.shop.example", "suffix"),
            ("x.eu.shop.example", "longer"), ("api.other.example", "prefix"), ("shop.example", "any"),
            ("192.0.2.1", "any"), ("[2001:db8::1]:80", "any"),
        ):
            with self.subTest(host=host):
                self.assertEqual(self.ask(gateway, host=host).body.decode(), name)

    def test_a_host_that_is_not_served_is_404(self):
        settings = config([respond("all", {})], table={"domains": ["only.example"]})
        gateway = self.gateway(settings)
        self.assertEqual(self.ask(gateway, host="only.example").status, 200)
        response = self.ask(gateway, host="other.example")
        self.assert_problem(response, 404, "no_route")
        # Two workers wrote these lines: their order means nothing.
        self.assertEqual({record["status"]: record["flags"] for record in gateway.log(2)}, {200: None, 404: "NR"})


class Matching(RoutingTest):
    def test_exact_before_template_before_prefix(self):
        gateway = self.table(
            respond("all", {"path_prefix": "/"}),
            respond("users", {"path_prefix": "/users"}),
            respond("user", {"path_template": "/users/{id}"}),
            respond("me", {"path": "/users/me"}),
            respond("orders", {"path_template": "/users/{id}/orders"}),
            respond("files", {"path_template": "/files/{rest*}"}),
        )
        self.assert_taken(gateway, {
            "/": "all", "/usersx": "all", "/users": "users", "/users/me": "me", "/users/7": "user",
            "/users/7/orders": "orders", "/users/7/other": "users", "/files/a/b/c": "files", "/else": "all",
            "/users/../users/me": "me", "/%75sers/me": "me", "/users/me?x=1": "me",
        })

    def test_prefixes_end_at_segments(self):
        gateway = self.table(respond("api", {"path_prefix": "/api"}))
        self.assert_taken(gateway, {"/api": "api", "/api/": "api", "/api/x": "api", "/apix": 404, "/ap": 404})

    def test_regexes_match_the_whole_path(self):
        gateway = self.table(respond("number", {"path_regex": "/items/[0-9]+"}))
        self.assert_taken(gateway, {"/items/12": "number", "/items/12a": 404, "/x/items/12": 404, "/items/": 404})

    def test_methods_and_405_with_allow(self):
        gateway = self.table(
            respond("read", {"path": "/thing", "methods": ["GET"]}),
            respond("write", {"path": "/thing", "methods": ["PUT", "DELETE"]}),
        )
        self.assert_taken(gateway, {("/thing", "GET"): "read", ("/thing", "PUT"): "write"})
        response = self.ask(gateway, "/thing", "PATCH")
        self.assert_problem(response, 405, "method_not_allowed")
        self.assertEqual({name.strip() for name in response["allow"].split(",")} - {"HEAD"}, {"GET", "PUT", "DELETE"})

    def test_headers(self):
        gateway = self.table(
            respond("exact", {"headers": [{"name": "X-A", "exact": "one"}]}),
            respond("prefix", {"headers": [{"name": "x-a", "prefix": "two-"}]}),
            respond("suffix", {"headers": [{"name": "X-A", "suffix": "-three"}]}),
            respond("contains", {"headers": [{"name": "X-A", "contains": "four"}]}),
            respond("regex", {"headers": [{"name": "X-A", "regex": "[0-9]{3}"}]}),
            respond("range", {"headers": [{"name": "X-A", "range": {"from": -5, "to": 5}}]}),
            respond("absent", {"headers": [{"name": "X-A", "present": True, "invert": True}]}),
        )
        for value, name in (("one", "exact"), ("two-x", "prefix"), ("x-three", "suffix"), ("a four b", "contains"),
                            ("123", "regex"), ("-3", "range"), ("else", 404)):
            with self.subTest(value=value):
                self.assertEqual(self.taken(gateway, headers=[f"X-A: {value}"]), name)
        self.assertEqual(self.taken(gateway), "absent")

    def test_query_and_cookies(self):
        gateway = self.table(
            respond("beta", {"cookies": [{"name": "beta", "exact": "1"}]}),
            respond("version", {"query": [{"name": "v", "exact": "2"}]}),
            respond("flag", {"query": [{"name": "flag"}]}),
            respond("plain", {}),
        )
        self.assert_taken(gateway, {
            "/?v=2": "version", "/?a=b&v=2": "version", "/?v=%32": "version", "/?v=3": "plain", "/?flag": "flag",
            "/?flags=1": "plain",
        })
        self.assertEqual(self.taken(gateway, headers=["Cookie: a=b; beta=1"]), "beta")
        self.assertEqual(self.taken(gateway, headers=["Cookie: xbeta=1"]), "plain")

    def test_all_matchers_must_hold_and_the_more_specific_wins(self):
        gateway = self.table(
            respond("plain", {"path": "/a"}),
            respond("both", {"path": "/a", "headers": [{"name": "X-A"}], "query": [{"name": "q"}]}),
            respond("one", {"path": "/a", "headers": [{"name": "X-A"}]}),
        )
        self.assertEqual(self.taken(gateway, "/a?q", headers=["X-A: 1"]), "both")
        self.assertEqual(self.taken(gateway, "/a", headers=["X-A: 1"]), "one")
        self.assertEqual(self.taken(gateway, "/a?q"), "plain")

    def test_priority_beats_everything(self):
        gateway = self.table(
            respond("exact", {"path": "/a"}),
            respond("maintenance", {"path_prefix": "/"}, priority=10),
        )
        self.assertEqual(self.taken(gateway, "/a"), "maintenance")

    def test_delegation(self):
        settings = config([
            {"name": "team", "match": {"path_prefix": "/team"}, "delegate": ["team"]},
            respond("rest", {"path_prefix": "/"}),
        ])
        settings["route_tables"].append({"name": "team", "routes": [
            respond("list", {"path": "/team/list"}), respond("item", {"path_template": "/team/item/{id}"}),
        ]})
        gateway = self.gateway(settings)
        self.assert_taken(gateway, {"/team/list": "list", "/team/item/4": "item", "/list": "rest", "/": "rest"})


class Actions(RoutingTest):
    def forwarding(self, **rest):
        origin = self.origin()
        gateway = self.gateway(config([{"name": "only", **rest}], {"origin": origin.address}))
        return gateway, origin

    def test_rewrites_of_the_path(self):
        for match, rewrite, sent, expected in (
            ({"path_prefix": "/api"}, {"prefix": "/internal/v1"}, "/api/a?x=1", "/internal/v1/a?x=1"),
            ({"path_prefix": "/api"}, {"prefix": "/"}, "/api/a", "/a"),
            ({"path_prefix": "/api"}, {"prefix": "/"}, "/api", "/"),
            ({"path_template": "/users/{id}/x"}, {"template": "/v2/{id}"}, "/users/7/x?q", "/v2/7?q"),
            ({"path_prefix": "/"}, {"regex": {"pattern": "^/(\\w+)/(\\w+)", "substitution": "/\\2/\\1"}},
             "/a/b", "/b/a"),
        ):
            with self.subTest(rewrite=rewrite, sent=sent):
                gateway, origin = self.forwarding(
                    match=match, forward={"cluster": "origin", "rewrite": rewrite})
                self.assertEqual(self.ask(gateway, sent).status, 200)
                self.assertEqual(origin.requests[0].target, expected)

    def test_rewrites_of_the_host(self):
        for rewrite, headers, expected in (
            ({"host": "internal.example"}, [], "internal.example"),
            ({"host_from_header": "X-Host"}, ["X-Host: named.example"], "named.example"),
            ({"host_from_endpoint": True}, [], None),
        ):
            with self.subTest(rewrite=rewrite):
                gateway, origin = self.forwarding(match={}, forward={"cluster": "origin", "rewrite": rewrite})
                self.assertEqual(self.ask(gateway, headers=headers).status, 200)
                self.assertEqual(origin.requests[0].all("host"), [expected or origin.address])
                self.assertEqual(origin.requests[0]["x-forwarded-host"], "a.example")

    def test_the_host_stays_without_a_rewrite(self):
        gateway, origin = self.forwarding(match={}, forward="origin")
        self.ask(gateway, host="Shop.Example:8080")
        self.assertEqual(origin.requests[0]["host"], "Shop.Example:8080")

    def test_redirects(self):
        for redirect, status, location in (
            ({"path": "/new"}, 301, "http://a.example/new?q=1"),
            ({"prefix": "/new", "status": 308}, 308, "http://a.example/new/x?q=1"),
            ({"scheme": "https"}, 301, "https://a.example/old/x?q=1"),
            ({"scheme": "https", "port": 8443, "status": 307}, 307, "https://a.example:8443/old/x?q=1"),
            ({"host": "other.example", "strip_query": True, "status": 302}, 302, "http://other.example/old/x"),
            ({"regex": {"pattern": "^/old/(.*)", "substitution": "/then/\\1"}, "status": 303}, 303,
             "http://a.example/then/x?q=1"),
        ):
            with self.subTest(redirect=redirect):
                gateway = self.table({"name": "r", "match": {"path_prefix": "/old"}, "redirect": redirect})
                response = self.ask(gateway, "/old/x?q=1")
                self.assertEqual((response.status, response["location"]), (status, location))

    def test_responses_inline_from_a_file_and_templated(self):
        path = os.path.join(self.folder(), "page.html")
        with open(path, "w", encoding="utf-8") as file:
            file.write("<p>from a file</p>")
        gateway = self.table(
            {"name": "inline", "match": {"path": "/inline"}, "respond": {
                "status": 418, "body": "short", "headers": [{"name": "X-Tea", "value": "pot"}]}},
            {"name": "file", "match": {"path": "/file"}, "respond": {"file": path, "content_type": "text/html"}},
            {"name": "templated", "match": {"path_template": "/hello/{who}"}, "respond": {
                "template": "$(method) $(capture.who) $(query.q) $(request.header.x-a) $(route) $$"}},
            {"name": "empty", "match": {"path": "/empty"}, "respond": {"status": 204}},
        )
        response = self.ask(gateway, "/inline")
        self.assertEqual((response.status, response.body, response["x-tea"]), (418, b"short", "pot"))
        self.assertEqual(response["content-type"], "text/plain; charset=utf-8")
        response = self.ask(gateway, "/file")
        self.assertEqual((response.body, response["content-type"]), (b"<p>from a file</p>", "text/html"))
        head = self.ask(gateway, "/file", "HEAD")
        self.assertEqual(head["content-length"], "18")
        response = self.ask(gateway, "/hello/world?q=now", headers=["X-A: b"])
        self.assertEqual(response.body, b"GET world now b templated $")
        self.assertEqual(self.ask(gateway, "/empty").status, 204)

    def test_a_file_that_changed_is_read_with_the_next_load(self):
        path = os.path.join(self.folder(), "body.txt")
        with open(path, "w", encoding="utf-8") as file:
            file.write("before")
        settings = config([{"name": "f", "match": {}, "respond": {"file": path}}])
        gateway = self.gateway(settings)
        with open(path, "w", encoding="utf-8") as file:
            file.write("after")
        self.assertEqual(self.ask(gateway).body, b"before")
        mark = gateway.mark()
        gateway.signal(1)
        gateway.wait_for_line("loaded", mark)
        wait_until(lambda: self.ask(gateway).body == b"after", "the new body")


class Splits(GatehouseTest):
    def split(self, sticky=None, weights=(("v1", 70), ("v2", 25), ("v3", 5)), workers=1):
        origins = {}
        for name, _ in weights:
            origins[name] = self.origin(lambda _, __, name=name: answer(200, name.encode()))
        rule = {"clusters": [{"cluster": name, "weight": weight} for name, weight in weights]}
        if sticky:
            rule["sticky"] = sticky
        return self.gateway(config(
            [{"name": "canary", "match": {}, "split": rule}],
            {name: origin.address for name, origin in origins.items()}, workers=workers))

    def test_weights_are_exact_to_within_one(self):
        gateway = self.split()
        client = self.client(gateway)
        counts = Counter()
        for number in range(1, 1001):
            counts[client.ask().body.decode()] += 1
            for name, weight in (("v1", 0.70), ("v2", 0.25), ("v3", 0.05)):
                # Of three, within two over any run; within one where a period ends.
                slack = 1 if number % 100 == 0 else 2
                self.assertLessEqual(abs(counts[name] - number * weight), slack, (number, counts))
        self.assertEqual(counts, {"v1": 700, "v2": 250, "v3": 50})

    def test_two_ways_are_within_one_over_any_run(self):
        gateway = self.split(weights=(("v1", 95), ("v2", 5)))
        client = self.client(gateway)
        names = [client.ask().body.decode() for _ in range(1000)]
        for start in range(0, 1000, 37):
            for end in range(start + 1, 1001, 41):
                share = (end - start) * 0.05
                self.assertLessEqual(abs(names[start:end].count("v2") - share), 1, (start, end))

    def test_a_weight_of_zero_gets_nothing(self):
        gateway = self.split(weights=(("v1", 0), ("v2", 1)))
        client = self.client(gateway)
        self.assertEqual({client.ask().body for _ in range(100)}, {b"v2"})

    def test_sticky_by_header(self):
        gateway = self.split({"header": "X-User-Key"}, (("v1", 1), ("v2", 1)), workers=2)
        where = {}
        for user in [f"user-{number}" for number in range(60)] * 3:
            name = self.ask(gateway, headers=[f"X-User-Key: {user}"]).body
            self.assertEqual(where.setdefault(user, name), name)
        counts = Counter(where.values())
        self.assertGreater(min(counts.values()), 10, counts)

    def test_sticky_by_a_cookie_that_we_give(self):
        gateway = self.split({"cookie": {"name": "way", "ttl": "600s"}}, (("v1", 1), ("v2", 1)), workers=2)
        for _ in range(10):
            first = self.ask(gateway)
            cookie = first["set-cookie"]
            self.assertRegex(cookie, r"^way=\w+; ")
            self.assertIn("Max-Age=600", cookie)
            for _ in range(5):
                again = self.ask(gateway, headers=["Cookie: " + cookie.split(";")[0]])
                self.assertEqual(again.body, first.body)
                self.assertNotIn("set-cookie", again)

    def test_sticky_by_address(self):
        gateway = self.split({"client_ip": True}, (("v1", 1), ("v2", 1)), workers=2)
        seen = set()
        for number in range(1, 30):
            names = set()
            for _ in range(3):
                with Client(gateway.address, source=f"127.0.0.{number}") as client:
                    names.add(client.ask().body)
            self.assertEqual(len(names), 1)
            seen |= names
        self.assertEqual(seen, {b"v1", b"v2"})

    def test_a_share_has_headers_of_its_own(self):
        origin = self.origin()
        gateway = self.gateway(config([{"name": "s", "match": {}, "split": {"clusters": [
            {"cluster": "o", "set_request_headers": [{"name": "X-Share", "value": "canary"}]}]}}],
            {"o": origin.address}))
        self.ask(gateway, headers=["X-Share: forged"])
        self.assertEqual(origin.requests[0].all("x-share"), ["canary"])


class Many(GatehouseTest):
    def test_ten_thousand_routes(self):
        routes = [respond(f"r{number}", {"path_prefix": f"/service/{number}/v1"}) for number in range(10_000)]
        gateway = self.gateway(config(routes))
        client = self.client(gateway)
        for number in (0, 1, 777, 9999):
            client.send(request(f"/service/{number}/v1/x"))
            self.assertEqual(client.response().body.decode(), f"r{number}")
        self.assertEqual(client.ask("/service/10000/v1").status, 404)


if __name__ == "__main__":
    unittest.main()
