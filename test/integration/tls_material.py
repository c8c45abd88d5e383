"""Certificates for tests: an authority, and what it says. Made by the `openssl` command in a folder of the test's own.

  material = TlsMaterial.shared()                    # once per process
  site = material.site                               # RSA for a.example, *.wild.example, localhost and 127.0.0.1
  context = material.client_context()                # an ssl.SSLContext that believes the authority
  settings = config(..., secrets=material.secrets(), listener={"tls": material.listener_tls()})
"""

import atexit
import os
import shutil
import ssl
import subprocess
import tempfile
import threading

from http_peers import PATIENCE

_FAR = "20991231235959Z"

_CA_CONFIG = """
[ca]
default_ca = this
[this]
database = {folder}/index.txt
default_md = sha256
default_crl_days = 3650
certificate = {folder}/ca.pem
private_key = {folder}/ca.key
"""


class Pair:
    """A certificate and its key, as paths."""

    def __init__(self, folder, name, serial, subject):
        self.name = name
        self.chain = os.path.join(folder, name + ".pem")
        self.key = os.path.join(folder, name + ".key")
        self.serial = serial
        self.subject = subject

    def text(self):
        with open(self.chain, encoding="ascii") as file:
            return file.read()


class TlsMaterial:
    """An authority in `folder`."""

    _shared = None
    _lock = threading.Lock()

    def __init__(self, folder, name="Gatehouse test authority"):
        self.folder = folder
        self.ca = os.path.join(folder, "ca.pem")
        self._ca_key = os.path.join(folder, "ca.key")
        self._serial = 0x1000
        self._issued = []
        self._new_key(self._ca_key, "ecdsa")
        self._openssl("req", "-x509", "-new", "-key", self._ca_key, "-out", self.ca, "-days", "3650", "-subj",
                      f"/O=Gatehouse/CN={name}", "-addext", "basicConstraints=critical,CA:TRUE", "-addext",
                      "keyUsage=critical,keyCertSign,cRLSign,digitalSignature")
        self._made = {}

    @classmethod
    def shared(cls):
        """The material of this process, removed when it ends."""
        with cls._lock:
            if cls._shared is None:
                folder = tempfile.mkdtemp(prefix="ghtls", dir="/tmp")
                atexit.register(shutil.rmtree, folder, ignore_errors=True)
                cls._shared = cls(folder)
            return cls._shared

    @staticmethod
    def _openssl(*arguments):
        done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"openssl {' '.join(arguments)}\n{done.stderr}")
        return done.stdout

    def _new_key(self, path, kind):
        options = ["rsa_keygen_bits:2048"] if kind == "rsa" else ["ec_paramgen_curve:P-256"]
        self._openssl("genpkey", "-algorithm", "RSA" if kind == "rsa" else "EC", "-pkeyopt", *options, "-out", path)

    def issue(self, name, names=(), kind="ecdsa", usage="serverAuth", days=365):
        """A certificate with the subject CN=`name`; `names` are subject alternative names as openssl writes them.

        `days` below zero is one that has ended.
        """
        self._serial += 1
        file = f"{name.replace('*', '_').replace('/', '_')}-{kind}-{self._serial:x}"
        pair = Pair(self.folder, file, self._serial, f"/O=Gatehouse/CN={name}")
        self._new_key(pair.key, kind)
        request = os.path.join(self.folder, file + ".csr")
        extensions = os.path.join(self.folder, file + ".ext")
        with open(extensions, "w", encoding="ascii") as out:
            out.write(f"basicConstraints=CA:FALSE\nextendedKeyUsage={usage}\n")
            if names:
                out.write(f"subjectAltName={','.join(names)}\n")
        self._openssl("req", "-new", "-key", pair.key, "-subj", pair.subject, "-out", request)
        self._openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self._ca_key, "-set_serial",
                      str(pair.serial), "-days", str(days), "-sha256", "-extfile", extensions, "-out", pair.chain)
        self._issued.append(pair)
        return pair

    def _once(self, what, *arguments, **options):
        if what not in self._made:
            self._made[what] = self.issue(*arguments, **options)
        return self._made[what]

    SITE_NAMES = ("DNS:a.example", "DNS:*.wild.example", "DNS:localhost", "IP:127.0.0.1")

    @property
    def site(self):
        return self._once("site", "a.example", self.SITE_NAMES, kind="rsa")

    @property
    def site_ecdsa(self):
        return self._once("site_ecdsa", "a.example", self.SITE_NAMES)

    @property
    def other_site(self):
        return self._once("other_site", "b.example", ("DNS:b.example",))

    @property
    def origin(self):
        return self._once("origin", "origin.example", ("DNS:origin.example", "DNS:localhost", "IP:127.0.0.1"))

    @property
    def client(self):
        return self._once("client", "client", ("DNS:client.example", "URI:spiffe://example/client"),
                          usage="clientAuth")

    @property
    def revoked_client(self):
        return self._once("revoked_client", "revoked", ("DNS:client.example",), usage="clientAuth")

    def _index(self, revoked):
        """openssl's database: who was issued, and who is revoked."""
        with open(os.path.join(self.folder, "index.txt.attr"), "w", encoding="ascii") as out:
            out.write("unique_subject = no\n")
        with open(os.path.join(self.folder, "index.txt"), "w", encoding="ascii") as out:
            for pair in self._issued:
                state, when = ("R", "200101000000Z") if pair in revoked else ("V", "")
                out.write(f"{state}\t{_FAR}\t{when}\t{pair.serial:X}\tunknown\t{pair.subject}\n")

    def crl(self, *revoked):
        """A revocation list, as a path."""
        self._index(revoked)
        settings = os.path.join(self.folder, "ca.cnf")
        with open(settings, "w", encoding="ascii") as out:
            out.write(_CA_CONFIG.format(folder=self.folder))
        path = os.path.join(self.folder, f"crl-{len(revoked)}.pem")
        self._openssl("ca", "-config", settings, "-gencrl", "-out", path)
        return path

    def ocsp(self, pair, revoked=False):
        """What the authority says of a certificate today: a DER response, as a path."""
        self._index([pair] if revoked else [])
        path = os.path.join(self.folder, f"{pair.name}{'-revoked' if revoked else ''}.ocsp")
        self._openssl("ocsp", "-index", os.path.join(self.folder, "index.txt"), "-CA", self.ca, "-rsigner", self.ca,
                      "-rkey", self._ca_key, "-issuer", self.ca, "-cert", pair.chain, "-ndays", "30", "-no_nonce",
                      "-respout", path)
        return path

    def public_key_hash(self, pair):
        """What Chromium's --ignore-certificate-errors-spki-list takes."""
        command = (f"openssl x509 -in {pair.chain} -pubkey -noout | openssl pkey -pubin -outform der | "
                   "openssl dgst -sha256 -binary | openssl enc -base64")
        return subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=PATIENCE,
                              check=True).stdout.strip()

    # Contexts of Python's ssl.

    def client_context(self, client=None, verify=True):
        context = ssl.create_default_context(cafile=self.ca)
        if client:
            context.load_cert_chain(client.chain, client.key)
        if not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def server_context(self, pair=None, alpn=("http/1.1",), clients=False):
        pair = pair or self.origin
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.chain, pair.key)
        context.set_alpn_protocols(list(alpn))
        if clients:
            context.load_verify_locations(self.ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    # Parts of a gateway's config.

    def secrets(self, *pairs):
        """Secrets: `ca`, and the halves of site, client and of further pairs as NAME-chain and NAME-key."""
        made = [{"name": "ca", "file": self.ca}]
        named = [("site", self.site), ("client", self.client), *((pair.name, pair) for pair in pairs)]
        for name, pair in named:
            made += [{"name": f"{name}-chain", "file": pair.chain}, {"name": f"{name}-key", "file": pair.key}]
        return made

    @staticmethod
    def certificate(name="site"):
        return {"chain": f"{name}-chain", "key": f"{name}-key"}

    def listener_tls(self, **rest):
        return {"certificates": [self.certificate()], **rest}

    @staticmethod
    def cluster_tls(**rest):
        """For endpoints at 127.0.0.1 that show `origin`."""
        return {"ca": "ca", "sni": "origin.example", **rest}
