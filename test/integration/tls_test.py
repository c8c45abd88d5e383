"""TLS with clients, as openssl's s_client and Python's ssl see it."""

import json
import os
import re
import socket
import ssl
import subprocess
import unittest

from harness import GatehouseTest, binary, config, route, wait_until
from http_peers import PATIENCE, Client, Closed, answer, request
from protocol_peers import CALLERS
from tls_material import TlsMaterial

SUITES_12 = ("ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-CHACHA20-POLY1305",
             "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305")
V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


def seen_by(connection, message):
    """An origin's handler: what came."""
    body = json.dumps({"path": message.target, "method": message.method,
                       "fields": [[name.lower(), value] for name, value in message.headers]}).encode()
    return answer(200, body)


class TlsTest(GatehouseTest):
    @classmethod
    def setUpClass(cls):
        cls.material = TlsMaterial.shared()

    def edge(self, tls=None, *, pairs=(), secrets=(), handler=seen_by, listener=None, **top):
        """A gateway with TLS in front of an origin of HTTP/1.1."""
        self.target = self.origin(handler)
        listener = {"tls": tls or self.material.listener_tls(), **(listener or {})}
        return self.gateway(config([route("all", "/", "origin")], {"origin": self.target.address}, listener,
                                   secrets=[*self.material.secrets(*pairs), *secrets], **top))

    def context(self, least=None, most=None, client=None, alpn=None, ciphers=None, verify=True):
        context = self.material.client_context(client, verify)
        context.minimum_version = least or V12
        if most:
            context.maximum_version = most
        if alpn:
            context.set_alpn_protocols(list(alpn))
        if ciphers:
            context.set_ciphers(ciphers)
        return context

    def connect(self, gateway, context=None, name="a.example", session=None):
        """A Client after its handshake."""
        raw = socket.create_connection(gateway.address, timeout=PATIENCE)
        try:
            sock = (context or self.context()).wrap_socket(raw, server_hostname=name, session=session)
        except BaseException:
            raw.close()
            raise
        client = Client.__new__(Client)
        super(Client, client).__init__(sock)
        self.addCleanup(client.close)
        return client

    def ask_tls(self, gateway, *arguments, **options):
        client = self.connect(gateway, *arguments, **options)
        return client.ask("/")

    def refuses(self, gateway, context, name="a.example"):
        """The handshake fails, or what follows it: with TLS 1.3 the client is done first."""
        with self.assertRaises((OSError, Closed)) as caught:
            self.ask_tls(gateway, context, name)
        self.assertEqual(self.target.requests, [])
        return str(caught.exception)

    def s_client(self, gateway, *arguments, say=None, path="/", name="a.example"):
        """What s_client prints, of one request whose connection the gateway closes."""
        say = request(path, headers=["Connection: close"]) if say is None else say
        done = subprocess.run(
            ["openssl", "s_client", "-connect", "%s:%d" % gateway.address, "-CAfile", self.material.ca, "-servername", name,
             "-ign_eof", *arguments], input=say, capture_output=True, timeout=PATIENCE, check=False)
        return done.stdout.decode("latin-1") + done.stderr.decode("latin-1")


