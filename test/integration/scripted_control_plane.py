"""A control plane that says what a test tells it to, by grpcio: right or wrong, in any order.

  plane = ScriptedControlPlane()                       # plane.address
  stream = plane.stream()                              # the next stream that a gateway opens
  request = stream.sees("Cluster")                     # its next request about this type
  nonce = stream.sends("Cluster", [cluster("users", "127.0.0.1:3001")])
  stream.sees_ack("Cluster", nonce)

Resources are dicts in protobuf's JSON mapping, with a name. What protoc makes of api/ is made when this is imported.
"""

import atexit
import concurrent.futures
import glob
import importlib
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading

import grpc
from google.protobuf import any_pb2, json_format

from http_peers import PATIENCE, free_port

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
TYPES = ("Secret", "RateLimit", "Cluster", "Endpoints", "RouteTable", "Listener")


def _root():
    here = os.path.dirname(os.path.abspath(__file__))
    for root in (os.getcwd(), os.path.join(here, "..", "..")):
        if os.path.exists(os.path.join(root, "api/gatehouse/v1/cluster.proto")):
            return root
    raise FileNotFoundError("api/ is not beside the test")


def _generate():
    folder = tempfile.mkdtemp(prefix="ghpb", dir="/tmp")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    root = _root()
    files = [os.path.relpath(path, root) for pattern in (
        "api/gatehouse/v1/*.proto", "api/gatehouse/filters/v1/*.proto", "api/envoy/service/discovery/v3/*.proto")
             for path in sorted(glob.glob(os.path.join(root, pattern)))]
    subprocess.run(["protoc", "-I.", "-I/usr/include", f"--python_out={folder}", *files], check=True, cwd=root)
    sys.path.insert(0, folder)


_generate()
discovery = importlib.import_module("api.envoy.service.discovery.v3.discovery_pb2")
rejections = importlib.import_module("api.gatehouse.v1.rejection_pb2")
MODULES = {
    "Secret": "secret", "RateLimit": "rate_limit", "Cluster": "cluster", "Endpoints": "cluster",
    "RouteTable": "route", "Listener": "listener",
}
MESSAGES = {name: getattr(importlib.import_module(f"api.gatehouse.v1.{module}_pb2"), name)
            for name, module in MODULES.items()}


def type_url(kind):
    return f"type.googleapis.com/gatehouse.v1.{kind}"


def cluster(name, *addresses, **more):
    return {"name": name, "endpoints": [{"address": one} for one in addresses], **more}


def forward_table(name, target, domains=("*",)):
    return {"name": name, "domains": list(domains),
            "routes": [{"name": "all", "match": {"path_prefix": "/"}, "forward": {"cluster": target}}]}


def respond_table(name, text, domains=("*",)):
    return {"name": name, "domains": list(domains),
            "routes": [{"name": "all", "match": {"path_prefix": "/"}, "respond": {"status": 200, "body": text}}]}


def listener(name, address, tables, log=None):
    made = {"name": name, "address": address, "route_tables": list(tables)}
    if log:
        made["access_log"] = {"path": log}
    return made


def packed(kind, resource):
    """As an Any. Bytes are taken as they are."""
    if isinstance(resource, bytes):
        return any_pb2.Any(type_url=type_url(kind), value=resource)
    message = json_format.Parse(json.dumps(resource), MESSAGES[kind]())
    return any_pb2.Any(type_url=type_url(kind), value=message.SerializeToString(deterministic=True))


def name_of(kind, resource):
    return resource["cluster" if kind == "Endpoints" else "name"]


