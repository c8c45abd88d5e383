"""Runs the real `gatehouse-control` for a test, and asks it with its own commands.

  class Applied(ControlPlaneTest):
      def test_it(self):
          control = self.control("--state", self.folder())
          control.apply({"clusters": [{"name": "users", "endpoints": ["127.0.0.1:3001"]}]})
          self.assertEqual(control.status()["revision"], 1)

Resources are checked by fake_gatehouse.py unless the test says otherwise.
"""

import json
import os
import re
import signal
import subprocess
import threading

from harness import GatehouseTest, kill, wait_until
from http_peers import PATIENCE

FAKE = next(
    os.path.abspath(path)
    for path in (
        os.path.join(os.path.dirname(os.path.abspath(__file__)), "../control_plane/fake_gatehouse.py"),
        "test/control_plane/fake_gatehouse.py",
    )
    if os.path.exists(path)
)


def control_binary():
    """The program under test: what Bazel built, or $GATEHOUSE_CONTROL."""
    for path in (
        os.environ.get("GATEHOUSE_CONTROL"),
        "source/control_plane/gatehouse-control",
        "bazel-bin/source/control_plane/gatehouse-control",
    ):
        if path and os.path.exists(path):
            return os.path.abspath(path)
    raise FileNotFoundError("gatehouse-control is not built; set GATEHOUSE_CONTROL to try another one")


def cluster(name, port=3001):
    return {"name": name, "endpoints": [f"127.0.0.1:{port}"]}


def clusters(*names, port=3001, **rest):
    return {"clusters": [cluster(name, port) for name in names], **rest}


class Done:
    """What a command printed, and its exit code."""

    def __init__(self, done):
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr

    def __repr__(self):
        return f"exit code {self.code}\n{self.out}\n{self.err}"


class Control:
    """A running `gatehouse-control serve`."""

    def __init__(self, arguments, folder, environment=None, files=None):
        self.folder = folder
        self.arguments = arguments
        self.environment = environment
        self.lines = []
        self._changed = threading.Condition()
        self.process = None
        self.xds_port = self.rest_port = None
        self.start()

    def start(self, xds=0, rest=0):
        self.lines = []
        checked = "--no-validate" in self.arguments or "--gatehouse" in self.arguments
        self.process = subprocess.Popen(
            [
                control_binary(),
                "serve",
                f"--listen=127.0.0.1:{xds}",
                *(() if "--rest" in self.arguments else (f"--rest=127.0.0.1:{rest}",)),
                *(() if checked else ("--gatehouse", FAKE)),
                *self.arguments,
            ],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, **(self.environment or {})},
        )
        self._reader = threading.Thread(target=self._read, args=[self.process, self.lines], daemon=True)
        self._reader.start()

    def _read(self, process, lines):
        for line in process.stderr:
            with self._changed:
                lines.append(line.decode("utf-8", "replace").rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            lines.append(None)
            self._changed.notify_all()
        process.stderr.close()

    @property
    def stderr(self):
        return "\n".join(line for line in self.lines if line is not None)

    def wait_for_line(self, pattern, start=0):
        def found():
            for line in self.lines[start:]:
                if line is None:
                    raise AssertionError(f"gatehouse-control ended without saying /{pattern}/:\n{self.stderr}")
                if match := re.search(pattern, line):
                    return match
            return None

        try:
            return wait_until(found, f"/{pattern}/")
        except AssertionError as error:
            raise AssertionError(f"{error}; gatehouse-control said:\n{self.stderr}") from None

    def wait_ready(self):
        ready = self.wait_for_line(r"ready: revision \d+, gateways on port (\d+), REST on port (\d+)")
        self.xds_port, self.rest_port = int(ready[1]), int(ready[2])
        return self

    @property
    def url(self):
        return f"http://127.0.0.1:{self.rest_port}"

    def run(self, *command, text=None):
        return Done(
            subprocess.run(
                [control_binary(), *command],
                input=text,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
                env={**os.environ, "GATEHOUSE_CONTROL_SERVER": self.url},
            )
        )

    def try_apply(self, resources, *more, name="applied.json"):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(resources if isinstance(resources, str) else json.dumps(resources, indent=1))
        return self.run("apply", "-f", path, *more)

    def apply(self, resources, *more, name="applied.json"):
        done = self.try_apply(resources, *more, name=name)
        if done.code != 0:
            raise AssertionError(f"apply: {done}\n{self.stderr}")
        return done

    def status(self):
        done = self.run("status", "--json")
        if done.code != 0:
            raise AssertionError(f"status: {done}\n{self.stderr}")
        return json.loads(done.out)

    def resources(self):
        done = self.run("get", "-o", "json")
        if done.code != 0:
            raise AssertionError(f"get: {done}")
        return {(one["group"], one["name"]): one for one in json.loads(done.out)["resources"]}

    def names(self):
        return sorted(name for _, name in self.resources())

    def wait_for_names(self, *names):
        wait_until(lambda: self.names() == sorted(names), f"resources {names}, there are {self.names()}")

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code

    def kill(self):
        kill(self.process)
        self._reader.join(PATIENCE)

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)


class ControlPlaneTest(GatehouseTest):
    def control(self, *arguments, wait=True, exit_code=0, **options):
        control = Control(list(arguments), self.folder(), **options)

        def finish():
            code = control.stop()
            if not self._outcome.success:
                print(f"--- stderr of gatehouse-control in {self.id()}\n{control.stderr}\n---", flush=True)
            if exit_code is not None:
                self.assertEqual(code, exit_code, f"exit code of gatehouse-control; it said:\n{control.stderr}")

        self.addCleanup(finish)
        return control.wait_ready() if wait else control

    def write(self, folder, name, resources):
        """In one step, as a good editor does."""
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        beside = os.path.join(os.path.dirname(path), ".new")
        with open(beside, "w", encoding="utf-8") as file:
            file.write(resources if isinstance(resources, str) else json.dumps(resources, indent=1))
        os.rename(beside, path)
