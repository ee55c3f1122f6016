"""events.py: what it builds has the fields that the schema requires, and what it reads is what was built."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.testing import events as e

SCHEMA = Path(__file__).parents[1] / "../shared/protocol/openresponses-2026-04-24.schema.txt"
NAMED = re.compile(r'type \* : enum\["([^"]+)"\]')
REQUIRED = re.compile(r"^   (\w+) \* :", re.MULTILINE)

ITEMS = [
    e.reasoning_item(["first thought", "second"], content=["raw thought"]),
    e.message_item("Hello, world. It is \U0001f600 fine."),
    e.message_item(refusal="I would rather not.", id="msg_2"),
    e.function_call_item("send", {"to": "ada", "n": 3}),
]


def required_fields() -> dict[str, set[str]]:
    """The required fields of the response, of each event, of each output item and part, by type."""
    if not SCHEMA.exists():
        pytest.skip("the schema of Open Responses is not here")
    found: dict[str, set[str]] = {}
    for block in SCHEMA.read_text().split("\n### ")[1:]:
        title = block.split(None, 1)[0]
        name = NAMED.search(block)
        if title == "ResponseResource":
            found["response"] = set(REQUIRED.findall(block))
        elif name and (title.endswith("StreamingEvent") or title in PIECES):
            found[name[1]] = set(REQUIRED.findall(block))
    return found


PIECES = {
    "Message",
    "FunctionCall",
    "ReasoningBody",
    "OutputTextContent",
    "RefusalContent",
    "SummaryTextContent",
    "ReasoningTextContent",
}


def missing(value: Any, required: dict[str, set[str]], where: str = "") -> list[str]:
    """Every place below `value` that lacks a required field."""
    if isinstance(value, list):
        return [m for i, v in enumerate(value) for m in missing(v, required, f"{where}/{i}")]
    if not isinstance(value, dict):
        return []
    kind = "response" if value.get("object") == "response" else value.get("type", "")
    lacks = [f"{where}: {kind} lacks {name}" for name in required.get(kind, set()) - value.keys()]
    return lacks + [m for key, v in value.items() for m in missing(v, required, f"{where}/{key}")]


@pytest.mark.parametrize("status", ["completed", "failed", "incomplete"])
def test_stream_has_every_required_field(status: str) -> None:
    required = required_fields()
    assert len(required["response"]) > 25
    stream = e.stream_events(ITEMS, status=status)
    assert missing(stream, required) == []
    # `response.reasoning_text.*` is OpenAI's name: Open Responses has none
    unknown = {event["type"] for event in stream} - required.keys()
    assert unknown == {"response.reasoning_text.delta", "response.reasoning_text.done"}


def test_response_and_errors_have_every_required_field() -> None:
    required = required_fields()
    assert missing(e.response("hi", ITEMS), required) == []
    assert missing(e.error_event(sequence_number=4), required) == []


def test_a_missing_field_would_be_seen() -> None:
    broken = e.response("hi")
    del broken["output"][0]["content"][0]["annotations"]
    assert missing(broken, required_fields()) == ["/output/0/content/0: output_text lacks annotations"]


def test_events_of_a_message_in_order() -> None:
    stream = e.stream_events(text="abcd", chunk=2)
    assert [event["type"].removeprefix("response.") for event in stream] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [event["sequence_number"] for event in stream] == list(range(10))
    assert stream[2]["item"]["content"] == []
    assert stream[3]["part"]["text"] == ""


def test_annotations_come_before_the_text_is_done() -> None:
    cited = {
        "type": "url_citation",
        "url": "https://a.example",
        "start_index": 0,
        "end_index": 2,
        "title": "A",
    }
    stream = e.stream_events([e.message_item("ab", annotations=[cited])])
    added = next(event for event in stream if event["type"].endswith("annotation.added"))
    assert added["annotation"] == cited
    assert stream[added["sequence_number"] + 1]["type"] == "response.output_text.done"
    assert stream[3]["part"]["annotations"] == []


def test_what_the_request_asked_for_is_repeated() -> None:
    asked = {
        "model": "m",
        "instructions": "Be brief.",
        "metadata": {"team": "a"},
        "tools": [{"type": "function", "name": "send"}],
        "text": {"verbosity": "low"},
        "temperature": 0,
        "store": False,
    }
    made = e.response("x", request=asked)
    assert {name: made[name] for name in ("model", "instructions", "metadata", "temperature", "store")} == {
        name: asked[name] for name in ("model", "instructions", "metadata", "temperature", "store")
    }
    tool = {"type": "function", "name": "send", "description": None, "parameters": None, "strict": True}
    assert made["tools"] == [tool]
    assert made["text"] == {"format": {"type": "text"}, "verbosity": "low"}


def test_fields_replace_any_field() -> None:
    assert e.response("x", created_at=5, guards=[1])["guards"] == [1]
    assert e.stream_events(text="x", usage=None)[-1]["response"]["usage"] is None


TEXT = st.text(st.characters(codec="utf-8"), max_size=60)


@given(
    texts=st.lists(TEXT, max_size=3),
    refusal=TEXT,
    arguments=TEXT,
    chunk=st.integers(1, 9),
    names=st.booleans(),
)
def test_every_copy_of_a_text_agrees_for_any_chunk(
    texts: list[str], refusal: str, arguments: str, chunk: int, names: bool
) -> None:
    said = [e.message_item(text, id=f"msg_{n}") for n, text in enumerate(texts)]
    items = [*said, e.message_item(refusal=refusal, id="no"), e.function_call_item("f", arguments)]
    stream = e.stream_events(items, chunk=chunk)
    again = e.parse_sse(e.sse(stream, names=names))
    assert again == stream
    assert e.joined_text(again) == "".join(texts)
    assert e.joined_text(again, "refusal") == refusal
    joined, done = e.joined_channels(again), e.done_channels(again)
    assert {key: joined.get(key, "") for key in done} == done
    final = e.final_response(again)
    assert final is not None
    assert final["output"] == items
    assert e.output_text(final) == "".join(texts)


def test_one_character_a_delta() -> None:
    stream = e.stream_events(text="4111", chunk=1)
    assert [event["delta"] for event in stream if "delta" in event] == ["4", "1", "1", "1"]


def test_frames_as_bytes() -> None:
    assert e.sse([{"type": "a", "x": "é"}]) == (
        b'event: a\ndata: {"type":"a","x":"' + "é".encode() + b'"}\n\ndata: [DONE]\n\n'
    )
    assert e.sse([{"type": "a"}], names=False, done=False) == b'data: {"type":"a"}\n\n'
    assert e.frames([b"{broken"], done=False) == [b"data: {broken\n\n"]


@pytest.mark.parametrize(
    ("data", "parsed"),
    [
        (b"", []),
        (b'event: a\r\ndata: {"type":"a"}\r\n\r\n\r\n', [{"type": "a"}]),
        (b": ping\n\ndata: [DONE]\n\n", []),
        (b'data:{"type":\ndata:"a"}\r\n\r\nevent: b\rdata: {"type":"b"}\r\r', [{"type": "a"}, {"type": "b"}]),
    ],
)
def test_parse_sse_takes_any_line_end_comments_and_split_data(data: bytes, parsed: list[e.Event]) -> None:
    assert e.parse_sse(data) == parsed


@pytest.mark.parametrize("data", [b"data: {broken\n\n", b"data: 5\n\n"])
def test_parse_sse_refuses_what_is_no_object(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        e.parse_sse(data)


def test_flat_and_nested_errors() -> None:
    assert e.error_event("no", flat=True)["message"] == "no"
    assert e.error_event("no")["error"]["message"] == "no"
    assert e.error_body("no", code="c")["error"]["code"] == "c"


def test_llamacpp_has_no_numbers_and_interleaves_items() -> None:
    items = [e.reasoning_item(content=["hm"]), e.message_item("hi")]
    stream = e.in_dialect(e.stream_events(items), "llamacpp")
    assert [(event["type"].removeprefix("response."), event.get("item_id")) for event in stream] == [
        ("created", None),
        ("in_progress", None),
        ("output_item.added", None),
        ("reasoning_text.delta", "rs_1"),
        ("output_item.added", None),
        ("content_part.added", "msg_1"),
        ("output_text.delta", "msg_1"),
        ("output_item.done", None),
        ("output_text.done", "msg_1"),
        ("content_part.done", "msg_1"),
        ("output_item.done", None),
        ("completed", None),
    ]
    told = json.dumps(stream)
    assert not any(name in told for name in ("sequence_number", "output_index", "content_index", "metadata"))
    assert stream[0]["response"].keys() == {"id", "object", "status"}
