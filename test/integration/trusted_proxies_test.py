"""Who the client is and how it came, behind proxies that are trusted and others."""

import unittest

from harness import GatehouseTest, config, route

CLIENT = {"name": "client", "match": {"path": "/client"}, "respond": {"template": "$(client_ip) $(scheme)"}}
MOVED = {"name": "moved", "match": {"path": "/old"}, "redirect": {"path": "/new"}}


class TrustedProxies(GatehouseTest):
    def edge(self, *routes, trusted=("127.0.0.0/8", "10.0.0.0/8"), **clusters):
        return self.gateway(config([CLIENT, MOVED, *routes], clusters, {"trusted_proxies": list(trusted)}))

    def test_the_first_address_from_the_right_that_is_not_trusted(self):
        gateway = self.edge()
        for claims, address in (
            ([], "127.0.0.1"),
            (["192.0.2.7"], "192.0.2.7"),
            (["203.0.113.9, 192.0.2.7, 10.1.2.3"], "192.0.2.7"),
            (["192.0.2.7", "10.1.2.3"], "192.0.2.7"),
            (["203.0.113.9", "192.0.2.7:4711"], "192.0.2.7"),
            (["10.9.9.9, 10.1.2.3"], "10.9.9.9"),
            (["[2001:db8::1]:4711"], "2001:db8::1"),
            (["192.0.2.7, unknown"], "127.0.0.1"),
        ):
            with self.subTest(claims=claims):
                headers = [f"X-Forwarded-For: {claim}" for claim in claims]
                self.assertEqual(self.ask(gateway, "/client", headers=headers).body.decode(), f"{address} http")

    def test_the_scheme(self):
        gateway = self.edge()
        for claims, scheme in (
            (["https"], "https"), (["HTTPS"], "https"), (["http"], "http"), (["ftp"], "http"),
            (["https, http"], "http"), (["https", "https"], "http"),
        ):
            with self.subTest(claims=claims):
                headers = [f"X-Forwarded-Proto: {claim}" for claim in claims]
                self.assertEqual(self.ask(gateway, "/client", headers=headers).body.decode(), f"127.0.0.1 {scheme}")
                moved = self.ask(gateway, "/old", headers=headers)
                self.assertEqual(moved["location"], f"{scheme}://a.example/new")
        self.assertEqual(gateway.record(path="/old", scheme="https")["route"], "moved")

    def test_a_cookie_of_ours_is_for_https_alone(self):
        origin = self.origin()
        sticky = {"cookie": {"name": "version", "ttl": "1h"}}
        gateway = self.edge(
            {"name": "split", "match": {}, "split": {"clusters": [{"cluster": "origin"}], "sticky": sticky}},
            origin=origin.address,
        )
        self.assertNotIn("Secure", self.ask(gateway)["set-cookie"])
        self.assertIn("; Secure", self.ask(gateway, headers=["X-Forwarded-Proto: https"])["set-cookie"])

    def test_what_the_origin_is_told(self):
        origin = self.origin()
        gateway = self.edge(route("all", "/", "origin"), origin=origin.address)
        self.ask(gateway, headers=[
            "X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: https", "X-Forwarded-Host: shop.example", "X-Request-ID: r1",
        ])
        seen = origin.requests[0]
        self.assertEqual(seen.all("x-forwarded-for"), ["192.0.2.7, 127.0.0.1"])
        self.assertEqual(seen.all("x-forwarded-proto"), ["https"])
        self.assertEqual(seen.all("x-forwarded-host"), ["shop.example"])
        self.assertEqual(seen.all("x-request-id"), ["r1"])

    def test_others_are_not_believed(self):
        origin = self.origin()
        gateway = self.edge(route("all", "/", "origin"), trusted=["10.0.0.0/8"], origin=origin.address)
        headers = [
            "X-Forwarded-For: 10.0.0.1", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil.example",
            "X_Forwarded_For: 10.0.0.1", "Forwarded: for=10.0.0.1", "X-Real-IP: 10.0.0.1",
        ]
        self.assertEqual(self.ask(gateway, "/client", headers=headers).body, b"127.0.0.1 http")
        self.assertEqual(self.ask(gateway, "/old", headers=headers)["location"], "http://a.example/new")
        self.ask(gateway, headers=headers)
        seen = origin.requests[0]
        self.assertEqual(seen.all("x-forwarded-for"), ["127.0.0.1"])
        self.assertEqual(seen.all("x-forwarded-proto"), ["http"])
        self.assertEqual(seen.all("x-forwarded-host"), ["a.example"])
        for name in ("x_forwarded_for", "forwarded", "x-real-ip"):
            self.assertNotIn(name, seen)


if __name__ == "__main__":
    unittest.main()
