"""HTTP/2 clients that people use, through the gateway: in the clear by prior knowledge, and over TLS by ALPN."""

import asyncio
import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import threading
import unittest

import httpx

from harness import GatehouseTest, config, route, wait_until
from http_peers import Origin, answer, chunk
from tls_material import TlsMaterial

MEGABYTE = 1 << 20
BLOCK = bytes(range(256)) * 256
LARGE = 20 * MEGABYTE


def large_digest():
    digest = hashlib.sha256()
    for _ in range(LARGE // len(BLOCK)):
        digest.update(BLOCK)
    return digest.hexdigest()


def serve(connection, message):
    """Tells what came in; /large is 20 MiB, /stream chunks, /events server-sent events, /trailers has trailers."""
    path = message.target.split("?")[0]
    if path == "/large":
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE)
        for _ in range(LARGE // len(BLOCK)):
            connection.send(BLOCK)
        return None
    if path == "/stream":
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/plain\r\n\r\n")
        for number in range(100):
            connection.send(chunk(b"line %d\n" % number))
        connection.send(b"0\r\n\r\n")
        return None
    if path == "/events":
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/event-stream\r\n\r\n")
        for number in range(5):
            connection.send(chunk(b"data: event %d\n\n" % number))
            if connection.origin.step and not connection.origin.step.acquire(timeout=60):
                return Origin.CLOSE
        connection.send(b"0\r\n\r\n")
        return None
    if path == "/trailers":
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Digest\r\n\r\n" +
                        chunk(b"some ") + chunk(b"text") + b"0\r\nX-Digest: abc\r\n\r\n")
        return None
    if path == "/hints":
        return (b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload; as=style\r\n\r\n" +
                answer(200, b"after a hint"))
    if path == "/hold":
        connection.at_end()
        return Origin.CLOSE
    told = json.dumps({
        "method": message.method, "target": message.target, "size": len(message.body),
        "digest": hashlib.sha256(message.body).hexdigest(),
        "headers": {name.lower(): value for name, value in message.headers},
        "trailers": {name.lower(): value for name, value in message.trailers},
    }).encode()
    head = answer(200, told, ["Content-Type: application/json"])
    return head[: -len(told)] if message.method == "HEAD" else head


def both(test):
    """The test in the clear and over TLS."""

    @functools.wraps(test)
    def run(self):
        for scheme in ("http", "https"):
            with self.subTest(scheme=scheme):
                test(self, scheme)

    return run


class H2ClientTest(GatehouseTest):
    """Listeners `edge` (in the clear) and `secure` (TLS) before one origin."""

    @classmethod
    def setUpClass(cls):
        cls.material = TlsMaterial.shared()

    def start(self, routes=None, **top):
        self.target = self.origin(serve)
        self.target.step = None
        settings = config(routes or [route("all", "/", "origin")], {"origin": self.target.address},
                          secrets=self.material.secrets(), **top)
        settings["listeners"].append({"name": "secure", "address": "127.0.0.1:0", "route_tables": ["main"],
                                      "tls": self.material.listener_tls()})
        return self.gateway(settings)

    def url(self, gateway, scheme, path="/"):
        if scheme == "http":
            return f"http://127.0.0.1:{gateway.ports['edge']}{path}"
        return f"https://127.0.0.1:{gateway.ports['secure']}{path}"

    def need(self, program):
        if not shutil.which(program):
            self.skipTest(f"{program} is not installed")


