#!/usr/bin/python3
"""Keeps a directory below a size: deletes the files that were used longest ago.

For Bazel's disk cache, which Bazel itself never shrinks. Bazel takes a missing file for a miss, so it may be running.
"""

import argparse
import os

# Below the limit at once, so that not every run has something to delete.
TARGET_SHARE = 0.8


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--limit-gib", type=float, required=True)
    arguments.add_argument("directory")
    options = arguments.parse_args()

    files = []
    for folder, _, names in os.walk(options.directory):
        for name in names:
            path = os.path.join(folder, name)
            try:
                status = os.lstat(path)
            except OSError:
                continue  # another build took it away
            files.append((max(status.st_atime, status.st_mtime), status.st_size, path))
    total = sum(size for _, size, _ in files)
    limit = options.limit_gib * 2**30
    if total <= limit:
        return
    for _, size, path in sorted(files):
        if total <= limit * TARGET_SHARE:
            break
        try:
            os.unlink(path)
        except OSError:
            continue
        total -= size


if __name__ == "__main__":
    main()
