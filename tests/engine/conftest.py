"""Starts a real engine (llama.cpp's server) and a proxy in front of it, each in a process of its own."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import openai

NEEDED = ("openai", "gguf", "xllamacpp")
STARTING = 75.0  # seconds; twice that is less than a test may take
ENDING = 30.0
GUARDED = {"X-Opper-Guard-Output": "pii,secrets", "X-Opper-Guard-Action": "redact"}
Connect = Callable[..., "openai.OpenAI"]


@pytest.fixture(scope="session", autouse=True)
def group() -> None:
    """Skips, saying so, where the dependency group `engine` is not installed."""
    for name in NEEDED:
        pytest.importorskip(name, reason=f"{name} is not installed (dependency group `engine`)")


@contextmanager
def running(command: list[str], find: Callable[[str], str | None]) -> Iterator[str]:
    """Run `command` until the block ends; gives what `find` finds in a line of its output."""
    process, found = _started(command, find)
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            drain = threading.Thread(target=process.stdout.read)  # or a full pipe would stop the process
            drain.start()
            yield found
            process.stdin.close()
            process.terminate()
            drain.join(ENDING)
        finally:
            process.kill()


def _started(
    command: list[str], find: Callable[[str], str | None], *, again: bool = True
) -> tuple[subprocess.Popen[str], str]:
    """The engine has been seen to hang before it listened: then it is started once more."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={name: value for name, value in os.environ.items() if not name.startswith("GUARDPROXY_")},
    )
    assert process.stdout is not None
    late = threading.Timer(STARTING, process.kill)
    late.start()
    try:
        return process, _first(process.stdout, find)
    except AssertionError:
        with process:
            process.kill()
        if not again:
            raise
    finally:
        late.cancel()
    return _started(command, find, again=False)


def _first(lines: IO[str], find: Callable[[str], str | None]) -> str:
    seen = []
    for line in lines:
        if found := find(line):
            return found
        seen.append(line)
    raise AssertionError("it ended without listening:\n" + "".join(seen[-40:]))


def _engine_address(line: str) -> str | None:
    return line.split()[1] if line.startswith("listening ") else None


def _proxy_address(line: str) -> str | None:
    if not line.startswith("{"):
        return None
    logged = json.loads(line)
    return logged["address"] if logged.get("event") == "listening" else None


@pytest.fixture(scope="session")
def engine_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The engine's base URL, with `/v1`."""
    from tests.engine.model import write_model

    model = tmp_path_factory.mktemp("engine") / "tiny.gguf"
    write_model(model)
    program = Path(__file__).parent / "serve_model.py"
    with running([sys.executable, str(program), str(model)], _engine_address) as url:
        yield f"{url}/v1"


@pytest.fixture(scope="session")
def proxy_url(engine_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a proxy whose upstream is the engine, with `/v1`."""
    config = tmp_path_factory.mktemp("proxy") / "guardproxy.toml"
    config.write_text('log_format = "json"\n')
    command = [sys.executable, "-m", "guardproxy", "serve", "--port", "0"]
    with running([*command, "--upstream", engine_url, "--config", str(config)], _proxy_address) as url:
        yield f"{url}/v1"


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Iterator[Connect]:
    """Makes OpenAI clients for a base URL, and closes them; `headers` go with every request."""
    import openai

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    clients: list[openai.OpenAI] = []

    def make(url: str, headers: dict[str, str] | None = None) -> openai.OpenAI:
        client = openai.OpenAI(base_url=url, api_key="client", max_retries=0, default_headers=headers)
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()
