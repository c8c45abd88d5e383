"""Origins that people use, each a process of its own: nginx, nghttpd and node, with TLS and without, HTTP/1 and HTTP/2.

  server = Nginx(folder, material.origin)     # TLS with h2 and http/1.1
  server.address                              # "127.0.0.1:12345"
  server.stop()

All serve GET /bytes/N for the N of SIZES; NodeHttp2 serves what its text says.
"""

import os
import shutil
import socket
import subprocess
import threading

from harness import kill, wait_until
from http_peers import PATIENCE, free_port

SIZES = (0, 1, 1000, 100_000, 5_000_000)


def find(program):
    return shutil.which(program) or next(
        (path for path in (f"/usr/sbin/{program}", f"/usr/local/sbin/{program}") if os.path.exists(path)), None)


def content(size):
    return (b"0123456789abcdef" * (size // 16 + 1))[:size]


class Server:
    """A process that listens on `port`."""

    program = None

    @classmethod
    def installed(cls):
        return find(cls.program) is not None

    def run(self, command, port, **options):
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, **options)
        self.port = port
        self.address = f"127.0.0.1:{port}"

        def listening():
            if self.process.poll() is not None:
                raise AssertionError(f"{command[0]} ended with {self.process.returncode}")
            with socket.socket() as sock:
                return sock.connect_ex(("127.0.0.1", port)) == 0

        wait_until(listening, f"{command[0]} at port {port}")

    @staticmethod
    def files(folder):
        root = os.path.join(folder, "www", "bytes")
        os.makedirs(root)
        for size in SIZES:
            with open(os.path.join(root, str(size)), "wb") as file:
                file.write(content(size))
        return os.path.join(folder, "www")

    def stop(self):
        kill(self.process)
        if self.process.stdout:
            self.process.stdout.close()


_NGINX = """
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log; {user}
events {{ worker_connections 512; }}
http {{
  access_log off; default_type application/octet-stream;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi; client_max_body_size 100m;
  {tls}
  server {{
    listen 127.0.0.1:{port} {options};
    root {root};
    location /protocol {{ return 200 "$server_protocol $scheme $host $ssl_server_name $ssl_client_s_dn"; }}
  }}
}}
"""


class Nginx(Server):
    """`pair` makes it speak TLS; `http2` says whether it offers h2 (with TLS) or speaks it alone (without)."""

    program = "nginx"

    def __init__(self, folder, pair=None, http2=True, client_ca=None):
        port = free_port()
        options = " ".join(word for word, wanted in (("ssl", pair), ("http2", http2)) if wanted)
        tls = f"ssl_certificate {pair.chain}; ssl_certificate_key {pair.key};" if pair else ""
        if client_ca:
            tls += f" ssl_client_certificate {client_ca}; ssl_verify_client on;"
        path = os.path.join(folder, "nginx.conf")
        with open(path, "w", encoding="utf-8") as file:
            file.write(_NGINX.format(folder=folder, port=port, options=options, tls=tls, root=self.files(folder),
                                     user="user root;" if os.geteuid() == 0 else ""))
        self.run([find("nginx"), "-p", folder, "-e", os.path.join(folder, "error.log"), "-c", path], port,
                 stderr=subprocess.DEVNULL)


class Nghttpd(Server):
    """HTTP/2 alone; without `pair` by prior knowledge. `more` are options of nghttpd."""

    program = "nghttpd"

    def __init__(self, folder, pair=None, more=()):
        port = free_port()
        command = [find("nghttpd"), "-a", "127.0.0.1", "-d", self.files(folder), *more]
        command += [str(port), pair.key, pair.chain] if pair else ["--no-tls", str(port)]
        self.run(command, port, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


_NODE = """
const http2 = require('http2'), fs = require('fs'), crypto = require('crypto');
const [chain, key] = process.argv.slice(1);
const server = chain ? http2.createSecureServer({cert: fs.readFileSync(chain), key: fs.readFileSync(key),
                                                 allowHTTP1: false}) : http2.createServer();
const sessions = new Set();
server.on('session', session => { sessions.add(session); session.on('close', () => sessions.delete(session)); });
server.on('stream', (stream, headers) => {
  const path = headers[':path'];
  stream.on('error', () => {});
  if (path.startsWith('/bytes/')) {
    const size = +path.split('/')[2];
    stream.respond({':status': 200, 'content-length': size});
    return stream.end('0123456789abcdef'.repeat(size / 16 + 1).slice(0, size));
  }
  if (path === '/trailers') {
    stream.respond({':status': 200, 'content-type': 'text/plain'}, {waitForTrailers: true});
    stream.on('wantTrailers', () => stream.sendTrailers({'x-digest': 'abc'}));
    stream.write('some ');
    return stream.end('text');
  }
  if (path === '/hints') {
    stream.additionalHeaders({':status': 103, link: '</style.css>; rel=preload'});
    stream.respond({':status': 200});
    return stream.end('after a hint');
  }
  if (path === '/reset') {
    stream.respond({':status': 200});
    return stream.write('half', () => stream.destroy(new Error('reset')));
  }
  if (path === '/refuse') return stream.close(http2.constants.NGHTTP2_REFUSED_STREAM);
  if (path === '/goaway') {
    stream.session.goaway(0);
    stream.respond({':status': 200});
    return stream.end('the last');
  }
  if (path === '/destroy') return stream.session.destroy();
  if (path === '/events') {
    stream.respond({':status': 200, 'content-type': 'text/event-stream'});
    let number = 0;
    const next = () => { stream.write(`data: ${number++}\\n\\n`);
                         if (number < 20) setImmediate(next); else stream.end(); };
    return next();
  }
  if (path === '/hold') {
    console.log('held');
    return stream.on('close', () => console.log('closed ' + stream.rstCode));
  }
  const hash = crypto.createHash('sha256');
  let size = 0, trailers = {};
  stream.on('data', data => { hash.update(data); size += data.length; });
  stream.on('trailers', fields => { trailers = {...fields}; });
  stream.on('end', () => {
    stream.respond({':status': 200, 'content-type': 'application/json'});
    if (headers[':method'] === 'HEAD') return stream.end();
    stream.end(JSON.stringify({headers: {...headers}, size, digest: hash.digest('hex'), trailers,
                               sessions: sessions.size}));
  });
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
"""


class NodeHttp2(Server):
    """node's own HTTP/2 server; what it says on stdout is in `lines`."""

    program = "node"

    def __init__(self, _folder, pair=None):
        self.process = subprocess.Popen(["node", "-e", _NODE, *([pair.chain, pair.key] if pair else [])],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())
        self.address = f"127.0.0.1:{self.port}"
        self.lines = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line.strip())
                self._changed.notify_all()

    def wait_for(self, start):
        """The first line that begins so."""

        def found():
            return next((line for line in self.lines if line.startswith(start)), None)

        with self._changed:
            self._changed.wait_for(found, PATIENCE)
            return found()

    def stop(self):
        kill(self.process)
        self._reader.join(PATIENCE)
        self.process.stdout.close()
