"""Drives the control plane in ForeignControlPlane.java, which is not ours: grpc-java on Netty.

  plane = ForeignControlPlane()
  plane.set("Cluster", cluster("users", "127.0.0.1:3001"))
  plane.push()
  plane.wait_for("ack Cluster")
"""

import base64
import os
import re
import subprocess
import tempfile
import threading
import time

from google.protobuf import json_format

from http_peers import PATIENCE
from scripted_control_plane import MESSAGES

HERE = os.path.dirname(os.path.abspath(__file__))
JAR = "test/integration/foreign_control_plane/foreign_control_plane.jar"


def _jar():
    for path in (os.environ.get("FOREIGN_CONTROL_PLANE"), JAR):
        if path and os.path.exists(path):
            return path
    path = os.path.join(tempfile.mkdtemp(prefix="ghjar", dir="/tmp"), "foreign_control_plane.jar")
    subprocess.run([os.path.join(HERE, "build"), path], check=True, cwd=os.path.join(HERE, "../../.."))
    os.environ["FOREIGN_CONTROL_PLANE"] = path
    return path


class ForeignControlPlane:
    def __init__(self, port=0):
        self._process = subprocess.Popen(
            ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-jar", _jar(), str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._lines = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.port = int(self.wait_for(r"^listening (\d+)")[1])
        self.address = f"127.0.0.1:{self.port}"

    def _read(self):
        for line in self._process.stdout:
            with self._changed:
                self._lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._lines.append(None)
            self._changed.notify_all()

    def mark(self):
        with self._changed:
            return len(self._lines)

    def wait_for(self, pattern, start=0):
        """The first line from number `start` on in which the pattern is found, as a match."""
        deadline = time.monotonic() + PATIENCE
        with self._changed:
            while True:
                for line in self._lines[start:]:
                    if line is None:
                        raise AssertionError(f"it ended without saying /{pattern}/: {self._lines}")
                    if found := re.search(pattern, line):
                        return found
                if not self._changed.wait(deadline - time.monotonic()):
                    raise AssertionError(f"it did not say /{pattern}/: {self._lines}")

    def say(self, *words):
        self._process.stdin.write(" ".join(words) + "\n")
        self._process.stdin.flush()

    def set(self, kind, resource):
        """A resource as a dict in protobuf's JSON mapping."""
        message = json_format.ParseDict(resource, MESSAGES[kind]())
        name = resource["cluster" if kind == "Endpoints" else "name"]
        self.say("set", kind, name, base64.b64encode(message.SerializeToString(deterministic=True)).decode())

    def remove(self, kind, name):
        self.say("remove", kind, name)

    def push(self):
        self.say("push")

    def close(self):
        if self._process.poll() is None:
            self._process.stdin.close()
            try:
                self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._reader.join(PATIENCE)
        self._process.stdout.close()
