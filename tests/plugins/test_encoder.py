"""The encoder that `toxicity` and `prompt_injection` share: what it reads of a text, and how."""

import subprocess
import sys
import time
from importlib import resources
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy_encoder import HEADS, Encoder, load
from guardproxy_encoder.model import OVERLAP, SIZE
from guardproxy_encoder.plain import plain
from guardproxy_encoder.wordpiece import END, SPECIAL, START, UNKNOWN, WordPieces, windows

PIECES = [*SPECIAL, "you", "are", "an", "idiot", "##s", "!", "un", "##like", "##ly"]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("You are an 1d10t!", "you are an idiot!"),
        ("k.i.l.l it, sooooo good", "kill it, soo good"),
        ("W o m e n are", "women are"),
        ("don’t st0p!!", "don’t stop!!"),
        ("version 2.10.3 of 2024", "version 2.10.3 of 2024"),
        ("DÚMB\u200b\u0301", "dumb"),
        ("see https://a.example/you-fool", "see  a.example/you-fool"),
        ("==========", "==="),
        ("sha 3f786850e387550fdab836ed7e6dc881de23001b.", "sha  \x1a ."),
        ("a_long/path/of/words/in/Some/File/Name2.py", "a_long/path/of/words/in/some/file/name2.py"),
        ("You+are+an+Idiot+and+nobody+likes+you+2day", "you+are+an+idiot+and+nobody+likes+you+2day"),
        ("iVBORw0KGgoAAAANSUhEUgAABDAAAAFgCAYAAABNIolGAAAABHNCSVQ", " \x1a "),
    ],
)
def test_plain_text_has_cheap_disguises_undone(text: str, expected: str) -> None:
    assert plain(text) == expected


@pytest.mark.parametrize("unit", ["a1", "A1b", "a b ", "0", "é", "!", "A" * 50 + "1", "&#", "https://", "f0"])
def test_plain_takes_linear_time(unit: str) -> None:
    times = []
    for size in (20_000, 80_000):
        text = unit * (size // len(unit))
        started = time.process_time()
        plain(text)
        times.append(time.process_time() - started)
    assert times[1] < 12 * times[0] + 0.05


def test_pieces_are_the_longest_that_are_known_and_nothing_hides_a_word() -> None:
    pieces = WordPieces(PIECES)
    unknown = SPECIAL[UNKNOWN]
    cut = [PIECES[number] for number in pieces.ids("you unlikely idiots! жidiots☃☃ x")]
    assert cut == ["you", "un", "##like", "##ly", "idiot", "##s", "!", unknown, "idiot", "##s", unknown]


@given(st.integers(0, 3000), st.integers(4, 200), st.data())
def test_windows_show_every_piece_and_overlap(count: int, size: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, size - 3))
    found = windows(list(range(count)), size, overlap)
    assert all(len(window) <= size and (window[0], window[-1]) == (START, END) for window in found)
    assert {number for window in found for number in window[1:-1]} == set(range(count))
    assert all(set(range(b[1], a[-2] + 1)) <= set(a) & set(b) for a, b in pairwise(found))
    assert all(a[-2] - b[1] + 1 >= overlap for a, b in pairwise(found))


@given(st.text(max_size=300))
def test_any_text_is_read_and_alone_as_among_others(text: str) -> None:
    read = load().read(text)
    assert list(read) == list(HEADS)
    assert all(0 <= value <= 1 for value in read.values())
    assert load()._read(text) == read


def test_no_place_in_the_longest_block_is_hidden(encoder: Encoder) -> None:
    friendly = "The garden is full of flowers and the children play on the grass. " * 33
    insult = "I will find you and kill you, you worthless piece of garbage. "
    assert encoder.read(friendly)["toxic"] < 0.3
    for place in range(0, len(friendly), 300):
        cut = friendly.find(" ", place) + 1
        assert encoder.read(friendly[:cut] + insult + friendly[cut:])["toxic"] > 0.5


def test_what_holds_no_word_is_nothing(encoder: Encoder) -> None:
    for text in (
        "",
        " ",
        "12345 67890",
        "\u200b",
        "😀😀",
        "\ud800",
        "---",
        "\x00",
        "3f786850e387550fdab836ed7e6dc881",
    ):
        assert not any(encoder.read(text).values())


def test_reading_needs_no_network_and_no_torch_and_is_the_same_in_each_process(encoder: Encoder) -> None:
    program = (
        "import socket, sys\n"
        "def refuse(*args, **kwargs): raise AssertionError('network')\n"
        "socket.socket.connect = refuse; socket.getaddrinfo = refuse\n"
        "from guardproxy_encoder import load\n"
        "print(load().read('You are a fool, said the man.')['toxic'])\n"
        "assert not {'torch', 'sklearn', 'onnx', 'tokenizers', 'transformers'} & set(sys.modules)\n"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(path for path in sys.path if path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert seen == {str(encoder.read("You are a fool, said the man.")["toxic"])}


def test_the_files_are_small_and_fit_each_other() -> None:
    files = resources.files("guardproxy_encoder")
    pieces = (files / "vocabulary.txt").read_text(encoding="utf-8").removesuffix("\n").split("\n")
    assert tuple(pieces[: len(SPECIAL)]) == SPECIAL
    assert len(set(pieces)) == len(pieces)
    assert len((files / "encoder.onnx").read_bytes()) <= 23 * 1024 * 1024
    assert OVERLAP < SIZE
