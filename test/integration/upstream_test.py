"""Origins that are down, slow, broken or rude: what the client gets, and what is tried again."""

import contextlib
import os
import signal
import socket
import threading
import unittest
from collections import Counter

from harness import GatehouseTest, config, route, wait_until
from http_peers import Closed, answer, chunk, free_port, request


def thread_states(pid):
    states = set()
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/stat", encoding="ascii") as file:
            states.add(file.read().rpartition(")")[2].split()[0])
    return states


class UpstreamTest(GatehouseTest):
    def to(self, *addresses, cluster=None, **rest):
        """A gateway with one worker in front of these endpoints."""
        resource = {"endpoints": list(addresses), **(cluster or {})}
        return self.gateway(config([route("all", "/", "origin", **rest)], {"origin": resource}, workers=1))


class Unreachable(UpstreamTest):
    def test_nobody_listens(self):
        gateway = self.to(f"127.0.0.1:{free_port()}")
        self.assert_problem(self.ask(gateway), 503, "connect_failure")
        record = gateway.log(1)[0]
        self.assertIn("UF", record["flags"])
        self.assertEqual(record["cluster"], "origin")
        self.assertGreaterEqual(gateway.metric("gatehouse_cluster_connect_failures_total", cluster="origin"), 1)

    def test_another_endpoint_is_tried(self):
        origin = self.origin()
        gateway = self.to(f"127.0.0.1:{free_port()}", origin.address,
                          retry={"attempts": 1, "on": ["connect-failure"]})
        client = self.client(gateway)
        self.assertEqual(Counter(client.ask(method="POST", body=b"x").status for _ in range(20)), {200: 20})
        self.assertEqual({seen.body for seen in origin.requests}, {b"x"})
        self.assertEqual({record["upstream_address"] for record in gateway.log(20)}, {origin.address})

    def test_it_is_used_again_once_it_is_back(self):
        port = free_port()
        gateway = self.to(f"127.0.0.1:{port}")
        self.assertEqual(self.ask(gateway).status, 503)
        self.origin(address=("127.0.0.1", port))
        self.assertEqual(self.ask(gateway).status, 200)

    def test_a_full_accept_queue(self):
        with socket.create_server(("127.0.0.1", 0), backlog=0) as full, contextlib.ExitStack() as stack:
            address = full.getsockname()
            while True:  # until the kernel lets no more in
                waiting = stack.enter_context(socket.socket())
                waiting.settimeout(0.5)
                try:
                    waiting.connect(address)
                except TimeoutError:
                    break
            gateway = self.to(f"127.0.0.1:{address[1]}", cluster={"connect_timeout": "300ms"})
            response = self.ask(gateway)
            self.assertEqual(response.status, 504, response)
            self.assert_problem(response, 504, "connect_timeout")
            self.assertEqual(gateway.metric("gatehouse_cluster_connect_timeouts_total"), 2)  # and the default retry

    def test_a_full_accept_queue_beside_a_good_endpoint(self):
        origin = self.origin()
        with socket.create_server(("127.0.0.1", 0), backlog=0) as full, contextlib.ExitStack() as stack:
            address = full.getsockname()
            while True:
                waiting = stack.enter_context(socket.socket())
                waiting.settimeout(0.5)
                try:
                    waiting.connect(address)
                except TimeoutError:
                    break
            gateway = self.to(f"127.0.0.1:{address[1]}", origin.address, cluster={"connect_timeout": "200ms"},
                              retry={"on": ["connect-failure"]})
            self.assertEqual([self.ask(gateway).status for _ in range(4)], [200] * 4)

    def test_a_name_that_does_not_exist(self):
        gateway = self.to("no-such-name.invalid:80")
        response = self.ask(gateway)
        self.assertEqual(response.status, 503)
        self.assertIn(b'"no_healthy_upstream"', response.body)

    def test_a_name_that_does(self):
        origin = self.origin()
        gateway = self.to(f"localhost:{origin.port}", cluster={"dns": {"family": "ipv4"}})
        self.assertEqual(self.ask(gateway).status, 200)
        clusters = gateway.ask_admin("/clusters").body.decode()
        self.assertIn(f'"address":"{origin.address}"', clusters)


