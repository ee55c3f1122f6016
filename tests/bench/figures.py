"""The product's figures: `uv run python -m tests.bench.figures` (about two minutes).

Upstream, proxy and load each run in a process of their own; the proxy is started as users start it.
CPU is that of the serving process, from /proc. Compare ratios: the machine may have other work.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import uvloop

from guardproxy import inputs
from guardproxy.config import load_settings
from guardproxy.document import walk
from guardproxy.plugins import collect_guards, load_plugins, settings_types
from guardproxy.scanning import Scanner
from guardproxy.shapes import REQUEST
from guardproxy.stage import StageRun
from guardproxy.testing.events import message_item, stream_events
from guardproxy.types import Action, Rule, Stage
from tests.bench.transport import DOCUMENT, HOST

CONNECTIONS = 32
STREAMS = 20
MANY = 500
WORDS = (
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "lazy",
    "dogs",
    "and",
    "goes",
    "home",
    "to",
    "sleep",
)
ANSWER = " ".join(random.Random(1).choice(WORDS) for _ in range(200))
EVENTS = stream_events([message_item(ANSWER)], chunk=5)
FRAMES = [f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in EVENTS]
TICK = os.sysconf("SC_CLK_TCK")
SECRETS = {"X-Opper-Guard-Output": "secrets", "X-Opper-Guard-Action": "redact"}
Head = dict[str, str]


# The upstream: a document of 1 KB; for a request with `"pace"` a stream of one event each `pace` seconds,
# for one with `"hold"` the first events and then nothing for that many seconds.
async def serve_upstream(port: int) -> None:
    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
                asked = json.loads(await reader.readexactly(length))
                if "pace" not in asked:
                    writer.write(
                        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
                        % len(DOCUMENT)
                        + DOCUMENT
                    )
                    continue
                head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
                writer.write(head + b"transfer-encoding: chunked\r\n\r\n")
                for index, frame in enumerate(FRAMES):
                    writer.write(b"%x\r\n%b\r\n" % (len(frame), frame))
                    if index == 20 and "hold" in asked:
                        await asyncio.sleep(asked["hold"])
                    await asyncio.sleep(asked["pace"])
                writer.write(b"0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(one, HOST, port)
    await server.serve_forever()


class Client:
    """One connection of the load."""

    def __init__(self, port: int, headers: Head | None = None) -> None:
        self.port = port
        self.headers = "".join(f"{k}: {v}\r\n" for k, v in (headers or {}).items()).encode()

    async def __aenter__(self) -> "Client":
        self.reader, self.writer = await asyncio.open_connection(HOST, self.port, limit=1 << 20)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    async def ask(self, body: bytes) -> tuple[float, float]:
        """The seconds to the answer's first byte of body and to its end."""
        started = time.perf_counter()
        self.writer.write(
            b"POST /v1/responses HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer k\r\n%b"
            b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
            % (self.headers, len(body), body)
        )
        head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        assert head.startswith(b"http/1.1 200"), head
        if b"content-length: " in head:
            await self.reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
            end = time.perf_counter() - started
            return end, end
        first = 0.0
        while size := int(await self.reader.readline(), 16):
            await self.reader.readexactly(size + 2)
            first = first or time.perf_counter() - started
        await self.reader.readline()
        return first, time.perf_counter() - started


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def process(
    *arguments: str, port: int, ready: bytes | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[int]:
    """A process that serves on `port`; its id."""
    environment = {**os.environ, **(environment or {})}
    running = subprocess.Popen([sys.executable, *arguments], stderr=subprocess.DEVNULL, env=environment)
    try:
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex((HOST, port)) == 0 and (not ready or _is_ready(port)):
                    break
            time.sleep(0.1)
        else:
            raise SystemExit(f"{arguments} did not start")
        yield running.pid
    finally:
        running.terminate()
        running.wait()


def _is_ready(port: int) -> bool:
    with socket.create_connection((HOST, port)) as probe:
        probe.sendall(b"GET /readyz HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n")
        return b" 200 " in probe.recv(100)


@contextlib.contextmanager
def guardproxy(upstream: int, **environment: str) -> Iterator[tuple[int, int]]:
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "guardproxy.toml")
        file.write_text(f'upstream = "http://{HOST}:{upstream}/v1"\n\n')
        environment = {"GUARDPROXY_LOG_LEVEL": "error", **environment}
        options = ("-m", "guardproxy", "serve", "--port", str(port), "--config", str(file))
        with process(*options, port=port, ready=b"200", environment=environment) as pid:
            yield port, pid


