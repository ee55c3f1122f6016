"""Every string that the protocol has a place for is inspected: a canary in it never leaves.

protocol/places.txt lists the places, derived from the schemas of the API; here each gets a canary, as a
sentence and bare, in the smallest document that has it.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from guardproxy.document import _Walker, parse
from guardproxy.errors import GuardProxyError
from guardproxy.shapes import EVENT, KIND, PADDING, REQUEST, RESPONSE, WORD, Name, Opaque, Place, Shape
from guardproxy.types import Action, Stage
from guardproxy.types import Path as Where
from tests.harness import proxy, response, sse, whole
from tests.protocol.derive import read, table
from tests.protocol.planting import GROUPS, TABLE, VARIANTS, Builder, Node, inner_types
from tests.protocol.proof import annotated, in_message, inspected, leaks
from tests.test_streaming import Run

SCHEMAS = os.environ.get("PROTOCOL_SCHEMAS")  # a folder of listings: protocol/derive.py
SENTENCE, BARE = "please see {} now", "{}"
FORMS = pytest.mark.parametrize("form", [SENTENCE, BARE], ids=["sentence", "bare"])
TAG = "TAG-7351"
PASSED_OVER = ("obfuscation",)  # docs/coverage.md says why


@pytest.mark.skipif(not SCHEMAS, reason="the schemas' listings are not part of the project")
def test_the_table_is_that_of_the_schemas() -> None:
    assert TABLE.read_text("utf-8") == table(read(Path(SCHEMAS or "")))


# The smallest documents that have an object of a group, at the input and at the output.
Holder = Callable[[Any], Any]
INPUT: dict[str, list[Holder]] = {
    "request": [lambda it: it],
    "item": [lambda it: {"input": [it]}],
    "part": [
        lambda it: {"input": [in_message(it)]},
        lambda it: {"input": [{"type": "function_call_output", "output": [it]}]},
        lambda it: {"prompt": {"id": "p", "variables": {"of": it}}},
    ],
    "annotation": [lambda it: {"input": [annotated(it)]}],
    "tool": [
        lambda it: {"tools": [it]},
        lambda it: {"input": [{"type": "tool_search_output", "tools": [it]}]},
    ],
    "choice": [lambda it: {"tool_choice": it}],
}
OUTPUT: dict[str, list[Holder]] = {
    "response": [lambda it: it],
    "item": [lambda it: response(it), lambda it: response(instructions=[it])],
    "part": [lambda it: response(in_message(it))],
    "annotation": [lambda it: response(annotated(it))],
    "tool": [lambda it: response(tools=[it])],
    "choice": [lambda it: response(tool_choice=it)],
}


def lines(groups: Iterable[str]) -> list[Any]:
    return [pytest.param(g, k, id=f"{g} {k}".strip()) for g in groups for k in GROUPS.get(g, ())]


def places_of(group: str, kind: str, variant: int) -> list[Where]:
    found: list[Where] = []

    def note(place: Where) -> str:
        found.append(place)
        return ""

    Builder(note, variant).object(group, kind, ())
    return found


def with_text(group: str, kind: str, variant: int, at: Where, text: str) -> Any:
    return Builder(lambda place: text if place == at else "", variant).object(group, kind, ())


def planted(group: str, kind: str, text: str) -> Iterator[tuple[Where, Any]]:
    """An object of a line for each of its places, with `text` there and nowhere else."""
    done: set[Where] = set()
    for variant in range(VARIANTS):
        for place in places_of(group, kind, variant):
            if place not in done:
                done.add(place)
                yield place, with_text(group, kind, variant, place, text)


class Full:
    """Objects with a text of its own in every place that a redaction leaves where it is."""

    def __init__(self, form: str) -> None:
        self.form = form
        self.tags: dict[str, Where] = {}
        self.numbers = count(70_000)

    def __call__(self, place: Where) -> str:
        if place[-1] in ("type", "encrypted_content", *PASSED_OVER):
            return ""
        tag = str(next(self.numbers))
        self.tags[tag] = place
        return self.form.format(f"TAG-{tag}")

    def left_in(self, data: bytes) -> list[Where]:
        """The places whose text is in `data`."""
        return [place for tag, place in self.tags.items() if tag in data.decode()]


@FORMS
@pytest.mark.parametrize(("group", "kind"), lines(INPUT))
async def test_a_request(group: str, kind: str, form: str) -> None:
    await check(Stage.INPUT, INPUT[group], group, kind, form)


@FORMS
@pytest.mark.parametrize(("group", "kind"), lines(OUTPUT))
async def test_a_response(group: str, kind: str, form: str) -> None:
    await check(Stage.OUTPUT, OUTPUT[group], group, kind, form)


async def check(side: Stage, holders: list[Holder], group: str, kind: str, form: str) -> None:
    for place, thing in planted(group, kind, form.format(TAG)):
        for holder in holders:
            document = holder(thing)
            body, run = await inspected(side, Action.REDACT, document)
            assert len(run.verdict().findings) == 1, place
            assert body or "encrypted_content" in json.dumps(document), place
            assert not leaks(body), place
            body, run = await inspected(side, Action.BLOCK, document)
            assert run.blocked, place
            assert not body


CREATED = {"type": "response.created", "response": response(status="in_progress")}
COMPLETED = {"type": "response.completed", "response": response()}


async def streamed(action: Action, events: Iterable[Any]) -> Run:
    """What is delivered of a stream with the events between its begin and its end."""
    run = Run("tags", action=action)
    try:
        await run.all([CREATED, *events, COMPLETED])
    except GuardProxyError as error:
        run.out += run.stream.fail(error)
    return run


def own_places(kind: str, form: str) -> Iterator[tuple[Where, Any]]:
    """An event's own strings, not those of the objects in it."""
    for place, event in planted("event", kind, form.format(TAG)):
        if place[0] not in ("response", "item", "part", "annotation"):
            yield place, event


