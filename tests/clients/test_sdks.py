"""Real clients, each with a Python or a Node.js of its own, at the front doors that they can be pointed at.

A client's script runs once, against a guardproxy whose keys have policies; the tests look at what it told.
"""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from guardproxy.testing import FakeUpstream, Recorded, Script
from tests import venvs
from tests.clients.model import BEGINNING, Model
from tests.clients.scenarios import SECOND
from tests.engine.conftest import _proxy_address, running

pytestmark = pytest.mark.clients

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
# What the user says, what the tool gives, and what the model lets slip.
SECRET, RESULT, SLIP = (
    "gh" + "p_" + middle + "QxLr8NbY5cHd7JfM1sAe4UgP0oXi" for middle in ("Zk3vT9w2", "Rn9cT1w2", "Qm7bT1w2")
)
ASK, CLEAN = f"Look at {SECRET} please.", "Look around."
BLOCKED = "Blocked by guard 'secrets' at the {}: GITHUB_TOKEN."
VIOLATION = "guardrail_violation"
POLICIES = ("off", "redact", "block")  # each has a key that is called like it
TURN = ("whole", "stream", "tools", "stream_tools")
METHODS = (*TURN, "history", "previous")
SECOND_TURN = ("history", "previous", "conversation", "stored")
# Nothing but guardproxy can be reached, and no client reports to its maker.
ENVIRONMENT = {
    "HTTP_PROXY": "http://127.0.0.1:1",
    "HTTPS_PROXY": "http://127.0.0.1:1",
    "NO_PROXY": "127.0.0.1",
    "NODE_USE_ENV_PROXY": "1",
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
    "LANGSMITH_TRACING": "false",
    "PYTHONPATH": str(ROOT),
    "PYTHONUTF8": "1",
}


class Door(NamedTuple):
    """What a client's base URL has behind the host, and what its models are called."""

    base: str
    model: str = "gpt-4.1-{}"


DOORS = {
    "openresponses": Door("/v1"),
    "opper": Door("/v3/compat"),
    "openrouter": Door("/api/v1"),
    "gateway": Door("/gateway"),
    "julep": Door("/julep", "openai@gpt-4.1-{}"),
}
MOUNTED = ("gateway", "julep")  # the others are there without being set
EVERY = {"openresponses": METHODS, "opper": METHODS}
# A framework asks by OpenAI's SDK, which itself does everything at all doors.
FRAMEWORK = {**EVERY, "openrouter": ("tools", "stream_tools", "previous")}


class Kind(NamedTuple):
    """A client: its script, what it raises of a 400 and of a stream that ends in an error, and its doors."""

    script: str
    refused: str = "BadRequestError"
    broken_off: str = "APIError"
    code: str | None = VIOLATION  # of the latter
    doors: Mapping[str, tuple[str, ...]] = FRAMEWORK  # and its methods at each
    only_streams: bool = False  # also where it is asked for the whole


CLIENTS = {
    "openai": Kind(
        "openai_script.py",
        doors={
            **dict.fromkeys((*EVERY, "openrouter"), (*METHODS, "dump")),
            "gateway": (*TURN, "history", "conversation"),
            "julep": (*TURN, "stored"),
        },
    ),
    "openai-js": Kind(
        "openai_script.cjs",
        doors={
            **dict.fromkeys((*EVERY, "openrouter"), METHODS),
            "gateway": (*TURN, "history", "conversation"),
            "julep": TURN,
        },
    ),
    "openai-agents": Kind("agents_script.py"),
    "langchain": Kind("langchain_script.py", "OpenAIInvalidRequestError"),
    "pydantic-ai": Kind("pydantic_ai_script.py", "ModelRequestRejectedError", "ModelAPIError"),
    "opper": Kind(
        "opper_agents_script.py",
        broken_off="AgentError",
        code=None,
        doors={"opper": METHODS[:-1]},
        only_streams=True,
    ),
}


class Run(NamedTuple):
    """What a client is asked to do."""

    door: str
    policy: str
    method: str
    text: str


class Seen(NamedTuple):
    """What became of it, and what the upstream got meanwhile."""

    kind: Kind
    told: dict[Run, Any]
    sent: list[Recorded]

    def by_method(self, door: str, policy: str) -> dict[str, Any]:
        return {run.method: got for run, got in self.told.items() if run[:2] == (door, policy)}


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream(Script(reply=Model(SLIP))) as server:
        yield server