class Versions(TlsTest):
    def test_the_floor(self):
        gateway = self.edge()
        for version in ("-tls1", "-tls1_1"):
            said = self.s_client(gateway, version, "-cipher", "ALL:@SECLEVEL=0", say=b"")
            self.assertRegex(said, "(?i)alert protocol version", version)
        for version, name in (("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")):
            said = self.s_client(gateway, version)
            self.assertIn("HTTP/1.1 200", said)
            self.assertIn(name, said)
            self.assertIn("Verify return code: 0 (ok)", said)
        self.assertEqual(gateway.metric("gatehouse_listener_tls_handshakes_total", result="failed"), 2)
        self.assertEqual(gateway.metric("gatehouse_listener_tls_handshakes_total", result="ok"), 2)

    def test_a_higher_floor(self):
        gateway = self.edge(self.material.listener_tls(min_version="tls_1_3"))
        self.assertRegex(self.refuses(gateway, self.context(most=V12)), "(?i)alert protocol version")
        self.assertEqual(self.ask_tls(gateway, self.context(least=V13)).status, 200)

    def test_suites_of_tls_1_2(self):
        gateway = self.edge({"certificates": [self.material.certificate(),
                                              self.material.certificate(self.material.site_ecdsa.name)]},
                            pairs=[self.material.site_ecdsa])
        for suite in SUITES_12:
            self.assertIn(f"Cipher is {suite}", self.s_client(gateway, "-tls1_2", "-cipher", suite), suite)
        listed = subprocess.run(["openssl", "ciphers", "-tls1_2", "-s", "ALL:@SECLEVEL=0"], capture_output=True, text=True,
                                check=True).stdout.strip().split(":")
        others = [suite for suite in listed if suite not in SUITES_12 and not suite.startswith("TLS_")]
        self.assertGreater(len(others), 10)
        for suite in ("AES128-SHA", "AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA256", "DHE-RSA-AES128-GCM-SHA256",
                      ":".join(others)):
            said = self.s_client(gateway, "-tls1_2", "-cipher", suite + ":@SECLEVEL=0", say=b"")
            self.assertRegex(said, "(?i)handshake failure", suite)

    def test_suites_of_tls_1_3(self):
        gateway = self.edge()
        for suite in ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"):
            self.assertIn(f"Cipher is {suite}", self.s_client(gateway, "-tls1_3", "-ciphersuites", suite), suite)
            self.assertEqual(gateway.record(status=200)["protocol"], "HTTP/1.1")

    def test_no_compression_and_no_renegotiation(self):
        said = self.s_client(self.edge(), "-tls1_2")
        self.assertIn("Secure Renegotiation IS supported", said)
        self.assertIn("Compression: NONE", said)
        # "R" asks s_client for a renegotiation.
        gateway = self.edge()
        said = subprocess.run(["openssl", "s_client", "-connect", "%s:%d" % gateway.address, "-tls1_2"], input=b"R\n",
                              capture_output=True, timeout=PATIENCE, check=False)
        self.assertRegex((said.stdout + said.stderr).decode("latin-1"), "(?i)no renegotiation|unexpected")
        self.assertEqual(self.ask_tls(gateway).status, 200)


