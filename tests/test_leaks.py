"""Fail closed everywhere, and nothing leaks: every way in which an exchange can end, over real connections.

One run for each log format serves all scenarios with the shipped guards, a real upstream and a real OTLP
backend, at log level debug. Then every byte that left by another way than the answer's text is searched for
what was planted, in all the forms in which it could hide.
"""

import asyncio
import base64
import contextlib
import io
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

import tests.faults
from guardproxy import logs, serve
from guardproxy.app import create_app
from guardproxy.plugins import load_plugins
from guardproxy.settings import Settings
from guardproxy.testing import FakeUpstream, Gate, Script
from guardproxy.testing.otlp import ExportedSpan, OtlpCollector
from guardproxy.types import OnError, Policy, Rule
from guardproxy_pii.config import PiiSettings
from tests.harness import logging_restored

# What the guards are to find.
MAIL = "kassandra.quill77" + "@" + "northwharf.example"
CARD = "4539 5787 " + "6362 1486"
AWS = "AK" + "IA" + "QX7PLM2WZRT5VNBK"
FOUND = (MAIL, CARD, AWS)
# What opens something, or is nobody's business.
BEARER = "cl-" + "Zk81vQp0RtYw55LmNaXe"
CLIENT_KEY = "xk-" + "77GhUuPoQs21BvCxZlKj"
UPSTREAM_KEY = "up-" + "Ww90EeRrTtYy12UiOpAs"
QUERY = "qv" + "8fKd93jsLmPq02Xz"
SECRET = (BEARER, CLIENT_KEY, UPSTREAM_KEY, QUERY)
FRAGMENT = 8

SAID = f"write to {MAIL}, card {CARD}, key {AWS}"
FILLER = "The weather stays fine along the coast. " * 30
PII = {"pii": PiiSettings(preset="structured")}


def forms(text: str) -> set[bytes]:
    """`text` as it could stand somewhere, in lower case: plain, reversed, escaped, encoded, in pieces."""
    data = text.encode()
    plain = {text, text[::-1], "".join(text.split()), "".join(text.split())[::-1]}
    plain |= {quote(text, safe=""), "".join(f"%{byte:02x}" for byte in data), data.hex(), data.hex(" ")}
    plain |= {"".join(f"\\u{ord(c):04x}" for c in text), json.dumps(text)[1:-1], text.swapcase()}
    found = {form.encode().lower() for form in plain}
    found |= {text[i : i + FRAGMENT].encode().lower() for i in range(len(text) - FRAGMENT + 1)}
    return found


def packed(text: str) -> set[bytes]:
    """The base64 of `text` wherever in a longer base64 it begins; case matters here."""
    whole = {base64.b64encode(b"\0" * shift + text.encode())[4 if shift else 0 :] for shift in range(3)}
    inner = {form.rstrip(b"=")[:-1] for form in whole}
    return inner | {form.translate(bytes.maketrans(b"+/", b"-_")) for form in inner}


def leaks(data: bytes, texts: Iterable[str]) -> list[str]:
    """Which of `texts` can be found in `data`, in any form."""
    lowered = data.lower()
    return [
        text
        for text in texts
        if any(form in lowered for form in forms(text)) or any(form in data for form in packed(text))
    ]


@dataclass(frozen=True)
class Case:
    """One exchange: what is sent, what the upstream does, and how it must end."""

    name: str
    guards: Mapping[str, str]
    code: str | None = None
    status: int = 200
    verdict: str | None = None
    outcome: str = "allowed"
    error_type: str | None = None  # of the server span
    said: str = SAID
    body: bytes | None = None
    stream: bool = False
    script: Script = field(default_factory=Script)
    shown: bool = False  # whether the texts may stand in the answer
    leaves: bool = False  # whether the client leaves before the end


def inward(guards: str) -> dict[str, str]:
    return {"X-Opper-Guard-Input": guards}


