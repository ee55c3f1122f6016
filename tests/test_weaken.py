"""A guard that is on cannot be taken off: random policies, and spellings of headers, on the wire too."""

import asyncio
import contextlib
import hashlib
import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy import Action, Detector, Guard, Match, Policy, Rule, Stage, Step, hookimpl
from guardproxy.scanning import UNLIMITED
from guardproxy.serve import running
from guardproxy.settings import ClientKey
from guardproxy.types import OnError, StepKind
from tests.harness import Client, message, proxy, whole


class Word(Detector):
    """Finds one word; never in another process."""

    inline_below = UNLIMITED

    def __init__(self, word: str) -> None:
        self.name, self.reach = word.lower(), len(word)

    def scan(self, texts: Sequence[str]) -> list[list[Match]]:
        word = self.name.upper()
        return [[Match(*m.span(), FOUND, validated=True) for m in re.finditer(word, text)] for text in texts]


FOUND = "TREE"
WORDS = ("AMBER", "BIRCH", "CEDAR")
GUARDS = {word.lower(): Guard(word.lower(), (Word(word),)) for word in WORDS}
TEXT = "amber AMBER birch BIRCH cedar CEDAR"  # each guard finds the upper-case word
IN = "X-Opper-Guard-Input"
OUT = "X-Opper-Guard-Output"


class Watches:
    """Notes the rule with which each guard ran, by stage."""

    def __init__(self) -> None:
        self.ran: dict[tuple[Stage, str], Rule] = {}

    @hookimpl
    def guardproxy_step(self, step: Step) -> AbstractContextManager[object] | None:
        return self.note(step) if step.kind is StepKind.GUARD else None

    @contextlib.contextmanager
    def note(self, step: Step) -> Any:
        yield
        assert step.stage is not None
        assert step.rule is not None
        assert step.findings == {FOUND: 1}  # it did not only run: it looked
        self.ran[step.stage, step.name] = step.rule


RULES = st.builds(Rule, st.sampled_from(Action), st.booleans(), st.sampled_from(OnError))
TABLES = st.dictionaries(st.sampled_from(list(GUARDS)), RULES)
POLICIES = st.builds(Policy, TABLES, TABLES)
ENTRIES = st.sampled_from(
    [
        *GUARDS,
        "amber=flag",
        "BIRCH=flag",
        " cedar = redact ",
        "amber=block",
        "",
        "\t",
        "=flag",
        "amber=off",
        "x",
    ]
)
FIELDS = st.one_of(
    st.tuples(
        st.sampled_from([IN, IN.lower(), OUT, OUT.upper()]), st.lists(ENTRIES, max_size=3).map(",".join)
    ),
    st.sampled_from(
        [
            ("X-Opper-Guard-Action", "flag"),
            ("x-opper-guard-action", "redact, flag"),
            ("X-Opper-Guard-Report", "none"),
            ("X-Opper-Guard-Report", "items"),
            ("Connection", f"{IN}, {OUT}, X-Opper-Guard-Action"),
            ("X_Opper_Guard_Input", "amber=flag"),
        ]
    ),
)


@settings(max_examples=40, deadline=None)
@given(POLICIES, POLICIES, st.lists(FIELDS, max_size=4))
def test_every_guard_of_the_floor_and_the_key_runs_whatever_the_headers_say(
    floor: Policy, own: Policy, fields: list[tuple[str, str]]
) -> None:
    asyncio.run(check_all_ran(floor, own, fields))


async def check_all_ran(floor: Policy, own: Policy, fields: list[tuple[str, str]]) -> None:
    watches = Watches()
    keys = (ClientKey("team", hashlib.sha256(b"client").hexdigest(), own),)
    upstream = whole(message(TEXT))
    async with proxy(upstream, made=GUARDS, plugins=[watches], floor=floor, keys=keys) as client:
        got = await client.post({"input": TEXT}, fields)
        forwarded = [json.loads(request.content)["input"] for request in client.requests]
    if got.status == 400 and got.json["error"]["code"].startswith("unknown_"):
        assert not forwarded
        return
    least = floor.join(own)
    for stage in Stage if forwarded else (Stage.INPUT,):
        for name, rule in least.stage(stage).items():
            assert stronger(watches.ran[stage, name], rule)
    assert got.status in (200, 400)
    for word in WORDS:
        at_input, at_output = (effect(least.stage(stage).get(word.lower())) for stage in Stage)
        if at_input is Action.BLOCK:
            assert not forwarded
        for text in forwarded:
            assert at_input is not Action.REDACT or word not in text
        if at_output is Action.BLOCK or not forwarded:
            assert got.status == 400
        elif at_output is Action.REDACT:
            assert word not in got.body.decode()


def effect(rule: Rule | None) -> Action:
    return Action.FLAG if rule is None or rule.shadow else rule.action


def stronger(ran: Rule, rule: Rule) -> bool:
    if rule.shadow:
        return not ran.shadow or ran.action >= rule.action
    closed = ran.on_error is OnError.FAIL or rule.on_error is OnError.FLAG
    return not ran.shadow and ran.action >= rule.action and closed


