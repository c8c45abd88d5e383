"""WebSocket connections (RFC 6455) pass through: frames both ways, with an idle time of their own."""

import base64
import hashlib
import os
import select
import struct
import subprocess
import threading
import unittest

from harness import GatehouseTest, config, kill, route, wait_until
from http_peers import Closed, answer, request

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def accept_for(key):
    return base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()


def frame(opcode, payload, mask=False):
    head = bytes([0x80 | opcode])
    marked = 0x80 if mask else 0
    if len(payload) < 126:
        head += bytes([marked | len(payload)])
    elif len(payload) < 65536:
        head += struct.pack("!BH", marked | 126, len(payload))
    else:
        head += struct.pack("!BQ", marked | 127, len(payload))
    if not mask:
        return head + payload
    key = os.urandom(4)
    repeated = key * (len(payload) // 4 + 1)
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(repeated[: len(payload)], "big")
    return head + key + masked.to_bytes(len(payload), "big")


def read_frame(connection):
    first, second = connection.take(2)
    size = second & 0x7F
    if size == 126:
        (size,) = struct.unpack("!H", connection.take(2))
    elif size == 127:
        (size,) = struct.unpack("!Q", connection.take(8))
    key = connection.take(4) if second & 0x80 else None
    payload = connection.take(size)
    if key:
        repeated = key * (size // 4 + 1)
        payload = (int.from_bytes(payload, "big") ^ int.from_bytes(repeated[:size], "big")).to_bytes(size, "big")
    return first & 0x0F, payload


def echo(connection):
    """A WebSocket server that sends every message back; other requests get 426."""
    message = connection.request()
    if message is None:
        return
    if (message["upgrade"] or "").lower() != "websocket":
        connection.send(answer(426, b"websocket only", ["Upgrade: websocket"]))
        return
    connection.send(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept_for(message["sec-websocket-key"]).encode() + b"\r\n\r\n"
    )
    while True:
        opcode, payload = read_frame(connection)
        if opcode == CLOSE:
            connection.send(frame(CLOSE, payload))
            return
        connection.send(frame(PONG if opcode == PING else opcode, payload))


def handshake(client, path="/ws"):
    key = base64.b64encode(os.urandom(16)).decode()
    client.send(request(path, headers=[
        "Connection: keep-alive, Upgrade", "Upgrade: websocket", f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
    ]))
    return key, client.head()


class WebSocket(GatehouseTest):
    def start(self, on_connection=echo, **options):
        self.target = self.origin(on_connection=on_connection)
        options = {"upgrade": ["websocket"], **options}
        if not options["upgrade"]:
            del options["upgrade"]
        settings = config([route("ws", "/", "origin", **options)], {"origin": self.target.address})
        self.settings = settings
        return self.gateway(settings)

    def open(self, gateway):
        client = self.client(gateway)
        key, head = handshake(client)
        self.assertEqual(head.status, 101, head)
        self.assertEqual(head["sec-websocket-accept"], accept_for(key))
        self.assertEqual(head["upgrade"].lower(), "websocket")
        self.assertEqual(head["connection"].lower(), "upgrade")
        return client

    def assert_echo(self, client, payload=b"hello", opcode=TEXT):
        client.send(frame(opcode, payload, mask=True))
        self.assertEqual(read_frame(client), (opcode, payload))

    def test_frames_both_ways(self):
        client = self.open(self.start())
        for size in (0, 1, 125, 126, 65535, 65536, 1 << 20):
            self.assert_echo(client, os.urandom(size), BINARY)
        client.send(frame(PING, b"are you there", mask=True))
        self.assertEqual(read_frame(client), (PONG, b"are you there"))

    def test_frames_that_come_with_the_handshake(self):
        client = self.client(self.start())
        key = base64.b64encode(b"0123456789abcdef").decode()
        client.send(request("/ws", headers=[
            "Connection: Upgrade", "Upgrade: websocket", f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13",
        ]) + frame(TEXT, b"eager", mask=True))
        self.assertEqual(client.head().status, 101)
        self.assertEqual(read_frame(client), (TEXT, b"eager"))

    def test_close_from_the_client(self):
        gateway = self.start()
        client = self.open(gateway)
        self.assert_echo(client)
        client.send(frame(CLOSE, struct.pack("!H", 1000), mask=True))
        self.assertEqual(read_frame(client), (CLOSE, struct.pack("!H", 1000)))
        self.assertTrue(client.at_end())
        record = gateway.log(1)[0]
        self.assertEqual((record["status"], record["route"]), (101, "ws"))
        self.assertGreater(record["request_bytes"], 0)
        self.assertGreater(record["response_bytes"], 0)

    def test_close_from_the_origin(self):
        gateway = self.start()
        client = self.open(gateway)
        self.assert_echo(client)
        self.target.drop_connections()
        self.assertTrue(client.at_end())

    def test_a_client_that_vanishes(self):
        ended = threading.Event()

        def on_connection(connection):
            try:
                echo(connection)
            except (Closed, OSError):
                ended.set()

        gateway = self.start(on_connection)
        client = self.open(gateway)
        client.reset()
        self.assertTrue(ended.wait(60), "the origin was not told")

    def test_half_close_reaches_the_origin(self):
        def on_connection(connection):
            connection.request()
            connection.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
            said = connection.take_all()
            connection.send(b"you said " + said)

        gateway = self.start(on_connection)
        client = self.client(gateway)
        handshake(client)
        client.send(b"goodbye")
        client.half_close()
        self.assertEqual(client.take_all(), b"you said goodbye")

    def test_it_has_an_idle_time_of_its_own(self):
        gateway = self.start(upgrade={"protocols": ["websocket"], "idle_timeout": "700ms"},
                             idle_timeout="100ms", timeout="200ms")
        client = self.open(gateway)
        # More than the timeouts of requests, in steps shorter than the one of the upgrade.
        for _ in range(5):
            self.assertEqual(wait_for_silence(client, 0.15), True)
            self.assert_echo(client)
        self.assertTrue(client.at_end())

    def test_a_route_that_allows_no_upgrade_forwards_a_plain_request(self):
        gateway = self.start(upgrade=[])
        client = self.client(gateway)
        _, head = handshake(client)
        self.assertEqual(head.status, 426)
        self.assertNotIn("upgrade", self.target.requests[0])

    def test_a_protocol_that_is_not_allowed_is_not_forwarded(self):
        gateway = self.start(upgrade=["other"])
        client = self.client(gateway)
        _, head = handshake(client)
        self.assertEqual(head.status, 426)

    def test_an_origin_that_refuses(self):
        gateway = self.start(lambda connection: connection.request() and connection.send(answer(403, b"no")))
        client = self.client(gateway)
        handshake_status = self.ask(gateway, headers=["Connection: Upgrade", "Upgrade: websocket"]).status
        self.assertEqual(handshake_status, 403)
        self.assertEqual(client.ask().status, 403)

    def test_an_origin_that_switches_without_being_asked(self):
        reply = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
        gateway = self.start(lambda connection: connection.request() and connection.send(reply))
        self.assert_problem(self.ask(gateway), 502, "upstream_protocol_error")

    def test_many_at_once(self):
        gateway = self.start()
        clients = [self.open(gateway) for _ in range(50)]
        for number, client in enumerate(clients):
            client.send(frame(TEXT, b"%d" % number, mask=True))
        for number, client in enumerate(clients):
            self.assertEqual(read_frame(client), (TEXT, b"%d" % number))
        self.assertEqual(gateway.metric("gatehouse_route_active_requests", route="ws"), 50)

    def test_it_lives_through_reloads(self):
        gateway = self.start()
        client = self.open(gateway)
        for round_ in range(20):
            self.settings["route_tables"][0]["routes"][0]["timeout"] = f"{round_ + 1}s"
            gateway.reload(self.settings)
            self.assert_echo(client, b"round %d" % round_)
        # Even one that takes its route away.
        self.settings["route_tables"][0]["routes"] = [route("gone", "/", respond={"status": 410})]
        self.settings["clusters"] = []
        gateway.reload(self.settings)
        wait_until(lambda: self.ask(gateway).status == 410, "the new config")
        self.assert_echo(client, b"still here")

    def test_a_node_client_talks_to_a_node_server(self):
        """An implementation of neither side's author: node's http module does the handshakes."""
        script = """
        const http = require('http'), crypto = require('crypto');
        const server = http.createServer();
        server.on('upgrade', (request, socket, head) => {
          const accept = crypto.createHash('sha1').update(
              request.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest('base64');
          socket.write('HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n' +
                       'Sec-WebSocket-Accept: ' + accept + '\\r\\n\\r\\n');
          socket.on('error', () => {});
          socket.pipe(socket);
        });
        server.listen(0, '127.0.0.1', () => console.log(server.address().port));
        """
        server = subprocess.Popen(["node", "-e", script], stdout=subprocess.PIPE, text=True)
        self.addCleanup(server.stdout.close)
        self.addCleanup(kill, server)
        address = f"127.0.0.1:{server.stdout.readline().strip()}"
        gateway = self.gateway(config([route("ws", "/", "node", upgrade=["websocket"])], {"node": address}))
        client = """
        const http = require('http');
        const request = http.request({host: '127.0.0.1', port: process.argv[1], path: '/chat', headers: {
          Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': 13,
          'Sec-WebSocket-Key': 'AQIDBAUGBwgJCgsMDQ4PEC=='}});
        request.on('upgrade', (response, socket) => {
          socket.on('data', data => { console.log(response.statusCode + ' ' + data); socket.end(); });
          socket.write('ping through the gateway');
        });
        request.on('error', error => { console.error(error); process.exit(1); });
        request.end();
        """
        done = self.run_command("node", "-e", client, str(gateway.ports["edge"]))
        self.assertEqual(done.stdout.strip(), "101 ping through the gateway")


def wait_for_silence(client, seconds):
    """True when nothing has come in that time: a connection that is left alone."""
    return not select.select([client.sock], [], [], seconds)[0]


if __name__ == "__main__":
    unittest.main()
