"""What messages call an entry of a list."""

from pathlib import Path

import pytest

from guardproxy.entries import entry, name_of, ordinal

DOCS = Path(__file__).parents[1] / "docs" / "settings.md"


def test_entries_are_counted_from_1() -> None:
    numbers = (0, 1, 2, 3, 10, 11, 12, 20, 21, 100, 110, 111, 112)
    words = "1st 2nd 3rd 4th 11th 12th 13th 21st 22nd 101st 111th 112th 113th"
    assert " ".join(map(ordinal, numbers)) == words


def test_an_entry_is_told_by_its_number_and_name() -> None:
    assert entry("keys", 1) == "the 2nd [[keys]]"
    assert f"`{entry('keys', 1, 'ci')}`" in DOCS.read_text()


@pytest.mark.parametrize(
    ("table", "name"),
    [
        ({"name": "team-a"}, "team-a"),
        ({"path": "/v1/responses"}, "/v1/responses"),
        ({"name": "${env:NAME}"}, None),
        ({"name": "two words"}, None),
        ({"name": "a" * 200}, None),
        ({"name": 1}, None),
        ({}, None),
    ],
)
def test_the_name_of_an_entry(table: dict[str, object], name: str | None) -> None:
    assert name_of(table) == name