# Each is a request that means amber=redact or is refused with that code, never one that passes unguarded.
SPELLINGS: list[tuple[list[tuple[str, str]], str]] = [
    ([("x-opper-guard-input", "amber")], ""),
    ([("X-OPPER-GUARD-INPUT", "AMBER")], ""),
    ([(IN, "birch"), (IN.lower(), "amber")], ""),
    ([(IN, ""), (IN, "amber")], ""),
    ([(IN, "amber"), (IN, "")], ""),
    ([(IN, "\t amber \t")], ""),
    ([(IN, ",, ,amber,")], ""),
    ([(IN, "amber\t=\tredact")], ""),
    ([(IN, "amber=flag,amber")], ""),
    ([(IN, "amber=flag"), (IN, "amber=redact")], ""),
    ([(IN, "amber"), ("X-Opper-Guard-Action", "flag"), ("x-opper-guard-action", "REDACT")], ""),
    ([(IN, "amber"), ("X-Opper-Guard-Action", ", redact ,\tflag,")], ""),
    ([(IN, "amber,birch," * 20_000)], ""),
    ([(IN, "amber")] * 5_000, ""),
    ([(IN, "amber"), ("X-Opper-Guard-Action", "redact"), ("Connection", f"{IN},X-Opper-Guard-Action")], ""),
    ([("connection", f"close, {IN.upper()}"), (IN, "amber")], ""),
    ([("Connection", "keep-alive"), ("CONNECTION", f" ,{IN.lower()} ,"), (IN, "amber")], ""),
    ([("Connection", IN), ("Connection", "x-other"), (IN, "amber")], ""),
    ([(IN, "amber"), ("Trailer", IN), ("TE", "trailers")], ""),
    ([(IN, "\xe4mber")], "unknown_guard"),
    ([(IN, "amber\xa0birch")], "unknown_guard"),
    ([(IN, "\xef\xbd\x81mber")], "unknown_guard"),
    ([(IN, "amber birch")], "unknown_guard"),
    ([(IN, "amber;birch")], "unknown_guard"),
    ([(IN, '"amber"')], "unknown_guard"),
    ([(IN, "amber\x00")], "unknown_guard"),
    ([(IN, "a" * 200_000)], "unknown_guard"),
    ([(IN, "none")], "unknown_guard"),
    ([(IN, "amber, =flag")], "unknown_guard"),
    ([(IN, "amber=")], "unknown_action"),
    ([(IN, "amber=r\xe9dact")], "unknown_action"),
    ([(IN, "amber"), ("X-Opper-Guard-Action", "none")], "unknown_action"),
    ([(IN, "amber"), ("X-Opper-Guard-Report", "none, items")], "unknown_report"),
    ([("X_Opper_Guard_Input", "amber")], "unknown_header"),
    ([("x-opper_guard-input", "amber"), (IN, "amber")], "unknown_header"),
    ([("X_OPPER_GUARD_OUTPUT", "")], "unknown_header"),
    ([("X-Opper-Guard-Inputs", "amber")], "unknown_header"),
    ([("X-Opper-Guard", "amber")], "unknown_header"),
    ([("X-Guardproxy-Guard-Input", "amber")], "unknown_header"),
    ([("X-Guardproxy-Guards", "amber")], "unknown_header"),
    ([("X-Guard-Input", "amber")], "unknown_header"),
    ([("Guard-Output", "amber")], "unknown_header"),
    ([("Opper-Guards-Actions", "amber")], "unknown_header"),
    ([(f" {IN}", "amber")], "unknown_header"),
    ([(f"{IN}\t", "amber")], "unknown_header"),
]


@pytest.mark.parametrize(("fields", "code"), SPELLINGS, ids=lambda value: str(value)[:40])
async def test_a_spelling_counts_or_is_refused(fields: list[tuple[str, str]], code: str) -> None:
    if not any("action" in name.lower() for name, _ in fields):
        fields = [*fields, ("X-Opper-Guard-Action", "redact")]
    async with proxy(whole(message("fine")), made=GUARDS) as client:
        got = await client.post({"input": "AMBER here"}, fields)
    if code:
        assert (got.status, got.json["error"]["code"], client.requests) == (400, code, [])
        assert len(got.body) < 1000
        return
    assert got.status == 200
    assert got.headers["x-guardproxy-verdict"] == "input=redacted, output=off"
    assert json.loads(client.requests[0].content)["input"] == "[TREE] here"
    assert not any("opper" in name for name in client.requests[0].headers)


async def test_a_shadow_at_the_input_runs_to_its_end_where_the_output_is_blocked() -> None:
    watches = Watches()
    floor = Policy({"amber": Rule(shadow=True)}, {"birch": Rule(Action.BLOCK)})
    async with proxy(whole(message(TEXT)), made=GUARDS, plugins=[watches], floor=floor) as client:
        got = await client.post({"input": TEXT})
        exchange = client.recorder.exchanges[0]
    assert (got.status, got.json["error"]["code"]) == (400, "guardrail_violation")
    assert set(watches.ran) == {(Stage.INPUT, "amber"), (Stage.OUTPUT, "birch")}
    assert exchange.verdicts[Stage.INPUT].shadowed
    assert exchange.outcome == "blocked"