class Curl(H2ClientTest):
    def curl(self, scheme, *arguments):
        version = ["--http2-prior-knowledge"] if scheme == "http" else ["--http2", "--cacert", self.material.ca]
        return self.run_command("curl", "-sS", "--max-time", "60", *version, *arguments).stdout

    @both
    def test_get(self, scheme):
        gateway = self.start()
        out = self.curl(scheme, "-w", "\n%{http_version}", self.url(gateway, scheme, "/a?b=c"))
        told, version = out.rsplit("\n", 1)
        told = json.loads(told)
        self.assertEqual(version, "2")
        self.assertEqual((told["method"], told["target"]), ("GET", "/a?b=c"))
        self.assertEqual(told["headers"]["x-forwarded-proto"], scheme)
        wait_until(lambda: gateway.metric("gatehouse_listener_http2_connections_total") == 1, "its connection")

    # curl 7.88 loses its way when it uses a connection of prior knowledge again, with any server.
    def test_many_urls_on_one_connection(self):
        gateway, scheme = self.start(), "https"
        out = self.curl(scheme, "-o", "/dev/null", "-w", "%{http_code} %{num_connects}\n",
                        self.url(gateway, scheme, "/[1-50]"))
        self.assertEqual(out.split("\n")[:-1], ["200 1"] + ["200 0"] * 49)

    def test_parallel(self):
        gateway, scheme = self.start(), "https"
        out = self.curl(scheme, "-Z", "--parallel-max", "40", "-o", "/dev/null", "-w", "%{http_code}\n",
                        self.url(gateway, scheme, "/[1-200]"))
        self.assertEqual(out.split(), ["200"] * 200)

    @both
    def test_uploads(self, scheme):
        gateway = self.start()
        path = os.path.join(self.folder(), "upload")
        data = os.urandom(3 << 20)
        with open(path, "wb") as file:
            file.write(data)
        digest = hashlib.sha256(data).hexdigest()
        for arguments in (("--data-binary", f"@{path}"), ("-T", path), ("-T", "-"),
                          ("-H", "Expect: 100-continue", "--data-binary", f"@{path}")):
            with open(path, "rb") as file:
                version = (["--http2-prior-knowledge"] if scheme == "http"
                           else ["--http2", "--cacert", self.material.ca])
                done = self.run_command("curl", "-sS", "--max-time", "60", *version, *arguments,
                                        self.url(gateway, scheme), stdin=file)
            told = json.loads(done.stdout)
            self.assertEqual((told["size"], told["digest"]), (len(data), digest), arguments)

    @both
    def test_a_large_download(self, scheme):
        gateway = self.start()
        path = os.path.join(self.folder(), "download")
        self.curl(scheme, "-o", path, self.url(gateway, scheme, "/large"))
        with open(path, "rb") as file:
            self.assertEqual(hashlib.sha256(file.read()).hexdigest(), large_digest())

    def test_a_slow_download(self):
        gateway = self.start()
        path = os.path.join(self.folder(), "download")
        self.curl("http", "--limit-rate", "40M", "-o", path, self.url(gateway, "http", "/large"))
        self.assertEqual(os.path.getsize(path), LARGE)

    @both
    def test_head_and_trailers_and_hints(self, scheme):
        gateway = self.start()
        self.assertIn("HTTP/2 200", self.curl(scheme, "-I", self.url(gateway, scheme)))
        out = self.curl(scheme, "-i", "-H", "TE: trailers", self.url(gateway, scheme, "/trailers"))
        self.assertIn("some text", out)
        self.assertIn("x-digest: abc", out)
        out = self.curl(scheme, "-i", self.url(gateway, scheme, "/hints"))
        self.assertLess(out.index("HTTP/2 103"), out.index("HTTP/2 200"))

    def test_http1_and_http2_on_one_secure_port(self):
        gateway = self.start()
        url = self.url(gateway, "https")
        for option, version in (("--http1.1", "1.1"), ("--http2", "2"), ("--no-alpn", "1.1")):
            out = self.run_command("curl", "-sS", "--max-time", "60", "--cacert", self.material.ca, option, "-o",
                                   "/dev/null", "-w", "%{http_code} %{http_version}", url).stdout
            self.assertEqual(out, f"200 {version}", option)

    def test_an_upgrade_to_h2c_is_not_made(self):
        gateway = self.start()
        out = self.run_command("curl", "-sS", "--max-time", "60", "--http2", "-o", "/dev/null", "-w",
                               "%{http_code} %{http_version}", self.url(gateway, "http")).stdout
        self.assertEqual(out, "200 1.1")

    def test_http2_can_be_off(self):
        target = self.origin(serve)
        settings = config([route("all", "/", "origin")], {"origin": target.address}, secrets=self.material.secrets())
        settings["listeners"] = [{"name": "secure", "address": "127.0.0.1:0", "route_tables": ["main"],
                                  "http2": {"disabled": True}, "tls": self.material.listener_tls()}]
        gateway = self.gateway(settings)
        out = self.curl("https", "-o", "/dev/null", "-w", "%{http_version}", self.url(gateway, "https"))
        self.assertEqual(out, "1.1")

    @both
    def test_the_gateways_own_errors(self, scheme):
        gateway = self.start([route("some", "/some", "origin")])
        out = self.curl(scheme, "-w", "\n%{http_code}", self.url(gateway, scheme, "/other"))
        self.assertIn('"code":"no_route"', out)
        self.assertTrue(out.endswith("404"))

    @both
    def test_events_come_one_by_one(self, scheme):
        gateway = self.start()
        self.target.step = threading.Semaphore(0)
        version = ["--http2-prior-knowledge"] if scheme == "http" else ["--http2", "--cacert", self.material.ca]
        with subprocess.Popen(["curl", "-sSN", "--max-time", "60", *version, self.url(gateway, scheme, "/events")],
                              stdout=subprocess.PIPE) as process:
            for number in range(5):
                self.assertEqual(process.stdout.readline(), b"data: event %d\n" % number)
                self.assertEqual(process.stdout.readline(), b"\n")
                self.target.step.release()  # only now may the next be made
            self.assertEqual(process.stdout.read(), b"")
            self.assertEqual(process.wait(60), 0)

    @both
    def test_who_goes_away_takes_the_request_along(self, scheme):
        gateway = self.start()
        self.target.forget()
        version = ["--http2-prior-knowledge"] if scheme == "http" else ["--http2", "--cacert", self.material.ca]
        with subprocess.Popen(["curl", "-sS", *version, self.url(gateway, scheme, "/hold")],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            self.target.next_request()
            process.kill()
        wait_until(lambda: gateway.metric("gatehouse_cluster_active_requests") == 0, "the attempt to end")


class H2load(H2ClientTest):
    def load(self, url, *arguments, requests):
        self.need("h2load")
        out = self.run_command("h2load", "-n", str(requests), *arguments, url).stdout
        self.assertIn(f"{requests} succeeded, 0 failed, 0 errored, 0 timeout", out)
        return out

    @both
    def test_streams_and_connections(self, scheme):
        gateway = self.start()
        for clients, streams in (("1", "1"), ("1", "100"), ("16", "10")):
            out = self.load(self.url(gateway, scheme), "-c", clients, "-m", streams, requests=2000)
            self.assertIn("h2c" if scheme == "http" else "Application protocol: h2", out)

    @both
    def test_small_windows(self, scheme):
        gateway = self.start()
        self.load(self.url(gateway, scheme, "/large"), "-c", "1", "-m", "2", "-w", "12", "-W", "13", requests=4)

    @both
    def test_large_windows(self, scheme):
        gateway = self.start()
        self.load(self.url(gateway, scheme, "/large"), "-c", "2", "-m", "2", "-w", "30", "-W", "30", requests=8)

    @both
    def test_uploads(self, scheme):
        path = os.path.join(self.folder(), "upload")
        with open(path, "wb") as file:
            file.write(os.urandom(500_000))
        gateway = self.start()
        self.load(self.url(gateway, scheme), "-c", "4", "-m", "10", "-d", path, requests=100)
        self.assertEqual({len(seen.body) for seen in self.target.requests}, {500_000})

    def test_http1_over_tls(self):
        gateway = self.start()
        self.load(self.url(gateway, "https"), "--h1", "-c", "8", requests=1000)

    @both
    def test_the_gateways_own_answers(self, scheme):
        gateway = self.start([{"name": "r", "match": {}, "respond": {"body": "x" * 100}}])
        self.load(self.url(gateway, scheme), "-c", "4", "-m", "50", requests=10_000)
        wait_until(lambda: gateway.metric("gatehouse_route_requests_total", **{"class": "2xx"}) == 10_000,
                   "all to be counted")


class Nghttp(H2ClientTest):
    def nghttp(self, *arguments):
        self.need("nghttp")
        return self.run_command("nghttp", "--no-verify-peer", *arguments).stdout

    @both
    def test_get(self, scheme):
        gateway = self.start()
        told = json.loads(self.nghttp(self.url(gateway, scheme, "/a")))
        self.assertEqual(told["target"], "/a")

    @both
    def test_many_with_padding_and_continuation(self, scheme):
        gateway = self.start()
        out = self.nghttp("-nv", "-m", "50", "--padding=100", "--continuation", self.url(gateway, scheme, "/a"))
        self.assertEqual(out.count(":status: 200"), 50)

    @both
    def test_upload_with_trailers(self, scheme):
        path = os.path.join(self.folder(), "upload")
        data = os.urandom(1_000_000)
        with open(path, "wb") as file:
            file.write(data)
        gateway = self.start()
        told = json.loads(self.nghttp("-d", path, "--no-content-length", "--trailer", "x-sum: 42",
                                         self.url(gateway, scheme)))
        self.assertEqual(told["digest"], hashlib.sha256(data).hexdigest())
        self.assertEqual(told["trailers"].get("x-sum"), "42")
        out = self.nghttp("-d", path, "-b", "100", "--no-content-length", "-nv", self.url(gateway, scheme))
        self.assertIn(":status: 200", out)

    @both
    def test_small_windows(self, scheme):
        gateway = self.start()
        out = self.nghttp("-nv", "-w", "10", "-W", "14", self.url(gateway, scheme, "/stream"))
        self.assertIn(":status: 200", out)

    @both
    def test_expect_continue(self, scheme):
        path = os.path.join(self.folder(), "upload")
        with open(path, "wb") as file:
            file.write(b"x" * 100)
        gateway = self.start()
        out = self.nghttp("-v", "--expect-continue", "-d", path, self.url(gateway, scheme))
        self.assertIn(":status: 100", out)
        self.assertIn('"size": 100', out)


class Httpx(H2ClientTest):
    def client(self, scheme, **options):  # pylint: disable=arguments-differ
        verify = self.material.client_context() if scheme == "https" else True
        return httpx.Client(http1=scheme == "https", http2=True, verify=verify, trust_env=False, timeout=60, **options)

    @both
    def test_requests(self, scheme):
        gateway = self.start()
        with self.client(scheme) as client:
            for number in range(30):
                response = client.get(self.url(gateway, scheme, f"/{number}"))
                self.assertEqual((response.http_version, response.json()["target"]), ("HTTP/2", f"/{number}"))
            data = os.urandom(MEGABYTE)
            told = client.post(self.url(gateway, scheme), content=data).json()
            self.assertEqual(told["digest"], hashlib.sha256(data).hexdigest())
            told = client.put(self.url(gateway, scheme), content=iter([b"one", b"two"])).json()
            self.assertEqual(told["size"], 6)
            self.assertEqual(client.head(self.url(gateway, scheme)).status_code, 200)
            with client.stream("GET", self.url(gateway, scheme, "/stream")) as response:
                self.assertEqual(sum(1 for _ in response.iter_lines()), 100)
            with client.stream("GET", self.url(gateway, scheme, "/large")) as response:
                digest = hashlib.sha256()
                for part in response.iter_bytes():
                    digest.update(part)
                self.assertEqual(digest.hexdigest(), large_digest())
            events = client.get(self.url(gateway, scheme, "/events")).text
            self.assertEqual(events.count("data: event"), 5)

    @both
    def test_in_parallel(self, scheme):
        gateway = self.start()

        async def ask(scheme):
            verify = self.material.client_context() if scheme == "https" else True
            async with httpx.AsyncClient(http1=scheme == "https", http2=True, verify=verify, trust_env=False,
                                         timeout=60) as client:
                first = await client.get(self.url(gateway, scheme, "/first"))
                self.assertEqual(first.http_version, "HTTP/2")
                return await asyncio.gather(*[client.get(self.url(gateway, scheme, f"/{number}"))
                                              for number in range(200)])

        before = gateway.metric("gatehouse_listener_connections_total")
        found = [response.json()["target"] for response in asyncio.run(ask(scheme))]
        self.assertEqual(found, [f"/{number}" for number in range(200)])
        self.assertEqual(gateway.metric("gatehouse_listener_connections_total") - before, 1)


NODE = """
const http2 = require('http2'), crypto = require('crypto'), fs = require('fs');
const [url, ca] = process.argv.slice(1);
const session = http2.connect(url, ca ? {ca: fs.readFileSync(ca)} : {});
function ask(headers, body, trailers) {
  return new Promise((resolve, reject) => {
    const stream = session.request(headers, {waitForTrailers: !!trailers, endStream: body === undefined});
    const told = {parts: []};
    stream.on('response', fields => { told.headers = fields; });
    stream.on('headers', fields => { told.interim = fields; });
    stream.on('trailers', fields => { told.trailers = fields; });
    stream.on('data', part => told.parts.push(part));
    stream.on('end', () => resolve({...told, body: Buffer.concat(told.parts)}));
    stream.on('error', reject);
    if (trailers) stream.on('wantTrailers', () => stream.sendTrailers(trailers));
    if (body !== undefined) stream.end(body);
  });
}
const check = (right, what) => { if (!right) throw new Error(what); };
(async () => {
  const all = await Promise.all(Array.from({length: 90}, (_, i) => ask({':path': '/' + i})));
  all.forEach(({body}, i) => check(JSON.parse(body).target === '/' + i, 'mixed up at ' + i));
  const data = crypto.randomBytes(1 << 20);
  const posted = JSON.parse((await ask({':method': 'POST', ':path': '/'}, data)).body);
  check(posted.digest === crypto.createHash('sha256').update(data).digest('hex'), 'upload');
  const sent = JSON.parse((await ask({':method': 'POST', ':path': '/', trailer: 'x-sum'}, 'hi', {'x-sum': '42'})).body);
  check(sent.size === 2 && sent.trailers['x-sum'] === '42', 'trailers of a request');
  const trailers = await ask({':path': '/trailers', te: 'trailers'});
  check(trailers.body.toString() === 'some text' && trailers.trailers['x-digest'] === 'abc', 'trailers of a response');
  const hints = await ask({':path': '/hints'});
  check(hints.interim[':status'] === 103 && hints.headers[':status'] === 200, 'hints');
  const large = await ask({':path': '/large'});
  check(crypto.createHash('sha256').update(large.body).digest('hex') === process.env.DIGEST, 'download');
  const events = (await ask({':path': '/events'})).body.toString();
  check(events.split('data: event').length === 6, 'events');
  const held = session.request({':path': '/hold'});
  held.on('error', () => {});
  await new Promise(resolve => setImmediate(resolve));
  held.close(http2.constants.NGHTTP2_CANCEL);
  await new Promise((resolve, reject) => session.ping(error => error ? reject(error) : resolve()));
  check((await ask({':path': '/after'})).headers[':status'] === 200, 'after a reset');
  session.close();
  console.log('all is well');
})().catch(error => { console.error(error); process.exit(1); });
"""


class Node(H2ClientTest):
    @both
    def test_all(self, scheme):
        self.need("node")
        gateway = self.start()
        arguments = [self.material.ca] if scheme == "https" else []
        done = self.run_command("node", "-e", NODE, self.url(gateway, scheme, ""), *arguments,
                                env={**os.environ, "DIGEST": large_digest()})
        self.assertEqual(done.stdout.strip(), "all is well")


PAGE = """<!doctype html><title>t</title><body><pre id="out">waiting</pre><script>
(async () => {
  const told = [];
  const plain = await fetch('/plain');
  told.push('plain ' + plain.status + ' ' + (await plain.json()).target);
  told.push(performance.getEntriesByType('navigation')[0].nextHopProtocol);
  const posted = await (await fetch('/post', {method: 'POST', body: 'x'.repeat(300000)})).json();
  told.push('post ' + posted.size);
  const lines = (await (await fetch('/stream')).text()).trim().split('\\n').length;
  told.push('stream ' + lines);
  const large = await (await fetch('/large')).arrayBuffer();
  told.push('large ' + large.byteLength);
  const many = await Promise.all(Array.from({length: 150}, (_, i) => fetch('/many/' + i).then(r => r.status)));
  told.push('many ' + many.filter(status => status === 200).length);
  const events = await new Promise((resolve, reject) => {
    const source = new EventSource('/events');
    let seen = 0;
    source.onmessage = () => { if (++seen === 5) { source.close(); resolve(seen); } };
    source.onerror = () => { source.close(); reject(new Error('events')); };
  });
  told.push('events ' + events);
  const aborter = new AbortController();
  const held = fetch('/hold', {signal: aborter.signal}).then(() => 'answered', error => error.name);
  aborter.abort();
  told.push('hold ' + await held);
  const protocols = new Set(performance.getEntriesByType('resource').map(entry => entry.nextHopProtocol));
  protocols.delete('');
  told.push([...protocols].join(','));
  document.getElementById('out').textContent = told.join('; ') + '; end';
})().catch(error => { document.getElementById('out').textContent = 'failed: ' + error + '; end'; });
</script></body>"""


class Browser(H2ClientTest):
    def test_a_page_over_tls(self):
        self.need("chromium")
        gateway = self.start([
            {"name": "page", "match": {"path": "/"}, "respond": {"body": PAGE, "content_type": "text/html"}},
            route("all", "/", "origin")])
        done = self.run_command(
            "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--disable-extensions", "--disable-background-networking", f"--user-data-dir={self.folder()}",
            f"--ignore-certificate-errors-spki-list={self.material.public_key_hash(self.material.site)}",
            "--virtual-time-budget=30000", "--dump-dom", self.url(gateway, "https"),
            env={**os.environ, "HOME": self.folder()})
        out = re.search(r'<pre id="out">(.*?)</pre>', done.stdout, re.S)
        self.assertIsNotNone(out, done.stdout + done.stderr)
        self.assertEqual(out[1], f"plain 200 /plain; h2; post 300000; stream 100; large {LARGE}; many 150; events 5; "
                                 "hold AbortError; h2; end")
        self.assertGreaterEqual(gateway.metric("gatehouse_listener_http2_connections_total"), 1)


if __name__ == "__main__":
    unittest.main()
