"""Spans, log, metrics and headers of random exchanges: whole, of one mind, and without a text."""

import asyncio
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan
from structlog.testing import capture_logs

import guardproxy_metrics as metrics
import guardproxy_tracing as tracing
from guardproxy import Action, Detector, Exchange, Guard, Match, Outcome, Policy, Rule, Stage
from guardproxy.routes import CHECK
from guardproxy.types import OnError
from tests.harness import Answered, Chunks, Client, message, proxy, response, sse, text_events
from tests.plugins.metering import QuickRaises, QuickTags, Samples, parsed
from tests.samples import Names

TAG, NAME, SECRET = "TAG-" + "1234", "Zorp", "boom"  # what `tags`, `names` find, where `raises` raises
TRIGGERS = {"tags": TAG, "names": NAME, "raises": SECRET, "slow": TAG}
QUERY, BEARER = "query-" + "canary", "bearer-" + "canary"
CANARIES = (SECRET, QUERY, BEARER)
FOUND = {Outcome.FLAGGED, Outcome.REDACTED, Outcome.BLOCKED}


class QuickNames(Names):
    """On the loop whatever its length, so that no worker has to start."""

    inline_below = 1 << 30


class Slow(Detector):
    """Remote: goes on when it is let, and finds tags."""

    name = "slow"
    reach = 16

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def scan(self, texts: Sequence[str]) -> list[list[Match]]:
        await self.go.wait()
        return QuickTags().scan(texts)


@dataclass(frozen=True)
class Ending:
    """How an exchange ends: as it would; or at the `number`th piece the client leaves or the server ends."""

    word: str  # end, leaves, drained, late (guards go on behind the answer), cut (and are cut off there)
    number: int = 0


@dataclass(frozen=True)
class Case:
    """One exchange."""

    policy: Policy
    said: str
    model: str
    label: str
    stream: bool
    check: Stage | None
    texts: tuple[str, ...]  # of the answer
    shape: str
    status: int
    size: int  # of the pieces in which the answer comes
    ending: Ending


RULES = st.dictionaries(
    st.sampled_from(sorted(TRIGGERS)),
    st.builds(Rule, st.sampled_from(Action), st.booleans(), st.sampled_from(OnError)),
    max_size=3,
).map(lambda rules: {n: Rule(r.action, True, r.on_error) if n == "slow" else r for n, r in rules.items()})
TEXTS = st.lists(st.sampled_from(["fine", TAG, NAME, SECRET, "\ud800", '"']), max_size=4).map(" ".join)
NAMES = st.sampled_from(["m", "m", TAG])
ENDINGS = st.one_of(
    *(st.just(Ending(word)) for word in ("end", "late", "cut")),
    st.builds(Ending, st.sampled_from(["leaves", "drained"]), st.integers(1, 12)),
)
STREAMS = [
    *("stream", "unfinished", "broken", "open", "failed", "error", "other end", "two ends", "end first"),
    *("only end", "no json", "deep", "unnumbered", "empty stream"),
]
WHOLES = ["whole", "response failed", "text", "twice", "half", "charset", "list", "empty"]
CASES = st.builds(
    Case,
    st.builds(Policy, RULES, RULES),
    TEXTS,
    NAMES,
    NAMES,
    st.booleans(),
    st.sampled_from([None, None, None, None, *Stage]),
    st.lists(TEXTS, min_size=1, max_size=2).map(tuple),
    st.sampled_from([*STREAMS, *WHOLES]),
    st.sampled_from([200, 200, 200, 400, 500]),
    st.sampled_from([0, 0, 40, 300]),
    ENDINGS,
)


def answered(case: Case) -> str:
    """What the answer says for certain."""
    if case.shape in ("broken", "empty", "empty stream"):
        return ""
    return " ".join(case.texts if case.shape in (*WHOLES, "other end") else case.texts[:1])


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def events_of(case: Case, name: str) -> bytes:
    """The answer's stream, as odd as the case's shape says."""
    first, *others = case.texts
    events = text_events(first, 3, numbered=case.shape != "unnumbered")
    last = events[-1]
    head = events[0]["response"]
    head["id"] = head["model"] = last["response"]["id"] = last["response"]["model"] = name
    match case.shape:
        case "unfinished":
            return sse(events[:-1])
        case "open":
            return sse(events[:-1], done=False)
        case "failed":
            last["type"], last["response"]["status"] = "response.failed", "failed"
        case "error":
            events.insert(4, {"type": "error", "error": {"message": first, "code": "x"}})
        case "other end":
            last["response"]["output"] = [message(text) for text in others]
        case "two ends":
            events.append({**last, "response": response(message(" ".join(others)))})
        case "end first":
            events = [last, *events[:-1]]
        case "only end":
            events = [last]
        case "no json":
            return sse(events[:4], done=False) + f"data: {first!a}\n\n".encode() + sse(events[4:])
        case "deep":
            last["response"]["metadata"] = nested(600)
        case "empty stream":
            return b""
    return sse(events)


