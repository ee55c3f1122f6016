"""Where the texts of events stand, with and without indexes."""

from typing import Any

import pytest

from guardproxy.places import Places, delivered
from guardproxy.types import Number, pointer


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
        (
            {"type": "response.shell_call_command.delta", "output_index": n(2), "command_index": n(1)},
            ("delta",),
            "/output/2/action/commands/1",
        ),
        (
            {"type": "response.shell_call_command.done", "output_index": n(2), "command_index": n(1)},
            ("command",),
            "/output/2/action/commands/1",
        ),
        (
            {"type": "response.shell_call_output_content.delta", "output_index": n(2), "command_index": n(1)},
            ("delta", "stdout"),
            "/output/2/output/1/stdout",
        ),
        ({"type": "response.completed"}, ("response", "output", 0, "name"), "/output/0/name"),
        ({"type": "vendor.thing", "output_index": n(2)}, ("note",), "/output/2/note"),
        ({"type": "vendor.thing"}, ("note",), "/note"),
    ],
)
def test_places_of_texts(event: dict[str, Any], path: tuple[Any, ...], place: str) -> None:
    assert pointer(Places().locate(event["type"], event).path(path)) == place


@pytest.mark.parametrize("stem", ["response.shell_call_command", "vendor.thing"])
def test_texts_of_one_item_are_told_apart_by_their_index(stem: str) -> None:
    places = Places()
    channels = {
        places.locate(
            f"{stem}.delta", {"output_index": n(0), "command_index": n(index), "delta": "x"}
        ).channel
        for index in (0, 1)
    }
    assert len(channels) == 2


def test_an_index_that_counts_deltas_does_not_part_their_text() -> None:
    places = Places()
    events: list[dict[str, Any]] = [{"output_index": n(0), "chunk_index": n(i), "delta": "x"} for i in (0, 1)]
    assert len({places.locate("vendor.thing.delta", event).channel for event in events}) == 1


def test_events_of_commands_get_no_item_id() -> None:
    places = Places()
    places.locate("response.output_item.added", {"output_index": n(0), "item": {"id": "sh_1"}})
    event = {"output_index": n(0), "command_index": n(0), "delta": "ls"}
    assert places.locate("response.shell_call_command.delta", event).missing == {}


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