@pytest.fixture(scope="module")
def url(upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A guardproxy whose keys have the policies that they are called by."""
    home = tmp_path_factory.mktemp("proxy")
    lines = [
        'log_format = "json"',
        'guards.pii.preset = "structured"',
        f'store.url = "sqlite+aiosqlite:///{home}/store.db"',
    ]
    lines += ["[[upstreams]]", 'name = "openai"', f'url = "{upstream.url}"']
    for door in MOUNTED:
        lines += ["[[front_doors]]", f'path = "{DOORS[door].base}/responses"', f'profile = "{door}"']
    for policy in POLICIES:
        digest = hashlib.sha256(policy.encode()).hexdigest()
        lines += ["[[keys]]", f'name = "{policy}"', f'sha256 = "{digest}"']
        if policy != "off":
            lines += [f'policy.{stage} = {{ secrets = "{policy}" }}' for stage in ("input", "output")]
    config = home / "guardproxy.toml"
    config.write_text("\n".join(lines))
    command = [sys.executable, "-m", "guardproxy", "serve", "--port", "0", "--config", str(config)]
    with running(command, _proxy_address) as address:
        yield address


def runs_of(kind: Kind) -> list[Run]:
    """All that a client is asked to do."""
    runs = []
    for door, methods in kind.doors.items():
        runs += [Run(door, policy, method, ASK) for policy in ("off", "redact") for method in methods]
        runs += [Run(door, "block", method, text) for method in ("whole", "stream") for text in (ASK, CLEAN)]
    return runs


@pytest.fixture(scope="module", params=CLIENTS)
def seen(request: pytest.FixtureRequest, upstream: FakeUpstream, url: str) -> Seen:
    """What a client saw that did all of it."""
    name: str = request.param
    kind, environment = CLIENTS[name], dict(ENVIRONMENT)
    script = FOLDER / kind.script
    if script.suffix == ".cjs":
        node, modules = venvs.node(name)
        command, environment["NODE_PATH"] = [str(node), str(script)], str(modules)
    else:
        command = [str(venvs.interpreter(name)), "-m", f"tests.clients.{script.stem}"]
    runs, before = runs_of(kind), len(upstream.requests)
    asked = []
    for door, policy, method, text in runs:
        base = "" if name == "opper" else DOORS[door].base  # it knows its door itself
        asked.append([url + base, policy, DOORS[door].model.format(policy), method, text])
    command.append(json.dumps({"result": RESULT, "runs": asked}))
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")  # no warning either
    return Seen(kind, dict(zip(runs, json.loads(done.stdout), strict=True)), upstream.requests[before:])


def expected(method: str) -> dict[str, Any]:
    """What a client sees where no guard is on."""
    says = Model(SLIP).says
    if method in ("tools", "stream_tools"):
        return {"text": says(ASK, SLIP, RESULT), "keys": [SLIP], "error": None}
    turns = [ASK, says(ASK), SECOND] if method in SECOND_TURN else [ASK]
    return {"text": says(*turns), "keys": [], "error": None}


def redacted(told: dict[str, Any]) -> Any:
    text = json.dumps(told)
    for secret in (SECRET, RESULT, SLIP):
        text = text.replace(secret, "[GITHUB_TOKEN]")
    return json.loads(text)


def test_without_guards_it_sees_what_was_said(seen: Seen) -> None:
    for door in seen.kind.doors:
        told = seen.by_method(door, "off")
        assert told == {method: expected(method) for method in told}


def test_what_it_sees_is_redacted(seen: Seen) -> None:
    for door in seen.kind.doors:
        told = seen.by_method(door, "redact")
        assert told == {method: redacted(expected(method)) for method in told}


@pytest.mark.parametrize("method", ["whole", "stream"])
def test_a_block_at_the_input_is_an_error(seen: Seen, method: str) -> None:
    for door in seen.kind.doors:
        told = seen.told[Run(door, "block", method, ASK)]
        *error, message = told["error"]
        assert error == [seen.kind.refused, VIOLATION]
        assert message.endswith(BLOCKED.format("input"))
        assert not told["text"]


def test_a_block_of_a_whole_answer_is_an_error(seen: Seen) -> None:
    kind = seen.kind
    for door in kind.doors:
        told = seen.told[Run(door, "block", "whole", CLEAN)]
        *error, message = told["error"]
        assert error == ([kind.broken_off, kind.code] if kind.only_streams else [kind.refused, VIOLATION])
        assert message.endswith(BLOCKED.format("output"))
        assert not told["text"]


def test_a_block_in_mid_stream_is_an_error(seen: Seen) -> None:
    for door in seen.kind.doors:
        told = seen.told[Run(door, "block", "stream", CLEAN)]
        *error, message = told["error"]
        assert error == [seen.kind.broken_off, seen.kind.code]
        assert message.endswith(BLOCKED.format("output"))
        assert told["text"]
        assert BEGINNING.startswith(told["text"])


def test_the_upstream_gets_no_secret(seen: Seen) -> None:
    sent: dict[str, list[bytes]] = {policy: [] for policy in POLICIES}
    for request in seen.sent:
        sent[request.json["model"].removeprefix("gpt-4.1-")].append(request.body)
    assert len(sent["redact"]) == len(sent["off"])
    assert len(sent["block"]) == len([run for run in seen.told if (run.policy, run.text) == ("block", CLEAN)])
    for secret in (SECRET, RESULT, SLIP):
        assert secret.encode() in b"".join(sent["off"])
        assert secret.encode() not in b"".join(sent["redact"] + sent["block"])


def test_the_docs_tell_of_each_client() -> None:
    page = (ROOT / "docs/front-doors.md").read_text("utf-8").split("\n## Clients\n")[1].split("\n## ")[0]
    rows = [
        [cell.strip().replace("`", "") for cell in line.strip("|").split("|")][1:]
        for line in page.splitlines()
        if line.startswith("|")
    ][2:]
    told = []
    for name, kind in CLIENTS.items():
        package = [*venvs.NPM.get(name, ()), *venvs.PACKAGES[name]][0]
        doors = ", ".join(kind.doors)
        told.append([package.replace("==", " ").replace("@", " "), doors, kind.refused, kind.broken_off])
    assert rows == told
    assert set(CLIENTS) == set(venvs.CLIENTS)
