"""The proxies that are compared: a table. A new peer is a row here and a template in peers/."""

import dataclasses
import getpass
import os
import re
import resource
import shutil
import subprocess

from . import programs


@dataclasses.dataclass(frozen=True)
class Peer:
    name: str
    # Command line; {config} is the filled-in template, {port} and {origin_port} are numbers.
    command: tuple
    template: str = ""
    # Protocols that its clients may speak to it in our template (a scenario names one).
    fronts: tuple = ("h1",)
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
    Peer("h2o", ("h2o", "-m", "worker", "-c", "{config}"), "h2o.conf", version=("h2o", "-v")),
    Peer("forwarder", ("{forwarder}", "{port}", "{origin_port}"), rival=False),
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


def command_line(name, program, port, origin_port, directory, single_process=False):
    """Fills in the peer's template; returns the argv that runs it in the foreground."""
    peer = PEERS[name]
    home = os.path.join(directory, f"{name}-{port}")
    os.makedirs(home, exist_ok=True)
    config = os.path.join(home, peer.template or "none")
    if peer.template:
        values = {"PORT": port, "ORIGIN_PORT": origin_port, "DIR": home,
                  "USER": getpass.getuser(),
                  "FILE_LIMIT": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
                  "NGINX_MASTER": "off" if single_process else "on"}
        with open(os.path.join(programs.HERE, "peers", peer.template)) as f:
            text = f.read().replace("@NAME@", "A word between at signs")
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