def outward(guards: str) -> dict[str, str]:
    return {"X-Opper-Guard-Output": guards}


BOTH = "pii=redact,secrets=redact"
LATE = Script(text=f"{FILLER}{SAID}. {FILLER}")


def failing(name: str, guard: str, word: str, **more: Any) -> Case:
    """A guard that fails at the input, beside one that would have found something."""
    given: dict[str, Any] = {
        "code": "guardrail_failed",
        "status": 500,
        "verdict": "input=failed, output=off",
        "outcome": "failed",
        "error_type": "guardrail_failed",
    }
    return Case(name, inward(f"{guard}=flag,{BOTH}"), said=f"{word} {SAID}", **(given | more))


CASES = (
    Case("off", {}, shown=True),
    Case(
        "flag",
        inward("pii,secrets") | outward("pii,secrets"),
        verdict="input=flagged, output=flagged",
        outcome="flagged",
        shown=True,
    ),
    Case(
        "flag, streamed",
        inward("pii,secrets") | outward("pii,secrets"),
        verdict="input=flagged, output=pending",
        outcome="flagged",
        stream=True,
        shown=True,
    ),
    Case("redact", inward(BOTH), verdict="input=redacted, output=off", outcome="redacted"),
    Case(
        "redact, output", outward(BOTH), verdict="input=off, output=redacted", outcome="redacted", script=LATE
    ),
    Case(
        "redact, streamed",
        outward(BOTH),
        verdict="input=off, output=pending",
        outcome="redacted",
        stream=True,
        script=LATE,
    ),
    Case(
        "block at the input",
        inward("pii=block,secrets=block"),
        code="guardrail_violation",
        status=400,
        verdict="input=blocked, output=off",
        outcome="blocked",
        error_type="guardrail_blocked",
    ),
    Case(
        "block at the output",
        outward("pii=block,secrets=block"),
        code="guardrail_violation",
        status=400,
        verdict="input=off, output=blocked",
        outcome="blocked",
        error_type="guardrail_blocked",
    ),
    Case(
        "block in mid-stream",
        outward("pii=block,secrets=block"),
        code="guardrail_violation",
        verdict="input=off, output=pending",
        outcome="blocked",
        error_type="guardrail_blocked",
        stream=True,
        script=LATE,
    ),
    Case(
        "uninspectable",
        inward(BOTH),
        code="uninspectable",
        status=400,
        verdict="input=failed, output=off",
        outcome="error",
        error_type="uninspectable",
        body=json.dumps({"model": "m", "input": SAID}).encode()[:-1] + b', "x": NaN}',
    ),
    Case(
        "uninspectable, not UTF-8",
        inward(BOTH),
        code="uninspectable",
        status=400,
        verdict="input=failed, output=off",
        outcome="error",
        error_type="uninspectable",
        body=b'{"model":"m","input":"' + SAID.encode() + b'\xff"}',
    ),
    Case(
        "upstream 500, redact",
        outward(BOTH),
        status=500,
        verdict="input=off, output=redacted",
        outcome="error",
        error_type="500",
        script=Script(status=500, error={"error": {"message": SAID, "code": AWS, "type": MAIL}}),
    ),
    Case(
        "upstream 500, off",
        {},
        status=500,
        outcome="error",
        error_type="500",
        script=Script(status=500, error={"error": {"message": SAID, "code": AWS, "type": MAIL}}),
        shown=True,
    ),
    Case(
        "upstream breaks off",
        outward(BOTH),
        code="upstream_error",
        status=502,
        verdict="input=off, output=failed",
        outcome="error",
        error_type="upstream_error",
        script=Script(text=SAID, ending="dropped"),
    ),
    Case(
        "upstream breaks off in mid-stream",
        outward(BOTH),
        code="upstream_error",
        verdict="input=off, output=pending",
        outcome="error",
        error_type="upstream_error",
        stream=True,
        script=Script(text=FILLER + SAID, ending="dropped"),
    ),
    Case(
        "upstream says no JSON",
        outward(BOTH),
        status=502,
        code="upstream_error",
        verdict="input=off, output=failed",
        outcome="error",
        error_type="upstream_error",
        script=Script(reply=lambda _: f"<html>{SAID}</html>".encode()),
    ),
    Case(
        "client leaves in mid-stream",
        outward(BOTH),
        verdict="input=off, output=pending",
        outcome="cancelled",
        error_type="client_disconnected",
        stream=True,
        leaves=True,
        script=Script(text=FILLER + SAID),
    ),
)

