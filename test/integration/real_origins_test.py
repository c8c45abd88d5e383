"""Origins that people use, behind the gateway."""

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import unittest

import requests

from harness import GatehouseTest, config, kill, route, wait_until
from http_peers import free_port

NGINX = """
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log off; absolute_redirect off;
  default_type application/octet-stream;
  types {{ text/plain txt; }}
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  keepalive_requests 50; keepalive_timeout 60s; client_max_body_size 100m;
  gzip on; gzip_types text/plain; gzip_min_length 100; gzip_http_version 1.1;
  server {{
    listen 127.0.0.1:{port};
    root {folder}/www;
    location /host {{ return 200 "$host $http_x_forwarded_for $server_protocol"; }}
    location /moved {{ return 302 /elsewhere; }}
    location /nothing {{ return 204; }}
    location /upload {{ client_body_in_file_only clean; proxy_pass http://127.0.0.1:{port}/host; }}
    location /rude {{ return 444; }}
  }}
}}
"""

NODE = """
const http = require('http'), crypto = require('crypto');
const server = http.createServer((request, response) => {
  if (request.url === '/trailers') {
    response.writeHead(200, {Trailer: 'X-Digest', 'Content-Type': 'text/plain'});
    response.write('some ');
    response.write('text');
    response.addTrailers({'X-Digest': 'abc'});
    return response.end();
  }
  if (request.url === '/hints' && response.writeEarlyHints) {
    response.writeEarlyHints({link: '</style.css>; rel=preload; as=style'});
  }
  if (request.url === '/destroy') return response.socket.destroy();
  const hash = crypto.createHash('sha256');
  let size = 0;
  request.on('data', data => { hash.update(data); size += data.length; });
  request.on('end', () => {
    response.setHeader('Content-Type', 'application/json');
    response.end(JSON.stringify({url: request.url, method: request.method, size, digest: hash.digest('hex')}));
  });
});
server.keepAliveTimeout = 100;
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
"""


class OriginTest(GatehouseTest):
    def start(self, command, **options):
        process = subprocess.Popen(command, **options)
        self.addCleanup(kill, process)
        if process.stdout:
            self.addCleanup(process.stdout.close)
        return process

    def wait_for_port(self, process, port):
        def listening():
            self.assertIsNone(process.poll(), "the origin ended")
            with socket.socket() as sock:
                return sock.connect_ex(("127.0.0.1", port)) == 0

        wait_until(listening, f"somebody at port {port}")

    def before(self, port, **options):
        gateway = self.gateway(config([route("all", "/", "origin", **options)], {"origin": f"127.0.0.1:{port}"}))
        session = requests.Session()
        session.trust_env = False
        self.addCleanup(session.close)
        return gateway, session

    def files(self, folder):
        os.makedirs(folder)
        content = {"a.txt": b"a line of text\n" * 100, "large.bin": os.urandom(5 << 20), "empty.txt": b""}
        for name, data in content.items():
            with open(os.path.join(folder, name), "wb") as file:
                file.write(data)
        return content


