"""The proxies that are compared: a table. A new peer is a row here and a template in peers/."""

import dataclasses
import getpass
import os
import re
import resource
import shutil
import subprocess

from . import programs
from .processes import Failure


@dataclasses.dataclass(frozen=True)
class Peer:
    name: str
    # Command line; {config} is the filled-in template, {port} and {origin_port} are numbers.
    command: tuple
    template: str = ""
    # What its template can be filled in for (a scenario names one): protocols of its clients, and
    # `grpc`, which is HTTP/2 without TLS on both sides. Origins speak HTTP/1.1 otherwise.
    fronts: tuple = ("h1", "tls", "h2c", "h2tls", "grpc")
    # Further words for the `#if` lines of its template.
    words: tuple = ()
    # Measured only when it is asked for by name.
    extra: bool = False
    # Ratios are formed to the best of the peers that are `rivals`; the lower bound is none.
    rival: bool = True
    version: tuple = ()


PEERS = {peer.name: peer for peer in (
    Peer("gatehouse", ("{gatehouse}", "run", "{config}"), "gatehouse.yaml", rival=False,
         version=("{gatehouse}", "version")),
    Peer("nginx", ("nginx", "-c", "{config}", "-p", "{directory}", "-e", "stderr"), "nginx.conf",
         version=("nginx", "-v")),
    Peer("haproxy", ("haproxy", "-db", "-f", "{config}"), "haproxy.conf",
         version=("haproxy", "-v")),
    Peer("nghttpx", ("nghttpx", "--conf={config}"), "nghttpx.conf", version=("nghttpx", "-v")),
    Peer("h2o", ("h2o", "-m", "worker", "-c", "{config}"), "h2o.conf",
         fronts=("h1", "tls", "h2c", "h2tls"), version=("h2o", "-v")),
    Peer("forwarder", ("{forwarder}", "{port}", "{origin_port}"), fronts=("h1",),
         rival=False),
    # What a rate limit costs: one per client address that is never reached, with the headers that
    # each proxy makes of it. `bare` has none; `synced` and `exact` keep it in a Redis of the run.
    *(Peer(f"gatehouse_{kind}", ("{gatehouse}", "run", "{config}"), "gatehouse.yaml", ("h1",),
           ("limit", kind), extra=True, rival=False) for kind in ("limit", "bare", "synced", "exact")),
    Peer("nginx_limit", ("nginx", "-c", "{config}", "-p", "{directory}", "-e", "stderr"), "nginx.conf",
         ("h1",), ("limit",), extra=True),
    Peer("haproxy_limit", ("haproxy", "-db", "-f", "{config}"), "haproxy.conf", ("h1",), ("limit",),
         extra=True),
)}


def available(names, gatehouse_path):
    """({name: its program}, [why another one is skipped])."""
    found, skipped = {}, []
    for name in names:
        program = PEERS[name].command[0]
        why = None
        if program == "{gatehouse}":
            path, why = programs.find_gatehouse(gatehouse_path)
        elif program == "{forwarder}":
            path = programs.compile_program("forwarder")
        else:
            path = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
            why = None if path else f"{program} is not installed"
        if path:
            found[name] = path
        else:
            skipped.append(f"{name}: {why}")
    return found, skipped


def keep_wanted(text, words):
    """A template without the lines between `#if` and `#end` that are for other words: fronts, variants."""
    kept, wanted = [], True
    for line in text.splitlines(keepends=True):
        if line.startswith("#if "):
            wanted = not set(words).isdisjoint(line.split()[1:])
        elif line.startswith("#end"):
            wanted = True
        elif wanted:
            kept.append(line)
    return "".join(kept)


def make_certificate(directory):
    """Makes cert.pem, key.pem and both in pair.pem: self-signed, ECDSA on P-256."""
    names = {name: os.path.join(directory, name) for name in ("cert.pem", "key.pem", "pair.pem")}
    if os.path.exists(names["pair.pem"]):
        return
    done = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "30", "-subj", "/CN=bench.example", "-addext",
         "subjectAltName=DNS:bench.example,IP:127.0.0.1", "-keyout", names["key.pem"], "-out",
         names["cert.pem"]], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failure(f"openssl made no certificate: {done.stderr[-300:]}")
    with open(names["pair.pem"], "w") as out:
        for name in ("cert.pem", "key.pem"):
            with open(names[name]) as f:
                out.write(f.read())


def command_line(name, program, port, origin_port, directory, front="h1", single_process=False,
                 redis_port=0):
    """Fills in the peer's template; returns the argv that runs it in the foreground."""
    peer = PEERS[name]
    home = os.path.join(directory, f"{name}-{port}")
    os.makedirs(home, exist_ok=True)
    config = os.path.join(home, peer.template or "none")
    if peer.template:
        if front in ("tls", "h2tls"):
            make_certificate(directory)
        values = {"CERT": os.path.join(directory, "cert.pem"),
                  "KEY": os.path.join(directory, "key.pem"),
                  "PEM": os.path.join(directory, "pair.pem"), "PORT": port, "ORIGIN_PORT": origin_port, "DIR": home,
                  "REDIS_PORT": redis_port,
                  "USER": getpass.getuser(),
                  "FILE_LIMIT": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
                  "NGINX_MASTER": "off" if single_process else "on"}
        with open(os.path.join(programs.HERE, "peers", peer.template)) as f:
            text = keep_wanted(f.read(), (front, *peer.words)).replace("@NAME@", "A word between at signs")
        text = re.sub(r"@([A-Z_]+)@", lambda match: str(values[match.group(1)]), text)
        with open(config, "w") as f:
            f.write(text)
    words = {"gatehouse": program, "forwarder": program, "config": config, "directory": home,
             "port": port, "origin_port": origin_port}
    return [program] + [word.format(**words) for word in peer.command[1:]]


def version(name, program):
    peer = PEERS[name]
    if not peer.version:
        return ""
    try:
        done = subprocess.run([program, *peer.version[1:]], capture_output=True, text=True,
                              timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    match = re.search(r"\d+\.\d+(\.\d+)?", done.stdout + done.stderr)
    return match.group(0) if match else "unknown"
