"""Real Redis servers for a test: one, one with TLS and a password, a cluster, a server with a replica and sentinels.

  redis = RedisServer(folder)                    # redis.address; redis.ask("GET", "key"); redis.kill(); redis.start()
  cluster = RedisCluster(folder, masters=3)      # cluster.addresses; cluster.move(slot, 0, 1)
  group = RedisSentinels(folder)                 # group.address of the sentinel; group.master; group.replica

They keep nothing on disk, listen on 127.0.0.1, and end by stop(), by their process ids.
"""

import os
import signal
import socket
import ssl
import subprocess
import tempfile

from harness import kill, wait_until
from http_peers import PATIENCE, free_port


def encode(*words):
    """A command, in RESP."""
    parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


class RedisError(Exception):
    """The server answered with an error."""


class RedisConnection:
    """One connection, one command at a time. `tls` is an ssl.SSLContext."""

    def __init__(self, port, password=None, user="default", tls=None, patience=PATIENCE):
        self._sock = socket.create_connection(("127.0.0.1", port), timeout=patience)
        try:
            if tls:
                self._sock = tls.wrap_socket(self._sock, server_hostname="127.0.0.1")
            self._file = self._sock.makefile("rb")
            if password:
                self.ask("AUTH", user, password)
        except (OSError, RedisError):
            self._sock.close()
            raise

    def ask(self, *words):
        self._sock.sendall(encode(*words))
        return self._reply()

    def _reply(self):
        line = self._file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("redis closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            raise RedisError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self._file.read(int(rest) + 2)[:-2]
        return None if rest == b"-1" else [self._reply() for _ in range(int(rest))]

    def close(self):
        self._file.close()
        self._sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class RedisServer:
    """`options` are those of redis.conf, by name with _ for -. `tls` is a TlsMaterial: TLS only, by its `origin`."""

    def __init__(self, folder, *, password=None, tls=None, sentinel=None, port=None, **options):
        self.folder = tempfile.mkdtemp(prefix="redis", dir=folder)
        self.port = port or free_port()
        self.process = None
        self._password = password
        self._tls = None
        if sentinel is not None:
            lines = [f"port {self.port}", *sentinel]
        else:
            lines = ["save \"\"", "appendonly no", "repl-diskless-sync-delay 0"]
            if tls:
                self._tls = ssl.create_default_context(cafile=tls.ca)
                self._tls.check_hostname = False
                lines += ["port 0", f"tls-port {self.port}", "tls-auth-clients no",
                          f"tls-cert-file {tls.origin.chain}", f"tls-key-file {tls.origin.key}",
                          f"tls-ca-cert-file {tls.ca}"]
            else:
                lines.append(f"port {self.port}")
            if password:
                lines += [f"requirepass {password}", f"masterauth {password}"]
        lines += ["bind 127.0.0.1", "daemonize no", f"dir {self.folder}"]
        lines += [f"{name.replace('_', '-')} {value}" for name, value in options.items()]
        self._config = os.path.join(self.folder, "redis.conf")
        with open(self._config, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
        self._program = ["redis-server", self._config] + (["--sentinel"] if sentinel is not None else [])
        self.start()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def start(self):
        """Also after kill(): at the same port, empty."""
        with open(os.path.join(self.folder, "log"), "ab") as log:
            self.process = subprocess.Popen(self._program, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(self._answers, f"redis-server on {self.port}")

    def _answers(self):
        if self.process.poll() is not None:
            with open(os.path.join(self.folder, "log"), encoding="utf-8", errors="replace") as log:
                raise AssertionError(f"redis-server ended with {self.process.returncode}:\n{log.read()}")
        try:
            return self.ask("PING") == "PONG"
        except (OSError, RedisError):
            return False

    def connect(self):
        return RedisConnection(self.port, self._password, tls=self._tls)

    def ask(self, *words):
        with self.connect() as connection:
            return connection.ask(*words)

    def change_password(self, password):
        """Connections that have logged in stay."""
        self.ask("CONFIG", "SET", "requirepass", password)
        self._password = password

    def info(self, section, name):
        """A line of INFO."""
        text = self.ask("INFO", section).decode()
        return next((line.partition(":")[2] for line in text.split("\r\n") if line.startswith(name + ":")), None)

    def pause(self):
        """SIGSTOP: it is there, and says nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def kill(self):
        kill(self.process, signal.SIGKILL)

    def stop(self):
        if self.process.poll() is None:
            self.resume()
            self.kill()


class RedisCluster:
    """Masters without replicas that share the slots evenly. Keys of a slot can be moved while it is used."""

    SLOTS = 16384

    def __init__(self, folder, masters=3, **options):
        self.nodes = []
        try:
            for _ in range(masters):
                self.nodes.append(RedisServer(folder, cluster_enabled="yes", cluster_port=free_port(),
                                              cluster_config_file="nodes.conf", cluster_node_timeout=2000, **options))
            self._join()
        except BaseException:
            self.stop()
            raise

    def _join(self):
        each = self.SLOTS // len(self.nodes)
        for number, node in enumerate(self.nodes):
            last = self.SLOTS if number == len(self.nodes) - 1 else (number + 1) * each
            node.ask("CLUSTER", "ADDSLOTSRANGE", number * each, last - 1)
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        first = self.nodes[0]
        bus = first.ask("CONFIG", "GET", "cluster-port")[1].decode()
        for node in self.nodes[1:]:
            node.ask("CLUSTER", "MEET", "127.0.0.1", first.port, bus)
        for node in self.nodes:
            wait_until(lambda node=node: b"cluster_state:ok" in node.ask("CLUSTER", "INFO")
                       and len(node.ask("CLUSTER", "SLOTS")) == len(self.nodes), "the cluster")

    @property
    def addresses(self):
        return [node.address for node in self.nodes]

    def slot(self, key):
        return self.nodes[0].ask("CLUSTER", "KEYSLOT", key)

    def owner(self, slot):
        """The number of the node that has the slot."""
        for first, last, node, *_ in self.nodes[0].ask("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(i for i, one in enumerate(self.nodes) if one.port == node[1])
        raise AssertionError(f"nobody has slot {slot}")

    def keys(self):
        return [key for node in self.nodes for key in node.ask("KEYS", "*")]

    def move(self, slot, target, between=lambda: None):
        """Moves a slot and its keys. `between` is called while it is half done: some keys here, some there."""
        source = self.nodes[self.owner(slot)]
        target = self.nodes[target]
        source_id, target_id = source.ask("CLUSTER", "MYID"), target.ask("CLUSTER", "MYID")
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
        between()
        while keys := source.ask("CLUSTER", "GETKEYSINSLOT", slot, 100):
            source.ask("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
            between()
        for node in (target, source, *self.nodes):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", target_id)

    def stop(self):
        for node in self.nodes:
            node.stop()


class RedisSentinels:
    """A master, a replica, and sentinels that make the replica the master when the master is gone."""

    NAME = "limits"

    def __init__(self, folder, sentinels=1, password=None):
        self.servers = []
        self.sentinels = []
        self._password = password
        try:
            self.master = self._add(RedisServer(folder, password=password))
            self.replica = self._add(RedisServer(folder, password=password,
                                                 replicaof=f"127.0.0.1 {self.master.port}"))
            wait_until(lambda: self.replica.info("replication", "master_link_status") == "up", "the replica")
            lines = [f"sentinel monitor {self.NAME} 127.0.0.1 {self.master.port} {sentinels // 2 + 1}",
                     f"sentinel down-after-milliseconds {self.NAME} 500",
                     f"sentinel failover-timeout {self.NAME} 3000"]
            if password:
                lines.append(f"sentinel auth-pass {self.NAME} {password}")
            for _ in range(sentinels):
                self.sentinels.append(self._add(RedisServer(folder, sentinel=lines)))
            for one in self.sentinels:
                wait_until(lambda one=one: self._knows(one, sentinels), "the sentinels")
        except BaseException:
            self.stop()
            raise

    def _add(self, server):
        self.servers.append(server)
        return server

    def _knows(self, sentinel, sentinels):
        others = sentinel.ask("SENTINEL", "SENTINELS", self.NAME)
        return sentinel.ask("SENTINEL", "REPLICAS", self.NAME) and len(others) == sentinels - 1

    @property
    def addresses(self):
        return [one.address for one in self.sentinels]

    def master_port(self):
        return int(self.sentinels[0].ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.NAME)[1])

    def replicated(self):
        """Waits until the replica has all that the master was told."""
        def same():
            def offset(server):
                return server.info("replication", "master_repl_offset")
            return offset(self.master) == offset(self.replica)
        wait_until(same, "the replica to catch up")

    def fail_over(self):
        """Kills the master, and waits until the sentinel says that the replica is it now."""
        self.master.kill()
        wait_until(lambda: self.master_port() == self.replica.port
                   and self.replica.info("replication", "role") == "master", "the failover")

    def stop(self):
        for server in self.servers:
            server.stop()
