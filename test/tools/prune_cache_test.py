"""tools/prune_cache.py deletes what was used longest ago, and no more than it must."""

import os
import pathlib
import subprocess
import tempfile
import unittest

MIB = 2**20


class PruneCacheTest(unittest.TestCase):
    def setUp(self):
        self._directory = tempfile.TemporaryDirectory()
        self.addCleanup(self._directory.cleanup)
        self.folder = pathlib.Path(self._directory.name)
        (self.folder / "cas").mkdir()
        for age in range(10):
            file = self.folder / "cas" / str(age)
            file.write_bytes(bytes(MIB))
            os.utime(file, (1_000_000 - age, 1_000_000 - age))

    def prune(self, mib):
        subprocess.run(["/usr/bin/python3", "tools/prune_cache.py", "--limit-gib", str(mib / 1024), str(self.folder)],
                       check=True)
        return sorted(int(path.name) for path in (self.folder / "cas").iterdir())

    def test_below_the_limit_nothing_goes(self):
        self.assertEqual(self.prune(10), list(range(10)))

    def test_above_the_limit_the_oldest_go(self):
        self.assertEqual(self.prune(5), [0, 1, 2, 3])

    def test_a_directory_that_is_not_there_is_empty(self):
        subprocess.run(["/usr/bin/python3", "tools/prune_cache.py", "--limit-gib", "1", str(self.folder / "no")],
                       check=True)


if __name__ == "__main__":
    unittest.main()
