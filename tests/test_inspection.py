"""Whole texts: every match once, whatever pieces the text is cut into."""

import pytest

from guardproxy.inspection import PIECE, find
from guardproxy.scanning import Scanner
from guardproxy.settings import Settings
from tests.samples import guards


@pytest.fixture(scope="module")
def scanner() -> Scanner:
    return Scanner(guards(), Settings())


async def found(scanner: Scanner, guard: str, *texts: str) -> list[list[str]]:
    every = await find(scanner, guard, texts, [scanner.digest(text) for text in texts])
    return [[text[m.start : m.end] for m in matches] for text, matches in zip(texts, every, strict=True)]


@pytest.mark.parametrize("shift", [-9, -8, -4, -1, 0, 1])
async def test_a_match_at_the_edge_of_a_piece_is_found_once(scanner: Scanner, shift: int) -> None:
    text = ("x " * PIECE)[: PIECE + shift] + " TAG-1234 " + "y " * PIECE
    assert await found(scanner, "tags", text) == [["TAG-1234"]]


async def test_a_match_over_several_pieces_and_those_behind_it_are_found_once(scanner: Scanner) -> None:
    long = "{{" + "s" * 3 * PIECE + "}}"
    short = "{{abc}}"
    text = f"{short} {'x ' * PIECE}{short} {long} {short} {'x ' * PIECE}{short}"
    assert await found(scanner, "braces", text, short) == [[short, short, long, short, short], [short]]


async def test_equal_texts_are_scanned_once(scanner: Scanner) -> None:
    assert await found(scanner, "tags", "TAG-9999", "", "TAG-9999") == [["TAG-9999"], [], ["TAG-9999"]]


async def test_offsets_are_those_of_the_text_with_its_invisible_characters(scanner: Scanner) -> None:
    text = "a" + "\u200b" * 20_000 + " TAG-\u200b1234"
    assert await found(scanner, "tags", text) == [["TAG-\u200b1234"]]
