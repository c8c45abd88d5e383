"""What is measured: a table. Peers that do not serve a scenario's `front` are skipped."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    kind: str              # which function of measure.py measures it, a key of FIGURES
    load: tuple            # arguments of the generator
    front: str = "h1"
    generator: str = "loadgen"  # a program of programs.generator()
    target: str = ""       # what the gateway is to reach, and the goal after that


@dataclasses.dataclass(frozen=True)
class Figure:
    """The number that a kind of scenario is about; less is better."""
    key: str
    title: str
    digits: int = 1


FIGURES = {
    "throughput": Figure("cpu_us", "CPU us/request"),
    "latency": Figure("p99_us", "p99 us", 0),
    "idle": Figure("kib_per_connection", "KiB/connection", 2),
    "instructions": Figure("instructions", "user instructions/request", 0),
    "syscalls": Figure("syscalls", "system calls/request", 2),
}

_SMALL = ("--path", "/small")
_JSON = ("--path", "/json", "--headers", "browser")
_NEW = _SMALL + ("--connections", "16", "--new-connection")
_IDLE = _SMALL + ("--idle", "10000")
_GRPC = ("--grpc",)
_OVER_TLS = ("--tls",)


def _tls(name, title, kind, load, target="", front="tls"):
    return Scenario(name, title, kind, load, front, "tlsload", target)


def _h2(name, title, kind, load, target="", front="h2c"):
    return Scenario(name, title, kind, load, front, "h2load", target)


SCENARIOS = {s.name: s for s in (
    Scenario("h1_small", "GET, 200-byte answer, 64 keep-alive connections", "throughput", _SMALL,
             target="ratio 0.85, goal 0.75 and within 1.25 of the forwarder"),
    Scenario("h1_json", "GET with 12 browser headers, 1 KiB JSON", "throughput", _JSON,
             target="ratio 0.85, goal 0.75 and within 1.25 of the forwarder"),
    Scenario("h1_64k", "GET, 64 KiB body", "throughput", ("--path", "/64k"),
             target="ratio 1.0, goal 0.8"),
    Scenario("h1_1m", "GET, 1 MiB body, 16 connections", "throughput",
             ("--path", "/1m", "--connections", "16"), target="ratio 1.0, goal 0.6"),
    Scenario("h1_upload16k", "POST of 16 KiB", "throughput",
             ("--path", "/upload", "--post", "16384"), target="ratio 1.0, goal 0.85"),
    Scenario("h1_newconn", "GET, 200-byte answer, a new connection per request", "throughput",
             _SMALL + ("--new-connection",), target="ratio 1.0, goal 0.85"),
    Scenario("h1_p99", "latency of h1_small at half of the slowest proxy's saturation rate",
             "latency", _SMALL, target="ratio 1.0, goal 0.8"),
    Scenario("h1_idle", "memory per idle keep-alive connection, 10 000 of them", "idle",
             _SMALL + ("--idle", "10000"), target="1.0 KiB, goal 0.45"),
    Scenario("h1_small_instructions", "user-space instructions of h1_small (callgrind)",
             "instructions", _SMALL, target="14 000, goal 9 000"),
    Scenario("h1_json_instructions", "user-space instructions of h1_json (callgrind)",
             "instructions", _JSON, target="26 000, goal 18 000"),
    _tls("tls_small", "h1_small over TLS 1.3", "throughput", _SMALL, "ratio 1.0, goal 0.85"),
    _tls("tls_json", "h1_json over TLS 1.3", "throughput", _JSON, "ratio 1.0, goal 0.85"),
    _tls("tls_handshake_full", "a full TLS 1.3 handshake and one request, 16 at a time",
         "throughput", _NEW, "ratio 1.3, goal 1.0"),
    _tls("tls_handshake_resumed", "a resumed TLS 1.3 handshake and one request, 16 at a time",
         "throughput", _NEW + ("--resume",), "goal 0.85"),
    _h2("h2c_small", "h1_small over HTTP/2, 16 connections of 32 streams", "throughput", _SMALL,
        "ratio 1.05, goal 0.85"),
    _h2("h2c_json", "h1_json over HTTP/2, 16 connections of 32 streams", "throughput", _JSON,
        "ratio 1.05, goal 0.85"),
    _h2("h2tls_small", "h2c_small over TLS 1.3", "throughput", _SMALL + _OVER_TLS,
        "ratio 1.05, goal 0.85", "h2tls"),
    _h2("h2tls_json", "h2c_json over TLS 1.3", "throughput", _JSON + _OVER_TLS,
        "ratio 1.05, goal 0.85", "h2tls"),
    _h2("grpc_unary", "gRPC, HTTP/2 on both sides, 16 connections of 32 streams", "throughput",
        _GRPC, "ratio 1.1, goal 0.9", "grpc"),
    _tls("tls_idle", "memory per idle TLS connection, 10 000 of them", "idle", _IDLE,
         "15 KiB, goal 8"),
    _tls("h2c_idle", "memory per idle HTTP/2 connection, 10 000 of them", "idle",
         _IDLE + ("--h2", "--plain"), front="h2c"),
    _tls("h2tls_idle", "memory per idle HTTP/2 connection over TLS, 10 000 of them", "idle",
         _IDLE + ("--h2",), front="h2tls"),
    _h2("h2c_small_instructions", "user-space instructions of h2c_small (callgrind)",
        "instructions", _SMALL),
    _h2("h2tls_small_instructions", "user-space instructions of h2tls_small (callgrind)",
        "instructions", _SMALL + _OVER_TLS, front="h2tls"),
    _tls("tls_small_instructions", "user-space instructions of tls_small (callgrind)",
         "instructions", _SMALL),
    _h2("grpc_unary_instructions", "user-space instructions of grpc_unary (callgrind)",
        "instructions", _GRPC, front="grpc"),
    _h2("h2c_small_syscalls", "system calls of h2c_small (strace)", "syscalls", _SMALL),
    _h2("h2tls_small_syscalls", "system calls of h2tls_small (strace)", "syscalls",
        _SMALL + _OVER_TLS, front="h2tls"),
    _tls("tls_small_syscalls", "system calls of tls_small (strace)", "syscalls", _SMALL),
    Scenario("h1_small_syscalls", "system calls of h1_small (strace)", "syscalls", _SMALL),
    Scenario("h1_json_syscalls", "system calls of h1_json (strace)", "syscalls", _JSON),
)}

GROUPS = {
    "all": list(SCENARIOS),
    "throughput": [s.name for s in SCENARIOS.values() if s.kind == "throughput"],
    "instructions": [s.name for s in SCENARIOS.values() if s.kind == "instructions"],
    "syscalls": [s.name for s in SCENARIOS.values() if s.kind == "syscalls"],
    "quick": ["h1_small", "h1_json"],
    "h1": [s.name for s in SCENARIOS.values() if s.front == "h1"],
    "tls": [s.name for s in SCENARIOS.values() if s.front == "tls"],
    "h2": [s.name for s in SCENARIOS.values() if s.front in ("h2c", "h2tls", "grpc")],
}


def select(words):
    """Names from a comma list of scenarios and groups; KeyError names an unknown one."""
    names = []
    for word in words.split(","):
        for name in GROUPS.get(word) or [word]:
            if SCENARIOS[name].name not in names:
                names.append(name)
    return names
