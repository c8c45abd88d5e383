"""How a scenario is measured: a function per kind.

Throughput and latency keep every proxy running and visit them in turn, A B C A B C, so that what
disturbs the machine disturbs all of them. The other kinds start a proxy for each sample.
A sample is a dict of numbers; `errors` above 0 makes the report say so.
"""

import contextlib
import glob
import json
import os
import re
import select
import shutil
import signal
import subprocess
import time

from . import peers, processes, programs
from .processes import LOAD_CORE, PROXY_CORE, Failure
from .scenarios import FIGURES


class Bench:
    """One run: the origin, where things are, and how long to measure."""

    def __init__(self, group, programs_by_peer, rounds, seconds, warmup, progress):
        self.group = group
        self.programs = programs_by_peer
        self.rounds, self.seconds, self.warmup = rounds, seconds, warmup
        self.progress = progress
        self.origins = {}

    def run(self, scenario, names):
        """{peer: [sample, ...]} of the peers that serve the scenario."""
        names = [n for n in names if scenario.front in peers.PEERS[n].fronts]
        try:
            programs.generator(scenario.generator)
        except Failure as failure:
            self.progress(f"  {scenario.name}: failed: {failure}")
            return {name: [{"failed": str(failure)}] for name in names}
        if scenario.kind in ("throughput", "latency"):
            return self._interleaved(scenario, names)
        measure = {"idle": self._idle, "instructions": self._instructions,
                   "syscalls": self._syscalls}[scenario.kind]
        samples = {}
        for name in names:
            samples[name] = [self._guarded(scenario, name, lambda: measure(scenario, name))]
        return samples

    # Throughput and latency.

    def _interleaved(self, scenario, names):
        samples = {name: [] for name in names}
        with contextlib.ExitStack() as stack:
            proxies = {n: stack.enter_context(self._proxy(scenario, n)) for n in names}
            saturation = {n: self._load(scenario, p.port, self.warmup)["rps"]
                          for n, p in proxies.items()}
            extra = ()
            if scenario.kind == "latency":
                rivals = [r for n, r in saturation.items() if n != "forwarder"]
                extra = ("--rate", str(round(min(rivals or saturation.values()) / 2)))
            for _ in range(self.rounds):
                for name, proxy in proxies.items():
                    samples[name].append(self._guarded(
                        scenario, name, lambda: self._sample(scenario, proxy, extra)))
        return samples

    def _sample(self, scenario, proxy, extra):
        watched = {"proxy": proxy.process, "origin": self._origin(scenario).process}
        before = {who: process.cpu() for who, process in watched.items()}
        busy = processes.machine_cpu()
        started = time.monotonic()
        result = self._load(scenario, proxy.port, self.seconds, extra)
        elapsed = time.monotonic() - started
        busy = processes.machine_cpu() - busy
        used = {who: {k: v - before[who][k] for k, v in process.cpu().items()}
                for who, process in watched.items()}
        requests = max(result["requests"], 1)
        mine = used["proxy"]["total"] + used["origin"]["total"] + result["generator_cpu"]
        split = max(used["proxy"]["user"] + used["proxy"]["system"], 1e-9)
        cpu_us = used["proxy"]["total"] / requests * 1e6
        result.update(
            cpu_us=cpu_us,
            user_us=cpu_us * used["proxy"]["user"] / split,
            system_us=cpu_us * used["proxy"]["system"] / split,
            origin_cpu_us=used["origin"]["total"] / requests * 1e6,
            generator_cpu_us=result["generator_cpu"] / requests * 1e6,
            proxy_core_busy=used["proxy"]["total"] / elapsed,
            others_busy=max(busy - mine, 0.0) / elapsed,
            memory_mib=proxy.process.memory_kib() / 1024)
        if extra:
            result["rate"] = float(extra[1])
        return result

    # Memory.

    def _idle(self, scenario, name):
        at = scenario.load.index("--idle")
        connections = int(scenario.load[at + 1])
        plain = scenario.load[:at] + scenario.load[at + 2:]
        with self._proxy(scenario, name) as proxy:
            self._load(scenario, proxy.port, None, ("--requests", "5000"), load=plain)
            time.sleep(0.3)
            before = proxy.process.memory_kib()
            argv = self._generator(scenario, proxy.port, scenario.load, ("--seconds", "60"))
            holder = self.group.start(argv, LOAD_CORE, stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE)
            try:
                ready, _, _ = select.select([holder.popen.stdout], [], [], 70)
                line = holder.popen.stdout.readline() if ready else b""
                if not line:
                    raise Failure(f"the idle connections were not made: {holder.log_tail()}")
                time.sleep(0.5)
                after = proxy.process.memory_kib()
                holder.popen.stdin.close()
                result = json.loads(holder.popen.stdout.readline())
            finally:
                self.group.stop(holder)
            made, closed = result["requests"], result["reconnects"]
            if made != connections or closed > 0:
                raise Failure(f"{made} of {connections} connections were made, {closed} closed by "
                              f"the proxy: {result['first_error']}")
            return {"kib_per_connection": (after - before) / connections,
                    "errors": result["errors"],
                    "memory_before_mib": before / 1024, "memory_mib": after / 1024}

    # Counting under a tracer: the difference of two run lengths, so that start and end cancel out.

    def _instructions(self, scenario, name):
        if shutil.which("valgrind") is None:
            raise Failure("valgrind is not installed")

        def run(requests):
            pattern = self._file(f"callgrind-{scenario.name}-{name}-{requests}.")
            tracer = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={pattern}%p"]
            self._traced(scenario, name, tracer, requests, to_children=False)
            total = 0
            for path in glob.glob(pattern + "*"):
                with open(path, errors="replace") as f:
                    total += sum(int(n) for n in re.findall(r"^totals: (\d+)", f.read(), re.M))
            if total == 0:
                raise Failure("callgrind wrote no totals")
            return total

        few, many = 1000, 5000
        return {"instructions": (run(many) - run(few)) / (many - few), "errors": 0}

    def _syscalls(self, scenario, name):
        if shutil.which("strace") is None:
            raise Failure("strace is not installed")

        def run(requests):
            path = self._file(f"strace-{scenario.name}-{name}-{requests}")
            self._traced(scenario, name, ["strace", "-f", "-c", "-o", path], requests,
                         to_children=True)
            with open(path) as f:
                rows = [line.split() for line in f]
            return {row[-1]: int(row[3]) for row in rows
                    if len(row) >= 5 and row[3].isdigit() and row[-1] != "total"}

        few, many = 2000, 12000
        short, long = run(few), run(many)
        per_call = {call: (long[call] - short.get(call, 0)) / (many - few) for call in long}
        per_call = {call: round(n, 3) for call, n in per_call.items() if abs(n) >= 0.005}
        return {"syscalls": sum(per_call.values()), "calls": per_call, "errors": 0}

    def _traced(self, scenario, name, tracer, requests, to_children):
        with self._proxy(scenario, name, tracer, to_children) as proxy:
            self._load(scenario, proxy.port, None, ("--requests", str(requests)))

    # Parts.

    def _file(self, name):
        return os.path.join(self.group.directory, name)

    def _origin(self, scenario):
        """The origin of the scenario, started when one needs it."""
        name = "h2origin" if scenario.front == "grpc" else "origin"
        if name not in self.origins:
            port = processes.free_port()
            process = self.group.start([programs.compile_program(name), str(port)], LOAD_CORE)
            process.wait_until_listening(port, 5)
            self.origins[name] = _Server(process, port)
        return self.origins[name]

    def _redis(self):
        """A Redis without persistence, started when a peer needs one."""
        if "redis" not in self.origins:
            program = shutil.which("redis-server")
            if program is None:
                raise Failure("redis-server is not installed")
            port = processes.free_port()
            process = self.group.start([program, "--port", str(port), "--bind", "127.0.0.1", "--save", "",
                                        "--appendonly", "no", "--dir", self.group.directory], LOAD_CORE)
            process.wait_until_listening(port, 5)
            self.origins["redis"] = _Server(process, port)
        return self.origins["redis"]

    @contextlib.contextmanager
    def _proxy(self, scenario, name, tracer=(), to_children=False):
        origin_port = self._origin(scenario).port
        port = processes.free_port()
        redis = self._redis().port if {"synced", "exact"} & set(peers.PEERS[name].words) else 0
        argv = peers.command_line(name, self.programs[name], port, origin_port,
                                  self.group.directory, front=scenario.front,
                                  single_process=bool(tracer), redis_port=redis)
        process = self.group.start([*tracer, *argv], PROXY_CORE)
        try:
            process.wait_until_listening(port, 60 if tracer else 10)
            yield _Server(process, port)
        finally:
            self.group.stop(process, to_children=to_children, seconds=20 if tracer else 5)

    def _generator(self, scenario, port, load, extra):
        return [*programs.generator(scenario.generator), "--port", str(port), *load, *extra]

    def _load(self, scenario, port, seconds, extra=(), load=None):
        """Runs the generator to its end; its result with the CPU seconds that it used."""
        if seconds is not None:
            extra = (*extra, "--seconds", str(seconds))
        argv = self._generator(scenario, port, scenario.load if load is None else load, extra)
        process = self.group.start(argv, LOAD_CORE, stdout=subprocess.PIPE)
        try:
            out, usage = _finish(process, (seconds or 120) + 30)
        finally:
            self.group.stop(process)
        if not out:
            raise Failure(f"the generator gave no result: {process.log_tail()}")
        result = json.loads(out)
        result.setdefault("generator_cpu", usage)
        if result["requests"] == 0:
            raise Failure(f"no request was answered: {result['first_error']}")
        return result

    def _guarded(self, scenario, name, measure):
        try:
            sample = measure()
        except Failure as failure:
            self.progress(f"  {scenario.name} {name}: failed: {failure}")
            return {"failed": str(failure)}
        figure = FIGURES[scenario.kind]
        note = f", {sample['errors']} errors" if sample["errors"] else ""
        self.progress(f"  {scenario.name} {name}: {sample[figure.key]:.{figure.digits}f} "
                      f"{figure.title}{note}")
        return sample


class _Server:
    def __init__(self, process, port):
        self.process, self.port = process, port


def _finish(process, seconds):
    """(its standard output, the CPU seconds it used)."""
    usage = {}
    end = time.monotonic() + seconds
    out = b""
    while time.monotonic() < end:
        ready, _, _ = select.select([process.popen.stdout], [], [], 1)
        if not ready:
            continue
        # The result is one line written at the very end: the process still stands to be measured.
        out = process.popen.stdout.readline()
        usage = process.cpu()
        break
    else:
        os.killpg(process.pid, signal.SIGKILL)
    return out, usage.get("total", 0.0)
