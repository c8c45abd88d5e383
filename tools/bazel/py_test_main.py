#!/usr/bin/python3
"""Runs the unittest cases of one file and reports each of them to Bazel.

Bazel's own py_test starts `python`, which Debian 12 does not have, and reports one case for a whole file.

  py_test_main.py FILE [UNITTEST_ARGUMENT...]
"""

import importlib.util
import os
import sys
import time
import unittest
import xml.etree.ElementTree


class Result(unittest.TextTestResult):
    """Collects a <testcase> for each case."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.suite = xml.etree.ElementTree.Element("testsuite", name=os.path.basename(sys.argv[0]))
        self._started = 0.0
        self._case = None

    def startTest(self, test):
        super().startTest(test)
        self._started = time.monotonic()
        group, name = test.id().rsplit(".", 2)[-2:]
        self._case = xml.etree.ElementTree.SubElement(self.suite, "testcase", classname=group, name=name)

    def stopTest(self, test):
        self._case.set("time", f"{time.monotonic() - self._started:.3f}")
        super().stopTest(test)

    def _note(self, kind, text):
        case = self._case
        if case is None:  # a class or module that could not be set up
            case = xml.etree.ElementTree.SubElement(self.suite, "testcase", name="set-up")
        xml.etree.ElementTree.SubElement(case, kind).text = text

    def addError(self, test, err):
        super().addError(test, err)
        self._note("error", self.errors[-1][1])

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._note("failure", self.failures[-1][1])

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._note("failure", str(subtest))

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self._note("failure", "unexpected success")

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self._note("skipped", reason)


class Runner(unittest.TextTestRunner):
    resultclass = Result

    def run(self, test):
        result = super().run(test)
        path = os.environ.get("XML_OUTPUT_FILE")
        if path:
            suites = xml.etree.ElementTree.Element("testsuites")
            suites.append(result.suite)
            xml.etree.ElementTree.ElementTree(suites).write(path, encoding="utf-8", xml_declaration=True)
        return result


def main():
    file = sys.argv[1]
    sys.argv = sys.argv[1:]
    sys.path.insert(0, os.path.dirname(os.path.abspath(file)))
    name = os.path.splitext(os.path.basename(file))[0]
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    unittest.main(module=module, argv=sys.argv, testRunner=Runner, verbosity=2)


if __name__ == "__main__":
    main()
