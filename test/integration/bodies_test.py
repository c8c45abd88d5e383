"""Bodies of any size go through in bounded memory, and no faster than who takes them."""

import hashlib
import select
import threading
import unittest

from harness import GatehouseTest, config, route
from http_peers import Closed, chunk, request

MEGABYTE = 1 << 20
SIZE = 50 * MEGABYTE
BLOCK = bytes(range(256)) * 256  # 64 KiB
# What a gateway may need on top for the buffers of a few connections.
ROOM = 24 * MEGABYTE


def digest_of_blocks(size):
    digest = hashlib.sha256()
    for _ in range(size // len(BLOCK)):
        digest.update(BLOCK)
    return digest.hexdigest()


def send_blocks(connection, size, chunked=False):
    for _ in range(size // len(BLOCK)):
        connection.send(chunk(BLOCK) if chunked else BLOCK)
    if chunked:
        connection.send(b"0\r\n\r\n")


def digest_of_body(connection, message):
    """Reads a body of either framing without keeping it."""
    digest = hashlib.sha256()

    def take(size):
        while size > 0:
            piece = connection.take(min(size, MEGABYTE))
            digest.update(piece)
            size -= len(piece)

    if message["content-length"]:
        take(int(message["content-length"]))
    else:
        while size := int(connection.take_until(b"\r\n"), 16):
            take(size)
            connection.take(2)
        connection.take(2)
    return digest.hexdigest()


def stalled(sock):
    """True when the socket has taken nothing for a second."""
    return not select.select([], [sock], [], 1.0)[1]


def send_until_stalled(connection, most):
    """How many bytes the other side takes while nobody reads at the far end."""
    sent = 0
    connection.sock.setblocking(False)
    while sent < most and not stalled(connection.sock):
        try:
            sent += connection.sock.send(BLOCK[sent % len(BLOCK):])
        except BlockingIOError:
            continue
    connection.sock.setblocking(True)
    return sent


class Large(GatehouseTest):
    def through(self, on_connection):
        origin = self.origin(on_connection=on_connection)
        gateway = self.gateway(config([route("all", "/", "origin")], {"origin": origin.address}))
        self.assertEqual(self.ask(gateway, "/warm-up", "POST", body=b"").status, 200)
        self.before = self.peak(gateway)
        return gateway

    @staticmethod
    def peak(gateway):
        with open(f"/proc/{gateway.process.pid}/status", encoding="ascii") as file:
            line = next(line for line in file if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024

    def assert_small(self, gateway):
        grown = self.peak(gateway) - self.before
        self.assertLess(grown, ROOM, f"the gateway grew by {grown / MEGABYTE:.1f} MiB")

    def check_upload(self, chunked):
        def on_connection(connection):
            while True:
                message = connection.head()
                digest = digest_of_body(connection, message).encode()
                connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n" + digest)

        gateway = self.through(on_connection)
        client = self.client(gateway)
        framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {SIZE}"
        client.send(f"POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n".encode())
        send_blocks(client, SIZE, chunked)
        self.assertEqual(client.response().body.decode(), digest_of_blocks(SIZE))
        self.assert_small(gateway)
        self.assertEqual(gateway.record(path="/")["request_bytes"], SIZE)

    def test_upload_with_a_length(self):
        self.check_upload(chunked=False)

    def test_upload_in_chunks(self):
        self.check_upload(chunked=True)

    def check_download(self, framing):
        def on_connection(connection):
            while True:
                message = connection.head()
                if message.method == "POST":
                    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    continue
                if framing == "length":
                    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE)
                elif framing == "chunked":
                    connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                else:
                    connection.send(b"HTTP/1.1 200 OK\r\n\r\n")
                send_blocks(connection, SIZE, framing == "chunked")
                if framing == "close":
                    return

        gateway = self.through(on_connection)
        client = self.client(gateway)
        client.send(request("/"))
        self.assertEqual(digest_of_body(client, client.head()), digest_of_blocks(SIZE))
        self.assert_small(gateway)
        self.assertEqual(gateway.record(path="/")["response_bytes"], SIZE)

    def test_download_with_a_length(self):
        self.check_download("length")

    def test_download_in_chunks(self):
        self.check_download("chunked")

    def test_download_until_close(self):
        self.check_download("close")

    def test_both_ways_at_once(self):
        def on_connection(connection):
            while True:
                message = connection.head()
                if message["content-length"] == "0":
                    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    continue
                connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                while size := int(connection.take_until(b"\r\n"), 16):
                    connection.send(chunk(connection.take(size)))
                    connection.take(2)
                connection.take(2)
                connection.send(b"0\r\n\r\n")

        gateway = self.through(on_connection)
        client = self.client(gateway)
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        sender = threading.Thread(target=send_blocks, args=(client, SIZE, True), daemon=True)
        sender.start()
        self.assertEqual(digest_of_body(client, client.head()), digest_of_blocks(SIZE))
        sender.join()
        self.assert_small(gateway)

    def test_many_downloads_do_not_add_up(self):
        def on_connection(connection):
            while True:
                message = connection.head()
                if message.method == "POST":
                    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    continue
                connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (4 * MEGABYTE))
                send_blocks(connection, 4 * MEGABYTE)

        gateway = self.through(on_connection)
        for _ in range(12):
            with self.subTest():
                client = self.client(gateway)
                client.send(request("/"))
                self.assertEqual(digest_of_body(client, client.head()), digest_of_blocks(4 * MEGABYTE))
        self.assert_small(gateway)


class BackPressure(Large):
    MOST = 256 * MEGABYTE
    # Kernel buffers of two connections, and ours.
    BUFFERED = 48 * MEGABYTE

    def test_a_client_that_does_not_read_stops_the_origin(self):
        sent = []
        done = threading.Event()

        def on_connection(connection):
            while True:
                message = connection.head()
                if message.method == "POST":
                    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    continue
                connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % self.MOST)
                sent.append(send_until_stalled(connection, self.MOST))
                done.set()
                connection.send(BLOCK[sent[0] % len(BLOCK):])
                send_blocks(connection, self.MOST - (sent[0] // len(BLOCK) + 1) * len(BLOCK))

        gateway = self.through(on_connection)
        client = self.client(gateway, receive_buffer=64 * 1024)
        client.send(request("/"))
        head = client.head()
        self.assertTrue(done.wait(60))
        self.assertLess(sent[0], self.BUFFERED)
        self.assert_small(gateway)
        # And it goes on when the client does.
        self.assertEqual(digest_of_body(client, head), digest_of_blocks(self.MOST))
        self.assert_small(gateway)

    def test_an_origin_that_does_not_read_stops_the_client(self):
        go = threading.Event()

        def on_connection(connection):
            while True:
                message = connection.head()
                if message["content-length"] != "0":
                    go.wait(60)
                digest = digest_of_body(connection, message).encode()
                connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n" + digest)

        gateway = self.through(on_connection)
        client = self.client(gateway)
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % self.MOST)
        sent = send_until_stalled(client, self.MOST)
        self.assertLess(sent, self.BUFFERED)
        self.assert_small(gateway)
        go.set()
        client.send(BLOCK[sent % len(BLOCK):])
        send_blocks(client, self.MOST - (sent // len(BLOCK) + 1) * len(BLOCK))
        self.assertEqual(client.response().body.decode(), digest_of_blocks(self.MOST))
        self.assert_small(gateway)

    def test_a_client_that_leaves_ends_the_origins_work(self):
        broken = threading.Event()

        def on_connection(connection):
            while True:
                message = connection.head()
                if message.method == "POST":
                    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    continue
                connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % self.MOST)
                try:
                    send_blocks(connection, self.MOST)
                except (OSError, Closed):
                    broken.set()
                    return

        gateway = self.through(on_connection)
        client = self.client(gateway)
        client.send(request("/"))
        client.head()
        client.reset()
        self.assertTrue(broken.wait(60))
        record = gateway.record(path="/")
        self.assertEqual((record["code"], record["flags"]), ("client_abort", "DC"))


if __name__ == "__main__":
    unittest.main()
