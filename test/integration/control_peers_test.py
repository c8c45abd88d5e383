"""Gateways that are not ours, at a real gatehouse-control: grpcio, and messages that protoc made for Python."""

import atexit
import importlib
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import unittest

import grpc

from control_plane import ControlPlaneTest, clusters
from http_peers import PATIENCE

PROTO = "api/envoy/service/discovery/v3/discovery.proto"
SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
CLUSTER = "type.googleapis.com/gatehouse.v1.Cluster"


def _generate():
    root = next(
        path
        for path in (os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."), ".")
        if os.path.exists(os.path.join(path, PROTO))
    )
    folder = tempfile.mkdtemp(prefix="ghpb", dir="/tmp")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    names = [os.path.join(os.path.dirname(PROTO), name) for name in ("discovery.proto", "node.proto", "status.proto")]
    subprocess.run(["protoc", f"-I{root}", "-I/usr/include", f"--python_out={folder}", *names], check=True)
    sys.path.insert(0, folder)
    return importlib.import_module("api.envoy.service.discovery.v3.discovery_pb2")


discovery = _generate()


class Stream:
    """One discovery stream. Requests are keyword arguments of the request message."""

    def __init__(self, port, delta):
        self.request_type = discovery.DeltaDiscoveryRequest if delta else discovery.DiscoveryRequest
        response_type = discovery.DeltaDiscoveryResponse if delta else discovery.DiscoveryResponse
        self._requests = queue.Queue()
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        method = "DeltaAggregatedResources" if delta else "StreamAggregatedResources"
        call = self._channel.stream_stream(
            f"/{SERVICE}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=response_type.FromString,
        )
        self.responses = call(iter(self._requests.get, None), timeout=PATIENCE)

    def send(self, **fields):
        self._requests.put(self.request_type(type_url=CLUSTER, **fields))

    def read(self):
        return next(self.responses)

    def close(self):
        self._requests.put(None)
        self._channel.close()


class ForeignGateways(ControlPlaneTest):
    def start(self, delta):
        control = self.control("--state", self.folder())
        control.apply(clusters("users"))
        stream = Stream(control.xds_port, delta)
        self.addCleanup(stream.close)
        return control, stream

    def test_state_of_the_world(self):
        control, stream = self.start(delta=False)
        stream.send(node={"id": "foreign-1", "cluster": "edge"})
        first = stream.read()
        self.assertEqual([any_.type_url for any_ in first.resources], [CLUSTER])
        self.assertTrue(first.version_info)
        stream.send(version_info=first.version_info, response_nonce=first.nonce)

        control.apply(clusters("orders"))
        second = stream.read()
        self.assertEqual(len(second.resources), 2)
        self.assertNotEqual(second.version_info, first.version_info)
        self.assertNotEqual(second.nonce, first.nonce)
        # Refused, as any implementation does it: the version of before, and a text.
        stream.send(
            version_info=first.version_info,
            response_nonce=second.nonce,
            error_detail={"code": 3, "message": "I do not like orders"},
        )
        control.apply(clusters("orders", port=3002))
        third = stream.read()
        stream.send(version_info=third.version_info, response_nonce=third.nonce)
        self.assertEqual(len(third.resources), 2)

    def test_delta(self):
        control, stream = self.start(delta=True)
        stream.send(node={"id": "foreign-2"}, resource_names_subscribe=["*", "nobody"])
        first = stream.read()
        self.assertEqual([resource.name for resource in first.resources], ["users"])
        stream.send(response_nonce=first.nonce)
        missing = stream.read()
        self.assertEqual(list(missing.removed_resources), ["nobody"])
        stream.send(response_nonce=missing.nonce)
        control.apply(clusters("orders"))
        second = stream.read()
        self.assertEqual([resource.name for resource in second.resources], ["orders"])

        # Again, after a disconnect: only what is different.
        again = Stream(control.xds_port, delta=True)
        self.addCleanup(again.close)
        again.send(
            node={"id": "foreign-2"},
            resource_names_subscribe=["*"],
            initial_resource_versions={"users": first.resources[0].version, "gone": "1"},
        )
        self.assertEqual([resource.name for resource in again.read().resources], ["orders"])
        self.assertEqual(list(again.read().removed_resources), ["gone"])

    def test_unknown_methods_are_not_implemented(self):
        control, _ = self.start(delta=True)
        with grpc.insecure_channel(f"127.0.0.1:{control.xds_port}") as channel:
            call = channel.unary_unary(f"/{SERVICE}/FetchResources")
            with self.assertRaises(grpc.RpcError) as raised:
                call(b"", timeout=PATIENCE)
            self.assertEqual(raised.exception.code(), grpc.StatusCode.UNIMPLEMENTED)


if __name__ == "__main__":
    unittest.main()
