"""What tracing, metrics and the log cost: `uv run python -m tests.bench.telemetry` (about seven minutes).

Two processes that do the same differ by up to a fifth, by where they happen to lie. So one process does all
of it: a thread in it switches its telemetry some times a second, under a load that does not pause, and each
window is compared with that without telemetry in its round. The backend is a process that takes whatever
comes, or one that refuses, hangs or answers 500.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import uvloop
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from guardproxy import cli
from guardproxy_metrics import hooks as metrics
from guardproxy_tracing import hooks as tracing
from guardproxy_tracing.recorder import Recorder
from tests.bench.figures import (
    CONNECTIONS,
    Client,
    Head,
    cpu,
    free_port,
    guardproxy,
    line,
    process,
    rate,
    run,
)
from tests.bench.transport import HOST

ROUNDS = 7
WINDOWS = 70
SETTLE, SECONDS = 0.12, 0.3  # of a window: not counted, counted
GUARDED = {
    "X-Opper-Guard-Input": "secrets",
    "X-Opper-Guard-Output": "secrets",
    "X-Opper-Guard-Action": "redact",
}
KINDS = ("nothing", "unsampled", "sampled", "the log", "all", "no metrics")
TARGETS = {"unsampled": 10.0, "sampled": 25.0}
HANGS, FAILS, TAKES = "hang", "500", "200"


async def serve_backend(port: int, word: str) -> None:
    """An OTLP backend over HTTP that takes every export, or hangs, or answers 500."""

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
                if word == HANGS:
                    await asyncio.sleep(3600)
                writer.write(b"HTTP/1.1 %b OK\r\ncontent-length: 0\r\n\r\n" % word.encode())
        writer.close()

    server = await asyncio.start_server(one, HOST, port)
    await server.serve_forever()


async def latency(port: int, headers: Head, count: int) -> float:
    """The median of paced requests, one at a time, in seconds."""
    body = json.dumps({"model": "m", "input": "y" * 990}).encode()
    took: list[float] = []
    async with Client(port, headers) as client:
        for _ in range(count):
            took.append((await client.ask(body))[1])
            await asyncio.sleep(0.002)
    return statistics.median(took)


def environment(backend: int, **more: str) -> Mapping[str, str]:
    """A proxy whose spans go to `backend`."""
    return {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"http://{HOST}:{backend}/v1/traces", **more}


def serve_switched(control: str, arguments: list[str]) -> None:
    """guardproxy's command, whose telemetry is as the last datagram at `control` says: one of KINDS."""

    def listen() -> None:
        given = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        given.bind(control)
        recorders: dict[str, Recorder | None] = {}
        instruments = None
        while True:
            word, asker = given.recvfrom(64)
            kind, process = word.decode(), tracing._process
            if not recorders:  # it has started
                assert process.provider is not None
                unsampled = Recorder(process.provider, "guardproxy")
                unsampled.sampler = ALWAYS_OFF
                recorders = {"unsampled": unsampled, "sampled": process.recorder, "all": process.recorder}
                instruments = metrics._process.instruments
            process.recorder = recorders.get(kind)
            metrics._process.instruments = None if kind == "no metrics" else instruments
            logging.getLogger().setLevel(logging.INFO if kind in ("the log", "all") else logging.ERROR)
            if process.recorder is None and process.provider is not None:
                process.provider.force_flush(3000)  # or the next kind would pay for the spans of the last
            given.sendto(b"done", asker)

    threading.Thread(target=listen, daemon=True).start()
    sys.argv = ["guardproxy", *arguments]
    cli.main()