@contextlib.contextmanager
def baseline(kind: str, upstream: int) -> Iterator[tuple[int, int]]:
    port = free_port()
    url = f"http://{HOST}:{upstream}"
    options = ("-m", "tests.bench.transport", "--serve", "proxy", "--kind", kind, "--upstream", url)
    with process(*options, "--port", str(port), port=port) as pid:
        yield port, pid


def cpu(pid: int) -> float:
    """Seconds of CPU that the process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def rss(pid: int) -> int:
    """Resident bytes of the process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def rate(port: int, pid: int, seconds: float, headers: Head | None = None) -> tuple[float, float]:
    """Requests a second, and CPU ms a request, at 32 connections."""
    body = json.dumps({"model": "m", "input": "y" * 990}).encode()

    async def one(end: float) -> int:
        count = 0
        async with Client(port, headers) as client:
            while time.perf_counter() < end:
                await client.ask(body)
                count += 1
        return count

    async def all_of_them(seconds: float) -> int:
        end = time.perf_counter() + seconds
        return sum(await asyncio.gather(*(one(end) for _ in range(CONNECTIONS))))

    await all_of_them(0.7)
    before, started = cpu(pid), time.perf_counter()
    count = await all_of_them(seconds)
    return count / (time.perf_counter() - started), (cpu(pid) - before) / count * 1000


async def streams(port: int, pid: int | None, headers: Head, pace: float) -> tuple[float, float]:
    """Median seconds to the first event at 20 streams, and CPU µs an event."""
    body = json.dumps({"model": "m", "input": "hi", "stream": True, "pace": pace}).encode()
    firsts: list[float] = []

    async def one(delay: float) -> None:
        await asyncio.sleep(delay)
        async with Client(port, headers) as client:
            firsts.append((await client.ask(body))[0])

    before = cpu(pid) if pid else 0.0
    rounds = 3
    for _ in range(rounds):
        await asyncio.gather(*(one(0.013 * index) for index in range(STREAMS)))
    events = rounds * STREAMS * len(FRAMES)
    return statistics.median(firsts), ((cpu(pid) - before) if pid else 0.0) / events * 1e6


async def memory(port: int, pid: int) -> float:
    """KB a stream at 500 streams that are in their middle, redacting with `secrets`."""
    body = json.dumps({"input": "hi", "stream": True, "pace": 0.01, "hold": 7}).encode()

    async def one() -> None:
        async with Client(port, SECRETS) as client:
            await client.ask(body)

    async def some(count: int) -> tuple[int, int]:
        before = rss(pid)
        running = asyncio.gather(*(one() for _ in range(count)))
        await asyncio.sleep(5)
        during = rss(pid)
        await running
        return before, during

    await some(50)  # what the first streams load stays
    before, during = await some(MANY)
    return (during - before) / MANY / 1024


async def tail(port: int, stop: Callable[[], bool]) -> float:
    """p99 of paced, unguarded requests, in ms."""
    body = json.dumps({"model": "m", "input": "y" * 990}).encode()
    took: list[float] = []

    async def one(delay: float) -> None:
        await asyncio.sleep(delay)
        async with Client(port) as client:
            while not stop():
                took.append((await client.ask(body))[1])
                await asyncio.sleep(0.02)

    await asyncio.gather(*(one(0.005 * index) for index in range(4)))
    return statistics.quantiles(took, n=100)[98] * 1000


def prose(characters: int, seed: int) -> str:
    chance = random.Random(seed)
    text = ""
    while len(text) < characters:
        names = chance.choice(["Ada Lovelace", "Grace Hopper", "nobody", "the team"])
        text += (
            f"{' '.join(chance.choices(WORDS, k=12)).capitalize()}, says {names}, number {chance.random()}. "
        )
    return text[:characters]


async def tails(port: int) -> tuple[float, float]:
    """p99 without and with fresh 40 KB texts being scanned by `pii,secrets`."""
    end = time.perf_counter() + 8
    alone = await tail(port, lambda: time.perf_counter() > end)
    scanning = True

    async def scan() -> None:
        nonlocal scanning
        headers = {"X-Opper-Guard-Input": "pii,secrets", "X-Opper-Guard-Action": "redact"}
        async with Client(port, headers) as client:
            for seed in range(5):
                await client.ask(json.dumps({"model": "m", "input": prose(40_000, seed + 1000)}).encode())
        scanning = False

    beside, _ = await asyncio.gather(tail(port, lambda: not scanning), scan())
    return alone, beside


