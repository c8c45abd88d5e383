"""Runs the real `gatehouse` for a test: on a config, on free ports, with its output kept.

  class KeepAlive(GatehouseTest):
      def test_two_requests(self):
          origin = self.origin()
          gateway = self.gateway(config([route("all", "/", "origin")], {"origin": origin.address}))
          client = self.client(gateway)
          self.assertEqual(client.ask("/").status, 200)

What a test starts ends with it: the gateway by SIGTERM, and it must exit with 0.
"""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import unittest

from http_peers import PATIENCE, Client, Closed, Origin

_pause = threading.Event()


def binary():
    """The program under test: what Bazel built, or $GATEHOUSE."""
    for path in (os.environ.get("GATEHOUSE"), "source/gatehouse", "bazel-bin/source/gatehouse"):
        if path and os.path.exists(path):
            return os.path.abspath(path)
    raise FileNotFoundError("source/gatehouse is not built; set GATEHOUSE to try another one")


def wait_until(condition, what="it", patience=PATIENCE):
    """Asks again and again until `condition()` is true, and returns what it returned."""
    deadline = time.monotonic() + patience
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {patience:.0f} s in vain: {what}")
        _pause.wait(0.005)
    return value


def route(name, prefix, cluster=None, **rest):
    """A route by prefix that forwards, unless `rest` says what else it does."""
    made = {"name": name, "match": {"path_prefix": prefix}}
    if cluster:
        made["forward"] = cluster
    made.update(rest)
    return made


def config(routes, clusters=None, listener=None, table=None, **top):
    """A config of one listener `edge` and one table `main`. Clusters by name: an address, a list, or the resource."""
    made = {
        "listeners": [{"name": "edge", "address": "127.0.0.1:0", "route_tables": ["main"], **(listener or {})}],
        "route_tables": [{"name": "main", "domains": ["*"], "routes": routes, **(table or {})}],
        "clusters": [],
    }
    for name, where in (clusters or {}).items():
        if isinstance(where, dict):
            made["clusters"].append({"name": name, **where})
        else:
            made["clusters"].append({"name": name, "endpoints": [where] if isinstance(where, str) else list(where)})
    made.update(top)
    return made