class Pool(UpstreamTest):
    def test_endpoints_take_turns(self):
        origins = [self.origin() for _ in range(3)]
        gateway = self.to(*(origin.address for origin in origins))
        client = self.client(gateway)
        for _ in range(30):
            self.assertEqual(client.ask().status, 200)
        self.assertEqual([len(origin.requests) for origin in origins], [10, 10, 10])

    def test_endpoints_take_turns_by_weight(self):
        origins = [self.origin() for _ in range(2)]
        gateway = self.to({"address": origins[0].address, "weight": 3}, {"address": origins[1].address, "weight": 1})
        client = self.client(gateway)
        for _ in range(40):
            client.ask()
        self.assertEqual([len(origin.requests) for origin in origins], [30, 10])

    def test_connections_are_kept(self):
        origin = self.origin()
        gateway = self.to(origin.address)
        for _ in range(20):
            self.assertEqual(self.ask(gateway).status, 200)
        self.assertEqual(origin.connections, 1)
        self.assertEqual(gateway.metric("gatehouse_cluster_pool_hits_total"), 19)

    def test_the_most_recently_used_goes_first(self):
        origin = self.origin(lambda connection, _: answer(200, str(connection.sock.getpeername()[1]).encode()))
        gateway = self.to(origin.address)
        clients = [self.client(gateway) for _ in range(10)]
        for client in clients:
            client.send(request())
        for client in clients:
            client.response()
        # One after the other needs only one of the connections, and always the same.
        ports = {self.ask(gateway).body for _ in range(10)}
        self.assertEqual(len(ports), 1)

    def test_idle_ones_are_closed(self):
        ended = threading.Event()

        def on_connection(connection):
            while connection.request():
                connection.send(answer(200, b"x"))
            ended.set()

        origin = self.origin(on_connection=on_connection)
        gateway = self.to(origin.address, cluster={"pool": {"idle_timeout": "200ms"}})
        self.assertEqual(self.ask(gateway).status, 200)
        self.assertTrue(ended.wait(60))

    def test_requests_per_connection(self):
        origin = self.origin()
        gateway = self.to(origin.address, cluster={"pool": {"max_requests_per_connection": 2}})
        for _ in range(6):
            self.assertEqual(self.ask(gateway).status, 200)
        self.assertEqual(origin.connections, 3)

    def test_none_are_kept_when_none_may_be(self):
        origin = self.origin()
        gateway = self.to(origin.address, cluster={"pool": {"max_idle": 0}})
        for _ in range(3):
            self.assertEqual(self.ask(gateway).status, 200)
        self.assertEqual(origin.connections, 3)


class StaleConnections(UpstreamTest):
    def closing_at_the_second_request(self, reset):
        def on_connection(connection):
            connection.request()
            connection.send(answer(200, b"first"))
            connection.request()
            if reset:
                connection.reset()

        return self.origin(on_connection=on_connection)

    def test_a_get_is_sent_again(self):
        for reset in (False, True):
            with self.subTest(reset=reset):
                origin = self.closing_at_the_second_request(reset)
                gateway = self.to(origin.address)
                for _ in range(10):
                    self.assertEqual(self.ask(gateway).status, 200)

    def test_a_post_that_may_have_been_processed_is_not(self):
        origin = self.closing_at_the_second_request(False)
        gateway = self.to(origin.address)
        self.assertEqual(self.ask(gateway, method="POST", body=b"a").status, 200)
        self.assert_problem(self.ask(gateway, method="POST", body=b"b"), 502, "upstream_reset")
        self.assertEqual([seen.body for seen in origin.requests], [b"a", b"b"])

    def test_an_origin_that_closes_after_each_answer(self):
        """Without a word about it: its FIN races with our next request."""
        origin = self.origin(on_connection=lambda connection: connection.request() and connection.send(answer(200)))
        gateway = self.to(origin.address)
        client = self.client(gateway)
        self.assertEqual(Counter(client.ask().status for _ in range(300)), {200: 300})

    def test_an_origin_that_restarts(self):
        origin = self.origin()
        gateway = self.to(origin.address)
        clients = [self.client(gateway) for _ in range(10)]
        for client in clients:
            client.send(request())
        for client in clients:
            client.response()
        origin.drop_connections()
        for client in clients:
            client.send(request())
        self.assertEqual({client.response().status for client in clients}, {200})


