import pathlib
import stat
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, "tools")
import localhost_certificate  # noqa: behind the path


class Certificate(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = pathlib.Path(scratch.name) / "state" / "localhost"
        self.certificate = self.folder / "localhost.pem"
        self.key = self.folder / "localhost.key"

    def test_is_for_its_user_alone(self):
        localhost_certificate.ensure(self.folder)
        self.assertEqual(stat.S_IMODE(self.folder.stat().st_mode), 0o700)
        self.assertEqual(stat.S_IMODE(self.key.stat().st_mode), 0o600)
        self.assertEqual(sorted(path.name for path in self.folder.iterdir()), ["localhost.key", "localhost.pem"])

    def test_is_kept_while_it_is_good(self):
        localhost_certificate.ensure(self.folder)
        before = self.certificate.read_bytes()
        localhost_certificate.ensure(self.folder)
        self.assertEqual(self.certificate.read_bytes(), before)

    def test_is_renewed_before_it_ends_and_when_it_is_broken(self):
        localhost_certificate.ensure(self.folder)
        subprocess.run(["openssl", "req", "-x509", "-key", self.key, "-days", "5", "-subj", "/CN=old", "-out",
                        self.certificate], check=True, capture_output=True)
        for text in (self.certificate.read_bytes(), b"broken"):
            self.certificate.write_bytes(text)
            localhost_certificate.ensure(self.folder)
            self.assertNotEqual(self.certificate.read_bytes(), text)
            self.assertTrue(localhost_certificate.is_good(self.folder))