class Nginx(OriginTest):
    def setUp(self):
        if not (shutil.which("nginx") or os.path.exists("/usr/sbin/nginx")):
            self.skipTest("nginx is not installed")
        folder = self.folder()
        self.content = self.files(os.path.join(folder, "www"))
        port = free_port()
        path = os.path.join(folder, "nginx.conf")
        with open(path, "w", encoding="utf-8") as file:
            file.write(NGINX.format(folder=folder, port=port))
        if os.geteuid() == 0:
            with open(path, "r+", encoding="utf-8") as file:
                text = file.read()
                file.seek(0)
                file.write("user root;" + text)
        program = shutil.which("nginx") or "/usr/sbin/nginx"
        process = self.start([program, "-p", folder, "-e", os.path.join(folder, "error.log"), "-c", path],
                             stderr=subprocess.DEVNULL)
        self.wait_for_port(process, port)
        self.gateway_, self.session = self.before(port)

    def get(self, path, method="GET", **options):
        return self.session.request(method, self.gateway_.url(path), timeout=60, allow_redirects=False, **options)

    def test_files(self):
        for name, data in self.content.items():
            response = self.get(f"/{name}")
            self.assertEqual((response.status_code, response.content), (200, data), name)
            self.assertEqual(response.headers["Server"].split("/")[0], "nginx")

    def test_gzip_comes_in_chunks(self):
        response = self.get("/a.txt", stream=True)
        self.assertEqual(response.headers["Transfer-Encoding"], "chunked")
        self.assertEqual(response.headers["Content-Encoding"], "gzip")
        self.assertEqual(response.content, self.content["a.txt"])

    def test_ranges_and_conditions(self):
        response = self.get("/large.bin", headers={"Range": "bytes=100-199"})
        self.assertEqual((response.status_code, response.content), (206, self.content["large.bin"][100:200]))
        etag = self.get("/large.bin", "HEAD").headers["ETag"]
        self.assertEqual(self.get("/large.bin", headers={"If-None-Match": etag}).status_code, 304)
        self.assertEqual(self.get("/large.bin", headers={"Range": "bytes=99999999-"}).status_code, 416)

    def test_head_redirect_and_no_content(self):
        self.assertEqual(self.get("/large.bin", "HEAD").headers["Content-Length"], str(5 << 20))
        response = self.get("/moved")
        self.assertEqual((response.status_code, response.headers["Location"]), (302, "/elsewhere"))
        self.assertEqual(self.get("/nothing").status_code, 204)
        self.assertEqual(self.get("/missing").status_code, 404)

    def test_it_hears_from_us(self):
        self.assertEqual(self.get("/host", headers={"Host": "shop.example"}).text, "shop.example 127.0.0.1 HTTP/1.1")

    def test_uploads(self):
        data = os.urandom(5 << 20)
        self.assertEqual(self.get("/upload", "POST", data=data).status_code, 200)
        self.assertEqual(self.get("/upload", "POST", data=iter([data[:1000], data[1000:]])).status_code, 200)

    def test_it_closes_connections_after_fifty_requests(self):
        statuses = {self.get("/a.txt").status_code for _ in range(250)}
        self.assertEqual(statuses, {200})
        self.assertGreaterEqual(self.gateway_.metric("gatehouse_cluster_connects_total"), 5)

    def test_it_hangs_up_without_a_word(self):
        response = self.get("/rude")
        self.assertEqual((response.status_code, response.json()["code"]), (502, "upstream_reset"))


class PythonServer(OriginTest):
    """http.server: HTTP/1.0, a connection for each request, bodies that end with it."""

    def test_files(self):
        folder = self.folder()
        content = self.files(os.path.join(folder, "www"))
        process = self.start([sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1",
                              "--directory", os.path.join(folder, "www")],
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        port = int(process.stdout.readline().split("port ")[1].split(" ")[0])
        gateway, session = self.before(port)
        for _ in range(10):
            for name, data in content.items():
                response = session.get(gateway.url(f"/{name}"), timeout=60)
                self.assertEqual((response.status_code, response.content), (200, data), name)
        self.assertEqual(session.head(gateway.url("/large.bin"), timeout=60).headers["Content-Length"], str(5 << 20))
        self.assertEqual(session.get(gateway.url("/missing"), timeout=60).status_code, 404)
        self.assertEqual(session.post(gateway.url("/a.txt"), data=b"x", timeout=60).status_code, 501)
        # The client's side of it all was one connection.
        self.assertEqual(gateway.metric("gatehouse_listener_connections_total"), 1)


class Node(OriginTest):
    def setUp(self):
        process = self.start(["node", "-e", NODE], stdout=subprocess.PIPE, text=True)
        self.gateway_, self.session = self.before(int(process.stdout.readline()))

    def test_bodies(self):
        data = os.urandom(3 << 20)
        for body in (data, iter([data[:5], data[5:]])):
            told = self.session.post(self.gateway_.url("/"), data=body, timeout=60).json()
            self.assertEqual((told["size"], told["digest"]), (len(data), hashlib.sha256(data).hexdigest()))

    def test_trailers(self):
        client = self.client(self.gateway_)
        response = client.ask("/trailers", headers=["TE: trailers"])
        self.assertEqual((response.body, response.trailers), (b"some text", [("X-Digest", "abc")]))

    def test_early_hints(self):
        client = self.client(self.gateway_)
        response = client.ask("/hints")
        self.assertEqual(response.status, 200)
        self.assertEqual([one.status for one in response.interim], [103])

    def test_its_short_keep_alive_loses_nothing(self):
        """It closes idle connections after 100 ms: the pool's are often dead or dying."""
        client = self.client(self.gateway_)
        for number in range(30):
            self.assertEqual(client.ask(f"/{number}").status, 200)
            client.sock.settimeout(0.08 + (number % 5) * 0.01)
            with self.assertRaises(TimeoutError):
                client.fill()
            client.sock.settimeout(60)

    def test_it_breaks_off(self):
        response = self.session.get(self.gateway_.url("/destroy"), timeout=60)
        self.assertEqual((response.status_code, response.json()["code"]), (502, "upstream_reset"))


if __name__ == "__main__":
    unittest.main()
