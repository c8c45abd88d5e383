"""Limits and timeouts, each with the status that it has by design."""

import select
import unittest

from harness import GatehouseTest, config, route, wait_until
from http_peers import Closed, answer, chunk, request


class Limited(GatehouseTest):
    def start(self, listener=None, handler=None, on_connection=None, **rest):
        self.target = self.origin(handler, on_connection=on_connection)
        cluster = {"endpoints": [self.target.address], **rest.pop("cluster", {})}
        return self.gateway(config([route("all", "/", "origin", **rest)], {"origin": cluster}, listener=listener))

    def assert_closed(self, client):
        self.assertTrue(client.at_end())


class Size(Limited):
    def test_a_head_over_the_limit_is_431(self):
        gateway = self.start({"limits": {"max_header_bytes": "4KiB"}})
        self.assertEqual(self.ask(gateway, headers=["X-A: " + "a" * 3000]).status, 200)
        client = self.client(gateway)
        response = client.ask(headers=["X-A: " + "a" * 5000])
        self.assert_problem(response, 431, "headers_too_large")
        self.assert_closed(client)

    def test_a_head_over_the_default_is_431(self):
        gateway = self.start()
        self.assertEqual(self.ask(gateway, headers=["X-A: " + "a" * 50_000]).status, 200)
        self.assertEqual(self.ask(gateway, headers=["X-A: " + "a" * 70_000]).status, 431)

    def test_too_many_fields_are_431(self):
        gateway = self.start()
        self.assertEqual(self.ask(gateway, headers=[f"X-{n}: a" for n in range(99)]).status, 200)
        self.assertEqual(self.ask(gateway, headers=[f"X-{n}: a" for n in range(101)]).status, 431)

    def test_a_long_target_is_414(self):
        gateway = self.start({"limits": {"max_uri_bytes": "1KiB"}})
        self.assertEqual(self.ask(gateway, "/" + "a" * 1000).status, 200)
        client = self.client(gateway)
        self.assert_problem(client.ask("/" + "a" * 1024), 414, "uri_too_long")
        self.assert_closed(client)

    def test_a_body_over_the_limit_is_413_before_it_is_read(self):
        gateway = self.start({"limits": {"max_body_bytes": 1000}})
        self.assertEqual(self.ask(gateway, method="POST", body=b"x" * 1000).status, 200)
        client = self.client(gateway)
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n")
        self.assert_problem(client.response(), 413, "body_too_large")
        self.assert_closed(client)
        self.assertEqual(len(self.target.requests), 1)

    def test_a_chunked_body_over_the_limit_is_413_when_it_gets_there(self):
        whole = []
        gateway = self.start({"limits": {"max_body_bytes": 1000}},
                             on_connection=lambda connection: whole.append(connection.request()))
        client = self.client(gateway)
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.send(chunk(b"x" * 600) + chunk(b"x" * 600))
        self.assert_problem(client.response(), 413, "body_too_large")
        self.assert_closed(client)
        self.assertEqual([one for one in whole if one], [])

    def test_a_route_has_its_own_body_limit(self):
        origin = self.origin()
        gateway = self.gateway(config(
            [route("small", "/small", "o", max_body_bytes=10), route("large", "/large", "o", max_body_bytes="1MiB")],
            {"o": origin.address}, listener={"limits": {"max_body_bytes": 100}}))
        self.assertEqual(self.ask(gateway, "/small", "POST", body=b"x" * 11).status, 413)
        self.assertEqual(self.ask(gateway, "/large", "POST", body=b"x" * 5000).status, 200)

    def test_a_response_head_over_the_limit_is_502(self):
        gateway = self.start(handler=lambda *_: answer(200, b"", ["X-A: " + "a" * 70_000]))
        self.assert_problem(self.ask(gateway), 502, "response_too_large")

    def test_every_refusal_is_counted_and_logged(self):
        gateway = self.start({"limits": {"max_uri_bytes": 100}})
        self.ask(gateway, "/" + "a" * 200)
        record = gateway.log(1)[0]
        self.assertEqual((record["status"], record["code"]), (414, "uri_too_long"))
        count = gateway.metric("gatehouse_listener_protocol_errors_total", listener="edge", kind="uri_too_long")
        self.assertEqual(count, 1)


