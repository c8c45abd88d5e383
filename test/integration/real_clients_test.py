"""Clients that people use, through the gateway."""

import hashlib
import json
import os
import re
import shutil
import unittest

import requests

from harness import GatehouseTest, config, route, wait_until
from http_peers import answer, chunk


def echo(connection, message):
    """Tells what came in; /stream comes in chunks."""
    if message.target.startswith("/stream"):
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/plain\r\n\r\n")
        if message.method != "HEAD":
            for number in range(100):
                connection.send(chunk(b"line %d\n" % number))
            connection.send(b"0\r\n\r\n")
        return None
    told = json.dumps({
        "method": message.method, "target": message.target, "size": len(message.body),
        "digest": hashlib.sha256(message.body).hexdigest(), "chunked": message.chunked,
        "headers": {name.lower(): value for name, value in message.headers},
    }).encode()
    head = answer(200, told, ["Content-Type: application/json"])
    return head[: -len(told)] if message.method == "HEAD" else head


class ClientTest(GatehouseTest):
    def start(self, **options):
        self.target = self.origin(echo)
        return self.gateway(config([route("all", "/", "origin")], {"origin": self.target.address}, **options))

    def need(self, program):
        if not shutil.which(program):
            self.skipTest(f"{program} is not installed")


class Curl(ClientTest):
    def curl(self, *arguments, **options):
        return self.run_command("curl", "-sS", "--max-time", "60", *arguments, **options).stdout

    def test_get(self):
        gateway = self.start()
        told = json.loads(self.curl(gateway.url("/a?b=c")))
        self.assertEqual((told["method"], told["target"]), ("GET", "/a?b=c"))
        self.assertIn("curl", told["headers"]["user-agent"])

    def test_many_urls_on_one_connection(self):
        gateway = self.start()
        out = self.curl("-o", "/dev/null", "-w", "%{http_code} %{num_connects}\n", gateway.url("/[1-20]"))
        self.assertEqual(out.split("\n")[:-1], ["200 1"] + ["200 0"] * 19)

    def test_post_in_all_framings(self):
        gateway = self.start()
        path = os.path.join(self.folder(), "upload")
        data = os.urandom(3 << 20)
        with open(path, "wb") as file:
            file.write(data)
        digest = hashlib.sha256(data).hexdigest()
        for arguments in (
            ("--data-binary", f"@{path}"), ("-H", "Transfer-Encoding: chunked", "--data-binary", f"@{path}"),
            ("-T", path), ("-H", "Expect: 100-continue", "--data-binary", f"@{path}"),
            ("--http1.0", "--data-binary", f"@{path}"),
        ):
            with self.subTest(arguments=arguments):
                told = json.loads(self.curl(*arguments, gateway.url("/")))
                self.assertEqual((told["size"], told["digest"]), (len(data), digest))

    def test_head_and_1_0(self):
        gateway = self.start()
        self.assertIn("HTTP/1.1 200", self.curl("-I", gateway.url("/")))
        self.assertIn("line 99", self.curl("--http1.0", gateway.url("/stream")))

    def test_as_a_forward_proxy_would_ask(self):
        gateway = self.start()
        told = json.loads(self.curl("-x", gateway.url(""), "http://service.example/path"))
        self.assertEqual((told["target"], told["headers"]["host"]), ("/path", "service.example"))

    def test_the_body_of_an_error(self):
        gateway = self.gateway(config([]))
        out = self.curl("-w", "\n%{http_code}", gateway.url("/"))
        self.assertIn('"code":"no_route"', out)
        self.assertTrue(out.endswith("404"))


class LoadGenerators(ClientTest):
    def test_wrk(self):
        self.need("wrk")
        gateway = self.gateway(config([{"name": "r", "match": {}, "respond": {"body": "x" * 100}}]))
        out = self.run_command("wrk", "-t1", "-c32", "-d2s", gateway.url("/")).stdout
        self.assertNotIn("Socket errors", out)
        self.assertNotIn("Non-2xx", out)
        count = int(re.search(r"(\d+) requests in", out)[1])
        self.assertGreater(count, 100)
        # It ends in the middle of answers; those before it were counted.
        wait_until(lambda: gateway.metric("gatehouse_route_requests_total", **{"class": "2xx"}) >= count,
                   f"{count} requests to be counted")

    def test_h2load_in_http1_mode(self):
        self.need("h2load")
        gateway = self.start()
        for pipelined in ("1", "4"):
            with self.subTest(pipelined=pipelined):
                out = self.run_command("h2load", "--h1", "-n", "2000", "-c", "16", "-m", pipelined,
                                       gateway.url("/")).stdout
                self.assertIn("2000 succeeded, 0 failed, 0 errored, 0 timeout", out)


class Python(ClientTest):
    def test_requests(self):
        gateway = self.start()
        with requests.Session() as session:
            session.trust_env = False
            for number in range(20):
                told = session.get(gateway.url(f"/{number}"), timeout=60).json()
                self.assertEqual(told["target"], f"/{number}")
            data = os.urandom(1 << 20)
            told = session.post(gateway.url("/"), data=data, timeout=60).json()
            self.assertEqual(told["digest"], hashlib.sha256(data).hexdigest())
            told = session.put(gateway.url("/"), data=iter([b"one", b"two"]), timeout=60).json()
            self.assertEqual((told["size"], told["chunked"]), (6, True))
            with session.get(gateway.url("/stream"), stream=True, timeout=60) as response:
                self.assertEqual(sum(1 for _ in response.iter_lines()), 100)
            self.assertEqual(session.head(gateway.url("/"), timeout=60).status_code, 200)
        self.assertEqual(gateway.metric("gatehouse_listener_connections_total"), 1)


