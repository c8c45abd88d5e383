"""The programs of a benchmark: our own are compiled here, the gateway by Bazel."""

import hashlib
import os
import shutil
import subprocess
import sys

from .processes import Failure

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROOT = os.path.dirname(os.path.dirname(HERE))
_HEADERS = ("common.h", "h2frames.h", "histogram.h", "requests.h")
_LIBRARIES = {"tlsload": ("-lssl", "-lcrypto")}
_FLAGS = ("-O2", "-std=gnu11", "-Wall", "-Wextra")


def _cache():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(base, "gatehouse-bench")


def compile_program(name):
    """Path of the compiled NAME.c, from the cache when neither it nor a header has changed."""
    sources = [os.path.join(HERE, f) for f in (name + ".c",) + _HEADERS]
    digest = hashlib.sha256(" ".join(_FLAGS).encode())
    for path in sources:
        with open(path, "rb") as f:
            digest.update(f.read())
    folder = os.path.join(_cache(), digest.hexdigest()[:16])
    target = os.path.join(folder, name)
    if os.path.exists(target):
        return target
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise Failure("no C compiler: install gcc or clang")
    os.makedirs(folder, exist_ok=True)
    temporary = f"{target}.{os.getpid()}"
    done = subprocess.run([compiler, *_FLAGS, "-o", temporary, sources[0], "-lm",
                           *_LIBRARIES.get(name, ())],
                          capture_output=True, text=True)
    if done.returncode != 0:
        raise Failure(f"{name}.c does not compile (tools/setup --bench installs what it needs):\n"
                      f"{done.stderr}")
    os.rename(temporary, target)
    return target


def generator(name):
    """The words before the arguments of a load generator. All take them and answer as loadgen."""
    if name == "h2load":
        if shutil.which("h2load") is None:
            raise Failure("h2load is not installed")
        return [sys.executable, os.path.join(HERE, "lib", "h2load.py")]
    return [compile_program(name)]


def find_gatehouse(path):
    """(path of the gateway's binary, None) or (None, why there is none)."""
    if path:
        if os.access(path, os.X_OK):
            return os.path.abspath(path), None
        return None, f"{path} is not an executable file"
    build_file = os.path.join(ROOT, "source", "BUILD.bazel")
    if not os.path.exists(build_file):
        return None, "//source:gatehouse does not exist yet"
    with open(build_file) as f:
        if '"gatehouse"' not in f.read():
            return None, "//source:gatehouse does not exist yet"
    if shutil.which("bazel") is None:
        return None, "bazel is not installed; pass --gatehouse PATH"
    command = ["bazel", "build", "-c", "opt", "//source:gatehouse"]
    if subprocess.run(command, cwd=ROOT).returncode != 0:
        return None, "`" + " ".join(command) + "` failed"
    info = subprocess.run(["bazel", "info", "-c", "opt", "bazel-bin"], cwd=ROOT,
                          capture_output=True, text=True)
    binary = os.path.join(info.stdout.strip(), "source", "gatehouse")
    return (binary, None) if os.path.exists(binary) else (None, f"{binary} was not built")