class SlowClients(Limited):
    def test_a_head_that_does_not_end_is_408(self):
        gateway = self.start({"timeouts": {"request_header": "300ms"}})
        client = self.client(gateway)
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow:")
        self.assert_problem(client.response(), 408, "request_timeout")
        self.assert_closed(client)
        self.assertEqual(gateway.log(1)[0]["flags"], "DT")
        self.assertEqual(self.target.requests, [])

    def test_a_head_that_drips_is_408(self):
        gateway = self.start({"timeouts": {"request_header": "500ms"}})
        client = self.client(gateway)
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n")
        client.sock.settimeout(0.02)
        answered = False
        while not answered:
            client.send(b"X-A: b\r\n")  # each byte is in time, the whole is not
            try:
                answered = client.fill()
            except TimeoutError:
                continue
        client.sock.settimeout(60)
        self.assertEqual(client.response().status, 408)

    def test_who_says_nothing_is_closed(self):
        gateway = self.start({"timeouts": {"request_header": "300ms"}})
        client = self.client(gateway)
        self.assert_closed(client)

    def test_an_idle_connection_is_closed_without_a_word(self):
        gateway = self.start({"timeouts": {"keep_alive": "300ms"}})
        client = self.client(gateway)
        self.assertEqual(client.ask().status, 200)
        self.assert_closed(client)
        self.assertEqual(gateway.metric("gatehouse_listener_idle_closes_total"), 1)

    def test_an_old_connection_is_closed_after_a_response(self):
        gateway = self.start({"timeouts": {"max_connection_age": "1ms"}})
        client = self.client(gateway)
        wait_until(lambda: client.ask()["connection"] == "close", "a response that closes")
        self.assert_closed(client)

    def test_a_body_that_drips_is_408(self):
        gateway = self.start({"timeouts": {"min_body_rate": 1000}})
        client = self.client(gateway)
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100)
        self.assert_problem(client.response(), 408, "request_timeout")
        self.assert_closed(client)

    def test_a_request_that_takes_too_long_is_408(self):
        gateway = self.start({"timeouts": {"request": "1s", "min_body_rate": 0}})
        client = self.client(gateway)
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100)
        self.assert_problem(client.response(), 408, "request_timeout")
        self.assert_closed(client)

    def test_a_client_that_does_not_take_its_response_is_dropped(self):
        size = 64 << 20

        def on_connection(connection):
            connection.request_head()
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            while True:
                connection.send(b"x" * 65536)

        gateway = self.start(on_connection=on_connection)
        client = self.client(gateway, receive_buffer=16 * 1024)
        client.send(request())
        self.assertEqual(gateway.log(1)[0]["status"], 200)  # it is over, though nothing was read
        got = 0
        with self.assertRaises((Closed, OSError)):
            while True:
                got += len(client.take(1))
        self.assertLess(got, size)