@contextlib.contextmanager
def switched(upstream: int, backend: int) -> Iterator[tuple[int, int, Callable[[str], None]]]:
    """A serving process: its port, its id, and what switches its telemetry."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asking:
        file, control = Path(folder, "guardproxy.toml"), f"{folder}/control"
        file.write_text(f'upstream = "http://{HOST}:{upstream}/v1"\n')
        asking.bind(f"{folder}/asking")
        options = ("--switched", control, "serve", "--port", str(port), "--config", str(file))
        env = {"GUARDPROXY_LOG_LEVEL": "error", "GUARDPROXY_LOG_FORMAT": "json", **environment(backend)}
        own = ("-m", "tests.bench.telemetry", *options)
        with process(*own, port=port, ready=b"200", environment=env) as pid:

            def switch(kind: str) -> None:
                asking.sendto(kind.encode(), control)
                asking.recv(64)

            yield port, pid, switch


async def windows(
    port: int, pid: int, switch: Callable[[str], None], headers: Head
) -> dict[str, list[tuple[float, float]]]:
    """Requests a second and CPU ms a request at 32 connections, in windows of each kind by turns."""
    body = json.dumps({"model": "m", "input": "y" * 990}).encode()
    found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
    count, over = 0, False

    async def load() -> None:
        nonlocal count
        async with Client(port, headers) as client:
            while not over:
                await client.ask(body)
                count += 1

    loads = [asyncio.create_task(load()) for _ in range(CONNECTIONS)]
    for number in range(WINDOWS):
        for kind in KINDS if number % 2 else KINDS[::-1]:
            await asyncio.to_thread(switch, kind)
            await asyncio.sleep(SETTLE)
            before, used, began = count, cpu(pid), time.perf_counter()
            await asyncio.sleep(SECONDS)
            done = count - before
            took = time.perf_counter() - began
            found[kind].append((done / took, (cpu(pid) - used) / done * 1000))
    over = True
    await asyncio.gather(*loads)
    return found


def costs(upstream: int, backend: int) -> None:
    """Requests/s and CPU with each kind of telemetry, as shares of none."""
    with switched(upstream, backend) as (port, pid, switch):
        for name, headers in (("no guard", {}), ("`secrets` at both stages", GUARDED)):
            found = run(windows(port, pid, switch, headers))
            for kind in KINDS[1:]:
                pairs = list(zip(found[kind], found["nothing"], strict=True))
                slower = (1 - statistics.median(own[0] / none[0] for own, none in pairs)) * 100
                more = statistics.mean(own[1] - none[1] for own, none in pairs) * 1000
                target = TARGETS.get(kind)
                line(
                    f"{kind}: requests/s, {name}",
                    f"≤ {target:.0f} % less" if target else "–",
                    f"{slower:.1f} % less (CPU {more:+.0f} µs a request)",
                    target is None or slower <= target,
                )
            rates = [pair[0] for pair in found["nothing"]]
            print(f"| (nothing: {statistics.median(rates):.0f} requests/s, {name}) | | | |", flush=True)


def troubles(upstream: int) -> None:
    """The median of requests while the backend refuses, hangs or answers 500, against no tracing."""
    hanging, failing = free_port(), free_port()
    with contextlib.ExitStack() as stack:
        for port, word in ((hanging, HANGS), (failing, FAILS)):
            options = ("-m", "tests.bench.telemetry", "--backend", str(port), "--word", word)
            stack.enter_context(process(*options, port=port))
        backends = {"nothing": None, "refuses": free_port(), "hangs": hanging, "answers 500": failing}
        proxies = {
            kind: stack.enter_context(guardproxy(upstream, **(environment(port) if port else {})))
            for kind, port in backends.items()
        }
        for port, _ in proxies.values():  # until every queue is full
            run(rate(port, os.getpid(), 3.0))
        found: dict[str, list[float]] = {kind: [] for kind in proxies}
        for _ in range(ROUNDS):
            for kind, (port, _) in proxies.items():
                found[kind].append(run(latency(port, {}, 200)))
        for kind in proxies:
            if kind != "nothing":
                pairs = zip(found[kind], found["nothing"], strict=True)
                ratio = statistics.median(own / none for own, none in pairs)
                line(f"median while the backend {kind}", "≤ 1.2 ×", f"{ratio:.2f} ×", ratio <= 1.2)


def main() -> None:
    """Measure, or be a backend."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", type=int)
    parser.add_argument("--word", default=TAKES)
    parser.add_argument("--switched", nargs=argparse.REMAINDER, help="a path, guardproxy's arguments")
    options = parser.parse_args()
    if options.switched:
        serve_switched(options.switched[0], options.switched[1:])
        return
    if options.backend:
        uvloop.run(serve_backend(options.backend, options.word))
        return
    upstream, backend = free_port(), free_port()
    began = time.perf_counter()
    print("| figure | target | measured | |\n|---|---|---|---|")
    with (
        process("-m", "tests.bench.figures", "--upstream", str(upstream), port=upstream),
        process("-m", "tests.bench.telemetry", "--backend", str(backend), port=backend),
    ):
        costs(upstream, backend)
        troubles(upstream)
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
