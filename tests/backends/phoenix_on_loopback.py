"""Starts Phoenix on free ports of 127.0.0.1 and prints them: its own gRPC server listens on every interface.

Run by the Python of the environment `phoenix`, which has none of guardproxy's packages.
"""

import sys
from typing import Any

import grpc  # type: ignore[import-untyped]
import uvicorn
from phoenix.server import main  # type: ignore[import-not-found]

make_server = grpc.aio.server
startup = uvicorn.Server.startup


def server_on_loopback(*given: Any, **named: Any) -> Any:
    server = make_server(*given, **named)
    add_insecure_port = server.add_insecure_port

    def add(_: str) -> int:
        port: int = add_insecure_port("127.0.0.1:0")
        print(f"grpc 127.0.0.1:{port}", flush=True)
        return port

    server.add_insecure_port = add
    return server


async def startup_on_loopback(server: Any, sockets: Any = None) -> None:
    server.config.host, server.config.port = "127.0.0.1", 0
    await startup(server, sockets)
    print(f"http 127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", flush=True)


grpc.aio.server = server_on_loopback
uvicorn.Server.startup = startup_on_loopback  # type: ignore[assignment, method-assign]
sys.argv = ["phoenix", "serve"]
main.main()
