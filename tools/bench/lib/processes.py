"""Processes of a benchmark: started on one core, measured from /proc, and always stopped.

Every child gets a process group of its own, so it and all that it forks are one group: that group
is what is measured, and the only thing that is ever signalled. Not a session: the kernel schedules
sessions against each other (autogroups), and then the origin and the generator, which share a core,
could not yield it to one another.
"""

import ctypes
import os
import resource
import signal
import socket
import subprocess
import time

PROXY_CORE = 0
LOAD_CORE = 1
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class Failure(Exception):
    """Something in the environment did not work; the message says what."""


def raise_file_limit(wanted=65536):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in ((wanted, max(wanted, hard)), (min(wanted, hard), hard)):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, limit)
            return limit[0]
        except (ValueError, OSError):
            continue
    return soft


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Process:
    """One child and what it forked. Stopped by `Processes`."""

    def __init__(self, argv, core, log_path, nice=0, stdin=None, stdout=None):
        core = core % os.cpu_count()

        def prepare():
            os.setpgid(0, 0)
            os.sched_setaffinity(0, {core})
            os.nice(nice)
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

        self.argv = argv
        self.log_path = log_path
        with open(log_path, "ab") as log:
            self.popen = subprocess.Popen(
                argv, preexec_fn=prepare, stderr=log,
                stdin=stdin or subprocess.DEVNULL, stdout=stdout or log)
        self.pid = self.popen.pid

    def members(self):
        """Ids of all processes of the group."""
        found = []
        for name in os.listdir("/proc"):
            if not name.isdigit():
                continue
            fields = _stat_fields(name)
            if fields and int(fields[2]) == self.pid:
                found.append(int(name))
        return found

    def children(self):
        return [pid for pid in self.members()
                if (_stat_fields(pid) or ["", "0"])[1] == str(self.pid)]

    def cpu(self):
        """Seconds of CPU so far: {total, user, system}; total in nanosecond steps."""
        total = user = system = 0.0
        tick = os.sysconf("SC_CLK_TCK")
        for pid in self.members():
            try:
                for task in os.listdir(f"/proc/{pid}/task"):
                    with open(f"/proc/{pid}/task/{task}/schedstat") as f:
                        total += int(f.read().split()[0]) / 1e9
            except (FileNotFoundError, ProcessLookupError):
                pass
            fields = _stat_fields(pid)
            if fields:
                user += int(fields[11]) / tick
                system += int(fields[12]) / tick
        return {"total": total or user + system, "user": user, "system": system}

    def memory_kib(self):
        """Memory of the group, shared pages counted once (Pss)."""
        kib = 0
        for pid in self.members():
            try:
                with open(f"/proc/{pid}/smaps_rollup") as f:
                    kib += sum(int(line.split()[1]) for line in f if line.startswith("Pss:"))
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                pass
        return kib

    def log_tail(self):
        with open(self.log_path, "rb") as f:
            return f.read()[-1500:].decode(errors="replace").strip()

    def wait_until_listening(self, port, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.popen.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise Failure(f"{self.argv[0]} does not listen on port {port}: {self.log_tail()}")

    def stop(self, to_children=False, seconds=5):
        """Asks the process (or only its children, when a tracer runs it) to end, then insists."""
        targets = self.children() if to_children else [self.pid]
        for pid in targets:
            _signal(os.kill, pid, signal.SIGTERM)
        try:
            self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            pass
        if self.popen.poll() is None or self.members():
            _signal(os.killpg, self.pid, signal.SIGKILL)
        self.popen.wait()


class Processes:
    """All children of this run; leaving the `with` block stops them, in reverse order.

    A `nice` other than 0 is given to each child and, where the kernel groups by session, to the
    session for as long as the block lasts: there the value of a process alone would mean nothing.
    """

    def __init__(self, directory, nice=0):
        self.directory, self.nice = directory, nice
        self._alive = []
        self._count = 0

    def __enter__(self):
        if self.nice:
            _set_autogroup(self.nice)
        return self

    def __exit__(self, *unused):
        if self.nice:
            _set_autogroup(0)
        for process in reversed(self._alive):
            process.stop(seconds=2)
        self._alive = []

    def start(self, argv, core, **kwargs):
        self._count += 1
        log = os.path.join(self.directory, f"{self._count}-{os.path.basename(argv[0])}.log")
        process = Process(argv, core, log, self.nice, **kwargs)
        self._alive.append(process)
        return process

    def stop(self, process, **kwargs):
        if process in self._alive:
            self._alive.remove(process)
        process.stop(**kwargs)


def machine_cpu():
    """Seconds that all cores have spent not idle."""
    with open("/proc/stat") as f:
        fields = [int(x) for x in f.readline().split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def _stat_fields(pid):
    """Fields of /proc/PID/stat from `state` on (0 state, 1 parent, 2 group, 11 user, 12 system)."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def _set_autogroup(nice):
    try:
        with open("/proc/self/autogroup", "w") as f:
            f.write(str(nice))
    except OSError:
        pass  # no such grouping here


def _signal(function, target, number):
    try:
        function(target, number)
    except ProcessLookupError:
        pass