class SlowOrigins(Limited):
    def silent(self, connection):
        """Takes requests and never answers."""
        while connection.request():
            pass

    def test_a_route_has_a_deadline(self):
        gateway = self.start(on_connection=self.silent, timeout="300ms")
        client = self.client(gateway)
        self.assert_problem(client.ask(), 504, "upstream_timeout")
        # The client's connection is good for more.
        self.assertEqual(client.ask().status, 504)
        record = gateway.log(2)[0]
        self.assertEqual((record["flags"], record["route"], record["cluster"]), ("UT", "all", "origin"))
        self.assertEqual(gateway.metric("gatehouse_route_timeouts_total"), 2)

    def test_a_deadline_in_the_middle_of_a_response_breaks_it(self):
        def on_connection(connection):
            connection.request()
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            connection.request()

        gateway = self.start(on_connection=on_connection, timeout="500ms")
        client = self.client(gateway)
        client.send(request())
        self.assertEqual(client.head().status, 200)
        with self.assertRaises((Closed, OSError)):
            client.take(100)

    def test_a_cluster_bounds_the_time_to_the_response_head(self):
        gateway = self.start(on_connection=self.silent, cluster={"response_header_timeout": "300ms"}, timeout="60s")
        self.assert_problem(self.ask(gateway), 504, "upstream_timeout")

    def test_an_origin_that_stops_is_504(self):
        gateway = self.start(on_connection=self.silent, idle_timeout="300ms", timeout="60s")
        self.assert_problem(self.ask(gateway), 504, "upstream_idle_timeout")

    def test_no_deadline_when_it_is_zero(self):
        gateway = self.start(timeout="0s")
        self.assertEqual(self.ask(gateway).status, 200)

    def test_the_deadline_does_not_count_the_time_of_the_upload(self):
        gateway = self.start(timeout="500ms", handler=lambda _, request: answer(200, request.body[-3:]))
        client = self.client(gateway)
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(9):
            client.send(b"x" * 100)
            # Nothing comes meanwhile; all in all this takes longer than the deadline.
            self.assertEqual(select.select([client.sock], [], [], 0.1)[0], [])
        client.send(b"x" * 100)
        self.assertEqual(client.response().body, b"xxx")


class Connections(Limited):
    def test_a_listener_has_a_cap(self):
        gateway = self.start({"limits": {"max_connections": 3}})
        clients = [self.client(gateway) for _ in range(3)]
        for client in clients:
            self.assertEqual(client.ask().status, 200)
        self.assert_closed(self.client(gateway))
        self.assertEqual(gateway.metric("gatehouse_listener_rejected_total", reason="limit"), 1)
        # One that leaves makes room.
        clients[0].close()

        def served():
            try:
                return self.ask(gateway).status == 200
            except (OSError, Closed):
                return False

        wait_until(served, "room for another connection")

    def test_an_address_has_a_cap(self):
        gateway = self.start({"limits": {"max_connections_per_ip": 2}})
        clients = [self.client(gateway) for _ in range(2)]
        for client in clients:
            self.assertEqual(client.ask().status, 200)
        self.assert_closed(self.client(gateway))
        other = self.client(gateway, source="127.0.0.2")
        self.assertEqual(other.ask().status, 200)

    def test_the_process_has_a_cap(self):
        origin = self.origin()
        gateway = self.gateway(config([route("all", "/", "o")], {"o": origin.address},
                                      overload={"max_connections": 2}))
        clients = [self.client(gateway) for _ in range(2)]
        for client in clients:
            self.assertEqual(client.ask().status, 200)
        self.assert_closed(self.client(gateway))

    def test_requests_over_the_limit_of_a_cluster_are_503(self):
        def on_connection(connection):
            connection.request()
            connection.request()

        gateway = self.start(on_connection=on_connection,
                             cluster={"limits": {"max_connections": 1, "max_pending": 0}})
        # Limits are per worker: enough clients to have two on one of them.
        clients = [self.client(gateway) for _ in range(8)]
        for client in clients:
            client.send(request())
        ready, _, _ = select.select([client.sock for client in clients], [], [], 60)
        refused = next(client for client in clients if client.sock in ready)
        response = refused.response()
        self.assert_problem(response, 503, "upstream_overflow")
        self.assertIsNotNone(response["retry-after"])

    def test_requests_wait_for_a_connection(self):
        gateway = self.start(cluster={"limits": {"max_connections": 1, "max_pending": 100}})
        clients = [self.client(gateway) for _ in range(20)]
        for client in clients:
            client.send(request())
        self.assertEqual({client.response().status for client in clients}, {200})
        self.assertLessEqual(self.target.connections, 2, "one per worker")


if __name__ == "__main__":
    unittest.main()
