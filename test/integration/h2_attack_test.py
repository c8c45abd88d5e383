"""HTTP/2 used against its server: each attack ends or runs into a limit, costs bounded memory, is counted, and nobody
else notices.

Every attack runs beside clients that ask without a pause. `H2_REFERENCE=nghttpx` shows what that server makes of them.
"""

import contextlib
import os
import unittest

from h2_reference import Reference
from h2_wire import (
    CONTINUATION, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, HEADER_TABLE_SIZE,
    HEADERS, INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS, NO_ERROR, PREFACE, PRIORITY, PROTOCOL_ERROR, REFUSED_STREAM,
    STREAM_CLOSED, H2Client, block, continuation, data, frame, get, goaway, integer, literal, ping, post, priority,
    rst_stream, settings, settings_ack, window_update)
from harness import GatehouseTest, Load, config, route, wait_until
from http_peers import Closed, Origin, answer

MEGABYTE = 1 << 20
# What the memory of the gateway may grow by, whatever one client does.
ROOM = 48 * MEGABYTE
ABUSE = "gatehouse_listener_http2_abuse_total"

KINDS = ("resets", "control", "empty", "errors", "continuations", "header_list", "stalled")


def serve(connection, message):
    """/hold never answers; /bytes/N is N bytes."""
    path = message.target.split("?")[0]
    if path == "/hold":
        connection.at_end()
        return Origin.CLOSE
    if path.startswith("/bytes/"):
        return answer(200, b"x" * int(path.split("/")[2]))
    return answer(200, b"fine")


