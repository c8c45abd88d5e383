"""`gatehouse validate --serve`: what a control plane asks it, byte by byte."""

import os
import struct
import subprocess
import unittest

from harness import GatehouseTest, binary
from http_peers import PATIENCE


def varint(number):
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def field(number, value):
    """One field of a protobuf message: text, bytes or a number."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def fields(message):
    """The fields of a message: lists of values by number."""
    found = {}
    at = 0

    def take():
        nonlocal at
        number = shift = 0
        while True:
            byte = message[at]
            at += 1
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number

    while at < len(message):
        key = take()
        value = take()
        if key & 7 == 2:
            value, at = message[at : at + value], at + value
        found.setdefault(key >> 3, []).append(value)
    return found


def upsert(kind, message):
    return field(3, field(1, kind) + field(2, message))


def removal(kind, name):
    return field(4, field(1, kind) + field(2, name))


def framed(message):
    return struct.pack(">I", len(message)) + message


ENDPOINT = field(1, "127.0.0.1:3001")
USERS = upsert("Cluster", field(1, "users") + field(2, ENDPOINT))
UNKNOWN = upsert("Cluster", field(1, "users") + field(9999, 1))
FROM_FILE = upsert("Secret", field(1, "site") + field(3, "site.pem"))


class ValidateServe(GatehouseTest):
    def start(self):
        process = subprocess.Popen(
            [binary(), "validate", "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

        def end():
            process.kill()
            process.communicate()

        self.addCleanup(end)
        return process

    def ask(self, process, request):
        """The errors of the answer: type, name, path and message."""
        process.stdin.write(framed(request))
        process.stdin.flush()
        (size,) = struct.unpack(">I", process.stdout.read(4))
        found = []
        for rejection in fields(process.stdout.read(size)).get(1, []):
            rejection = fields(rejection)
            for error in rejection[3]:
                error = fields(error)
                parts = rejection[1] + rejection[2] + error.get(1, [b""]) + error[2]
                found.append(tuple(part.decode() for part in parts))
        return found

    def finish(self, process, sent=b""):
        out, errors = process.communicate(sent, timeout=PATIENCE)
        self.assertEqual(out, b"")
        return process.returncode, errors.decode()

    def test_answers_one_after_the_other(self):
        process = self.start()
        self.assertEqual(self.ask(process, USERS), [])
        self.assertEqual(
            self.ask(process, UNKNOWN),
            [("Cluster", "users", "", "field 9999 is not known to this version of the gateway")],
        )
        self.assertEqual(self.ask(process, FROM_FILE), [])
        self.assertEqual(
            [error[:3] for error in self.ask(process, field(5, 1))],
            [("Secret", "site", "file")],
        )
        endpoints = upsert("Endpoints", field(1, "users"))
        ((kind, name, path, _),) = self.ask(process, removal("Cluster", "users") + endpoints)
        self.assertEqual((kind, name, path), ("Endpoints", "users", "cluster"))
        self.assertEqual(self.finish(process), (0, ""))

    def test_one_request_in_pieces_and_several_at_once(self):
        process = self.start()
        for i in range(len(framed(USERS))):
            process.stdin.write(framed(USERS)[i : i + 1])
            process.stdin.flush()
        self.assertEqual(process.stdout.read(4), b"\0\0\0\0")
        process.stdin.write(framed(USERS) + framed(b"") + framed(removal("Cluster", "users")))
        process.stdin.flush()
        self.assertEqual(process.stdout.read(12), bytes(12))
        self.assertEqual(self.finish(process), (0, ""))

    def test_what_is_no_request_ends_it(self):
        for sent, said in [
            (framed(USERS)[:-1], "a request is cut off"),
            (b"\0\0", "a request is cut off"),
            (struct.pack(">I", (256 << 20) + 1), "is larger than 256MiB"),
            (framed(b"\xff"), "no ValidationRequest"),
            (framed(upsert("Route", b"")), 'there is no type "Route"'),
            (framed(removal("", "x")), 'there is no type ""'),
        ]:
            with self.subTest(said):
                code, errors = self.finish(self.start(), sent)
                self.assertEqual(code, 1)
                self.assertIn(said, errors)
                self.assertEqual(errors.count("\n"), 1)

    def test_usage(self):
        path = os.path.join(self.folder(), "gateway.yaml")
        self.assertEqual(self.run_command(binary(), "validate", check=False).returncode, 2)
        self.assertEqual(self.run_command(binary(), "validate", "--serve", path, check=False).returncode, 2)


if __name__ == "__main__":
    unittest.main()
