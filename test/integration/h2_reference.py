"""Other people's HTTP/2 servers in the place of the gateway: they show what a case of ours is worth.

  H2_REFERENCE=nghttpx python3 test/integration/h2_conformance_test.py

A case that fails on the gateway and on all of them is to be doubted; one that passes everywhere is sound.
"""

import os
import shutil
import socket
import subprocess
import tempfile

from harness import Gateway, config, kill, route, wait_until
from http_peers import free_port

H2O = """
listen: {{host: 127.0.0.1, port: {port}}}
num-threads: 1
error-log: {folder}/error.log
pid-file: {folder}/pid
user: {user}
hosts:
  default:
    paths:
      /:
        proxy.reverse.url: http://{origin}/
        proxy.preserve-host: ON
"""


def listening(port):
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


class Reference:
    """nghttpx or h2o before an origin. Has what the cases use of a Gateway."""

    def __init__(self, name, origin, folder):
        self.name = name
        port = free_port()
        if name == "nghttpx":
            command = ["nghttpx", f"-f127.0.0.1,{port};no-tls", f"-b{origin.replace(':', ',')}", "--workers=1",
                       f"--pid-file={folder}/pid", "--conf=/dev/null", "--errorlog-file=/dev/null"]
        elif name == "h2o":
            path = os.path.join(folder, "h2o.conf")
            with open(path, "w", encoding="utf-8") as file:
                file.write(H2O.format(port=port, folder=folder, origin=origin,
                                      user="root" if os.geteuid() == 0 else "nobody"))
            command = ["h2o", "-m", "worker", "-c", path]
        else:
            raise ValueError(f"H2_REFERENCE={name}")
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: listening(port), f"{name} at port {port}")
        self.address = ("127.0.0.1", port)

    def stop(self):
        kill(self.process)


def start_server(test_class, origin, **listener):
    """What a test class attacks: the gateway before `origin`, or the server that H2_REFERENCE names."""
    folder = tempfile.mkdtemp(prefix="gh", dir="/tmp")
    test_class.addClassCleanup(shutil.rmtree, folder, ignore_errors=True)
    name = os.environ.get("H2_REFERENCE")
    if name:
        server = Reference(name, origin.address, folder)
    else:
        server = Gateway(config([route("all", "/", "origin")], {"origin": origin.address}, listener=listener), folder)
    test_class.addClassCleanup(server.stop)
    return server