class Stream:
    """One stream of a gateway, of either variant of the protocol."""

    _END = object()

    def __init__(self, plane, delta, requests, context):
        self.delta = delta
        self.node = None
        self._plane = plane
        self._context = context
        self._out = queue.Queue()
        self._in = {}
        self._changed = threading.Condition()
        self.ended = threading.Event()
        threading.Thread(target=self._read, args=(requests,), daemon=True).start()

    def _read(self, requests):
        try:
            for data in requests:
                request = (discovery.DeltaDiscoveryRequest if self.delta else discovery.DiscoveryRequest).FromString(data)
                with self._changed:
                    if request.HasField("node"):
                        self.node = request.node
                    self._in.setdefault(request.type_url.rpartition(".")[2], []).append(request)
                    self._changed.notify_all()
        except Exception:  # pylint: disable=broad-except  # the stream is over, however it ended
            pass
        self.ended.set()
        self._out.put(self._END)

    def replies(self):
        while (reply := self._out.get()) is not self._END:
            yield reply

    def sees(self, kind, accept=lambda request: True):
        """The next request about this type for which `accept` holds; others before it are dropped."""
        with self._changed:
            def found():
                waiting = self._in.get(kind, [])
                while waiting:
                    request = waiting.pop(0)
                    if accept(request):
                        return request
                return None

            result = []
            if not self._changed.wait_for(lambda: result or (one := found()) and result.append(one) is None, PATIENCE):
                raise AssertionError(f"the gateway did not say what was expected about {kind}")
            return result[0]

    def sees_ack(self, kind, nonce):
        request = self.sees(kind, lambda one: one.response_nonce == nonce)
        if request.HasField("error_detail"):
            raise AssertionError(f"{kind} was refused: {request.error_detail.message}")
        return request

    def sees_nack(self, kind, nonce):
        """The error_detail, and the Rejections in it by name."""
        request = self.sees(kind, lambda one: one.response_nonce == nonce)
        if not request.HasField("error_detail"):
            raise AssertionError(f"{kind} {nonce} was accepted")
        named = {}
        for detail in request.error_detail.details:
            rejection = rejections.Rejection()
            if detail.Unpack(rejection):
                named[rejection.name] = rejection
        return request.error_detail, named

    def sends(self, kind, resources=(), removed=(), version=None, ttl=None, nonce=None):
        """The nonce. State of the world: `resources` is all there is."""
        nonce = nonce or self._plane.next_nonce()
        version = version or nonce
        if self.delta:
            reply = discovery.DeltaDiscoveryResponse(type_url=type_url(kind), nonce=nonce, system_version_info=version,
                                                     removed_resources=removed)
            for resource in resources:
                one = reply.resources.add(name=name_of(kind, resource), version=version, resource=packed(kind, resource))
                if ttl:
                    one.ttl.seconds = ttl
        else:
            reply = discovery.DiscoveryResponse(type_url=type_url(kind), nonce=nonce, version_info=version)
            reply.resources.extend(packed(kind, resource) for resource in resources)
        self.sends_bytes(reply.SerializeToString())
        return nonce

    def sends_packed(self, kind, name, resource):
        """One resource that packed() has made; the nonce. Of a delta stream."""
        nonce = self._plane.next_nonce()
        reply = discovery.DeltaDiscoveryResponse(type_url=type_url(kind), nonce=nonce, system_version_info=nonce)
        reply.resources.add(name=name, version=nonce, resource=resource)
        self.sends_bytes(reply.SerializeToString())
        return nonce

    def sends_bytes(self, data):
        self._out.put(data)

    def sends_all(self, kinds=TYPES, **resources):
        """Something about every type, in the order of dependence; waits until all of it is accepted."""
        nonces = {kind: self.sends(kind, resources.get(kind, ())) for kind in kinds}
        for kind, nonce in nonces.items():
            self.sees_ack(kind, nonce)

    def ends(self):
        self._out.put(self._END)


class ScriptedControlPlane:
    """`tls`: chain, key and the clients' CA, as paths."""

    def __init__(self, address=None, tls=None):
        # A port that the system gives to nobody: a gateway that tries to reach a plane that is gone would be given it
        # sooner or later, and find itself there.
        address = address or f"127.0.0.1:{free_port()}"
        self._streams = queue.Queue()
        self._lock = threading.Lock()
        self._nonce = 0
        self._server = grpc.server(concurrent.futures.ThreadPoolExecutor(64), options=[
            ("grpc.max_send_message_length", -1), ("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {
            "DeltaAggregatedResources": grpc.stream_stream_rpc_method_handler(
                lambda requests, context: self._serve(True, requests, context)),
            "StreamAggregatedResources": grpc.stream_stream_rpc_method_handler(
                lambda requests, context: self._serve(False, requests, context)),
        }),))
        if tls:
            texts = []
            for path in tls:
                with open(path, "rb") as file:
                    texts.append(file.read())
            chain, key, client_ca = texts
            self.port = self._server.add_secure_port(address, grpc.ssl_server_credentials(
                [(key, chain)], root_certificates=client_ca, require_client_auth=True))
        else:
            self.port = self._server.add_insecure_port(address)
        assert self.port, f"cannot listen on {address}"
        self.address = f"127.0.0.1:{self.port}"
        self._server.start()

    def _serve(self, delta, requests, context):
        stream = Stream(self, delta, requests, context)
        self._streams.put(stream)
        yield from stream.replies()

    def next_nonce(self):
        with self._lock:
            self._nonce += 1
            return f"n{self._nonce}"

    def stream(self, patience=PATIENCE):
        return self._streams.get(timeout=patience)

    def close(self):
        self._server.stop(0).wait(PATIENCE)
