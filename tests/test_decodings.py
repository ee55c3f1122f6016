"""Escapes, base64 and hex, and characters set apart: what they stand for, and where."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.decodings import complete, escapes, packed, run_end, run_start, set_apart


def undone(text: str) -> str:
    out, done = "", 0
    for start, end, new in escapes(text):
        out, done = out + text[done:start] + new, end
    return out + text[done:]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("a%40b", "a@b"),
        ("%e2%82%ac", "€"),
        ("%e2%82x", "\ufffd\ufffdx"),
        ("100% sure %zz", "100% sure %zz"),
        ("a&#64;b &#x40; &commat; &#64", "a@b @ @ @"),
        ("AT&T &nosuch; &", "AT&T &nosuch; &"),
        ("&#0;&#xD800;&#1114112;", "\ufffd\ufffd\ufffd"),
        ("a&#00000064;b&#x0000040;c", "a@b@c"),
        (r"\u0041\x42\u{43}", "ABC"),
        (r"\\u0041\\\\x42", "AB"),
        (r"\ud83d\ude00 \ud83d", "😀 \ufffd"),
        (r"a\nb\/c\"d\q", 'a\nb/c"d\\q'),
    ],
)
def test_escapes(text: str, meant: str) -> None:
    assert undone(text) == meant


@pytest.mark.parametrize(
    "whole", ["%e2%82%ac", "&#x0040;", "&commat;", r"\ud83d\ude00", r"\\u{1F600}", r"\x41"]
)
def test_an_escape_that_is_cut_may_go_on(whole: str) -> None:
    for cut in range(1, len(whole)):
        assert complete("abc" + whole[:cut], 3 + cut) == 3


@pytest.mark.parametrize("text", ["plain text.", "50 % of it", "a & b ", "it's; "])
def test_what_is_complete(text: str) -> None:
    assert complete(text, len(text)) == len(text)


SECRET = "the key of today: TAG-1234, ok"


@pytest.mark.parametrize("shift", range(4))
@pytest.mark.parametrize("pad", ["", "=" * 2, "\n"])
def test_base64_at_every_alignment(shift: int, pad: str) -> None:
    text = "AAAA"[:shift] + base64.b64encode(SECRET.encode()).decode().rstrip("=") + pad
    found = [inner for inner in packed(text) if "TAG-1234" in inner.text]
    (inner,) = found
    at = inner.text.index("TAG-1234")
    start, end = inner.span(at)[0], inner.span(at + 7)[1]
    assert b"TAG-1234" in base64.b64decode(text[start - (start - shift) % 4 : end] + "===")


@pytest.mark.parametrize(
    "text",
    [
        SECRET.encode().hex(),
        "f" + SECRET.encode().hex(),
        base64.urlsafe_b64encode(("ÿÿÿ>>>" + SECRET).encode()).decode(),
        base64.encodebytes((SECRET * 4).encode()).decode(),
        base64.encodebytes((SECRET * 4).encode()).decode().replace("\n", "\r\n  "),
        base64.b64encode(SECRET.encode("utf-16-le")).decode(),
        base64.b64encode(SECRET.encode("utf-16-be")).decode(),
        base64.b64encode(bytes(range(256)) + SECRET.encode() + bytes(range(256))).decode(),
        "path/to/" + base64.b64encode(SECRET.encode()).decode(),
        "0x" + SECRET.encode().hex(),
        "id-" + SECRET.encode().hex() + "_zz",
        base64.b64encode(SECRET.encode() + bytes(60)).decode(),
        base64.b64encode(SECRET.encode("utf-16-le") + b"and some more text that is none").decode(),
        base64.encodebytes(("x" * 28 + SECRET[:30]).encode()).decode(),
        "/u/" + base64.b64encode(b"see TAG-1234").decode(),
    ],
)
def test_what_is_unpacked(text: str) -> None:
    assert any("TAG-1234" in inner.text for inner in packed(text))


@pytest.mark.parametrize(
    "text",
    [
        "an ordinary sentence with internationalization and counterrevolutionaries",
        "SomeVeryLongIdentifierNameInCamelCase and_another_one_in_snake_case_that_is_long",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "550e8400-e29b-41d4-a716-446655440000",
        "/usr/share/doc/packages/python/html/library/index",
        base64.b64encode(bytes((7 * i * i + 3 * i) % 251 for i in range(3000))).decode(),
        "-" * 200,
        "0" * 200,
    ],
)
def test_what_holds_nothing_readable(text: str) -> None:
    assert list(packed(text)) == []


@given(st.text(st.sampled_from("Ab9+/_- \n=."), max_size=300), st.integers(0, 300), st.integers(0, 300))
def test_the_ends_of_runs(text: str, position: int, most: int) -> None:
    position = min(position, len(text))
    start, end = run_start(text, position, most), run_end(text, position, most)
    assert max(0, position - most) <= start <= position <= end <= min(len(text), position + most)
    alphabet = set("Ab9+/_-")
    assert start == max(0, position - most) or text[start - 1] not in alphabet
    assert end == min(len(text), position + most) or text[end] not in alphabet


@pytest.mark.parametrize(
    ("text", "joined"),
    [
        ("A K I A 1 2 3 4 5", "AKIA12345"),
        ("x 4 1 1 1 1 1 1 1 1 1 1 1 y", "x 411111111111 y"),
        ("4-1-1-1-1-1-1-1-1", "411111111"),
        ("4111 - 1111 - 1111 - 1111", "4111 1111 1111 1111"),
        ("3782.822463.10005", "3782 822463 10005"),
        ('"A K I A 1 2 3 4".', '"AKIA1234".'),
        ("a A K I A 1 2 3 4 I think", "a AKIA1234 I think"),
    ],
)
def test_characters_set_apart(text: str, joined: str) -> None:
    forms = []
    for changes in set_apart(text):
        out, done = "", 0
        for start, end, new in changes:
            out, done = out + text[done:start] + new, end
        forms.append(out + text[done:])
    assert joined in forms


@pytest.mark.parametrize(
    "text",
    [
        "I am a b c d",
        "2026-11-24",
        "U.S.A. and e.g.",
        "4111  1111  1111  1111",
        "5449 / 7650 / 2377 / 9255",
        "1234  5678",
        "2020  2021  2022  2023  2024",
        "a  b",
    ],
)
def test_what_is_not_set_apart(text: str) -> None:
    assert set_apart(text) == []
