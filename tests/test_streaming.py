"""The guarded stream over whole streams of events: copies agree, nothing leaks, every event comes out."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.errors import GuardProxyError, UpstreamError, Violation
from guardproxy.exchange import Exchange
from guardproxy.profiles import Form
from guardproxy.redaction import splice
from guardproxy.report import Reporter
from guardproxy.scanning import Scanner
from guardproxy.settings import Settings
from guardproxy.sse import Decoder, Frame
from guardproxy.stage import StageRun
from guardproxy.streaming import GuardedStream
from guardproxy.types import Action, PathMark, Policy, Rule, Stage, TextPart
from tests.harness import message, response, sse, text_events
from tests.samples import guards

SCANNER = Scanner(guards(), Settings())
NAMES = ("tags", "braces", "names", "pairs")
PIECES = st.sampled_from(
    ["TAG-1234", "TAG-1", "234", "xyx", "{{", "}}", "Zorp", " ", "word. ", "7", "\n\n", "é", "\u200b", "｛｛"]
)
TEXTS = st.lists(PIECES, min_size=1, max_size=12).map("".join)


def decoded(data: bytes) -> list[Any]:
    decoder = Decoder()
    frames = decoder.feed(data)
    return [f.data.decode() if f.done else json.loads(f.data) for f in frames if f.data]


class Run:
    """One guarded stream, fed by hand."""

    def __init__(
        self,
        *names: str,
        action: Action = Action.REDACT,
        form: Form = Form.FIELDS,
        shadow: bool = False,
        rules: Mapping[str, Rule] | None = None,
    ) -> None:
        rules = rules or {name: Rule(action, shadow) for name in names}
        self.exchange = Exchange("POST", "/v1/responses", {}, policy=Policy(output=rules))
        self.stage = StageRun(Stage.OUTPUT, rules, SCANNER, "[{category}]", lambda _: nullcontext())
        self.stream = GuardedStream(self.stage, Reporter(self.exchange, form), {}, {}, lambda _: None)
        self.out: list[bytes] = []

    async def feed(self, *events: Any) -> list[Any]:
        decoder = Decoder()
        fresh: list[bytes] = []
        for frame in decoder.feed(sse(events, done=False)):
            fresh += await self.stream.feed(frame)
        self.out += fresh
        return decoded(b"".join(fresh))

    async def all(self, events: list[Any], done: bool = True) -> list[Any]:
        await self.feed(*events)
        if done:
            await self.stream.feed(Frame(b"data: [DONE]\n\n", b"[DONE]"))
        self.out += await self.stream.end()
        return decoded(b"".join(self.out))


async def redacted(text: str, *names: str) -> str:
    run = Run(*names).stage
    hits = await run.hits([TextPart(("x",), text)], run.guards)
    return splice(text, run.found.ranges(hits[0]), run.placeholder)


def two_texts(first: str, second: str, order: list[bool]) -> list[dict[str, Any]]:
    """A message and a reasoning summary whose deltas, of one character each, come in any order."""
    message_at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    summary_at = {"item_id": "rs_1", "output_index": 1, "summary_index": 0}
    summary = {"type": "summary_text", "text": second}
    items = [message(first), {"type": "reasoning", "id": "rs_1", "summary": [summary]}]
    events: list[dict[str, Any]] = [{"type": "response.created", "response": response()}]
    left, right = list(first), list(second)
    for use_left in [*order, *[True] * len(left), *[False] * len(right)]:
        if use_left and left:
            events.append({"type": "response.output_text.delta", **message_at, "delta": left.pop(0)})
        elif not use_left and right:
            events.append(
                {"type": "response.reasoning_summary_text.delta", **summary_at, "delta": right.pop(0)}
            )
    return [
        *events,
        {"type": "response.output_text.done", **message_at, "text": first},
        {"type": "response.reasoning_summary_text.done", **summary_at, "text": second},
        {"type": "response.output_item.done", "output_index": 0, "item": items[0]},
        {"type": "response.output_item.done", "output_index": 1, "item": items[1]},
        {"type": "response.completed", "response": response(*items)},
    ]


@given(first=TEXTS, second=TEXTS, order=st.lists(st.booleans(), max_size=60))
@settings(max_examples=80, deadline=None)
def test_all_copies_of_two_interleaved_texts_agree(first: str, second: str, order: list[bool]) -> None:
    async def check() -> None:
        events = two_texts(first, second, order)
        got = await Run(*NAMES).all(events)
        one, two = await redacted(first, *NAMES), await redacted(second, *NAMES)
        assert [e["type"] for e in got[:-1]] == [e["type"] for e in events]
        deltas = {"response.output_text.delta": "", "response.reasoning_summary_text.delta": ""}
        for event in got[:-1]:
            if event["type"] in deltas:
                deltas[event["type"]] += event["delta"]
        assert list(deltas.values()) == [one, two]
        assert [e["text"] for e in got[:-1] if e["type"].endswith("text.done")] == [one, two]
        final = got[-2]["response"]["output"]
        assert (final[0]["content"][0]["text"], final[1]["summary"][0]["text"]) == (one, two)

    asyncio.run(check())


@given(text=TEXTS, size=st.integers(1, 9))
@settings(max_examples=80, deadline=None)
def test_no_character_of_a_match_leaves_before_it_is_known(text: str, size: int) -> None:
    """What has left at any moment begins the redacted whole, so no match has begun to leave."""

    async def check() -> None:
        whole = await redacted(text, *NAMES)
        run, seen = Run(*NAMES), ""
        for event in text_events(text, size):
            for out in await run.feed(event):
                seen += out.get("delta", "")
            assert whole.startswith(seen)

    asyncio.run(check())


@given(text=TEXTS, size=st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_flagged_findings_are_those_of_the_whole_text(text: str, size: int) -> None:
    async def check() -> None:
        flagged = Run(*NAMES, action=Action.FLAG)
        await flagged.all(text_events(text, size))
        whole = Run(*NAMES, action=Action.FLAG).stage
        path = ("output", 0, "content", 0, "text")
        parts = [TextPart(path, text)]
        whole.apply(parts, await whole.hits(parts, whole.guards))
        found = {f for f in flagged.stage.verdict().findings if f.path == "/output/0/content/0/text"}
        assert found == set(whole.verdict().findings)

    asyncio.run(check())


async def test_a_stream_without_text_events_is_inspected_all_the_same() -> None:
    got = await Run("tags").all([{"type": "response.completed", "response": response(message("TAG-1234"))}])
    assert got[0]["response"]["output"][0]["content"][0]["text"] == "[TAG]"


async def test_deltas_without_any_copy_are_flagged() -> None:
    run = Run("tags", action=Action.FLAG)
    events = [e for e in text_events("a TAG-1234 b") if ".done" not in e["type"]]
    events[-1]["response"]["output"] = []
    got = await run.all(events)
    assert [f["path"] for f in got[-2]["response"]["guards"][0]["findings"]] == ["/output/0/content/0/text"]


@pytest.mark.parametrize("data", [b"not json", b"[1]", b'{"a":1,"a":2}', b"\xff"])
async def test_an_event_that_cannot_be_inspected(data: bytes) -> None:
    frame = Frame(b"data: " + data + b"\n\n", data)
    assert await Run("tags", action=Action.FLAG).stream.feed(frame) == [frame.raw]
    with pytest.raises(UpstreamError, match="cannot be inspected"):
        await Run("tags").stream.feed(frame)


async def test_an_unknown_event_is_text_where_its_type_does_not_say_otherwise() -> None:
    run = Run("tags")
    (got,) = await run.feed({"type": "vendor.note", "note": "TAG-1234", "more": {"TAG-5678": 1}})
    del got["sequence_number"]
    assert got == {"type": "vendor.note", "note": "[TAG]", "more": {"[TAG]": 1}}
    assert {f.path for f in run.stage.verdict().findings} == {"/note", "/more/[TAG]"}


async def test_a_type_that_is_redacted_does_not_leave_as_the_name_of_its_event() -> None:
    run = Run("tags")
    await run.feed({"type": "vendor.TAG-1234", "text": "x"})
    assert b"1234" not in b"".join(run.out)


async def test_an_unknown_delta_is_held_like_any_other() -> None:
    run = Run("tags")
    events = [{"type": "vendor.thought.delta", "delta": c} for c in "a TAG-1234 b"]
    await run.feed(*events, {"type": "vendor.thought.done"})
    assert "".join(e.get("delta", "") for e in decoded(b"".join(run.out))) == "a [TAG] b"


async def test_a_delta_that_is_an_object() -> None:
    run = Run("tags")
    events = [{"type": "vendor.delta", "delta": {"text": c, "n": 1}} for c in "a TAG-1234 b"]
    await run.feed(*events, {"type": "vendor.done"})
    out = decoded(b"".join(run.out))
    assert "".join(e["delta"]["text"] for e in out if e["type"] == "vendor.delta") == "a [TAG] b"


@pytest.mark.parametrize(
    ("kind", "pieces"),
    [
        ("response.output_text", [{"delta": "a TAG-"}, {"delta": 12}, {"delta": 34}, {"delta": " b"}]),
        ("response.output_text", [{"text": "a TAG-"}, {"text": "1234 b"}]),
        ("vendor", [{"chunk": "a T", "step": 1}, {"chunk": "AG-1234 b", "step": 2}]),
        ("vendor", [{"delta": None, "text": "a"}, {"delta": None, "text": "b"}]),
    ],
)
async def test_a_delta_is_whatever_a_client_would_append(kind: str, pieces: list[Any]) -> None:
    run = Run("tags")
    await run.feed(*({"type": f"{kind}.delta", **piece} for piece in pieces), {"type": f"{kind}.done"})
    key = next(reversed([k for k in pieces[0] if k != "step"]))
    got = "".join(str(event.get(key, "")) for event in decoded(b"".join(run.out)))
    assert got == "".join(str(piece[key]) for piece in pieces).replace("TAG-1234", "[TAG]")


async def test_a_text_that_goes_on_after_its_end_fails_closed() -> None:
    run = Run("tags")
    events = text_events("TAG-12", 6)
    with pytest.raises(UpstreamError, match="after its end"):
        await run.feed(*events[:-3], {**events[3], "item_id": "msg_2", "delta": "34"})


SHELL = "response.shell_call_command"


@pytest.mark.parametrize(
    ("kind", "places"),
    [
        (SHELL, [{"output_index": 0, "command_index": 0}, {"output_index": 0, "command_index": 1}]),
        ("vendor.text", [{"item_id": "a"}, {"item_id": "b"}]),
        ("vendor.text", [{"call_id": "a", "step_index": 1}, {"step_index": 1, "call_id": "b"}]),
        ("vendor.text", [{"output_index": 0}, {"output_index": 1}]),
    ],
)
async def test_texts_of_unknown_kinds_are_kept_apart(kind: str, places: list[Any]) -> None:
    def delta(which: int, text: str) -> dict[str, Any]:
        return {"type": f"{kind}.delta", **places[which], "delta": text}

    run = Run("tags")
    await run.feed(
        delta(0, "say TA"),
        delta(1, "ls "),
        delta(0, "G-1234 "),
        {"type": f"{kind}.done", **places[0]},
        delta(1, "TAG"),
        delta(1, "-5678"),
        {"type": f"{kind}.done", **places[1]},
    )
    said = ["", ""]
    for event in decoded(b"".join(run.out)):
        said[places.index({key: event[key] for key in places[0]})] += event.get("delta", "")
    assert said == ["say [TAG] ", "ls [TAG]"]


@pytest.mark.parametrize(
    ("stem", "held"),
    [
        (SHELL, True),
        ("response.apply_patch_call_operation_diff", True),
        ("response.code_interpreter_call_code", False),
        ("response.shell_call_output_content", False),
    ],
)
async def test_what_a_client_acts_on_is_held_whole(stem: str, held: bool) -> None:
    run = Run("tags")
    got = await run.feed(*[{"type": f"{stem}.delta", "output_index": 0, "delta": "list "}] * 30)
    assert bool(got) is not held
    await run.feed({"type": f"{stem}.done", "output_index": 0})
    assert len(decoded(b"".join(run.out))) == 31


async def test_logprobs_of_rewritten_text_are_dropped() -> None:
    events = text_events("a TAG-1234 b", 4)
    for event in events:
        if event["type"].endswith(".delta"):
            event["logprobs"] = [{"token": event["delta"], "logprob": -1}]
    got = await Run("tags").all(events)
    assert "1234" not in json.dumps(got)


async def test_annotations_move_with_their_text() -> None:
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    events = text_events("a TAG-1234 b cited", 3)
    cited = {
        "type": "url_citation",
        "start_index": 13,
        "end_index": 18,
        "url": "https://a.example",
        "title": "t",
    }
    added = {
        "type": "response.output_text.annotation.added",
        **place,
        "annotation_index": 0,
        "annotation": cited,
    }
    got = await Run("tags").all([*events[:-4], added, *events[-4:]])
    (moved,) = [e["annotation"] for e in got[:-1] if e["type"].endswith("annotation.added")]
    assert "a [TAG] b cited"[moved["start_index"] : moved["end_index"]] == "cited"


async def test_a_sealed_copy_goes_with_what_was_redacted() -> None:
    item = {
        "type": "reasoning",
        "id": "r",
        "summary": [{"type": "summary_text", "text": "TAG-1234"}],
        "encrypted_content": "x=",
    }
    run = Run("tags")
    (got,) = await run.feed({"type": "response.output_item.done", "output_index": 0, "item": item})
    assert got["item"]["encrypted_content"] is None
    assert run.stage.verdict().receipt.skipped["encrypted_dropped"] == 1


@pytest.mark.parametrize("action", Action)
async def test_a_sealed_copy_does_not_come_before_its_text(action: Action) -> None:
    item = {"type": "reasoning", "id": "r", "summary": [], "encrypted_content": "x="}
    (got,) = await Run("tags", action=action).feed(
        {"type": "response.output_item.added", "output_index": 0, "item": item}
    )
    assert got["item"]["encrypted_content"] == ("x=" if action is Action.FLAG else None)


@pytest.mark.parametrize(("text", "sealed"), [("see TAG-1234 ok", None), ("see it", "x=")])
async def test_a_sealed_copy_goes_with_what_was_redacted_in_another_event(text: str, sealed: Any) -> None:
    item = {"type": "reasoning", "id": "r", "summary": [], "encrypted_content": "x="}
    place = {"item_id": "r", "output_index": 0, "summary_index": 0}
    kind = "response.reasoning_summary_text"
    *_, done, completed, _ = await Run("tags").all(
        [
            {"type": "response.created", "response": response()},
            {"type": f"{kind}.delta", **place, "delta": text},
            {"type": f"{kind}.done", **place, "text": text},
            {"type": "response.output_item.done", "output_index": 0, "item": item},
            {"type": "response.completed", "response": response(item)},
        ]
    )
    assert done["item"]["encrypted_content"] == sealed
    assert completed["response"]["output"][0]["encrypted_content"] == sealed


async def test_the_failed_response_has_only_items_that_were_done() -> None:
    run = Run("tags", action=Action.BLOCK)
    first = text_events("fine", 4)[:-1]
    second = {"type": "response.output_item.done", "output_index": 1, "item": message("TAG-1234", "msg_2")}
    await run.feed(*first)
    with pytest.raises(Violation) as caught:
        await run.feed(second)
    error, failed, done = decoded(b"".join(run.stream.fail(caught.value)))
    assert error["error"]["guards"][0]["flagged"] is True
    assert [item["id"] for item in failed["response"]["output"]] == ["msg_1"]
    assert failed["response"]["error"]["code"] == "guardrail_violation"
    assert done == "[DONE]"


@pytest.mark.parametrize(
    ("events", "done", "last"),
    [
        (text_events("hi")[:-1], True, "response.completed"),
        (text_events("hi"), False, "response.completed"),
        (text_events("hi")[:-1], False, None),
        ([*text_events("hi")[:-1], {"type": "error", "message": "x", "code": "c"}], True, None),
        ([], True, None),
    ],
)
async def test_endings(events: list[Any], done: bool, last: str | None) -> None:
    run = Run("tags")
    if last is None:
        with pytest.raises(UpstreamError, match="ended its stream before"):
            await run.all(events, done)
    else:
        got = await run.all(events, done)
        assert [got[-2]["type"], got[-1]] == [last, "[DONE]"]


async def test_events_after_the_end_are_dropped() -> None:
    run = Run("tags")
    got = await run.all([*text_events("hi"), {"type": "response.output_text.delta", "delta": "TAG-1234"}])
    assert "TAG-1234" not in json.dumps(got)
    assert got[-2]["type"] == "response.completed"


async def test_shadow_holds_nothing_and_reports_nothing() -> None:
    run = Run("tags", action=Action.BLOCK, shadow=True)
    events = text_events("a TAG-1234 b", 2)
    got = await run.all(events)
    assert got[:-1] == events
    await run.stream.settle_shadow()
    assert run.stage.verdict().shadowed[0].category == "TAG"


async def test_a_flood_behind_one_held_event_is_bounded() -> None:
    run = Run("tags")
    place = {"item_id": "fc_1", "output_index": 1}
    held = {"type": "response.function_call_arguments.delta", **place, "delta": "{"}
    noise = {"type": "vendor.noise", "blob": "z" * 1_000_000}
    await run.feed(held)
    with pytest.raises(GuardProxyError, match="waits for the end of one text"):
        await run.feed(*[noise] * 20)


def calls(kind: str, deltas: list[Any], whole: str, **item: Any) -> list[dict[str, Any]]:
    """The events of a stream with one function call whose arguments come in `deltas`."""
    place = {"item_id": "fc_1", "output_index": 0}
    made = {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": whole, **item}
    return [
        {"type": "response.created", "response": response()},
        {"type": "response.output_item.added", "output_index": 0, "item": {**made, "arguments": ""}},
        *({"type": f"{kind}.delta", **place, "delta": delta} for delta in deltas),
        {"type": f"{kind}.done", **place, "arguments": whole},
        {"type": "response.output_item.done", "output_index": 0, "item": made},
        {"type": "response.completed", "response": response(made)},
    ]


@pytest.mark.parametrize("deltas", [["", '{"a":"TAG-1234"}'], ["", "", '{"a":"TAG', '-1234"}', ""]])
async def test_rewritten_arguments_are_said_once(deltas: list[str]) -> None:
    got = await Run("tags").all(calls("response.function_call_arguments", deltas, '{"a":"TAG-1234"}'))
    assert "".join(e.get("delta", "") for e in got[:-1]) == '{"a":"[TAG]"}'


@pytest.mark.parametrize(
    "whole",
    [
        r'{"a":"\u0054AG-1234","a":1}',
        r'{"a":NaN,"b":"\u0054AG-1234"}',
        r'{"a":"x\nTAG-1234","b":"cut off',
        r'{"a":"cut off \u0054AG-1234',
        r'{"a":"bad \x escape \u0054AG-1234"}',
    ],
)
async def test_arguments_that_are_no_json_hide_nothing(whole: str) -> None:
    got = await Run("tags").all(calls("response.function_call_arguments", [whole], whole))
    said = "".join(e.get("delta", "") for e in got[:-1])
    assert "[TAG]" in said
    assert "1234" not in json.dumps(got)
    assert {e["arguments"] for e in got[:-1] if "arguments" in e} == {said}
    assert got[-2]["response"]["output"][0]["arguments"] == said


async def test_a_delta_of_arguments_that_is_a_list() -> None:
    events = calls("response.mcp_call_arguments", [["TAG-12"], ["34 x"]], "{}")
    got = await Run("tags").all(events)
    assert "".join("".join(e["delta"]) for e in got[:-1] if "delta" in e) == "[TAG] x"


@pytest.mark.parametrize(
    "lines",
    [
        "event: TAG-1234\nevent: vendor.note\n",
        "event: TAG-1234\nevent:\n",
        "event:TAG-1234\r\nevent: vendor.note\r\n",
    ],
)
async def test_a_second_name_of_an_event_does_not_leave(lines: str) -> None:
    (frame,) = Decoder().feed(f'{lines}data: {{"type":"vendor.note","sequence_number":0}}\n\n'.encode())
    assert b"TAG-1234" not in b"".join(await Run("tags").stream.feed(frame))


async def test_a_redacted_type_is_no_name_either() -> None:
    run = Run("tags")
    await run.feed({"type": "TAG-1234", "sequence_number": 0})
    assert b"1234" not in b"".join(run.out)


@pytest.mark.parametrize("name", ["event:", "event: x", "event"])
async def test_a_type_with_line_ends_begins_no_event(name: str) -> None:
    kind = "x\ndata: {}\n\nevent: y"
    (frame,) = Decoder().feed(f"{name}\ndata: {json.dumps({'type': kind})}\n\n".encode())
    (out,) = await Run("tags").stream.feed(frame)
    assert [event["type"] for event in decoded(out)] == [kind]


async def test_a_type_that_cannot_be_encoded() -> None:
    (frame,) = Decoder().feed(b'event: a?\ndata: {"type":"a\\ud800","sequence_number":0}\n\n')
    (out,) = await Run("tags").stream.feed(frame)
    assert decoded(out)[0]["type"] == "a\ud800"


async def test_events_that_have_their_type_in_the_name_alone() -> None:
    run = Run("tags")
    decoder = Decoder()
    for index, delta in enumerate(["a TAG", "-1234 b"]):
        data = json.dumps({"delta": delta, "output_index": 0, "content_index": 0, "sequence_number": index})
        for frame in decoder.feed(f"event: response.output_text.delta\ndata: {data}\n\n".encode()):
            run.out += await run.stream.feed(frame)
    for frame in decoder.feed(b'event: response.output_text.done\ndata: {"output_index":0,"text":""}\n\n'):
        run.out += await run.stream.feed(frame)
    assert "".join(e.get("delta", "") for e in decoded(b"".join(run.out))) == "a [TAG] b"


@pytest.mark.parametrize("kind", ["vendor.chunk", "delta", ""])
async def test_a_delta_is_held_whatever_the_type(kind: str) -> None:
    run = Run("tags")
    events = [{"type": kind, "delta": c} for c in "a TAG-1234 b"]
    await run.feed(*events)
    await run.stream._close(lambda _: True)
    run.out += run.stream._release()[0]
    assert "".join(e.get("delta", "") for e in decoded(b"".join(run.out))) == "a [TAG] b"


async def test_a_type_that_is_a_number() -> None:
    (got,) = await Run("tags").feed({"type": 5, "note": "TAG-1234"})
    assert (got["type"], got["note"]) == (5, "[TAG]")


@pytest.mark.parametrize("number", [None, "x", 1.5, "²"])
async def test_numbers_that_are_none(number: Any) -> None:
    events = text_events("hello", 2)
    for event in events[2:4]:
        event["sequence_number"] = number
        event["output_index"] = number
    run = Run("tags")
    got = await run.all(events)
    assert b"".join(run.out).count(b'"sequence_number"') == len(events)
    assert [e["sequence_number"] for e in got[:-1]] == list(range(len(events)))
    assert {e["output_index"] for e in got[1:-2]} == {0}


@pytest.mark.parametrize("more", [{}, {"response": None}, {"response": "gone"}])
async def test_a_terminal_event_without_its_response_gets_one(more: Any) -> None:
    events = [*text_events("a TAG-1234")[:-1], {"type": "response.completed", **more}]
    got = await Run("tags").all(events)
    assert got[-2]["response"]["id"] == "resp_1"
    assert got[-2]["response"]["guards"][0]["flagged"] is True
    assert got[-2]["response"]["output"][0]["content"][0]["text"] == "a [TAG]"


async def test_findings_of_a_delta_that_is_an_object_count_once() -> None:
    run = Run("tags")
    events = [{"type": "vendor.delta", "delta": {"text": c}} for c in ("see ", "TAG-1234 now")]
    await run.feed(*events, {"type": "vendor.done"})
    (found,) = run.stage.verdict().findings
    assert (found.start, found.end) == (4, 9)


DEEP: Any = "x"
for _ in range(600):
    DEEP = [DEEP]
HIDDEN = "\u200b" * 70_000


@pytest.mark.parametrize("shadow", [True, False])
@pytest.mark.parametrize(
    "event",
    [
        {"type": "vendor.note", "deep": DEEP},
        {"type": "vendor.delta", "delta": {"deep": DEEP}},
        {"type": "vendor.delta", "delta": "a" + HIDDEN + "b"},
    ],
)
async def test_what_cannot_be_inspected_passes_where_nothing_is_held(event: Any, shadow: bool) -> None:
    run = Run("tags", action=Action.FLAG, shadow=shadow)
    await run.feed({"type": "response.created", "response": response()})
    for _ in range(3):
        await run.feed(event)
        for _ in range(30):
            await asyncio.sleep(0)
    got = await run.all([{"type": "response.completed", "response": response()}])
    assert [e["type"] for e in got[:-1]] == ["response.created", *[event["type"]] * 3, "response.completed"]


@pytest.mark.parametrize(
    "event", [{"type": "vendor.note", "deep": DEEP}, {"type": "vendor.delta", "delta": {"deep": DEEP}}]
)
async def test_what_cannot_be_inspected_is_an_error_of_the_upstream_where_text_is_held(event: Any) -> None:
    with pytest.raises(UpstreamError, match="cannot be inspected"):
        await Run("tags").feed(event)


async def test_a_secret_for_an_id_does_not_come_back_in_ours() -> None:
    run = Run("tags", form=Form.ITEMS)
    seen: list[Any] = []
    run.stream._observe = seen.append
    got = await run.all(
        [
            {"type": "response.created", "response": response(id="TAG-1234")},
            {"type": "response.completed", "response": response(id="TAG-1234")},
        ]
    )
    assert "1234" not in json.dumps(got)
    assert "TAG-1234" not in json.dumps(seen)


async def test_an_id_that_was_redacted_is_not_added_to_later_events() -> None:
    run = Run("tags")
    bare = {k: v for k, v in text_events("hi")[3].items() if k != "item_id"}
    added = {"type": "response.output_item.added", "output_index": 0, "item": message("", "TAG-1234")}
    await run.all([text_events("")[0], added, bare, text_events("")[-1]], done=False)
    assert b"1234" not in b"".join(run.out)
    assert b'"item_id":"[TAG]"' in b"".join(run.out)


@pytest.mark.parametrize(
    "event",
    [
        {"type": "response.in_progress", "response": response(metadata={"TAG-1234567": "b {{y}} TAG-5555"})},
        {"type": "vendor.note", "note": {"TAG-1234567": "b {{y}}"}},
        {"type": "vendor.delta", "delta": {"TAG-1234567": "zz {{y}} TAG-5555 "}},
    ],
)
@pytest.mark.parametrize("echo", [False, True])
@pytest.mark.parametrize(
    "rules",
    [
        {"tags": Action.FLAG},
        {"tags": Action.FLAG, "braces": Action.REDACT},
        {"tags": Action.REDACT},
        {"tags": Action.FLAG, "braces": Action.BLOCK},
    ],
)
async def test_a_key_in_which_something_was_found_is_in_no_path(
    rules: dict[str, Action], echo: bool, event: Any
) -> None:
    run = Run(rules={name: Rule(action) for name, action in rules.items()})
    if echo:
        path = ("metadata", "TAG-1234567", PathMark.KEY)
        run.stream._echoes = {path: "TAG-1234567"}
    told = ""
    try:
        await run.all([*[event] * 2, {"type": "response.completed", "response": response()}])
    except Violation as error:
        told = json.dumps(error.envelope)
    assert "1234567" not in told
    assert all("1234567" not in finding.path for finding in run.stage.verdict().findings)
    assert run.stage.verdict().findings