class Gateway:
    """A running gatehouse. `extra` goes to Popen; `files` is the file descriptor limit, soft and hard."""

    def __init__(self, settings, folder, *, arguments=(), environment=None, files=None, path=None, wait=True):
        self.folder = folder
        self.log_path = os.path.join(folder, "access.log")
        self.stdout_path = os.path.join(folder, "stdout")
        self.path = path or os.path.join(folder, "gateway.json")
        self.ports = {}
        self.admin = None
        self.lines = []
        self._changed = threading.Condition()
        if settings is not None:
            self.write(settings)
        limit = (lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))) if files else None
        with open(self.stdout_path, "ab") as stdout:
            self.process = subprocess.Popen(
                [binary(), "run", self.path, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=subprocess.PIPE,
                env={**os.environ, **(environment or {})},
                preexec_fn=limit,
            )
        self._reader = threading.Thread(target=self._read_stderr, daemon=True)
        self._reader.start()
        if wait:
            self.wait_ready()

    def complete(self, settings):
        """With what every test needs: an admin port, two workers, a log of our own."""
        if isinstance(settings, str):
            return settings
        settings = {"admin": {"address": "127.0.0.1:0"}, "workers": 2, **settings}
        for listener in settings["listeners"]:
            listener.setdefault("access_log", {"path": self.log_path})
        return json.dumps(settings, indent=1)

    def write(self, settings):
        """Puts a config in place in one step."""
        beside = self.path + ".new"
        with open(beside, "w", encoding="utf-8") as file:
            file.write(self.complete(settings))
        os.rename(beside, self.path)

    def _read_stderr(self):
        for line in self.process.stderr:
            with self._changed:
                self.lines.append(line.decode("utf-8", "replace").rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self.lines.append(None)
            self._changed.notify_all()
        self.process.stderr.close()

    @property
    def stderr(self):
        with self._changed:
            return "\n".join(line for line in self.lines if line is not None)

    def wait_for_line(self, pattern, start=0):
        """The first line on stderr, from number `start` on, in which the pattern is found."""
        expression = re.compile(pattern)
        deadline = time.monotonic() + PATIENCE
        with self._changed:
            while True:
                for line in self.lines[start:]:
                    if line is None:
                        raise AssertionError(f"gatehouse ended without saying /{pattern}/:\n{self.stderr}")
                    if expression.search(line):
                        return line
                if not self._changed.wait(deadline - time.monotonic()):
                    raise AssertionError(f"gatehouse did not say /{pattern}/:\n{self.stderr}")

    def wait_ready(self):
        line = self.wait_for_line(r"^gatehouse: ready: ")
        self.ports = {name: int(port) for name, port in re.findall(r"(\w[\w-]*) on [^;,]*:(\d+)[,;]", line)}
        admin = re.search(r"admin on (\S+):(\d+)$", line)
        if admin:
            self.admin = (admin[1], int(admin[2]))

    @property
    def address(self):
        return ("127.0.0.1", self.ports["edge"])

    def url(self, path="/"):
        return f"http://127.0.0.1:{self.ports['edge']}{path}"

    def mark(self):
        with self._changed:
            return len(self.lines)

    def reload(self, settings, expect=": loaded"):
        """Swaps the config and waits until the gateway has said what it makes of it."""
        mark = self.mark()
        self.write(settings)
        return self.wait_for_line(expect, mark)

    def signal(self, number):
        self.process.send_signal(number)

    def ask_admin(self, path, method="GET", headers=()):
        with Client(self.admin) as client:
            return client.ask(path, method, host="127.0.0.1", headers=headers)

    def metrics(self):
        """Series, with their labels as they are written, to values."""
        text = self.ask_admin("/metrics").body.decode()
        series = {}
        for line in text.splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                series[name] = float(value)
        return series

    def metric(self, name, **labels):
        """The sum over all series of `name` that have these labels."""
        total = 0.0
        for series, value in self.metrics().items():
            plain = series.partition("{")[0]
            if plain == name and all(f'{key}="{text}"' in series for key, text in labels.items()):
                total += value
        return total

    def wait_for_metric(self, value, name, **labels):
        """A request is counted when it is over, a moment after its client has all of the answer."""
        wait_until(lambda: self.metric(name, **labels) == value, f"{name} {labels} to be {value}")

    def record(self, **fields):
        """The first line of the access log with these values. Workers write by turns: lines have no order."""

        def found():
            try:
                with open(self.log_path, encoding="utf-8") as file:
                    lines = file.read().split("\n")[:-1]
            except FileNotFoundError:
                return None
            records = [json.loads(line) for line in lines]
            return next((one for one in records if fields.items() <= one.items()), None)

        return wait_until(found, f"{fields} in {self.log_path}")

    def log(self, count):
        """The access log once it has `count` lines, each as JSON."""

        def lines():
            try:
                with open(self.log_path, encoding="utf-8") as file:
                    text = file.read()
            except FileNotFoundError:
                return None
            found = text.split("\n")[:-1]
            return found if len(found) >= count else None

        found = wait_until(lines, f"{count} lines in {self.log_path}")
        return [json.loads(line) for line in found]

    def resident_bytes(self):
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    def open_files(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def wait_exit(self):
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code

    def stop(self):
        """SIGTERM; the exit code."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.wait_exit()


class GatehouseTest(unittest.TestCase):
    maxDiff = 4000

    def folder(self):
        path = tempfile.mkdtemp(prefix="gh", dir="/tmp")  # short: unix sockets live here
        self.addCleanup(shutil.rmtree, path, ignore_errors=True)
        return path

    def origin(self, handler=None, **options):
        origin = Origin(handler, **options)

        def finish():
            origin.close()
            self.assertEqual(origin.failures, [], "the origin's handler failed")

        self.addCleanup(finish)
        return origin

    def gateway(self, settings, *, exit_code=0, **options):
        gateway = Gateway(settings, options.pop("folder", None) or self.folder(), wait=False, **options)

        def finish():
            code = gateway.stop()
            if not self._outcome.success:
                print(f"--- stderr of gatehouse in {self.id()}\n{gateway.stderr}\n---", flush=True)
            if exit_code is not None:
                self.assertEqual(code, exit_code, f"exit code of gatehouse; it said:\n{gateway.stderr}")

        self.addCleanup(finish)
        gateway.wait_ready()
        return gateway

    def client(self, gateway, listener="edge", **options):
        client = Client(("127.0.0.1", gateway.ports[listener]), **options)
        self.addCleanup(client.close)
        return client

    def ask(self, gateway, path="/", method="GET", listener="edge", **options):
        """One request on a connection of its own."""
        with Client(("127.0.0.1", gateway.ports[listener])) as client:
            return client.ask(path, method, **options)

    def run_command(self, *command, check=True, **options):
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False, **options)
        if check:
            self.assertEqual(done.returncode, 0, f"{command}\n{done.stdout}\n{done.stderr}")
        return done

    def assert_problem(self, response, status, code):
        """One of the gateway's own error replies."""
        self.assertEqual(response.status, status, response)
        self.assertEqual(response["content-type"], "application/problem+json")
        problem = json.loads(response.body)
        self.assertEqual((problem["status"], problem["code"]), (status, code), problem)
        return problem


class Load:
    """Requests without a pause over `connections` connections until stop(), each answer checked.

    A connection is renewed when the gateway says Connection: close. Anything else that ends one is a lost request.
    """

    def __init__(self, address, connections=4, path="/", expect=(200,)):
        self.done = 0
        self.failures = []
        self._address = address
        self._path = path
        self._expect = expect
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(connections)]
        for thread in self._threads:
            thread.start()

    def _run(self):
        client = None
        while not self._ending.is_set():
            try:
                client = client or Client(self._address)
                response = client.ask(self._path)
                if response.status not in self._expect:
                    raise AssertionError(f"answered {response}")
                if response["connection"] == "close":
                    client.close()
                    client = None
                with self._lock:
                    self.done += 1
            except (OSError, Closed, AssertionError) as error:
                self.failures.append(repr(error))
                if client:
                    client.close()
                client = None
        if client:
            client.close()

    def wait_for(self, count):
        """Until `count` more requests are done."""
        goal = self.done + count
        wait_until(lambda: self.done >= goal or self.failures, f"{count} more requests")

    def stop(self):
        self._ending.set()
        for thread in self._threads:
            thread.join(PATIENCE)
        return self.failures

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def kill(process, number=signal.SIGKILL):
    """Ends a child that a test started."""
    if process.poll() is None:
        process.send_signal(number)
    process.wait(PATIENCE)