# Lines of a request's head on the wire. `400` is the parser's: it is no HTTP (RFC 9112, 5.1, 5.2).
WIRE: list[tuple[bytes, str]] = [
    (b"X-Opper-Guard-Input: amber=redact", "[TREE] here"),
    (b"x-oPPER-guard-iNPUT:amber=redact", "[TREE] here"),
    (b"X-Opper-Guard-Input: \t amber=redact \t", "[TREE] here"),
    (b"X-Opper-Guard-Input:\r\nX-Opper-Guard-Input: amber=redact", "[TREE] here"),
    (
        b"X-Opper-Guard-Input: amber\r\nX-Opper-Guard-Action: flag\r\nX-opper-guard-action: redact",
        "[TREE] here",
    ),
    (b"Connection: X-Opper-Guard-Input\r\nX-Opper-Guard-Input: amber=redact", "[TREE] here"),
    (b"X-Opper-Guard-Input: amber=redact\r\nconnection: te ,x-opper-guard-input", "[TREE] here"),
    (b"X-Opper-Guard-Input: " + b"amber=redact," * 50_000, "[TREE] here"),
    (b"X-Opper-Guard-Input: amber=redact\r\n" * 5_000 + b"X-Other: 1", "[TREE] here"),
    (b"X-Opper-Guard-Input: \xe4mber", "unknown_guard"),
    (b"X-Opper-Guard-Input: \xff", "unknown_guard"),
    (b"X_Opper_Guard_Input: amber=redact", "unknown_header"),
    (b"X-Opper-Guard-Input : amber=redact", "400"),
    (b"X-Opper-Guard-Input\t: amber=redact", "400"),
    (b" X-Opper-Guard-Input: amber=redact", "400"),
    (b"X-Other: 1\r\n X-Opper-Guard-Input: amber=redact", "400"),
    (b"X-Opper-Guard-Input: birch,\r\n amber=redact", "400"),
    (b"X-Other: 1\rX-Opper-Guard-Input: amber=redact", "400"),
    (b"X-Opper-Guard-Input: amber=redact\nX-Other: 1", "400"),
    (b"X-Opper-Guard-Input: amber=redact\x00", "400"),
    (b"X-Opper\x00-Guard-Input: amber=redact", "400"),
    (b"\xefX-Opper-Guard-Input: amber=redact", "400"),
    (b"X-Opper-Guard-Input", "400"),
]
BODY = b'{"input": "AMBER here"}'
HEAD = b"POST /v1/responses HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer c\r\nConnection: close\r\n"


async def exchange(url: str, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*url.removeprefix("http://").split(":"))
    writer.write(request)
    await writer.drain()
    answer = await reader.read()
    writer.close()
    return answer


@contextlib.asynccontextmanager
async def listening() -> AsyncIterator[tuple[Client, str]]:
    """A proxy behind the server that it is served with; the proxy itself runs already."""
    async with proxy(whole(message("fine")), made=GUARDS) as client:

        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "lifespan":
                await client.app(scope, receive, send)
                return
            for event in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{event}.complete"})

        async with running(app) as url:
            yield client, url


async def test_on_the_wire_a_spelling_counts_or_is_refused() -> None:
    length = b"Content-Length: %d\r\n" % len(BODY)
    async with listening() as (client, url):
        for lines, want in WIRE:
            client.requests.clear()
            answer = await exchange(url, HEAD + length + lines + b"\r\n\r\n" + BODY)
            got = [json.loads(request.content)["input"] for request in client.requests]
            if want == "[TREE] here":
                assert (answer[9:12], got) == (b"200", [want]), lines[:80]
            else:
                assert (answer[9:12], got) == (b"400", []), lines[:80]
                assert want == "400" or f'"code":"{want}"'.encode() in answer, lines[:80]


@pytest.mark.parametrize("pause", [0, 0.05], ids=["with the head", "later"])
async def test_trailers_are_no_headers(pause: float) -> None:
    # RFC 9110, 6.5.1. Otherwise it would hang on the packets whether they count, and for what.
    trailers = (
        b"X-Opper-Guard-Input: none\r\nAuthorization: Bearer other\r\nContent-Encoding: gzip\r\nX-Late: 1"
    )
    head = HEAD + b"X-Opper-Guard-Input: amber=redact\r\nTransfer-Encoding: chunked\r\n\r\n"
    rest = b"%x\r\n%s\r\n0\r\n%s\r\n\r\n" % (len(BODY), BODY, trailers)
    async with listening() as (client, url):
        reader, writer = await asyncio.open_connection(*url.removeprefix("http://").split(":"))
        for piece in (head + rest,) if not pause else (head, rest):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)
        answer = await reader.read()
        writer.close()
        (request,) = client.requests
    assert answer[9:12] == b"200"
    assert json.loads(request.content)["input"] == "[TREE] here"
    assert request.headers["authorization"] == "Bearer c"
    assert not {"x-late", "content-encoding"} & set(request.headers)
