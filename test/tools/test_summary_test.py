"""tools/test_summary.py on hand-made build events."""

import json
import pathlib
import subprocess
import tempfile
import unittest

PASSING = '<testcase name="A" status="run" classname="S"/>'
FAILING = '<testcase name="B" status="run" classname="S"><failure message="no"/></testcase>'
SKIPPED = '<testcase name="C" status="notrun" classname="S"/>'


class TestSummaryTest(unittest.TestCase):
    def setUp(self):
        self._directory = tempfile.TemporaryDirectory()
        self.addCleanup(self._directory.cleanup)
        self.folder = pathlib.Path(self._directory.name)
        self.events = []

    def add_test(self, label, status, cases=None, attempt=1):
        outputs = []
        if cases is not None:
            xml = self.folder / f"{len(self.events)} test.xml"
            xml.write_text(f"<testsuites><testsuite>{cases}</testsuite></testsuites>", encoding="utf-8")
            outputs = [{"name": "test.xml", "uri": xml.as_uri()}]
        self.events.append({"id": {"testResult": {"label": label, "attempt": attempt, "shard": 1, "run": 1}},
                            "testResult": {"status": status, "testActionOutput": outputs,
                                           "testAttemptDurationMillis": "100"}})

    def add_summary(self, label, status):
        self.events.append({"id": {"testSummary": {"label": label}}, "testSummary": {"overallStatus": status}})

    def add_completed(self, label, success):
        self.events.append({"id": {"targetCompleted": {"label": label}},
                            "completed": {"success": True} if success else {}})

    def summary(self, bazel_status=0):
        file = self.folder / "events"
        file.write_text("".join(json.dumps(event) + "\n" for event in self.events), encoding="utf-8")
        result = subprocess.run(
            ["/usr/bin/python3", "tools/test_summary.py", "--bazel-status", str(bazel_status), str(file)],
            capture_output=True, text=True, check=False)
        lines = result.stdout.splitlines()
        self.assertTrue(lines, result.stderr)
        return result.returncode, lines

    def test_counts_cases(self):
        self.add_test("//a:a_test", "PASSED", PASSING + PASSING + SKIPPED)
        self.add_summary("//a:a_test", "PASSED")
        status, lines = self.summary()
        self.assertEqual(status, 0)
        self.assertEqual(lines[-1], "2 passed, 0 failed")

    def test_names_the_failed_case(self):
        self.add_test("//a:a_test", "FAILED", PASSING + FAILING)
        self.add_summary("//a:a_test", "FAILED")
        status, lines = self.summary(3)
        self.assertEqual(status, 1)
        self.assertIn("failed: S.B", "\n".join(lines))
        self.assertEqual(lines[-1], "1 passed, 1 failed")

    def test_a_timeout_without_a_report_is_one_failure(self):
        self.add_test("//a:a_test", "TIMEOUT")
        self.add_summary("//a:a_test", "TIMEOUT")
        self.assertEqual(self.summary(3)[1][-1], "0 passed, 1 failed")

    def test_a_death_after_passing_cases_is_a_failure(self):
        self.add_test("//a:a_test", "FAILED", PASSING)
        self.add_summary("//a:a_test", "FAILED")
        self.assertEqual(self.summary(3)[1][-1], "1 passed, 1 failed")

    def test_a_target_that_does_not_build_is_a_failure(self):
        self.add_completed("//a:a", False)
        self.add_completed("//b:b", True)
        status, lines = self.summary(1)
        self.assertEqual(status, 1)
        self.assertIn("NOT BUILT //a:a", "\n".join(lines))
        self.assertEqual(lines[-1], "0 passed, 1 failed")

    def test_a_rerun_replaces_the_first_run(self):
        self.add_test("//a:a_test", "FAILED", PASSING + FAILING)
        self.add_test("//a:a_test", "PASSED", PASSING + PASSING, attempt=2)
        self.add_summary("//a:a_test", "FLAKY")
        self.assertEqual(self.summary()[1][-1], "2 passed, 0 failed")

    def test_bazel_failing_by_itself_is_a_failure(self):
        status, lines = self.summary(37)
        self.assertEqual(status, 1)
        self.assertEqual(lines[-1], "0 passed, 1 failed")


if __name__ == "__main__":
    unittest.main()
