#!/usr/bin/python3
"""A WebSocket client for the command line: sends each message and prints what comes back.

  websocket.py HOST:PORT PATH MESSAGE...       websocket.py 127.0.0.1:8080 /live hello

services.py answers with the same few functions. They do what a demo needs of RFC 6455: no fragments, no extensions.
"""

import argparse
import base64
import hashlib
import os
import socket
import sys

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
# RFC 6455, section 1.3.
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accept_key(key):
    return base64.b64encode(hashlib.sha1((key + _GUID).encode()).digest()).decode()


def write_frame(stream, opcode, payload, masked):
    """A client masks what it sends, a server does not (section 5.1)."""
    size = len(payload)
    mask_bit = 0x80 if masked else 0
    if size < 126:
        head = bytes([0x80 | opcode, mask_bit | size])
    elif size < 65536:
        head = bytes([0x80 | opcode, mask_bit | 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([0x80 | opcode, mask_bit | 127]) + size.to_bytes(8, "big")
    if masked:
        mask = os.urandom(4)
        head += mask
        payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
    stream.write(head + payload)
    stream.flush()


def read_frame(stream):
    """(opcode, payload); the end of the stream reads like a close."""
    head = stream.read(2)
    if len(head) < 2:
        return CLOSE, b""
    size = head[1] & 0x7F
    if size >= 126:
        size = int.from_bytes(stream.read(2 if size == 126 else 8), "big")
    mask = stream.read(4) if head[1] & 0x80 else bytes(4)
    payload = stream.read(size)
    return head[0] & 0x0F, bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("address", metavar="HOST:PORT")
    arguments.add_argument("path", metavar="PATH")
    arguments.add_argument("messages", metavar="MESSAGE", nargs="+")
    options = arguments.parse_args()

    host, port = options.address.rsplit(":", 1)
    key = base64.b64encode(os.urandom(16)).decode()
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        stream = connection.makefile("rwb")
        stream.write((f"GET {options.path} HTTP/1.1\r\nHost: {options.address}\r\nConnection: Upgrade\r\n"
                      f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n").encode())
        stream.flush()
        status = stream.readline().decode().strip()
        headers = {}
        while line := stream.readline().decode().strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        if " 101 " not in status + " " or headers.get("sec-websocket-accept") != accept_key(key):
            sys.exit(f"no WebSocket there: {status}")
        for message in options.messages:
            write_frame(stream, TEXT, message.encode(), masked=True)
            print(read_frame(stream)[1].decode())
        write_frame(stream, CLOSE, b"", masked=True)
        read_frame(stream)


if __name__ == "__main__":
    main()
