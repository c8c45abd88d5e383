#!/usr/bin/env python3
"""h2load behind loadgen's arguments and JSON line.

It checks the status of each answer and, over the run, the number of body bytes; latencies it keeps
to itself but for their mean.
"""

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile

LENGTHS = {"/small": 200, "/json": 1024}
GRPC_REQUEST, GRPC_ANSWER = 64, 128  # as in h2frames.h
BROWSER = (
    "accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "accept-language: en-US,en;q=0.8,de-DE;q=0.5,de;q=0.3",
    "accept-encoding: gzip, deflate, br",
    "referer: https://shop.example/products/overview?page=3&sort=price",
    "cookie: session=4f1c9d0a7be24c55a1e6d3b84f1c9d0a7be24c55; theme=dark; "
    "consent=analytics%3Dno; _ga=GA1.2.1234567890.1700000000",
    "sec-fetch-dest: document", "sec-fetch-mode: navigate", "sec-fetch-site: same-origin",
    "cache-control: no-cache", "pragma: no-cache",
    "user-agent: Mozilla/5.0 (X11; Linux x86_64; rv:115.0) Gecko/20100101 Firefox/115.0")


def parse_arguments(words):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", default="/small")
    parser.add_argument("--headers", default="few", choices=("few", "browser"))
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--grpc", action="store_true")
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--requests", type=int)
    return parser.parse_args(words)


def command(program, arguments, message_path):
    argv = [program, "-t1", f"-c{arguments.connections}", f"-m{arguments.streams}"]
    if arguments.requests is not None:
        argv.append(f"-n{arguments.requests}")
    else:
        argv += [f"--duration={round(arguments.seconds * 1000)}ms", "--warm-up-time=0"]
    if arguments.tls:
        argv += ["--npn-list=h2", "--tls13-ciphers=TLS_AES_128_GCM_SHA256", "--groups=X25519"]
    if arguments.grpc:
        argv += ["-d", message_path, "-H", "content-type: application/grpc", "-H", "te: trailers"]
    elif arguments.headers == "browser":
        argv += [word for line in BROWSER for word in ("-H", line)]
    path = "/bench.Echo/Unary" if arguments.grpc else arguments.path
    return argv + [f"{'https' if arguments.tls else 'http'}://127.0.0.1:{arguments.port}{path}"]


def numbers(pattern, text):
    match = re.search(pattern, text)
    return [float(n) for n in match.groups()] if match else None


def result_of(text, arguments):
    """loadgen's result from what h2load prints."""
    requests = numbers(r"(\d+) total, (\d+) started, (\d+) done, (\d+) succeeded, (\d+) failed, "
                       r"(\d+) errored, (\d+) timeout", text)
    codes = numbers(r"status codes: (\d+) 2xx", text)
    finished = numbers(r"finished in ([\d.]+)s", text)
    if finished is None and (finished := numbers(r"finished in ([\d.]+)ms", text)):
        finished[0] /= 1000
    data = numbers(r"\((\d+)\) data", text)
    if None in (requests, codes, finished, data):
        return {"requests": 0, "errors": 1, "first_error": "h2load printed no result"}
    _, started, done, succeeded, failed, errored, late = requests
    length = GRPC_ANSWER if arguments.grpc else LENGTHS[arguments.path]
    errors, why = failed + errored + late, "failed, broken or late answers"
    if codes[0] < succeeded:
        errors, why = errors + succeeded - codes[0], "status is not 2xx"
    # Some of the answers that had begun when the time was over are counted as bytes only.
    if not succeeded * length <= data[0] <= started * length:
        errors, why = errors + 1, f"{data[0]:.0f} body bytes for {succeeded:.0f} answers"
    return {"requests": int(succeeded), "errors": int(errors), "reconnects": 0,
            "seconds": finished[0], "rps": succeeded / max(finished[0], 1e-9),
            "bytes": int(data[0]), "first_error": why if errors else ""}


def main():
    arguments = parse_arguments(sys.argv[1:])
    program = shutil.which("h2load")
    if program is None:
        print("h2load is not installed", file=sys.stderr)
        return 3
    with tempfile.TemporaryDirectory() as directory:
        message = os.path.join(directory, "message")
        with open(message, "wb") as f:
            f.write(b"\0" + (GRPC_REQUEST - 5).to_bytes(4, "big") + b"u" * (GRPC_REQUEST - 5))
        done = subprocess.run(command(program, arguments, message), stdout=subprocess.PIPE,
                              stdin=subprocess.DEVNULL, text=True)
    result = result_of(done.stdout, arguments)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    result["generator_cpu"] = usage.ru_utime + usage.ru_stime
    print(json.dumps(result), flush=True)
    return 1 if result["errors"] else 0


if __name__ == "__main__":
    sys.exit(main())
