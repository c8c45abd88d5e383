#!/usr/bin/python3
"""Prints what a `bazel test` run did, from its build events.

A line for each test target, the failed cases by name, and at the end `N passed, N failed`. The numbers count
GoogleTest cases; a target that does not build, times out or dies counts as one failure, and so does a test that has no
cases of its own (a script, a fuzz target's replay) when it fails.
"""

import argparse
import dataclasses
import json
import sys
import urllib.parse
import xml.etree.ElementTree

# Bazel's exit codes, where they say more than "something failed".
BAZEL_NO_TESTS = 4


@dataclasses.dataclass
class Target:
    label: str
    status: str = "NOT RUN"
    cached: bool = False
    seconds: float = 0.0
    passed: int = 0
    failures: list = dataclasses.field(default_factory=list)

    def ok(self):
        return self.status in ("PASSED", "FLAKY") and not self.failures


def cases_in(path):
    """The cases of a test.xml: how many passed, and the names of those that did not."""
    passed, failures = 0, []
    try:
        root = xml.etree.ElementTree.parse(path).getroot()
    except (OSError, xml.etree.ElementTree.ParseError):
        return 0, []
    for case in root.iter("testcase"):
        if case.get("status") == "notrun" or case.get("result") in ("suppressed", "skipped"):
            continue
        if case.find("skipped") is not None:
            continue
        if case.find("failure") is not None or case.find("error") is not None:
            group, name = case.get("classname") or "", case.get("name") or ""
            failures.append(f"{group}.{name}" if group and group != name else name)
        else:
            passed += 1
    return passed, failures


def add_attempt(target, event_id, result):
    target.cached = bool(result.get("cachedLocally")) or bool(
        result.get("executionInfo", {}).get("cachedRemotely"))
    target.seconds += int(result.get("testAttemptDurationMillis", 0)) / 1000
    passed, failures = 0, []
    for output in result.get("testActionOutput", []):
        if output.get("name") == "test.xml":
            path = urllib.parse.unquote(urllib.parse.urlparse(output.get("uri", "")).path)
            passed, failures = cases_in(path)
    if event_id.get("attempt", 1) > 1 and event_id.get("shard", 1) == 1:
        target.passed, target.failures = 0, []  # a rerun replaces what came before it
    status = result.get("status", "FAILED")
    if status == "PASSED":
        target.passed += max(passed, 1)
    else:
        target.passed += passed
        target.failures += failures or [f"({status.lower().replace('_', ' ')})"]


def read_events(path):
    targets, broken = {}, {}
    with open(path, encoding="utf-8") as events:
        for line in events:
            event = json.loads(line)
            kind = event["id"]
            if "testResult" in kind:
                label = kind["testResult"]["label"]
                target = targets.setdefault(label, Target(label))
                add_attempt(target, kind["testResult"], event.get("testResult", {}))
            elif "testSummary" in kind:
                label = kind["testSummary"]["label"]
                target = targets.setdefault(label, Target(label))
                target.status = event.get("testSummary", {}).get("overallStatus", "NOT RUN")
            elif "targetCompleted" in kind:
                if not event.get("completed", {}).get("success"):
                    label = kind["targetCompleted"]["label"]
                    broken[label] = Target(label, "NOT BUILT", failures=["(does not build)"])
            elif "pattern" in kind and "aborted" in event:
                label = " ".join(kind["pattern"].get("pattern", []))
                broken[label] = Target(label, "NOT BUILT", failures=["(cannot be loaded)"])
    targets.update(broken)
    for target in targets.values():
        if not target.ok() and not target.failures:
            target.failures = [f"({target.status.lower()})"]
    return [targets[label] for label in sorted(targets)]


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--bazel-status", type=int, default=0)
    arguments.add_argument("--seconds", type=int, default=0)
    arguments.add_argument("events", help="file that --build_event_json_file wrote")
    options = arguments.parse_args()

    targets = read_events(options.events)
    for target in targets:
        time = "cached" if target.cached else f"{target.seconds:.1f} s"
        print(f"{target.status:<9} {target.label:<60} {target.passed:>5} passed  {time}")
        for failure in target.failures:
            print(f"          failed: {failure}")
    passed = sum(target.passed for target in targets)
    failed = sum(len(target.failures) for target in targets)
    if options.bazel_status == BAZEL_NO_TESTS:
        print("no tests among these targets")
        failed += 1
    elif options.bazel_status != 0 and failed == 0:
        print(f"bazel failed with status {options.bazel_status}")
        failed += 1
    print(f"{len(targets)} targets in {options.seconds} s")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
