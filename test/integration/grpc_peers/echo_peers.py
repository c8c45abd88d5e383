"""The Echo service by grpcio. What protoc makes of echo.proto is made when this is first used.

  server = EchoServer()                    # server.address, server.events
  stub = EchoStub(grpc.insecure_channel(address))
  stub.unary(echo.Request(text="hello"), timeout=10)
"""

import atexit
import concurrent.futures
import importlib
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading

import grpc

ALL_BYTES = bytes(range(256))
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


def _generate():
    folder = tempfile.mkdtemp(prefix="ghpb", dir="/tmp")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    here = os.path.dirname(os.path.abspath(__file__))
    subprocess.run(["protoc", f"-I{here}", f"--python_out={folder}", "echo.proto"], check=True)
    sys.path.insert(0, folder)
    return importlib.import_module("echo_pb2")


echo = _generate()

SERVICE = "gatehouse.test.Echo"
# Method: (streams requests, streams replies).
METHODS = {"Unary": (False, False), "Collect": (True, False), "Expand": (False, True), "Chat": (True, True),
           "Fail": (False, True), "Metadata": (False, False), "Wait": (False, False)}


class EchoStub:
    """Callables by method, in lower case."""

    def __init__(self, channel):
        for name, kind in METHODS.items():
            make = {(False, False): channel.unary_unary, (True, False): channel.stream_unary,
                    (False, True): channel.unary_stream, (True, True): channel.stream_stream}[kind]
            setattr(self, name.lower(), make(f"/{SERVICE}/{name}", request_serializer=echo.Request.SerializeToString,
                                             response_deserializer=echo.Reply.FromString))
        self.unknown = channel.unary_unary(f"/{SERVICE}/Unknown",
                                           request_serializer=echo.Request.SerializeToString,
                                           response_deserializer=echo.Reply.FromString)


class EchoServer:
    """`tls` is a pair of certificate chain and key, as paths. `events` has "waiting" and "cancelled"."""

    def __init__(self, tls=None, address="127.0.0.1:0"):
        self.events = queue.Queue()
        self.metadata = []
        self._server = grpc.server(concurrent.futures.ThreadPoolExecutor(32), options=UNLIMITED)
        handlers = {}
        for name, kind in METHODS.items():
            make = {(False, False): grpc.unary_unary_rpc_method_handler,
                    (True, False): grpc.stream_unary_rpc_method_handler,
                    (False, True): grpc.unary_stream_rpc_method_handler,
                    (True, True): grpc.stream_stream_rpc_method_handler}[kind]
            handlers[name] = make(getattr(self, "_" + name.lower()), request_deserializer=echo.Request.FromString,
                                  response_serializer=echo.Reply.SerializeToString)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        if tls:
            with open(tls[0], "rb") as chain, open(tls[1], "rb") as key:
                self.port = self._server.add_secure_port(
                    address, grpc.ssl_server_credentials([(key.read(), chain.read())]))
        else:
            self.port = self._server.add_insecure_port(address)
        self.address = f"127.0.0.1:{self.port}"
        self._server.start()

    def stop(self):
        self._server.stop(None).wait(60)

    def _unary(self, request, context):
        self.metadata.append(dict(context.invocation_metadata()))
        left = context.time_remaining()
        return echo.Reply(text=request.text, number=len(request.payload), payload=b"x" * request.size,
                          time_left=int(left * 1000) if left is not None and left < 1e8 else 0)

    @staticmethod
    def _collect(requests, _context):
        texts = [request.text for request in requests]
        return echo.Reply(text="".join(texts), number=len(texts))

    @staticmethod
    def _expand(request, _context):
        for number in range(request.count):
            yield echo.Reply(text=request.text, number=number, payload=b"x" * request.size)

    @staticmethod
    def _chat(requests, _context):
        for number, request in enumerate(requests):
            yield echo.Reply(text=request.text, number=number)

    def _fail(self, request, context):
        yield from self._expand(request, context)
        context.set_code(next(code for code in grpc.StatusCode if code.value[0] == request.code))
        context.set_details(request.text)

    @staticmethod
    def _metadata(request, context):
        context.send_initial_metadata((("initial-echo", request.text), ("initial-bin", ALL_BYTES)))
        context.set_trailing_metadata((("trailing-echo", request.text), ("trailing-bin", ALL_BYTES)))
        return echo.Reply(seen=[f"{name}={len(value) if name.endswith('-bin') else value}"
                                for name, value in context.invocation_metadata()])

    def _wait(self, _request, context):
        gone = threading.Event()
        if context.add_callback(gone.set):
            self.events.put("waiting")
            gone.wait(120)
        self.events.put("cancelled")
        return echo.Reply()
