#!/usr/bin/python3
"""Stands for `gatehouse validate --serve` in tests, without a gateway.

Speaks api/gatehouse/v1/validation.proto by hand. A resource named `bad...` is refused, `warn...` is warned of, and
`crash...` ends the process by SIGKILL; `slow...` is never answered; `file17` is refused when file descriptor 17 is open.
Says on stderr what it was asked.
"""

import os
import signal
import sys


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


def fields(data):
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        if key & 7 == 0:
            value, at = varint(data, at)
        else:
            size, at = varint(data, at)
            value, at = data[at : at + size], at + size
        yield key >> 3, value


def of(data, number):
    return [value for field, value in fields(data) if field == number]


def length(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out) + bytes([value])


def part(number, content):
    return bytes([number << 3 | 2]) + length(len(content)) + content


def rejection(kind, name, text):
    error = part(1, b"name") + part(2, text)
    return part(1, kind) + part(2, name) + part(3, error)


def answer(request):
    reply = b""
    for upsert in of(request, 3):
        kind = of(upsert, 1)[0]
        name = of(of(upsert, 2)[0], 1)[0]
        if name.startswith(b"crash"):
            os.kill(os.getpid(), signal.SIGKILL)
        if name.startswith(b"slow"):
            signal.pause()
        if name.startswith(b"file") and os.path.exists(f"/proc/self/fd/{name[4:].decode()}"):
            reply += part(1, rejection(kind, name, b"this file is open"))
        if name.startswith(b"bad"):
            reply += part(1, rejection(kind, name, b"this name is bad"))
        if name.startswith(b"warn"):
            reply += part(2, rejection(kind, name, b"this name is odd"))
    group = (of(request, 1) or [b""])[0].decode()
    reset = "anew, " if of(request, 2) else ""
    print(
        f"asked: group '{group}': {reset}{len(of(request, 3))} upserts, {len(of(request, 4))} removals",
        file=sys.stderr,
        flush=True,
    )
    return reply


def read(size):
    data = b""
    while len(data) < size:
        more = os.read(0, size - len(data))
        if not more:
            sys.exit(0)
        data += more
    return data


def main():
    while True:
        reply = answer(read(int.from_bytes(read(4), "big")))
        os.write(1, len(reply).to_bytes(4, "big") + reply)


main()
