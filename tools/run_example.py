#!/usr/bin/python3
"""Starts an example with the demo services, for looking around or for a check. `tools/run` calls it.

  run_example.py --binaries BAZEL_BIN EXAMPLE
  run_example.py --binaries BAZEL_BIN --smoke EXAMPLE...

A smoke test is the example's README.md: each ```console block holds commands behind "$ " and what they print, and a
```log block holds what the gateway says meanwhile. "..." stands for anything within a line and, alone in a line, for
any lines. Everything runs on a copy of the example, on free ports; the README's own ports stand for them.

An example with a folder `resources` has a control plane (gatehouse-control) that keeps what stands there, and a gateway
that is started again when it ends. One whose config has a cluster `redis` has a redis-server there, also started again, and
one with further configs `gateway-*.yaml` has a gateway for each. What they leave behind is in the example's folder
`state`, with their process ids.
"""

import argparse
import dataclasses
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

import localhost_certificate

ROOT = pathlib.Path(__file__).resolve().parent.parent
SERVICES = ROOT / "examples/quickstart/services.py"
READY_SECONDS = 20
STOP_SECONDS = 15
COMMAND_SECONDS = 60
LOG_SECONDS = 10
ADDRESS = re.compile(r"(127\.0\.0\.1|localhost):(\d+)")
CERTIFICATES = "certificates"  # of an example that listens on TLS; made here
RESOURCES, STATE = "resources", "state"  # of an example with a control plane; `state` is made here
REST_PORT = "18001"  # of the control plane
AGAIN_SECONDS = 0.2
REDIS = re.compile(r'- name: redis\n\s+endpoints: \["127\.0\.0\.1:(\d+)"\]')


class Failure(Exception):
    """Something that the user must be told; its text is all there is to say."""


# -- README.md -------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Step:
    """A command with the lines it prints, or (`command` is None) lines that the gateway (or the control plane) logs."""
    line: int
    section: str
    command: str | None
    expected: list[str]


def read_steps(text):
    steps, section, block = [], "", None
    for number, line in enumerate(text.splitlines(), 1):
        if block is None:
            if line.startswith("#"):
                section = line.lstrip("#").strip()
            elif line in ("```console", "```log"):
                block = line[3:]
                if block == "log":
                    steps.append(Step(number, section, None, []))
        elif line == "```":
            block = None
        elif block == "console" and line.startswith("$ "):
            steps.append(Step(number, section, line[2:], []))
        elif block == "console" and line.startswith("> ") and steps and not steps[-1].expected:
            steps[-1].command += "\n" + line[2:]  # a command of several lines, as a shell shows it
        else:
            steps[-1].expected.append(line)
    return steps


def pattern_of(expected):
    """A regular expression for the lines, each with its end."""
    pattern = ""
    for line in expected:
        if line.strip() == "...":
            pattern += r"(?:[^\n]*\n)*?"
        else:
            pattern += "[^\n]*?".join(re.escape(part) for part in line.rstrip().split("...")) + r"[ \t]*\n"
    return pattern


def matches(expected, output):
    output = output.replace("\r", "")
    if output and not output.endswith("\n"):
        output += "\n"
    return re.fullmatch(pattern_of(expected), output) is not None


# -- Processes -------------------------------------------------------------------------------------------------------