class Resumption(TlsTest):
    VERSIONS = ((V12, "TLSv1.2"), (V13, "TLSv1.3"))

    def session(self, gateway, context):
        client = self.connect(gateway, context)
        self.assertFalse(client.sock.session_reused)
        self.assertEqual(client.ask("/").status, 200)  # the tickets of TLS 1.3 come after the handshake
        return client.sock.session

    def resumed(self, gateway, context, session):
        client = self.connect(gateway, context, session=session)
        self.assertEqual(client.ask("/").status, 200)
        return client.sock.session_reused

    def test_over_all_workers(self):
        gateway = self.edge(workers=4)
        for version, name in self.VERSIONS:
            context = self.context(version, version)
            session = self.session(gateway, context)
            self.assertEqual([self.resumed(gateway, context, session) for _ in range(20)], [True] * 20, name)
        self.assertEqual(gateway.metric("gatehouse_listener_tls_resumed_total"), 40)

    def test_by_s_client(self):
        gateway = self.edge()
        path = os.path.join(self.folder(), "session")
        for version in ("-tls1_2", "-tls1_3"):
            self.assertIn("New, TLSv1", self.s_client(gateway, version, "-sess_out", path))
            self.assertIn("Reused, TLSv1", self.s_client(gateway, version, "-sess_in", path))

    def test_reloads_keep_the_keys(self):
        gateway = self.edge()
        context = self.context()
        session = self.session(gateway, context)
        settings = config([route("all", "/x", "origin"), route("more", "/", "origin")], {"origin": self.target.address},
                          {"tls": self.material.listener_tls()}, secrets=self.material.secrets())
        gateway.reload(settings)
        self.assertTrue(self.resumed(gateway, context, session))

    def test_another_process_has_other_keys(self):
        first, second = self.edge(), self.edge()
        context = self.context()
        session = self.session(first, context)
        self.assertFalse(self.resumed(second, context, session))
        self.assertTrue(self.resumed(first, context, session))

    def test_a_fleet_shares_keys_and_rotates_them(self):
        path = os.path.join(self.folder(), "ticket.keys")
        old, new = "old-" + "k" * 44, "new-" + "k" * 44

        def write(*keys):
            with open(path + ".new", "w", encoding="ascii") as file:
                file.write("\n".join(keys) + "\n")
            os.rename(path + ".new", path)

        write(old)
        tls = self.material.listener_tls(session_tickets={"keys": "tickets"})
        gateways = [self.edge(tls, secrets=[{"name": "tickets", "file": path}]) for _ in range(2)]
        for version, name in self.VERSIONS:
            context = self.context(version, version)
            session = self.session(gateways[0], context)
            self.assertTrue(self.resumed(gateways[1], context, session), name)

        def rotate(*keys):
            marks = [gateway.mark() for gateway in gateways]
            write(*keys)
            for gateway, mark in zip(gateways, marks):
                gateway.wait_for_line("ticket.keys has changed: loaded", mark)

        context = self.context()
        session = self.session(gateways[0], context)
        rotate(new, old)
        self.assertTrue(self.resumed(gateways[1], context, session))
        renewed = self.session(gateways[0], context)
        rotate(new)
        self.assertTrue(self.resumed(gateways[1], context, renewed))
        self.assertFalse(self.resumed(gateways[1], context, session))

    def test_tickets_can_be_off(self):
        gateway = self.edge(self.material.listener_tls(session_tickets={"disabled": True}))
        context = self.context(V13, V13)
        session = self.session(gateway, context)
        self.assertFalse(session is not None and session.has_ticket)

    def test_a_ticket_is_good_at_its_listener_alone(self):
        tls = self.material.listener_tls()
        self.target = self.origin(seen_by)
        settings = config([route("all", "/", "origin")], {"origin": self.target.address}, {"tls": tls},
                          secrets=self.material.secrets())
        settings["listeners"].append({**settings["listeners"][0], "name": "other"})
        gateway = self.gateway(settings)
        context = self.context()
        session = self.session(gateway, context)
        gateway.ports["edge"], gateway.ports["other"] = gateway.ports["other"], gateway.ports["edge"]
        self.assertFalse(self.resumed(gateway, context, session))