NODE = """
const http = require('http'), crypto = require('crypto');
const agent = new http.Agent({keepAlive: true, maxSockets: 4});
function ask(options, body) {
  return new Promise((resolve, reject) => {
    const request = http.request({host: '127.0.0.1', port: process.argv[1], agent, ...options}, response => {
      const parts = [];
      response.on('data', part => parts.push(part));
      response.on('end', () => resolve({response, body: Buffer.concat(parts)}));
      response.on('error', reject);
    });
    request.on('error', reject);
    request.end(body);
  });
}
(async () => {
  const all = await Promise.all(Array.from({length: 200}, (_, i) => ask({path: '/' + i})));
  all.forEach(({body}, i) => { if (JSON.parse(body).target !== '/' + i) throw new Error('mixed up at ' + i); });
  const data = crypto.randomBytes(1 << 20);
  const posted = JSON.parse((await ask({method: 'POST', path: '/'}, data)).body);
  if (posted.digest !== crypto.createHash('sha256').update(data).digest('hex')) throw new Error('upload');
  const chunked = JSON.parse((await ask({method: 'POST', path: '/', headers: {'Transfer-Encoding': 'chunked'}}, 'hi')).body);
  if (chunked.size !== 2 || !chunked.chunked) throw new Error('chunks');
  const streamed = (await ask({path: '/stream'})).body.toString();
  if (streamed.split('\\n').length !== 101) throw new Error('stream');
  if (typeof fetch === 'function') {
    const told = await (await fetch('http://127.0.0.1:' + process.argv[1] + '/fetched')).json();
    if (told.target !== '/fetched') throw new Error('fetch');
  }
  agent.destroy();
  console.log('all is well');
})().catch(error => { console.error(error); process.exit(1); });
"""


class Node(ClientTest):
    def test_http_and_fetch(self):
        gateway = self.start()
        done = self.run_command("node", "-e", NODE, str(gateway.ports["edge"]))
        self.assertEqual(done.stdout.strip(), "all is well")


PAGE = """<!doctype html><title>t</title><body><pre id="out">waiting</pre><script>
const api = 'http://127.0.0.1:' + location.hash.slice(1);
(async () => {
  const told = [];
  const plain = await fetch(api + '/plain');
  told.push('plain ' + plain.status + ' ' + (await plain.json()).target);
  const put = await fetch(api + '/put', {method: 'PUT', body: 'hello', headers: {'X-Token': 'abc'}});
  const seen = await put.json();
  told.push('put ' + put.status + ' ' + seen.method + ' ' + seen.headers['x-token'] + ' ' + seen.size);
  told.push('exposed ' + (put.headers.get('X-Request-ID') ? 'yes' : 'no'));
  try {
    await fetch(api + '/put', {method: 'DELETE'});
    told.push('delete allowed');
  } catch (error) {
    told.push('delete refused');
  }
  try {
    await fetch(api + '/closed/x');
    told.push('closed readable');
  } catch (error) {
    told.push('closed refused');
  }
  const lines = (await (await fetch(api + '/stream')).text()).trim().split('\\n').length;
  told.push('stream ' + lines);
  const many = await Promise.all(Array.from({length: 50}, (_, i) => fetch(api + '/many/' + i).then(r => r.status)));
  told.push('many ' + many.filter(status => status === 200).length);
  document.getElementById('out').textContent = told.join('; ') + '; end';
})().catch(error => { document.getElementById('out').textContent = 'failed: ' + error + '; end'; });
</script></body>"""


class Browser(ClientTest):
    def test_a_page_that_calls_an_api_of_another_site(self):
        self.need("chromium")
        target = self.origin(echo)
        cors = {"cors": {"allow_origin_regexes": ["http://127\\.0\\.0\\.1:[0-9]+"], "allow_methods": ["GET", "PUT"],
                         "allow_headers": ["X-Token"], "expose_headers": ["X-Request-ID"]}}
        settings = config([])
        settings["listeners"] = [
            {"name": "site", "address": "127.0.0.1:0", "route_tables": ["site"]},
            {"name": "api", "address": "127.0.0.1:0", "route_tables": ["api"]},
        ]
        settings["route_tables"] = [
            {"name": "site", "domains": ["*"], "routes": [
                {"name": "page", "match": {"path": "/"}, "respond": {"body": PAGE, "content_type": "text/html"}}]},
            {"name": "api", "domains": ["*"], "filters": [cors], "routes": [
                route("closed", "/closed", "origin", filters=[{"name": "cors", "disabled": True}]),
                route("api", "/", "origin")]},
        ]
        settings["clusters"] = [{"name": "origin", "endpoints": [target.address]}]
        gateway = self.gateway(settings)
        url = f"http://127.0.0.1:{gateway.ports['site']}/#{gateway.ports['api']}"
        done = self.run_command(
            "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--disable-extensions", "--disable-background-networking", f"--user-data-dir={self.folder()}",
            "--virtual-time-budget=30000", "--dump-dom", url, env={**os.environ, "HOME": self.folder()})
        out = re.search(r'<pre id="out">(.*?)</pre>', done.stdout, re.S)
        self.assertIsNotNone(out, done.stdout + done.stderr)
        self.assertEqual(out[1], "plain 200 /plain; put 200 PUT abc 5; exposed yes; delete refused; closed refused; "
                                 "stream 100; many 50; end")
        self.assertNotIn("OPTIONS", {seen.method for seen in target.requests}, "preflights are answered at the edge")


if __name__ == "__main__":
    unittest.main()