class Log:
    """Lines of one process, or of several in the order of their coming."""

    def __init__(self):
        self._lines = []
        self._changed = threading.Condition()
        self._echo = False

    def add(self, line):
        with self._changed:
            self._lines.append(line)
            self._changed.notify_all()
            if self._echo:
                print(line, flush=True)

    def wake(self):
        with self._changed:
            self._changed.notify_all()

    def show(self):
        """From now on, lines are printed as they come; first those that are there."""
        with self._changed:
            for line in self._lines:
                print(line, flush=True)
            self._echo = True

    def lines(self):
        with self._changed:
            return list(self._lines)

    def wait_for(self, found, seconds, ended=lambda: False):
        """What found(lines) answers, as soon as that is true; None when it never is."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while not (result := found(self._lines)):
                left = deadline - time.monotonic()
                if ended() or left <= 0:
                    return None
                self._changed.wait(left)
            return result


class Process:
    """A child in a session of its own, so that Ctrl-C is this program's to handle, with what it prints."""

    def __init__(self, arguments, environment=None, log=None, pid_file=None, again=False):
        self.name = pathlib.Path(arguments[1] if "python" in arguments[0] else arguments[0]).name
        self.log = log or Log()
        self._arguments, self._environment, self._pid_file = arguments, environment, pid_file
        self._again = again  # when it has ended in order, or by a signal
        self._lock = threading.Lock()
        self._ended = False
        self._start()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _start(self):
        self._child = subprocess.Popen(self._arguments, cwd=ROOT, env=self._environment, stdin=subprocess.DEVNULL,
                                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        if self._pid_file:
            self._pid_file.write_text(f"{self._child.pid}\n")

    def _read(self):
        while True:
            with self._child.stdout as lines:
                for line in lines:
                    self.log.add(line.decode(errors="replace").rstrip("\n"))
            if self._child.wait() > 0 or not self._again:
                break
            time.sleep(AGAIN_SECONDS)
            with self._lock:
                if not self._again:
                    break
                self._start()
        self._ended = True
        self.log.wake()

    def wait_for(self, found, seconds):
        return self.log.wait_for(found, seconds, lambda: self._ended)

    def running(self):
        return self._child.poll() is None

    def wait(self, seconds=None):
        """The exit code; None when it has not ended by then. One that is started again does not end by itself."""
        self._reader.join(seconds)
        return None if self._reader.is_alive() else self._child.returncode

    def signal(self, number):
        if self.running():
            self._child.send_signal(number)

    def stop(self):
        """The exit code after a graceful stop; negative when it had to be killed."""
        with self._lock:
            self._again = False
        self.signal(signal.SIGTERM)
        code = self.wait(STOP_SECONDS)
        if code is None:
            self._child.kill()
            code = self._child.wait()
        return code

    def failure(self, what):
        tail = "\n".join("  " + line for line in self.log.lines()[-20:])
        state = "" if self.running() else f" (it ended with status {self._child.poll()})"
        return Failure(f"{self.name}: {what}{state}. Its last lines:\n{tail or '  (none)'}")


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return response.status == 200
    except (urllib.error.URLError, OSError):
        return False


def wait_until_answers(url, process):
    deadline = time.monotonic() + READY_SECONDS
    while not answers(url):
        if not process.running():
            raise process.failure("it did not start")
        if time.monotonic() > deadline:
            raise process.failure(f"{url} does not answer after {READY_SECONDS} s")
        time.sleep(0.05)


# -- An example ------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Addresses:
    listeners: dict[str, str]  # name: port
    admin: str
    tls: frozenset[str] = frozenset()  # names


def addresses_in(config):
    """The ports that a config file of examples/ says."""
    listeners = re.findall(r'- name: (\S+)\n\s+address: "127\.0\.0\.1:(\d+)"((?:\n  .*)*)', config)
    admin = re.search(r'^admin: .*"127\.0\.0\.1:(\d+)"', config, re.MULTILINE)
    return Addresses({name: port for name, port, _ in listeners}, admin.group(1),
                     frozenset(name for name, _, more in listeners if "\n  tls:" in more))


def addresses_of(lines):
    """The ports that a gateway says when it is ready, or None."""
    for line in lines:
        if line.startswith("gatehouse: ready: "):
            listeners = re.findall(r"(\S+) on 127\.0\.0\.1:(\d+)[,;]", line)
            return Addresses(dict(listeners), re.search(r"admin on 127\.0\.0\.1:(\d+)", line).group(1))
    return None


def free_ports(count):
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [str(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def service_specs():
    sys.path.insert(0, str(SERVICES.parent))
    import services  # noqa: the demo services say where they are
    return services.DEFAULT


def check_port_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", int(port)))
        except OSError as error:
            raise Failure(f"port {port} is taken: {error.strerror}. Is another tools/run under way? "
                          f"`ss -ltnp 'sport = :{port}'` says whose it is.") from None


def told_path(path):
    """As one would write it at the root of the repository."""
    return os.path.relpath(path, ROOT) if path.is_relative_to(ROOT) else str(path)


class Example:
    def __init__(self, name, binaries, folder):
        self.name = name
        self.folder = folder
        self.config = folder / "gateway.yaml"
        own = ROOT / "examples" / name / "main.cc"
        self.binary = binaries / (f"examples/{name}/gateway" if own.exists() else "source/gatehouse")
        self.control_binary = binaries / "source/control_plane/gatehouse-control"
        self.state = folder / STATE
        self.log = Log()  # of the gateway and of the control plane
        self.services = None
        self.control = None
        self.redis = None
        self.gateway = None
        self.others = []  # further gateways

    @property
    def controlled(self):
        """It has a control plane."""
        return (self.folder / RESOURCES).is_dir()

    def redis_port(self):
        """Where its gateways look for Redis, or None."""
        found = REDIS.search(self.config.read_text(encoding="utf-8"))
        return found and found.group(1)

    def other_configs(self):
        return sorted(self.folder.glob("gateway-*.yaml"))

    def config_files(self):
        return [self.config, *self.other_configs(), *sorted(self.folder.glob(f"{RESOURCES}/**/*.yaml"))]

    def addresses(self):
        return addresses_in("".join(file.read_text(encoding="utf-8") for file in self.config_files()))

    def start_services(self, specs, environment=None):
        """Port by port, where they serve."""
        self.services = Process(["/usr/bin/python3", str(SERVICES), *specs], environment=environment)
        lines = self.services.wait_for(
            lambda lines: len([line for line in lines if ADDRESS.search(line)]) == len(specs) and list(lines),
            READY_SECONDS)
        if lines is None:
            raise self.services.failure("the demo services did not start")
        ports = [ADDRESS.search(line).group(2) for line in lines]
        for port in ports:
            wait_until_answers(f"http://127.0.0.1:{port}/health", self.services)
        return ports

    def make_certificate(self, folder):
        """For an example that listens on TLS: in `folder`, to which a link leads when that is elsewhere."""
        if f"{CERTIFICATES}/localhost" not in self.config.read_text(encoding="utf-8"):
            return
        link = self.folder / CERTIFICATES
        try:
            localhost_certificate.ensure(folder)
            if folder != link and not link.exists():
                link.unlink(missing_ok=True)  # one that leads nowhere
                link.symlink_to(folder)
        except subprocess.CalledProcessError as error:
            raise Failure(f"openssl cannot make a certificate for localhost: {error.stderr.strip()}") from None
        except OSError as error:
            raise Failure(f"cannot make a certificate for localhost: {error}") from None

    def start_control_plane(self, rest_port):
        """Does nothing for an example without one."""
        if not self.controlled:
            return
        self.remove_state()
        self.state.mkdir(0o700)
        self.control = Process(
            [str(self.control_binary), "serve", "--dir", told_path(self.folder / RESOURCES),
             "--state", str(self.state / "control_plane"), "--gatehouse", str(self.binary),
             "--listen", f"127.0.0.1:{control_ports(self)[0]}", "--rest", f"127.0.0.1:{rest_port}",
             "--instance", "control-1"],
            log=self.log, pid_file=self.state / "control_plane.pid")
        if self.control.wait_for(lambda lines: any(": ready: " in line for line in lines), READY_SECONDS) is None:
            raise self.control.failure("the control plane did not become ready")

    def start_redis(self):
        """Does nothing for an example without one. It keeps nothing on disk."""
        port = self.redis_port()
        if not port:
            return
        if not shutil.which("redis-server"):
            raise Failure("this example needs redis-server; tools/setup installs it")
        self.remove_state()
        self.state.mkdir(0o700)
        self.redis = Process(["redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
                              "--dir", str(self.state)], again=True, pid_file=self.state / "redis.pid")
        if self.redis.wait_for(lambda lines: any("Ready to accept" in line for line in lines), READY_SECONDS) is None:
            raise self.redis.failure("Redis did not become ready")

    def remove_state(self):
        shutil.rmtree(self.state, ignore_errors=True)

    def start_others(self):
        """The further gateways; their addresses."""
        addresses = []
        for config in self.other_configs():
            gateway = Process([str(self.binary), "run", told_path(config)])
            self.others.append(gateway)
            addresses.append(gateway.wait_for(addresses_of, READY_SECONDS))
            if addresses[-1] is None:
                raise gateway.failure("the gateway did not become ready")
            wait_until_answers(f"http://127.0.0.1:{addresses[-1].admin}/ready", gateway)
        return addresses

    def start_gateway(self):
        self.gateway = Process([str(self.binary), "run", told_path(self.config)], log=self.log, again=self.controlled,
                               pid_file=self.state / "gateway.pid" if self.controlled else None)
        addresses = self.gateway.wait_for(addresses_of, READY_SECONDS)
        if addresses is None:
            raise self.gateway.failure("the gateway did not become ready")
        wait_until_answers(f"http://127.0.0.1:{addresses.admin}/ready", self.gateway)
        return addresses

    def stop(self):
        """The gateway first: it may still wait for a service."""
        code = self.gateway.stop() if self.gateway else None
        codes = [gateway.stop() for gateway in self.others]
        for process in (self.control, self.redis, self.services):
            if process:
                process.stop()
        if self.control or self.redis:
            self.remove_state()
        return code or next((one for one in codes if one), code)


def control_ports(example):
    """Where the gateway looks for the control plane."""
    line = re.search(r"^control_plane: .*", example.config.read_text(encoding="utf-8"), re.MULTILINE)
    return [port for _, port in ADDRESS.findall(line.group())]


def about_config(example):
    if not example.controlled:
        config = f"config    examples/{example.name}/gateway.yaml: edit it while the gateway runs"
        return config + (f"\nprograms  PATH={example.binary.parent}:$PATH" if example.redis else "")
    return (f"control   http://127.0.0.1:{REST_PORT}; for gateways 127.0.0.1:{control_ports(example)[0]}\n"
            f"config    examples/{example.name}/{RESOURCES}/: edit it while they run\n"
            f"programs  PATH={example.binary.parent}:{example.control_binary.parent}:$PATH")


def interactive(name, binaries):
    example = Example(name, binaries, ROOT / "examples" / name)
    steps = read_steps((example.folder / "README.md").read_text(encoding="utf-8"))
    specs = service_specs()
    told = example.addresses()
    control = [*control_ports(example), REST_PORT] if example.controlled else []
    redis = [example.redis_port()] if example.redis_port() else []
    for port in [*told.listeners.values(), told.admin, *control, *redis, *(spec.split("=")[1] for spec in specs)]:
        check_port_free(port)

    stops = []

    def on_signal(number, frame):
        stops.append(number)
        if len(stops) == 1:
            raise KeyboardInterrupt
        if example.gateway:
            example.gateway.signal(signal.SIGTERM)  # its second one: it stops at once

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    code = None
    urls = [f"https://localhost:{port}" if listener in told.tls else f"http://127.0.0.1:{port}"
            for listener, port in told.listeners.items()]
    try:
        example.make_certificate(localhost_certificate.state_folder())
        example.start_services(specs)
        example.start_control_plane(REST_PORT)
        example.start_redis()
        addresses = example.start_gateway()
        example.start_others()
        print(f"""
gateway   {'  '.join(urls)}
admin     http://127.0.0.1:{addresses.admin}   /ready /metrics /config /clusters{" /xds" if control else ""}
services  {'  '.join(spec.replace('=', ' on ') for spec in specs + [f"redis={port}" for port in redis])}
{about_config(example)}

Worth trying (examples/{name}/README.md says more):
""" + "\n".join("  " + step.command for step in steps if step.command and step.section == "Worth trying") + f"""

Ctrl-C stops everything. What {"they say" if control or example.others else "the gateway says"}, and the access log:
""", flush=True)
        for log in (example.log, *(other.log for other in example.others)):
            log.show()
        code = example.gateway.wait()
        raise Failure(f"the gateway ended by itself, with status {code}")
    except KeyboardInterrupt:
        code = 0
    finally:
        # From here on a signal only hurries the gateway.
        if not stops:
            stops.append(0)
        example.stop()
    print("stopped", flush=True)
    return code


# -- Smoke tests -----------------------------------------------------------------------------------------------------


class Smoke:
    def __init__(self, name, binaries, scratch):
        self.name = name
        self.folder = scratch / name
        shutil.copytree(ROOT / "examples" / name, self.folder,
                        ignore=shutil.ignore_patterns("__pycache__", CERTIFICATES, STATE))
        self.example = Example(name, binaries, self.folder)
        self.to_real = {}
        self.log_seen = 0

    def run(self):
        readme = f"examples/{self.name}/README.md"
        steps = read_steps((ROOT / readme).read_text(encoding="utf-8"))
        if not any(step.command for step in steps):
            raise Failure(f"{readme} has no command to run")
        try:
            self.start()
            for step in steps:
                try:
                    self.check_log(step) if step.command is None else self.check_command(step)
                except Failure as failure:
                    raise Failure(f"{readme}:{step.line}: {failure}\nthe gateway said:\n"
                                  + indent("\n".join(self.example.log.lines()[-15:]))) from None
        finally:
            code = self.example.stop()
        if code != 0:
            raise Failure(f"the gateway ended with status {code}")
        return len(steps)

    def start(self):
        specs = service_specs()
        real = self.example.start_services([spec.split("=")[0] + "=0" for spec in specs])
        for spec, port in zip(specs, real):
            self.to_real[spec.split("=")[1]] = port
        if self.example.controlled:
            return self.start_controlled()
        if self.example.redis_port():
            self.to_real[self.example.redis_port()] = free_ports(1)[0]
        told = []
        for path in (self.example.config, *self.example.other_configs()):
            config = path.read_text(encoding="utf-8")
            told.append(addresses_in(config))
            # What is not a service is an address to listen on.
            config = ADDRESS.sub(lambda found: f"{found.group(1)}:{self.to_real.get(found.group(2), '0')}", config)
            path.write_text(config, encoding="utf-8")
        self.example.make_certificate(self.folder / CERTIFICATES)
        self.example.start_redis()
        for one, addresses in zip(told, [self.example.start_gateway(), *self.example.start_others()]):
            for name, port in one.listeners.items():
                self.to_real[port] = addresses.listeners[name]
            self.to_real[one.admin] = addresses.admin

    def start_controlled(self):
        """The gateway is started again, and others push what it listens on: all of it needs its ports before."""
        files = sorted(self.folder.rglob("*.yaml"))
        ports = {port for file in files for _, port in ADDRESS.findall(file.read_text(encoding="utf-8"))} | {REST_PORT}
        ports -= self.to_real.keys()
        self.to_real.update(zip(sorted(ports), free_ports(len(ports))))
        for file in files:
            file.write_text(self.real(file.read_text(encoding="utf-8")), encoding="utf-8")
        self.example.start_control_plane(self.to_real[REST_PORT])
        self.example.start_gateway()

    def real(self, text):
        text = ADDRESS.sub(lambda found: f"{found.group(1)}:{self.to_real.get(found.group(2), found.group(2))}", text)
        # Its programs may be used where they are; what is edited is the copy.
        return text.replace(f"examples/{self.name}/", f"{self.folder}/")

    def as_told(self, text):
        to_told = {real: told for told, real in self.to_real.items()}
        text = ADDRESS.sub(lambda found: f"{found.group(1)}:{to_told.get(found.group(2), found.group(2))}", text)
        return text.replace(f"{self.folder}/", f"examples/{self.name}/")

    def check_command(self, step):
        """What a control plane is told takes a moment to arrive: then it is asked again."""
        patient = self.example.controlled and step.command.startswith(("curl", "gatehouse-control status"))
        deadline = time.monotonic() + (LOG_SECONDS if patient else 0)
        while True:
            code, output = self.run_command(step.command)
            if matches(step.expected, output) or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        if not matches(step.expected, output):
            raise Failure(f"$ {step.command}\nwas expected to print\n{indent(chr(10).join(step.expected))}"
                          f"\nbut printed\n{indent(output)}")
        if code != 0 and not step.expected:
            raise Failure(f"$ {step.command}\nended with status {code}")

    def run_command(self, command):
        """Its exit code, and what it prints."""
        programs = f"{self.example.binary.parent}:{self.example.control_binary.parent}"
        environment = dict(os.environ, PATH=f"{programs}:{os.environ['PATH']}", LC_ALL="C.UTF-8", COLUMNS="80")
        # Not the user's proxies and defaults; and without a terminal curl would show its progress.
        for name in [name for name in environment if name.lower().endswith("_proxy")]:
            del environment[name]
        environment["CURL_HOME"] = str(self.folder)
        (self.folder / ".curlrc").write_text("silent\nshow-error\n")
        environment["GATEHOUSE_CONTROL_SERVER"] = f"http://127.0.0.1:{self.to_real.get(REST_PORT, REST_PORT)}"
        with subprocess.Popen(["bash", "-c", self.real(command)], cwd=ROOT, env=environment,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              start_new_session=True) as child:
            try:
                output = child.communicate(timeout=COMMAND_SECONDS)[0].decode(errors="replace")
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                raise Failure(f"$ {command}\ndid not end in {COMMAND_SECONDS} s") from None
        return child.returncode, self.as_told(output)

    def check_log(self, step):
        expected = re.compile(pattern_of(step.expected), re.MULTILINE)

        def found(lines):
            return expected.search(self.as_told("\n".join(lines[self.log_seen:]) + "\n")) and len(lines)

        seen = self.example.gateway.wait_for(found, LOG_SECONDS)
        if seen is None:
            raise Failure("the log was expected to say\n" + indent("\n".join(step.expected)))
        self.log_seen = seen


def indent(text):
    return "\n".join("    " + line for line in text.rstrip("\n").splitlines())


def smoke(names, binaries):
    def on_signal(number, frame):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, on_signal)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="gatehouse-smoke-") as scratch:
        for name in names:
            started = time.monotonic()
            try:
                steps = Smoke(name, binaries, pathlib.Path(scratch)).run()
                print(f"{name}: {steps} steps of its README.md hold, {time.monotonic() - started:.1f} s", flush=True)
            except Failure as failure:
                print(f"{name}: FAILED: {failure}", flush=True)
                failed += 1
    return 1 if failed else 0


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--binaries", type=pathlib.Path, required=True)
    arguments.add_argument("--smoke", action="store_true")
    arguments.add_argument("examples", nargs="+")
    options = arguments.parse_args()
    try:
        if options.smoke:
            return smoke(options.examples, options.binaries)
        return interactive(options.examples[0], options.binaries)
    except Failure as failure:
        print(f"tools/run: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