class BrokenResponses(UpstreamTest):
    def breaking(self, reply, reset):
        """An origin that gives a cut response: how much of it is the request's path."""

        def on_connection(connection):
            message = connection.request()
            connection.send(reply[: int(message.target[1:])])
            if reset:
                connection.reset()

        return self.to(self.origin(on_connection=on_connection).address)

    def check_every_cut(self, reply, reset):
        gateway = self.breaking(reply, reset)
        head_size = reply.index(b"\r\n\r\n") + 4
        for cut in range(len(reply)):
            with self.subTest(cut=cut, reset=reset):
                client = self.client(gateway)
                client.send(request(f"/{cut}"))
                try:
                    head = client.head()
                except ConnectionResetError:
                    self.assertGreaterEqual(cut, head_size)  # ours may overtake what was sent before, too
                    continue
                if head.status == 502:
                    client.read_body(head, until_close=True)
                    self.assertIn(b'"upstream_', head.body)
                    if not reset:  # a reset may overtake what was sent before it
                        self.assertLessEqual(cut, head_size)
                    continue
                self.assertEqual(head.status, 200)
                self.assertGreaterEqual(cut, head_size)
                with self.assertRaises((Closed, OSError), msg="a cut response looks whole"):
                    client.read_body(head, until_close=False)
        whole = self.ask(gateway, f"/{len(reply)}")
        self.assertEqual((whole.status, whole.body), (200, b"0123456789"))

    def test_a_length_reset_at_every_byte(self):
        self.check_every_cut(answer(200, b"0123456789"), reset=True)

    def test_a_length_closed_at_every_byte(self):
        self.check_every_cut(answer(200, b"0123456789"), reset=False)

    CHUNKED = (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"01234") + chunk(b"56789")
               + b"0\r\nX-T: 1\r\n\r\n")

    def test_chunks_reset_at_every_byte(self):
        self.check_every_cut(self.CHUNKED, reset=True)

    def test_chunks_closed_at_every_byte(self):
        self.check_every_cut(self.CHUNKED, reset=False)

    def test_garbage(self):
        for reply in (
            b"garbage\r\n\r\n", b"\x00" * 100, b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/2.0 200 OK\r\n\r\n",
            b"HTTP/1.1 20 OK\r\n\r\n", b"HTTP/1.1 2000 OK\r\n\r\n", b"HTTP/1.1 099 No\r\n\r\n", b"HTTP/1.1200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX\x00Y: 1\r\n\r\n", b"<html>no head at all</html>\r\n\r\n",
        ):
            with self.subTest(reply=reply):
                gateway = self.to(self.origin(lambda *_, reply=reply: reply).address)
                self.assert_problem(self.ask(gateway), 502, "upstream_protocol_error")
                self.assertIn("UPE", gateway.log(1)[0]["flags"])

    def test_bad_chunks_break_the_response(self):
        for body in (b"x\r\n", b"5\r\nab", b"-1\r\n", b"5\r\nabcdeXX"):
            with self.subTest(body=body):
                def handler(connection, _, body=body):
                    connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"good") + body)
                    return self_.CLOSE

                self_ = self.origin(handler)
                gateway = self.to(self_.address)
                with self.assertRaises((Closed, OSError)):
                    self.assertEqual(self.ask(gateway).status, 502)
                    raise Closed  # a 502 is fine too: nothing had been sent yet

    def test_a_response_without_a_request(self):
        """Bytes on an idle connection: it is not used again."""
        spoke = threading.Event()

        def on_connection(connection):
            connection.request()
            connection.send(answer(200, b"good"))
            connection.send(answer(200, b"evil"))
            spoke.set()
            connection.take_all()

        origin = self.origin(on_connection=on_connection)
        gateway = self.to(origin.address)
        for _ in range(5):
            self.assertEqual(self.ask(gateway).body, b"good")
            self.assertTrue(spoke.wait(60))
            spoke.clear()

    def test_a_response_that_was_sent_before_the_request(self):
        """The worker finds the next request and the bytes in one turn, the request first."""
        speak = threading.Event()
        spoke = threading.Event()

        def on_connection(connection):
            connection.request()
            connection.send(answer(200, b"good"))
            speak.wait(60)
            connection.send(answer(200, b"evil"))
            spoke.set()
            connection.take_all()

        origin = self.origin(on_connection=on_connection)
        gateway = self.to(origin.address)
        client = self.client(gateway)
        self.assertEqual(client.ask("/").body, b"good")
        wait_until(lambda: gateway.metric("gatehouse_cluster_idle_connections") == 1)
        gateway.signal(signal.SIGSTOP)
        self.addCleanup(gateway.signal, signal.SIGCONT)
        wait_until(lambda: thread_states(gateway.process.pid) == {"T"})
        client.send(request("/"))
        speak.set()
        self.assertTrue(spoke.wait(60))
        gateway.signal(signal.SIGCONT)
        self.assertEqual(client.response().body, b"good")
        self.assertEqual(origin.connections, 2)


