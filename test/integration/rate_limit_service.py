"""A rate-limit service by grpcio, of the standard's call, that answers what a test tells it to.

  service = RateLimitService(lambda request: {"overallCode": "OK"})     # service.address, service.requests
  service.answer = RateLimitService.counting(3)                          # an answer may also be bytes, or an error:
  service.answer = lambda request: grpc.StatusCode.UNAVAILABLE

Messages are what protoc makes of api/envoy/service/ratelimit/v3, in a folder of its own, when this is imported.
"""

import atexit
import concurrent.futures
import glob
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter

import grpc
from google.protobuf import json_format

from http_peers import PATIENCE, free_port

SERVICE = "envoy.service.ratelimit.v3.RateLimitService"


def _generate():
    here = os.path.dirname(os.path.abspath(__file__))
    root = next(one for one in (os.getcwd(), os.path.join(here, "..", ".."))
                if os.path.exists(os.path.join(one, "api/envoy/service/ratelimit/v3/rls.proto")))
    folder = tempfile.mkdtemp(prefix="ghpb", dir="/tmp")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    files = [os.path.relpath(path, root)
             for path in sorted(glob.glob(os.path.join(root, "api/envoy/service/ratelimit/v3/*.proto")))]
    subprocess.run(["protoc", "-I.", "-I/usr/include", f"--python_out={folder}", *files], check=True, cwd=root)
    sys.path.insert(0, folder)


_generate()
rls = importlib.import_module("api.envoy.service.ratelimit.v3.rls_pb2")


class RateLimitService:
    """Ends by close(). start() after that begins again at the same port."""

    def __init__(self, answer=None):
        self.answer = answer or (lambda request: {"overallCode": "OK"})
        self.requests = []
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._server = None
        self.start()

    def start(self):
        self._server = grpc.server(concurrent.futures.ThreadPoolExecutor(32), options=[("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {
            "ShouldRateLimit": grpc.unary_unary_rpc_method_handler(self._serve)}),))
        assert self._server.add_insecure_port(self.address), f"cannot listen on {self.address}"
        self._server.start()

    def _serve(self, data, context):
        request = rls.RateLimitRequest.FromString(data)
        self.requests.append(request)
        answer = self.answer(request)
        if isinstance(answer, grpc.StatusCode):
            context.abort(answer, "as the test says")
        if isinstance(answer, bytes):
            return answer
        return json_format.ParseDict(answer, rls.RateLimitResponse()).SerializeToString()

    def entries(self):
        """Of the last request's descriptor: pairs of key and value."""
        return [(entry.key, entry.value) for entry in self.requests[-1].descriptors[0].entries]

    @staticmethod
    def counting(limit, unit="HOUR", reset="1800s"):
        """An answer that lets `limit` pass for each descriptor."""
        used = Counter()
        lock = threading.Lock()

        def answer(request):
            key = request.descriptors[0].SerializeToString()
            with lock:
                over = used[key] + request.hits_addend > limit
                used[key] += 0 if over else request.hits_addend
                left = limit - used[key]
            code = "OVER_LIMIT" if over else "OK"
            return {"overallCode": code, "statuses": [{
                "code": code, "currentLimit": {"requestsPerUnit": limit, "unit": unit}, "limitRemaining": left,
                "durationUntilReset": reset}]}

        return answer

    def close(self):
        self._server.stop(0).wait(PATIENCE)
