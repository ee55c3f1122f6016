"""guardproxy → rotel (a collector) → Phoenix (a backend), each a process of its own on 127.0.0.1.

Phoenix runs for the whole session; a collector and a proxy for each protocol. The tests read what Phoenix
answers when both have ended, so what is missing then would be missing for ever.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from guardproxy.testing import FakeUpstream
from tests import venvs
from tests.backends.processes import (
    Running,
    accepts,
    environment,
    free_ports,
    running,
    sockets,
    until,
)

STARTING = 120.0  # Phoenix imports for 15 seconds even on an idle machine
LOOPBACK = {"127.0.0.1"}
NOBODY = {"0.0.0.0", "::"}  # what the kernel shows as the other end of a socket that only listens
Span = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Phoenix:
    """The backend: where it takes spans, and what it has."""

    running: Running
    url: str
    grpc_url: str

    def spans(self, project: str) -> list[Span]:
        """Every span of a project, as Phoenix answers; none while it does not know the project."""
        found: list[Span] = []
        cursor: str | None = None
        while True:
            asked = {"limit": "1000"} | ({"cursor": cursor} if cursor else {})
            got = httpx.get(f"{self.url}/v1/projects/{project}/spans", params=asked, trust_env=False)
            if got.status_code == 404:
                return []
            page = got.raise_for_status().json()
            found += page["data"]
            cursor = page["next_cursor"]
            if cursor is None:
                return found


@dataclass(frozen=True, slots=True)
class Chain:
    """A proxy whose spans go through a collector to Phoenix."""

    url: str
    upstream: FakeUpstream
    project: str
    end: Callable[[], None]


@pytest.fixture(scope="session")
def phoenix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Phoenix]:
    home = tmp_path_factory.mktemp("phoenix")
    given = environment(
        home,
        PHOENIX_WORKING_DIR=str(home),
        PHOENIX_TELEMETRY_ENABLED="false",
        PHOENIX_ALLOW_EXTERNAL_RESOURCES="false",
        PHOENIX_DISABLE_AGENT_ASSISTANT="true",
        PHOENIX_LOG_MIGRATIONS="false",
        PYTHONUNBUFFERED="1",
    )
    program = Path(__file__).parent / "phoenix_on_loopback.py"
    with running([venvs.interpreter("phoenix"), program], given, home / "phoenix.log") as started:
        grpc = until("Phoenix", lambda: started.printed(r"^grpc (\S+)$"), STARTING)
        http = until("Phoenix", lambda: started.printed(r"^http (\S+)$"), STARTING)
        yield Phoenix(started, f"http://{http}", f"http://{grpc}")


@pytest.fixture(scope="session", params=["http/protobuf", "grpc"])
def chain(
    request: pytest.FixtureRequest, phoenix: Phoenix, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Chain]:
    protocol: str = request.param
    home = tmp_path_factory.mktemp("chain")
    project = f"guardproxy-{protocol.partition('/')[0]}"
    with (
        FakeUpstream() as upstream,
        _collector(phoenix, home) as (collector, endpoints),
        _proxy(upstream, home, endpoints[protocol], protocol, project) as (proxy, url),
    ):

        def end() -> None:
            for one in (proxy, collector, phoenix.running):
                stays_here(one)
            assert proxy.end() == 0
            assert collector.end() == 0

        yield Chain(url, upstream, project, end)


@contextmanager
def _collector(phoenix: Phoenix, home: Path) -> Iterator[tuple[Running, dict[str, str]]]:
    """rotel, and its endpoint for each protocol. It takes no port 0, so another process can be first."""
    agent = next(venvs.interpreter("rotel").parents[1].glob("lib/*/site-packages/rotel/rotel-agent"))
    for attempt in range(3):
        grpc, http = free_ports(2)
        given = environment(
            home,
            ROTEL_OTLP_GRPC_ENDPOINT=f"127.0.0.1:{grpc}",
            ROTEL_OTLP_HTTP_ENDPOINT=f"127.0.0.1:{http}",
            ROTEL_EXPORTER="otlp",
            ROTEL_OTLP_EXPORTER_ENDPOINT=phoenix.grpc_url,
            ROTEL_OTLP_EXPORTER_PROTOCOL="grpc",
            ROTEL_BATCH_TIMEOUT="100ms",
            ROTEL_PID_FILE=str(home / "rotel.pid"),
        )
        log = home / f"rotel-{attempt}.log"
        with running([agent, "start"], given, log) as started:
            until(
                "rotel",
                lambda: started.process.poll() is not None or (accepts(grpc) and accepts(http)),  # noqa: B023
                STARTING,
            )
            if started.process.poll() is None:
                yield (
                    started,
                    {"grpc": f"http://127.0.0.1:{grpc}", "http/protobuf": f"http://127.0.0.1:{http}"},
                )
                return
    raise AssertionError(f"rotel does not start: {log.read_text(errors='replace')}")


@contextmanager
def _proxy(
    upstream: FakeUpstream, home: Path, endpoint: str, protocol: str, project: str
) -> Iterator[tuple[Running, str]]:
    config = home / "guardproxy.toml"
    config.write_text('log_format = "json"\nguards.pii.preset = "structured"\n')
    given = environment(
        home,
        OTEL_EXPORTER_OTLP_ENDPOINT=endpoint,
        OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
        OTEL_RESOURCE_ATTRIBUTES=f"openinference.project.name={project}",
    )
    if "PYTHONPATH" in os.environ:
        given["PYTHONPATH"] = os.environ["PYTHONPATH"]
    command = [sys.executable, "-m", "guardproxy", "serve", "--port", "0", "--upstream", upstream.url]
    with running([*command, "--config", config], given, home / "guardproxy.log") as started:
        url = until("guardproxy", lambda: started.printed(r'"address": "([^"]+)"'), STARTING)
        yield started, url


def stays_here(started: Running) -> None:
    """Fails when a process listens for, or talks to, anything but this machine."""
    seen = sockets(started.pid)
    assert any(one.listens for one in seen), f"{started.log.stem} listens nowhere"
    assert {one.local for one in seen} <= LOOPBACK, started.log.stem
    assert {one.remote for one in seen if one.listens} <= NOBODY, started.log.stem
    assert {one.remote for one in seen if not one.listens} <= LOOPBACK, started.log.stem