def body_of(case: Case, name: str) -> tuple[bytes, str]:
    """The answer's body where it is no stream, and its content type."""
    said = [message(text) for text in case.texts]
    good = response(*said, id=name, model=name)
    match case.shape:
        case "response failed":
            good["status"] = "failed"
        case "text":
            return " ".join(case.texts).encode("utf-8", "replace"), "text/plain"
        case "twice":
            return (json.dumps(good)[:-1] + f', "id": "{name}"}}').encode(), "application/json"
        case "half":
            return json.dumps(good).encode()[:-1], "application/json"
        case "charset":
            return json.dumps(good).encode(), "application/json; charset=utf-16"
        case "list":
            return json.dumps([good]).encode(), "application/json"
        case "empty":
            return b"", "application/json"
    return json.dumps(good).encode(), "application/json"


def upstream(case: Case) -> Any:
    def answer(_: httpx.Request) -> httpx.Response:
        if case.shape in STREAMS:
            body, kind = events_of(case, case.model), "text/event-stream"
        else:
            body, kind = body_of(case, case.model)
        pieces = [body[at : at + case.size] for at in range(0, len(body), case.size)] if case.size else [body]
        error = None
        if case.shape == "broken":
            pieces, error = pieces[: len(pieces) // 2], httpx.ReadError(SECRET)
        return httpx.Response(case.status, headers={"content-type": kind}, stream=Chunks(pieces, error))

    return answer


class Stopping:
    """An application that is stopped at the `number`th piece that it sends."""

    def __init__(self, app: Any, number: int, stop: Any) -> None:
        self.app, self.number, self.stop = app, number, stop

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def until(message: Any) -> None:
            self.number -= 1
            if self.number == 0:
                self.stop()
                await asyncio.Event().wait()  # the server waits for its client to read
            await send(message)

        await self.app(scope, receive, until)


@dataclass
class Told:
    """All that one exchange gave away."""

    exchange: Exchange
    steps: list[str]
    answered: Answered
    spans: list[ReadableSpan]
    logged: list[Any]
    samples: Samples
    page: str

    @property
    def server(self) -> ReadableSpan:
        (found,) = (span for span in self.spans if span.kind.name == "SERVER")
        return found

    @property
    def line(self) -> dict[str, Any]:
        (found,) = (line for line in self.logged if line["event"] == "exchange")
        return dict(found)

    def everything(self) -> str:
        return "\n".join((*(span.to_json() for span in self.spans), json.dumps(self.logged), self.page))


async def sent(case: Case, client: Client, slow: Slow) -> Answered:
    """The case's exchange, up to its ending."""
    left, delivered = asyncio.Event(), asyncio.Event()
    asked: dict[str, Any] = {"input": case.said}
    if case.check is None:
        asked |= {"model": case.model, "stream": case.stream}
    else:
        asked["stage"] = case.check.value
    headers = {"authorization": f"Bearer {BEARER}", "x-opper-name": case.label}
    path = "/v1/responses" if case.check is None else CHECK
    posting = asyncio.create_task(
        client.post(asked, headers, path, query=f"api-version={QUERY}", disconnect=left, delivered=delivered)
    )
    if case.ending.number:
        stop = left.set if case.ending.word == "leaves" else posting.cancel
        client.app = Stopping(client.app, case.ending.number, stop)
    # Who has an answer that breaks off waits for guards in shadow.
    if case.ending.word not in ("late", "cut") or case.shape == "broken":
        slow.go.set()
    else:
        await delivered.wait()
        if case.ending.word == "late":
            slow.go.set()
        else:
            posting.cancel()
    with suppress(asyncio.CancelledError):
        return await posting
    return Answered(0, {}, [], False)


async def told(case: Case) -> Told:
    slow = Slow()
    made = {
        "tags": Guard("tags", (QuickTags(),)),
        "names": Guard("names", (QuickNames(),)),
        "raises": Guard("raises", (QuickRaises(),)),
        "slow": Guard("slow", (slow,)),
    }
    own = {"metrics": metrics.MetricsSettings()}
    with tracing.record() as spans, capture_logs() as logged:
        async with proxy(
            upstream(case), made=made, plugins=[tracing, metrics], own=own, floor=case.policy
        ) as client:
            app = client.app
            answered = await sent(case, client, slow)
            client.app = app
            text = (await client.post({}, path="/metrics", method="GET")).body.decode()
            (exchange,) = client.recorder.exchanges
            samples = parsed(text)
            steps = list(client.recorder.steps)
    return Told(exchange, steps, answered, list(spans), logged, samples, text)


def check_tree(got: Told) -> None:
    """One tree, of just the steps that there were."""
    ids = Counter(span.context.span_id for span in got.spans)
    assert max(ids.values()) == 1
    assert {span.context.trace_id for span in got.spans} == {got.server.context.trace_id}
    assert [span for span in got.spans if span.parent is None] == [got.server]
    assert all(span.parent is None or span.parent.span_id in ids for span in got.spans)
    begun = Counter(step[1:] for step in got.steps if step[0] == "+")
    assert begun == Counter(step[1:] for step in got.steps if step[0] == "-")
    assert begun.total() == len(got.spans)


def facts_of(span: ReadableSpan) -> Mapping[str, Any]:
    return span.attributes or {}


def of_stage(got: Told, stage: Stage) -> tuple[ReadableSpan | None, dict[str, ReadableSpan]]:
    """The stage's span and those of its guards."""
    found = next((span for span in got.spans if span.name == f"guardproxy.guard {stage}"), None)
    guards = {
        str(facts_of(span)["gen_ai.guardrail.name"]): span
        for span in got.spans
        if found is not None and span.parent is not None and span.parent.span_id == found.context.span_id
    }
    return found, guards


def check_words(case: Case, got: Told, stage: Stage) -> None:
    """What is said of one stage agrees, and nobody is called clean who has not seen what there was."""
    facts = facts_of(got.server)
    word = facts[f"guardproxy.verdict.{stage}"]
    assert got.line.get(stage.value, "off") == word
    span, guards = of_stage(got, stage)
    assert (span is None) == (word in ("off", "not_run"))
    if span is None:
        return
    rules = got.exchange.policy.stage(stage)
    assert set(guards) == set(rules)
    assert facts_of(span)["guardproxy.verdict.outcome"] == word
    outcomes = {name: str(facts_of(guard)["guardproxy.guard.outcome"]) for name, guard in guards.items()}
    enforced = {outcomes[name] for name, rule in rules.items() if not rule.shadow}
    if word == "clean":
        assert enforced <= {"clean"}
        assert not {"interrupted", "not_run"} & set(outcomes.values())
    if word in FOUND and word != "flagged":
        assert word in enforced
    text = case.said if stage is Stage.INPUT or case.check else answered(case)
    for name, outcome in outcomes.items():
        if outcome == "clean":
            assert TRIGGERS[name] not in text, (name, outcome)
        failure = facts_of(guards[name]).get("guardproxy.guard.failure")
        assert (outcome == "failed") == (failure is not None)
        assert got.exchange.guard_failures.get(f"{stage}.{name}") == failure


def check_outcome(got: Told) -> None:
    """Span, log and metrics tell one outcome, and nothing is left open."""
    facts = facts_of(got.server)
    line = got.line
    assert facts["guardproxy.outcome"] == line["outcome"]
    assert facts.get("http.response.status_code") == line.get("status")
    counted = [(labels, n) for labels, n in got.samples["guardproxy_exchanges_total"] if n]
    ((labels, number),) = counted
    assert (labels["guardproxy_outcome"], number) == (line["outcome"], 1)
    assert [n for _, n in got.samples["guardproxy_exchanges_active"]] == [0]
    error = labels.get("error_type") or None
    if line["outcome"] == "blocked":
        assert facts["error.type"] == "guardrail_blocked"
    else:
        assert facts.get("error.type") == line.get("code") == error
    if line["outcome"] in ("allowed", "flagged", "redacted"):
        assert got.server.status.status_code.name == "UNSET"
        assert got.answered.ended or not got.answered.status
    head = got.answered.headers.get("x-guardproxy-verdict", "")
    for part in filter(None, head.split(", ")):
        stage, _, word = part.partition("=")
        final = facts[f"guardproxy.verdict.{stage}"]
        if word not in ("pending", "off"):
            same = {"failed": {"failed", "interrupted", "not_run"}}.get(word, {word, "interrupted"})
            assert final in same, (part, final)


def check_texts(case: Case, got: Told) -> None:
    """No canary anywhere, and no name that a guard had to look at and did not clear."""
    everything = got.everything()
    assert [canary for canary in CANARIES if canary in everything] == []
    watched = {stage: {"tags", "slow"} & set(case.policy.stage(stage)) for stage in Stage}
    if case.check is not None:
        watched = {stage: guards if stage is case.check else set() for stage, guards in watched.items()}
    unwatched = {case.label, case.model} if not watched[Stage.INPUT] else set()
    if not watched[Stage.OUTPUT] and case.check is None:
        unwatched.add(case.model)
    if TAG not in unwatched:
        assert TAG not in everything


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CASES)
async def test_whatever_happens_is_told_once_and_right(metrics_off: None, case: Case) -> None:
    got = await told(case)
    event(f"{got.line['outcome']} {case.ending.word}")
    check_tree(got)
    for stage in Stage:
        check_words(case, got, stage)
    check_outcome(got)
    check_texts(case, got)
