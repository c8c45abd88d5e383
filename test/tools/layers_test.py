"""tools/layers on small trees: what each rule finds, and what it lets pass."""

import pathlib
import subprocess
import tempfile
import unittest

GUARD = "#pragma once\n"


class LayersTest(unittest.TestCase):
    def setUp(self):
        self._directory = tempfile.TemporaryDirectory()
        self.addCleanup(self._directory.cleanup)
        self.root = pathlib.Path(self._directory.name)

    def write(self, path, text):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        folder = file.parent
        if path.startswith("source/") and path.count("/") > 1:
            (folder / "README.md").touch()
            (folder / "BUILD.bazel").touch()

    def findings(self):
        result = subprocess.run(["/usr/bin/python3", "tools/layers", "--root", str(self.root)],
                                capture_output=True, text=True, check=False)
        lines = result.stdout.splitlines()
        self.assertEqual(result.returncode, 1 if lines else 0, result.stderr)
        return lines

    def assert_finding(self, *parts):
        lines = self.findings()
        self.assertEqual(len(lines), 1, lines)
        for part in parts:
            self.assertIn(part, lines[0])

    def test_an_empty_tree_passes(self):
        self.assertEqual(self.findings(), [])

    def test_including_to_the_left_passes(self):
        self.write("source/http/a.h", GUARD + '#include "source/base/b.h"\n#include <vector>\n')
        self.assertEqual(self.findings(), [])

    def test_including_to_the_right_fails(self):
        self.write("source/base/b.h", GUARD + '#include "source/http/a.h"\n')
        self.assert_finding("source/base/b.h:2: [layers]", "source/http/a.h")

    def test_a_filter_does_not_include_another(self):
        self.write("source/filters/cors/a.h",
                   GUARD + '#include "source/filters/filter.h"\n#include "source/filters/jwt/jwt.h"\n')
        self.assert_finding("source/filters/cors/a.h:3: [layers]", "another filter")

    def test_the_list_of_filters_includes_them_all(self):
        self.write("source/filters/builtin.cc", '#include "source/filters/jwt/jwt.h"\n')
        self.assertEqual(self.findings(), [])

    def test_a_filter_sees_only_callout_of_upstream(self):
        self.write("source/filters/jwt/a.h",
                   GUARD + '#include "source/upstream/callout.h"\n#include "source/upstream/pool.h"\n')
        self.assert_finding("source/filters/jwt/a.h:3: [layers]", "callout.h")

    def test_proxy_sees_only_the_snapshot_of_config(self):
        self.write("source/proxy/a.h",
                   GUARD + '#include "source/config/snapshot.h"\n#include "source/config/build.h"\n')
        self.assert_finding("source/proxy/a.h:3: [layers]", "snapshot.h only")

    def test_control_plane_shares_only_base(self):
        self.write("source/control_plane/a.h",
                   GUARD + '#include "source/base/b.h"\n#include "source/control_plane/c.h"\n'
                   '#include "source/http/a.h"\n')
        self.assert_finding("source/control_plane/a.h:4: [layers]")

    def test_control_plane_does_not_meet_boringssl(self):
        self.write("source/control_plane/a.h",
                   GUARD + '#include "source/base/crypto.h"\n#include "source/config/text.h"\n')
        self.assert_finding("source/control_plane/a.h:2: [layers]", "crypto.h")

    def test_control_plane_reads_files_but_does_not_build(self):
        self.write("source/control_plane/a.h",
                   GUARD + '#include "source/config/text.h"\n#include "source/config/build.h"\n')
        self.assert_finding("source/control_plane/a.h:3: [layers]", "build.h")

    def test_a_library_has_one_door(self):
        self.write("source/base/json.cc", "#include <rapidjson/document.h>\n")
        self.write("source/http/a.cc", "#include <rapidjson/document.h>\n")
        self.assert_finding("source/http/a.cc:1: [doors]", "RapidJSON")

    def test_generated_messages_stay_on_the_control_path(self):
        self.write("source/config/a.cc", '#include "api/gatehouse/v1/route.pb.h"\n')
        self.write("source/http/a.cc", '#include "api/gatehouse/v1/route.pb.h"\n')
        self.assert_finding("source/http/a.cc:1: [doors]", "protobuf")

    def test_source_does_not_include_tests(self):
        self.write("source/server/a.cc", '#include "test/fakes/clock.h"\n')
        self.assert_finding("[includes]", "source includes test/")

    def test_includes_are_root_relative(self):
        self.write("source/base/a.cc", '#include "a.h"\n')
        self.assert_finding("[includes]", "root-relative")

    def test_a_header_needs_its_guard(self):
        self.write("source/base/a.h", "int x;\n")
        self.assert_finding("[includes]", "#pragma once")

    def test_names_say_what_a_type_is(self):
        self.write("source/base/a.h",
                   GUARD + "class ConnectionManager {\n};\nclass Base64 {};\nclass HeaderInfo;\n")
        self.assert_finding("source/base/a.h:2: [names]", "ConnectionManager")

    def test_a_long_file_fails_unless_listed(self):
        self.write("source/base/a.cc", "\n" * 801)
        self.assert_finding("[size]", "801 lines")
        self.write("tools/layers_exceptions.txt", "size source/base/a.cc one table, cut nowhere\n")
        self.assertEqual(self.findings(), [])

    def test_an_exception_that_is_not_needed_fails(self):
        self.write("tools/layers_exceptions.txt", "size source/base/a.cc one table\n")
        self.assert_finding("needs no exception any more")

    def test_a_folder_has_a_readme_and_a_build_file(self):
        self.write("source/base/a.cc", "")
        (self.root / "source/base/README.md").unlink()
        self.assert_finding("source/base/README.md:1: [folders]")

    def test_a_test_mirrors_a_source(self):
        self.write("source/http/parser.h", GUARD)
        self.write("test/http/parser_test.cc", "")
        self.write("test/http/parser_split_test.cc", "")
        self.write("test/integration/reload_test.cc", "")
        self.assertEqual(self.findings(), [])
        self.write("test/http/other_test.cc", "")
        self.assert_finding("test/http/other_test.cc:1: [mirror]")

    def test_a_test_stays_in_its_layer(self):
        self.write("source/http/parser.h", GUARD)
        self.write("test/http/parser_test.cc",
                   '#include "source/base/b.h"\n#include "test/fakes/clock.h"\n#include "source/proxy/exchange.h"\n')
        self.assert_finding("test/http/parser_test.cc:3: [layers]")

    def test_a_test_does_not_sleep(self):
        self.write("source/http/parser.h", GUARD)
        self.write("test/http/parser_test.cc", "// does not sleep(1)\nvoid f() { usleep(1); }\n")
        self.assert_finding("test/http/parser_test.cc:2: [sleeps]")


if __name__ == "__main__":
    unittest.main()