class Certificates(TlsTest):
    def name_of(self, gateway, name, **options):
        """The number of the certificate that this SNI gets."""
        context = self.context(verify=False, **options)
        sock = self.connect(gateway, context, name).sock
        der = sock.getpeercert(binary_form=True)
        text = subprocess.run(["openssl", "x509", "-inform", "DER", "-noout", "-serial"], input=der, capture_output=True,
                              check=True).stdout.decode()
        return int(text.strip().partition("=")[2], 16)

    def test_chosen_by_sni(self):
        material = self.material
        deep = material.issue("deep.wild.example", ("DNS:deep.wild.example",))
        gateway = self.edge({"certificates": [material.certificate(name) for name in
                                              (material.other_site.name, "site", deep.name)]},
                            pairs=[material.other_site, deep])
        default, site = material.other_site.serial, material.site.serial
        for name, serial in (("a.example", site), ("A.Example", site), ("b.example", default), ("x.wild.example", site),
                             ("deep.wild.example", deep.serial), ("y.x.wild.example", default),
                             ("wild.example", default), ("unknown.example", default), (None, default)):
            self.assertEqual(self.name_of(gateway, name), serial, name)
        # And what a client named is logged, also when no certificate is for it.
        self.assertIn("CN = b.example", self.s_client(gateway, name="b.example"))

    def test_rsa_and_ecdsa_side_by_side(self):
        material = self.material
        gateway = self.edge({"certificates": [material.certificate(), material.certificate(material.site_ecdsa.name)]},
                            pairs=[material.site_ecdsa])
        self.assertEqual(self.name_of(gateway, "a.example"), material.site_ecdsa.serial)
        for arguments, kind in (
            (("-tls1_2", "-cipher", "aRSA"), "RSA"), (("-tls1_2", "-cipher", "aECDSA"), "EC"),
            (("-tls1_3", "-sigalgs", "RSA-PSS+SHA256"), "RSA"), (("-tls1_3", "-sigalgs", "ECDSA+SHA256"), "EC"),
        ):
            said = self.s_client(gateway, *arguments)
            self.assertIn("HTTP/1.1 200", said, arguments)
            self.assertRegex(said, "Peer signature type: " + ("RSA" if kind == "RSA" else "ECDSA"), arguments)

    def test_stapling(self):
        path = self.material.ocsp(self.material.site)
        tls = {"certificates": [{**self.material.certificate(), "ocsp": "ocsp"}]}
        gateway = self.edge(tls, secrets=[{"name": "ocsp", "file": path}])
        for version in ("-tls1_2", "-tls1_3"):
            said = self.s_client(gateway, "-status", version)
            self.assertIn("OCSP Response Status: successful", said)
            self.assertIn("Cert Status: good", said)
        self.assertIn("HTTP/1.1 200", self.s_client(gateway))
        self.assertIn("OCSP response: no response sent", self.s_client(self.edge(), "-status"))

    def test_the_end_of_the_certificate_is_a_metric(self):
        gateway = self.edge()
        text = self.run_command("openssl", "x509", "-in", self.material.site.chain, "-noout", "-enddate").stdout
        self.assertEqual(gateway.metric("gatehouse_listener_certificate_not_after_seconds", listener="edge"),
                         ssl.cert_time_to_seconds(text.strip().partition("=")[2]))


class Alpn(TlsTest):
    def agreed(self, gateway, *offer):
        return self.connect(gateway, self.context(alpn=offer)).sock.selected_alpn_protocol()

    def test_what_is_agreed_on(self):
        gateway = self.edge()
        self.assertEqual(self.agreed(gateway, "h2"), "h2")
        self.assertEqual(self.agreed(gateway, "http/1.1"), "http/1.1")
        self.assertEqual(self.agreed(gateway, "http/1.1", "h2"), "h2")
        self.assertEqual(self.agreed(gateway, "unknown", "http/1.1"), "http/1.1")
        self.assertIsNone(self.agreed(gateway))
        self.assertEqual(self.ask_tls(gateway).status, 200)  # none: HTTP/1.1
        with CALLERS["h2"](gateway.address, tls=self.context()) as caller:
            self.assertEqual(caller.ask("/").status, 200)

    def test_nothing_in_common(self):
        """RFC 7301, section 3.2."""
        gateway = self.edge()
        for version in (V12, V13):
            said = self.refuses(gateway, self.context(version, version, alpn=["unknown"]))
            self.assertIn("NO_APPLICATION_PROTOCOL", said.upper().replace(" ", "_"))

    def test_http2_can_be_off(self):
        gateway = self.edge(listener={"http2": {"disabled": True}})
        self.assertEqual(self.agreed(gateway, "h2", "http/1.1"), "http/1.1")
        self.assertIn("NO_APPLICATION_PROTOCOL",
                      self.refuses(gateway, self.context(alpn=["h2"])).upper().replace(" ", "_"))

    def test_http2_without_being_agreed_on(self):
        """Who agreed on HTTP/1.1 speaks it."""
        gateway = self.edge()
        client = self.connect(gateway, self.context(alpn=["http/1.1"]))
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
        said = client.take_all()
        self.assertTrue(not said or said.startswith(b"HTTP/1.1 "), said)


