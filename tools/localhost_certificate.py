"""A self-signed certificate for localhost, for looking around with TLS.

  ensure(folder)     # folder/localhost.pem and folder/localhost.key, made or renewed when need be

By the `openssl` command. Who believes it believes this one alone: it is no authority.
"""

import os
import pathlib
import subprocess
import tempfile

DAYS = 90
RENEW_SECONDS = 30 * 24 * 3600
NAMES = "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1"


def state_folder():
    """This user's own, for what outlives a run."""
    base = os.environ.get("XDG_STATE_HOME") or pathlib.Path.home() / ".local/state"
    return pathlib.Path(base) / "gatehouse" / "localhost"


def is_good(folder):
    certificate = folder / "localhost.pem"
    if not (certificate.is_file() and (folder / "localhost.key").is_file()):
        return False
    return subprocess.run(["openssl", "x509", "-in", certificate, "-noout", "-checkend", str(RENEW_SECONDS)],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0


def ensure(folder):
    """May raise OSError or subprocess.CalledProcessError (its stderr says why)."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    if is_good(folder):
        return
    with tempfile.TemporaryDirectory(dir=folder) as made:
        made = pathlib.Path(made)
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-days", str(DAYS), "-subj", "/CN=localhost", "-addext", NAMES,
             "-addext", "basicConstraints=critical,CA:FALSE", "-addext", "keyUsage=critical,digitalSignature",
             "-addext", "extendedKeyUsage=serverAuth",
             "-keyout", made / "localhost.key", "-out", made / "localhost.pem"],
            check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        (made / "localhost.key").chmod(0o600)
        # A gateway that runs refuses the pair that does not fit in between, and takes the next.
        for name in ("localhost.key", "localhost.pem"):
            os.replace(made / name, folder / name)
