"""Where the texts of events stand, with and without indexes."""

from typing import Any

import pytest

from guardproxy.document import Number
from guardproxy.places import Places, delivered
from guardproxy.types import pointer


def n(value: int) -> Number:
    return Number(str(value))


@pytest.mark.parametrize(
    ("event", "path", "place"),
    [
        (
            {"type": "response.output_text.delta", "output_index": n(1), "content_index": n(2)},
            ("delta",),
            "/output/1/content/2/text",
        ),
        (
            {"type": "response.refusal.done", "output_index": n(0), "content_index": n(0)},
            ("refusal",),
            "/output/0/content/0/refusal",
        ),
        (
            {"type": "response.reasoning_summary_text.delta", "output_index": n(0), "summary_index": n(3)},
            ("delta",),
            "/output/0/summary/3/text",
        ),
        (
            {"type": "response.function_call_arguments.done", "output_index": n(4)},
            ("arguments",),
            "/output/4/arguments",
        ),
        (
            {"type": "response.output_item.done", "output_index": n(4), "item": {}},
            ("item", "name"),
            "/output/4/name",
        ),
        (
            {"type": "response.content_part.done", "output_index": n(0), "content_index": n(1)},
            ("part", "text"),
            "/output/0/content/1/text",
        ),
        ({"type": "response.completed"}, ("response", "output", 0, "name"), "/output/0/name"),
        ({"type": "vendor.thing", "output_index": n(2)}, ("note",), "/output/2/note"),
        ({"type": "vendor.thing"}, ("note",), "/note"),
    ],
)
def test_places_of_texts(event: dict[str, Any], path: tuple[Any, ...], place: str) -> None:
    assert pointer(Places().locate(event["type"], event).path(path)) == place


def test_missing_indexes_follow_from_the_order() -> None:
    places = Places()
    events: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"type": "response.output_item.added", "item": {"id": "a"}}, {"output_index": 0}),
        ({"type": "response.content_part.added", "item_id": "a"}, {"output_index": 0, "content_index": 0}),
        ({"type": "response.output_text.delta", "item_id": "a"}, {"output_index": 0, "content_index": 0}),
        ({"type": "response.content_part.added", "item_id": "a"}, {"output_index": 0, "content_index": 1}),
        ({"type": "response.output_text.delta", "item_id": "a"}, {"output_index": 0, "content_index": 1}),
        ({"type": "response.output_item.added", "item": {"id": "b"}}, {"output_index": 1}),
        ({"type": "response.function_call_arguments.delta", "item_id": "b"}, {"output_index": 1}),
        ({"type": "response.output_text.delta"}, {"output_index": 1, "content_index": 0, "item_id": "b"}),
        ({"type": "response.output_item.done", "item": {"id": "a"}}, {"output_index": 0}),
        ({"type": "response.completed", "response": {}}, {}),
    ]
    for event, missing in events:
        assert places.locate(event["type"], event).missing == missing


def test_items_of_ours_come_first() -> None:
    places = Places(reserved=2)
    event = {"type": "response.output_text.delta", "output_index": n(1), "content_index": n(0)}
    located = places.locate(event["type"], event)
    assert pointer(located.path(("delta",))) == "/output/3/content/0/text"
    assert delivered(("output", 0, "x"), 2) == ("output", 2, "x")
    assert delivered(("metadata", "output"), 2) == ("metadata", "output")


@pytest.mark.parametrize(
    ("event", "ends"),
    [
        ({"type": "response.output_text.done", "output_index": n(0), "content_index": n(0)}, True),
        ({"type": "response.output_text.done", "output_index": n(0), "content_index": n(1)}, False),
        ({"type": "response.content_part.done", "output_index": n(0), "content_index": n(0)}, True),
        ({"type": "response.output_item.done", "output_index": n(0), "item": {}}, True),
        ({"type": "response.output_item.done", "output_index": n(1), "item": {}}, False),
        ({"type": "response.refusal.done", "output_index": n(0), "content_index": n(0)}, False),
    ],
)
def test_what_ends_a_text(event: dict[str, Any], ends: bool) -> None:
    delta = {"type": "response.output_text.delta", "output_index": n(0), "content_index": n(0)}
    channel = Places().locate(delta["type"], delta).channel
    assert Places().locate(event["type"], event).covers(channel) is ends