class ClientCertificates(TlsTest):
    def checking(self, mode, listener=None, **rest):
        return self.edge(self.material.listener_tls(client_certificates={"mode": mode, "ca": "ca", **rest}),
                         secrets=self.more, listener=listener)

    def setUp(self):
        self.more = []

    def stranger(self):
        other = TlsMaterial(self.folder(), "Another authority")
        return other.issue("client", ("DNS:client.example",), usage="clientAuth")

    def test_required(self):
        gateway = self.checking("required")
        self.assertEqual(self.ask_tls(gateway, self.context(client=self.material.client)).status, 200)
        self.target.forget()
        for version in (V12, V13):
            self.refuses(gateway, self.context(version, version))
            self.refuses(gateway, self.context(version, version, client=self.stranger()))
        old = self.material.issue("client", ("DNS:client.example",), usage="clientAuth", days=-1)
        self.assertIn("EXPIRED", self.refuses(gateway, self.context(client=old)).upper())
        server = self.material.origin  # not for clients
        self.refuses(gateway, self.context(client=server))
        self.assertEqual(gateway.metric("gatehouse_listener_tls_handshakes_total", result="failed"), 6)

    def test_optional(self):
        gateway = self.checking("optional")
        self.assertEqual(self.ask_tls(gateway).status, 200)
        self.assertEqual(self.ask_tls(gateway, self.context(client=self.material.client)).status, 200)
        self.target.forget()
        self.refuses(gateway, self.context(client=self.stranger()))

    def test_revoked(self):
        self.more = [{"name": "crl", "file": self.material.crl(self.material.revoked_client)}]
        gateway = self.checking("required", crl="crl")
        self.assertEqual(self.ask_tls(gateway, self.context(client=self.material.client)).status, 200)
        self.target.forget()
        self.assertIn("REVOKED", self.refuses(gateway, self.context(client=self.material.revoked_client)).upper())

    def test_names(self):
        other = self.material.issue("other", ("DNS:other.example", "URI:spiffe://other/x"), usage="clientAuth")
        for names, good, bad in (
            ([{"dns": "client.example"}], self.material.client, other),
            ([{"uri": {"prefix": "spiffe://example/"}}], self.material.client, other),
            ([{"dns": "nobody.example"}, {"uri": "spiffe://other/x"}], other, self.material.client),
        ):
            gateway = self.checking("required", subject_alt_names=names)
            self.assertEqual(self.ask_tls(gateway, self.context(client=good)).status, 200)
            self.target.forget()
            self.refuses(gateway, self.context(client=bad))

    def test_the_identity_survives_resumption(self):
        gateway = self.checking("required", listener={"headers": {"forwarded_client_cert": {"mode": "sanitize_set"}}})
        context = self.context(client=self.material.client)
        first = self.connect(gateway, context)
        told = first.ask("/").body
        again = self.connect(gateway, context, session=first.sock.session)
        self.assertTrue(again.sock.session_reused)
        find = lambda body: [v for n, v in json.loads(body)["fields"] if n == "x-forwarded-client-cert"]
        self.assertEqual(find(again.ask("/").body), find(told))
        self.assertEqual(len(find(told)), 1)

    def test_what_the_origin_is_told(self):
        hash_ = self.run_command("openssl", "x509", "-in", self.material.client.chain, "-noout", "-fingerprint",
                                 "-sha256").stdout.partition("=")[2].strip().replace(":", "").lower()
        mine = f'Hash={hash_};Subject="CN=client,O=Gatehouse";URI=spiffe://example/client;DNS=client.example'
        sent = "Hash=aa;By=x"
        both = f"{sent},{mine}"
        for mode, with_certificate, without in (
            (None, None, None), ("sanitize", None, None), ("forward_only", sent, None), ("append_forward", both, None),
            ("sanitize_set", mine, None), ("always_forward_only", sent, sent),
        ):
            headers = {"headers": {"forwarded_client_cert": {"mode": mode}}} if mode else None
            gateway = self.checking("optional", listener=headers)
            for certificate, expected in ((self.material.client, with_certificate), (None, without)):
                for protocol in ("h1", "h2"):
                    with self.subTest(mode=mode, certificate=bool(certificate), protocol=protocol), \
                            CALLERS[protocol](gateway.address, tls=self.context(client=certificate)) as caller:
                        told = json.loads(caller.ask("/", fields=[("x-forwarded-client-cert", sent)]).body)
                        values = [v for n, v in told["fields"] if n == "x-forwarded-client-cert"]
                        values = [re.sub(r",\s*", ",", ",".join(values))] if values else []
                        normal = re.sub(r",\s*", ",", expected) if expected else None
                        self.assertEqual(values, [normal] if normal else [])

    def test_details(self):
        gateway = self.checking("required", listener={"headers": {"forwarded_client_cert": {
            "mode": "sanitize_set", "details": ["cert", "uri"]}}})
        told = json.loads(self.ask_tls(gateway, self.context(client=self.material.client)).body)
        value = dict(told["fields"])["x-forwarded-client-cert"]
        self.assertRegex(value, r'^Hash=[0-9a-f]{64};URI=spiffe://example/client;Cert="-----BEGIN%20CERTIFICATE-----%0A[^"]+"$')

    def test_the_log(self):
        gateway = self.checking("required", listener={"access_log": {
            "path": os.path.join(folder := self.folder(), "log"),
            "fields": ["status", "tls_client_subject", "tls_client_fingerprint"]}})
        self.ask_tls(gateway, self.context(client=self.material.client))
        gateway.log_path = os.path.join(folder, "log")
        record = gateway.record(status=200)
        self.assertEqual(record["tls_client_subject"], "CN=client,O=Gatehouse")
        self.assertEqual(len(record["tls_client_fingerprint"]), 64)