FAULTS = (
    failing("guard raises", "raises", "stumble"),
    failing("guard raises on the loop", "raises_here", "stumble"),
    failing("guard hangs", "hangs", "stall"),
    failing("worker is killed", "dies", "perish"),
    Case(
        "guard raises at the output",
        outward(f"raises=flag,{BOTH}"),
        code="guardrail_failed",
        status=500,
        verdict="input=off, output=failed",
        outcome="failed",
        error_type="guardrail_failed",
        script=Script(
            reply=lambda _: {"id": AWS, "model": AWS, "output": [], "note": f"stumble {SAID}", "usage": None}
        ),
    ),
    Case(
        "guard raises in mid-stream",
        outward(f"raises=flag,{BOTH}"),
        code="guardrail_failed",
        verdict="input=off, output=pending",
        outcome="failed",
        error_type="guardrail_failed",
        stream=True,
        script=Script(text=f"{FILLER}stumble {SAID}"),
    ),
)

REFUSED = Case(
    "upstream refused",
    inward(BOTH),
    code="upstream_error",
    status=502,
    verdict="input=redacted, output=off",
    outcome="error",
    error_type="upstream_error",
)
OVERLOADED = failing("overloaded", "hangs", "wait", code="overloaded", status=503, error_type="overloaded")
EVERY = (*CASES, *FAULTS, REFUSED, OVERLOADED)


@dataclass
class Got:
    """How an exchange ended for the client."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str | None:
        """The code of our error: in the body, or in the stream's `error` event."""
        for line in self.body.splitlines() or [b""]:
            text = line.removeprefix(b"data: ")
            with contextlib.suppress(ValueError):
                value = json.loads(text)
                if isinstance(value, dict) and isinstance(error := value.get("error"), dict):
                    return str(error["code"])
        return None


@dataclass
class Run:
    """All that one run gave away: with this form of the log, and with the texts captured or not."""

    format: str
    captures: bool = False
    got: dict[str, Got] = field(default_factory=dict)
    exported: bytes = b""
    spans: list[ExportedSpan] = field(default_factory=list)
    strays: list[ExportedSpan] = field(default_factory=list)  # without their parent, or told twice
    logged: bytes = b""

    def __str__(self) -> str:
        return f"{self.format}, texts captured" if self.captures else self.format

    def span_of(self, name: str) -> ExportedSpan:
        """The server span of a case."""
        id_ = self.got[name].headers["x-opper-span-id"].replace("-", "")[16:]
        (found,) = (span for span in self.spans if span.span_id == id_)
        return found


def request(case: Case) -> dict[str, Any]:
    body = case.body
    if body is None:
        asked = {"model": "m-1", "input": case.said, "stream": case.stream}
        body = json.dumps(asked).encode()
    guarded = bool(case.guards)
    headers = {
        "Authorization": f"Bearer {BEARER}",
        "X-API-Key": CLIENT_KEY,
        "Content-Type": "application/json",
        # Without a guard a plain name is exported as it is.
        "X-Opper-Name": MAIL if case.guards.get("X-Opper-Guard-Input") else f"{MAIL} and {AWS}",
        **case.guards,
    }
    query = {"api-version": QUERY} if guarded else {"vendor": QUERY, "mail": MAIL}
    return {"params": query, "headers": headers, "content": body, "timeout": 60}