async def history() -> tuple[float, float]:
    """Milliseconds of scanning for 40 KB of known history, and for that with one new message."""
    manager = load_plugins()
    settings = load_settings(None, {}, {}, settings_types(manager))
    scanner = Scanner(collect_guards(manager, settings), settings)
    await scanner.start()
    rules = {"pii": Rule(Action.REDACT), "secrets": Rule(Action.REDACT)}
    messages = [{"role": "user" if i % 2 else "assistant", "content": prose(500, i)} for i in range(80)]

    async def once(items: list[dict[str, str]]) -> float:
        run = StageRun(Stage.INPUT, rules, scanner, "[{category}]", lambda _: nullcontext())
        asked = await inputs.read(json.dumps({"model": "m", "input": items}).encode())
        parts = walk(asked.value, REQUEST).parts
        started = time.perf_counter()
        await run.hits(parts, run.guards)
        return (time.perf_counter() - started) * 1000

    try:
        await once(messages)
        known = statistics.median([await once(messages) for _ in range(50)])
        new = [await once([*messages, {"role": "user", "content": prose(500, 5000 + i)}]) for i in range(30)]
        return known, statistics.median(new)
    finally:
        await scanner.stop()


def line(name: str, target: str, measured: str, met: bool) -> None:
    print(f"| {name} | {target} | {measured} | {'met' if met else '**missed**'} |", flush=True)


def run(work: Awaitable[Any]) -> Any:
    async def main() -> Any:
        return await work

    return uvloop.run(main())


def main() -> None:
    """Measure, or be the upstream."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--upstream", type=int)
    options = parser.parse_args()
    if options.upstream:
        uvloop.run(serve_upstream(options.upstream))
        return
    upstream = free_port()
    print("| figure | target | measured | |\n|---|---|---|---|")
    with process("-m", "tests.bench.figures", "--upstream", str(upstream), port=upstream):
        rates: dict[str, tuple[float, float]] = {}
        for kind in ("httpx", "httpx-aiohttp"):
            with baseline(kind, upstream) as (port, pid):
                rates[kind] = run(rate(port, pid, 5))
        with guardproxy(upstream) as (port, pid):
            ours = run(rate(port, pid, 5))
            more = ours[0] / rates["httpx"][0]
            line(
                "requests/s against raw ASGI + stock httpx",
                "≥ 3 ×",
                f"{more:.1f} × ({ours[0]:.0f})",
                more >= 3,
            )
            share = ours[1] / rates["httpx-aiohttp"][1]
            line(
                "CPU against raw ASGI + httpx-aiohttp",
                "≤ 1.6 ×",
                f"{share:.2f} × ({ours[1]:.3f} ms)",
                share <= 1.6,
            )
            direct, _ = run(streams(upstream, None, {}, 0.004))
            through, unguarded = run(streams(port, pid, {}, 0.004))
            added = (through - direct) * 1000
            line("added time to first event, p50, 20 streams", "< 2 ms", f"{added:.2f} ms", added < 2)
            line("CPU an event, unguarded", "≤ 100 µs", f"{unguarded:.0f} µs", unguarded <= 100)
            _, guarded = run(streams(port, pid, SECRETS, 0.004))
            line("CPU an event, redacting with `secrets`", "≤ 250 µs", f"{guarded:.0f} µs", guarded <= 250)
            alone, beside = run(tails(port))
            slower = beside / alone
            line(
                "p99 while fresh 40 KB texts are scanned",
                "≤ 2 ×",
                f"{slower:.2f} × ({alone:.1f} ms)",
                slower <= 2,
            )
        with guardproxy(upstream) as (port, pid):
            each = run(memory(port, pid))
            line("memory a stream at 500 streams, redacting", "≤ 40 KB", f"{each:.0f} KB", each <= 40)
    known, new = run(history())
    line("scanning 40 KB of known history, `pii,secrets`", "< 0.5 ms", f"{known:.2f} ms", known < 0.5)
    line("one new message of 500 characters", "< 30 ms", f"{new:.1f} ms", new < 30)


if __name__ == "__main__":
    main()