@FORMS
@pytest.mark.parametrize(("group", "kind"), lines(["event"]))
async def test_an_event(group: str, kind: str, form: str) -> None:
    for place, event in own_places(kind, form):
        if place[-1] in PASSED_OVER and form is BARE:
            continue
        for action in Action:
            run = await streamed(action, [event])
            assert len(run.stage.verdict().findings) == 1, place
            out = b"".join(run.out)
            assert leaks(out) is (action is Action.FLAG), (place, action)
            assert run.stage.blocked is (action is Action.BLOCK), place
            assert out.endswith(b"data: [DONE]\n\n")


@FORMS
@pytest.mark.parametrize(("group", "kind"), lines(["event"]))
async def test_the_objects_in_an_event(group: str, kind: str, form: str) -> None:
    if not {"response", "item", "part", "annotation"} & GROUPS["event"][kind].members.keys():
        return
    inner = inner_types(group, kind)
    for number in range(VARIANTS * inner):
        full = Full(form)
        event = Builder(full, number // inner, number % inner).object(group, kind, ())
        run = await streamed(Action.REDACT, [event])
        assert len(run.stage.verdict().findings) == len(full.tags)
        assert full.left_in(b"".join(run.out)) == []


@pytest.mark.parametrize("kind", [kind for kind in GROUPS["event"] if kind.endswith(".delta")])
@pytest.mark.parametrize("action", [Action.REDACT, Action.BLOCK])
async def test_a_canary_in_two_deltas(kind: str, action: Action) -> None:
    if kind == "response.audio.delta":
        return  # bytes in base64, in which a text is none
    halves = ("see TAG-7", "351 now")
    strings, objects = (
        [{"type": kind, "delta": d} for d in halves],
        [{"type": kind, "delta": {"stdout": d}} for d in halves],
    )
    for events in (strings, objects):
        run = await streamed(action, events)
        assert run.stage.verdict().findings
        told = b"".join(run.out)
        assert b"351" not in told
        assert b"TAG-7" not in told


async def test_two_commands_of_one_call() -> None:
    """A client acts on a command: it leaves whole, and the end of one is not that of the next."""
    events = []
    for index, command in enumerate(("ls TAG-7351", "cat x")):
        at = {"output_index": 0, "command_index": index}
        stem = "response.shell_call_command"
        events += [
            {"type": f"{stem}.added", **at, "command": ""},
            *({"type": f"{stem}.delta", **at, "delta": text} for text in (command[:7], command[7:])),
            {"type": f"{stem}.done", **at, "command": command},
        ]
    run = Run("tags")
    assert len(await run.feed(CREATED, *events[:3])) == 2
    got = await run.all([*events[3:], COMPLETED])
    told = [e.get("delta", e.get("command")) for e in got if e != "[DONE]" and "command_index" in e]
    assert told == ["", "ls [TAG]", "", "ls [TAG]", "", "cat x", "", "cat x"]


def everything(form: str, variant: int, root: str, items: str) -> tuple[Full, Any]:
    """A request or a response with every item, part and tool in it."""
    full = Full(form)
    build = Builder(full, variant, deep=True)
    body = build.object(root, "", ())
    full.tags = {tag: place for tag, place in full.tags.items() if place[0] != items}
    body[items] = [build.object("item", kind, (items, i)) for i, kind in enumerate(GROUPS["item"])]
    for item in body[items]:
        item.pop("encrypted_content", None)  # an item that is bound to it is refused
    return full, body


WHOLE = [(form, variant) for variant in range(VARIANTS) for form in (SENTENCE, BARE)][: VARIANTS + 1]


@pytest.mark.parametrize("action", list(Action))
async def test_all_of_a_request_through_a_proxy(action: Action) -> None:
    async with proxy(whole()) as client:
        for form, variant in WHOLE:
            client.requests.clear()
            full, body = everything(form, variant, "request", "input")
            got = await client.post(body, {"x-opper-guard-input": f"tags={action.word}"})
            assert len(client.recorder.verdicts[-1].findings) == len(full.tags) > 500
            forwarded = b"".join(request.content for request in client.requests)
            assert len(full.left_in(forwarded)) == (len(full.tags) if action is Action.FLAG else 0)
            assert bool(forwarded) is (action is not Action.BLOCK)
            assert full.left_in(got.body) == []
            assert got.status == (400 if action is Action.BLOCK else 200)


@pytest.mark.parametrize("action", list(Action))
async def test_all_of_a_response_through_a_proxy(action: Action) -> None:
    answers: list[httpx.Response] = []
    async with proxy(lambda _: answers.pop()) as client:
        for form, variant in WHOLE:
            full, body = everything(form, variant, "response", "output")
            events = sse([CREATED, {"type": "response.completed", "response": body}])
            answers += (
                httpx.Response(200, headers={"content-type": "text/event-stream"}, content=events),
                httpx.Response(200, json=body),
            )
            for blocked in (400, 200):  # a stream's end tells of it
                got = await client.post({"input": "x"}, {"x-opper-guard-output": f"tags={action.word}"})
                assert len(client.recorder.verdicts[-1].findings) == len(full.tags) > 500
                assert len(full.left_in(got.body)) == (len(full.tags) if action is Action.FLAG else 0)
                assert got.status == (blocked if action is Action.BLOCK else 200)


@dataclass(slots=True)
class Walked(_Walker):
    """Notes which entry of shapes.py each string is under."""

    entries: dict[str, Place] = field(default_factory=dict)

    def string(self, value: str, path: Where, place: Place) -> Any:
        self.entries.setdefault(value, place.string if isinstance(place, Shape) else place)
        return _Walker.string(self, value, path, place)


def exempt() -> Iterator[tuple[str, Name | Opaque, set[str], dict[str, int]]]:
    """The places that are not text, with the kinds that the table gives them, and what was skipped there."""
    event: dict[str, list[Holder]] = {"event": [lambda it: it]}
    for side, shape in ((INPUT, REQUEST), (OUTPUT, RESPONSE), (event, EVENT)):
        for group, holders in side.items():
            for kind, root in GROUPS[group].items():
                for place, thing in planted(group, kind, TAG):
                    node: Node | None = root
                    for step in place:
                        node = node and (node.members.get(step) if isinstance(step, str) else node.element)
                    for holder in holders if node else ():
                        walked = Walked()
                        walked.walk(parse(json.dumps(holder(thing))), shape)
                        entry = walked.entries.get(TAG)
                        if node and isinstance(entry, Name | Opaque):
                            yield (
                                f"{group} {kind} {'.'.join(map(str, place))}",
                                entry,
                                node.kinds,
                                walked.skipped,
                            )


def test_what_is_exempt_is_no_text_in_the_schemas() -> None:
    """A word or a discriminator is an enum there, but for these, whose words the reference lists in prose."""
    image = "event response.image_generation_call.partial_image"
    in_prose = {
        *("event error code", "event error error.code", "event error error.type", "response  error.type"),
        *(f"{image} {key}" for key in ("background", "output_format", "quality", "size")),
    }
    found = set()
    for place, entry, kinds, skipped in exempt():
        if isinstance(entry, Opaque):
            # Counted, so that nobody takes it for inspected.
            assert entry == PADDING or skipped.get(entry.reason), place
        elif entry in (KIND, WORD) and kinds == {"string"}:
            found.add(place)
    assert found == in_prose