async def exchange(case: Case, url: str, gate: Gate | None = None) -> Got:
    """The case's exchange; a stream goes on through `gate` when its beginning is here."""
    async with (
        httpx.AsyncClient(trust_env=False) as client,
        client.stream("POST", f"{url}/v1/responses", **request(case)) as response,
    ):
        body = b""
        async for piece in response.aiter_raw():
            body += piece
            if case.leaves:
                break
            if gate is not None:
                gate.open()
        return Got(response.status_code, dict(response.headers), body)


WATCHED = {name: Rule(shadow=True, on_error=OnError.FLAG) for name in ("pii", "secrets")}
CAPTURING = {"capture_content": "redacted", "trace": "console", "floor": Policy(WATCHED, WATCHED)}


@contextlib.asynccontextmanager
async def served(run: Run, upstream: str, **given: Any) -> AsyncIterator[str]:
    given |= CAPTURING if run.captures else {}
    settings = Settings(
        upstream=upstream, upstream_api_key=UPSTREAM_KEY, log_level="debug", scan_workers=1, **given
    )
    app = create_app(settings, plugins=load_plugins([("faults", tests.faults)]))
    async with serve.running(app) as url:
        yield url


async def scripted(case: Case, url: str, upstream: FakeUpstream) -> Got:
    gate = Gate() if case.stream else None
    upstream.script = replace(case.script, gates={3: gate}) if gate else case.script
    return await exchange(case, url, gate)


async def play(run: Run, upstream: FakeUpstream) -> None:
    async with served(run, upstream.url) as url:
        for case in CASES:
            run.got[case.name] = await scripted(case, url, upstream)
            if case.leaves:
                await upstream.last.left.happened()
    async with served(run, upstream.url, plugins=PII, guard_timeout=1.0, queue_timeout=60.0) as url:
        for case in FAULTS:
            run.got[case.name] = await scripted(case, url, upstream)
    with contextlib.closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))  # but nobody listens
        nowhere = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        async with served(run, nowhere, plugins=PII, guard_timeout=4.0, queue_timeout=0.5) as url:
            run.got[REFUSED.name] = await exchange(REFUSED, url)
            hanging = asyncio.create_task(exchange(failing("hanging", "hangs", "stall"), url))
            await asyncio.sleep(1)
            run.got[OVERLOADED.name] = await exchange(OVERLOADED, url)
            await hanging


@contextlib.contextmanager
def logging_to(file: io.TextIOBase, log_format: str) -> Iterator[None]:
    """All that this process and its workers write, in `file`; logging is as it was afterwards."""
    kept = {number: os.dup(number) for number in (1, 2)}
    sys.stdout.flush()
    sys.stderr.flush()
    for number in kept:
        os.dup2(file.fileno(), number)
    try:
        with logging_restored():
            logs.configure(Settings(log_level="debug", log_format=log_format), file)  # type: ignore[arg-type]
            yield
    finally:
        for number, copy in kept.items():
            os.dup2(copy, number)
            os.close(copy)


@pytest.fixture(scope="module", params=[Run("json"), Run("console"), Run("console", captures=True)], ids=str)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    done: Run = request.param
    path: Path = tmp_path_factory.mktemp("leaks") / "log"
    with (
        pytest.MonkeyPatch.context() as patch,
        OtlpCollector() as collector,
        FakeUpstream() as upstream,
        path.open("a", encoding="utf-8") as file,
    ):
        for name in [name for name in os.environ if name.startswith("OTEL_")]:
            patch.delenv(name)
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.http_endpoint)
        with logging_to(file, done.format):
            asyncio.run(play(done, upstream))
        done.exported, done.spans = collector.raw, list(collector.spans)
        done.strays = [*collector.orphans(), *collector.duplicates()]
    done.logged = path.read_bytes()
    return done