class Hostile(TlsTest):
    def failed(self, gateway, result="failed"):
        return gateway.metric("gatehouse_listener_tls_handshakes_total", result=result)

    def test_a_handshake_has_its_time(self):
        gateway = self.edge(listener={"timeouts": {"handshake": "200ms"}})
        for said in (b"", b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"):
            with Client(gateway.address) as client:
                client.send(said)
                self.assertTrue(client.at_end(), said)
        wait_until(lambda: self.failed(gateway, "timeout") == 3, "three timeouts")
        self.assertEqual(self.ask_tls(gateway).status, 200)

    def test_plain_http(self):
        gateway = self.edge()
        with Client(gateway.address) as client:
            client.send(request("/"))
            self.assertNotIn(b" 200 ", client.take_all())
        wait_until(lambda: self.failed(gateway) == 1, "the failure")
        self.assertEqual(self.target.requests, [])
        self.assertEqual(self.ask_tls(gateway).status, 200)

    def test_plain_http2(self):
        gateway = self.edge()
        with Client(gateway.address) as client:
            client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            client.take_all()
        wait_until(lambda: self.failed(gateway) == 1, "the failure")

    def test_garbage(self):
        gateway = self.edge()
        hello = self.hello()
        thrown = [os.urandom(300), b"\0" * 300, b"\xff" * 300, b"\x16\x03\x01\xff\xff" + b"\1" * 70_000, b"\x80\x2e\1\0\2",
                  hello[:20] + os.urandom(400), hello + os.urandom(100), hello * 3]
        for said in thrown:
            with Client(gateway.address) as client:
                try:
                    client.send(said)
                    client.half_close()
                    while client.fill():
                        client.buffer = b""
                except OSError:
                    pass
        for cut in range(0, len(hello), 37):
            with Client(gateway.address) as client:
                client.send(hello[:cut])
        wait_until(lambda: gateway.metric("gatehouse_listener_active_connections") == 0, "all gone")
        self.assertEqual(self.target.requests, [])
        self.assertEqual(self.ask_tls(gateway).status, 200)

    @staticmethod
    def hello():
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        try:
            context.wrap_bio(incoming, outgoing, server_hostname="a.example").do_handshake()
        except ssl.SSLWantReadError:
            pass
        return outgoing.read()

    def test_a_cut_request_is_none(self):
        """A FIN without close_notify may be anybody's: half a request must not look whole."""
        gateway = self.edge()
        client = self.connect(gateway)
        client.send(b"GET / HTTP/1.1\r\nHost: a.example\r\nX-A: 1")
        client.sock.shutdown(socket.SHUT_RDWR)
        wait_until(lambda: gateway.metric("gatehouse_listener_active_connections") == 0, "the end")
        self.assertEqual(self.target.requests, [])

    def test_the_end_is_said(self):
        """close_notify before the FIN (RFC 8446, section 6.1)."""
        gateway = self.edge()
        client = self.connect(gateway)
        client.sock.suppress_ragged_eofs = False
        client.send(request("/", headers=["Connection: close"]))
        self.assertTrue(client.take_all().startswith(b"HTTP/1.1 200"))


class EarlyData(TlsTest):
    def early(self, gateway, *requests_, then=b""):
        """Resumes, with these bytes as early data and others after the handshake; what s_client says."""
        folder = self.folder()
        session, early = os.path.join(folder, "session"), os.path.join(folder, "early")
        self.s_client(gateway, "-tls1_3", "-sess_out", session)
        self.target.forget()
        with open(early, "wb") as file:
            file.write(b"".join(requests_))
        return self.s_client(gateway, "-tls1_3", "-sess_in", session, "-early_data", early, say=then)

    def test_a_get_is_taken(self):
        gateway = self.edge(self.material.listener_tls(early_data=True))
        said = self.early(gateway, request("/early", headers=["Connection: close", "Early-Data: 7"]))
        self.assertIn("Early data was accepted", said)
        self.assertIn("HTTP/1.1 200", said)
        self.assertEqual(self.target.requests[0].all("early-data"), ["1"])

    def test_a_post_is_not(self):
        gateway = self.edge(self.material.listener_tls(early_data=True))
        for early in (request("/", "POST", headers=["Connection: close"], body=b"x"),
                      request("/", "DELETE", headers=["Connection: close"])):
            said = self.early(gateway, early)
            self.assertIn("HTTP/1.1 425", said)
            self.assertEqual(self.target.requests, [])
        self.assertEqual(gateway.metric("gatehouse_listener_early_data_rejected_total"), 2)

    def test_425_of_the_origin_is_passed_on(self):
        gateway = self.edge(self.material.listener_tls(early_data=True),
                            handler=lambda _, message: answer(425 if "early-data" in message else 200))
        said = self.early(gateway, request("/", headers=["Connection: close"]))
        self.assertIn("HTTP/1.1 425", said)

    def test_a_request_after_the_handshake_is_not_early(self):
        gateway = self.edge(self.material.listener_tls(early_data=True))
        context = self.context()
        client = self.connect(gateway, context)
        client.ask("/")
        again = self.connect(gateway, context, session=client.sock.session)
        self.assertEqual(again.ask("/", "POST", body=b"x", headers=["Early-Data: 1"]).status, 200)
        self.assertTrue(again.sock.session_reused)

    def test_it_is_off(self):
        gateway = self.edge()
        said = self.early(gateway, request("/early"), then=request("/late", "POST", headers=["Connection: close"], body=b""))
        self.assertNotIn("Early data was accepted", said)
        self.assertIn("HTTP/1.1 200", said)
        self.assertEqual([(seen.target, seen.all("early-data")) for seen in self.target.requests], [("/late", [])])


class Configured(TlsTest):
    """What `gatehouse validate` says of secrets that are no good."""

    def said(self, secrets, tls=None, cluster=None):
        made = config([route("all", "/", "origin")], {"origin": {"endpoints": ["127.0.0.1:1"], **(cluster or {})}},
                      {"tls": tls or self.material.listener_tls()}, secrets=secrets)
        path = os.path.join(self.folder(), "gateway.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(made, file)
        done = self.run_command(binary(), "validate", path, check=False)
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def pair(self, chain, key):
        return [{"name": "site-chain", "file": chain}, {"name": "site-key", "file": key}]

    def file(self, content):
        path = os.path.join(self.folder(), "given.pem")
        with open(path, "wb") as file:
            file.write(content)
        return path

    def test_bad_pairs(self):
        site, other = self.material.site, self.material.other_site
        with open(site.key, "rb") as file:
            key = file.read()
        locked = os.path.join(self.folder(), "locked.key")
        self.run_command("openssl", "pkey", "-in", site.key, "-aes256", "-passout", "pass:x", "-out", locked)
        old = self.material.issue("a.example", ("DNS:a.example",), days=-1)
        small = os.path.join(self.folder(), "small.key")
        self.run_command("openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024", "-out", small)
        missing = os.path.join(self.folder(), "missing.pem")
        garbage, empty = self.file(b"no PEM at all"), self.file(b"")
        cut = self.file(key[:200])
        for chain, key_, named, reason in (
            (site.chain, other.key, site.chain, "does not belong"),
            (missing, site.key, "secrets[0].file", "(?i)no such file"),
            (site.chain, missing, "secrets[1].file", "(?i)no such file"),
            (garbage, site.key, garbage, "(?i)certificate|PEM"),
            (empty, site.key, "secrets[0].file", "is empty"),
            (site.chain, garbage, garbage, "(?i)key|PEM"),
            (site.chain, cut, cut, "(?i)key|PEM"),
            (site.chain, locked, locked, "(?i)encrypted|passphrase"),
            (old.chain, old.key, old.chain, "(?i)expired|ended"),
            (site.key, site.key, site.key, "(?i)certificate"),
        ):
            with self.subTest(reason=reason, chain=chain, key=key_):
                said = self.said(self.pair(chain, key_))
                self.assertIn(named, said)
                self.assertRegex(said, reason)
                self.assertIn("secrets[" if named.startswith("secrets") else "listeners[0].tls.certificates[0]", said)
                self.assertNotIn("PRIVATE KEY-----\n", said)

    def test_other_secrets(self):
        good = self.material.secrets()
        garbage = self.file(b"garbage")
        more = [*good, {"name": "bad", "file": garbage}]
        for tls, cluster in (
            (self.material.listener_tls(client_certificates={"ca": "bad"}), None),
            (self.material.listener_tls(client_certificates={"ca": "ca", "crl": "bad"}), None),
            (self.material.listener_tls(session_tickets={"keys": "bad"}), None),
            ({"certificates": [{**self.material.certificate(), "ocsp": "bad"}]}, None),
            (None, {"tls": {"ca": "bad"}}), (None, {"tls": {"crl": "bad", "ca": "ca"}}),
            (None, {"tls": {"client_certificate": {"chain": "bad", "key": "client-key"}}}),
        ):
            with self.subTest(tls=tls, cluster=cluster):
                said = self.said(more, tls, cluster)
                self.assertIn(garbage, said)
                self.assertIn("clusters[0].tls" if cluster else "listeners[0].tls", said)

    def test_a_stapled_response_for_another(self):
        path = self.material.ocsp(self.material.other_site)
        revoked = self.material.ocsp(self.material.site, revoked=True)
        tls = {"certificates": [{**self.material.certificate(), "ocsp": "ocsp"}]}
        for ocsp in (path, revoked):
            said = self.said([*self.material.secrets(), {"name": "ocsp", "file": ocsp}], tls)
            self.assertIn(ocsp, said)

    def test_names_that_are_no_secrets(self):
        said = self.said(self.material.secrets(), {"certificates": [{"chain": "site-chian", "key": "site-key"}]})
        self.assertIn('"site-chian"', said)
        self.assertIn("site-chain", said.replace('"site-chian"', ""))  # did you mean


if __name__ == "__main__":
    unittest.main()
