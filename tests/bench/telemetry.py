"""What tracing, metrics and the log cost: `uv run python -m tests.bench.telemetry` (about nine minutes).

All proxies run at once and take their turns, round by round, so that a machine with other work slows all
alike; the figures are medians over the rounds, as shares of the proxy that does nothing of it. Two processes
that do the same differ by up to a fifth, by where they happen to lie: each block begins with new ones, in the
other order. The backend is a process that takes whatever comes, or one that refuses, hangs or answers 500.
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import time
from collections.abc import Mapping

import uvloop

from tests.bench.figures import Client, Head, free_port, guardproxy, line, process, rate, run
from tests.bench.transport import HOST

ROUNDS = 7
BLOCKS, ROUNDS_IN_BLOCK = 4, 4
SECONDS = 1.0
GUARDED = {
    "X-Opper-Guard-Input": "secrets",
    "X-Opper-Guard-Output": "secrets",
    "X-Opper-Guard-Action": "redact",
}
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


def costs(upstream: int, backend: int) -> None:
    """Requests/s and CPU with each kind of telemetry, as shares of none."""
    never = {"OTEL_TRACES_SAMPLER": "always_off"}
    metrics = {
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"http://{HOST}:{backend}/v1/metrics",
        "OTEL_METRIC_EXPORT_INTERVAL": "1000",
    }
    kinds: dict[str, Mapping[str, str]] = {
        "nothing": {},
        "unsampled": environment(backend, **never),
        "sampled": environment(backend),
        "metrics": metrics,
        "the log": {"GUARDPROXY_LOG_LEVEL": "info", "GUARDPROXY_LOG_FORMAT": "json"},
        "all": environment(backend, GUARDPROXY_LOG_LEVEL="info", GUARDPROXY_LOG_FORMAT="json", **metrics),
    }
    targets = {"unsampled": 10.0, "sampled": 25.0}
    guards = {"no guard": {}, "`secrets` at both stages": GUARDED}
    found: dict[tuple[str, str], list[tuple[float, float]]] = {(n, k): [] for n in guards for k in kinds}
    for block in range(BLOCKS):
        order = list(kinds) if block % 2 else list(kinds)[::-1]
        with contextlib.ExitStack() as stack:
            proxies = {kind: stack.enter_context(guardproxy(upstream, **kinds[kind])) for kind in order}
            for name, headers in guards.items():
                for _ in range(ROUNDS_IN_BLOCK):
                    for kind, (port, pid) in proxies.items():
                        found[name, kind].append(run(rate(port, pid, SECONDS, headers)))
    for name, kind in found:
        if kind == "nothing":
            continue
        pairs = list(zip(found[name, kind], found[name, "nothing"], strict=True))
        slower = (1 - statistics.median(own[0] / none[0] for own, none in pairs)) * 100
        more = (statistics.median(own[1] - none[1] for own, none in pairs)) * 1000
        target = targets.get(kind)
        line(
            f"{kind}: requests/s, {name}",
            f"≤ {target:.0f} % less" if target else "–",
            f"{slower:.0f} % less (CPU {more:+.0f} µs a request)",
            target is None or slower <= target,
        )
    for name in guards:
        rates = [pair[0] for pair in found[name, "nothing"]]
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
    options = parser.parse_args()
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