class Retries(UpstreamTest):
    def failing(self, times, status=503):
        """Answers `status` so many times, then 200."""
        self.count = 0
        lock = threading.Lock()

        def handler(_, message):
            with lock:
                self.count += 1
                failed = self.count <= times
            return answer(status, b"sorry") if failed else answer(200, message.body)

        return self.origin(handler)

    def test_5xx_with_the_body_sent_again(self):
        origin = self.failing(2)
        gateway = self.to(origin.address, retry={"attempts": 2, "on": ["5xx"], "backoff": "1ms"})
        response = self.ask(gateway, method="PUT", body=b"the whole body")
        self.assertEqual((response.status, response.body), (200, b"the whole body"))
        self.assertEqual([seen.body for seen in origin.requests], [b"the whole body"] * 3)
        self.assertEqual(gateway.log(1)[0]["attempts"], 3)
        self.assertEqual(gateway.metric("gatehouse_cluster_retries_total"), 2)

    def test_a_chunked_body_is_sent_again_too(self):
        origin = self.failing(1)
        gateway = self.to(origin.address, retry={"on": ["503"]})
        client = self.client(gateway)
        client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"one") + chunk(b"two")
                    + b"0\r\n\r\n")
        self.assertEqual(client.response().body, b"onetwo")
        self.assertEqual([seen.body for seen in origin.requests], [b"onetwo"] * 2)

    def test_the_last_answer_is_passed_on(self):
        origin = self.failing(10)
        gateway = self.to(origin.address, retry={"attempts": 2, "on": ["gateway-error"], "backoff": "1ms"})
        response = self.ask(gateway)
        self.assertEqual((response.status, response.body), (503, b"sorry"))
        self.assertEqual(self.count, 3)

    def test_a_post_only_when_allowed(self):
        for allowed, status, count in ((False, 503, 1), (True, 200, 2)):
            with self.subTest(allowed=allowed):
                origin = self.failing(1)
                gateway = self.to(origin.address, retry={"on": ["5xx"], "non_idempotent": allowed})
                self.assertEqual(self.ask(gateway, method="POST", body=b"x").status, status)
                self.assertEqual(self.count, count)

    def test_a_large_body_is_not_kept(self):
        origin = self.failing(1)
        gateway = self.to(origin.address, retry={"on": ["5xx"], "max_body_bytes": 100})
        self.assertEqual(self.ask(gateway, method="PUT", body=b"x" * 1000).status, 503)
        self.assertEqual(self.count, 1)

    def test_other_statuses_are_not_retried(self):
        origin = self.failing(1, status=500)
        gateway = self.to(origin.address, retry={"on": ["gateway-error", "409"]})
        self.assertEqual(self.ask(gateway).status, 500)

    def test_a_try_has_a_time_of_its_own(self):
        def on_connection(connection):
            first = origin.connections == 1
            while connection.request():
                if not first:
                    connection.send(answer(200, b"second"))

        origin = self.origin(on_connection=on_connection)
        gateway = self.to(origin.address, retry={"on": ["5xx"], "per_try_timeout": "300ms"}, timeout="30s")
        self.assertEqual(self.ask(gateway).body, b"second")

    def test_a_reset(self):
        def on_connection(connection):
            if connection.request() and origin.connections == 1:
                connection.reset()
                return
            connection.send(answer(200, b"second"))

        origin = self.origin(on_connection=on_connection)
        gateway = self.to(origin.address, retry={"on": ["reset"]})
        self.assertEqual(self.ask(gateway).body, b"second")

    def test_the_deadline_covers_all_tries(self):
        def on_connection(connection):
            while connection.request():
                pass

        origin = self.origin(on_connection=on_connection)
        gateway = self.to(origin.address, timeout="500ms",
                          retry={"attempts": 100, "on": ["5xx"], "per_try_timeout": "50ms"})
        self.assert_problem(self.ask(gateway), 504, "upstream_timeout")
        wait_until(lambda: gateway.metric("gatehouse_cluster_active_requests") == 0, "no try is left behind")


if __name__ == "__main__":
    unittest.main()
