"""The least that an external processor in Python can do: decode each message and answer it unchanged.

The yardstick of the benchmark `ep-overhead`. It is grpc.aio, as the Python SDK is, without an SDK on top: what it costs is what
Python, gRPC and protobuf cost. Messages are decoded by protobuf's C code with every field that Envoy sends in them; their
names and numbers are written down here, since no generated code is needed for so few.

    PYTHONPATH=$(cargo xtask tools grpcio) python3 bench/python/noop.py 127.0.0.1:50051

Prints `ready ADDRESS` once it listens; port 0 takes a free one. Ends at SIGTERM.
"""

import asyncio
import signal
import sys

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "envoy.service.ext_proc.v3"
FIELD = descriptor_pb2.FieldDescriptorProto

# Message: (field, number, type); a capital letter begins a message's name, `*` makes it repeated, `|` a part of a oneof.
MESSAGES = {
    "HeaderValue": [("key", 1, "string"), ("value", 2, "string"), ("raw_value", 3, "bytes")],
    "HeaderMap": [("headers", 1, "*HeaderValue")],
    "HttpHeaders": [("headers", 1, "HeaderMap"), ("end_of_stream", 3, "bool")],
    "HttpBody": [("body", 1, "bytes"), ("end_of_stream", 2, "bool")],
    "HttpTrailers": [("trailers", 1, "HeaderMap")],
    "ProcessingRequest": [
        ("request_headers", 2, "|HttpHeaders"),
        ("response_headers", 3, "|HttpHeaders"),
        ("request_body", 4, "|HttpBody"),
        ("response_body", 5, "|HttpBody"),
        ("request_trailers", 6, "|HttpTrailers"),
        ("response_trailers", 7, "|HttpTrailers"),
    ],
    "CommonResponse": [("status", 1, "int32")],
    "HeadersResponse": [("response", 1, "CommonResponse")],
    "BodyResponse": [("response", 1, "CommonResponse")],
    "TrailersResponse": [],
    "ProcessingResponse": [
        ("request_headers", 1, "|HeadersResponse"),
        ("response_headers", 2, "|HeadersResponse"),
        ("request_body", 3, "|BodyResponse"),
        ("response_body", 4, "|BodyResponse"),
        ("request_trailers", 5, "|TrailersResponse"),
        ("response_trailers", 6, "|TrailersResponse"),
    ],
}


def load(*names):
    """The classes of these messages."""
    file = descriptor_pb2.FileDescriptorProto(name="noop.proto", package=PACKAGE, syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            added = message.field.add(name=field, number=number, label=FIELD.LABEL_OPTIONAL)
            if kind.startswith("*"):
                added.label = FIELD.LABEL_REPEATED
            if kind.startswith("|"):
                if not message.oneof_decl:
                    message.oneof_decl.add(name="phase")
                added.oneof_index = 0
            kind = kind.lstrip("*|")
            if kind[0].isupper():
                added.type = FIELD.TYPE_MESSAGE
                added.type_name = f".{PACKAGE}.{kind}"
            else:
                added.type = getattr(FIELD, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return [
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))
        for name in names
    ]


ProcessingRequest, ProcessingResponse = load("ProcessingRequest", "ProcessingResponse")


async def process(requests, _context):
    """One stream: an answer of the same phase for each message."""
    async for request in requests:
        response = ProcessingResponse()
        phase = request.WhichOneof("phase")
        if phase is not None:
            getattr(response, phase).SetInParent()
        yield response


async def main(address):
    """Serves until SIGTERM."""
    server = grpc.aio.server()
    handler = grpc.stream_stream_rpc_method_handler(
        process, ProcessingRequest.FromString, ProcessingResponse.SerializeToString
    )
    service = grpc.method_handlers_generic_handler(
        f"{PACKAGE}.ExternalProcessor", {"Process": handler}
    )
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port(address)
    await server.start()
    print(f"ready {address.rsplit(':', 1)[0]}:{port}", flush=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await server.stop(grace=1)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    asyncio.run(main(sys.argv[1]))