@pytest.mark.parametrize("case", EVERY, ids=lambda case: case.name)
def test_every_end_is_told_apart(run: Run, case: Case) -> None:
    got, span = run.got[case.name], run.span_of(case.name)
    assert got.status == case.status
    if not run.captures:  # its guards in shadow are told of, too
        assert got.headers.get("x-guardproxy-verdict") == case.verdict
    assert span.attributes["guardproxy.outcome"] == case.outcome
    assert span.attributes.get("error.type") == case.error_type
    if case.code is not None or case.status == 200:
        assert got.code == case.code


def test_every_span_has_its_parent_and_comes_once(run: Run) -> None:
    assert run.strays == []
    for case in EVERY:
        server = run.span_of(case.name)
        assert server.kind == "SERVER"
        of_trace = [span for span in run.spans if span.trace_id == server.trace_id]
        assert sum(span.kind == "SERVER" for span in of_trace) == 1
        # Live: nothing below begins before it, or ends after it but the guards that nobody waits for.
        assert all(server.start <= span.start <= span.end for span in of_trace)
        waited_for = {s.parent_id for s in of_trace if s.attributes.get("guardproxy.guard.shadow") is False}
        for span in of_trace:
            guards = span.attributes["openinference.span.kind"] == "GUARDRAIL"
            shadow = span.attributes.get("guardproxy.guard.shadow", span.span_id not in waited_for)
            assert (guards and shadow) or span.end <= server.end


@pytest.mark.parametrize(
    "case", [case for case in EVERY if case.error_type in ("500", "upstream_error", "upstream_timeout")]
)
def test_the_call_names_what_was_wrong_with_the_upstream(run: Run, case: Case) -> None:
    server = run.span_of(case.name)
    calls = [span for span in run.spans if span.parent_id == server.span_id and span.kind == "CLIENT"]
    assert [call.attributes["error.type"] for call in calls] == [case.error_type]
    assert [call.status for call in calls] == ["ERROR"]


@pytest.mark.parametrize("case", EVERY, ids=lambda case: case.name)
def test_no_answer_gives_anything_away(run: Run, case: Case) -> None:
    got = run.got[case.name]
    head = "\n".join(f"{name}: {value}" for name, value in got.headers.items()).encode()
    assert leaks(head, (*FOUND, *SECRET)) == []
    assert leaks(got.body, SECRET if case.shown else (*FOUND, *SECRET)) == []
    if case.guards:
        assert got.headers["x-guardproxy-receipt"].startswith("parts=")


def test_no_log_line_gives_anything_away(run: Run) -> None:
    assert leaks(run.logged, (*FOUND, *SECRET)) == []
    lines = run.logged.decode().splitlines()
    assert sum("plugin failed" in line for line in lines) > len(EVERY)
    assert sum("got %r with %s" in line for line in lines) > len(EVERY)
    if run.format == "json":
        assert all(json.loads(line) for line in lines)


def test_no_span_gives_anything_away(run: Run) -> None:
    assert len(run.spans) > len(EVERY)
    assert leaks(run.exported, (*FOUND, *SECRET)) == []
    assert b"guardproxy.overhead" in run.exported  # metrics, too, were exported
    captured = b"write to [EMAIL_ADDRESS], card [CREDIT_CARD], key [AWS_ACCESS_KEY]"
    assert (captured in run.exported) is run.captures


def test_the_search_finds_what_is_hidden() -> None:
    for text in (*FOUND, *SECRET):
        data = text.encode()
        hidden = [
            data,
            data.swapcase(),
            data[::-1],
            data.hex().upper().encode(),
            quote(text, safe="").encode(),
            json.dumps(text).encode(),
            data[3 : 3 + FRAGMENT],
            *(base64.b64encode(b"x" * shift + data + b"yz") for shift in range(4)),
        ]
        for place in hidden:
            assert leaks(b"a " + place + b" b", [text]) == [text]
    assert leaks(FILLER.encode(), (*FOUND, *SECRET)) == []