class AttackTest(GatehouseTest):
    def start(self, **listener):
        self.target = self.origin(serve)
        name = os.environ.get("H2_REFERENCE")
        if name:
            self.server = Reference(name, self.target.address, self.folder())
            self.addCleanup(self.server.stop)
        else:
            self.server = self.gateway(config([route("all", "/", "origin")], {"origin": self.target.address},
                                              listener=listener))
        self.real = not name
        with H2Client(self.server.address) as client:  # what is made once is made
            client.alive()
        self.before = self.peak()
        return self.server

    def peak(self):
        with open(f"/proc/{self.server.process.pid}/status", encoding="ascii") as file:
            line = next(line for line in file if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024

    @contextlib.contextmanager
    def others(self, room=ROOM):
        """Clients of both protocols that must not notice what happens inside, and the memory that must not grow."""
        with Load(self.server.address, 2) as load, H2Client(self.server.address) as bystander:
            load.wait_for(5)
            yield
            bystander.alive()
            load.wait_for(5)
            self.assertEqual(load.stop(), [])
        self.assertLess((self.peak() - self.before) / MEGABYTE, room / MEGABYTE, "MiB that the gateway grew")

    def attacker(self, **options):
        client = H2Client(self.server.address, **options)
        self.addCleanup(client.close)
        return client

    def counted(self, *kinds):
        return sum(self.server.metric(ABUSE, kind=kind) for kind in kinds)

    def assert_counted(self, *kinds):
        if self.real and kinds:
            wait_until(lambda: self.counted(*kinds) >= 1, f"{ABUSE} of {kinds} to be counted")

    def assert_ended(self, client, *codes):
        """GOAWAY with one of the codes, or just the end: it may be lost when we had more on the way."""
        client.wait(lambda: False, "the end of the connection")
        wrong = [code for _, code, _ in client.goaways if code not in (ENHANCE_YOUR_CALM, NO_ERROR, *codes)]
        self.assertEqual(wrong, [], client.story())

    def flood(self, payload, *kinds, prepare=None, codes=(), client=None, limit=8 * MEGABYTE):
        """Sends `payload` again and again, reading nothing in between: the connection must end.

        A server that has said GOAWAY may read on for a while, so that the client gets to see it.
        """
        with self.others():
            client = client or self.attacker()
            if prepare:
                client.send(*prepare(client))
            sent = 0
            outcome = "sent"
            while outcome == "sent" and sent < limit:
                outcome = client.push(payload)
                sent += len(payload)
            self.assert_ended(client, *codes)
        self.assert_counted(*kinds)
        return client


class RapidReset(AttackTest):
    """CVE-2023-44487: requests that are reset at once never count against the limit of streams."""

    def pairs(self, client, count, path="/hold", first=1):
        return b"".join(client.headers(stream, get(path), end=True) + rst_stream(stream)
                        for stream in range(first, first + 2 * count, 2))

    def test_in_one_burst(self):
        self.start()
        with self.others():
            client = self.attacker()
            client.push(self.pairs(client, 20_000))
            self.assert_ended(client)
        self.assert_counted("resets")
        self.assertLess(self.target.connections, 5000, "the origin felt it")

    def test_after_the_request_is_on_its_way(self):
        self.start()
        with self.others():
            client = self.attacker()
            stream = 1
            with contextlib.suppress(OSError):
                while not client.closed and stream < 10_000:
                    client.send(client.headers(stream, get("/hold"), end=True))
                    if not client.sync():
                        break
                    client.send(rst_stream(stream))
                    stream += 2
            self.assertLess(stream, 10_000, "it goes on")
            self.assert_ended(client)
        self.assert_counted("resets")

    def test_with_bodies_begun(self):
        self.start()
        with self.others():
            client = self.attacker()
            client.push(b"".join(client.headers(stream, post("/")) + data(stream, b"x") + rst_stream(stream)
                                 for stream in range(1, 20_001, 2)))
            self.assert_ended(client)
        self.assert_counted("resets")

    def test_on_connection_after_connection(self):
        self.start()
        with self.others():
            for _ in range(10):
                client = self.attacker()
                client.push(self.pairs(client, 2000))
                self.assert_ended(client)
        if self.real:
            wait_until(lambda: self.counted("resets") >= 10, "ten to be counted")

    def test_a_client_that_cancels_now_and_then_is_served(self):
        self.start()
        client = self.attacker()
        for round_ in range(100):
            client.send(client.headers(4 * round_ + 1, get("/hold"), end=True), rst_stream(4 * round_ + 1))
            self.assertEqual(client.ask("/", stream=4 * round_ + 3).status, 200)
        if self.real:
            self.assertEqual(self.counted(*KINDS), 0)

    def test_what_was_reset_is_taken_from_the_origin(self):
        self.start()
        client = self.attacker()
        client.send(*[client.headers(stream, get("/hold"), end=True) for stream in range(1, 101, 2)])
        wait_until(lambda: len(self.target.requests) >= 50, "fifty requests at the origin")
        client.send(*[rst_stream(stream) for stream in range(1, 101, 2)])
        if self.real:
            wait_until(lambda: self.server.metric("gatehouse_cluster_active_requests") == 0, "no attempts")
        client.alive()


class MadeYouReset(AttackTest):
    """CVE-2025-8671: the client makes the server reset, by frames that are errors of a stream."""

    def provoke(self, make, kinds=("errors", "resets"), codes=(PROTOCOL_ERROR,), count=5000):
        self.start()
        with self.others():
            client = self.attacker()
            client.push(b"".join(make(client, stream) for stream in range(1, 2 * count, 2)))
            self.assert_ended(client, *codes, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR)
        self.assertLess(self.target.connections, count, "the origin felt it")
        # An error of the connection ends it at the first such frame; that is no abuse to count.
        if not [code for _, code, _ in client.goaways if code not in (NO_ERROR, ENHANCE_YOUR_CALM)]:
            self.assert_counted(*kinds)

    def test_window_update_of_zero(self):
        self.provoke(lambda c, stream: c.headers(stream, get("/hold"), end=True) + window_update(stream, 0))

    def test_window_update_that_overflows(self):
        self.provoke(lambda c, stream: c.headers(stream, get("/hold"), end=True) +
                     window_update(stream, (1 << 31) - 1), kinds=("errors", "resets", "control"))

    def test_data_after_the_end(self):
        self.provoke(lambda c, stream: c.headers(stream, get("/hold"), end=True) + data(stream, b"x"))

    def test_headers_after_the_end(self):
        self.provoke(lambda c, stream: c.headers(stream, get("/hold"), end=True) +
                     c.headers(stream, get("/"), end=True))

    def test_priority_of_a_wrong_size(self):
        self.provoke(lambda c, stream: c.headers(stream, get("/hold"), end=True) + frame(PRIORITY, 0, stream, b"1234"))

    def test_priority_on_itself(self):
        self.provoke(lambda c, stream: c.headers(stream, get("/hold"), end=True) + priority(stream, stream),
                     kinds=("errors", "resets", "control"))

    def test_more_data_than_said(self):
        self.provoke(lambda c, stream: c.headers(stream, post("/", ("content-length", "1"))) + data(stream, b"12"))

    def test_trailers_that_are_none(self):
        self.provoke(lambda c, stream: c.headers(stream, post("/")) + c.headers(stream, [("x-a", "b")]))

    def test_malformed_requests(self):
        made = block(get("/", ("X-Upper", "1")))
        self.provoke(lambda c, stream: c.headers(stream, raw=made, end=True))

    def test_requests_that_are_refused(self):
        self.provoke(lambda c, stream: c.headers(stream, get("/a#b"), end=True))


class HeaderBlocks(AttackTest):
    def endless(self, fragment):
        self.start()
        self.flood(continuation(1, fragment, end=False) * 1000, "continuations", "header_list",
                   prepare=lambda c: [c.headers(1, get("/"), end=True, end_headers=False)], codes=(PROTOCOL_ERROR,))

    def test_continuations_without_an_end(self):
        self.endless(literal("x-a", "b"))

    def test_large_continuations_without_an_end(self):
        self.endless(literal("x-a", "b" * 16000))

    def test_empty_continuations_without_an_end(self):
        self.endless(b"")

    def test_continuations_of_one_byte(self):
        self.start()
        self.flood(continuation(1, b"\x82", end=False) * 1000, "continuations", "header_list", "empty",
                   prepare=lambda c: [frame(HEADERS, END_STREAM, 1, b"")], codes=(PROTOCOL_ERROR,))

    def test_continuations_that_end(self):
        """Many frames per block, many blocks."""
        self.start()
        with self.others():
            client = self.attacker()
            made = b"".join(literal(f"x-{number}", "v") for number in range(4))
            client.push(b"".join(
                client.headers(stream, get("/"), end=True, end_headers=False) +
                continuation(stream, made, end=False) * 20 + continuation(stream, b"") for stream in range(1, 401, 2)))
            self.assert_ended(client, PROTOCOL_ERROR)
        self.assert_counted("continuations", "header_list", "empty")

    def check_refused(self, fields, raw=None):
        """431, or a reset; the origin does not see it."""
        self.start()
        with self.others():
            client = self.attacker()
            if raw is None:
                raw = block(fields)
            pieces = [raw[at:at + 16384] for at in range(0, len(raw), 16384)]
            client.send(client.headers(1, raw=pieces[0], end=True, end_headers=len(pieces) == 1),
                        *[continuation(1, piece, piece is pieces[-1]) for piece in pieces[1:]])
            state = client.streams[1]
            client.wait(lambda: state.over, "an answer")
            self.assertTrue(state.status == 431 or state.reset is not None or client.goaways, client.story())
        self.assertEqual([seen for seen in self.target.requests if "x-fill" in seen], [])
        return client

    def test_61_kib_are_refused(self):
        client = self.check_refused(get("/", *[("x-fill", "f" * 10_000) for _ in range(7)]))
        if not client.goaways:
            client.alive()
        if self.real:  # refused by the codec, or by the limit of heads that both protocols share
            wait_until(lambda: self.counted("header_list") + self.server.metric(
                "gatehouse_listener_protocol_errors_total", kind="header_too_large"), "it to be counted")

    def test_101_fields_are_refused(self):
        client = self.check_refused(get("/", *[("x-fill", str(number)) for number in range(101)]))
        if not client.goaways:
            client.alive()

    def test_99_fields_and_50_kib_are_served(self):
        self.start()
        client = self.attacker()
        self.assertEqual(client.ask("/", *[(f"x-{number}", "v") for number in range(95)]).status, 200)
        raw = block(get("/", *[("x-fill", "f" * 10_000) for _ in range(5)]))
        client.send(client.headers(3, raw=raw[:16384], end=True, end_headers=False),
                    *[continuation(3, raw[at:at + 16384], at + 16384 >= len(raw))
                      for at in range(16384, len(raw), 16384)])
        client.serves(3)

    def test_too_large_headers_again_and_again(self):
        self.start()
        with self.others():
            client = self.attacker()
            made = block(get("/", *[("x-fill", str(number)) for number in range(200)]))
            client.push(b"".join(client.headers(stream, raw=made, end=True) for stream in range(1, 4001, 2)))
            self.assert_ended(client, PROTOCOL_ERROR)  # perhaps for too many streams
        if not [code for _, code, _ in client.goaways if code == PROTOCOL_ERROR]:
            self.assert_counted("errors", "header_list", "resets")

    def bomb(self):
        """One entry of 4000 bytes, then a byte for each time that it comes again: 16 KiB become 50 MiB."""
        return block(get("/")) + literal("x-fill", "b" * 3900, 0x40) + b"\xbe" * 12_000

    def test_a_bomb_of_table_references(self):
        self.check_refused(None, raw=self.bomb())
        self.assert_counted("header_list")

    def test_bombs_again_and_again(self):
        self.start()
        with self.others():
            for _ in range(20):
                client = self.attacker()
                first = client.headers(1, raw=self.bomb()[:16384], end=True)
                again = [client.headers(stream, raw=block(get("/")) + b"\xbe" * 12_000, end=True)
                         for stream in range(3, 41, 2)]
                client.push(first + b"".join(again))
                with contextlib.suppress(OSError):
                    client.sync()
                self.assertFalse([state for state in client.streams.values() if state.status == 200])
                client.close()
        self.assert_counted("header_list")

    def test_a_bomb_in_trailers(self):
        self.start()
        with self.others():
            client = self.attacker()
            client.send(client.headers(1, post("/")), data(1, b"x"),
                        client.headers(1, raw=literal("x-fill", "b" * 3900, 0x40) + b"\xbe" * 12_000, end=True))
            state = client.streams[1]
            client.wait(lambda: state.over, "an answer")
            self.assertTrue((state.status or 400) >= 400 or client.goaways, client.story())

    def test_ten_thousand_crumbs(self):
        """Crumbs of a cookie count as fields; joined they are one value within the limit of bytes."""
        crumb = literal("cookie", "abcdefgh=1234", 0x40) + b"\xbe" * 10_000
        self.check_refused(None, raw=block(get("/")) + crumb)

    def test_some_crumbs_are_one_cookie(self):
        self.start()
        client = self.attacker()
        state = client.ask("/", *[("cookie", f"c{number}={number}") for number in range(80)])
        self.assertEqual(state.status, 200)
        if self.real:
            self.assertEqual(self.target.requests[-1]["cookie"], "; ".join(f"c{n}={n}" for n in range(80)))

    def test_table_size_updates_again_and_again(self):
        self.start()
        with self.others():
            client = self.attacker()
            updates = (b"\x20" + integer(4096, 5, 0x20)) * 4000
            client.send(client.headers(1, raw=updates + block(get("/")), end=True))
            state = client.streams[1]
            client.wait(lambda: state.over, "an answer")

    def test_a_peer_that_wants_a_giant_table(self):
        """HEADER_TABLE_SIZE is what our encoder may use, not what it must."""
        self.start()
        with self.others():
            for _ in range(50):
                client = self.attacker(own=[(HEADER_TABLE_SIZE, (1 << 32) - 1)])
                client.alive()


class Floods(AttackTest):
    """Frames that cost the server more than who sends them (RFC 9113, section 10.5)."""

    def test_settings(self):
        self.start()
        self.flood(settings((MAX_CONCURRENT_STREAMS, 100)) * 2000, "control")

    def test_empty_settings(self):
        self.start()
        self.flood(settings() * 2000, "control")

    def test_settings_with_many_values(self):
        self.start()
        self.flood(settings(*[(INITIAL_WINDOW_SIZE, number) for number in range(2000)]) * 50)

    def test_settings_that_change_all_windows(self):
        """Each walks over all streams."""
        self.start()
        self.flood((settings((INITIAL_WINDOW_SIZE, 1)) + settings((INITIAL_WINDOW_SIZE, 2))) * 1000, "control",
                   prepare=lambda c: [c.headers(stream, get("/hold"), end=True) for stream in range(1, 200, 2)])

    def test_ping(self):
        self.start()
        self.flood(ping() * 2000, "control")

    def test_ping_that_is_read(self):
        self.start()
        with self.others():
            client = self.attacker()
            with contextlib.suppress(OSError):
                for _ in range(2000):
                    client.send(ping() * 10)
                    if not client.sync():
                        break
                else:
                    self.fail("20 000 pings and it goes on")
            self.assert_ended(client)
        self.assert_counted("control")

    def test_priority(self):
        self.start()
        self.flood(b"".join(priority(stream, stream - 2) for stream in range(3, 4003, 2)), "control")

    def test_window_update_of_the_connection(self):
        self.start()
        self.flood(window_update(0, 1) * 2000, "control", codes=(FLOW_CONTROL_ERROR,))

    def test_window_update_of_a_stream(self):
        self.start()
        self.flood(window_update(1, 1) * 2000, "control", prepare=lambda c: [c.headers(1, get("/hold"), end=True)],
                   codes=(FLOW_CONTROL_ERROR,))

    def test_windows_opened_byte_by_byte(self):
        """A response of 1 MiB, for which the client grants a byte at a time."""
        self.start()
        self.flood(window_update(1, 1) * 1000, "control", client=self.attacker(own=[(INITIAL_WINDOW_SIZE, 0)]),
                   prepare=lambda c: [c.headers(1, get("/bytes/1000000"), end=True)])

    def test_empty_data(self):
        self.start()
        self.flood(data(1, b"") * 2000, "empty", prepare=lambda c: [c.headers(1, post("/"))])

    def test_data_of_padding_alone(self):
        self.start()
        self.flood(data(1, b"", padding=1) * 2000, "empty", prepare=lambda c: [c.headers(1, post("/"))])

    def test_empty_headers(self):
        self.start()
        self.flood(frame(HEADERS, END_HEADERS, 1, b"") * 1000, "empty", "errors", "resets",
                   prepare=lambda c: [c.headers(1, post("/"))], codes=(PROTOCOL_ERROR, STREAM_CLOSED))

    def test_empty_headers_of_new_streams(self):
        self.start()
        self.flood(b"".join(frame(HEADERS, END_HEADERS | END_STREAM, stream, b"") for stream in range(1, 10_001, 2)),
                   "empty", "errors", "resets", codes=(PROTOCOL_ERROR,),
                   prepare=lambda c: [b"", *(c.open(stream) or b"" for stream in range(1, 10_001, 2))])

    def harmless(self, payload, prepare=None, count=200):
        """Costs no more than reading it: may go on, must not disturb."""
        self.start()
        with self.others():
            client = self.attacker()
            if prepare:
                client.send(*prepare(client))
            for _ in range(count):
                if client.push(payload) != "sent":
                    break
            with contextlib.suppress(OSError):
                client.sync()

    def test_unknown_frames(self):
        self.harmless(frame(0xEE, 0, 0, b"x" * 100) * 1000)

    def test_goaway(self):
        self.harmless(goaway() * 1000)

    def test_resets_of_what_is_closed(self):
        self.harmless(rst_stream(1) * 1000, prepare=lambda c: [c.headers(1, get("/"), end=True), rst_stream(1)])

    def test_acks_that_nobody_asked_for(self):
        self.harmless(settings_ack() * 1000)
        self.harmless(ping(ack=True) * 1000)

    def test_a_client_that_updates_windows_for_what_it_reads_is_served(self):
        self.start()
        client = self.attacker()
        for _ in range(10):  # h2_wire.py sends two WINDOW_UPDATE per DATA
            self.assertEqual(client.ask("/bytes/4000000").size, 4_000_000)
        if self.real:
            self.assertEqual(self.counted(*KINDS), 0)

    def test_an_upload_in_small_frames_is_served(self):
        self.start()
        client = self.attacker()
        client.send(client.headers(1, post("/")))
        client.upload(1, bytes(20_000), chunk=10)
        self.assertEqual(client.response(1).status, 200)
        if self.real:
            self.assertEqual(self.counted(*KINDS), 0)


class Streams(AttackTest):
    def test_ten_thousand_streams_over_the_limit(self):
        self.start()
        with self.others():
            client = self.attacker()
            limit = client.server_settings[MAX_CONCURRENT_STREAMS]
            client.push(b"".join(client.headers(stream, get("/hold"), end=True) for stream in range(1, 20_000, 2)))
            with contextlib.suppress(OSError):
                client.sync()
            refused = [state for state in client.streams.values() if state.reset == REFUSED_STREAM]
            self.assertTrue(len(refused) > 1000 or client.goaways or client.closed, client.story())
            self.assertLessEqual(len([one for one in self.target.requests if one.target == "/hold"]), limit)

    def test_many_connections_full_of_streams(self):
        self.start()
        with self.others(room=96 * MEGABYTE):
            clients = [self.attacker() for _ in range(20)]
            for client in clients:
                client.send(*[client.headers(stream, post("/")) for stream in range(1, 200, 2)])
            for client in clients:
                self.assertTrue(client.sync(), client.story())
            for client in clients:
                client.close()
        if self.real:
            wait_until(lambda: self.server.metric("gatehouse_cluster_active_requests") <= 3, "the attempts to end")


class SlowReaders(AttackTest):
    """Windows that stay shut, so that responses wait in the server."""

    def stall(self, window, **listener):
        self.start(**listener)
        client = self.attacker(own=[(INITIAL_WINDOW_SIZE, window)], credit=False)
        with self.others():
            client.send(*[client.headers(stream, get("/bytes/1048576"), end=True) for stream in range(1, 200, 2)])
            client.wait(lambda: all(state.headers for state in client.streams.values()), "a hundred heads")
            self.assertTrue(client.sync())
        return client

    def test_a_hundred_responses_of_a_mebibyte_behind_a_window_of_0(self):
        client = self.stall(0)
        self.assertEqual({state.size for state in client.streams.values()}, {0})
        client.credit = True
        client.keep = False
        client.window = client.windows[1] = 65535
        client.windows = dict.fromkeys(client.windows, 0)
        client.send(client.settings((INITIAL_WINDOW_SIZE, 1 << 20)), window_update(0, 0x7FFFFFFF - 65535))
        client.window = 0x7FFFFFFF
        with self.others():  # what waited comes whole once it may
            for stream in range(1, 200, 2):
                self.assertEqual(client.serves(stream).size, MEGABYTE)

    def test_a_hundred_responses_behind_the_connections_window(self):
        self.stall(1 << 20)

    def test_who_does_not_read_the_socket(self):
        self.start()
        client = self.attacker(receive_buffer=4096, own=[(INITIAL_WINDOW_SIZE, 1 << 30)])
        with self.others():
            client.send(window_update(0, 1 << 30),
                        *[client.headers(stream, get("/bytes/1048576"), end=True) for stream in range(1, 200, 2)])
            wait_until(lambda: len(self.target.requests) >= 20, "requests at the origin")

    def test_a_stalled_response_ends(self):
        client = self.stall(0, timeouts={"min_response_rate": 1000})
        if not self.real:
            self.skipTest("the reference has its own patience")
        client.wait(lambda: all(state.over for state in client.streams.values()), "the end of what stalls")
        self.assertTrue(client.goaways or all(state.reset is not None for state in client.streams.values()))
        self.assert_counted("stalled")

    def test_stalled_connections_without_end(self):
        self.start()
        with self.others(room=96 * MEGABYTE):
            for _ in range(20):
                client = self.attacker(own=[(INITIAL_WINDOW_SIZE, 0)], credit=False)
                client.send(*[client.headers(stream, get("/bytes/1048576"), end=True) for stream in range(1, 40, 2)])
                client.wait(lambda client=client: all(state.headers for state in client.streams.values()), "the heads")


class SlowSenders(AttackTest):
    def assert_gone(self, client):
        with contextlib.suppress(Closed):
            client.wait(lambda: False, "the end of the connection")

    def test_no_preface(self):
        self.start(timeouts={"request_header": "300ms"})
        if not self.real:
            self.skipTest("the reference has its own patience")
        self.assert_gone(self.attacker(start=False))

    def test_half_a_preface(self):
        self.start(timeouts={"request_header": "300ms", "keep_alive": "300ms"})
        if not self.real:
            self.skipTest("the reference has its own patience")
        for size in (1, 3, 4, 14, 16, 18, 20, 23):
            with self.subTest(size=size):
                client = self.attacker(start=False)
                client.send(PREFACE[:size])
                self.assert_gone(client)

    def test_a_preface_without_settings(self):
        self.start(timeouts={"request_header": "300ms", "keep_alive": "300ms"})
        if not self.real:
            self.skipTest("the reference has its own patience")
        for rest in (b"", settings()[:4], settings()):
            with self.subTest(rest=rest):
                client = self.attacker(start=False)
                client.noted(rest)
                client.send(PREFACE, rest)
                self.assert_gone(client)

    def test_a_header_block_that_drips(self):
        self.start(timeouts={"request_header": "500ms"})
        if not self.real:
            self.skipTest("the reference has its own patience")
        client = self.attacker()
        client.send(client.headers(1, get("/"), end=True, end_headers=False))
        with self.others():
            made = frame(CONTINUATION, 0, 1, literal("x-a", "b" * 400))
            self.drip_until_refused(client, [made[at:at + 1] for at in range(len(made))])

    def test_a_frame_that_drips(self):
        self.start(timeouts={"request_header": "500ms"})
        if not self.real:
            self.skipTest("the reference has its own patience")
        client = self.attacker()
        made = client.headers(1, raw=block(get("/", ("x-fill", "f" * 400))), end=True)
        with self.others():
            self.drip_until_refused(client, [made[at:at + 1] for at in range(len(made))])

    def drip_until_refused(self, client, pieces):
        """The stream or the connection ends before the pieces do."""
        state = client.streams[1]
        for number, piece in enumerate(pieces):
            if state.over or client.closed or client.push(piece) == "closed":
                break
            client.glance()
        else:
            self.fail(f"all {number} pieces were taken")
        client.wait(lambda: state.over or client.goaways, "the refusal")
        self.assertTrue(client.goaways or client.closed or state.reset is not None or state.status == 408,
                        client.story())
        self.assertEqual([seen for seen in self.target.requests if "x-fill" in seen], [])

    def test_a_body_that_drips(self):
        self.start(timeouts={"min_body_rate": 1000})
        if not self.real:
            self.skipTest("the reference has its own patience")
        client = self.attacker()
        client.send(client.headers(1, post("/")), data(1, b"x" * 100))
        with self.others():
            state = client.response(1)
        self.assertTrue(state.status == 408 or state.reset is not None, client.story())

    def test_a_body_that_never_comes(self):
        self.start(timeouts={"request": "500ms", "min_body_rate": 0})
        if not self.real:
            self.skipTest("the reference has its own patience")
        client = self.attacker()
        client.send(client.headers(1, post("/")))
        state = client.response(1)
        self.assertTrue(state.status == 408 or state.reset is not None, client.story())

    def test_goaway_and_then_nothing(self):
        """A client that says GOAWAY and stays: the connection is idle, and ends as one."""
        self.start(timeouts={"keep_alive": "300ms"})
        if not self.real:
            self.skipTest("the reference has its own patience")
        client = self.attacker()
        client.alive()
        client.send(goaway(0, NO_ERROR))
        self.assert_gone(client)

    def test_goaway_with_streams_open(self):
        """They are answered, then it ends."""
        self.start(timeouts={"keep_alive": "300ms"})
        client = self.attacker()
        client.send(client.headers(1, post("/")), goaway(0, NO_ERROR), data(1, b"x", True))
        client.serves(1)
        if self.real:
            self.assert_gone(client)

    def test_idle_connections_end(self):
        self.start(timeouts={"keep_alive": "300ms"})
        if not self.real:
            self.skipTest("the reference has its own patience")
        clients = [self.attacker() for _ in range(50)]
        for client in clients:
            client.alive()
        for client in clients:
            self.assert_gone(client)
            self.assertTrue(all(code == NO_ERROR for _, code, _ in client.goaways), client.story())

    def test_pings_do_not_keep_an_idle_connection(self):
        self.start(timeouts={"keep_alive": "500ms"})
        if not self.real:
            self.skipTest("the reference has its own patience")
        client = self.attacker()
        client.alive()
        for _ in range(300):
            if client.push(ping()) == "closed" or client.closed:
                break
            client.glance()
        self.assert_gone(client)
        self.assertEqual([code for _, code, _ in client.goaways if code == ENHANCE_YOUR_CALM], [],
                         "it ended for its pings, not for its idleness")


class Budgets(AttackTest):
    """The limits are config."""

    def test_a_smaller_budget(self):
        self.start(http2={"abuse": {"resets": {"burst": 5, "per_second": 1}}})
        if not self.real:
            self.skipTest("config of the gateway")
        client = self.attacker()
        for stream in range(1, 13, 2):
            client.send(client.headers(stream, get("/hold"), end=True), rst_stream(stream))
        client.dies(ENHANCE_YOUR_CALM)
        self.assert_counted("resets")

    def test_a_larger_budget(self):
        self.start(http2={"abuse": {"resets": {"burst": 3000, "per_second": 1000},
                                    "control_frames": {"burst": 3000, "per_second": 1000},
                                    "empty_frames": {"burst": 3000, "per_second": 1000}, "max_continuations": 50}})
        if not self.real:
            self.skipTest("config of the gateway")
        client = self.attacker()
        client.send(*[client.headers(stream, get("/hold"), end=True) + rst_stream(stream)
                      for stream in range(1, 2001, 2)])
        client.send(client.headers(2001, post("/")), data(2001) * 1000, data(2001, b"", True))
        client.send(ping() * 600)
        client.send(client.headers(2003, get("/"), end=True, end_headers=False),
                    *[continuation(2003, literal(f"x-{number}", "v"), end=False) for number in range(40)],
                    continuation(2003, b""))
        client.serves(2001)
        client.serves(2003)
        self.assertEqual(self.counted(*KINDS), 0)

    def test_streams(self):
        self.start(http2={"max_concurrent_streams": 3})
        if not self.real:
            self.skipTest("config of the gateway")
        client = self.attacker()
        self.assertEqual(client.server_settings[MAX_CONCURRENT_STREAMS], 3)
        client.send(*[client.headers(stream, get("/hold"), end=True) for stream in (1, 3, 5, 7)])
        client.wait(lambda: client.streams[7].over)
        self.assertEqual(client.streams[7].reset, REFUSED_STREAM)


if __name__ == "__main__":
    unittest.main()
